# SPDX-License-Identifier: Apache-2.0
"""One real Airflow and one emulator for all tests in this folder; each test adds the Dags it needs."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.live_airflow import LiveAirflow

JOB_SECONDS = 8.0


@dataclass(frozen=True)
class LiveEmulator:
    """
    An emulator that the live Airflow's connection ``mpc_default`` leads to.

    :param media_root: the folder of its buckets
    """

    emulator: Emulator
    server: EmulatorServer
    media_root: Path


@pytest.fixture(scope="session")
def live_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEmulator]:
    """Serve an emulator that really cuts media."""
    media_root = tmp_path_factory.mktemp("media")
    emulator = Emulator(media_root=media_root, job_seconds=JOB_SECONDS)
    with EmulatorServer(emulator) as server:
        yield LiveEmulator(emulator, server, media_root)


class MetricsListener:
    """A statsd server that keeps what Airflow's processes send it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.packets: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                packet = self._socket.recv(65536)
            except OSError:
                return
            self.packets.append(packet.decode())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="session")
def metrics() -> Iterator[MetricsListener]:
    """Listen to the metrics of the live Airflow."""
    listener = MetricsListener()
    yield listener
    listener.close()


@pytest.fixture(scope="session")
def live_airflow(live_emulator: LiveEmulator, metrics: MetricsListener) -> Iterator[LiveAirflow]:
    """
    Run scheduler, Dag processor, triggerer and API server; put Dags into it by ``add_dag``.

    A test that kills a component brings it back with ``restart``, so that the next test finds it healthy.
    """
    env = {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(metrics.port),
    }
    connections = {"mpc_default": live_emulator.server.connection_json()}
    with LiveAirflow(connections=connections, env=env) as airflow:
        yield airflow
