"""How a dose is given, read from words and fields: rate, duration, dilution, ways, and what only looks like them."""

from decimal import Decimal
from importlib.resources import files
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.dosage import Giving, load_dose_words, read_giving, read_stated
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.model import ChartOrder, Dosage, Product, Quantity
from cdshooks.wire.fhir import read_chart
from cdshooks.wire.hooks import read_call

WORDS = load_dose_words(files("cdshooks.mappings"))


def of(text: str) -> Giving:
    return read_giving((Dosage(text=text),), (), WORDS)


def ordered(dosage: dict[str, Any], kind: str = "MedicationRequest") -> ChartOrder:
    drug = {"medicationCodeableConcept": {"text": "foscarnet"}}
    order = {"resourceType": kind, "id": "1", "status": "draft", **drug, "dosageInstruction": [dosage]}
    context = {"patientId": "p", "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": order}]}}
    body = orjson.dumps({"hook": "order-sign", "hookInstance": "1", "context": context})
    call = read_call("cmv-order-sign", body, max_depth=64, max_entries=100, prefetch_keys={})
    return read_chart(call).judged[0]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("Infuse over 1 hour", [60]),
        ("over one hour", [60]),
        ("over an hour", [60]),
        ("over half an hour", [30]),
        ("over 90 minutes by central line", [90]),
        ("over 1.5-2 h", [90]),
        ("over 1 h 30 min", [90]),
        ("over at least 2 hours", [120]),
        ("1-hour infusion", [60]),
        ("infuse for 45 min", [45]),
        ("infusion time: 60 min", [60]),
        ("60 mg/kg q8h over 14 days", []),
        ("every 12 hours", []),
        ("Prehydrate with 1 L NS over 1 h, infuse foscarnet over 2 h", [120]),
        ("1000 mL saline over 1 h before", []),
        ("over 1 hour with hydration", [60]),
        ("probenecid 2 g 3 hours before", []),
    ],
)
def test_durations(text: str, minutes: list[int]) -> None:
    assert [duration.shortest for duration in of(text).durations] == minutes


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("at 1.5 mg/kg/min", [("90.0", "mg/kg/h")]),
        ("1 mg/kg per minute", [("60", "mg/kg/h")]),
        ("rate 120 mL/h", [("120", "mL/h")]),
        ("infuse at 2 mL/min", [("120", "mL/h")]),
        ("if CrCl below 30 mL/min", []),
        ("70 mg/min", [("4200", "mg/h")]),
    ],
)
def test_rates_in_words(text: str, rates: list[tuple[str, str]]) -> None:
    assert [(str(rate.value), rate.unit) for rate in of(text).rates] == rates


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("IV push over 5 min", {"bolus"}),
        ("slow i.v. push", {"bolus"}),
        ("do not give as bolus", set()),
        ("never bolus, IM or SC", set()),
        ("no bolus. Peripheral line", {"peripheral"}),
        ("1 L saline bolus first", {"saline"}),
        ("bolus not allowed", set()),
        ("give i.m.", {"intramuscular"}),
        ("via PICC (peripherally inserted central catheter)", {"central"}),
        ("take on an empty stomach", {"without-food"}),
        ("do not take on an empty stomach", set()),
        ("with or without food", {"without-food"}),
        ("do not crush, split or chew", set()),
        ("crush and dissolve in water", {"crushed"}),
        ("via NG tube", {"tube"}),
        ("use a DEHP-free set", set()),
        ("through a DEHP set", {"dehp"}),
        ("diluted to 12 mg/mL", {"diluted"}),
    ],
)
def test_ways(text: str, ways: set[str]) -> None:
    assert of(text).ways == ways


INJECTED = {"bolus", "intramuscular", "subcutaneous"}


