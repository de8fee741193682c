"""Units: every spelling of the table converts as the table says, and what is not certain is refused."""

import csv
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from math import log10
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdshooks.medicine.codes import Analyte, load_codes
from cdshooks.medicine.units import Refusal, convert
from cdshooks.model import Quantity

MAPPINGS = Path(__file__).parents[1] / "mappings"
ANALYTES = load_codes(MAPPINGS).analytes


def units_table() -> list[dict[str, str]]:
    with (MAPPINGS / "codes" / "units.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ROWS = units_table()
TEST_VALUES = ("0", "0.7", "1", "3.25", "88.4", "1200")


def result(
    value: str, unit: str = "", code: str = "", analyte: str = "creatinine", kind: str = ""
) -> Decimal | Refusal:
    return convert(Quantity(Decimal(value), unit, code, ucum=bool(code)), ANALYTES[analyte], kind)


def reason(value: str, unit: str = "", code: str = "", analyte: str = "creatinine", kind: str = "") -> str:
    found = result(value, unit, code, analyte, kind)
    assert isinstance(found, Refusal), found
    return found.reason


def of_block(block: str, unit: str) -> Analyte | None:
    """An analyte that uses a block of the table with a canonical unit."""
    listed = {row["code"] for row in ROWS if row["concept"] == block}
    names = (block, f"{block}-copies", "hiv-viral-load" if block == "hiv-1-viral-load" else block)
    found = [ANALYTES[name] for name in names if name in ANALYTES and ANALYTES[name].unit == unit]
    assert all(analyte.units.keys() == listed for analyte in found)
    return found[0] if found else None


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 574
    unused = {
        (row["concept"], row["canonical_unit"]) for row in ROWS if not of_block(row["concept"], row["canonical_unit"])
    }
    assert unused == {
        ("bmi", "kg/m2"),
        ("bun", "mg/dL"),
        ("dose", "mg"),
        ("uacr", "mg/g{creat}"),
        ("cmv-viral-load", "none"),
        ("hiv-1-viral-load", "[IU]/mL"),
    }


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['concept']}:{row['code']}" for row in ROWS])
def test_every_row_converts_as_the_table_says(row: dict[str, str]) -> None:
    analyte = of_block(row["concept"], row["canonical_unit"])
    if analyte is None:
        return
    for value in TEST_VALUES:
        for quantity in (Quantity(Decimal(value), row["code"]), Quantity(Decimal(value), "", row["code"], ucum=True)):
            found = convert(quantity, analyte)
            if row["operation"] == "multiply":
                assert isinstance(found, Decimal)
                exact = Fraction(value) * Fraction(row["factor"])
                assert abs(Fraction(found) - exact) <= exact / 10**9
            elif row["operation"] == "log10" and value != "1200":
                assert isinstance(found, Decimal)
                assert log10(found) == pytest.approx(float(value), abs=1e-9)
            elif row["operation"] != "log10":
                assert isinstance(found, Refusal)


@pytest.mark.parametrize("row", [row for row in ROWS if row["canonical_unit"] == "none"], ids=lambda row: row["code"])
def test_not_convertible_rows_are_refused(row: dict[str, str]) -> None:
    for analyte in ("cmv-viral-load", "cmv-viral-load-copies"):
        assert "cannot be converted" in reason("5", row["code"], analyte=analyte)


def test_canonical_units_leave_the_value_as_it_is() -> None:
    for analyte in ANALYTES.values():
        found = convert(Quantity(Decimal("1.90"), analyte.unit), analyte)
        assert str(found) == "1.90"


# --------------------------------------------------------------------------------------------------------------------
# Arithmetic by hand


