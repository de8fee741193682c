"""Is the dose right where it does not hang on adult kidney function: other drugs, weight, age, formulas?

And is it more than any source has for anybody?
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby, zip_longest
from math import ceil

from cdshooks.medicine.case import (
    Case,
    DoseCase,
    KnownDose,
    RemarkCase,
    earlier_doses,
    in_one_line,
    medicines_gap,
)
from cdshooks.medicine.compare import (
    Comparison,
    Slip,
    compare,
    in_table_unit,
    likely_slip,
    nearest,
    single_dose_words,
)
from cdshooks.medicine.dosage.wording import plain
from cdshooks.medicine.kidney import measured_days
from cdshooks.medicine.phase import says
from cdshooks.medicine.propose import in_order_unit, proposal
from cdshooks.medicine.rules.dose import DoseRow, Elsewhere
from cdshooks.medicine.rules.renal_dose import Regimens, TableRegimen
from cdshooks.model import Finding, Indicator, Input, Lab, Missing, Order, Phase, Proposal, Regimen, Why

_CAP = {"critical": Indicator.CRITICAL, "warning": Indicator.WARNING, "info": Indicator.INFO}
_SOLID = ("tablet", "capsule", "pellet")  # never broken


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic dose (doseAdvice while no dose is given) for an order that a dose rule has a row for.

    Topic renalDose where the rule says so, interaction where another drug forbids the order, dataQuality where the dose
    cannot be judged.
    """
    yield from _remarks(case)
    dose = case.dose
    if dose is None:
        return
    found = [*_beside(case, dose), *_on_row(case, dose)]
    yield from found
    forbidden = dose.row.not_recommended and _CAP[dose.row.at_most] is Indicator.CRITICAL
    if not forbidden and not any(f.topic == "dose" and f.indicator is Indicator.CRITICAL for f in found):
        mended = tuple(proposal for finding in found for proposal in finding.proposals)
        yield from (replace(finding, proposals=mended) for finding in _beyond_maximum(case, dose))


