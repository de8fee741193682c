"""What resistance results mean for an order: properties that hold for all, and every shape they come in."""

import base64
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from conftest import Judge
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario import Json, load_scenarios, render, topic, words_of

from cdshooks.medicine.genotype import read_text
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.resistance import judge as judge_results
from cdshooks.medicine.resistance import rank, worst
from cdshooks.model import Change, Genotype, Reading

TODAY = date(2026, 11, 21)
RANKS = ("silent", "info", "warning", "critical")
DISCLAIMER = "not validated for diagnostic or clinical use"
CASES = {s.name: s for s in load_scenarios() if s.file == "resistance"}
PLAIN = CASES["No genotype on file is normal"]  # valganciclovir, rightly dosed, nothing else
DRUGS = ("ganciclovir", "valganciclovir", "foscarnet", "cidofovir", "brincidofovir", "maribavir", "letermovir")


def observation(number: int, text: str, on: str = "2026-11-14", name: str = "CMV resistance genotype") -> Json:
    return {
        "resourceType": "Observation",
        "id": f"g{number}",
        "status": "final",
        "subject": {"reference": "Patient/pat-1"},
        "code": {"text": name},
        "effectiveDateTime": on,
        "valueString": text,
    }


def with_results(*resources: Json, key: str = "virology") -> Json:
    request = render(PLAIN)
    request["prefetch"][key] = {"resourceType": "Bundle", "entry": [{"resource": each} for each in resources]}
    return request


def report(**fields: Any) -> Json:
    return {
        "resourceType": "DiagnosticReport",
        "id": "r1",
        "status": "final",
        "subject": {"reference": "Patient/pat-1"},
        "code": {"text": "CMV resistance panel"},
        "effectiveDateTime": "2026-11-12",
        **fields,
    }


def loudest(request: Json, judge: Judge) -> str:
    cards = judge(request, TODAY).cards
    return max((c["indicator"] for c in cards if topic(c) == "resistance"), key=RANKS.index, default="silent")


def result(text: str, knowledge: Knowledge, on: date | None = date(2026, 11, 14)) -> Genotype:
    return Genotype("", "result", on, "", read_text(text, knowledge.resistance.lexicon))


# --------------------------------------------------------------------------------------------------------------------
# Properties

KNOWN = (
    *(f"UL97 {change}" for change in ["A594V", "C592G", "H411Y", "C480F", "D605E", "K640R", "A594S", "L595del"]),
    *(f"UL54 {change}" for change in ["V526L", "A834P", "N685S", "P522S", "L501F", "S585A", "L802M"]),
    *(f"UL56 {change}" for change in ["C325Y", "R369K", "L257I", "V236L"]),
    *("UL27 R233S", "UL51 A95V", "UL89 T350M"),
)
RESISTANT = ("UL97 A594V", "UL97 C592G", "UL54 A834P", "UL54 V526L", "UL97 T409M", "UL56 C325Y", "UL97 A591V")
OTHER_TEXT = ("UL97: none detected", "UL54: none detected", "Ganciclovir: Resistant", "Ganciclovir: Susceptible",
              "Foscarnet: Possible resistance", "UL97 not determined", "no UL97 A594V detected", "V594A")  # fmt: skip
DAYS = ("2026-03-02", "2026-10-30", "2026-11-14", "2026-11-14T08:00:00Z", "")
results = st.lists(
    st.tuples(
        st.lists(st.sampled_from((*KNOWN, *OTHER_TEXT)), min_size=1, max_size=3).map("; ".join), st.sampled_from(DAYS)
    ),
    max_size=4,
)
reproducible = settings(deadline=None, derandomize=True, max_examples=120)


def request_of(pairs: Sequence[tuple[str, str]]) -> Json:
    return with_results(*(observation(i, text, on) for i, (text, on) in enumerate(pairs)))


@reproducible
@given(pairs=results, more=st.sampled_from(RESISTANT), where=st.integers(0, 4))
def test_a_further_resistant_mutation_never_lowers_the_verdict(
    pairs: list[tuple[str, str]], more: str, where: int, judge: Judge
) -> None:
    before = loudest(request_of(pairs), judge)
    changed = list(pairs)
    if where < len(pairs):
        text, on = pairs[where]
        changed[where] = (f"{text}; {more}", on)
    else:
        changed.append((more, "2026-11-14"))
    assert RANKS.index(loudest(request_of(changed), judge)) >= RANKS.index(before)


