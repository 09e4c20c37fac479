# SPDX-License-Identifier: Apache-2.0
"""Cut secrets out of texts that others wrote: replies of the cloud, messages of HTTP libraries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

MASK = "***"
MESSAGE_LENGTH = 1000
"""The most characters of others' words that an error repeats."""

_SECRET_NAMES = (
    r"x[-_](?:auth|subject|security|metadata)[-_]token|security[-_]?token"
    r"|secret(?:[-_]?(?:access[-_]?)?key)?|password|passwd|(?:proxy-)?authorization"
)
_QUOTE = r"""(?:\\*["']|&(?:quot|apos|\#0*3[49]|\#x0*2[27]);|%2[27])"""
_IS = rf"""{_QUOTE}*\s*(?:[:=]|&\#(?:58|61|x3A|x3D);|%3[AD])\s*"""
# A quoted value ends at the next quote, and one without quotes at whatever cannot be in a token.
_VALUE = rf"""(?:{_QUOTE}+(?:(?!{_QUOTE}).)+|(?:(?!{_QUOTE})[^\s|<>,;&\\])+)"""
_REST_OF_PART = r"""[^|"'<>\n]+"""
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The gateway answers a bad signature with its canonical request, all signed headers included.
    (re.compile(r"(verify aksk signature fail).*", re.IGNORECASE | re.DOTALL), r"\1"),
    (re.compile(rf"SDK-HMAC-SHA256\s+Access={_REST_OF_PART}", re.IGNORECASE), MASK),
    (re.compile(rf"(?<![^\W_])(authorization{_IS}){_QUOTE}*{_REST_OF_PART}", re.IGNORECASE), rf"\1{MASK}"),
    # Only where a value is given: "the password is wrong" stays readable.
    (re.compile(rf"(?<![^\W_])((?:{_SECRET_NAMES}){_IS}){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(signature|access)=[^\s|\"'<>,;&]+", re.IGNORECASE), rf"\1={MASK}"),
    (re.compile(r"://[^/\s@]+@"), f"://{MASK}@"),
)
_HTML_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_JSON_ESCAPES = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_HEAD = 24
"""Characters of a secret after which a text that was cut short still shows it."""


class Redactor:
    """
    Cuts given secrets, and whatever looks like one, out of a text.

    :param secrets: the values to hide, in all the spellings a reply may echo them in.
    """

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        self._secrets = [secret for secret in secrets if secret]

    def __call__(self, text: str) -> str:
        """Return the text without its secrets."""
        for spelled in self._spelled:
            text = spelled.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    @cached_property
    def _spelled(self) -> list[re.Pattern[str]]:
        # Made when first needed, which is in few calls. The longest first: a secret may be part of another.
        texts = []
        for secret in sorted(set(self._secrets), key=len, reverse=True):
            texts.append(_any_spelling(secret))
            if len(secret) > _HEAD:
                texts.append(_any_spelling(secret[:_HEAD]) + r"[^\s|\"'<>,;]*")
        return [re.compile(text) for text in texts]


def told(text: str | None, redact: Redactor, longest: int = MESSAGE_LENGTH) -> str | None:
    """Return a text of others as one line without secrets, short enough for a log, and fit for UTF-8."""
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", redact(text or "").encode("utf-8", "replace").decode()).strip()
    return line[:longest] or None


def _any_spelling(secret: str) -> str:
    """Return a pattern for a text as it is, URL-encoded, or escaped for JSON or HTML."""
    return "".join(char if char.isascii() and char.isalnum() else _any_spelling_of(char) for char in secret)


def _any_spelling_of(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    bytes_of_char = char.encode("utf-8", "surrogatepass")
    spellings = [
        "".join(f"(?i:%{byte:02x})" for byte in bytes_of_char),
        "".join(rf"(?i:\\+u{units[at]:02x}{units[at + 1]:02x})" for at in range(0, len(units), 2)),
        rf"(?i:&\#0*{ord(char)};|&\#x0*{ord(char):x};)",
    ]
    if char in _HTML_NAMES:
        spellings.append(f"&{_HTML_NAMES[char]};")
    if char in _JSON_ESCAPES:
        spellings.append(rf"\\+{_JSON_ESCAPES[char]}")
    if char in "\\/\"'":
        spellings.append(rf"\\+{re.escape(char)}")
    if char == " ":
        spellings.append(r"\+")
    # The plain one last: it may be the beginning of another, as % is of %25.
    return f"(?:{'|'.join(spellings)}|{re.escape(char)})"
