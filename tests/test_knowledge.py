"""The files in mappings/: each way they can be wrong earns a message that a pharmacist can act on."""

import re
import shutil
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.rules.dose import CidofovirRule, DoseRule
from cdshooks.medicine.rules.entries import cites_of
from cdshooks.medicine.rules.renal_dose import RenalDoseRule
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.model import Phase

MAPPINGS = Path(str(files("cdshooks.mappings")))
VALGANCICLOVIR = "rules/renal_dose/valganciclovir.yaml"
GANCICLOVIR = "rules/renal_dose/ganciclovir-iv.yaml"
FOSCARNET = "rules/renal_dose/foscarnet.yaml"
LETERMOVIR_PAIRS = "rules/interaction/letermovir.yaml"
LIMITS = "rules/interaction/limits.yaml"
UNUSED_SOURCES = {  # kept on purpose: what the design rests on beside the labels, cited in docs and not by a rule
    "obesity-ganciclovir",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "mappings"
    shutil.copytree(MAPPINGS, copy, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return copy


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Replace the first occurrence."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{name} no longer holds {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def complaint(folder: Path) -> str:
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder)
    text = str(caught.value)
    assert str(folder.parent) not in text, "a message names files below mappings/, not a folder of this machine"
    return text


# --------------------------------------------------------------------------------------------------------------------
# What is wrong in one file: the message names file, place and remedy

WRONG = {
    "the last band is missing": (
        VALGANCICLOVIR,
        "  - at_least: 0\n    not_recommended:",
        "  - at_least: 5\n    not_recommended:",
        "bands leave a gap below the last one: the last band must have `at_least: 0`",
    ),
    "bands in the wrong order": (
        VALGANCICLOVIR,
        "at_least: 60",
        "at_least: 30",
        "bands must run from the highest `at_least` to the lowest, each once; they run",
    ),
    "a band twice": (VALGANCICLOVIR, "at_least: 40", "at_least: 60", "bands must run from the highest"),
    "a band below zero": (VALGANCICLOVIR, "at_least: 10", "at_least: -10", "bands.3.at_least: "),
    "a band edge that is no number": (VALGANCICLOVIR, "at_least: 60", "at_least: sixty", "bands.0.at_least: "),
    "a band edge finer than the rounding": (
        VALGANCICLOVIR,
        "at_least: 60",
        "at_least: 59.5",
        "a band edge is finer than 1 mL/min, to which clearances are rounded",
    ),
    "a band edge per kg finer than the rounding": (
        FOSCARNET,
        "at_least: 1.41",
        "at_least: 1.405",
        "a band edge is finer than 0.01 mL/min/kg",
    ),
    "an unknown key": (
        VALGANCICLOVIR,
        "drug: valganciclovir\n",
        "drug: valganciclovir\ncolour: pink\n",
        "colour: unknown key: check the spelling, or remove it",
    ),
    "a misspelt key": (
        VALGANCICLOVIR,
        "treatment: [{dose: 900 mg, every: 12 h}]",
        "treatmnt: [{dose: 900 mg, every: 12 h}]",
        "bands.0.treatmnt: unknown key: check the spelling, or remove it",
    ),
    "a misspelt key inside": (
        VALGANCICLOVIR,
        "{dose: 450 mg, every: 48 h}",
        "{dos: 450 mg, every: 48 h}",
        ".dos: unknown key",
    ),
    "a key that is missing": (VALGANCICLOVIR, "reviewed: none\n", "", "reviewed: is missing: add it"),
    "a key written twice": (
        VALGANCICLOVIR,
        "reviewed: none\n",
        "reviewed: none\nreviewed: none\n",
        "the key `reviewed` is written twice; keep one of them",
    ),
    "a key written twice inside": (
        VALGANCICLOVIR,
        "{dose: 900 mg, every: 12 h}",
        "{dose: 900 mg, dose: 450 mg, every: 12 h}",
        "the key `dose` is written twice",
    ),
    "an unquoted section": (
        VALGANCICLOVIR,
        'section: "2.5, Table 2"',
        "section: 2.10",
        'cite.section: is no text: write it in quotes ("2.10")',
    ),
    "an empty section": (VALGANCICLOVIR, 'section: "2.5, Table 2"', 'section: ""', "cite.section: "),
    "a citation without section": (
        VALGANCICLOVIR,
        ', section: "2.5, Table 2"}',
        "}",
        "cite.section: is missing: add it",
    ),
    "an unquoted version": (
        "sources.yaml",
        'version: "December 2025"',
        "version: 2.10",
        "valganciclovir-us-label: version: is no text: write it in quotes",
    ),
    "a boolean in words": (
        GANCICLOVIR,
        "after_dialysis: true",
        "after_dialysis: on",
        "after_dialysis: write true or false",
    ),
    "another boolean in words": (
        GANCICLOVIR,
        "after_dialysis: true",
        "after_dialysis: no",
        "after_dialysis: write true or false",
    ),
    "a boolean as a number": (
        GANCICLOVIR,
        "after_dialysis: true",
        "after_dialysis: 1",
        "after_dialysis: write true or false",
    ),
    "a boolean where text belongs": (VALGANCICLOVIR, "reviewed: none", "reviewed: true", "reviewed: is no text"),
    "the wrong unit of a dose": (
        VALGANCICLOVIR,
        "{dose: 900 mg, every: 12 h}",
        "{dose: 900 mg/kg, every: 12 h}",
        "dose unit 'mg/kg' differs from the table's unit 'mg'",
    ),
    "the wrong unit of a variant": (
        VALGANCICLOVIR,
        "{dose: 200 mg, times: 3",
        "{dose: 200 mL, times: 3",
        "dose unit 'mL' differs from the table's unit 'mg'",
    ),
    "a unit of the table that is unknown": (VALGANCICLOVIR, "\nunit: mg\n", "\nunit: g\n", "unit: "),
    "a dose without unit": (
        VALGANCICLOVIR,
        "{dose: 900 mg, every: 12 h}",
        '{dose: "900", every: 12 h}',
        "dose unit '' differs",
    ),
    "a dose of nothing": (VALGANCICLOVIR, "{dose: 900 mg, every: 12 h}", "{dose: 0 mg, every: 12 h}", "dose.0: "),
    "a dose that is no number": (
        VALGANCICLOVIR,
        "{dose: 900 mg, every: 12 h}",
        "{dose: some mg, every: 12 h}",
        "dose.0: ",
    ),
    "an interval in an unknown unit": (
        VALGANCICLOVIR,
        "every: 12 h}",
        "every: 12 hours}",
        "period unit 'hours' is not one of h, d, wk",
    ),
    "no interval": (
        VALGANCICLOVIR,
        "{dose: 900 mg, every: 12 h}",
        "{dose: 900 mg}",
        "give either `every: 12 h`, or `times: 2` with `each: 1 wk`",
    ),
    "interval and frequency": (
        VALGANCICLOVIR,
        "{dose: 900 mg, every: 12 h}",
        "{dose: 900 mg, every: 12 h, times: 2, each: 1 d}",
        "give either `every: 12 h`, or `times: 2` with `each: 1 wk`",
    ),
    "half a frequency": (
        VALGANCICLOVIR,
        "{dose: 450 mg, times: 2, each: 1 wk}",
        "{dose: 450 mg, times: 2}",
        "give either `every: 12 h`",
    ),
    "a row with one column": (
        VALGANCICLOVIR,
        "    stable: [{dose: 900 mg, every: 24 h}]\n",
        "",
        "give `treatment` and `stable`, or `not_recommended`, or `refer`",
    ),
    "a row that says two things": (
        VALGANCICLOVIR,
        "    stable: [{dose: 900 mg, every: 24 h}]\n",
        "    stable: [{dose: 900 mg, every: 24 h}]\n    refer: Ask somebody.\n",
        "give `treatment` and `stable`, or `not_recommended`, or `refer`",
    ),
    "a row for dialysis is missing": (
        VALGANCICLOVIR,
        "  - modality: peritoneal\n    refer: No label dose exists for peritoneal dialysis. Ask the transplant or"
        " antimicrobial pharmacist.\n",
        "",
        "dialysis needs one row each for haemodialysis, peritoneal and continuous",
    ),
    "a row for dialysis twice": (
        VALGANCICLOVIR,
        "modality: peritoneal",
        "modality: continuous",
        "dialysis needs one row each",
    ),
    "an unknown kind of dialysis": (VALGANCICLOVIR, "modality: peritoneal", "modality: liver", "dialysis.1.modality: "),
    "an unknown kind of rule": (
        VALGANCICLOVIR,
        "kind: renal-dose",
        "kind: renal-doses",
        "kind: 'renal-doses' is not known; write one of renal-dose, ",
    ),
    "a kind in another place": ("kidney.yaml", "kind: kidney", "kind: judgement", "kind: "),
    "a share above one": ("judgement.yaml", "tolerance: 0.10", "tolerance: 10", "tolerance: "),
    "an unknown phase": ("phases.yaml", "precedence: [maintenance,", "precedence: [keeping,", "precedence.0: "),
    "a reason for a topic that is none": (
        "cards.yaml",
        "topics: [monitoring, pregnancy]}",
        "topics: [monitring, pregnancy]}",
        "an override reason names monitring, which is no topic",
    ),
    "an override reason twice": ("cards.yaml", "code: awaited", "code: intended", "two override reasons have the same"),
    "a remedy for a value that nothing looks at": (
        "rules/toxicity/ganciclovir-counts.yaml",
        "    analytes: [haemoglobin, platelets]",
        "    analytes: [potassium, platelets]",
        "a remedy is for potassium, which no limit of this rule looks at",
    ),
    "a warning that has no name when it is not known": (
        "rules/dose/letermovir.yaml",
        "    unchecked: CrCl below 50 mL/min (vehicle accumulates)\n",
        "",
        "a remark of severity warning needs `unchecked`",
    ),
    "an odd way of having seen a source": (
        "sources.yaml",
        "seen: label",
        "seen: hearsay",
        "valganciclovir-us-label: seen: ",
    ),
    "no YAML": (VALGANCICLOVIR, "bands:\n", "bands: [\n", "line "),
    "a list at the top": (VALGANCICLOVIR, "kind: renal-dose\n", "- x\n", "line "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_named_with_place_and_remedy(case: str, folder: Path) -> None:
    name, old, new, said = WRONG[case]
    edit(folder, name, old, new)
    text = complaint(folder)
    assert f"mappings/{name}: " in text
    assert said in text


def test_a_table_without_bands_is_refused(folder: Path) -> None:
    path = folder / FOSCARNET
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("bands:")] + "bands: []\n" + text[text.index("dialysis:") :], encoding="utf-8")
    said = "bands leave a gap below the last one: the last band must have `at_least: 0`"
    assert f"mappings/{FOSCARNET}: {said}" in complaint(folder)


def test_every_problem_of_a_file_and_of_every_file_is_named_at_once(folder: Path) -> None:
    edit(folder, VALGANCICLOVIR, "reviewed: none\n", "reviewd: none\n")
    edit(folder, VALGANCICLOVIR, "{dose: 900 mg, every: 12 h}", "{dose: 900 mg}")
    edit(folder, "kidney.yaml", "cap: 150", "cap: much")
    text = complaint(folder)
    for said in (
        "reviewd: unknown key",
        "reviewed: is missing",
        "give either `every: 12 h`",
        "kidney.yaml: schwartz.cap",
    ):
        assert said in text


@pytest.mark.parametrize("name", [VALGANCICLOVIR, "kidney.yaml", "sources.yaml", "phases.yaml", "cards.yaml"])
def test_a_file_that_is_not_utf_8_is_named(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"title: \xe9\n")
    text = complaint(folder)
    assert f"mappings/{name}: is not UTF-8; save it as UTF-8" in text


@pytest.mark.parametrize("name", ["kidney.yaml", "sources.yaml", "judgement.yaml", "routes.yaml", "codes/loinc.csv"])
def test_a_file_that_is_absent_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    text = complaint(folder)
    assert f"mappings/{name}: cannot be read" in text
    assert "put" in text


@pytest.mark.parametrize("name", [VALGANCICLOVIR, "kidney.yaml", "sources.yaml", "routes.yaml"])
def test_an_empty_file_is_an_error_and_no_empty_knowledge(name: str, folder: Path) -> None:
    (folder / name).write_text("", encoding="utf-8")
    assert f"mappings/{name}: " in complaint(folder)


# --------------------------------------------------------------------------------------------------------------------
# What does not fit together

AT_ODDS = {
    "an unknown source": (
        VALGANCICLOVIR,
        "cite: {source: valganciclovir-us-label",
        "cite: {source: valgancyclovir-us-label",
        "rule renal-dose/valganciclovir cites 'valgancyclovir-us-label', which is not in sources.yaml; mend the name",
    ),
    "an unknown source deep inside": (
        VALGANCICLOVIR,
        "cite: {source: kotton-2025",
        "cite: {source: kotton-2052",
        "rule renal-dose/valganciclovir cites 'kotton-2052', which is not in sources.yaml",
    ),
    "an unknown source of a window": (
        "phases.yaml",
        "{days: 100, cite: {source: ganciclovir-us-label",
        "{days: 100, cite: {source: nobody",
        "rule phases/words cites 'nobody', which is not in sources.yaml",
    ),
    "an unknown drug": (
        VALGANCICLOVIR,
        "\ndrug: valganciclovir\n",
        "\ndrug: valgancyclovir\n",
        "rule renal-dose/valganciclovir names the drug 'valgancyclovir', which is not in drugs.yaml; mend the name",
    ),
    "an unknown drug of an interaction": (
        LETERMOVIR_PAIRS,
        "with_drugs: [pimozide]",
        "with_drugs: [pimozid]",
        "rule interaction/letermovir names the drug 'pimozid', which no file here knows; mend the name",
    ),
    "an interaction table of a drug that is not ours": (
        LETERMOVIR_PAIRS,
        "drugs: [letermovir]",
        "drugs: [tacrolimus]",
        "rule interaction/letermovir names the drug 'tacrolimus', which no file here knows; mend the name",
    ),
    "an unknown second drug of an interaction": (
        LETERMOVIR_PAIRS,
        "also_with: [cyclosporine]",
        "also_with: [ciclosporin]",
        "rule interaction/letermovir names the drug 'ciclosporin', which no file here knows; mend the name",
    ),
    "a row from memory under a label": (
        "rules/interaction/ganciclovir.yaml",
        'cite: {source: clinical-memory, section: "aciclovir beside ganciclovir"}',
        'cite: {source: ganciclovir-us-label, section: "7"}',
        "the row of aciclovir-class says `seen: memory` and cites ganciclovir-us-label, which was seen in label; mend",
    ),
    "an unknown route of an interaction": (
        "rules/interaction/foscarnet.yaml",
        "not_routes: [oral]",
        "not_routes: [by mouth]",
        "rule interaction/foscarnet names the route 'by mouth', which no file here knows; mend the name",
    ),
    "an unknown test of an interaction": (
        LETERMOVIR_PAIRS,
        "test: inr",
        "test: prothrombin",
        "rule interaction/letermovir names the analyte 'prothrombin', which no file here knows; mend the name",
    ),
    "an unknown analyte in the limits of companions": (
        LIMITS,
        "analyte: qtc",
        "analyte: qtd",
        "rule interaction/limits names the analyte 'qtd', which no file here knows; mend the name",
    ),
    "a level that no analyte stands for": (
        LIMITS,
        "    sirolimus: sirolimus-level\n",
        "",
        "rule interaction/letermovir names the drug with a level 'sirolimus', which no file here knows; mend the name",
    ),
    "a critical row that no label says": (
        LETERMOVIR_PAIRS,
        "severity: warning\n    seen: secondary",
        "severity: critical\n    seen: secondary",
        "a row that no label was seen for is never critical: write warning",
    ),
    "a row that is eased and is no warning": (
        LETERMOVIR_PAIRS,
        "severity: warning\n    info_while: [levels]",
        "severity: critical\n    info_while: [levels]",
        "`info_while` and `above_mg_per_day` grade a row of severity warning",
    ),
    "a second file of limits": (
        "rules/duplicate.yaml",
        "kind: duplicate",
        "kind: interaction-limits",
        "mappings/rules: 0 files are of kind duplicate; there has to be one that can be read",
    ),
    "an unknown route": (
        VALGANCICLOVIR,
        "routes: [oral]",
        "routes: [orally]",
        "rule renal-dose/valganciclovir names the route 'orally', which no file here knows; mend the name",
    ),
    "an unknown transplant": (
        "phases.yaml",
        "  transplant-kidney: {days",
        "  transplant-kidny: {days",
        "rule phases/words names the transplant 'transplant-kidny', which no file here knows",
    ),
    "an id twice": (
        GANCICLOVIR,
        "id: renal-dose/ganciclovir-iv",
        "id: renal-dose/valganciclovir",
        "rule id renal-dose/valganciclovir is used twice; ids must be unique",
    ),
    "an id of two kinds": (
        "judgement.yaml",
        "id: judgement/dose",
        "id: kidney/function",
        "rule id kidney/function is used twice",
    ),
    "two rules for a drug and route": (
        GANCICLOVIR,
        "drug: ganciclovir\nroutes: [intravenous]",
        "drug: valganciclovir\nroutes: [intravenous, oral]",
        "both dose valganciclovir by the oral route; keep one",
    ),
}


@pytest.mark.parametrize("case", AT_ODDS)
def test_files_that_do_not_fit_together(case: str, folder: Path) -> None:
    name, old, new, said = AT_ODDS[case]
    edit(folder, name, old, new)
    assert said in complaint(folder)


def test_a_copy_of_a_rule_beside_it_is_refused(folder: Path) -> None:
    shutil.copy(folder / VALGANCICLOVIR, folder / "rules" / "copy.yaml")
    text = complaint(folder)
    assert "rule id renal-dose/valganciclovir is used twice" in text


ROW = "{when: {years_at_least: 18}, regimens: [{dose: 240 mg, every: 24 h}]}"  # figures of no meaning


def add_dose_rule(folder: Path, row: str, drug: str = "letermovir") -> None:
    """A rule with one row in a file of its own."""
    rule = f"""
kind: dose
id: dose/ours
title: A rule of a test
drug: {drug}
routes: [oral]
reviewed: none
cite: {{source: project-design, section: "test"}}
maximum: {{regimens: [{{dose: 480 mg, every: 24 h}}], says: at most, cite: {{source: project-design, section: "test"}}}}
rows:
  - {row}
"""
    (folder / "rules" / "ours.yaml").write_text(rule, encoding="utf-8")


def test_a_rule_in_a_file_of_its_own_is_loaded(folder: Path) -> None:
    add_dose_rule(folder, ROW)
    assert "dose/ours" in [rule.id for rule in load_knowledge(folder).rules]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "regimens: [{dose: 240 mg, every: 24 h}]",
            "note: x",
            "rows.0: give `regimens`, or `formula` with `every`, or `not_recommended`, or `unsettled`",
        ),
        (
            "}]}",
            "}], known: [{by: x, cite: {source: project-design, section: x}}]}",
            "rows.0.known.0: give `regimens`, or `formula` with `every`",
        ),
        ("}]}", "}], unsettled: x}", "rows.0: give `regimens`, or `formula` with `every`"),
        ("years_at_least: 18", "years_atleast: 18", "rows.0.when.years_atleast: unknown key"),
        ("years_at_least: 18", "phases: [keeping]", "rows.0.when.phases.0: "),
    ],
)
def test_a_row_that_cannot_be_read_is_named(old: str, new: str, said: str, folder: Path) -> None:
    assert old in ROW
    add_dose_rule(folder, ROW.replace(old, new))
    assert f"mappings/rules/ours.yaml: {said}" in complaint(folder)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("with_drugs: [cyclosporin]", "names the drug 'cyclosporin', which no file here knows; mend the name"),
        ("routes: [iv]", "names the route 'iv', which no file here knows; mend the name"),
        ("problems: [congenital-cmv]", "names the problem 'congenital-cmv', which no file here knows; mend the name"),
    ],
)
def test_a_condition_that_could_never_hold_is_named(condition: str, said: str, folder: Path) -> None:
    add_dose_rule(folder, ROW.replace("years_at_least: 18", condition))
    assert f"rule dose/ours {said}" in complaint(folder)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "indication/letermovir.yaml",
            "drugs: [letermovir]",
            "drugs: [letermavir]",
            "rule indication/letermovir-treatment names the drug 'letermavir'",
        ),
        (
            "indication/letermovir.yaml",
            "no_problems: [transplant_any,",
            "no_problems: [transplants,",
            "rule indication/letermovir-no-transplant names the problem 'transplants'",
        ),
        (
            "indication/maribavir.yaml",
            "treated_with: [ganciclovir,",
            "treated_with: [gancyclovir,",
            "rule indication/maribavir-first-line names the drug 'gancyclovir'",
        ),
        (
            "indication/cidofovir.yaml",
            "proposes: [cmv-resistance-panel]",
            "proposes: [cmv-genotype]",
            "rule indication/cidofovir-not-retinitis names the test 'cmv-genotype'",
        ),
        ("response.yaml", "series: [cmv-viral-load,", "series: [cmv-load,", "names the analyte 'cmv-load'"),
        ("duration.yaml", "problems: [cmv-congenital]", "problems: [congenital]", "names the problem 'congenital'"),
        (
            "duration.yaml",
            "late_risk: [graft-versus-",
            "late_risk: [graft-against-",
            "names the problem 'graft-against-",
        ),
    ],
)
def test_a_name_in_advice_that_nothing_stands_behind_is_named(
    file: str, old: str, new: str, said: str, folder: Path
) -> None:
    edit(folder, f"rules/{file}", old, new)
    assert said in complaint(folder)


