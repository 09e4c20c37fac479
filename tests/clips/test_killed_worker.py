# SPDX-License-Identifier: Apache-2.0
"""A task is killed, or runs out of time, on a worker: what becomes of its job, and of the task."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    TaskDeferred,
)
from attempts import Clock, StateStore, Try
from test_create import FakeTime, execution_timeout, operator, status_of

from airflow_provider_mpc import cancelling
from airflow_provider_mpc.api.errors import MpcClipFailedError
from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.operators import mpc as operators

WAYS: dict[str, dict[str, Any]] = {
    "only the id": {"wait": False},
    "on the worker": {"deferrable": False},
    "in the triggerer": {"deferrable": True},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WAYS[request.param]


class StoppedError(Exception):
    """The test has seen enough of a wait."""


class Pauses:
    """Stands in for the module ``time`` of a task that waits: something happens in each pause."""

    def __init__(self, *happenings: Callable[[], None]) -> None:
        self._happenings = list(happenings)

    def sleep(self, seconds: float) -> None:
        if not self._happenings:
            raise StoppedError
        self._happenings.pop(0)()

    def time(self) -> float:
        return time.time()


def kept_ids(attempt: Try) -> list[str]:
    return [key for key in attempt.store or {} if "job_id" in key]


# In the wait.


def test_a_kill_cancels_a_job_that_waits(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, task = Try(), operator()
    monkeypatch.setattr(operators, "time", Pauses(task.on_kill))
    with pytest.raises(MpcClipFailedError, match="CANCELED"):
        task.execute(attempt.context(task))
    assert status_of(emulator, attempt.xcom["job_id"]) == "CANCELED"
    assert emulator.calls(api="delete") == 1
    assert not kept_ids(attempt)


def test_a_kill_leaves_a_job_that_runs_with_a_note(
    emulator: Emulator, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt, task = Try(), operator()

    def kill() -> None:
        clock.ahead += 50
        task.on_kill()

    monkeypatch.setattr(operators, "time", Pauses(kill))
    with pytest.raises(StoppedError):
        task.execute(attempt.context(task))
    assert "cannot cancel it any more" in capsys.readouterr().out
    assert status_of(emulator, attempt.xcom["job_id"]) == "PROCESSING"
    assert emulator.calls(api="delete") == 0
    assert kept_ids(attempt), "a retry takes it up"


def test_a_kill_cancels_nothing_when_told_not_to(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, task = Try(), operator(cancel_on_kill=False)
    monkeypatch.setattr(operators, "time", Pauses(task.on_kill, lambda: None))
    with pytest.raises(StoppedError):
        task.execute(attempt.context(task))
    assert emulator.calls(api="delete") == 0


def test_a_kill_in_the_wait_asks_nothing_of_airflow(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler that did would wait for ever, if the task was just talking with Airflow."""
    attempt, task = Try(), operator()

    def kill() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(MpcHook, "get_connection", forbidden)
            patch.setattr(StateStore, "set", forbidden)
            patch.setattr(StateStore, "delete", forbidden)
            patch.setattr(StateStore, "get", forbidden)
            task.on_kill()

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("Airflow was asked")

    monkeypatch.setattr(operators, "time", Pauses(kill))
    with pytest.raises(MpcClipFailedError, match="CANCELED"):
        task.execute(attempt.context(task))
    assert status_of(emulator, attempt.xcom["job_id"]) == "CANCELED"


