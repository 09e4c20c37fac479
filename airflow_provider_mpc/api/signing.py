# SPDX-License-Identifier: Apache-2.0
"""
SDK-HMAC-SHA256, the signature of Huawei Cloud's API gateway, as pure functions.

The rules are those of "AK/SK Signing and Authentication Algorithm" (devg-apisign/api-sign-algorithm-001)
and were matched against the official ``huaweicloudsdkcore`` signer; the tests compare the two.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote

ALGORITHM = "SDK-HMAC-SHA256"
DATE_HEADER = "X-Sdk-Date"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_UNRESERVED = re.compile(r"[A-Za-z0-9\-_.~]*")
CONTENT_HASH_HEADER = "X-Sdk-Content-Sha256"


def percent_encode(text: str) -> str:
    """Percent-encode as UTF-8; only ``A-Z a-z 0-9 - _ . ~`` stay, and a space becomes ``%20``."""
    # Ids and names nearly always are what they are encoded to.
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="~")


def canonical_query(parameters: Iterable[tuple[str, str]]) -> str:
    """
    Return the query string that is signed, and that must go on the wire as it is.

    :param parameters: raw (name, value) pairs, a name repeated for several values.
    """
    # The order is that of the raw text: encoding first would sort some characters elsewhere.
    return "&".join(f"{percent_encode(name)}={percent_encode(value)}" for name, value in sorted(parameters))


def canonical_path(path: str) -> str:
    """Return the signed form of a path; unlike the path on the wire it always ends with a slash."""
    encoded = "/".join(percent_encode(segment) for segment in unquote(path).split("/"))
    return encoded if encoded.endswith("/") else encoded + "/"


def signed_header_names(headers: Iterable[str]) -> list[str]:
    """Return the lower-case names to sign; the gateway ignores names with an underscore."""
    return sorted(name.lower() for name in headers if "_" not in name)


def canonical_request(
    method: str, path: str, query: str, headers: Mapping[str, str], signed_headers: Iterable[str], body: bytes
) -> str:
    """
    Return the text whose hash is signed.

    :param path: the path, raw or as on the wire.
    :param query: the query string as :func:`canonical_query` makes it.
    :param headers: the request's headers, any case.
    :param signed_headers: lower-case names, sorted.
    """
    values = {name.lower(): value.strip() for name, value in headers.items()}
    names = list(signed_headers)
    payload_hash = hashlib.sha256(body).hexdigest()
    if body:
        payload_hash = values.get(CONTENT_HASH_HEADER.lower()) or payload_hash
    return "\n".join(
        (
            method.upper(),
            canonical_path(path),
            query,
            *(f"{name}:{values.get(name, '')}" for name in names),
            "",
            ";".join(names),
            payload_hash,
        )
    )


def signature(secret_key: str, sdk_date: str, canonical: str) -> str:
    """
    Return the hex signature of a canonical request.

    :param sdk_date: the value of the ``X-Sdk-Date`` header.
    """
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{sdk_date}\n{digest}"
    return hmac.new(secret_key.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def sdk_date(when: datetime | None = None) -> str:
    """Return a time (default: now) as ``X-Sdk-Date`` wants it; the gateway accepts 15 minutes of skew."""
    return (when or datetime.now(UTC)).astimezone(UTC).strftime(DATE_FORMAT)


def authorization(
    access_key: str,
    secret_key: str,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> str:
    """
    Return the ``Authorization`` header of a request.

    :param headers: all headers to be signed; ``X-Sdk-Date`` and ``Host`` must be among them.
    """
    names = signed_header_names(headers)
    date = next(value for name, value in headers.items() if name.lower() == DATE_HEADER.lower())
    canonical = canonical_request(method, path, query, headers, names, body)
    signed = signature(secret_key, date, canonical)
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={';'.join(names)}, Signature={signed}"