def test_days_outside_a_window_need_a_transplantation(folder: Path) -> None:
    edit(folder, "rules/indication/letermovir.yaml", "transplant: transplant-hct, ", "")
    assert "give `transplant` and `days_outside` together" in complaint(folder)


def test_a_second_file_of_thresholds_is_refused(folder: Path) -> None:
    text = (folder / "rules" / "response.yaml").read_text(encoding="utf-8")
    (folder / "rules" / "response-too.yaml").write_text(text, encoding="utf-8")
    assert "2 files are of kind response; keep one" in complaint(folder)


def test_conditions_that_can_hold_are_accepted(folder: Path) -> None:
    condition = "with_drugs: [cyclosporine], routes: [oral, intravenous], problems: [cmv-retinitis, transplant-kidney]"
    add_dose_rule(folder, ROW.replace("years_at_least: 18", condition))
    assert "dose/ours" in [rule.id for rule in load_knowledge(folder).dose]


def test_a_dose_rule_for_an_unknown_drug_is_named(folder: Path) -> None:
    add_dose_rule(folder, ROW, "letermovirr")
    assert "rule dose/ours names the drug 'letermovirr', which is not in drugs.yaml; mend the name" in complaint(folder)


# --------------------------------------------------------------------------------------------------------------------
# What is right


