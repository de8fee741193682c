"""`cdshooks report feedback`: counted by hand from a few calls and reports, as table, CSV and page."""

import csv
import re
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cdshooks.cli import main
from cdshooks.service import audit
from cdshooks.service.report import ReasonLine, Report, RuleLine, ServiceLine, make_report, page
from cdshooks.service.store import keep_cards, keep_feedback, open_store
from cdshooks.wire.hooks import FeedbackEntry

MONDAY = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
SIGN = "cmv-order-sign"
NOBODY = audit.Asker("", "", "")
KEY = audit.make_key("k")
MEANINGS = {"benefit": "Benefit outweighs the risk"}


@pytest.fixture
def store(address: str) -> Iterator[Engine]:
    engine = open_store(address)
    yield engine
    engine.dispose()


def call(
    store: Engine, *cards: tuple[str, str, list[str]], at: datetime = MONDAY, shown: bool = True, orders: int = 1
) -> None:
    """A call that found cards: (uuid, indicator, rules)."""
    rows = [{"uuid": u, "topic": "renalDose", "indicator": i, "rules": r} for u, i, r in cards]
    entry = audit.Entry(
        "call", SIGN, NOBODY, shown=shown, orders=["valganciclovir"] * orders, cards=rows, knowledge_version="k1"
    )
    with store.begin() as connection:
        keep_cards(connection, rows, service=SIGN, knowledge_version="k1", at=at, shown=shown)
        audit.append(connection, KEY, entry, at=at)


def say(store: Engine, card: str, outcome: str, *codes: str, at: datetime = MONDAY, comment: str = "") -> None:
    entry = FeedbackEntry(card, outcome, at.isoformat(), tuple((c, "urn:x", "words") for c in codes), comment, ())
    with store.begin() as connection:
        keep_feedback(connection, [entry], service=SIGN, at=at)


def fill(store: Engine) -> None:
    call(store, ("a", "critical", ["dose/x", "kidney/function"]), ("b", "info", ["data/sent"]))
    call(store, ("c", "warning", ["dose/x"]))
    call(store, ("d", "critical", ["dose/x"]), at=MONDAY + timedelta(days=1))
    call(store)  # silence
    call(store, orders=0)  # nothing of ours
    call(store, ("e", "critical", ["dose/x"]), shown=False)  # silent mode: nobody saw it
    say(store, "a", "overridden", "benefit", comment="Quetzalcoatlus, MRN4711zz")
    say(store, "a", "overridden", "benefit", comment="Quetzalcoatlus, MRN4711zz")  # the same report again
    say(store, "c", "overridden", "benefit", "my own words about Mrs Quetzalcoatlus")
    say(store, "c", "accepted", at=MONDAY + timedelta(hours=1))  # the last word
    say(store, "c", "accepted", at=MONDAY + timedelta(hours=2))
    say(store, "d", "overridden", at=MONDAY + timedelta(days=1))
    say(store, "nobody's", "accepted")


def test_counts_are_those_by_hand(store: Engine) -> None:
    fill(store)
    assert make_report(store, MEANINGS) == Report(
        since=None,
        until=None,
        # 6 calls, 5 orders; alerts a, c, d, e
        services=(ServiceLine(SIGN, 6, 1, 5, 1, 1, 3, 80.0),),
        rules=(
            RuleLine("dose/x", 3, 1, 2, 0, 66.7, "benefit"),
            RuleLine("kidney/function", 1, 0, 1, 0, 100.0, "benefit"),
            RuleLine("data/sent", 1, 0, 0, 1, None, ""),
        ),
        reasons=(
            ReasonLine("dose/x", "benefit", "Benefit outweighs the risk", 1),
            ReasonLine("dose/x", "(none given)", "", 1),
            ReasonLine("kidney/function", "benefit", "Benefit outweighs the risk", 1),
        ),
        knowledge_versions=("k1",),
        unmatched=1,
    )  # fmt: skip


