# SPDX-License-Identifier: Apache-2.0
"""
Everything that can go wrong between a client and MPC, by name.

A fault is added by :meth:`.Emulator.fault` or over HTTP; each function below named ``_…`` and registered
under a kind makes its reply, and its keyword parameters are the options of that kind. Kinds that spoil the
genuine reply (``slow``, ``drip``, ``drip_headers``, ``truncated``, ``gzip``) do the call's work first; the
others do not, unless ``after_work`` is given to those that have it: then, say, a job is made, and the caller
never hears of it.
"""

from __future__ import annotations

import gzip
import inspect
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from starlette.responses import JSONResponse, Response

from airflow_provider_mpc.emulator.calls import Call
from airflow_provider_mpc.emulator.misbehaviour import WireResponse, head_of, pause, pieces_of
from airflow_provider_mpc.emulator.replies import gateway_error, mpc_error, unauthenticated
from airflow_provider_mpc.emulator.verification import rebuilt_canonical_request, signed_names

Answer = Callable[[], Awaitable[Response]]
Kind = Callable[..., Awaitable[Response]]
KINDS: dict[str, Kind] = {}
BAD_GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
LOGIN_PAGE = "<!DOCTYPE html><html><body>Please log in to the network.</body></html>"


def _kind(name: str) -> Callable[[Kind], Kind]:
    def register(function: Kind) -> Kind:
        KINDS[name] = function
        return function

    return register


@dataclass
class Fault:
    """
    A fault waiting for calls to hit.

    :param left: how many calls it will still hit; ``None``: all.
    :param skip: how many matching calls it will still let pass.
    :param ends_at: when it ends by itself, in epoch seconds.
    :param played: how many calls it has hit.
    """

    id: int
    kind: str
    apis: frozenset[str]
    job_id: str | None
    options: Mapping[str, Any]
    left: int | None
    skip: int
    ends_at: float | None
    played: int = 0

    def matches(self, call: Call) -> bool:
        """Whether the fault is for a call like this one."""
        return call.api in self.apis and (self.job_id is None or self.job_id in call.job_ids)

    async def reply(self, call: Call, answer: Answer) -> Response:
        """
        Return the reply the fault makes of a call.

        :param answer: does the call's work and returns the genuine reply.
        """
        return await KINDS[self.kind](call, answer, **self.options)

    def as_json(self) -> dict[str, Any]:
        """Return the fault as JSON types."""
        return {
            "id": self.id,
            "kind": self.kind,
            "apis": sorted(self.apis),
            "job_id": self.job_id,
            "options": {name: _json_value(value) for name, value in self.options.items()},
            "left": self.left,
            "played": self.played,
        }


