"""Chart to Facts: codes and units become analytes, drugs and problems; what cannot be used is kept and named.

Decides once, before any check: whose data it is, which results may be used, which is newest, and why one is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta, tzinfo
from functools import lru_cache, partial

from cdshooks.medicine.codes import Analyte, Codes, Meaning
from cdshooks.medicine.dates import day_of, is_partial, last_day_of
from cdshooks.medicine.genotype_results import read_genotypes
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.orders import (
    ORDER_IS_OVER,
    ends_on,
    is_order,
    read_order,
    route_given,
    short,
    starts_on,
    texts_of,
    treats_cmv,
    weighed,
)
from cdshooks.medicine.phase import phase_assumed
from cdshooks.medicine.results import ELSEWHERE, UNCODED, WITHDRAWN, AnalyteResults, TestResults
from cdshooks.medicine.serostatus import serostatus
from cdshooks.model import (
    Allergy,
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
    OrderState,
    Prescription,
    Problem,
    Unused,
    Why,
)

_NOT_ACTIVE = frozenset({"inactive", "resolved", "remission", "refuted", "entered-in-error"})
_NOT_DONE = frozenset({"entered-in-error", "not-done", "aborted", "suspended", "preparation", "cancelled"})
_NO_ORDER = frozenset({"do-not-perform", "proposal", "option"})
_RUNNING = frozenset({"active", "taking", "intended", ""})
_ALLERGY_KINDS = ("allergy", "adverse-effect")
_EVENT_NAMES = {
    "Condition": ("entry of the problem list", "entries of the problem list"),
    "Procedure": ("procedure", "procedures"),
    "AllergyIntolerance": ("allergy", "allergies"),
    "DiagnosticReport": ("laboratory report", "laboratory reports"),
}
_NOW = (OrderState.DRAFT, OrderState.RUNNING)


def interpret(chart: Chart, knowledge: Knowledge, today: date, zone: tzinfo, *, whole: bool = False) -> Facts:
    """The facts of one call. Orders come first: without an order of ours nothing else is looked at, unless `whole`."""
    refused: list[tuple[ChartOrder, str, str, str]] = []
    judged = list(
        _orders(
            filter(is_order, chart.judged), chart, knowledge, zone, refused, draft=chart.hook != "medication-verify"
        )
    )
    for entry in chart.judged:  # an order without a drug is none of ours; one whose drug makes no sense may be
        if names := [name for name in entry.unreadable if name.startswith("medication") and not entry.drug.words]:
            why = f"does not say what is ordered: {names[0]} cannot be read"
            refused.append((entry, "", "An order", why))
    context = tuple(_orders(filter(is_order, chart.drafts), chart, knowledge, zone, [], draft=True))
    if chart.selection_lost:
        why = "is not selected, and what is selected was not sent"
        refused += [(order.chart, order.product.drug, order.label, why) for order in context]
    listed = chart.medications if not isinstance(chart.medications, Missing) else ()
    # an order that the call itself judges, or ends, is not on the list besides
    known = {order.chart.ref for order in judged if order.chart.ref}
    known |= {order.ref for order in (*chart.judged, *chart.drafts) if order.ref and order.status in ORDER_IS_OVER}
    others = [entry for entry in listed if entry.ref not in known or not entry.ref]
    states = {id(entry): _state_of(entry, knowledge, today, zone) for entry in others}
    running = [entry for entry in others if _is_ordered(entry, states[id(entry)])]
    not_taken: list[tuple[ChartOrder, str, str, str]] = []
    active = list(_orders(running, chart, knowledge, zone, not_taken, draft=False))
    for entry, drug, label, why in not_taken:
        if entry.subject in ("", chart.patient_id):
            refused.append((entry, drug, label, why))
        elif chart.hook == "patient-view":  # it would have been judged; what another patient takes is not said
            refused.append((entry, "", "CMV antiviral", why))
    if chart.hook == "patient-view":
        judged, active = active, []
    facts = partial(
        Facts,
        patient_id=chart.patient_id,
        hook=chart.hook,
        today=today,
        refused=tuple(refused),
        incomplete=chart.incomplete,
        context=(*context, *active),
        problem_gaps=chart.event_gaps,
        not_for_cmv=tuple(_not_for_cmv(chart, knowledge, zone)),
    )
    if not judged and not whole:
        nothing = Missing(Why.NOT_SENT)
        return facts(born=nothing, sex=nothing, orders=(), results={}, problems=(), unused=())
    unused = list(chart.unused)
    said = {id(entry) for entry, *_ in refused}  # these have a card of their own
    unused += _of_strangers(
        (entry for entry in others if id(entry) not in said), chart.patient_id, "the medication list"
    )
    drafts = [entry for entry in (*chart.judged, *chart.drafts) if id(entry) not in said]
    unused += _of_strangers(drafts, chart.patient_id, "the drafts")
    unused += _defects([*drafts, *others], chart.patient_id, knowledge)
    no_numbers: list[ChartObservation] = []
    born, sex = _person(chart.patient, knowledge, today, zone, unused)
    adult = _is_adult(born, knowledge, today)
    results, words = _results(chart, knowledge, today, zone, unused, no_numbers, adult=adult)
    sent = frozenset(observation.ref for observation in no_numbers)
    genotypes = read_genotypes(no_numbers, chart.events, chart.patient_id, sent, knowledge, today, zone)
    problems = (*_problems(chart, knowledge, today, zone, unused), *_dialysis(no_numbers, knowledge, today, zone))
    assumed = None
    if any(order.intent.phase is None for order in judged):
        loads = [results[key] for key in results if key.startswith("cmv-viral-load")]
        gap = chart.event_gaps["conditions"]
        seen = gap is None or gap.why is Why.NONE_ON_FILE
        assumed = phase_assumed(problems, seen, loads, knowledge.codes.groups, knowledge.phases, today)
    over = [entry for entry in others if states[id(entry)] in (OrderState.PAUSED, OrderState.ENDED)]
    # the hook's own orders are drafts, but those of medication-verify, which are active
    own = OrderState.RUNNING if chart.hook == "medication-verify" else OrderState.DRAFT
    in_call = [(entry, own) for entry in (*chart.judged, *chart.drafts) if is_order(entry)]
    on_list = [(entry, state) for entry in others if (state := states[id(entry)])]
    prescriptions = tuple(_prescriptions([*in_call, *on_list], chart.patient_id, knowledge, zone))
    return facts(
        born=born,
        born_by=_born_by(chart.patient, born, today),
        sex=sex,
        orders=tuple(weighed(_with_intent(order, assumed), results, knowledge) for order in judged),
        results=results,
        words=words,
        problems=problems,
        unused=tuple(unused),
        genotypes=genotypes[0],
        genotypes_unused=genotypes[1],
        medicines={p.drug: p.name for p in prescriptions if p.systemic and p.state in _NOW},
        on_hold={p.drug: p.name for p in prescriptions if p.systemic and p.state is OrderState.PAUSED},
        medicines_gap=_unseen(chart.medications),
        prescriptions=prescriptions,
        history=tuple(_orders(over, chart, knowledge, zone, [], draft=False)),
        allergies=tuple(_allergies(chart, knowledge)),
        serostatus=serostatus(
            _texts(chart, [order.chart for order in judged], today, zone),
            words,
            {problem.concept for problem in problems},
            knowledge.serostatus,
        ),
        reported=_reported(chart, knowledge, today, zone),
    )


def _texts(chart: Chart, orders: Iterable[ChartOrder], today: date, zone: tzinfo) -> Iterable[str]:
    """What is said in words: on the problem list, then in the orders."""
    for event in chart.events:
        if event.resource_type == "Condition" and event.subject in ("", chart.patient_id):
            yield from () if _is_over(event, today, zone) else event.code.words
    yield from (text for order in orders for _, text in texts_of(order))


def _reported(chart: Chart, knowledge: Knowledge, today: date, zone: tzinfo) -> dict[str, date]:
    """The laboratory tests that reports of this patient name, each with the day of the latest; undated ones: today."""
    found: dict[str, date] = {}
    for event in chart.events:
        if event.resource_type != "DiagnosticReport" or event.subject not in ("", chart.patient_id):
            continue
        day = day_of(event.on, zone) or today
        if event.status not in _NOT_DONE and day <= today:
            for test, _ in knowledge.codes.laboratory(event.code):
                found[test] = max(day, found.get(test, day))
    return found


def _state_of(order: ChartOrder, knowledge: Knowledge, today: date, zone: tzinfo) -> OrderState | None:
    """Is an entry of the medication list being taken? None for one that never was an order to be carried out.

    A proposal or an option authorises nothing, a plan not yet. What starts within some days counts as running.
    """
    if order.status in ("entered-in-error", "cancelled", "draft") or order.intent in _NO_ORDER:
        return None
    if order.status in ORDER_IS_OVER or ((ends := ends_on(order, zone)) is not None and ends < today):
        return OrderState.ENDED
    if order.status not in _RUNNING:
        return OrderState.PAUSED
    starts, soon = starts_on(order, zone), today + timedelta(days=knowledge.interaction_limits.planned_after_days)
    return OrderState.PLANNED if order.intent == "plan" or (starts and starts > soon) else OrderState.RUNNING


def _is_ordered(order: ChartOrder, state: OrderState | None) -> bool:
    """Does it run, or is it ordered for a later day?"""
    return state is OrderState.RUNNING or (state is OrderState.PLANNED and order.intent != "plan")


def _of_strangers(orders: Iterable[ChartOrder], patient_id: str, place: str) -> Iterable[Unused]:
    count = sum(order.subject not in ("", patient_id) for order in orders)
    if count:
        what = "1 entry" if count == 1 else f"{count} entries"
        yield Unused("", f"{what} of {place}", "of another patient; not used", "other patient")


def _defects(orders: Iterable[ChartOrder], patient_id: str, knowledge: Knowledge) -> Iterable[Unused]:
    """What of this patient's orders cannot be read; the dosage is read elsewhere."""
    for order in orders:
        if order.subject not in ("", patient_id):
            continue
        what = f"{order.ref or 'an order'} ({order.place})"
        if not any(named.words or named.codings for named in _parts(order, knowledge)):
            yield Unused(order.ref, what, "does not say what is ordered: the drug cannot be read", "nameless")
        for name in order.unreadable:
            yield Unused(order.ref, what, f"has a field that cannot be read: {name}", "unreadable")


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