def test_a_period_counts_its_own_calls_and_what_came_later_about_them(store: Engine) -> None:
    fill(store)
    tuesday = MONDAY + timedelta(hours=12)
    before, after = make_report(store, {}, until=tuesday), make_report(store, {}, since=tuesday)
    assert [line.calls for line in (*before.services, *after.services)] == [5, 1]
    assert [(line.rule, line.shown, line.overridden) for line in after.rules] == [("dose/x", 1, 1)]
    say(store, "b", "accepted", at=MONDAY + timedelta(days=9))
    again = {line.rule: line for line in make_report(store, {}, until=tuesday).rules}
    assert again["data/sent"].accepted == 1


def test_nothing_at_all_is_a_report_too(store: Engine) -> None:
    empty = make_report(store, MEANINGS)
    assert empty == Report(None, None, (), (), (), (), 0)
    assert "<table>" not in page(empty)


def run(address: str, *arguments: str) -> Result:
    done = CliRunner().invoke(
        main, ["report", "feedback", *arguments], env={"CDSHOOKS_DATABASE": address, "COLUMNS": "140"}
    )
    assert done.exit_code == 0, done.output
    return done


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_table_and_the_csv_files_say_the_same(store: Engine, address: str, tmp_path: Path) -> None:
    fill(store)
    table = run(address).output
    row = next(line for line in table.splitlines() if "dose/x" in line)
    assert re.findall(r"[\w./]+", row) == ["dose/x", "3", "1", "2", "0", "66.7", "benefit"]
    folder = tmp_path / "out" / "csv"
    named = run(address, "--csv", str(folder)).output.split()
    assert [Path(name).name for name in named] == ["services.csv", "rules.csv", "reasons.csv"]
    rules = read_csv(folder / "rules.csv")
    assert rules[0] == {
        "rule": "dose/x", "shown": "3", "accepted": "1", "overridden": "2", "unanswered": "0",
        "override_percent": "66.7", "top_reason": "benefit",
    }  # fmt: skip
    services = read_csv(folder / "services.csv")
    assert services[0]["alerts_per_100_orders"] == "80.0"


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_stands_alone_and_runs_nothing(store: Engine, address: str, tmp_path: Path) -> None:
    fill(store)
    target = tmp_path / "page.html"
    run(address, "--html", str(target))
    tags = _Page(target.read_text(encoding="utf-8")).tags
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form"}
    assert all(not key.startswith("on") and key != "style" for _, attributes in tags for key in attributes)
    policy = next(a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert len(pictures) == 3
    assert all(picture["alt"] for picture in pictures)
    for picture in pictures:
        kind, _, data = (picture["src"] or "").partition(",")
        assert kind == "data:image/svg+xml;base64"
        svg = ElementTree.fromstring(b64decode(data))
        assert svg.tag.endswith("svg")
        assert not [element for element in svg.iter() if element.tag.endswith("script") and element.get("href")]
    assert len(target.read_bytes()) < 300_000


def test_no_way_to_show_it_holds_a_comment_or_words_of_a_reason(store: Engine, address: str, tmp_path: Path) -> None:
    fill(store)
    run(address, "--csv", str(tmp_path / "csv"), "--html", str(tmp_path / "page.html"))
    shown = run(address).output + (tmp_path / "page.html").read_text(encoding="utf-8")
    shown += "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "csv").iterdir())
    for private in ("Quetzalcoatlus", "MRN4711zz", "my own words"):
        assert private not in shown


def test_a_database_that_is_not_there_is_no_empty_report(tmp_path: Path) -> None:
    missing = tmp_path / "elsewhere.db"
    for command in (["report", "feedback"], ["audit", "verify"], ["audit", "export"]):
        done = CliRunner().invoke(main, command, env={"CDSHOOKS_DATABASE": f"sqlite:///{missing}"})
        assert done.exit_code == 2
        assert "there is no file" in done.output
    assert not missing.exists()
