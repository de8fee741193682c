"""Codes and names: every code of the tables is reachable, nasty names are read rightly or not at all."""

import csv
import random
import shutil
import time
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.codes import RXNORM, Codes, load_codes, normal_system
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.model import Coding, Concept, Product

MAPPINGS = Path(__file__).parents[1] / "mappings"
CODES = load_codes(MAPPINGS)
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"


def table(name: str) -> list[dict[str, str]]:
    with (MAPPINGS / "codes" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def coded(system: str, *codes: str, text: str = "") -> Concept:
    return Concept(tuple(Coding(system, code) for code in codes), text)


def rxnorm(*codes: str, text: str = "") -> Concept:
    return coded(RXNORM, *codes, text=text)


def product_of(concept: Concept, form: str = "") -> Product:
    found = CODES.product(concept, Concept(text=form) if form else None)
    assert found is not None
    return found


# --------------------------------------------------------------------------------------------------------------------
# Every code of the tables is reachable


def test_every_loinc_code_is_reachable() -> None:
    rows = table("loinc.csv")
    assert len(rows) == 462
    for row in rows:
        assert CODES.laboratory(coded(LOINC, row["code"])) == ((row["concept"], row["kind"]),)


def test_every_loinc_code_of_an_analyte_gives_it() -> None:
    reached = Counter(found[0].key for row in table("loinc.csv") if (found := CODES.analyte(coded(LOINC, row["code"]))))
    assert reached.keys() == CODES.analytes.keys()
    assert reached["creatinine"] == 7


def test_every_rxnorm_code_is_reachable() -> None:
    rows = table("rxnorm.csv")
    assert len(rows) == 2015
    for row in rows:
        assert CODES.medicines(rxnorm(row["code"])) == ((row["concept"], row["systemic"] != "no"),)
        assert (CODES.product(rxnorm(row["code"]), None) is not None) == (row["concept"] in CODES.drugs)


def test_every_condition_code_is_reachable() -> None:
    meant = defaultdict(set)
    for row in table("conditions.csv"):
        meant[row["system"], row["code"]].add((row["concept"], row["kind"], row["modality"]))
    assert len(meant) == 1080
    for (system, code), meanings in meant.items():
        assert set(CODES.concepts(coded(system, code))) == meanings


def test_unconfirmed_codes_of_analytes_are_excluded_or_remarked() -> None:
    for row in table("loinc.csv"):
        found = CODES.analyte(coded(LOINC, row["code"]))
        if found and row["confirmed"] != "yes":
            analyte, kind = found
            assert kind in analyte.excluded_kinds or kind in analyte.remarks, row["code"]


def test_unconfirmed_and_excluded_codes_are_not_asked_for() -> None:
    asked = [code for codes in CODES.loinc_by_group.values() for code in codes]
    confirmed = {row["code"] for row in table("loinc.csv") if row["confirmed"] == "yes"}
    assert len(asked) == len(set(asked))
    assert set(asked) <= confirmed
    assert "75292-3" not in asked  # usual weight
    assert {"2160-0", "29463-7", "8302-2", "1751-7", "2890-2", "11042-9"} <= set(CODES.loinc_by_group["kidney"])
    assert max(len(codes) for codes in CODES.loinc_by_group.values()) < 80


def test_no_dialysis_code_without_a_modality() -> None:
    known = {"haemodialysis", "peritoneal", "continuous", "unspecified"}
    current = CODES.groups["dialysis_current"]
    rows = [row for row in table("conditions.csv") if row["concept"] in current]
    assert {row["modality"] for row in rows} == known
    assert len(rows) == 49


# --------------------------------------------------------------------------------------------------------------------
# Results


@pytest.mark.parametrize("system", ["http://loinc.org", "http://loinc.org/", "HTTP://LOINC.ORG", "https://loinc.org"])
@pytest.mark.parametrize("code", ["2160-0", " 2160-0 "])
def test_loinc_system_spellings(system: str, code: str) -> None:
    found = CODES.analyte(coded(system, code))
    assert found is not None
    assert (found[0].key, found[1]) == ("creatinine", "mass")


def test_loinc_as_oid() -> None:
    assert CODES.analyte(coded("urn:oid:2.16.840.1.113883.6.1", "777-3")) is not None


@pytest.mark.parametrize(
    "concept",
    [
        coded(LOINC, "2161-8"),  # urine creatinine
        coded("http://example.org/lab", "2160-0"),
        coded("", "2160-0"),
        coded(LOINC, "CREAT", text="Creatinine"),
        Concept(text="serum creatinine"),
        Concept(),
        coded(LOINC, "2160-0", "777-3"),  # two tests
        coded(LOINC, "751-8", "770-8"),  # a count and a percentage
        coded(LOINC, "59574-4"),  # BMI percentile
        coded(LOINC, "752-6"),  # neutrophils, specimen not known
        coded(LOINC, "8634-8"),  # QT, not QTc
        coded(LOINC, "105880-9"),  # CMV DNA, unit property not seen
    ],
)
def test_no_analyte(concept: Concept) -> None:
    assert CODES.analyte(concept) is None


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("72493-0", "cmv-viral-load"),
        ("72494-8", "cmv-viral-load"),
        ("100675-8", "cmv-viral-load-whole-blood"),
        ("100676-6", "cmv-viral-load-whole-blood"),
        ("30247-1", "cmv-viral-load-copies"),
        ("54206-8", "cmv-viral-load-copies"),
        ("29604-6", "cmv-viral-load-copies-whole-blood"),
        ("20447-9", "hiv-viral-load"),
        ("11042-9", "creatinine-dialysis"),
        ("51620-3", "creatinine-dialysis"),
        ("14682-9", "creatinine"),
        ("12195-4", "creatinine-clearance-indexed"),
        ("2164-2", "creatinine-clearance"),
        ("8636-3", "qtc"),
    ],
)
def test_series_that_are_not_comparable_are_different_analytes(code: str, key: str) -> None:
    found = CODES.analyte(coded(LOINC, code))
    assert found is not None
    assert found[0].key == key


