"""Is the same active drug given twice, by two orders that both act in the whole body?

A draft beside a running order of the same drug in the same form by the same route is how therapy is renewed and
changed: no duplicate. Two forms are two orders that are both filled, unless one names the other as replaced.
"""

from collections.abc import Iterator

from cdshooks.medicine.case import Case
from cdshooks.medicine.rules.interaction import SameDrug
from cdshooks.model import Finding, Indicator, Input, Order


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic duplicate, one for each order that doubles the judged one."""
    facts, rule = case.facts, case.knowledge.duplicates
    drug = case.order.product.drug
    group = next((group for group in rule.same if drug in group.drugs), None)
    drugs = group.drugs if group else (drug,)
    others = (o for o in (*facts.orders, *facts.context) if o.chart is not case.order.chart and o.product.drug in drugs)
    for other in others:
        if other.systemic and _together(case.order, other) and not _replaced(case.order, other):
            yield from _doubled(case, group, other)


def _together(order: Order, other: Order) -> bool:
    """May both be given on one day? An end that meets the other's start is a change from one to the other."""
    return not (_ends_before(order, other) or _ends_before(other, order))


def _ends_before(first: Order, second: Order) -> bool:
    return first.ends is not None and second.starts is not None and first.ends <= second.starts


def _replaced(order: Order, other: Order) -> bool:
    """Does one of them say that it takes the other's place?"""
    refs = {order.chart.ref, other.chart.ref}
    return bool(refs & {order.chart.replaces, other.chart.replaces} - {""})


def _doubled(case: Case, group: SameDrug | None, other: Order) -> Iterator[Finding]:
    order = case.order
    same_form = order.product.drug == other.product.drug and all(
        one == another or "" in (one, another)
        for one, another in ((order.route, other.route), (order.product.form, other.product.form))
    )
    beside = other.draft or any(other is judged for judged in case.facts.orders)  # ordered by the same call
    if same_form and case.ordered_now and not beside:
        return  # a renewal or a change of dose
    name = case.knowledge.medicines.title(other.product.drug)
    how = other.route if order.route != other.route or order.product.form == other.product.form else other.product.form
    route = f" ({how})" if how else ""
    state = "is ordered in this session too" if other.draft else "runs already" if order.draft else "runs as well"
    indicator, ending = Indicator.CRITICAL, "the same active drug twice"
    advice = "Keep one of the two orders. When one follows the other, end the first on the day the second begins."
    if same_form and order.draft:
        phases = (order.intent, other.intent)
        if all(intent.basis == "said" for intent in phases) and len({intent.phase for intent in phases}) == 2:
            indicator, ending = Indicator.INFO, "give dates if one follows the other"
    elif same_form:
        indicator, ending = Indicator.WARNING, "two running orders, end one"
    since = f", since {other.starts.isoformat()}" if other.starts and not other.draft else ""
    yield case.finding(
        case.knowledge.duplicates.id,
        "duplicate",
        indicator,
        f": {name}{route} {state}, {ending}",
        f"{other.label}{route} {state}{since}. {group.says if group else ''}".strip(),
        advice,
        cites=[group.cite if group else case.knowledge.duplicates.cite],
        inputs=[
            Input(
                f"other order of {name}",
                other.label,
                "",
                other.starts.isoformat() if other.starts else "",
                other.chart.ref,
            )
        ],
    )
