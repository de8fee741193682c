"""What has to hold between the files of mappings/: names that exist, sources that are listed, bands without a gap."""

from collections.abc import Iterable, Iterator

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules import CareRule
from cdshooks.medicine.rules.dose import CidofovirRule, DoseRule
from cdshooks.medicine.rules.entries import cites_of
from cdshooks.medicine.rules.renal_dose import RenalDoseRule
from cdshooks.medicine.rules.safety import AllergyRule, ImmunosuppressionRule, PregnancyRule, SafetyRule


def contradictions(knowledge: Knowledge) -> list[str]:
    """Every problem between files: ids, names, sources and gaps that no file shows by itself, each with its remedy."""
    problems = []
    ids = [rule.id for rule in knowledge.rules]
    problems += [
        f"mappings: rule id {rule_id} is used twice; ids must be unique"
        for rule_id in set(ids)
        if ids.count(rule_id) > 1
    ]
    for rule in (*knowledge.rules, knowledge.serostatus):
        for cite in cites_of(rule):
            if cite.source not in knowledge.sources:
                problems.append(
                    f"mappings: rule {rule.id} cites {cite.source!r}, which is not in sources.yaml; mend the name"
                )
    dosing: tuple[RenalDoseRule | DoseRule | CidofovirRule, ...] = (
        *knowledge.renal_dose,
        *knowledge.dose,
        *knowledge.cidofovir,
    )
    for table in dosing:
        if table.drug not in knowledge.codes.drugs:
            problems.append(
                f"mappings: rule {table.id} names the drug {table.drug!r}, which is not in drugs.yaml; mend the name"
            )
    for rule in knowledge.interactions:
        for pair in rule.pairs:
            source = knowledge.sources.get(pair.cite.source)
            if source and (pair.seen == "memory") != (source.seen == "memory"):
                problems.append(
                    f"mappings: rule {rule.id}: the row of {pair.with_drugs[0]} says `seen: {pair.seen}` and cites"
                    f" {pair.cite.source}, which was seen in {source.seen}; mend one of them"
                )
    problems += _unknown_names(knowledge, dosing)
    problems += _unwatched(knowledge)
    problems += _unknown_in_care(knowledge)
    problems += _other_units(knowledge)
    problems += _unknown_in_resistance(knowledge)
    problems += _unknown_in_advice(knowledge)
    taken: dict[tuple[str, str, str], str] = {}
    for table in knowledge.renal_dose:
        for route in table.routes:
            if (other := taken.setdefault((table.drug, table.indication, route), table.id)) != table.id:
                problems.append(
                    f"mappings: rules {other} and {table.id} both dose {table.drug} by the {route} route; keep one"
                )
    return problems


def _unknown_names(knowledge: Knowledge, rules: tuple[RenalDoseRule | DoseRule | CidofovirRule, ...]) -> Iterator[str]:
    """Names in conditions of rules that nothing stands behind: such a row would never apply, and nobody would see."""
    routes = frozenset((*knowledge.routes.by_code.values(), *knowledge.routes.by_text.values()))
    medicines, known_drugs = knowledge.medicines, knowledge.medicines.known
    drugs = known_drugs | frozenset(medicines.classes)
    concepts = knowledge.codes.problem_concepts()
    panels, analytes = knowledge.flowsheet.panels, knowledge.codes.analytes
    yield from (
        f"mappings/flowsheet.yaml: {panel.name}: the analyte {name!r} is not in analytes.yaml; mend the name"
        for panel in panels
        for name in panel.analytes
        if name not in analytes
    )
    used = [
        ("flowsheet/panels", "drug", name, frozenset(knowledge.codes.drugs)) for p in panels for name in p.with_drugs
    ]
    used += [("drugs/others", "drug", name, known_drugs) for listed in medicines.classes.values() for name in listed]
    used += [(knowledge.phases.id, "transplant", name, concepts) for name in knowledge.phases.prophylaxis_window_days]
    rows = knowledge.kidney.schwartz.k
    used += [(knowledge.kidney.id, "problem", name, concepts) for row in rows for name in row.problems]
    switches = knowledge.site.switches.items()
    choices = frozenset(f"{name}: {choice}" for name, switch in switches for choice in switch.choices)
    for rule in rules:
        used += [(rule.id, "route", name, routes) for name in rule.routes]
        for when in rule.conditions if isinstance(rule, DoseRule) else ():
            used += [(rule.id, "route", name, routes) for name in when.routes]
            used += [
                (rule.id, "form", name, frozenset(knowledge.codes.drugs[rule.drug].default_route))
                for name in when.forms
            ]
            used += [(rule.id, "drug", name, drugs) for name in when.with_drugs]
            used += [(rule.id, "problem", name, concepts) for name in when.problems]
            used += [(rule.id, "switch", f"{name}: {value}", choices) for name, value in when.site.items()]
    known_names = {"route": routes, "drug": drugs, "problem": concepts, "analyte": frozenset(knowledge.codes.analytes)}
    known_names |= {"antiviral": frozenset(knowledge.codes.drugs)}
    known_names |= {"test": known_names["analyte"] | knowledge.codes.tests.keys() | concepts}
    for place, what, name in (*_names_in_monitoring(knowledge), *_names_in_toxicity(knowledge)):
        used.append((place, what, name, known_names[what]))
    used += _names_of_interactions(knowledge, routes, drugs)
    for place, what, name, known in used:
        if name not in known:
            yield f"mappings: rule {place} names the {what} {name!r}, which no file here knows; mend the name"


