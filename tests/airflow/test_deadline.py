# SPDX-License-Identifier: Apache-2.0
"""One timeout over retries, a new one after a clear, and none the longer for a restart of the triggerer."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from harness import HAS_STORE, MODES, TaskLife
from test_outcomes import make_sensor

from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.task_store import TaskStore

needs_store = pytest.mark.skipif(not HAS_STORE, reason="this Airflow has no task state store")


def sensor_life(mode: str, job_id: Any, **options: Any) -> TaskLife:
    return TaskLife(lambda: make_sensor(mode, job_id, {"retries": 2, **options}))


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def deadline_of(life: TaskLife) -> float:
    """Return the deadline that holds for the try that ran last."""
    assert life.max_tries is not None
    kept = life.store[f"mpc_deadline_{life.max_tries - life.retries}"]
    assert isinstance(kept, float)
    return kept


def fail_once(emulator: Emulator, mode: str) -> None:
    """Let the next look fail in a way that a retry may cure."""
    emulator.fault("redirect", match="list", times=1)


@needs_store
def test_deadline_is_one_over_retries(mode: str, emulator: Emulator) -> None:
    life = sensor_life(mode, emulator.job(["PROCESSING"]), timeout=1.0)
    fail_once(emulator, mode)
    began = time.time()
    assert life.run().state == "up_for_retry"
    first = deadline_of(life)
    time.sleep(0.5)

    outcome = life.retry()

    assert (outcome.state, outcome.error_name) == ("failed", "AirflowSensorTimeout")
    assert deadline_of(life) == first
    assert time.time() - began < 1.0 + 0.5 + 0.4, "the retry had not the whole timeout again"
    assert all(row["trigger_kwargs"]["deadline"] == first for row in life.trigger_rows)


@needs_store
def test_retry_after_the_deadline_ends_at_once(mode: str, emulator: Emulator) -> None:
    job_id = emulator.job(["PROCESSING"])
    life = sensor_life(mode, job_id, timeout=0.3)
    fail_once(emulator, mode)
    assert life.run().state == "up_for_retry"
    time.sleep(0.4)
    began = time.monotonic()
    assert life.retry().error_name == "AirflowSensorTimeout"
    assert time.monotonic() - began < 1.5


@needs_store
def test_retry_after_the_deadline_still_sees_a_job_that_is_done(mode: str, emulator: Emulator) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    life = sensor_life(mode, job_id, timeout=0.2)
    fail_once(emulator, mode)
    assert life.run().state == "up_for_retry"
    time.sleep(0.3)
    assert life.retry().state == "success"


@pytest.mark.skipif(HAS_STORE, reason="this Airflow has a task state store")
def test_without_a_store_each_retry_has_the_whole_timeout(mode: str, emulator: Emulator) -> None:
    life = sensor_life(mode, emulator.job(["PROCESSING", "PROCESSING", "SUCCEEDED"]), timeout=3.0)
    fail_once(emulator, mode)
    assert life.run().state == "up_for_retry"
    assert life.retry().state == "success"


def test_clear_after_success_starts_afresh(mode: str, emulator: Emulator) -> None:
    life = sensor_life(mode, emulator.job(["SUCCEEDED"]), timeout=0.3)
    assert life.run().state == "success"
    time.sleep(0.4)
    emulator.job(["PROCESSING", "SUCCEEDED"], job_id="77")
    life.make_task = lambda: make_sensor(mode, "77", {"retries": 2, "timeout": 5.0})
    began = time.time()
    assert life.clear().state == "success"
    assert not HAS_STORE or deadline_of(life) > began + 4.0


@pytest.mark.parametrize("end", ["FAILED", "PROCESSING"])
def test_clear_after_failure_or_timeout_starts_afresh(mode: str, end: str, emulator: Emulator) -> None:
    job_id = emulator.job([end])
    life = sensor_life(mode, job_id, timeout=0.4)
    assert life.run().state == "failed"
    time.sleep(0.2)
    emulator.job(["PROCESSING", "SUCCEEDED"], job_id=job_id)
    life.make_task = lambda: make_sensor(mode, job_id, {"retries": 2, "timeout": 5.0})
    assert life.clear().state == "success"
    # And once more, by a person who likes to clear.
    assert life.clear().state == "success"
    assert not HAS_STORE or len(life.store) == 3


@needs_store
def test_clear_in_the_middle_of_retries_starts_afresh(mode: str, emulator: Emulator) -> None:
    life = sensor_life(mode, emulator.job(["PROCESSING"]), timeout=0.5)
    fail_once(emulator, mode)
    assert life.run().state == "up_for_retry"
    first = deadline_of(life)
    time.sleep(0.6)
    emulator.clear_faults()
    began = time.time()
    assert life.clear().error_name == "AirflowSensorTimeout"
    assert deadline_of(life) >= began + 0.4 > first


def test_restart_of_the_triggerer_does_not_put_it_off(emulator: Emulator) -> None:
    life = sensor_life("deferrable", emulator.job(["PROCESSING"]), timeout=1.0)
    life.restarts, life.restart_after = 2, 0.45
    began = time.time()
    outcome = life.run()
    assert outcome.error_name == "AirflowSensorTimeout"
    assert time.time() - began < 2.0
    assert len(life.trigger_rows) == 1, "the same row each time"


def test_restart_of_the_triggerer_does_not_put_off_execution_timeout(emulator: Emulator) -> None:
    life = sensor_life("deferrable", emulator.job(["PROCESSING"]), timeout=60, execution_timeout=1.0)
    life.restarts, life.restart_after = 2, 0.45
    began = time.time()
    assert life.run().error_name == "AirflowTaskTimeout"
    assert time.time() - began < 2.2


def test_restart_of_the_triggerer_does_not_renew_the_grace_of_missing_jobs(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__MPC__MISSING_GRACE", "1.5")
    life = sensor_life("deferrable", "99", timeout=60)
    life.restarts, life.restart_after = 2, 0.7
    began = time.time()
    assert life.run().error_name == "MpcJobNotFoundError"
    assert time.time() - began < 2.6


def test_airflow_gets_a_backstop_a_minute_later(emulator: Emulator) -> None:
    life = sensor_life("deferrable", emulator.job(["SUCCEEDED"]), timeout=100, execution_timeout=50.0)
    life.run()
    (row,) = life.trigger_rows
    from pydantic import TypeAdapter

    assert abs(TypeAdapter(timedelta).validate_python(row["trigger_timeout"]).total_seconds() - 110) < 1


def test_timeout_tells_how_the_jobs_stood(mode: str, emulator: Emulator) -> None:
    job_id = emulator.job(["PROCESSING"])
    outcome = sensor_life(mode, [job_id], timeout=0.3).run()
    assert HAS_STORE is False or mode == "reschedule" or f"{job_id} PROCESSING" in outcome.text


@pytest.mark.parametrize("deferrable", [True, False])
@needs_store
def test_operators_deadline_is_one_over_retries_too(deferrable: bool, emulator: Emulator) -> None:
    life = TaskLife(
        lambda: MpcEditingJobOutputOperator(
            task_id="wait", job_id="50", deferrable=deferrable, poke_interval=0.1, timeout=0.8, retries=2
        )
    )
    emulator.job(["PROCESSING"], job_id="50")
    emulator.fault("redirect", match="list", times=1)
    assert life.run().state == "up_for_retry"
    first = deadline_of(life)
    outcome = life.retry()
    assert (outcome.state, outcome.error_name) == ("failed", "AirflowSensorTimeout")
    assert deadline_of(life) == first


def test_store_that_is_out_of_order_is_done_without() -> None:
    class Broken:
        def get(self, *_: Any) -> Any:
            raise RuntimeError("no")

        set = delete = get

    store = TaskStore({"task_state_store": Broken(), "ti": None})
    assert store.get("deadline") is None
    assert store.set("deadline", 1.0) is False
    store.delete("deadline")


@pytest.mark.parametrize("kept", ["soon", None, True, {}, []])
def test_stored_nonsense_is_no_deadline(kept: Any, emulator: Emulator) -> None:
    life = sensor_life("poke", emulator.job(["SUCCEEDED"]), timeout=5)
    life.store["mpc_deadline_0"] = kept
    assert life.run().state == "success"
