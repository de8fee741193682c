"""Every claim of the source articles has an answer, and docs/claims.md says what is true now."""

import pytest
from claims import ANSWERS, PAGE, Claim, page, read_claims, read_file
from scenario import load_scenarios

from cdshooks.medicine.knowledge import Knowledge

CLAIMS_PER_ARTICLE = {"S0": 24, "S1": 25, "S2": 16, "S3": 43, "S4": 33}


@pytest.fixture(scope="module")
def claims(knowledge: Knowledge) -> tuple[Claim, ...]:
    return read_claims(knowledge)


def test_every_claim_of_every_article_is_there_once(claims: tuple[Claim, ...]) -> None:
    wanted = [f"{article}-{n}" for article, count in CLAIMS_PER_ARTICLE.items() for n in range(1, count + 1)]
    assert [claim.id for claim in claims] == wanted


def test_every_claim_has_an_answer(claims: tuple[Claim, ...]) -> None:
    assert [claim.id for claim in claims if not claim.answered] == []


def test_what_a_claim_names_exists(claims: tuple[Claim, ...]) -> None:
    assert {claim.id: claim.missing for claim in claims if claim.missing} == {}


def test_the_conflicts_are_resolved(knowledge: Knowledge, claims: tuple[Claim, ...]) -> None:
    conflicts = read_file()["conflicts"]
    assert [entry["id"] for entry in conflicts] == [f"C{n}" for n in range(1, 18)]
    known, ids = {rule.id for rule in knowledge.rules}, {claim.id for claim in claims}
    assert {name for entry in conflicts for name in entry.get("rules", ())} <= known
    assert {name for entry in conflicts for name in entry["rows"]} <= ids
    assert all(entry["how"] for entry in conflicts)


def test_scenarios_name_claims_that_exist(claims: tuple[Claim, ...]) -> None:
    named = {claim for scenario in load_scenarios() for claim in scenario.claims}
    assert named <= {claim.id for claim in claims}


def test_a_refused_claim_has_a_reason(claims: tuple[Claim, ...]) -> None:
    assert all(claim.how for claim in claims if claim.answer == ANSWERS[2])


def test_the_page_is_up_to_date(claims: tuple[Claim, ...], knowledge: Knowledge) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(claims, knowledge), "run `make claims`"
