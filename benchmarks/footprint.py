# SPDX-License-Identifier: Apache-2.0
"""What the package takes that nobody set a figure for: time to parse a Dag file, memory of a triggerer."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.pieces import ROOT, Result, airflow_environment

SENSORS = 100
REPEATS = 5
OURS = """
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor

def sensor(number):
    return MpcEditingJobSensor(task_id=f"wait_{number}", job_id=str(number), deferrable=True)
"""
PEER = """
from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor

def sensor(number):
    return DbtCloudJobRunSensor(task_id=f"wait_{number}", run_id=number, deferrable=True)
"""
DAG_FILE = """
from airflow.sdk import DAG
{sensor}
with DAG("hundred_waits", schedule=None):
    for number in range({count}):
        sensor(number)
"""
# The processes in which Airflow parses files have airflow.sdk already.
PARSE = """
import sys, time
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
code = open(sys.argv[1]).read()
began = time.perf_counter()
exec(compile(code, sys.argv[1], "exec"), {"__name__": "a_dag"})
print(time.perf_counter() - began)
"""


def parse_seconds(sensor: str) -> float:
    """Return the median of the seconds that a Dag file with a hundred sensors takes in a fresh interpreter."""
    with tempfile.TemporaryDirectory(prefix="mpc-benchmark-", ignore_cleanup_errors=True) as home:
        file = Path(home) / "a_dag.py"
        file.write_text(DAG_FILE.format(sensor=sensor, count=SENSORS))
        return statistics.median(_parse_once(file, home) for _ in range(REPEATS))


def lines(pieces: Mapping[str, Result]) -> list[tuple[str, str, str, str]]:
    """
    Return what, floor, peer and ours.

    :param pieces: the results for ``floor``, ``peer`` and ``ours``, as many waits each, no limit.
    """
    count = pieces["ours"].piece.jobs.count
    parse = [f"{parse_seconds(sensor) * 1000:.0f} ms" for sensor in (PEER, OURS)]
    memory = [f"{pieces[kind].seen[0]['memory'] / 1e6:.0f} MB" for kind in ("floor", "peer", "ours")]
    growth = [f"{pieces[kind].memory / 1e6:.1f} MB" for kind in ("floor", "peer", "ours")]
    return [
        (f"a Dag file with {SENSORS} deferrable sensors, parsed in a fresh interpreter", "-", *parse),
        (f"a triggerer's resident memory with {count} waits", *memory),
        ("of that, the waits", *growth),
    ]


def _parse_once(file: Path, home: str) -> float:
    run = subprocess.run(
        [sys.executable, "-c", PARSE, str(file)],
        env=airflow_environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout.split()[-1])