@pytest.mark.parametrize(
    ("analyte", "value", "unit", "expected"),
    [
        ("creatinine", "88.4", "umol/L", "1"),
        ("creatinine", "176.8", "µmol/L", "2"),
        ("creatinine", "44.2", "mcmol/L", "0.5"),
        ("creatinine", "884", "UMOL/L", "10"),
        ("creatinine", "0.0884", "mmol/L", "1"),
        ("creatinine", "12", "mg/L", "1.2"),
        ("creatinine", "1.2", "MG/DL", "1.2"),
        ("creatinine", "88.4", "nmol/mL", "1"),  # not listed: UCUM
        ("creatinine", "1200", "ug/dL", "1.2"),
        ("weight", "154", "[lb_av]", "69.85322498"),
        ("weight", "154", "lbs", "69.85322498"),
        ("weight", "3250", "g", "3.25"),
        ("weight", "70", "Kg", "70"),
        ("height", "70", "[in_i]", "177.8"),
        ("height", "1.75", "m", "175"),
        ("height", "6", "ft", "182.88"),
        ("anc", "850", "/uL", "0.85"),
        ("anc", "0.85", "K/uL", "0.85"),
        ("anc", "0.85", "10*9/L", "0.85"),
        ("anc", "0.85", "G/L", "0.85"),
        ("anc", "850", "cells/mm3", "0.85"),
        ("platelets", "25", "k/uL", "25"),
        ("haemoglobin", "80", "g/L", "8"),
        ("albumin", "28", "g/L", "2.8"),
        ("calcium-total", "2.5", "mmol/L", "10.0195"),
        ("magnesium", "1", "meq/L", "1.21525"),
        ("potassium", "4.1", "mEq/L", "4.1"),
        ("upcr", "3", "mg/mg", "3000"),
        ("upcr", "100", "mg/mmol", "884"),
        ("urine-protein", "1", "g/L", "100"),
        ("qtc", "0.44", "s", "440"),
        ("cmv-viral-load", "3", "log10 IU/mL", "1000"),
        ("cmv-viral-load", "0", "{Log_IU}/mL", "1"),
        ("cmv-viral-load", "2000", "[IU]/L", "2"),
        ("cmv-viral-load-copies", "4", "log copies/mL", "10000"),
        ("tacrolimus-level", "10", "nmol/L", "8.0402"),
    ],
)
def test_by_hand(analyte: str, value: str, unit: str, expected: str) -> None:
    for found in (result(value, unit, analyte=analyte), result(value, "", unit, analyte=analyte)):
        assert found == Decimal(expected)
        assert "E" not in str(found)


# --------------------------------------------------------------------------------------------------------------------
# Refusals


def test_no_unit_is_refused() -> None:
    assert reason("1.2") == "no unit"
    assert reason("1.2", "  ") == "no unit"


@pytest.mark.parametrize(
    "unit", ["furlong", "mg", "L", "mmHg", "5 ft 10 in", "units", "{unknown}", "mg/dL/h", "%", "10*3/uL", "?"]
)
def test_an_unknown_unit_is_named(unit: str) -> None:
    assert reason("1.2", unit) == f'unknown unit "{unit}"'


@pytest.mark.parametrize(("value", "said"), [("-1", "negative"), ("NaN", "not a number"), ("Infinity", "not a number")])
def test_impossible_numbers(value: str, said: str) -> None:
    assert said in reason(value, "mg/dL")


@pytest.mark.parametrize(
    ("analyte", "unit", "code"),
    [
        ("creatinine", "mg/dL", "umol/L"),
        ("creatinine", "mg/dL", "kg"),
        ("creatinine", "kg", "mg/dL"),
        ("anc", "/uL", "10*3/uL"),
        ("weight", "kg", "[lb_av]"),
        ("height", "cm", "[in_i]"),
        ("cmv-viral-load", "IU/mL", "{Log_IU}/mL"),
        ("cmv-viral-load", "copies/mL", "[IU]/mL"),
    ],
)
def test_unit_and_code_that_disagree(analyte: str, unit: str, code: str) -> None:
    assert reason("3", unit, code, analyte) == f'unit and code disagree: "{code}" and "{unit}"'


