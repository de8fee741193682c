"""Every patient of a FHIR Bulk Data export, judged as an opened chart would be: a work list.

The verdict is `pipeline.evaluate` alone; this module finds the resources of each patient and lists the cards. The
export is read twice: first the medication lists, from which the pipeline tells whose chart matters, then the charts of
those patients. What is read lies in a temporary database without a name: memory holds one patient at a time, and
nothing is left behind.
"""

import csv
import gzip
import io
import re
import sqlite3
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from cdshooks.errors import BadRequest, CdsError
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import concerns, evaluate
from cdshooks.service.terminal import COLOURS, CRITICAL_FOUND, NOT_JUDGED, printable
from cdshooks.wire.fhir import FhirOrder, objects, subject_of
from cdshooks.wire.hooks import (
    ALL_OBSERVATIONS,
    EVENT_KEYS,
    ORDER_TYPES,
    HookCall,
    Json,
    bare_id,
    is_error,
    opened_chart,
    read_resource,
)

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.service.config import Settings

Form = Literal["table", "json", "csv"]

SUFFIXES: Final = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
CLIENT_LOG: Final = "log.ndjson"  # export clients write it beside the data
CHART_TYPES: Final = ("Patient", "Observation", *EVENT_KEYS)  # beside the medication list
PREFETCH: Final[dict[str, tuple[str, ...]]] = {
    "medications": ORDER_TYPES,
    ALL_OBSERVATIONS: ("Observation",),
    **{key: (kind,) for kind, key in EVENT_KEYS.items()},
}
TOLD: Final = 100  # problems of one file that are named one by one
RANKS: Final = ("critical", "warning", "info")
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_CACHE: Final = "PRAGMA cache_size = -65536"  # KiB; what is more goes to the disk
_STEP: Final = 500  # lines between two looks at the bar


class NothingToScreen(CdsError):
    """No file of an export is where one was named."""


