"""What was sent and could not be used, and what was not sent although a check of the order needs it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from cdshooks.medicine.case import Case
from cdshooks.medicine.kidney import Kidney, current_dialysis
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.orders import short
from cdshooks.medicine.rules.entries import Cite
from cdshooks.model import (
    SUMMARY_LIMIT,
    ChartOrder,
    Facts,
    Finding,
    Indicator,
    Input,
    Lab,
    LabRequest,
    Missing,
    Order,
    Regimen,
    Said,
    Unread,
    Why,
)

_UNSEEN = (Why.NOT_SENT, Why.FETCH_FAILED, Why.UNUSABLE)
_BESIDE = ("withdrawn", "future", "excluded")
_CALCULATED_FROM = ("creatinine", "weight", "height", "albumin", "upcr")


def check_call(facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """Findings about the call as a whole; nothing unless it is about an order of ours."""
    for chart_order, drug, label, why in facts.refused:
        yield _finding(
            knowledge,
            chart_order,
            drug,
            Indicator.WARNING,
            f"{label} {why.split(':')[0]}: not checked",
            f"The order {chart_order.ref or chart_order.place} {why}."
            " It was not checked, and nothing else in this answer is about it.",
        )
    yield from _of_others(facts, knowledge)


def looked_at(facts: Facts, knowledge: Knowledge) -> tuple[Lab | Said, ...]:
    """The newest results that some check has looked at; () without an order that they are used for.

    On dialysis creatinine swings with every session, and no clearance is asked for.
    """
    on_dialysis = current_dialysis(facts, knowledge.kidney) is not None
    found = facts.looked_at() if facts.orders else ()
    return tuple(o for o in found if not (on_dialysis and isinstance(o, Lab) and o.analyte == "creatinine"))


def contradiction(
    doubted: Sequence[Lab | Said], facts: Facts, knowledge: Knowledge, otherwise: Sequence[Finding]
) -> Finding:
    """Results of one moment that say different things. `otherwise` is what only the more favourable reading finds."""
    lines, inputs, requests = [], [], []
    for one in doubted:
        name, order = _test_of(one, knowledge)
        every = (one, *one.rivals)
        values = " and ".join(
            dict.fromkeys(f"{_as_sent(each)}{f' ({each.ref})' if each.ref else ''}" for each in every)
        )
        lines.append(
            f"{_upper(name)} of {one.on.isoformat()}: {values} contradict each other, and nothing says which is newer."
            f" Judged with {_as_sent(one)}, to be on the safe side."
        )
        inputs += [Input(name, _as_sent(each), "", each.on.isoformat(), each.ref) for each in every]
        requests += [order] if order and len(facts.orders) == 1 else []
    first = doubted[0]
    values = " and ".join(_as_sent(each) for each in (first, *first.rivals[:1]))
    found = _of_call(
        facts,
        knowledge,
        Indicator.WARNING,
        f"{_test_of(first, knowledge)[0]} {values} contradict each other",
        *lines,
        *(
            f"With the other reading ({finding.indicator.name.lower()}): {finding.summary}."
            for finding in otherwise
            if finding.indicator is not Indicator.INFO
        ),
        "Clear up which one is right, or repeat the test.",
        rules=("data/contradictory",),
    )
    return replace(found, inputs=tuple(inputs), lab_requests=tuple(dict.fromkeys(requests)))


def depending(finding: Finding, doubted: Sequence[Lab | Said], knowledge: Knowledge) -> Finding:
    """A finding that hangs on which of the contradictory results is right: it says so, and proposes nothing."""
    refs = {entry.reference for entry in finding.inputs if entry.reference}
    causes = [one for one in doubted if one.ref in refs] or doubted
    names = [_test_of(one, knowledge)[0] for one in causes]
    used = " and ".join(f"{name} {_as_sent(one)}" for name, one in zip(names, causes, strict=True))
    beside = list(dict.fromkeys(_as_sent(other) for one in causes for other in one.rivals))
    line = f"Depends on {used}; {' and '.join(beside)} {'is' if len(beside) == 1 else 'are'} also on file."
    if finding.proposals or finding.withdraw:
        line += " Nothing is proposed until it is clear which one is right."
    summary = f"{finding.summary}; {' and '.join(names)} in doubt"
    return replace(
        finding,
        summary=summary if len(summary) <= SUMMARY_LIMIT else finding.summary,
        because=(line, *finding.because),
        proposals=(),
        withdraw="",
    )


def preliminary(
    used: Sequence[Lab | Said], facts: Facts, knowledge: Knowledge, findings: Sequence[Finding]
) -> Iterator[Finding]:
    """Results that the answer rests on and that may still change, where no finding says so of them."""
    said = {
        entry.reference
        for finding in findings
        if any(_PRELIMINARY in line for line in finding.because)
        for entry in finding.inputs
    }
    shown = [one for one in used if _PRELIMINARY in one.remark and not (one.ref and one.ref in said)]
    if not shown:
        return
    names = [_test_of(one, knowledge)[0] for one in shown]
    more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    found = _of_call(
        facts,
        knowledge,
        Indicator.INFO,
        f"{names[0]} {_as_sent(shown[0])}{more} preliminary",
        *(
            f"{_upper(name)} {_as_sent(one)} of {one.on.isoformat()} is {_PRELIMINARY}: the final result may differ."
            for name, one in zip(names, shown, strict=True)
        ),
        rules=("data/preliminary",),
    )
    inputs = (
        Input(name, _as_sent(one), "", one.on.isoformat(), one.ref) for name, one in zip(names, shown, strict=True)
    )
    yield replace(found, inputs=tuple(inputs))


_PRELIMINARY = "preliminary"


def _test_of(one: Lab | Said, knowledge: Knowledge) -> tuple[str, LabRequest | None]:
    found = knowledge.codes.analytes[one.analyte] if isinstance(one, Lab) else knowledge.codes.tests[one.test]
    return found.name, found.order


def _as_sent(one: Lab | Said) -> str:
    return one.original if isinstance(one, Lab) else f'"{one.words}"'


def _finding(
    knowledge: Knowledge,
    order: ChartOrder | None,
    drug: str,
    indicator: Indicator,
    summary: str,
    *because: str,
    rules: tuple[str, ...] = (),
) -> Finding:
    return Finding(
        topic="dataQuality",
        indicator=indicator,
        rules=rules or ("data/usable",),
        order=order,
        drug=drug,
        summary=summary,
        because=because,
        citations=(knowledge.citation(Cite(source="project-design", section="data quality")),),
    )


def _of_call(
    facts: Facts, knowledge: Knowledge, indicator: Indicator, what: str, *because: str, rules: tuple[str, ...] = ()
) -> Finding:
    """What is not about one order: on the order all the same when there is just one."""
    only = facts.orders[0] if len(facts.orders) == 1 else None
    chart, drug, label = (only.chart, only.product.drug, only.label) if only else (None, "", "CMV therapy")
    return _finding(knowledge, chart, drug, indicator, f"{label}: {what}", *because, rules=rules)


def _of_others(facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """Data of another patient in the call: never used, always visible. On the order when there is just one."""
    strange = [entry for entry in facts.unused if entry.kind == "other patient"]
    if not strange or not facts.orders:
        return
    what = "data of another patient was sent and not used"
    said = (entry.said for entry in strange)
    yield _of_call(facts, knowledge, Indicator.WARNING, what, *said, rules=("data/patient",))


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic dataQuality about one order and what its checks need."""
    order, facts, knowledge = case.order, case.facts, case.knowledge
    drug = order.product.drug
    yield from _unreadable(order, facts, knowledge)
    yield from _names_against_code(order, knowledge)
    yield from _reason_not_known(order, knowledge)
    yield from _viral_load_not_used(order, facts, knowledge)
    if isinstance(order.regimen, Unread):
        yield _finding(
            knowledge,
            order.chart,
            drug,
            Indicator.WARNING,
            f"{order.label}: could not read this dose",
            f"Could not read this dose: {order.regimen.reason}.",
            "What is wrong by both statements is reported; which one is meant has to be settled first."
            if order.regimen.either
            else "It is not checked: a wrong guess would be worse than none.",
            rules=("data/dose",),
        )
    elif order.regimen is None and not order.draft:
        yield _finding(
            knowledge,
            order.chart,
            drug,
            Indicator.INFO,
            f"{order.label}: no dose in the record, not checked",
            "The active order carries no dose.",
            rules=("data/dose",),
        )
    elif isinstance(order.regimen, Regimen) and order.regimen.as_needed:
        yield _finding(
            knowledge,
            order.chart,
            drug,
            Indicator.WARNING,
            f"{order.label}: ordered as needed, too little cannot be excluded",
            "The label's regimens are scheduled. The dose is judged as if every permitted dose were given.",
            rules=("data/dose",),
        )
    for number, step in enumerate(order.regimen.later if isinstance(order.regimen, Regimen) else (), 2):
        if isinstance(step.regimen, Unread):
            yield _finding(
                knowledge,
                order.chart,
                drug,
                Indicator.WARNING,
                f"{order.label}: could not read step {number}",
                f"Could not read step {number}: {step.regimen.reason}.",
                "It is not checked: a wrong guess would be worse than none.",
                rules=("data/dose",),
            )
    if case.renal or (case.dose and case.dose.by_weight):
        yield from _weight_slip(order, facts, knowledge)
    if case.renal is None and case.dose is None:
        if any(True for rule in knowledge.safety for _ in case.route_rows(rule)):
            return  # the route itself is refused
        route = f" by the {order.route} route" if order.route else " without a route"
        yield _finding(
            knowledge,
            order.chart,
            drug,
            Indicator.WARNING,
            f"{order.label}: dose{route} is not checked (no dosing rule)",
            f"This version holds no dose table for {drug}{route}. Check the dose by hand.",
            rules=("data/rule",),
        )
        return
    if case.renal is None:
        return
    table, kidney = case.renal.table, case.renal.kidney
    if case.renal.is_child and case.dose is None:
        shown = (
            f" Kidney function: {kidney.clearance.arithmetic} ({kidney.clearance.formula})." if kidney.clearance else ""
        )
        yield _finding(
            knowledge,
            order.chart,
            drug,
            Indicator.WARNING,
            f"{order.label}: paediatric dose is not checked (age {facts.age})",
            f"The adult table starts at {table.adults_from_years} years; this version has no paediatric rule.{shown}",
            rules=("data/rule",),
        )
    yield from _not_seen(order, kidney, facts, knowledge)
    yield from _unusable(order, kidney, facts, knowledge, per_kg=table.per_kg)


