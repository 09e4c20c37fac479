# SPDX-License-Identifier: Apache-2.0
"""Secrets made to be found, and the search for them in every spelling."""

from __future__ import annotations

import base64
import html
import json
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from airflow_provider_mpc.emulator import Emulator

SECRET_KEY = "SKcanary/7f+Qz\"w9%'k<&>{}3nTmVx81"
PASSWORD = "Pw canary/2b+Zr\"y5%'h<&>{}8cLdJs04é"
_WHOLE = 48
_PIECE = 24
_SIGNATURE = re.compile(r"(?<![0-9a-zA-Z])[0-9a-f]{64}(?![0-9a-zA-Z])")
_SENT_SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")


def canaries_of(emulator: Emulator) -> dict[str, str]:
    """Return all that is secret of an emulator's account, and the signatures that it has received, by name."""
    account = emulator.account
    found = {"password": account.password}
    for number, key in enumerate(list(account.keys.values())):
        found[f"secret key {number}"] = key.secret
        if key.security_token:
            found[f"security token {number}"] = key.security_token
    for number, token in enumerate(list(account.tokens)):
        found[f"token {number}"] = token
    for number, token in enumerate(list(account.metadata_tokens)):
        found[f"metadata token {number}"] = token
    for number, call in enumerate(emulator.requests):
        for signature in _SENT_SIGNATURE.findall(call.headers.get("authorization", "")):
            found[f"signature {number}"] = signature
    return found


def spellings(secret: str) -> set[str]:
    """Return how a secret may be written; of a long one three pieces, since it may be cut."""
    pieces = {secret}
    if len(secret) > _WHOLE:
        middle = len(secret) // 2
        pieces = {secret[:_PIECE], secret[middle : middle + _PIECE], secret[-_PIECE:]}
    return {spelled for piece in pieces for spelled in _spellings_of(piece)}


def _spellings_of(text: str) -> Iterator[str]:
    once = json.dumps(text)[1:-1]
    yield from (text, once, json.dumps(once)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
    for encoded in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield encoded
        yield re.sub("%..", lambda match: match[0].lower(), encoded)
    yield quote(quote(text, safe=""), safe="")
    yield from (html.escape(text), html.escape(text, quote=False))
    data = text.encode()
    yield data.hex()
    for shift in range(3):
        # Within a longer text: what its neighbours have a share in is left out.
        start, end = -(-shift * 4 // 3), (shift + len(data)) // 3 * 4
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * shift + data).decode()[start:end]


def leaks(
    shown: Iterable[tuple[str, str]], secrets: Mapping[str, str], *, signatures: bool = True
) -> set[tuple[str, str]]:
    """
    Search texts for secrets; return where, and which.

    :param shown: where a text stood, and the text.
    :param signatures: whether 64 hexadecimal digits count as a signature, whoever made it.
    """
    texts: dict[str, list[str]] = {}
    for where, text in shown:
        texts.setdefault(where, []).append(text)
    found = set()
    spelled = [(name, spelling) for name, secret in secrets.items() for spelling in spellings(secret)]
    for where, parts in texts.items():
        whole = "\n".join(dict.fromkeys(parts))
        found |= {(where, name) for name, spelling in spelled if spelling in whole}
        if signatures and _SIGNATURE.search(whole):
            found.add((where, "a signature"))
    return found


def words_of(error: BaseException) -> Iterator[str]:
    """Return all that an error may be shown as, that of its causes and contexts too."""
    seen: list[BaseException] = []
    left = [error]
    while left:
        one = left.pop()
        if one in seen:
            continue
        seen.append(one)
        yield str(one)
        yield repr(one)
        yield repr(vars(one))
        yield "".join(traceback.format_exception(one))
        left += [inner for inner in (one.__cause__, one.__context__) if inner is not None]
