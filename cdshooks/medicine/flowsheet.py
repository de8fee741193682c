"""Everything about CMV therapy on one time axis: results, drugs with their doses, the doses that the kidneys allow.

Facts to a frozen value that a page can draw; which panels there are is in mappings/flowsheet.yaml. No verdict on an
order is made here: that is the checks' business. What a resistance result means for a drug is `resistance.judge`'s.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby

from cdshooks.medicine.kidney import Clearance, cockcroft_gault, cockcroft_gault_per_kg
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.resistance import Gap, Verdict, judge
from cdshooks.medicine.rules.renal_dose import RenalDoseRule, TableRegimen
from cdshooks.medicine.rules.resistance import Level
from cdshooks.model import Facts, Genotype, Lab, Missing, Order, Phase, Reading, Regimen

_BEGINNING = date(1900, 1, 1)


@dataclass(frozen=True, slots=True)
class Series:
    """The usable results of one analyte, oldest first; never mixed with those of another specimen or unit."""

    analyte: str
    name: str
    unit: str
    points: tuple[Lab, ...]
    missing: Missing | None  # why there is none


@dataclass(frozen=True, slots=True)
class Bar:
    """One order of a CMV antiviral: from when to when, and how much a day where its dose can be read.

    `ends` is None for an order that runs, and for one that is over on an unknown day (then `over`).
    """

    drug: str
    name: str
    wording: str
    phase: str
    starts: date | None
    ends: date | None
    over: bool
    amount: Decimal | None  # a day
    unit: str  # "mg" or "mg/kg", "" when no dose could be read
    ref: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a label has for the kidney function of a day: `low`..`high` a day in `unit`; None: not recommended."""

    on: date
    clearance: Clearance
    low: Decimal | None
    high: Decimal | None
    wording: str


@dataclass(frozen=True, slots=True)
class ExpectedDose:
    """The label's dose of one drug over time, from each creatinine to the next."""

    drug: str
    name: str
    unit: str
    steps: tuple[Expected, ...]
    source: str


@dataclass(frozen=True, slots=True)
class ShownPanel:
    """One row of the chart."""

    name: str
    log: bool
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class DrugResistance:
    """What one result says of one drug. "none" is never called susceptible: `gaps` are what was not looked at."""

    drug: str
    level: Level
    because: tuple[str, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResistanceResult:
    """The resistance results of one day by themselves: what they found, and what that means for each drug."""

    on: date | None
    what: str
    remark: str
    ref: str
    found: tuple[str, ...]  # "UL97 A594V (23 %)", "UL54: nothing found"
    drugs: tuple[DrugResistance, ...]


@dataclass(frozen=True, slots=True)
class Flowsheet:
    """All that the page draws."""

    panels: tuple[ShownPanel, ...]
    resistance: tuple[ResistanceResult, ...]  # newest first
    not_used: tuple[str, ...]  # resistance results that do not count, with the reason
    clearance: tuple[tuple[Lab, Clearance], ...]
    bars: tuple[Bar, ...]
    expected: tuple[ExpectedDose, ...]


def flowsheet(facts: Facts, knowledge: Knowledge) -> Flowsheet:
    """The flowsheet of a patient. Panels that belong to a drug appear where the patient has or had that drug."""
    orders = (*facts.orders, *facts.context, *facts.history)
    drugs = {order.product.drug for order in orders}
    bars = tuple(sorted((_bar(order, facts) for order in orders), key=lambda bar: bar.starts or _BEGINNING))
    weights = tuple(reversed(facts.results["weight"].since(_BEGINNING)))
    creatinines = tuple(reversed(facts.results["creatinine"].since(_BEGINNING)))
    return Flowsheet(
        panels=tuple(_panels(facts, knowledge, drugs)),
        resistance=tuple(_resistance(facts, knowledge)),
        not_used=tuple(f"{entry.what} {entry.why}" for entry in facts.genotypes_unused),
        clearance=tuple(_clearances(facts, knowledge, creatinines, weights)),
        bars=bars,
        expected=tuple(_expected(facts, knowledge, orders, creatinines, weights)),
    )


def _panels(facts: Facts, knowledge: Knowledge, drugs: set[str]) -> Iterator[ShownPanel]:
    for panel in knowledge.flowsheet.panels:
        if panel.with_drugs and not drugs & set(panel.with_drugs):
            continue
        series = tuple(_series(name, facts, knowledge) for name in panel.analytes)
        filled = tuple(one for one in series if one.points)
        if filled or not panel.optional:
            yield ShownPanel(panel.name, panel.scale == "log", filled or series[:1])


def _series(name: str, facts: Facts, knowledge: Knowledge) -> Series:
    analyte, results = knowledge.codes.analytes[name], facts.results[name]
    points = tuple(reversed(results.since(_BEGINNING)))
    newest = results.newest()
    return Series(name, analyte.name, analyte.unit, points, newest if isinstance(newest, Missing) else None)


def _resistance(facts: Facts, knowledge: Knowledge) -> Iterator[ResistanceResult]:
    """The results of one day together: a panel comes as one Observation for each gene."""
    measured = [drug for drug, entry in knowledge.resistance.rule.drugs.items() if not entry.follows]
    for _, same_day in groupby(facts.genotypes, key=lambda result: result.on or result.ref):
        results = tuple(same_day)
        judged = (judge(results, knowledge.resistance, drug, facts.today) for drug in measured)
        yield ResistanceResult(
            on=results[0].on,
            what=_joined(result.what for result in results),
            remark=_joined(result.remark for result in results),
            ref=_joined(result.ref for result in results),
            found=tuple(dict.fromkeys(words for result in results for words in _found(result))),
            drugs=tuple(_of_drug(results, verdict, knowledge) for verdict in judged if verdict is not None),
        )


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, texts)))


