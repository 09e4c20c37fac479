# SPDX-License-Identifier: Apache-2.0
"""Errors say what to do, and stay what they are when copied."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from airflow_provider_mpc.api import errors
from airflow_provider_mpc.api.errors import MpcError, MpcJobNotFoundError, MpcOutageError, Persistence
from airflow_provider_mpc.exceptions import airflow_error, as_airflow_errors, raises_airflow_errors

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, MpcError) and kind is not MpcError
]
FACTS = {
    "advice": "Do this.",
    "status": 429,
    "error_code": "APIGW.0308",
    "error_msg": "slow down",
    "request_id": "rid",
}
OWN_FACTS = {
    errors.MpcTransportError: {"maybe_sent": False},
    errors.MpcThrottledError: {"retry_after": 7.0},
    errors.MpcServerError: {"retry_after": 7.0},
    errors.MpcAuthenticationError: {"renewable": True},
    errors.MpcJobNotFoundError: {"job_ids": ["1", "2"]},
    errors.MpcJobFailedError: {"job_ids": ["1", "2"]},
}


def made(kind):
    own = next((facts for base, facts in OWN_FACTS.items() if issubclass(kind, base)), {})
    return kind("It broke", **FACTS, **own)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "deep", "pickle"]
)
def test_a_copy_keeps_everything(kind, again):
    error = made(kind)
    twin = again(error)
    assert twin is not error
    assert (type(twin), str(twin), vars(twin)) == (kind, str(error), vars(error))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_keeps_advice_that_came_later(kind):
    twin = copy.copy(made(kind).with_advice("Do that."))
    assert (twin.advice, str(twin)) == (
        "Do that.",
        "It broke (HTTP 429, APIGW.0308, request id rid): slow down. Do that.",
    )


def test_the_text_has_only_what_is_known():
    assert str(MpcError("It broke")) == "It broke"


def test_full_stops_are_not_doubled():
    assert str(MpcError("It broke.", error_msg="No.", advice="Do this.")) == "It broke.: No. Do this."


@pytest.mark.parametrize("kind", KINDS)
def test_what_airflow_may_retry_follows_from_the_persistence(kind):
    assert made(kind).retryable is (kind.persistence is not Persistence.PERMANENT)


PERSISTENCE = {
    errors.MpcTransportError: Persistence.TRANSIENT,
    errors.MpcThrottledError: Persistence.TRANSIENT,
    errors.MpcServerError: Persistence.TRANSIENT,
    errors.MpcProtocolError: Persistence.TRANSIENT,
    errors.MpcKeyLockedError: Persistence.TRANSIENT,
    errors.MpcOutageError: Persistence.TRANSIENT,
    errors.MpcClipFailedError: Persistence.TRANSIENT,
    errors.MpcTriggerEventError: Persistence.TRANSIENT,
    errors.MpcTlsError: Persistence.SUSPECT,
    errors.MpcRedirectError: Persistence.SUSPECT,
    errors.MpcConfigurationError: Persistence.PERMANENT,
    errors.MpcInputError: Persistence.PERMANENT,
    errors.MpcAuthenticationError: Persistence.PERMANENT,
    errors.MpcPermissionError: Persistence.PERMANENT,
    errors.MpcEndpointError: Persistence.PERMANENT,
    errors.MpcRequestError: Persistence.PERMANENT,
    errors.MpcConflictError: Persistence.PERMANENT,
    errors.MpcJobNotFoundError: Persistence.PERMANENT,
    errors.MpcJobFailedError: Persistence.PERMANENT,
    errors.MpcSubmitUnknownError: Persistence.PERMANENT,
    errors.MpcOutputError: Persistence.PERMANENT,
}


@pytest.mark.parametrize(("kind", "persistence"), PERSISTENCE.items())
def test_what_another_try_may_cure(kind, persistence):
    assert kind.persistence is persistence


def test_an_error_about_jobs_is_another_one():
    error = errors.MpcRequestError("Refused", status=400)
    twin = error.about(["1", "2"])
    assert (str(error), str(twin)) == ("Refused (HTTP 400)", "Refused 1, 2 (HTTP 400)")
    assert type(twin) is errors.MpcRequestError


def test_an_outage_tells_and_chains_its_cause():
    cause = errors.MpcServerError("Down", status=503, request_id="rid")
    error = MpcOutageError.of(cause, 901.4)
    assert error.__cause__ is cause
    assert "901 s" in str(error)
    assert str(cause) in str(error)
    assert (error.status, error.request_id, error.retryable) == (503, "rid", True)


def test_an_error_at_airflows_edge_survives_pickling_and_copying() -> None:
    error = airflow_error(MpcJobNotFoundError("gone", job_ids=["1"], status=404, advice="look"))
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert (str(twin), twin.job_ids, twin.status) == (str(error), ["1"], 404)


def test_an_error_that_is_airflows_already_stays_as_it_is() -> None:
    error = airflow_error(MpcJobNotFoundError("gone"))
    assert airflow_error(error) is error

    @raises_airflow_errors
    @raises_airflow_errors
    def call() -> None:
        raise MpcJobNotFoundError("gone", job_ids=["1"])

    with pytest.raises(MpcJobNotFoundError) as raised:
        call()
    assert type(raised.value) is type(error)
    assert pickle.loads(pickle.dumps(raised.value)).job_ids == ["1"]


def test_an_error_at_airflows_edge_keeps_its_cause() -> None:
    cause = errors.MpcServerError("Down")
    with pytest.raises(MpcOutageError) as raised, as_airflow_errors():
        raise MpcOutageError.of(cause, 901.4)
    assert raised.value.__cause__ is cause
    assert airflow_error(MpcOutageError.of(cause, 901.4)).__cause__ is cause
