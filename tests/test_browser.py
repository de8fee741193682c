"""The SMART app in a real browser: Chromium, headless, against the running demonstration.

Skipped where no Chromium is installed; `make test` says so, and installs Debian's package where it may.
"""

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Literal

import pytest
from browser import CHROMIUM, demonstration, launched
from browser import open_flowsheet as open_app
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from test_smart import World, made_world

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service.demo import TODAY

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the pages were not looked at")

PATIENT = "03-kidney-transplant-falling-function"
RESISTANT = "19-kidney-transplant-resistant"
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demonstration on a port of its own."""
    with demonstration(tmp_path_factory.mktemp("demo")) as base:
        yield base


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    found = chromium.new_context(viewport={"width": 1000, "height": 900})
    found.set_default_timeout(60_000)
    yield found
    found.close()


def open_flowsheet(context: BrowserContext, demo: str, patient: str = PATIENT) -> Page:
    page = context.new_page()
    open_app(page, demo, patient)
    return page


def test_from_a_patient_to_the_flowsheet(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    expect(page.get_by_role("heading", name="Today's checks: 1 card")).to_be_visible()
    expect(page.get_by_text("Valganciclovir 900 mg once daily is too much at CrCl 32").first).to_be_visible()
    assert page.locator("#chart .xy, #chart .subplot").count() >= 4
    cookies = {cookie["name"]: cookie for cookie in context.cookies(demo)}
    (name,) = cookies
    assert name.startswith("__Host-")
    assert cookies[name]["httpOnly"]
    assert cookies[name]["secure"]


def test_the_axes_move_together(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    page.get_by_role("button", name="30 days").click()
    expect(page.get_by_role("button", name="30 days")).to_have_attribute("aria-pressed", "true")
    first, last = page.evaluate("document.getElementById('chart').layout.xaxis.range")
    assert date.fromisoformat(last[:10]) - date.fromisoformat(first[:10]) <= timedelta(days=32)
    page.get_by_role("button", name="All").click()
    first, _ = page.evaluate("document.getElementById('chart').layout.xaxis.range")
    assert first[:10] < "2026-09-01"


@pytest.mark.parametrize("patient", [PATIENT, RESISTANT])
def test_the_table_holds_the_same_data(patient: str, context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo, patient)
    page.locator("#rows summary").press("Enter")  # by keyboard
    drawn = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
    points = sum(len(series["points"]) for panel in drawn["panels"] for series in panel["series"])
    others = sum(len(drawn[kind]) for kind in ("clearance", "bars", "resistance"))
    assert page.locator("#rows tbody tr").count() == points + others


def test_the_worksheet_answers_what_if(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    page.get_by_role("link", name="Dose worksheet").click()
    page.get_by_label("serum creatinine", exact=True).fill("1.2")
    page.get_by_role("button", name="Work out").click()
    expect(page.get_by_text("These are supposed numbers, not the record's.")).to_be_visible()
    expect(page.get_by_text("900 mg once daily (prophylaxis)", exact=True)).to_be_visible()
    page.get_by_role("link", name="Back to the record's numbers").click()
    expect(page.get_by_text("450 mg every 48 h (prophylaxis)", exact=True)).to_be_visible()


def test_a_side_panel_of_400_pixels_needs_no_sideways_scrolling(chromium: Browser, demo: str) -> None:
    context = chromium.new_context(viewport={"width": 400, "height": 800}, color_scheme="dark")
    context.set_default_timeout(60_000)
    page = open_flowsheet(context, demo)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.get_by_role("link", name="Dose worksheet").click()
    page.wait_for_selector(".regimens")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    context.close()


def serious_findings(page: Page) -> list[str]:
    """What axe finds that keeps somebody out. Evaluated by the debugger: the page's own policy stays as it is."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(result => JSON.stringify(result.violations))")
    return [
        f"{violation['id']}: {[node['target'] for node in violation['nodes']]}"
        for violation in json.loads(found)
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("patient", [PATIENT, RESISTANT])
@pytest.mark.parametrize("view", ["flowsheet", "worksheet"])
def test_no_serious_accessibility_finding(view: str, patient: str, context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo, patient)
    if view == "worksheet":
        page.get_by_role("link", name="Dose worksheet").click()
        page.wait_for_selector(".regimens")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert serious_findings(page) == []


PUBLIC = (
    "/",
    "/knowledge",
    "/knowledge?drug=foscarnet",
    "/knowledge/doses",
    "/knowledge/mutations?gene=UL54",
    "/knowledge/sources",
    "/knowledge/changes",
    "/knowledge/rules/renal-dose/valganciclovir",
    "/knowledge/rules/interaction/maribavir",
    "/knowledge/rules/resistance/genotype",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PUBLIC)
def test_every_public_page_is_readable_in_a_narrow_window(
    path: str, scheme: Scheme, chromium: Browser, demo: str
) -> None:
    context = chromium.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Security Policy" in message.text else None)
    page.goto(demo + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert serious_findings(page) == []
    assert refused == []
    context.close()


def test_rules_are_found_by_drug_and_read_by_keyboard(context: BrowserContext, demo: str) -> None:
    page = context.new_page()
    page.goto(demo + "/knowledge")
    page.get_by_role("link", name="foscarnet", exact=True).press("Enter")
    expect(page.get_by_text("renal-dose/foscarnet", exact=True)).to_be_visible()
    expect(page.get_by_text("renal-dose/valganciclovir")).to_have_count(0)
    page.get_by_role("link", name="Foscarnet dose for adult kidney function", exact=True).press("Enter")
    row = page.get_by_role("row").filter(has_text="1.4").first
    expect(row).to_contain_text("90 mg/kg every 12 h")


def test_resistance_stands_on_the_time_axis_and_in_the_table(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo, RESISTANT)
    drawn = page.evaluate(
        """document.getElementById('chart').data.filter(trace => trace.y && trace.y.includes('ganciclovir'))
           .map(({x, y, text, marker, hovertext}) =>
             x.map((at, i) => [at, y[i], text[i], marker.symbol[i], hovertext[i]]))[0]"""
    )
    marks = {(at, drug): (words, symbol, hover) for at, drug, words, symbol, hover in drawn}
    assert len(marks) == 10  # two days, five drugs
    words, symbol, hover = marks["2026-11-16", "ganciclovir"]
    assert (words, symbol) == ("moderate", "x")
    assert "UL97 A594V: 8.25-fold" in hover
    assert "Observation/demo-19-genotype" in hover
    assert "UL54 not reported" in hover
    assert marks["2026-11-16", "foscarnet"][1] == "circle-open"  # not looked at is no good news
    assert marks["2026-10-26", "ganciclovir"][1] == "circle-open"  # nor is one gene of two
    page.locator("#rows summary").click()
    row = page.locator("#rows tbody tr").filter(has_text="resistance: UL97 A594V")
    expect(row).to_contain_text("ganciclovir: moderate (not covered: UL54 not reported)")
    expect(page.get_by_role("heading", name="2026-11-16: UL97 A594V")).to_be_visible()


def test_a_gene_that_was_wholly_read_without_a_finding_is_marked_full(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo, "22-heart-transplant-foscarnet-rate")
    drawn = page.evaluate(
        """document.getElementById('chart').data.filter(trace => trace.y && trace.y.includes('ganciclovir'))
           .map(({y, marker}) => y.map((drug, i) => [drug, marker.symbol[i]]))[0]"""
    )
    assert dict(drawn) == {
        "ganciclovir": "x",
        "foscarnet": "circle",
        "cidofovir": "circle",
        "maribavir": "circle-open",
        "letermovir": "circle-open",
    }


def test_why_shows_inputs_formula_row_and_citation(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    page.get_by_text("Why", exact=True).press("Enter")
    why = page.locator("details.why")
    for words in (
        "450 mg every 48 h (prophylaxis)",
        "Observation/demo-03-cr-4",
        "(140 - 68) x 82 kg / (72 x 2.6 mg/dL) = 31.5 mL/min",
        "2.5, Table 2",
        "Knowledge ",
        "reviewed: none",
    ):
        expect(why).to_contain_text(words)
    why.get_by_role("link", name="renal-dose/valganciclovir").click()
    expect(page.get_by_role("heading", name="Valganciclovir dose for adult kidney function")).to_be_visible()


def test_a_card_is_copied_as_plain_text(context: BrowserContext, demo: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=demo)
    page = open_flowsheet(context, demo)
    page.get_by_role("button", name="Copy as text").click()
    expect(page.get_by_role("status").first).to_have_text("Copied.")
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith("CMV therapy check of 2026-11-21, critical: Valganciclovir 900 mg once daily is too much")
    for words in (
        "- Cockcroft-Gault, actual weight: (140 - 68) x 82 kg / (72 x 2.6 mg/dL) = 31.5 mL/min",
        "- serum creatinine 2.6 mg/dL (2026-11-19, Observation/demo-03-cr-4)",
        "Valganciclovir, US prescribing information, section 2.5, Table 2 (version December 2025)",
        "Rule renal-dose/valganciclovir; knowledge ",
    ):
        assert words in text
    assert not set("*<>\\") & set(text)


def test_where_copying_is_not_allowed_the_text_is_shown(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    page.get_by_role("button", name="Copy as text").click()
    expect(page.get_by_role("status").first).to_contain_text("the text stands below")
    expect(page.locator("pre.copied")).to_contain_text("CMV therapy check of 2026-11-21")


@pytest.mark.parametrize(("patient", "most"), [(PATIENT, 1), ("17-stem-cell-transplant-foscarnet", 1), (RESISTANT, 2)])
def test_the_flowsheet_prints_on_one_page_where_that_can_be_read(
    patient: str, most: int, context: BrowserContext, demo: str
) -> None:
    page = open_flowsheet(context, demo, patient)
    assert len(re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4"))) <= most


def test_the_chart_follows_the_size_of_its_window(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    before = page.locator("#chart").bounding_box()
    page.set_viewport_size({"width": 420, "height": 900})
    for _ in range(100):
        if page.evaluate("document.getElementById('chart').layout.width") < 400:
            break
        page.wait_for_timeout(100)
    after = page.locator("#chart").bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] == pytest.approx(before["height"], abs=4)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_an_unlisted_server_gets_words_and_no_launch(context: BrowserContext, demo: str) -> None:
    page = context.new_page()
    answer = page.goto(f"{demo}/smart/launch?iss=https://elsewhere.example.org/fhir")
    assert answer is not None
    assert answer.status == 400
    expect(page.get_by_role("alert")).to_contain_text("may not launch the app")


def test_a_lost_session_is_said_in_words(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    context.clear_cookies()
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("This session is over")


@pytest.fixture
def record_system(knowledge: Knowledge, tmp_path: Path) -> Iterator[World]:
    with made_world(knowledge, tmp_path) as found:
        yield found


def launch(context: BrowserContext, world: World) -> Page:
    page = context.new_page()
    page.goto(f"{world.base}/smart/launch?iss={world.iss}&launch=demo-03")
    return page


def test_a_record_system_that_is_down_is_said_in_words(context: BrowserContext, record_system: World) -> None:
    page = launch(context, record_system)
    page.wait_for_selector("#chart[data-drawn]")
    record_system.broken = True
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("did not give the patient's data")
    record_system.broken = False
    page.reload()
    page.wait_for_selector("#chart[data-drawn]")


def test_an_expired_token_is_said_in_words(context: BrowserContext, record_system: World) -> None:
    record_system.ehr.lifetime_s = 0
    expect(launch(context, record_system).get_by_role("alert")).to_contain_text("This session is over")


def test_two_thousand_results_of_five_years_are_drawn_in_two_seconds(
    context: BrowserContext, record_system: World
) -> None:
    """From the record system to the drawn chart; the two seconds are the page's own."""
    held = record_system.ehr.resources["demo-03"]
    results = [one for one in held if one["resourceType"] == "Observation" and "valueQuantity" in one]
    kinds = list({one["code"]["coding"][0]["code"]: one for one in results}.values())
    days = (TODAY - timedelta(days=1 + i * 1825 // 2000) for i in range(2000))
    held.extend(
        {**kinds[i % len(kinds)], "id": f"old-{i}", "effectiveDateTime": day.isoformat()} for i, day in enumerate(days)
    )
    page = launch(context, record_system)
    page.wait_for_selector("#chart[data-drawn]")
    drawn = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
    points = [point["at"] for panel in drawn["panels"] for series in panel["series"] for point in series["points"]]
    assert len(points) + len(drawn["clearance"]) >= 1000  # the sheet has no panel for the other kinds
    assert min(points) < "2021-12-01"
    assert int(page.get_attribute("#chart", "data-drawn") or "99999") < 2000
