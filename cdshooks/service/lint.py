"""What captured requests of a site hold that the service cannot use, in plain words, with the line that would mend it.

Uses the readers of the pipeline, so that it finds what they find. Prints codes, units and names of a site's systems;
nothing of a patient: no value, no date, no free text.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import orjson
from rich.console import Console
from rich.text import Text

from cdshooks.errors import CdsError, ConfigurationError
from cdshooks.medicine.codes import ICD_10_CM, ICD_10_PCS, LOINC, RXNORM, SNOMED, Analyte, normal_system, plain_text
from cdshooks.medicine.interpret import interpret
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.orders import product_of, read_order
from cdshooks.medicine.results import read_lab
from cdshooks.model import Chart, ChartObservation, ChartOrder, Coding, Concept, Missing, Unread, Unused, Why
from cdshooks.service.config import ANYBODY, Client, Settings
from cdshooks.service.terminal import read_file, service_of
from cdshooks.wire.fhir import objects, read_chart, read_concept, violations
from cdshooks.wire.hooks import (
    ALL_OBSERVATIONS,
    EVENT_KEYS,
    ORDER_TYPES,
    PUBLISHED_KEYS,
    HookCall,
    read_call,
)

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge

FOUND: Final = 1
NOT_READ: Final = 2
STANDARD: Final = frozenset({LOINC, RXNORM, SNOMED, ICD_10_CM, ICD_10_PCS})
LOCAL: Final = "mappings/codes/local.csv"
CONFIG: Final = "configuration, [[clients]]"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing a site sends: what, what comes of it, and the line that mends it with the place where it belongs."""

    what: str
    effect: str
    place: str = ""
    line: str = ""


def lint(files: Sequence[str], *, settings: Settings, client: str = "") -> int:
    """Print what is found in hook request files ("-": standard input), most frequent first.

    `client` names the entry of the configuration whose keys and addresses hold; needed only where there are several.
    Returns the exit code: 2 when a file is no hook request, else 1 when there is something to mend, else 0.

    Raises:
        ConfigurationError: no client of that name, or several and none named.
        KnowledgeError: a file of the knowledge cannot be used.
    """
    knowledge = load_knowledge(settings.mappings, settings.overlay)
    entry = _entry(settings, client)
    today = settings.today or datetime.now(ZoneInfo(settings.timezone)).date()
    found: Counter[Remark] = Counter()
    first_seen: dict[Remark, str] = {}
    unread: list[tuple[str, str]] = []
    for name in files:
        try:
            remarks = remarks_on(read_file(name), settings=settings, client=entry, knowledge=knowledge, today=today)
        except CdsError as error:
            unread.append((name, str(error)))
            continue
        for remark in remarks:
            found[remark] += 1
            first_seen.setdefault(remark, name)
    _print(found, first_seen, len(files) - len(unread))
    for name, message in unread:
        Console(stderr=True).print(Text(_plain(f"{name}: no hook request: {message}")), soft_wrap=True)
    return NOT_READ if unread else FOUND if found else 0


def _entry(settings: Settings, name: str) -> Client:
    named = [client for client in settings.clients if client.name == name] if name else list(settings.clients)
    if name and not named:
        known = ", ".join(client.name for client in settings.clients) or "none"
        raise ConfigurationError(f"--client {name}: no such client in the configuration; known: {known}")
    if len(named) > 1:
        raise ConfigurationError(f"--client: name one of {', '.join(client.name for client in named)}")
    return named[0] if named else ANYBODY