class NoRoom(CdsError):
    """The temporary database cannot be written."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be used or judged; `line` is 0 when more than a line is meant."""

    file: str  # or whatever else it is about
    line: int
    what: str

    def __str__(self) -> str:
        """Where, then what."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Row:
    """One card of one patient. `patient` is the reference as the export has it."""

    patient: str
    card: Json

    @property
    def finding(self) -> Json:
        """What stands behind the card."""
        found: Json = self.card["extension"]["cmv-cds.finding"]
        return found

    @property
    def cells(self) -> dict[str, str]:
        """The row of the work list."""
        return {
            "indicator": self.card["indicator"],
            "patient": self.patient,
            "drug": self.finding.get("drug", ""),
            "topic": self.card["source"]["topic"]["code"],
            "summary": self.card["summary"],
            "order": self.finding["order"] or "",
            "rules": " ".join(self.finding["checks"]),
        }


@dataclass(slots=True)
class WorkList:
    """What was found, most severe first."""

    today: date
    knowledge_version: str
    patients: int = 0  # Patient resources in the export
    judged: int = 0  # patients with something of a CMV drug on their medication list
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def sort(self) -> None:
        """Most severe first, then by patient."""
        self.rows.sort(key=lambda row: (RANKS.index(row.card["indicator"]), row.patient))


def run(names: Sequence[str], *, settings: "Settings", form: Form) -> int:
    """Judge the export in these folders and files, and print the work list; problems go to standard error.

    Returns the exit code: 2 when something of the export could not be judged, else 1 when a card is critical, else 0.

    Raises:
        KnowledgeError: a file of the knowledge cannot be used.
        NothingToScreen: there is no export.
        NoRoom: the temporary database cannot be written.
    """
    paths = export_files(names)
    knowledge = load_knowledge(settings.mappings, settings.overlay)
    today = settings.today or datetime.now(ZoneInfo(settings.timezone)).date()
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        found = screen(paths, settings=settings, knowledge=knowledge, today=today, progress=progress)
    if form == "json":
        sys.stdout.write(_as_json(found))
    elif form == "csv":
        sys.stdout.write(_as_csv(found))
    else:
        draw(found, Console())
    for problem in found.problems:
        errors.print(Text(printable(str(problem))))
    critical = any(row.card["indicator"] == "critical" for row in found.rows)
    return NOT_JUDGED if found.problems else CRITICAL_FOUND if critical else 0


def export_files(names: Sequence[str]) -> list[Path]:
    """The files named, and every NDJSON file in the folders named and below them. Raises `NothingToScreen`."""
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.is_dir():
            found.append(path)
            continue
        inside = [entry for entry in sorted(path.rglob("*")) if entry.name.endswith(SUFFIXES) and entry.is_file()]
        inside = [entry for entry in inside if entry.name != CLIENT_LOG]
        if not inside:
            raise NothingToScreen(
                f"{name}: no {', '.join(f'*{suffix}' for suffix in SUFFIXES)} in it; put the files there"
            )
        found += inside
    return list(dict.fromkeys(found))


def screen(
    paths: Sequence[Path], *, settings: "Settings", knowledge: "Knowledge", today: date, progress: Progress
) -> WorkList:
    """The work list of an export. Raises `NoRoom`."""
    reader = _Reader(settings, progress)
    found = WorkList(today, knowledge.version)
    zone = ZoneInfo(settings.timezone)
    wanted: set[str] = set()
    nameless = 0
    try:
        with _Charts() as charts:
            rest = reader.medication_lists(paths, charts)
            for patient in progress.track(charts.patients(), description="Looking for CMV drugs"):
                call = _call(charts, patient, reader.kinds)
                nameless += _nameless(call)
                if concerns(call, knowledge=knowledge, today=today, zone=zone):
                    wanted.add(patient)
            reader.charts(rest, charts, wanted)
            for patient in progress.track(sorted(wanted), description="Judging"):
                call, reference = _call(charts, patient, reader.kinds), charts.reference(patient)
                try:
                    answer = evaluate(call, knowledge=knowledge, today=today, zone=zone)
                except Exception as error:  # noqa: BLE001 - one defect must not cost the others their verdict
                    what = f"not judged: an error in this program ({type(error).__name__})"
                    found.problems.append(Problem(reference, 0, what))
                    continue
                found.rows += (Row(reference, card) for card in orjson.loads(answer.body)["cards"])
                found.problems += (
                    Problem(reference, 0, f"the check {check!r} could not be run ({type(error).__name__})")
                    for check, error in answer.failures
                )
    except sqlite3.OperationalError as error:
        raise NoRoom(f"the temporary database cannot be written ({error}); let TMPDIR name a larger folder") from error
    found.patients, found.judged = reader.count["Patient"], len(wanted)
    found.problems[:0] = reader.problems
    if nameless:
        what = f"{nameless} name no drug; export the type Medication too, where orders point to it"
        found.problems.append(Problem("orders not judged", 0, what))
    if reader.kinds.isdisjoint(ORDER_TYPES):
        what = f"nobody is judged; export {' or '.join(ORDER_TYPES)}"
        found.problems.append(Problem("no medication list in the export", 0, what))
    found.sort()
    return found


def _nameless(call: HookCall) -> int:
    """Orders on the medication list of which nobody can know for which drug they are."""
    orders = (entry for entry in call.prefetch.resources if entry["resourceType"] in ORDER_TYPES)
    drugs = (FhirOrder(order, "", call.medications).drug for order in orders)
    return sum(not drug.codings and not drug.text for drug in drugs)


# --------------------------------------------------------------------------------------------------------------------
# Telling


def draw(found: WorkList, console: Console) -> None:
    """The work list as a table. Reads without colour as well."""
    if found.rows:
        table = Table("", "patient", "drug, topic", "summary", title="Work list", title_justify="left")
        table.columns[0].no_wrap = table.columns[2].no_wrap = True
        table.columns[1].overflow = "fold"
        for row in found.rows:
            cells = row.cells
            first = Text(cells["indicator"].upper(), style=f"bold {COLOURS[cells['indicator']]}")
            about = Text(f"{cells['drug']}\n{cells['topic']}".strip())
            table.add_row(first, Text(printable(cells["patient"])), about, Text(cells["summary"]))
        console.print(table)
    counted = Counter(row.card["indicator"] for row in found.rows)
    cards = ", ".join(f"{counted[rank]} {rank}" for rank in RANKS)
    with_cards = len({row.patient for row in found.rows})
    console.print(
        f"{found.patients} patients, {found.judged} on a CMV drug, {with_cards} with cards: {cards}; "
        f"as of {found.today}, knowledge {found.knowledge_version}",
        highlight=False,
        soft_wrap=True,
    )


def _as_json(found: WorkList) -> str:
    told = {
        "today": found.today,
        "knowledgeVersion": found.knowledge_version,
        "patients": found.patients,
        "judged": found.judged,
        "worklist": [row.cells | {"card": row.card} for row in found.rows],
        "problems": [{"file": one.file, "line": one.line, "what": one.what} for one in found.problems],
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _as_csv(found: WorkList) -> str:
    """A line a card. No cell is a formula to a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(("indicator", "patient", "drug", "topic", "summary", "order", "rules"))
    for row in found.rows:
        writer.writerow(
            f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell for cell in row.cells.values()
        )
    return stream.getvalue()


# --------------------------------------------------------------------------------------------------------------------
# Reading


