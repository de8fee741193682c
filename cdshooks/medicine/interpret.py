"""Chart to Facts: codes and units become analytes, drugs and problems; what cannot be used is kept and named.

Decides once, before any check: whose data it is, which results may be used, which is newest, and why one is missing.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, tzinfo
from functools import partial

from cdshooks.medicine.codes import Analyte
from cdshooks.medicine.dates import day_of, is_partial, moment_of
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.orders import read_order, short
from cdshooks.medicine.phase import phase_assumed
from cdshooks.medicine.units import Refusal, convert
from cdshooks.model import (
    Chart,
    ChartEvent,
    ChartObservation,
    ChartOrder,
    ChartPatient,
    Concept,
    Facts,
    Intent,
    Lab,
    Missing,
    Order,
    Problem,
    Quantity,
    Unused,
    Why,
)

_WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
_NO_RESULT_YET = frozenset({"registered", "specimen-in-process"})
_NOT_ACTIVE = frozenset({"inactive", "resolved", "remission", "refuted", "entered-in-error"})
_NOT_DONE = frozenset({"entered-in-error", "not-done", "aborted", "suspended", "preparation", "cancelled"})
_RUNNING = frozenset({"active", "taking", "intended", ""})


def interpret(chart: Chart, knowledge: Knowledge, today: date, zone: tzinfo) -> Facts:
    """The facts of one call. Orders come first: without an order of ours nothing else is looked at."""
    refused: list[tuple[ChartOrder, str]] = []
    judged = list(_orders(chart.judged, chart, knowledge, zone, refused, draft=chart.hook != "medication-verify"))
    running = (
        [m for m in chart.medications if m.status in _RUNNING] if not isinstance(chart.medications, Missing) else []
    )
    known = {order.chart.ref for order in judged if order.chart.ref}
    active = [
        order
        for order in _orders(
            (m for m in running if m.ref not in known or not m.ref), chart, knowledge, zone, refused, draft=False
        )
        if order.ends is None or order.ends >= today
    ]
    if chart.hook == "patient-view":
        judged, active = active, []
    facts = partial(
        Facts,
        patient_id=chart.patient_id,
        hook=chart.hook,
        today=today,
        refused=tuple(refused),
        incomplete=chart.incomplete,
        context=(*_orders(chart.drafts, chart, knowledge, zone, [], draft=True), *active),
        problem_gaps=chart.event_gaps,
    )
    if not judged:
        nothing = Missing(Why.NOT_SENT)
        return facts(born=nothing, sex=nothing, orders=(), labs={}, lab_gaps={}, problems=(), unused=())
    unused = list(chart.unused)
    labs = _labs(chart, knowledge, today, zone, unused)
    gaps = {a.key: _gap(a, chart, unused) for a in knowledge.codes.analytes.values() if a.key not in labs}
    problems = tuple(_problems(chart, knowledge, today, zone, unused))
    born, sex = _person(chart.patient, today, zone, unused)
    viral_load = labs["cmv-viral-load"][0] if "cmv-viral-load" in labs else gaps["cmv-viral-load"]
    assumed = phase_assumed(problems, chart.event_gaps, viral_load, knowledge.codes.groups, knowledge.phases, today)
    return facts(
        born=born,
        sex=sex,
        orders=tuple(_with_intent(order, assumed) for order in judged),
        labs=labs,
        lab_gaps=gaps,
        problems=problems,
        unused=tuple(unused),
    )


def _with_intent(order: Order, assumed: Intent) -> Order:
    return order if order.intent.phase else order.with_intent(assumed)


def _orders(
    orders: Iterable[ChartOrder],
    chart: Chart,
    knowledge: Knowledge,
    zone: tzinfo,
    refused: list[tuple[ChartOrder, str]],
    *,
    draft: bool,
) -> Iterable[Order]:
    for chart_order in orders:
        order = read_order(chart_order, knowledge, zone, draft=draft)
        if order is None:
            continue
        if chart_order.subject not in ("", chart.patient_id):
            refused.append((chart_order, "is written for another patient"))
        elif not order.product.drug:
            refused.append((chart_order, f"names more than one drug: {order.product.recognised_by}"))
        else:
            yield order


# --------------------------------------------------------------------------------------------------------------------
# The patient


def _person(
    patient: ChartPatient | Missing, today: date, zone: tzinfo, unused: list[Unused]
) -> tuple[date | Missing, str | Missing]:
    if isinstance(patient, Missing):
        return patient, patient
    born: date | Missing
    day = day_of(patient.birth_date, zone)
    if day is None:
        born = Missing(Why.UNUSABLE, "not a date") if patient.birth_date else Missing(Why.NONE_ON_FILE)
    elif day > today:
        born = Missing(Why.UNUSABLE, "lies in the future")
    else:
        born = day
        if is_partial(patient.birth_date):
            precision = "year" if len(patient.birth_date) == len("2026") else "month"
            unused.append(
                Unused(
                    patient.ref,
                    "the date of birth",
                    f"is known to the {precision} only; the older age is used",
                    "imprecise",
                )
            )
    if patient.gender in ("female", "male"):
        return born, patient.gender
    return born, Missing(Why.NONE_ON_FILE, f'given as "{short(patient.gender, 20)}"' if patient.gender else "")


# --------------------------------------------------------------------------------------------------------------------
# Results


def _labs(
    chart: Chart, knowledge: Knowledge, today: date, zone: tzinfo, unused: list[Unused]
) -> dict[str, tuple[Lab, ...]]:
    """Usable results per analyte, newest first, each once; what is not used goes to `unused` with its reason."""
    found: dict[str, list[tuple[datetime, str, Lab]]] = defaultdict(list)
    strangers = 0
    for observation in chart.observations:
        if observation.subject not in ("", chart.patient_id):
            strangers += 1
            continue
        mapped = knowledge.codes.analyte(observation.code)
        if mapped is None:
            continue
        analyte, kind = mapped
        lab = _lab(observation, analyte, kind, today, zone)
        if isinstance(lab, Unused):
            unused.append(lab)
        elif lab is not None:
            found[analyte.key].append((_sort_key(lab, zone), observation.issued, lab))
    if strangers:
        what = "1 result" if strangers == 1 else f"{strangers} results"
        unused.append(Unused("", what, "of another patient in the data sent; not used", "other patient"))
    newest_first = {key: sorted(rows, key=lambda row: row[:2], reverse=True) for key, rows in found.items()}
    return {key: _without_copies(lab for _, _, lab in rows) for key, rows in newest_first.items()}


def _sort_key(lab: Lab, zone: tzinfo) -> datetime:
    return lab.at or datetime(lab.on.year, lab.on.month, lab.on.day, tzinfo=zone)


def _without_copies(labs: Iterable[Lab]) -> tuple[Lab, ...]:
    """The same result sent twice counts once."""
    return tuple({(lab.on, lab.at, lab.value, lab.comparator): lab for lab in reversed(list(labs))}.values())[::-1]


def _lab(observation: ChartObservation, analyte: Analyte, kind: str, today: date, zone: tzinfo) -> Lab | Unused | None:
    """One result, or why it is not used; None for one that carries no number by nature (a word, a pending test)."""
    when = observation.effective or observation.issued
    day = day_of(when, zone)
    what = f"{analyte.name}{f' of {day.isoformat()}' if day else ''}"
    refuse = partial(Unused, observation.ref, what, analyte=analyte.key, on=day.isoformat() if day else "")
    value = observation.value
    if observation.status in _WITHDRAWN:
        return refuse(why=f"was withdrawn ({observation.status})", kind="withdrawn")
    if observation.status in _NO_RESULT_YET and value is None:
        return None
    if not isinstance(value, Quantity):
        if analyte.words_are_results and isinstance(value, str | Concept):
            return None
        given = value if isinstance(value, str) else ""
        reason = (
            f'has no readable number ("{short(given, 30)}")'
            if given
            else f"has no value {observation.absent_reason}".strip()
        )
        return refuse(why=reason, kind="unreadable")
    if day is None:
        return refuse(why="has no readable date" if when else "has no date", kind="undated")
    if day > today:
        return refuse(why="is dated in the future", kind="future")
    if kind in analyte.excluded_kinds:
        return refuse(why=analyte.excluded_kinds[kind], kind="excluded")
    number = convert(value, analyte, kind)
    if isinstance(number, Refusal):
        return refuse(why=number.reason, kind="unit")
    original = f"{value.comparator}{value.value} {value.unit or value.code}".strip()
    if not analyte.lowest <= number <= analyte.highest:
        limits = f"{analyte.lowest} to {analyte.highest} {analyte.unit}"
        return refuse(why=f"is implausible: {short(original, 30)} (plausible: {limits})", kind="implausible")
    if value.comparator and analyte.needs_exact:
        return refuse(why=f'is only a bound ("{short(original, 30)}")', kind="bound")
    remarks = [text for text in (_status_remark(observation.status), analyte.remarks.get(kind, "")) if text]
    if is_partial(when):
        remarks.append("date known only in part")
    return Lab(
        analyte=analyte.key,
        value=number,
        unit=analyte.unit,
        comparator=value.comparator,
        on=day,
        at=moment_of(when, zone),
        ref=observation.ref,
        original=short(original, 40),
        remark="; ".join(remarks),
    )


def _status_remark(status: str) -> str:
    if status in ("final", "amended", "corrected", "appended"):
        return ""
    return status if status in ("preliminary", "registered") else "status not given"


def _gap(analyte: Analyte, chart: Chart, unused: list[Unused]) -> Missing:
    """Why there is no usable result of an analyte. Something unusable outranks "none on file"."""
    rejected = [entry for entry in unused if entry.analyte == analyte.key]
    if rejected:
        return Missing(Why.UNUSABLE, f"{rejected[0].what} {rejected[0].why}")
    state = chart.groups.get(analyte.group)
    if state is not None:
        return state
    if analyte.group in chart.incomplete:
        return Missing(Why.NOT_SENT, "only the first page of results was sent")
    return Missing(Why.NONE_ON_FILE)


# --------------------------------------------------------------------------------------------------------------------
# Conditions and procedures


def _problems(chart: Chart, knowledge: Knowledge, today: date, zone: tzinfo, unused: list[Unused]) -> Iterable[Problem]:
    """Active conditions and done procedures of this patient that map to a concept; each concept of each entry once."""
    strangers = 0
    for event in chart.events:
        if event.subject not in ("", chart.patient_id):
            strangers += 1
            continue
        if event.resource_type not in ("Condition", "Procedure") or _is_over(event, today, zone):
            continue
        since = day_of(event.on, zone)
        if since and since > today:
            continue  # planned, not yet true
        for concept, kind, modality in knowledge.codes.concepts(event.code):
            name = f"dialysis:{modality}" if concept in knowledge.codes.groups["dialysis_current"] else concept
            text = short(event.code.words[0]) if event.code.words else ""
            yield Problem(name, text, since, event.ref, kind, event.resource_type)
    if strangers:
        what = "1 entry" if strangers == 1 else f"{strangers} entries"
        unused.append(
            Unused("", f"{what} of the problem list or history", "of another patient; not used", "other patient")
        )


def _is_over(event: ChartEvent, today: date, zone: tzinfo) -> bool:
    if event.verification in ("refuted", "entered-in-error"):
        return True
    if event.resource_type == "Procedure":
        return event.status in _NOT_DONE
    ended = day_of(event.ended, zone)
    return event.status in _NOT_ACTIVE or event.ended == "yes" or (ended is not None and ended <= today)
