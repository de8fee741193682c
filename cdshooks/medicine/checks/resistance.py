"""Does a reported mutation or phenotype speak against the ordered drug, and what may be discussed instead?

Silent without a resistance result, and when nothing in one concerns the drug. What could not be read or was not looked
at is said as information, never as susceptible.
"""

from collections.abc import Iterator

from cdshooks.medicine.case import Case, record_gap
from cdshooks.medicine.kidney import assess
from cdshooks.medicine.resistance import Gap, JudgedCall, JudgedChange, Unsettled, Verdict, judge, rank
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.rules.resistance import Level, Option, ResistanceRule
from cdshooks.model import Finding, Genotype, Indicator, Input, Lab, Missing, Phase

_ADULT_YEARS = 0  # options name limits that are Cockcroft-Gault for whoever is given the drug
_LISTED = 8  # findings named on a card; the rest is counted


def check(case: Case) -> Iterator[Finding]:
    """The finding of topic resistance about one order, at most one; dataQuality for a result that cannot count."""
    order, facts, resistance = case.order, case.facts, case.knowledge.resistance
    if order.indication != "cmv":
        return
    yield from _reports_unseen(case)
    verdict = judge(facts.genotypes, resistance, order.product.drug, facts.today)
    if verdict is None:
        return
    if not facts.genotypes:
        yield from _nothing_usable(case)
        return
    indicator = _indicator(verdict, resistance.rule)
    if indicator is None:
        return
    yield Finding(
        topic="resistance",
        indicator=indicator,
        rules=(resistance.rule.id,),
        order=order.chart,
        drug=order.product.drug,
        summary=f"{order.label}: {_summary(verdict, resistance.rule)}",
        because=tuple(_because(case, verdict, indicator)),
        citations=tuple(dict.fromkeys(map(case.knowledge.citation, _cites(case, verdict, indicator)))),
        intent=order.intent,
        inputs=tuple(_inputs(verdict)),
    )


def _reports_unseen(case: Case) -> Iterator[Finding]:
    """The reports did not come, so that a genotype could not be looked for; not asked of prophylaxis."""
    gap = record_gap(case.facts, "reports")
    if gap and case.order.intent.phase is not Phase.PROPHYLAXIS:
        rule = case.knowledge.resistance.rule
        in_part = case.facts.problem_gaps.get("reports") is None
        how = "first page of the reports alone" if in_part else f"reports {gap.why.value}"
        yield case.finding(
            rule.id,
            "dataQuality",
            Indicator.INFO,
            f": resistance reports could not be looked for ({how})",
            f"Reports: {gap}. A genotype that is sent as a report alone was not seen; resistance is not excluded.",
            cites=[rule.cite],
        )


def _nothing_usable(case: Case) -> Iterator[Finding]:
    """Withdrawn and future results, where nothing usable is left."""
    gone = case.facts.genotypes_unused
    if gone:
        rule = case.knowledge.resistance.rule
        yield Finding(
            topic="dataQuality",
            indicator=Indicator.INFO,
            rules=(rule.id,),
            order=case.order.chart,
            drug=case.order.product.drug,
            summary=f"{case.order.label}: a resistance result {gone[0].why}, not used",
            because=tuple(f"{entry.what[:1].upper()}{entry.what[1:]} {entry.why}; it is not used." for entry in gone),
            citations=(case.knowledge.citation(rule.cite),),
        )


# --------------------------------------------------------------------------------------------------------------------
# How loud


def _indicator(verdict: Verdict, rule: ResistanceRule) -> Indicator | None:
    """The indicator, None for silence."""
    found = [_loudness(verdict.level, rule)]
    earlier = _loudness(verdict.earlier, rule)
    if earlier is not None:
        found.append(min(earlier, Indicator[rule.earlier_at_most.upper()]))
    if verdict.unsettled:
        found.append(_loudness("unknown", rule))
    if _disagree(verdict):
        found.append(Indicator.INFO)
    return max((each for each in found if each is not None), default=None)


