"""A FHIR server on this machine that does what it is told, and a listener that only counts who connects."""

import json
import socket
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
Answer = Callable[["Handler"], None]


class Listener:
    """Counts connections to a port, and says nothing to them."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Handler(BaseHTTPRequestHandler):
    """One connection; `server.ehr` says what is answered."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        ehr = self.server.ehr
        ehr.asked.append(self.path)
        ehr.headers.append(dict(self.headers.items()))
        ehr.answer(self)

    def send_json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.send_body(json.dumps(value).encode(), status, **{"Content-Type": "application/fhir+json"} | headers)

    def send_body(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    ehr: "FakeEhr"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.ehr.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away in these tests."""


class FakeEhr:
    """Answers searches of one patient from `prefetch` values by key; `queries` are those of the knowledge."""

    def __init__(self, prefetch: Mapping[str, Any], queries: Mapping[str, str]) -> None:
        self.prefetch = dict(prefetch)
        self.queries = queries
        self.answer: Answer = self.search
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.ehr = self
        self.port = self._server.server_port
        self.base = f"http://127.0.0.1:{self.port}/fhir"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def key(self, path: str) -> str:
        """The prefetch key that a request is for."""
        parts = urlsplit(path)
        code = "code=" + parse_qs(parts.query).get("code", [""])[0]
        for key, query in self.queries.items():
            wanted, _, search = query.partition("?")
            kind = wanted.split("/")[0]
            if parts.path.split("/")[2] == kind and (kind != "Observation" or code in search):
                return key
        raise AssertionError(f"nobody publishes {path}")

    def search(self, handler: Handler) -> None:
        value = self.prefetch.get(self.key(handler.path))
        handler.send_json(value or {"resourceType": "Bundle", "type": "searchset", "total": 0})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
