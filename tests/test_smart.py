"""The SMART app against the sample record system over real connections: launch, token, pages, and what goes wrong."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask, Response, request
from werkzeug.serving import make_server

from cdshooks.errors import ConfigurationError
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service.app import create_app
from cdshooks.service.config import Settings, Smart, load_settings
from cdshooks.service.demo import SAMPLE_FHIR, TODAY, read_patients, sample_ehr
from cdshooks.service.sample_ehr import SAMPLE_CLIENT, SampleEhr

PATIENT = "demo-03"


@dataclass
class World:
    """A running service and the record system beside it; `asked` are the paths that the latter was asked for."""

    base: str
    ehr: SampleEhr
    asked: list[str] = field(default_factory=list)
    broken: bool = False
    refused: str = ""  # a type of resource that is not given
    silent: str = ""  # a listed FHIR server where nobody listens

    @property
    def iss(self) -> str:
        return self.ehr.base


@contextmanager
def running(app: Flask, port: int) -> Iterator[None]:
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    server = make_server("127.0.0.1", 0, Flask("port"))
    port = server.server_port
    server.server_close()
    return port


@contextmanager
def made_world(knowledge: Knowledge, folder: Path) -> Iterator[World]:
    """The service and a record system; the database lies in the folder."""
    port, ehr_port = free_port(), free_port()
    base, ehr_base = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ehr_port}"
    silent = f"http://127.0.0.1:{free_port()}/fhir"
    smart = Smart(client_id=SAMPLE_CLIENT, iss=(ehr_base + SAMPLE_FHIR, silent))
    settings = Settings(database=f"sqlite:///{folder}/smart.db", today=TODAY, public_base=base, smart=smart)
    ehr = sample_ehr(ehr_base, "")
    ehr.redirect_uri = base + "/smart/callback"
    found = World(base, ehr, silent=silent)
    other = Flask("ehr")

    @other.before_request
    def noted() -> Response | None:
        found.asked.append(request.full_path)
        if found.refused and request.path.endswith(found.refused):
            return Response("no", 500)
        return Response("down", 503) if found.broken and request.path.startswith(SAMPLE_FHIR) else None

    other.register_blueprint(ehr.blueprint(SAMPLE_FHIR))
    with running(create_app(settings, knowledge=knowledge), port), running(other, ehr_port):
        yield found


@pytest.fixture
def world(knowledge: Knowledge, tmp_path: Path) -> Iterator[World]:
    with made_world(knowledge, tmp_path) as found:
        yield found


class Browser:
    """Follows the launch step by step; cookies are kept by name, as a browser would for a secure address."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookies: dict[str, str] = {}
        self.last: requests.Response | None = None

    def get(self, address: str, **headers: str) -> requests.Response:
        sent = self.cookies if address.startswith(self.world.base) else {}
        if sent:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in sent.items())
        answer = requests.get(
            address,
            headers=headers,
            allow_redirects=False,
            timeout=20,
        )
        for line in answer.raw.headers.getlist("Set-Cookie"):
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value
        self.last = answer
        return answer

    def launch(self, **asked: str) -> requests.Response:
        query = "&".join(f"{name}={value}" for name, value in asked.items())
        return self.get(f"{self.world.base}/smart/launch?{query}")

    def through(self, patient: str = PATIENT) -> requests.Response:
        """A whole launch, to the page."""
        answer = self.launch(iss=self.world.iss, launch=patient)
        for _ in range(3):
            assert answer.status_code == 302, answer.text
            address = answer.headers["Location"]
            answer = self.get(address if address.startswith("http") else self.world.base + address)
        return answer


def test_a_launch_from_the_record_system_ends_on_the_flowsheet(world: World) -> None:
    browser = Browser(world)
    page = browser.through()
    assert page.status_code == 200
    assert "Valganciclovir 900 mg once daily is too much at CrCl 32" in page.text
    assert "2.6 mg/dL" in page.text
    authorize = next(path for path in world.asked if "/authorize" in path)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(authorize).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["aud"] == world.iss
    assert asked["scope"].split()[0] == "launch"
    assert all(word.endswith(".rs") for word in asked["scope"].split()[1:])
    assert len(asked["state"]) >= 22  # 128 bits and more


