"""Is this the drug for the purpose? All advice in mappings/rules/indication whose situation holds is given."""

from collections.abc import Iterator
from dataclasses import dataclass

from cdshooks.medicine.case import Case, medicines_gap
from cdshooks.medicine.dates import counted
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.orders import intent_said, texts_of
from cdshooks.medicine.phase import says
from cdshooks.medicine.rules.advice import Advice, Situation
from cdshooks.medicine.therapy import Therapy, days_of, therapies
from cdshooks.medicine.viral_load import Series, all_series, log_change, significant, starting_value
from cdshooks.model import (
    Facts,
    Finding,
    Indicator,
    Input,
    Lab,
    LabRequest,
    Missing,
    OrderState,
    Phase,
    Said,
    Serostatus,
    Why,
)

_INDICATORS = {"info": Indicator.INFO, "warning": Indicator.WARNING, "critical": Indicator.CRITICAL}
_NOW = (OrderState.DRAFT, OrderState.RUNNING)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the advice on an order looks at, put together once. `unseen` names the lists that could not be looked at."""

    case: Case
    problems: frozenset[str]  # concepts of the problem list and of the order's reasons
    problems_unseen: str
    thin: bool  # neither a condition nor a procedure is on file
    texts: tuple[str, ...]
    medicines: frozenset[str]  # systemic, drafted or running, beside this order
    medicines_unseen: str
    series: tuple[Series, ...]
    therapy: tuple[Therapy, ...]
    said: Phase | None  # the phase by the order's own words


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic indication; dataQuality where a warning could not be looked for."""
    rules = [advice for advice in case.knowledge.indication if case.order.product.drug in advice.drugs]
    rules = [advice for advice in rules if case.order.indication in advice.when.against]
    if not rules:
        return
    seen = _look(case)
    gaps: dict[str, Advice] = {}
    for advice in rules:
        held = _Held()
        if all(_conditions(advice.when, seen, held)):
            if not held.unseen:
                yield _finding(case, advice, seen, held)
            elif _INDICATORS[advice.indicator] > Indicator.INFO:
                gaps |= dict.fromkeys(held.unseen, advice)
    if gaps:
        yield case.finding(
            next(iter(gaps.values())).id,
            "dataQuality",
            Indicator.INFO,
            f": what it is for could not be checked in full ({' and '.join(gaps)})",
            *(
                f"Not known for want of it: {advice.title[:1].lower()}{advice.title[1:]}."
                for advice in set(gaps.values())
            ),
            cites=[advice.cite for advice in gaps.values()],
        )


