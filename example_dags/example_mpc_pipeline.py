# SPDX-License-Identifier: Apache-2.0
"""
A media pipeline: wait for a clipping task, hand its output on, use the metadata.

The job's id comes from ``params`` here, as a task upstream would hand it over: whatever makes the job (your own
service, or this provider's ``MpcHook.create_editing_job``) gets the id from MPC's reply.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "job_id": Param("30647", type="string", title="Job id", description="The id that MPC gave the clipping task."),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["mpc", "example"],
)
def example_mpc_pipeline() -> None:
    """Wait for a clipping task and use what it made."""

    @task
    def clip_to_await(params: dict[str, Any]) -> str:
        return str(params["job_id"])

    job_id = clip_to_await()

    wait_for_clip = MpcEditingJobSensor(
        task_id="wait_for_clip",
        job_id=job_id,
        deferrable=True,  # no worker is held, and all waits of a triggerer share their calls
        poke_interval=5,
    )

    # The sensor has waited. Without one, this operator waits by itself.
    clip_output = MpcEditingJobOutputOperator(task_id="clip_output", job_id=job_id, wait=False)

    @task
    def use_metadata(clip: dict[str, Any]) -> str:
        video = clip["editing_output"].get("video_info") or {}
        seconds = (clip["editing_output"].get("duration_ms") or 0) / 1000
        return f"{clip['output']['uri']}: {seconds:.1f} s, {video.get('width')}x{video.get('height')}"

    wait_for_clip >> clip_output
    use_metadata(clip_output.output)


example_mpc_pipeline()
