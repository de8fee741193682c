"""The verdict on a series of viral loads: what must not change it, and where it turns, over random series."""

from copy import deepcopy
from datetime import date, timedelta
from typing import Any

import pytest
from conftest import Judge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenario import Scenario, load_scenarios, render

Json = dict[str, Any]
SCENARIOS = [scenario for scenario in load_scenarios() if scenario.file == "response"]
TEMPLATE = next(s for s in SCENARIOS if s.name == "CMV DNA up by more than 1 log10 on treatment is refractory")
TODAY = date(2026, 11, 21)
BEGUN = date(2026, 10, 24)


def shape(cards: list[Json]) -> list[tuple[str, str, str, str]]:
    return [(c["source"]["topic"]["code"], c["indicator"], c["summary"], c["detail"]) for c in cards]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_the_order_of_results_and_orders_does_not_matter(scenario: Scenario, judge: Judge) -> None:
    request = render(scenario)
    turned = deepcopy(request)
    for held in turned["prefetch"].values():
        if isinstance(held, dict) and "entry" in held:
            held["entry"].reverse()
    assert shape(judge(turned, scenario.today).cards) == shape(judge(request, scenario.today).cards)


def series(values: list[tuple[int, int]]) -> Json:
    """The template with these (days before today, IU/mL)."""
    request = render(TEMPLATE)
    held = request["prefetch"]["virology"]
    like = held["entry"][0]["resource"]
    held["entry"] = [
        {
            "resource": like
            | {
                "id": f"load-{i}",
                "effectiveDateTime": (TODAY - timedelta(days=days)).isoformat(),
                "valueQuantity": like["valueQuantity"] | {"value": value},
            }
        }
        for i, (days, value) in enumerate(values)
    ]
    return request


def verdicts(judge: Judge, values: list[tuple[int, int]]) -> list[str]:
    cards = judge(series(values), TODAY).cards
    return [
        rule
        for card in cards
        if card["source"]["topic"]["code"] == "response"
        for rule in card["extension"]["cmv-cds.finding"]["checks"]
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.integers(1000, 10**6), after=st.integers(1000, 10**8))
def test_the_change_decides(judge: Judge, before: int, after: int) -> None:
    """With a start and one result after four weeks, both far from the limit, the verdict is by their ratio alone."""
    found = verdicts(judge, [(29, before), (1, after)])
    ratio = after / before
    if ratio > 10.0001:
        wanted = {"response/refractory", "response/genotype-due"}
    elif 10**-0.4999 < ratio < 9.9999:
        wanted = {"response/probable-refractory", "response/genotype-due"}
    elif 10**-0.9999 < ratio < 10**-0.5001:
        wanted = {"response/slow"}
    elif ratio < 10**-1.0001:
        wanted = set()
    else:
        return  # on an edge
    assert set(found) == wanted


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 10**7)), min_size=1, max_size=6))
def test_nothing_is_said_of_a_load_that_is_gone(judge: Judge, values: list[tuple[int, int]]) -> None:
    """Whatever came before: once the newest result is zero, no response card."""
    assert verdicts(judge, [*((days + 1, value) for days, value in values), (0, 0)]) == []
