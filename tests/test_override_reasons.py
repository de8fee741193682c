"""The reasons that a loud card offers fit what it says, and every topic has some."""

import pytest
from conftest import Judge
from scenario import load_scenarios, render, topic

from cdshooks.medicine.knowledge import Knowledge

COMMON = ("intended", "protocol", "notapplicable")
OFFERED = {  # scenario -> topic, some codes that fit, some that do not
    "Ganciclovir, allergy to ganciclovir by RxNorm": (
        "contraindication",
        {"tolerated", "benefit"},
        {"pending", "watched"},
    ),
    "Ganciclovir and valganciclovir drafted together": ("duplicate", {"replaced"}, {"pending", "tolerated", "benefit"}),
    "Ganciclovir begins at neutrophils 0.42": ("toxicity", {"watched", "othervalues", "benefit"}, {"replaced"}),
    "Valganciclovir with mycophenolate, counts of eight days ago": (
        "interaction",
        {"watched", "replaced"},
        {"pending"},
    ),
    "Ten days after maribavir, no level of three immunosuppressants since": ("monitoring", {"awaited"}, {"tolerated"}),
    "Foscarnet at 70 mg/min, no weight on file": ("administration", {"elsewhere"}, {"pending", "benefit", "tolerated"}),
    "Creatinine falling and a dose that is too little already": ("renalDose", {"pending"}, {"tolerated", "elsewhere"}),
}


@pytest.mark.parametrize("name", OFFERED)
def test_the_reasons_fit_the_card(name: str, judge: Judge) -> None:
    (scenario,) = (one for one in load_scenarios() if one.name == name)
    about, fitting, others = OFFERED[name]
    card = next(card for card in judge(render(scenario), scenario.today).cards if topic(card) == about)
    codes = [reason["code"] for reason in card["overrideReasons"]]
    assert {*COMMON, *fitting} <= set(codes)
    assert not others & set(codes)
    assert len(set(codes)) == len(codes)


def test_a_card_of_every_topic_offers_what_fits_all_of_them(knowledge: Knowledge) -> None:
    for name in knowledge.cards.topics:
        codes = [reason.code for reason in knowledge.cards.reasons_for(name)]
        assert set(COMMON) <= set(codes)
        assert codes[-1] == "notapplicable"  # the last way out


def test_codes_that_were_given_before_are_still_offered(knowledge: Knowledge) -> None:
    """Reports count by code: one that is in use keeps its place and its meaning."""
    known = {reason.code: reason.display for reason in knowledge.cards.override_reasons}
    assert known["intended"] == "Intended; discussed with infectious diseases or pharmacy"
    assert known["othervalues"] == "I know newer or other values than the record"
    assert known["protocol"] == "Follows a local protocol"
    assert known["pending"] == "Result pending; dose will be adjusted"
    assert known["benefit"] == "Benefit outweighs the risk"
    assert known["notapplicable"] == "Does not apply to this patient"
