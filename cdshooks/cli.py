"""The command line: `cdshooks serve | check | demo | knowledge`. Thin: every command calls one function elsewhere.

Imports stand inside the commands, so that a light one does not wait for the web server.
"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdshooks import __version__
from cdshooks.errors import CdsError

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.service.config import Settings

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
    from cdshooks.medicine.knowledge import load_knowledge

    click.echo(_counts(load_knowledge(folder, _settings(None).overlay)))


@knowledge.command("list")
def knowledge_list() -> None:
    """List the rules with their sources."""
    from rich.console import Console

    from cdshooks.medicine.knowledge import load_knowledge
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
    from cdshooks.medicine.knowledge import load_knowledge
    from cdshooks.service.catalogue import in_words

    settings = _settings(None)
    loaded = load_knowledge(settings.mappings, settings.overlay)
    found = [rule for rule in loaded.rules if rule.id == rule_id]
    if not found:
        raise click.UsageError(f"no rule {rule_id!r}; `cdshooks knowledge list` names them all")
    click.echo(in_words(loaded, found[0]))


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
