"""`python -m tests.oracle`: both opinions on any number of random orders; exit code 1 when they part."""

import random
import sys
import time
from collections import Counter

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .run import Difference, every_edge, in_parallel

SHOWN = 10


@click.command()
@click.option("--cases", type=click.IntRange(1), default=20_000, show_default=True, help="How many random cases.")
@click.option("--seed", type=int, default=None, help="The seed to repeat; a new one unless given.")
def main(cases: int, seed: int | None) -> None:
    """Judge the edges of every table and CASES random orders twice, independently."""
    console = Console(highlight=False)
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    console.print(f"seed {seed}")
    started = time.perf_counter()
    found: list[Difference] = []
    told = 0
    total = cases + sum(1 for _ in every_edge())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("orders", total=total)
        for done, differences in in_parallel(cases, seed):
            found += differences
            progress.update(task, advance=done, description=f"orders, {len(found)} differences")
            if not console.is_terminal and (tenths := int(progress.tasks[task].percentage // 10)) > told:
                told = tenths
                console.print(f"{told * 10} %, {len(found)} differences, {time.perf_counter() - started:.0f} s")
    took = time.perf_counter() - started
    at_edges = f"{total - cases:,} at the edges, {cases:,} random"
    console.print(f"{total:,} orders ({at_edges}) in {took:.1f} s, {total / took:,.0f} a second, seed {seed}")
    for kind, count in Counter(kind for d in found for kind in d.kinds).most_common(40):
        console.print(f"{count:8,}  {kind}", soft_wrap=True)
    for difference in found[:SHOWN]:
        console.print(str(difference), soft_wrap=True, markup=False)
    console.print(f"{len(found):,} differences" + (f", {SHOWN} shown" if len(found) > SHOWN else ""))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
