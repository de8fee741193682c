"""How often a dose is given: structured timing, codes and text brought to administrations per day; all must agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from cdshooks.medicine.dosage.sig import Rate, Schedule, Sig, read_code, read_sig
from cdshooks.medicine.dosage.wording import often_wording, plain, quote
from cdshooks.medicine.dosage.words import DoseWords
from cdshooks.model import Concept, Timing, Unread


@dataclass(frozen=True, slots=True)
class Often:
    """How often: administrations per day, None for a single dose or one tied to dialysis alone."""

    rate: Rate | None
    once: bool = False
    after_dialysis: bool = False
    as_needed: bool = False
    about: bool = False


def _how_often(schedule: Schedule) -> Often | Unread | None:
    """What one source (structured, coded or text) says on how often; None when it says nothing."""
    if len(schedule.rates) > 1:
        return Unread("two frequencies are given")
    rate = schedule.rates[0] if schedule.rates else None
    counts = {len(times) for times in (schedule.slots, schedule.clocks) if times}
    weekly = {Fraction(days) for days in schedule.days} | (
        {Fraction(len(schedule.weekdays))} if schedule.weekdays else set()
    )
    if schedule.once:
        if rate or counts or weekly:
            return Unread("a single dose and a frequency are given at once")
        return Often(None, once=True, after_dialysis=schedule.after_dialysis)
    if len(counts) > 1 or len(weekly) > 1:
        return Unread("the times of day or days of the week contradict each other")
    if counts:
        times = Fraction(counts.pop())
        if rate is None:
            rate = (times, times)
        elif rate != (times, times) and not (times == 1 and rate[1] < 1):
            return Unread("the times of day do not fit the frequency")
    if weekly:
        share = weekly.pop() / 7
        if rate is None:
            rate = (share, share)
        elif rate[0] >= 1:
            rate = (rate[0] * share, rate[1] * share)
        elif rate != (share, share):
            return Unread("the days of the week do not fit the frequency")
    if rate is None and not schedule.after_dialysis:
        return None
    return Often(rate, after_dialysis=schedule.after_dialysis, about=schedule.about)


def _scheduled(timing: Timing, words: DoseWords) -> Schedule | Unread:
    """The structured timing. A frequency without a period is left to the caller."""
    numbers = (timing.frequency, timing.frequency_max, timing.period, timing.period_max, timing.count)
    if any(one is not None and (not one.is_finite() or not 0 < one <= words.largest_number) for one in numbers):
        return Unread("a number of the timing is not usable")
    unknown = [when for when in timing.when if when not in words.counted_times]
    if unknown:
        return Unread(f"the time of day {quote(unknown[0])} is not known")
    if any(day.casefold() not in words.weekdays for day in timing.day_of_week):
        return Unread("a day of the week is not known")
    slots = frozenset(when for when in timing.when if words.counted_times[when])
    clocks = frozenset(time[:5] for time in timing.time_of_day)
    schedule = Schedule(
        slots=slots, clocks=clocks, weekdays=frozenset(words.weekdays[day.casefold()] for day in timing.day_of_week)
    )
    if timing.period is None:
        return schedule
    unit = words.time_units.get(timing.period_unit.casefold(), timing.period_unit)
    if unit not in words.period_days:
        return Unread(f"the timing has the unit of time {quote(timing.period_unit)}")
    times = Decimal(max(len(slots), len(clocks), 1))
    low = timing.frequency if timing.frequency is not None else times
    high = timing.frequency_max if timing.frequency_max is not None else low
    longest = timing.period_max if timing.period_max is not None else timing.period
    if low > high or timing.period > longest:
        return Unread("the timing is a range that ends before it starts")
    days = words.period_days[unit]
    rate = (Fraction(low) / (Fraction(longest) * days), Fraction(high) / (Fraction(timing.period) * days))
    explained = low == high == times and len(slots) in (0, times) and len(clocks) in (0, times)
    return replace(
        schedule,
        rates=(rate,),
        slots=frozenset() if explained else slots,
        clocks=frozenset() if explained else clocks,
        about=unit in words.about,
    )


@dataclass(frozen=True, slots=True)
class Timed:
    """How often one instruction says a dose is given (None: not said), by which sources, and whether without text."""

    often: Often | None
    sources: tuple[str, ...]
    structured: bool


@dataclass(frozen=True, slots=True)
class _Source:
    """One place that may say how often; `firm` when it is structured or a known code."""

    name: str
    says: Schedule | Unread
    firm: bool


def _coded(concept: Concept, words: DoseWords) -> list[_Source]:
    """What a coded timing says: known codes first; its texts (or an unknown code) read as words."""
    found: list[_Source] = []
    known = set()
    for coding in concept.codings:
        schedule = read_code(coding.system.rstrip("/"), coding.code, words)
        if schedule is not None:
            found.append(_Source(f"code {quote(coding.code)}", schedule, True))
            known.add(coding.code)
    for text in concept.words or tuple(coding.code for coding in concept.codings):
        if text in known:
            continue  # the code once more
        sig = read_sig(text, words)
        if sig.refused or sig.unplaced or sig.amounts:
            reason = sig.refused or f"the timing {quote(text)} is not known"
            found.append(_Source(f"timing {quote(text)}", Unread(reason), False))
        elif sig.schedule != Schedule():
            found.append(_Source(f"timing {quote(text)}", sig.schedule, False))
        elif not found:
            found.append(_Source(f"timing {quote(text)}", Unread(f"the timing {quote(text)} is not known"), False))
    return found


def _in_words(often: Often) -> str:
    """A frequency for the reader of a refusal."""
    if often.rate is None:
        return "once"
    low, high = (often_wording(Decimal(rate.numerator) / rate.denominator) for rate in often.rate)
    return low if low == high else f"{low} to {high}"


def _agreed(said: Sequence[tuple[_Source, Often]]) -> Often | Unread | None:
    """The frequency on which all sources agree. "After each dialysis" agrees with any frequency."""
    told = [(source, often) for source, often in said if often.rate is not None or often.once]
    for source, often in told[1:]:
        if (often.rate, often.once) != (told[0][1].rate, told[0][1].once):
            both = " and ".join(f"{s.name} ({_in_words(o)})" for s, o in (told[0], (source, often)))
            return Unread(f"the timing is given in two ways: {both}")
    every = [often for _, often in said]
    if not every:
        return None
    return Often(
        rate=told[0][1].rate if told else None,
        once=bool(told) and told[0][1].once,
        after_dialysis=any(often.after_dialysis for often in every),
        about=any(often.about for often in every),
    )


def read_timing(timing: Timing, sig: Sig, words: DoseWords, further: Sequence[Sig] = ()) -> Timed | Unread:
    """How often all parts of one instruction (structured timing, its code, the text) say the dose is given.

    `further` are instructions beside the text, which count with the frequencies they name. A code that is not known
    counts as unsaid when something else says how often, else it is the reason of the `Unread`.
    """
    structured = _scheduled(timing, words)
    if isinstance(structured, Unread):
        return structured
    sources = [_Source("structured timing", structured, True)]
    if timing.code is not None:
        sources += _coded(timing.code, words)
    sources.append(_Source("the text", sig.schedule, False))
    sources += [_Source(quote(beside.said), Schedule(rates=beside.schedule.rates), False) for beside in further]
    if timing.count == 1 or (timing.events and timing.period is None and timing.code is None):
        if timing.events > 1:
            return Unread(f"a list of {timing.events} dates instead of a frequency")
        sources.append(_Source("a single dose (count 1 or one date)", Schedule(once=True), True))
    said: list[tuple[_Source, Often]] = []
    unknown: Unread | None = None
    as_needed = False
    for source in sources:
        often = source.says if isinstance(source.says, Unread) else _how_often(source.says)
        as_needed |= isinstance(source.says, Schedule) and source.says.as_needed
        if isinstance(often, Unread):
            if source.firm or source.name == "the text":
                return Unread(f"{often.reason} ({source.name})")
            unknown = often
        elif often is not None:
            said.append((source, often))
    if any(often.once for _, often in said):  # "once daily, count 1" is one dose
        said = [(source, often) for source, often in said if often.once or often.rate != (Fraction(1), Fraction(1))]
    agreed = _agreed(said)
    if isinstance(agreed, Unread):
        return agreed
    if timing.frequency is not None and timing.period is None:
        if agreed is None or agreed.rate is None:
            return Unread(f"{plain(timing.frequency)} times, but not in which period")
        if agreed.rate != (Fraction(timing.frequency), Fraction(timing.frequency_max or timing.frequency)):
            return Unread("the frequency without a period does not fit the rest of the timing")
    if agreed is None:
        return unknown or Timed(None, (), False)
    firm = any(source.firm and (often.rate is not None or often.once) for source, often in said)
    names = tuple(source.name for source, _ in said)
    return Timed(replace(agreed, as_needed=as_needed), names, firm)
