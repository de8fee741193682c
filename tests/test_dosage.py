"""Reading doses: hand-made tables of what real orders say, and properties that hold for every order."""

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.dosage import load_dose_words, read_regimen, regimen_wording
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.model import Coding, Concept, Dosage, DoseEntry, Product, Quantity, Regimen, Timing, Unread

HERE = Path(__file__).parent
MAPPINGS = HERE.parent / "mappings"
WORDS = load_dose_words(MAPPINGS)
PRODUCTS = {
    "tablet_450_mg": Product("valganciclovir", "RxNorm 313566", "tablet", Decimal(450)),
    "solution_50_mg_per_ml": Product("valganciclovir", "its name", "solution", mg_per_ml=Decimal(50)),
    "injection_500_mg_vial": Product("ganciclovir", "its name", "injection", Decimal(500), Decimal(50)),
    "unknown_product": Product("valganciclovir", "its name"),
    "eye_gel": Product("ganciclovir", "its name", "gel", systemic=False),
}
TABLET = PRODUCTS["tablet_450_mg"]
SYSTEMS = {
    "": "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation",
    "v2": "http://terminology.hl7.org/CodeSystem/v2-0335",
}

Result = Regimen | Unread | None


def sig(text: str, product: Product = TABLET) -> Result:
    return read_regimen((Dosage(text=text),), product, WORDS)


# --------------------------------------------------------------------------------------------------------------------
# The tables


def _numbers(text: str, convert: Any) -> tuple[Any, Any]:
    low, _, high = text.partition("..")
    return convert(low), convert(high or low)


def check(result: Result, expected: list[Any], sure: bool) -> None:
    """Compare a reading with `[dose, per day, what else]`, `[refused, words]` or `[no dose]`."""
    expected = [str(part) for part in expected]
    if expected[0] == "no dose":
        assert result is None
        return
    if expected[0] == "refused":
        assert isinstance(result, Unread), result
        assert expected[1] in result.reason
        return
    dose, per_day, *rest = expected
    assert isinstance(result, Regimen), result
    number, unit = dose.rsplit(" ", 1)
    assert ((result.low, result.high), result.unit) == (_numbers(number, Decimal), unit)
    if per_day == "none":
        assert (result.per_day, result.per_day_high) == (None, None)
    else:
        low, high = _numbers(per_day, lambda text: Decimal(Fraction(text).numerator) / Fraction(text).denominator)
        assert (result.per_day, result.per_day_high) == (low, None if low == high else high)
    assert result.after_dialysis == ("after dialysis" in rest)
    assert result.as_needed == ("as needed" in rest)
    assert ("once" in rest) == (result.per_day is None and not result.after_dialysis)
    assert result.sure is sure
    assert result.wording
    assert len(result.read_from) >= 2


SIGS = [(product, *row) for product, rows in read_yaml(HERE / "dosage" / "sigs.yaml").items() for row in rows]


@pytest.mark.parametrize(("product", "text", "expected"), [(row[0], row[1], list(row[2:])) for row in SIGS])
def test_sig(product: str, text: str | int, expected: list[Any]) -> None:
    check(sig(str(text), PRODUCTS[product]), expected, sure=False)


def _entry(written: str) -> DoseEntry:
    match = re.fullmatch(r"(?:([a-z-]+): )?(<)?([^ .]*(?:\.\d+)?)(\.\.)?(\S*)(?: ([^!]*)(?:!(.*))?)?", written)
    assert match is not None
    kind, comparator, low, is_range, high, unit, code = match.groups(default="")

    def quantity(value: str) -> Quantity | None:
        return Quantity(Decimal(value), unit, code, comparator, bool(code)) if value else None

    return DoseEntry(quantity(low), quantity(high) if is_range else quantity(low), kind)


