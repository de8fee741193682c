"""Does an allergy on record speak against the order?"""

from collections.abc import Iterator

from cdshooks.medicine.case import Case, record_gap
from cdshooks.medicine.rules.safety import AllergyRow, AllergyRule
from cdshooks.model import Allergy, Finding, Indicator, Input


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic contraindication, and dataQuality where allergies could not be looked for.

    Of therapy that runs only what is critical is said when the chart is opened.
    """
    if case.facts.hook == "patient-view":
        yield from (finding for finding in _on_record(case) if finding.indicator is Indicator.CRITICAL)
        return
    yield from _on_record(case)
    for rule in case.knowledge.allergy:
        gap = record_gap(case.facts, "allergies")
        rows = [row for row in rule.rows if case.order.product.drug in row.orders]
        if gap and rows:
            summary = f": allergies not checked ({gap.why.value})"
            indicator = case.knowledge.judgement.of_loss(row.indicator for row in rows)
            yield case.finding(
                rule.id, "dataQuality", indicator, summary, f"Allergies and intolerances: {gap}.", cites=[rule.cite]
            )


def _on_record(case: Case) -> Iterator[Finding]:
    for rule in case.knowledge.allergy:
        for row in rule.rows:
            if case.order.product.drug in row.orders:
                for allergy in case.facts.allergies:
                    if _names(allergy, row, case):
                        yield _finding(case, rule, row, allergy)


def _names(allergy: Allergy, row: AllergyRow, case: Case) -> bool:
    drugs = case.knowledge.medicines.members(row.to_drugs)
    return bool(allergy.drugs & drugs or allergy.concepts & set(row.to_concepts))


def _finding(case: Case, rule: AllergyRule, row: AllergyRow, allergy: Allergy) -> Finding:
    severity, how = row.indicator, ""
    if allergy.intolerance:
        severity, how = row.intolerance, "The record calls it an intolerance, no allergy: clarify what happened."
    elif allergy.mild and row.mild:
        severity, how = row.mild, "The record gives it a low criticality: clarify what happened."
    what = allergy.text or "not named"
    return case.finding(
        rule.id,
        "contraindication",
        Indicator[severity.upper()],
        f": {'intolerance' if allergy.intolerance else 'allergy'} on record ({what})",
        f"{'Intolerance' if allergy.intolerance else 'Allergy'} on record: {what}.",
        row.says,
        how,
        cites=[row.cite],
        inputs=[Input("allergy", what, reference=allergy.ref)],
        withdraw="Remove this order" if severity == "critical" else "",
    )
