# SPDX-License-Identifier: Apache-2.0
"""The hook with a connection of Airflow's, against the emulator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_mpc.api import errors
from airflow_provider_mpc.api.client import NO_RETRIES
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.hooks.mpc import MpcHook

WAYS = ("aksk", "temporary", "token", "password", "agency")


@pytest.fixture
def hook(emulator: Emulator) -> MpcHook:
    return MpcHook(retry=NO_RETRIES)


def connect(monkeypatch: pytest.MonkeyPatch, server: EmulatorServer, auth: Any = "aksk", **changes: Any) -> None:
    """Set the connection, with some fields changed; those that Airflow does not know go into extra."""
    fields = server.connection(auth)
    for name, value in changes.items():
        (fields if name in ("login", "password", "host", "port") else fields["extra"])[name] = value
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", json.dumps(fields))


@pytest.mark.parametrize("auth", WAYS)
@pytest.mark.parametrize("form", ["uri", "json"])
def test_jobs_are_queried_with_each_way_to_authenticate(
    auth: Any, form: str, emulator: Emulator, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", getattr(server, f"connection_{form}")(auth))
    job_ids = [emulator.job(["SUCCEEDED"]) for _ in range(12)]

    jobs = MpcHook().get_editing_jobs([*job_ids, int(job_ids[0])])

    assert [job.job_id for job in jobs] == job_ids
    assert emulator.calls("list") == 2


def test_connection_of_the_old_provider_works_unchanged(
    emulator: Emulator, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = server.connection()
    extra = {name: fields["extra"][name] for name in ("region", "project_id")}
    monkeypatch.setenv(
        "AIRFLOW_CONN_OLD", json.dumps({**fields, "conn_type": "huaweicloud", "extra": json.dumps(extra)})
    )
    assert MpcHook("old").get_editing_job(emulator.job(["WAITING"])).status == "WAITING"


def test_job_is_made_and_cancelled(hook: MpcHook, emulator: Emulator) -> None:
    place = {"bucket": "b", "location": emulator.region}
    emulator.job_seconds = 60
    job_id = hook.create_editing_job(
        inputs=[{"input": {**place, "object": "in.mp4"}, "timeline_start": "0", "timeline_end": "1"}],
        output={**place, "object": "out", "file_name": "clip.mp4"},
    )
    hook.cancel_editing_job(job_id)
    assert hook.get_editing_job(job_id).status == "CANCELED"


def test_missing_jobs_are_named_or_left_out(hook: MpcHook, emulator: Emulator) -> None:
    job_id = emulator.job(["WAITING"])
    with pytest.raises(errors.MpcJobNotFoundError) as caught:
        hook.get_editing_jobs(["98", job_id, "99"])
    assert caught.value.job_ids == ["98", "99"]
    assert [job.job_id for job in hook.get_editing_jobs(["98", job_id, "99"], missing_ok=True)] == [job_id]


@pytest.mark.parametrize(
    ("fault", "options", "kind", "base"),
    [
        ("503", {}, errors.MpcServerError, AirflowException),
        ("429", {}, errors.MpcThrottledError, AirflowException),
        ("reset", {}, errors.MpcTransportError, AirflowException),
        ("html", {}, errors.MpcProtocolError, AirflowException),
        ("ak_locked", {}, errors.MpcKeyLockedError, AirflowException),
        ("redirect", {}, errors.MpcRedirectError, AirflowException),
        ("signature", {}, errors.MpcAuthenticationError, AirflowFailException),
        ("forbidden", {}, errors.MpcPermissionError, AirflowFailException),
        ("not_found", {}, errors.MpcEndpointError, AirflowFailException),
        ("mpc", {"code": "MPC.10202"}, errors.MpcRequestError, AirflowFailException),
    ],
)
def test_errors_are_ours_and_airflows(
    hook: MpcHook, emulator: Emulator, fault: str, options: dict[str, Any], kind: Any, base: Any
) -> None:
    emulator.fault(fault, match="list", **options)
    with pytest.raises(kind) as caught:
        hook.get_editing_jobs("1")
    assert isinstance(caught.value, base)
    assert isinstance(caught.value, AirflowFailException) is (base is AirflowFailException)
    assert type(caught.value).__name__ == kind.__name__


@pytest.mark.parametrize("job_id", ["", [], "1,2", "['1', '2']", "None", None, [None], {"a": 1}])
def test_ids_without_sense_are_refused_before_anything_is_sent(hook: MpcHook, emulator: Emulator, job_id: Any) -> None:
    with pytest.raises(errors.MpcInputError) as caught:
        hook.get_editing_jobs(job_id)
    assert isinstance(caught.value, AirflowFailException)
    assert emulator.calls() == 0


def test_rendered_list_is_told_how_to_be_one(hook: MpcHook) -> None:
    with pytest.raises(errors.MpcInputError, match="render_template_as_native_obj") as caught:
        hook.get_editing_jobs("['1', '2']")
    assert ".output" in str(caught.value)


def test_connection_that_is_missing_is_told_with_its_cure() -> None:
    try:
        with pytest.raises(errors.MpcConnectionNotFoundError, match="Huawei Cloud MPC") as caught:
            MpcHook("no_such_connection").get_conn()
        # Airflow says the same when its API server is down for a moment.
        assert not isinstance(caught.value, AirflowFailException)
        assert isinstance(caught.value, AirflowException)
    except ImportError:
        pytest.skip("Airflow 3.1.0 looks for connections only inside a task")


@pytest.mark.parametrize("auth", WAYS)
@pytest.mark.parametrize("behaviour", ["absent", "no_task", "error"])
def test_test_connection_tells_how_it_works(
    auth: Any, behaviour: Any, emulator: Emulator, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.unknown_id_behaviour = behaviour
    connect(monkeypatch, server, auth)
    works, text = MpcHook().test_connection()
    assert works, text
    assert server.url in text
    assert emulator.project_id in text
    assert {"aksk": "with AK/SK", "temporary": "temporary AK/SK"}.get(auth, auth) in text
    assert emulator.calls("list") == 1


CAUSES = [
    pytest.param({"password": "wrong-secret-canary"}, "Secret key (SK)", id="wrong secret"),
    pytest.param({"login": "no-such-key"}, "Access key (AK)", id="unknown key"),
    pytest.param({"project_id": "f" * 32}, "Project ID", id="other project"),
    pytest.param({"region": "moon 1"}, "Region", id="region that is none"),
    pytest.param({"region": "", "host": "", "port": None}, "Region", id="no region and no endpoint"),
    pytest.param({"host": "http://127.0.0.1", "port": 1}, "127.0.0.1", id="nobody there"),
    pytest.param({"host": "http://no-such-host.invalid", "port": None}, "no-such-host.invalid", id="no such name"),
    pytest.param({"verify": "/no/such/bundle.pem"}, "Verify TLS", id="CA bundle that is not there"),
    pytest.param({"timeout": "soon"}, "Timeout", id="timeout that is none"),
    pytest.param({"auth_method": "magic"}, "Authentication method", id="method that is none"),
    pytest.param({"auth_method": "password"}, "Account name (domain)", id="method without its field"),
]


@pytest.mark.parametrize(("changes", "told"), CAUSES)
def test_test_connection_tells_the_cause_by_the_forms_words(
    changes: dict[str, Any], told: str, emulator: Emulator, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, server, **changes)
    works, text = MpcHook().test_connection()
    assert works is False
    assert told in text
    assert "wrong-secret-canary" not in text
    assert server.emulator.secret_key not in text
    assert emulator.calls("list") <= 1


@pytest.mark.parametrize(
    ("fault", "told"), [("forbidden", "mpc:editingTask:view"), ("not_found", "Region"), ("503", "passes")]
)
def test_test_connection_tells_the_clouds_cause(hook: MpcHook, emulator: Emulator, fault: str, told: str) -> None:
    emulator.fault(fault)
    works, text = hook.test_connection()
    assert works is False
    assert told in text
    assert emulator.calls() == 1


def test_settings_without_sense_are_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", json.dumps({"conn_type": "huaweicloud_mpc", "login": "AK"}))
    with pytest.raises(errors.MpcConfigurationError) as caught:
        _ = MpcHook().settings
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("extra", ["[1, 2]", '"x"', "5"])
def test_extra_that_is_no_object_is_told(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    fields = {"conn_type": "huaweicloud_mpc", "login": "AK", "password": "SK", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", json.dumps(fields))
    try:
        worked, told = MpcHook().test_connection()
    except ImportError:
        worked, told = False, "There is no connection"
    assert not worked
    if told.startswith("There is no connection"):
        pytest.skip("Airflow 3.1 refuses such a connection itself, and then looks for it elsewhere")
    assert "extra" in told


def test_misspelt_field_of_extra_is_warned_of(
    server: EmulatorServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, server, regoin="cn-north-4", something_else="1")
    assert MpcHook().settings
    told = capsys.readouterr().out
    assert "'regoin'" in told
    assert "'region'" in told
    assert "something_else" not in told
