# SPDX-License-Identifier: Apache-2.0
"""
Many clipping tasks: one sensor with a list, or one mapped task for each.

* **One sensor, a list of ids**: all must succeed before anything goes on. One task, one log, one failure that names
  all failed jobs. Takes the fewest calls in poke and reschedule mode, where tasks cannot share theirs.
* **Dynamic task mapping**: each clip goes on as soon as it is done, and is retried, cleared and shown on its own.
  Use it with ``deferrable=True``: deferred waits share their calls, ten jobs to each, so that 300 mapped tasks stay
  within the 100 calls a minute that MPC answers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"job_ids": Param(["30647", "30650"], type="array", title="Job ids")},
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["mpc", "example"],
)
def example_mpc_many_jobs() -> None:
    """Wait for many clipping tasks in both ways."""

    @task
    def clips_to_await(params: dict[str, Any]) -> list[str]:
        return [str(job_id) for job_id in params["job_ids"]]

    job_ids = clips_to_await()

    all_clips = MpcEditingJobSensor(task_id="wait_for_all_clips", job_id=job_ids, deferrable=True, poke_interval=5)

    @task
    def total_seconds(clips: list[dict[str, Any]]) -> float:
        return sum((clip["editing_output"].get("duration_ms") or 0) / 1000 for clip in clips)

    total_seconds(all_clips.output)

    each_clip = MpcEditingJobOutputOperator.partial(
        task_id="output_of_each_clip", deferrable=True, poke_interval=5
    ).expand(job_id=job_ids)

    @task
    def show(clip: dict[str, Any]) -> str:
        return str(clip["output"]["uri"])

    show.expand(clip=each_clip.output)


example_mpc_many_jobs()
