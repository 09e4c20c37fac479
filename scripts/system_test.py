# SPDX-License-Identifier: Apache-2.0
"""
The provider in a distributed Airflow, through the faults of a real one: ``make system-test``.

PostgreSQL, CeleryExecutor with Redis and two workers, scheduler, Dag processor, API server, two triggerers, and the
emulator with MPC's limit of 100 calls a minute. One mapped Dag waits deferrably for 100 clipping jobs (``FULL=1``: 300)
while a triggerer and a worker are killed and API server and PostgreSQL restarted, each while jobs end. Then every wait
must have ended once and rightly. All of it is this test's own, and gone when it ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import requests

from airflow_provider_mpc.api.budget import MPC_LIMIT
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from scripts.live_airflow import COMPONENTS, ROOT, LiveAirflow, LiveAirflowError
from scripts.services import PostgreSQL, Redis, ServiceError

DAG_ID = "many_clips"
TASK_ID = "clip"
POKE_INTERVAL = 10
CALLS_OF_A_TRIGGERER = 45
PACE = 0.7
"""Seconds between the ends of two jobs."""
SLOW_MACHINE = 600.0
FINAL = ("success", "failed", "skipped", "upstream_failed")
REPORT = ROOT / "build" / "system-test.md"
T = TypeVar("T")

DAG = f"""
from datetime import timedelta
import pendulum
from airflow.sdk import dag, task
from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator

# For tasks whose worker dies, or finds no API server; a job that has failed fails its task at the first try.
RETRIES = {{"retries": 5, "retry_delay": timedelta(seconds=2)}}

@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), max_active_tasks=1000, params={{"job_ids": []}},
     default_args=RETRIES)
def {DAG_ID}():
    @task
    def jobs(params):
        return params["job_ids"]

    clips = MpcEditingJobOutputOperator.partial(
        task_id="{TASK_ID}", deferrable=True, poke_interval={POKE_INTERVAL}
    ).expand(job_id=jobs())

    @task(trigger_rule="all_done")
    def collect(clips):
        return [clip["job_id"] for clip in clips]

    collect(clips.output)

{DAG_ID}()
"""

TRIGGERERS = ("triggerer_1", "triggerer_2")
WORKERS = ("worker_1", "worker_2")
PARTS = {
    **{name: COMPONENTS[name] for name in ("api-server", "scheduler", "dag-processor")},
    **dict.fromkeys(TRIGGERERS, COMPONENTS["triggerer"]),
    **{
        name: (
            *("celery", "worker", "--concurrency", "2", "--celery-hostname", f"{name}@localhost"),
            *("--pid", "{home}/" + f"{name}.pid", "--skip-serve-logs", "--without-mingle", "--without-gossip"),
        )
        for name in WORKERS
    },
}
SETTINGS = {
    # Triggerers on one account share its calls a minute.
    "AIRFLOW__MPC__CALLS_PER_MINUTE": str(CALLS_OF_A_TRIGGERER),
    # What Airflow notices after minutes by default, so that the test need not last that long: tasks of a dead
    # worker that ran, those that it had taken and not begun, and tasks that a dead scheduler looked after.
    # The triggerers' threshold is Airflow's own.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
    "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
}


class SystemTestError(RuntimeError):
    """Something did not come about, or ended wrongly."""


def percentile(values: Collection[float], share: float) -> float:
    """Return the smallest value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")


def busiest_minute(times: Sequence[float]) -> int:
    """Return the largest number of times within 60 seconds."""
    ordered = sorted(times)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - 60:
            first += 1
        most = max(most, last - first + 1)
    return most