@pytest.mark.parametrize(
    "text",
    [
        "350 mg in 100 mL over 60 minutes. Do not give as IV push, IM or SC.",
        "never IM, SC or IV push",
        "do not give IM, intrathecal or SC",
        "Not for IM, SC, or bolus injection",
        "No IV push/IM/SC",
        "Contraindicated: IM/SC.",
        "contraindicated: IV push, IM",
        "IM contraindicated",
        "IM/SC administration is contraindicated",
        "IV push or IM injection must not be given",
        "IM, SC: prohibited",
        "IV push should be avoided",
        "avoid IM",
        "avoid bolus or push",
        "not for bolus",
        "no IV push; infuse over 1 h",
        "over 1 h (not as a bolus)",
        "neither IM nor SC",
        "infuse over 1 h rather than IV push",
        "infuse over 1 hour, then flush line with 10 mL saline IV push",
        "flush with NS IV push before and after",
        "over 1 h; saline flush IV push",
        "premedicate with diphenhydramine 25 mg IV push",
        "over 1 h via port-a-cath (SC port)",
        "via implanted subcutaneous port",
        "through a subcutaneously tunneled catheter over 1 h",
        "via right SC line",
        "per IM team",
    ],
)
def test_what_is_denied_or_said_of_something_else_is_no_way_of_giving(text: str) -> None:
    assert not of(text).ways & INJECTED


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("give as IV push", {"bolus"}),
        ("350 mg in 20 mL NS IV push", {"bolus"}),
        ("do not dilute, give as IV push", {"bolus"}),
        ("do not infuse but give as IV push", {"bolus"}),
        ("no filter, IV push over 2 min", {"bolus"}),
        ("flush line, give IV push", {"bolus"}),
        ("flush line then IV push", {"bolus"}),
        ("give IV push and flush with saline", {"bolus"}),
        ("IV push, IM if no access", {"bolus", "intramuscular"}),
        ("350 mg IM", {"intramuscular"}),
        ("no IV access; give SC", {"subcutaneous"}),
        ("not orally. Inject SC", {"subcutaneous"}),
        ("contraindicated drugs stopped, give SC", {"subcutaneous"}),
        ("heparin stopped, then IM", {"intramuscular"}),
        ("no IM; IV push", {"bolus"}),
    ],
)
def test_an_injection_that_is_meant_is_found(text: str, ways: set[str]) -> None:
    assert of(text).ways & INJECTED == ways


def test_dilutions() -> None:
    assert of("in 250 mL D5W").added_ml == (Decimal(250),)
    assert of("dilute to 500 mL").total_ml == (Decimal(500),)
    assert of("to a final volume of 100 mL").total_ml == (Decimal(100),)
    assert of("final concentration 10 mg/mL").mg_per_ml == (Decimal(10),)


@pytest.mark.parametrize(
    ("value", "unit", "reason"),
    [
        ("1", "gtt/min", "no unit of a rate"),
        ("1", "", "no unit of a rate"),
        ("0", "mL/h", "usable"),
        ("-3", "mL/h", "usable"),
    ],
)
def test_a_rate_that_cannot_be_read_is_named(value: str, unit: str, reason: str) -> None:
    found = read_giving((Dosage(rate=Quantity(Decimal(value), unit, unit)),), (), WORDS)
    assert found.rates == ()
    assert reason in found.unread[0]


def test_unit_and_code_of_a_rate_disagree() -> None:
    found = read_giving((Dosage(rate=Quantity(Decimal(1), "mg/kg/min", "mg/kg/h")),), (), WORDS)
    assert found.rates == ()
    assert "two units" in found.unread[0]


@pytest.mark.parametrize(
    ("rate", "read"),
    [
        ({"rateQuantity": {"value": 0.75, "unit": "mg/kg/min"}}, ("45.00", "mg/kg/h")),
        (
            {"rateRatio": {"numerator": {"value": 500, "unit": "mL"}, "denominator": {"value": 2, "unit": "h"}}},
            ("250", "mL/h"),
        ),
        (
            {"rateRange": {"low": {"value": 1, "unit": "mL/min"}, "high": {"value": 2, "unit": "mL/min"}}},
            ("120", "mL/h"),
        ),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_rates_of_every_shape(rate: dict[str, Any], read: tuple[str, str], nested: bool) -> None:
    dosages = ordered({"doseAndRate": [rate]} if nested else rate).dosages
    (found,) = read_giving(dosages, (), WORDS).rates
    assert (str(found.value), found.unit, found.firm) == (*read, True)


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        ("infuse over 2 h with 1 L NaCl 0.9% prehydration", ["1000"]),
        ("Prehydrate with 750 mL saline. Infuse over 2 h", ["750"]),
        ("hydration 250 mL before and 250 mL after", ["250", "250"]),
        ("in 500 mL of glucose 5 % over 2 h", []),
        ("adequate hydration", []),
    ],
)
def test_volumes_beside_the_drug(text: str, beside: list[str]) -> None:
    assert [str(volume) for volume in of(text).beside_ml] == beside
    assert [str(volume) for volume in read_giving((), (text,), WORDS).beside_ml] == beside