def test_a_dose_can_be_changed(folder: Path) -> None:
    edit(
        folder,
        VALGANCICLOVIR,
        "treatment: [{dose: 900 mg, every: 12 h}]",
        "treatment: [{dose: 1350 mg, times: 2, each: 1 d}]",
    )
    edit(folder, VALGANCICLOVIR, "at_least: 60", "at_least: 61")
    changed = load_knowledge(folder)
    table = changed.dose_table("valganciclovir", "oral")
    assert table is not None
    assert table.bands[0].at_least == 61
    assert table.bands[0].treatment[0].regimen.wording == "1350 mg every 12 h"


def test_a_rule_file_may_stand_in_any_folder_below_rules(folder: Path) -> None:
    (folder / "rules" / "of" / "ours").mkdir(parents=True)
    shutil.move(folder / VALGANCICLOVIR, folder / "rules" / "of" / "ours" / "anything.yaml")
    assert load_knowledge(folder).dose_table("valganciclovir", "oral") is not None


def test_only_yaml_below_rules_is_read(folder: Path) -> None:
    (folder / "rules" / "notes.txt").write_text("not a rule", encoding="utf-8")
    (folder / "rules" / "README.md").write_text("not a rule", encoding="utf-8")
    assert load_knowledge(folder).version == load_knowledge(folder).version