def _prescriptions(
    orders: Iterable[tuple[ChartOrder, OrderState]], patient_id: str, knowledge: Knowledge, zone: tzinfo
) -> Iterable[Prescription]:
    """Every known drug of the orders. Of another patient's orders nothing is read."""
    for order, state in orders:
        if order.subject not in ("", patient_id):
            continue
        parts = _parts(order, knowledge)
        names = [words for part in parts for words in part.words]
        for drug, form_is_systemic in sorted({found for part in parts for found in knowledge.medicines.all_of(part)}):
            route = route_given(order, knowledge.routes) or knowledge.routes.in_text(" ".join(order.drug.words))
            local = knowledge.routes.local - knowledge.routes.absorbed
            yield Prescription(
                drug=drug,
                name=short(names[0]) if names else drug,
                route=route,
                systemic=form_is_systemic and route not in local,
                state=state,
                starts=starts_on(order, zone),
                ends=ends_on(order, zone),
                order=order,
            )


def _parts(order: ChartOrder, knowledge: Knowledge) -> tuple[Concept, ...]:
    """What an order gives: as it is named, else its ingredients, of a mixture with an antiviral that alone."""
    if order.drug.words or order.drug.codings:
        return (order.drug,)
    items = tuple(part.item for part in order.ingredients)
    return tuple(item for item in items if knowledge.codes.product(item, None)) or items