class _Reader:
    """Reads the files of an export and keeps count of what cannot be used."""

    def __init__(self, settings: "Settings", progress: Progress) -> None:
        self._limits = settings.limits
        self._progress = progress
        self._told: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self.count: Counter[str] = Counter()

    @property
    def kinds(self) -> frozenset[str]:
        """The types of resource that the export holds."""
        return frozenset(self.count)

    @property
    def problems(self) -> list[Problem]:
        """What could not be used, and how much more of it there was."""
        more = ((file, count - TOLD) for file, count in self._told.items() if count > TOLD)
        return [*self._problems, *(Problem(file, 0, f"{count} further lines cannot be used") for file, count in more)]

    def medication_lists(self, paths: Sequence[Path], charts: "_Charts") -> list[Path]:
        """Keep every medication list; name what cannot be used. Returns the files that hold more of a chart."""
        rest: dict[Path, None] = {}
        for path, number, line in self._lines(paths, "Reading medication lists", self._problem):
            try:
                resource = self._resource(line)
            except BadRequest as error:
                self._problem(path, number, error.detail)
                rest[path] = None
                continue
            kind = resource["resourceType"]
            self.count[kind] += 1
            if kind == "Medication":
                charts.keep_medication(resource, line)
            elif kind in ORDER_TYPES or kind in CHART_TYPES:
                if kind in CHART_TYPES:
                    rest[path] = None
                if not (patient := _patient_of(resource)):
                    self._problem(path, number, f"the {kind} names no patient by reference")
                elif kind in ORDER_TYPES:
                    charts.keep(patient, line)
            elif kind == "OperationOutcome" and is_error(resource):
                self._problem(path, number, "the export itself reports an error here: something may be absent")
            elif kind == "Bundle":
                self._problem(path, number, "a Bundle; deletions are not applied: screen a full export")
        return list(rest)

    def charts(self, paths: Sequence[Path], charts: "_Charts", wanted: set[str]) -> None:
        """Keep what else is known of the wanted patients. A broken line that names one of them is kept as broken."""
        for _, _, line in self._lines(paths, "Reading charts", lambda *_: None):
            try:
                resource = self._resource(line)
            except BadRequest:
                for patient in _named_in(line) & wanted:
                    charts.keep_broken(patient, line)
                continue
            if resource["resourceType"] in CHART_TYPES and (patient := _patient_of(resource)) in wanted:
                charts.keep(patient, line)

    def _resource(self, line: bytes) -> Json:
        if len(line) > self._limits.body_bytes:
            raise BadRequest(f"the line is over {self._limits.body_bytes} bytes (limits.body_mb)")
        return read_resource(line, self._limits.max_depth, "the line")

    def _problem(self, path: Path, line: int, what: str) -> None:
        self._told[str(path)] += 1
        if self._told[str(path)] <= TOLD:
            self._problems.append(Problem(str(path), line, what))

    def _lines(
        self, paths: Sequence[Path], title: str, problem: Callable[[Path, int, str], None]
    ) -> Iterator[tuple[Path, int, bytes]]:
        """Every line that is not empty, with its place. A line over the limit comes cut, one byte too long."""
        sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
        task = self._progress.add_task(title, total=sum(sizes))
        for index, path in enumerate(paths):
            number = 0
            try:
                with path.open("rb") as raw, _unpacked(raw) as stream:
                    while line := stream.readline(self._limits.body_bytes + 1):
                        number += 1
                        complete = line.endswith(b"\n")
                        if (text := line.removeprefix(_BOM).strip()) or not complete:
                            yield path, number, text if complete else line
                        while not complete and (more := stream.readline(self._limits.body_bytes)):
                            complete = more.endswith(b"\n")
                        if number % _STEP == 0:
                            self._progress.update(task, completed=sum(sizes[:index]) + raw.tell())
            except OSError as error:
                problem(path, number, f"cannot be read on from here ({error.strerror or 'broken gzip'})")
            except (EOFError, zlib.error):
                problem(path, number, "the gzip file ends or breaks here")
            self._progress.update(task, completed=sum(sizes[: index + 1]))
        self._progress.remove_task(task)


def _unpacked(raw: io.BufferedReader) -> io.BufferedIOBase:
    """The stream of a file, unpacked where it is gzip, whatever its name says."""
    return gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP else raw


def _patient_of(resource: Json) -> str:
    """The id of the patient that a resource is of, "" when it names none by reference."""
    if resource["resourceType"] == "Patient":
        return str(resource.get("id") or "")
    found = subject_of(resource)
    return found if found != "?" else ""


_NAMED = re.compile(rb'"reference"\s*:\s*"(?:[^"\\]*/)?Patient/([A-Za-z0-9.-]{1,64})"')
_TYPE = re.compile(rb'"resourceType"\s*:\s*"(\w+)"')


