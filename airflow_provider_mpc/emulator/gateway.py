# SPDX-License-Identifier: Apache-2.0
"""What every call goes through: it is logged, a fault may hit it, and its reply is stamped."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import Response

from airflow_provider_mpc.emulator.calls import Call
from airflow_provider_mpc.emulator.replies import ApiError, gateway_error
from airflow_provider_mpc.emulator.state import Emulator

HOST_NAME = "mpc-emulator"
Handler = Callable[[Emulator, Call], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(emulator: Emulator, api: str, handler: Handler) -> Endpoint:
    """Return the route endpoint of an API."""

    async def serve(request: Request) -> Response:
        call = await _received(request, api, emulator.clock())
        emulator.log.add(call)

        async def answer() -> Response:
            try:
                response = await handler(emulator, call)
            except ApiError as error:
                response = error.response()
            return _stamped(response, emulator)

        fault = emulator.faults.take(call)
        if fault is None:
            response = await answer()
        else:
            call.fault = fault.kind
            response = _stamped(await fault.reply(call, answer), emulator)
        call.status = response.status_code or None
        return response

    return serve


async def no_such_api(emulator: Emulator, call: Call) -> Response:
    """Refuse a path or method that is no API."""
    raise gateway_error("APIGW.0101", "The API does not exist or has not been published in the environment")


async def _received(request: Request, api: str, now: float) -> Call:
    return Call(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        raw_query=request.scope["query_string"].decode("latin-1"),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw},
        body=await request.body(),
        time=now,
        api=api,
        path_values=dict(request.path_params),
    )


def _stamped(response: Response, emulator: Emulator) -> Response:
    now = emulator.clock()
    response.headers.setdefault("X-Request-Id", f"{uuid.uuid4()}-{int(now)}-{HOST_NAME}")
    response.headers.setdefault("Date", formatdate(now + emulator.variant.clock_skew, usegmt=True))
    return response
