"""The results of one analyte, newest first, read only as far as somebody looks.

Long records hold hundreds of results of which a check needs a few. Reading from the newest on also decides by itself
what is worth showing: an unusable result counts when it stands before the one that is used.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import partial

from cdshooks.medicine.codes import Analyte, Test, plain_text
from cdshooks.medicine.dates import day_of, is_partial, moment_of
from cdshooks.medicine.orders import short
from cdshooks.medicine.units import Refusal, convert
from cdshooks.model import ChartObservation, Concept, Lab, Missing, Quantity, Said, Unused, Why

UNCODED = "uncoded"  # kind of a result that is known by its name alone
ELSEWHERE = "elsewhere"  # kind of a result whose code names another specimen
WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
_NO_RESULT_YET = frozenset({"registered", "specimen-in-process"})
SETTLED = frozenset({"final", "amended", "corrected", "appended"})
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
    ) -> None:
        """`observations` are this patient's, each with the kind of its code."""
        self._analyte, self._observations, self._state = analyte, observations, state
        self._today, self._zone = today, zone
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

    def _reader(self) -> Iterator[Lab]:
        if self._rest is None:
            self._rest = self._read()
        return self._rest

    def _read(self) -> Iterator[Lab]:
        ordered = sorted(self._observations, key=lambda pair: order_in_time(pair[0], self._zone), reverse=True)
        for observation, kind in ordered:
            lab = read_lab(observation, self._analyte, kind, self._today, self._zone)
            if isinstance(lab, Unused):
                self._unused.append(lab)
            elif lab is not None:
                yield lab


def order_in_time(observation: ChartObservation, zone: tzinfo) -> tuple[datetime, str, str]:
    """By the moment of the result (a plain date counts from midnight), ties by when it was issued.

    Then by the id: the same results in another order must not change the answer.
    """
    when = observation.effective or observation.issued
    if moment := moment_of(when, zone):
        return moment, observation.issued, observation.ref
    day = day_of(when, zone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone) if day else _LAST
    return midnight, observation.issued, observation.ref


class TestResults:
    """See `cdshooks.model.Words`. `state` says why there is nothing, when nothing came."""

    def __init__(
        self, test: Test, observations: Sequence[ChartObservation], state: Missing, today: date, zone: tzinfo
    ) -> None:
        """`observations` are this patient's."""
        self._test, self._observations, self._state = test, observations, state
        self._today, self._zone = today, zone
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

    def _read(self) -> Said | Missing:
        for observation in sorted(self._observations, key=lambda o: order_in_time(o, self._zone), reverse=True):
            said = read_words(observation, self._test, self._today, self._zone)
            if isinstance(said, Said):
                return said
            if said is not None:
                self._unused.append(said)
        if self._unused:
            return Missing(Why.UNUSABLE, f"{self._unused[0].what} {self._unused[0].why}")
        return self._state


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
        return refuse(why=f"has no readable result {observation.absent_reason}".strip(), kind="unreadable")
    if day is None:
        return refuse(why="has no readable date" if when else "has no date", kind="undated")
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
    observation: ChartObservation, analyte: Analyte, kind: str, today: date, zone: tzinfo
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
        why = f'({_original(said, value)}) {what} ("{short(specimen, 60)}") and is not compared with it'
        return refuse(why=why, kind=shown)
    if kind == UNCODED:
        return refuse(why=f'is named "{short(observation.name, 30)}" and has no code that is known here', kind=UNCODED)
    if not isinstance(value, Quantity):
        if analyte.words_are_results and isinstance(value, str | Concept):
            words = value if isinstance(value, str) else " ".join(value.words[:1])
            return refuse(why=f'says "{short(words, 40)}"', kind="word")
        given = f'has no readable number ("{short(value, 30)}")' if isinstance(value, str) else ""
        return refuse(why=given or f"has no value {observation.absent_reason}".strip(), kind="unreadable")
    if day is None:
        return refuse(why="has no readable date" if when else "has no date", kind="undated")
    if day > today:
        return refuse(why="is dated in the future", kind="future")
    if kind in analyte.excluded_kinds:
        return refuse(why=analyte.excluded_kinds[kind], kind="excluded")
    number = convert(value, analyte, kind)
    if isinstance(number, Refusal):
        return refuse(why=f"is not used: {number.reason}", kind="unit")
    original = _original(said, value)
    if not analyte.lowest <= number <= analyte.highest:
        limits = f"{analyte.lowest} to {analyte.highest} {analyte.unit}"
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


def _original(said: Quantity | str | Concept | None, value: Quantity | str | Concept | None) -> str:
    """A result as the laboratory gave it."""
    if isinstance(said, str) or not isinstance(value, Quantity):
        words = said if isinstance(said, str) else " ".join(said.words[:1]) if isinstance(said, Concept) else ""
        return short(words, 40)
    return short(f"{value.comparator}{value.value} {value.unit or value.code}".strip(), 40)


def _another_specimen(observation: ChartObservation, analyte: Analyte, kind: str) -> str:
    """The specimen of a result that is not one of this analyte, "" for one that is."""
    if kind == ELSEWHERE:
        return observation.name or observation.specimen or "not named"
    named = observation.specimen or (observation.name if kind == UNCODED else "")
    return named if analyte.not_from and analyte.not_from.search(plain_text(named)) else ""


_WRITTEN = re.compile(r"([<>]=?)?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?\s*([^\d\s].*)?", re.DOTALL)


def _as_number(value: Quantity | str | Concept | None, analyte: Analyte) -> Quantity | str | Concept | None:
    """A number with its unit written as text ("4,500 IU/mL"), or a grade ("2+", "not detected"), as a quantity."""
    words = value.words if isinstance(value, Concept) else (value,) if isinstance(value, str) else ()
    for text in words:
        first = text.casefold().split("(")[0].strip()
        if first in analyte.grades:
            return Quantity(analyte.grades[first], analyte.unit)
        if found := _WRITTEN.fullmatch(text.strip()):
            number = Decimal(found[2].replace(",", "") + (found[3] or ""))
            return Quantity(number, (found[4] or "").strip(), comparator=found[1] or "")
    return value


def _status_remark(status: str) -> str:
    if status in SETTLED:
        return ""
    return status if status in ("preliminary", "registered") else "status not given"