def _loudness(level: Level, rule: ResistanceRule) -> Indicator | None:
    loud: str | None = None if level == "none" else getattr(rule.indicators, level)
    return Indicator[loud.upper()] if loud else None


def _disagree(verdict: Verdict) -> bool:
    """Does the laboratory call the drug susceptible while a mutation speaks against it?"""
    resistant = any(rank(entry.level) >= rank("possible") for entry in verdict.changes)
    return resistant and any(entry.call.says == "susceptible" for entry in verdict.calls)


# --------------------------------------------------------------------------------------------------------------------
# Words


def _summary(verdict: Verdict, rule: ResistanceRule) -> str:
    """What counts most, with its date."""
    now = [entry for entry in verdict.changes if entry.denied_by is None and entry.level != "none"]
    now.sort(key=lambda entry: -rank(entry.level))
    called = [entry for entry in verdict.calls if entry.denied_by is None and entry.level != "none"]
    drug = verdict.drug
    if rank(verdict.level) > rank("unknown"):
        if now and rank(now[0].level) >= rank("possible"):
            joined = verdict.together_level != "none" and verdict.together_level == verdict.level
            level = verdict.together_level if joined else now[0].level
            shown = [e for e in now if rank(e.level) >= rank("possible")] if joined else now[:1]
            more = len(now) - len(shown[:3])
            names = " + ".join(_shown(entry) for entry in shown[:3]) + (f" and {more} more" if more else "")
            lab = "; laboratory: resistant" if any(rank(c.level) > rank(level) for c in called) else ""
            return f"{names}, {_level(level)} {drug} resistance ({shown[0].result.when}){lab}"
        if called:
            first = max(called, key=lambda entry: rank(entry.level))
            said = "resistance" if first.call.says == "resistant" else "possible resistance"
            what = f"{said} to {first.call.drug}" if first.call.drug else "resistance without naming a drug"
            return f"laboratory reports {what} ({first.result.when})"
    if earlier := [e for e in verdict.changes if e.denied_by is not None and rank(e.level) >= rank("possible")]:
        old = max(earlier, key=lambda entry: rank(entry.level))
        said = f"{_level(old.level)} {drug} resistance"
        return f"earlier {_shown(old)} ({old.result.when}), {said}, not in a later result"
    if gone := [e for e in verdict.calls if e.denied_by is not None and rank(e.level) >= rank("possible")]:
        return f"earlier report of {drug} resistance ({gone[0].result.when}), not in a later result"
    if now:
        others = f" and {len(now) - 1} more" if len(now) > 1 else ""
        return f"{_shown(now[0])}{others}, effect on {drug} not known ({now[0].result.when})"
    if called:
        return f"{drug} resistance not determined ({called[0].result.when})"
    if verdict.unsettled:
        return _open(verdict, verdict.unsettled[0])
    return f"{drug} resistance results disagree"


def _open(verdict: Verdict, first: Unsettled) -> str:
    """What is not settled, for a summary."""
    when, drug = first.result.when, verdict.drug
    if first.gap is Gap.GENES:
        return f"{drug} resistance is not excluded, {' and '.join(verdict.not_reported)} not reported ({when})"
    if first.gap is Gap.CODONS:
        return f"{drug} resistance is not excluded, codons not read ({when})"
    if first.gap is Gap.FAILED and len(first.why) <= 60:
        return f"{first.why} ({when})"
    return f"a resistance result could not be read ({when})"


def _level(level: Level) -> str:
    return level if level in ("possible", "low", "moderate", "high") else "unclear"


def _shown(entry: JudgedChange) -> str:
    """A change as a summary names it."""
    written = entry.change.written
    if entry.change.mixture and "/" in written:
        return f"{entry.change.name} (mixture, {written})"
    return f"{entry.change.name} (mixture)" if entry.change.mixture else entry.change.name