def test_the_cookie_is_for_this_host_alone_and_out_of_reach_of_scripts(world: World) -> None:
    browser = Browser(world)
    answer = browser.launch(iss=world.iss, launch=PATIENT)
    (line,) = answer.raw.headers.getlist("Set-Cookie")
    assert line.startswith("__Host-")
    for part in ("Secure", "HttpOnly", "SameSite=None", "Partitioned", "Path=/"):
        assert part in line
    assert "Domain" not in line


def test_the_page_may_be_framed_only_where_the_site_says_so(world: World) -> None:
    page = Browser(world).through()
    policy = page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_a_standalone_launch_asks_for_a_patient(world: World) -> None:
    answer = Browser(world).launch(iss=world.iss)
    scope = parse_qs(urlsplit(answer.headers["Location"]).query)["scope"][0]
    assert scope.split()[0] == "launch/patient"


@pytest.mark.parametrize(
    "iss",
    [
        "",
        "https://evil.example.org/fhir",
        "{iss}/",
        "{iss}x",
        "{iss}/../fhir",
        "{iss}%00",
        "HTTP://127.0.0.1",
        "http://user@127.0.0.1/fhir",
        "javascript:alert(1)",
    ],
)
def test_a_server_that_is_not_listed_cannot_launch_and_is_never_contacted(iss: str, world: World) -> None:
    answer = Browser(world).launch(iss=iss.replace("{iss}", world.iss), launch=PATIENT)
    if iss == "{iss}/":  # one slash at the end is the same address
        assert answer.status_code == 302
    else:
        assert answer.status_code == 400
        assert world.asked == []
        assert answer.json()["field"] == "iss"


def test_an_unknown_state_is_refused(world: World) -> None:
    browser = Browser(world)
    answer = browser.get(f"{world.base}/smart/callback?code=x&state=unknown")
    assert (answer.status_code, answer.json()["field"]) == (400, "state")


def test_a_state_without_its_cookie_is_refused(world: World) -> None:
    browser = Browser(world)
    location = browser.launch(iss=world.iss, launch=PATIENT).headers["Location"]
    back = browser.get(location).headers["Location"]
    browser.cookies.clear()
    assert browser.get(back).status_code == 400
    assert not any("/token" in path for path in world.asked)


def test_a_callback_counts_once(world: World) -> None:
    browser = Browser(world)
    location = browser.launch(iss=world.iss, launch=PATIENT).headers["Location"]
    back = browser.get(location).headers["Location"]
    assert browser.get(back).status_code == 302
    assert browser.get(back).status_code == 400


def test_a_refused_sign_in_is_said_in_words(world: World) -> None:
    browser = Browser(world)
    state = parse_qs(urlsplit(browser.launch(iss=world.iss, launch=PATIENT).headers["Location"]).query)["state"][0]
    answer = browser.get(f"{world.base}/smart/callback?error=access_denied&state={state}")
    assert answer.status_code == 401
    assert "refused or cancelled" in answer.text


def test_a_wrong_code_is_said_in_words(world: World) -> None:
    browser = Browser(world)
    state = parse_qs(urlsplit(browser.launch(iss=world.iss, launch=PATIENT).headers["Location"]).query)["state"][0]
    answer = browser.get(f"{world.base}/smart/callback?code=wrong&state={state}")
    assert answer.status_code == 401
    assert "Launch it again" in answer.text


def test_two_windows_keep_two_patients(world: World) -> None:
    browser = Browser(world)
    browser.through("demo-03")
    first = browser.last
    browser.through("demo-01")
    second = browser.last
    assert first is not None
    assert second is not None
    assert first.url != second.url
    again = browser.get(first.url)
    assert "Patient demo-03" in again.text
    assert "Patient demo-01" in browser.get(second.url).text


