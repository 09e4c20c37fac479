# SPDX-License-Identifier: Apache-2.0
"""
A ``requests`` adapter whose calls end at a deadline.

A socket's timeout starts again with every byte and with every address of a host, so a server that drips
holds a thread for ever. Here each wait is no longer than what is left of the call. Kept apart from
:mod:`.transport` because it needs ``requests`` when it is imported.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

_current = threading.local()


def set_deadline(at: float | None) -> None:
    """Set when this thread's next call must be over, on the monotonic clock; None: no limit."""
    _current.deadline = at
    _current.sent = False


def was_sent() -> bool:
    """Return whether any of the request of this thread's call was handed to the network."""
    return bool(_current.sent)


def _left() -> float | None:
    """
    Return the seconds left of this thread's call; None: no limit.

    :raises TimeoutError: there are none.
    """
    deadline: float | None = getattr(_current, "deadline", None)
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _bound(sock: socket.socket) -> None:
    """Let the socket wait no longer than what is left."""
    left = _left()
    if left is not None:
        sock.settimeout(left)


class _DeadlineReader(io.RawIOBase):
    """Reads a socket; each read has what is left of the call's time."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        _bound(self._sock)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock))

    def begin(self) -> None:
        super().begin()
        # urllib3 would log a header that is none, and all that follow it: an echoed signature, a fresh token.
        if self.msg.defects or self.msg.get_payload():
            self.msg.defects.clear()
            self.msg.set_payload("")


class _DeadlineHTTPConnection(HTTPConnection):
    response_class = _DeadlineResponse

    def _new_conn(self) -> socket.socket:
        """Try the host's addresses in turn, while time is left."""
        name, timeout = self._dns_host, self.timeout
        try:
            found = socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        try:
            for address in addresses:
                self._dns_host = address
                try:
                    left = _left()
                    if left is not None and isinstance(timeout, (int, float)):
                        self.timeout = min(timeout, left)
                    sock = super()._new_conn()
                except TimeoutError as error:
                    raise ConnectTimeoutError(self, "no time is left") from error
                except (NewConnectionError, ConnectTimeoutError):
                    if address == addresses[-1]:
                        raise
                else:
                    # The TLS handshake comes next.
                    _bound(sock)
                    return sock
        finally:
            self._dns_host, self.timeout = name, timeout
        raise NameResolutionError(self.host, self, socket.gaierror("no address"))

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        finally:
            # What a proxy was asked for is not the request yet.
            _current.sent = False

    def send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        if self.sock is not None:
            _bound(self.sock)
            _current.sent = True
        super().send(data)


class _DeadlineHTTPSConnection(_DeadlineHTTPConnection, HTTPSConnection):
    pass


class _DeadlineHTTPConnectionPool(HTTPConnectionPool):
    ConnectionCls = _DeadlineHTTPConnection


class _DeadlineHTTPSConnectionPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineHTTPSConnection


_POOLS = {"http": _DeadlineHTTPConnectionPool, "https": _DeadlineHTTPSConnectionPool}


class DeadlineAdapter(HTTPAdapter):
    """Sends as :class:`requests.adapters.HTTPAdapter` does, without its retries, and ends at the deadline."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


def is_watched(pool: HTTPConnectionPool) -> bool:
    """Return whether a pool's connections are those of this module."""
    return isinstance(pool, (_DeadlineHTTPConnectionPool, _DeadlineHTTPSConnectionPool))
