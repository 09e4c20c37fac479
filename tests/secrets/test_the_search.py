# SPDX-License-Identifier: Apache-2.0
"""The search finds a secret in every spelling and place, and nothing else."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from canaries import PASSWORD, SECRET_KEY, canaries_of, leaks, words_of

from airflow_provider_mpc.emulator import Emulator

WRITTEN: dict[str, Callable[[str], str]] = {
    "raw": lambda text: text,
    "URL-encoded": lambda text: quote(text, safe=""),
    "URL-encoded as a path": quote,
    "URL-encoded as a form": quote_plus,
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "repr": repr,
    "HTML": html.escape,
    "hexadecimal": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 one byte on": lambda text: base64.b64encode(b":" + text.encode() + b":").decode(),
    "base64 two bytes on": lambda text: base64.b64encode(b"u:" + text.encode() + b"\n").decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"user:" + text.encode()).decode(),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("secret", [SECRET_KEY, PASSWORD, "MII" + "aB3/+xYz" * 150, "0123456789abcdef" * 4])
def test_a_secret_is_found_in_every_spelling(secret: str, written: str) -> None:
    text = f"before {WRITTEN[written](secret)} after"
    assert leaks([("a log", text)], {"it": secret}, signatures=False) == {("a log", "it")}


@pytest.mark.parametrize("cut", [slice(0, 60), slice(500, 700), slice(-60, None)])
def test_a_part_of_a_long_secret_is_found(cut: slice) -> None:
    emulator = Emulator()
    token = emulator.issue_token().id
    assert leaks([("a log", f"x{token[cut]}x")], {"it": token}) == {("a log", "it")}


def test_a_signature_is_found_whoever_made_it() -> None:
    assert leaks([("a log", f"Signature={'0a' * 32},")], {}) == {("a log", "a signature")}
    assert leaks([("a log", "0a" * 31), ("a log", "0a" * 33)], {}) == set()


def test_nothing_is_found_where_nothing_is() -> None:
    emulator = Emulator()
    emulator.issue_token()
    emulator.issue_temporary_key()
    shown = [("a log", "The password is wrong, the token has expired: SecretKey"), ("a log", "")]
    assert leaks(shown, canaries_of(emulator)) == set()


def test_the_words_of_an_error_are_those_of_its_causes_and_contexts_too() -> None:
    try:
        try:
            try:
                raise ValueError("innermost")
            except ValueError:
                raise KeyError("context") from None
        except KeyError as error:
            raise RuntimeError("outermost") from error
    except RuntimeError as error:
        words = "\n".join(words_of(error))
    assert all(word in words for word in ("innermost", "context", "outermost"))
