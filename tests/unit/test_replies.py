# SPDX-License-Identifier: Apache-2.0
"""Which error a refusing reply becomes, whether it may be tried again, and what it tells the reader to do."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mpc.api import errors
from airflow_provider_mpc.api.auth import (
    AccessKey,
    AgencyAuthenticator,
    AkSkAuthenticator,
    PasswordAuthenticator,
    TokenAuthenticator,
)
from airflow_provider_mpc.api.errors import MpcError
from airflow_provider_mpc.api.redaction import Redactor
from airflow_provider_mpc.api.replies import IAM, METADATA, MPC, error_from, retry_after
from airflow_provider_mpc.api.transport import Reply

SECRET = "SKverySecretIndeed00000000000000000000"


def error_of(status, body=b"", headers=None, redact=None, asker=None):
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode()
    return error_from(
        Reply(status, headers or {}, body, redact or Redactor([SECRET])),
        doing="query clipping tasks",
        asker=asker or AkSkAuthenticator(AccessKey("AK", "SK")),
    )


def gateway(code, message="words"):
    return {"error_msg": message, "error_code": code, "request_id": "0123456789abcdef0123456789abcdef"}


def mpc(code):
    return {"error_code": code, "error_msg": "words"}


AUTH, KEY_LOCKED = errors.MpcAuthenticationError, errors.MpcKeyLockedError
PERMISSION, ENDPOINT = errors.MpcPermissionError, errors.MpcEndpointError
REQUEST, SERVER, THROTTLED = errors.MpcRequestError, errors.MpcServerError, errors.MpcThrottledError
NOT_FOUND, CONFLICT, REDIRECT = errors.MpcJobNotFoundError, errors.MpcConflictError, errors.MpcRedirectError
VIEW = "mpc:editingTask:view"

CODES = [
    # MPC's own; the code decides, whatever the status.
    ("MPC.10202", [400], REQUEST, False, "job id"),
    ("MPC.10204", [400], REQUEST, False, ""),
    ("MPC.10205", [400], REQUEST, False, ""),
    ("MPC.10089", [400], REQUEST, False, ""),
    ("MPC.10155", [400], REQUEST, False, ""),
    ("MPC.10203", [401, 403], AUTH, False, "Secret key"),
    ("MPC.10206", [401], AUTH, False, "real-name"),
    ("MPC.10207", [401], AUTH, False, "arrears"),
    ("MPC.10208", [401, 400, 403], AUTH, False, "Project ID"),
    ("MPC.10209", [403, 400], PERMISSION, False, "Authorise MPC on the bucket"),
    ("MPC.10211", [403, 400, 404], NOT_FOUND, False, "region and project"),
    ("MPC.10212", [400, 403], CONFLICT, False, ""),
    ("MPC.10213", [403, 400], CONFLICT, False, ""),
    ("MPC.10050", [406, 500], SERVER, True, "passes"),
    ("MPC.10052", [406], REQUEST, False, ""),
    # The gateway's.
    ("APIGW.0101", [404], ENDPOINT, False, "Region and Endpoint"),
    ("APIGW.0103", [404], ENDPOINT, False, "Region and Endpoint"),
    ("APIGW.0104", [400], REQUEST, False, ""),
    ("APIGW.0106", [400], REQUEST, False, ""),
    ("APIGW.0201", [400, 413, 414, 494], REQUEST, False, ""),
    ("APIGW.0201", [502, 504], SERVER, True, "passes"),
    ("APIGW.0301", [401], AUTH, False, "Secret key"),
    ("APIGW.0303", [401], AUTH, False, ""),
    ("APIGW.0305", [401], AUTH, False, ""),
    ("APIGW.0307", [401], AUTH, False, ""),
    ("APIGW.0311", [401], AUTH, False, ""),
    ("APIGW.0302", [403], PERMISSION, False, VIEW),
    ("APIGW.0304", [403], PERMISSION, False, VIEW),
    ("APIGW.0306", [403], PERMISSION, False, VIEW),
    ("APIGW.0310", [403], PERMISSION, False, VIEW),
    ("APIGW.0401", [403], PERMISSION, False, VIEW),
    ("APIGW.0402", [403], PERMISSION, False, VIEW),
    ("APIGW.0404", [403], PERMISSION, False, VIEW),
    ("APIGW.0801", [403], PERMISSION, False, VIEW),
    ("APIGW.0802", [403], PERMISSION, False, VIEW),
    ("APIGW.0308", [429, 403], THROTTLED, True, "poke_interval"),
    ("APIGW.0501", [405], ENDPOINT, False, "Endpoint"),
    ("APIGW.0502", [405], ENDPOINT, False, "Endpoint"),
    ("APIGW.0602", [400], REQUEST, False, ""),
    ("APIGW.0607", [400], REQUEST, False, ""),
    *[
        (f"APIGW.{number}", [500], SERVER, True, "passes")
        for number in ("0601", "0605", "0606", "0608", "0609", "0611", "0612", "0705")
    ],
    ("APIGW.0610", [502], SERVER, True, "passes"),
    ("APIGW.0613", [503], SERVER, True, "passes"),
    ("PAP5.0001", [403], PERMISSION, False, VIEW),
    # A code that nobody knows leaves the decision to the status.
    ("MPC.99999", [400, 406], REQUEST, False, ""),
    ("MPC.99999", [500], SERVER, True, ""),
]


CODES_THAT_DECIDE = {
    AUTH: "MPC.10203 MPC.10206 MPC.10207 MPC.10208 APIGW.0301 APIGW.0303 APIGW.0305 APIGW.0307 APIGW.0311",
    PERMISSION: "MPC.10209 APIGW.0302 APIGW.0304 APIGW.0306 APIGW.0310 APIGW.0401 APIGW.0402 APIGW.0404 "
    "APIGW.0801 APIGW.0802 PAP5.0001",
    REQUEST: "MPC.10202 APIGW.0602 APIGW.0607",
    NOT_FOUND: "MPC.10211",
    CONFLICT: "MPC.10212 MPC.10213",
    SERVER: "MPC.10050 APIGW.0601 APIGW.0700",
    ENDPOINT: "APIGW.0101 APIGW.0103 APIGW.0501 APIGW.0502",
    THROTTLED: "APIGW.0308",
}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500])
@pytest.mark.parametrize(
    ("code", "kind"), [(code, kind) for kind, codes in CODES_THAT_DECIDE.items() for code in codes.split()]
)
def test_a_code_means_the_same_with_any_status(status, code, kind):
    assert type(error_of(status, gateway(code))) is kind


@pytest.mark.parametrize(
    ("code", "status", "kind", "retryable", "advice"),
    [(code, status, *rest) for code, statuses, *rest in CODES for status in statuses],
)
def test_a_code_becomes_its_error(code, status, kind, retryable, advice):
    error = error_of(status, gateway(code))
    assert (type(error), error.retryable) == (kind, retryable)
    assert advice in error.advice
    assert (error.status, error.error_code, error.error_msg) == (status, code, "words")


STATUSES = [
    (400, REQUEST, False, ""),
    (401, AUTH, False, "Access key"),
    (403, PERMISSION, False, VIEW),
    (404, ENDPOINT, False, "Region and Endpoint"),
    (405, ENDPOINT, False, "Endpoint"),
    (406, REQUEST, False, ""),
    (407, ENDPOINT, False, "proxy"),
    (408, SERVER, True, ""),
    (409, CONFLICT, False, ""),
    (418, REQUEST, False, ""),
    (425, SERVER, True, ""),
    (429, THROTTLED, True, "poke_interval"),
    (500, SERVER, True, ""),
    (502, SERVER, True, ""),
    (503, SERVER, True, ""),
    (504, SERVER, True, ""),
    (599, SERVER, True, ""),
    (301, REDIRECT, True, "Region and Endpoint"),
    (302, REDIRECT, True, "Region and Endpoint"),
    (307, REDIRECT, True, "Region and Endpoint"),
]
PAGE = b"<html><head><title>Oops</title></head><body><h1>Bad  gateway</h1></body></html>"


@pytest.mark.parametrize("body", [b"", PAGE, b"null", b"[]", b"{}", b'{"a": {"b": 1}}', b"\xff\x00"], ids=repr)
@pytest.mark.parametrize(("status", "kind", "retryable", "advice"), STATUSES)
def test_without_a_code_the_status_decides(status, kind, retryable, advice, body):
    error = error_of(status, body)
    assert (type(error), error.retryable, error.status, error.error_code) == (kind, retryable, status, None)
    assert advice in error.advice


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": "X.1", "error_msg": "words"},
        {"errorCode": "X.1", "errorMsg": "words"},
        {"code": "X.1", "message": "words"},
        {"error": {"code": "X.1", "message": "words", "title": "Unauthorized"}},
        {"result": None, "error": {"error_code": "X.1", "error_msg": "words"}},
        {"error_code": " X.1 ", "error_msg": "  words\n"},
    ],
)
def test_code_and_words_are_found_in_any_shape(body):
    error = error_of(400, body)
    assert (error.error_code, error.error_msg) == ("X.1", "words")


def test_keystones_code_that_only_repeats_the_status_is_none():
    error = error_of(401, {"error": {"code": 401, "message": "The username or password is wrong.", "title": "x"}})
    assert (error.error_code, error.error_msg) == (None, "The username or password is wrong.")


def test_a_keystone_error_without_a_code_tells_its_words():
    assert error_of(403, {"error": {"message": "No.", "title": "Forbidden"}}).error_msg == "No."


def test_a_page_is_told_without_its_tags():
    assert error_of(502, PAGE).error_msg == "Oops Bad gateway"


def test_a_long_page_is_cut():
    assert len(error_of(502, b"<p>" + b"word " * 100_000).error_msg) == 200


def test_long_words_are_cut():
    assert len(error_of(400, mpc("X") | {"error_msg": "x" * 100_000}).error_msg) == 1000


def test_words_are_one_line_that_can_be_logged_anywhere():
    error = error_of(400, b'{"error_code": "X.1", "error_msg": "a\\nb\\u0000c\\ud800 d"}')
    assert error.error_msg == "a b c? d"


def test_the_request_id_comes_from_the_header():
    assert error_of(400, gateway("X.1"), {"x-request-id": "from-header"}).request_id == "from-header"


def test_the_request_id_comes_from_the_body_where_the_header_has_none():
    assert error_of(400, gateway("X.1")).request_id == "0123456789abcdef0123456789abcdef"


def test_the_text_tells_everything():
    error = error_of(403, gateway("APIGW.0302", "not allowed"), {"x-request-id": "rid-1"})
    assert str(error) == (
        "Huawei Cloud does not allow these credentials to query clipping tasks (HTTP 403, APIGW.0302, request id "
        f"rid-1): not allowed. {error.advice}"
    )


class TestAuthentication:
    @pytest.mark.parametrize("code", ["APIGW.0301", "APIGW.0307", "MPC.10203", None])
    @pytest.mark.parametrize("message", ["token expires", "decrypt token fail", "verify aksk signature fail", ""])
    @pytest.mark.parametrize(
        ("asker", "advice"),
        [
            (AkSkAuthenticator(AccessKey("AK", "SK")), "five failures lock the key"),
            (AkSkAuthenticator(AccessKey("AK", "SK", "TOKEN")), "Security token of the connection belong together"),
            (TokenAuthenticator("TOKEN"), "fresh token"),
            (PasswordAuthenticator("me", lambda: None, "pw"), "IAM gave a token"),
            (AgencyAuthenticator("me", lambda: None), "agency"),
        ],
    )
    def test_what_to_do_depends_on_the_way_to_authenticate(self, asker, advice, message, code):
        error = error_of(401, gateway(code, message) if code else b"", asker=asker)
        assert type(error) is AUTH
        assert error.renewable
        assert advice in error.advice

    def test_the_codes_own_advice_goes_first(self):
        assert "Project ID" in error_of(401, gateway("MPC.10208"), asker=TokenAuthenticator("TOKEN")).advice

    @pytest.mark.parametrize("code", ["APIGW.0307", "APIGW.0301", "MPC.10203"])
    def test_a_renewal_may_cure_these(self, code):
        assert error_of(401, gateway(code)).renewable

    @pytest.mark.parametrize("code", ["MPC.10206", "MPC.10207", "MPC.10208", "APIGW.0303", "APIGW.0311"])
    def test_a_renewal_cannot_cure_these(self, code):
        assert not error_of(401, gateway(code)).renewable

    def test_a_locked_key_heals_by_itself(self):
        error = error_of(401, gateway("APIGW.0301", "AK access failed to reach the limit,forbidden"))
        assert (type(error), error.retryable, error.renewable, error.retry_after) == (KEY_LOCKED, True, False, 300.0)

    @pytest.mark.parametrize(("offset", "side"), [(3600, "behind"), (-3600, "ahead of")])
    def test_a_wrong_clock_is_told_from_the_date_header(self, offset, side):
        date = formatdate(time.time() + offset, usegmt=True)
        error = error_of(401, gateway("APIGW.0301", "verify aksk signature fail"), {"date": date})
        assert f"60 minutes {side}" in error.advice
        assert "NTP" in error.advice

    def test_a_clock_within_the_limit_is_not_blamed(self):
        date = formatdate(time.time() + 14 * 60, usegmt=True)
        assert "clock" not in error_of(401, gateway("APIGW.0301"), {"date": date}).advice

    def test_a_token_does_not_depend_on_the_clock(self):
        date = formatdate(time.time() + 3600, usegmt=True)
        error = error_of(401, gateway("APIGW.0301"), {"date": date}, asker=TokenAuthenticator("TOKEN"))
        assert "clock" not in error.advice

    @pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Jan 2026 08:00:00 GMT"])
    def test_a_date_without_sense_is_no_skew(self, date):
        assert "clock" not in error_of(401, gateway("APIGW.0301"), {"date": date}).advice


class TestOtherServices:
    @pytest.mark.parametrize(("service", "words"), [(IAM, "IAM endpoint"), (METADATA, "ECS server")])
    def test_a_wrong_address_names_the_field_to_correct(self, service, words):
        error = error_from(Reply(404, {}, b"<html>"), doing="log in", service=service)
        assert words in error.advice
        assert "MPC" not in error.advice

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_metadata_service_that_refuses_asks_for_an_agency(self, status):
        error = error_from(Reply(status, {}, b""), doing="get keys", service=METADATA)
        assert "Bind an agency" in error.advice
        assert "mpc:editingTask" not in str(error)

    def test_a_throttled_log_in_does_not_blame_mpc(self):
        error = error_from(Reply(429, {"retry-after": "5"}, b""), doing="log in to IAM", service=IAM)
        assert (type(error), error.retry_after) == (errors.MpcThrottledError, 5.0)
        assert "100 a minute" not in str(error)
        assert "poke_interval" not in str(error)


class TestAdvice:
    @pytest.mark.parametrize(
        "status", [300, 302, 400, 401, 403, 404, 405, 407, 408, 409, 410, 413, 418, 422, 429, 500, 503]
    )
    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>", b'{"error_code": "MPC.10999", "error_msg": "words"}', b'{"error_code": "APIGW.0301"}'],
    )
    @pytest.mark.parametrize("service", [MPC, IAM, METADATA])
    def test_each_refusal_says_what_to_do(self, status, body, service):
        asker = TokenAuthenticator("t") if service == MPC else None
        assert error_from(Reply(status, {}, body), doing="do it", service=service, asker=asker).advice

    def test_a_conflict_says_when_mpc_cancels(self):
        assert "only while it waits" in error_of(400, b'{"error_code": "MPC.10212"}').advice

    def test_words_that_are_none_are_not_referred_to(self):
        assert "own words" in error_of(400, b'{"error_msg": "x is missing"}').advice
        assert "support" in error_of(400, b"").advice

    def test_words_in_another_coding_do_not_hide_the_code(self):
        body = '{"error_code": "MPC.10211", "error_msg": "任务不存在"}'.encode("gbk")
        assert type(error_of(400, body)) is errors.MpcJobNotFoundError


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("0", 0.0), ("7", 7.0), (" 120 ", 120.0), ("0.5", 0.5)]
        + [(value, None) for value in ("", "soon", "-5", "1e3", "²", "\u0663", "99999999", "nan", "inf", "7 s")],
    )
    def test_seconds(self, value, seconds):
        assert retry_after({"retry-after": value}) == seconds

    def test_a_date(self):
        assert retry_after({"retry-after": formatdate(time.time() + 90, usegmt=True)}) == pytest.approx(90, abs=2)

    def test_a_date_that_has_passed_asks_for_nothing(self):
        assert retry_after({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0.0

    def test_no_header_asks_for_nothing(self):
        assert retry_after({}) is None

    @pytest.mark.parametrize("status", [429, 503])
    def test_the_error_keeps_it(self, status):
        assert error_of(status, b"", {"retry-after": "7"}).retry_after == 7.0


class TestRedirect:
    def test_the_target_is_named(self):
        assert "https://login.example.com/" in str(error_of(302, b"", {"location": "https://login.example.com/"}))

    def test_a_login_in_the_target_is_not(self):
        assert "hunter2" not in str(error_of(302, b"", {"location": "https://u:hunter2@login.example.com/"}))

    def test_a_redirect_without_a_target_is_one_too(self):
        assert "elsewhere" in str(error_of(302))


class TestSecrets:
    @pytest.mark.parametrize(
        "reply",
        [
            (401, gateway("APIGW.0301", f"verify aksk signature fail|GET|/|x:{SECRET}")),
            (400, {"error_code": SECRET, "error_msg": SECRET, "request_id": SECRET}),
            (500, f"<b>{SECRET}</b>".encode()),
            (302, b"", {"location": f"https://x/?k={SECRET}", "x-request-id": SECRET}),
            (400, {"error_msg": "x" * 990 + SECRET}),
            (400, ("y" * 190 + SECRET).encode()),
            (400, b"z" * (65536 - 30) + SECRET.encode()),
        ],
    )
    def test_a_secret_in_a_reply_is_in_no_part_of_the_error(self, reply):
        error = error_of(*reply)
        shown = repr(error) + str(error) + repr(vars(error))
        assert SECRET not in shown
        assert SECRET[:12] not in shown

    def test_a_secret_that_looks_like_a_tag_is_known_before_tags_are_cut(self):
        secret = "before<middle>after"
        assert "before" not in str(error_of(500, f"<b>{secret}</b>".encode(), redact=Redactor([secret])))

    def test_the_echo_of_the_canonical_request_is_cut(self):
        echo = "verify aksk signature fail|GET|/v2/p/|job_id=1|host:h|x-security-token:STS0|host;x|e3b0c442"
        error = error_of(401, gateway("APIGW.0301", echo))
        assert error.error_msg == "verify aksk signature fail"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "error_code", "error_msg", "code", "message", "request_id"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(
    st.integers(min_value=100, max_value=999).filter(lambda status: not 200 <= status < 300),
    json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from(["retry-after", "date", "location", "x-request-id"]),
        st.text(st.characters(max_codepoint=255), max_size=20),
    ),
)
def test_any_reply_becomes_an_error_and_never_another_exception(status, body, headers):
    error = error_of(status, body, headers)
    assert isinstance(error, MpcError)
    str(error).encode()
