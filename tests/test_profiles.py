"""What each kind of client gets: the same verdict, in the form it can show, and nothing lost from sight."""

from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Judge
from scenario import Json
from test_clients import BASE, HOSPITAL
from test_http import TODAY, order_sign, post
from tokens import key_set, now

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service.app import create_app
from cdshooks.service.config import Client, Settings
from cdshooks.wire.profiles import PROFILES, fitted

VERDICT = ("uuid", "summary", "indicator", "source", "overrideReasons", "extension")


def cards() -> list[Json]:
    """A card with each kind of suggestion, as the service makes them."""
    drug = {
        "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "313566", "display": "Valcyte"}]
    }
    order = {"resourceType": "MedicationRequest", "id": "draft", "medicationCodeableConcept": drug}
    test = {"resourceType": "ServiceRequest", "status": "draft", "code": {"text": "creatinine"}}

    def suggestion(label: str, *actions: Json) -> Json:
        described = [{"description": f"{label} {place}", **action} for place, action in enumerate(actions, 1)]
        return {"label": label, "uuid": f"id of {label}", "actions": described}

    return [
        {
            "uuid": "1",
            "summary": "too much",
            "indicator": "critical",
            "detail": "- because\n\nsource",
            "source": {"label": "label", "topic": {"system": "s", "code": "renalDose", "display": "d"}},
            "suggestions": [
                suggestion("Change to 450 mg every 24 h", {"type": "update", "resource": order}),
                suggestion("Remove this order", {"type": "delete", "resourceId": "MedicationRequest/draft"}),
                suggestion("Order creatinine", {"type": "create", "resource": test}),
                suggestion(
                    "Replace",
                    {"type": "delete", "resourceId": "MedicationRequest/draft"},
                    {"type": "create", "resource": test},
                ),
            ],
            "selectionBehavior": "any",
            "links": [{"label": "chart", "url": "https://x", "type": "smart", "appContext": "{}"}],
            "overrideReasons": [{"code": "c", "system": "s", "display": "d"}],
            "extension": {"cmv-cds.finding": {"checks": ["r"], "order": None}},
        }
    ]


def kinds(card: Json) -> list[tuple[str, str]]:
    return [(s["label"], "+".join(a["type"] for a in s["actions"])) for s in card.get("suggestions", [])]


def test_every_profile_of_the_configuration_is_known() -> None:
    assert set(PROFILES) == {"strict", "epic", "oracle", "sandbox"}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_never_touches_the_verdict(profile: str) -> None:
    before = orjson.dumps(cards())
    given = cards()
    (card,) = fitted(given, profile)
    assert {name: card[name] for name in VERDICT} == {name: given[0][name] for name in VERDICT}
    assert card["detail"].endswith(given[0]["detail"])
    assert orjson.dumps(given) == before, "the cards given are not changed"


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_dropped_from_the_suggestions_stands_in_the_detail(profile: str) -> None:
    (card,) = fitted(cards(), profile)
    offered = {s["label"] for s in card["suggestions"]}
    words = offered | {action["description"] for s in card["suggestions"] for action in s["actions"]}
    for suggestion in cards()[0]["suggestions"]:
        parts = {action["description"] for action in suggestion["actions"]}
        assert (
            suggestion["label"] in offered | {card["detail"]} or suggestion["label"] in card["detail"] or parts <= words
        )


def test_strict_is_the_specification() -> None:
    assert fitted(cards(), "strict") == cards()


def test_epic_takes_one_action_each_and_no_update() -> None:
    (card,) = fitted(cards(), "epic")
    assert kinds(card) == [
        ("Remove this order", "delete"),
        ("Order creatinine", "create"),
        ("Replace 1", "delete"),
        ("Replace 2", "create"),
    ]
    assert card["detail"].startswith("- To be entered by hand: Change to 450 mg every 24 h\n- because")
    assert card["selectionBehavior"] == "any"
    assert card["links"][0]["appContext"] == "{}"
    assert len({s["uuid"] for s in card["suggestions"]}) == 4
    assert card["source"]["topic"]["code"].isalnum()


