# SPDX-License-Identifier: Apache-2.0
"""The three kinds of wait that are compared: Airflow alone, dbt Cloud's trigger, ours."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from airflow.executors.workloads import RunTrigger
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.models.trigger import Trigger
from airflow.triggers.base import BaseTrigger, TriggerEvent

from benchmarks.connections import OURS_CONNECTION, PEER_CONNECTION

Kind = Literal["floor", "peer", "ours"]

LONG = 86_400.0


class FloorTrigger(BaseTrigger):
    """
    Sleep until a job's end, and ask nobody: what Airflow itself costs.

    :param until: seconds since the epoch.
    """

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return "benchmarks.waits.FloorTrigger", {"until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, then tell."""
        await asyncio.sleep(self.until - time.time())
        yield TriggerEvent({"status": "success"})


def workload(kind: Kind, trigger_id: int, job_id: int, ends: float, interval: float) -> RunTrigger:
    """Return what the triggerer's supervisor hands over for one deferred task."""
    classpath, arguments = _trigger(kind, job_id, ends, interval).serialize()
    return RunTrigger(
        id=trigger_id,
        classpath=classpath,
        encrypted_kwargs=Trigger.encrypt_kwargs(arguments),
        ti=TaskInstanceDTO(
            id=uuid.uuid4(),
            task_id=f"wait_{job_id}",
            dag_id="benchmark",
            run_id="manual",
            try_number=1,
            map_index=-1,
            dag_version_id=uuid.uuid4(),
            pool_slots=1,
            priority_weight=1,
        ),
    )


def succeeded(payload: Any) -> bool:
    """Whether an event tells that the job has succeeded."""
    if payload.get("outcome") == "ended":
        return set(payload["states"].values()) == {"SUCCEEDED"}
    return bool(payload.get("status") == "success")


def make_peer_plain() -> None:
    """Let dbt Cloud's hook speak HTTP as ours does here: its own URLs are HTTPS, which would cost it more."""
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook

    original = DbtCloudHook.get_request_url_params

    def plain(*args: Any, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        url, parameters = original(*args, **kwargs)
        return url.replace("https://", "http://", 1), parameters

    DbtCloudHook.get_request_url_params = staticmethod(plain)
    original_conn = DbtCloudHook.get_conn

    def get_conn(self: DbtCloudHook, *args: Any, **kwargs: Any) -> Any:
        session = original_conn(self, *args, **kwargs)
        self.base_url = self.base_url.replace("https://", "http://", 1)
        return session

    DbtCloudHook.get_conn = get_conn


def _trigger(kind: Kind, job_id: int, ends: float, interval: float) -> BaseTrigger:
    if kind == "floor":
        return FloorTrigger(ends)
    now = time.time()
    if kind == "peer":
        from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

        return DbtCloudRunJobTrigger(
            conn_id=PEER_CONNECTION, run_id=job_id, end_time=now + LONG, poll_interval=interval, account_id=1
        )
    from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

    return MpcEditingJobTrigger(
        job_id=str(job_id), mpc_conn_id=OURS_CONNECTION, poke_interval=interval, deadline=now + LONG, began=now
    )
