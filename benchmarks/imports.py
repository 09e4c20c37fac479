# SPDX-License-Identifier: Apache-2.0
"""What importing costs a Dag file, in fresh interpreters."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile

from benchmarks.pieces import ROOT, airflow_environment

REPEATS = 7
OURS = "airflow_provider_mpc.sensors.mpc, airflow_provider_mpc.operators.mpc"
PEER = "airflow.providers.http.sensors.http"
SCRIPT = """
import time
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
began = time.perf_counter()
import {modules}
print(time.perf_counter() - began)
"""


def import_seconds(modules: str, repeats: int = REPEATS) -> float:
    """Return the median of the seconds that importing takes once Airflow's own ``airflow.sdk`` is there."""
    with tempfile.TemporaryDirectory(prefix="mpc-benchmark-", ignore_cleanup_errors=True) as home:
        return statistics.median(_once(modules, home) for _ in range(repeats))


def _once(modules: str, home: str) -> float:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(modules=modules)],
        env=airflow_environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout.split()[-1])