def test_a_kind_that_excludes_or_remarks_wins_over_a_plain_one() -> None:
    usual = CODES.analyte(coded(LOINC, "29463-7", "75292-3"))
    stated = CODES.analyte(coded(LOINC, "3141-9", "3142-7"))
    assert usual is not None
    assert usual[1] in usual[0].excluded_kinds
    assert stated is not None
    assert stated[0].remarks[stated[1]] == "stated by the patient"


# --------------------------------------------------------------------------------------------------------------------
# Products by name: (name, drug or None, form, mg per unit, mg per mL). Drug "" is a contradiction, which has to show.

Row = tuple[str, str | None, str, int | None, int | None]
NAMES: list[Row] = [
    ("VALGANCICLOVIR 450 MG PO TABS", "valganciclovir", "tablet", 450, None),
    ("valGANciclovir 450 mg tablet", "valganciclovir", "tablet", 450, None),
    ("Valganciclovir Hydrochloride 450mg film-coated tablets", "valganciclovir", "tablet", 450, None),
    ("VALCYTE 450 MG TABLET", "valganciclovir", "tablet", 450, None),
    ("Valcyte® 450 mg Tab", "valganciclovir", "tablet", 450, None),
    ("valganciclovir 450 MG Oral Tablet [Valcyte]", "valganciclovir", "tablet", 450, None),
    ("Valcyte (valganciclovir) 450 mg tablet", "valganciclovir", "tablet", 450, None),
    ("Valcyte/valganciclovir 450 mg tablet", "valganciclovir", "tablet", 450, None),
    ("valganciclovir", "valganciclovir", "", None, None),
    ("valganciclovir 450 mg", "valganciclovir", "", 450, None),
    ("valganciclovir450mg", "valganciclovir", "", 450, None),
    ("VALGANCICLOVIR_450_MG_TAB", "valganciclovir", "tablet", 450, None),
    ("valganciclovir\u00a0450\u2009mg tablet", "valganciclovir", "tablet", 450, None),
    ("val\u00adganciclovir 450 mg tablet", "valganciclovir", "tablet", 450, None),
    ("valganciclovir 900 mg", "valganciclovir", "", None, None),  # a dose, not a strength
    ("valganciclovir 900 mg tablet", "valganciclovir", "tablet", None, None),
    ("valganciclovir 900 mg (2 x 450 mg tablets)", "valganciclovir", "tablet", None, None),
    ("valganciclovir 0.45 g tablet", "valganciclovir", "tablet", 450, None),
    ("valganciclovir 0,45 g tablet", "valganciclovir", "tablet", 450, None),
    ("valganciclovir 450 mg/tablet", "valganciclovir", "tablet", 450, None),
    ("valganciclovir 50 MG/ML Oral Solution", "valganciclovir", "solution", None, 50),
    ("VALGANCICLOVIR 50 MG/ML PO SOLR", "valganciclovir", "solution", None, 50),
    ("valganciclovir 250 mg/5 mL oral suspension", "valganciclovir", "solution", None, 50),
    ("valganciclovir 250 mg per 5 mL solution", "valganciclovir", "solution", None, 50),
    ("valganciclovir 50 mg / mL powder for oral solution", "valganciclovir", "solution", None, 50),
    ("valganciclovir 60 mg/mL oral suspension (compounded)", "valganciclovir", "solution", None, 60),
    ("valganciclovir oral liquid", "valganciclovir", "solution", None, None),
    ("Valgancyclovir 450 mg tab", "valganciclovir", "tablet", 450, None),
    ("ganciclovir", "ganciclovir", "", None, None),
    ("Gancyclovir", "ganciclovir", "", None, None),
    ("ganciclovir 500 mg injection", "ganciclovir", "injection", 500, None),
    ("GANCICLOVIR SODIUM 500 MG IV SOLR", "ganciclovir", "injection", 500, None),
    ("ganciclovir sodium 500 mg vial", "ganciclovir", "injection", 500, None),
    ("Cytovene-IV 500 MG Injection", "ganciclovir", "injection", 500, None),
    ("CYTOVENE 500 mg intravenous solution", "ganciclovir", "injection", 500, None),
    ("ganciclovir 500 MG/10 ML vial", "ganciclovir", "injection", 500, 50),
    ("ganciclovir 500 mg/10 mL (50 mg/mL) injection", "ganciclovir", "injection", 500, 50),
    ("ganciclovir 500 mg/250 mL (2 mg/mL) IV bag", "ganciclovir", "injection", 500, 2),
    ("ganciclovir 500 mg in sodium chloride 0.9% 250 mL IVPB", "ganciclovir", "injection", 500, 2),
    ("ganciclovir/sodium chloride 2 mg/mL IV", "ganciclovir", "injection", None, 2),
    ("ganciclovir 5 mg/kg IV", "ganciclovir", "injection", None, None),
    ("ganciclovir 350 mg IVPB", "ganciclovir", "injection", None, None),
    ("ganciclovir 250 MG Oral Capsule", "ganciclovir", "capsule", 250, None),
    ("ganciclovir 500 mg caps", "ganciclovir", "capsule", 500, None),
    ("ganciclovir 500 mg", "ganciclovir", "", 500, None),
    ("ganciclovir 0.15 % ophthalmic gel", "ganciclovir", "gel", None, None),
    ("Zirgan 0.15% gel", "ganciclovir", "gel", None, None),
    ("Vitrasert 4.5 mg intravitreal implant", "ganciclovir", "implant", None, None),
    ("ganciclovir 2 mg/0.1 mL intravitreal injection", "ganciclovir", "intravitreal", None, 20),
    ("foscarnet 24 MG/ML IV SOLN", "foscarnet", "injection", None, 24),
    ("Foscarnet-Sodium 24 mg/mL infusion", "foscarnet", "injection", None, 24),
    ("foscarnet sodium 6,000 mg/250 mL vial", "foscarnet", "injection", None, 24),
    ("FOSCAVIR 6 g/250 mL", "foscarnet", "", None, 24),
    ("5 ML cidofovir 75 MG/ML Injection [Vistide]", "cidofovir", "injection", 375, 75),
    ("cidofovir 375 mg/5 mL vial", "cidofovir", "injection", 375, 75),
    ("cidofovir 1% topical cream", "cidofovir", "topical", None, None),
    ("brincidofovir tablet", "brincidofovir", "tablet", None, None),
    ("Tembexa oral suspension", "brincidofovir", "solution", None, None),
    ("maribavir 200 mg tablets", "maribavir", "tablet", 200, None),
    ("LIVTENCITY 200 MG TAB", "maribavir", "tablet", 200, None),
    ("24 ML letermovir 20 MG/ML Injection", "letermovir", "injection", 480, 20),
    ("12 mL letermovir 20 mg/mL vial", "letermovir", "injection", 240, 20),
    ("Prevymis 480 mg tablet", "letermovir", "tablet", 480, None),
    ("letermovir 120 MG Oral Pellet", "letermovir", "pellet", 120, None),
    # not a CMV antiviral
    ("aciclovir 400 mg tablet", None, "", None, None),
    ("acyclovir 800 mg", None, "", None, None),
    ("valaciclovir 500 mg", None, "", None, None),
    ("famciclovir 250 mg", None, "", None, None),
    ("tenofovir 300 mg", None, "", None, None),
    ("adefovir", None, "", None, None),
    ("xganciclovir", None, "", None, None),
    ("ganciclovirum", None, "", None, None),
    ("ganciclovir-resistant CMV", None, "", None, None),
    ("Ganciclovir resistance testing", None, "", None, None),
    ("ganciclovir level", None, "", None, None),
    ("Foscarnet allergy", None, "", None, None),
    ("Cytogam", None, "", None, None),
    ("mycophenolate 500 mg", None, "", None, None),
    ("", None, "", None, None),
    # contradictions
    ("ganciclovir / dexamethasone eye drops", "", "", None, None),
    ("ganciclovir + valganciclovir", "", "", None, None),
    ("ganciclovir or valganciclovir per protocol", "", "", None, None),
    ("foscarnet/ganciclovir", "", "", None, None),
]


