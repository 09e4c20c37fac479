# SPDX-License-Identifier: Apache-2.0
"""
A stand-in for Huawei Cloud MPC and IAM over HTTP, for tests, demos and benchmarks.

It answers as the documentation says, checks signatures and tokens as the API gateway does, really cuts media,
and plays faults and undocumented variants by a switch::

    emulator = Emulator(media_root="media", calls_per_minute=100)
    with EmulatorServer(emulator) as server:
        job_id = emulator.job(["WAITING", "PROCESSING", "SUCCEEDED"])
        emulator.fault("429", times=2, match="list", retry_after=3)
        os.environ["AIRFLOW_CONN_MPC_DEFAULT"] = server.connection_uri()

``python -m airflow_provider_mpc.emulator`` starts it in a process of its own; :mod:`.admin` describes how to
steer that one over HTTP. It is meant for the loopback interface and for made-up credentials only.
"""

from __future__ import annotations

from airflow_provider_mpc.emulator.server import EmulatorServer
from airflow_provider_mpc.emulator.state import Emulator

__all__ = ["Emulator", "EmulatorServer"]