def _because(case: Case, verdict: Verdict, indicator: Indicator) -> Iterator[str]:
    """The lines of the card."""
    rule = case.knowledge.resistance.rule
    loud = sorted(verdict.changes, key=lambda entry: (entry.denied_by is not None, -rank(entry.level)))
    for entry in loud[:_LISTED]:
        yield _change_line(entry, verdict.drug)
    if len(loud) > _LISTED:
        yield f"{len(loud) - _LISTED} further changes are not listed here; none of them weighs more."
    yield from verdict.together
    for call in verdict.calls[:_LISTED]:
        yield _call_line(call, verdict.drug)
    if _disagree(verdict):
        yield "The laboratory's call and the mutation list disagree: both are shown, the worse one decides."
    for each in verdict.unsettled[:_LISTED]:
        yield f"{_named(each.result)}: {each.why}. This does not exclude resistance to {verdict.drug}."
    yield from dict.fromkeys(f"Not used: {entry.what} {entry.why}." for entry in case.facts.genotypes_unused)
    note = rule.drugs[verdict.drug].note
    if note and indicator > Indicator.INFO:
        yield note
    if indicator > Indicator.INFO:
        yield from _options(case, verdict)
    if any(result.reading.changes for result in case.facts.genotypes):  # a laboratory's own call does not rest on it
        yield rule.disclaimer


def _named(result: Genotype) -> str:
    remark = f", {result.remark}" if result.remark and result.remark != "undated" else ""
    return f"{result.what} of {result.when}{remark}" if result.on else f"{result.what} (undated{remark})"


def _change_line(entry: JudgedChange, drug: str) -> str:
    change, result = entry.change, entry.result
    told = [f'written "{change.written}"' if change.written not in (change.change, change.name) else ""]
    told += [f"{change.mixture}: counts as present" if change.mixture else "", change.share]
    told += ["the gene is not stated, inferred from the name" if change.inferred else "", _named(result)]
    level = {"none": "no resistance to", "unknown": "not known for", "possible": "possible resistance to"}
    words = level.get(entry.level, f"{entry.level} resistance to")
    line = f"{change.name} ({'; '.join(filter(None, told))}): {words} {drug}; {entry.why}."
    if entry.denied_by:
        line += (
            f" Earlier result; {_named(entry.denied_by)} does not hold it. Resistant virus may persist below detection."
        )
    return line


def _call_line(entry: JudgedCall, drug: str) -> str:
    of = entry.call.drug or drug
    said = {
        "resistant": f"{of} resistant",
        "possible": f"possible {of} resistance",
        "susceptible": f"{of} susceptible",
        "undetermined": f"{of} not determined",
    }[entry.call.says]
    if of != drug:
        said += f", which {drug} follows"
    if not entry.call.drug:
        said = "resistance, no drug named"
    line = f'Laboratory call ({_named(entry.result)}): {said} ("{entry.call.written}").'
    return f"{line} Earlier result; {_named(entry.denied_by)} says susceptible." if entry.denied_by else line


def _inputs(verdict: Verdict) -> Iterator[Input]:
    for change in verdict.changes[:_LISTED]:
        yield Input("CMV mutation", change.change.name, "", _iso(change.result), change.result.ref)
    for call in verdict.calls[:_LISTED]:
        yield Input(f"laboratory call {verdict.drug}", call.call.says, "", _iso(call.result), call.result.ref)
    for each in verdict.unsettled[:_LISTED]:
        yield Input("resistance result", each.why, "", _iso(each.result), each.result.ref)


def _iso(result: Genotype) -> str:
    return result.on.isoformat() if result.on else ""


def _cites(case: Case, verdict: Verdict, indicator: Indicator) -> Iterator[Cite]:
    rule = case.knowledge.resistance.rule
    if verdict.changes:
        yield rule.cite
        yield rule.bands.cite
    if verdict.calls:
        yield rule.calls.cite
    if verdict.unsettled:
        yield rule.coverage.cite
    yield rule.drugs[verdict.drug].cite
    for entry in verdict.changes:
        yield from entry.cites
    yield from verdict.cites
    if indicator > Indicator.INFO:
        yield rule.options.cite


# --------------------------------------------------------------------------------------------------------------------
# What may be discussed instead


