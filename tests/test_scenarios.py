"""Every scenario through the pipeline, and through the HTTP door in every FHIR release that can say it."""

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

import pytest
from conftest import CardsOf, ClientOn
from fhir.resources import medicationrequest as r5
from fhir.resources.R4B import medicationrequest as r4b
from fhir.resources.STU3 import medicationrequest as stu3
from scenario import (
    Scenario,
    breaches,
    differences,
    load_scenarios,
    proposals,
    render,
    same_over_releases,
    shape_breaches,
    topic,
)

from cdshooks.medicine.knowledge import Knowledge

SCENARIOS = load_scenarios()
IN_RELEASES = [(scenario, release) for scenario in SCENARIOS for release in scenario.releases]
VALIDATORS: dict[str, Callable[..., object]] = {
    "STU3": stu3.MedicationRequest.model_validate,
    "R4": r4b.MedicationRequest.model_validate,
    "R4B": r4b.MedicationRequest.model_validate,
    "R5": r5.MedicationRequest.model_validate,
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"{s.file}: {s.name}")
def test_cards(scenario: Scenario, cards_of: CardsOf, record_property: Callable[[str, object], None]) -> None:
    record_property("worst card", scenario.worst)
    cards = cards_of(scenario)
    record_property("cards", len(cards))
    assert differences(scenario, cards) == []
    assert breaches(cards, render(scenario)) == []


@pytest.mark.parametrize(
    ("scenario", "release"), IN_RELEASES, ids=[f"{s.file}: {s.name} [{release}]" for s, release in IN_RELEASES]
)
def test_http(scenario: Scenario, release: str, cards_of: CardsOf, client_on: ClientOn) -> None:
    request = render(scenario, release)
    client = client_on(scenario.today)
    response = client.post(f"/cds-services/{scenario.service}", json=request)
    assert response.status_code == 200
    cards = response.get_json()["cards"]
    assert same_over_releases(cards) == same_over_releases(cards_of(scenario))
    assert breaches(cards, request) == []
    assert shape_breaches(cards, request, release) == []
    for resource in (resource for card in cards for resource in proposals(card)):
        early = "doseQuantity" in resource["dosageInstruction"][0]
        if release != "DSTU2":  # fhir.resources has no DSTU2; a draft without a mark of STU3 is answered as R4
            VALIDATORS["R4" if release == "STU3" and not early else release](resource)
    assert client.post(f"/cds-services/{scenario.service}", json=request).data == response.data


def test_hand_calculations_add_up() -> None:
    """The arithmetic in the `hand` lines is right, and where it ends in a whole number, so is the rounding."""
    number = r"(\d+(?:\.\d+)?)"
    formula = re.compile(rf"\(140-{number}\) x {number} kg / \(72 x {number}\)( x 0\.85)? = {number}(?: -> (\d+))?")
    checked = 0
    for scenario in SCENARIOS:
        for age, weight, creatinine, female, shown, whole in formula.findall(scenario.hand):
            factor = Decimal("0.85") if female else Decimal(1)
            value = (140 - Decimal(age)) * Decimal(weight) / (72 * Decimal(creatinine)) * factor
            assert value.quantize(Decimal(shown), rounding=ROUND_HALF_UP) == Decimal(shown), scenario.name
            if whole:
                assert value.quantize(Decimal(1), rounding=ROUND_HALF_UP) == int(whole), scenario.name
            checked += 1
    assert checked >= 80


def test_scenarios_are_many_and_differ() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) >= 120
    assert sorted(names) == sorted(set(names))
    assert all(scenario.hand for scenario in SCENARIOS)


def test_well_treated_patients_are_left_in_peace() -> None:
    """The cases of well-treated.yaml: nothing at warning or above, and for most of them nothing at all."""
    well = [scenario for scenario in SCENARIOS if scenario.file == "well-treated"]
    assert len(well) >= 25
    assert {scenario.worst for scenario in well} <= {"silent", "info"}
    drugs = {str(order["order"]).split()[0] for scenario in well for order in scenario.orders}
    assert drugs >= {
        "ganciclovir",
        "valganciclovir",
        "foscarnet",
        "cidofovir",
        "maribavir",
        "letermovir",
        "brincidofovir",
    }
    assert sum(scenario.worst == "silent" for scenario in well) > len(well) / 2


def test_every_dose_rule_fires_and_stays_quiet(knowledge: Knowledge, cards_of: CardsOf) -> None:
    fired, drugs_kept_quiet = set(), set()
    for scenario in SCENARIOS:
        cards = cards_of(scenario)
        fired |= {check for card in cards for check in card["extension"]["cmv-cds.finding"]["checks"]}
        if not cards:
            drugs_kept_quiet |= {str(order["order"]).split()[0] for order in scenario.orders}
    assert {table.id for table in knowledge.renal_dose} | {knowledge.kidney.id} <= fired
    assert {table.drug for table in knowledge.renal_dose} <= drugs_kept_quiet


def test_every_topic_met_has_a_scenario() -> None:
    expected = {card["topic"] for scenario in SCENARIOS for card in scenario.then}
    assert {"renalDose", "doseAdvice", "renalFunction", "contraindication", "dataQuality"} <= expected


def test_topics_are_static(cards_of: CardsOf) -> None:
    """The same kind of advice has the same topic for every patient and drug."""
    displays: dict[str, set[str]] = {}
    for scenario in SCENARIOS:
        for card in cards_of(scenario):
            displays.setdefault(topic(card), set()).add(card["source"]["topic"]["display"])
    assert all(len(names) == 1 for names in displays.values())
