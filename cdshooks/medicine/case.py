"""One order with everything a check looks at, put together once: its dose table and the patient's kidneys."""

from collections.abc import Iterator
from dataclasses import dataclass

from cdshooks.medicine.kidney import Kidney, assess
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules import RenalDoseRule
from cdshooks.model import Facts, Order


@dataclass(frozen=True, slots=True)
class RenalCase:
    """The dose table that applies to an order, and the kidney function that it asks for."""

    table: RenalDoseRule
    kidney: Kidney
    is_child: bool  # below the age at which the adult table starts


@dataclass(frozen=True, slots=True)
class Case:
    """One systemic order. `renal` is None for a drug or route without a dose table."""

    order: Order
    renal: RenalCase | None
    facts: Facts
    knowledge: Knowledge


def cases(facts: Facts, knowledge: Knowledge) -> Iterator[Case]:
    """The orders to check. A route that is not systemic never gets a systemic check."""
    for order in facts.orders:
        if not order.systemic:
            continue
        table = knowledge.dose_table(order.product.drug, order.route, order.indication)
        renal = None
        if table:
            kidney = assess(facts, knowledge.kidney, table.adults_from_years, per_kg=table.per_kg)
            renal = RenalCase(table, kidney, facts.is_younger_than(table.adults_from_years))
        yield Case(order, renal, facts, knowledge)
