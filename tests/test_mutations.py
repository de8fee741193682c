"""The published mutations: our levels against an independent table, the reference, and what stops the start."""

import csv
import shutil
from collections.abc import Callable
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.mutations import Mutations, Name, codons_of

MAPPINGS = Path(str(files("cdshooks.mappings")))


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


ORACLE = table(Path(__file__).parent / "data" / "hcmv-mutation-levels.csv")

# Where the table and the bare rule part, one by one, with the reason: (our level by the rule, theirs).
EXCEPTIONS = {
    # the figure is disputed; the table writes the authors' words, "highest level", which we hold as an override
    ("UL97", "C480F", "maribavir"): ("reported resistant", "high"),
    # 2.2-fold, but its authors call the viruses sensitive: a statement in words, which we hold as an override
    ("UL97", "A594V", "maribavir"): ("", "reported susceptible"),
}
# What we judge by, where it is not what the rule gives: only these reasons exist.
JUDGED_OTHERWISE = {"studies disagree", "reported resistant", "reported susceptible", "override"}


@pytest.fixture(scope="module")
def mutations(knowledge: Knowledge) -> Mutations:
    return knowledge.resistance.mutations


def judged(row: dict[str, str], knowledge: Knowledge) -> bool:
    """Is the drug of a row one that we judge orders of?"""
    return row["drug"] in knowledge.resistance.rule.drugs


def test_every_single_mutation_and_drug_has_the_level_of_the_table(knowledge: Knowledge, mutations: Mutations) -> None:
    compared, differing = 0, {}
    for row in ORACLE:
        if not judged(row, knowledge):
            continue
        ours = mutations.single[Name(row["gene"], row["mutation"]), row["drug"]]
        compared += 1
        if ours.rule_level != row["level"]:
            differing[row["gene"], row["mutation"], row["drug"]] = (ours.rule_level, row["level"])
    assert compared == 807
    assert differing == EXCEPTIONS


def test_medians_ranges_and_numbers_of_studies_are_those_of_the_table(
    knowledge: Knowledge, mutations: Mutations
) -> None:
    agreements = {"crosses the resistance limit": "crosses 2-fold"}
    for row in ORACLE:
        key = row["gene"], row["mutation"], row["drug"]
        if not judged(row, knowledge) or key in EXCEPTIONS:
            continue
        ours = mutations.single[Name(row["gene"], row["mutation"]), row["drug"]]
        figures = [ours.fold, ours.low, ours.high]
        theirs = [Decimal(row[c]) if row[c] else None for c in ("median_fold", "min_fold", "max_fold")]
        for mine, other in zip(figures, theirs, strict=True):
            assert (mine is None) == (other is None), key
            assert mine is None or other is None or abs(mine - other) <= Decimal("0.005"), key
        assert ours.values == int(row["values_used"]), key
        assert ours.studies == int(row["studies"]), key
        assert agreements.get(ours.agreement, ours.agreement) == row["agreement"], key
        if ours.fold is not None:
            assert ours.engineered == (row["evidence_tier"] == "1"), key


def test_what_the_table_leaves_out_has_no_figure_of_ours(knowledge: Knowledge, mutations: Mutations) -> None:
    listed = {(Name(row["gene"], row["mutation"]), row["drug"]) for row in ORACLE}
    overridden = {(Name(o.gene, o.mutation), o.drug) for o in knowledge.resistance.rule.overrides}
    assert mutations.single.keys() - listed <= overridden


def test_a_level_departs_from_the_rule_only_for_a_stated_reason(knowledge: Knowledge, mutations: Mutations) -> None:
    overridden = {(Name(o.gene, o.mutation), o.drug) for o in knowledge.resistance.rule.overrides}
    departures: dict[str, int] = {}
    for key, ours in mutations.single.items():
        if ours.level != ours.rule_level:
            word = "override" if key in overridden else ours.reason or ours.rule_level
            departures[word] = departures.get(word, 0) + 1
    assert departures.keys() <= JUDGED_OTHERWISE
    assert (
        departures["studies disagree"] == 12
    )  # 13 pairs cross 2-fold, one with a median of 7.1: E756K and ganciclovir
    assert mutations.single[Name("UL54", "E756K"), "ganciclovir"].level == "moderate"


