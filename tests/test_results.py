"""Results of one analyte: the newest usable one, read only as far as somebody looks, and what was not used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cdshooks.medicine.codes import Analyte
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.orders import short
from cdshooks.medicine.results import AnalyteResults, read_lab
from cdshooks.model import ChartComponent, Concept, Lab, Missing, Quantity, Unused, Why

TODAY = date(2026, 11, 21)
UTC_ZONE = ZoneInfo("UTC")
NONE = Missing(Why.NONE_ON_FILE)


@dataclass(slots=True)
class Observed:
    """An observation that remembers whether its value was read."""

    ref: str
    effective: str = "2026-11-20"
    number: str = "1.0"
    status: str = "final"
    issued: str = ""
    unit: str = "mg/dL"
    comparator: str = ""
    other_value: str | Concept | None = None
    subject: str = ""
    absent_reason: str = ""
    code: Concept = field(default_factory=Concept)
    name: str = ""
    specimen: str = ""
    laboratory: str = ""
    interpretation: tuple[Concept, ...] = ()
    components: tuple[ChartComponent, ...] = ()
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    parts: tuple[Any, ...] = ()
    codes: tuple[tuple[str, str], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    reads: int = 0

    @property
    def value(self) -> Quantity | str | Concept | None:
        self.reads += 1
        if not self.number:
            return self.other_value
        return Quantity(Decimal(self.number), self.unit, self.unit, self.comparator, bool(self.unit))


@pytest.fixture
def creatinine(knowledge: Knowledge) -> Analyte:
    return knowledge.codes.analytes["creatinine"]


def series(
    analyte: Analyte, *observations: Observed, state: Missing = NONE, zone: tzinfo = UTC_ZONE, kind: str = ""
) -> AnalyteResults:
    return AnalyteResults(analyte, [(observed, kind) for observed in observations], state, TODAY, zone)


def refs(labs: tuple[Lab, ...]) -> list[str]:
    return [lab.ref for lab in labs]


def newest(results: AnalyteResults) -> str:
    found = results.newest()
    return found.ref if isinstance(found, Lab) else str(found)


# --------------------------------------------------------------------------------------------------------------------
# Which is the newest


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (Observed("a", "2026-11-19"), Observed("b", "2026-11-20")),
        (Observed("a", "2026-11-20T08:00:00Z"), Observed("b", "2026-11-20T08:00:01Z")),
        (Observed("a", "2026-11-20T09:00:00+02:00"), Observed("b", "2026-11-20T08:00:00Z")),
        (Observed("a", "2026-11-20"), Observed("b", "2026-11-20T00:00:01Z")),  # a date counts from midnight
        (Observed("a", "2026-11"), Observed("b", "2026-11-02")),  # a month counts from its first day
        (Observed("a", "2026"), Observed("b", "2026-01-02")),
        (Observed("a", "", issued="2026-11-19T08:00:00Z"), Observed("b", "2026-11-20")),
        (Observed("a", issued="2026-11-20T08:00:00Z"), Observed("b", issued="2026-11-20T09:00:00Z")),
        (Observed("a"), Observed("b", issued="2026-11-20T09:00:00Z")),
        (Observed("a"), Observed("b")),  # equal in everything: by the id, so that the answer stays the same
    ],
)
def test_newest_first_and_ties_by_when_they_were_issued(
    older: Observed, newer: Observed, backwards: bool, creatinine: Analyte
) -> None:
    given = (newer, older) if backwards else (older, newer)
    assert newest(series(creatinine, *given)) == "b"


def test_the_day_is_that_of_the_site(creatinine: Analyte) -> None:
    evening = Observed("a", "2026-11-20T23:30:00-05:00")
    for hours, day in ((0, date(2026, 11, 21)), (-5, date(2026, 11, 20))):
        found = series(creatinine, evening, zone=timezone(timedelta(hours=hours))).newest()
        assert isinstance(found, Lab)
        assert found.on == day


def test_later_today_is_not_the_future(creatinine: Analyte) -> None:
    assert newest(series(creatinine, Observed("a", "2026-11-21T23:59:00Z"))) == "a"
    assert series(creatinine, Observed("a", "2026-11-22T00:00:00Z")).unused[0].kind == "future"


# --------------------------------------------------------------------------------------------------------------------
# Only as far as somebody looks


def long_record(count: int) -> list[Observed]:
    return [Observed(f"r{i:02d}", (TODAY - timedelta(days=i)).isoformat()) for i in range(count)]


def test_the_newest_alone_is_read(creatinine: Analyte) -> None:
    record = long_record(50)
    results = series(creatinine, *reversed(record))
    assert sum(observed.reads for observed in record) == 0
    assert newest(results) == "r00"
    assert [observed.ref for observed in record if observed.reads] == ["r00"]


def test_nothing_is_read_twice(creatinine: Analyte) -> None:
    record = long_record(20)
    results = series(creatinine, *record)
    for _ in range(3):
        assert newest(results) == "r00"
        results.since(TODAY - timedelta(days=5))
    assert {observed.reads for observed in record} == {0, 1}


def test_since_reads_to_its_day_and_one_further(creatinine: Analyte) -> None:
    record = long_record(50)
    results = series(creatinine, *record)
    assert refs(results.since(TODAY - timedelta(days=7))) == [f"r{i:02d}" for i in range(8)]
    assert [observed.ref for observed in record if observed.reads][-1] == "r08"


def test_since_can_look_further_back_and_nearer_again(creatinine: Analyte) -> None:
    results = series(creatinine, *long_record(10))
    assert refs(results.since(TODAY)) == ["r00"]
    assert len(results.since(TODAY - timedelta(days=365))) == 10
    assert refs(results.since(TODAY - timedelta(days=1))) == ["r00", "r01"]
    assert results.since(TODAY + timedelta(days=1)) == ()


def test_since_leaves_out_what_cannot_be_used(creatinine: Analyte) -> None:
    record = long_record(5)
    record[2].status = "entered-in-error"
    assert refs(series(creatinine, *record).since(TODAY - timedelta(days=3))) == ["r00", "r01", "r03"]


@pytest.mark.parametrize("state", [NONE, Missing(Why.NOT_SENT), Missing(Why.FETCH_FAILED)])
def test_without_results_the_state_of_the_group_is_the_answer(state: Missing, creatinine: Analyte) -> None:
    results = series(creatinine, state=state)
    assert results.newest() == state
    assert results.since(date(2000, 1, 1)) == ()
    assert results.unused == ()


# --------------------------------------------------------------------------------------------------------------------
# What was not used


def test_what_stands_before_the_newest_is_named_and_what_is_older_is_not(creatinine: Analyte) -> None:
    results = series(
        creatinine,
        Observed("old and broken", "2026-11-01", number="900"),
        Observed("good", "2026-11-18"),
        Observed("withdrawn", "2026-11-19", status="entered-in-error"),
        Observed("without unit", "2026-11-20", unit=""),
    )
    assert not results.met
    assert newest(results) == "good"
    assert [entry.ref for entry in results.unused] == ["without unit", "withdrawn"]
    assert results.met == results.unused
    results.since(date(2026, 10, 1))
    assert [entry.ref for entry in results.met] == ["without unit", "withdrawn", "old and broken"]


def test_a_result_without_a_date_stands_first_because_it_may_be_the_newest(creatinine: Analyte) -> None:
    results = series(creatinine, Observed("dated"), Observed("undated", ""), Observed("odd", "yesterday"))
    assert newest(results) == "dated"
    assert [(entry.ref, entry.kind) for entry in results.unused] == [("undated", "undated"), ("odd", "undated")]


def test_asking_for_the_unused_finds_the_newest_itself(creatinine: Analyte) -> None:
    results = series(creatinine, Observed("a", status="cancelled"), Observed("b", "2026-11-01"))
    assert [entry.ref for entry in results.unused] == ["a"]


def test_when_nothing_is_usable_all_is_named_and_the_newest_says_why(creatinine: Analyte) -> None:
    results = series(
        creatinine, Observed("a", "2026-11-19", number="99"), Observed("b", "2026-11-20", comparator="<", number="0.5")
    )
    found = results.newest()
    assert isinstance(found, Missing)
    assert found.why is Why.UNUSABLE
    assert found.detail == 'serum creatinine of 2026-11-20 is only a bound ("<0.5 mg/dL")'
    assert [entry.kind for entry in results.unused] == ["bound", "implausible"]


def test_a_test_still_pending_is_neither_a_result_nor_a_defect(creatinine: Analyte) -> None:
    results = series(creatinine, Observed("a", number="", status="registered"))
    assert results.newest() == NONE
    assert results.unused == ()


@pytest.mark.parametrize(
    ("observed", "kind", "why"),
    [
        (Observed("r", status="entered-in-error"), "withdrawn", "was withdrawn (entered-in-error)"),
        (Observed("r", status="cancelled"), "withdrawn", "was withdrawn (cancelled)"),
        (Observed("r", number=""), "unreadable", "has no value"),
        (Observed("r", number="", absent_reason="clotted"), "unreadable", "has no value clotted"),
        (Observed("r", number="", other_value="see note"), "unreadable", 'has no readable number ("see note")'),
        (Observed("r", ""), "undated", "has no date"),
        (Observed("r", "20.11.2026"), "undated", "has no readable date"),
        (Observed("r", "2026-11-22"), "future", "is dated in the future"),
        (Observed("r", unit=""), "unit", "is not used: no unit"),
        (Observed("r", unit="stone"), "unit", 'is not used: unknown unit "stone"'),
        (Observed("r", number="-1"), "unit", "is not used: the value is negative (-1)"),
        (Observed("r", number="20.1"), "implausible", "is implausible: 20.1 mg/dL (plausible: 0.2 to 20 mg/dL)"),
        (Observed("r", number="0.19"), "implausible", "is implausible: 0.19 mg/dL (plausible: 0.2 to 20 mg/dL)"),
        (Observed("r", comparator="<"), "bound", 'is only a bound ("<1.0 mg/dL")'),
    ],
)
def test_each_reason_not_to_use_a_result(observed: Observed, kind: str, why: str, creatinine: Analyte) -> None:
    found = read_lab(observed, creatinine, "", TODAY, UTC_ZONE)
    assert isinstance(found, Unused)
    assert (found.kind, found.why, found.analyte, found.ref) == (kind, why, "creatinine", "r")
    assert found.on == ("" if kind == "undated" else observed.effective)


@pytest.mark.parametrize("number", ["0.2", "20"])
def test_the_ends_of_the_plausible_range_are_plausible(number: str, creatinine: Analyte) -> None:
    assert isinstance(read_lab(Observed("r", number=number), creatinine, "", TODAY, UTC_ZONE), Lab)


def test_kinds_that_are_excluded_by_the_analyte(knowledge: Knowledge) -> None:
    for analyte in knowledge.codes.analytes.values():
        for kind, reason in analyte.excluded_kinds.items():
            found = read_lab(Observed("r", unit=analyte.unit), analyte, kind, TODAY, UTC_ZONE)
            assert isinstance(found, Unused)
            assert (found.kind, found.why) == ("excluded", reason)


# --------------------------------------------------------------------------------------------------------------------
# What is used


def test_a_result_keeps_what_was_sent_beside_the_converted_value(creatinine: Analyte) -> None:
    found = read_lab(Observed("r", number="176.8", unit="umol/L"), creatinine, "", TODAY, UTC_ZONE)
    assert isinstance(found, Lab)
    assert abs(found.value - 2) < Decimal("0.0001")  # 176.8 / 88.4
    assert (found.unit, found.original, found.on, found.at) == ("mg/dL", "176.8 umol/L", date(2026, 11, 20), None)


def test_a_unit_that_is_only_coded_is_shown_by_its_code(creatinine: Analyte) -> None:
    class Coded(Observed):
        @property
        def value(self) -> Quantity:
            return Quantity(Decimal("1.9"), "", "mg/dL", "", True)

    found = read_lab(Coded("r"), creatinine, "", TODAY, UTC_ZONE)
    assert isinstance(found, Lab)
    assert found.original == "1.9 mg/dL"


@pytest.mark.parametrize(
    ("status", "remark"),
    [
        ("final", ""),
        ("amended", ""),
        ("corrected", ""),
        ("appended", ""),
        ("preliminary", "preliminary"),
        ("registered", "registered"),
        ("", "status not given"),
        ("unknown", "status not given"),
    ],
)
def test_a_status_that_is_not_settled_is_remarked(status: str, remark: str, creatinine: Analyte) -> None:
    found = read_lab(Observed("r", status=status), creatinine, "", TODAY, UTC_ZONE)
    assert isinstance(found, Lab)
    assert found.remark == remark


def test_a_date_known_in_part_is_remarked(creatinine: Analyte) -> None:
    found = read_lab(Observed("r", "2026-11", status="preliminary"), creatinine, "", TODAY, UTC_ZONE)
    assert isinstance(found, Lab)
    assert (found.on, found.remark) == (date(2026, 11, 1), "preliminary; date known in part")


def test_a_comparator_is_kept_where_a_bound_will_do(knowledge: Knowledge) -> None:
    load = next(
        a for key, a in knowledge.codes.analytes.items() if key.startswith("cmv-viral-load") and not a.needs_exact
    )
    found = read_lab(Observed("r", number="34.5", comparator="<", unit=load.unit), load, "", TODAY, UTC_ZONE)
    assert isinstance(found, Lab)
    assert (found.comparator, found.original) == ("<", f"<34.5 {load.unit}")


@pytest.mark.parametrize("word", ["Detected", Concept((), "Detected")])
def test_a_word_is_no_number_and_kept_for_those_analytes_that_have_words(
    word: str | Concept, knowledge: Knowledge
) -> None:
    analytes = knowledge.codes.analytes.values()
    wordy = [analyte for analyte in analytes if analyte.words_are_results and "detected" not in analyte.grades]
    assert wordy
    for analyte in wordy:
        found = read_lab(Observed("r", number="", other_value=word), analyte, "", TODAY, UTC_ZONE)
        assert isinstance(found, Unused)
        assert (found.kind, found.why) == ("word", 'says "Detected"')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.9 mg/dL", "1.9"),
        ("1.9mg/dL", "1.9"),
        (" 2 mg/dL ", "2"),
        ("176.8 umol/L", "2.0"),
    ],
)
def test_a_number_with_its_unit_written_as_text_is_read(text: str, value: str, creatinine: Analyte) -> None:
    found = read_lab(Observed("r", number="", other_value=text), creatinine, "", TODAY, UTC_ZONE)
    assert isinstance(found, Lab)
    assert abs(found.value - Decimal(value)) < Decimal("0.0001")
    assert found.original == text.strip()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.9", "unit"),  # no unit is no unit, in text as well
        ("1,9 mg/dL", "unit"),  # a decimal comma is not guessed at
        ("1.2.2026", "unit"),
        ("2-3 mg/dL", "unit"),
        ("10^4 mg/dL", "unit"),
        ("1,900 mg/dL", "implausible"),
        ("<1.9 mg/dL", "bound"),
        ("about 1.9 mg/dL", "unreadable"),
        ("-1.9 mg/dL", "unreadable"),
        ("1.9 mg/dL 2.1 mg/dL", "unit"),
        ("", "unreadable"),
    ],
)
def test_text_that_is_not_plainly_one_number_is_refused(text: str, kind: str, creatinine: Analyte) -> None:
    found = read_lab(Observed("r", number="", other_value=text), creatinine, "", TODAY, UTC_ZONE)
    assert isinstance(found, Unused)
    assert found.kind == kind


def test_thousands_in_text_are_read(knowledge: Knowledge) -> None:
    load = next(a for key, a in knowledge.codes.analytes.items() if key.startswith("cmv-viral-load"))
    written = Observed("r", number="", other_value=f">1,234,500.5 {load.unit}")
    found = read_lab(written, load, "", TODAY, UTC_ZONE)
    assert isinstance(found, Lab)
    assert (found.comparator, found.value) == (">", Decimal("1234500.5"))


def test_grades_count_as_the_number_they_stand_for(knowledge: Knowledge) -> None:
    graded = [analyte for analyte in knowledge.codes.analytes.values() if analyte.grades]
    assert graded
    for analyte in graded:
        for word, number in analyte.grades.items():
            for text in (word, word.upper(), f"{word} (as printed)"):
                found = read_lab(Observed("r", number="", other_value=text), analyte, "", TODAY, UTC_ZONE)
                assert isinstance(found, Lab), (analyte.key, text)
                assert (found.value, found.original) == (number, short(text, 40))
