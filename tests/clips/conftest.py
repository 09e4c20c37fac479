# SPDX-License-Identifier: Apache-2.0
"""An emulator that the tasks' connection leads to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attempts import Clock

from airflow_provider_mpc.emulator import Emulator, EmulatorServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[EmulatorServer]:
    with EmulatorServer(Emulator(job_seconds=100, clock=clock)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", server.connection_json())
        yield server


@pytest.fixture
def emulator(server: EmulatorServer) -> Emulator:
    return server.emulator
