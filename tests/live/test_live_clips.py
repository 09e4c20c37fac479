# SPDX-License-Identifier: Apache-2.0
"""What only a real Airflow can show: a task that begins in the triggerer, and the kill of a deferred one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mpc.emulator.media import make_sample
from airflow_provider_mpc.hooks.mpc import MpcHook
from scripts.live_airflow import LiveAirflow

BUCKET = "live-clips"
SLOW_MACHINE = 150.0
STARTED = "starts_in_the_triggerer"
MADE = "makes_a_clip"
DAGS = {
    STARTED: f"""
import pendulum
from airflow.sdk import DAG
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor

with DAG("{STARTED}", start_date=pendulum.datetime(2026, 1, 1), schedule=None, params={{"job_id": "1"}}):
    MpcEditingJobSensor(task_id="plain", job_id="{{{{ params.job_id }}}}", start_from_trigger=True, poke_interval=1)
    MpcEditingJobSensor.partial(task_id="mapped", start_from_trigger=True, poke_interval=1).expand(
        job_id=["77001", "77002"]
    )
""",
    MADE: f"""
import pendulum
from airflow.sdk import DAG
from airflow_provider_mpc.operators.mpc import MpcCreateEditingJobOperator

with DAG("{MADE}", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    MpcCreateEditingJobOperator(
        task_id="make",
        source="obs://{BUCKET}/in.mp4",
        start="00:00:01",
        end=3,
        output="obs://{BUCKET}/out/{{{{ run_id | replace(':', '-') }}}}.mp4",
        deferrable=True,
        poke_interval=1,
    )
""",
}


@pytest.fixture(scope="module")
def airflow(live_airflow: LiveAirflow, live_emulator: Any, tmp_path_factory: pytest.TempPathFactory) -> LiveAirflow:
    make_sample(live_emulator.media_root / BUCKET / "in.mp4", seconds=4)
    folder: Path = tmp_path_factory.mktemp("dags")
    for dag_id, source in DAGS.items():
        (folder / f"{dag_id}.py").write_text(source)
        live_airflow.add_dag(folder / f"{dag_id}.py", dag_id)
    return live_airflow


def test_a_sensor_begins_in_the_triggerer_and_mapped_ones_on_a_worker(airflow: LiveAirflow, live_emulator: Any) -> None:
    emulator = live_emulator.emulator
    job_id = emulator.job(states=["WAITING", "PROCESSING", "SUCCEEDED"])
    for mapped in ("77001", "77002"):
        emulator.job(job_id=mapped, states=["SUCCEEDED"])
    run_id = airflow.trigger_dag(STARTED, {"job_id": job_id})
    assert airflow.wait_for_run(STARTED, run_id) == "success"
    assert airflow.xcom(STARTED, run_id, "plain")["job_id"] == job_id
    assert airflow.xcom(STARTED, run_id, "mapped", map_index=1)["job_id"] == "77002"
    assert "PROCESSING" in airflow.task_log(STARTED, run_id, "plain")


def test_a_clip_is_made_and_its_output_returned(airflow: LiveAirflow, live_emulator: Any) -> None:
    run_id = airflow.trigger_dag(MADE)
    assert airflow.wait_for_run(MADE, run_id) == "success"
    result = airflow.xcom(MADE, run_id, "make")
    assert result["editing_output"]["duration_ms"] == pytest.approx(2000, abs=60)
    assert (live_emulator.media_root / result["output"]["uri"].removeprefix("obs://")).is_file()


def test_marking_a_deferred_task_failed_cancels_its_waiting_job(
    airflow: LiveAirflow, live_emulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CLIPS", live_emulator.server.connection_json())
    hook = MpcHook("clips")
    with live_emulator.emulator.studio.busy():
        run_id = airflow.trigger_dag(MADE)
        airflow.wait_for(lambda: airflow.task_states(MADE, run_id)["make"] == "deferred", SLOW_MACHINE, "the deferral")
        job_id = airflow.xcom(MADE, run_id, "make", key="job_id")
        # Deferred is not yet running in the triggerer: a kill before that reaches no trigger.
        airflow.wait_for(lambda: "WAITING" in airflow.task_log(MADE, run_id, "make"), SLOW_MACHINE, "the first look")
        airflow.api("PATCH", f"dags/{MADE}/dagRuns/{run_id}/taskInstances/make", json={"new_state": "failed"})
        airflow.wait_for(lambda: hook.get_editing_job(job_id).status != "WAITING", SLOW_MACHINE, "the cancellation")
        assert hook.get_editing_job(job_id).status == "CANCELED", airflow.task_log(MADE, run_id, "make")
