# SPDX-License-Identifier: Apache-2.0
"""A run of the example pipeline on Airflow's page: deferred, its log meanwhile, the result, the link."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from scripts.live_airflow import LiveAirflow

DAG_ID = "example_mpc_pipeline"
JOB_SECONDS = 60.0


@pytest.fixture(scope="module")
def job_id(emulator: Emulator) -> str:
    """Return a job that takes its time."""
    return emulator.job(["WAITING", "PROCESSING", "PROCESSING", "SUCCEEDED"], by="clock", seconds=JOB_SECONDS)


@pytest.fixture(scope="module")
def run_id(airflow: LiveAirflow, emulator_server: EmulatorServer, job_id: str) -> str:
    """Start a run that waits for the job."""
    connection = emulator_server.connection()
    airflow.set_connection("mpc_default", **{**connection, "extra": json.dumps(connection["extra"])})
    airflow.wait_for_dag(DAG_ID)
    return airflow.trigger_dag(DAG_ID, {"job_id": job_id}, run_id="clip_of_today")


def _task_url(airflow: LiveAirflow, run_id: str, task_id: str, tab: str = "") -> str:
    return f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}/tasks/{task_id}{tab}"


def _wait_for_state(airflow: LiveAirflow, run_id: str, task_id: str, state: str) -> None:
    airflow.wait_for(lambda: airflow.task_states(DAG_ID, run_id).get(task_id) == state, 120, f"{task_id} {state}")


def test_the_task_shows_as_deferred_and_its_log_tells_the_progress(
    page: Any, airflow: LiveAirflow, run_id: str, job_id: str, shoot: Callable[..., None]
) -> None:
    _wait_for_state(airflow, run_id, "wait_for_clip", "deferred")
    airflow.wait_for(
        lambda: f"Clipping task {job_id}: PROCESSING" in airflow.task_log(DAG_ID, run_id, "wait_for_clip"), 60, "a log"
    )
    page.set_viewport_size({"width": 1280, "height": 560})
    page.goto(_task_url(airflow, run_id, "wait_for_clip"))
    page.get_by_text(f"Clipping task {job_id}: PROCESSING").first.wait_for()
    assert page.get_by_text("Deferred").first.is_visible()
    assert airflow.task_states(DAG_ID, run_id)["wait_for_clip"] == "deferred"
    shoot(page, "task-deferred")


def test_the_xcom_shows_the_metadata_readable(
    page: Any, airflow: LiveAirflow, run_id: str, job_id: str, shoot: Callable[..., None]
) -> None:
    assert airflow.wait_for_run(DAG_ID, run_id, JOB_SECONDS + 120) == "success"
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.goto(_task_url(airflow, run_id, "clip_output", "/xcom"))
    uri = airflow.xcom(DAG_ID, run_id, "clip_output", "output_uri")
    page.get_by_text(uri).first.wait_for()
    page.get_by_role("button", name="Expand").first.click()
    time.sleep(1)
    text = page.inner_text("body")
    for word in ("return_value", "output_uri", "duration_ms", "size_byte", "10172"):
        assert word in text
    assert '\\"' not in text
    shoot(page, "task-xcom")


def test_the_link_leads_to_the_clips_bucket(
    page: Any, airflow: LiveAirflow, run_id: str, shoot: Callable[..., None]
) -> None:
    airflow.wait_for_run(DAG_ID, run_id)
    page.set_viewport_size({"width": 1280, "height": 560})
    for task_id in ("wait_for_clip", "clip_output"):
        page.goto(_task_url(airflow, run_id, task_id, "/details"))
        link = page.get_by_role("link", name="Clip in OBS console")
        link.wait_for()
        bucket = airflow.xcom(DAG_ID, run_id, task_id)["output"]["bucket"]
        address = f"https://console.huaweicloud.com/console/?region=cn-north-4#/obs/manage/{bucket}/object/list"
        assert link.get_attribute("href") == address
    shoot(page, "task-succeeded")


def test_the_run_page_shows_all_tasks_done(
    page: Any, airflow: LiveAirflow, run_id: str, shoot: Callable[..., None]
) -> None:
    airflow.wait_for_run(DAG_ID, run_id)
    page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}")
    page.get_by_text("use_metadata").first.wait_for()
    time.sleep(1)
    shoot(page, "run")