def _found(result: Genotype) -> Iterator[str]:
    """What a result holds, in words."""
    reading = result.reading
    for change in reading.changes:
        further = ", ".join(filter(None, (change.mixture, change.share)))
        yield f"{change.name} ({further})" if further else change.name
    for call in reading.calls:
        yield f"laboratory: {f'{call.drug} ' if call.drug else ''}{call.says}"
    for gene in reading.clear:
        yield f"{gene}: nothing found" if gene else "nothing found"
    for change in reading.absent:
        yield f"{change.name} not there"
    for gene, words in reading.failed:
        yield f"{gene or 'resistance'} not determined ({words})"
    yield from reading.unread


def _of_drug(results: Sequence[Genotype], verdict: Verdict, knowledge: Knowledge) -> DrugResistance:
    changes = [f"{entry.change.name}: {entry.why}" for entry in verdict.changes]
    calls = [f"laboratory: {entry.call.says}" for entry in verdict.calls]
    gaps = [each.why for each in verdict.unsettled if each.gap is not Gap.GENES]  # said below, gene by gene
    clear = {gene for result in results for gene in result.reading.clear}
    told = clear | {gene for result in results for gene in _told(result.reading)}
    genes = knowledge.resistance.rule.drugs[verdict.drug].genes
    if not verdict.calls and "" not in told:
        gaps += [f"{gene} not reported" for gene in genes if gene not in told]
    level = verdict.level
    if level == "none" and not (changes or calls or "" in clear or clear & set(genes)):
        level = "unknown"  # nothing in them is about this drug
    return DrugResistance(verdict.drug, level, (*changes, *verdict.together, *calls), tuple(dict.fromkeys(gaps)))


def _told(reading: Reading) -> Iterator[str]:
    """The genes that a result says something about, beside those in which nothing was found."""
    yield from (change.gene for change in (*reading.changes, *reading.absent))
    yield from (gene for gene, _ in reading.failed)
    yield from (part.gene for part in reading.covered)