def _timing(given: dict[str, Any]) -> Timing:
    often, _, every = str(given.get("timing", "/")).partition("/")
    number, _, unit = every.partition(" ")
    frequency, period = (
        [Decimal(part) if part else None for part in text.partition("-")[::2]] for text in (often, number)
    )
    system, _, code = str(given.get("code", "")).rpartition(" ")
    if str(given.get("code", "")).startswith("text "):
        concept: Concept | None = Concept(text=given["code"].removeprefix("text "))
    else:
        concept = Concept((Coding(SYSTEMS[system], code),)) if code else None
    return Timing(
        frequency=frequency[0],
        frequency_max=frequency[1],
        period=period[0],
        period_max=period[1],
        period_unit=unit,
        count=Decimal(given["count"]) if "count" in given else None,
        day_of_week=tuple(given.get("days", ())),
        time_of_day=tuple(given.get("times", ())),
        when=tuple(given.get("when", ())),
        code=concept,
        starts=str(given.get("starts", "")),
        ends=str(given.get("ends", "")),
        events=given.get("events", 0),
        lasts_days=Decimal(given["lasts"]) if "lasts" in given else None,
    )


def _most(written: str) -> tuple[DoseEntry, Timing]:
    amount, _, span = written.partition(" in ")
    return _entry(amount), _timing({"timing": f"1/{span}"})


def _dosage(given: dict[str, Any]) -> Dosage:
    keys = {"doses", "timing", "code", "count", "days", "times", "when", "starts", "ends", "events", "text", "prn"}
    assert given.keys() <= keys | {"sequence", "rate", "unreadable", "lasts", "most"}
    rate = _entry(given["rate"]).low if "rate" in given else None
    return Dosage(
        text=given.get("text", ""),
        sequence=given.get("sequence"),
        timing=_timing(given),
        as_needed=given.get("prn", False),
        doses=tuple(_entry(str(written)) for written in given.get("doses", ())),
        rate=rate,
        most=_most(given["most"]) if "most" in given else None,
        unreadable=tuple(given.get("unreadable", ())),
    )


ORDERS = read_yaml(HERE / "dosage" / "orders.yaml")


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order["case"])
def test_order(order: dict[str, Any]) -> None:
    expected = order["reads"] if isinstance(order["reads"], list) else [order["reads"]]
    dosages = [_dosage(one) for one in order["given"]]
    # the order of the instructions matters only where nothing else tells it
    for arrangement in [tuple(dosages)] if order.get("listed") else permutations(dosages):
        doses_turned = tuple(replace(one, doses=one.doses[::-1]) for one in arrangement)  # nor that of the entries
        for each in (arrangement, doses_turned, (*arrangement, *arrangement)):  # nor saying it twice
            result = read_regimen(tuple(each), PRODUCTS[order.get("product", "tablet_450_mg")], WORDS)
            check(result, expected, order.get("sure", True))
            later = [step.regimen for step in result.later] if isinstance(result, Regimen) else []
            assert len(later) == len(order.get("later", ())), later
            for step, wanted in zip(later, order.get("later", ()), strict=True):
                check(step, wanted, step.sure if isinstance(step, Regimen) else False)


def test_read_from_names_each_part() -> None:
    dosage = Dosage(doses=(_entry("2 tablet"),), timing=_timing({"timing": "2/1 d"}))
    regimen = read_regimen((dosage,), TABLET, WORDS)
    assert isinstance(regimen, Regimen)
    assert regimen.read_from == (
        "dose: 2 tablet x 450 mg (strength from RxNorm 313566)",
        "timing: structured timing",
    )
    assert regimen.wording == "900 mg every 12 h"


def test_disagreement_names_both_doses() -> None:
    result = read_regimen((Dosage(doses=(_entry("900 mg"), _entry("1 tablet"))),), TABLET, WORDS)
    assert isinstance(result, Unread)
    assert "900 mg" in result.reason
    assert "450 mg" in result.reason


def test_reason_is_one_short_line() -> None:
    result = sig("900 weird\n" + "very long text " * 50 + "\x1b[31m")
    assert isinstance(result, Unread)
    assert len(result.reason) < 200
    assert result.reason.isprintable()