def test_a_page_without_its_cookie_is_refused_in_words(world: World) -> None:
    browser = Browser(world)
    page = browser.through()
    browser.cookies.clear()
    answer = browser.get(page.url)
    assert answer.status_code == 401
    assert "session is over" in answer.text
    assert "demo-03" not in answer.text


def test_an_expired_token_ends_the_session(world: World) -> None:
    world.ehr.lifetime_s = 0
    answer = Browser(world).through()
    assert answer.status_code == 401
    assert "session is over" in answer.text


def test_an_expired_token_is_refreshed_where_the_record_system_lets_it(world: World) -> None:
    world.ehr.lifetime_s, world.ehr.refreshes = 0, True
    browser = Browser(world)
    page = browser.through()
    assert page.status_code == 200
    assert "Patient demo-03" in page.text
    again = browser.get(page.url)  # the second refresh token, as each counts once
    assert again.status_code == 200
    world.ehr._refresh.clear()
    refused = browser.get(page.url)
    assert refused.status_code == 401
    assert "did not let the app in" in refused.text


def test_a_token_that_was_withdrawn_is_said_in_words(world: World) -> None:
    browser = Browser(world)
    page = browser.through()
    world.ehr._tokens.clear()
    answer = browser.get(page.url)
    assert answer.status_code == 401
    assert "no longer lets the app in" in answer.text
    assert "session is over" in browser.get(page.url).text


def test_a_record_system_that_fails_is_said_in_words_and_may_come_back(world: World) -> None:
    browser = Browser(world)
    page = browser.through()
    world.broken = True
    answer = browser.get(page.url)
    assert answer.status_code == 502
    assert "did not give the patient" in answer.text
    assert "demo-03" not in answer.text
    refused = browser.launch(iss=world.iss, launch=PATIENT)
    assert refused.status_code == 502
    assert "sign-in could not be reached" in refused.text
    world.broken = False
    assert browser.get(page.url).status_code == 200


def test_a_sign_in_that_fails_between_launch_and_callback_is_said_in_words(world: World) -> None:
    browser = Browser(world)
    back = browser.get(browser.launch(iss=world.iss, launch=PATIENT).headers["Location"]).headers["Location"]
    world.broken = True
    answer = browser.get(back)
    assert answer.status_code == 502
    assert "sign-in could not be reached" in answer.text


