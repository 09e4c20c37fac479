# SPDX-License-Identifier: Apache-2.0
"""The poller's figures reach statsd from the triggerer, in whose child process they arise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from scripts.live_airflow import LiveAirflow

DAG_ID = "metrics_of_a_wait"
DAG = f"""
import pendulum
from airflow.sdk import DAG
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor

with DAG("{DAG_ID}", start_date=pendulum.datetime(2026, 1, 1), schedule=None, params={{"job_id": "1"}}):
    MpcEditingJobSensor(task_id="wait", job_id="{{{{ params.job_id }}}}", deferrable=True, poke_interval=1)
"""


@pytest.fixture(scope="module")
def packets(live_airflow: LiveAirflow, live_emulator: Any, metrics: Any, tmp_path_factory: Any) -> list[str]:
    """Return what statsd was sent by one deferred wait."""
    path: Path = tmp_path_factory.mktemp("dags") / f"{DAG_ID}.py"
    path.write_text(DAG)
    live_airflow.add_dag(path, DAG_ID)
    before = len(metrics.packets)
    job_id = live_emulator.emulator.job(states=["WAITING", "PROCESSING", "SUCCEEDED"])
    run_id = live_airflow.trigger_dag(DAG_ID, {"job_id": job_id})
    assert live_airflow.wait_for_run(DAG_ID, run_id) == "success"
    return [line for packet in metrics.packets[before:] for line in packet.splitlines()]


@pytest.mark.parametrize(
    "metric",
    [
        r"airflow\.mpc\.calls:1\|c",
        r"airflow\.mpc\.waits:1\|g",
        r"airflow\.mpc\.waits:0\|g",
        r"airflow\.mpc\.batch_fill:0\.1\|g",
        r"airflow\.mpc\.notice_delay:[\d.]+\|ms",
    ],
)
def test_a_deferred_wait_tells_its_figures(packets: list[str], metric: str) -> None:
    assert any(re.match(metric, line) for line in packets), sorted({line.split(":")[0] for line in packets})
