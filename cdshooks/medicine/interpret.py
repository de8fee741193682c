"""Chart to Facts: codes and units become analytes, drugs and problems; what cannot be used is kept and named.

Decides once, before any check: whose data it is, which results may be used, which is newest, and why one is missing.
"""

from collections.abc import Iterable
from datetime import date, tzinfo
from functools import lru_cache, partial

from cdshooks.medicine.codes import Analyte, Codes, Meaning
from cdshooks.medicine.dates import day_of, is_partial
from cdshooks.medicine.genotype_results import read_genotypes
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.orders import ORDER_IS_OVER, read_order, short
from cdshooks.medicine.phase import phase_assumed
from cdshooks.medicine.results import AnalyteResults
from cdshooks.model import (
    Chart,
    ChartEvent,
    ChartObservation,
    ChartOrder,
    ChartPatient,
    Coding,
    Concept,
    Facts,
    Intent,
    Missing,
    Order,
    Problem,
    Unused,
    Why,
)

_NOT_ACTIVE = frozenset({"inactive", "resolved", "remission", "refuted", "entered-in-error"})
_NOT_DONE = frozenset({"entered-in-error", "not-done", "aborted", "suspended", "preparation", "cancelled"})
_RUNNING = frozenset({"active", "taking", "intended", ""})


def interpret(chart: Chart, knowledge: Knowledge, today: date, zone: tzinfo) -> Facts:
    """The facts of one call. Orders come first: without an order of ours nothing else is looked at."""
    refused: list[tuple[ChartOrder, str, str, str]] = []
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
        return facts(born=nothing, sex=nothing, orders=(), results={}, problems=(), unused=())
    unused = list(chart.unused)
    others: list[ChartObservation] = []
    results = _results(chart, knowledge, today, zone, unused, others)
    sent = frozenset(observation.ref for observation in others)
    genotypes = read_genotypes(others, chart.events, chart.patient_id, sent, knowledge, today, zone)
    problems = tuple(_problems(chart, knowledge, today, zone, unused))
    born, sex = _person(chart.patient, today, zone, unused)
    assumed = None
    if any(order.intent.phase is None for order in judged):
        loads = [results[key] for key in results if key.startswith("cmv-viral-load")]
        gap = chart.event_gaps["conditions"]
        seen = gap is None or gap.why is Why.NONE_ON_FILE
        assumed = phase_assumed(problems, seen, loads, knowledge.codes.groups, knowledge.phases, today)
    return facts(
        born=born,
        sex=sex,
        orders=tuple(_with_intent(order, assumed) for order in judged),
        results=results,
        problems=problems,
        unused=tuple(unused),
        genotypes=genotypes[0],
        genotypes_unused=genotypes[1],
        medicines=dict(_medicines((*chart.judged, *chart.drafts, *running), chart.patient_id, knowledge, today, zone)),
        medicines_gap=_unseen(chart.medications),
    )


def _unseen(medications: tuple[ChartOrder, ...] | Missing) -> Missing | None:
    """Why the medication list is not known; a list with nothing on it is known."""
    return medications if isinstance(medications, Missing) and medications.why is not Why.NONE_ON_FILE else None


def _with_intent(order: Order, assumed: Intent | None) -> Order:
    return order if order.intent.phase or assumed is None else order.with_intent(assumed)


def _orders(
    orders: Iterable[ChartOrder],
    chart: Chart,
    knowledge: Knowledge,
    zone: tzinfo,
    refused: list[tuple[ChartOrder, str, str, str]],
    *,
    draft: bool,
) -> Iterable[Order]:
    for chart_order in orders:
        order = read_order(chart_order, knowledge, zone, draft=draft)
        if order is None:
            continue
        if chart_order.subject not in ("", chart.patient_id):
            whose = "is written for another patient" if chart_order.subject != "?" else "names no patient by reference"
            refused.append((chart_order, order.product.drug, order.label, whose))
        elif not order.product.drug:
            refused.append((chart_order, "", order.label, f"names more than one drug: {order.product.recognised_by}"))
        else:
            yield order