@reproducible
@given(pairs=results, data=st.data())
def test_the_order_of_results_does_not_matter(pairs: list[tuple[str, str]], data: st.DataObject, judge: Judge) -> None:
    request = request_of(pairs)
    entries = request["prefetch"]["virology"]["entry"]
    shuffled = data.draw(st.permutations(entries))
    expected = judge(request, TODAY).cards
    request["prefetch"]["virology"]["entry"] = shuffled
    assert judge(request, TODAY).cards == expected


@reproducible
@given(items=st.lists(st.sampled_from(KNOWN), min_size=1, max_size=5, unique=True), data=st.data())
def test_the_order_inside_a_list_does_not_matter(items: list[str], data: st.DataObject, knowledge: Knowledge) -> None:
    turned = data.draw(st.permutations(items))
    for drug in DRUGS:
        verdicts = [
            judge_results((result("; ".join(each), knowledge),), knowledge.resistance, drug, TODAY)
            for each in (items, turned)
        ]
        one, other = verdicts
        assert one
        assert other
        assert (one.level, one.together_level, set(one.together)) == (
            other.level,
            other.together_level,
            set(other.together),
        )


@reproducible
@given(text=st.text(max_size=60), name=st.sampled_from(["CMV UL97 gene mutations", "CMV Ganciclovir Resistance"]))
def test_junk_is_shown_and_never_called_susceptible(text: str, name: str, judge: Judge) -> None:
    cards = judge(with_results(observation(1, text, name=name)), TODAY).cards
    for card in cards:
        assert "ganciclovir susceptible" not in words_of(card) or "susceptible" in text.lower()
    if not any(char.isalnum() for char in text):
        (card,) = (card for card in cards if topic(card) == "resistance")
        assert card["indicator"] == "info"


def test_every_card_on_a_mutation_says_that_the_data_are_not_validated(judge: Judge) -> None:
    with_data = without = 0
    for scenario in CASES.values():
        for card in judge(render(scenario), scenario.today).cards:
            if topic(card) == "resistance":
                assert "suggestions" not in card
                finding = card["extension"]["cmv-cds.finding"]
                if any(entry["name"] == "CMV mutation" for entry in finding["inputs"]):
                    with_data += 1
                    assert DISCLAIMER in card["detail"]
                    assert card["source"]["label"].startswith("HerpesDRG-DB")
                else:
                    without += 1
                    assert not card["source"]["label"].startswith("HerpesDRG-DB")
    assert with_data > 50
    assert without > 20


def test_a_drug_whose_genes_no_result_tells_of_never_reads_as_one_without_resistance(judge: Judge) -> None:
    seen = 0
    for scenario in CASES.values():
        for card in judge(render(scenario), scenario.today).cards:
            if topic(card) != "resistance" or "UL54" in str(scenario.given):
                continue
            for line in card["detail"].splitlines():
                if line.startswith(("- foscarnet:", "- cidofovir:")):
                    seen += 1
                    assert "nothing in this genotype speaks against it" not in line
    assert seen > 50


def test_no_card_names_a_higher_dose_of_ganciclovir_unasked(judge: Judge) -> None:
    """It is a specialist's option: spoken of only where more than the label's dose is ordered."""
    for scenario in CASES.values():
        cards = judge(render(scenario), scenario.today).cards
        if "renalDose" not in map(topic, cards):
            assert not [card for card in cards if "10 mg/kg" in words_of(card)]


def test_memory_never_drives_a_critical_card(knowledge: Knowledge) -> None:
    """Levels that rest on memory are "possible" at most, and that is a warning."""
    rule = knowledge.resistance.rule
    for override in rule.overrides:
        assert knowledge.sources[override.cite.source].seen != "memory" or override.level == "possible"
    for together in rule.together:
        assert knowledge.sources[together.cite.source].seen != "memory"
    assert rule.indicators.possible == "warning"