def _names_against_code(order: Order, knowledge: Knowledge) -> Iterator[Finding]:
    """The code says which drug it is; that the name says another one has to be seen before the order is given."""
    product, name = order.product, knowledge.codes.drugs[order.product.drug].display
    if product.another:
        yield _finding(
            knowledge,
            order.chart,
            product.drug,
            Indicator.WARNING,
            f"{order.label}: the code says {name}, the name says {product.another.split(' (')[0]}",
            f"Checked as {name}, by its code ({product.recognised_by}). The order also says: {product.another}.",
            "Make sure which drug is meant; nothing is suggested until then.",
            rules=("data/drug",),
        )
    elif product.beside:
        yield _finding(
            knowledge,
            order.chart,
            product.drug,
            Indicator.INFO,
            f"{order.label}: taken as {name} by its code; its name says something else as well",
            f"Checked as {name}, by its code ({product.recognised_by}). Its name also says {product.beside}.",
            rules=("data/drug",),
        )


def _reason_not_known(order: Order, knowledge: Knowledge) -> Iterator[Finding]:
    """What the order is against is said in a code alone that no file here knows, and the dose hangs on it."""
    if order.unknown_reason:
        codes = short(order.unknown_reason, 40)
        yield _finding(
            knowledge,
            order.chart,
            order.product.drug,
            Indicator.INFO,
            f"{order.label}: its reason ({codes}) is a code not known here; judged as against CMV",
            f"The reason came as a code without words: {codes}. Against another virus the dose is another one.",
            "No other dose is suggested.",
            rules=("data/reason",),
        )


