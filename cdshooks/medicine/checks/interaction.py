"""Which drugs beside the order speak against it, or ask to watch something?

Both directions come from the tables: each CMV antiviral has its own. Drugs that are running, drafted in the same call,
on hold, or over for less than a wash-out are looked at, as far as their form and route bring them into the blood.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from cdshooks.medicine.case import Case, medicines_gap
from cdshooks.medicine.dates import counted
from cdshooks.medicine.dosage import read_regimen
from cdshooks.medicine.kidney import assess
from cdshooks.medicine.rules.interaction import InDate, InteractionRule, Pair
from cdshooks.medicine.rules.kidney import Freshness
from cdshooks.model import (
    SUMMARY_LIMIT,
    Finding,
    Indicator,
    Input,
    Lab,
    LabRequest,
    Missing,
    OrderState,
    Phase,
    Prescription,
    Product,
    Regimen,
)

_SEVERITY = {"critical": Indicator.CRITICAL, "warning": Indicator.WARNING, "info": Indicator.INFO}
_NOW = (OrderState.DRAFT, OrderState.RUNNING)
_DOUBTS = {
    "label": "",
    "class": " (The label names others of its kind, not this drug.)",
    "secondary": " (From a secondary source.)",
    "memory": " (Not confirmed in a label.)",
}


@dataclass(frozen=True, slots=True)
class _Graded:
    """How grave a row is for this patient: why not less (`because`), and what was looked at."""

    indicator: Indicator
    because: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    tests: tuple[LabRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hit:
    """A drug beside the order, the row that applies to it, and what is to be said of it (`remark`)."""

    pair: Pair
    drug: str
    name: str
    prescription: Prescription
    remark: str
    graded: _Graded


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic interaction, one for each degree of severity; dataQuality where the list is not known."""
    for rule in case.knowledge.interactions:
        if case.order.product.drug in rule.drugs:
            hits = sorted(_hits(case, rule), key=lambda hit: rule.pairs.index(hit.pair))
            for indicator in sorted({hit.graded.indicator for hit in hits}, reverse=True):
                if (
                    indicator is not Indicator.INFO or case.facts.hook != "patient-view"
                ):  # running along, known since long
                    yield _finding(case, rule, indicator, [hit for hit in hits if hit.graded.indicator is indicator])
            yield from _list_not_known(case, rule)


def _list_not_known(case: Case, rule: InteractionRule) -> Iterator[Finding]:
    gap = medicines_gap(case.facts)
    if gap is None:
        return
    in_part = case.facts.medicines_gap is None
    how = "first page of the medication list alone" if in_part else f"medication list {gap.why.value}"
    where = "on its first page" if in_part else "among the orders of this call"
    yield case.finding(
        rule.id,
        "dataQuality",
        case.knowledge.judgement.of_loss(pair.severity for pair in rule.pairs),
        f": interactions {'checked in part' if in_part else 'not checked'} ({how})",
        f"Medication list: {gap}. Other drugs, and a second order of this one, were looked for {where} alone.",
        cites=[rule.cite],
    )


# --------------------------------------------------------------------------------------------------------------------
# Which drugs, which rows


def _hits(case: Case, rule: InteractionRule) -> Iterator[_Hit]:
    beside = _beside(case)
    present = {drug for drug, entries in beside.items() if any(p.systemic and p.state in _NOW for p in entries)}
    members = case.knowledge.medicines.members
    for drug, entries in beside.items():
        for pair in rule.pairs:
            if drug in members(pair.with_drugs) and (not pair.also_with or present & members(pair.also_with)):
                reaching = [p for p in entries if (p.systemic or pair.any_form) and p.route not in pair.not_routes]
                if reaching:
                    if hit := _hit(case, pair, drug, reaching):
                        yield hit
                    break


def _beside(case: Case) -> Mapping[str, list[Prescription]]:
    """The other prescriptions by drug, without those that the judged order takes the place of."""
    order = case.order
    found: dict[str, list[Prescription]] = defaultdict(list)
    for p in case.facts.prescriptions:
        replaced = p.order.ref and p.order.ref == order.chart.replaces
        later = order.ends and p.starts and p.starts > order.ends
        if p.order is not order.chart and not replaced and not later:
            found[p.drug].append(p)
    return found


