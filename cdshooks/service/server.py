"""The production server around the application: address, threads, start message, graceful end."""

import gc
import logging
import resource
import socket
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

from flask import Flask
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from cdshooks import __version__
from cdshooks.errors import ConfigurationError
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import warm_up
from cdshooks.service import audit
from cdshooks.service.app import create_app, refuse_bad_clients
from cdshooks.service.config import Settings
from cdshooks.service.logs import json_lines
from cdshooks.service.store import open_store, sqlite_warning

# Each connection gets a thread while its body comes in, so that slow senders hold nobody up; how many evaluations run
# is the application's own bound. Threads are started as needed and end when idle.
CONNECTIONS: Final = 8192
THREADS: Final = 2048
END_WITHIN_S: Final = 2  # what is still being sent by then is given up
HEADERS_WITHIN_MS: Final = 10_000
COLLECT_AFTER: Final = (50_000, 20, 20)  # a request makes thousands of short-lived objects; measured in bench/


def serve(settings: Settings, *, host: str, port: int, make_app: Callable[..., Flask] = create_app) -> None:
    """Serve until SIGTERM or SIGINT; what runs is finished first.

    `make_app` gets `settings` and `knowledge=`, inside the worker: connections and threads do not survive a fork.

    Raises:
        ConfigurationError: the settings do not allow to listen there, or the address cannot be had.
        KnowledgeError: a file of the knowledge cannot be used.
    """
    refuse_bad_clients(settings)
    address = usable_address(host, port, open_to_all=settings.open or bool(settings.clients))
    base = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    settings = settings.model_copy(update={"public_base": settings.public_base or base})
    knowledge = load_knowledge(settings.mappings, settings.overlay)
    store = open_store(settings.database)  # so that a wrong address ends here with its message, not in the worker
    entries, digest = audit.head(store)
    doubt = sqlite_warning(store)
    store.dispose()
    server = Server(
        "cdshooks",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=1,  # counters and the bound on evaluations belong to one process
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        blocking_threads=THREADS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_MS),
        websockets=False,
        workers_kill_timeout=END_WITHIN_S,
        respawn_failed_workers=True,
        log_dictconfig=JSON_LOGGING,
        log_level=LogLevels.error,  # its warning about many threads is none here
    )
    _allow_files(2 * CONNECTIONS)
    fixed = {"today": settings.today.isoformat()} if settings.today else {}
    log = json_lines(sys.stderr)
    log.info(
        "start",
        address=base,
        mode=settings.mode,
        open=not settings.clients,
        knowledge=knowledge.version,
        version=__version__,
        audit_entries=entries,  # kept apart from the database, this shows entries cut off there
        audit_head=digest,
        **fixed,
    )
    if doubt:
        log.warning("database", message=doubt)
    server.serve(target_loader=partial(_in_worker, make_app, settings, knowledge), wrap_loader=False)


def _in_worker(make_app: Callable[..., Flask], settings: Settings, knowledge: Knowledge) -> Flask:
    """The application, warm: nobody's first call waits for imports, and collections skip what lives for ever."""
    app = make_app(settings, knowledge=knowledge)
    warm_up()
    app.test_client().get("/health/ready")  # the canaries are judged now, not when somebody first asks
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    return app


def _allow_files(wanted: int) -> None:
    """Let the process hold a file for each connection, as far as the machine allows; the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def usable_address(host: str, port: int, *, open_to_all: bool) -> str:
    """The IP address to listen on.

    Raises:
        ConfigurationError: not loopback although not declared open, no IP address, or taken by somebody else.
    """
    name = "127.0.0.1" if host == "localhost" else host
    try:
        address = ip_address(name)
    except ValueError as error:
        raise ConfigurationError(f"--host {host}: write an IP address, such as 127.0.0.1 or 0.0.0.0") from error
    if not address.is_loopback and not open_to_all:
        raise ConfigurationError(
            f"--host {host}: without [[clients]] anybody who reaches this address could call; "
            "listen on 127.0.0.1, or add --open (or open = true) where the network itself is protected"
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family) as trial:  # the server would share a taken port without a word
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((name, port))
        except OSError as error:
            raise ConfigurationError(f"--host {host} --port {port}: cannot listen there ({error.strerror})") from error
    return name


class ServerLines(logging.Handler):
    """Messages of the server itself as JSON lines: the first line only, as a trace may quote a request."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        message = record.getMessage().partition("\n")[0]
        json_lines(sys.stderr).log(record.levelno, "server", message=message)


JSON_LOGGING: Final[dict[str, Any]] = {
    "formatters": {},
    "handlers": {"lines": {"()": ServerLines}},
    "loggers": {"_granian": {"handlers": ["lines"], "propagate": False}},
}
