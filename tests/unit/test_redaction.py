# SPDX-License-Identifier: Apache-2.0
"""Secrets leave a text in whatever spelling they came, and ordinary words stay."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mpc.api import errors
from airflow_provider_mpc.api.redaction import MASK, Redactor

SECRET = "aB3/x+Y=z &\"<q'>~é中\\n😀;%"
SPELLINGS = {
    "raw": lambda text: text,
    "url": lambda text: quote(text, safe=""),
    "url, lower-case hex": lambda text: "".join(
        char if char.isalnum() and char.isascii() else "".join(f"%{byte:02x}" for byte in char.encode())
        for char in text
    ),
    "form": quote_plus,
    "json": lambda text: json.dumps(text)[1:-1],
    "json, utf-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json, slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json in json": lambda text: json.dumps(json.dumps(text))[3:-3],
    "json for html": lambda text: (
        json.dumps(text)[1:-1].replace("<", "\\u003c").replace(">", "\\u003E").replace("&", "\\u0026")
    ),
    "html": html.escape,
    "html, decimal": lambda text: "".join(
        char if char.isalnum() and char.isascii() else f"&#{ord(char)};" for char in text
    ),
    "html, xml names": lambda text: html.escape(text).replace("&#x27;", "&apos;"),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_a_known_secret_leaves_in_this_spelling(spell):
    assert Redactor([SECRET])(f"[{spell(SECRET)}]") == f"[{MASK}]"


@given(
    st.text(st.characters(exclude_characters="[]*"), min_size=1, max_size=30), st.sampled_from(list(SPELLINGS.values()))
)
def test_any_known_secret_leaves_in_any_spelling(secret, spell):
    try:
        spelled = spell(secret)
    except UnicodeEncodeError:
        return
    assert Redactor([secret])(f"[{spelled}]") == f"[{MASK}]"


def test_a_secret_within_a_longer_one_does_not_break_it_up():
    assert Redactor(["abc", "abcdef"])("abcdef abc") == f"{MASK} {MASK}"


def test_no_secret_hides_nothing():
    assert Redactor([None, ""])("a text") == "a text"


@pytest.mark.parametrize("length", range(24, 40))
def test_a_key_that_the_cloud_has_cut_short_leaves_too(length):
    key = "SKCANARY" + "0123456789abcdef" * 2
    assert Redactor([key])(f"bad key {key[:length]}") == f"bad key {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "verify aksk signature fail\nGET\n/v2/p/\n\nhost:h\nx-secret-of-yours:CANARY\n",
        "verify aksk signature fail|GET|/v2/p/||host:h|x-secret-of-yours:CANARY",
    ],
)
def test_nothing_of_an_echoed_canonical_request_is_left(text):
    assert Redactor()(text) == "verify aksk signature fail"


@pytest.mark.parametrize("name", ["X-Metadata-Token", "passwd", "Proxy-Authorization"])
def test_a_secret_leaves_by_this_name_too(name):
    assert "CANARY" not in Redactor()(f"{name}: CANARY")


def test_a_long_secret_that_the_cloud_has_cut_short_leaves_too():
    token = "MIIatA" + "x/+" * 3000
    text = f"decrypt token fail: {token[:256]}"
    assert Redactor([token])(text) == f"decrypt token fail: {MASK}"


ECHO = (
    "verify aksk signature fail|GET|/v2/p/editing/jobs/|job_id=1|host:h|x-project-id:p|x-sdk-date:20260115T080000Z|"
    "x-security-token:STSCANARY||host;x-sdk-date;x-security-token|e3b0c442"
)


@pytest.mark.parametrize(
    "text",
    [
        ECHO,
        ECHO.replace("|", "\n"),
        "Authorization: SDK-HMAC-SHA256 Access=CANARY, SignedHeaders=host, Signature=CANARY",
        '{"authorization": "SDK-HMAC-SHA256 Access=CANARY, SignedHeaders=host, Signature=CANARY"}',
        "Authorization=Bearer CANARY",
        "Proxy-Authorization: Basic CANARY",
        "X-Auth-Token: CANARY",
        "x-auth-token:CANARY|host:h",
        "x-security-token=CANARY&a=b",
        '"X-Subject-Token" : "CANARY"',
        '{"securitytoken":"CANARY","secret":"CANARY"}',
        '{\\"password\\": \\"CANARY with blanks\\"}',
        "{'password': 'CANARY, with, commas'}",
        "password&quot;:&quot;CANARY&quot;",
        "&#34;password&#34;&#58;&#34;CANARY&#34;",
        "password%22%3A%20%22CANARY%22".replace("%20", ""),
        "secret_key=CANARY",
        "SecretKey: CANARY",
        "secret_access_key: CANARY",
        "client_secret=CANARY",
        "Signature=CANARY",
        "Access=CANARY",
        "http://user:CANARY@proxy:3128/",
    ],
)
def test_what_looks_like_a_secret_leaves_though_nobody_knows_it(text):
    assert "CANARY" not in Redactor()(text)


@pytest.mark.parametrize(
    "text",
    [
        "The username or password is wrong.",
        "Incorrect IAM authentication information: decrypt token fail",
        "x-auth-token not found",
        "Authorization failed: you need mpc:editingTask:view",
        "access denied: the secret key is missing",
        "AK access failed to reach the limit,forbidden",
        "token expires, expires_at: 2026-01-15T08:00:00.000000Z",
        "The throttling threshold has been reached: policy user over ratelimit,limit:100,time:1 minute",
        "Check that Access key (AK) and Secret key (SK) of the connection belong together.",
        "Put a fresh token of this project and region into the connection, or use the method 'password'.",
        "obs://bucket/key?x=1&signatures=2",
        "https://support.huaweicloud.com/a@b",
    ],
)
def test_ordinary_words_stay(text):
    assert Redactor(["SKsecret"])(text) == text


def test_what_stands_beside_a_secret_stays():
    text = '{"user": "me", "password": "CANARY", "region": "cn-north-4"}'
    assert Redactor()(text) == f'{{"user": "me", "password": {MASK}", "region": "cn-north-4"}}'


@given(st.text(max_size=200))
def test_any_text_can_be_redacted(text):
    assert isinstance(Redactor(["secret"])(text), str)


@pytest.mark.parametrize("unit", ["\\", "password=", '"', "&#34;", "authorization:", " ", "%22", "a://b"])
def test_no_text_takes_long(unit):
    import time

    began = time.perf_counter()
    Redactor(["x" * 9000, "p/q" * 20])(("password:" + unit * 65536)[:65536])
    assert time.perf_counter() - began < 5


def test_the_redactor_shows_no_secret_itself():
    assert "SKsecret" not in repr(Redactor(["SKsecret"]))


def test_advice_is_never_hidden():
    """What this package says itself must survive when it is redacted once more on its way."""
    error = errors.MpcAuthenticationError("No", advice="Check the Secret key: 'Access key' must be its pair.")
    assert "pair" in Redactor()(str(error))
