"""The interaction tables as a whole: every row has a scenario, each drug is found by name, both label regions work."""

from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import orjson
import pytest
from conftest import CardsOf, Judge
from scenario import Json, bundle, load_scenarios, topic, words_of

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.rules.interaction import Pair
from cdshooks.pipeline import evaluate
from cdshooks.wire.hooks import read_call

TODAY = date(2026, 11, 21)
KNOWLEDGE = load_knowledge()
ORDERS = {
    "ganciclovir": ("ganciclovir 500 mg vial", "iv"),
    "valganciclovir": ("valganciclovir 450 MG Oral Tablet", "oral"),
    "maribavir": ("maribavir 200 mg tablet", "oral"),
    "letermovir": ("letermovir 480 mg tablet", "oral"),
    "foscarnet": ("foscarnet 24 mg/mL injection", "iv"),
    "cidofovir": ("cidofovir 75 mg/mL injection", "iv"),
    "brincidofovir": ("brincidofovir 100 mg tablet", "oral"),
}
ROUTES = {"oral": ("26643006", "Oral route"), "iv": ("47625008", "Intravenous route")}
ROWS = [(rule, pair) for rule in KNOWLEDGE.interactions for pair in rule.pairs]
MEMBERS = [
    (ours, pair, drug)
    for rule, pair in ROWS
    for ours in rule.drugs
    for drug in sorted(KNOWLEDGE.medicines.members(pair.with_drugs))
]


def request(ours: str, *beside: str, route: str = "iv") -> Json:
    """A draft of ours beside running orders of other drugs, with nothing else on file."""

    def order(name: str, route: str, identifier: str, status: str) -> Json:
        code, display = ROUTES[route]
        coded = {"coding": [{"system": "http://snomed.info/sct", "code": code, "display": display}]}
        return {
            "resourceType": "MedicationRequest",
            "id": identifier,
            "status": status,
            "intent": "order",
            "subject": {"reference": "Patient/pat-1"},
            "authoredOn": "2026-11-20",
            "medicationCodeableConcept": {"text": name},
            "dosageInstruction": [{"route": coded}],
        }

    listed = [order(name, route, f"med-{i}", "active") for i, name in enumerate(beside, 1)]
    return {
        "hook": "order-sign",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {
            "patientId": "pat-1",
            "userId": "Practitioner/prac-1",
            "draftOrders": bundle([order(*ORDERS[ours], "draft-1", "draft")], "collection"),
        },
        "prefetch": {"medications": bundle(listed)},
    }


def cards_on_pair(judge: Judge, ours: str, *beside: str) -> list[Json]:
    return [card for card in judge(request(ours, *beside), TODAY).cards if topic(card) == "interaction"]


@pytest.mark.parametrize(("ours", "pair", "drug"), MEMBERS, ids=[f"{ours} with {drug}" for ours, _, drug in MEMBERS])
def test_each_drug_of_each_row_is_found_by_its_name(judge: Judge, ours: str, pair: Pair, drug: str) -> None:
    """The first row that applies says it, at the severity that it has where nothing eases it."""
    with_these = [next(iter(sorted(KNOWLEDGE.medicines.members(pair.also_with)))) for _ in pair.also_with[:1]]
    names = [KNOWLEDGE.medicines.title(name) for name in (drug, *with_these)]
    found = cards_on_pair(judge, ours, *names)
    said = "\n".join(map(words_of, found))
    assert names[0].casefold() in said
    assert pair.says.casefold() in said
    if not with_these:
        assert [card["indicator"] for card in found] == [pair.severity]


def test_every_row_fires_in_a_scenario_of_its_own(cards_of: CardsOf) -> None:
    """By its words: no row of a table is only there to be there."""
    cards = [card for scenario in load_scenarios() for card in cards_of(scenario)]
    said = "\n".join(words_of(card) for card in cards if topic(card) == "interaction")
    assert [pair.says for _, pair in ROWS if pair.says.casefold() not in said] == []


def test_no_two_rows_say_the_same() -> None:
    """Else a row could pass for another one in the test above; a table may repeat a row of the other drug's table."""
    for rule in KNOWLEDGE.interactions:
        texts = [pair.says for pair in rule.pairs]
        assert len(texts) == len(set(texts))


def test_a_drug_stands_in_one_row_of_a_table_or_in_a_narrower_one_first() -> None:
    """The first row that applies counts, so a row behind one without conditions would never be met."""
    for rule in KNOWLEDGE.interactions:
        settled: set[str] = set()
        for pair in rule.pairs:
            drugs = KNOWLEDGE.medicines.members(pair.with_drugs)
            assert not drugs <= settled, f"{rule.id}: {pair.with_drugs} is never reached"
            settled |= drugs if not pair.also_with and not pair.not_routes else set()


def test_what_no_label_says_is_never_critical() -> None:
    assert not [pair for _, pair in ROWS if pair.seen != "label" and "critical" in (pair.severity, pair.in_eu)]


def in_region(region: str, *args: str) -> list[str]:
    """Indicators of the interaction cards in a label region."""
    limits = KNOWLEDGE.interaction_limits.model_copy(update={"label_region": region})
    knowledge: Knowledge = replace(KNOWLEDGE, interaction_limits=limits)
    call = read_call("cmv-order-sign", orjson.dumps(request(*args)), max_depth=64, max_entries=1000, prefetch_keys={})
    answer = evaluate(call, knowledge=knowledge, today=TODAY, zone=ZoneInfo("UTC"))
    return [card["indicator"] for card in answer.cards if topic(card) == "interaction"]