@pytest.mark.parametrize(
    ("action", "taken"),
    [
        ({"type": "create", "resource": {"resourceType": "ServiceRequest"}}, True),
        ({"type": "create", "resource": {"resourceType": "ProcedureRequest"}}, True),
        ({"type": "delete", "resourceId": "MedicationRequest/1"}, True),
        ({"type": "delete", "resourceId": "MedicationOrder/1"}, False),
        ({"type": "create", "resource": {"resourceType": "DiagnosticOrder"}}, False),
        ({"type": "update", "resource": {"resourceType": "ServiceRequest"}}, False),
        ({"type": "update", "resource": {"resourceType": "MedicationOrder"}}, False),
    ],
)
def test_epic_takes_these_actions_and_no_others(action: Json, taken: bool) -> None:
    card = cards()[0] | {"suggestions": [{"label": "Do it", "uuid": "u", "actions": [action | {"description": "d"}]}]}
    (got,) = fitted([card], "epic")
    assert ("suggestions" in got) is taken
    assert ("selectionBehavior" in got) is taken, "without suggestions it would be an empty promise"
    assert ("Do it" in got["detail"]) is not taken


def test_epic_says_that_a_created_order_comes_without_its_dose() -> None:
    order = {"resourceType": "MedicationRequest"}
    action = {"type": "create", "description": "d", "resource": order}
    (card,) = fitted([cards()[0] | {"suggestions": [{"label": "450 mg", "uuid": "u", "actions": [action]}]}], "epic")
    assert kinds(card) == [("450 mg", "create")]
    assert "To be entered by hand: 450 mg" in card["detail"]


def test_oracle_links_carry_no_app_context() -> None:
    (card,) = fitted(cards(), "oracle")
    assert card["links"] == [{"label": "chart", "url": "https://x", "type": "smart"}]
    assert card["suggestions"] == cards()[0]["suggestions"]


def test_the_sandbox_applies_a_drug_with_its_text_and_reads_the_dose_in_the_detail() -> None:
    (card,) = fitted(cards(), "sandbox")
    drug = card["suggestions"][0]["actions"][0]["resource"]["medicationCodeableConcept"]
    assert drug["text"] == "Valcyte"
    assert drug["coding"][0]["code"] == "313566"
    assert "To be entered by hand: Change to 450 mg every 24 h" in card["detail"]
    assert kinds(card) == kinds(cards()[0])


def test_words_that_move_into_the_detail_are_made_harmless() -> None:
    action = {"type": "update", "description": "d", "resource": {"resourceType": "MedicationRequest"}}
    label = "<img src=x onerror=alert(1)> [x](javascript:alert(1))"
    (card,) = fitted([cards()[0] | {"suggestions": [{"label": label, "uuid": "u", "actions": [action]}]}], "epic")
    assert "<img" not in card["detail"]
    assert "](" not in card["detail"]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_client_gets_the_cards_of_its_profile(
    tmp_path: Path, knowledge: Knowledge, judge: Judge, profile: Any
) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(HOSPITAL))
    client = Client(name="x", iss=HOSPITAL.iss, jwks_file=tmp_path / "keys.json", profile=profile)
    settings = Settings(public_base=BASE, database=f"sqlite:///{tmp_path / 'kept.db'}", clients=(client,))
    app = create_app(settings, knowledge=knowledge, today=TODAY)
    path = "/cds-services/cmv-order-sign"
    authorization = f"Bearer {HOSPITAL.token(BASE + path, now())}"
    got = post(app.test_client(), order_sign(), path, Authorization=authorization).get_json()["cards"]
    expected = fitted(judge(order_sign(), date(2026, 3, 2)).cards, profile)
    assert got == orjson.loads(orjson.dumps(expected))
    assert any("450 mg" in card["detail"] for card in got), "the regimen is there, with or without a button"
    updates = [a for card in got for s in card.get("suggestions", []) for a in s["actions"] if a["type"] == "update"]
    assert bool(updates) is (profile != "epic")
