"""Kill the service again and again while it confirms feedback; then count: nothing confirmed may be lost or doubled.

    .venv/bin/python tests/torture.py [--kills 200] [--writes 20000] [--database sqlite|postgresql]

The real server, in a process group of its own, gets SIGKILL in the middle of its work and is started again on the same
database. Writers send each report until it is confirmed, as clients do, so what is sent twice must be kept once.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

import orjson
import pg_server
import requests
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import select

from cdshooks.service import audit
from cdshooks.service.store import FEEDBACK, open_store, upgrade_store

WRITERS = 8
PATH = "/cds-services/cmv-order-sign/feedback"
READY_WITHIN_S = 60


@dataclass
class Tally:
    """What the writers saw. `confirmed` holds the numbers of reports that were answered 200."""

    confirmed: Counter[int] = field(default_factory=Counter)
    broken_off: int = 0  # sent, but not answered: nobody knows whether it was kept
    refused: Counter[int] = field(default_factory=Counter)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@contextmanager
def service(address: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server with its worker in a process group of its own, killed at the latest at the end of the block."""
    command = [sys.executable, "-m", "cdshooks.cli", "serve", "--port", str(port)]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, env=os.environ | {"CDSHOOKS_DATABASE": address}, stderr=errors, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it has ended, as it was told to
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    latest = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < latest and process.poll() is None:
        try:
            if requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.01)
    raise SystemExit("the service did not come up again")


def write(port: int, todo: "SimpleQueue[int]", tally: Tally, stop: Event) -> None:
    """Send reports until told to stop; one that is not confirmed goes back to be sent again."""
    with requests.Session() as session:
        while not stop.is_set():
            try:
                number = todo.get_nowait()
            except Empty:
                return
            entry = {"card": f"card-{number}", "outcome": "accepted", "outcomeTimestamp": "2026-03-02T10:00:00Z"}
            try:
                answer = session.post(
                    f"http://127.0.0.1:{port}{PATH}",
                    data=orjson.dumps({"feedback": [entry]}),
                    headers={"Content-Type": "application/json"},
                    timeout=10,
                )
            except requests.RequestException:
                tally.broken_off += 1
                todo.put(number)
                continue
            if answer.status_code == 200:
                tally.confirmed[number] += 1
            else:
                tally.refused[answer.status_code] += 1
                todo.put(number)


def torture(address: str, *, kills: int, writes: int, seed: int, folder: Path, console: Console) -> list[str]:
    """Run it; gives what is wrong with the database at the end, nothing when all is well."""
    chance = random.Random(seed)
    todo: SimpleQueue[int] = SimpleQueue()
    for number in range(writes):
        todo.put(number)
    tally, port, done = Tally(), free_port(), 0
    per_life = writes / (kills + 1)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("confirmed", total=writes)
        while len(tally.confirmed) < writes:
            with service(address, port, folder / "log") as process:
                wait_until_ready(port, process)
                stop = Event()
                writers = [Thread(target=write, args=(port, todo, tally, stop)) for _ in range(WRITERS)]
                aim = (
                    min(len(tally.confirmed) + per_life * chance.uniform(0.5, 1.2), writes) if done < kills else writes
                )
                for writer in writers:
                    writer.start()
                while len(tally.confirmed) < aim and any(writer.is_alive() for writer in writers):
                    time.sleep(0.002)
                    progress.update(bar, completed=len(tally.confirmed))
                if done < kills:
                    time.sleep(chance.uniform(0, 0.01))
                    os.killpg(process.pid, signal.SIGKILL)  # in the middle of whatever it does
                    done += 1
                stop.set()
                for writer in writers:
                    writer.join()
    return _judge(address, tally, writes=writes, kills=done, console=console)


def _judge(address: str, tally: Tally, *, writes: int, kills: int, console: Console) -> list[str]:
    store = open_store(address)
    with store.connect() as connection:
        kept = Counter(connection.scalars(select(FEEDBACK.c.card)))
    chain = audit.verify(store, [audit.audit_key(store, None)])
    store.dispose()
    lost = [number for number in tally.confirmed if not kept[f"card-{number}"]]
    doubled = [card for card, times in kept.items() if times > 1]
    console.print(
        f"{store.dialect.name}: {kills} kills, {len(tally.confirmed)} reports confirmed, {len(kept)} kept, "
        f"{len(lost)} lost, {len(doubled)} doubled; {tally.broken_off} broken off and sent again, "
        f"refused: {dict(tally.refused) or 'none'}; "
        f"audit: {chain.entries} entries, {chain.broken or 'the chain holds'}",
        soft_wrap=True,
    )
    problems = [f"lost: {number}" for number in lost] + [f"doubled: {card}" for card in doubled]
    if len(kept) != writes:
        problems.append(f"{writes} reports sent, {len(kept)} kept")
    if chain.broken or chain.entries < writes:
        problems.append(f"audit: {chain.broken or 'entries are missing'}")
    return problems


def main() -> int:
    """Exit code 1 when something is lost, doubled or broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--writes", type=int, default=20_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    console = Console(stderr=True)

    def run(address: str, folder: Path) -> int:
        upgrade_store(address)
        problems = torture(
            address, kills=given.kills, writes=given.writes, seed=given.seed, folder=folder, console=console
        )
        for problem in problems[:20]:
            console.print(problem)
        return 1 if problems else 0

    with tempfile.TemporaryDirectory(prefix="cdshooks-torture-") as name:
        folder = Path(name)
        if given.database == "sqlite":
            return run(f"sqlite:///{folder / 'kept.db'}", folder)
        if not pg_server.server():
            return 0
        with pg_server.database() as address:
            return run(address, folder)


if __name__ == "__main__":
    sys.exit(main())
