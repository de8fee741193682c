"""Reading an order of a CMV antiviral: which product, by which route, which regimen, for what.

Honest by construction: what cannot be read with certainty is an `Unread` with a reason, never a guess.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache

from cdshooks.medicine.codes import Codes
from cdshooks.medicine.dates import day_of
from cdshooks.medicine.dosage import at_weight, read_regimen, with_ingredient
from cdshooks.medicine.kidney import DIALYSIS_KINDS
from cdshooks.medicine.knowledge import Knowledge, Routes
from cdshooks.medicine.phase import indication_said, phase_said, says
from cdshooks.medicine.rules.advice import NotForCmvRule
from cdshooks.model import ChartOrder, Concept, Intent, Lab, Order, Phase, Product, Regimen, Results, Timing, Unread

FINISHED = frozenset({"stopped", "completed", "ended"})
ON_HOLD = "on-hold"
ORDER_IS_OVER = FINISHED | {"cancelled", "entered-in-error"}


def is_order(chart: ChartOrder) -> bool:
    """Does it (still) ask for a drug to be given?"""
    return chart.status not in ORDER_IS_OVER and chart.intent != "do-not-perform"


def read_order(chart: ChartOrder, knowledge: Knowledge, zone: tzinfo, *, draft: bool) -> Order | None:
    """The order read, or None when it is not for a CMV antiviral."""
    product = product_of(chart, knowledge)
    if product is None:
        return None
    route, route_given = _route(chart, product, knowledge)
    regimen = read_regimen(chart.dosages, product, knowledge.dose_words) if product.drug else None
    if isinstance(regimen, Regimen) and regimen.counted_in == "mL" and regimen.each:
        product = replace(product, mg_per_ml=regimen.each)  # the dosage itself may name it
    return Order(
        chart=chart,
        label=_label(product, regimen, knowledge),
        product=product,
        route=route,
        systemic=product.systemic and route not in knowledge.routes.local,
        regimen=regimen,
        intent=intent_said(chart, knowledge),
        indication=_indication(chart, knowledge),
        unknown_reason=_unknown_reason(chart, product, knowledge),
        concepts=frozenset(name for reason in chart.reasons for name, _, _ in knowledge.codes.concepts(reason)),
        dialysis=_dialysis_said(chart, regimen, knowledge),
        said=tuple(text for _, text in texts_of(chart) if text),
        draft=draft,
        route_assumed=not route_given,
        starts=starts_on(chart, zone),
        ends=ends_on(chart, zone),
        finished=chart.status in FINISHED or chart.status == ON_HOLD,
    )


def weighed(order: Order, results: Mapping[str, Results], knowledge: Knowledge) -> Order:
    """The order; unread where it gives a dose per kg and one in mg that are two doses at the patient's weight."""
    regimen = order.regimen
    if not isinstance(regimen, Regimen) or regimen.beside is None:
        return order
    weight = results["weight"].newest()
    read = at_weight(regimen, weight.value, knowledge.judgement.strong) if isinstance(weight, Lab) else regimen
    return order if read is regimen else replace(order, regimen=read, label=_label(order.product, read, knowledge))


def product_of(chart: ChartOrder, knowledge: Knowledge) -> Product | None:
    """The CMV antiviral ordered, by its own code or name, else by an ingredient; None for anything else."""
    product = _product(knowledge.codes, chart.drug, chart.form)
    for part in chart.ingredients:
        named = _product(knowledge.codes, part.item, chart.form)
        if named is None:
            continue
        if product is None:
            product = replace(named, recognised_by=f"{named.recognised_by} of an ingredient")
            product = replace(product, assumed=True) if len(chart.ingredients) > 1 else product
        elif named.drug != product.drug:
            both = (f"{one.drug} ({one.recognised_by})" if one.drug else one.recognised_by for one in (product, named))
            return Product("", " and ".join(both))
        if product.drug:
            salts = knowledge.codes.drugs[product.drug].salts_mg
            product = with_ingredient(product, part, salts, knowledge.dose_words)
    if product and product.assumed and len(chart.ingredients) > 1:
        return replace(product, mg_per_ml=None, unclear="how much of it 1 mL of the mixture holds is not said")
    return product


@lru_cache(maxsize=4096)
def _product(codes: Codes, drug: Concept, form: Concept | None) -> Product | None:
    """`codes.product`, remembered: the same drugs come again and again."""
    return codes.product(drug, form)


def _label(product: Product, regimen: Regimen | Unread | None, knowledge: Knowledge) -> str:
    name = knowledge.codes.drugs[product.drug].display.capitalize() if product.drug else "CMV antiviral"
    return f"{name} {regimen.wording}" if isinstance(regimen, Regimen) else name


def starts_on(chart: ChartOrder, zone: tzinfo) -> date | None:
    """The first day of an order: its own bound, else the day it was written."""
    days = [day for dosage in chart.dosages if (day := day_of(dosage.timing.starts, zone))]
    return min(days) if days else day_of(chart.authored, zone)


def ends_on(chart: ChartOrder, zone: tzinfo) -> date | None:
    """The last day that an order itself gives: the end of its period, or as many days as it lasts."""
    days = [day for dosage in chart.dosages if (day := day_of(dosage.timing.ends, zone))]
    if days:
        return max(days)
    lasts = _lasts(chart)
    starts = starts_on(chart, zone)
    return starts + timedelta(days=int(lasts) - 1) if lasts and lasts >= 1 and starts else None