@pytest.mark.parametrize(
    ("analyte", "unit", "code"),
    [
        ("creatinine", "micromol/L", "umol/L"),
        ("creatinine", "mg per decilitre", "mg/dL"),  # a printed unit that nobody knows does no harm next to a code
        ("creatinine", "mg/dL", "MGDL"),
        ("anc", "K/uL", "10*3/uL"),
        ("anc", "K/uL", "10*9/L"),
        ("weight", "pounds", "[lb_av]"),
        ("cmv-viral-load", "IU/mL", "[iU]/mL"),
    ],
)
def test_unit_and_code_that_agree(analyte: str, unit: str, code: str) -> None:
    assert isinstance(result("3", unit, code, analyte), Decimal)


def test_kelvin_is_no_thousand() -> None:
    assert reason("350", "K/uL", analyte="cd4-count") == 'unknown unit "K/uL"'


@pytest.mark.parametrize(
    ("analyte", "unit", "said"),
    [
        ("cmv-viral-load", "copies/mL", "cannot be converted to [IU]/mL"),
        ("cmv-viral-load", "log10 copies/mL", "cannot be converted to [IU]/mL"),
        ("cmv-viral-load-copies", "IU/mL", "cannot be converted to {copies}/mL"),
        ("cmv-viral-load", "{geq}/mL", "cannot be converted"),
        ("hiv-viral-load", "[IU]/mL", "cannot be converted"),
        ("creatinine-clearance", "mL/min/{1.73_m2}", "without the body surface area"),
        ("creatinine-clearance", "mL/min/kg", "without the body weight"),
        ("egfr", "mL/min", "without the body surface area"),
        ("egfr", "mL/min/{BSA}", "cannot be converted"),
        ("anc", "%", "without the white cell count"),
        ("cd4-count", "%", "cannot be converted"),
        ("urine-protein", "negative;trace;1+;2+;3+;4+", "cannot be converted"),
        # not listed, and what they mean is not in their dimension
        ("cmv-viral-load", "/mL", "unknown unit"),
        ("cmv-viral-load-copies", "/mL", "unknown unit"),
        ("cmv-viral-load", "{log}/mL", "unknown unit"),
        ("creatinine-clearance", "mL/min/{1.73m2}", "unknown unit"),
        ("magnesium", "ueq/mL", "unknown unit"),
        ("anc", "[IU]/uL", "unknown unit"),
        ("creatinine", "10*99999/dL", "unknown unit"),
    ],
)
def test_refused(analyte: str, unit: str, said: str) -> None:
    assert said in reason("5", unit, analyte=analyte)
    assert said in reason("5", "", unit, analyte=analyte)


def test_a_logarithm_needs_a_unit_that_says_so() -> None:
    assert "the test is a logarithm" in reason("3.4", "IU/mL", analyte="cmv-viral-load", kind="log10-iu-per-ml")
    assert result("3", "log IU/mL", analyte="cmv-viral-load", kind="log10-iu-per-ml") == 1000
    assert result("1.2", "mg/dL", kind="mass") == Decimal("1.2")


@pytest.mark.parametrize("unit", ["log IU/mL", "Log10 IU/mL", "{Log_IU}/mL", "log10 [IU]/mL", "{Log}IU/mL", "lg IU/mL"])
def test_a_unit_that_says_logarithm_is_believed_beside_the_code_of_the_plain_number(unit: str) -> None:
    assert result("3", unit, analyte="cmv-viral-load", kind="iu-per-ml") == 1000


def test_a_pure_number_needs_no_unit() -> None:
    assert result("2.5", "", analyte="inr") == Decimal("2.5")
    assert reason("2.5", "", analyte="upcr") == "no unit"


THOUSANDS = """10*9/L x10(9)/L x10*9/L 10^9/L x10^9/L 10e9/L x10E9/L 10x9/L 10⁹/L ×10⁹/L 10**9/L G/L Gpt/l
Giga/L GI/L /nL 10*3/uL x10(3)/mcL x10E3/uL 10^3/µL 10³/μL 10X3/MCL K/uL K/mcL K/cumm thou/uL thou/mm3
Thousand/uL th/mm3 Tsd./µl 1000/mm³"""
ONES = "/uL /mcL /mm3 /mm³ /cumm cells/mm3 cells/mm^3 cells/mcL cells/cumm {cells}/uL #/uL 10*6/L x10^6/L"