@pytest.mark.parametrize(
    ("dosage", "mg", "ml", "per_day"),
    [
        ({"text": "2 g 3 h before, then 1 g at 2 h and 1 g at 8 h"}, ["2000", "1000"], [], []),
        ({"text": "4 tablets before, 2 tablets after"}, ["2000", "1000"], [], []),
        ({"text": "as directed"}, [], [("250", None)], []),
        ({"text": "1 litre before"}, [], [("1000", None)], []),
        (
            {
                "timing": {"repeat": {"frequency": 1, "period": 6, "periodUnit": "h"}},
                "doseAndRate": [{"doseQuantity": {"value": 500, "unit": "mL"}}],
            },
            [],
            [("500", "4")],
            [],
        ),
        ({"doseAndRate": [{"rateQuantity": {"value": 100, "unit": "mL/h"}}]}, [], [], ["2400"]),
    ],
)
def test_what_is_stated_at_once(
    dosage: dict[str, Any], mg: list[str], ml: list[tuple[str, str | None]], per_day: list[str]
) -> None:
    """The name of the product tells a volume where the dosage has none."""
    product = Product("probenecid", "its name", strength_mg=Decimal(500))
    found = read_stated(ordered(dosage).dosages, ("Saline 250 mL bag",), product, WORDS)
    assert sorted({f"{one.normalize():f}" for one in found.mg}, reverse=True) == mg
    assert [(f"{one.normalize():f}", often and f"{often:f}") for one, often in found.ml] == (
        ml or ([("250", None)] if not per_day else [])
    )
    assert [f"{one.normalize():f}" for one in found.ml_per_day] == per_day


@pytest.mark.parametrize(
    "rate",
    [
        {"rateQuantity": {"unit": "mL/h"}},
        {"rateRatio": {"numerator": {"value": 1, "unit": "mg"}}},
        {"rateRatio": {"numerator": {"value": 1, "unit": "mg"}, "denominator": {"value": 0, "unit": "h"}}},
        {"rateRange": {"low": {"value": 1, "unit": "mL/h"}}},
        {"rateQuantity": "fast"},
    ],
)
def test_a_rate_without_a_number_is_named(rate: dict[str, Any]) -> None:
    found = read_giving(ordered({"doseAndRate": [rate]}).dosages, (), WORDS)
    assert found.rates == ()
    assert "has no number" in found.unread[0]


def test_words_beside_the_text_are_read() -> None:
    dosage = {
        "text": "900 mg daily",
        "additionalInstruction": [{"text": "crush tablets"}],
        "patientInstruction": "on an empty stomach",
        "method": {"coding": [{"display": "Push - dosing instruction imperative"}]},
    }
    assert read_giving(ordered(dosage).dosages, ("via PEG",), WORDS).ways == {
        "crushed",
        "without-food",
        "bolus",
        "tube",
    }


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120))
def test_any_text_is_read(text: str) -> None:
    found = of(text)
    assert all(duration.shortest > 0 for duration in found.durations)
    assert all(rate.unit.endswith("/h") for rate in found.rates)


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("foscarnet.yaml", "way: bolus", "way: bolos", "names the way 'bolos'"),
        ("foscarnet.yaml", "[heart-failure,", "[hart-failure,", "names the problem 'hart-failure'"),
        ("cidofovir.yaml", "drugs: [probenecid]", "drugs: [probenacid]", "names the drug 'probenacid'"),
        ("cidofovir.yaml", "at_least: {upcr", "at_least: {upcrr", "names the result 'upcrr'"),
        ("allergies.yaml", "orders: [letermovir]", "orders: [letermovirr]", "names the antiviral 'letermovirr'"),
        ("pregnancy.yaml", "analyte: hcg-quantitative", "analyte: hcg", "names the result 'hcg'"),
        ("pregnancy.yaml", "unit: m[IU]/mL", "unit: IU/mL", "not in IU/mL; convert"),
        ("letermovir.yaml", "way: no-filter", "way: no-filtre", "names the way 'no-filtre'"),
        ("letermovir.yaml", "days: 28", "days: four weeks", "days"),
        ("cidofovir.yaml", "mg_at_once: 2000", "ml: 2000", "give either `ml`"),
        ("foscarnet.yaml", "- {ml: 500}", "- {}", "give either `ml`"),
        ("pregnancy.yaml", "[hysterectomy,", "[hysterectomi,", "names the problem 'hysterectomi'"),
        ("immunosuppression.yaml", "drugs: [mycophenolate]", "drugs: [mycofenolate]", "names the drug 'mycofenolate'"),
        ("ganciclovir.yaml", "routes: [oral]", "routes: [orral]", "names the route 'orral'"),
    ],
)
def test_a_misspelt_name_stops_the_start(tmp_path: Any, file: str, old: str, new: str, says: str) -> None:
    from shutil import copytree

    folder = tmp_path / "mappings"
    copytree(str(files("cdshooks.mappings")), folder)
    path = folder / "rules" / "safety" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(KnowledgeError, match=says):
        load_knowledge(folder)