def _hit(case: Case, pair: Pair, drug: str, entries: list[Prescription]) -> _Hit | None:
    """The row for this drug: while it is given, on hold, or over for too short a time."""
    begins = _begins(case)
    given = [p for p in entries if _is_given(p, begins)]
    name = case.knowledge.medicines.title(drug)
    if given:
        graded = _graded(case, pair, drug, given)
        state = "ordered in this session" if given[0].state is OrderState.DRAFT else ""
        unknown = "route not given" if pair.not_routes and all(not p.route for p in given) else ""
        return _Hit(pair, drug, name, given[0], ", ".join(filter(None, (state, unknown))), graded)
    if pair.washout_days and case.facts.hook != "patient-view":
        over = [p for p in entries if p.state is not OrderState.PLANNED]
        if over:
            return _washing_out(case, pair, drug, over, begins)
    later = {
        OrderState.PAUSED: "on hold now; not to be resumed beside this order",
        OrderState.PLANNED: "planned; not to be begun beside this order",
    }
    not_yet = [p for p in entries if p.state in later]
    if not_yet and _severity(case, pair) is Indicator.CRITICAL:
        return _Hit(pair, drug, name, not_yet[0], later[not_yet[0].state], _Graded(Indicator.INFO))
    return None


def _is_given(p: Prescription, begins: date) -> bool:
    """Is it given when the judged order begins?"""
    if p.state is OrderState.PLANNED and p.order.intent != "plan":
        return p.starts is not None and p.starts <= begins
    return p.state in _NOW and not (p.ends and p.ends < begins)


def _begins(case: Case) -> date:
    """The day of the next dose, as far as the order tells."""
    starts = case.order.starts if case.order.draft else None
    return max(case.facts.today, starts) if starts else case.facts.today


def _washing_out(case: Case, pair: Pair, drug: str, ended: list[Prescription], begins: date) -> _Hit | None:
    """The row for a drug that is over or on hold: by its last day, or with what is known where there is none."""
    if pair.washout_days is None:
        return None
    name, severity = case.knowledge.medicines.title(drug), _severity(case, pair)
    dated = [(p.ends, p) for p in ended if p.ends]
    if dated:
        last, newest = max(dated, key=lambda pair: pair[0])
        if (begins - last).days < pair.washout_days:
            remark = f"ended {last.isoformat()}, {counted((begins - last).days)} before this order"
            return _Hit(pair, drug, name, newest, remark, _Graded(severity))
    open_ended = [p for p in ended if p.ends is None]
    if not open_ended:
        return None
    newest = max(open_ended, key=lambda p: p.starts or begins)
    since = timedelta(days=case.knowledge.interaction_limits.ended_unknown_days)
    held = newest.state is OrderState.PAUSED
    recent = held or newest.starts is None or begins - newest.starts <= since
    remark = f"{'on hold' if held else 'over'}, its last day is not on file: make sure that the wash-out is kept"
    if (
        not held and newest.starts and (begins - newest.starts).days < pair.washout_days
    ):  # then every dose of it was too lately
        remark = (
            f"begun {newest.starts.isoformat()}, {counted((begins - newest.starts).days)} before this order; {remark}"
        )
        return _Hit(pair, drug, name, newest, remark, _Graded(severity))
    indicator = min(severity, Indicator.WARNING if recent else Indicator.INFO)
    return _Hit(pair, drug, name, newest, remark, _Graded(indicator))


# --------------------------------------------------------------------------------------------------------------------
# How grave


def _severity(case: Case, pair: Pair) -> Indicator:
    in_eu = case.knowledge.interaction_limits.label_region == "eu"
    return _SEVERITY[pair.in_eu if pair.in_eu and in_eu else pair.severity]


def _graded(case: Case, pair: Pair, drug: str, given: list[Prescription]) -> _Graded:
    severity = _severity(case, pair)
    if pair.above_mg_per_day is not None:
        return _by_dose(case, drug, pair.above_mg_per_day, given)
    because: list[str] = []
    inputs: list[Input] = []
    tests: list[LabRequest] = []
    for condition in pair.info_while:
        if condition == "levels":
            more = _level(case, drug)
        elif condition == "creatinine":
            more = _creatinine(case)
        else:
            limits = case.knowledge.interaction_limits
            more = _within(case, limits.counts if condition == "counts" else limits.heart)
        because += more.because
        inputs += more.inputs
        tests += more.tests
    if pair.info_while and not because:
        return _Graded(Indicator.INFO, inputs=tuple(inputs))
    order = case.knowledge.codes.analytes[pair.test].order if pair.test else None
    return _Graded(severity, tuple(because), tuple(inputs), (*tests, *([order] if order else [])))