def _names_in_monitoring(knowledge: Knowledge) -> Iterator[tuple[str, str, str]]:
    """(rule, what it is, name) of every name in the monitoring rules."""
    for rule in knowledge.monitoring:
        named = {"antiviral": rule.drugs, "route": rule.routes, "problem": (*rule.problems, *rule.unless_problems)}
        named["test"] = tuple(name for due in rule.tests for name in due.any_of)
        named["analyte"] = tuple(name for due in rule.tests for name in due.not_instead)
        named["analyte"] += tuple(cause.analyte for cause in rule.tightened if cause.analyte)
        named["drug"] = rule.after_stop_of + tuple(name for due in rule.tests for name in due.beside)
        named["drug"] += tuple(name for cause in rule.tightened for name in cause.with_drugs)
        yield from ((rule.id, what, name) for what, names in named.items() for name in names)


def _names_in_toxicity(knowledge: Knowledge) -> Iterator[tuple[str, str, str]]:
    """(rule, what it is, name) of every name in the toxicity rules."""
    for rule in knowledge.toxicity:
        named = {"antiviral": rule.drugs, "drug": rule.shared_with, "analyte": rule.analytes}
        named["analyte"] += tuple(limit.unless_normal for limit in rule.limits if limit.unless_normal)
        named["problem"] = tuple(name for limit in rule.limits for name in limit.problems)
        yield from ((rule.id, what, name) for what, names in named.items() for name in names)


def _unwatched(knowledge: Knowledge) -> Iterator[str]:
    """Limits in another unit than the results have, and limits on a test whose absence no rule would show."""
    for rule in knowledge.toxicity:
        units = [(limit.analyte, limit.unit) for limit in rule.limits] + [
            (fall.analyte, fall.unit) for fall in rule.falls
        ]
        for name, unit in units:
            analyte = knowledge.codes.analytes.get(name)
            if analyte and unit != analyte.unit:
                yield f"mappings: rule {rule.id}: {name} is in {analyte.unit}, not in {unit}; convert the figure"
        for drug in rule.drugs:
            dues = [due for asking in knowledge.monitoring if drug in asking.drugs for due in asking.tests]
            asked = {name for due in dues for name in due.any_of}
            for name in sorted({name for name, _ in units} - asked):
                yield (
                    f"mappings: rule {rule.id} has a limit on {name}, which no monitoring rule of {drug} asks for;"
                    " add one, else its absence would go unseen"
                )