def _options(case: Case, verdict: Verdict) -> Iterator[str]:
    """Each other drug, with what this genotype, the kidneys and the counts say of it. No drug is suggested."""
    rule = case.knowledge.resistance.rule
    yield f"{rule.options.lead}:"
    for drug, option in rule.options.drugs.items():
        if drug == verdict.drug:
            continue
        other = judge(case.facts.genotypes, case.knowledge.resistance, drug, case.facts.today)
        if other is None:
            continue
        against = _against(other)
        if against.startswith("avoid"):
            yield f"{drug}: {against}."
            continue
        remarks = [option.says, *_patient(case, option)]
        if option.not_with == case.order.product.drug:
            remarks.append(f"never together with {option.not_with}")
        yield f"{drug}: {against}; {', '.join(remarks)}."
    for drug, why in rule.options.never.items():
        if drug != case.order.product.drug:
            yield f"{why[:1].upper()}{why[1:]}."


def _against(verdict: Verdict) -> str:
    """What speaks against a drug that may be discussed. What was not looked at never reads as nothing found."""
    level = max((verdict.level, verdict.earlier), key=rank)
    if rank(level) >= rank("low"):
        found = any(entry.level == level for entry in verdict.changes) or verdict.together_level == level
        return f"avoid, this genotype resists it ({level})" if found else "avoid, the laboratory reports resistance"
    if level in ("possible", "unknown"):
        return "possible resistance" if level == "possible" else "effect of the genotype not known"
    if any(entry.call.says == "susceptible" for entry in verdict.calls):
        return "the laboratory calls it susceptible"
    for each in verdict.unsettled:
        if each.gap is not Gap.GENES:
            return f"not known, {'part of a result cannot be read' if each.gap is Gap.UNREAD else each.why}"
    if absent := verdict.not_reported:
        lacking = f"{' and '.join(absent)} {'was' if len(absent) == 1 else 'were'} not reported"
        clear = [gene for gene in verdict.needs if gene not in absent]
        return f"{' and '.join(clear)} does not speak against it, {lacking}" if clear else f"not known, {lacking}"
    return "nothing in this genotype speaks against it"


def _patient(case: Case, option: Option) -> Iterator[str]:
    """What is known of this patient that speaks to an option."""
    facts, knowledge = case.facts, case.knowledge
    kidney = assess(facts, knowledge.kidney, _ADULT_YEARS, per_kg=option.per_kg)
    clearance = kidney.clearance
    if option.kidney:
        where = "on dialysis" if kidney.dialysis else f"CrCl {clearance or 'not known'}"
        yield f"{option.kidney} ({where})"
    if option.limit and (kidney.dialysis or (clearance and clearance.rounded < option.limit.below)):
        yield option.limit.says
    if option.start_limits:
        yield from _start_limits(case)
    for analyte, lowest in option.counts.items():
        lab, name = facts.newest(analyte), knowledge.codes.analytes[analyte].name
        if isinstance(lab, Lab) and lab.value < lowest:
            yield f"not to be started at {name} {lab.original} ({lab.on.isoformat()})"
        elif isinstance(lab, Missing):
            yield lab.of(name)


def _start_limits(case: Case) -> Iterator[str]:
    """Limits of the cidofovir label that this patient meets, or that cannot be looked at."""
    for rule in case.knowledge.cidofovir[:1]:
        limits = rule.start
        creatinine, protein = case.facts.newest("creatinine"), case.facts.newest("urine-protein")
        kidney = assess(case.facts, case.knowledge.kidney, _ADULT_YEARS)
        against = []
        if isinstance(creatinine, Lab) and creatinine.value > limits.creatinine_above_mg_dl:
            against.append(f"creatinine {creatinine.original}")
        if kidney.clearance and kidney.clearance.rounded <= limits.clearance_at_most_ml_min:
            against.append(f"CrCl {kidney.clearance}")
        if isinstance(protein, Lab) and protein.value >= limits.protein_at_least_mg_dl:
            against.append(f"urine protein {protein.original}")
        if against:
            yield f"contraindicated by the label at {' and '.join(against)}"
        elif isinstance(protein, Missing):
            yield f"{protein.of('urine protein')}, needed before every dose"
