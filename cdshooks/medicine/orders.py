"""Reading an order of a CMV antiviral: which product, by which route, which regimen, for what.

Honest by construction: what cannot be read with certainty is an `Unread` with a reason, never a guess.
"""

import re
from collections.abc import Iterator
from datetime import date, tzinfo
from functools import lru_cache

from cdshooks.medicine.codes import Codes
from cdshooks.medicine.dates import day_of
from cdshooks.medicine.dosage import read_regimen
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.phase import indication_said, phase_said
from cdshooks.model import ChartOrder, Concept, Intent, Order, Phase, Product, Regimen, Unread

FINISHED = frozenset({"stopped", "completed", "ended"})
ORDER_IS_OVER = FINISHED | {"cancelled", "entered-in-error"}


def read_order(
    chart: ChartOrder, knowledge: Knowledge, zone: tzinfo, *, draft: bool, finished: bool = False
) -> Order | None:
    """The order read, or None when it is not for a CMV antiviral (or no longer an order to give a drug).

    `finished` asks for one that was completed or stopped.
    """
    if (chart.status in ORDER_IS_OVER and not finished) or chart.intent == "do-not-perform":
        return None
    product = _product(knowledge.codes, chart.drug, chart.form)
    if product is None:
        return None
    route, route_given = _route(chart, product, knowledge)
    regimen = read_regimen(chart.dosages, product, knowledge.dose_words) if product.drug else None
    return Order(
        chart=chart,
        label=_label(product, regimen, knowledge),
        product=product,
        route=route,
        systemic=product.systemic and route not in knowledge.routes.local,
        regimen=regimen,
        intent=_intent(chart, knowledge),
        indication=indication_said(_texts(chart), knowledge.phases),
        concepts=frozenset(name for reason in chart.reasons for name, _, _ in knowledge.codes.concepts(reason)),
        said=tuple(text for _, text in _texts(chart) if text),
        draft=draft,
        route_assumed=not route_given,
        starts=_bound(chart, zone, "starts") or day_of(chart.authored, zone),
        ends=_bound(chart, zone, "ends"),
        finished=finished,
    )


@lru_cache(maxsize=4096)
def _product(codes: Codes, drug: Concept, form: Concept | None) -> Product | None:
    """`codes.product`, remembered: the same drugs come again and again."""
    return codes.product(drug, form)


def _label(product: Product, regimen: Regimen | Unread | None, knowledge: Knowledge) -> str:
    name = knowledge.codes.drugs[product.drug].display.capitalize() if product.drug else "CMV antiviral"
    return f"{name} {regimen.wording}" if isinstance(regimen, Regimen) else name


def _bound(chart: ChartOrder, zone: tzinfo, name: str) -> date | None:
    days = [day for dosage in chart.dosages if (day := day_of(getattr(dosage.timing, name), zone))]
    return (min(days) if name == "starts" else max(days)) if days else None


def _route(chart: ChartOrder, product: Product, knowledge: Knowledge) -> tuple[str, bool]:
    """(route group, was it given?): coded or named in the order, else from the product's form, else ""."""
    routes = knowledge.routes
    for dosage in chart.dosages:
        if dosage.route and (found := routes.of_concept(dosage.route)):
            return found, True
    for dosage in chart.dosages:
        if found := routes.in_text(dosage.text):
            return found, True
    if not product.systemic:
        return "local", False
    if found := routes.in_text(" ".join(chart.drug.words)):
        return found, True
    if not product.drug:
        return "", False
    drug = knowledge.codes.drugs[product.drug]
    return drug.default_route.get(product.form, drug.default_route.get("", "")), False


def _texts(chart: ChartOrder) -> Iterator[tuple[str, str]]:
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


def _intent(chart: ChartOrder, knowledge: Knowledge) -> Intent:
    """What the order itself says; a CMV disease as its reason counts as treatment, assumed."""
    said = phase_said(((where, text) for where, text in _texts(chart) if text), knowledge.phases)
    if said:
        return said
    disease = knowledge.codes.groups["cmv_disease"] | {"cmv-viraemia"}
    for reason in chart.reasons:
        if any(name in disease for name, _, _ in knowledge.codes.concepts(reason)):
            return Intent(Phase.TREATMENT, "assumed", f"ordered for {short(_first_words(reason))}")
    return Intent(None, "unknown", "")


def _first_words(concept: Concept) -> str:
    return concept.words[0] if concept.words else "CMV disease"


def short(text: str, length: int = 60) -> str:
    """Text of the request, on one line and shortened."""
    plain = re.sub(r"\s+", " ", text).strip()
    return plain if len(plain) <= length else plain[: length - 1] + "…"
