"""Is the dose right for this kidney function and phase? Over- and under-dosing alike.

Judges ordered against expected regimens of the label table; says nothing where nothing can be said (other checks do).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from cdshooks.medicine.kidney import Clearance, Kidney, assess
from cdshooks.medicine.knowledge import Band, Cite, DialysisRow, Knowledge, RenalDoseRule, TableRegimen, Variant
from cdshooks.medicine.propose import proposal
from cdshooks.model import Citation, Facts, Finding, Indicator, Lab, Order, Phase, Regimen

_STABLE_NAME = "maintenance or prophylaxis"


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Ordered against one expected regimen. Ratios are amounts per day (per dose when no frequency is known)."""

    expected: TableRegimen
    phase: Phase
    low: Decimal
    high: Decimal
    interval_differs: bool
    tolerance: Decimal

    @property
    def too_much(self) -> bool:
        return self.high > 1 + self.tolerance

    @property
    def too_little(self) -> bool:
        return self.low < 1 - self.tolerance

    @property
    def fits(self) -> bool:
        return not (self.too_much or self.too_little or self.interval_differs)

    @property
    def distance(self) -> Decimal:
        return max(self.high, 1 / self.high, self.low, 1 / self.low)


def check(facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """Findings of topic renalDose, doseAdvice and contraindication for the orders that have a dose table."""
    for order in facts.orders:
        table = knowledge.dose_table(order.product.drug, order.route) if order.systemic else None
        if table is None:
            continue
        kidney = assess(facts, knowledge.kidney, table.adults_from_years)
        if facts.is_younger_than(table.adults_from_years):
            continue  # a paediatric formula applies: never the adult band on top
        if kidney.dialysis:
            yield from _on_row(order, table, table.for_dialysis(kidney.dialysis.modality), kidney, facts, knowledge)
        elif kidney.clearance:
            yield from _by_clearance(order, table, kidney, kidney.clearance, facts, knowledge)


def _by_clearance(
    order: Order, table: RenalDoseRule, kidney: Kidney, clearance: Clearance, facts: Facts, knowledge: Knowledge
) -> Iterator[Finding]:
    band = table.band(clearance.rounded)
    other = table.band(kidney.adjusted.rounded) if kidney.adjusted else band
    found = list(_on_row(order, table, band, kidney, facts, knowledge))
    if other is band or kidney.adjusted is None:
        yield from found
        return
    # BMI asks for both weights and the bands differ: an order that is right by either gets information at most.
    by_adjusted = list(_on_row(order, table, other, kidney, facts, knowledge))
    note = (
        f"BMI {kidney.bmi:.0f}: by adjusted weight the clearance is {kidney.adjusted.rounded} mL/min"
        f" ({_expected_words(other, order)}), by actual weight {clearance.rounded} mL/min ({_expected_words(band, order)})."
    )
    right_by_either = not any(f.indicator > Indicator.INFO for f in found) or not any(
        f.indicator > Indicator.INFO for f in by_adjusted
    )
    if not right_by_either or order.regimen is None:
        yield from (replace(f, because=(*f.because, note)) for f in found)
    elif isinstance(order.regimen, Regimen) and kidney.moving != "rising":
        yield replace(
            _finding(order, table, band, kidney, knowledge, Indicator.INFO),
            summary=f"{order.label}: CrCl {clearance.rounded} by actual, {kidney.adjusted.rounded} mL/min by adjusted weight: bands differ",
            because=(note, *_why(order, kidney)),
            expected=f"{_expected_words(band, order)} (actual weight); {_expected_words(other, order)} (adjusted weight)",
        )


def _on_row(
    order: Order, table: RenalDoseRule, row: Band | DialysisRow, kidney: Kidney, facts: Facts, knowledge: Knowledge
) -> Iterator[Finding]:
    """What one row of the table says about the order."""
    if row.refer:
        base = _finding(order, table, row, kidney, knowledge, Indicator.WARNING)
        yield replace(
            base, summary=f"{order.label}: no label dose on {_state(kidney)}; ask a specialist pharmacist", because=(row.refer, *_why(order, kidney))
        )
        return
    if row.not_recommended and row.variant and order.product.form in row.variant.forms:
        yield from _variant(order, table, row, row.variant, kidney, facts, knowledge)
        return
    if row.not_recommended:
        base = _finding(order, table, row, kidney, knowledge, Indicator.CRITICAL)
        yield replace(
            base,
            topic="contraindication",
            summary=f"{order.label}: not recommended at {_state(kidney)}",
            because=(row.not_recommended, *_why(order, kidney)),
            expected="not recommended",
            withdraw="Remove this order" if order.draft else "",
        )
        return
    if order.regimen is None:
        if order.draft:
            yield _advice(order, table, row, kidney, facts, knowledge)
    elif isinstance(order.regimen, Regimen):
        comparisons = _comparisons(order, order.regimen, table, row, facts, knowledge)
        if comparisons:
            yield from _verdict(order, table, row, kidney, comparisons, facts, knowledge)


# --------------------------------------------------------------------------------------------------------------------
# Comparing


def _phases(order: Order) -> tuple[Phase, ...]:
    return (order.intent.phase,) if order.intent.phase else (Phase.TREATMENT, Phase.MAINTENANCE)


def _comparisons(
    order: Order, ordered: Regimen, table: RenalDoseRule, row: Band | DialysisRow | Variant, facts: Facts, knowledge: Knowledge
) -> tuple[_Comparison, ...]:
    """The nearest expected regimen of each phase in question; empty when the units cannot be compared."""
    in_unit = in_table_unit(ordered, table.unit, facts)
    if in_unit is None:
        return ()
    found = []
    for phase in _phases(order):
        regimens = row.treatment if phase is Phase.TREATMENT else row.stable
        start = table.start_of_prophylaxis
        if phase is Phase.PROPHYLAXIS and start and _just_started(order, start.up_to_days, facts):
            regimens = (*regimens, *row.treatment)
        near = [_compare(in_unit, expected, phase, knowledge.judgement.tolerance) for expected in regimens]
        found.append(min(near, key=lambda c: (not c.fits, c.interval_differs, c.distance)))
    return tuple(found)


def _just_started(order: Order, days: int, facts: Facts) -> bool:
    return order.draft or order.starts is None or (facts.today - order.starts).days <= days


def in_table_unit(ordered: Regimen, unit: str, facts: Facts) -> Regimen | None:
    """The ordered regimen in the table's unit, with the actual weight where mg and mg/kg meet; None if they cannot."""
    if ordered.unit == unit:
        return ordered
    weight = facts.newest("weight")
    if {ordered.unit, unit} != {"mg", "mg/kg"} or not isinstance(weight, Lab):
        return None
    factor = 1 / weight.value if unit == "mg/kg" else weight.value
    return replace(ordered, low=ordered.low * factor, high=ordered.high * factor, unit=unit)


def _compare(ordered: Regimen, expected: TableRegimen, phase: Phase, tolerance: Decimal) -> _Comparison:
    dose = expected.dose[0]
    low, high = ordered.low / dose, ordered.high / dose
    differs = False
    if ordered.per_day is not None:
        most = ordered.per_day_high or ordered.per_day
        low *= ordered.per_day / expected.per_day
        high *= most / expected.per_day
        differs = max(most / expected.per_day, expected.per_day / ordered.per_day) > 1 + tolerance
    return _Comparison(expected, phase, low, high, differs, tolerance)


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _verdict(
    order: Order,
    table: RenalDoseRule,
    row: Band | DialysisRow,
    kidney: Kidney,
    comparisons: tuple[_Comparison, ...],
    facts: Facts,
    knowledge: Knowledge,
) -> Iterator[Finding]:
    if all(c.fits for c in comparisons):
        return
    right = next((c for c in comparisons if c.fits), None)
    if right:
        if kidney.moving != "rising":
            yield _right_for_one(order, table, row, kidney, comparisons, right, knowledge)
        return
    worst = min(comparisons, key=lambda c: c.distance)  # with the intent unknown, the nearer phase judges
    if kidney.moving == "rising" and not worst.too_much:
        return  # true clearance is below the computed one: never call a dose right or too small by a band
    strong = worst.high >= 1 + knowledge.judgement.strong
    indicator = Indicator.CRITICAL if worst.too_much and strong else Indicator.WARNING
    base = _finding(order, table, row, kidney, knowledge, indicator)
    proposals = [
        p
        for c in comparisons
        if order.draft and (p := proposal(order, c.expected, _phase_name(order, c.phase), facts.newest("weight"), knowledge))
    ]
    yield replace(
        base,
        summary=f"{order.label} {_misfit(worst)} at {_state(kidney)} ({_phase_name(order, worst.phase)}): {worst.expected.regimen.wording}",
        because=(*_lines(order, comparisons), *_why(order, kidney), *_edge(table, kidney)),
        expected="; ".join(f"{c.expected.regimen.wording} ({_phase_name(order, c.phase)})" for c in comparisons),
        proposals=tuple(proposals),
    )


def _right_for_one(
    order: Order,
    table: RenalDoseRule,
    row: Band | DialysisRow,
    kidney: Kidney,
    comparisons: tuple[_Comparison, ...],
    right: _Comparison,
    knowledge: Knowledge,
) -> Finding:
    wrong = next(c for c in comparisons if not c.fits)
    base = _finding(order, table, row, kidney, knowledge, Indicator.INFO)
    return replace(
        base,
        summary=(
            f"{order.label} is right for {_phase_name(order, right.phase)}; for {_phase_name(order, wrong.phase)}"
            f" the label has {wrong.expected.regimen.wording}"
        ),
        because=(*_lines(order, comparisons), *_why(order, kidney)),
        expected="; ".join(f"{c.expected.regimen.wording} ({_phase_name(order, c.phase)})" for c in comparisons),
    )


def _variant(
    order: Order, table: RenalDoseRule, row: Band | DialysisRow, variant: Variant, kidney: Kidney, facts: Facts, knowledge: Knowledge
) -> Iterator[Finding]:
    """The label has no dose, a guideline has one for this form: information when it is kept, else a warning."""
    comparisons = _comparisons(order, order.regimen, table, variant, facts, knowledge) if isinstance(order.regimen, Regimen) else ()
    kept = any(c.fits for c in comparisons)
    base = _finding(order, table, row, kidney, knowledge, Indicator.INFO if kept else Indicator.WARNING)
    words = _expected_words(variant, order)
    yield replace(
        base,
        summary=f"{order.label}: no label dose at {_state(kidney)}; guideline for this form: {words}",
        because=(row.not_recommended, f"The guideline's regimen for the oral {order.product.form}: {words}.", *_why(order, kidney)),
        citations=(knowledge.citation(variant.cite), *base.citations),
        expected=words,
    )


def _advice(
    order: Order, table: RenalDoseRule, row: Band | DialysisRow, kidney: Kidney, facts: Facts, knowledge: Knowledge
) -> Finding:
    """No dose yet: the regimen for this patient."""
    base = _finding(order, table, row, kidney, knowledge, Indicator.INFO)
    choices = [(phase, regimen) for phase in _phases(order) for regimen in row.regimens(phase)]
    weight = facts.newest("weight")
    proposals = [p for phase, regimen in choices if (p := proposal(order, regimen, _phase_name(order, phase), weight, knowledge))]
    return replace(
        base,
        topic="doseAdvice",
        summary=f"{order.label} at {_state(kidney)}: {_expected_words(row, order, first_only=True)}",
        because=(f"Regimen of the label for this patient: {_expected_words(row, order)}.", *_why(order, kidney), *_edge(table, kidney)),
        expected=_expected_words(row, order),
        proposals=tuple(proposals),
    )


def _finding(
    order: Order, table: RenalDoseRule, row: Band | DialysisRow, kidney: Kidney, knowledge: Knowledge, indicator: Indicator
) -> Finding:
    cites: list[Cite] = [row.cite or table.cite]
    if not kidney.dialysis:
        cites.append(knowledge.kidney.cockcroft_gault.cite)
    citations: tuple[Citation, ...] = tuple(dict.fromkeys(knowledge.citation(cite) for cite in cites))
    return Finding(
        topic="renalDose",
        indicator=indicator,
        rules=(table.id,),
        order=order.chart,
        drug=order.product.drug,
        summary="",
        because=(),
        citations=citations,
        intent=order.intent,
        inputs=kidney.inputs,
        ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
    )


def _phase_name(order: Order, phase: Phase) -> str:
    """The phase as known; without a known intent the label's second column is named for both its uses."""
    return phase.value if order.intent.phase or phase is Phase.TREATMENT else _STABLE_NAME


def _misfit(c: _Comparison) -> str:
    if c.too_much:
        return "is too much"
    return "is too little" if c.too_little else "has the wrong interval"


def _state(kidney: Kidney) -> str:
    if kidney.dialysis:
        names = {"continuous": "continuous renal replacement", "peritoneal": "peritoneal dialysis"}
        return names.get(kidney.dialysis.modality, "haemodialysis")
    return f"CrCl {kidney.clearance.rounded} mL/min" if kidney.clearance else "unknown kidney function"


def _expected_words(row: Band | DialysisRow | Variant, order: Order, *, first_only: bool = False) -> str:
    if not row.treatment:
        return "not recommended"
    parts = []
    for phase in _phases(order):
        regimens = row.treatment if phase is Phase.TREATMENT else row.stable
        words = " or ".join(r.regimen.wording for r in (regimens[:1] if first_only else regimens))
        parts.append(f"{words} ({_phase_name(order, phase)})")
    return "; ".join(parts)


def _lines(order: Order, comparisons: tuple[_Comparison, ...]) -> Iterator[str]:
    for c in comparisons:
        share = "the same amount a day in another interval" if _same_amount(c) else f"{_percent(c)} of it"
        yield f"Expected for {_phase_name(order, c.phase)}: {c.expected.regimen.wording}; ordered is {'right' if c.fits else share}."


def _same_amount(c: _Comparison) -> bool:
    return c.interval_differs and not c.too_much and not c.too_little


def _percent(c: _Comparison) -> str:
    low, high = (f"{ratio * 100:.0f}" for ratio in (c.low, c.high))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _why(order: Order, kidney: Kidney) -> Iterator[str]:
    """How the order was read, what it is for, and the kidney function."""
    if isinstance(order.regimen, Regimen) and order.regimen.read_from:
        yield f"Order read as {order.regimen.wording}: {'; '.join(order.regimen.read_from)}."
    if order.route_assumed:
        yield f"No route given: taken as {order.route}."
    if order.intent.phase:
        yield f"Phase: {order.intent.phase.value}, {order.intent.basis}, because {order.intent.because}."
    else:
        yield f"Phase unknown: {order.intent.because}."
    if kidney.dialysis:
        assumed = " Haemodialysis is assumed: the record does not say which kind." if kidney.dialysis.assumed else ""
        yield f"Dialysis: {kidney.dialysis.because}.{assumed}"
    elif kidney.clearance and kidney.creatinine:
        age = "today" if kidney.creatinine_days == 0 else f"{kidney.creatinine_days} days ago" if kidney.creatinine_days > 1 else "yesterday"
        remark = f" ({kidney.creatinine.remark})" if kidney.creatinine.remark else ""
        yield f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}; creatinine of {age}{remark}."


def _edge(table: RenalDoseRule, kidney: Kidney) -> Iterator[str]:
    """A line, never a card of its own: the clearance is within 10 % of a band edge."""
    if kidney.dialysis or not kidney.clearance:
        return
    value = kidney.clearance.value
    for band in table.bands:
        if band.at_least and abs(value - band.at_least) <= value / 10:
            yield f"The clearance is within 10 % of the band edge at {band.at_least} mL/min."