@pytest.mark.parametrize("analyte", ["anc", "platelets", "wbc"])
@pytest.mark.parametrize(
    ("unit", "factor"), [(unit, 1) for unit in THOUSANDS.split()] + [(unit, Decimal("0.001")) for unit in ONES.split()]
)
def test_counts_as_laboratories_write_them(analyte: str, unit: str, factor: Decimal) -> None:
    assert result("3", unit, analyte=analyte) == 3 * factor


@pytest.mark.parametrize("unit", ["10*9", "109/L x", "x10/L", "10*9/mL", "10*12/L", "K", "10(9/L", "10^39/L"])
def test_what_only_looks_like_a_count_is_refused(unit: str) -> None:
    found = result("3", unit, analyte="anc")
    assert isinstance(found, Refusal) or found != 3


def test_an_absurd_logarithm_is_refused() -> None:
    assert "no result" in reason("9999999999", "log10 IU/mL", analyte="cmv-viral-load")


THREADS = """
import threading
from decimal import Decimal
from pathlib import Path
from cdshooks.medicine.codes import load_codes
from cdshooks.medicine.units import convert
from cdshooks.model import Quantity

creatinine = load_codes(Path(r"MAPPINGS")).analytes["creatinine"]
found = []
units = ["ug/dL", "ng/mL", "nmol/mL", "g/dL", "kg/m3", "mol/m3"] * 4
ask = lambda unit: found.append((unit, convert(Quantity(Decimal(1), unit), creatinine)))
work = [threading.Thread(target=ask, args=(unit,)) for unit in units]
[thread.start() for thread in work]
[thread.join() for thread in work]
assert len(found) == len(units), found
assert len(set(found)) == 6, found
assert dict(found)["ng/mL"] == Decimal("0.0001"), found
"""


def test_many_threads_get_the_same_answers_from_a_fresh_start() -> None:
    script = THREADS.replace("MAPPINGS", str(MAPPINGS))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --------------------------------------------------------------------------------------------------------------------
# Properties


@given(st.sampled_from(sorted(ANALYTES)), st.decimals(0, 10**6, places=3), st.text(max_size=30), st.text(max_size=30))
def test_never_raises(analyte: str, value: Decimal, unit: str, code: str) -> None:
    assert isinstance(convert(Quantity(value, unit, code), ANALYTES[analyte]), Decimal | Refusal)


@given(
    st.text("acdeghklmnopstu0123456789./*%-^'", min_size=1, max_size=12),
    st.sampled_from(["creatinine", "anc", "weight", "qtc"]),
)
def test_nothing_that_looks_like_a_unit_raises(unit: str, analyte: str) -> None:
    assert isinstance(convert(Quantity(Decimal(1), unit), ANALYTES[analyte]), Decimal | Refusal)


@given(st.sampled_from(ROWS), st.decimals("0.001", 10**5, places=3), st.decimals("0.001", 10**5, places=3))
def test_conversion_keeps_order_and_proportion(row: dict[str, str], one: Decimal, other: Decimal) -> None:
    analyte = of_block(row["concept"], row["canonical_unit"])
    if analyte is None or row["operation"] != "multiply":
        return
    first, second = (convert(Quantity(value, row["code"]), analyte) for value in (one, other))
    assert isinstance(first, Decimal)
    assert isinstance(second, Decimal)
    assert (
        abs(Fraction(first) * Fraction(other) - Fraction(second) * Fraction(one))
        <= Fraction(first) * Fraction(other) / 10**8
    )


@pytest.mark.parametrize("analyte", ANALYTES.values(), ids=ANALYTES)
def test_plausible_ranges_are_design_choices_in_the_canonical_unit(analyte: Analyte) -> None:
    assert 0 <= analyte.lowest < analyte.highest
    assert analyte.basis.startswith("design choice")


def test_creatinine_range_is_the_settled_one() -> None:
    creatinine = ANALYTES["creatinine"]
    assert (creatinine.lowest, creatinine.highest, creatinine.needs_exact) == (Decimal("0.2"), Decimal(20), True)