ONLY = ", the only strength sold"


def the_only_ones(drug: str, form: str) -> tuple[Decimal | None, Decimal | None]:
    """Strength and density of a drug that is sold in one only; None where there are several."""
    sold = [entry for name, entry in CODES.drugs[drug].forms.items() if entry.sold and form in ("", name)]
    strengths = {one for entry in sold for one in entry.strengths_mg}
    densities = {one for entry in sold for one in entry.mg_per_ml}
    return (
        strengths.pop() if len(strengths) == 1 else None,
        densities.pop() if len(densities) == 1 else None,
    )


@pytest.mark.parametrize(
    ("name", "drug", "form", "strength", "density"), NAMES, ids=[row[0] or "empty" for row in NAMES]
)
@pytest.mark.parametrize("where", ["text", "display"])
def test_names(
    name: str, drug: str | None, form: str, strength: Decimal | int | None, density: Decimal | int | None, where: str
) -> None:
    concept = Concept(text=name) if where == "text" else Concept((Coding("http://example.org/formulary", "1", name),))
    found = CODES.product(concept, None)
    if drug is None:
        assert found is None
        return
    assert found is not None
    assert found.drug == drug
    if drug:
        if strength is None and density is None and ONLY in found.recognised_by:
            strength, density = the_only_ones(drug, form)
        assert (found.form, found.strength_mg, found.mg_per_ml) == (form, strength, density)
        assert found.systemic == (form not in {"gel", "implant", "intravitreal", "topical"})
        assert where in found.recognised_by


def test_the_table_of_names_is_long_enough() -> None:
    assert len(NAMES) >= 60
    assert {row[1] for row in NAMES} >= CODES.drugs.keys()