def _by_dose(case: Case, drug: str, most: Decimal, given: list[Prescription]) -> _Graded:
    """A warning above a daily dose of the other drug, or when its dose is not known."""
    amounts = [_mg_per_day(case, drug, p) for p in given]
    if any(amount is None for amount in amounts):
        return _Graded(Indicator.WARNING, (f"{case.knowledge.medicines.title(drug)}: dose not known",))
    amount = max(filter(None, amounts), default=Decimal(0))
    words = f"{case.knowledge.medicines.title(drug)} {amount.normalize():f} mg a day"
    return _Graded(Indicator.WARNING, (words,)) if amount > most else _Graded(Indicator.INFO)


def _mg_per_day(case: Case, drug: str, prescription: Prescription) -> Decimal | None:
    order = prescription.order
    strength = case.knowledge.medicines.strength_mg(drug, order.drug)
    product = Product(drug, "its name", strength_mg=strength)
    regimen = read_regimen(order.dosages, product, case.knowledge.dose_words)
    if not isinstance(regimen, Regimen) or regimen.unit != "mg" or regimen.per_day is None:
        return None
    return regimen.high * (regimen.per_day_high or regimen.per_day)


def _within(case: Case, limits: tuple[InDate, ...]) -> _Graded:
    """Are these results in date and within their limits? `because` names what is not."""
    because, inputs = [], []
    for limit in limits:
        lab, name = case.facts.newest(limit.analyte), case.knowledge.codes.analytes[limit.analyte].name
        if isinstance(lab, Missing):
            because.append(lab.of(name))
            continue
        inputs.append(Input(name, lab.original, "", lab.on.isoformat(), lab.ref))
        age = (case.facts.today - lab.on).days
        if age > _days(case, limit.days, limit.analyte):
            because.append(f"{name} {lab.original} is {counted(age)} old")
        elif not _keeps(lab, limit):
            because.append(f"{name} {lab.original}")
    return _Graded(Indicator.WARNING, tuple(because), tuple(inputs))


def _keeps(lab: Lab, limit: InDate) -> bool:
    """Is the result within the limit, whatever a bound ("<", ">") leaves open?"""
    if limit.at_least is not None and (lab.value < limit.at_least or "<" in lab.comparator):
        return False
    return limit.below is None or not (lab.value >= limit.below or ">" in lab.comparator)


def _creatinine(case: Case) -> _Graded:
    """Is the creatinine in date and steady? On dialysis it says nothing."""
    rule, facts = case.knowledge.kidney, case.facts
    kidney = case.renal.kidney if case.renal else assess(facts, rule, 0)
    lab = facts.newest("creatinine")
    if kidney.dialysis:
        return _Graded(Indicator.WARNING)
    if isinstance(lab, Missing):
        return _Graded(Indicator.WARNING, (lab.of("serum creatinine"),))
    because = [f"serum creatinine is {kidney.moving}"] if kidney.moving == "rising" else []
    steady = case.knowledge.interaction_limits.steady_creatinine
    earlier = facts.results["creatinine"].since(facts.today - timedelta(days=steady.within_days))
    lowest = min(earlier, key=lambda one: one.value, default=lab)
    if not because and lab.value >= steady.rise_factor * lowest.value:
        because.append(f"serum creatinine has risen from {lowest.original} ({lowest.on.isoformat()}) to {lab.original}")
    days = _days(case, rule.freshness_days)
    if case.renal and case.renal.table.stable_freshness_days and _is_stable(case):
        days = case.renal.table.stable_freshness_days
    if (age := (facts.today - lab.on).days) > days:
        because.append(f"serum creatinine is {counted(age)} old")
    shown = Input("serum creatinine", lab.original, "", lab.on.isoformat(), lab.ref)
    return _Graded(Indicator.WARNING, tuple(because), (shown,))


def _level(case: Case, drug: str) -> _Graded:
    """Is the level of the other drug in date, and the CMV drug no new one?"""
    levels, order = case.knowledge.interaction_limits.levels, case.order
    analyte = case.knowledge.codes.analytes[levels.analyte_of[drug]]
    lab = case.facts.newest(analyte.key)
    earlier = [known for known in case.course.orders if known.chart is not order.chart]
    new = not earlier and (order.draft or order.starts is None or order.starts >= case.facts.today)
    because = [f"first order of {order.product.drug}"] if new else []
    inputs = []
    if isinstance(lab, Missing):
        because.append(lab.of(analyte.name))
    else:
        inputs.append(Input(analyte.name, lab.original, "", lab.on.isoformat(), lab.ref))
        if (age := (case.facts.today - lab.on).days) > levels.days:
            because.append(f"{analyte.name} is {counted(age)} old")
    tests = (analyte.order,) if because and analyte.order else ()
    return _Graded(Indicator.WARNING, tuple(because), tuple(inputs), tests)