def _names_of_interactions(
    knowledge: Knowledge, routes: frozenset[str], drugs: frozenset[str]
) -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """(rule, what, name, known names of that kind) of the interaction tables and what stands beside them."""
    ours, analytes = frozenset(knowledge.codes.drugs), frozenset(knowledge.codes.analytes)
    with_level = frozenset(knowledge.interaction_limits.levels.analyte_of)
    for rule in knowledge.interactions:
        yield from ((rule.id, "drug", name, ours) for name in rule.drugs)
        for pair in rule.pairs:
            yield from ((rule.id, "drug", name, drugs) for name in (*pair.with_drugs, *pair.also_with))
            yield from ((rule.id, "route", name, routes) for name in pair.not_routes)
            yield from ((rule.id, "analyte", name, analytes) for name in filter(None, [pair.test]))
            measured = knowledge.medicines.members(pair.with_drugs) if "levels" in pair.info_while else ()
            yield from ((rule.id, "drug with a level", name, with_level) for name in measured)
    limits, same = knowledge.interaction_limits, knowledge.duplicates
    yield from ((limits.id, "analyte", limit.analyte, analytes) for limit in (*limits.counts, *limits.heart))
    yield from ((limits.id, "analyte", name, analytes) for name in limits.levels.analyte_of.values())
    yield from ((limits.id, "drug", name, drugs) for name in limits.levels.analyte_of)
    yield from ((same.id, "drug", name, ours) for group in same.same for name in group.drugs)


def _unknown_in_care(knowledge: Knowledge) -> Iterator[str]:
    """The same for the rules on allergies, on how a drug is given, on pregnancy and on immunosuppression."""
    known = {
        "antiviral": frozenset(knowledge.codes.drugs),
        "drug": knowledge.medicines.known | knowledge.medicines.classes.keys(),
        "problem": knowledge.codes.problem_concepts() | knowledge.codes.groups.keys(),
        "route": frozenset((*knowledge.routes.by_code.values(), *knowledge.routes.by_text.values())),
        "way": frozenset(knowledge.dose_words.giving.ways),
        "result": frozenset(knowledge.codes.analytes),
    }
    for rule in knowledge.care:
        for what, name in _names_in(rule):
            if name and name not in known[what]:
                yield f"mappings: rule {rule.id} names the {what} {name!r}, which no file here knows; mend the name"


def _other_units(knowledge: Knowledge) -> Iterator[str]:
    """Limits in another unit than the results have."""
    for rule in knowledge.pregnancy:
        unit, analyte = rule.hormone.unit, knowledge.codes.analytes.get(rule.hormone.analyte)
        if analyte and unit != analyte.unit:
            yield f"mappings: rule {rule.id}: {analyte.key} is in {analyte.unit}, not in {unit}; convert the figures"


def _names_in(rule: CareRule) -> Iterator[tuple[str, str]]:
    """(kind of name, name) of everything that a rule refers to."""
    used: list[tuple[str, Iterable[str]]] = [("antiviral", rule.about)]
    match rule:
        case AllergyRule():
            used += [("drug", row.to_drugs) for row in rule.rows] + [("problem", row.to_concepts) for row in rule.rows]
        case SafetyRule():
            routed = (rule.by_route, rule.in_words, rule.days_by_route, rule.with_problem, rule.companions)
            used += [("route", entry.routes) for entries in routed for entry in entries]
            used += [("route", entry.routes) for entry in (rule.infusion, rule.forms) if entry]
            used += [("route", each.not_by) for each in rule.companions]
            used += [("way", [row.way for row in rule.in_words]), ("way", [each.mentioned for each in rule.companions])]
            used += [("way", rule.forms.adults_unless)] if rule.forms else []
            used += [("way", [each.way for each in rule.infusion.concentrations])] if rule.infusion else []
            used += [("drug", each.drugs) for each in rule.companions]
            used += [("problem", tuple(row.problems)) for row in rule.with_problem]
            used += [("problem", each.less_with) for each in rule.companions]
            used += [("result", row.at_least) for row in rule.with_problem]
        case PregnancyRule():
            used += [("problem", rule.child_bearing.excluded_by), ("result", [rule.hormone.analyte])]
        case ImmunosuppressionRule():
            used += [("drug", row.drugs) for row in rule.rows]
            used += [("problem", (*row.problems, *row.also, *row.unless)) for row in rule.rows]
    for what, names in used:
        for name in names:
            yield what, name


