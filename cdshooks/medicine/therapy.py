"""The CMV therapy on record: unbroken stretches of one active substance, and whether each was dosed rightly.

Read from the medication list; a draft is no therapy yet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from cdshooks.medicine.case import Case, case_of
from cdshooks.medicine.compare import compare, in_table_unit, nearest
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.renal_dose import Regimens
from cdshooks.model import Facts, Order, Phase, Regimen

RIGHT, LOW, UNKNOWN = "right", "low", "unknown"


@dataclass(frozen=True, slots=True)
class Dosed:
    """An order of the record with its phase and its dosing: right (or more), low, or unknown; `why` in words."""

    order: Order
    phase: Phase
    dosing: str
    why: str


@dataclass(frozen=True, slots=True)
class Therapy:
    """One unbroken stretch of treatment, or of prevention, with one active substance. Orders oldest first.

    `until` is None while it runs. `right_since` is the first day of the rightly dosed part that reaches up to now,
    None when the latest order is not known to be right. `since` is None when no order has a date.
    """

    drugs: frozenset[str]
    name: str
    phase: Phase
    orders: tuple[Dosed, ...]
    since: date | None
    until: date | None
    right_since: date | None

    @property
    def latest(self) -> Dosed:
        """Its latest order."""
        return self.orders[-1]

    @property
    def prevents(self) -> bool:
        """Is it prophylaxis or maintenance?"""
        return self.phase is not Phase.TREATMENT


def therapies(facts: Facts, knowledge: Knowledge) -> tuple[Therapy, ...]:
    """Every stretch on record, latest first."""
    orders = _on_record(facts)
    found: list[Therapy] = []
    dosed = [_dosed(order, facts, knowledge) for order in orders]
    kinds = {(knowledge.codes.same_active_drug(d.order.product.drug), d.phase is Phase.TREATMENT) for d in dosed}
    for drugs, treats in sorted(kinds, key=lambda kind: (sorted(kind[0]), kind[1])):
        same = [d for d in dosed if d.order.product.drug in drugs and (d.phase is Phase.TREATMENT) == treats]
        found += _stretches(same, drugs, facts, knowledge)
    return tuple(sorted(found, key=lambda t: (t.until is None, t.since or facts.today), reverse=True))


def days_of(orders: Sequence[Order], today: date) -> int:
    """Days on which at least one of the orders ran, up to today; an order without a start counts for nothing."""
    days: set[date] = set()
    for order in orders:
        if order.starts:
            last = min(order.ends or today, today)
            days |= {order.starts + timedelta(days=i) for i in range((last - order.starts).days + 1)}
    return len(days)


def exposure_days(facts: Facts, drugs: frozenset[str]) -> int:
    """Cumulative days on these drugs, whatever for. The first day and today count as the time between them."""
    exposed = [order for order in _on_record(facts) if order.product.drug in drugs]
    runs = any(order.ends is None or order.ends >= facts.today for order in exposed)
    return max(days_of(exposed, facts.today) - runs, 0)


def _on_record(facts: Facts) -> tuple[Order, ...]:
    """Orders of the medication list that have begun: running, on hold, or over (these only with a last day)."""
    given = {id(o.chart): o for o in (*facts.orders, *facts.context, *facts.history) if not o.draft and o.systemic}
    over = {id(o.chart) for o in facts.history}
    begun = (o for o in given.values() if o.indication == "cmv" and not (o.starts and o.starts > facts.today))
    return tuple(o for o in begun if id(o.chart) not in over or (o.starts and o.ends))


def _stretches(dosed: list[Dosed], drugs: frozenset[str], facts: Facts, knowledge: Knowledge) -> Iterator[Therapy]:
    """Orders with no longer gap between them belong together."""
    gap = timedelta(days=knowledge.judgement.course_gap_days)
    over = {id(o.chart) for o in facts.history}
    ordered = sorted(dosed, key=lambda d: (d.order.starts or facts.today, d.order.ends or date.max, d.order.chart.ref))
    chains: list[list[Dosed]] = []
    for entry in ordered:
        begins = entry.order.starts or facts.today
        reaches = max((_end(d.order, over, facts.today) for d in chains[-1]), default=None) if chains else None
        if reaches is not None and begins <= reaches + gap:
            chains[-1].append(entry)
        else:
            chains.append([entry])
    for chain in chains:
        starts = [d.order.starts for d in chain if d.order.starts]
        ends = [_end(d.order, over, facts.today) for d in chain]
        runs = any(id(d.order.chart) not in over for d in chain)
        right: date | None = None
        for entry in reversed(chain):
            if entry.dosing != RIGHT:
                break
            right = entry.order.starts
        yield Therapy(
            drugs=drugs,
            name=" and ".join(sorted({knowledge.codes.drugs[d.order.product.drug].display for d in chain})),
            phase=chain[-1].phase,
            orders=tuple(chain),
            since=min(starts, default=None),
            until=None if runs else max(ends),
            right_since=right,
        )


def _end(order: Order, over: set[int], today: date) -> date:
    return min(order.ends, today) if order.ends and id(order.chart) in over else today


def _dosed(order: Order, facts: Facts, knowledge: Knowledge) -> Dosed:
    """The order with its phase: as it says itself; else treatment, if the dose is one of treatment."""
    case, rule = case_of(order, facts, knowledge), knowledge.response
    phase = order.intent.phase
    if phase is None and order.product.drug not in rule.treatment_drugs:
        phase = Phase.PROPHYLAXIS
    if phase is None:
        disease = knowledge.codes.groups["cmv_disease"] | knowledge.codes.groups["cmv_viraemia"]
        as_treatment = _dosing(case, Phase.TREATMENT)
        ill = any(problem.concept in disease for problem in facts.problems)
        prevents = as_treatment[0] == LOW and not ill and order.product.drug in rule.preventive_drugs
        phase = Phase.PROPHYLAXIS if prevents else Phase.TREATMENT
    dosing, why = _dosing(case, phase)
    return Dosed(order, phase, dosing, why)


def _dosing(case: Case, phase: Phase) -> tuple[str, str]:
    """Is the dose enough for the phase, by what is known of the kidneys now? With the reason in words."""
    regimen = case.order.regimen
    if not isinstance(regimen, Regimen):
        return UNKNOWN, "its dose is not on record"
    expected, where, sure = _expected(case, phase)
    weight = case.facts.newest("weight")
    tolerance = case.knowledge.judgement.tolerance
    in_units = ((in_table_unit(regimen, e.dose[1], weight), e) for e in expected)
    compared = [compare(unit, e, phase, tolerance) for unit, e in in_units if unit is not None]
    if not compared:
        return UNKNOWN, "its dose could not be judged"
    judged = nearest(compared)
    words = " or ".join(e.regimen.wording for e in expected if not e.alternative)
    if not judged.fits and judged.too_little:
        low = f"{regimen.wording} is too little {where}: {words}".replace("  ", " ")
        return (LOW, low) if sure else (UNKNOWN, f"{regimen.wording} is less than the full dose, and {where}")
    return RIGHT, f"{regimen.wording}, right {where}".rstrip()


def _expected(case: Case, phase: Phase) -> tuple[Regimens, str, bool]:
    """The regimens that fit, where they hold, and whether that is known. Without a clearance: the full dose."""
    renal = case.renal
    if renal and not renal.is_child:
        kidney, sure = renal.kidney, True
        if kidney.dialysis:
            row, where = renal.table.for_dialysis(kidney.dialysis.modality), "on dialysis"
            regimens = row.treatment if phase is Phase.TREATMENT else row.stable
            return regimens, where, True
        if kidney.clearance:
            band, where = renal.table.band(kidney.clearance.rounded), f"at CrCl {kidney.clearance}"
        else:
            band, where, sure = renal.table.bands[0], "the kidney function is not known", False
        return band.treatment if phase is Phase.TREATMENT else band.stable, where, sure
    if case.dose and not case.dose.lacking:
        return case.dose.expected, "", True
    return (), "", False
