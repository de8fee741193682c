"""Every rule, every input of it, in every way in which the input can be missing: each is visible on a card.

The table is made from the knowledge: a rule that is added is held against it at once. A patient who has all that the
rule asks for gets no card about the input; then the input is taken away, spoilt or made too old, one way after another,
and a card has to name it. Another kind of rule joins by an entry in `dues_of`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from conftest import Judge
from scenario import STRANGER, Json, Scenario, bundle, render, topic, words_of

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.rules.monitoring import Due, Limit, MonitoringRule, ToxicityRule
from cdshooks.model import Phase

TODAY = date(2026, 11, 21)
WATCHED = ("monitoring", "toxicity", "dataQuality")  # topics that may name a missing input

GOOD = {  # what a patient who is looked after has: analyte, test or procedure -> (name in a scenario, result)
    "anc": ("neutrophil count", "3.4 10*3/uL"),
    "platelets": ("platelet count", "210 10*3/uL"),
    "haemoglobin": ("haemoglobin", "12.8 g/dL"),
    "calcium-total": ("total calcium", "9.2 mg/dL"),
    "calcium-ionized": ("ionised calcium", "1.19 mmol/L"),
    "magnesium": ("magnesium", "2.0 mg/dL"),
    "potassium": ("potassium", "4.2 mmol/L"),
    "phosphate": ("phosphate", "3.4 mg/dL"),
    "qtc": ("QTc", "430 ms"),
    "alt": ("ALT", "24 U/L"),
    "ast": ("AST", "22 U/L"),
    "bilirubin-total": ("bilirubin", "0.6 mg/dL"),
    "cmv-viral-load": ("CMV DNA in plasma", "3400 [IU]/mL"),
    "tacrolimus-level": ("tacrolimus level", "8 ng/mL"),
    "cyclosporine-level": ("ciclosporin level", "150 ng/mL"),
    "sirolimus-level": ("sirolimus level", "8 ng/mL"),
    "everolimus-level": ("everolimus level", "6 ng/mL"),
}
PROCEDURES = {"eye-examination": "Ophthalmic examination and evaluation"}
ORDERS: dict[str, Json] = {
    "ganciclovir": {"order": "ganciclovir injection", "dose": "5 mg/kg", "every": "12 h", "route": "iv"},
    "valganciclovir": {"order": "valganciclovir 450 mg tablet", "dose": "900 mg", "every": "12 h", "route": "oral"},
    "foscarnet": {"order": "foscarnet", "dose": "90 mg/kg", "every": "12 h", "route": "iv"},
    "cidofovir": {"order": "cidofovir injection", "dose": "5 mg/kg", "every": "1 wk", "route": "iv"},
    "maribavir": {"order": "maribavir 200 mg tablet", "dose": "400 mg", "every": "12 h", "route": "oral"},
    "letermovir": {"order": "letermovir 480 mg tablet", "dose": "480 mg", "every": "24 h", "route": "oral"},
    "brincidofovir": {"order": "brincidofovir 100 mg tablet", "dose": "200 mg", "every": "1 wk", "route": "oral"},
}
REASONS = {
    Phase.TREATMENT: "Treatment of CMV disease",
    Phase.MAINTENANCE: "Maintenance",
    Phase.PROPHYLAXIS: "CMV prophylaxis",
}
CONDITIONS = {"cmv-retinitis": "CMV retinitis", "cmv-congenital": "Congenital CMV infection"}


@dataclass(frozen=True, slots=True)
class Row:
    """One input of one rule, for one drug in one phase."""

    rule: MonitoringRule
    due: Due
    drug: str
    phase: Phase
    limits: tuple[Limit, ...] = ()  # of the input, where the rule is one of limits

    @property
    def source(self) -> str:
        """The test of those that stand for one another that is there, and is then spoilt."""
        return next(name for name in self.due.any_of if name in GOOD or name in PROCEDURES)


def dues_of(rule: object, knowledge: Knowledge) -> Iterator[Row]:
    """The inputs of a rule as tests that are due; reminders, which nobody can look up, have none."""
    if isinstance(rule, MonitoringRule):
        for drug in rule.drugs:
            if not rule.routes or {"iv": "intravenous"}.get(ORDERS[drug]["route"], "oral") in rule.routes:
                for phase in rule.phases or ((Phase.PROPHYLAXIS,) if drug == "letermovir" else (Phase.TREATMENT,)):
                    yield from (Row(rule, due, drug, phase) for due in rule.tests if due.any_of)
    elif isinstance(rule, ToxicityRule):
        for asking in knowledge.monitoring:
            for row in dues_of(asking, knowledge):
                limits = tuple(limit for limit in rule.limits if limit.analyte == row.source)
                if row.drug in rule.drugs and limits:
                    yield Row(asking, row.due, row.drug, row.phase, limits)


def request(row: Row) -> Json:
    """A patient who has all that the rule asks for, and the therapy in the days in which it asks."""
    rule, order = row.rule, ORDERS[row.drug] | {"reason": REASONS[row.phase]}
    day = rule.intervals[0].from_day + 1
    running = [] if rule.after_stop_of else [order | {"from": TODAY - timedelta(days=day)}]
    running += [
        ORDERS[drug] | {"from": date(2026, 9, 1), "to": TODAY - timedelta(days=day), "status": "completed"}
        for drug in rule.after_stop_of[:1]
    ]
    running += [{"order": drug, "from": date(2026, 9, 1)} for drug in row.due.beside]
    yesterday = TODAY - timedelta(days=1)
    given: dict[str, Any] = {
        "today": TODAY,
        "patient": {"age": 50, "sex": "male", "weight": "70 kg"},
        "labs": [
            {"name": "serum creatinine", "result": "0.8 mg/dL", "date": yesterday},
            {"name": "urine protein", "words": "negative", "date": yesterday},
            *({"name": name, "result": result, "date": yesterday} for name, result in GOOD.values()),
        ],
        "procedures": [{"name": name, "date": yesterday} for name in PROCEDURES.values()],
        "conditions": [{"name": CONDITIONS[problem], "since": date(2026, 9, 1)} for problem in rule.problems],
        "medications": running,
    }
    scenario = Scenario("table", "table", TODAY, given, order, (), "", ())
    return without_alternatives(render(scenario), row)


def without_alternatives(body: Json, row: Row) -> Json:
    """Only one of the tests that stand for one another is there."""
    for name in row.due.any_of:
        if name != row.source and (name in GOOD or name in PROCEDURES):
            change(body, name, lambda entry: None)
    return body


def change(body: Json, name: str, how: Callable[[Json], Json | None]) -> None:
    """Apply `how` to the resource of a test; None takes it away."""
    wanted = GOOD[name][0] if name in GOOD else PROCEDURES[name]
    found = False
    for held in body["prefetch"].values():
        if isinstance(held, dict) and "entry" in held:
            resources = []
            for entry in held["entry"]:
                same = entry["resource"].get("code", {}).get("text") == wanted
                found = found or same
                resource = how(entry["resource"]) if same else entry["resource"]
                resources += [resource] if resource else []
            held.clear()
            held.update(bundle(resources))
    assert found, f"{wanted} is not in the request"


def dated(text: str) -> Callable[[Json], Json]:
    """The same resource on another day."""
    return lambda entry: (
        entry | {key: text for key in ("effectiveDateTime", "performedDateTime", "occurrenceDateTime") if key in entry}
    )


def with_value(value: Mapping[str, Any]) -> Callable[[Json], Json]:
    """The same result with another quantity."""
    return lambda entry: entry | {"valueQuantity": entry["valueQuantity"] | value}


def key_of(row: Row, knowledge: Knowledge) -> str:
    """The prefetch key that holds the input."""
    return "procedures" if row.source in PROCEDURES else knowledge.codes.analytes[row.source].group


def ways(row: Row, knowledge: Knowledge) -> Iterator[tuple[str, Json]]:
    """(in which way, the request): every way in which the input can be missing or of no use."""
    key = key_of(row, knowledge)
    gone: dict[str, Any] = {
        "none on file": {"resourceType": "Bundle", "type": "searchset", "total": 0},
        "null": None,
        "outcome": {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]},
    }
    for way, held in gone.items():
        body = request(row)
        body["prefetch"][key] = held
        yield way, body
    body = request(row)
    del body["prefetch"][key]
    yield "not sent", body
    spoilt: dict[str, Callable[[Json], Json | None]] = {
        "absent": lambda entry: None,
        "other patient": lambda entry: entry | {"subject": {"reference": f"Patient/{STRANGER}"}},
        "stale": dated((TODAY - timedelta(days=370)).isoformat()),
        "future": dated((TODAY + timedelta(days=9)).isoformat()),
        "withdrawn": lambda entry: entry | {"status": "entered-in-error"},
        "partial date": dated(str(TODAY.year)),
        "no date": lambda entry: {k: v for k, v in entry.items() if not k.endswith("DateTime")},
    }
    if row.source in GOOD:
        spoilt["wrong unit"] = with_value({"unit": "furlong", "code": "furlong"})
        spoilt["no value"] = lambda entry: {k: v for k, v in entry.items() if k != "valueQuantity"}
    for way, how in spoilt.items():
        body = request(row)
        change(body, row.source, how)
        yield way, body
    for limit in row.limits:
        edge, sign = (limit.below, ">") if limit.below is not None else (limit.at_least, "<")
        assert edge is not None
        open_bound = edge / 2 if sign == ">" else edge * 2
        beyond = edge / 2 if sign == ">" else edge * 2
        unit = {"unit": limit.unit, "code": limit.unit}
        for way, value in (
            (f"a bound that leaves {edge} open", {"value": float(open_bound), "comparator": sign}),
            (f"beyond {edge}", {"value": float(beyond)}),
            (f"a bound beyond {edge}", {"value": float(beyond), "comparator": {">": "<", "<": ">"}[sign]}),
        ):
            if limit.problems and not set(limit.problems) & set(row.rule.problems):
                continue
            body = request(row)
            change(body, row.source, with_value(value | unit))
            yield way, body


def names_it(cards: list[Json], row: Row, knowledge: Knowledge) -> bool:
    """Does a card name the input?"""
    analyte = knowledge.codes.analytes.get(row.source)
    names = {row.due.name, analyte.name if analyte else ""} - {""}
    about = [card for card in cards if topic(card) in WATCHED]
    return any(name.lower() in words_of(card) for card in about for name in names)


def watching(knowledge: Knowledge) -> dict[str, MonitoringRule | ToxicityRule]:
    """The rules of the table by id."""
    found: dict[str, MonitoringRule | ToxicityRule] = {rule.id: rule for rule in knowledge.monitoring}
    return found | {rule.id: rule for rule in knowledge.toxicity}


REMINDERS = {"monitoring/letermovir-voriconazole"}  # nobody can see whether it was done: no input


@pytest.mark.parametrize("rule_id", sorted(watching(load_knowledge()).keys() - REMINDERS))
def test_a_missing_input_is_visible(rule_id: str, judge: Judge, knowledge: Knowledge) -> None:
    invisible, cells = [], 0
    for row in dues_of(watching(knowledge)[rule_id], knowledge):
        about = f"{row.drug}, {row.phase}, {row.source}"
        whole = judge(request(row), TODAY).cards
        assert not names_it(whole, row, knowledge), f"{about}: a card names it though all is well"
        for way, body in ways(row, knowledge):
            cells += 1
            if not names_it(judge(body, TODAY).cards, row, knowledge):
                invisible.append(f"{about}: {way}")
    assert invisible == []
    assert cells >= 11


def test_reminders_have_no_input(knowledge: Knowledge) -> None:
    assert {rule.id for rule in knowledge.monitoring if not any(due.any_of for due in rule.tests)} == REMINDERS
