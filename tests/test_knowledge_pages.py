"""The pages on which the knowledge is read: every rule, every number, every source, and nothing that is not there."""

import re
from html import unescape

import pytest
from canaries import NAMES
from flask.testing import FlaskClient
from scenario import load_scenarios
from test_rules_covered import WITHOUT_SCENARIO, ids

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules import Rule
from cdshooks.medicine.rules.entries import cites_of
from cdshooks.service.app import create_app
from cdshooks.service.config import Settings
from cdshooks.service.knowledge_pages import dose_table, scenarios

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def client(knowledge: Knowledge) -> FlaskClient:
    return create_app(Settings(database="sqlite:///:memory:"), knowledge=knowledge).test_client()


def words(html: str) -> str:
    """The text of a page on one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def numbers(value: object) -> list[str]:
    """Every number in a rule, as it is written."""
    match value:
        case bool() | None:
            return []
        case dict():
            return [number for item in value.values() for number in numbers(item)]
        case list() | tuple() | set() | frozenset():
            return [number for item in value for number in numbers(item)]
        case str():
            return []
    return [str(value)]


def test_the_list_leads_to_a_page_for_every_rule(client: FlaskClient, knowledge: Knowledge) -> None:
    page = client.get("/knowledge", headers=HTML)
    assert "unsafe-inline" not in page.headers["Content-Security-Policy"]
    listed = re.findall(r'href="/knowledge/rules/([^"]+)"', page.text)
    assert listed == sorted(listed, key=[rule.id for rule in knowledge.rules].index)
    assert set(listed) == {rule.id for rule in knowledge.rules}
    assert "Reviewed: none" in words(page.text)


def test_the_list_of_a_drug_holds_its_rules_alone(client: FlaskClient) -> None:
    page = client.get("/knowledge?drug=cidofovir", headers=HTML).text
    assert 'href="/knowledge/rules/cidofovir/kidney"' in page
    assert 'href="/knowledge/rules/renal-dose/valganciclovir"' not in page
    nothing = client.get("/knowledge?drug=<script>alert(1)</script>", headers=HTML)
    assert nothing.status_code == 200
    assert "<script>" not in nothing.text


def test_every_rule_has_a_page_with_its_sources_and_every_number(client: FlaskClient, knowledge: Knowledge) -> None:
    for rule in knowledge.rules:
        shown = words(client.get(f"/knowledge/rules/{rule.id}").text)
        assert "reviewed: none" in shown, rule.id
        assert missing(rule, shown, knowledge) == [], rule.id


def missing(rule: Rule, shown: str, knowledge: Knowledge) -> list[str]:
    """What a page leaves out of a rule."""
    cited = [knowledge.citation(cite) for cite in cites_of(rule)]
    wanted = [*(one.source for one in cited), *(one.section for one in cited), knowledge.version]
    without_doses = rule.model_dump(exclude={"bands", "dialysis", "protocol"}) if rule in knowledge.renal_dose else {}
    return [text for text in (*wanted, *numbers(without_doses or rule.model_dump())) if text not in shown]


def test_the_dose_tables_are_shown_row_by_row(client: FlaskClient, knowledge: Knowledge) -> None:
    shown = words(client.get("/knowledge/doses").text)
    assert "40 to below 60 450 mg every 12 h 450 mg once daily 2.5, Table 2" in shown
    assert "60 or more 900 mg every 12 h 900 mg once daily" in shown
    assert "below 10 The label does not recommend valganciclovir" in shown
    for table in knowledge.renal_dose:
        rows = dose_table(knowledge, table)
        assert len(rows) == len(table.bands) + len(table.dialysis)
        for row in rows:
            assert row.remark or (row.treatment and row.stable)
            assert " ".join(filter(None, (row.range, row.treatment, row.stable, row.remark, row.source))) in shown


def test_every_published_mutation_is_shown_with_its_levels_and_studies(
    client: FlaskClient, knowledge: Knowledge
) -> None:
    known = knowledge.resistance
    pages = {gene: client.get(f"/knowledge/mutations?gene={gene}").text for gene in known.mutations.proteins}
    rows = {
        (gene, words(row).split(maxsplit=1)[0]): row
        for gene, page in pages.items()
        for row in page.split("<h2>")[0].split("<tr>")[2:]
    }
    for (name, drug), evidence in known.mutations.single.items():
        if name.gene in known.rule.drugs[drug].genes:
            row = rows[name]
            assert all(study in row for study in evidence.dois), name
            polymorphic = name.change in known.rule.polymorphisms.get(name.gene, ())
            by_default = any(entry.reason in words(row) for entry in known.rule.defaults)
            level = "none" if polymorphic else "possible" if by_default else evidence.level
            assert f'class="level {level}"' in row, (name, drug)
    shown = words(rows["UL97", "C480F"])
    assert "high" in shown
    assert "the authors report the highest level of maribavir resistance" in shown
    assert "10.1128/AAC" in rows["UL97", "M460V"]
    assert "natural polymorphism" in words(rows["UL97", "D605E"])
    assert "UL97 H411Y" in words(pages["UL97"].split("<h2>")[1])


def test_mutations_of_an_unknown_gene_are_those_of_the_first(client: FlaskClient) -> None:
    page = client.get("/knowledge/mutations?gene=<script>")
    assert page.status_code == 200
    assert "<h1>Published mutations in UL97</h1>" in page.text
    assert "<script>" not in page.text


def test_the_sources_name_the_rules_that_cite_them(client: FlaskClient, knowledge: Knowledge) -> None:
    page = client.get("/knowledge/sources").text
    for source in knowledge.sources.values():
        assert source.title in words(page)
        assert source.version in words(page)
    row = next(part for part in page.split("<tr>") if "Third International Consensus" in part)
    assert 'href="/knowledge/rules/resistance/genotype"' in row


def test_the_change_log_is_the_one_of_the_repository(client: FlaskClient) -> None:
    shown = words(client.get("/knowledge/changes").text)
    assert "Knowledge is for clinicians" in shown
    assert "Adult renal dosing of ganciclovir by vein and of valganciclovir by mouth" in shown


def test_an_unknown_rule_is_not_found(client: FlaskClient) -> None:
    assert client.get("/knowledge/rules/renal-dose/nothing").status_code == 404
    assert client.get("/knowledge/rules/../../etc/passwd").status_code == 404


def test_the_scenarios_of_a_rule_are_those_that_there_are(client: FlaskClient, knowledge: Knowledge) -> None:
    """`make canaries` writes them."""
    names = {scenario.name for scenario in load_scenarios()}
    told = scenarios()
    assert NAMES.exists()
    assert set(told) == ids(knowledge) - WITHOUT_SCENARIO
    assert {case.name for cases in told.values() for case in cases} <= names
    shown = words(client.get("/knowledge/rules/dose/maribavir").text)
    assert all(case.name in shown for case in told["dose/maribavir"])
