"""What the sources advise on immunosuppression when the treatment of CMV disease begins. Information, once."""

from collections.abc import Iterator

from cdshooks.medicine.case import Case
from cdshooks.medicine.rules.safety import ImmunosuppressionRule, LessImmunosuppression
from cdshooks.model import Finding, Indicator, OrderState, Phase, Said


def check(case: Case) -> Iterator[Finding]:
    """One finding of topic immunosuppression for the first order of the call that it is about."""
    for rule in case.knowledge.immunosuppression:
        if _treats(case, rule) and not _said_before(case, rule):
            rows = [(row, drugs) for row in rule.rows if (drugs := _applies(case, row))]
            if rows:
                running = {drug: name for _, drugs in rows for drug, name in drugs.items()}
                first, about = rows[0]
                names = list(map(case.knowledge.medicines.title, about))
                yield case.finding(
                    rule.id,
                    "immunosuppression",
                    Indicator.INFO,
                    f": {first.act} ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})",
                    f"On record: {', '.join(running.values())}.",
                    *(row.says for row, _ in rows),
                    cites=[row.cite for row, _ in rows],
                )


def _treats(case: Case, rule: ImmunosuppressionRule) -> bool:
    """Is it an order that begins to treat? The advice comes with the order, not with every look at the chart."""
    order = case.order
    begins = not case.course.runs or (case.course.days(case.facts.today) or 0) <= rule.course_days_at_most
    return order.product.drug in rule.drugs and case.ordered_now and order.intent.phase is Phase.TREATMENT and begins


def _said_before(case: Case, rule: ImmunosuppressionRule) -> bool:
    """Does an earlier order of this call carry the advice?"""
    first = next(
        order
        for order in case.facts.orders
        if order.product.drug in rule.drugs and order.systemic and order.intent.phase is Phase.TREATMENT
    )
    return first is not case.order and case.ordered_now


def _applies(case: Case, row: LessImmunosuppression) -> dict[str, str]:
    """The drugs on which a row's advice bears, with their names on record; none when it does not apply."""
    present = {problem.concept for problem in case.facts.problems} | case.order.concepts
    if not present & _concepts(case, row.problems) or present & _concepts(case, row.unless):
        return {}
    if row.also and not present & _concepts(case, row.also):
        return {}
    if row.seropositive and not _is_seropositive(case, present):
        return {}
    asked = case.knowledge.medicines.members(row.drugs)
    listed = [p for p in case.facts.prescriptions if p.drug in asked and p.systemic]
    return {p.drug: p.name for p in listed if p.state in (OrderState.RUNNING, OrderState.DRAFT)}


def _concepts(case: Case, names: tuple[str, ...]) -> set[str]:
    groups = case.knowledge.codes.groups
    return {concept for name in names for concept in groups.get(name, {name})}


def _is_seropositive(case: Case, present: set[str]) -> bool:
    said = case.facts.said("cmv-igg")
    return "cmv-seropositive" in present or (isinstance(said, Said) and said.answer == "positive")
