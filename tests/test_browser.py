"""The SMART app in a real browser: Chromium, headless, against the running demonstration.

Skipped with a printed line where no Chromium is installed (Debian's package `chromium`).
"""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from browser import CHROMIUM, demonstration, launched
from browser import open_flowsheet as open_app
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the pages were not looked at")

PATIENT = "03-kidney-transplant-falling-function"


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


def test_the_table_holds_the_same_data(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    page.locator("#rows summary").press("Enter")  # by keyboard
    drawn = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
    points = sum(len(series["points"]) for panel in drawn["panels"] for series in panel["series"])
    assert page.locator("#rows tbody tr").count() == points + len(drawn["clearance"]) + len(drawn["bars"])


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


@pytest.mark.parametrize("view", ["flowsheet", "worksheet"])
def test_no_serious_accessibility_finding(view: str, context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    if view == "worksheet":
        page.get_by_role("link", name="Dose worksheet").click()
        page.wait_for_selector(".regimens")
    # evaluated by the debugger: the page's own policy stays as it is
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(result => JSON.stringify(result.violations))")
    serious = [
        f"{violation['id']}: {[node['target'] for node in violation['nodes']]}"
        for violation in json.loads(found)
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_an_unlisted_server_gets_words_and_no_launch(context: BrowserContext, demo: str) -> None:
    page = context.new_page()
    answer = page.goto(f"{demo}/smart/launch?iss=https://elsewhere.example.org/fhir")
    assert answer is not None
    assert answer.status == 400


def test_a_lost_session_is_said_in_words(context: BrowserContext, demo: str) -> None:
    page = open_flowsheet(context, demo)
    context.clear_cookies()
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("This session is over")


def test_two_thousand_results_are_drawn_in_two_seconds(context: BrowserContext, demo: str, tmp_path: Path) -> None:
    """The page's own script and library, with five years of results in its data block."""
    page = open_flowsheet(context, demo)
    drawn = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
    start = date(2021, 11, 21)
    for panel in drawn["panels"]:
        panel["series"] = panel["series"][:1]
    per_panel = 2000 // len(drawn["panels"]) + 1
    for panel in drawn["panels"]:
        panel["series"][0]["points"] = [
            {
                "at": (start + timedelta(days=i * 1826 // per_panel)).isoformat(),
                "value": 1 + i % 7,
                "bound": "",
                "words": "",
            }
            for i in range(per_panel)
        ]
    total = sum(len(panel["series"][0]["points"]) for panel in drawn["panels"])
    assert total >= 2000
    took = page.evaluate(
        """async (sent) => {
            Object.assign(data, sent);
            const start = performance.now();
            await draw();
            return performance.now() - start;
        }""",
        drawn,
    )
    assert took < 2000