@given(st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_letter_case_and_spaces_do_not_matter(row: Row, shuffle: random.Random) -> None:
    letters = (shuffle.choice((str.upper, str.lower))(char) if char.isascii() else char for char in row[0])
    name = "".join(letters).replace(" ", shuffle.choice((" ", "  ", "\t")))
    plain, changed = CODES.product(Concept(text=row[0]), None), CODES.product(Concept(text=f" {name} "), None)
    assert plain == changed


@given(st.text(max_size=80))
def test_no_text_raises(text: str) -> None:
    CODES.product(Concept(text=text), Concept(text=text))
    CODES.concepts(Concept(text=text))
    CODES.analyte(Concept((Coding(text, text, text),), text))


# --------------------------------------------------------------------------------------------------------------------
# Products by code


@pytest.mark.parametrize(
    ("code", "drug", "form", "strength", "density"),
    [
        ("313566", "valganciclovir", "tablet", 450, None),
        ("284587", "valganciclovir", "tablet", 450, None),
        ("314007", "ganciclovir", "capsule", 250, None),
        ("200206", "ganciclovir", "capsule", 500, None),
        ("1732140", "ganciclovir", "injection", None, None),
        ("4678", "ganciclovir", "", None, None),
        ("863558", "valganciclovir", "solution", None, None),
        ("211248", "cidofovir", "injection", 375, 75),
        ("1988661", "letermovir", "injection", 480, 20),
        ("2693189", "letermovir", "pellet", 20, None),
        ("2586079", "maribavir", "tablet", 200, None),
    ],
)
def test_rxnorm(code: str, drug: str, form: str, strength: Decimal | int | None, density: Decimal | int | None) -> None:
    found = product_of(rxnorm(code))
    assumed = ONLY if strength is None and density is None and ONLY in found.recognised_by else ""
    if assumed:
        strength, density = the_only_ones(drug, form)
    assert (found.drug, found.form, found.strength_mg, found.mg_per_ml) == (drug, form, strength, density)
    assert found.recognised_by == f"RxNorm {code}{assumed}"
    assert found.systemic


@pytest.mark.parametrize(
    ("code", "strength", "density"),
    [("275891", 450, 50), ("863558", None, 50), ("4678", 500, None), ("1734376", None, 24), ("2693189", 20, None)],
)
def test_a_strength_is_assumed_only_where_one_is_sold(code: str, strength: int | None, density: int | None) -> None:
    found = product_of(rxnorm(code))
    assert (found.strength_mg, found.mg_per_ml) == (strength, density)


@pytest.mark.parametrize("system", [f"{RXNORM}/", RXNORM.upper(), "urn:oid:2.16.840.1.113883.6.88"])
def test_rxnorm_system_spellings(system: str) -> None:
    assert product_of(coded(system, "313566")).drug == "valganciclovir"


@pytest.mark.parametrize("code", ["388052", "220910"])
def test_local_products_are_not_systemic(code: str) -> None:
    assert not product_of(rxnorm(code)).systemic


def test_a_code_that_says_less_takes_strength_and_form_from_the_name() -> None:
    found = product_of(rxnorm("275891", text="valganciclovir 450 mg tablet"))
    assert (found.form, found.strength_mg) == ("tablet", Decimal(450))
    assert found.recognised_by == "RxNorm 275891, strength from the name"


def test_codes_at_several_levels_are_merged() -> None:
    found = product_of(rxnorm("275891", "304959", "313566"))
    assert (found.drug, found.form, found.strength_mg) == ("valganciclovir", "tablet", Decimal(450))


def test_a_strength_that_the_coded_form_does_not_have_is_not_taken() -> None:
    found = product_of(rxnorm("863558", text="valganciclovir 450 mg"))  # the code is the oral solution
    assert (found.form, found.strength_mg) == ("solution", None)


def test_two_strengths_leave_the_strength_open() -> None:
    found = product_of(rxnorm("1988671", "1988675"))
    assert (found.drug, found.form, found.strength_mg) == ("letermovir", "tablet", None)


def test_the_form_of_a_medication_resource_counts() -> None:
    assert product_of(rxnorm("4678"), "Powder for solution for injection").form == "injection"
    assert product_of(Concept(text="valganciclovir 450 mg"), "Tablet, film coated").form == "tablet"
    assert not product_of(rxnorm("4678"), "eye gel").systemic


def test_snomed_product_code() -> None:
    found = product_of(coded(SNOMED, "78025001"))
    assert (found.drug, found.recognised_by) == ("ganciclovir", f"SNOMED CT 78025001{ONLY}")


@pytest.mark.parametrize(
    "concept",
    [
        rxnorm("4678", "275891"),
        rxnorm("1732140", "388052"),  # injection and eye gel
        Concept(text="valganciclovir / dexamethasone"),
        Concept((Coding("urn:x", "1", "ganciclovir"),), "valganciclovir"),
    ],
)
def test_contradictions_are_visible(concept: Concept) -> None:
    found = product_of(concept)
    assert found.drug == ""
    assert " and " in found.recognised_by


def test_the_code_decides_and_what_names_say_against_it_is_kept() -> None:
    found = product_of(rxnorm("313566", text="ganciclovir 500 mg IV"))
    assert (found.drug, found.form, found.systemic) == ("valganciclovir", "tablet", True)
    assert found.strength_mg == Decimal(450)
    assert found.another == 'ganciclovir (name "ganciclovir" in text)'
    assert product_of(rxnorm("313566", text="Zirgan")).systemic
    found = product_of(rxnorm("313566", text="valganciclovir / dexamethasone"))
    assert (found.drug, found.another, found.beside) == ("valganciclovir", "", '"dexamethasone"')
    found = product_of(rxnorm("313566", text="valganciclovir, was on ganciclovir"))
    assert (found.drug, found.another, found.beside) == ("valganciclovir", "", "")


def test_a_known_code_of_another_drug_contradicts_a_name() -> None:
    tacrolimus = next(row["code"] for row in table("rxnorm.csv") if row["concept"] == "tacrolimus")
    assert CODES.product(rxnorm(tacrolimus, text="tacrolimus 1 mg"), None) is None
    assert product_of(rxnorm(tacrolimus, text="valganciclovir")).drug == ""


def test_a_name_that_holds_the_coded_drug_may_mention_another() -> None:
    assert product_of(rxnorm("313566", text="valganciclovir (step down from ganciclovir IV)")).drug == "valganciclovir"


def test_an_unknown_code_leaves_it_to_the_name() -> None:
    found = product_of(rxnorm("99999999", text="Prevymis 240 mg tablet"))
    assert (found.drug, found.strength_mg, found.recognised_by) == (
        "letermovir",
        Decimal(240),
        'name "prevymis" in text',
    )
    assert CODES.product(rxnorm("99999999"), None) is None


@given(
    st.lists(st.sampled_from(["275891", "304959", "313566", "284587", "4678", "388052", "0"]), min_size=1), st.randoms()
)
def test_the_order_of_codings_does_not_matter(codes: list[str], shuffle: random.Random) -> None:
    codings = [Coding(RXNORM, code, f"valganciclovir {index * 150} mg") for index, code in enumerate(codes)]
    mixed = codings.copy()
    shuffle.shuffle(mixed)
    for concept, other in [(Concept(tuple(codings), "x"), Concept(tuple(mixed), "x"))]:
        assert CODES.product(concept, None) == CODES.product(other, None)


@given(
    st.permutations(["29463-7", "75292-3", "3142-7", "3141-9"]), st.permutations(["Z99.2", "N18.6", "T86.11", "B25.81"])
)
def test_the_order_of_other_codings_does_not_matter(loinc: list[str], icd: list[str]) -> None:
    assert CODES.analyte(coded(LOINC, *loinc)) == CODES.analyte(coded(LOINC, *sorted(loinc)))
    assert CODES.concepts(coded(ICD, *icd)) == CODES.concepts(coded(ICD, *sorted(icd)))


def test_default_routes() -> None:
    routes = {key: drug.default_route for key, drug in CODES.drugs.items()}
    assert routes["valganciclovir"] == {"tablet": "oral", "solution": "oral", "": "oral"}
    assert routes["ganciclovir"] == {"injection": "intravenous", "capsule": "oral", "": "intravenous"}
    assert routes["foscarnet"][""] == "intravenous"


# --------------------------------------------------------------------------------------------------------------------
# Conditions


@pytest.mark.parametrize(
    ("system", "code", "concept"),
    [
        (ICD, "Z94.0", "transplant-kidney"),
        (ICD, "Z940", "transplant-kidney"),
        (ICD, "z94.0", "transplant-kidney"),
        ("http://hl7.org/fhir/sid/icd-10", "Z94.0", "transplant-kidney"),
        ("urn:oid:2.16.840.1.113883.6.90", "Z94.0", "transplant-kidney"),
        (ICD, "B25.81", "cmv-disease-general"),
        (ICD, "B25.0", "cmv-pneumonitis"),
        (ICD, "T86.10XA", "transplant-kidney"),
        (ICD, "T45.1X5A", "immunosuppressant-adverse-effect"),
        (SNOMED, "737295003", "transplant-kidney"),
        ("http://snomed.info/sct/731000124108", "737295003", "transplant-kidney"),
        ("urn:oid:2.16.840.1.113883.6.96", "105502003", "dialysis-dependence"),
        ("http://hl7.org/fhir/sid/icd-10-pcs", "5A1D90Z", "dialysis"),
    ],
)
def test_condition_codes(system: str, code: str, concept: str) -> None:
    assert [meaning.concept for meaning in CODES.concepts(coded(system, code))] == [concept]


@pytest.mark.parametrize(
    ("system", "code"), [(ICD, "Z94"), (ICD, "B2"), (ICD, ""), (ICD, "Z16.39"), (SNOMED, "1"), ("", "Z94.0")]
)
def test_unknown_condition_codes(system: str, code: str) -> None:
    assert CODES.concepts(coded(system, code)) == ()


SAYS_MORE: list[tuple[str, str, str, set[str]]] = [
    (ICD, "N18.6", "End stage renal disease", {"esrd"}),
    (ICD, "N18.6", "End stage renal disease on haemodialysis", {"esrd", "dialysis:haemodialysis"}),
    (ICD, "N18.6", "End stage renal disease (on hemodialysis)", {"esrd", "dialysis:haemodialysis"}),
    (ICD, "N18.6", "ESRD (end stage renal disease) on dialysis (CMS/HCC)", {"esrd", "dialysis:unspecified"}),
    (ICD, "N18.6", "End stage renal disease, not on dialysis", {"esrd"}),
    (ICD, "N18.6", "End stage renal disease, history of hemodialysis", {"esrd", "dialysis-history"}),
    (SNOMED, "46177005", "End stage renal disease on haemodialysis", {"esrd", "dialysis:haemodialysis"}),
    (ICD, "N17.9", "Acute kidney injury on CVVHDF", {"acute-kidney-injury", "dialysis:continuous"}),
    (ICD, "Z99.2", "Dependence on renal dialysis", {"dialysis-dependence"}),
    (ICD, "Z99.2", "Dependence on dialysis (CMS/HCC)", {"dialysis-dependence"}),
    (ICD, "Z99.2", "Hemodialysis status", {"dialysis-dependence", "dialysis:haemodialysis"}),
    (ICD, "Z99.2", "Dependence on peritoneal dialysis (CAPD)", {"dialysis-dependence", "dialysis:peritoneal"}),
    (ICD, "Z49.31", "Encounter for adequacy testing for hemodialysis", {"dialysis-care-encounter"}),
    (ICD, "Z49.31", "Hemodialysis, adequacy testing", {"dialysis-care-encounter"}),
    (SNOMED, "161693006", "History of renal dialysis", {"dialysis-history"}),
    (ICD, "B25.8", "Other cytomegaloviral diseases", {"cmv-disease-general"}),
    (ICD, "B25.8", "CMV retinitis", {"cmv-disease-general", "cmv-retinitis"}),
    (ICD, "Z94.0", "Kidney transplant status", {"transplant-kidney"}),
    (ICD, "Z94.0", "History of kidney and pancreas transplant", {"transplant-kidney", "transplant-pancreas"}),
]


@pytest.mark.parametrize(
    ("system", "code", "words", "expected"), SAYS_MORE, ids=[f"{each[1]} {each[2]}" for each in SAYS_MORE]
)
def test_words_of_a_known_code_count_for_what_its_title_does_not_say(
    system: str, code: str, words: str, expected: set[str]
) -> None:
    coding = Coding(system, code, words)
    for concept in (Concept((coding,), words), Concept((coding,), "")):  # the text repeats the display, or is not sent
        found = CODES.concepts(concept)
        assert {
            f"{each.concept}:{each.modality}" if each.concept == "dialysis" else each.concept for each in found
        } == expected


def test_a_title_adds_nothing_to_its_code() -> None:
    for row in table("conditions.csv"):
        coding = Coding(row["system"], row["code"], row["display"])
        found = {meaning.concept for meaning in CODES.concepts(Concept((coding,), row["display"]))}
        own = {meaning.concept for meaning in CODES.concepts(coded(row["system"], row["code"]))}
        assert {each for each in found - own if not each.endswith("-history")} == set(), row["display"]


def test_a_text_beside_the_display_is_read_whole() -> None:
    code = Coding(ICD, "Z49.31", "Encounter for adequacy testing for hemodialysis")
    found = CODES.concepts(Concept((code,), "ESRD on hemodialysis MWF"))
    assert ("dialysis", "status", "haemodialysis") in found


@pytest.mark.parametrize(
    ("asked", "answer", "expected"),
    [
        ("Hemodialysis", "Yes", {"haemodialysis"}),
        ("Dialysis status", "true", {"unspecified"}),
        ("Dialysis status", "On hemodialysis 3x/week", {"haemodialysis"}),
        ("Dialysis type", "HD", {"haemodialysis"}),
        ("Renal replacement therapy", "CRRT", {"continuous"}),
        ("Hemodialysis", "Peritoneal dialysis", {"peritoneal"}),
        ("Hemodialysis", "No", set()),
        ("Hemodialysis", "false", set()),
        ("Hemodialysis", "Unknown", set()),
        ("Hemodialysis", "Not on hemodialysis", set()),
        ("Dialysis status", "History of dialysis", set()),
        ("Dialysis status", "None", set()),
        ("Haemodialysis access", "Yes", set()),
    ],
)
def test_a_status_that_is_asked_for_and_answered(asked: str, answer: str, expected: set[str]) -> None:
    for value in (answer, Concept(text=answer), Concept((Coding("urn:example", "a", answer),), "")):
        found = CODES.answered(Concept(text=asked), value)
        assert {meaning.modality for meaning in found if meaning.concept == "dialysis"} == expected


def test_text_adds_to_a_code() -> None:
    found = CODES.concepts(coded(ICD, "Z99.2", text="ESRD on peritoneal dialysis"))
    assert ("dialysis", "status", "peritoneal") in found
    assert ("dialysis-dependence", "status", "unspecified") in found


WORDS: list[tuple[str, set[str]]] = [
    ("Nephrotic syndrome", {"nephrotic-syndrome"}),
    ("history of nephrotic syndrome", {"nephrotic-syndrome-history"}),
    ("Nephrotic syndrome, resolved", {"nephrotic-syndrome-history"}),
    ("no nephrotic syndrome", set()),
    ("Peripheral oedema", {"oedema"}),
    ("bilateral leg edema", {"oedema"}),
    ("Anasarca", {"oedema"}),
    ("generalised swelling", {"oedema"}),
    ("Patient with no oedema", set()),
    ("oedema: none", set()),
    ("cystoid macular edema", set()),
    ("macular edema; leg edema", {"oedema"}),
    ("papilloedema", set()),
    ("ESRD on hemodialysis MWF", {"esrd", "dialysis:haemodialysis"}),
    ("ESKD on HD", {"esrd", "dialysis:haemodialysis"}),
    ("HD", set()),
    ("haemodialysis", {"dialysis:haemodialysis"}),
    ("intermittent haemodialysis", {"dialysis:haemodialysis"}),
    ("CAPD", {"dialysis:peritoneal"}),
    ("On peritoneal dialysis", {"dialysis:peritoneal"}),
    ("CRRT", {"dialysis:continuous"}),
    ("on CVVHDF since admission", {"dialysis:continuous"}),
    ("continuous veno-venous hemofiltration", {"dialysis:continuous"}),
    ("haemofiltration", {"dialysis:continuous"}),
    ("continuous hemodialysis", {"dialysis:continuous"}),
    ("dialysis-dependent", {"dialysis:unspecified"}),
    ("no urine output and on haemodialysis", {"dialysis:haemodialysis"}),
    ("not on dialysis", set()),
    ("not currently on hemodialysis", set()),
    ("on hemodialysis via tunneled dialysis catheter", {"dialysis:haemodialysis"}),
    ("ESRD on HD, transplant work up", {"esrd", "dialysis:haemodialysis"}),
    ("ESRD, history of hemodialysis", {"esrd", "dialysis-history"}),
    ("CMV colitis, history of", {"cmv-gi-disease-history"}),
    ("ESRD on hemodialysis, transplant work up", {"esrd", "dialysis:haemodialysis"}),
    ("Education on hemodialysis", set()),
    ("Hemodialysis access education", set()),
    ("to start on hemodialysis", set()),
    ("may need dialysis", set()),
    ("was on hemodialysis", {"dialysis-history"}),
    ("ESRD, off dialysis", {"esrd", "dialysis-history"}),
    ("Hemodialysis procedure with single evaluation", {"dialysis:haemodialysis"}),
    ("Hemodialysis procedure requiring repeated evaluation(s)", {"dialysis:haemodialysis"}),
    ("Dialysis procedure other than hemodialysis, with single evaluation", {"dialysis:continuous"}),
    ("Evaluation of patient for dialysis", set()),
    ("CKD 5, not yet on dialysis", set()),
    ("no history of dialysis", set()),
    ("History of dialysis", {"dialysis-history"}),
    ("h/o hemodialysis", {"dialysis-history"}),
    ("previously on dialysis", {"dialysis-history"}),
    ("dialysis until transplant 2021", {"dialysis-history"}),
    ("Kidney transplant after 3 years of dialysis", {"transplant-kidney", "dialysis-history"}),
    ("Encounter for planning of dialysis", set()),
    ("preparation for haemodialysis", set()),
    ("pre-dialysis education", set()),
    ("dialysis catheter", set()),
    ("declined dialysis", set()),
    ("Kidney transplant", {"transplant-kidney"}),
    ("s/p renal transplantation 2019", {"transplant-kidney"}),
    ("status post DDKT", {"transplant-kidney"}),
    ("Deceased donor kidney transplant", {"transplant-kidney"}),
    ("living-donor kidney transplant", {"transplant-kidney"}),
    ("history of kidney transplant", {"transplant-kidney"}),
    ("Kidney allograft rejection", {"transplant-kidney"}),
    ("no rejection after kidney transplant", {"transplant-kidney"}),
    ("kidney-pancreas transplant", {"transplant-kidney", "transplant-pancreas"}),
    ("SPK transplant", {"transplant-kidney", "transplant-pancreas"}),
    ("pancreas after kidney transplant", {"transplant-pancreas"}),
    ("heart-lung transplant", {"transplant-heart-lung"}),
    ("Orthotopic heart transplant", {"transplant-heart"}),
    ("bilateral lung transplantation", {"transplant-lung"}),
    ("OLT 2018", {"transplant-liver"}),
    ("liver transplant candidate", set()),
    ("awaiting liver transplant", set()),
    ("on waiting list for kidney transplant", set()),
    ("kidney transplant waiting list", set()),
    ("kidney transplant donor", set()),
    ("donor for kidney transplant to brother", set()),
    ("family history of kidney transplant", set()),
    ("mother had kidney transplant", set()),
    ("evaluation for lung transplant", set()),
    ("corneal transplant", set()),
    ("small bowel transplant", {"transplant-intestine"}),
    ("Allogeneic stem cell transplant", {"transplant-hct"}),
    ("allo-HCT day 40", {"transplant-hct"}),
    ("HCT 32 %", set()),
    ("autologous stem cell transplant", {"transplant-hct-autologous"}),
    ("chronic GVHD", {"graft-versus-host-disease"}),
    ("CMV retinitis", {"cmv-retinitis"}),
    ("Cytomegalovirus colitis", {"cmv-gi-disease"}),
    ("cytomegaloviral pneumonitis", {"cmv-pneumonitis"}),
    ("CMV hepatitis", {"cmv-hepatitis"}),
    ("CMV encephalitis", {"cmv-cns"}),
    ("CMV viraemia", {"cmv-viraemia"}),
    ("CMV DNAemia", {"cmv-viraemia"}),
    ("CMV viremia, resolved", {"cmv-viraemia-history"}),
    ("history of CMV colitis", {"cmv-gi-disease-history"}),
    ("pre-emptive therapy for CMV viraemia", {"cmv-viraemia"}),
    ("CMV disease", {"cmv-disease-general"}),
    ("CMV disease prophylaxis", set()),
    ("prophylaxis against CMV disease", set()),
    ("at risk of CMV infection", set()),
    ("CMV infection risk", set()),
    ("CMV retinitis ruled out", set()),
    ("rule out CMV colitis", set()),
    ("no CMV viraemia", set()),
    ("CMV IgG positive", set()),
    ("CMV mismatch D+/R-", set()),
    ("congenital CMV", {"cmv-congenital"}),
    ("Acute kidney injury", {"acute-kidney-injury"}),
    ("AKI on CKD", {"acute-kidney-injury"}),
    ("HIV", {"hiv-infection"}),
    ("AIDS", {"hiv-aids"}),
    ("HIV negative", set()),
    ("hearing aids", set()),
    ("Crohn's disease", {"crohns-disease"}),
    ("Ulcerative colitis with CMV colitis", {"ulcerative-colitis", "cmv-gi-disease"}),
    ("inflammatory bowel disease", {"inflammatory-bowel-disease"}),
    ("Ulcerative colitis", {"ulcerative-colitis"}),
    ("hypertension", set()),
    ("", set()),
]


@pytest.mark.parametrize(("text", "expected"), WORDS, ids=[text for text, _ in WORDS])
def test_conditions_in_words(text: str, expected: set[str]) -> None:
    found = CODES.concepts(Concept(text=text))
    names = {f"{each.concept}:{each.modality}" if each.concept == "dialysis" else each.concept for each in found}
    assert names == expected
    assert all((each.kind == "history") == each.concept.endswith("-history") for each in found)


def test_endless_text_costs_little() -> None:
    text = "no oedema dialysis " * 5000
    start = time.perf_counter()
    assert CODES.concepts(Concept(text=text)) == ()
    assert CODES.product(Concept(text="ganciclovir 450 mg / " * 5000), None) is not None
    assert time.perf_counter() - start < 2  # some 0.3 s where this was written


def test_groups_that_checks_rely_on() -> None:
    assert CODES.groups.keys() >= {
        "cmv_disease",
        "dialysis_current",
        "transplant_solid_organ",
        "transplant_hct",
        "acute_kidney_injury",
        "hiv",
        "inflammatory_bowel_disease",
        "oedema",
        "nephrotic",
    }
    past = {member for members in CODES.groups.values() for member in members if member.endswith("-history")}
    assert past == set()


def test_every_phrase_is_found_as_it_stands() -> None:
    data = read_yaml(MAPPINGS / "conditions.yaml")
    for entry in data["phrases"]:
        for phrase in entry["phrases"]:
            for name, words in data["synonyms"].items():
                phrase = phrase.replace(f"<{name}>", words[0])
            assert entry["concept"] in {each.concept for each in CODES.concepts(Concept(text=phrase))}, phrase


# --------------------------------------------------------------------------------------------------------------------
# Systems, loading


def test_normal_system_leaves_other_systems_alone() -> None:
    assert normal_system(" http://Example.org/x/ ") == "http://example.org/x"
    assert normal_system("") == ""


def test_loading_is_quick() -> None:
    fastest = min(_seconds_to_load() for _ in range(5))
    assert fastest < 0.25  # some 40 ms where this was written


def _seconds_to_load() -> float:
    start = time.perf_counter()
    load_codes(MAPPINGS)
    return time.perf_counter() - start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "mappings"
    shutil.copytree(MAPPINGS, copy)
    return copy


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("analytes.yaml", "group: kidney", "group: kidneys", "analytes.creatinine.group"),
        ("analytes.yaml", "    unit: mg/dL\n", "    unit: stone\n", "'stone' is not in the block 'creatinine'"),
        (
            "analytes.yaml",
            "    unit: mg/dL\n",
            "    unit: mg/dL\n    colour: red\n",
            "analytes.creatinine.colour: unknown key",
        ),
        ("analytes.yaml", "loinc: 2160-0", "loinc: 2161-8", "analytes.creatinine.order: 2161-8 is no confirmed code"),
        ("analytes.yaml", "low: 0.2, high: 20,", "low: 20, high: 0.2,", "low must be below high"),
        ("analytes.yaml", "      predicted: est", "      guessed: est", "the kind 'guessed' does not occur"),
        ("analytes.yaml", "  creatinine:\n", "  kreatinin:\n", "no row of codes/loinc.csv has the concept 'kreatinin'"),
        ("analytes.yaml", "needs_exact: true", "needs_exact: yes", "analytes.creatinine.needs_exact"),
        (
            "drugs.yaml",
            "  valganciclovir:\n    display: valganciclovir\n",
            "  valganciclovir:\n",
            "display: is missing",
        ),
        ("conditions.yaml", "- cmv-retinitis", "- cmv-retinitus", "groups.cmv_disease: 'cmv-retinitus' is in neither"),
        ("conditions.yaml", "<kidney> <transplant>", "<kidny> <transplant>", "<kidny> is not in `synonyms`"),
        ("conditions.yaml", "reach: 6", "reach: 6\nreach: 7", "the key `reach` is written twice"),
        ("codes/units.csv", ",multiply,0.001,", ",multiply,a thousandth,", "factor 'a thousandth' is no number"),
        ("codes/loinc.csv", "system,code,", "system,kode,", "column code is missing"),
        ("codes/rxnorm.csv", "http", "x,http", "not as many values as columns"),
    ],
)
def test_wrong_files_are_named(folder: Path, name: str, old: str, new: str, said: str) -> None:
    change(folder / name, old, new)
    with pytest.raises(KnowledgeError) as error:
        load_codes(folder)
    assert said in str(error.value)
    assert f"mappings/{name}" in str(error.value)
    assert str(folder) not in str(error.value)