def test_drugs_without_data_have_no_verdict(knowledge: Knowledge) -> None:
    assert judge_results((), knowledge.resistance, "aciclovir", TODAY) is None
    for drug in DRUGS:
        verdict = judge_results((), knowledge.resistance, drug, TODAY)
        assert verdict
        assert (verdict.changes, verdict.calls, verdict.unsettled) == ((), (), ())
        assert verdict.level == "none"


def test_levels_have_an_order() -> None:
    assert worst(["low", "possible", "unknown"]) == "low"
    assert worst([]) == "none"
    assert rank("high") > rank("moderate") > rank("low") > rank("possible") > rank("unknown") > rank("none")


@pytest.mark.parametrize(
    ("kind", "change"), [("codon", "codon 594"), ("insertion", "codon 594 insertion"), ("unnamed", "unnamed change")]
)
def test_a_change_of_unknown_effect_at_a_known_codon_is_possible(kind: str, change: str, knowledge: Knowledge) -> None:
    codons = (0, 0) if kind == "unnamed" else (594, 594)
    reading = Reading(changes=(Change("UL97", change, codons, kind, change),))
    verdict = judge_results((Genotype("", "x", TODAY, "", reading),), knowledge.resistance, "ganciclovir", TODAY)
    assert verdict
    assert verdict.level == "possible"


# --------------------------------------------------------------------------------------------------------------------
# Shapes in which a result comes


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"conclusion": "UL97 A594V"},
        {"conclusionCode": [{"text": "UL97 A594V"}]},
        {"conclusionCode": [{"coding": [{"display": "UL97 A594V"}]}]},
        {"codedDiagnosis": [{"text": "UL97 A594V"}]},
        {"presentedForm": [{"contentType": "text/plain", "data": encoded("UL97: A594V")}]},
        {"presentedForm": [{"contentType": "text/plain; charset=utf-8", "data": encoded("UL97: A594V")}]},
        {"presentedForm": [{"data": encoded("UL97: A594V")}]},
        {"presentedForm": [{"contentType": "text/html", "data": encoded("<tr><td>UL97</td><td>A594V</td></tr>")}]},
        {"presentedForm": {"contentType": "text/plain", "data": encoded("UL97: A594V")}},
        {"note": [{"text": "UL97 A594V"}]},
        {"result": [{"display": "UL97 A594V"}]},
        {"text": {"status": "generated", "div": "<div><p>UL97 A594V</p></div>"}},
        {"contained": [observation(5, "A594V", name="CMV UL97 mutations")], "result": [{"reference": "#g5"}]},
        {"contained": [{"resourceType": "Observation", "code": {"text": "CMV UL97 change"}, "valueString": "A594V"}]},
        {"conclusion": "UL97 A594V", "effectiveDateTime": None, "issued": "2026-11-12T08:00:00Z"},
        {"conclusion": "UL97 A594V", "effectiveDateTime": None, "effectivePeriod": {"start": "2026-11-12"}},
        {"conclusion": "UL97 A594V", "status": "partial"},
        {"conclusion": "UL97 A594V detected.", "code": {"text": "Molecular pathology"}},
    ],
)  # fmt: skip
def test_reports_of_every_shape(fields: Json, judge: Judge) -> None:
    resource = {name: value for name, value in report(**fields).items() if value is not None}
    (card,) = [c for c in judge(with_results(resource, key="reports"), TODAY).cards if topic(c) == "resistance"]
    assert card["indicator"] == "critical"
    assert "UL97 A594V" in card["summary"]
    assert "2026-11-12" in card["detail"] or "2026-11-14" in card["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"presentedForm": [{"contentType": "application/pdf", "data": encoded("%PDF")}]}, "application/pdf"),
        ({"presentedForm": [{"contentType": "text/plain", "data": "not base64!"}]}, "text/plain"),
        ({"presentedForm": [{"contentType": "text/plain", "data": "//4="}]}, "text/plain"),
        ({"presentedForm": [{"contentType": "application/pdf", "url": "https://ehr.example.org"}]}, "application/pdf"),
        ({"conclusion": "See letter."}, "see letter."),
        ({"result": [{"reference": "Observation/elsewhere"}]}, "results were not sent"),
        ({}, "no readable text"),
    ],
)  # fmt: skip
def test_a_resistance_report_that_tells_nothing_is_shown(fields: Json, says: str, judge: Judge) -> None:
    (card,) = judge(with_results(report(**fields), key="reports"), TODAY).cards
    assert (topic(card), card["indicator"]) == ("resistance", "info")
    assert says in words_of(card)
    assert "does not exclude resistance" in words_of(card)


