# SPDX-License-Identifier: Apache-2.0
"""
Fifty deferred waits through the death of each part they depend on, in one run of a real Airflow.

The triggerer is killed and started again, the scheduler is killed while it runs resumed tasks, and MPC is away for
a minute; each time some jobs end meanwhile, and some of those fail. Every wait must end once, and rightly.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from scripts.live_airflow import LiveAirflow

pytestmark = pytest.mark.timeout(600)

DAG_ID = "many_waits"
TASK_ID = "wait"
WAITS = 50
OUTAGE_SECONDS = 60.0
SLOW_MACHINE = 240.0
FINAL = ("success", "failed", "skipped", "upstream_failed")
DAG = """
from datetime import timedelta
import pendulum
from airflow.sdk import dag, task
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor

@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), max_active_tasks=64, params={"job_ids": []})
def many_waits():
    @task
    def jobs(params):
        return params["job_ids"]

    # The retries are for tasks whose worker dies; a job that failed fails its task at the first try.
    MpcEditingJobSensor.partial(
        task_id="wait", deferrable=True, poke_interval=5, retries=3, retry_delay=timedelta(seconds=1)
    ).expand(job_id=jobs())

many_waits()
"""
# What a real deployment learns after minutes, this one learns after seconds.
SOON = {
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}


@dataclass
class Ordeal:
    """
    One run and what became of it.

    :ivar job_ids: by map index
    :ivar failing: map indexes whose jobs fail
    :ivar reports: map index → the final states that were reported, in order
    :ivar seconds: how long each chapter took
    :ivar tasks: the task instances at the end, by map index
    """

    airflow: LiveAirflow
    emulator: Emulator
    server: EmulatorServer
    job_ids: list[str]
    failing: frozenset[int]
    run_id: str = ""
    run_state: str = ""
    resumed_when_killed: int = 0
    states_after_outage: list[str] = field(default_factory=list)
    calls_in_outage: int = 0
    reports: dict[int, list[str]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def end_jobs(self, indexes: Collection[int]) -> None:
        """Let jobs end now, as their script says."""
        for index in indexes:
            self.emulator.job(["FAILED" if index in self.failing else "SUCCEEDED"], job_id=self.job_ids[index])

    def states(self, indexes: Collection[int] | None = None) -> list[str | None]:
        """Return the states of the waits."""
        states = self.airflow.task_states(DAG_ID, self.run_id)
        return [states.get(f"{TASK_ID}[{index}]") for index in indexes or range(WAITS)]

    def evidence(self, right: dict[int, list[str]]) -> str:
        """Return what Airflow noted and logged of the first tasks that ended otherwise."""
        wrong = [index for index in right if self.reports.get(index) != right[index]]
        lines = [f"wrong: {wrong}"]
        for index in wrong[:3]:
            lines += [
                f"{entry['when']} wait[{index}] try {entry['try_number']}: {entry['event']} {entry['extra'] or ''}"
                for entry in self.airflow.event_logs(DAG_ID, self.run_id)
                if (entry["task_id"], entry["map_index"]) == (TASK_ID, index)
            ]
            for number in range(1, self.tasks[index]["try_number"] + 1):
                lines += [
                    f"  log of try {number}: {record}"
                    for record in self.airflow.task_log_records(DAG_ID, self.run_id, TASK_ID, number, index)
                ]
        return "\n".join(lines)

    def wait_until(self, what: str, indexes: Collection[int], wanted: Collection[str], at_least: int) -> int:
        """Wait until some of the waits have one of the wanted states; return how many."""
        return self.airflow.wait_for(
            lambda: (found := sum(state in wanted for state in self.states(indexes))) >= at_least and found,
            SLOW_MACHINE,
            what,
        )


@pytest.fixture(scope="module")
def ordeal() -> Iterator[Ordeal]:
    """Run the whole story."""
    emulator = Emulator(calls_per_minute=100)
    with EmulatorServer(emulator) as server:
        job_ids = [emulator.job(["PROCESSING"]) for _ in range(WAITS)]
        with LiveAirflow(connections={"mpc_default": server.connection_json()}, env=SOON) as airflow:
            ordeal = Ordeal(airflow, emulator, server, job_ids, frozenset(range(0, WAITS, 5)))
            try:
                _live_through(ordeal)
            except Exception:
                print(ordeal.seconds, airflow.logs())
                raise
            yield ordeal


def _live_through(ordeal: Ordeal) -> None:
    airflow = ordeal.airflow
    first, second, third, last = range(12), range(12, 24), range(24, 36), range(36, WAITS)
    begun = time.monotonic()

    def chapter(name: str) -> None:
        nonlocal begun
        ordeal.seconds[name] = round(time.monotonic() - begun, 1)
        begun = time.monotonic()

    airflow.add_dag(DAG, DAG_ID)
    ordeal.run_id = airflow.trigger_dag(DAG_ID, {"job_ids": ordeal.job_ids})
    ordeal.wait_until("all waits to be open", range(WAITS), ["deferred"], WAITS)
    chapter("until all wait")

    airflow.kill("triggerer")
    ordeal.end_jobs(first)
    airflow.restart("triggerer")
    ordeal.resumed_when_killed = ordeal.wait_until("tasks that resume", first, ["running"], 1)
    airflow.kill("scheduler")
    chapter("triggerer killed, scheduler killed")

    ordeal.end_jobs(second)
    ordeal.wait_until("the triggerer to notice without a scheduler", second, ["scheduled"], len(second))
    airflow.restart("scheduler")
    chapter("scheduler back")

    ordeal.server.stop()
    ordeal.end_jobs(third)
    calls = ordeal.emulator.calls()
    time.sleep(OUTAGE_SECONDS)
    ordeal.states_after_outage = [state or "none" for state in ordeal.states([*third, *last])]
    ordeal.calls_in_outage = ordeal.emulator.calls() - calls
    ordeal.server.start()
    ordeal.end_jobs(last)
    chapter("MPC back")

    ordeal.run_state = airflow.wait_for_run(DAG_ID, ordeal.run_id, SLOW_MACHINE)
    chapter("until the end")
    reports = defaultdict(list)
    for entry in airflow.event_logs(DAG_ID, ordeal.run_id):
        # With a host: told by the task. Without: the scheduler's note on a try whose process died.
        if entry["task_id"] == TASK_ID and entry["event"] in FINAL and "host_name" in (entry["extra"] or ""):
            reports[entry["map_index"]].append(entry["event"])
    ordeal.reports = dict(reports)
    ordeal.tasks = {
        one["map_index"]: one for one in airflow.task_instances(DAG_ID, ordeal.run_id) if one["task_id"] == TASK_ID
    }
    print(ordeal.seconds)


def test_every_wait_ends_once_with_the_right_outcome(ordeal: Ordeal) -> None:
    right = {index: ["failed" if index in ordeal.failing else "success"] for index in range(WAITS)}
    assert ordeal.reports == right, ordeal.evidence(right)
    assert {index: [task["state"]] for index, task in ordeal.tasks.items()} == right
    assert ordeal.run_state == "failed"


def test_every_success_returns_its_own_job(ordeal: Ordeal) -> None:
    for index in set(range(WAITS)) - ordeal.failing:
        result = ordeal.airflow.xcom(DAG_ID, ordeal.run_id, TASK_ID, map_index=index)
        assert (result["job_id"], result["status"]) == (ordeal.job_ids[index], "SUCCEEDED")


def test_every_failure_names_its_job_and_the_reason(ordeal: Ordeal) -> None:
    for index in ordeal.failing:
        tries = ordeal.tasks[index]["try_number"]
        records = ordeal.airflow.task_log_records(DAG_ID, ordeal.run_id, TASK_ID, tries, index)
        told = str(records)
        assert f"{ordeal.job_ids[index]} FAILED (MPC.10053" in told


def test_the_scheduler_died_while_tasks_resumed(ordeal: Ordeal) -> None:
    assert ordeal.resumed_when_killed >= 1


def test_the_outage_ends_no_wait(ordeal: Ordeal) -> None:
    assert set(ordeal.states_after_outage) == {"deferred"}
    assert ordeal.calls_in_outage == 0


def test_the_limit_holds_over_a_restart_of_the_triggerer(ordeal: Ordeal) -> None:
    assert ordeal.emulator.busiest_minute("list") <= 100
    assert ordeal.emulator.refused("list") == 0