def _days(case: Case, limits: Freshness, analyte: str = "") -> int:
    """For how long a result is current in the phase of the order; an unknown phase counts as treatment.

    While monitoring asks for it more often, its interval holds: late there is not in date here.
    """
    if _is_stable(case):
        return min([limits.stable, *_intervals(case, analyte)])
    return limits.treatment_by_vein if case.order.route == "intravenous" else limits.treatment


def _intervals(case: Case, analyte: str) -> Iterator[int]:
    """The days in which monitoring wants this test again, by the day of therapy; the longest where it is unknown."""
    order, phase = case.order, case.order.intent.phase
    began = case.began(phase) if phase else None
    day = (case.facts.today - began).days if began else 0
    for rule in case.knowledge.monitoring:
        fits = order.product.drug in rule.drugs and phase in rule.phases
        if fits and any(analyte in due.any_of for due in rule.tests) and (interval := rule.interval(day)):
            unknown = case.course.runs and began is None
            yield max(one.max_days for one in rule.intervals) if unknown else interval.max_days


def _is_stable(case: Case) -> bool:
    return case.order.intent.phase in (Phase.MAINTENANCE, Phase.PROPHYLAXIS)


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _finding(case: Case, rule: InteractionRule, indicator: Indicator, hits: list[_Hit]) -> Finding:
    rows: dict[int, list[_Hit]] = defaultdict(list)
    for hit in hits:
        rows[id(hit.pair)].append(hit)
    because = dict.fromkeys(reason for hit in hits for reason in hit.graded.because)
    lines = [_row_line(case, together) for together in rows.values()]
    if because:
        lines.append(f"A warning, because: {'; '.join(because)}.")
    elif looked_at := dict.fromkeys(shown.name for hit in hits for shown in hit.graded.inputs):
        lines.append(f"Information only: in date and in range: {', '.join(looked_at)}.")
    return case.finding(
        rule.id,
        "interaction",
        indicator,
        _summary(list(rows.values()), SUMMARY_LIMIT - len(case.order.label)),
        *lines,
        cites=[hit.pair.cite for hit in hits],
        inputs=[
            *(_drug_input(case, hit) for hit in hits),
            *dict.fromkeys(entry for hit in hits for entry in hit.graded.inputs),
        ],
        lab_requests=tuple(dict.fromkeys(test for hit in hits for test in hit.graded.tests)),
    )


def _row_line(case: Case, hits: list[_Hit]) -> str:
    """One row of the table with all the drugs that it applies to."""
    pair = hits[0].pair
    return f"With {', '.join(_named(case, hit) for hit in hits)}: {pair.says}{_DOUBTS[pair.seen]}"


def _named(case: Case, hit: _Hit) -> str:
    """The drug, with the record's name for it where that is another, and what has to be said of it."""
    also = "" if case.knowledge.medicines.calls(hit.drug, hit.prescription.name) else hit.prescription.name
    aside = ", ".join(filter(None, (also, hit.remark)))
    return f"{hit.name} ({aside})" if aside else hit.name


def _summary(rows: list[list[_Hit]], room: int) -> str:
    """All drugs with the risk of each row, and what to do, as far as the line has room; else the first drugs."""
    named = [(", ".join(hit.name for hit in hits), hits[0].pair) for hits in rows]
    names = [hit.name for hits in rows for hit in hits]
    acts = {pair.act for _, pair in named}
    if len(named) == 1:
        ((drugs, pair),) = named
        with_risks = f" with {drugs}: {pair.risk}"
        full = f"{with_risks}; {pair.act}" if pair.act else with_risks
    else:
        with_risks = f" with {', '.join(f'{drugs} ({pair.risk})' for drugs, pair in named)}"
        each = (f"{drugs} ({'; '.join(filter(None, (pair.risk, pair.act)))})" for drugs, pair in named)
        full = f"{with_risks}: {named[0][1].act}" if len(acts) == 1 and "" not in acts else f" with {', '.join(each)}"
    fewer = [
        f" with {', '.join(names[:count])} and {len(names) - count} more" for count in range(len(names) - 1, 0, -1)
    ]
    lines = [full, with_risks, f" with {', '.join(names)}", *fewer]
    return next((line for line in lines if len(line) <= room), lines[-1])


def _drug_input(case: Case, hit: _Hit) -> Input:
    """The other order, its state and how its drug was recognised."""
    p = hit.prescription
    how = "code" if case.knowledge.medicines.by_code(hit.drug, p.order.drug) else "name"
    day = p.ends if p.state is OrderState.ENDED else p.starts
    return Input(hit.name, f"{p.state.value}, recognised by its {how}", "", day.isoformat() if day else "", p.order.ref)