def _unknown_in_resistance(knowledge: Knowledge) -> Iterator[str]:
    """Names in mappings/resistance that the other files have to know."""
    rule, reading = knowledge.resistance.rule, knowledge.resistance.lexicon.rule
    place = "mappings/resistance/interpretation.yaml"
    for drug in (
        *rule.drugs,
        *rule.same_drug,
        *rule.options.never,
        *filter(None, (o.not_with for o in rule.options.drugs.values())),
    ):
        if drug not in knowledge.codes.drugs:
            yield f"{place}: drug {drug!r} is not in drugs.yaml; mend the name"
    for drug in reading.drugs:
        if drug not in rule.drugs:
            yield f"mappings/resistance/reading.yaml: drugs: {drug!r} is not in interpretation.yaml; mend the name"
    for option in rule.options.drugs.values():
        for analyte in option.counts:
            if analyte not in knowledge.codes.analytes:
                yield f"{place}: analyte {analyte!r} is not in analytes.yaml; mend the name"
    genes = [gene for named in reading.codes.genes.values() for gene in named]
    for gene in (*genes, *(gene for assay in reading.assays for gene in assay.covers)):
        if gene not in knowledge.resistance.mutations.proteins:
            yield f"mappings/resistance/reading.yaml: gene {gene!r} is not in reference.csv; mend the name"
    for table in knowledge.renal_dose:
        if table.escalation and table.escalation.gene not in knowledge.resistance.mutations.proteins:
            yield f"mappings: rule {table.id}: gene {table.escalation.gene!r} is not in reference.csv; mend the name"
    for assay in reading.assays:
        if assay.cite.source not in knowledge.sources:
            yield f"mappings/resistance/reading.yaml: assays: source {assay.cite.source!r} is unknown; mend the name"


def _unknown_in_advice(knowledge: Knowledge) -> Iterator[str]:
    """The same for the rules of indication, response and duration."""
    codes, medicines = knowledge.codes, knowledge.medicines
    antivirals, drugs = frozenset(codes.drugs), medicines.known | medicines.classes.keys()
    tests, analytes = frozenset(codes.tests), frozenset(codes.analytes)
    concepts = codes.problem_concepts() | codes.groups.keys()
    concepts |= {f"{concept}-history" for concept in concepts}  # what was so once
    routes = frozenset(
        (*knowledge.routes.by_code.values(), *knowledge.routes.by_text.values(), *knowledge.routes.local)
    )
    response, lengths = knowledge.response, knowledge.duration
    used = [(response.id, "drug", name, antivirals) for name in (*response.treatment_drugs, *response.preventive_drugs)]
    used += [(response.id, "analyte", name, analytes) for name in response.series]
    used += [(response.id, "test", name, tests) for name in (*response.genotype_tests, response.genotype_order)]
    for row in knowledge.indication:
        when = row.when
        used += [(row.id, "drug", name, antivirals) for name in row.drugs]
        asked = (*when.with_drugs, *when.without_drugs, *when.treated_with, *when.ordered_for_cmv)
        used += [(row.id, "drug", name, drugs) for name in asked]
        named = (*when.problems, *when.no_problems, *((when.transplant,) if when.transplant else ()))
        used += [(row.id, "problem", name, concepts) for name in named]
        used += [(row.id, "route", name, routes) for name in (*when.routes, *when.treated_routes)]
        used += [(row.id, "test", name, tests | analytes) for name in row.proposes]
        used += [(row.id, "illness", name, frozenset({"cmv", *knowledge.phases.indications})) for name in when.against]
    illnesses = frozenset({"cmv", *knowledge.phases.indications})
    for table in knowledge.renal_dose:
        used += [(table.id, "illness", name, illnesses) for name in (table.indication, *table.no_dose_against)]
    for rule in knowledge.dose:
        used += [(rule.id, "illness", name, illnesses) for when in rule.conditions for name in when.against]
    used += [(rule.id, "drug", name, drugs) for rule in knowledge.not_for_cmv for name in rule.drugs]
    for course in lengths.courses:
        used += [(course.id, "drug", name, antivirals) for name in course.drugs]
        used += [(course.id, "problem", name, concepts) for name in (*course.problems, *course.also)]
    for length in lengths.prophylaxis:
        used += [(length.id, "drug", name, antivirals) for name in length.drugs]
        used += [(length.id, "problem", name, concepts) for name in (*length.transplants, *length.late_risk)]
    used += [(lengths.secondary.id, "problem", name, concepts) for name in lengths.secondary.problems]
    for place, what, name, known in used:
        if name not in known:
            yield f"mappings: rule {place} names the {what} {name!r}, which no file here knows; mend the name"