@pytest.mark.parametrize(
    ("per_day", "words"),
    [
        ("1", "once daily"),
        ("2", "every 12 h"),
        ("3", "every 8 h"),
        ("3/2", "every 16 h"),
        ("4/3", "every 18 h"),
        ("5", "5 times daily"),
        ("2/3", "every 36 h"),
        ("1/2", "every 48 h"),
        ("1/3", "every 72 h"),
        ("1/7", "once weekly"),
        ("2/7", "twice weekly"),
        ("3/7", "3 times weekly"),
        ("5/7", "5 days a week"),
        ("10/7", "10 times weekly"),
        ("1/14", "every 2 weeks"),
        ("1/30", "every 30 days"),
    ],
)
def test_frequency_wording(per_day: str, words: str) -> None:
    rate = Fraction(per_day)
    number = Decimal(rate.numerator) / Decimal(rate.denominator)
    assert regimen_wording(Decimal("2.50"), Decimal("2.5"), "mg/kg", number, False) == f"2.5 mg/kg {words}"


def test_wording_of_events_and_ranges() -> None:
    low, high = Decimal("450"), Decimal("900.0")
    assert regimen_wording(low, high, "mg", None, True) == "450-900 mg after each dialysis"
    assert regimen_wording(high, high, "mg", None, False) == "900 mg once"
    assert regimen_wording(low, low, "mg", Decimal(3) / 7, True) == "450 mg 3 times weekly after dialysis"


# --------------------------------------------------------------------------------------------------------------------
# Properties

mg = st.decimals(Decimal("0.05"), Decimal(5000), places=2)
RATES = "1 2 3 4 6 8 1/2 1/3 2/3 3/2 4/3 1/7 2/7 3/7 4/7 5/7 6/7 10/7 1/14 1/21 1/10"
rates = st.sampled_from([Fraction(text) for text in RATES.split()])


def _structured(value: Decimal, unit: str, hours: int) -> Dosage:
    quantity = Quantity(value, unit)
    timing = Timing(frequency=Decimal(1), period=Decimal(hours), period_unit="h")
    return Dosage(doses=(DoseEntry(quantity, quantity),), timing=timing)


def _read(dosage: Dosage) -> tuple[Any, ...]:
    result = read_regimen((dosage,), TABLET, WORDS)
    assert isinstance(result, Regimen), result
    return result.low, result.high, result.unit, result.per_day, result.wording, result.sure


@given(mg, st.integers(1, 200))
def test_the_unit_does_not_matter(value: Decimal, hours: int) -> None:
    milligrams = _read(_structured(value, "mg", hours))
    assert _read(_structured(value / 1000, "g", hours)) == milligrams
    assert _read(_structured(value * 1000, "ug", hours)) == milligrams
    assert milligrams[0] == value


@given(mg, st.sampled_from(["mg", "mg/kg", "mg/m2"]), rates, st.booleans())
def test_a_wording_reads_back(value: Decimal, unit: str, rate: Fraction, after_dialysis: bool) -> None:
    per_day = Decimal(rate.numerator) / Decimal(rate.denominator)
    result = sig(regimen_wording(value, value, unit, per_day, after_dialysis))
    assert isinstance(result, Regimen), result
    read = (result.low, result.high, result.unit, result.per_day, result.after_dialysis)
    assert read == (value, value, unit, per_day, after_dialysis)


@given(mg, st.booleans())
def test_a_wording_of_an_event_reads_back(value: Decimal, after_dialysis: bool) -> None:
    result = sig(regimen_wording(value, value, "mg", None, after_dialysis))
    assert isinstance(result, Regimen), result
    assert (result.low, result.per_day, result.after_dialysis) == (value, None, after_dialysis)


READABLE = [(row[0], str(row[1])) for row in SIGS if row[2] not in ("no dose", "refused")]


def _meaning(result: Result) -> Any:
    return replace(result, read_from=()) if isinstance(result, Regimen) else type(result)


@given(st.sampled_from(READABLE), st.randoms(use_true_random=False))
def test_case_and_spaces_do_not_matter(case: tuple[str, str], chance: Any) -> None:
    product, text = case
    turned = "".join(letter.upper() if chance.random() < 0.5 else letter.lower() for letter in text)
    spaced = "  " + re.sub(" ", lambda _: chance.choice([" ", "  ", "\t", "\n", "\u00a0"]), turned) + " "
    assert _meaning(sig(spaced, PRODUCTS[product])) == _meaning(sig(text, PRODUCTS[product]))


@given(st.text(max_size=60))
def test_arbitrary_text_never_raises(text: str) -> None:
    for product in PRODUCTS.values():
        assert isinstance(sig(text, product), Regimen | Unread | None)


