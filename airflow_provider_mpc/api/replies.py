# SPDX-License-Identifier: Apache-2.0
"""
From a refusing reply to the error that says what to do.

The same code comes with different HTTP statuses from different APIs (api-mpc/ErrorCode), so the code
decides first and the status second. The body's shape is taken as it comes: MPC's, the gateway's,
IAM's, or a proxy's page.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_mpc.api.errors import (
    MpcAuthenticationError,
    MpcConflictError,
    MpcEndpointError,
    MpcError,
    MpcJobNotFoundError,
    MpcKeyLockedError,
    MpcPermissionError,
    MpcProtocolError,
    MpcRedirectError,
    MpcRequestError,
    MpcServerError,
    MpcThrottledError,
)
from airflow_provider_mpc.api.redaction import told
from airflow_provider_mpc.api.transport import Reply

if TYPE_CHECKING:
    from airflow_provider_mpc.api.auth import Authenticator

MPC = "MPC"
IAM = "IAM"
METADATA = "The metadata service"

_RAW_LENGTH = 200
_LARGEST_BODY = 65536
_TRANSIENT_STATUSES = frozenset({408, 425, 500, 502, 503, 504})
_LARGEST_SKEW = 15 * 60
_WRONG_PROJECT = "MPC.10208"
UNKNOWN_JOB = "MPC.10211"

_CLASS_BY_CODE: Mapping[str, type[MpcError]] = {
    "MPC.10202": MpcRequestError,
    "MPC.10203": MpcAuthenticationError,
    "MPC.10206": MpcAuthenticationError,
    "MPC.10207": MpcAuthenticationError,
    _WRONG_PROJECT: MpcAuthenticationError,
    "MPC.10209": MpcPermissionError,
    UNKNOWN_JOB: MpcJobNotFoundError,
    "MPC.10212": MpcConflictError,
    "MPC.10213": MpcConflictError,
    "MPC.10050": MpcServerError,
    "APIGW.0101": MpcEndpointError,
    "APIGW.0103": MpcEndpointError,
    "APIGW.0301": MpcAuthenticationError,
    "APIGW.0303": MpcAuthenticationError,
    "APIGW.0305": MpcAuthenticationError,
    "APIGW.0307": MpcAuthenticationError,
    "APIGW.0311": MpcAuthenticationError,
    "APIGW.0302": MpcPermissionError,
    "APIGW.0304": MpcPermissionError,
    "APIGW.0306": MpcPermissionError,
    "APIGW.0310": MpcPermissionError,
    "APIGW.0401": MpcPermissionError,
    "APIGW.0402": MpcPermissionError,
    "APIGW.0404": MpcPermissionError,
    "APIGW.0801": MpcPermissionError,
    "APIGW.0802": MpcPermissionError,
    "APIGW.0308": MpcThrottledError,
    "APIGW.0501": MpcEndpointError,
    "APIGW.0502": MpcEndpointError,
    "APIGW.0602": MpcRequestError,
    "APIGW.0607": MpcRequestError,
}

_ADVICE_BY_CODE: Mapping[str, str] = {
    "MPC.10202": "One of the arguments is not as MPC wants it; look at the job id and the fields of the request.",
    "MPC.10206": "The account has not passed real-name verification; its owner does that in the console.",
    "MPC.10207": "The account is frozen or in arrears; its owner sees why in the console.",
    _WRONG_PROJECT: "Check the connection's Project ID: it is another one in each region.",
    "MPC.10209": (
        "Authorise MPC on the bucket (MPC console, 'Authorize'), and check that bucket and object exist in the "
        "region of the connection."
    ),
    UNKNOWN_JOB: "Check the job id, and that the connection's region and project are those the job was made in.",
}

AGENCY_ADVICE = "Bind an agency with cloud-service delegation to this ECS server."
_PERMISSION_ADVICE = {
    MPC: (
        "Grant the IAM user or agency the permission mpc:editingTask:view (mpc:editingTask:create and "
        "mpc:editingTask:delete to make and cancel jobs), or a system role of MPC."
    ),
    IAM: (
        "Check that the IAM user has programmatic access and may see the project, and that the connection's IAM "
        "endpoint is right."
    ),
    METADATA: AGENCY_ADVICE,
}
_REFUSED_ADVICE = {
    IAM: "Check the connection's IAM endpoint and Region: the gateway before IAM refuses the call itself.",
    METADATA: AGENCY_ADVICE,
}
_ENDPOINT_ADVICE = {
    MPC: "Check the connection's Region and Endpoint: nothing at that address serves MPC's v2 API.",
    IAM: "Check the connection's IAM endpoint and Region: nothing at that address serves IAM's v3 API.",
    METADATA: "Check that this is a Huawei Cloud ECS server; elsewhere choose another authentication method.",
}
_THROTTLED_WHAT = {MPC: "MPC allows 100 a minute per account and API"}
_THROTTLED_ADVICE = {
    MPC: (
        "Let several tasks share calls: use the deferrable sensor, give one sensor a list of ids, or raise "
        "poke_interval. Where several Airflows or tools share the account, lower [mpc] calls_per_minute."
    ),
    IAM: "This passes; tokens are kept and renewed, so that a process logs in seldom.",
    METADATA: "This passes; keys are kept and renewed, so that a process asks for them seldom.",
}

_CONFLICT_ADVICE = "See how the job stands: MPC cancels it only while it waits."
_SUPPORT_ADVICE = "If it stays so, give the request id to Huawei Cloud's support."
_PROXY_ADVICE = "A proxy on the way asks for a login; put one into its address in the environment (HTTPS_PROXY)."


def error_from(reply: Reply, *, doing: str, service: str = MPC, asker: Authenticator | None = None) -> MpcError:
    """
    Return the error for a reply that is not 2xx.

    :param doing: what was tried, for the text: "query clipping tasks".
    :param service: who replied: :data:`MPC`, :data:`IAM` or :data:`METADATA`.
    :param asker: who proved the request; knows what to do if the proof was not accepted.
    """
    code, message, body_request_id = _read_body(reply)
    if code == str(reply.status):
        code = None
    facts: dict[str, Any] = {
        "status": reply.status,
        "error_code": code,
        "error_msg": message,
        "request_id": reply.request_id or body_request_id,
    }
    kind = _class_of(reply.status, code, message)
    if kind is MpcAuthenticationError:
        return _authentication_error(reply, code, message, facts, doing, service, asker)
    if kind is MpcThrottledError:
        return MpcThrottledError(
            f"Too many calls: {_THROTTLED_WHAT.get(service, f'{service} refuses more for now')}, could not {doing}",
            retry_after=retry_after(reply.headers),
            advice=_THROTTLED_ADVICE[service],
            **facts,
        )
    if kind is MpcServerError:
        return MpcServerError(
            f"Huawei Cloud could not {doing} just now",
            retry_after=retry_after(reply.headers),
            advice="This passes in most cases; if it does not, give the request id to Huawei Cloud's support.",
            **facts,
        )
    if kind is MpcRedirectError:
        where = told(reply.headers.get("location"), reply.redact, _RAW_LENGTH) or "elsewhere"
        return MpcRedirectError(
            f"The address redirects to {where}, could not {doing}",
            advice=_ENDPOINT_ADVICE[service],
            **facts,
        )
    own_words = f"{service}'s own words in the error's text tell what it does not take."
    advice = _ADVICE_BY_CODE.get(code or "") or {
        MpcPermissionError: _PERMISSION_ADVICE[service],
        MpcEndpointError: _PROXY_ADVICE if reply.status == 407 else _ENDPOINT_ADVICE[service],
        MpcConflictError: _CONFLICT_ADVICE,
    }.get(kind, own_words if message else _SUPPORT_ADVICE)
    what = {
        MpcPermissionError: f"Huawei Cloud does not allow these credentials to {doing}",
        MpcEndpointError: f"The address does not offer to {doing}",
        MpcJobNotFoundError: f"MPC does not know the job, could not {doing}",
        MpcConflictError: f"The job's state does not allow to {doing}",
    }.get(kind, f"{service} refuses to {doing}")
    return kind(what, advice=advice, **facts)


def unexpected(reply: Reply, error: MpcProtocolError) -> MpcProtocolError:
    """
    Return the error for a 2xx reply that is not what was promised, with what the reply tells of itself.

    :param error: what is wrong with it.
    """
    code, message, body_request_id = _read_body(reply)
    return MpcProtocolError(
        error.what,
        advice=error.advice or _ADVICE_BY_CODE.get(code or "") or _SUPPORT_ADVICE,
        status=reply.status,
        error_code=code,
        # Without a code the words may be anything: a page, a job.
        error_msg=message if code else None,
        request_id=reply.request_id or body_request_id,
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, given as seconds or as a date."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", value):
        return float(value)
    moment = _http_date(value)
    return None if moment is None else max(0.0, moment - time.time())


def _http_date(value: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _class_of(status: int, code: str | None, message: str | None) -> type[MpcError]:
    if code and code in _CLASS_BY_CODE:
        return _CLASS_BY_CODE[code]
    if code and code.startswith("PAP5."):
        return MpcPermissionError
    if code and code.startswith(("APIGW.06", "APIGW.07")):
        return MpcServerError
    if 300 <= status < 400:
        return MpcRedirectError
    if status == 429:
        return MpcThrottledError
    if status in _TRANSIENT_STATUSES or status >= 500:
        return MpcServerError
    by_status: dict[int, type[MpcError]] = {
        401: MpcAuthenticationError,
        403: MpcPermissionError,
        404: MpcEndpointError,
        405: MpcEndpointError,
        407: MpcEndpointError,
        409: MpcConflictError,
    }
    return by_status.get(status, MpcRequestError)


def _authentication_error(
    reply: Reply,
    code: str | None,
    message: str | None,
    facts: dict[str, Any],
    doing: str,
    service: str,
    asker: Authenticator | None,
) -> MpcError:
    text = (message or "").lower()
    if "reach the limit" in text:
        return MpcKeyLockedError(
            f"Huawei Cloud has locked the access key for five minutes after failed signatures, could not {doing}",
            advice="Find who uses this key with a wrong secret; it opens again by itself.",
            **facts,
        )
    what = f"Huawei Cloud does not accept the credentials, could not {doing}"
    if code == _WRONG_PROJECT:
        what = f"The Project ID does not belong to these credentials, could not {doing}"
    advice = _ADVICE_BY_CODE.get(code or "")
    if advice is None:
        advice = asker.refused_advice if asker else _REFUSED_ADVICE.get(service, "")
        skew = _skew(reply.headers)
        if (asker is None or asker.signs) and abs(skew) > _LARGEST_SKEW:
            minutes = round(abs(skew) / 60)
            side = "behind" if skew > 0 else "ahead of"
            advice = (
                f"The clock of this machine is {minutes} minutes {side} the cloud's, more than signatures bear: "
                "set the clock (NTP)."
            )
    renewable = code in ("APIGW.0301", "APIGW.0307", "MPC.10203") or code is None
    return MpcAuthenticationError(what, renewable=renewable, advice=advice, **facts)


def _skew(headers: Mapping[str, str]) -> float:
    """Return how many seconds the cloud's clock is ahead of ours, by its Date header; 0 if it tells none."""
    moment = _http_date(headers.get("date", ""))
    return 0.0 if moment is None else moment - time.time()


def _read_body(reply: Reply) -> tuple[str | None, str | None, str | None]:
    """Return code, message and request id of an error body of any shape, without secrets."""
    try:
        # Whatever the coding of the words: the code is in ASCII.
        parsed = json.loads(reply.body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        parsed = None
    levels = [parsed] if isinstance(parsed, dict) else []
    levels += [inner for inner in (parsed or {}).values() if isinstance(inner, dict)] if levels else []
    for level in levels:
        code = _text(level, "error_code", "errorCode", "code")
        message = _text(level, "error_msg", "errorMsg", "message")
        if code or message:
            request_id = _text(level, "request_id") or _text(levels[0], "request_id")
            return told(code, reply.redact), told(message, reply.redact), told(request_id, reply.redact)
    # Secrets go first: what is cut or stripped before would no longer be known for one.
    raw = re.sub(r"<[^>]*>", " ", reply.redact(reply.body[:_LARGEST_BODY].decode("utf-8", "replace")))
    return None, told(raw, reply.redact, _RAW_LENGTH), None


def _text(level: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = level.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            text = value[:_LARGEST_BODY].strip() if isinstance(value, str) else str(value % 10**9)
            if text:
                return text
    return None
