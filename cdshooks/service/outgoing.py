"""What this service reads over the network: FHIR servers and key sets that the configuration names, nothing else.

Holds for every read: no redirect, no proxy or password from the environment, no cookie, an answer of bounded size by a
fixed time, and the address that was checked is the address that is connected to.
"""

import logging
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from time import monotonic
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from cdshooks.errors import CdsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PIECE: Final = 64 * 1024  # bytes asked for at once
CONNECTIONS: Final = 16  # kept open to one server
logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # its warnings quote addresses, which hold patient ids
_NAT64: Final = ip_network("64:ff9b::/96")


class NotFetched(CdsError):
    """There is no usable answer. `why` completes "could not be read: ..."; `server_failed`: try it less for a while."""

    def __init__(self, why: str, *, server_failed: bool) -> None:
        """Keep why, in words that hold nothing of the answer."""
        super().__init__(why)
        self.why = why
        self.server_failed = server_failed


@dataclass(frozen=True, slots=True)
class Destination:
    """A configured address, and the private networks in which its host name may lie (public ones always)."""

    url: str
    networks: tuple[Network, ...] = ()

    def admits(self, address: Address) -> bool:
        """May this address be connected to? A private one only where the configuration itself says so."""
        plain = _inner(address)
        if any(plain.version == network.version and plain in network for network in self.networks):
            return True
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return plain.is_loopback
        try:
            return _inner(ip_address(host)) == plain
        except ValueError:
            return plain.is_global and not plain.is_multicast and not plain.is_reserved


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one only wraps: it is there that a connection ends."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def bind(session: requests.Session, destination: Destination) -> None:
    """Make a session connect to its destination alone, with nothing from the environment and without cookies."""
    session.trust_env = False  # no proxy, no .netrc
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True  # a hospital's own authority
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    adapter = _Adapter(destination)
    session.mount("https://", adapter)
    session.mount("http://", adapter)


class Line:
    """A line to one destination: connections are kept open and shared by threads."""

    def __init__(self, destination: Destination) -> None:
        """Nothing is connected yet."""
        self._session = requests.Session()
        bind(self._session, destination)

    def get(self, url: str, *, headers: Mapping[str, str], limit: int, until: float, watch: "Watch") -> bytes:
        """The body at `url`, of at most `limit` bytes, here by `until` (monotonic time).

        Raises:
            NotFetched: no answer in time, no success, or an answer too large.
        """
        left = until - monotonic()
        if left <= 0:
            raise NotFetched("not in time", server_failed=True)
        _CURRENT.watch = watch
        try:
            with self._session.get(
                url,
                headers={"User-Agent": "cdshooks", "Accept-Encoding": "identity", **headers},
                timeout=(left, left),
                allow_redirects=False,
                stream=True,
            ) as answer:
                return _body(answer, limit, until)
        except requests.Timeout as error:
            raise NotFetched("not in time", server_failed=True) from error
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            late = watch.stopped or monotonic() >= until
            raise NotFetched("not in time" if late else _reason(error), server_failed=True) from error
        finally:
            _CURRENT.watch = None


def _body(answer: requests.Response, limit: int, until: float) -> bytes:
    if answer.status_code != HTTPStatus.OK:
        failed = answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise NotFetched(f"the server answered {answer.status_code}", server_failed=failed)
    if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise NotFetched("the answer is compressed, which was not asked for", server_failed=False)
    body = bytearray()
    for piece in answer.iter_content(PIECE):
        body += piece
        if len(body) > limit:
            raise NotFetched(f"the answer is over {limit} bytes", server_failed=False)
        if monotonic() > until:
            raise NotFetched("not in time", server_failed=True)
    return bytes(body)


class _Refused(NewConnectionError):
    """No address of the host may be connected to."""


def _reason(error: BaseException) -> str:
    """A phrase for what went wrong, without anything that the other side said."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, _Refused):
            return "the address of the server is not a permitted one"
        inner = inner.__cause__ or inner.__context__
    return "no answer from the server"


# --------------------------------------------------------------------------------------------------------------------
# Connections


class _Stoppable(Protocol):
    def stop(self) -> None:
        """End it, whoever waits on it."""


class Watch:
    """The connections that one read uses, so that somebody else can end it: a server that drips holds no thread."""

    def __init__(self) -> None:
        """Nothing to end yet."""
        self._lock = threading.Lock()
        self._connections: list[_Stoppable] = []
        self.stopped = False

    def add(self, connection: _Stoppable) -> None:
        """One more; ended at once when the time is over."""
        with self._lock:
            self._connections.append(connection)
            stopped = self.stopped
        if stopped:
            connection.stop()

    def stop(self) -> None:
        """End them all."""
        with self._lock:
            self.stopped = True
            connections = tuple(self._connections)
        for connection in connections:
            connection.stop()


class _Current(threading.local):
    watch: Watch | None = None


_CURRENT: Final = _Current()


class _Checked(HTTPConnection):
    """A connection to an address that its destination admits."""

    def __init__(self, *args: Any, destination: Destination, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._destination = destination
        self._second: socket.socket | None = None  # a second handle: TLS takes the first one away

    def _new_conn(self) -> socket.socket:
        """Connect to the first admitted address of the host; looked up once, so that no later answer counts."""
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NewConnectionError(self, "the host name is not known") from error
        admitted = [entry for entry in found if self._destination.admits(ip_address(str(entry[4][0]).split("%")[0]))]
        if not admitted:
            raise _Refused(self, "no address of the host may be connected to")
        failure: OSError | None = None
        timeout = self.timeout if isinstance(self.timeout, int | float) else None
        for family, kind, protocol, _, address in admitted:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(timeout)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._keep_second(connection)
                connection.connect(address)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise NewConnectionError(self, "cannot connect") from failure

    def _keep_second(self, connection: socket.socket) -> None:
        if self._second is not None:
            self._second.close()
        self._second = connection.dup()
        if _CURRENT.watch is not None:
            _CURRENT.watch.add(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send; a connection kept open from before is watched from here on."""
        if _CURRENT.watch is not None:
            _CURRENT.watch.add(self)
        super().request(*args, **kwargs)

    def stop(self) -> None:
        """End it, whoever waits on it."""
        second = self._second
        if second is not None:
            try:
                second.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # not connected (any more)

    def close(self) -> None:
        """Close both handles."""
        super().close()
        if self._second is not None:
            self._second.close()
            self._second = None


class _CheckedTls(_Checked, HTTPSConnection):
    """The same with TLS; the certificate is for the host name, whatever the address."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Checked


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedTls


class _Adapter(HTTPAdapter):
    """Makes every connection a checked one."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        super().__init__(pool_connections=1, pool_maxsize=CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_Pool, destination=self._destination),
            "https": partial(_TlsPool, destination=self._destination),
        }