def test_a_copy_of_the_built_in_knowledge_is_the_same_knowledge(folder: Path, knowledge: Knowledge) -> None:
    copied = load_knowledge(folder)
    assert copied.version == knowledge.version
    assert copied.rules == knowledge.rules


def test_tables_are_found_by_drug_route_and_indication(knowledge: Knowledge) -> None:
    def found(drug: str, route: str, indication: str = "cmv") -> str | None:
        table = knowledge.dose_table(drug, route, indication)
        return table.id if table else None

    assert found("valganciclovir", "oral") == "renal-dose/valganciclovir"
    assert found("valganciclovir", "oral", "hsv") == "renal-dose/valganciclovir"
    assert found("foscarnet", "intravenous") == "renal-dose/foscarnet"
    assert found("foscarnet", "intravenous", "hsv") == "renal-dose/foscarnet-hsv"
    assert found("valganciclovir", "intravenous") is None
    assert found("ganciclovir", "") is None
    assert found("examplovir", "oral") is None


@pytest.mark.parametrize("phase", list(Phase))
def test_a_table_has_one_row_for_every_clearance(phase: Phase, knowledge: Knowledge) -> None:
    for table in knowledge.renal_dose:
        highest = table.bands[0].at_least
        clearance, seen = highest + 5 * table.step, []
        while clearance >= 0:
            seen.append(table.band(clearance))
            clearance -= table.step
        assert list(dict.fromkeys(band.at_least for band in seen)) == [band.at_least for band in table.bands]
        for band in table.bands:
            assert band.not_recommended or band.refer or (band.treatment if phase is Phase.TREATMENT else band.stable)