def _medicines(
    orders: Iterable[ChartOrder], patient_id: str, knowledge: Knowledge, today: date, zone: tzinfo
) -> Iterable[tuple[str, str]]:
    """(drug, how the record names it) of every systemic drug drafted or running."""
    for order in orders:
        if order.subject not in ("", patient_id) or order.status in ORDER_IS_OVER:
            continue
        for drug in knowledge.medicines.of(order.drug) & knowledge.drugs_that_matter:
            ends = [day for dosage in order.dosages if (day := day_of(dosage.timing.ends, zone))]
            if not ends or max(ends) >= today:
                yield drug, short(order.drug.words[0]) if order.drug.words else drug


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
    if patient.gender:
        return born, Missing(Why.UNUSABLE, f'given as "{short(patient.gender, 20)}"')
    return born, Missing(Why.NONE_ON_FILE)


# --------------------------------------------------------------------------------------------------------------------
# Results


def _results(
    chart: Chart,
    knowledge: Knowledge,
    today: date,
    zone: tzinfo,
    unused: list[Unused],
    others: list[ChartObservation],
) -> dict[str, AnalyteResults]:
    """The results of this patient, by analyte; what is no analyte goes into `others`.

    Results of other patients are counted into `unused` and never read.
    """
    found: dict[str, list[tuple[ChartObservation, str]]] = {key: [] for key in knowledge.codes.analytes}
    strangers = 0
    meaning: dict[tuple[tuple[str, str], ...], tuple[Analyte, str] | None] = {}
    for observation in chart.observations:
        if observation.subject not in ("", chart.patient_id):
            strangers += 1
            continue
        codes = observation.codes
        if codes not in meaning:  # the same few codes come again and again
            meaning[codes] = knowledge.codes.analyte(Concept(tuple(Coding(*pair) for pair in codes)))
        if mapped := meaning[codes]:
            found[mapped[0].key].append((observation, mapped[1]))
        else:
            others.append(observation)
    if strangers:
        what = "1 result" if strangers == 1 else f"{strangers} results"
        unused.append(Unused("", what, "of another patient in the data sent; not used", "other patient"))
    return {
        key: AnalyteResults(analyte, found[key], _state(analyte, chart), today, zone)
        for key, analyte in knowledge.codes.analytes.items()
    }


def _state(analyte: Analyte, chart: Chart) -> Missing:
    """Why there is nothing, when nothing came for an analyte."""
    gap = chart.groups.get(analyte.group)
    if gap is None and analyte.group in chart.incomplete:
        return Missing(Why.NOT_SENT, "only the first page of results was sent")
    return gap or Missing(Why.NONE_ON_FILE)


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
        for concept, kind, modality in _concepts(knowledge.codes, event.code):
            name = f"dialysis:{modality}" if concept in knowledge.codes.groups["dialysis_current"] else concept
            text = short(event.code.words[0]) if event.code.words else ""
            yield Problem(name, text, since, event.ref, kind, event.resource_type)
    if strangers:
        what = "1 entry" if strangers == 1 else f"{strangers} entries"
        unused.append(
            Unused("", f"{what} of the problem list or history", "of another patient; not used", "other patient")
        )


@lru_cache(maxsize=4096)
def _concepts(codes: Codes, code: Concept) -> tuple[Meaning, ...]:
    """`codes.concepts`, remembered: the same diagnoses come again and again."""
    return codes.concepts(code)


def _is_over(event: ChartEvent, today: date, zone: tzinfo) -> bool:
    if event.verification in ("refuted", "entered-in-error"):
        return True
    if event.resource_type == "Procedure":
        return event.status in _NOT_DONE
    ended = day_of(event.ended, zone)
    return event.status in _NOT_ACTIVE or event.ended == "yes" or (ended is not None and ended <= today)