def _named_in(line: bytes) -> set[str]:
    """The patient that a broken line names, when it names one alone."""
    found = {name.decode() for name in _NAMED.findall(line)}
    return found if len(found) == 1 else set()


# --------------------------------------------------------------------------------------------------------------------
# What is kept


class _Charts:
    """Resources by patient, in an SQLite database that has no name: it vanishes with the connection, or the process."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            _CACHE,
            "CREATE TABLE chart (patient TEXT NOT NULL, broken TEXT, resource BLOB)",
            "CREATE INDEX of_patient ON chart (patient)",
            "CREATE TABLE medication (id TEXT PRIMARY KEY, resource BLOB)",
            "BEGIN",
        ):
            self._db.execute(statement)

    def __enter__(self) -> "_Charts":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def keep(self, patient: str, line: bytes) -> None:
        """Keep a resource of a patient."""
        self._db.execute("INSERT INTO chart VALUES (?, NULL, ?)", (patient, line))

    def keep_broken(self, patient: str, line: bytes) -> None:
        """Keep that something of a patient cannot be read, and its type."""
        if kind := _TYPE.search(line):
            self._db.execute("INSERT INTO chart VALUES (?, ?, NULL)", (patient, kind[1].decode()))

    def keep_medication(self, resource: Json, line: bytes) -> None:
        """Keep a Medication that orders may point to."""
        self._db.execute("INSERT OR REPLACE INTO medication VALUES (?, ?)", (str(resource.get("id", "")), line))

    def patients(self) -> list[str]:
        """Everybody of whom something is kept."""
        return [patient for (patient,) in self._db.execute("SELECT DISTINCT patient FROM chart ORDER BY patient")]

    def of(self, patient: str) -> tuple[list[Json], list[str]]:
        """(what is kept of a patient, each resource in its newest version; types of what cannot be read)."""
        rows = self._db.execute(
            "SELECT broken, resource FROM chart WHERE patient = ? ORDER BY rowid", (patient,)
        ).fetchall()
        return list(_newest(orjson.loads(line) for _, line in rows if line)), [kind for kind, _ in rows if kind]

    def reference(self, patient: str) -> str:
        """How the export refers to a patient."""
        for resource in self.of(patient)[0]:
            for subject in objects(resource.get("subject", resource.get("patient"))):
                return str(subject["reference"])
        return f"Patient/{patient}"

    def medications(self, orders: Iterable[Json]) -> list[Json]:
        """The Medications that these orders point to, as far as the export holds them."""
        found: dict[str, Json] = {}
        for order in orders:
            inner = objects(order.get("medication"))
            for pointer in objects(order.get("medicationReference") or (inner[0].get("reference") if inner else None)):
                name = bare_id(str(pointer.get("reference", "")))
                if row := self._db.execute("SELECT resource FROM medication WHERE id = ?", (name,)).fetchone():
                    found[name] = orjson.loads(row[0])
        return list(found.values())


def _newest(resources: Iterable[Json]) -> Iterator[Json]:
    """One version of each resource where the export holds several and each says when it was updated; else all."""
    found: dict[tuple[str, str], list[Json]] = {}
    for number, resource in enumerate(resources):
        name = str(resource.get("id") or f"#{number}")  # without an id it is nobody's version
        versions = found.setdefault((resource["resourceType"], name), [])
        if resource not in versions:
            versions.append(resource)
    for versions in found.values():
        times = [time for time in map(_updated, versions) if time]
        yield from versions if len(times) < len(versions) else [versions[times.index(max(times))]]


def _updated(resource: Json) -> datetime | None:
    for meta in objects(resource.get("meta")):
        try:
            found = datetime.fromisoformat(str(meta.get("lastUpdated")))
        except ValueError:
            return None
        return found if found.tzinfo else None
    return None


def _call(charts: _Charts, patient: str, kinds: frozenset[str]) -> HookCall:
    """What an EHR would send when this chart is opened. A type that the export does not hold at all was not sent."""
    resources, broken = charts.of(patient)
    of_kind: dict[str, list[Any]] = {}
    for resource in resources:
        of_kind.setdefault(resource["resourceType"], []).append(resource)
    prefetch: Json = {}
    for key, types in PREFETCH.items():
        if kinds.isdisjoint(types):
            continue
        entries: list[Json] = [{"resource": entry} for kind in types for entry in of_kind.get(kind, ())]
        entries += [{} for kind in broken if kind in types]
        if key == "medications":
            orders = [entry["resource"] for entry in entries if entry]
            medications = charts.medications(orders)
            entries += [{"resource": entry} for entry in medications]
        prefetch[key] = {"resourceType": "Bundle", "type": "searchset", "entry": entries} if entries else None
    if "Patient" in kinds:
        prefetch["patient"] = next(iter(of_kind.get("Patient", ())), None)
    return opened_chart(patient, prefetch)
