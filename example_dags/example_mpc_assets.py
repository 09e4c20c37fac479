# SPDX-License-Identifier: Apache-2.0
"""
Clips as assets: one Dag makes them known, another runs whenever there is a new one.

With an ``AssetAlias`` among its outlets, a task emits an asset event for each clip: its URI is ``obs://bucket/key``,
and ``extra`` tells bucket, key, duration, size and more. The name of a clip need not be known beforehand. Where it is,
``schedule=[Asset("obs://media/out/clip.mp4")]`` waits for just that one.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import AssetAlias, Param, dag, task

from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator

CLIPS = AssetAlias("mpc_clips")


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"job_ids": Param(["30647", "30650"], type="array", title="Job ids")},
    tags=["mpc", "example"],
)
def example_mpc_assets() -> None:
    """Wait for clipping tasks and make their clips known to Airflow."""

    @task
    def clips_to_await(params: dict[str, Any]) -> list[str]:
        return [str(job_id) for job_id in params["job_ids"]]

    MpcEditingJobOutputOperator(
        task_id="clips", job_id=clips_to_await(), deferrable=True, poke_interval=5, outlets=[CLIPS]
    )


@dag(
    schedule=[CLIPS],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["mpc", "example"],
)
def example_mpc_assets_consumer() -> None:
    """Run whenever there are new clips."""

    @task
    def publish(triggering_asset_events: Any) -> list[dict[str, Any]]:
        clips = [event.extra for events in triggering_asset_events.values() for event in events]
        return [{name: clip.get(name) for name in ("bucket", "key", "duration_ms")} for clip in clips]

    publish()


example_mpc_assets()
example_mpc_assets_consumer()
