# SPDX-License-Identifier: Apache-2.0
"""What the API gateway checks before a call reaches a service: the signature or the token."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime

from airflow_provider_mpc.api import signing
from airflow_provider_mpc.emulator.accounts import AccessKey, Account, Token, iso_time
from airflow_provider_mpc.emulator.calls import Call
from airflow_provider_mpc.emulator.replies import mpc_error, unauthenticated
from airflow_provider_mpc.emulator.variants import Variants

MAX_SKEW = 15 * 60
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
MANDATORY_SIGNED = frozenset({"host", "x-sdk-date"})
_AUTHORIZATION = re.compile(
    rf"{signing.ALGORITHM} Access=(?P<access>[^,\s]+), ?SignedHeaders=(?P<names>[^,\s]+), ?"
    r"Signature=(?P<hex>[0-9a-f]+)"
)


def check_caller(call: Call, account: Account, variants: Variants) -> Token | None:
    """
    Check that the call's token or signature is good.

    :return: the token, or ``None`` for a signed call.
    :raises ApiError: 401 with the gateway's text for what is wrong.
    """
    if "x-auth-token" in call.headers:
        return _check_token(call, account, variants)
    if "authorization" in call.headers:
        _check_signature(call, account, variants)
        return None
    raise unauthenticated("x-auth-token not found")


def check_project_caller(call: Call, account: Account, variants: Variants) -> None:
    """
    Check the caller of a project's API, and that the project in the path is the caller's.

    :raises ApiError: 401 of the gateway, or MPC.10208.
    """
    token = check_caller(call, account, variants)
    if token is not None and token.project_id is None:
        raise unauthenticated("token without project scope")
    project_id = call.path_values["project_id"]
    allowed = {token.project_id} if token else set(account.projects.values())
    if project_id not in allowed:
        raise mpc_error("MPC.10208", status=variants.project_mismatch_status)


def rebuilt_canonical_request(call: Call, names: list[str]) -> str:
    """Return the canonical request of a call as the server sees it."""
    query = signing.canonical_query(call.query)
    return signing.canonical_request(call.method, call.path, query, call.headers, names, call.body)


def signed_names(call: Call) -> list[str]:
    """Return the names in the call's ``SignedHeaders``; empty if there are none."""
    match = _AUTHORIZATION.fullmatch(call.headers.get("authorization", ""))
    return match["names"].split(";") if match else []


def _check_token(call: Call, account: Account, variants: Variants) -> Token:
    token = account.tokens.get(call.headers["x-auth-token"])
    if token is None:
        raise unauthenticated("decrypt token fail")
    if token.expires_at <= account.clock():
        text = f"token expires, expires_at: {iso_time(token.expires_at)}"
        raise unauthenticated(text, variants.token_expired_code)
    return token


def _check_signature(call: Call, account: Account, variants: Variants) -> None:
    match = _AUTHORIZATION.fullmatch(call.headers["authorization"])
    if match is None:
        raise unauthenticated("verify aksk signature fail")
    now = account.clock()
    key = account.keys.get(match["access"])
    if key is None:
        raise unauthenticated(f"Get secretKey failed,ak:{match['access']},err:ak not exist")
    if key.locked_until > now:
        raise unauthenticated("AK access failed to reach the limit,forbidden")
    _check_date(call, now + variants.clock_skew)
    _check_temporary_key(call, key, now)
    names = match["names"].split(";")
    canonical = rebuilt_canonical_request(call, names)
    expected = signing.signature(key.secret, call.headers["x-sdk-date"], canonical)
    complete = set(names) >= MANDATORY_SIGNED and _payload_hash_is_honest(call)
    if not (complete and hmac.compare_digest(expected, match["hex"])):
        key.note_failure(now)
        echo = "|".join(["", *canonical.split("\n")]) if variants.signature_echo else ""
        raise unauthenticated("verify aksk signature fail" + echo)
    key.failures = 0


def _check_date(call: Call, now: float) -> None:
    text = call.headers.get("x-sdk-date", "")
    try:
        date = datetime.strptime(text, signing.DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise unauthenticated("verify aksk signature fail") from None
    if abs(date.timestamp() - now) > MAX_SKEW:
        raise unauthenticated(f"signature expired, x-sdk-date: {text}")


def _check_temporary_key(call: Call, key: AccessKey, now: float) -> None:
    if key.security_token is None:
        return
    if call.headers.get("x-security-token") != key.security_token:
        raise unauthenticated("verify aksk signature fail")
    if key.expires_at is not None and key.expires_at <= now:
        raise unauthenticated(f"token expires, expires_at: {iso_time(key.expires_at)}")


def _payload_hash_is_honest(call: Call) -> bool:
    claimed = call.headers.get(signing.CONTENT_HASH_HEADER.lower(), UNSIGNED_PAYLOAD)
    return claimed in (UNSIGNED_PAYLOAD, hashlib.sha256(call.body).hexdigest())
