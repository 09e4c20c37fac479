# SPDX-License-Identifier: Apache-2.0
"""The trigger: what is stored of it, what it bears, and what it tells."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk.execution_time import task_runner
from harness import TaskLife, TriggererSupervisor, run_trigger, workload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_outcomes import make_sensor

from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.outcome import event_of_jobs
from airflow_provider_mpc.triggers import connections
from airflow_provider_mpc.triggers import mpc as trigger_module
from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

CLASS = "airflow_provider_mpc.triggers.mpc.MpcEditingJobTrigger"
EVENT_KEYS = {"version", "outcome", "job_ids", "states", "jobs", "error"}


def events_of(trigger: MpcEditingJobTrigger, seconds: float = 15.0) -> list[Any]:
    async def collect() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    async def bounded() -> list[Any]:
        return await asyncio.wait_for(collect(), seconds)

    return asyncio.run(bounded())


def row_of(**kwargs: Any) -> dict[str, Any]:
    return {"classpath": CLASS, "trigger_kwargs": {"poke_interval": 0.1, **kwargs}}


def life() -> TaskLife:
    return TaskLife(lambda: None)


def test_serialized_trigger_makes_an_equal_one() -> None:
    trigger = MpcEditingJobTrigger(
        job_id=["1", "2"],
        mpc_conn_id="mine",
        poke_interval=7.0,
        deadline=1e9,
        execution_deadline=2e9,
        exponential_backoff=True,
        max_wait=60.0,
        outage_tolerance=-1.0,
        began=5e8,
        timeout=3.0,
        execution_timeout=4.0,
        cancel_on_kill=True,
    )
    classpath, kwargs = trigger.serialize()
    assert classpath == CLASS
    assert None not in kwargs.values(), "the test sets all"
    again = MpcEditingJobTrigger(**json.loads(json.dumps(kwargs)))
    assert again.serialize() == (classpath, kwargs)
    assert {name: getattr(again, name) for name in kwargs} == kwargs


def test_everything_a_wait_needs_after_a_restart_is_stored() -> None:
    named = [
        name
        for name, parameter in inspect.signature(MpcEditingJobTrigger.__init__).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]
    given = {name: f"the {name}" for name in named}
    assert MpcEditingJobTrigger(**given).serialize()[1] == given


def test_unknown_arguments_are_handed_on_and_known_ones_win() -> None:
    trigger = MpcEditingJobTrigger(job_id="1", from_the_future={"a": [1]})
    kwargs = trigger.serialize()[1]
    assert kwargs["from_the_future"] == {"a": [1]}
    assert kwargs["job_id"] == "1"


def test_row_of_a_newer_version_is_waited_for(emulator: Emulator) -> None:
    kind, event = run_trigger(row_of(job_id=emulator.job(["SUCCEEDED"]), from_the_future=1), life()) or ("", None)
    assert kind == "event"
    assert event.payload["outcome"] == "ended"


def test_row_of_an_older_version_with_the_id_alone_is_waited_for(emulator: Emulator) -> None:
    row = {"classpath": CLASS, "trigger_kwargs": {"job_id": emulator.job(["SUCCEEDED"])}}
    kind, event = run_trigger(row, life()) or ("", None)
    assert kind == "event"
    assert event.payload["outcome"] == "ended"


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.builds(set),
    max_leaves=5,
)
NAMES = list(MpcEditingJobTrigger(job_id="1").serialize()[1])


@given(st.dictionaries(st.sampled_from(NAMES) | st.from_regex(r"[a-z_]{1,8}", fullmatch=True), garbage))
def test_constructor_takes_anything(kwargs: dict[str, Any]) -> None:
    kwargs.pop("self", None)
    trigger = MpcEditingJobTrigger(**kwargs)
    assert trigger.serialize()[1].items() >= kwargs.items() or any(value != value for value in kwargs.values()), (
        "what was given is what is stored"
    )


json_garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([name for name in NAMES if name != "mpc_conn_id"]), json_garbage, min_size=1))
def test_run_ends_in_one_event_or_a_clear_exception(emulator: Emulator, kwargs: dict[str, Any]) -> None:
    job_id = emulator.job(["FAILED"])
    kind, told = run_trigger(row_of(**{"job_id": job_id, **kwargs, "deadline": time.time() + 0.3}), life()) or (
        "",
        None,
    )
    if kind == "event":
        assert told.payload.keys() == EVENT_KEYS
        assert told.payload["outcome"] in ("ended", "timeout", "execution_timeout", "error")
    else:
        assert told, "a traceback"
        assert "Error" in told[-1]


@pytest.mark.parametrize("job_id", ["", [], "1,2", None, {"a": 1}, "['1', '2']", [""]])
def test_id_without_sense_is_told_in_the_event(job_id: Any, emulator: Emulator) -> None:
    (event,) = events_of(MpcEditingJobTrigger(job_id=job_id))
    assert event["outcome"] == "error"
    assert event["error"]["kind"] == "MpcInputError"
    assert emulator.calls() == 0


def test_every_outcome_has_the_same_shape(emulator: Emulator) -> None:
    done, running = emulator.job(["SUCCEEDED"]), emulator.job(["PROCESSING"])
    triggers = [
        MpcEditingJobTrigger(job_id=done),
        MpcEditingJobTrigger(job_id="99"),
        MpcEditingJobTrigger(job_id=running, poke_interval=0.1, deadline=time.time() + 0.2),
        MpcEditingJobTrigger(job_id=running, poke_interval=0.1, execution_deadline=time.time() + 0.2),
    ]
    for trigger, name in zip(triggers, ("ended", "error", "timeout", "execution_timeout"), strict=True):
        (event,) = events_of(trigger)
        assert event.keys() == EVENT_KEYS
        assert event["outcome"] == name
        assert event["version"] == 1


@pytest.mark.parametrize(("job", "execution", "told"), [(0.2, 5.0, "timeout"), (5.0, 0.2, "execution_timeout")])
def test_event_says_which_deadline_passed(job: float, execution: float, told: str, emulator: Emulator) -> None:
    now = time.time()
    trigger = MpcEditingJobTrigger(
        job_id=emulator.job(["PROCESSING"]), poke_interval=0.1, deadline=now + job, execution_deadline=now + execution
    )
    (event,) = events_of(trigger)
    assert event["outcome"] == told
    assert list(event["states"].values()) == ["PROCESSING"]


SECRETS = ("SKemulator", "emulator-password", "AKEMULATOR")


@pytest.mark.parametrize("fault", [None, "signature", "forbidden", "503"])
def test_nothing_secret_is_stored_or_told(
    fault: str | None, emulator: Emulator, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__MPC__OUTAGE_TOLERANCE", "0.2")
    if fault:
        emulator.fault(fault)
    sensor = TaskLife(lambda: make_sensor("deferrable", emulator.job(["SUCCEEDED"], job_id="50"), {}))
    outcome = sensor.run()
    trigger = MpcEditingJobTrigger(**sensor.trigger_rows[0]["trigger_kwargs"])
    shown = [sensor.trigger_rows, sensor.events, repr(trigger), vars(trigger), outcome, sensor.rendered]
    for secret in (emulator.secret_key, emulator.access_key, *SECRETS):
        for one in shown:
            assert secret not in str(one)


def wait_in_one_runner(
    rows: list[dict[str, Any]], meanwhile: Callable[[], None] = lambda: None, after: float = 0.5
) -> list[Any]:
    """Run triggers in one ``TriggerRunner``, do something meanwhile, and return the events' payloads."""

    async def main() -> list[Any]:
        runner = TriggerRunner()
        supervisor = TriggererSupervisor(life())
        runner.comms_decoder = supervisor  # type: ignore[assignment]
        task_runner.SUPERVISOR_COMMS = supervisor  # type: ignore[assignment]
        for number, row in enumerate(rows):
            work = workload(row, life())
            work.id = number
            runner.to_create.append(work)
        await runner.create_triggers()
        doing = asyncio.get_running_loop().call_later(after, lambda: threading.Thread(target=meanwhile).start())
        until = time.monotonic() + 20
        while len(runner.events) + len(runner.failed_triggers) < len(rows) and time.monotonic() < until:
            await runner.cleanup_finished_triggers()
            await asyncio.sleep(0.02)
        doing.cancel()
        assert not runner.failed_triggers
        return [entry[1].payload for entry in runner.events]

    return asyncio.run(main())