@dataclass
class Cloud:
    """
    One emulator on several ports: by the port a call came to one sees who made it.

    :ivar ended_at: map index → when the job ended, in epoch seconds
    """

    emulator: Emulator
    servers: dict[str, EmulatorServer]
    job_ids: list[str]
    failing: frozenset[int]
    ended_at: dict[int, float] = field(default_factory=dict)

    def end_job(self, index: int) -> None:
        """Let a job end now."""
        self.emulator.job(["FAILED" if index in self.failing else "SUCCEEDED"], job_id=self.job_ids[index])
        self.ended_at[index] = time.time()

    def end_jobs(self, indexes: Collection[int]) -> None:
        """Let jobs end one after another."""
        for index in indexes:
            self.end_job(index)
            time.sleep(PACE)

    def calls(self, who: str, since: float = 0.0) -> list[tuple[float, frozenset[str]]]:
        """Return when one kind of process asked for which jobs, oldest first."""
        port = f":{self.servers[who].port}"
        return [
            (call.time, frozenset(call.job_ids))
            for call in self.emulator.requests
            if call.time >= since and call.headers.get("host", "").endswith(port)
        ]

    def held_by(self, who: str) -> set[str]:
        """Return the jobs that one triggerer asked for last."""
        last: dict[str, tuple[float, str]] = {}
        for name in TRIGGERERS:
            for at, job_ids in self.calls(name):
                last |= {job_id: (at, name) for job_id in job_ids if at > last.get(job_id, (0.0, ""))[0]}
        return {job_id for job_id, (_, name) in last.items() if name == who}

    def noticed_after(self, index: int) -> float:
        """Return the seconds from a job's end to the first answer that told it."""
        ended = self.ended_at[index]
        for call in self.emulator.requests:
            if call.time >= ended and call.status == 200 and self.job_ids[index] in call.job_ids:
                return call.time - ended
        return math.inf