def _not_for_cmv(chart: Chart, knowledge: Knowledge, zone: tzinfo) -> Iterable[tuple[Prescription, Intent]]:
    """Orders judged of antivirals of other viruses that say that they treat CMV, each once."""
    orders = [(order, OrderState.DRAFT) for order in chart.judged if is_order(order)]
    for prescription in _prescriptions(orders, chart.patient_id, knowledge, zone) if knowledge.not_for_cmv else ():
        for rule in knowledge.not_for_cmv:
            if prescription.systemic and prescription.drug in knowledge.medicines.members(rule.drugs):
                intent = treats_cmv(prescription.order, rule, knowledge)
                if intent:
                    yield prescription, intent


# --------------------------------------------------------------------------------------------------------------------
# The patient


def _person(
    patient: ChartPatient | Missing, knowledge: Knowledge, today: date, zone: tzinfo, unused: list[Unused]
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
            child = not _is_adult(last_day_of(patient.birth_date, day), knowledge, today)
            kidneys = ", for a child's kidneys the one with the lower dose" if child else ""
            unused.append(
                Unused(
                    patient.ref,
                    "the date of birth",
                    f"is known to the {precision} only; the older age counts{kidneys}",
                    "imprecise",
                )
            )
    if patient.gender in ("female", "male"):
        return born, patient.gender
    if patient.gender:
        return born, Missing(Why.UNUSABLE, f'given as "{short(patient.gender, 20)}"')
    return born, Missing(Why.NONE_ON_FILE)


def _born_by(patient: ChartPatient | Missing, born: date | Missing, today: date) -> date | None:
    """The last day on which the patient may have been born; None where the day is known, or nothing is."""
    if isinstance(patient, Missing) or isinstance(born, Missing) or not is_partial(patient.birth_date):
        return None
    return min(last_day_of(patient.birth_date, born), today)


def _is_adult(born: date | Missing, knowledge: Knowledge, today: date) -> bool:
    """Is the patient known to be of age, as for the kidney formula?"""
    years = knowledge.kidney.adults_from_years
    return not isinstance(born, Missing) and (born.year + years, born.month, born.day) <= (
        today.year,
        today.month,
        today.day,
    )


# --------------------------------------------------------------------------------------------------------------------
# Results


def _results(
    chart: Chart,
    knowledge: Knowledge,
    today: date,
    zone: tzinfo,
    unused: list[Unused],
    no_numbers: list[ChartObservation],
    *,
    adult: bool,
) -> tuple[dict[str, AnalyteResults], dict[str, TestResults]]:
    """This patient's results: those with a number by analyte, those in words by test.

    What is no analyte goes into `no_numbers` as well. Results of others are counted into `unused` and never read.
    """
    codes = knowledge.codes
    found: dict[str, list[tuple[ChartObservation, str]]] = {key: [] for key in codes.analytes}
    in_words: dict[str, list[ChartObservation]] = {key: [] for key in codes.tests}
    strangers = 0
    nameless: list[ChartObservation] = []
    meaning: dict[tuple[tuple[str, str], ...], tuple[Concept, tuple[Analyte, str] | None, frozenset[str]]] = {}
    for observation in chart.observations:
        if observation.subject not in ("", chart.patient_id):
            strangers += 1
            unused += _subject_unread(observation)
            continue
        sent = observation.codes
        if sent not in meaning:  # the same few codes come again and again
            concept = Concept(tuple(Coding(*pair) for pair in sent))
            tests_named = frozenset(key for key, _ in codes.laboratory(concept))
            meaning[sent] = concept, codes.analyte(concept), tests_named
        concept, mapped, named = meaning[sent]
        if mapped:
            found[mapped[0].key].append((observation, mapped[1]))
            unused += _defects_beside_the_result(observation)
            continue
        if not sent and not observation.name:
            nameless.append(observation)
            continue
        no_numbers.append(observation)
        for part in observation.parts:
            if of_part := codes.analyte(part.code):
                found[of_part[0].key].append((part, of_part[1]))
        if tests := in_words.keys() & named or (codes.test_named(observation.name) if not named else set()):
            for key in tests:
                in_words[key].append(observation)
        elif key := codes.analyte_beside(sorted(named)):
            found[key].append((observation, ELSEWHERE))
        elif not named and (key := codes.analyte_named(concept, observation.name)):
            found[key].append((observation, UNCODED))
    if strangers:
        what = "1 result" if strangers == 1 else f"{strangers} results"
        unused.append(Unused("", what, "of another patient in the data sent; not used", "other patient"))
    for observation in nameless:
        what = observation.ref or "a result without an id"
        why = "does not say what was measured: code cannot be read"
        unused.append(Unused(observation.ref, what, why, "unreadable"))
    damaged = _damaged(chart, nameless)
    return (
        {
            key: AnalyteResults(analyte, found[key], _state(analyte.group, chart, damaged), today, zone, adult=adult)
            for key, analyte in codes.analytes.items()
        },
        {
            key: TestResults(test, in_words[key], _state(test.group, chart, damaged), today, zone)
            for key, test in codes.tests.items()
        },
    )


def _subject_unread(observation: ChartObservation) -> Iterable[Unused]:
    for name in observation.unreadable:
        if name in ("subject", "patient"):
            why = f"has a field that cannot be read: {name}"
            yield Unused(observation.ref, observation.ref or "a result without an id", why, "unreadable")


def _defects_beside_the_result(observation: ChartObservation) -> Iterable[Unused]:
    """Fields of a result that cannot be read, but for those without which it is not used, and says so itself."""
    for name in observation.unreadable:
        if not name.startswith("value") and not (name.startswith("effective") and observation.effective):
            yield Unused(
                observation.ref,
                observation.ref or "a result without an id",
                f"has a field that cannot be read: {name}; it is used all the same",
                "unreadable",
            )


def _damaged(chart: Chart, nameless: Sequence[ChartObservation]) -> Mapping[str, str]:
    """The groups in which something was sent that may be any of their results, with what it is."""
    if nameless:
        return dict.fromkeys(chart.groups, "a result sent has no readable code")
    keys = {entry.ref for entry in chart.unused if entry.kind == "unreadable"}
    return {group: "an entry sent cannot be read" for group in chart.groups if keys & {group, "observations"}}


def _state(group: str, chart: Chart, damaged: Mapping[str, str]) -> Missing:
    """Why there is nothing, when nothing came for an analyte or test of a group."""
    gap = chart.groups.get(group)
    if group in damaged and (gap is None or gap.why is Why.NONE_ON_FILE):
        return Missing(Why.UNUSABLE, damaged[group])
    if gap is None and group in chart.incomplete:
        return Missing(Why.NOT_SENT, "only the first page of results was sent")
    return gap or Missing(Why.NONE_ON_FILE)


# --------------------------------------------------------------------------------------------------------------------
# Conditions and procedures


def _problems(chart: Chart, knowledge: Knowledge, today: date, zone: tzinfo, unused: list[Unused]) -> Iterable[Problem]:
    """Active conditions and done procedures of this patient that map to a concept; each concept of each entry once."""
    strangers: dict[str, int] = {}
    for event in chart.events:
        if event.subject not in ("", chart.patient_id):
            strangers[event.resource_type] = strangers.get(event.resource_type, 0) + 1
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
    for resource_type, count in strangers.items():
        one, several = _EVENT_NAMES[resource_type]
        what = f"1 {one}" if count == 1 else f"{count} {several}"
        unused.append(Unused("", what, "of another patient; not used", "other patient"))


def _dialysis(
    observations: Iterable[ChartObservation], knowledge: Knowledge, today: date, zone: tzinfo
) -> Iterable[Problem]:
    """Dialysis that stands in the chart as a status ("Haemodialysis: yes"); of each kind of status the newest."""
    current = knowledge.codes.groups["dialysis_current"]
    newest: dict[Concept, tuple[date, ChartObservation]] = {}
    for observation in observations:
        day, asked = day_of(observation.effective or observation.issued, zone), observation.code
        if day is None or day > today or observation.status in WITHDRAWN or observation.value is None:
            continue
        if any(meaning.concept in current for meaning in _concepts(knowledge.codes, asked)):
            newest[asked] = max(newest.get(asked, (day, observation)), (day, observation), key=lambda found: found[0])
    for asked, (day, observation) in newest.items():
        value = observation.value
        if isinstance(value, str | Concept):
            words = [*asked.words[:1], *([value] if isinstance(value, str) else value.words[:1])]
            for concept, kind, modality in knowledge.codes.answered(asked, value):
                if concept in current:
                    text = short(": ".join(words))
                    yield Problem(f"dialysis:{modality}", text, day, observation.ref, kind, "Observation")


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


# --------------------------------------------------------------------------------------------------------------------
# Allergies


def _allergies(chart: Chart, knowledge: Knowledge) -> Iterable[Allergy]:
    """This patient's allergies and intolerances that are not refuted or over, also those kept as a condition."""
    for event in chart.events:
        if event.subject not in ("", chart.patient_id) or event.status in _NOT_ACTIVE:
            continue
        if event.resource_type not in ("AllergyIntolerance", "Condition"):
            continue
        if event.verification in ("refuted", "entered-in-error"):
            continue
        meanings = _concepts(knowledge.codes, event.code)
        text = short(event.code.words[0]) if event.code.words else ""
        if event.resource_type == "AllergyIntolerance":
            concepts = frozenset(meaning.concept for meaning in meanings)
            mild = event.criticality == "low" and "severe" not in event.severities
            drugs = knowledge.medicines.substances(event.code)
            yield Allergy(drugs, concepts, text, event.ref, mild, event.kind == "intolerance")
        elif concepts := frozenset(meaning.concept for meaning in meanings if meaning.kind in _ALLERGY_KINDS):
            yield Allergy(frozenset(), concepts, text, event.ref)
