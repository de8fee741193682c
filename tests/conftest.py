"""Shared fixtures; at the end of a run, the cards that scenarios expect are counted and the oracle's seeds printed."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pg_server
import pytest
from flask.testing import FlaskClient
from hypothesis import settings
from scenario import Json, Scenario, render

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import Answer, evaluate
from cdshooks.service.app import create_app
from cdshooks.service.config import Settings
from cdshooks.service.store import upgrade_store
from cdshooks.wire.hooks import read_call

settings.register_profile("busy", deadline=None)  # a busy machine is no defect
settings.load_profile("busy")

Judge = Callable[[Json, date], Answer]
CardsOf = Callable[[Scenario], list[Json]]
ClientOn = Callable[[date], FlaskClient]


@pytest.fixture(scope="session")
def knowledge() -> Knowledge:
    """The built-in knowledge, read once."""
    return load_knowledge()


@pytest.fixture(scope="session")
def judge(knowledge: Knowledge) -> Judge:
    """A hook request straight through the pipeline; a check that raises is an error of the test."""

    def judged(request: Json, today: date) -> Answer:
        body = orjson.dumps(request)
        service = f"cmv-{request['hook']}"
        call = read_call(service, body, max_depth=64, max_entries=10_000, prefetch_keys={})
        answer = evaluate(call, knowledge=knowledge, today=today, zone=ZoneInfo("UTC"))
        for name, error in answer.failures:
            raise AssertionError(f"the check {name!r} raised") from error
        return answer

    return judged


@pytest.fixture(scope="session")
def cards_of(judge: Judge) -> CardsOf:
    """The cards of a scenario straight through the pipeline, judged once for all tests of a process."""
    kept: dict[str, list[Json]] = {}

    def cards(scenario: Scenario) -> list[Json]:
        if scenario.name not in kept:
            kept[scenario.name] = judge(render(scenario), scenario.today).cards
        return kept[scenario.name]

    return cards


@pytest.fixture(scope="session")
def client_on(knowledge: Knowledge) -> ClientOn:
    """The service behind its HTTP door on a clinical date."""

    @cache
    def client(today: date) -> FlaskClient:
        return create_app(Settings(database="sqlite:///:memory:"), knowledge=knowledge, today=today).test_client()

    return client


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How often the scenarios expect silence, information, warnings: an alert that everybody gets is read by nobody.

    And the seeds of the random orders, to make them again.
    """
    told: dict[str, Counter[object]] = {"worst card": Counter(), "cards": Counter(), "oracle": Counter()}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for key, value in report.user_properties:
                if key in told:
                    told[key][value] += 1
    if worst := told["worst card"]:
        parts = ", ".join(f"{name} {worst[name]}" for name in ("silent", "info", "warning", "critical"))
        terminalreporter.write_line(f"scenarios {worst.total()}: {parts}")
    if cards := {int(str(count)): times for count, times in told["cards"].items()}:
        parts = ", ".join(f"{count} in {cards[count]}" for count in sorted(cards))
        terminalreporter.write_line(f"cards per scenario: {parts}")
    if orders := told["oracle"]:
        terminalreporter.write_line(f"random orders against the oracle: {', '.join(map(str, orders))}")


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'kept.db'}"
    else:
        with pg_server.database() as made:
            upgrade_store(made)
            yield made
