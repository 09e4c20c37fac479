# SPDX-License-Identifier: Apache-2.0
"""
One HTTP call over the connections of ``requests``, with the guarantees that its defaults do not give.

A total time limit that also ends a reply which drips a byte a second, redirects never followed,
``~/.netrc`` never read (it would replace the signature), the URL sent exactly as it was signed,
and a reply of bounded size. ``requests`` is imported at the first call: it costs 120 ms.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from airflow_provider_mpc import __version__
from airflow_provider_mpc.api.errors import (
    SOMEBODY_ELSE_ADVICE,
    MpcConfigurationError,
    MpcProtocolError,
    MpcTlsError,
    MpcTransportError,
)
from airflow_provider_mpc.api.redaction import Redactor, told

if TYPE_CHECKING:
    import requests
    from urllib3.connectionpool import HTTPConnectionPool

CONNECT_TIMEOUT = 10.0
DEFAULT_TIMEOUT = 30.0
_LARGEST_REPLY = 16 * 1024 * 1024
USER_AGENT = f"airflow-provider-mpc/{__version__}"


@dataclass(frozen=True)
class Reply:
    """
    An HTTP reply.

    :param headers: by lower-case name.
    :param redact: cuts the request's secrets out of what the reply says.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    redact: Redactor = field(default_factory=Redactor, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id``, which Huawei Cloud's support asks for."""
        return told(self.headers.get("x-request-id"), self.redact)


class Transport:
    """
    Sends requests; keeps one session for each thread, so that connections are reused.

    :param verify: verify TLS certificates: True, False, or the path of a CA bundle.
    :param timeout: seconds that one call may take in all, the name look-up aside.
    """

    def __init__(self, *, verify: bool | str = True, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.verify = verify
        self.timeout = timeout
        # Weak: a session goes with its thread.
        self._sessions: WeakSet[requests.Session] = WeakSet()
        self._local = threading.local()
        self._lock = threading.RLock()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        redact: Redactor,
        timeout: float | None = None,
        fresh: bool = False,
        direct: bool = False,
    ) -> Reply:
        """
        Make one call.

        :param url: goes on the wire as it is.
        :param timeout: seconds in all; default is the transport's.
        :param fresh: on a new connection. One that was kept may die under the request, which then may
            or may not have been acted on.
        :param direct: past any proxy that the environment names.
        :raises MpcTransportError: no complete reply.
        :raises MpcProtocolError: the reply is larger than 16 MB.
        :raises MpcConfigurationError: a header cannot be sent; nothing was.
        """
        _check_headers(headers)
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        from airflow_provider_mpc.api import deadline_http

        limit = timeout or self.timeout
        route = self._route(url, fresh=fresh, direct=direct)
        deadline_http.set_deadline(time.monotonic() + limit)
        try:
            # Not by the session: it would follow no redirect but read its body, whatever the size, and its objects
            # cost as much as the rest of the call. Each wait on the socket is bounded by the deadline too.
            response = route.pool.urlopen(
                method,
                url if route.absolute else "/" + url.partition("://")[2].partition("/")[2],
                body=body or None,
                headers={"User-Agent": USER_AGENT, **headers},
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                timeout=Timeout(connect=min(CONNECT_TIMEOUT, limit), read=limit),
            )
            try:
                reply_headers = {name.lower(): value for name, value in response.headers.items()}
                content = bytearray()
                for chunk in response.stream(65536, decode_content=True):
                    content += chunk
                    if len(content) > _LARGEST_REPLY:
                        too_large = MpcProtocolError(
                            f"The reply is larger than {_LARGEST_REPLY >> 20} MB",
                            advice=SOMEBODY_ELSE_ADVICE,
                            status=response.status,
                            request_id=Reply(response.status, reply_headers, b"", redact).request_id,
                        )
                        too_large.maybe_sent = True
                        raise too_large
                return Reply(response.status, reply_headers, bytes(content), redact)
            finally:
                response.close()
        except (HTTPError, OSError, ValueError) as error:
            failed = _transport_error(error, url, limit, redact)
            failed.maybe_sent = deadline_http.was_sent() or not route.watched
            raise failed from None
        finally:
            deadline_http.set_deadline(None)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            sessions, self._sessions = list(self._sessions), WeakSet()
            self._local = threading.local()
        for session in sessions:
            session.close()

    def _route(self, url: str, *, fresh: bool, direct: bool) -> _Route:
        """Return this thread's way to the URL's host."""
        local = self._local
        if not hasattr(local, "session"):
            local.session, local.routes = _new_session(), {}
            with self._lock:
                self._sessions.add(local.session)
        scheme, _, host = url.split("/", 3)[:3]
        if fresh:
            local.session.close()
            local.routes.clear()
        if (host, direct) not in local.routes:
            # Looking the environment up costs as much as the rest of a call: once for each host.
            local.routes[host, direct] = _find_route(local.session, url, scheme, self.verify, direct)
        route: _Route = local.routes[host, direct]
        return route


@dataclass(frozen=True)
class _Route:
    """
    A way to a host, through the proxy and with the CAs that the environment names.

    :param pool: its connections.
    :param absolute: whether requests name the whole URL, as a proxy for plain HTTP wants it.
    :param watched: whether its connections keep to the deadline and tell what was sent; those to a SOCKS proxy are
        PySocks' own, which only bound each wait.
    """

    pool: HTTPConnectionPool
    absolute: bool
    watched: bool


def _find_route(session: requests.Session, url: str, scheme: str, verify: bool | str, direct: bool) -> _Route:
    import requests
    from urllib3.exceptions import HTTPError

    from airflow_provider_mpc.api.deadline_http import is_watched

    settings = session.merge_environment_settings(url, {}, None, verify, None)
    request = requests.PreparedRequest()
    request.url = url
    # requests' types know no pool and no adapter but the base class.
    adapter: Any = session.get_adapter(url)
    try:
        pool = adapter.get_connection_with_tls_context(
            request, settings["verify"], proxies={} if direct else settings["proxies"], cert=settings["cert"]
        )
        adapter.cert_verify(pool, url, settings["verify"], settings["cert"])
    except (HTTPError, OSError, ValueError) as error:
        # The address of a proxy may hold a password, also where it is malformed: none of it is shown.
        if isinstance(error, OSError) and "certificate" in str(error):
            raise MpcConfigurationError(
                f"The environment's CA bundle cannot be used: {error}",
                advice="Correct REQUESTS_CA_BUNDLE (or CURL_CA_BUNDLE), or give a path in the field 'Verify TLS'.",
            ) from None
        raise MpcConfigurationError(
            "The environment's proxy address cannot be used",
            advice="Correct HTTPS_PROXY (or HTTP_PROXY, ALL_PROXY): http://user:password@host:port, with special "
            "characters percent-encoded. A socks5:// address needs the package PySocks.",
        ) from None
    return _Route(pool, absolute=scheme == "http:" and pool.proxy is not None, watched=is_watched(pool))


def _new_session() -> requests.Session:
    import requests

    from airflow_provider_mpc.api.deadline_http import DeadlineAdapter

    session = requests.Session()
    session.mount("https://", DeadlineAdapter())
    session.mount("http://", DeadlineAdapter())
    return session


def _check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what http.client would refuse too, but with the value, a secret perhaps, in its words."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise MpcConfigurationError(
                f"The header {name} holds a line break or another character that HTTP does not carry",
                advice="Look at the connection's fields; such characters come in when values are copied.",
            )


def _transport_error(error: Exception, url: str, limit: float, redact: Redactor) -> MpcTransportError:
    from urllib3 import exceptions

    host = url.split("/", 3)[2]
    chain = _chain(error)
    text = redact(str(chain[-1]) or type(chain[-1]).__name__)

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    if caused_by(ssl.SSLCertVerificationError):
        return MpcTlsError(
            f"The TLS certificate of {host} was not accepted: {text}",
            advice="If a proxy or private endpoint has a CA of its own, give its path in the field 'Verify TLS'.",
        )
    # An end of the connection without TLS's own farewell is a broken connection like any other.
    if caused_by(exceptions.SSLError) and not caused_by(ssl.SSLEOFError, ssl.SSLZeroReturnError, TimeoutError):
        return MpcTlsError(
            f"No TLS connection to {host}: {text}",
            advice="Check that the endpoint's scheme (https or http) and port belong together.",
        )
    if caused_by(exceptions.ProxyError):
        return MpcTransportError(
            f"The proxy on the way to {host} did not let the call through: {text}",
            advice="Check the proxy in the environment (HTTPS_PROXY, NO_PROXY).",
        )
    if caused_by(exceptions.NameResolutionError, socket.gaierror):
        return MpcTransportError(
            f"The host name {host} was not found",
            advice="Check the connection's Region and Endpoint, and this machine's DNS.",
        )
    never_connected = caused_by(exceptions.NewConnectionError, exceptions.ConnectTimeoutError)
    if caused_by(ConnectionRefusedError):
        return MpcTransportError(
            f"Nothing listens at {host}: {text}", advice="Check the connection's Region, Endpoint and Port."
        )
    # To urllib3 a connection that could not be made is a time-out too.
    chain = [link for link in chain if not isinstance(link, exceptions.NewConnectionError)]
    if caused_by(exceptions.TimeoutError, TimeoutError):
        return MpcTransportError(
            f"No {'connection to' if never_connected else 'complete reply from'} {host} within {limit:g} s",
            advice="If that is often so, check the way to the endpoint, or raise the connection's 'Timeout'.",
        )
    return MpcTransportError(
        f"The call to {host} broke off: {text}",
        advice="Check the network on the way to the endpoint.",
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and what lies under it; the bottom one has the plainest words."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in current.args if isinstance(arg, BaseException)), None)
        current = inner if inner is not None else current.__cause__ or current.__context__
    return chain
