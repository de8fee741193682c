"""Is the dose right for this kidney function and phase? Over- and under-dosing alike.

Judges the ordered against the expected regimens of the label table, and says nothing where nothing can be said: what
is missing or unreadable is the business of the other checks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from cdshooks.medicine.case import Case, in_one_line
from cdshooks.medicine.compare import Comparison, Slip, compare, in_table_unit, likely_slip, nearest, single_dose_words
from cdshooks.medicine.kidney import Kidney
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.phase import says
from cdshooks.medicine.propose import in_order_unit, proposal
from cdshooks.medicine.resistance import judge, rank
from cdshooks.medicine.rules.renal_dose import Band, DialysisRow, Note, RenalDoseRule, TableRegimen, Variant
from cdshooks.medicine.serostatus import in_words
from cdshooks.model import Facts, Finding, Indicator, Missing, Order, Phase, Proposal, Regimen

_STABLE_NAME = "maintenance or prophylaxis"
_DIALYSIS_NAMES = {
    "continuous": "continuous renal replacement",
    "peritoneal": "peritoneal dialysis",
    "haemodialysis": "haemodialysis",
}


@dataclass(frozen=True, slots=True)
class _Judged:
    """One order beside its table and the patient's kidneys, with the words every card of this check uses."""

    order: Order
    table: RenalDoseRule
    kidney: Kidney
    facts: Facts
    knowledge: Knowledge
    lower: Band | None = None  # the band below, where the clearance may read too high

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phase that holds, or both columns of the table when it is unknown (and they differ)."""
        known = self.order.intent.phase
        if known or all(row.treatment == row.stable for row in self.table.bands):
            return (known or Phase.TREATMENT,)
        return Phase.TREATMENT, Phase.MAINTENANCE

    def named(self, phase: Phase) -> str:
        """The phase as known; without a known intent the second column is named for both its uses."""
        if self.table.purpose:
            return self.table.purpose.name
        return phase.value if self.order.intent.phase or phase is Phase.TREATMENT else _STABLE_NAME

    @property
    def state(self) -> str:
        """The kidney function in a few words, with its preposition."""
        if self.kidney.dialysis and self.kidney.dialysis.prolonged:
            return "on prolonged intermittent renal replacement"
        if self.kidney.dialysis:
            return f"on {_DIALYSIS_NAMES[self.kidney.dialysis.modality]}"
        return f"at CrCl {self.kidney.clearance}" if self.kidney.clearance else ""

    def allowed_by_protocol(self, judging: Comparison) -> bool:
        """Is this less than the label has, and a protocol of the site right for this patient?"""
        protocol, regimen, order = self.table.protocol, self.order.regimen, self.order
        if protocol is None or not isinstance(regimen, Regimen) or judging.too_much or judging.phase != protocol.phase:
            return False
        if not self.knowledge.site.holds(protocol.site) or order.intent.phase != protocol.phase:
            return False
        recipients = {in_words(words, self.knowledge.serostatus)[1] for words in order.said}
        if self.facts.serostatus.recipient != "positive" or "negative" in recipients:
            return False
        in_unit = in_table_unit(regimen, self.table.unit, self.facts.newest("weight"))
        tolerance = self.knowledge.judgement.tolerance
        return in_unit is not None and any(
            compare(in_unit, r, judging.phase, tolerance).fits for r in protocol.regimens
        )

    def escalated_against(self, judging: Comparison) -> tuple[str, ...]:
        """The changes against which specialists give this larger dose; () where it is no such case."""
        rule, order, kidney = self.table.escalation, self.order, self.kidney
        if rule is None or not judging.too_much or judging.interval_differs or order.intent.phase != rule.phase:
            return ()
        if judging.high > rule.times * (1 + judging.tolerance) or kidney.dialysis or kidney.moving == "rising":
            return ()
        verdict = judge(self.facts.genotypes, self.knowledge.resistance, order.product.drug, self.facts.today)
        if not self.facts.genotypes and says(order.said, rule.said, self.knowledge.phases):
            return ("by its words",)
        if verdict is None or verdict.level != rule.level or rank(verdict.earlier) > rank(rule.level):
            return ()
        found = [entry for entry in verdict.changes if rank(entry.level) >= rank("possible")]
        if any(entry.change.gene != rule.gene for entry in found):
            return ()
        return tuple(entry.change.name for entry in found)

    def expected(self, row: Band | DialysisRow | Variant, *, first_only: bool = False) -> str:
        """The regimens of a row in words, for the phases in question."""
        if not row.treatment:
            return "not recommended"
        parts = []
        for phase in self.phases:
            regimens = _column(row, phase)
            words = regimens[0].regimen.wording if first_only else " or ".join(r.wording for r in regimens)
            parts.append(f"{words} ({self.named(phase)})")
        return "; ".join(parts)

    def finding(self, row: Band | DialysisRow, indicator: Indicator, summary: str, *because: str) -> Finding:
        """A finding of topic renalDose on the row, with the reasons every card of this check gives."""
        cites = [row.cite or self.table.cite]
        if not self.kidney.dialysis:
            cites.append(self.table.clearance_cite)
        return Finding(
            topic="renalDose",
            indicator=indicator,
            rules=(self.table.id,),
            order=self.order.chart,
            drug=self.order.product.drug,
            summary=f"{self.order.label}{summary}",
            because=(*because, *_timing_of(row), *_why(self)),
            citations=tuple(dict.fromkeys(self.knowledge.citation(cite) for cite in cites)),
            intent=self.order.intent,
            inputs=self.kidney.inputs,
            ordered=self.order.regimen.wording if isinstance(self.order.regimen, Regimen) else "",
            expected=self.expected(row),
        )

    def proposals(self, choices: list[tuple[Phase, TableRegimen]]) -> tuple[Proposal, ...]:
        """Suggestions that mend a draft, one per choice that fits the form of the order."""
        if not self.order.draft or self.order.unknown_reason:
            return ()
        weight = self.facts.newest("weight")
        sure = self.kidney.moving != "rising"
        doubt = "" if sure else "; CrCl unreliable, perhaps still too much"
        made = (
            proposal(self.order, regimen, self._reason(phase, regimen) + doubt, weight, self.knowledge, sure=sure)
            for phase, regimen in choices
        )
        return tuple(found for found in made if found)

    def _reason(self, phase: Phase, regimen: TableRegimen) -> str:
        return self.named(phase) + (f", as {regimen.column}" if regimen.column else "")

    def also(self, choice: TableRegimen) -> str:
        """The dose in the unit of the order, where that is another one."""
        return in_order_unit(self.order, choice, self.facts.newest("weight"), self.knowledge)


def _timing_of(row: Band | DialysisRow) -> Iterator[str]:
    """When the label gives a dose that it has on dialysis."""
    if isinstance(row, DialysisRow) and row.timing and row.treatment:
        yield row.timing


def _column(row: Band | DialysisRow | Variant, phase: Phase) -> tuple[TableRegimen, ...]:
    """Maintenance and prophylaxis share the label's second column."""
    return row.treatment if phase is Phase.TREATMENT else row.stable


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic renalDose, doseAdvice and contraindication for an order that has a dose table."""
    if case.renal is None or case.renal.is_child:
        return  # for a child a paediatric formula applies: never the adult band on top
    table, kidney = case.renal.table, case.renal.kidney
    judged = _Judged(case.order, table, kidney, case.facts, case.knowledge, case.renal.lower)
    found = list(_on_table(judged))
    if case.order.unknown_reason and _warns(found):
        found = list(_against_another(judged)) or found
    yield from found
    if not any(finding.topic in ("contraindication", "dose") for finding in found):
        mended = tuple(proposal for finding in found for proposal in finding.proposals)
        yield from (replace(finding, proposals=mended) for finding in _beyond_maximum(judged))


def _against_another(judged: _Judged) -> Iterator[Finding]:
    """What the order is against is not known, and it is right against another disease: information that shows both."""
    table, order, clearance = judged.table, judged.order, judged.kidney.clearance
    others = (t for t in judged.knowledge.renal_dose if t.drug == table.drug and t.indication != table.indication)
    for other in others:
        beside = replace(judged, table=other)
        if clearance and order.route in other.routes and not _warns(_on_table(beside)):
            here, there = table.band(clearance.rounded), other.band(clearance.rounded)
            summary = f": {table.indication.upper()} or {other.indication.upper()}? Right against the latter alone"
            lines = (
                f"Against {t.indication.upper()}: {j.expected(row)}."
                for t, j, row in ((table, judged, here), (other, beside, there))
            )
            yield judged.finding(
                here, Indicator.INFO, summary, f"Its reason ({order.unknown_reason}) is not known here.", *lines
            )


def _on_table(judged: _Judged) -> Iterator[Finding]:
    """What the table says for the kidneys as they are known."""
    table, kidney = judged.table, judged.kidney
    if kidney.dialysis:
        row = table.for_dialysis(kidney.dialysis.modality)
        found = list(_on_row(judged, row))
        yield from found
        if all(finding.indicator is Indicator.INFO for finding in found):
            yield from _timing(judged, row)
    elif kidney.clearance:
        yield from _by_clearance(judged, table.band(kidney.clearance.rounded))
    else:
        yield from _beyond_every_band(judged, table.bands[0])


def _by_clearance(case: _Judged, band: Band) -> Iterator[Finding]:
    """By the clearance; where there is a second one (adjusted weight, measured) in another band, by both."""
    found = list(_on_row(case, band))
    clearance, second, lower = case.kidney.clearance, case.kidney.second, case.lower
    if lower and lower.treatment and _warns(found) and not _warns(_on_row(case, lower)):
        summary = f" is right for the band below; CrCl {clearance} may read too high ({case.kidney.doubts[0]})"
        note = (
            f"At {clearance} the label has {case.expected(band)}; in the band below, which is near,"
            f" {case.expected(lower)}. The clearance may read too high: {'; '.join(case.kidney.doubts)}."
        )
        expected = f"{case.expected(band)}; band below: {case.expected(lower)}"
        doubt = case.knowledge.citation(case.knowledge.kidney.doubtful.cite)
        base = case.finding(band, Indicator.INFO, summary, note)
        yield replace(base, expected=expected, citations=(*base.citations, doubt))
        return
    other = case.table.band(second.rounded) if second else band
    if other is band or second is None or clearance is None:
        yield from found
        return
    unit, because = clearance.unit, case.kidney.second_because
    note = (
        f"{because[:1].upper()}{because[1:]}: clearance {clearance.rounded} {unit} by {clearance.by}"
        f" ({case.expected(band)}), {second.rounded} {unit} by {second.by} ({case.expected(other)})."
    )
    how = f"{second.formula}: {second.arithmetic}."
    wrong_by_both = _warns(found) and _warns(_on_row(case, other))
    if wrong_by_both or case.order.regimen is None:
        yield from (replace(f, because=(*f.because, note, how)) for f in found)
    elif isinstance(case.order.regimen, Regimen) and case.kidney.moving != "rising":
        first = clearance.by.removesuffix(" weight")
        summary = f": CrCl {clearance.rounded} by {first}, {second.rounded} {unit} by {second.by}; bands differ"
        expected = f"{case.expected(band)} by {clearance.by}; {case.expected(other)} by {second.by}"
        yield replace(case.finding(band, Indicator.INFO, summary, note, how), expected=expected)


def _warns(findings: Iterable[Finding]) -> bool:
    return any(finding.indicator > Indicator.INFO for finding in findings)


def _beyond_every_band(case: _Judged, highest: Band) -> Iterator[Finding]:
    """The kidney function is not known: what is too much even for the best is too much."""
    regimen = case.order.regimen
    comparisons = _comparisons(case, regimen, highest) if isinstance(regimen, Regimen) else ()
    limit = 1 + case.knowledge.judgement.strong
    if comparisons and all(c.excess >= limit for c in comparisons):
        judging = min(comparisons, key=lambda c: c.distance)
        summary = f" is more than the label has for any kidney function: {judging.expected.regimen.wording}"
        slip = _slip(case, judging)
        lines = (*_lines(case, comparisons), *([slip.says] if slip else []))
        yield replace(case.finding(highest, Indicator.CRITICAL, summary, *lines), topic="dose")


def _beyond_maximum(case: _Judged) -> Iterator[Finding]:
    """More than any source has for anybody: whatever the kidneys, the phase and the way of dialysis."""
    regimen, maximum = case.order.regimen, case.table.maximum
    in_unit = (
        in_table_unit(regimen, case.table.unit, case.facts.newest("weight")) if isinstance(regimen, Regimen) else None
    )
    if in_unit is None:
        return
    tolerance, limit = case.knowledge.judgement.tolerance, 1 + case.knowledge.judgement.strong
    largest = case.table.largest_dose()
    compared = [compare(in_unit, most, Phase.TREATMENT, tolerance, largest) for most in maximum.regimens]
    if all(c.excess >= limit for c in compared):
        words = " or ".join(most.regimen.wording for most in maximum.regimens)
        if largest and all(c.high < limit for c in compared):
            words = f"{largest.normalize():f} {case.table.unit} at once"
        row = case.table.bands[0]
        found = case.finding(row, Indicator.CRITICAL, f" is more than any source has: {words} at most", maximum.says)
        cite = case.knowledge.citation(maximum.cite)
        yield replace(found, topic="dose", expected=f"{words} at most", citations=(cite,))


def _timing(case: _Judged, row: DialysisRow) -> Iterator[Finding]:
    """On haemodialysis the label gives the dose after the session: information where the order does not say so."""
    regimen = case.order.regimen
    if row.timing and isinstance(regimen, Regimen) and not regimen.after_dialysis:
        found = case.finding(row, Indicator.INFO, ": give it after the dialysis session", row.timing)
        yield replace(found, topic="administration")


def _on_row(case: _Judged, row: Band | DialysisRow) -> Iterator[Finding]:
    """What one row of the table says about the order."""
    regimen = case.order.regimen
    if row.refer:
        yield case.finding(
            row, Indicator.WARNING, f": no label dose {case.state}; ask a specialist pharmacist", row.refer
        )
    elif row.not_recommended and row.variant and case.order.product.form in row.variant.forms:
        yield _variant(case, row, row.variant)
    elif row.not_recommended:
        base = case.finding(row, Indicator.CRITICAL, f": not recommended {case.state}", row.not_recommended)
        yield replace(base, topic="contraindication", withdraw="Remove this order" if case.order.draft else "")
    elif disease := case.table.no_dose_against.get(case.order.indication):
        yield _no_dose_against(case, row, disease)
    elif regimen is None and case.order.draft:
        yield _advice(case, row)
    elif isinstance(regimen, Regimen):
        comparisons = _comparisons(case, regimen, row)
        yield from _verdict(case, row, comparisons) if comparisons else [_not_compared(case, row, regimen)]


def _comparisons(case: _Judged, ordered: Regimen, row: Band | DialysisRow | Variant) -> tuple[Comparison, ...]:
    """The nearest expected regimen of each phase in question; empty when the units cannot be compared."""
    in_unit = in_table_unit(ordered, case.table.unit, case.facts.newest("weight"))
    if in_unit is None:
        return ()
    tolerance, largest = case.knowledge.judgement.tolerance, case.table.largest_dose(row)
    found = []
    for phase in case.phases:
        column = _column(row, phase)
        near = [compare(in_unit, expected, phase, tolerance, largest) for expected in column]
        start = case.table.start_of_prophylaxis
        if phase is Phase.PROPHYLAXIS and start and _just_started(case, start.up_to_days):
            starting = (compare(in_unit, expected, phase, tolerance, largest) for expected in row.treatment)
            near += [c for c in starting if c.fits]  # right in the first days; a misfit is judged by its own column
        judging = nearest(near)
        alike = [r for r in column if r.per_day == judging.expected.per_day and not r.alternative]
        smaller = min((*alike, judging.expected), key=lambda r: r.dose[0])
        found.append(
            replace(judging, smaller=smaller if judging.too_much and smaller is not judging.expected else None)
        )
    return tuple(found)


def _not_compared(case: _Judged, row: Band | DialysisRow, ordered: Regimen) -> Finding:
    """Order and table give the dose in units that do not meet: mg against mg/kg without a weight, or mg/m2."""
    weight = case.facts.newest("weight")
    lacking = weight.of("weight") if isinstance(weight, Missing) else f"the label doses in {case.table.unit}"
    because = f"The label has {case.expected(row)}; a dose in {ordered.unit} cannot be compared with it: {lacking}."
    base = case.finding(row, Indicator.WARNING, f": dose not checked ({lacking})", because)
    return replace(base, topic="dataQuality")


def _just_started(case: _Judged, days: int) -> bool:
    order = case.order
    return order.draft or order.starts is None or (case.facts.today - order.starts).days <= days


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _verdict(case: _Judged, row: Band | DialysisRow, comparisons: tuple[Comparison, ...]) -> Iterator[Finding]:
    right = next((c for c in comparisons if c.fits), None)
    wrong = [c for c in comparisons if not c.fits]
    if not wrong:
        return
    rising = case.kidney.moving == "rising"  # then the true clearance is lower: nothing is right or too small by a band
    if right:
        if not rising and case.order.indication == case.table.indication:
            other = f" is right for {case.named(right.phase)}; for {case.named(wrong[0].phase)} the label has"
            has = f"{other} {wrong[0].wording}"
            found = case.finding(row, Indicator.INFO, "", *_lines(case, comparisons))
            summary = in_one_line(case.order.label, f"{has}{case.also(wrong[0].expected)}", has)
            yield replace(found, summary=summary)
        return
    judging = min(wrong, key=lambda c: c.distance)  # with the phase unknown, the nearer one judges
    if rising and not judging.too_much:
        return
    if case.allowed_by_protocol(judging):
        yield _by_protocol(case, row, judging)
        return
    if against := case.escalated_against(judging):
        yield _by_specialist(case, row, judging, against)
        return
    strong = judging.too_much and judging.excess >= 1 + case.knowledge.judgement.strong
    slip = _slip(case, judging)
    note = row.note if row.note and _concerns(row.note, judging, case) else None
    misfit = f" {judging.misfit} {case.state} ({case.named(judging.phase)}): "
    wordings = (
        " or ".join(f"{choice.wording}{case.also(choice)}" for choice in judging.choices),
        judging.wording,
        " or ".join(choice.regimen.wording for choice in judging.choices),
    )
    base = case.finding(
        row,
        Indicator.CRITICAL if strong else Indicator.WARNING,
        "",
        *_lines(case, comparisons),
        *([slip.says] if slip else []),
        *([note.says] if note else []),
    )
    base = replace(
        base,
        summary=in_one_line(case.order.label, *(misfit + words for words in wordings)),
        because=(*base.because, *_edge(case)),
        expected="; ".join(f"{c.wording} ({case.named(c.phase)})" for c in comparisons),
        # on the dialysis that the order speaks of, and the record does not show, more might be far too much
        proposals=()
        if judging.too_little and case.kidney.dialysis_said
        else case.proposals([(c.phase, choice) for c in comparisons for choice in c.choices]),
        citations=(*base.citations, *([case.knowledge.citation(note.cite)] if note else [])),
    )
    yield base
    if slip and slip.sure:  # no dose for any kidneys: said under its own topic, which nobody silences with the other
        short = f"{case.order.label}{slip.summary}"
        yield replace(base, topic="dose", summary=short, because=(slip.says, *base.because[: len(comparisons)]))


def _concerns(note: Note, judging: Comparison, case: _Judged) -> bool:
    """Is what another source says about an order such as this?"""
    within = note.times is None or (judging.too_much and judging.high <= note.times * (1 + judging.tolerance))
    return judging.phase is note.phase and within


def _by_protocol(case: _Judged, row: Band | DialysisRow, judging: Comparison) -> Finding:
    """Less than the label has, by a written protocol of the site: information."""
    protocol = case.table.protocol
    assert protocol is not None  # noqa: S101 - asked before
    summary = f" follows a site's protocol; the label has {judging.expected.regimen.wording}"
    found = case.finding(row, Indicator.INFO, summary, protocol.says, *_lines(case, (judging,)))
    return replace(found, citations=(*found.citations, case.knowledge.citation(protocol.cite)))


def _by_specialist(case: _Judged, row: Band | DialysisRow, judging: Comparison, against: tuple[str, ...]) -> Finding:
    """More than the label has, against resistance of a level for which specialists do so: a warning, no suggestion."""
    rule = case.table.escalation
    assert rule is not None  # noqa: S101 - asked before
    what = f"{rule.level}-level resistance ({', '.join(against[:2])})"
    summary = f" is above the label's {judging.expected.regimen.wording}; for {what} a specialist's option"
    unseen = () if case.facts.genotypes else ("No genotype is at hand: the order's own words alone say so.",)
    found = case.finding(row, Indicator.WARNING, summary, rule.says, *unseen, *_lines(case, (judging,)))
    return replace(found, citations=(*found.citations, case.knowledge.citation(rule.cite)))


def _variant(case: _Judged, row: Band | DialysisRow, variant: Variant) -> Finding:
    """The label has no dose, a guideline has one for this form: information when it is kept, else a warning.

    Far above the only figure that any source has: critical.
    """
    regimen = case.order.regimen
    comparisons = _comparisons(case, regimen, variant) if isinstance(regimen, Regimen) else ()
    words, form = case.expected(variant), case.order.product.form
    limit = 1 + case.knowledge.judgement.strong
    far = bool(comparisons) and all(c.too_much and c.high >= limit for c in comparisons)
    misfit = Indicator.CRITICAL if far else Indicator.WARNING
    lead = " is too much: guideline" if far else f": no label dose {case.state}; guideline"
    lead += f" for the {form}"
    base = case.finding(
        row,
        Indicator.INFO if any(c.fits for c in comparisons) else misfit,
        "",
        row.not_recommended,
        f"The guideline's regimen for the oral {form}: {words}.",
        *(_lines(case, comparisons) if far else ()),
    )
    in_short = [_column(variant, phase)[0].regimen.wording for phase in case.phases]
    summary = in_one_line(case.order.label, f"{lead}: {words}", f"{lead}: {' or '.join(in_short)}", f"{lead} below")
    return replace(
        base, summary=summary, citations=(case.knowledge.citation(variant.cite), *base.citations), expected=words
    )


def _no_dose_against(case: _Judged, row: Band | DialysisRow, disease: str) -> Finding:
    """The label doses the drug against other viruses alone: information, unless it is far above all of that."""
    regimen, limit = case.order.regimen, 1 + case.knowledge.judgement.strong
    in_unit = (
        in_table_unit(regimen, case.table.unit, case.facts.newest("weight")) if isinstance(regimen, Regimen) else None
    )
    tolerance = case.knowledge.judgement.tolerance
    against = [compare(in_unit, each, Phase.TREATMENT, tolerance) for each in row.treatment] if in_unit else []
    words = " or ".join(each.regimen.wording for each in row.treatment)
    lines = (f"No source settles a dose against {disease}: ask infectious diseases.",)
    if against and all(c.high >= limit for c in against):
        summary = f" is more than the label has {case.state} for any virus: {words}"
        base = case.finding(row, Indicator.CRITICAL, summary, *lines)
    else:
        base = case.finding(row, Indicator.INFO, f": the label has no dose against {disease}; not judged", *lines)
    return replace(base, expected=f"against CMV, the most that the label has: {words}")


def _advice(case: _Judged, row: Band | DialysisRow) -> Finding:
    """No dose yet: the regimen for this patient."""
    base = case.finding(
        row,
        Indicator.INFO,
        f" {case.state}: {case.expected(row, first_only=True)}",
        f"Regimen of the label for this patient: {case.expected(row)}.",
    )
    if case.kidney.moving == "rising":
        caveat = "Creatinine is rising: the true clearance is lower, this may still be too much; no dose is filled in."
        return replace(base, topic="doseAdvice", because=(caveat, *base.because, *_edge(case)))
    choices = [(phase, regimen) for phase in case.phases for regimen in _column(row, phase)]
    return replace(base, topic="doseAdvice", because=(*base.because, *_edge(case)), proposals=case.proposals(choices))


def _slip(case: _Judged, c: Comparison) -> Slip | None:
    """What the misfit may come from."""
    ordered, table = case.order.regimen, case.table
    if not isinstance(ordered, Regimen):
        return None
    own = table.doses
    others = [other for other in case.knowledge.renal_dose if other.drug == table.confusable_with]
    if any((ordered.high, ordered.unit) in other.doses for other in others):
        name = case.knowledge.codes.drugs[table.confusable_with].display
        in_unit, tolerance = (
            in_table_unit(ordered, table.unit, case.facts.newest("weight")),
            case.knowledge.judgement.tolerance,
        )
        sure = in_unit is not None and not any(abs(in_unit.high / dose - 1) <= tolerance for dose, _ in own)
        says = f"This is a dose of {name}: the two drugs are not interchangeable milligram for milligram."
        return Slip(f" is a dose of {name}, not interchangeable milligram for milligram", says, sure)
    slip = likely_slip(ordered, c, case.knowledge.judgement, own)
    if (slip is None or slip.of_a_day) and (band := _other_band(case, ordered, c.phase)):
        says = f"This is the dose for CrCl {band} ({case.named(c.phase)})."
        return Slip(f" is the dose for CrCl {band}", says, sure=False)
    return slip


def _other_band(case: _Judged, ordered: Regimen, phase: Phase) -> str:
    """The band of kidney function for which the order would be right, "" for none. On dialysis there is no band."""
    if case.kidney.dialysis:
        return ""
    table, tolerance = case.table, case.knowledge.judgement.tolerance
    in_unit = in_table_unit(ordered, table.unit, case.facts.newest("weight"))
    above: Decimal | None = None
    for band in table.bands:
        if in_unit and any(compare(in_unit, regimen, phase, tolerance).fits for regimen in _column(band, phase)):
            measure = table.measure
            return (
                f"{band.at_least} {measure} or more"
                if above is None
                else f"{band.at_least} to {above - table.step} {measure}"
            )
        above = band.at_least
    return ""


def _lines(case: _Judged, comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    for c in comparisons:
        share = f"{c.low * 100:.0f} %" if c.low == c.high else f"{c.low * 100:.0f} to {c.high * 100:.0f} %"
        said = "right" if c.fits else f"{share} of the amount a day"
        if c.interval_differs and not c.too_much and not c.too_little:
            said = "the same amount a day in another interval"
        larger = " of the larger" if c.smaller else ""
        once = f"; {single_dose_words(c)}" if c.too_much_at_once else ""
        yield f"Expected for {case.named(c.phase)}: {c.wording}; ordered is {said}{larger}{once}."


def _why(case: _Judged) -> Iterator[str]:
    """How the order was read, what it is for, and the kidney function."""
    order, kidney = case.order, case.kidney
    if isinstance(order.regimen, Regimen) and not order.regimen.as_it_stands:
        yield f"Order read as {order.regimen.wording}: {'; '.join(order.regimen.read_from)}."
    if order.route_assumed:
        yield f"No route given: taken as {order.route}."
    if order.intent.phase:
        yield f"Phase: {order.intent.phase.value}, {order.intent.basis}, because {order.intent.because}."
    elif order.indication != case.table.indication:
        yield "Not ordered against CMV, by its own words; compared with the label's doses for CMV."
    elif case.table.purpose is None:
        yield f"Phase unknown: {order.intent.because}."
    if case.table.purpose:
        yield case.table.purpose.says
    if kidney.dialysis:
        assumed = " Haemodialysis is assumed: the record does not say which kind." if kidney.dialysis.assumed else ""
        yield f"Dialysis: {kidney.dialysis.because}.{assumed}"
    elif kidney.clearance and kidney.creatinine:
        age = {0: "today", 1: "yesterday"}.get(kidney.creatinine_days, f"{kidney.creatinine_days} days ago")
        remark = f" ({kidney.creatinine.remark})" if kidney.creatinine.remark else ""
        yield f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}; creatinine of {age}{remark}."
    elif kidney.clearance:
        yield f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}."


def _edge(case: _Judged) -> Iterator[str]:
    """A line, never a card of its own: the clearance is within 10 % of a band edge."""
    clearance = case.kidney.clearance
    if case.kidney.dialysis or not clearance:
        return
    for band in case.table.bands:
        if band.at_least and abs(clearance.value - band.at_least) <= clearance.value / 10:
            yield f"The clearance is within 10 % of the band edge at {band.at_least} {case.table.measure}."
