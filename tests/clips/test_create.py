# SPDX-License-Identifier: Apache-2.0
"""One job for each submission, whatever happens between; cancelled only where MPC still can."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow.triggers.base import BaseTrigger
from attempts import Clock, StateStore, Try

from airflow_provider_mpc import cancelling
from airflow_provider_mpc.api import budget
from airflow_provider_mpc.api.client import NO_RETRIES
from airflow_provider_mpc.api.errors import (
    MpcClipFailedError,
    MpcConflictError,
    MpcError,
    MpcInputError,
    MpcJobNotFoundError,
    MpcServerError,
    MpcSubmitUnknownError,
)
from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.cancelling import cancel_if_waiting
from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.operators.mpc import MpcCancelEditingJobOperator, MpcCreateEditingJobOperator
from airflow_provider_mpc.triggers import mpc as trigger_module
from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

OUTPUT = "obs://media/out/cut.mp4"


def operator(**kwargs: Any) -> MpcCreateEditingJobOperator:
    return MpcCreateEditingJobOperator(
        **{
            "task_id": "make",
            "source": "obs://media/in.mp4",
            "end": 3,
            "output": OUTPUT,
            "poke_interval": 0.1,
            **kwargs,
        }
    )


def status_of(emulator: Emulator, job_id: str) -> str | None:
    job = emulator.jobs.get(job_id)
    assert job is not None
    return job.look(emulator.clock()).status


def test_without_waiting_it_returns_the_job_id_and_pushes_it(emulator: Emulator) -> None:
    attempt = Try()
    task = operator(wait=False)
    job_id = task.execute(attempt.context(task))
    assert emulator.jobs.get(job_id) is not None
    assert attempt.xcom == {"job_id": job_id}


def test_the_job_carries_a_mark_of_dag_run_and_task(emulator: Emulator) -> None:
    attempt = Try(map_index=4)
    task = operator(wait=False, user_data="mine")
    task.execute(attempt.context(task))
    (call,) = (call for call in emulator.requests if call.api == "create")
    assert json.loads(call.body)["user_data"] == "mine airflow:clips/manual/make[4]"


def test_waiting_returns_what_the_output_operator_returns(emulator: Emulator, clock: Clock) -> None:
    attempt = Try()
    task = operator(deferrable=False)
    original = task._await_jobs

    def later(*args: Any) -> Any:
        clock.ahead += 200
        return original(*args)

    task._await_jobs = later  # type: ignore[method-assign]
    result = task.execute(attempt.context(task))
    assert result["status"] == "SUCCEEDED"
    assert result["output"]["uri"] == OUTPUT
    assert set(attempt.xcom) == {"job_id", "output_uri", "duration_ms", "size_byte"}


def test_a_retry_takes_up_the_job_that_still_runs(emulator: Emulator) -> None:
    store = StateStore()
    task = operator(wait=False)
    first = task.execute(Try(store).context(task))
    retry = operator(wait=False)
    assert retry.execute(Try(store).context(retry)) == first
    assert emulator.calls(api="create") == 1


def test_a_retry_makes_no_second_job_when_mpc_does_not_list_the_first_yet(emulator: Emulator) -> None:
    store = StateStore()
    task = operator(wait=False)
    task.execute(Try(store).context(task))
    (key,) = store
    store[key] = "777"
    retry = operator(wait=False)
    assert retry.execute(Try(store).context(retry)) == "777"
    assert emulator.calls(api="create") == 1


def test_buckets_lie_in_the_connections_region_unless_they_say(emulator: Emulator) -> None:
    task = operator(wait=False)
    task.execute(Try().context(task))
    (call,) = (call for call in emulator.requests if call.api == "create")
    body = json.loads(call.body)
    assert [body["inputs"][0]["input"]["location"], body["output"]["location"]] == [emulator.region] * 2


def test_all_that_describes_the_clip_is_templated() -> None:
    described = {
        "source",
        "start",
        "end",
        "inputs",
        "editing_settings",
        "editing_type",
        "metadata",
        "user_data",
        "clip_output",
    }
    assert set(MpcCreateEditingJobOperator.template_fields) == described | {"mpc_conn_id"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "media/in.mp4"},
        {"source": None, "end": None, "inputs": [{"source": "media/in.mp4"}]},
        {"output": {"bucket": "media"}},
        {"editing_settings": {"format": "AVI"}},
    ],
)
def test_what_cannot_be_right_is_refused_when_the_dag_is_parsed(wrong: dict[str, Any]) -> None:
    with pytest.raises(MpcInputError):
        operator(**wrong)


def test_the_id_is_kept_before_the_wait_begins(emulator: Emulator) -> None:
    store = StateStore()
    task = operator(deferrable=True)
    with pytest.raises(TaskDeferred):
        task.execute(Try(store).context(task))
    assert any(emulator.jobs.get(str(value)) for value in store.values())


def test_clearing_the_task_makes_a_job_anew(emulator: Emulator) -> None:
    store = StateStore()
    task = operator(wait=False)
    first = task.execute(Try(store).context(task))
    cleared = operator(wait=False)
    assert cleared.execute(Try(store, max_tries=1).context(cleared)) != first


def test_without_a_store_each_try_makes_a_job(emulator: Emulator) -> None:
    for _ in range(2):
        task = operator(wait=False)
        task.execute(Try(store=None).context(task))
    assert emulator.calls(api="create") == 2


def test_a_failed_job_is_worth_a_retry_that_makes_a_new_one(emulator: Emulator) -> None:
    store = StateStore()
    task = operator(wait=False)
    first = task.execute(Try(store).context(task))
    MpcHook().cancel_editing_job(first)
    waiting = operator(deferrable=False)
    waiting._taken_up = lambda store: first  # type: ignore[method-assign]
    with pytest.raises(MpcClipFailedError) as raised:
        waiting.execute(Try(store).context(waiting))
    assert isinstance(raised.value, AirflowException)
    assert not isinstance(raised.value, AirflowFailException)
    assert raised.value.job_ids == [first]
    retry = operator(wait=False)
    assert retry.execute(Try(store).context(retry)) != first


def test_a_worker_that_died_after_seeing_a_failure_still_makes_a_new_job(emulator: Emulator) -> None:
    store = StateStore()
    task = operator(wait=False)
    first = task.execute(Try(store).context(task))
    MpcHook().cancel_editing_job(first)
    retry = operator(wait=False)
    assert retry.execute(Try(store).context(retry)) != first


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset", "after_work": True},
        {"kind": "truncated"},
        {"kind": "500"},
        {"kind": "502"},
        {"kind": "504"},
        {"kind": "respond", "status": 503, "body": "no gateway's", "after_work": True},
        {"kind": "html"},
        {"kind": "json", "body": {}},
    ],
)
def test_a_lost_reply_is_final_and_says_what_to_look_for(emulator: Emulator, fault: dict[str, Any]) -> None:
    emulator.fault(fault.pop("kind"), match="create", **fault)
    task = operator(wait=False)
    with pytest.raises(MpcSubmitUnknownError) as raised:
        task.execute(Try().context(task))
    assert isinstance(raised.value, AirflowFailException)
    assert OUTPUT in str(raised.value)
    assert "airflow:clips/manual/make" in str(raised.value)
    assert emulator.calls(api="create") == 1


def test_a_lost_reply_keeps_what_huaweis_support_asks_for(emulator: Emulator) -> None:
    emulator.fault("500", match="create")
    task = operator(wait=False)
    with pytest.raises(MpcSubmitUnknownError) as raised:
        task.execute(Try().context(task))
    assert (raised.value.status, raised.value.error_code) == (500, "APIGW.0601")
    assert raised.value.request_id
    assert raised.value.request_id in str(raised.value)


@pytest.mark.parametrize("kind", ["429", "503", "ak_locked"])
def test_a_submission_that_was_surely_refused_is_retried_by_airflow(emulator: Emulator, kind: str) -> None:
    emulator.fault(kind, match="create")
    task = operator(wait=False)
    with pytest.raises(MpcError) as raised:
        task.execute(Try().context(task))
    assert not isinstance(raised.value, (AirflowFailException, MpcSubmitUnknownError))
    assert emulator.calls(api="create") == 1


def test_a_submission_that_reached_nobody_is_retried_by_airflow(
    emulator: Emulator, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    task = operator(wait=False)
    with pytest.raises(MpcError) as raised:
        task.execute(Try().context(task))
    assert not isinstance(raised.value, AirflowFailException)


@contextlib.contextmanager
def execution_timeout(seconds: float) -> Iterator[None]:
    """Interrupt the block as Airflow does when a task's execution_timeout passes."""

    def ring(number: int, frame: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_execution_timeout_amid_the_submission_is_final_too(emulator: Emulator) -> None:
    emulator.fault("slow", match="create", seconds=20)
    task = operator(wait=False)
    with pytest.raises(MpcSubmitUnknownError, match="execution_timeout") as raised, execution_timeout(1):
        task.execute(Try().context(task))
    assert isinstance(raised.value, AirflowFailException)


def test_an_execution_timeout_before_the_submission_is_one_like_any_other(
    emulator: Emulator, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", server.connection_json("password"))
    emulator.fault("slow", match="token", seconds=20)
    task = operator(wait=False)
    with pytest.raises(AirflowTaskTimeout), execution_timeout(1):
        task.execute(Try().context(task))
    assert emulator.calls(api="create") == 0


def test_an_execution_timeout_does_not_prevent_that_the_id_is_kept(emulator: Emulator) -> None:
    class Slow(StateStore):
        def set(self, key: str, value: Any, **options: Any) -> None:
            if "job_id" in key and not hasattr(self, "rang"):
                self.rang = True
                raise AirflowTaskTimeout("Timeout")
            super().set(key, value, **options)

    store = Slow()
    task = operator(wait=False)
    with pytest.raises(AirflowTaskTimeout):
        task.execute(Try(store).context(task))
    (job_id,) = store.values()
    assert status_of(emulator, job_id) == "WAITING"


@pytest.mark.parametrize("fault", ["500", "reset", "html"])
@pytest.mark.parametrize("match", ["token", "projects"])
def test_trouble_with_iam_before_the_submission_is_told_as_such(
    emulator: Emulator, server: Any, monkeypatch: pytest.MonkeyPatch, match: str, fault: str
) -> None:
    fields = server.connection("password" if match == "token" else "aksk")
    if match == "projects":
        del fields["extra"]["project_id"]
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", json.dumps(fields))
    emulator.fault(fault, match=match)
    task = operator(wait=False)
    with pytest.raises(MpcError) as raised:
        task.execute(Try().context(task))
    assert not isinstance(raised.value, (AirflowFailException, MpcSubmitUnknownError))
    assert emulator.calls(api="create") == 0


def test_iam_failing_after_a_refusal_leaves_no_doubt_either(
    emulator: Emulator, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", server.connection_json("password"))
    MpcHook().get_editing_jobs("1", missing_ok=True)
    emulator.expire_tokens()
    emulator.fault("500", match="token")
    task = operator(wait=False)
    with pytest.raises(MpcError) as raised:
        task.execute(Try().context(task))
    assert not isinstance(raised.value, (AirflowFailException, MpcSubmitUnknownError))


def test_the_hook_tells_of_a_lost_reply_as_the_operator_does(emulator: Emulator) -> None:
    """Else Airflow would retry a task that calls the hook, and pay for two jobs."""
    emulator.fault("504", match="create", times=1)
    place = {"bucket": "b", "location": "cn-north-4", "object": "k"}
    with pytest.raises(MpcSubmitUnknownError) as raised:
        MpcHook().create_editing_job(inputs=[{"input": place}], output=place)
    assert isinstance(raised.value, AirflowFailException)
    emulator.fault("slow", match="create", seconds=20)
    with pytest.raises(MpcSubmitUnknownError, match="execution_timeout"), execution_timeout(1):
        MpcHook().create_editing_job(inputs=[{"input": place}], output=place)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_retry_after_the_deadline_makes_no_job_that_nobody_waits_for(emulator: Emulator, deferrable: bool) -> None:
    store = StateStore()
    task = operator(deferrable=False, timeout=0.2, cancel_on_kill=False)
    with pytest.raises(AirflowSensorTimeout):
        task.execute(Try(store).context(task))
    (kept,) = (key for key in store if "job_id" in key)
    MpcHook().cancel_editing_job(store[kept])
    retry = operator(deferrable=deferrable, timeout=0.2)
    with pytest.raises(AirflowSensorTimeout):
        retry.execute(Try(store).context(retry))
    assert emulator.calls(api="create") == 1


class HookOfOneJob:
    def __init__(self, status: str, error: Exception | None = None) -> None:
        self.job = EditingJob.from_json({"job_id": "1", "status": status})
        self.error = error
        self.cancelled: list[str] = []

    def get_editing_jobs(self, job_id: str, missing_ok: bool) -> list[Any]:
        if self.error is not None:
            raise self.error
        return [self.job]

    def cancel_editing_job(self, job_id: str) -> None:
        self.cancelled.append(job_id)


@pytest.mark.parametrize(
    ("status", "cancelled"),
    [
        ("INIT", True),
        ("WAITING", True),
        ("PREPROCESSING", False),
        ("PROCESSING", False),
        ("TELEPORTED", False),
        ("SUCCEEDED", False),
        ("CANCELED", False),
    ],
)
def test_only_a_job_that_mpc_has_not_begun_is_cancelled(status: str, cancelled: bool) -> None:
    hook: Any = HookOfOneJob(status)
    assert cancel_if_waiting(hook, "1", logging.getLogger()) is cancelled
    assert hook.cancelled == ["1"] * cancelled


@pytest.mark.parametrize("error", [MpcConflictError("began"), RuntimeError("supervisor is gone")])
def test_cancelling_while_a_task_ends_never_raises(error: Exception) -> None:
    hook: Any = HookOfOneJob("WAITING", error)
    assert cancel_if_waiting(hook, "1", logging.getLogger()) is False


class FakeTime:
    """Passes when somebody sleeps."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return sum(self.pauses)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.mark.parametrize("api", ["list", "delete"])
@pytest.mark.parametrize("fault", ["503", "429", "reset"])
def test_what_passes_does_not_keep_a_timeout_from_cancelling(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fault: str, api: str
) -> None:
    monkeypatch.setattr(cancelling, "time", FakeTime())
    monkeypatch.setattr(budget, "_SHORTEST_PAUSE", 0.0)
    monkeypatch.setenv("AIRFLOW__MPC__CALLS_PER_MINUTE", "100000")
    job_id = emulator.job(states=["WAITING"])
    emulator.fault(fault, match=api, times=2)
    hook = MpcHook(retry=NO_RETRIES)
    assert cancel_if_waiting(hook, job_id, logging.getLogger(), patience=60)
    assert status_of(emulator, job_id) == "CANCELED"


def test_a_worker_in_a_hurry_tries_once_and_says_so(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    job_id = emulator.job(states=["WAITING"])
    emulator.fault("503", match="list", times=1)
    assert not cancel_if_waiting(MpcHook(retry=NO_RETRIES), job_id, logging.getLogger("kill"))
    assert f"Clipping task {job_id} could not be cancelled and may go on" in caplog.text
    assert emulator.calls() == 1


def test_what_does_not_pass_is_tried_once(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "time", FakeTime())
    job_id = emulator.job(states=["WAITING"])
    emulator.fault("respond", match="delete", status=403, times=5)
    assert not cancel_if_waiting(MpcHook(retry=NO_RETRIES), job_id, logging.getLogger(), patience=60)
    assert emulator.calls(api="delete") == 1


def test_a_cancellation_whose_reply_was_lost_counts(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cancelling, "time", FakeTime())
    caplog.set_level(logging.INFO)
    job_id = emulator.job(states=["WAITING"])
    emulator.fault("reset", match="delete", after_work=True)
    assert cancel_if_waiting(MpcHook(retry=NO_RETRIES), job_id, logging.getLogger("kill"), patience=60)
    assert emulator.calls(api="delete") == 1
    assert f"Clipping task {job_id} was cancelled" in caplog.text


def test_what_others_have_cancelled_was_not_cancelled_here(emulator: Emulator) -> None:
    job_id = emulator.job(states=["CANCELED"])
    assert not cancel_if_waiting(MpcHook(retry=NO_RETRIES), job_id, logging.getLogger(), patience=60)


@pytest.mark.parametrize(
    ("asked", "pauses"), [(20.0, [20.0, 20.0]), (120.0, []), (None, [1.0, 2.0, 4.0, 8.0, 15.0, 15.0])]
)
def test_a_wish_of_the_cloud_to_wait_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, asked: float | None, pauses: list[float]
) -> None:
    hook: Any = HookOfOneJob("WAITING", MpcServerError("down", retry_after=asked))
    time_ = FakeTime()
    monkeypatch.setattr(cancelling, "time", time_)
    assert not cancel_if_waiting(hook, "1", logging.getLogger(), patience=59)
    assert time_.pauses == pauses


def test_a_fault_that_lasts_is_not_borne_for_ever(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    hook: Any = HookOfOneJob("WAITING", MpcServerError("down"))
    time_ = FakeTime()
    monkeypatch.setattr(cancelling, "time", time_)
    assert not cancel_if_waiting(hook, "1", logging.getLogger(), patience=60)
    assert 30 <= sum(time_.pauses) <= 60
    assert len(time_.pauses) <= 8


def test_a_timeout_on_the_worker_cancels(emulator: Emulator) -> None:
    attempt = Try()
    task = operator(deferrable=False, timeout=0.2)
    with pytest.raises(AirflowSensorTimeout):
        task.execute(attempt.context(task))
    assert status_of(emulator, attempt.xcom["job_id"]) == "CANCELED"


def test_a_timeout_does_not_wait_for_the_next_look(emulator: Emulator) -> None:
    task = operator(deferrable=False, timeout=0.2, poke_interval=8)
    began = time.monotonic()
    with pytest.raises(AirflowSensorTimeout):
        task.execute(Try().context(task))
    assert time.monotonic() - began < 4


def test_an_interval_of_nothing_does_not_make_a_hot_loop(emulator: Emulator) -> None:
    task = operator(deferrable=False, timeout=0.5, poke_interval=0, cancel_on_kill=False)
    with pytest.raises(AirflowSensorTimeout):
        task.execute(Try().context(task))
    assert emulator.calls(api="list") <= 8


def deferred(task: MpcCreateEditingJobOperator, attempt: Try) -> MpcEditingJobTrigger:
    with pytest.raises(TaskDeferred) as raised:
        task.execute(attempt.context(task))
    trigger = raised.value.trigger
    assert isinstance(trigger, MpcEditingJobTrigger)
    return trigger


@pytest.mark.parametrize(
    ("name", "error"), [("timeout", AirflowSensorTimeout), ("execution_timeout", AirflowTaskTimeout)]
)
def test_our_own_deadline_cancels_when_the_task_is_resumed(
    emulator: Emulator, name: str, error: type[BaseException]
) -> None:
    attempt = Try()
    trigger = deferred(operator(deferrable=True), attempt)
    event = {"version": 1, "outcome": name, "job_ids": [trigger.job_id], "states": {}, "jobs": [], "error": None}
    task = operator(deferrable=True)
    with pytest.raises(error):
        task.resume_execution("execute_complete", {"event": event}, attempt.context(task))
    assert status_of(emulator, trigger.job_id) == "CANCELED"


@pytest.mark.parametrize("store", [True, False])
def test_airflows_own_deadline_cancels_too_though_it_takes_the_id_away(emulator: Emulator, store: bool) -> None:
    attempt = Try(store=StateStore() if store else None)
    trigger = deferred(operator(deferrable=True), attempt)
    task = operator(deferrable=True)
    with pytest.raises(AirflowSensorTimeout):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, attempt.context(task))
    assert status_of(emulator, trigger.job_id) == "CANCELED"


def test_airflows_own_deadline_cancels_the_job_of_that_mapped_task(emulator: Emulator) -> None:
    class Mapped(Try):
        def xcom_pull(self, *, key: str, task_ids: str, map_indexes: int | None = None, **_: Any) -> Any:
            return self.xcom.get(key) if (task_ids, map_indexes) == ("make", 4) else None

    attempt = Mapped(store=None, map_index=4)
    trigger = deferred(operator(deferrable=True), attempt)
    task = operator(deferrable=True)
    with pytest.raises(AirflowSensorTimeout):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, attempt.context(task))
    assert status_of(emulator, trigger.job_id) == "CANCELED"


class DeferredTask:
    dag_id, run_id, task_id, map_index = "clips", "manual", "make", -1


@pytest.mark.skipif(not hasattr(BaseTrigger, "on_kill"), reason="triggers hear of kills from Airflow 3.3 on")
@pytest.mark.parametrize(
    ("state", "cancelled"), [("failed", True), ("success", True), (None, True), ("queued", True), ("deferred", False)]
)
def test_a_kill_in_the_triggerer_cancels_but_a_hand_over_does_not(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, state: str | None, cancelled: bool
) -> None:
    trigger = deferred(operator(deferrable=True), Try())
    trigger._task_instance = DeferredTask()
    monkeypatch.setattr(
        "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states",
        staticmethod(lambda **asked: {asked["run_ids"][0]: {asked["task_ids"][0]: state}}),
    )
    asyncio.run(trigger.on_kill())
    assert status_of(emulator, trigger.job_id) == ("CANCELED" if cancelled else "WAITING")


@pytest.mark.skipif(not hasattr(BaseTrigger, "on_kill"), reason="triggers hear of kills from Airflow 3.3 on")
def test_a_kill_of_a_sensor_in_the_triggerer_cancels_nothing(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = emulator.job(states=["WAITING"])
    trigger = MpcEditingJobTrigger(job_id=job_id)
    trigger._task_instance = DeferredTask()
    monkeypatch.setattr(
        "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states",
        staticmethod(lambda **asked: {asked["run_ids"][0]: {asked["task_ids"][0]: "failed"}}),
    )
    asyncio.run(trigger.on_kill())
    assert emulator.calls(api="delete") == 0
    assert status_of(emulator, job_id) == "WAITING"


def test_a_kill_in_the_triggerer_leaves_a_job_whose_task_it_cannot_tell(emulator: Emulator) -> None:
    trigger = deferred(operator(deferrable=True), Try())
    asyncio.run(trigger.on_kill())
    assert status_of(emulator, trigger.job_id) == "WAITING"


@pytest.mark.skipif(not hasattr(BaseTrigger, "on_kill"), reason="triggers hear of kills from Airflow 3.3 on")
def test_a_kill_of_a_mapped_task_asks_for_the_state_of_that_one(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    trigger = deferred(operator(deferrable=True), Try())
    trigger._task_instance = DeferredTask()
    trigger._task_instance.map_index = 7
    monkeypatch.setattr(
        "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states",
        staticmethod(lambda **kwargs: asked.append(kwargs) or {}),
    )
    asyncio.run(trigger.on_kill())
    assert [one["map_index"] for one in asked] == [7]


def test_a_restart_of_the_triggerer_cancels_nothing(emulator: Emulator) -> None:
    trigger = deferred(operator(deferrable=True), Try())

    async def shut_down() -> None:
        wait = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.sleep(0.2)
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)
        await trigger.cleanup()

    asyncio.run(shut_down())
    assert status_of(emulator, trigger.job_id) == "WAITING"


def test_a_sensor_never_cancels() -> None:
    trigger = MpcEditingJobTrigger(job_id="1")
    assert trigger.serialize()[1]["cancel_on_kill"] is False
    asyncio.run(trigger.on_kill())


def test_cancelling_is_idempotent(emulator: Emulator) -> None:
    job_id = emulator.job(states=["WAITING"])
    task = MpcCancelEditingJobOperator(task_id="cancel", job_id=[job_id, "unknown"])
    assert task.execute({}) == {job_id: "cancelled", "unknown": "unknown"}
    assert MpcCancelEditingJobOperator(task_id="cancel", job_id=job_id).execute({}) == "ended"


def test_cancelling_a_job_that_runs_is_an_error(emulator: Emulator) -> None:
    job_id = emulator.job(states=["PROCESSING"])
    with pytest.raises(MpcConflictError, match="only while it waits"):
        MpcCancelEditingJobOperator(task_id="cancel", job_id=job_id).execute({})


def test_one_that_cannot_be_cancelled_does_not_save_the_others(emulator: Emulator) -> None:
    jobs = [emulator.job(states=[status]) for status in ("PROCESSING", "WAITING", "WAITING")]
    with pytest.raises(MpcConflictError):
        MpcCancelEditingJobOperator(task_id="cancel", job_id=jobs).execute({})
    assert [status_of(emulator, job_id) for job_id in jobs] == ["PROCESSING", "CANCELED", "CANCELED"]
    more = [emulator.job(states=["PROCESSING"]), emulator.job(states=["WAITING"])]
    emulator.fault("500", match="delete", job_id=more[1])
    with pytest.raises(MpcError) as raised:
        MpcCancelEditingJobOperator(task_id="cancel", job_id=more).execute({})
    assert not isinstance(raised.value, AirflowFailException), "a retry may cancel the rest"


@pytest.mark.parametrize("status", [400, 403])
def test_cancelling_strictly_tells_what_was_not_there(emulator: Emulator, status: int) -> None:
    emulator.variant.update(unknown_id_status=status, delete_refusal_status=status)
    with pytest.raises(MpcJobNotFoundError):
        MpcCancelEditingJobOperator(task_id="cancel", job_id="unknown", strict=True).execute({})
    done = emulator.job(states=["SUCCEEDED"])
    with pytest.raises(MpcConflictError):
        MpcCancelEditingJobOperator(task_id="cancel", job_id=done, strict=True).execute({})
    assert MpcCancelEditingJobOperator(task_id="cancel", job_id=done).execute({}) == "ended"


@pytest.mark.parametrize("status", [400, 404])
def test_a_refusal_without_a_code_tells_less_than_how_the_job_stands(emulator: Emulator, status: int) -> None:
    emulator.fault("respond", match="delete", status=status)
    done, running = emulator.job(states=["SUCCEEDED"]), emulator.job(states=["PROCESSING"])
    task = MpcCancelEditingJobOperator(task_id="cancel", job_id=[done, "unknown"])
    assert task.execute({}) == {done: "ended", "unknown": "unknown"}
    with pytest.raises(MpcError):
        MpcCancelEditingJobOperator(task_id="cancel", job_id=running).execute({})


def test_no_event_is_told_while_the_worker_that_deferred_may_still_be_ending(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "seconds_to_end_a_worker", lambda: 1.0)
    job_id = emulator.job(states=["SUCCEEDED"])

    async def seconds_until_told(in_a_triggerer: bool = True, **kwargs: Any) -> float:
        began = time.monotonic()
        trigger = MpcEditingJobTrigger(job_id=job_id, **kwargs)
        trigger.trigger_id = 7 if in_a_triggerer else None
        await anext(trigger.run())
        return time.monotonic() - began

    assert asyncio.run(seconds_until_told(began=time.time())) >= 0.95
    assert asyncio.run(seconds_until_told(began=time.time() - 60)) < 0.9
    assert asyncio.run(seconds_until_told(timeout=60.0)) < 0.9, "no worker was there"
    assert asyncio.run(seconds_until_told(False, began=time.time())) < 0.9, "dag.test() has no scheduler"


def test_a_worker_may_end_as_late_as_its_next_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "20")
    assert trigger_module.seconds_to_end_a_worker.__wrapped__() == 25.0