@dataclass
class Trial:
    """The run, what is done to it, and what is seen."""

    airflow: LiveAirflow
    database: PostgreSQL
    cloud: Cloud
    run_id: str = ""
    begun: float = field(default_factory=time.monotonic)
    figures: dict[str, str] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)
    revived: Counter[str] = field(default_factory=Counter)
    calm: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The number of waits."""
        return len(self.cloud.job_ids)

    def say(self, text: str) -> None:
        """Print a line with the time."""
        print(f"{time.monotonic() - self.begun:6.0f} s  {text}", flush=True)

    def until(self, probe: Callable[[], T | None], timeout: float, what: str, poll: float = 0.25) -> T:
        """
        Call ``probe`` until it returns something true; the API server may be away meanwhile.

        :raises SystemTestError: when time is up
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(LiveAirflowError, requests.RequestException):
                if result := probe():
                    return result
            time.sleep(poll)
        raise SystemTestError(f"Waited {timeout:.0f} s in vain for {what}.\n{self.airflow.logs()}")

    def waits(self) -> dict[int, dict[str, Any]]:
        """Return the waiting task's instances by map index."""
        tasks = self.airflow.task_instances(DAG_ID, self.run_id)
        return {task["map_index"]: task for task in tasks if task["task_id"] == TASK_ID and task["map_index"] >= 0}

    # -- the story

    def run(self) -> None:
        """Start the run, do everything to it, and wait for its end."""
        self.airflow.add_dag(DAG, DAG_ID)
        begun = time.monotonic()
        self.run_id = self.airflow.trigger_dag(DAG_ID, {"job_ids": self.cloud.job_ids})
        self.say(f"{self.size} tasks begin")
        self.until(
            lambda: sum(task["state"] == "deferred" for task in self.waits().values()) == self.size,
            SLOW_MACHINE,
            "all waits to be deferred",
            poll=1.0,
        )
        self.until(lambda: self._seen() >= set(self.cloud.job_ids), 120, "a look at every job")
        self.figures["All deferred after"] = f"{time.monotonic() - begun:.0f} s (starting the task processes)"
        held = {name: len(self.cloud.held_by(name)) for name in TRIGGERERS}
        self.say(f"all are deferred: {held}")

        order = list(range(self.size))
        random.shuffle(order)
        share = self.size // 5
        parts = [order[start : start + share] for start in range(0, 4 * share, share)] + [order[4 * share :]]
        self.calm = parts[0]
        faults: list[Callable[[], object]] = [
            lambda: None,
            self.kill_triggerer,
            self.kill_worker,
            self.restart_api_server,
            self.restart_postgresql,
        ]
        for jobs, fault in zip(parts, faults, strict=True):
            feeder = threading.Thread(target=self.cloud.end_jobs, args=(jobs,), daemon=True)
            feeder.start()
            time.sleep(3)
            fault()
            feeder.join()
            if jobs is self.calm:
                self.until(
                    lambda: all(self.cloud.noticed_after(index) < math.inf for index in self.calm), 60, "a calm start"
                )
            self.say(f"{len(self.cloud.ended_at)} of {self.size} jobs have ended")
        self.until(
            lambda: self.airflow.dag_run_state(DAG_ID, self.run_id) in ("success", "failed"),
            SLOW_MACHINE,
            "the end of the run",
            poll=1.0,
        )
        self.say("the run has ended")

    def _seen(self) -> set[str]:
        return set().union(*(ids for name in TRIGGERERS for _, ids in self.cloud.calls(name)))

    def kill_triggerer(self) -> None:
        """Kill one triggerer and see the other take its waits over; then start it again."""
        victim, other = sorted(TRIGGERERS, key=lambda name: -len(self.cloud.held_by(name)))
        lost = self.cloud.held_by(victim) - {self.cloud.job_ids[index] for index in self.cloud.ended_at}
        killed_at = time.time()
        self.airflow.kill(victim)
        self.say(f"killed {victim}, which had {len(lost)} jobs to wait for")
        if not lost:
            self.wrongs.append(f"{victim} had no waits when it was killed")
            return

        def taken_over() -> dict[str, float] | None:
            first: dict[str, float] = {}
            for at, job_ids in self.cloud.calls(other, since=killed_at):
                for job_id in job_ids & lost:
                    first.setdefault(job_id, at - killed_at)
            return first if first.keys() >= lost else None

        first = self.until(taken_over, 180, f"{other} to take over")
        self.figures["Triggerer killed"] = f"{len(lost)} of its waits were open"
        self.figures["Takeover"] = (
            f"first job asked for again after {min(first.values()):.1f} s, the last after {max(first.values()):.1f} s "
            "(to Airflow a triggerer is dead 30 s after its last heartbeat)"
        )
        self.say(f"{other} has taken over: {self.figures['Takeover']}")
        self.airflow.restart(victim)
        self.say(f"{victim} is back")

    def kill_worker(self) -> None:
        """Kill a worker while it resumes tasks; start it again later."""
        victim = WORKERS[0]

        def resuming() -> list[int]:
            pids = set(self.airflow.pids(victim))
            return [index for index, task in self.waits().items() if task["state"] == "running" and task["pid"] in pids]

        left: list[int] = []
        while not left:
            self.until(resuming, SLOW_MACHINE, f"{victim} to resume tasks", poll=0.05)
            indexes = resuming()
            self.airflow.kill(victim)
            # A task may have got done in the last moment: that one proves nothing.
            left = [index for index in indexes if self.waits()[index]["state"] == "running"]
            self.say(f"killed {victim}, which was resuming {len(left)} tasks")
            time.sleep(10 if left else 0)
            self.airflow.restart(victim)
        self.figures["Worker killed"] = f"while it resumed {len(left)} tasks, which had to run again"
        self.say(f"{victim} is back")

    def restart_api_server(self) -> None:
        """Kill the API server and start it again."""
        begun = time.monotonic()
        self.airflow.restart("api-server", timeout=120)
        self.figures["API server"] = f"killed, back after {time.monotonic() - begun:.0f} s"
        self.say("the API server is back")

    def restart_postgresql(self) -> None:
        """Cut all sessions of the database off and bring it back."""
        begun = time.monotonic()
        before = Counter(self.revived)
        self.database.stop()
        time.sleep(3)
        self.database.start()
        self.figures["PostgreSQL"] = f"away for {time.monotonic() - begun:.0f} s"
        self.say("PostgreSQL is back")
        time.sleep(20)
        ended = ", ".join(sorted(self.revived - before)) or "none"
        self.figures["PostgreSQL"] += f"; Airflow's components that ended over it and were started again: {ended}"

    @contextlib.contextmanager
    def service_manager(self) -> Iterator[None]:
        """Start components again that end by themselves, as systemd or Kubernetes would."""
        over = threading.Event()

        def manage() -> None:
            while not over.wait(2):
                for name in self.airflow.revive():
                    self.revived[name] += 1
                    self.say(f"{name} had ended and was started again")

        manager = threading.Thread(target=manage, daemon=True)
        manager.start()
        try:
            yield
        finally:
            over.set()
            manager.join()

    # -- the judgement

    def judge(self) -> None:
        """Check what must hold, and note the figures."""
        right = {index: "failed" if index in self.cloud.failing else "success" for index in range(self.size)}
        waits = self.until(self.waits, 60, "the task instances")
        states = {index: task["state"] for index, task in waits.items()}
        self._expect_equal("final states", states, right)
        reports = defaultdict(list)
        for entry in self.airflow.event_logs(DAG_ID, self.run_id):
            # With a host: told by the task. Without: the scheduler's note on a try whose worker died.
            if entry["task_id"] == TASK_ID and entry["event"] in FINAL and "host_name" in (entry["extra"] or ""):
                reports[entry["map_index"]].append(entry["event"])
        self._expect_equal("final states reported", dict(reports), {index: [state] for index, state in right.items()})
        collected = Counter(self.airflow.xcom(DAG_ID, self.run_id, "collect"))
        succeeded = Counter(self.cloud.job_ids[index] for index in right if right[index] == "success")
        self._expect_equal("results that the next task got", collected, succeeded)
        for index in sorted(self.cloud.failing):
            log = str(self.airflow.task_log_records(DAG_ID, self.run_id, TASK_ID, waits[index]["try_number"], index))
            if f"{self.cloud.job_ids[index]} FAILED (MPC.10053" not in log:
                self.wrongs.append(f"the log of wait {index} does not tell why its job failed")
        for index in range(self.size):
            if index not in self.cloud.failing:
                result = self.airflow.xcom(DAG_ID, self.run_id, TASK_ID, map_index=index)
                if (result["job_id"], result["status"]) != (self.cloud.job_ids[index], "SUCCEEDED"):
                    self.wrongs.append(f"wait {index} returned {result}")
        self._count_calls()
        self._measure(waits)

    def _expect_equal(self, what: str, found: dict[Any, Any], wanted: dict[Any, Any]) -> None:
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                self.wrongs.append(f"{what}: {key} is {found.get(key)}, not {wanted.get(key)}")

    def _count_calls(self) -> None:
        emulator = self.cloud.emulator
        calls = [call for call in emulator.requests if call.api == "list"]
        busiest = busiest_minute([call.time for call in calls])
        refused = sum(call.status == 429 for call in calls)
        by_workers = len(self.cloud.calls("workers"))
        self.figures["Calls"] = f"{len(calls)} in all, {busiest} in the busiest minute (refused ones counted)"
        self.figures["Refused (429)"] = str(refused)
        self.figures["Calls by workers"] = str(by_workers)
        if busiest > MPC_LIMIT:
            self.wrongs.append(f"{busiest} calls in one minute")
        if refused:
            self.wrongs.append(f"{refused} calls were refused")
        if by_workers:
            self.wrongs.append(f"workers made {by_workers} calls, though the waits were deferrable")

    def _measure(self, waits: dict[int, dict[str, Any]]) -> None:
        from datetime import datetime

        notices = {index: self.cloud.noticed_after(index) for index in range(self.size)}
        ends = {
            index: datetime.fromisoformat(task["end_date"]).timestamp() - self.cloud.ended_at[index]
            for index, task in waits.items()
        }

        def words(values: Collection[float]) -> str:
            return (
                f"p50 {statistics.median(values):.1f} s, p99 {percentile(values, 0.99):.1f} s, max {max(values):.1f} s"
            )

        self.figures["Job's end noticed, no faults"] = words([notices[index] for index in self.calm])
        self.figures["Job's end noticed, all"] = words(notices.values())
        self.figures["Job's end to task's end, all"] = words(ends.values())
        again = sum(task["try_number"] > 1 for task in waits.values())
        self.figures["Tasks that needed another try"] = str(again)
        self.figures["Components started again by the service manager"] = (
            ", ".join(f"{name} {count}x" for name, count in self.revived.items()) or "none"
        )
        if max(notices.values()) == math.inf:
            self.wrongs.append("some ends of jobs were never seen")


