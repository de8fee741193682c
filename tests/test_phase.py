"""What an order is for: the words that say it, the traps that only seem to, and what the chart lets assume."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.phase import indication_said, phase_assumed, phase_said
from cdshooks.model import Intent, Lab, Missing, Phase, Problem, Unused, Why

TODAY = date(2026, 11, 21)
TREATMENT, MAINTENANCE, PROPHYLAXIS = Phase.TREATMENT, Phase.MAINTENANCE, Phase.PROPHYLAXIS

SAID = {
    # plain words, in any case, with a hyphen, a space or nothing
    "Induction": TREATMENT,
    "CMV induction therapy": TREATMENT,
    "Treatment of CMV disease": TREATMENT,
    "treat CMV pneumonitis": TREATMENT,
    "Treating CMV viraemia": TREATMENT,
    "Pre-emptive therapy": TREATMENT,
    "preemptive treatment": TREATMENT,
    "pre emptive": TREATMENT,
    "PREEMPTIVE THERAPY FOR CMV DNAEMIA": TREATMENT,
    "Active disease": TREATMENT,
    "re-induction after relapse": TREATMENT,
    "reinduction": TREATMENT,
    "Therapeutic dose": TREATMENT,
    "Maintenance": MAINTENANCE,
    "CMV retinitis maintenance": MAINTENANCE,
    "Secondary prophylaxis": MAINTENANCE,
    "secondary\n  prevention of CMV": MAINTENANCE,
    "Suppressive therapy": MAINTENANCE,
    "Long-term suppression": MAINTENANCE,
    "CMV prophylaxis": PROPHYLAXIS,
    "Prophylactic valganciclovir": PROPHYLAXIS,
    "Primary prophylaxis D+/R-": PROPHYLAXIS,
    "Prevention of CMV disease": PROPHYLAXIS,
    "To prevent CMV": PROPHYLAXIS,
    "PPX": PROPHYLAXIS,
    "Valcyte 900 mg daily for prophylaxis": PROPHYLAXIS,
    "On prophylaxis": PROPHYLAXIS,
    "Continue prophylaxis": PROPHYLAXIS,
    # what was before, or is meanwhile, is not what is ordered
    "Maintenance after induction": MAINTENANCE,
    "Induction completed, now maintenance": MAINTENANCE,
    "Maintenance following 21 days of induction": MAINTENANCE,
    "secondary prophylaxis after treatment of CMV disease": MAINTENANCE,
    "post-transplant prophylaxis": PROPHYLAXIS,
    "Prophylaxis after transplant": PROPHYLAXIS,
    "CMV prophylaxis after treatment of rejection": PROPHYLAXIS,
    "CMV prophylaxis during treatment for acute rejection": PROPHYLAXIS,
    "Treatment of CMV disease, history of prophylaxis": TREATMENT,
    "Treatment of CMV disease (s/p prophylaxis)": TREATMENT,
    "Treatment, status post prophylaxis": TREATMENT,
    "CMV disease 3 months after end of prophylaxis, treatment": TREATMENT,
    "Prophylaxis completed; treatment of late-onset CMV": TREATMENT,
    "Prior treatment, now prophylaxis": PROPHYLAXIS,
    "Hx of treatment for CMV; now on prophylaxis": PROPHYLAXIS,
    "Prophylaxis failed, treatment of CMV disease": TREATMENT,
    "Failed prophylaxis, now treatment": TREATMENT,
    "Breakthrough on prophylaxis, treatment": TREATMENT,
    "Breakthrough disease despite prophylaxis: treatment": TREATMENT,
    # a change, or a sequence
    "Switch from prophylaxis to treatment": TREATMENT,
    "Switch from induction to maintenance": MAINTENANCE,
    "Step down from treatment to maintenance": MAINTENANCE,
    "Stop prophylaxis, start treatment": TREATMENT,
    "Induction for 21 days then maintenance": TREATMENT,
    "Induction 3 weeks followed by maintenance": TREATMENT,
    "CMV treatment dose x 2 weeks then ppx": TREATMENT,
    "Treatment until clearance, then secondary prophylaxis": TREATMENT,
    # denied
    "Treatment, not prophylaxis": TREATMENT,
    "Prophylaxis, not treatment": PROPHYLAXIS,
    "No maintenance yet, continue induction": TREATMENT,
    "Treatment instead of prophylaxis": TREATMENT,
    "Prophylaxis (pre-emptive strategy not used)": PROPHYLAXIS,
    "Not for prophylaxis": None,
    "no treatment": None,
    # the same words for something else
    "CMV prophylaxis while on induction immunosuppression": PROPHYLAXIS,
    "CMV prophylaxis, induction with thymoglobulin": PROPHYLAXIS,
    "CMV prophylaxis with basiliximab induction": PROPHYLAXIS,
    "CMV prophylaxis, on maintenance immunosuppression": PROPHYLAXIS,
    "CMV treatment, patient on maintenance hemodialysis": TREATMENT,
    "Treatment; maintenance dialysis MWF": TREATMENT,
    "maintenance fluids": None,
    "induction chemotherapy": None,
    # two at once: maintenance comes before prophylaxis before treatment
    "CMV treatment - maintenance phase": MAINTENANCE,
    "Treatment/prophylaxis": PROPHYLAXIS,
    # parts of words, and nothing at all
    "untreated": None,
    "mistreatment": None,
    "chemotherapy": None,
    "preventable": None,
    "take 2 tablets daily": None,
    "kidney transplant": None,
    "CMV": None,
    "": None,
}


@pytest.mark.parametrize(("text", "phase"), SAID.items(), ids=[ascii(text) for text in SAID])
def test_words_in_an_order(text: str, phase: Phase | None, knowledge: Knowledge) -> None:
    found = phase_said([("reason", text)], knowledge.phases)
    assert (found.phase if found else None) == phase
    if found:
        assert found.basis == "said"
        assert "(reason)" in found.because


def test_the_table_of_words_is_long_enough() -> None:
    assert len(SAID) >= 70
    assert {None, *Phase} == set(SAID.values())


@pytest.mark.parametrize("text", [text for text, phase in SAID.items() if phase])
def test_letter_case_does_not_matter(text: str, knowledge: Knowledge) -> None:
    phases = {
        found.phase if (found := phase_said([("x", form)], knowledge.phases)) else None
        for form in (text, text.upper(), text.lower())
    }
    assert phases == {SAID[text]}


def test_the_first_text_that_names_a_phase_counts(knowledge: Knowledge) -> None:
    texts = [("reason", "CMV"), ("dosage text", "450 mg daily, prophylaxis"), ("note", "treatment")]
    found = phase_said(texts, knowledge.phases)
    assert found is not None
    assert found.phase is PROPHYLAXIS
    assert found.because == 'the order says "prophylaxis" (dosage text)'


def test_every_listed_word_names_its_phase(knowledge: Knowledge) -> None:
    for phase in Phase:
        for word in getattr(knowledge.phases.words, phase.value):
            found = phase_said([("x", f"CMV: {word}")], knowledge.phases)
            assert found is not None, word
            assert found.phase is phase, word


def test_every_ignored_phrase_says_nothing(knowledge: Knowledge) -> None:
    for phrase in knowledge.phases.ignore:
        assert phase_said([("x", phrase)], knowledge.phases) is None, phrase


DISEASE = (
    "CMV colitis",
    "CMV viraemia",
    "cytomegalovirus pneumonitis",
    "Refractory CMV",
    "CMV breakthrough",
    "active CMV",
)


@pytest.mark.parametrize("text", DISEASE)
def test_a_cmv_disease_without_a_phase_means_treatment_and_is_assumed(text: str, knowledge: Knowledge) -> None:
    found = phase_said([("reason", text)], knowledge.phases)
    assert found is not None
    assert (found.phase, found.basis) == (TREATMENT, "assumed")


@pytest.mark.parametrize(
    "text",
    [
        "colitis",
        "no CMV disease",
        "at risk of CMV disease",
        "high risk for CMV infection",
        "after CMV disease",
        "rejection treatment",
        "PJP prophylaxis",
        "Pneumocystis prophylaxis",
        "immunosuppressive therapy",
        "thymoglobulin induction",
        "antifungal prophylaxis",
    ],
)
def test_what_is_about_something_else_says_nothing(text: str, knowledge: Knowledge) -> None:
    assert phase_said([("reason", text)], knowledge.phases) is None


@pytest.mark.parametrize(
    ("texts", "indication"),
    [
        ([], "cmv"),
        (["Treatment"], "cmv"),
        (["Herpes simplex, aciclovir-resistant"], "hsv"),
        (["treatment", "mucocutaneous HSV-2"], "hsv"),
        (["HSV and CMV"], "cmv"),
        (["HSV", "also cytomegalovirus"], "cmv"),
        (["hsvx"], "cmv"),
    ],
)
def test_what_an_order_is_against(texts: list[str], indication: str, knowledge: Knowledge) -> None:
    assert indication_said([("reason", text) for text in texts], knowledge.phases) == indication


# --------------------------------------------------------------------------------------------------------------------
# Assumed from the chart

NONE_ON_FILE = Missing(Why.NONE_ON_FILE)


@dataclass(frozen=True, slots=True)
class Loads:
    """Viral loads of one series, newest first; `unused` are those that stand before the newest."""

    labs: tuple[Lab, ...] = ()
    state: Missing = NONE_ON_FILE
    unused: tuple[Unused, ...] = ()

    def newest(self) -> Lab | Missing:
        return self.labs[0] if self.labs else self.state

    def since(self, day: date) -> tuple[Lab, ...]:
        return tuple(lab for lab in self.labs if lab.on >= day)

    @property
    def met(self) -> tuple[Unused, ...]:
        return self.unused

    @property
    def looked_at(self) -> None:
        return None

    def otherwise(self) -> "Loads":
        return self


def load(value: str, days_ago: int, comparator: str = "") -> Lab:
    on = TODAY - timedelta(days=days_ago)
    words = f"{comparator}{value} IU/mL"
    return Lab("cmv-viral-load", Decimal(value), "[IU]/mL", comparator, on, None, "Observation/v", words)


def unused(why: str, days_ago: int, kind: str = "word") -> Unused:
    on = (TODAY - timedelta(days=days_ago)).isoformat()
    return Unused("Observation/w", f"CMV DNA of {on}", why, kind, "cmv-viral-load", on)


def problem(concept: str, days_ago: int | None = None, kind: str = "diagnosis") -> Problem:
    since = None if days_ago is None else TODAY - timedelta(days=days_ago)
    return Problem(concept, concept.replace("-", " "), since, "Condition/c", kind)


def assume(problems: list[Problem], knowledge: Knowledge, *loads: Loads, seen: bool = True) -> Intent:
    return phase_assumed(problems, seen, loads, knowledge.codes.groups, knowledge.phases, TODAY)


def test_cmv_on_the_problem_list_means_treatment(knowledge: Knowledge) -> None:
    concepts = {"cmv-viraemia"} | knowledge.codes.groups["cmv_disease"]
    assert "cmv-retinitis" in concepts
    for concept in concepts:
        found = assume([problem(concept)], knowledge)
        assert (found.phase, found.basis) == (TREATMENT, "assumed"), concept


@pytest.mark.parametrize(
    ("result", "phase"),
    [
        (load("1200", 0), TREATMENT),
        (load("1200", 30), TREATMENT),
        (load("1200", 31), None),
        (load("34.5", 3, "<"), None),
        (load("10000000", 3, ">"), TREATMENT),
        (load("0", 3), None),
        (load("1", 3), TREATMENT),
    ],
)
def test_measurable_virus_of_this_month_means_treatment(result: Lab, phase: Phase | None, knowledge: Knowledge) -> None:
    assert assume([], knowledge, Loads(), Loads((result,))).phase == phase


@pytest.mark.parametrize(
    ("words", "days", "phase"),
    [
        ('says "Detected"', 3, TREATMENT),
        ('says "POSITIVE"', 30, TREATMENT),
        ('says "Detected"', 31, None),
        ('says "Not detected"', 3, None),
        ('says "none"', 3, None),
    ],
)
def test_virus_detected_in_words_means_treatment(
    words: str, days: int, phase: Phase | None, knowledge: Knowledge
) -> None:
    assert assume([], knowledge, Loads(unused=(unused(words, days),))).phase == phase


def test_every_prophylaxis_window_has_two_ends(knowledge: Knowledge) -> None:
    windows = knowledge.phases.prophylaxis_window_days
    assert {"transplant-kidney", "transplant-lung", "transplant-hct"} <= set(windows)
    for concept, window in windows.items():
        for days, phase in ((0, PROPHYLAXIS), (window.days, PROPHYLAXIS), (window.days + 1, None), (-1, None)):
            assert assume([problem(concept, days)], knowledge, Loads()).phase == phase, (concept, days)


@pytest.mark.parametrize("why", [Why.NOT_SENT, Why.FETCH_FAILED, Why.UNUSABLE])
def test_no_prophylaxis_is_assumed_when_the_viral_load_could_not_be_seen(why: Why, knowledge: Knowledge) -> None:
    kidney, unseen = [problem("transplant-kidney", 40)], Loads(state=Missing(why))
    assert assume(kidney, knowledge, unseen).basis == "unknown"
    assert assume(kidney, knowledge, Loads(), unseen).basis == "unknown"
    assert assume(kidney, knowledge, Loads(), Loads((load("34.5", 3, "<"),))).phase is PROPHYLAXIS


def test_no_prophylaxis_is_assumed_when_the_problem_list_could_not_be_seen(knowledge: Knowledge) -> None:
    kidney = [problem("transplant-kidney", 40)]
    assert assume(kidney, knowledge, Loads(), seen=False).basis == "unknown"
    assert assume(kidney, knowledge, Loads(), seen=True).phase is PROPHYLAXIS


@pytest.mark.parametrize(("kind", "phase"), [("unit", None), ("withdrawn", PROPHYLAXIS), ("future", PROPHYLAXIS)])
def test_a_newer_result_that_cannot_be_read_leaves_the_phase_open(
    kind: str, phase: Phase | None, knowledge: Knowledge
) -> None:
    series = Loads((load("34.5", 9, "<"),), unused=(unused("is not used", 3, kind),))
    assert assume([problem("transplant-kidney", 40)], knowledge, series).phase == phase


@pytest.mark.parametrize(("days", "phase"), [(30, None), (31, PROPHYLAXIS)])
def test_a_virus_cleared_just_now_may_be_the_end_of_a_treatment(
    days: int, phase: Phase | None, knowledge: Knowledge
) -> None:
    series = Loads((load("34.5", 2, "<"), load("800", days)))
    assert assume([problem("transplant-kidney", 60)], knowledge, series).phase == phase


def test_a_transplant_without_a_date_settles_nothing(knowledge: Knowledge) -> None:
    assert assume([problem("transplant-kidney")], knowledge, Loads()).basis == "unknown"


@pytest.mark.parametrize("kind", ["complication", "encounter"])
def test_a_code_for_a_complication_or_a_visit_dates_no_transplant(kind: str, knowledge: Knowledge) -> None:
    assert assume([problem("transplant-kidney", 40, kind)], knowledge, Loads()).basis == "unknown"


def test_disease_outranks_the_prophylaxis_window(knowledge: Knowledge) -> None:
    kidney = problem("transplant-kidney", 40)
    assert assume([kidney, problem("cmv-retinitis")], knowledge, Loads()).phase is TREATMENT
    assert assume([kidney], knowledge, Loads((load("900", 4),))).phase is TREATMENT


def test_the_reason_for_an_assumption_is_said(knowledge: Knowledge) -> None:
    kidney = replace(problem("transplant-kidney", 40), text="Kidney transplant")
    assert assume([kidney], knowledge, Loads()).because == "day 40 after Kidney transplant, no CMV DNAemia on file"
    assert assume([], knowledge, Loads((load("900", 4),))).because == "CMV viral load 900 IU/mL on 2026-11-17"
    assert assume([problem("cmv-retinitis")], knowledge).because == "cmv retinitis is on the problem list"
    unnamed = replace(problem("cmv-retinitis"), text="")
    assert assume([unnamed], knowledge).because == "cmv-retinitis is on the problem list"


def test_only_words_are_read_as_words(knowledge: Knowledge) -> None:
    strange = Loads(unused=(unused("has no unit, was detected", 3, "unit"),))
    assert assume([], knowledge, strange).phase is None