@pytest.mark.parametrize(
    ("gene", "change", "drug", "level"),
    [
        ("UL97", "C480F", "maribavir", "high"),
        ("UL97", "C480F", "ganciclovir", "possible"),
        ("UL97", "A594V", "maribavir", "none"),
        ("UL97", "K355M", "maribavir", "possible"),
        ("UL27", "V353A", "maribavir", "possible"),
        ("UL27", "L335P", "maribavir", "possible"),
    ],
)
def test_overrides(gene: str, change: str, drug: str, level: str, mutations: Mutations) -> None:
    found = mutations.single[Name(gene, change), drug]
    assert found.level == level
    assert found.reason


def test_figures_of_enzymes_are_no_level(mutations: Mutations) -> None:
    for change in ("K805Q", "T821I"):
        for drug in ("maribavir", "brincidofovir"):
            assert (Name("UL54", change), drug) not in mutations.single


def test_the_reference_fits_every_active_substitution(mutations: Mutations) -> None:
    rows = table(MAPPINGS / "resistance" / "mutations.csv")
    checked = 0
    for row in rows:
        codons = codons_of(row["mutation"])
        assert codons, row["mutation"]
        if row["record_status"] == "active" and row["mutation"][1].isdigit():
            assert mutations.proteins[row["gene"]].fits(row["mutation"][0], codons[0]), row["mutation"]
            checked += 1
        elif row["reference_residue"].startswith("differs:"):
            assert mutations.proteins[row["gene"]].fits(row["reference_residue"][-1], codons[0]), row["mutation"]
    assert checked > 1200
    lengths = {gene: len(protein.residues) for gene, protein in mutations.proteins.items()}
    assert lengths == {"UL27": 608, "UL51": 157, "UL54": 1242, "UL56": 850, "UL89": 674, "UL97": 707}


def test_every_statement_about_the_reference_holds(mutations: Mutations) -> None:
    """`reference_residue` was computed with another copy of the sequence."""
    rows = [row for row in table(MAPPINGS / "resistance" / "mutations.csv") if row["reference_residue"]]
    differing = 0
    for row in rows:
        codons = codons_of(row["mutation"])
        assert codons
        letter = mutations.proteins[row["gene"]].residues[codons[0] - 1]
        stated, _, other = row["reference_residue"].partition(":")
        assert (letter == row["mutation"][0]) == (stated == "match"), row
        assert not other or other == letter, row
        differing += bool(other)
    assert (len(rows), differing) == (1450, 8)
    active = {
        (row["gene"], row["mutation"])
        for row in rows
        if row["record_status"] == "active" and row["mutation"][1].isdigit()
    }
    assert len(active) == 355


def test_translation(mutations: Mutations) -> None:
    protein = mutations.proteins["UL97"]
    assert protein.bases[1779:1782] == "GCG"
    assert protein.change(1781, "C", "T") == "A594V"
    assert protein.change(1782, "G", "A") == "A594A"
    assert protein.change(1781, "G", "T") is None, "the base does not fit"
    assert protein.change(1782, "GC", "TT") is None, "over a codon border"
    assert protein.change(99999, "A", "T") is None


def test_only_v353a_is_known_in_two_genes(mutations: Mutations) -> None:
    assert {change for change, genes in mutations.names.items() if len(genes) > 1} == {"V353A"}


def test_known_codons(mutations: Mutations) -> None:
    known = mutations.known_codons
    assert {460, 520, 592, 594, 595, 603} <= known["ganciclovir"]["UL97"]
    assert {409, 411, 480} <= known["maribavir"]["UL97"]
    assert 325 in known["letermovir"]["UL56"]
    assert 594 not in known["maribavir"]["UL97"]