def report(trial: Trial) -> str:
    """Return the report as Markdown."""
    failing = len(trial.cloud.failing)
    lines = [
        "# System test",
        "",
        f"{trial.size} mapped deferrable tasks, looked at every {POKE_INTERVAL} s; {failing} of their jobs fail. "
        "PostgreSQL, Celery with Redis, two workers, two triggerers of "
        f"{CALLS_OF_A_TRIGGERER} calls a minute each; MPC's limit is {MPC_LIMIT}.",
        "",
        "| what | seen |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in trial.figures.items()),
        f"| Whole test | {time.monotonic() - trial.begun:.0f} s |",
        "",
        "Every wait ended once, with the right outcome."
        if not trial.wrongs
        else "\n".join(["**Wrong:**", "", *(f"* {wrong}" for wrong in trial.wrongs)]),
    ]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def the_cloud(size: int) -> Iterator[Cloud]:
    """Serve an emulator to each triggerer and to the workers on ports of their own."""
    emulator = Emulator(calls_per_minute=MPC_LIMIT)
    with contextlib.ExitStack() as stack:
        servers = {who: stack.enter_context(EmulatorServer(emulator)) for who in (*TRIGGERERS, "workers")}
        job_ids = [emulator.job(["PROCESSING"]) for _ in range(size)]
        yield Cloud(emulator, servers, job_ids, frozenset(range(0, size, 10)))


