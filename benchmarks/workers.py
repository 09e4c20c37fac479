# SPDX-License-Identifier: Apache-2.0
"""
Seconds of a worker that one wait takes, in each mode, in a real Airflow with LocalExecutor and SQLite.

One wait at a time for a job that ends :data:`JOB_SECONDS` after its Dag was triggered. Each worker of the LocalExecutor
is a process whose title names the task that it is busy with, its whole start and end included: how long it does so is
read off twenty times a second.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.connections import connections
from benchmarks.jobs import FIRST_ID, Jobs
from benchmarks.pieces import ROOT
from scripts.live_airflow import LiveAirflow

JOB_SECONDS = 30.0
INTERVAL = 10
TRIES = 2
LOOK = 0.05
TITLE = "airflow worker -- LocalExecutor"
OURS = "MpcEditingJobSensor"
PEER = "DbtCloudJobRunSensor"
MODES = {
    "poke": {"deferrable": False},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
    "deferrable": {"deferrable": True},
    "started from the trigger": {"start_from_trigger": True},
}
# A triggerer parses no Dag file, so there the peer is made to speak plain HTTP when Airflow starts.
LOCAL_SETTINGS = "from benchmarks.waits import make_peer_plain\nmake_peer_plain()\n"
DAG_FILE = """
from airflow.sdk import DAG
{imports}
with DAG({dag_id!r}, schedule=None):
    {sensor}(task_id="wait", poke_interval={interval}, timeout=600, **{arguments!r})
"""
IMPORTS = {
    OURS: "from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor",
    PEER: "from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor\n" + LOCAL_SETTINGS,
}


@dataclass(frozen=True)
class Case:
    """
    One sensor in one mode.

    :param sensor: its class.
    :param mode: a key of :data:`MODES`.
    """

    sensor: str
    mode: str

    @property
    def dag_id(self) -> str:
        return f"{self.sensor}_{self.mode}".replace(" ", "_").lower()

    @property
    def source(self) -> str:
        """The Dag file's text."""
        ours = {"job_id": str(FIRST_ID), "mpc_conn_id": "bench_mpc"}
        peer = {"run_id": FIRST_ID, "dbt_cloud_conn_id": "bench_dbt", "account_id": 1}
        arguments = (ours if self.sensor == OURS else peer) | MODES[self.mode]
        return DAG_FILE.format(
            imports=IMPORTS[self.sensor],
            dag_id=self.dag_id,
            sensor=self.sensor,
            interval=INTERVAL,
            arguments=arguments,
        )


CASES = [Case(OURS, mode) for mode in MODES] + [Case(PEER, mode) for mode in list(MODES)[:3]]


class Watch:
    """Notes for how long each task has kept a worker busy, and how many workers in turn."""

    def __init__(self, scheduler: int) -> None:
        self._scheduler = psutil.Process(scheduler)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seconds: dict[str, float] = defaultdict(float)
        self.stints: dict[str, int] = defaultdict(int)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        busy: set[tuple[int, str]] = set()
        last = time.monotonic()
        while not self._over.wait(LOOK):
            now = time.monotonic()
            seen = set()
            for process in self._scheduler.children():
                with contextlib.suppress(psutil.Error):
                    title = " ".join(process.cmdline()).strip()
                    task = title.rpartition(" ")[2]
                    if title.startswith(TITLE) and task != "<idle>":
                        seen.add((process.pid, task))
            for one in seen:
                self.seconds[one[1]] += now - last
                self.stints[one[1]] += one not in busy
            busy, last = seen, now


@contextlib.contextmanager
def _server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    jobs = json.dumps(Jobs(1, JOB_SECONDS, JOB_SECONDS).__dict__)
    command = [sys.executable, "-m", "benchmarks.load_server", "--jobs", jobs]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, json.loads(server.stdout.readline())["ports"][0]
        finally:
            server.kill()


def measure() -> dict[Case, list[tuple[float, int]]]:
    """Return the seconds of a worker, and how many times one was needed, for each try of each case."""
    with contextlib.ExitStack() as stack:
        server, port = stack.enter_context(_server())
        settings = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mpc-benchmark-")))
        (settings / "airflow_local_settings.py").write_text(LOCAL_SETTINGS)
        airflow = stack.enter_context(
            LiveAirflow(
                env=connections(port),
                component_env={"triggerer": {"PYTHONPATH": f"{settings}:{ROOT}"}},
            )
        )
        for case in CASES:
            airflow.add_dag(case.source, case.dag_id)
        watch = stack.enter_context(Watch(min(airflow.pids("scheduler"))))
        figures: dict[Case, list[tuple[float, int]]] = defaultdict(list)
        for _ in range(TRIES):
            for case in CASES:
                figures[case].append(_measure_one(airflow, server, watch, case))
    return figures


def _measure_one(airflow: LiveAirflow, server: subprocess.Popen[str], watch: Watch, case: Case) -> tuple[float, int]:
    assert server.stdin is not None
    assert server.stdout is not None
    print(f"  a worker's seconds: {case.sensor}, {case.mode} …", file=sys.stderr, flush=True)
    server.stdin.write(json.dumps({"begin": time.time()}) + "\n")
    server.stdin.flush()
    server.stdout.readline()
    run_id = airflow.trigger_dag(case.dag_id)
    state = airflow.wait_for_run(case.dag_id, run_id)
    if state != "success":
        raise RuntimeError(f"{case}: {state}\n{airflow.task_log(case.dag_id, run_id, 'wait')}")
    time.sleep(7)  # a worker may notice late that its task has ended
    (task,) = airflow.task_instances(case.dag_id, run_id)
    return watch.seconds[task["id"]], watch.stints[task["id"]]


def lines(figures: dict[Case, list[tuple[float, int]]]) -> list[tuple[str, str, str, str]]:
    """Return what, floor, peer and ours for each mode."""

    def words(case: Case) -> str:
        if case not in figures:
            return "-"
        seconds, stints = (statistics.median(column) for column in zip(*figures[case], strict=True))
        return f"{seconds:.1f} s in {stints:g} stint{'s' if stints != 1 else ''}"

    return [
        (
            f"a worker, for a wait of {JOB_SECONDS:.0f} s, {mode}, looking each {INTERVAL} s",
            "-",
            words(Case(PEER, mode)),
            words(Case(OURS, mode)),
        )
        for mode in MODES
    ]


def as_json(figures: dict[Case, list[tuple[float, int]]]) -> list[dict[str, Any]]:
    """Return the figures as JSON types."""
    return [{"sensor": case.sensor, "mode": case.mode, "tries": tries} for case, tries in figures.items()]