@pytest.mark.parametrize(
    "fields",
    [
        {"code": {"text": "CT chest"}, "conclusion": "CMV pneumonitis possible. No resistance to flow."},
        {"code": {"text": "CMV PCR"}, "conclusion": "54,000 IU/mL. If ganciclovir resistance is suspected, genotype."},
        {"code": {"text": "HIV genotype"}, "conclusion": "K103N: resistant to efavirenz"},
        {"code": {"text": "Blood culture"}, "conclusion": "E. coli, resistant to ampicillin"},
        {"code": {"text": "CMV resistance panel"}, "status": "registered"},
        {"code": {"text": "HSV resistance panel"}, "conclusion": "foscarnet: Resistant"},
    ],
)  # fmt: skip
def test_other_reports_say_nothing(fields: Json, judge: Judge) -> None:
    assert judge(with_results(report(**fields), key="reports"), TODAY).cards == []


@pytest.mark.parametrize(
    "value",
    [
        {"valueString": "A594V"},
        {"valueCodeableConcept": {"text": "A594V"}},
        {"valueCodeableConcept": {"coding": [{"system": "urn:local", "code": "1", "display": "A594V"}]}},
        {"valueAttachment": {"contentType": "text/plain", "data": encoded("A594V")}},
        {"component": [{"code": {"text": "Mutations"}, "valueString": "A594V"}]},
        {"component": {"code": {"text": "Mutations"}, "valueString": "A594V"}},
        {"valueString": "see note", "note": [{"text": "A594V"}]},
        {"valueString": "see note", "comment": "A594V"},
    ],
)
def test_observations_of_every_shape(value: Json, judge: Judge) -> None:
    resource = observation(1, "", name="CMV UL97 gene mutations") | value
    if "valueString" not in value:
        del resource["valueString"]
    assert loudest(with_results(resource), judge) == "critical"


@pytest.mark.parametrize(
    "components",
    [
        [("48018-6", "UL97"), ("48005-3", "p.Ala594Val")],
        [("48018-6", "UL97"), ("48005-3", "YP_081544.1:p.(Ala594Val)")],
        [("48018-6", "CMV UL97 gene"), ("48004-6", "c.1781C>T")],
        [("48018-6", "UL97"), ("48005-3", "p.(?)"), ("48004-6", "NC_006273.2:c.1781C>T")],
    ],
)
@pytest.mark.parametrize("code_only", [False, True])
def test_variants_of_genomics_reporting(components: list[tuple[str, str]], code_only: bool, judge: Judge) -> None:
    def concept(text: str) -> Json:
        return {"coding": [{"system": "http://varnomen.hgvs.org", "code": text}]} if code_only else {"text": text}

    resource = observation(1, "", name="Genetic variant assessment")
    del resource["valueString"]
    resource["code"]["coding"] = [{"system": "http://loinc.org", "code": "69548-6"}]
    resource["component"] = [
        {
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueCodeableConcept": {"text": value} if code == "48018-6" else concept(value),
        }
        for code, value in components
    ]
    assert loudest(with_results(resource), judge) == "critical"


def test_one_result_told_twice_is_one(judge: Judge) -> None:
    request = with_results(observation(1, "A594V", "2026-11-12", name="CMV UL97 mutations"))
    request["prefetch"]["reports"] = {
        "resourceType": "Bundle",
        "entry": [{"resource": report(conclusion="UL97: A594V", result=[{"reference": "Observation/g1"}])}],
    }
    (card,) = (card for card in judge(request, TODAY).cards if topic(card) == "resistance")
    assert card["detail"].count("UL97 A594V (") == 1


def test_the_published_query_asks_for_resistance_results(knowledge: Knowledge) -> None:
    query = knowledge.prefetch_queries["virology"]
    for code in ("72852-7", "72854-3", "72833-7", "33631-3", "106861-8", "69548-6"):
        assert query.count(f"http://loinc.org|{code}") == 1
