# SPDX-License-Identifier: Apache-2.0
"""The example in a real scheduler: a clip's event lands, and starts the Dag that is scheduled by it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from scripts.live_airflow import LiveAirflow

ROOT = Path(__file__).resolve().parents[2]
PRODUCER = "example_mpc_assets"
CONSUMER = "example_mpc_assets_consumer"
AWKWARD = {"bucket": "media", "location": "cn-north-4", "object": "out/", "file_name": "Über 100% #1? ok.mp4"}
SLOW_MACHINE = 120.0


@pytest.mark.timeout(400)
def test_new_clips_start_the_dag_scheduled_by_them() -> None:
    emulator = Emulator()
    with (
        EmulatorServer(emulator) as server,
        LiveAirflow(
            dags=[ROOT / "example_dags" / f"{PRODUCER}.py"],
            connections={"mpc_default": server.connection_json()},
            schedules=True,
        ) as airflow,
    ):
        airflow.wait_for_dag(CONSUMER)
        jobs = [emulator.job(), emulator.job(output=AWKWARD)]
        run_id = airflow.trigger_dag(PRODUCER, {"job_ids": jobs})
        airflow.wait_for_run(PRODUCER, run_id)
        deadline = time.monotonic() + SLOW_MACHINE
        while not (runs := airflow.api("GET", f"dags/{CONSUMER}/dagRuns")["dag_runs"]):
            assert time.monotonic() < deadline, f"{airflow.task_log(PRODUCER, run_id, 'clips')}\n{airflow.logs()}"
            time.sleep(0.5)
        airflow.wait_for_run(CONSUMER, runs[0]["dag_run_id"])
        published = airflow.xcom(CONSUMER, runs[0]["dag_run_id"], "publish")
        events = airflow.api("GET", "assets/events")["asset_events"]
    assert runs[0]["run_type"] == "asset_triggered"
    assert {event["uri"] for event in events} == {
        f"obs://example-bucket/out/{jobs[0]}.mp4",
        "obs://media/out/%C3%9Cber%20100%25%20%231%3F%20ok.mp4",
    }
    assert {event["source_task_id"] for event in events} == {"clips"}
    assert published
    # The scheduler may see the events of one task in one run or in two.
    assert {clip["key"] for clip in published} <= {f"out/{jobs[0]}.mp4", "out/Über 100% #1? ok.mp4"}
    assert all(clip["duration_ms"] == 10172 for clip in published)