def _print(found: Mapping[Remark, int], first_seen: Mapping[Remark, str], files: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for remark, count in sorted(found.items(), key=lambda pair: -pair[1]):
        console.print(Text(f"{count} x {remark.what}", style="bold"))
        console.print(Text(f"    {remark.effect}"))
        if remark.line:
            console.print(Text(f"    add to {remark.place}:"))
            console.print(Text(f"        {remark.line}", style="green"))
        console.print(Text(f"    first in {_plain(first_seen[remark])}", style="dim"))
    if files:
        things = "nothing to mend" if not found else f"{len(found)} to mend"
        console.print(f"{files} request{'s' * (files != 1)} read: {things}")


def remarks_on(body: bytes, *, settings: Settings, client: Client, knowledge: "Knowledge", today: date) -> list[Remark]:
    """What one request holds that cannot be used, each thing as often as it occurs.

    Raises:
        BadRequest: it is no hook call of ours.
    """
    limits = settings.limits
    call = read_call(
        service_of(body),
        body,
        max_depth=limits.max_depth,
        max_entries=limits.max_entries,
        prefetch_keys=client.prefetch_keys,
    )
    chart = read_chart(call, client.fhir_release)
    zone = ZoneInfo(settings.timezone)
    orders = (*chart.judged, *chart.drafts, *(() if isinstance(chart.medications, Missing) else chart.medications))
    reader = partial(read_lab, today=today, zone=zone)
    return [
        *_on_envelope(call, client),
        *_on_keys(orjson.loads(body).get("prefetch"), client, knowledge),
        *(_on_missing(call) if interpret(chart, knowledge, today, zone).orders else ()),
        *(remark for order in orders for remark in _on_order(order, knowledge, zone, chart.release)),
        *(remark for observation in chart.observations for remark in _on_result(observation, knowledge, reader)),
        *_on_history(chart, knowledge),
    ]


# --------------------------------------------------------------------------------------------------------------------
# The request


def _on_envelope(call: HookCall, client: Client) -> Iterator[Remark]:
    base = call.fhir_server.removesuffix("/")
    if base and base not in client.fhir_bases:
        yield Remark(
            f"fhirServer {_shown(base)} is not on the list",
            "it is never contacted: what is not prefetched stays unknown",
            CONFIG,
            f"fhir_bases = [{_quoted(base)}]",
        )
    for key, why in call.prefetch.unreadable:
        yield Remark(f"prefetch key {_shown(key)} {why}", "its data are missing, and a card says so")


def _on_keys(prefetch: Any, client: Client, knowledge: "Knowledge") -> Iterator[Remark]:
    known = {*PUBLISHED_KEYS, ALL_OBSERVATIONS, *client.prefetch_keys}
    for key, value in prefetch.items() if isinstance(prefetch, dict) else ():
        if key not in known:
            ours = _our_key(value, knowledge)
            yield Remark(
                f"prefetch key {_shown(key)} is not known",
                "what comes under it is used, but when it comes empty nobody can tell what is not there"
                if ours
                else "nothing under it is used, and when it is empty nobody can tell what is not there",
                CONFIG,
                f"prefetch_keys = {{ {_quoted(key)} = {_quoted(ours or 'ONE OF ' + ', '.join(PUBLISHED_KEYS))} }}",
            )


def _our_key(value: Any, knowledge: "Knowledge") -> str:
    """The published key whose data this is, "" when the value does not tell."""
    resources = [value] if isinstance(value, dict) else []
    if resources and resources[0].get("resourceType") == "Bundle":
        resources = [one for entry in objects(resources[0].get("entry")) for one in objects(entry.get("resource"))]
    kinds = {str(resource.get("resourceType")) for resource in resources} - {"OperationOutcome", "Medication"}
    if kinds == {"Observation"}:
        concepts = [read_concept(resource.get("code")) for resource in resources]
        analytes = [analyte[0] for concept in concepts if (analyte := knowledge.codes.analyte(concept))]
        groups = {analyte.group for analyte in analytes}
        return groups.pop() if len(groups) == 1 else ALL_OBSERVATIONS
    if kinds and kinds <= set(ORDER_TYPES):
        return "medications"
    if len(kinds) == 1:
        return ({"Patient": "patient"} | EVENT_KEYS).get(kinds.pop(), "")
    return ""


def _on_missing(call: HookCall) -> Iterator[Remark]:
    for key, gap in call.prefetch.gaps.items():
        if gap is not None and gap.why is not Why.NONE_ON_FILE:
            words = {Why.NOT_SENT: "is not sent", Why.FETCH_FAILED: "could not be fetched by the client"}
            yield Remark(
                f"prefetch {_shown(key)} {words.get(gap.why, 'cannot be used')} with an order of a CMV drug",
                "checks that need it cannot be done, and a card says so",
                "the prefetch of the EHR",
                f"the query published at /cds-services under {_quoted(key)}",
            )


# --------------------------------------------------------------------------------------------------------------------
# Orders


def _on_order(order: ChartOrder, knowledge: "Knowledge", zone: ZoneInfo, release: str) -> Iterator[Remark]:
    foreign = _local_codings(order.drug, RXNORM)
    product = product_of(order, knowledge)
    if product is None:
        if not order.drug.words and not any(normal_system(c.system) == RXNORM for c in order.drug.codings):
            given = foreign or [Coding("", "")]
            yield from (_unknown_drug(coding) for coding in given)
        return
    if product.recognised_by.startswith("name ") and product.drug:
        drug = knowledge.codes.drugs[product.drug].display
        for coding in foreign:
            yield Remark(
                f"drug code {_code(coding)} is unknown",
                f"the order is recognised by the name of {drug} alone; its strength may not be known",
                LOCAL,
                _local(coding, RXNORM, "RXNORM CODE OF THIS PRODUCT"),
            )
        if not order.drug.codings:
            yield Remark(
                f"an order of {drug} has no drug code",
                "it is recognised by its name alone; its strength may not be known",
                "the order interface of the EHR",
                "send medicationCodeableConcept.coding with an RxNorm code",
            )
    if not product.drug:
        yield Remark(
            f"an order names more than one drug: {_plain(product.recognised_by)}",
            "it is not judged, and a card says so",
        )
        return
    yield from _on_dose(order, knowledge, zone)
    for path in violations(order.raw, release):
        yield Remark(
            f"an order breaks FHIR {release} in {path}", "it is read as far as possible", CONFIG, 'fhir_release = "..."'
        )


def _unknown_drug(coding: Coding) -> Remark:
    if not coding.code:
        return Remark(
            "an order says nothing of its drug: no code and no name",
            "nobody can tell whether it is a CMV drug; it is not judged",
            "the order interface of the EHR",
            "send medicationCodeableConcept, or the Medication in the same Bundle",
        )
    return Remark(
        f"drug code {_code(coding)} is unknown and comes without a name",
        "nobody can tell whether it is a CMV drug; it is not judged",
        LOCAL,
        _local(coding, RXNORM, "RXNORM CODE OF THIS PRODUCT"),
    )


def _on_dose(order: ChartOrder, knowledge: "Knowledge", zone: ZoneInfo) -> Iterator[Remark]:
    read = read_order(order, knowledge, zone, draft=True)
    if read is None:
        return
    structured = any(dosage.doses for dosage in order.dosages)
    if any(dosage.text for dosage in order.dosages) and not structured:
        yield Remark(
            "the dose stands in the text alone",
            "it cannot be read, and a card says so"
            if isinstance(read.regimen, Unread)
            else "it is read from the words; another wording may not be",
            "the order interface of the EHR",
            "send dosageInstruction.doseAndRate.doseQuantity and timing.repeat",
        )
    elif isinstance(read.regimen, Unread):
        yield Remark(f"a dose cannot be read: {_plain(read.regimen.reason)}", "it is not judged, and a card says so")
    for dosage in order.dosages:
        for entry in dosage.doses:
            if any(quantity and not (quantity.unit or quantity.code) for quantity in (entry.low, entry.high)):
                yield Remark(
                    "a dose has no unit",
                    "it is not guessed: the dose is not judged, and a card says so",
                    "the order interface of the EHR",
                    "send doseQuantity.unit, or code with the UCUM system",
                )
        route = dosage.route
        if route and not knowledge.routes.of_concept(route):
            for coding in route.codings or [Coding("route-text", " ".join(route.words[:1]))]:
                kind = "route-text" if coding.system == "route-text" else "route"
                yield Remark(
                    f"route {_code(coding)} is unknown",
                    "the usual route of the product is assumed",
                    "mappings/codes/timing.csv",
                    f"{_cells(coding.system, coding.code, coding.display, 'ROUTE', kind, 'no', 'SOURCE')},,,,,,,",
                )


# --------------------------------------------------------------------------------------------------------------------
# Results and history


def _on_result(observation: ChartObservation, knowledge: "Knowledge", reader: Any) -> Iterator[Remark]:
    concept = read_concept(observation.raw.get("code"))
    known = knowledge.codes.analyte(concept)
    if known:
        lab = reader(observation, known[0], known[1])
        if isinstance(lab, Unused) and lab.kind in ("unit", "undated"):
            yield _on_unit(lab, known[0], observation)
        return
    if knowledge.codes.laboratory(concept):
        return
    meant = _meant(concept, knowledge)
    if not concept.codings:
        yield Remark(
            f"a result has no code{f' (its text speaks of {meant.name})' if meant else ''}",
            "it is not seen",
            "the result interface of the EHR",
            "send Observation.code.coding with a LOINC code",
        )
    if any(normal_system(coding.system) == LOINC for coding in concept.codings):
        return  # a test that no check asks for
    about = f"; {meant.name} is LOINC {meant.order.loinc}, if it is that" if meant and meant.order else ""
    for coding in concept.codings:
        yield Remark(
            f"result code {_code(coding)} is unknown",
            f"the result is not seen{about}",
            LOCAL,
            _local(coding, LOINC, "LOINC CODE OF THIS TEST"),
        )


def _on_unit(lab: Unused, analyte: Analyte, observation: ChartObservation) -> Remark:
    if lab.kind == "undated":
        return Remark(f"a result of {analyte.name} has no date", "it is not used, and a card says so")
    value = observation.raw.get("valueQuantity")
    given = value if isinstance(value, dict) else {}
    unit = str(given.get("unit") or given.get("code") or "")
    if not unit:
        return Remark(
            f"{analyte.name} comes without a unit",
            "it is not used, and a card says so",
            "the result interface of the EHR",
            f"send valueQuantity.unit, such as {_quoted(analyte.unit)}",
        )
    what, effect = f"{analyte.name} {_plain(lab.why)}", "a card says so"
    if "unknown unit" not in lab.why:
        return Remark(what, effect)
    cells = ("text", unit, unit, analyte.unit_block, "non-ucum-spelling", "no", "SOURCE", analyte.unit, "multiply")
    return Remark(what, effect, "mappings/codes/units.csv", f"{_cells(*cells)},FACTOR,,,")


def _meant(concept: Concept, knowledge: "Knowledge") -> Analyte | None:
    """The one analyte whose name stands in the words of a result: a hint for a person, who knows the specimen."""
    words = f" {plain_text(' '.join(concept.words))} "
    found = [analyte for analyte in knowledge.codes.analytes.values() if f" {plain_text(analyte.name)} " in words]
    if not found:  # "Creatinine" for "serum creatinine"
        found = [a for a in knowledge.codes.analytes.values() if f" {plain_text(a.name).split()[-1]} " in words]
    return found[0] if len(found) == 1 else None


def _on_history(chart: Chart, knowledge: "Knowledge") -> Iterator[Remark]:
    """Diagnoses and procedures in a site's own codes; one in standard codes that means nothing here is just another."""
    for event in chart.events:
        if event.resource_type not in ("Condition", "Procedure") or knowledge.codes.concepts(event.code):
            continue
        local = _local_codings(event.code, *STANDARD)
        if local and len(local) == len(event.code.codings):
            what = "diagnosis" if event.resource_type == "Condition" else "procedure"
            for coding in local:
                yield Remark(
                    f"{what} code {_code(coding)} is unknown",
                    "it is not seen; of interest are CMV disease, transplants, dialysis and what the rules name",
                    LOCAL,
                    _local(coding, SNOMED, "SNOMED CT CODE, IF IT MATTERS"),
                )


# --------------------------------------------------------------------------------------------------------------------
# Words


def _local_codings(concept: Concept, *standard: str) -> list[Coding]:
    return [coding for coding in concept.codings if coding.code and normal_system(coding.system) not in standard]


def _plain(text: str, length: int = 200) -> str:
    """Text of a request for the terminal: nothing in it may steer one."""
    return "".join(character if character.isprintable() else "?" for character in text[:length])


def _shown(text: str) -> str:
    return f'"{_plain(text)}"'


def _quoted(text: str) -> str:
    return json.dumps(_plain(text), ensure_ascii=False)


def _code(coding: Coding) -> str:
    name = f" ({_plain(coding.display, 80)})" if coding.display else ""
    return f"{_plain(coding.code, 80)} of {_plain(coding.system, 120) or 'no system'}{name}"


def _local(coding: Coding, system: str, code: str) -> str:
    return _cells(coding.system, coding.code, coding.display, system, code) + ","


def _cells(*cells: str) -> str:
    """Cells of a line of a CSV file."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow([_plain(cell) for cell in cells])
    return line.getvalue()