def _viral_load_not_used(order: Order, facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """CMV DNA of late that was not taken into the viral load of the blood: by its specimen, or known by name alone."""
    if order.indication != "cmv":
        return
    since = facts.today - timedelta(days=knowledge.response.current_days)
    keys = [key for key, analyte in knowledge.codes.analytes.items() if analyte.not_from]
    used = [lab.on for key in keys for lab in facts.results[key].since(since)]
    newest = max(used, default=since).isoformat()
    shown = [
        entry
        for key in keys
        for entry in facts.results[key].met
        if (entry.kind == "specimen" and (entry.on or newest) >= since.isoformat())
        or (entry.kind == "uncoded" and (entry.on or newest) >= newest)
    ]
    if shown:
        elsewhere = all(entry.kind == "specimen" for entry in shown)
        what = "CMV DNA in another specimen is not compared with blood" if elsewhere else "CMV DNA sent was not used"
        yield _finding(
            knowledge,
            order.chart,
            order.product.drug,
            Indicator.INFO,
            f"{order.label}: {what}",
            *(f"{_upper(entry.what)} {entry.why}." for entry in shown),
            "Response and breakthrough are judged on CMV DNA in blood under a code known here: look at the report.",
        )


def _weight_slip(order: Order, facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """A weight that looks like pounds taken for kilograms (or the other way round): doses and clearance hang on it."""
    limit, weight, height = knowledge.kidney.weight_slip, facts.newest("weight"), facts.newest("height")
    if isinstance(weight, Missing) or facts.age is None or facts.age < limit.years_at_least:
        return
    lines = []
    recent = facts.results["weight"].since(weight.on - timedelta(days=limit.within_days))
    for earlier in [lab for lab in recent if lab.value != weight.value][:1]:
        low, high = sorted((weight.value, earlier.value))
        if abs(high / low / limit.factor - 1) <= limit.tolerance:
            was = f"{earlier.original} on {earlier.on.isoformat()}, {weight.original} on {weight.on.isoformat()}"
            lines.append(f"Weight {was}: the factor is that between pounds and kilograms.")
    if isinstance(height, Lab):
        bmi = weight.value / (height.value / 100) ** 2
        if bmi < limit.bmi_below or bmi >= limit.bmi_at_least:
            lines.append(f"Weight {weight.original} and height {height.original} make a BMI of {bmi:.1f}.")
    if lines:
        summary = f"{order.label}: check the weight of {weight.original}, kg and lb may be mixed up"
        said = (*lines, "Doses and clearance are computed with this weight all the same.")
        yield _finding(knowledge, order.chart, order.product.drug, Indicator.WARNING, summary, *said)


def _not_seen(order: Order, kidney: Kidney, facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """What the dose check needs and the client did not send, or failed to fetch."""
    if not kidney.dialysis:
        unseen = [(name, m) for name, m in kidney.lacking if m.why in (Why.NOT_SENT, Why.FETCH_FAILED)]
        if unseen:
            yield _finding(
                knowledge,
                order.chart,
                order.product.drug,
                Indicator.WARNING,
                f"{order.label}: dose not checked against kidney function ({unseen[0][1].of(unseen[0][0])})",
                *(f"{_upper(name)}: {missing}." for name, missing in unseen),
                rules=("data/sent",),
            )
    hidden = [
        (key, gap)
        for key in ("conditions", "procedures")
        if (gap := facts.problem_gaps.get(key)) and gap.why in _UNSEEN
    ]
    if hidden and not kidney.dialysis:
        names = " and ".join(f"{key} {gap.why.value}" for key, gap in hidden)
        yield _finding(
            knowledge,
            order.chart,
            order.product.drug,
            Indicator.INFO,
            f"{order.label}: dialysis could not be looked for ({names})",
            "Dialysis and transplantation are read from conditions and procedures."
            f" The dose is judged as for a patient without dialysis ({names}).",
            rules=("data/sent",),
        )


def _unreadable(order: Order, facts: Facts, knowledge: Knowledge) -> Iterator[Finding]:
    """Resources, or fields of them, that cannot be read. A warning where nobody can tell which drug they are about."""
    entries = sorted(
        (entry for entry in facts.unused if entry.kind in ("nameless", "unreadable", "imprecise")),
        key=lambda entry: entry.kind != "nameless",
    )
    if entries:
        first, more = entries[0], len(entries) - _SHOWN
        yield _finding(
            knowledge,
            order.chart,
            order.product.drug,
            Indicator.WARNING if first.kind == "nameless" else Indicator.INFO,
            f"{order.label}: {first.what} {first.why}",
            *dict.fromkeys(entry.said for entry in entries[:_SHOWN]),
            *([f"{more} more like these."] if more > 0 else []),
        )


_SHOWN = 12  # lines; a record of another shape altogether must not fill pages


def _unusable(order: Order, kidney: Kidney, facts: Facts, knowledge: Knowledge, *, per_kg: bool) -> Iterator[Finding]:
    """What was sent and not used: shown when the record might read otherwise with it.

    `per_kg`: the table asks for a clearance that may have been measured instead of computed.
    """
    in_its_place = ("creatinine-clearance",) if per_kg and kidney.lacking else ()
    for analyte in (*_CALCULATED_FROM, *in_its_place):
        if kidney.dialysis and analyte != "weight":
            continue  # on dialysis no clearance is asked for
        newest = facts.newest(analyte)
        used = [] if isinstance(newest, Missing) else [f"Used instead: {newest.original} of {newest.on.isoformat()}."]
        # withdrawn and future results stand on a card only where nothing usable is left
        shown = [
            u for u in facts.results[analyte].unused if u.kind not in _BESIDE or (not used and u.kind != "excluded")
        ]
        if isinstance(newest, Lab):  # what is known by its name alone says nothing that an older result could
            shown = [u for u in shown if u.kind != "uncoded" or u.on >= newest.on.isoformat()]
        if shown:
            another = analyte == "weight" and used and all(u.kind == "uncoded" for u in shown)  # a dry weight, say
            vital = analyte in ("creatinine", "weight") and not another
            yield _finding(
                knowledge,
                order.chart,
                order.product.drug,
                Indicator.WARNING if vital else Indicator.INFO,
                f"{order.label}: {knowledge.codes.analytes[analyte].name} sent could not be used",
                *(entry.said for entry in shown),
                *used,
            )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
