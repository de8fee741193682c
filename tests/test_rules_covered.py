"""Every rule that a card can name is seen to fire in one scenario and to stay quiet in another where it applies.

The edges of the dose tables are the business of test_bands, which refuses a table that it does not hold.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from conftest import CardsOf
from scenario import Json, Scenario, load_scenarios, render, words_of

from cdshooks.medicine.interpret import interpret
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules import CareRule
from cdshooks.medicine.rules.advice import (
    Advice,
    CourseLength,
    Definition,
    EndOfTreatment,
    ProphylaxisLength,
    ResponseRule,
    SecondaryProphylaxis,
)
from cdshooks.medicine.rules.dose import CidofovirRule, DoseRule
from cdshooks.medicine.rules.interaction import DuplicateRule, InteractionLimits, InteractionRule
from cdshooks.medicine.rules.kidney import KidneyRule
from cdshooks.medicine.rules.monitoring import MonitoringRule, ToxicityRule
from cdshooks.medicine.rules.reading import JudgementRule, PhaseRule, SiteRule
from cdshooks.medicine.rules.renal_dose import RenalDoseRule
from cdshooks.medicine.rules.resistance import ResistanceRule
from cdshooks.medicine.rules.safety import AllergyRule, ImmunosuppressionRule, PregnancyRule, SafetyRule
from cdshooks.model import Chart, Order
from cdshooks.wire.fhir import read_chart
from cdshooks.wire.hooks import read_call

CHECKS = Path(str(files("cdshooks.medicine").joinpath("checks")))
SCENARIOS = load_scenarios()
AWAITED: dict[str, set[str]] = {"fires": set(), "quiet": set()}  # rules whose scenarios are still to be written: none
_BEHIND = (
    JudgementRule,
    PhaseRule,
    InteractionLimits,
    SiteRule,
    ResponseRule,
)  # never named on a card: others are judged by them
WITHOUT_SCENARIO = {"service/check-failed"}  # a defect of our own: tested at the HTTP door


@cache
def named_in_code() -> set[str]:
    """The rule ids that stand in the checks themselves: `data/usable` and its like, which need no file."""
    texts = (
        node.value
        for path in CHECKS.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in texts if re.fullmatch(r"(?:data|service)/[a-z-]+", text)}


def ids(knowledge: Knowledge) -> set[str]:
    """Every rule id that a card can name; how doses are compared and phases are read stands behind all of them."""
    filed = {rule.id for rule in knowledge.rules if not isinstance(rule, _BEHIND)}
    return filed | named_in_code()


def chart_of(scenario: Scenario) -> Chart:
    body = orjson.dumps(render(scenario))
    return read_chart(read_call(scenario.service, body, max_depth=64, max_entries=1000, prefetch_keys={}))


def judged_orders(scenario: Scenario, knowledge: Knowledge) -> tuple[Order, ...]:
    return interpret(chart_of(scenario), knowledge, scenario.today, ZoneInfo("UTC")).orders


def about_other_drugs(scenario: Scenario, knowledge: Knowledge) -> Iterator[str]:
    """The ids of the rules on antivirals of other viruses that a call orders."""
    ordered = frozenset().union(*(knowledge.medicines.of(order.drug) for order in chart_of(scenario).judged))
    yield from (rule.id for rule in knowledge.not_for_cmv if ordered & knowledge.medicines.members(rule.drugs))


def applicable(order: Order, knowledge: Knowledge) -> Iterator[str]:
    """The ids of the rules that could have something to say about an order."""
    yield from named_in_code()
    for rule in knowledge.rules:
        if isinstance(rule, _BEHIND):
            continue
        if isinstance(rule, InteractionRule):
            if order.product.drug in rule.drugs:
                yield rule.id
        elif isinstance(rule, DuplicateRule):
            yield rule.id
        elif isinstance(rule, KidneyRule):
            if knowledge.dose_table(order.product.drug, order.route, order.indication):
                yield rule.id
        elif isinstance(rule, ResistanceRule):
            if rule.data_drug(order.product.drug) in rule.drugs:
                yield rule.id
        elif isinstance(rule, RenalDoseRule) and rule.indication != order.indication:
            continue
        elif isinstance(rule, Advice | CourseLength | ProphylaxisLength):
            yield from [rule.id] if order.product.drug in rule.drugs else []
        elif isinstance(rule, Definition | EndOfTreatment | SecondaryProphylaxis):
            yield rule.id
        elif isinstance(rule, MonitoringRule | ToxicityRule):
            if order.product.drug in rule.drugs:
                yield rule.id
        elif isinstance(rule, CareRule):
            if order.product.drug in rule.about:
                yield rule.id
        elif (
            isinstance(rule, RenalDoseRule | DoseRule | CidofovirRule)
            and rule.drug == order.product.drug
            and order.route in rule.routes
        ):
            yield rule.id


@pytest.fixture(scope="module")
def answers(cards_of: CardsOf) -> list[tuple[Scenario, list[Json]]]:
    """Every scenario with its cards."""
    return [(scenario, cards_of(scenario)) for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def met(answers: list[tuple[Scenario, list[Json]]], knowledge: Knowledge) -> dict[str, dict[str, list[str]]]:
    """Rule id -> "fires" or "quiet" -> names of scenarios."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"fires": [], "quiet": []})
    for scenario, cards in answers:
        fired = {rule for card in cards for rule in card["extension"]["cmv-cds.finding"]["checks"]}
        for rule in fired:
            found[rule]["fires"].append(scenario.name)
        orders = [order for order in judged_orders(scenario, knowledge) if order.systemic]
        about = {rule for order in orders for rule in applicable(order, knowledge)}
        for rule in {*about, *about_other_drugs(scenario, knowledge)} - fired:
            found[rule]["quiet"].append(scenario.name)
    return dict(found)


