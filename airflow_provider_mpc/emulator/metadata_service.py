# SPDX-License-Identifier: Apache-2.0
"""The metadata service of an elastic cloud server, which hands out an agency's temporary keys."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

from airflow_provider_mpc.emulator.accounts import iso_time
from airflow_provider_mpc.emulator.calls import Call
from airflow_provider_mpc.emulator.state import Emulator

NO_AGENCY = "Please configure Cloud Service Agency first"


async def create_metadata_token(emulator: Emulator, call: Call) -> Response:
    """``PUT /meta-data/latest/api/token``"""
    if emulator.variant.metadata_token_status is not None:
        return PlainTextResponse("", emulator.variant.metadata_token_status)
    if not call.headers.get("x-metadata-token-ttl-seconds", "").isdigit():
        return PlainTextResponse("X-Metadata-Token-Ttl-Seconds is missing", 400)
    return PlainTextResponse(emulator.account.issue_metadata_token())


async def security_key(emulator: Emulator, call: Call) -> Response:
    """``GET /openstack/latest/securitykey``"""
    if not emulator.variant.agency_bound:
        return PlainTextResponse(NO_AGENCY, 401)
    needs_token = emulator.variant.metadata_token_status is None
    if needs_token and call.headers.get("x-metadata-token") not in emulator.account.metadata_tokens:
        return PlainTextResponse("Unauthorized: the metadata token is missing or has run out", 401)
    key = emulator.account.issue_temporary_key()
    credential = {
        "access": key.access,
        "secret": key.secret,
        "securitytoken": key.security_token,
        "expires_at": iso_time(key.expires_at or 0.0),
    }
    return JSONResponse({"credential": credential})