PIECES = """1 2 900 450 0.5 1,000 1/2 - to ( ) / mg mg/kg mL tab tablets of x daily BID q 12 h every other day week for
in then and or max up not after dialysis MWF 0900 09:00 at am pm once 50 mg/mL divided doses each per ½ < prn"""
pieces = st.sampled_from(PIECES.split())


@given(st.lists(pieces, max_size=12))
def test_dose_like_text_is_read_or_refused_never_dropped(parts: list[str]) -> None:
    text = " ".join(parts)
    result = sig(text)
    if result is None:
        assert not re.search(r"\b(900|450) mg\b", text)
    elif isinstance(result, Regimen):
        assert result.low > 0
        assert result.high >= result.low
        assert not result.sure


any_number = st.decimals().filter(lambda value: not value.is_snan())  # infinite or no number at all, too
quantities = st.builds(
    Quantity,
    any_number,
    st.sampled_from(["", "mg", "g", "tablet", "mL", "mg/day", "x"]),
    st.sampled_from(["", "mg", "{pill}", "1"]),
    st.sampled_from(["", "<"]),
)
maybe_number = st.none() | any_number | st.integers(0, 9).map(Decimal)
timings = st.builds(
    Timing,
    frequency=maybe_number,
    frequency_max=maybe_number,
    period=maybe_number,
    period_max=maybe_number,
    period_unit=st.sampled_from(["", "h", "d", "wk", "mo", "x"]),
    count=maybe_number,
    day_of_week=st.lists(st.sampled_from(["mon", "tue", "x"])).map(tuple),
    time_of_day=st.lists(st.sampled_from(["09:00:00", "21:00:00", ""])).map(tuple),
    when=st.lists(st.sampled_from(["MORN", "EVE", "C", "x"])).map(tuple),
    code=st.none() | st.builds(Concept, text=st.sampled_from(["", "BID", "x", "q12h prn"])),
    starts=st.sampled_from(["", "2026-11-21", "x"]),
    events=st.integers(0, 3),
)
dosages = st.builds(
    Dosage,
    text=st.sampled_from(["", "900 mg BID", "x", "then 9"]),
    sequence=st.none() | st.integers(1, 3),
    timing=timings,
    doses=st.lists(st.builds(DoseEntry, st.none() | quantities, st.none() | quantities), max_size=3).map(tuple),
)


@given(st.lists(dosages, max_size=3))
def test_arbitrary_structures_never_raise(given_dosages: list[Dosage]) -> None:
    for product in PRODUCTS.values():
        assert isinstance(read_regimen(tuple(given_dosages), product, WORDS), Regimen | Unread | None)


# --------------------------------------------------------------------------------------------------------------------
# The files


def _copy(folder: Path, name: str, change: tuple[str, str]) -> Path:
    for each in ("sig.yaml", "codes/timing.csv"):
        text = (MAPPINGS / each).read_text(encoding="utf-8")
        if each == name:
            assert change[0] in text
            text = text.replace(*change, 1)
        target = folder / each
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sig.yaml", ("agree_within_percent: 1", "agree_with_percent: 1"), "mappings/sig.yaml: agree_within_percent"),
        ("sig.yaml", ("largest_number: 1000000", "largest_number: many"), "mappings/sig.yaml: largest_number"),
        ("sig.yaml", ("dose: strength", "dose: guess"), "mappings/sig.yaml: doses"),
        ("sig.yaml", ("unit: wk", "unit: decade"), "no such period: decade"),
        ("codes/timing.csv", (",2,1,d,", ",often,1,d,"), "mappings/codes/timing.csv: line"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, name: str, change: tuple[str, str], message: str) -> None:
    with pytest.raises(KnowledgeError, match=re.escape(message)):
        load_dose_words(_copy(tmp_path, name, change))


def test_an_absent_table_is_refused(tmp_path: Path) -> None:
    folder = _copy(tmp_path, "sig.yaml", ("kind: sig", "kind: sig"))
    (folder / "codes" / "timing.csv").unlink()
    with pytest.raises(KnowledgeError, match=r"timing\.csv: cannot be read"):
        load_dose_words(folder)


def test_tables_are_large_enough() -> None:
    assert len(SIGS) + len(ORDERS) >= 150