def test_a_kill_has_no_time_to_wait_for_its_turn(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, task = Try(), operator()

    def kill() -> None:
        MpcHook().get_conn().budget.refused(60)
        began = time.monotonic()
        task.on_kill()
        assert time.monotonic() - began < 5
        raise StoppedError

    monkeypatch.setattr(operators, "time", Pauses(kill))
    with pytest.raises(StoppedError):
        task.execute(attempt.context(task))


# Before the wait.


def killed_while(monkeypatch: pytest.MonkeyPatch, task: Any, owner: Any, name: str) -> None:
    """Kill the task just when it does something."""
    do = getattr(owner, name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        if not (name == "set" and "deadline" in args[1]):
            task.on_kill()
        return do(*args, **kwargs)

    monkeypatch.setattr(owner, name, killed)


MOMENTS = {
    "the job is made": (MpcHook, "create_editing_job"),
    "its id is kept": (StateStore, "set"),
    "it is told": (Try, "xcom_push"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_before_the_wait_cancels_the_job_once_it_may(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, moment: str, way: dict[str, Any]
) -> None:
    attempt, task = Try(), operator(**way)
    killed_while(monkeypatch, task, *MOMENTS[moment])
    with pytest.raises((AirflowException, MpcClipFailedError), match=r"killed while it made|CANCELED"):
        task.execute(attempt.context(task))
    assert status_of(emulator, attempt.xcom["job_id"]) == "CANCELED"
    assert emulator.calls(api="delete") == 1
    assert not kept_ids(attempt)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_before_the_wait_only_takes_note(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, moment: str, way: dict[str, Any]
) -> None:
    attempt, task = Try(), operator(**way)
    owner, name = MOMENTS[moment]
    killed_while(monkeypatch, task, owner, name)
    kill = task.on_kill
    calls: list[int] = []

    def counted() -> None:
        calls.append(emulator.calls())
        kill()
        calls.append(emulator.calls())

    monkeypatch.setattr(task, "on_kill", counted)
    with pytest.raises((AirflowException, MpcClipFailedError)):
        task.execute(attempt.context(task))
    assert calls[0] == calls[1], "it may come within a call to Airflow"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_before_the_wait_changes_nothing_when_told_not_to_cancel(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    attempt, task = Try(), operator(wait=False, cancel_on_kill=False)
    killed_while(monkeypatch, task, *MOMENTS[moment])
    job_id = task.execute(attempt.context(task))
    assert attempt.xcom == {"job_id": job_id}
    assert status_of(emulator, job_id) == "WAITING"


def test_a_kill_before_the_job_is_made_prevents_it(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    task = operator(**way)
    killed_while(monkeypatch, task, task, "_request")
    with pytest.raises(AirflowException, match="killed before its clip was made"):
        task.execute(Try().context(task))
    assert emulator.calls(api="create") == 0


def test_a_kill_leaves_a_job_that_began_at_once_to_the_triggerer(
    emulator: Emulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, task = Try(), operator(deferrable=True)

    def push(attempt: Try, key: str, value: Any) -> None:
        attempt.xcom[key] = value
        clock.ahead += 50
        task.on_kill()

    monkeypatch.setattr(Try, "xcom_push", push)
    with pytest.raises(TaskDeferred):
        task.execute(attempt.context(task))
    assert status_of(emulator, attempt.xcom["job_id"]) == "PROCESSING"


# After it.


def test_a_kill_in_one_try_cancels_nothing_of_the_next(emulator: Emulator) -> None:
    task = operator(wait=False)
    task.on_kill()
    job_id = task.execute(Try().context(task))
    assert status_of(emulator, job_id) == "WAITING"


@pytest.mark.parametrize("elsewhere", ["only the id", "in the triggerer"])
def test_a_worker_that_ends_after_its_task_has_gone_on_elsewhere_cancels_nothing(
    emulator: Emulator, elsewhere: str
) -> None:
    attempt, task = Try(), operator(**WAYS[elsewhere])
    with contextlib.suppress(TaskDeferred):
        task.execute(attempt.context(task))
    task.on_kill()
    assert emulator.calls(api="delete") == 0
    assert status_of(emulator, attempt.xcom["job_id"]) == "WAITING"


# Out of time.


def test_an_execution_timeout_in_the_wait_cancels_though_one_call_fails(emulator: Emulator) -> None:
    attempt, task = Try(), operator(deferrable=False)
    emulator.fault("503", match="delete", times=1)
    with pytest.raises(AirflowTaskTimeout), execution_timeout(1):
        task.execute(attempt.context(task))
    assert status_of(emulator, attempt.xcom["job_id"]) == "CANCELED"
    task.on_kill()  # as Airflow does after it
    assert emulator.calls(api="delete") == 2


def test_an_execution_timeout_amid_the_cancellation_does_not_turn_a_timeout_into_a_retry(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt, task = Try(), operator(deferrable=False, timeout=0.3)
    emulator.fault("503", match="delete", times=50)
    with pytest.raises(AirflowSensorTimeout), execution_timeout(2):
        task.execute(attempt.context(task))
    assert "perhaps not cancelled and may go on" in capsys.readouterr().out


def test_a_connection_that_is_gone_does_not_hide_the_timeout(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, task = Try(), operator(deferrable=False, timeout=0.3)

    class Gone(Pauses):
        def sleep(self, seconds: float) -> None:
            time.sleep(0.4)
            monkeypatch.delenv("AIRFLOW_CONN_MPC_DEFAULT", raising=False)

    monkeypatch.setattr(operators, "time", Gone())
    monkeypatch.setattr(cancelling, "time", FakeTime())
    with pytest.raises(AirflowSensorTimeout):
        task.execute(attempt.context(task))