# --------------------------------------------------------------------------------------------------------------------
# The version


def test_the_version_changes_with_any_byte_of_any_file(folder: Path) -> None:
    names = [path for path in sorted(folder.rglob("*")) if path.suffix in (".yaml", ".csv")]
    assert len(names) >= 15
    versions = [load_knowledge(folder).version]
    for path in names:
        if path.suffix == ".yaml":  # a comment changes no meaning, and is a change all the same
            path.write_bytes(path.read_bytes() + b"# x\n")
            versions.append(load_knowledge(folder).version)
    edit(folder, "codes/loinc.csv", "Creatinine", "creatinine")
    versions.append(load_knowledge(folder).version)
    assert len(set(versions)) == len(versions)
    assert all(re.fullmatch(r"[0-9a-f]{12}", version) for version in versions)


def test_the_version_changes_with_a_name_and_with_a_swap(folder: Path) -> None:
    before = load_knowledge(folder).version
    first, second = folder / VALGANCICLOVIR, folder / GANCICLOVIR
    (folder / "x").write_text("")
    texts = first.read_bytes(), second.read_bytes()
    first.write_bytes(texts[1])
    second.write_bytes(texts[0])
    assert load_knowledge(folder).version != before
    first.write_bytes(texts[0])
    second.write_bytes(texts[1])
    assert load_knowledge(folder).version == before
    first.rename(first.with_name("zzz.yaml"))
    assert load_knowledge(folder).version != before


