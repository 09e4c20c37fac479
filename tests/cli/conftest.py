# SPDX-License-Identifier: Apache-2.0
"""An emulator behind the connection ``mpc_default``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(Emulator()) as running:
        yield running


@pytest.fixture
def emulator(server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", server.connection_json())
    monkeypatch.setenv("AIRFLOW__MPC__CALLS_PER_MINUTE", "100000")
    monkeypatch.setenv("AIRFLOW__MPC__MISSING_GRACE", "0")
    return server.emulator