@contextlib.contextmanager
def a_deployment(cloud: Cloud) -> Iterator[tuple[LiveAirflow, PostgreSQL]]:
    """Run PostgreSQL, Redis and all of Airflow."""
    with PostgreSQL() as database, Redis() as redis:
        connection = {who: server.connection_json() for who, server in cloud.servers.items()}
        variable = "AIRFLOW_CONN_MPC_DEFAULT"
        with LiveAirflow(
            components=PARTS,
            component_env={
                **{name: {variable: connection[name]} for name in TRIGGERERS},
                **{name: {variable: connection["workers"]} for name in WORKERS},
            },
            executor="CeleryExecutor",
            sql_alchemy_conn=f"postgresql+psycopg2://{database.address}",
            parallelism=6,
            start_timeout=240,
            env={
                **SETTINGS,
                "AIRFLOW__CELERY__BROKER_URL": redis.url,
                "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{database.address}",
            },
        ) as airflow:
            yield airflow, database


def main() -> int:
    """Run the test; return 0 if everything was right."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    size = 300 if os.environ.get("FULL", "") not in ("", "0", "no", "false") else 100
    begun = time.monotonic()
    print("Starting PostgreSQL, Redis and a distributed Airflow ...", flush=True)
    try:
        with the_cloud(size) as cloud, a_deployment(cloud) as (airflow, database):
            trial = Trial(airflow, database, cloud, begun=begun)
            trial.say("all parts are healthy")
            with trial.service_manager():
                trial.run()
                trial.judge()
    except (LiveAirflowError, ServiceError, SystemTestError) as error:
        print(f"\nThe system test stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing is left running.", file=sys.stderr)
        return 130
    text = report(trial)
    path = Path(os.environ.get("REPORT") or REPORT)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"\n{text}\nThe report is also in {os.path.relpath(path)}.")
    return 1 if trial.wrongs else 0


if __name__ == "__main__":
    sys.exit(main())