@pytest.mark.parametrize("drug", ["atorvastatin", "rosuvastatin", "dabigatran"])
def test_a_site_may_follow_the_eu_label(drug: str) -> None:
    assert in_region("us", "letermovir", "ciclosporin", drug) == ["warning"]
    assert in_region("eu", "letermovir", "ciclosporin", drug) == ["critical"]
    assert in_region("eu", "letermovir", "simvastatin") == ["warning"]


@pytest.mark.parametrize(
    ("ours", "name", "severity"),
    [  # brands and spellings of the table of interactions, read against the therapy facts
        ("ganciclovir", "Tienam 500 mg/500 mg", "critical"),
        ("valganciclovir", "Livtencity 200 mg", "critical"),
        ("valganciclovir", "Trizivir", "warning"),
        ("valganciclovir", "Septrin forte", "warning"),
        ("valganciclovir", "Myfortic 360 mg", "warning"),
        ("valganciclovir", "Neoral 100 mg", "warning"),
        ("valganciclovir", "hydroxycarbamide 500 mg", "warning"),
        ("valganciclovir", "tenofovir 245 mg", "warning"),
        ("valganciclovir", "famciclovir 500 mg", "info"),
        ("maribavir", "Valcyte 450 mg", "critical"),
        ("maribavir", "Cymevene 500 mg", "critical"),
        ("maribavir", "Envarsus XR 4 mg", "warning"),
        ("maribavir", "Certican 0.75 mg", "warning"),
        ("letermovir", "methylergometrine 0.125 mg", "critical"),
        ("letermovir", "D.H.E. 45", "critical"),
        ("letermovir", "Rifinah 300/150", "critical"),
        ("letermovir", "St. John\u2019s wort", "critical"),
        ("letermovir", "Hypericum extract", "critical"),
        ("letermovir", "Inegy 10/20", "warning"),
        ("letermovir", "Novonorm 1 mg", "warning"),
        ("letermovir", "Glucovance 500 mg/5 mg", "warning"),
        ("letermovir", "Stocrin 600 mg", "warning"),
        ("letermovir", "Paxlovid", "warning"),
        ("letermovir", "Versed 5 mg", "info"),
        ("foscarnet", "Pentam 300", "critical"),
        ("foscarnet", "sotalol 80 mg", "warning"),
        ("foscarnet", "Tikosyn 250 mcg", "warning"),
        ("foscarnet", "zoledronic acid 4 mg", "warning"),
        ("foscarnet", "Invirase 500 mg", "info"),
        ("cidofovir", "Foscavir", "critical"),
        ("cidofovir", "amikacin 1 g", "critical"),
        ("cidofovir", "Toradol 10 mg", "critical"),
        ("cidofovir", "indometacin 25 mg", "critical"),
        ("cidofovir", "Fungizone", "critical"),
        ("cidofovir", "Atripla", "warning"),
        ("cidofovir", "Zosyn 4.5 g", "warning"),
        ("brincidofovir", "Vistide", "critical"),
    ],
)
def test_brands_and_spellings(judge: Judge, ours: str, name: str, severity: str) -> None:
    assert [card["indicator"] for card in cards_on_pair(judge, ours, name)] == [severity]


@pytest.mark.parametrize(
    ("ours", "name"),
    [  # names that hold a drug's name and are something else
        ("letermovir", "rifaximin 550 mg"),
        ("letermovir", "rifapentine 150 mg"),
        ("letermovir", "oxcarbazepine 300 mg"),
        ("letermovir", "armodafinil 150 mg"),
        ("foscarnet", "gentamicin 0.3 % eye drops"),
        ("foscarnet", "ciprofloxacin ear drops"),
        ("cidofovir", "diclofenac 1 % gel"),
        ("cidofovir", "Tobi 300 mg"),
        ("cidofovir", "ketorolac ophthalmic solution"),
        ("cidofovir", "amikacin liposome inhalation suspension"),
        ("cidofovir", "tenofovir alafenamide 25 mg"),
        ("valganciclovir", "lamivudine 150 mg"),
        ("valganciclovir", "meropenem 1 g"),
        ("maribavir", "ganciclovir 0.15 % ophthalmic gel"),
    ],
)
def test_near_misses_of_names(judge: Judge, ours: str, name: str) -> None:
    assert cards_on_pair(judge, ours, name) == []


def test_every_summary_keeps_to_its_line(judge: Judge) -> None:
    """All partners of a table at once: the line is full, and names as many as it has room for."""
    for rule in KNOWLEDGE.interactions:
        names = sorted(
            {KNOWLEDGE.medicines.title(d) for p in rule.pairs for d in KNOWLEDGE.medicines.members(p.with_drugs)}
        )
        for ours in rule.drugs:
            found = [c for c in judge(request(ours, *names), TODAY).cards if topic(c) == "interaction"]
            assert len(found) == 1
            assert len(found[0]["summary"]) < 140
            assert not found[0]["summary"].endswith("\u2026")


@pytest.mark.parametrize(
    ("drug", "text", "same"),
    [
        ("cyclosporine", "cycloSPORINE 100 MG Oral Capsule", False),
        ("cyclosporine", "Neoral 100 mg capsule", False),
        ("trimethoprim-sulfamethoxazole", "sulfamethoxazole / trimethoprim 400/80 mg tablet", True),
        ("trimethoprim-sulfamethoxazole", "co-trimoxazole 480 mg", False),
        ("acyclovir", "Aciclovir 400 mg tablet", True),
        ("glyburide", "glibenclamide 5 mg", False),
        ("st-johns-wort", "St. John\u2019s wort extract", True),
    ],
)
def test_the_words_of_an_order_are_shown_where_they_name_the_drug_otherwise(drug: str, text: str, same: bool) -> None:
    assert KNOWLEDGE.medicines.calls(drug, text) is same