def _beside(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """What could not be looked for, and a weight that has to be taken again."""
    if dose.unseen:
        yield _unseen(case, dose)
    if dose.on_hold:
        yield _on_hold(case, dose)
    yield from _weigh_again(case, dose)
    hidden = [
        key for key in ("conditions", "procedures") if (gap := case.facts.problem_gaps.get(key)) and _not_seen(gap)
    ]
    if hidden and case.renal is None and any(other.when.problems for other in dose.rule.rows):
        summary = f": what may change the dose could not be looked for ({' and '.join(hidden)})"
        because = (
            f"Some rows of this rule ask for a diagnosis or an operation; {' and '.join(hidden)} could not be seen."
        )
        yield _finding(case, dose, Indicator.INFO, summary, because, topic="dataQuality")


def _on_row(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """What the row says about the order."""
    regimen, row = case.order.regimen, dose.row
    dialysis = case.renal.kidney.dialysis if case.renal else None
    if dialysis and case.renal and case.renal.is_child:
        summary = ": no label dose for a child on dialysis; ask a specialist pharmacist"
        yield _finding(case, dose, Indicator.WARNING, summary, f"Dialysis: {dialysis.because}.", topic="dose")
        yield from _beyond_formula(case, dose)
    elif dose.lacking:
        yield from _not_known(case, dose)
        yield from _beyond_formula(case, dose)
    elif row.not_recommended:
        summary, topic = f": not recommended{_state(case, row)}", "interaction" if row.when.with_drugs else "dose"
        yield _finding(case, dose, _CAP[row.at_most], summary, row.not_recommended, topic=topic)
    elif row.unsettled:
        yield from _unsettled(case, dose)
    elif regimen is None and case.order.draft:
        words = _expected(case, dose)
        summary = f"{_state(case, row)}: {words}"
        yield _finding(case, dose, Indicator.INFO, summary, f"Regimen: {words}.", topic="doseAdvice", propose=True)
    elif isinstance(regimen, Regimen):
        yield from _judged(case, dose, regimen)


def _beyond_maximum(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """More than any source has for anybody: an error whatever else is or is not known of the patient."""
    regimen, maximum = case.order.regimen, dose.rule.maximum
    comparisons = _comparisons(case, maximum.regimens, regimen) if isinstance(regimen, Regimen) else []
    if comparisons and all(_far(case, c) for c in comparisons):
        words, limit = _words(maximum.regimens), 1 + case.knowledge.judgement.strong
        if (largest := comparisons[0].largest) and all(c.high < limit for c in comparisons):
            words = f"{largest.normalize():f} {comparisons[0].expected.dose[1]} at once"
        found = _finding(case, dose, Indicator.CRITICAL, f" is more than any source has: {words} at most", maximum.says)
        yield replace(
            found,
            topic="dose",
            expected=found.expected or f"{words} at most",
            citations=(case.knowledge.citation(maximum.cite),),
        )


def _beyond_formula(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """The formula cannot be computed: what is more than the most that it gives for anybody is too much all the same."""
    regimen, formula, every = case.order.regimen, dose.row.formula, dose.row.every
    if formula is None or formula.most_mg is None or every is None or dose.assumed or not isinstance(regimen, Regimen):
        return
    most = TableRegimen(dose=(formula.most_mg, "mg"), every=every)
    if comparisons := [c for c in _comparisons(case, (most,), regimen) if c.too_much]:
        words = most.regimen.wording
        far = all(_far(case, c) for c in comparisons)
        found = _finding(
            case,
            dose,
            Indicator.CRITICAL if far else Indicator.WARNING,
            f" is too much: {words} at most, whatever the kidney function",
            f"The formula of the label gives no child more than {words}.",
            topic="dose",
        )
        yield replace(found, expected=f"{words} at most")


def _far(case: Case, c: Comparison) -> bool:
    """Too much by as much as makes a card critical."""
    return c.excess >= 1 + case.knowledge.judgement.strong


def _not_seen(gap: Missing) -> bool:
    return gap.why is not Why.NONE_ON_FILE


def _unseen(case: Case, dose: DoseCase) -> Finding:
    """What would change the dose could not be looked for on the medication list: what would hold then."""
    sought = "drugs that change the dose" if any(row.when.with_drugs for row in dose.unseen) else "earlier doses"
    summary = f": {sought} could not be looked for (medication list {medicines_gap(case.facts)})"
    return _either(case, dose, dose.unseen, summary, "Without them", "dataQuality")


def _on_hold(case: Case, dose: DoseCase) -> Finding:
    """A drug that changes the dose is on hold: the label keeps the dose during a short hold."""
    names = [name for drug, name in case.facts.on_hold.items() if any(drug in r.when.with_drugs for r in dose.on_hold)]
    summary = f": {', '.join(names)} is on hold; the dose depends on how long"
    return _either(case, dose, dose.on_hold, summary, "After it was stopped for good", "dose")


def _either(case: Case, dose: DoseCase, rows: tuple[DoseRow, ...], summary: str, otherwise: str, topic: str) -> Finding:
    """Information that shows both what holds in some case and what holds otherwise."""
    if any(row.when.with_drugs for row in rows):
        title = case.knowledge.medicines.title
        lines = [f"With {' or '.join(map(title, row.when.with_drugs))}: {_says(row)}" for row in rows]
        lines.append(f"{otherwise}: {_says(dose.row)}")
    else:
        lines = [*_by_earlier_doses(*rows, dose.row)]
    found = _finding(case, dose, Indicator.INFO, summary, *map(_sentence, lines), topic=topic)
    cites = (case.knowledge.citation(row.cite or dose.rule.cite) for row in (*rows, dose.row))
    return replace(found, citations=tuple(dict.fromkeys(cites)))


def _says(row: DoseRow) -> str:
    return _words(row.regimens) or row.not_recommended or row.unsettled


def _by_earlier_doses(*rows: DoseRow) -> Iterator[str]:
    """What rows say by the number of doses given before, those that say the same together."""
    by_number = {row.when.earlier_doses_at_least or 0: _says(row) for row in rows}
    least = [next(group) for _, group in groupby(sorted(by_number), key=lambda number: by_number[number])]
    for number, following in zip_longest(least, least[1:]):
        yield f"{_earlier(number, following and following - 1)}: {by_number[number]}"


def _earlier(least: int, most: int | None) -> str:
    """So many earlier doses, in words."""
    first, last = (("none", "one", "two")[n] if n is not None and n <= 2 else str(n) for n in (least, most))
    if most is None:
        return f"{first} or more earlier doses"
    if least == most:
        return f"{first if least else 'no'} earlier dose{'s' if most > 1 else ''}"
    return f"{first} {'or' if most == least + 1 else 'to'} {last} earlier dose{'s' if most > 1 else ''}"


def _remarks(case: Case) -> Iterator[Finding]:
    """What is to be known beside the dose. What a warning depends on and is not known is said as well."""
    for found in case.remarks:
        remark, indicator = found.remark, _CAP[found.remark.indicator]
        if not found.lacking:
            yield _remark(case, found, remark.topic, indicator, remark.summary, remark.says)
        elif indicator > Indicator.INFO:
            name, missing = found.lacking
            summary = f": {found.remark.unchecked} not checked ({missing.of(name)})"
            lines = (f"It would be: {remark.says}", _sentence(f"{name}: {missing}"))
            yield _remark(case, found, "dataQuality", Indicator.INFO, summary, *lines)


def _remark(case: Case, found: RemarkCase, topic: str, indicator: Indicator, summary: str, *because: str) -> Finding:
    order, kidney = case.order, found.kidney
    lines = [*because]
    if kidney and kidney.dialysis:
        lines.append(f"Dialysis: {kidney.dialysis.because}.")
    elif kidney and kidney.clearance:
        lines.append(f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}.")
    return Finding(
        topic=topic,
        indicator=indicator,
        rules=(found.rule.id,),
        order=order.chart,
        drug=order.product.drug,
        summary=f"{order.label}{summary}",
        because=tuple(lines),
        citations=(case.knowledge.citation(found.remark.cite),),
        intent=order.intent,
        inputs=kidney.inputs if kidney else (),
        ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
    )


def _weigh_again(case: Case, dose: DoseCase) -> Iterator[Finding]:
    weight, limit = case.facts.newest("weight"), dose.row.weigh_every_days
    adult = not case.facts.is_younger_than(case.knowledge.kidney.adults_from_years)
    if limit is None and case.renal is None and not adult and dose.weight_decides:
        limit = measured_days(case.knowledge.kidney, case.facts)
    if limit is not None and isinstance(weight, Lab) and (days := (case.facts.today - weight.on).days) > limit:
        summary = f": the weight is {days} days old, weigh again"
        because = (
            f"The dose follows the weight: weigh at least every {limit} days. It is judged with {weight.original}."
        )
        yield _finding(case, dose, Indicator.INFO, summary, because, topic="dose")


def _not_known(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """What decides on the dose and is absent, unless the checks of the kidney function say so."""
    said = {name for name, _ in case.renal.kidney.lacking} if case.renal else frozenset()
    unsaid = [(name, missing) for name, missing in dose.lacking if name not in said]
    if unsaid:
        name, missing = unsaid[0]
        lines = (_sentence(f"{what}: {why}") for what, why in unsaid)
        summary = f": dose not checked ({name} {missing.why.value})"
        yield _finding(case, dose, Indicator.WARNING, summary, *lines, topic="dataQuality")


def _unsettled(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """What sources have beside an order whose dose none settles. Never a suggestion.

    Information where a source has it, and in other words where none has. Far above all of them it is a warning at
    least, and so it is far below all of them where these are for kidneys such as the patient's.
    """
    row, regimen = dose.row, case.order.regimen
    shown = [each for each in dose.known if not each.known.bound]
    lines = [row.unsettled, *map(_known_words, shown)]
    per_kg = case.per_kg_of_child
    if per_kg and any(each.known.full_kidneys_from_per_kg for each in dose.known):
        lines.append(f"{per_kg.formula}: {per_kg.arithmetic}.")
    if (stop := row.stop_below) and per_kg and per_kg.rounded < stop.per_kg:
        below = f": CrCl {per_kg}; {stop.by} stops it below {stop.per_kg}"
        stopped = _unsettled_finding(case, dose, Indicator.WARNING, below, *lines)
        cited = (*stopped.citations, case.knowledge.citation(stop.cite))
        yield replace(stopped, citations=tuple(dict.fromkeys(cited)))
        return
    if not isinstance(regimen, Regimen):
        yield _unsettled_finding(case, dose, Indicator.INFO, ": the sources do not settle this dose", *lines)
        return
    found = [(each, _comparisons(case, each.regimens, regimen)) for each in dose.known]
    every = [c for _, comparisons in found for c in comparisons]
    whole = all(comparisons for _, comparisons in found)  # every figure could be computed and compared
    fitting = [each for each, comparisons in found if any(c.fits for c in comparisons)]
    fits = [each for each in fitting if each in shown]
    same = next((each for each in fits if _full_kidneys(case, each) is not False), next(iter(fits), None))
    at_least = [each for each, cs in found if each in shown and any(not c.too_little for c in cs)]
    reduced = next((each for each in at_least if _full_kidneys(case, each) is False), None)
    beyond = _far_above(case, dose, regimen)
    grade, summary = Indicator.INFO, ": the sources do not settle this dose"
    if same and _full_kidneys(case, same) is False:
        grade, summary = Indicator.WARNING, f": fits {same.known.by} for full kidney function; here {_here(case)}"
    elif same and beyond:
        grade, summary = Indicator.WARNING, f": fits {same.known.by}, but is far above {beyond}"
    elif same:
        summary = f": fits {same.known.by}; the sources do not settle this dose"
    elif every and all(_far(case, c) for c in every):
        grade = min(Indicator.CRITICAL, _CAP[row.at_most]) if whole else Indicator.WARNING
        grade = Indicator.CRITICAL if any(_ten_times(case, dose, regimen, c) for c in every) else grade
        by = {c: each.known.by for each, comparisons in found if each in shown for c in comparisons}
        largest = _largest([*by] or every)
        summary = f" is more than any source has: {largest.expected.regimen.wording} at most"
        summary += f" ({by[largest]})" if largest in by else ""
    elif beyond:
        grade, summary = Indicator.WARNING, f" is far above {beyond}"
    elif reduced:
        less = f"no less than {reduced.known.by} for full kidney function"
        grade, summary = Indicator.WARNING, f" is in none of the sources, but {less}; here {_here(case)}"
    elif every and not fitting:
        far_below = all(c.low <= 1 - case.knowledge.judgement.strong for c in every)
        sure = whole and all(_full_kidneys(case, each) for each in dose.known)
        grade = Indicator.WARNING if far_below and sure else Indicator.INFO
        figures = dict.fromkeys(r.regimen.wording for each in shown if each.regimens for r in each.regimens)
        summary = f" is in none of the sources: {' or '.join(figures)}"
    yield _unsettled_finding(case, dose, grade, summary, *lines)


def _far_above(case: Case, dose: DoseCase, ordered: Regimen) -> str:
    """What a source has by a formula that holds the kidney function, where the order is far above it; else "".

    It outranks a figure that does not. With the phase unknown the formula may be one of another phase.
    """
    for each in dose.known if case.order.intent.phase or not dose.row.unsettled else ():
        comparisons = _comparisons(case, each.regimens, ordered)
        by_kidneys = each.known.formula is not None and "clearance" in each.known.formula.times
        if by_kidneys and comparisons and all(_far(case, c) for c in comparisons):
            words = "" if each.known.bound else f"{_words(each.regimens)}, "
            return f"{words}{each.known.by} in these kidneys"
    return ""


def _largest(comparisons: list[Comparison]) -> Comparison:
    """The one with the regimen that is the most a day: of that the ordered amount is the smallest share."""
    return min(comparisons, key=lambda c: c.high)


def _full_kidneys(case: Case, each: KnownDose) -> bool | None:
    """Are the kidneys such as the figure asks for? None when that is not known, or the figure does not say."""
    clearance, known = case.renal.kidney.clearance if case.renal else None, each.known
    asked = ((clearance, known.full_kidneys_from), (case.per_kg_of_child, known.full_kidneys_from_per_kg))
    held = [found.rounded >= least for found, least in asked if found is not None and least is not None]
    return all(held) if held else None


def _here(case: Case) -> str:
    """The kidney function that a figure was held against."""
    per_kg = case.per_kg_of_child
    return f"CrCl {case.renal.kidney.clearance if case.renal else None}{f' ({per_kg})' if per_kg else ''}"


def _known_words(each: KnownDose) -> str:
    """What a source has, in a sentence."""
    if each.lacking:
        lacking = ", ".join(f"{name} {missing.why.value}" for name, missing in each.lacking)
        return _sentence(f"{each.known.by}: not computed ({lacking})")
    arithmetic = f" ({each.arithmetic})" if each.arithmetic else ""
    return _sentence(f"{each.known.by}: {_words(each.regimens)}{arithmetic}")


def _unsettled_finding(case: Case, dose: DoseCase, grade: Indicator, summary: str, *because: str) -> Finding:
    found = _finding(case, dose, grade, summary, *because, topic="dose")
    shown = [each for each in dose.known if not each.known.bound]
    inputs = (*found.inputs, *(value for each in shown for value in each.inputs))
    cites = (case.knowledge.citation(each.known.cite) for each in shown)
    return replace(
        found,
        inputs=tuple(dict.fromkeys(inputs)),
        citations=tuple(dict.fromkeys((*found.citations, *cites))),
        expected="; ".join(f"{_words(each.regimens)} ({each.known.by})" for each in shown if each.regimens),
    )


def _judged(case: Case, dose: DoseCase, ordered: Regimen) -> Iterator[Finding]:
    comparisons = _comparisons(case, dose.expected, ordered)
    words = _expected(case, dose)
    if not comparisons:
        weight = case.facts.newest("weight")
        reason = f"weight {weight.why.value}" if isinstance(weight, Missing) else "units"
        because = f"Expected is {words}; a dose in {ordered.unit} cannot be compared with it."
        yield _finding(case, dose, Indicator.WARNING, f": dose not checked ({reason})", because, topic="dataQuality")
        return
    judging = nearest(comparisons)
    if judging.fits and dose.assumed:
        for other in dose.readings:
            if not any(c.fits for c in _comparisons(case, other.regimens, ordered)):
                yield from _right_for_one(case, dose, other)
    if judging.fits or (_rising(case, dose) and not judging.too_much):
        if judging.fits:
            yield from _too_many_doses(case, dose, ordered)
        if judging.fits and (beyond := _far_above(case, dose, ordered)):
            summary = f": right by weight, but far above {beyond}"
            shown = (each for each in dose.known if not each.known.bound)
            yield _finding(case, dose, Indicator.WARNING, summary, *map(_known_words, shown))
        return
    second = nearest(_comparisons(case, (dose.second,), ordered)) if dose.second else judging
    between = (judging.too_little and not second.too_little) or (judging.too_much and not second.too_much)
    if dose.second and between:
        yield _finding(case, dose, Indicator.INFO, f": {words}", topic="dose")
        return
    either = (*dose.unseen, *dose.on_hold)
    if any(c.fits for row in either for c in _comparisons(case, row.regimens, ordered)):
        return  # right in the other case: that card shows both
    # where the order may be read in another way, only what is grave in both is critical, or what no reading explains
    readings = [nearest(found) for row in dose.readings if (found := _comparisons(case, row.regimens, ordered))]
    sure = bool(readings) or not dose.assumed or judging.tenfold
    strong = sure and all(_is_grave(case, dose, comparison) for comparison in (judging, *readings))
    slip = _slip(dose, ordered, judging, case)
    cap = Indicator.CRITICAL if strong and _beyond_doubt(case, dose, ordered, judging) else _CAP[dose.row.at_most]
    indicator = min(Indicator.CRITICAL if strong else Indicator.WARNING, cap)
    elsewhere = dose.row.elsewhere
    if elsewhere and says(case.order.said, elsewhere.unless_said, case.knowledge.phases):
        elsewhere = None
    if elsewhere and any(c.fits for c in _comparisons(case, elsewhere.regimens, ordered)):
        yield _elsewhere(case, dose, elsewhere, min(indicator, _CAP[elsewhere.at_most]))
        return
    shares = dict.fromkeys(_share(comparison) for comparison in (judging, second))
    share = f"Expected: {words}; ordered is {' or '.join(shares)} of the amount a day."
    if judging.too_much_at_once:
        share = f"{share[:-1]}; {single_dose_words(judging)}."
    # what else is known speaks of too much alone
    others = [each for each in dose.known if judging.too_much and not each.known.bound]
    lines = [share, *([slip.says] if slip else []), *map(_known_words, others)]
    state, product = _state(case, dose.row), _another_product(case, dose)
    endings = (
        f" {judging.misfit}{where}: {words}{unit}{product}"
        for where, unit in ((state, _also(case, dose)), (state, ""), ("", ""))
    )
    base = _finding(case, dose, indicator, "", *lines, propose=True)
    base = replace(base, summary=in_one_line(case.order.label, *endings))
    cites = (case.knowledge.citation(each.known.cite) for each in others)
    base = replace(base, citations=tuple(dict.fromkeys((*base.citations, *cites))))
    yield base
    if slip and slip.sure and dose.rule.topic != "dose":
        yield replace(base, topic="dose", summary=f"{case.order.label}{slip.summary}", because=(slip.says, share))


def _slip(dose: DoseCase, ordered: Regimen, c: Comparison, case: Case) -> Slip | None:
    return likely_slip(ordered, c, case.knowledge.judgement, dose.rule.doses)


def _beyond_doubt(case: Case, dose: DoseCase, ordered: Regimen, judging: Comparison) -> bool:
    """Is it far too much by every other figure that is known as well, by a slip, or ten times and more?"""
    others = [_comparisons(case, each.regimens, ordered) for each in dose.known]
    known = bool(others) and all(others) and all(_far(case, c) for comparisons in others for c in comparisons)
    return known or _ten_times(case, dose, ordered, judging)


def _ten_times(case: Case, dose: DoseCase, ordered: Regimen, c: Comparison) -> bool:
    """Too much by the decimal point or the unit, or ten times and more?"""
    slip = _slip(dose, ordered, c, case)
    return c.tenfold or (slip is not None and slip.sure and _far(case, c))


def _is_grave(case: Case, dose: DoseCase, c: Comparison) -> bool:
    """Too much by so much; beside a drug that changes the dose, too little by so much as well."""
    too_little = c.too_little and c.low <= 1 - case.knowledge.judgement.strong
    return (c.too_much and _far(case, c)) or (bool(dose.row.when.with_drugs) and too_little)


def _too_many_doses(case: Case, dose: DoseCase, ordered: Regimen) -> Iterator[Finding]:
    """Right, but for more doses than the regimen is for, or without an end where the rule asks for one."""
    limit, order = dose.row.doses_at_most, case.order
    if limit is None or not case.ordered_now:
        return
    number = _number_of_doses(order, ordered, case.facts.today)
    before = earlier_doses(order, case.facts, case.knowledge) if order.draft else 0
    given = f" ({before} given before)" if before else ""
    if number is None and limit.without_end and not ordered.later:
        because = f"The order does not say for how many doses{given}; its regimen is for {limit.doses}."
        yield _finding(case, dose, Indicator.INFO, f" without an end{given}: {limit.summary}", because)
    elif number is not None and number + before > limit.doses:
        because = f"The order is for {number} doses{given}; its regimen is for {limit.doses}."
        indicator = _CAP[limit.indicator]
        yield _finding(case, dose, indicator, f" for {number} doses{given}: {limit.summary}", because)


def _number_of_doses(order: Order, ordered: Regimen, today: date) -> int | None:
    """How many doses the order says that it is for; None where it has no end."""
    if ordered.doses is not None:
        return ordered.doses
    if order.ends is None or ordered.per_day is None or ordered.later:
        return None
    days = (order.ends - max(order.starts or today, today)).days  # the last day may be the day after the last dose
    return max(1, ceil(round(days * ordered.per_day, 6))) if days >= 0 else None


def _right_for_one(case: Case, dose: DoseCase, other: DoseRow) -> Iterator[Finding]:
    """The phase is unknown, and the order right for the one that was supposed: information that shows both."""
    if other.regimens:
        supposed = dose.row.when.phases[0].value
        summary = f" is right for {supposed}; otherwise the label has {_words(other.regimens)}"
        lines = (_sentence(f"{supposed}: {_words(dose.expected)}"), _sentence(other.note or _words(other.regimens)))
        yield _finding(case, dose, Indicator.INFO, summary, *lines)


def _elsewhere(case: Case, dose: DoseCase, elsewhere: Elsewhere, indicator: Indicator) -> Finding:
    """Not the row's regimen, but another label's, or one that is right at another time."""
    words = _words(dose.expected)
    found = _finding(
        case,
        dose,
        indicator,
        f"{_state(case, dose.row)}: expected is {words}",
        elsewhere.says,
        propose=indicator > Indicator.INFO,
    )
    return replace(found, citations=(*found.citations, case.knowledge.citation(elsewhere.cite)))


def _comparisons(case: Case, expected: Regimens, ordered: Regimen) -> list[Comparison]:
    """The order against each regimen whose unit it meets."""
    phase, weight = case.order.intent.phase or Phase.TREATMENT, case.facts.newest("weight")
    in_units = ((in_table_unit(ordered, regimen.dose[1], weight), regimen) for regimen in expected)
    tolerance, rule = case.knowledge.judgement.tolerance, case.dose.rule if case.dose else None
    return [
        compare(in_unit, regimen, phase, tolerance, rule.largest_dose(in_unit.unit) if rule else None)
        for in_unit, regimen in in_units
        if in_unit is not None
    ]


def _rising(case: Case, dose: DoseCase) -> bool:
    """Is a clearance behind the dose too high, because the creatinine is rising?"""
    return dose.by_clearance and case.renal is not None and case.renal.kidney.moving == "rising"


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _words(regimens: Regimens) -> str:
    """The regimens that a label has first of all, in words."""
    return " or ".join(regimen.regimen.wording for regimen in regimens if not regimen.alternative)


def _expected(case: Case, dose: DoseCase) -> str:
    """What is expected in words: by each clearance where sources disagree on it."""
    words, kidney = _words(dose.expected), case.renal.kidney if case.renal else None
    if dose.second is None or kidney is None or kidney.clearance is None or kidney.second is None:
        return words
    why = "age not known exactly" if case.facts.born_by else "sources disagree"
    return f"{words} ({kidney.clearance.by}) or {_words((dose.second,))} ({kidney.second.by}), {why}"


def _share(comparison: Comparison) -> str:
    """How much of the expected amount a day is ordered."""
    too_little = comparison.too_little and not comparison.too_much
    return f"{(comparison.low if too_little else comparison.high) * 100:.0f} %"


def _also(case: Case, dose: DoseCase) -> str:
    """The expected dose in the unit of the order, where that is another one."""
    regimens = [regimen for regimen in dose.expected if not regimen.alternative]
    if len(regimens) != 1 or dose.second:
        return ""
    weight, per_kg = case.facts.newest("weight"), _per_kg(case, dose, regimens[0])
    return in_order_unit(case.order, regimens[0], weight, case.knowledge, per_kg)


def _state(case: Case, row: DoseRow) -> str:
    """What of the patient decides on the row, with its preposition: drugs given with it, weight, age."""
    when, facts = row.when, case.facts
    given = [drug for drug in case.knowledge.medicines.members(when.with_drugs) if drug in facts.medicines]
    parts = [f"with {', '.join(sorted(map(case.knowledge.medicines.title, given)))}"] if given else []
    weight = facts.newest("weight")
    if (when.kg_at_least is not None or when.kg_below is not None) and isinstance(weight, Lab):
        parts.append(f"at {plain(round(weight.value, 1))} kg")
    elif row.not_recommended and when.days_below is not None and not isinstance(facts.born, Missing):
        parts.append(f"at {(facts.today - facts.born).days} days of age")
    elif row.not_recommended and when.years_below is not None and facts.age is not None:
        parts.append(f"at {facts.age} year{'' if facts.age == 1 else 's'}")
    if row.not_recommended and when.earlier_doses_at_least:
        parts.append(f"after {when.earlier_doses_at_least} doses")
    return "".join(f" {part}" for part in parts)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _proposals(case: Case, dose: DoseCase) -> Iterator[Proposal]:
    """What would mend a draft, in doses that its product can give."""
    order = case.order
    reason = order.intent.phase.value if order.intent.phase else ""
    reason = ", ".join(filter(None, [reason, "off label" if dose.row.off_label else "" if reason else "label"]))
    sure = not _rising(case, dose)
    doubt = "" if sure else "; CrCl unreliable, perhaps still too much"
    for regimen in dose.expected if order.draft and dose.second is None else ():
        if not regimen.alternative and _can_be_given(order, regimen):
            weight, per_kg = case.facts.newest("weight"), _per_kg(case, dose, regimen)
            made = proposal(order, regimen, reason + doubt, weight, case.knowledge, sure=sure, mg_per_kg=per_kg)
            yield from [replace(made, doses=_doses_left(case, dose))] if made else []


def _doses_left(case: Case, dose: DoseCase) -> int | None:
    """How many doses a suggestion is for, where a regimen for so many has to say it."""
    limit = dose.row.doses_at_most
    if limit is None or not limit.without_end:
        return None
    return max(1, limit.doses - earlier_doses(case.order, case.facts, case.knowledge))


def _per_kg(case: Case, dose: DoseCase, regimen: TableRegimen) -> Decimal | None:
    """The dose of a formula per kg of body weight, for an order that counts so; None for what is never broken."""
    formula, weight = dose.row.formula, case.facts.newest("weight")
    if formula is None or not isinstance(weight, Lab) or case.order.product.form in _SOLID:
        return None
    if formula.times == ("weight",):
        return formula.factor
    return (regimen.dose[0] / weight.value).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)


def _another_product(case: Case, dose: DoseCase) -> str:
    """Which strength on the market gives the dose, where the one ordered cannot; "" where it can, or none does."""
    product, first = case.order.product, next(iter(dose.expected), None)
    if not case.order.draft or first is None or dose.second or _can_be_given(case.order, first):
        return ""
    sold = case.knowledge.codes.drugs[product.drug].forms[product.form].strengths_mg
    fitting = [strength for strength in sold if first.dose[0] % strength == 0]
    return f"; order the {max(fitting).normalize():f} mg {product.form}" if fitting else ""


def _can_be_given(order: Order, regimen: TableRegimen) -> bool:
    """Is the dose a whole number of what is ordered, where that is not to be broken?"""
    number, unit = regimen.dose
    strength = order.product.strength_mg if order.product.form in _SOLID else None
    return unit != "mg" or strength is None or number % strength == 0


def _looked_at(case: Case, dose: DoseCase, companions: frozenset[str]) -> Iterator[Input]:
    """What of the record decided on the row, and turns mg into mg/kg: age, weight, drugs given with it."""
    facts, ordered = case.facts, case.order.regimen
    whens = [row.when for row in dose.rule.rows]
    weight = facts.newest("weight")
    if facts.age is not None and any(
        (when.years_at_least, when.years_below, when.days_below) != (None,) * 3 for when in whens
    ):
        yield Input("age", str(facts.age), "years", facts.today.isoformat(), "Patient")
    converted = isinstance(ordered, Regimen) and any(r.dose[1] != ordered.unit for r in dose.expected)
    if isinstance(weight, Lab) and (dose.by_weight or converted):
        yield Input("weight", f"{weight.value.normalize():f}", weight.unit, weight.on.isoformat(), weight.ref)
    for each in facts.prescriptions:
        if each.drug in companions and each.systemic and each.drug in facts.medicines:
            yield Input("given with", each.name, "", each.starts.isoformat() if each.starts else "", each.order.ref)


def _finding(
    case: Case,
    dose: DoseCase,
    indicator: Indicator,
    summary: str,
    *because: str,
    topic: str = "",
    propose: bool = False,
) -> Finding:
    """A finding on the row; without another topic that of the rule."""
    order, row = case.order, dose.row
    child = case.renal.kidney if case.renal and case.renal.is_child else None
    why = [*because]
    asked = case.knowledge.medicines.members(row.when.with_drugs)
    present = [name for drug, name in case.facts.medicines.items() if drug in asked]
    why += [f"Given with {', '.join(present)}."] if present else []
    if row.when.earlier_doses_at_least:
        on_file, before = earlier_doses(order, case.facts, case.knowledge), order.doses_before
        if on_file or before == 0:
            why.append(f"The orders on file hold {on_file} earlier doses of this course.")
        if before != 0:
            many = "an unstated number of" if before is None else str(before)
            why.append(f"The steps before this one give {many} doses.")
    switches = case.knowledge.site.switches
    why += [f"Set for this site: {switches[name].choices[value]}." for name, value in row.when.site.items()]
    why += [f"{dose.arithmetic}."] if dose.arithmetic else []
    if child and child.clearance and dose.by_clearance and dose.expected:
        why += [f"{child.clearance.formula}: {child.clearance.arithmetic}."]
        if dose.second and child.second:
            why += [_sentence(child.second_because), f"{dose.second_arithmetic}."]
            why += [f"{child.second.formula}: {child.second.arithmetic}."]
        why += [child.age_note]
    why += [row.note] if row.note else []
    why += [_sentence(dose.assumed)] if dose.assumed else []
    if order.intent.phase:
        why.append(f"Phase: {order.intent.phase.value}, {order.intent.basis}, because {order.intent.because}.")
    return Finding(
        topic=topic or dose.rule.topic,
        indicator=indicator,
        rules=(dose.rule.id,),
        order=order.chart,
        drug=order.product.drug,
        summary=f"{order.label}{summary}",
        because=tuple(why),
        citations=(case.knowledge.citation(row.cite or dose.rule.cite),),
        intent=order.intent,
        inputs=tuple(dict.fromkeys((*(child.inputs if child else ()), *dose.inputs, *_looked_at(case, dose, asked)))),
        ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
        expected=_expected(case, dose),
        proposals=tuple(_proposals(case, dose)) if propose else (),
    )