def test_a_listed_server_where_nobody_listens_is_a_bad_gateway(world: World) -> None:
    answer = Browser(world).launch(iss=world.silent, launch=PATIENT)
    assert answer.status_code == 502
    assert "sign-in could not be reached" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/smart/launch", 400, "iss is missing"),
        ("/smart/launch?iss=https://elsewhere.example.org/fhir", 400, "not listed"),
        ("/smart/launch?iss={silent}", 502, "could not be reached"),
        ("/smart/callback?code=x&state=unknown", 400, "Launch the app again"),
        ("/smart/flowsheet/unknown", 401, "session is over"),
        ("/smart/worksheet/unknown", 401, "session is over"),
    ],
)
def test_a_browser_gets_words_on_a_page_and_a_program_problem_details(
    path: str, status: int, words: str, world: World
) -> None:
    address = world.base + path.replace("{silent}", world.silent)
    shown = Browser(world).get(address, Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (shown.status_code, shown.headers["Content-Type"].split(";")[0]) == (status, "text/html")
    assert words in shown.text
    assert "frame-ancestors" in shown.headers["Content-Security-Policy"]
    told = Browser(world).get(address)
    assert (told.status_code, told.headers["Content-Type"]) == (status, "application/problem+json")
    assert words in told.json()["detail"]


def test_the_database_holds_no_token_in_the_clear(world: World, tmp_path: Path) -> None:
    Browser(world).through()
    token = next(iter(world.ehr._tokens))
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in stored
    assert b"demo-03" not in stored


def test_the_worksheet_shows_the_record_and_what_would_follow(world: World) -> None:
    browser = Browser(world)
    page = browser.through()
    address = page.url.replace("flowsheet", "worksheet")
    recorded = browser.get(address).text
    assert 'value="2.6"' in recorded
    assert "450 mg every 48 h (prophylaxis)" in recorded  # (140-68) x 82 kg / (72 x 2.6) = 31.5 -> 32
    supposed = browser.get(f"{address}?creatinine=1.2&creatinine_unit=mg/dL").text
    assert "900 mg once daily (prophylaxis)" in supposed  # (140-68) x 82 kg / (72 x 1.2) = 68.3 -> 68
    assert "supposed numbers" in supposed
    in_umol = browser.get(f"{address}?creatinine=106.08&creatinine_unit=umol/L").text  # 1.2 mg/dL
    assert "900 mg once daily (prophylaxis)" in in_umol
    lighter = browser.get(f"{address}?weight=62").text  # 72 x 62 / (72 x 2.6) = 23.8 -> 24
    assert "450 mg 2 times weekly (prophylaxis)" in lighter or "450 mg twice weekly (prophylaxis)" in lighter
    wrong = browser.get(f"{address}?creatinine=abc").text
    assert "write a number" in wrong


def test_a_regimen_is_not_judged_beside_the_other_rows_of_the_worksheet(world: World) -> None:
    browser = Browser(world)
    page = browser.through()
    shown = browser.get(page.url.replace("flowsheet", "worksheet")).text
    assert "ganciclovir injection" in shown
    assert "in this session" not in shown
    assert "with maribavir" not in shown


@pytest.mark.parametrize(
    ("medications", "words"),
    [
        ("gone", "No running CMV antiviral is on the medication list"),
        ("refused", "No therapy could be checked: the medication list is not known (fetch failed"),
    ],
)
def test_no_card_is_told_apart_from_nothing_checked(medications: str, words: str, world: World) -> None:
    held = world.ehr.resources[PATIENT]
    held[:] = [one for one in held if one["resourceType"] != "MedicationRequest"]
    world.refused = "MedicationRequest" if medications == "refused" else ""
    assert words in Browser(world).through().text


def test_a_card_with_a_plot_is_shown_without_the_sample_patients(world: World) -> None:
    page = Browser(world).through("demo-19")
    assert "CMV DNA rises again on valganciclovir" in page.text
    assert "<polyline" in page.text


def test_resistance_results_of_one_day_are_read_together(world: World) -> None:
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", Browser(world).through("demo-22").text))
    assert "2026-11-18 : UL54: nothing found; UL97 C592G; UL97 L595S" in shown
    assert "UL54 not reported" not in shown
    assert "letermovir not known UL56 not reported; UL89 not reported; UL51 not reported" in shown


def test_cards_link_to_the_app_where_it_is_configured(world: World, knowledge: Knowledge) -> None:
    patient = next(p for p in read_patients() if p.key.startswith("03"))
    answer = requests.post(f"{world.base}/cds-services/{patient.service}", json=patient.request, timeout=20).json()
    (link,) = answer["cards"][0]["links"]
    assert link["type"] == "smart"
    assert link["url"] == f"{world.base}/smart/launch"
    assert re.fullmatch(r"[0-9a-f-]{36}", link["appContext"])
    bare = create_app(Settings(database="sqlite:///:memory:", today=TODAY), knowledge=knowledge).test_client()
    cards = bare.post(f"/cds-services/{patient.service}", json=patient.request).get_json()["cards"]
    assert "links" not in cards[0]


@pytest.mark.parametrize("iss", ["http://ehr.example.org/fhir", "http://127.0.0.1@evil.example.org/fhir"])
def test_a_server_without_encryption_is_refused_at_the_start(iss: str, tmp_path: Path) -> None:
    path = tmp_path / "cdshooks.toml"
    path.write_text(f'[smart]\nclient_id = "app"\niss = ["{iss}"]\n')
    with pytest.raises(ConfigurationError, match="smart"):
        load_settings(path, {})
