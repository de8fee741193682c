"""`repeats = "note"`: who saw a card while selecting sees a note at signing; nobody else does."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from scenario import Json, Scenario, breaches, load_scenarios, render
from sqlalchemy import Engine, func, select

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service import app as app_module
from cdshooks.service import audit, repeats
from cdshooks.service.app import create_app
from cdshooks.service.config import Client, Settings
from cdshooks.service.store import open_store

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
SCENARIO = next(
    s for s in load_scenarios()
    if s.hook == "order-sign" and s.worst == "critical" and any("suggests" in card for card in s.then)
    and s.then[0]["topic"] == "renalDose" and s.file == "valganciclovir-table"
)  # fmt: skip
SIGN = render(SCENARIO)


def client_of(repeats: Any = "note", name: str = "General Hospital") -> Client:
    return Client(name=name, iss=f"https://{name[:3]}.example.org", jwks_file=Path("keys.json"), repeats=repeats)


Make = Callable[..., FlaskClient]


@pytest.fixture
def make(address: str, knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """The service as one client calls it, as if a token had told which."""
    apps: list[Flask] = []

    def made(client: Client, **settings: Any) -> FlaskClient:
        app: Flask = create_app(Settings(database=address, **settings), knowledge=knowledge, today=SCENARIO.today)
        apps.append(app)

        monkeypatch.setattr(app_module, "ANYBODY", client)
        return app.test_client()

    yield made
    for app in apps:
        app.extensions["store"].dispose()


def select_request(request: Json = SIGN) -> Json:
    """The same drafts while they are being selected."""
    chosen = deepcopy(request)
    chosen["hook"] = "order-select"
    chosen["hookInstance"] = "3f1dde72-162b-41ec-99e8-0050568b7be6"
    drafts = [entry["resource"] for entry in chosen["context"]["draftOrders"]["entry"]]
    chosen["context"]["selections"] = [
        f"{r['resourceType']}/{r['id']}" for r in drafts if r["resourceType"] != "Medication"
    ]
    return chosen


def by(user: str, request: Json) -> Json:
    return request | {"context": request["context"] | {"userId": user}}


def cards(client: FlaskClient, request: Json) -> list[Json]:
    answer = client.post(f"/cds-services/cmv-{request['hook']}", json=request)
    assert answer.status_code == 200
    found: list[Json] = answer.get_json()["cards"]
    return found


def test_a_card_seen_unchanged_shrinks_to_a_note(make: Make) -> None:
    client = make(client_of())
    full = cards(client, SIGN)
    assert full[0]["indicator"] == "critical"
    assert full[0]["suggestions"]
    cards(client, select_request())
    noted = cards(client, SIGN)
    assert len(noted) == len(full)
    for note, card in zip(noted, full, strict=True):
        assert note["indicator"] == "info"
        assert note["summary"] in (f"Already shown: {card['summary']}", card["summary"])
        assert note["uuid"] == card["uuid"]
        assert note["source"] == card["source"]
        assert note["extension"] == card["extension"]
        assert not note.keys() & {"suggestions", "selectionBehavior", "overrideReasons"}
    assert breaches(noted, SIGN) == []
    assert cards(client, SIGN) == noted  # the same body, the same answer


def test_at_selection_cards_always_come_in_full(make: Make) -> None:
    client = make(client_of())
    first = cards(client, select_request())
    cards(client, SIGN)
    assert cards(client, select_request()) == first


@pytest.mark.parametrize("signer", ["Practitioner/other", "PractitionerRole/123", ""])
def test_never_across_users(make: Make, signer: str) -> None:
    client = make(client_of())
    cards(client, by("Practitioner/123", select_request()))
    full = cards(client, by(signer, SIGN))
    assert full[0]["indicator"] == "critical"
    assert cards(client, by("Practitioner/123", SIGN))[0]["indicator"] == "info"


def test_a_user_without_a_name_has_seen_nothing(make: Make) -> None:
    client = make(client_of())
    cards(client, by("", select_request()))
    assert cards(client, by("", SIGN))[0]["indicator"] == "critical"


def test_never_across_clients_although_the_user_has_the_same_id(make: Make) -> None:
    cards(make(client_of()), select_request())
    assert cards(make(client_of(name="Another Hospital")), SIGN)[0]["indicator"] == "critical"


def test_never_across_patients(make: Make) -> None:
    client = make(client_of())
    cards(client, select_request())
    other = deepcopy(SIGN)

    def rename(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rename(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rename(item) for item in value]
        return value.replace("pat-1", "pat-2") if isinstance(value, str) else value

    assert cards(client, rename(other))[0]["indicator"] == "critical"


def test_a_changed_card_comes_in_full(make: Make) -> None:
    client = make(client_of())
    cards(client, select_request())
    changed = deepcopy(SIGN)
    creatinine = next(
        entry["resource"] for entry in changed["prefetch"]["kidney"]["entry"]
        if entry["resource"]["code"]["coding"][0]["code"] in ("2160-0", "14682-9")
    )  # fmt: skip
    creatinine["valueQuantity"]["value"] = round(float(creatinine["valueQuantity"]["value"]) * 1.1, 2)
    full = cards(client, changed)
    assert "critical" in [card["indicator"] for card in full]


def test_the_default_shows_everything(make: Make) -> None:
    client = make(client_of(repeats="show"))
    cards(client, select_request())
    assert cards(client, SIGN)[0]["indicator"] == "critical"


def test_what_a_silent_service_found_was_seen_by_nobody(make: Make) -> None:
    cards(make(client_of(), mode="silent"), select_request())
    assert cards(make(client_of()), SIGN)[0]["indicator"] == "critical"


def test_the_note_is_in_the_audit(make: Make, address: str) -> None:
    client = make(client_of())
    cards(client, select_request())
    cards(client, SIGN)
    store = open_store(address)
    rows = list(audit.entries(store))
    assert [row["cards"][0]["indicator"] for row in rows] == ["critical", "info"]
    assert {row["client"] for row in rows} == {"General Hospital"}
    store.dispose()


# --------------------------------------------------------------------------------------------------------------------
# The functions

KEY = audit.make_key("k")
ASKER = audit.asker(KEY, client="c", user="u", patient="p")


def card(summary: str, **changes: Any) -> Json:
    basic = {"uuid": summary, "summary": summary, "indicator": "warning", "detail": "d", "source": {}, "extension": {}}
    return basic | changes


@pytest.fixture
def store(address: str) -> Iterator[Engine]:
    engine = open_store(address)
    yield engine
    engine.dispose()


def seen(store: Engine, *shown: Json, at: datetime = AT) -> None:
    with store.begin() as connection:
        repeats.remember(connection, KEY, shown, asker=ASKER, at=at)


def shrunk(store: Engine, *found: Json, at: datetime = AT) -> list[Json]:
    with store.connect() as connection:
        return repeats.shrink(connection, KEY, found, asker=ASKER, at=at)


def test_notes_stand_below_cards_in_full(store: Engine) -> None:
    seen(store, card("a"))
    assert [c["indicator"] for c in shrunk(store, card("a"), card("b"))] == ["warning", "info"]


@pytest.mark.parametrize(
    "changes", [{"summary": "b"}, {"indicator": "critical"}, {"detail": "e"}, {"source": {"label": "x"}},
                {"extension": {"x": 1}}, {"suggestions": [{"label": "other"}]}],
)  # fmt: skip
def test_any_word_that_changed_makes_another_card(store: Engine, changes: Json) -> None:
    seen(store, card("a"))
    other = card("a") | changes
    assert shrunk(store, other) == [other]


def test_the_id_that_each_call_makes_anew_does_not(store: Engine) -> None:
    seen(store, card("a"))
    assert shrunk(store, card("a", uuid="other"))[0]["indicator"] == "info"


def test_a_day_later_it_was_not_seen(store: Engine) -> None:
    seen(store, card("a"))
    assert shrunk(store, card("a"), at=AT + timedelta(hours=23))[0]["indicator"] == "info"
    assert shrunk(store, card("a"), at=AT + timedelta(hours=25))[0]["indicator"] == "warning"
    seen(store, card("a"), at=AT + timedelta(hours=2))
    assert shrunk(store, card("a"), at=AT + timedelta(hours=25))[0]["indicator"] == "info"


def test_old_sights_are_forgotten(store: Engine) -> None:
    seen(store, card("a"), card("b"))
    seen(store, card("c"), at=AT + timedelta(days=2))
    with store.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(repeats.SIGHTS)) == 1


def test_a_long_summary_is_not_made_longer(store: Engine) -> None:
    long = card("x" * 139)
    seen(store, long)
    assert shrunk(store, long)[0]["summary"] == long["summary"]


def test_no_scenario_is_shrunk_unseen(store: Engine, judge: Callable[[Json, Any], Any]) -> None:
    some: list[Scenario] = [s for s in load_scenarios() if s.then][:40]
    for number, scenario in enumerate(some):
        at = AT + timedelta(days=2 * number)  # two scenarios may have a card in common
        found = judge(render(scenario), scenario.today).cards
        assert shrunk(store, *found, at=at) == found
        seen(store, *found, at=at)
        noted = shrunk(store, *found, at=at)
        assert {c["indicator"] for c in noted} == {"info"}
        assert breaches(noted, render(scenario)) == []
