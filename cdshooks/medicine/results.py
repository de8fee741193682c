"""The results of one analyte, newest first, read only as far as somebody looks.

Long records hold hundreds of results of which a check needs a few. Reading from the newest on also decides by itself
what is worth showing: an unusable result counts when it stands before the one that is used.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import TypeVar

from cdshooks.medicine.codes import Analyte, Test, plain_text, squeezed
from cdshooks.medicine.dates import day_of, is_partial, moment_of
from cdshooks.medicine.orders import short
from cdshooks.medicine.units import Refusal, convert, is_logarithm, readable
from cdshooks.model import ChartObservation, Concept, Lab, Missing, Quantity, Said, Unused, Why

UNCODED = "uncoded"  # kind of a result that is known by its name alone
ELSEWHERE = "elsewhere"  # kind of a result whose code names another specimen
WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
_NO_RESULT_YET = frozenset({"registered", "specimen-in-process"})
SETTLED = frozenset({"final", "amended", "corrected", "appended"})
_RANKS = {"corrected": 2, "amended": 2, "preliminary": 0, "registered": 0}  # of the versions of one result; others: 1
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)  # results without a date come first: they may be newer than any other


class AnalyteResults:
    """See `cdshooks.model.Results`. `state` says why there is nothing, when nothing came."""

    def __init__(
        self,
        analyte: Analyte,
        observations: Sequence[tuple[ChartObservation, str]],
        state: Missing,
        today: date,
        zone: tzinfo,
        *,
        adult: bool = False,
        favourable: bool = False,
    ) -> None:
        """`observations` are this patient's, each with the kind of its code; `adult` when the patient is known to be.

        Of results that contradict each other the worse one counts, or where `favourable` the better one.
        """
        self._analyte, self._observations, self._state = analyte, observations, state
        self._today, self._zone, self._adult, self._favourable = today, zone, adult, favourable
        self._used: list[Lab] = []
        self._unused: list[Unused] = []
        self._rest: Iterator[Lab] | None = None

    def newest(self) -> Lab | Missing:
        """The newest usable result, or why there is none."""
        if not self._used:
            self._used += [lab for lab in [next(self._reader(), None)] if lab]
        if self._used:
            return self._used[0]
        if self._unused:
            return Missing(Why.UNUSABLE, f"{self._unused[0].what} {self._unused[0].why}")
        return self._state

    def since(self, day: date) -> tuple[Lab, ...]:
        """The usable results from `day` on, newest first."""
        while not self._used or self._used[-1].on >= day:
            lab = next(self._reader(), None)
            if lab is None:
                break
            self._used.append(lab)
        return tuple(lab for lab in self._used if lab.on >= day)

    @property
    def unused(self) -> tuple[Unused, ...]:
        """What was met and not used: all of it when nothing is usable, else at least what stands before the newest."""
        self.newest()
        return tuple(self._unused)

    @property
    def met(self) -> tuple[Unused, ...]:
        """What was not used of the results looked at so far."""
        return tuple(self._unused)

    @property
    def looked_at(self) -> Lab | None:
        """The newest usable result, where somebody has looked at it."""
        return next(iter(self._used), None)

    def otherwise(self) -> "AnalyteResults":
        """The same results; of those that contradict each other the more favourable one counts."""
        return AnalyteResults(
            self._analyte,
            self._observations,
            self._state,
            self._today,
            self._zone,
            adult=self._adult,
            favourable=not self._favourable,
        )

    def _reader(self) -> Iterator[Lab]:
        if self._rest is None:
            self._rest = self._read()
        return self._rest

    def _read(self) -> Iterator[Lab]:
        kinds = {id(observation): kind for observation, kind in self._observations}
        for day in _days((observation for observation, _ in self._observations), self._zone):
            usable: list[tuple[ChartObservation, Lab]] = []
            for observation in day:
                kind = kinds[id(observation)]
                lab = read_lab(observation, self._analyte, kind, self._today, self._zone, adult=self._adult)
                if isinstance(lab, Unused):
                    self._unused.append(lab)
                elif lab is not None:
                    usable.append((observation, lab))
            for beside in _unordered(usable, self._zone, self._are_comparable):
                estimated = {key for key, kind in kinds.items() if kind in self._analyte.remarks}
                yield self._one_of(_latest_versions(beside, estimated))

    def _are_comparable(self, one: Lab, other: Lab) -> bool:
        if not self._analyte.contradictory.one_assay:
            return True
        pairs = ((one.specimen, other.specimen), (one.laboratory, other.laboratory))
        return all(not left or not right or left == right for left, right in pairs)

    def _one_of(self, labs: Sequence[Lab]) -> Lab:
        """The one that counts of results that cannot be put in order, with those that contradict it."""
        highest = (self._analyte.contradictory.worse == "high") is not self._favourable
        chosen = (max if highest else min)(labs, key=lambda lab: lab.value)
        return replace(chosen, rivals=tuple(lab for lab in labs if self._contradict(chosen, lab)))

    def _contradict(self, one: Lab, other: Lab) -> bool:
        low, high = sorted((one, other), key=lambda lab: lab.value)
        if ">" in low.comparator or "<" in high.comparator:
            return False  # a bound that the other value keeps
        limit = self._analyte.contradictory
        return high.value - low.value >= limit.by and high.value >= limit.factor * low.value


Read = TypeVar("Read", Lab, Said)


def _days(observations: Iterable[ChartObservation], zone: tzinfo) -> Iterator[Iterator[ChartObservation]]:
    """The results day by day, newest first."""
    keyed = sorted(((order_in_time(o, zone), o) for o in observations), key=lambda pair: pair[0], reverse=True)
    for _, day in groupby(keyed, key=lambda pair: pair[0][0].astimezone(zone).date() if pair[0][0] != _LAST else None):
        yield (observation for _, observation in day)


def _unordered(
    found: Sequence[tuple[ChartObservation, Read]], zone: tzinfo, are_comparable: Callable[[Read, Read], bool]
) -> Iterator[list[tuple[ChartObservation, Read]]]:
    """The results of a day, newest first, each with all those that are neither older nor newer than it."""
    rest = list(found)
    while rest:
        newest = rest[0]
        beside = [
            other
            for other in rest
            if other is newest or (not _is_newer(newest[0], other[0], zone) and are_comparable(newest[1], other[1]))
        ]
        yield beside
        rest = [other for other in rest if not any(other is one for one in beside)]


def _is_newer(one: ChartObservation, other: ChartObservation, zone: tzinfo) -> bool:
    """Is `one` certainly newer than `other` of the same day, which comes behind it in the order of time?

    By the moment, ties by when they were issued. A date without a time is the whole day.
    """
    moments = [moment_of(o.effective or o.issued, zone) for o in (one, other)]
    if all(moments) and moments[0] != moments[1]:
        return True
    issued = [moment_of(o.issued, zone) for o in (one, other)]
    return issued[0] is not None and issued[1] is not None and issued[0] > issued[1]


def _latest_versions(found: Sequence[tuple[ChartObservation, Read]], remarked: Container[int]) -> list[Read]:
    """Those that stand above the others.

    A correction above what it corrects, a final above a preliminary result, a measurement above an estimate
    (`remarked`, by identity).
    """
    ranks = [(_RANKS.get(o.status, 1), id(o) not in remarked) for o, _ in found]
    return [read for (_, read), rank in zip(found, ranks, strict=True) if rank == max(ranks)]


def order_in_time(observation: ChartObservation, zone: tzinfo) -> tuple[datetime, datetime, str, str]:
    """By the moment of the result (a plain date counts from midnight), ties by when it was issued.

    Then by the id: the same results in another order must not change the answer.
    """
    when, issued = observation.effective or observation.issued, moment_of(observation.issued, zone) or _FIRST
    if moment := moment_of(when, zone):
        return moment, issued, observation.issued, observation.ref
    day = day_of(when, zone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone) if day else _LAST
    return midnight, issued, observation.issued, observation.ref


class TestResults:
    """See `cdshooks.model.Words`. `state` says why there is nothing, when nothing came."""

    def __init__(
        self,
        test: Test,
        observations: Sequence[ChartObservation],
        state: Missing,
        today: date,
        zone: tzinfo,
        *,
        favourable: bool = False,
    ) -> None:
        """`observations` are this patient's.

        Of answers that contradict each other the one that stands first in the knowledge counts, or where `favourable`
        the last.
        """
        self._test, self._observations, self._state = test, observations, state
        self._today, self._zone, self._favourable = today, zone, favourable
        self._unused: list[Unused] = []
        self._newest: Said | Missing | None = None

    def newest(self) -> Said | Missing:
        """The newest usable result, or why there is none."""
        if self._newest is None:
            self._newest = self._read()
        return self._newest

    @property
    def unused(self) -> tuple[Unused, ...]:
        """What was met before the newest usable result and not used."""
        self.newest()
        return tuple(self._unused)

    @property
    def looked_at(self) -> Said | None:
        """The newest usable result, where somebody has looked at it."""
        return self._newest if isinstance(self._newest, Said) else None

    def otherwise(self) -> "TestResults":
        """The same results; of those that contradict each other the more favourable one counts."""
        return TestResults(
            self._test,
            self._observations,
            self._state,
            self._today,
            self._zone,
            favourable=not self._favourable,
        )

    def _read(self) -> Said | Missing:
        for day in _days(self._observations, self._zone):
            usable: list[tuple[ChartObservation, Said]] = []
            for observation in day:
                said = read_words(observation, self._test, self._today, self._zone)
                if isinstance(said, Said):
                    usable.append((observation, said))
                elif said is not None:
                    self._unused.append(said)
            for beside in _unordered(usable, self._zone, lambda _one, _other: True):
                return self._one_of(_latest_versions(beside, ()))
        if self._unused:
            return Missing(Why.UNUSABLE, f"{self._unused[0].what} {self._unused[0].why}")
        return self._state

    def _one_of(self, said: Sequence[Said]) -> Said:
        """The one that counts of results that cannot be put in order, with those that contradict it."""
        answers = list(dict.fromkeys(self._test.answers.values()))
        known = [one for one in said if one.answer] or said[:1]
        known = sorted(known, key=lambda one: answers.index(one.answer) if one.answer else 0, reverse=self._favourable)
        return replace(known[0], rivals=tuple(one for one in known if one.answer != known[0].answer))


def read_words(observation: ChartObservation, test: Test, today: date, zone: tzinfo) -> Said | Unused | None:
    """One result in words, or why it is not used; None for a test that has no result yet.

    A number alone counts by the grading of the laboratory (its interpretation).
    """
    when = observation.effective or observation.issued
    day = day_of(when, zone)
    dated = day.isoformat() if day else ""
    refuse = partial(Unused, observation.ref, f"{test.name}{f' of {dated}' if day else ''}", analyte=test.key, on=dated)
    if observation.status in WITHDRAWN:
        return refuse(why=f"was withdrawn ({observation.status})", kind="withdrawn")
    value = observation.value
    words = [value] if isinstance(value, str) else list(value.words) if isinstance(value, Concept) else []
    codes = [coding.code for coding in value.codings] if isinstance(value, Concept) else []
    graded = [name for concept in observation.interpretation for name in concept.words]
    graded += [coding.code for concept in observation.interpretation for coding in concept.codings]
    if not words and not codes and not graded:
        if observation.status in _NO_RESULT_YET and value is None:
            return None
        why = f"has no readable result {observation.absent_reason}".strip()
        return refuse(why=f"{why}{_field(observation, 'value')}", kind="unreadable")
    if day is None:
        why = f"has no readable date{_field(observation, 'effective', 'issued')}" if when else "has no date"
        return refuse(why=why, kind="undated")
    if day > today:
        return refuse(why="is dated in the future", kind="future")
    answers = (test.answer(text) for text in (*words, *codes, *graded) if text)
    remarks = [_status_remark(observation.status), "date known in part" if is_partial(when) else ""]
    return Said(
        test=test.key,
        answer=next(filter(None, answers), ""),
        words=short((*words, *codes, *graded)[0], 40),
        on=day,
        ref=observation.ref,
        remark=", ".join(filter(None, remarks)),
    )


def read_lab(
    observation: ChartObservation, analyte: Analyte, kind: str, today: date, zone: tzinfo, *, adult: bool = False
) -> Lab | Unused | None:
    """One result, or why it is not used; None for one that carries no number by nature (a word, a pending test)."""
    when = observation.effective or observation.issued
    day = day_of(when, zone)
    dated = day.isoformat() if day else ""
    refuse = partial(
        Unused, observation.ref, f"{analyte.name}{f' of {dated}' if day else ''}", analyte=analyte.key, on=dated
    )
    status, value = observation.status, observation.value
    if status in WITHDRAWN:
        return refuse(why=f"was withdrawn ({status})", kind="withdrawn")
    if status in _NO_RESULT_YET and value is None:
        return None
    said = value
    value = _as_number(value, analyte)
    if specimen := _another_specimen(observation, analyte, kind):
        negative = isinstance(value, Quantity) and (value.value == 0 or "<" in value.comparator)
        shown = "future" if day and day > today else "excluded" if negative else "specimen"
        what = "has a code of another specimen or kind" if kind == ELSEWHERE else "is from another specimen"
        why = f'({_original(said, value)}) {what} ("{short(specimen, 60)}") and is not compared with results from blood'
        return refuse(why=why, kind=shown)
    if kind == UNCODED:
        return refuse(why=f'is named "{short(observation.name, 30)}" and has no code that is known here', kind=UNCODED)
    if not isinstance(value, Quantity):
        if analyte.words_are_results and isinstance(value, str | Concept):
            words = value if isinstance(value, str) else " ".join(value.words[:1])
            return refuse(why=f'says "{short(words, 40)}"', kind="word")
        given = f'has no readable number ("{short(value, 30)}")' if isinstance(value, str) else ""
        why = given or f"has no value {observation.absent_reason}".strip()
        return refuse(why=f"{why}{_field(observation, 'value')}", kind="unreadable")
    if day is None:
        why = f"has no readable date{_field(observation, 'effective', 'issued')}" if when else "has no date"
        return refuse(why=why, kind="undated")
    if day > today:
        return refuse(why="is dated in the future", kind="future")
    if kind in analyte.excluded_kinds:
        return refuse(why=analyte.excluded_kinds[kind], kind="excluded")
    number = convert(value, analyte, kind)
    if isinstance(number, Refusal):
        return refuse(why=f"is not used: {number.reason}", kind="unit")
    original = _original(said, value)
    if is_logarithm(value, analyte):
        original = f"{value.comparator}{value.value} log10 {analyte.unit} ({readable(number)} {analyte.unit})"
    lowest = analyte.adult_lowest if adult else analyte.lowest
    if not lowest <= number <= analyte.highest:
        limits = f"{lowest} to {analyte.highest} {analyte.unit}{' in an adult' if lowest > analyte.lowest else ''}"
        return refuse(why=f"is implausible: {original} (plausible: {limits})", kind="implausible")
    if value.comparator and analyte.needs_exact:
        return refuse(why=f'is only a bound ("{original}")', kind="bound")
    remarks = [_status_remark(status), analyte.remarks.get(kind, ""), "date known in part" if is_partial(when) else ""]
    return Lab(
        analyte=analyte.key,
        value=number,
        unit=analyte.unit,
        comparator=value.comparator,
        on=day,
        at=moment_of(when, zone),
        ref=observation.ref,
        original=original,
        remark="; ".join(filter(None, remarks)),
        specimen=observation.specimen.casefold(),
        laboratory=short(observation.laboratory, 40),
    )


def _field(observation: ChartObservation, *names: str) -> str:
    """The unreadable fields whose names begin so, for a sentence."""
    found = [name for name in observation.unreadable if name.startswith(names)]
    return f" in {' and '.join(found)}" if found else ""


def _original(said: Quantity | str | Concept | None, value: Quantity | str | Concept | None) -> str:
    """A result as the laboratory gave it."""
    if isinstance(said, str) or not isinstance(value, Quantity):
        words = said if isinstance(said, str) else " ".join(said.words[:1]) if isinstance(said, Concept) else ""
        return short(words, 40)
    sent = said if isinstance(said, Quantity) else value
    return short(f"{sent.comparator}{sent.value} {sent.unit or sent.code}".strip(), 40)


def _another_specimen(observation: ChartObservation, analyte: Analyte, kind: str) -> str:
    """The specimen of a result that is not one of this analyte, "" for one that is."""
    if kind == ELSEWHERE:
        return observation.name or observation.specimen or "not named"
    named = observation.specimen or (observation.name if kind == UNCODED else "")
    return named if analyte.not_from and analyte.not_from.search(plain_text(named)) else ""


_WRITTEN = re.compile(r"([<>]=?)?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?\s*([^\d\s].*)?", re.DOTALL)


def _as_number(value: Quantity | str | Concept | None, analyte: Analyte) -> Quantity | str | Concept | None:
    """A number with its unit written as text ("4,500 IU/mL"), or a grade ("2+", "not detected"), as a quantity."""
    if isinstance(value, Quantity):
        number = value.value.normalize() if value.value.is_finite() else ""
        return _grade(f"{value.comparator}{number}{(value.unit or value.code).strip('{}')}", analyte) or value
    for text in value.words if isinstance(value, Concept) else (value,) if value else ():
        text = text.replace("≥", ">=").replace("≤", "<=")
        if graded := _grade(text, analyte):
            return graded
        if found := _WRITTEN.fullmatch(text.strip()):
            number = Decimal(found[2].replace(",", "") + (found[3] or ""))
            return Quantity(number, (found[4] or "").strip(), comparator=found[1] or "")
    return value


def _grade(text: str, analyte: Analyte) -> Quantity | None:
    """A grade as a quantity; one in brackets counts before the word that it explains ("Large (3+)")."""
    before, _, inside = text.partition("(")
    for part in map(squeezed, (text, inside.removesuffix(")"), before)) if analyte.grades else ():
        grade = part.lstrip("<>=")
        for known, sign in ((part, ""), (grade, part.removesuffix(grade))):
            if known in analyte.grades:
                return Quantity(analyte.grades[known], analyte.unit, comparator=sign)
    return None


def _status_remark(status: str) -> str:
    if status in SETTLED:
        return ""
    return status if status in ("preliminary", "registered") else "status not given"