def _lasts(chart: ChartOrder) -> Decimal | None:
    """How many days an order lasts by itself; None where one of its steps has no end."""
    timed = [dosage for dosage in chart.dosages if dosage.doses or dosage.timing != Timing()]
    days = [dosage.timing.lasts_days for dosage in timed if dosage.timing.lasts_days]
    if not days or len(days) < len(timed):
        return None
    at_once = any(dosage.timing.when or dosage.timing.time_of_day for dosage in timed)
    return max(days) if at_once else sum(days, Decimal(0))


def route_given(chart: ChartOrder, routes: Routes) -> str:
    """The route that the dosage of an order gives, coded or in its text, else ""."""
    coded = (routes.of_concept(dosage.route) for dosage in chart.dosages if dosage.route)
    named = (routes.in_text(dosage.text) for dosage in chart.dosages)
    return next(filter(None, (*coded, *named)), "")


def _route(chart: ChartOrder, product: Product, knowledge: Knowledge) -> tuple[str, bool]:
    """(route group, was it given?): coded or named in the order, else from the product's form, else ""."""
    routes = knowledge.routes
    if found := route_given(chart, routes):
        return found, True
    if not product.systemic:
        return "local", False
    if found := routes.in_text(" ".join(chart.drug.words)):
        return found, True
    if not product.drug:
        return "", False
    drug = knowledge.codes.drugs[product.drug]
    return drug.default_route.get(product.form, drug.default_route.get("", "")), False


def _dialysis_said(chart: ChartOrder, regimen: Regimen | Unread | None, knowledge: Knowledge) -> tuple[str, str]:
    """The dialysis that an order speaks of: its kind, and the words; empty for none, or where it says what to do if."""
    current = knowledge.codes.groups["dialysis_current"]
    for reason in chart.reasons:
        kinds = {meaning.modality for meaning in knowledge.codes.concepts(reason) if meaning.concept in current}
        if kinds:
            return max(kinds, key=DIALYSIS_KINDS.index), short(_first_words(reason))
    regimens = [regimen, *(step.regimen for step in regimen.later)] if isinstance(regimen, Regimen) else []
    conditional = knowledge.kidney.dialysis_said.conditional
    if not any(isinstance(each, Regimen) and each.after_dialysis for each in regimens):
        return "", ""
    if any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for _, text in texts_of(chart) for word in conditional
    ):
        return "", ""
    return "haemodialysis", "after dialysis"


def texts_of(chart: ChartOrder) -> Iterator[tuple[str, str]]:
    """Where an order may say what it is for, in order of weight."""
    for reason in chart.reasons:
        for words in reason.words:
            yield "reason", words
    for dosage in chart.dosages:
        yield "dosage text", dosage.text
    for note in chart.notes:
        yield "note", note
    for category in chart.categories:
        for words in category.words:
            yield "category", words


def intent_said(chart: ChartOrder, knowledge: Knowledge) -> Intent:
    """What the order itself says; a CMV disease as its reason counts as treatment, assumed."""
    said = phase_said(((where, text) for where, text in texts_of(chart) if text), knowledge.phases)
    if said:
        return said
    disease = knowledge.codes.groups["cmv_disease"] | {"cmv-viraemia"}
    for reason in chart.reasons:
        if any(name in disease for name, _, _ in knowledge.codes.concepts(reason)):
            return Intent(Phase.TREATMENT, "assumed", f"ordered for {short(_first_words(reason))}")
    return Intent(None, "unknown", "")


def _indication(chart: ChartOrder, knowledge: Knowledge) -> str:
    """What the order is against: a code for CMV as its reason outranks the words."""
    return "cmv" if _coded_cmv(chart, knowledge) else indication_said(texts_of(chart), knowledge.phases)


def _coded_cmv(chart: ChartOrder, knowledge: Knowledge) -> bool:
    groups = knowledge.codes.groups
    disease = groups["cmv_disease"] | groups["cmv_viraemia"]
    return any(name in disease for reason in chart.reasons for name, _, _ in knowledge.codes.concepts(reason))


def _unknown_reason(chart: ChartOrder, product: Product, knowledge: Knowledge) -> str:
    """The codes of a reason without words that mean nothing here, for a drug with a dose table of its own per disease.

    Such an order may be against another virus; "" where it names CMV, or its words or codes say what it is for.
    """
    tables = {table.indication for table in knowledge.renal_dose if table.drug == product.drug}
    texts = [text for _, text in texts_of(chart) if text]
    if len(tables) < 2 or _coded_cmv(chart, knowledge) or says(texts, knowledge.phases.cmv_words, knowledge.phases):
        return ""
    if indication_said(texts_of(chart), knowledge.phases) != "cmv":
        return ""
    bare = [reason for reason in chart.reasons if not reason.words and not knowledge.codes.concepts(reason)]
    return ", ".join(coding.code for reason in bare for coding in reason.codings if coding.code)


def treats_cmv(chart: ChartOrder, rule: NotForCmvRule, knowledge: Knowledge) -> Intent | None:
    """The intent of an order that by its own words treats CMV and is for no other virus; else None."""
    texts = [text for _, text in texts_of(chart) if text]
    if says(texts, rule.other_viruses, knowledge.phases):
        return None
    intent, coded = intent_said(chart, knowledge), _coded_cmv(chart, knowledge)
    words = knowledge.phases.cmv_words
    named = coded or says(texts, words, knowledge.phases, denied_behind=rule.denied_behind)
    return intent if named and intent.phase is Phase.TREATMENT else None


def _first_words(concept: Concept) -> str:
    return concept.words[0] if concept.words else "CMV disease"


def short(text: str, length: int = 60) -> str:
    """Text of the request, on one line and shortened."""
    plain = re.sub(r"\s+", " ", text).strip()
    return plain if len(plain) <= length else plain[: length - 1] + "…"