def test_every_problem_is_named_at_once(folder: Path) -> None:
    change(folder / "analytes.yaml", "group: kidney", "group: kidneys")
    change(folder / "analytes.yaml", "group: counts", "group: count")
    change(folder / "drugs.yaml", "route: intravenous", "rout: intravenous")
    (folder / "codes" / "units.csv").unlink()
    with pytest.raises(KnowledgeError) as error:
        load_codes(folder)
    for said in ("creatinine.group", "anc.group", "rout: unknown key", "route: is missing", "codes/units.csv"):
        assert said in str(error.value)


# --------------------------------------------------------------------------------------------------------------------
# YAML


def test_yaml_means_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "no: on\nsection: 2.10\ncode: 012\nclock: 12:30\nyes: true\nnothing: ~\nwhole: -5\n<<: x\n", encoding="utf-8"
    )
    found = read_yaml(path)
    assert found == {
        "no": "on",
        "section": Decimal("2.10"),
        "code": "012",
        "clock": "12:30",
        "yes": True,
        "nothing": None,
        "whole": -5,
        "<<": "x",
    }
    assert str(found["section"]) == "2.10"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4, column 3: the key `c` is written twice"),
        ("a: [1\n", "line 2"),
        ("a: 2026-02-30\n", "not valid YAML"),
        ("? [a]\n: 1\n", "a key is a list or a mapping"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("\0", "not valid YAML"),
    ],
)
def test_wrong_yaml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=r"mappings/x\.yaml") as error:
        read_yaml(path)
    assert said in str(error.value)


def test_absent_or_unreadable_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(KnowledgeError, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


def test_codes_are_one_frozen_value() -> None:
    assert isinstance(CODES, Codes)
    with pytest.raises(AttributeError):
        CODES.drugs = {}  # type: ignore[misc]
