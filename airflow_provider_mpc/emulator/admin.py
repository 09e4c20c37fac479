# SPDX-License-Identifier: Apache-2.0
"""
Steering an emulator in another process, over HTTP and without authentication: for loopback use only.

Bodies are JSON; all paths begin with ``/_emulator``.

* ``GET /_emulator``: the account, the counts, the limiter, the variants.
* ``GET …/connection``: the fields of the Airflow connection; ``?auth=aksk|temporary|token|password|agency``.
* ``POST …/jobs``: add a scripted job; takes the arguments of :meth:`.Emulator.job`, answers ``{"job_id"}``.
* ``GET …/jobs``: how all jobs stand, without moving them on.
* ``POST …/faults``: add a fault; takes the arguments of :meth:`.Emulator.fault`, answers the fault.
* ``GET …/faults``: the faults in force; ``DELETE`` takes all back, ``DELETE …/faults/{id}`` one.
* ``GET …/variants``: the switches of :class:`.Variants`; ``PATCH`` sets some of them.
* ``GET …/requests``: the requests received, oldest first; ``?api=`` an API or group, ``?last=`` how many;
  ``DELETE`` forgets them and their counts.
* ``GET …/counters``: calls for each API, and for MPC's also accepted, refused and busiest_minute.
* ``GET …/limiter``: calls_per_minute, total_calls_per_minute, window, count_refused, retry_after; ``PATCH``
  sets some of them.
* ``PATCH …/account``: set password, token_seconds, token_bytes, temporary_key_seconds.
* ``POST …/keys/rotate``: a new AK and SK; answers ``{"access_key", "secret_key"}``.
* ``POST …/tokens/expire``: let all tokens and temporary keys run out.
* ``POST …/reset``: forget jobs, faults, requests and counts, and set the variants back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_mpc.emulator.calls import MPC_APIS, apis_matching
from airflow_provider_mpc.emulator.connection import make_connection
from airflow_provider_mpc.emulator.rendering import render
from airflow_provider_mpc.emulator.state import Emulator

LIMITER_SETTINGS = ("calls_per_minute", "total_calls_per_minute", "window", "count_refused", "retry_after")
ACCOUNT_SETTINGS = ("password", "token_seconds", "token_bytes", "temporary_key_seconds")
Action = Callable[[Emulator, Request], Awaitable[Any]]


def routes(emulator: Emulator) -> list[Route]:
    """Return the routes."""
    actions: list[tuple[str, str, Action]] = [
        ("GET", "", _overview),
        ("GET", "/connection", _connection),
        ("POST", "/jobs", _add_job),
        ("GET", "/jobs", _list_jobs),
        ("POST", "/faults", _add_fault),
        ("GET", "/faults", _list_faults),
        ("DELETE", "/faults", _clear_faults),
        ("DELETE", "/faults/{fault_id:int}", _remove_fault),
        ("GET", "/variants", _variants),
        ("PATCH", "/variants", _set_variants),
        ("GET", "/requests", _requests),
        ("DELETE", "/requests", _clear_requests),
        ("GET", "/counters", _counters),
        ("GET", "/limiter", _limiter),
        ("PATCH", "/limiter", _set_limiter),
        ("PATCH", "/account", _set_account),
        ("POST", "/keys/rotate", _rotate_keys),
        ("POST", "/tokens/expire", _expire_tokens),
        ("POST", "/reset", _reset),
    ]
    return [
        Route("/_emulator" + path, _endpoint(emulator, action), methods=[method]) for method, path, action in actions
    ]


def _endpoint(emulator: Emulator, action: Action) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            return JSONResponse(await action(emulator, request))
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return serve


async def _body(request: Request) -> dict[str, Any]:
    body = json.loads(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise TypeError("the body has to be a JSON object")
    return body


async def _overview(emulator: Emulator, request: Request) -> Any:
    return {
        "access_key": emulator.access_key,
        "region": emulator.region,
        "project_id": emulator.project_id,
        "media_root": None if emulator.media_root is None else str(emulator.media_root),
        "jobs": len(emulator.jobs.all()),
        "counters": await _counters(emulator, request),
        "limiter": await _limiter(emulator, request),
        "variants": await _variants(emulator, request),
    }


async def _connection(emulator: Emulator, request: Request) -> Any:
    auth: Any = request.query_params.get("auth", "aksk")
    return make_connection(emulator, str(request.base_url).rstrip("/"), auth)


async def _add_job(emulator: Emulator, request: Request) -> Any:
    return {"job_id": emulator.job(**await _body(request))}


async def _list_jobs(emulator: Emulator, request: Request) -> Any:
    now = emulator.clock()
    return [render(job.wire_id, job.look(now), emulator.variant) for job in emulator.jobs.all()]


async def _add_fault(emulator: Emulator, request: Request) -> Any:
    return emulator.fault(**await _body(request)).as_json()


async def _list_faults(emulator: Emulator, request: Request) -> Any:
    return [fault.as_json() for fault in emulator.faults.all()]


async def _clear_faults(emulator: Emulator, request: Request) -> Any:
    emulator.clear_faults()
    return {}


async def _remove_fault(emulator: Emulator, request: Request) -> Any:
    return {"removed": emulator.faults.remove(request.path_params["fault_id"])}


async def _variants(emulator: Emulator, request: Request) -> Any:
    return dataclasses.asdict(emulator.variant)


async def _set_variants(emulator: Emulator, request: Request) -> Any:
    emulator.variant.update(**await _body(request))
    return await _variants(emulator, request)


async def _requests(emulator: Emulator, request: Request) -> Any:
    names = apis_matching(request.query_params.get("api"))
    calls = [call.as_json() for call in emulator.requests if call.api in names]
    last = int(request.query_params.get("last", len(calls)))
    return calls[max(len(calls) - last, 0) :]


async def _clear_requests(emulator: Emulator, request: Request) -> Any:
    emulator.log.clear()
    return {}


async def _counters(emulator: Emulator, request: Request) -> Any:
    counters: dict[str, dict[str, int]] = {api: {"calls": count} for api, count in emulator.log.counts().items()}
    for api in MPC_APIS & counters.keys():
        counters[api] |= {
            "accepted": emulator.accepted(api),
            "refused": emulator.refused(api),
            "busiest_minute": emulator.busiest_minute(api),
        }
    return counters


async def _limiter(emulator: Emulator, request: Request) -> Any:
    return {name: getattr(emulator.limiter, name) for name in LIMITER_SETTINGS}


async def _set_limiter(emulator: Emulator, request: Request) -> Any:
    _set(emulator.limiter, LIMITER_SETTINGS, await _body(request))
    return await _limiter(emulator, request)


async def _set_account(emulator: Emulator, request: Request) -> Any:
    _set(emulator.account, ACCOUNT_SETTINGS, await _body(request))
    return {}


async def _rotate_keys(emulator: Emulator, request: Request) -> Any:
    access_key, secret_key = emulator.rotate_keys()
    return {"access_key": access_key, "secret_key": secret_key}


async def _expire_tokens(emulator: Emulator, request: Request) -> Any:
    emulator.expire_tokens()
    return {}


async def _reset(emulator: Emulator, request: Request) -> Any:
    emulator.reset()
    return {}


def _set(target: object, allowed: tuple[str, ...], settings: dict[str, Any]) -> None:
    unknown = settings.keys() - set(allowed)
    if unknown:
        raise ValueError(f"no such setting: {', '.join(sorted(unknown))}; one of {', '.join(allowed)}")
    for name, value in settings.items():
        setattr(target, name, value)