# --------------------------------------------------------------------------------------------------------------------
# What stops the start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "mappings"
    shutil.copytree(MAPPINGS, copy, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return copy


def row(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Change the first active row of mutations.csv."""
    path = folder / "resistance" / "mutations.csv"
    rows = table(path)
    change(next(r for r in rows if r["record_status"] == "active" and r["fold"]))
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("gene", "UL98", "gene 'UL98' is not in reference.csv"),
        ("drug", "ganciclover", "drug 'ganciclover' is not in interpretation.yaml"),
        ("mutation", "A5942", "mutation 'A5942' is no change of UL97"),
        ("mutation", "A1594V", "mutation 'A1594V' is no change of UL97"),
        ("fold", "much", "fold 'much' is no number above 0"),
        ("fold", "0", "fold '0' is no number above 0"),
        ("fold", "-2", "fold '-2' is no number above 0"),
        ("record_status", "actve", "record_status 'actve'"),
        ("reported_call", "X", "reported_call 'X'"),
        ("co_mutations", "UL99:A1V", "gene 'UL99' is not in reference.csv"),
    ],
)
def test_a_malformed_row_stops_the_start(column: str, value: str, said: str, folder: Path) -> None:
    row(folder, lambda r: r.update({column: value}))
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder)
    assert said in str(caught.value)
    assert "mappings/resistance/mutations.csv: row " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("interpretation.yaml", "gene: UL97\n    mutation: C480F", "gene: UL96\n    mutation: C480F", "gene 'UL96'"),
        ("interpretation.yaml", "mutation: K355M", "mutation: 355", "overrides.3.mutation"),
        ("interpretation.yaml", "mutation: K355M", "mutation: K3555M", "'K3555M' is no change of UL97"),
        (
            "interpretation.yaml",
            "drug: maribavir\n    level: high",
            "drug: maribavirr\n    level: high",
            "'maribavirr'",
        ),
        ("interpretation.yaml", "level: high", "level: huge", "overrides.0.level"),
        ("interpretation.yaml", "follows: cidofovir", "follows: cidofovr", "drug 'cidofovr'"),
        ("interpretation.yaml", "low: 2\n", "low: 20\n", "bands must rise"),
        ("interpretation.yaml", "{anc:", "{ancc:", "analyte 'ancc'"),
        ("interpretation.yaml", "source: c480f-2021", "source: nowhere", "'nowhere'"),
        ("interpretation.yaml", "disclaimer:", "disclaimr:", "unknown key"),
        ("reading.yaml", "72833-7: [UL97]", "72833-7: [UL79]", "gene 'UL79'"),
        ("reading.yaml", "\nnone:\n", "\nnune:\n", "unknown key"),
        ("interpretation.yaml", "needs: [UL97]  ", "needs: [UL79]  ", "gene 'UL79'"),
        ("interpretation.yaml", "- [UL97, UL54, UL27]", "- [UL97, UL45, UL27]", "gene 'UL45'"),
        ("reading.yaml", "  foscarnet: [fos", "  foscarnt: [fos", "'foscarnt'"),
        ("reference.csv", "ATG", "ATC", "no coding sequence from start to stop"),
        ("mutations.csv", "gene,mutation,", "gene,change,", "column mutation is missing"),
    ],
)
def test_a_slip_in_another_file_stops_the_start(name: str, old: str, new: str, said: str, folder: Path) -> None:
    path = folder / "resistance" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder)
    assert said in str(caught.value)
    assert f"mappings/resistance/{name}" in str(caught.value) or "mappings: rule resistance/" in str(caught.value)
    assert str(folder.parent) not in str(caught.value)


@pytest.mark.parametrize("name", ["mutations.csv", "reference.csv"])
@pytest.mark.parametrize("how", ["absent", "empty", "not UTF-8", "a value too many"])
def test_a_table_that_cannot_be_read_stops_the_start(name: str, how: str, folder: Path) -> None:
    path = folder / "resistance" / name
    match how:
        case "absent":
            path.unlink()
        case "empty":
            path.write_text("", encoding="utf-8")
        case "not UTF-8":
            path.write_bytes(path.read_bytes() + b"\xff\xfe")
        case _:
            path.write_text(path.read_text(encoding="utf-8").rstrip() + ",,,more\n", encoding="utf-8")
    with pytest.raises(KnowledgeError, match=f"mappings/resistance/{name}: "):
        load_knowledge(folder)


def test_the_licence_notice_travels_with_the_data() -> None:
    text = (MAPPINGS / "resistance" / "README.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2021 Oscar J Charles" in text
    assert "THE SOFTWARE IS PROVIDED" in text
    assert "not validated" in text