def test_connection_is_read_once_for_many_triggers(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = connections.get_async_connection

    async def counted(conn_id: str) -> Any:
        reads.append(conn_id)
        return await read(conn_id)

    monkeypatch.setattr(connections, "get_async_connection", counted)
    job_ids = [emulator.job(["SUCCEEDED"]) for _ in range(100)]
    events = wait_in_one_runner([row_of(job_id=job_id) for job_id in job_ids])
    assert sorted(event["job_ids"][0] for event in events) == sorted(job_ids)
    assert {event["outcome"] for event in events} == {"ended"}
    assert reads == ["mpc_default"]
    assert emulator.calls("list") <= 20, "waits share their calls"


def test_key_that_is_rotated_while_waiting_is_taken_up(
    emulator: Emulator, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_ids = [emulator.job(["PROCESSING"] * 200, job_id=str(number)) for number in range(900, 905)]

    def rotate() -> None:
        emulator.rotate_keys()
        monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", server.connection_json())
        for job_id in job_ids:
            emulator.job(["SUCCEEDED"], job_id=job_id)

    events = wait_in_one_runner([row_of(job_id=job_id) for job_id in job_ids], rotate)
    assert [event["outcome"] for event in events] == ["ended"] * 5
    refused = [call for call in emulator.requests if call.status == 401]
    assert len(refused) <= 2, "the old key is not tried again by each wait"


def test_key_that_is_refused_without_a_new_one_ends_the_wait(emulator: Emulator) -> None:
    job_id = emulator.job(["PROCESSING"])
    events = wait_in_one_runner([row_of(job_id=job_id)], lambda: emulator.rotate_keys() and None)
    (event,) = events
    assert event["error"]["kind"] == "MpcAuthenticationError"


def test_event_too_large_carries_ids_and_states_alone() -> None:
    def job(number: int, padding: int, letter: str = "x") -> EditingJob:
        made = EditingJob.from_json({"job_id": number, "status": "SUCCEEDED", "padding": letter * padding})
        assert made is not None
        return made

    ids = [str(number) for number in range(100)]
    large = event_of_jobs("ended", {one: job(int(one), 4000) for one in ids}, ids)
    assert large["jobs"] is None
    assert large["states"] == dict.fromkeys(ids, "SUCCEEDED")
    small = event_of_jobs("ended", {one: job(int(one), 1000) for one in ids}, ids)
    assert small["jobs"] is not None
    assert len(small["jobs"]) == 100
    # What counts is bytes, as they are stored.
    assert event_of_jobs("ended", {one: job(int(one), 1000, "é") for one in ids}, ids)["jobs"] is None


def test_resume_after_a_large_event_fetches_in_batches(emulator: Emulator) -> None:
    job_ids = [emulator.job(["SUCCEEDED"], editing_output={"md5": "x" * 30_000}) for _ in range(25)]
    sensor = TaskLife(lambda: make_sensor("deferrable", job_ids, {}))
    outcome = sensor.run()
    assert outcome.state == "success"
    assert sensor.events[0]["jobs"] is None
    assert len(json.dumps(sensor.events[0])) < 256 * 1024
    assert [clip["job_id"] for clip in outcome.xcoms["return_value"]] == job_ids
    assert outcome.lines("too large")
    assert len([call for call in emulator.requests if call.api == "list"][-3:]) == 3


def test_trigger_that_no_worker_started_counts_from_airflows_deadline(emulator: Emulator) -> None:
    trigger = MpcEditingJobTrigger(
        job_id=emulator.job(["PROCESSING"]), poke_interval=0.1, timeout=30.0, execution_timeout=None
    )
    # Started 29.7 s ago by another triggerer: 0.3 s are left, and Airflow's minute.
    trigger.timeout_after = datetime.fromtimestamp(time.time() + 0.3 + 60, UTC)  # type: ignore[attr-defined]
    began = time.monotonic()
    (event,) = events_of(trigger)
    assert event["outcome"] == "timeout"
    assert math.isclose(time.monotonic() - began, 0.3, abs_tol=0.8)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"poke_interval": float("nan")},
        {"poke_interval": 10**400},
        {"max_wait": float("nan")},
        {"outage_tolerance": "x"},
        {"timeout": "x"},
        {"timeout": 5.0, "execution_timeout": "x"},
        {"mpc_conn_id": ["a"]},
        {"deadline": "tomorrow"},
    ],
)
def test_argument_without_sense_is_told_in_the_event(kwargs: dict[str, Any], emulator: Emulator) -> None:
    (event,) = events_of(MpcEditingJobTrigger(**{"job_id": "1", **kwargs}))
    assert event.keys() == EVENT_KEYS
    assert (event["outcome"], event["error"]["kind"]) == ("error", "MpcInputError")
    assert emulator.calls() == 0


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let each look-up of a connection fail, half a second of patience in all; return the ids asked for."""
    asked = []

    async def look_up(conn_id: str) -> Any:
        asked.append(conn_id)
        raise AirflowNotFoundException(f"no {conn_id}")

    monkeypatch.setattr(connections, "get_async_connection", look_up)
    monkeypatch.setattr(connections, "_PAUSES", (0.2, 0.3))
    return asked


def test_a_missing_connection_is_looked_for_once_for_all_who_wait(no_connection: list[str]) -> None:
    async def scenario() -> list[Any]:
        triggers = [MpcEditingJobTrigger(job_id=str(number), mpc_conn_id="nope") for number in range(30)]
        return await asyncio.gather(*(anext(trigger.run()) for trigger in triggers))

    began = time.monotonic()
    events = [event.payload for event in asyncio.run(scenario())]
    assert time.monotonic() - began < 10, "one after the other it would take fifteen seconds and more"
    assert {event["error"]["kind"] for event in events} == {"MpcConnectionNotFoundError"}
    assert all("'nope'" in event["error"]["what"] for event in events)
    assert len(no_connection) == 3


@pytest.mark.usefixtures("no_connection")
def test_the_deadline_counts_while_the_connection_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_PAUSES", (60.0,))
    monkeypatch.setattr(trigger_module, "_TO_READ_THE_CONNECTION", 0.2)
    (event,) = events_of(MpcEditingJobTrigger(job_id="1", deadline=time.time() + 0.5))
    assert event["outcome"] == "timeout"


def test_trouble_that_lasts_is_told_in_the_tasks_log_and_so_is_its_end(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = emulator.job(["PROCESSING", "SUCCEEDED"])
    emulator.fault("503", after=1, times=3)
    with caplog.at_level("INFO", trigger_module.__name__):
        (event,) = events_of(MpcEditingJobTrigger(job_id=job_id, poke_interval=0.1))
    assert event["outcome"] == "ended"
    told = [record.getMessage() for record in caplog.records if record.name == trigger_module.__name__]
    assert sum("will be repeated" in line for line in told) == 1, told
    assert "MPC answers again." in told
