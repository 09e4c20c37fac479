# SPDX-License-Identifier: Apache-2.0
"""The hook in a ``@task``: ask how clipping tasks stand, without waiting."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_mpc.hooks.mpc import MpcHook


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"job_ids": Param(["30647", "30650"], type="array", title="Job ids")},
    tags=["mpc", "example"],
)
def example_mpc_hook() -> None:
    """Report on clipping tasks."""

    @task
    def report(params: dict[str, Any]) -> dict[str, str]:
        # Ten ids go into a call; unknown ones are left out instead of raising MpcJobNotFoundError.
        jobs = MpcHook("mpc_default").get_editing_jobs(params["job_ids"], missing_ok=True)
        return {job.job_id: f"{job.status} {job.progress} %" for job in jobs}

    report()


example_mpc_hook()
