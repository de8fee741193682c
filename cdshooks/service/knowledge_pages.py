"""The pages on which the knowledge is read: rules, doses, mutations, sources, changes. No patient data, no token."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import orjson
from flask import Flask, Response, abort, render_template, request

from cdshooks import __version__
from cdshooks.medicine.resistance import drugs_of as drugs_of_gene
from cdshooks.medicine.resistance import published, published_together
from cdshooks.service.catalogue import describe_rules, drugs_of, parts

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.medicine.rules import Rule
    from cdshooks.medicine.rules.renal_dose import RenalDoseRule

SCENARIOS: Final = "scenarios.json"  # made by `make canaries`
CHANGES: Final = "CHANGELOG.md"
KINDS: Final = {
    "renal-dose": "Dose by kidney function",
    "dose": "Dose",
    "cidofovir": "Cidofovir and the kidneys",
    "kidney": "How kidney function is computed",
    "judgement": "How doses are compared",
    "phases": "How treatment and prophylaxis are told apart",
    "site": "What a site may choose",
}  # by the first part of a rule's id; others are called by it


@dataclass(frozen=True, slots=True)
class Scenario:
    """A test case in which a rule gives a card."""

    name: str
    topic: str
    indicator: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a dose table; `remark` where the label gives no regimen."""

    range: str
    treatment: str
    stable: str
    remark: str
    source: str


def register_knowledge(app: Flask, *, knowledge: "Knowledge", policy: Mapping[str, str]) -> None:
    """Add the pages to `app`; `policy` are the headers of every page."""
    described = describe_rules(knowledge)
    data = orjson.dumps({"version": knowledge.version, "serviceVersion": __version__, "rules": described})
    rules = {rule.id: rule for rule in knowledge.rules}
    listed = {entry["id"]: entry for entry in described}
    app.jinja_env.globals["rule_ids"] = frozenset(rules)

    def page(template: str, **values: Any) -> Response:
        html = render_template(template, version=__version__, knowledge_version=knowledge.version, **values)
        return Response(html, headers=policy, mimetype="text/html")

    def topics(rule_id: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(knowledge.cards.topics[scenario.topic] for scenario in scenarios().get(rule_id, ())))

    def about(rule: "Rule") -> dict[str, Any]:
        return {**listed[rule.id], "drugs": drugs_of(rule), "topics": topics(rule.id)}

    @app.get("/knowledge")
    def knowledge_rules() -> Response:
        wanted = request.accept_mimetypes.best_match(("application/json", "text/html"), default="application/json")
        if wanted == "text/html":
            drug = request.args.get("drug", "")
            groups: dict[str, list[dict[str, Any]]] = {}
            for rule in rules.values():
                if not drug or drug in drugs_of(rule):
                    kind = rule.id.partition("/")[0]
                    groups.setdefault(KINDS.get(kind, kind.capitalize()), []).append(about(rule))
            drugs = sorted({named for rule in rules.values() for named in drugs_of(rule)})
            response = page("knowledge.html", groups=groups, drugs=drugs, drug=drug if drug in drugs else "")
        else:
            response = Response(data, mimetype="application/json")
        response.vary.add("Accept")
        return response

    @app.get("/knowledge/rules/<path:rule_id>")
    def knowledge_rule(rule_id: str) -> Response:
        rule = rules.get(rule_id)
        if rule is None:
            abort(404)
        table = next((one for one in knowledge.renal_dose if one.id == rule_id), None)
        return page(
            "rule.html",
            rule=about(rule),
            parts=parts(knowledge, rule),
            tables=[(table, dose_table(knowledge, table))] if table else [],
            scenarios=scenarios().get(rule_id, ()),
            topic_names=knowledge.cards.topics,
        )

    @app.get("/knowledge/doses")
    def knowledge_doses() -> Response:
        return page("doses.html", tables=[(table, dose_table(knowledge, table)) for table in knowledge.renal_dose])

    @app.get("/knowledge/mutations")
    def knowledge_mutations() -> Response:
        known = knowledge.resistance
        genes = tuple(dict.fromkeys(gene for drug in known.rule.drugs.values() for gene in drug.genes))
        asked = request.args.get("gene", "")
        gene = asked if asked in genes else genes[0]
        return page(
            "mutations.html",
            genes=genes,
            gene=gene,
            drugs=drugs_of_gene(gene, known),
            single=tuple(published(gene, known)),
            together=tuple(published_together(gene, known)),
            rule=known.rule,
        )

    @app.get("/knowledge/sources")
    def knowledge_sources() -> Response:
        citing: dict[str, list[str]] = {}
        for rule in rules.values():
            for key in _sources(rule):
                citing.setdefault(key, []).append(rule.id)
        return page("sources.html", sources=knowledge.sources, citing=citing)

    @app.get("/knowledge/changes")
    def knowledge_changes() -> Response:
        return page("changes.html", changes=_changes())


def dose_table(knowledge: "Knowledge", table: "RenalDoseRule") -> list[Row]:
    """The rows of a dose table as a label prints them: bands from high to low, then dialysis."""
    rows, below = [], ""
    for band in table.bands:
        reach = f"{band.at_least} to below {below}" if below else f"{band.at_least} or more"
        rows.append((reach if band.at_least or not below else f"below {below}", band))
        below = str(band.at_least)
    every = [
        *rows,
        *((row.modality if row.modality != "continuous" else "continuous replacement", row) for row in table.dialysis),
    ]
    return [
        Row(
            range=reach,
            treatment=" or ".join(one.regimen.wording for one in row.treatment),
            stable=" or ".join(one.regimen.wording for one in row.stable),
            remark=row.not_recommended or row.refer,
            source=knowledge.citation(row.cite or table.cite).section,
        )
        for reach, row in every
    ]


def _sources(rule: "Rule") -> Iterator[str]:
    from cdshooks.medicine.rules.entries import cites_of

    yield from dict.fromkeys(cite.source for cite in cites_of(rule))


@cache
def scenarios() -> Mapping[str, tuple[Scenario, ...]]:
    """The test cases in which each rule gives a card."""
    read = orjson.loads((files("cdshooks.service") / SCENARIOS).read_bytes())
    return {rule: tuple(Scenario(*entry) for entry in entries) for rule, entries in read.items()}


@cache
def _changes() -> str:
    return (files("cdshooks.service") / CHANGES).read_text(encoding="utf-8").partition("\n")[2]