def test_the_version_does_not_hang_on_the_order_of_files(folder: Path, tmp_path: Path) -> None:
    """The same files written in the opposite order, into a folder that lists them otherwise."""
    other = tmp_path / "backwards"
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            target = other / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    assert load_knowledge(other).version == load_knowledge(folder).version


def test_documents_are_no_part_of_the_version(folder: Path) -> None:
    before = load_knowledge(folder).version
    (folder / "codes" / "README.md").write_text("other words", encoding="utf-8")
    assert load_knowledge(folder).version == before


# --------------------------------------------------------------------------------------------------------------------
# The built-in rules as they are


def test_every_rule_has_a_citation_a_title_and_no_invented_review(knowledge: Knowledge) -> None:
    assert len(knowledge.rules) >= 6
    for rule in knowledge.rules:
        assert list(cites_of(rule)), f"{rule.id} cites nothing"
        assert rule.title, f"{rule.id} has no title"
        assert rule.reviewed == "none", f"{rule.id} claims a review"
    assert {source.checked for source in knowledge.sources.values()} == {"none"}


def test_every_rule_of_a_drug_cites_an_outside_source(knowledge: Knowledge) -> None:
    for rule in knowledge.rules:
        if isinstance(rule, RenalDoseRule | DoseRule | CidofovirRule):
            seen = {knowledge.sources[cite.source].seen for cite in cites_of(rule)}
            assert seen - {"design"}, f"{rule.id} rests on our own choice alone"


