"""The command line. Thin: every command calls one function elsewhere.

Imports stand inside the commands, so that a light one does not wait for the web server.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cdshooks import __version__
from cdshooks.errors import CdsError

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.service.config import Settings
    from cdshooks.service.store import Store

DATE = click.DateTime(("%Y-%m-%d",))


class _Commands(click.Group):
    """The commands; an error raised on purpose ends with its message on standard error and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CdsError as error:
            click.echo(f"cdshooks: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cdshooks")
def main() -> None:
    """CMV therapy checks inside the EHR: a CDS Hooks service."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="IP address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
@click.option("--open", "open_to_all", is_flag=True, help="Allow an address that is not loopback, without clients.")
@click.option("--today", type=DATE, help="Fix the clinical date (tests only).")
def serve(host: str, port: int, config: Path | None, open_to_all: bool, today: datetime | None) -> None:
    """Run the service until SIGTERM. Logs go to standard error as JSON lines."""
    settings = _settings(config, today=today, open_to_all=open_to_all)
    from cdshooks.service import server

    server.serve(settings, host=host, port=port)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
@click.option("--today", type=DATE, help="Judge as of this date.")
def check(files: tuple[str, ...], as_json: bool, config: Path | None, today: datetime | None) -> None:
    """Judge hook request files (- for standard input) without a server.

    Exit code 1 when a card is critical, 2 when a file could not be judged.
    """
    settings = _settings(config, today=today)
    from cdshooks.service import terminal

    sys.exit(terminal.check(files, as_json=as_json, settings=settings))


@main.command()
@click.argument("places", nargs=-1, required=True, metavar="DIR_OR_FILES...")
@click.option("--json", "form", flag_value="json", help="Print the work list as JSON, every card whole.")
@click.option("--csv", "form", flag_value="csv", help="Print the work list as CSV.")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
@click.option("--today", type=DATE, help="Judge as of this date.")
def screen(
    places: tuple[str, ...], form: Literal["json", "csv"] | None, config: Path | None, today: datetime | None
) -> None:
    """Judge the active CMV therapy of every patient of a FHIR Bulk Data export, and print a work list.

    The export is a folder of NDJSON files (.ndjson, .jsonl, also with .gz), or those files. Name a full export of one
    server with the types Patient, MedicationRequest, Medication, Observation, Condition, AllergyIntolerance, Procedure
    and DiagnosticReport. Exit code 1 when a card is critical, 2 when something could not be read.
    """
    settings = _settings(config, today=today)
    from cdshooks.service import screen as screening

    sys.exit(screening.run(places, settings=settings, form=form or "table"))


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
@click.option("--client", default="", help="Name of the client in the configuration, where there are several.")
@click.option("--today", type=DATE, help="Read as of this date.")
def lint(files: tuple[str, ...], config: Path | None, client: str, today: datetime | None) -> None:
    """Say what captured hook requests (- for standard input) hold that cannot be used, and what to add.

    Exit code 1 when there is something to mend, 2 when a file is no hook request.
    """
    settings = _settings(config, today=today)
    from cdshooks.service import lint as linter

    sys.exit(linter.lint(files, settings=settings, client=client))


@main.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--once", is_flag=True, help="End after the table.")
@click.option("--today", type=DATE, help="Another clinical date than the sample patients'.")
def demo(port: int, once: bool, today: datetime | None) -> None:
    """Run the service with sample patients on this machine: their cards as a table, and a page that shows them."""
    settings = _settings(None, today=today)
    from cdshooks.service import demo as sample

    sample.run(settings, port=port, once=once)


@main.group()
def knowledge() -> None:
    """Look at the clinical knowledge, or validate it."""


@knowledge.command("check")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def knowledge_check(folder: Path | None) -> None:
    """Validate the built-in knowledge, or the copy in FOLDER, and the overlay. Exit code 2 when it cannot be used."""
    from cdshooks.medicine.knowledge_files import load_knowledge
    from cdshooks.service.canaries import check_canaries

    loaded = load_knowledge(folder, _settings(None).overlay)
    orders = check_canaries(loaded, folder)
    click.echo(f"{_counts(loaded)}; {orders} canary orders give their cards")


@knowledge.command("list")
def knowledge_list() -> None:
    """List the rules with their sources."""
    from rich.console import Console

    from cdshooks.medicine.knowledge_files import load_knowledge
    from cdshooks.service.catalogue import describe_rules

    settings = _settings(None)
    loaded = load_knowledge(settings.mappings, settings.overlay)
    console = Console(highlight=False, soft_wrap=True)
    for rule in describe_rules(loaded):
        drug = f" ({rule['drug']})" if "drug" in rule else ""
        console.print(f"[bold]{rule['id']}[/bold]{drug}, reviewed: {rule['reviewed']}")
        console.print(f"  {rule['title']}")
        sections: dict[str, list[str]] = {}
        for citation in rule["citations"]:
            sections.setdefault(citation["source"], []).append(citation["section"])
        for source, named in sections.items():
            console.print(f"  - {source}: {'; '.join(named)}", style="dim")
    console.print(f"\n{_counts(loaded)}")


@knowledge.command("show")
@click.argument("rule_id", metavar="RULE")
def knowledge_show(rule_id: str) -> None:
    """Show one rule in words, with every number and its source."""
    from cdshooks.medicine.knowledge_files import load_knowledge
    from cdshooks.service.catalogue import in_words

    settings = _settings(None)
    loaded = load_knowledge(settings.mappings, settings.overlay)
    found = [rule for rule in loaded.rules if rule.id == rule_id]
    if not found:
        raise click.UsageError(f"no rule {rule_id!r}; `cdshooks knowledge list` names them all")
    click.echo(in_words(loaded, found[0]))


@knowledge.command("export")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; else standard output.")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
def knowledge_export(output: Path | None, config: Path | None) -> None:
    """Write the knowledge as a FHIR R4 Bundle: rules, regimens, codes and sources, for documentation and exchange."""
    import orjson

    from cdshooks.service.knowledge_export import export

    written = orjson.dumps(export(_settings(config)), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is None:
        click.echo(written, nl=False)
        return
    try:
        output.write_bytes(written)
    except OSError as error:
        raise click.UsageError(f"--output {output}: cannot be written ({error.strerror})") from error
    click.echo(output)


@main.group()
def database() -> None:
    """Look after the database."""


@database.command("upgrade")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
def database_upgrade(config: Path | None) -> None:
    """Bring the tables up to this version. Run it once before new replicas start on PostgreSQL."""
    from cdshooks.service.store import upgrade_store

    before, after = upgrade_store(_settings(config).database)
    click.echo(f"database: step {after}" + (", as before" if before == after else f" (before: {before or 'empty'})"))


@main.group()
def audit() -> None:
    """Look at the audit: what was asked, what was found, shown or silent."""


@audit.command("verify")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
def audit_verify(config: Path | None) -> None:
    """Look at every link of the chain. Exit code 1 when one is broken.

    Entries cut off at the end show by comparing the head with the one that a start has written to the log.
    """
    from cdshooks.service import audit as ledger

    with _store(config) as (settings, store):
        found = ledger.verify(store, [ledger.audit_key(store, settings.audit_key)])
    click.echo(f"{found.entries} entries hold, head {found.head}")
    if found.other_keys:
        click.echo(f"{found.other_keys} of them were made with another key, and could not be looked at")
    if found.broken:
        click.echo(f"broken: {found.broken}", err=True)
        sys.exit(1)


@audit.command("export")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
@click.option("--since", type=DATE, help="From this day on (UTC).")
@click.option("--until", type=DATE, help="Up to the day before this one (UTC).")
def audit_export(config: Path | None, since: datetime | None, until: datetime | None) -> None:
    """Write the entries as FHIR R4 AuditEvent, one a line, to standard output."""
    import orjson

    from cdshooks.service import audit as ledger
    from cdshooks.wire.audit_event import audit_event

    with _store(config) as (_, store):
        for entry in ledger.entries(store, since=_utc(since), until=_utc(until)):
            click.echo(orjson.dumps(audit_event(entry)))


@main.group()
def report() -> None:
    """Count what became of the cards."""


@report.command("feedback")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
@click.option("--since", type=DATE, help="From this day on (UTC).")
@click.option("--until", type=DATE, help="Up to the day before this one (UTC).")
@click.option("--csv", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write CSV files there.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots.")
def report_feedback(
    config: Path | None, since: datetime | None, until: datetime | None, folder: Path | None, page: Path | None
) -> None:
    """Acceptance and overrides per rule and reason, and alerts per 100 orders."""
    from rich.console import Console

    from cdshooks.medicine.knowledge_files import load_knowledge
    from cdshooks.service import report as reports

    with _store(config) as (settings, store):
        offered = load_knowledge(settings.mappings).cards.override_reasons
        meanings = {reason.code: reason.display for reason in offered}
        made = reports.make_report(store, meanings, since=_utc(since), until=_utc(until))
    if folder is None and page is None:
        reports.draw(made, Console())
    written = reports.write_csv(made, folder) if folder else ()
    if page:
        page.write_text(reports.page(made), encoding="utf-8")
        written = (*written, page)
    for path in written:
        click.echo(path)


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--against",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another copy of mappings/.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the difference as JSON, every request named.")
@click.option("--config", "config", type=click.Path(path_type=Path), help="TOML file; else CDSHOOKS_CONFIG.")
@click.option("--today", type=DATE, help="Judge as of this date.")
def replay(folder: Path, against: Path, as_json: bool, config: Path | None, today: datetime | None) -> None:
    """Judge the stored requests in DIR under two versions of the knowledge, and show what differs per rule."""
    from zoneinfo import ZoneInfo

    from cdshooks.service import replay as replays

    settings = _settings(config, today=today)
    day = settings.today or datetime.now(ZoneInfo(settings.timezone)).date()
    replays.run(folder, against, settings=settings, today=day, as_json=as_json)


@contextmanager
def _store(config: Path | None) -> "Iterator[tuple[Settings, Store]]":
    """The settings and the database they name, open for the block."""
    from cdshooks.service.store import open_store

    settings = _settings(config)
    store = open_store(settings.database, create=False)
    try:
        yield settings, store
    finally:
        store.dispose()


def _utc(day: datetime | None) -> datetime | None:
    """The beginning of a day."""
    return day.replace(tzinfo=UTC) if day else None


def _settings(config: Path | None, *, today: datetime | None = None, open_to_all: bool = False) -> "Settings":
    """The settings of this run: file and environment, then what the command line says."""
    from cdshooks.service.config import load_settings

    named = os.environ.get("CDSHOOKS_CONFIG")
    settings = load_settings(config or (Path(named) if named else None), os.environ)
    given: dict[str, object] = {}
    if today is not None:
        given["today"] = today.date()
    if open_to_all:
        given["open"] = True
    return settings.model_copy(update=given)


def _counts(loaded: "Knowledge") -> str:
    """What was loaded, in one line."""
    return f"{len(loaded.rules)} rules, {len(loaded.sources)} sources, version {loaded.version}: ok"


if __name__ == "__main__":
    main()