def check_call(facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """Findings about orders that are no orders of ours, but that by their own words treat CMV with the wrong drug."""
    for prescription, intent in facts.not_for_cmv:
        for rule in knowledge.not_for_cmv:
            if prescription.drug in knowledge.medicines.members(rule.drugs):
                title = knowledge.medicines.title(prescription.drug)
                yield Finding(
                    topic="indication",
                    indicator=_INDICATORS[rule.indicator],
                    rules=(rule.id,),
                    order=prescription.order,
                    drug=title,
                    summary=f"{title.capitalize()}{rule.summary}",
                    because=(*rule.because, f"Purpose: treatment, {intent.basis}, because {intent.because}."),
                    citations=(knowledge.citation(rule.cite),),
                    intent=intent,
                )


def _look(case: Case) -> _Seen:
    facts, knowledge = case.facts, case.knowledge
    gaps = ((key, facts.problem_gaps.get(key)) for key in ("conditions", "procedures"))
    empty = [gap for _, gap in gaps if gap]
    unseen = " and ".join(
        f"{key} {gap.why.value}"
        for key in ("conditions", "procedures")
        if (gap := facts.problem_gaps.get(key)) and gap.why is not Why.NONE_ON_FILE
    )
    disease = knowledge.codes.groups["cmv_disease"] | knowledge.codes.groups["cmv_viraemia"] | {"antiviral-resistance"}
    own = [text for _, text in texts_of(case.order.chart) if text]
    gap = medicines_gap(facts)
    return _Seen(
        case=case,
        problems=frozenset(problem.concept for problem in facts.problems) | case.order.concepts,
        problems_unseen=unseen,
        thin=len(empty) == len(("conditions", "procedures")) and not facts.problems,
        texts=(*own, *case.order.concepts, *(p.text for p in facts.problems if p.concept in disease)),
        medicines=frozenset(
            p.drug for p in facts.prescriptions if p.systemic and p.state in _NOW and p.order is not case.order.chart
        ),
        medicines_unseen=f"medication list {gap.why.value}" if gap else "",
        series=tuple(all_series(facts, knowledge.response, knowledge)),
        therapy=therapies(facts, knowledge),
        said=intent_said(case.order.chart, knowledge).phase,
    )


# --------------------------------------------------------------------------------------------------------------------
# Does a situation hold?


class _Held:
    """What came up while the conditions were looked at: lists that were not there, and how sure it is."""

    def __init__(self) -> None:
        self.unseen: list[str] = []
        self.at_most = Indicator.CRITICAL
        self.lines: list[str] = []

    def lacks(self, what: str) -> bool:
        """Note a list that could not be looked at; the condition then counts as held."""
        if what and what not in self.unseen:
            self.unseen.append(what)
        return True

    def cap(self, indicator: Indicator) -> None:
        """The finding is no graver than this."""
        self.at_most = min(self.at_most, indicator)


def _conditions(when: Situation, seen: _Seen, held: _Held) -> Iterator[bool]:
    """One truth for each condition that is given."""
    case, facts = seen.case, seen.case.facts
    if when.phases:
        yield _phase_holds(when, seen, held)
    if when.problems:
        yield bool(seen.problems & _members(when.problems, case))
    if when.no_problems:
        yield _free_of(when, seen, held)
    if when.words:
        yield bool(says(seen.texts, when.words, case.knowledge.phases))
    if when.no_words:
        yield not says(seen.texts, when.no_words, case.knowledge.phases)
    if when.with_drugs:
        yield bool(seen.medicines & case.knowledge.medicines.members(when.with_drugs))
    if when.without_drugs:
        absent = not seen.medicines & case.knowledge.medicines.members(when.without_drugs)
        yield absent and (not seen.medicines_unseen or held.lacks(seen.medicines_unseen))
    if when.routes:
        yield case.order.route in when.routes
    if when.serostatus:
        yield any(_is(status, facts.serostatus, held) for status in when.serostatus)
    if when.dnaemia:
        yield _significant(seen, held)
    if when.starts:
        yield _starts(seen, held)
    if when.treated_with:
        yield _treated(when, seen, held)
    if when.falling is not None:
        yield _fell(seen, held) is when.falling
    if when.transplant and when.days_outside:
        yield _outside(when, when.days_outside, seen, held)
    if when.no_resistance_result:
        yield _no_resistance_result(seen, held)
    if when.neutrophils_at_least is not None:
        count = facts.newest("anc")
        yield isinstance(count, Lab) and count.value >= when.neutrophils_at_least
    if when.ordered_for_cmv:
        yield _ordered_for_cmv(when, seen)


def _phase_holds(when: Situation, seen: _Seen, held: _Held) -> bool:
    intent = seen.case.order.intent
    disease = seen.case.knowledge.codes.groups["cmv_disease"] | seen.case.knowledge.codes.groups["cmv_viraemia"]
    own = seen.said
    if own is None and seen.case.order.concepts & disease:
        own = Phase.TREATMENT
    if when.phase_from == "order":
        return own in when.phases
    if when.phase_from == "chart":
        return own is None and intent.phase in when.phases
    if own is None and intent.phase in when.phases:
        held.cap(Indicator.WARNING)
        held.lines.append(f"Purpose assumed: {intent.because}.")
    return intent.phase in when.phases


def _members(names: tuple[str, ...], case: Case) -> frozenset[str]:
    """Concepts, and the members of groups."""
    groups = case.knowledge.codes.groups
    return frozenset(concept for name in names for concept in groups.get(name, frozenset({name})))


def _free_of(when: Situation, seen: _Seen, held: _Held) -> bool:
    if seen.problems & _members(when.no_problems, seen.case):
        return False
    if seen.problems_unseen:
        return held.lacks(seen.problems_unseen)
    if seen.thin:
        held.cap(Indicator.INFO)
        held.lines.append("No condition or procedure at all is on file, so this is information only.")
    return True


def _is(status: str, found: Serostatus, held: _Held) -> bool:
    signs = {"+": "positive", "-": "negative"}
    wanted = [(part[0], signs[part[1]]) for part in status.split("/")]
    known = {"D": found.donor, "R": found.recipient}
    if all(known[who] == state for who, state in wanted):
        held.lines.append(f"CMV serostatus {found.pair}: {'; '.join(found.because)}.")
        return True
    return False


def _significant(seen: _Seen, held: _Held) -> bool:
    facts, rule = seen.case.facts, seen.case.knowledge.response
    for series in seen.series:
        if significant(series, rule, facts.today):
            limit = f"{rule.threshold.of(series.unit):f} {series.unit}"
            held.lines.append(f"{series.name}: {series.newest.words}; threshold {limit}.")
            return True
    loads = [facts.newest(key) for key in rule.series] if not seen.series else []
    unseen = [m for m in loads if isinstance(m, Missing) and m.why in (Why.NOT_SENT, Why.FETCH_FAILED)]
    return held.lacks(f"viral load {unseen[0].why.value}") if unseen else False


def _starts(seen: _Seen, held: _Held) -> bool:
    """The order begins the therapy: it is new, and nothing else of the substance is on record."""
    case = seen.case
    same = case.knowledge.codes.same_active_drug(case.order.product.drug)
    given = (*case.facts.context, *case.facts.history)
    if not case.ordered_now or any(order.product.drug in same and not order.draft for order in given):
        return False
    if seen.medicines_unseen:
        held.cap(Indicator.INFO)
        held.lines.append(f"Taken as the start of the therapy: {seen.medicines_unseen}.")
    return True


def _treated(when: Situation, seen: _Seen, held: _Held) -> bool:
    """Days of treatment on record with these drugs, below or from a number on."""
    drugs = frozenset(when.treated_with)
    orders = [d.order for t in seen.therapy if not t.prevents for d in t.orders if d.order.product.drug in drugs]
    orders = [o for o in orders if not when.treated_routes or o.route in when.treated_routes]
    days = days_of(orders, seen.case.facts.today)
    if when.treated_days_at_least is not None:
        return days >= when.treated_days_at_least
    assert when.treated_days_below is not None  # noqa: S101 - the model asks for one of the two
    if days >= when.treated_days_below:
        return False
    if seen.medicines_unseen:
        return held.lacks(seen.medicines_unseen)
    undated = [o for o in seen.case.facts.history if o.product.drug in drugs and not (o.starts and o.ends)]
    if undated or any(order.starts is None for order in orders):
        held.cap(Indicator.INFO)
        held.lines.append("An earlier order has no dates: for how long it ran is not known.")
    names = ", ".join(sorted({o.label for o in orders}))
    held.lines.append(f"On record: {counted(days)} of {names}." if orders else "")
    return True


def _fell(seen: _Seen, held: _Held) -> bool | None:
    """Did the viral load fall clearly on the latest treatment? None when no series tells."""
    rule = seen.case.knowledge.response
    for therapy in seen.therapy:
        for series in seen.series:
            start = starting_value(series, therapy.since, rule) if therapy.since and not therapy.prevents else None
            if start and start is not series.newest and therapy.since and series.newest.on > therapy.since:
                change = log_change(start, series.newest)
                held.lines.append(f"{series.name}: {start.words}, then {series.newest.words} ({change:+.1f} log10).")
                return change < -rule.clear_fall
    return None


def _outside(when: Situation, span: tuple[int, int], seen: _Seen, held: _Held) -> bool:
    day = seen.case.transplanted_on({when.transplant})
    if day is None:
        return False
    begins = max(seen.case.order.starts or seen.case.facts.today, seen.case.facts.today)
    after = (begins - day).days
    held.lines.append(f"It would begin on day {after} (transplantation on {day.isoformat()}).")
    return not span[0] <= after <= span[1]


def _no_resistance_result(seen: _Seen, held: _Held) -> bool:
    """No result on file speaks of resistance; one that is no plain text may, and then nothing is claimed."""
    facts, rule = seen.case.facts, seen.case.knowledge.response
    for test in rule.genotype_tests:
        said = facts.said(test)
        if isinstance(said, Said) and not any(word in said.words.casefold() for word in rule.genotype_clear):
            return False
        if isinstance(said, Missing) and said.why is Why.UNUSABLE:
            return False
        if test in facts.reported:
            held.cap(Indicator.INFO)
            held.lines.append(f"A resistance report of {facts.reported[test].isoformat()} is on file: read it.")
    return True


def _ordered_for_cmv(when: Situation, seen: _Seen) -> bool:
    """Is one of these drugs drafted or running, by its own words against CMV and not to prevent something else?"""
    case = seen.case
    drugs = case.knowledge.medicines.members(when.ordered_for_cmv)
    disease = case.knowledge.codes.groups["cmv_disease"] | case.knowledge.codes.groups["cmv_viraemia"]
    return any(
        concept in disease
        for p in case.facts.prescriptions
        if p.drug in drugs and p.systemic and p.state in _NOW
        if all(p.order is not named.order for named, _ in case.facts.not_for_cmv)  # has a card of its own
        for reason in p.order.reasons
        for concept, _, _ in case.knowledge.codes.concepts(reason)
    )


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _finding(case: Case, advice: Advice, seen: _Seen, held: _Held) -> Finding:
    found = [p for p in case.facts.problems if p.concept in _members(advice.when.problems, case)]
    listed = dict.fromkeys(p.text or p.concept for p in found)
    lines = [f"On record: {', '.join(listed)}."] if listed else []
    intent = case.order.intent
    if advice.when.phases and intent.phase and f"Purpose assumed: {intent.because}." not in held.lines:
        lines.append(f"Purpose: {intent.phase.value}, {intent.basis}, because {intent.because}.")
    indicator = min(_INDICATORS[advice.indicator], held.at_most)
    inputs = [entry for series in seen.series for entry in series.inputs[-1:]] if advice.when.dnaemia else []
    inputs += [
        Input("on record", p.text or p.concept, "", p.since.isoformat() if p.since else "", p.ref) for p in found
    ]
    return case.finding(
        advice.id,
        advice.topic,
        indicator,
        advice.summary,
        *advice.because,
        *lines,
        *held.lines,
        cites=[advice.cite],
        inputs=inputs,
        lab_requests=tuple(_tests(case, advice)),
        withdraw="Remove this order" if advice.remove else "",
    )


def _tests(case: Case, advice: Advice) -> Iterator[LabRequest]:
    for name in advice.proposes:
        codes = case.knowledge.codes
        order = codes.tests[name].order if name in codes.tests else codes.analytes[name].order
        if order:
            yield order
