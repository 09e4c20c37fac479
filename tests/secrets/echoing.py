# SPDX-License-Identifier: Apache-2.0
"""A gateway that tells whoever asks what was asked, secrets and all."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest
from starlette.responses import Response

from airflow_provider_mpc.emulator import faults
from airflow_provider_mpc.emulator.calls import Call
from airflow_provider_mpc.emulator.misbehaviour import WireResponse

STYLES = ("lines", "gateway", "canonical", "mpc", "keystone", "url", "html", "cut", "headers", "no header", "wire")


async def echo(call: Call, answer: faults.Answer, *, style: str = "lines", status: int = 401) -> Response:
    """Answer with the request's headers and body in them."""
    said = "\n".join([*(f"{name}: {value}" for name, value in call.headers.items()), call.body.decode()])
    if style == "gateway":
        text = json.dumps(dict(call.headers)) + call.body.decode()
        return _json({"error_code": "APIGW.0301", "error_msg": text, "request_id": "0" * 32}, status)
    if style == "canonical":
        text = "Incorrect IAM authentication information: verify aksk signature fail|" + said.replace("\n", "|")
        return _json({"error_code": "APIGW.0301", "error_msg": text, "request_id": "0" * 32}, status)
    if style == "mpc":
        return _json({"error_code": "MPC.10202", "error_msg": said}, status)
    if style == "keystone":
        return _json({"error": {"code": status, "message": said, "title": "Unauthorized"}}, status)
    if style == "url":
        return Response(quote(said, safe=""), status)
    if style == "html":
        return Response(f"<html><pre>{html.escape(said)}</pre></html>", status, media_type="text/html")
    if style == "cut":
        proofs = [value for name, value in call.headers.items() if name in _PROOFS] + [call.body.decode()]
        return _json(
            {"error_code": "APIGW.0301", "error_msg": "refused: " + "; ".join(one[:60] for one in proofs)}, status
        )
    if style == "headers":
        line = quote(said, safe=" :;=/,+-")
        return Response(b"", status, {"X-Request-Id": line, "Location": f"https://elsewhere.example/?{line}"})
    if style == "no header":
        # A line that is no header; urllib3 tells it, and all lines that follow, to the log.
        lines = "\r\n".join(["this is no header", *said.splitlines()])
        return WireResponse([f"HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\n{lines}\r\n\r\n".encode()])
    if style == "wire":
        return WireResponse([f"HTTP/9 {said}\r\n\r\n".encode()])
    return Response(said, status)


_PROOFS = frozenset({"authorization", "x-auth-token", "x-security-token", "x-metadata-token"})


def _json(body: object, status: int) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


def make_echo_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an emulator play it."""
    monkeypatch.setitem(faults.KINDS, "echo", echo)
