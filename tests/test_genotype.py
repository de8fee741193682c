"""Reading the text of a resistance result: every notation, lists, prose, calls, and what is no finding."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdshooks.medicine.genotype import Lexicon, merged, read_text
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.model import Reading

UL97, UL54 = ("UL97",), ("UL54",)


@pytest.fixture(scope="module")
def lexicon(knowledge: Knowledge) -> Lexicon:
    return knowledge.resistance.lexicon


def told(reading: Reading) -> dict[str, list[str]]:
    """A reading in short: only what it says."""
    found = {
        "present": [change.name for change in reading.changes],
        "absent": [change.name for change in reading.absent],
        "calls": [f"{call.drug} {call.says}".strip() for call in reading.calls],
        "clear": list(reading.clear),
        "failed": [gene for gene, _ in reading.failed],
        "covered": [f"{part.gene} {part.first}-{part.last}" for part in reading.covered],
        "unread": ["unread"] * len(reading.unread),
    }
    return {name: entries for name, entries in found.items() if entries}


# --------------------------------------------------------------------------------------------------------------------
# One change, in every notation

A594V = (
    "A594V",
    "UL97 A594V",
    "UL97:A594V",
    "UL97_A594V",
    "UL97-A594V",
    "UL97A594V",
    "pUL97 A594V",
    "CMV UL97 A594V",
    "ul97 a594v",
    "p.A594V",
    "p.(A594V)",
    "p.Ala594Val",
    "p.ala594val",
    "UL97 p.(Ala594Val)",
    "UL97:p.Ala594Val",
    "YP_081544.1:p.(Ala594Val)",
    "Ala594Val",
    "A594Val",
    "c.1781C>T",
    "UL97 c.1781C>T",
    "c.(1781C>T)",
    "c.1781C>T (p.Ala594Val)",
    "A594>V",
    "A594 V",
    "A 594 V",
    "codon 594 Ala>Val",
    "UL97 594 A>V",
    "UL97 codon 594: Ala to Val",
    "A594A/V",
    "A594AV",
    "A594V/A",
    "A594[A/V]",
    "A594V/wt",
    "A594V (23%)",
    "A594V, 23 % of reads",
    "A594V*",
    "A594V.",
    "A594→V",
    "A594V detected",
    "Detected: A594V",
    "A594V mutation detected in the UL97 gene",
    "The UL97 A594V mutation was identified at a frequency of 35%.",
    "A594V (UL97)",
    "UL97: A594V detected; no other mutations",
    "No mutations other than A594V detected",
    "UL97 A594V, otherwise wild type",
    "UL97 mutation at codon 594: A594V",
    "UL97 mutation detected. A594V.",
)


@pytest.mark.parametrize("text", A594V)
@pytest.mark.parametrize("genes", [UL97, ()], ids=["gene in the code", "no gene in the code"])
def test_one_change_in_every_notation(text: str, genes: tuple[str, ...], lexicon: Lexicon) -> None:
    reading = read_text(text, lexicon, genes=genes)
    assert told(reading) == {"present": ["UL97 A594V"]}
    named = bool(genes) or "UL97" in text.upper()
    assert reading.changes[0].inferred != named


@pytest.mark.parametrize(
    ("text", "mixture", "share"),
    [
        ("A594A/V", "mixture with wild type", ""),
        ("A594AV", "mixture with wild type", ""),
        ("A594V/A", "mixture with wild type", ""),
        ("A594V/wt", "mixture with wild type", ""),
        ("A594V mixed with wild type", "mixture with wild type", ""),
        ("A594V (mixture)", "mixture", ""),
        ("A594V, minor variant (12.5%)", "mixture", "12.5 %"),
        ("M460V/I", "mixture", ""),
        ("A594V (23%)", "", "23 %"),
        ("A594V", "", ""),
    ],
)
def test_mixtures_and_shares(text: str, mixture: str, share: str, lexicon: Lexicon) -> None:
    for change in read_text(text, lexicon, genes=UL97).changes:
        assert (change.mixture, change.share) == (mixture, share)


@pytest.mark.parametrize("text", ["M460V/I", "M460VI", "M460I/V", "M460(V/I)", "M460[V/I]", "M460V and M460I"])
def test_every_letter_at_a_site_counts(text: str, lexicon: Lexicon) -> None:
    reading = read_text(text, lexicon, genes=UL97)
    assert sorted(change.name for change in reading.changes) == ["UL97 M460I", "UL97 M460V"]


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("del595-603", "del595-603", "deletion"),
        ("del 595-603", "del595-603", "deletion"),
        ("del595_603", "del595-603", "deletion"),
        ("del L595-C603", "del595-603", "deletion"),
        ("Δ595-603", "del595-603", "deletion"),
        ("595_603del", "del595-603", "deletion"),
        ("595-603del", "del595-603", "deletion"),
        ("595-603 deletion", "del595-603", "deletion"),
        ("deletion of codons 595 to 603", "del595-603", "deletion"),
        ("p.Leu595_Cys603del", "del595-603", "deletion"),
        ("L595_C603del", "del595-603", "deletion"),
        ("c.1783_1809del", "del595-603", "deletion"),
        ("del600", "del600", "deletion"),
        ("L600del", "del600", "deletion"),
        ("L595del", "del595", "deletion"),
        ("p.Leu595del", "del595", "deletion"),
        ("A594fs", "codon 594 frameshift", "frameshift"),
        ("p.Ala594Glyfs*12", "codon 594 frameshift", "frameshift"),
        ("c.1783_1784del", "codon 595 frameshift", "frameshift"),
        ("A594_L595insG", "codon 594 insertion", "insertion"),
        ("A594*", "A594*", "stop"),
        ("p.Ala594Ter", "A594*", "stop"),
        ("Ala594Stop", "A594*", "stop"),
        ("mutation at codon 594", "codon 594", "codon"),
        ("Detected", "unnamed change", "unnamed"),
        ("Mutation detected", "unnamed change", "unnamed"),
        ("Positive", "unnamed change", "unnamed"),
        ("594V", "A594V", "substitution"),
    ],
)
def test_other_kinds_of_change(text: str, name: str, kind: str, lexicon: Lexicon) -> None:
    (change,) = read_text(text, lexicon, genes=UL97).changes
    assert (change.change, change.kind) == (name, kind)


@pytest.mark.parametrize("text", ["E22*", "p.Glu22Ter", "p.(Glu22*)", "E22stop"])
def test_a_stop_codon(text: str, lexicon: Lexicon) -> None:
    assert told(read_text(text, lexicon, genes=("UL27",))) == {"present": ["UL27 E22*"]}


# --------------------------------------------------------------------------------------------------------------------
# What is not there, not determined, or not readable


@pytest.mark.parametrize(
    "text",
    ["None detected", "None", "Not detected", "Negative", "Wild type", "wild-type", "WT", "No mutations", "Wildtype",
     "No mutations detected", "no mutation found", "No resistance-associated mutations were detected.",
     "No known resistance mutations",
     "No drug resistance mutations identified", "Mutations: none", "UL97: no mutations detected"],
)  # fmt: skip
def test_nothing_found(text: str, lexicon: Lexicon) -> None:
    assert told(read_text(text, lexicon, genes=UL97)) == {"clear": ["UL97"]}


@pytest.mark.parametrize(
    "text",
    ["no A594V detected", "A594V not detected", "A594V: not detected", "A594V absent", "negative for A594V",
     "without A594V", "A594V was not found in UL97", "The A594V mutation was not identified.", "UL97: no A594V",
     "Not detected: A594V"],
)  # fmt: skip
def test_a_denied_change_is_no_finding(text: str, lexicon: Lexicon) -> None:
    reading = read_text(text, lexicon, genes=UL97)
    assert reading.changes == ()
    assert [change.name for change in reading.absent] == ["UL97 A594V"]


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("A594V present, L595S absent", ["UL97 A594V"], ["UL97 L595S"]),
        ("No A594V detected, but L595S is present.", ["UL97 L595S"], ["UL97 A594V"]),
        ("No A594V detected, L595S detected", ["UL97 L595S"], ["UL97 A594V"]),
        ("No A594V, L595S or C603W detected", [], ["UL97 A594V", "UL97 L595S", "UL97 C603W"]),
        ("neither A594V nor L595S was detected", [], ["UL97 A594V", "UL97 L595S"]),
        ("UL97 T409M mutation absent; A594V present", ["UL97 A594V"], ["UL97 T409M"]),
    ],
)
def test_denials_end_where_they_end(text: str, present: list[str], absent: list[str], lexicon: Lexicon) -> None:
    reading = read_text(text, lexicon)
    assert [change.name for change in reading.changes] == present
    assert [change.name for change in reading.absent] == absent


@pytest.mark.parametrize(
    "text",
    ["Not determined", "Indeterminate", "Insufficient viral load", "Unable to amplify", "Not tested", "Failed",
     "Not performed", "QNS", "Pending", "Inconclusive", "Could not be amplified", "Sequencing failed",
     "Insufficient", "ND"],
)  # fmt: skip
def test_not_determined(text: str, lexicon: Lexicon) -> None:
    assert told(read_text(text, lexicon, genes=UL97)) == {"failed": ["UL97"]}


@pytest.mark.parametrize(
    ("text", "genes", "why"),
    [
        ("V594A", UL97, "does not fit the reference at UL97 codon 594"),
        ("A594V", UL54, "the data know it in UL97"),
        ("UL54 A594V", (), "does not fit the reference at UL54"),
        ("A594X", UL97, "not determined"),
        ("p.Ala594Xaa", UL97, "not determined"),
        ("A9594V", UL97, "does not fit"),
        ("V353A", (), "UL27 and UL97"),
        ("A593V", (), "the gene is not named"),
        ("UL44 A123V", (), "UL44 is not one of the genes"),
        ("c.1781G>T", UL97, "codon 594, amino acid not known"),
        ("c.1781_1782delinsAA", UL97, "codon 594"),
        ("g.143577C>T", UL97, "genome position"),
        ("603?W", UL97, "could not be read"),
        ("del603-595", UL97, "run backwards"),
        ("A594V not determined", UL97, "not to be determined"),
    ],
)
def test_unread_is_said_with_its_reason(text: str, genes: tuple[str, ...], why: str, lexicon: Lexicon) -> None:
    reading = read_text(text, lexicon, genes=genes)
    assert reading.changes == ()
    assert reading.clear == ()
    assert any(why in entry for entry in reading.unread), reading.unread


def test_one_bad_item_does_not_cost_the_others(lexicon: Lexicon) -> None:
    reading = read_text("A594V, V595L, 603?W, L595S", lexicon, genes=UL97)
    assert [change.change for change in reading.changes] == ["A594V", "L595S"]
    assert len(reading.unread) == 2


@pytest.mark.parametrize("text", ["A594A", "p.Ala594=", "c.1782G>A"])
def test_a_silent_change_is_none(text: str, lexicon: Lexicon) -> None:
    assert read_text(text, lexicon, genes=UL97).changes == ()


@pytest.mark.parametrize(
    "text",
    [
        "This assay detects the mutations A594V, L595S and C603W in UL97. Result: none detected.",
        "Tested for: M460V/I, H520Q, A594V, L595S, C603W. None detected.",
        "Known mutations include A594V and L595S. No mutations detected.",
    ],
)
def test_what_an_assay_can_find_is_no_finding(text: str, lexicon: Lexicon) -> None:
    reading = read_text(text, lexicon)
    assert reading.changes == ()
    assert reading.clear


@pytest.mark.parametrize(
    "text",
    ["q12h dosing, 450 mg, HbA1c 7.2 %", "CrCl 45 mL/min, 10*3/uL 54", "Seen on 2026-11-14 in ward B12, room 97",
     "Type T1D, 20G needle, H1N1 negative", "CMV DNA 54000 IU/mL", "2 deletions of visits"],
)  # fmt: skip
def test_everyday_text_holds_no_change(text: str, lexicon: Lexicon) -> None:
    assert read_text(text, lexicon).changes == ()


# --------------------------------------------------------------------------------------------------------------------
# Lists and prose over genes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UL97 A594V; UL54 V526L", {"present": ["UL97 A594V", "UL54 V526L"]}),
        ("UL97: A594V, C603W\nUL54: None detected\nUL56: Not tested",
         {"present": ["UL97 A594V", "UL97 C603W"], "clear": ["UL54"], "failed": ["UL56"]}),
        ("UL97: none detected, UL54: A834P", {"present": ["UL54 A834P"], "clear": ["UL97"]}),
        ("UL97 and UL54: wild type", {"clear": ["UL97", "UL54"]}),
        ("No mutations detected in UL97 or UL54.", {"clear": ["UL97", "UL54"]}),
        ("No UL97 or UL54 mutations were detected", {"clear": ["UL97", "UL54"]}),
        ("UL97 codons 440-645: no mutations", {"clear": ["UL97"], "covered": ["UL97 440-645"]}),
        ("UL97 (codons 457-630) and UL54 (codons 393-1000) were sequenced",
         {"covered": ["UL97 457-630", "UL54 393-1000"]}),
        ("A594V (UL97), V715M (UL54)", {"present": ["UL97 A594V", "UL54 V715M"]}),
        ("Sequencing of UL97 failed. UL54: A987G", {"present": ["UL54 A987G"], "failed": ["UL97"]}),
        ("UL97 A594V. UL54 D588N and del981-982.", {"present": ["UL97 A594V", "UL54 D588N", "UL54 del981-982"]}),
        ("UL97 wild type at codons 460, 520, 594", {"clear": ["UL97"]}),
        ("UL97: D605E (polymorphism). No drug resistance mutations.", {"present": ["UL97 D605E"]}),
        ("UL54 none detected. A594V was found in another sample.", {"present": ["UL97 A594V"], "clear": ["UL54"]}),
    ],
)  # fmt: skip
def test_prose(text: str, expected: dict[str, list[str]], lexicon: Lexicon) -> None:
    assert told(read_text(text, lexicon)) == expected


def test_an_assay_is_known_by_name(lexicon: Lexicon) -> None:
    reading = read_text("ARUP 2004760: none detected", lexicon, genes=UL97)
    assert told(reading)["covered"] == ["UL97 457-630", "UL54 393-1000"]


# --------------------------------------------------------------------------------------------------------------------
# Calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("Ganciclovir: Resistant", ["ganciclovir resistant"]),
        ("Ganciclovir Resistant Foscarnet Sensitive", ["ganciclovir resistant", "foscarnet susceptible"]),
        ("Valganciclovir/ganciclovir - Resistant", ["ganciclovir resistant"]),
        ("(Val)ganciclovir: resistant", ["ganciclovir resistant"]),
        ("GCV: R; FOS: S; CDV: I", ["ganciclovir resistant", "foscarnet susceptible", "cidofovir possible"]),
        ("Drug: ganciclovir Result: R", ["ganciclovir resistant"]),
        ("Resistant to ganciclovir and cidofovir; susceptible to foscarnet.",
         ["ganciclovir resistant", "cidofovir resistant", "foscarnet susceptible"]),
        ("Cidofovir: Possible resistance", ["cidofovir possible"]),
        ("Low-level resistance to ganciclovir predicted", ["ganciclovir possible"]),
        ("low-level GCV resistance", ["ganciclovir possible"]),
        ("possible ganciclovir resistance detected", ["ganciclovir possible"]),
        ("high-level GCV resistance", ["ganciclovir resistant"]),
        ("UL97 codons 590-600: ganciclovir resistance cannot be excluded", ["ganciclovir undetermined"]),
        ("Maribavir: Not determined", ["maribavir undetermined"]),
        ("Ganciclovir resistance: Detected. Foscarnet resistance: Not detected.",
         ["ganciclovir resistant", "foscarnet susceptible"]),
        ("Mutations conferring resistance to ganciclovir: none detected", ["ganciclovir susceptible"]),
        ("No mutations associated with ganciclovir resistance were detected", ["ganciclovir susceptible"]),
        ("No evidence of ganciclovir resistance", ["ganciclovir susceptible"]),
        ("Ganciclovir resistance is unlikely", ["ganciclovir susceptible"]),
        ("This mutation does not confer resistance to maribavir.", ["maribavir susceptible"]),
        ("Not resistant to foscarnet", ["foscarnet susceptible"]),
        ("Non-susceptible to ganciclovir", ["ganciclovir resistant"]),
        ("No longer susceptible to ganciclovir", ["ganciclovir possible"]),
        ("Resistance detected", ["resistant"]),
        ("CMV resistance testing for ganciclovir was ordered.", []),
        ("Suspected ganciclovir resistance; please genotype.", []),
        ("If ganciclovir resistance is suspected, send a genotype.", []),
        ("Ganciclovir resistance mutations: A594V", []),
    ],
)  # fmt: skip
def test_calls_in_text(text: str, calls: list[str], lexicon: Lexicon) -> None:
    assert told(read_text(text, lexicon)).get("calls", []) == calls


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Resistant", "resistant"),
        ("Detected", "resistant"),
        ("Yes", "resistant"),
        ("Resistance predicted", "resistant"),
        ("Sensitive", "susceptible"),
        ("Not detected", "susceptible"),
        ("None", "susceptible"),
        ("No", "susceptible"),
        ("No mutations detected", "susceptible"),
        ("Possible resistance", "possible"),
        ("Reduced susceptibility", "possible"),
        ("Not determined", "undetermined"),
        ("Insufficient", "undetermined"),
    ],
)
def test_the_value_of_a_drugs_own_result(text: str, says: str, lexicon: Lexicon) -> None:
    reading = read_text(text, lexicon, drugs=("ganciclovir",), of_resistance=True)
    assert told(reading) == {"calls": [f"ganciclovir {says}"]}


def test_a_panel_that_says_detected_names_no_drug(lexicon: Lexicon) -> None:
    assert told(read_text("Detected", lexicon, of_resistance=True)) == {"calls": ["resistant"]}


def test_detected_says_nothing_of_susceptibility(lexicon: Lexicon) -> None:
    """Under "ganciclovir susceptibility" a bare "detected" could mean either."""
    assert read_text("Detected", lexicon, drugs=("ganciclovir",)).calls == ()


# --------------------------------------------------------------------------------------------------------------------
# For any text


JUNK = st.text(max_size=80) | st.lists(
    st.sampled_from([*A594V, "UL54", "no", "not detected", "Resistant", "ganciclovir", "%", "-", "/", "(", "del", "c.",
                     "p.", "594", "but", "none", "not determined", "susceptible", ":", ";", "\n"]), max_size=9
).map(" ".join)  # fmt: skip
reproducible = settings(deadline=None, derandomize=True, max_examples=400)


@reproducible
@given(
    text=JUNK, genes=st.sampled_from([(), UL97, UL54, ("UL54", "UL97")]), drugs=st.sampled_from([(), ("ganciclovir",)])
)
def test_junk_never_raises_and_names_only_genes_we_know(
    text: str, genes: tuple[str, ...], drugs: tuple[str, ...], knowledge: Knowledge
) -> None:
    reading = read_text(text, knowledge.resistance.lexicon, genes=genes, drugs=drugs)
    assert {
        change.gene for change in (*reading.changes, *reading.absent)
    } <= knowledge.resistance.mutations.proteins.keys()


@reproducible
@given(text=st.text(alphabet=st.characters(exclude_characters="SsRrNnUuEeAaWw"), max_size=60))
def test_text_without_words_is_never_called_susceptible(text: str, knowledge: Knowledge) -> None:
    reading = read_text(text, knowledge.resistance.lexicon, genes=UL97, drugs=("ganciclovir",), of_resistance=True)
    assert "susceptible" not in {call.says for call in reading.calls}
    assert reading.clear == ()


def test_endless_text_costs_no_endless_time(lexicon: Lexicon) -> None:
    for text in ("A594V " * 50_000, "no " * 100_000, "a" * 500_000, "codon 5 to " * 60_000, "(" * 200_000):
        read_text(text, lexicon, genes=UL97)


def test_merging_keeps_what_either_says(lexicon: Lexicon) -> None:
    first = read_text("A594V", lexicon)
    second = read_text("UL97 A594A/V (23%)", lexicon)
    both = merged(first, second)
    (change,) = both.changes
    assert (change.inferred, change.mixture, change.share) == (False, "mixture with wild type", "23 %")
    assert merged(read_text("UL97 none detected", lexicon), second).clear == ()


# --------------------------------------------------------------------------------------------------------------------
# The table of texts

TEXTS = read_yaml(Path(__file__).parent / "data" / "resistance-texts.yaml")


def in_short(reading: Reading) -> list[str]:
    """A reading as the table writes it."""
    told = [
        f"+{c.gene} {c.change}{'~' if c.mixture else ''}{'?' if c.inferred else ''}{f'@{c.share}' if c.share else ''}"
        for c in reading.changes
    ]
    told += [f"-{change.gene} {change.change}" for change in reading.absent]
    told += [f"{call.drug or 'ANY'}={call.says}" for call in reading.calls]
    told += [f"clear {gene or 'ALL'}" for gene in reading.clear]
    told += [f"failed {gene or 'ALL'}" for gene, _ in reading.failed]
    told += [f"cov {part.gene} {part.first}-{part.last}" for part in reading.covered]
    return sorted({*told, *(["UNREAD"] if reading.unread else [])})


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: f"{row['code']} {row['text'][:50]!r}")
def test_texts(row: dict[str, Any], lexicon: Lexicon) -> None:
    code = row["code"]
    of_gene = (code,) if code.startswith("UL") else ()
    of_drug = (code,) if code and not of_gene else ()
    read = read_text(row["text"], lexicon, genes=of_gene, drugs=of_drug, of_resistance=bool(of_drug))
    assert in_short(read) == row["told"]
