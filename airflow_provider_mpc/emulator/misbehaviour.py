# SPDX-License-Identifier: Apache-2.0
"""
Replies that break HTTP, or come as no server should send them.

They write to the connection's transport, which the server's protocol puts into the ASGI scope; see
:mod:`.server`.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Iterable
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TRANSPORT_KEY = "emulator.transport"


async def pause(seconds: float | None) -> None:
    """Wait; ``None`` waits for ever, which ends when the server stops."""
    if seconds is None or math.isinf(seconds):
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


def head_of(response: Response) -> bytes:
    """Return status line and headers as they go on the wire."""
    phrase = HTTPStatus(response.status_code).phrase if response.status_code in set(HTTPStatus) else ""
    lines = [f"HTTP/1.1 {response.status_code} {phrase}".encode()]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"", b""])


class WireResponse(Response):
    """
    Bytes written to the connection as they are, which is closed then.

    :param pieces: what to write.
    :param interval: seconds between two pieces.
    :param reset: end with a TCP reset rather than an orderly close.
    :param status: the status to be logged; 0 if the caller gets none.
    """

    def __init__(self, pieces: Iterable[bytes], *, interval: float = 0.0, reset: bool = False, status: int = 0) -> None:
        super().__init__(status_code=status)
        self._pieces = pieces
        self._interval = interval
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the pieces and close."""
        transport: asyncio.Transport = scope[TRANSPORT_KEY]
        for number, piece in enumerate(self._pieces):
            if number and self._interval:
                await pause(self._interval)
            if transport.is_closing():
                break
            transport.write(piece)
        if self._reset:
            reset(transport)
        else:
            transport.close()
        # The server answers 500 for an application that says nothing, unless the caller has gone.
        while (await receive())["type"] != "http.disconnect":
            pass


def reset(transport: asyncio.Transport) -> None:
    """End a connection by a TCP reset."""
    linger_for_no_time = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_no_time)
    transport.abort()


def pieces_of(data: bytes, size: int) -> Iterable[bytes]:
    """Return the data in pieces of a size."""
    return (data[start : start + size] for start in range(0, len(data), size))