def _json_value(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class FaultQueue:
    """The faults in force, oldest first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(
        self,
        kind: str,
        *,
        times: int | None,
        apis: frozenset[str],
        job_id: str | None,
        after: int,
        for_seconds: float | None,
        options: Mapping[str, Any],
    ) -> Fault:
        """
        Add a fault.

        :raises ValueError: for an unknown kind or option.
        """
        if kind not in KINDS:
            raise ValueError(f"no such fault: {kind!r}; one of {', '.join(sorted(KINDS))}")
        try:
            inspect.signature(KINDS[kind]).bind(None, None, **options)
        except TypeError as error:
            raise ValueError(f"fault {kind!r}: {error}") from None
        ends_at = None if for_seconds is None else self._clock() + for_seconds
        fault = Fault(next(self._ids), kind, apis, job_id, dict(options), times, after, ends_at)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, call: Call) -> Fault | None:
        """Return the fault that hits a call, if any, and count it."""
        if not self._faults:
            return None
        now = self._clock()
        with self._lock:
            self._faults = [fault for fault in self._faults if fault.ends_at is None or now < fault.ends_at]
            for fault in self._faults:
                if not fault.matches(call):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                self._count(fault)
                return fault
        return None

    def remove(self, fault_id: int) -> bool:
        """Take back one fault; return whether it was there."""
        with self._lock:
            kept = [fault for fault in self._faults if fault.id != fault_id]
            found = len(kept) < len(self._faults)
            self._faults = kept
        return found

    def clear(self) -> None:
        """Take back all faults."""
        with self._lock:
            self._faults = []

    def all(self) -> list[Fault]:
        """Return the faults in force."""
        with self._lock:
            return list(self._faults)

    def _count(self, fault: Fault) -> None:
        fault.played += 1
        if fault.left is not None:
            fault.left -= 1
            if fault.left <= 0:
                self._faults.remove(fault)


# Errors of the gateway and of MPC


@_kind("429")
async def _throttled(
    call: Call, answer: Answer, *, retry_after: float | str | None = None, as_date: bool = False
) -> Response:
    """Throttled; ``retry_after``: seconds, or the header's text; ``as_date``: the seconds as a date."""
    headers = {}
    if retry_after is not None:
        if as_date:
            headers["Retry-After"] = formatdate(call.time + float(retry_after), usegmt=True)
        else:
            headers["Retry-After"] = str(retry_after)
    text = "The throttling threshold has been reached: policy user over ratelimit,limit:100,time:1 minute"
    return gateway_error("APIGW.0308", text, headers=headers).response()


@_kind("500")
async def _internal_error(call: Call, answer: Answer) -> Response:
    return gateway_error("APIGW.0601", "Internal error").response()


@_kind("502")
async def _bad_gateway(call: Call, answer: Answer) -> Response:
    return Response(BAD_GATEWAY_PAGE, 502, media_type="text/html")


@_kind("503")
async def _unavailable(call: Call, answer: Answer, *, retry_after: float | str | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return gateway_error("APIGW.0613", "IAM is not available", headers=headers).response()


@_kind("504")
async def _backend_timeout(call: Call, answer: Answer) -> Response:
    return gateway_error("APIGW.0201", "Backend timeout", 504).response()


@_kind("token_expired")
async def _token_expired(call: Call, answer: Answer, *, code: str = "APIGW.0301") -> Response:
    return unauthenticated("token expires, expires_at: 2026-01-15T08:00:00.000000Z", code).response()


@_kind("signature")
async def _signature_refused(call: Call, answer: Answer, *, echo: bool = True) -> Response:
    """Refuse the signature; ``echo`` shows the canonical request with every signed header in it."""
    canonical = rebuilt_canonical_request(call, signed_names(call)) if echo else ""
    shown = "|" + canonical.replace("\n", "|") if echo else ""
    return unauthenticated("verify aksk signature fail" + shown).response()


@_kind("ak_locked")
async def _key_locked(call: Call, answer: Answer) -> Response:
    return unauthenticated("AK access failed to reach the limit,forbidden").response()


@_kind("forbidden")
async def _forbidden(call: Call, answer: Answer) -> Response:
    return gateway_error("APIGW.0302", "The IAM user is not allowed to access the API.").response()


@_kind("not_found")
async def _not_found(call: Call, answer: Answer) -> Response:
    text = "The API does not exist or has not been published in the environment"
    return gateway_error("APIGW.0101", text).response()


@_kind("gateway")
async def _gateway(
    call: Call, answer: Answer, *, code: str, status: int | None = None, message: str = "Gateway error"
) -> Response:
    """Any error of the gateway."""
    return gateway_error(code, message, status).response()


@_kind("mpc")
async def _mpc(
    call: Call, answer: Answer, *, code: str, status: int | None = None, message: str | None = None
) -> Response:
    """Any error of MPC."""
    return mpc_error(code, message, status).response()


# Other replies that are sound HTTP


@_kind("respond")
async def _respond(
    call: Call,
    answer: Answer,
    *,
    status: int = 200,
    body: Any = b"",
    headers: Mapping[str, str] | None = None,
    after_work: bool = False,
) -> Response:
    """Any reply; a ``body`` that is neither text nor bytes is written as JSON."""
    if after_work:
        await answer()
    if isinstance(body, str | bytes):
        return Response(body, status, headers)
    return JSONResponse(body, status, headers)


@_kind("empty")
async def _empty(call: Call, answer: Answer, *, status: int = 200) -> Response:
    return Response(b"", status)


@_kind("html")
async def _html(call: Call, answer: Answer, *, status: int = 200) -> Response:
    return Response(LOGIN_PAGE, status, media_type="text/html")


@_kind("json")
async def _other_json(call: Call, answer: Answer, *, body: Any = None, status: int = 200) -> Response:
    """JSON that is not what the API returns."""
    return JSONResponse({"jobs": [], "total": 0} if body is None else body, status)


@_kind("redirect")
async def _redirect(
    call: Call, answer: Answer, *, location: str = "https://example.invalid/", status: int = 302
) -> Response:
    return Response(b"", status, {"Location": location})


@_kind("big")
async def _big(call: Call, answer: Answer, *, size: int = 20_000_000) -> Response:
    """A sound JSON body of ``size`` bytes."""
    frame = json.dumps({"job_array": [], "padding": ""}, separators=(",", ":"))
    body = frame[:-2] + "x" * max(size - len(frame), 0) + frame[-2:]
    return Response(body, media_type="application/json")


@_kind("gzip")
async def _gzip(call: Call, answer: Answer, *, broken: bool = False, padding: int = 0) -> Response:
    """
    The genuine reply gzipped, asked for or not.

    ``broken``: says it is, and is not; ``padding``: so many blanks come before the unpacked body.
    """
    response = await answer()
    body = b" " * padding + bytes(response.body)
    return _with_body(response, body if broken else gzip.compress(body), {"Content-Encoding": "gzip"})


# Replies that come late, in bits, or not at all


@_kind("slow")
async def _slow(call: Call, answer: Answer, *, seconds: float | None = None) -> Response:
    """The genuine reply after some seconds; never, if ``None``."""
    response = await answer()
    await pause(seconds)
    return response


@_kind("drip")
async def _drip(call: Call, answer: Answer, *, interval: float = 1.0, size: int = 1) -> Response:
    """The genuine reply, its body in bits of ``size`` bytes."""
    response = await answer()
    pieces = [head_of(response), *pieces_of(bytes(response.body), size)]
    return WireResponse(pieces, interval=interval, status=response.status_code)


@_kind("drip_headers")
async def _drip_headers(call: Call, answer: Answer, *, interval: float = 1.0, size: int = 1) -> Response:
    """The genuine reply, in bits of ``size`` bytes from its first header on."""
    response = await answer()
    data = head_of(response) + bytes(response.body)
    return WireResponse(pieces_of(data, size), interval=interval, status=response.status_code)


@_kind("truncated")
async def _truncated(call: Call, answer: Answer, *, keep: float = 0.5, reset: bool = False) -> Response:
    """The genuine reply, cut off after a share of its body; ``reset``: by a TCP reset."""
    response = await answer()
    body = bytes(response.body)
    kept = body[: int(len(body) * keep)]
    return WireResponse([head_of(response) + kept], reset=reset, status=response.status_code)


@_kind("reset")
async def _reset(call: Call, answer: Answer, *, after_work: bool = False) -> Response:
    """A TCP reset in place of a reply."""
    if after_work:
        await answer()
    return WireResponse([], reset=True)


@_kind("close")
async def _close(call: Call, answer: Answer, *, after_work: bool = False) -> Response:
    """An orderly close in place of a reply."""
    if after_work:
        await answer()
    return WireResponse([])


@_kind("raw")
async def _raw(call: Call, answer: Answer, *, data: bytes | str) -> Response:
    """Any bytes on the wire, then a close."""
    return WireResponse([data.encode("latin-1") if isinstance(data, str) else data])


def _with_body(response: Response, body: bytes, headers: Mapping[str, str]) -> Response:
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    return Response(body, response.status_code, {**kept, **headers}, response.headers.get("content-type"))
