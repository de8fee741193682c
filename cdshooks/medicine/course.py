"""How long a patient has been on the active substance of an order: since when, and by which orders.

Read from the medication list: orders that run, are on hold or are over. A draft is no therapy yet.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.model import Facts, Order


@dataclass(frozen=True, slots=True)
class Course:
    """The therapy that an order begins or goes on with.

    `orders` are those of the same active substance without a longer gap between them, latest first, without drafts;
    empty when the order begins the therapy. `since` is its first day, None when it begins now or no order has a date.
    """

    orders: tuple[Order, ...]
    since: date | None

    @property
    def runs(self) -> bool:
        """Is the patient on it already?"""
        return bool(self.orders)

    def days(self, today: date) -> int | None:
        """Days of therapy up to now, None where that is not known."""
        return (today - self.since).days if self.since else None


def course_of(order: Order, facts: Facts, knowledge: Knowledge) -> Course:
    """The course of therapy that an order belongs to. Orders without any date count as part of it when they run."""
    drugs = knowledge.codes.same_active_drug(order.product.drug)
    given = [o for o in (order, *facts.orders, *facts.context, *facts.history) if o.product.drug in drugs]
    known = {id(o.chart): o for o in given if not o.draft and o.systemic and not (o.starts and o.starts > facts.today)}
    over = {id(o.chart) for o in facts.history}
    gap = timedelta(days=knowledge.judgement.course_gap_days)
    running = [o for key, o in known.items() if key not in over]
    chain, since = list(running), min((o.starts for o in running if o.starts), default=None)
    ended = [o for key, o in known.items() if key in over and o.starts]
    for earlier in sorted(ended, key=lambda o: o.ends or o.starts or facts.today, reverse=True):
        end = earlier.ends or earlier.starts  # one that is over without a last day counts for its first day alone
        if end is not None and end + gap >= (since or facts.today):
            chain.append(earlier)
            since = min(filter(None, (since, earlier.starts)))
    return Course(tuple(chain), since)