def test_the_checks_name_rules_of_their_own() -> None:
    assert {"data/usable", "data/sent", "data/patient", "service/check-failed"} <= named_in_code()


def test_no_card_names_a_rule_that_is_not_known(met: dict[str, dict[str, list[str]]], knowledge: Knowledge) -> None:
    assert {rule for rule, seen in met.items() if seen["fires"]} <= ids(knowledge)


@pytest.mark.parametrize("how", ["fires", "quiet"])
def test_every_rule_fires_in_a_scenario_and_stays_quiet_in_another(
    how: str, met: dict[str, dict[str, list[str]]], knowledge: Knowledge
) -> None:
    never = {rule for rule in ids(knowledge) - WITHOUT_SCENARIO if not met.get(rule, {}).get(how)}
    assert never == AWAITED[how], (
        "a rule without a scenario, or one that has got its scenario and stands in AWAITED still"
    )


def rows(knowledge: Knowledge) -> Iterator[tuple[str, str, str]]:
    """(rule, drug or "", words) of every row of the tables on safety and toxicity, as a card says it."""
    for rule in (*knowledge.care, *knowledge.toxicity):
        match rule:
            case SafetyRule():
                advice = (*rule.by_route, *rule.in_words, *rule.days_by_route, *rule.with_problem, *rule.companions)
                yield from ((rule.id, rule.drug, row.summary) for row in advice)
            case AllergyRule():
                yield from ((rule.id, drug, row.says) for row in rule.rows for drug in row.orders)
            case PregnancyRule():
                for row in rule.antivirals:
                    for drug in row.drugs:
                        yield from ((rule.id, drug, text) for text in (row.pregnant_says, row.breastfeeding_says))
            case ImmunosuppressionRule():
                yield from ((rule.id, "", row.says) for row in rule.rows)
            case ToxicityRule():
                for limit in rule.limits:
                    below = limit.below is not None
                    edge = f"below {limit.below}" if below else f"{limit.at_least} {limit.unit} or more"
                    yield rule.id, "", edge


def test_every_row_of_safety_and_toxicity_is_said_in_a_scenario(
    answers: list[tuple[Scenario, list[Json]]], knowledge: Knowledge
) -> None:
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for _, cards in answers:
        for card in cards:
            finding = card["extension"]["cmv-cds.finding"]
            for rule in finding["checks"]:
                told[rule].append((finding.get("drug", ""), words_of(card)))
    never = {
        row
        for row in rows(knowledge)
        if not any(row[1] in ("", drug) and row[2].casefold() in words for drug, words in told[row[0]])
    }
    assert never == set()
