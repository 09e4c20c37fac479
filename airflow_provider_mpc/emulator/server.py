# SPDX-License-Identifier: Apache-2.0
"""The emulator on a socket: uvicorn in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from types import TracebackType
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_mpc.emulator import connection as connections
from airflow_provider_mpc.emulator.app import make_app
from airflow_provider_mpc.emulator.misbehaviour import TRANSPORT_KEY
from airflow_provider_mpc.emulator.state import Emulator

# A token of 9 kB and more comes in one header; uvicorn's own limit for the whole head is 64 kB.
MAX_HEAD_BYTES = 256 * 1024
START_SECONDS = 30.0


class _Protocol(H11Protocol):
    """uvicorn's protocol, which hands its transport to the application, for replies that break HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT_KEY] = transport
            # Cancelled when the server stops while a fault holds a reply back.
            with contextlib.suppress(asyncio.CancelledError):
                await app(scope, receive, send)

        self.app = with_transport


class EmulatorServer:
    """
    Serves an emulator from a daemon thread; a context manager, or :meth:`start` and :meth:`stop`.

    It may be started again after a stop, on the same port, to play an outage. A stop drops open connections.

    :param port: 0 picks a free one.
    """

    def __init__(self, emulator: Emulator, host: str = "127.0.0.1", port: int = 0) -> None:
        self.emulator = emulator
        self.host = host
        self.port = port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> EmulatorServer:
        """
        Start to serve; it takes connections when this returns.

        :raises OSError: when the port cannot be had.
        """
        if self._thread is not None:
            raise RuntimeError("the emulator's server has been started already")
        listener = self._listen()
        config = uvicorn.Config(
            make_app(self.emulator),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            # The gateway stamps the date itself, by the emulator's clock.
            date_header=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._server, listener, ready), name="mpc-emulator", daemon=True
        )
        self._thread.start()
        if not ready.wait(START_SECONDS) or not self._server.started:
            raise RuntimeError("the emulator's server did not start")
        return self

    def stop(self) -> None:
        """Stop to serve; open connections are dropped."""
        if self._server is None or self._thread is None or self._loop is None:
            return
        self._server.should_exit = True
        # RuntimeError: the loop has ended by itself.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._drop_connections)
        self._thread.join()
        self._server = self._thread = self._loop = None

    def __enter__(self) -> EmulatorServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.emulator.close()

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:8080``."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def connection(self, auth: connections.Auth = "aksk") -> dict[str, Any]:
        """
        Return the fields of an Airflow connection to it; ``extra`` is a dict.

        :param auth: ``aksk``, ``temporary`` (AK/SK with a security token), ``token``, ``password`` or
            ``agency``.
        """
        return connections.make_connection(self.emulator, self.url, auth)

    def connection_uri(self, auth: connections.Auth = "aksk") -> str:
        """Return the connection as a URI, for ``AIRFLOW_CONN_MPC_DEFAULT``."""
        return connections.as_uri(self.connection(auth))

    def connection_json(self, auth: connections.Auth = "aksk") -> str:
        """Return the connection as JSON, for ``AIRFLOW_CONN_MPC_DEFAULT``."""
        return connections.as_json(self.connection(auth))

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # The protocol has to be said: asyncio turns Nagle's delay off only for sockets that name TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            # Listening here, and not only in the thread: the port is either ours now, or the caller is told.
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        return listener

    def _run(self, server: uvicorn.Server, listener: socket.socket, ready: threading.Event) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            while not server.started and not serving.done():
                await asyncio.sleep(0.005)
            ready.set()
            await serving

        try:
            asyncio.run(serve())
        finally:
            ready.set()

    def _drop_connections(self) -> None:
        if self._server is None or self._loop is None:
            return
        state = self._server.server_state
        for connection in list(state.connections):
            connection.transport.abort()
        # After the protocols have heard of the lost connections: queued callbacks run in order.
        self._loop.call_soon(lambda: [task.cancel() for task in list(state.tasks)])