def _bar(order: Order, facts: Facts) -> Bar:
    regimen = order.regimen
    amount, unit = None, ""
    if isinstance(regimen, Regimen) and regimen.per_day is not None and regimen.unit in ("mg", "mg/kg"):
        amount, unit = regimen.high * (regimen.per_day_high or regimen.per_day), regimen.unit
    return Bar(
        drug=order.product.drug,
        name=order.label,
        wording=regimen.wording if isinstance(regimen, Regimen) else "",
        phase=order.intent.phase.value if order.intent.phase else "",
        starts=order.starts,
        ends=order.ends,
        over=order in facts.history,
        amount=amount,
        unit=unit,
        ref=order.chart.ref,
    )


def _weight_on(weights: Sequence[Lab], day: date) -> Lab | None:
    """The latest weight up to a day, else the first one after it."""
    earlier = [weight for weight in weights if weight.on <= day]
    return earlier[-1] if earlier else weights[0] if weights else None


def _clearance_on(
    facts: Facts, knowledge: Knowledge, creatinine: Lab, weights: Sequence[Lab], *, per_kg: bool
) -> Clearance | None:
    """Cockcroft-Gault of the day of a creatinine, with the age of that day."""
    if isinstance(facts.born, Missing) or isinstance(facts.sex, Missing):
        return None
    before = (creatinine.on.month, creatinine.on.day) < (facts.born.month, facts.born.day)
    age = creatinine.on.year - facts.born.year - before
    rule = knowledge.kidney
    if age >= rule.cockcroft_gault.age_from:
        return None
    if per_kg:
        return cockcroft_gault_per_kg(rule, age, facts.sex, creatinine.value)
    weight = _weight_on(weights, creatinine.on)
    return cockcroft_gault(rule, age, facts.sex, weight.value, creatinine.value, "actual weight") if weight else None


def _clearances(
    facts: Facts, knowledge: Knowledge, creatinines: Sequence[Lab], weights: Sequence[Lab]
) -> Iterator[tuple[Lab, Clearance]]:
    if facts.is_younger_than(min(table.adults_from_years for table in knowledge.renal_dose)):
        return  # the formula is for adults
    for creatinine in creatinines:
        if found := _clearance_on(facts, knowledge, creatinine, weights, per_kg=False):
            yield creatinine, found


def _expected(
    facts: Facts, knowledge: Knowledge, orders: Sequence[Order], creatinines: Sequence[Lab], weights: Sequence[Lab]
) -> Iterator[ExpectedDose]:
    """For every drug on the sheet that has a dose table: what the label has from each creatinine on."""
    seen: set[str] = set()
    for order in orders:
        table = knowledge.dose_table(order.product.drug, order.route, order.indication)
        if table is None or table.id in seen or facts.is_younger_than(table.adults_from_years):
            continue
        seen.add(table.id)
        phases = {o.intent.phase for o in orders if o.product.drug == table.drug}
        steps = []
        for creatinine in creatinines:
            clearance = _clearance_on(facts, knowledge, creatinine, weights, per_kg=table.per_kg)
            if clearance:
                steps.append(_step(table, clearance, creatinine.on, phases))
        if steps:
            display = knowledge.codes.drugs[table.drug].display
            source = knowledge.citation(table.cite)
            yield ExpectedDose(table.drug, display, table.unit, tuple(steps), f"{source.source}, {source.section}")


def _step(table: RenalDoseRule, clearance: Clearance, day: date, phases: set[Phase | None]) -> Expected:
    band = table.band(clearance.rounded)
    columns: list[tuple[TableRegimen, ...]] = []
    if Phase.TREATMENT in phases or None in phases:
        columns.append(band.treatment)
    if phases - {Phase.TREATMENT}:
        columns.append(band.stable)
    regimens = [regimen for column in columns for regimen in column if not regimen.alternative]
    if not regimens:
        return Expected(day, clearance, None, None, "not recommended")
    amounts = [regimen.dose[0] * regimen.per_day for regimen in regimens]
    words = " or ".join(dict.fromkeys(regimen.regimen.wording for regimen in regimens))
    return Expected(day, clearance, min(amounts), max(amounts), words)