def test_every_source_is_cited_or_listed_as_kept(knowledge: Knowledge) -> None:
    cited = {cite.source for rule in knowledge.rules for cite in cites_of(rule)}
    assert set(knowledge.sources) - cited == UNUSED_SOURCES


def test_every_source_has_title_version_and_a_sound_address(knowledge: Knowledge) -> None:
    for key, source in knowledge.sources.items():
        assert source.title, key
        assert source.version, key
        assert source.url == "" or source.url.startswith("https://"), key


def test_ids_follow_one_pattern(knowledge: Knowledge) -> None:
    ids = [rule.id for rule in knowledge.rules]
    assert [name for name in ids if not re.fullmatch(r"[a-z-]+/[a-z-]+", name)] == []
    assert [name for name, count in Counter(ids).items() if count > 1] == []


def test_every_rule_file_is_loaded(knowledge: Knowledge) -> None:
    """No file below rules/ is passed over, and every topic that a card may have is named."""
    written = [read_yaml(path) for path in (MAPPINGS / "rules").rglob("*.yaml")]
    advice = {row["id"] for file in written for row in file.get("advice", ())}
    whole = {file["id"] for file in written if "advice" not in file}
    assert advice | whole <= {rule.id for rule in knowledge.rules} | {knowledge.duration.id}
    assert len({file["id"] for file in written}) == len(written)
