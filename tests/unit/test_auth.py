# SPDX-License-Identifier: Apache-2.0
"""Credentials are shared, renewed in time, and asked for once."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from airflow_provider_mpc.api import auth
from airflow_provider_mpc.api.auth import (
    AccessKey,
    AgencyAuthenticator,
    AkSkAuthenticator,
    IamToken,
    PasswordAuthenticator,
    Request,
    TemporaryKey,
    TokenAuthenticator,
    forget_credentials,
)
from airflow_provider_mpc.api.errors import MpcAuthenticationError, MpcTransportError

REQUEST = Request("GET", "/v2/p/editing/jobs", "job_id=1", {"Host": "h", "X-Project-Id": "p"})


class Iam:
    """Gives out tokens, or keys, that live for ``life`` seconds."""

    def __init__(self, clock, life=86400.0):
        self.clock = clock
        self.life = life
        self.asked = 0
        self.error = None
        self.same = False
        self.hold = None

    def log_in(self):
        self.asked += 1
        if self.hold is not None:
            self.hold.wait(10)
        if self.error is not None:
            raise self.error
        name = "TOKEN" if self.same else f"TOKEN{self.asked}"
        return IamToken(name, "p1", self.clock.now, self.clock.now + self.life)

    def keys(self):
        token = self.log_in()
        return TemporaryKey(AccessKey("AK", "SK", token.value), token.began_at, token.ends_at)


@pytest.fixture
def clock(monkeypatch):
    forget_credentials()
    clock = SimpleNamespace(now=1_000_000.0)
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: clock.now))
    yield clock
    forget_credentials()


@pytest.fixture
def iam(clock):
    return Iam(clock)


def by_password(iam, identity="me"):
    return PasswordAuthenticator(identity=identity, log_in=iam.log_in, password="pw")


def by_agency(iam, identity="http://metadata"):
    return AgencyAuthenticator(identity, iam.keys)


@pytest.fixture(params=[by_password, by_agency], ids=["password", "agency"])
def make(request):
    return request.param


def token_of(authenticator):
    headers = authenticator.authorize(REQUEST).headers
    return headers.get("X-Auth-Token") or headers["X-Security-Token"]


def in_threads(count, work):
    """Run the work in threads and return results and errors."""
    results, errors = [], []

    def run():
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results, errors


def join(threads):
    for thread in threads:
        thread.join(10)


class TestKeeping:
    def test_one_is_asked_for_and_kept(self, iam, make):
        authenticator = make(iam)
        assert [token_of(authenticator) for _ in range(3)] == ["TOKEN1"] * 3
        assert iam.asked == 1

    def test_authenticators_of_one_identity_share_it(self, iam, make):
        assert token_of(make(iam)) == token_of(make(iam)) == "TOKEN1"

    def test_another_identity_has_its_own(self, iam, make):
        assert token_of(make(iam, "me")) != token_of(make(iam, "you"))

    def test_it_may_be_forgotten(self, iam, make):
        token_of(make(iam))
        forget_credentials()
        assert token_of(make(iam)) == "TOKEN2"

    def test_ten_threads_ask_once(self, iam, make):
        iam.hold = threading.Event()
        authenticator = make(iam)
        threads, results, _ = in_threads(10, lambda: token_of(authenticator))
        iam.hold.set()
        join(threads)
        assert (results, iam.asked) == (["TOKEN1"] * 10, 1)

    def test_threads_that_wait_for_a_vain_attempt_do_not_repeat_it(self, iam, make):
        """Each wrong password counts towards locking the user."""
        iam.hold, iam.error = threading.Event(), MpcAuthenticationError("wrong password", status=401)
        authenticator = make(iam)
        threads, _, errors = in_threads(10, lambda: token_of(authenticator))
        # All of them are at the lock by then.
        time.sleep(0.3)
        iam.hold.set()
        join(threads)
        assert iam.asked == 1
        assert [(type(error), str(error)) for error in errors] == [
            (MpcAuthenticationError, "wrong password (HTTP 401)")
        ] * 10
        assert len({id(error) for error in errors}) == 10

    def test_a_refused_log_in_is_not_repeated_for_half_a_minute(self, clock, iam, make):
        iam.error = MpcAuthenticationError("wrong password", status=401)
        for wait in (0, 29, 2):
            clock.now += wait
            with pytest.raises(MpcAuthenticationError):
                token_of(make(iam))
        assert iam.asked == 2
        iam.error = None
        assert token_of(make(iam, "with another password")) == "TOKEN3"

    def test_a_log_in_that_a_signal_interrupts_may_be_asked_for_again(self, iam, make):
        """on_kill runs in the thread that waits for IAM."""
        authenticator, log_in, tokens = make(iam), iam.log_in, []

        def interrupted():
            if not tokens:
                tokens.append("interrupted")
                tokens.append(token_of(authenticator))
            return log_in()

        iam.log_in = interrupted
        thread = threading.Thread(target=lambda: tokens.append(token_of(make(iam))), daemon=True)
        thread.start()
        thread.join(10)
        assert len(tokens) == 3, "a lock was not re-entrant"

    def test_a_later_call_tries_again(self, iam, make):
        iam.error = MpcTransportError("down")
        with pytest.raises(MpcTransportError):
            token_of(make(iam))
        iam.error = None
        assert token_of(make(iam)) == "TOKEN2"


class TestRenewal:
    @pytest.mark.parametrize(("build", "margin"), [(by_password, 600), (by_agency, 900)])
    def test_it_is_renewed_shortly_before_its_end(self, clock, iam, build, margin):
        authenticator = build(iam)
        token_of(authenticator)
        clock.now += iam.life - margin - 1
        assert token_of(authenticator) == "TOKEN1"
        clock.now += 2
        assert token_of(authenticator) == "TOKEN2"

    def test_a_short_one_is_not_renewed_at_each_call(self, clock, iam, make):
        iam.life = 300.0
        authenticator = make(iam)
        token_of(authenticator)
        clock.now += 239
        assert token_of(authenticator) == "TOKEN1"
        clock.now += 2
        assert token_of(authenticator) == "TOKEN2"

    def test_while_it_lives_a_failed_renewal_does_no_harm(self, clock, iam, make):
        authenticator = make(iam)
        token_of(authenticator)
        clock.now += iam.life - 300
        iam.error = MpcTransportError("down")
        assert token_of(authenticator) == "TOKEN1"

    def test_a_failed_renewal_is_tried_again_after_half_a_minute(self, clock, iam, make):
        authenticator = make(iam)
        token_of(authenticator)
        clock.now += iam.life - 300
        iam.error = MpcTransportError("down")
        for _ in range(5):
            token_of(authenticator)
        assert iam.asked == 2
        clock.now += 31
        iam.error = None
        assert token_of(authenticator) == "TOKEN3"

    def test_one_that_has_ended_is_not_used_though_a_renewal_failed_a_moment_ago(self, clock, iam, make):
        authenticator = make(iam)
        token_of(authenticator)
        clock.now += iam.life - 10
        iam.error = MpcTransportError("down")
        assert token_of(authenticator) == "TOKEN1"
        clock.now += 11
        iam.error = None
        assert token_of(authenticator) == "TOKEN3"

    def test_when_it_has_ended_a_failed_renewal_is_an_error(self, clock, iam, make):
        authenticator = make(iam)
        token_of(authenticator)
        clock.now += iam.life
        iam.error = MpcTransportError("down")
        with pytest.raises(MpcTransportError):
            token_of(authenticator)


class TestRefused:
    def test_a_refused_one_is_replaced(self, iam, make):
        authenticator = make(iam)
        refused = authenticator.authorize(REQUEST)
        assert authenticator.renew(refused)
        assert token_of(authenticator) == "TOKEN2"

    def test_ten_threads_that_see_one_refused_ask_once(self, iam, make):
        authenticator = make(iam)
        refused = authenticator.authorize(REQUEST)
        threads, results, _ = in_threads(10, lambda: authenticator.renew(refused))
        join(threads)
        assert (results, iam.asked) == ([True] * 10, 2)

    def test_one_that_another_thread_has_replaced_is_not_replaced_again(self, iam, make):
        authenticator = make(iam)
        refused = authenticator.authorize(REQUEST)
        authenticator.renew(refused)
        assert authenticator.renew(refused)
        assert iam.asked == 2

    def test_getting_the_same_again_is_no_cure(self, iam, make):
        iam.same = True
        authenticator = make(iam)
        assert not authenticator.renew(authenticator.authorize(REQUEST))

    def test_the_same_again_with_a_later_end_is_no_cure(self, clock, iam, make):
        iam.same = True
        authenticator = make(iam)
        refused = authenticator.authorize(REQUEST)
        clock.now += 5
        assert not authenticator.renew(refused)

    def test_a_failed_replacement_is_an_error(self, iam, make):
        authenticator = make(iam)
        refused = authenticator.authorize(REQUEST)
        iam.error = MpcAuthenticationError("wrong password")
        with pytest.raises(MpcAuthenticationError, match="wrong password"):
            authenticator.renew(refused)

    def test_after_a_failed_replacement_the_refused_one_is_not_used_again(self, iam, make):
        authenticator = make(iam)
        refused = authenticator.authorize(REQUEST)
        iam.error = MpcTransportError("down")
        with pytest.raises(MpcTransportError):
            authenticator.renew(refused)
        iam.error = None
        assert token_of(authenticator) == "TOKEN3"

    @pytest.mark.parametrize("authenticator", [AkSkAuthenticator(AccessKey("AK", "SK")), TokenAuthenticator("TOKEN")])
    def test_keys_and_tokens_of_the_connection_cannot_be_renewed(self, authenticator):
        assert not authenticator.renew(authenticator.authorize(REQUEST))


class TestProof:
    def test_a_key_signs(self):
        headers = AkSkAuthenticator(AccessKey("AK", "SK")).authorize(REQUEST).headers
        assert headers["Authorization"].startswith(
            "SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-project-id;x-sdk-date,"
        )
        assert "X-Auth-Token" not in headers

    def test_a_security_token_is_signed_along(self):
        headers = AkSkAuthenticator(AccessKey("AK", "SK", "STS")).authorize(REQUEST).headers
        assert headers["X-Security-Token"] == "STS"
        assert "x-sdk-date;x-security-token," in headers["Authorization"]

    def test_a_token_is_sent_unsigned(self):
        headers = TokenAuthenticator("TOKEN").authorize(REQUEST).headers
        assert headers == {**REQUEST.headers, "X-Auth-Token": "TOKEN"}

    def test_the_request_is_left_as_it_was(self):
        before = dict(REQUEST.headers)
        AkSkAuthenticator(AccessKey("AK", "SK", "STS")).authorize(REQUEST)
        assert REQUEST.headers == before

    def test_a_token_tells_its_project(self, iam):
        assert by_password(iam).project_id() == "p1"

    @pytest.mark.parametrize("authenticator", [AkSkAuthenticator(AccessKey("AK", "SK")), TokenAuthenticator("TOKEN")])
    def test_keys_and_tokens_do_not(self, authenticator):
        assert authenticator.project_id() is None

    @pytest.mark.parametrize(
        ("authenticator", "secrets"),
        [
            (AkSkAuthenticator(AccessKey("AKCANARY", "SKCANARY", "STCANARY")), {"AKCANARY", "SKCANARY", "STCANARY"}),
            (TokenAuthenticator("TCANARY"), {"TCANARY"}),
        ],
    )
    def test_it_names_its_secrets_and_shows_none(self, authenticator, secrets):
        proof = authenticator.authorize(REQUEST)
        assert secrets <= set(proof.secrets)
        assert "CANARY" not in f"{proof!r}{authenticator!r}{proof.credential if secrets != {'TCANARY'} else ''!r}"

    def test_passwords_and_their_tokens_are_secrets_too(self, iam):
        authenticator = by_password(iam)
        proof = authenticator.authorize(REQUEST)
        assert {"TOKEN1", "pw"} <= set(proof.secrets)
        assert "TOKEN1" not in f"{proof!r}{proof.credential!r}{authenticator!r}"

    def test_an_agencys_keys_are_secrets_too(self, iam):
        authenticator = by_agency(iam)
        proof = authenticator.authorize(REQUEST)
        assert {"AK", "SK", "TOKEN1"} <= set(proof.secrets)
        assert "TOKEN1" not in f"{proof!r}{proof.credential!r}{authenticator!r}"
