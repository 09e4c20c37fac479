# SPDX-License-Identifier: Apache-2.0
"""An emulator behind the connection ``mpc_default``, and times short enough for tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_mpc import polling
from airflow_provider_mpc.api import budget
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.triggers import mpc as trigger_module


@pytest.fixture(scope="session")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(Emulator()) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__MPC__CALLS_PER_MINUTE", "100000")
    monkeypatch.setenv("AIRFLOW__MPC__MISSING_GRACE", "0")
    monkeypatch.setenv("AIRFLOW__MPC__OUTAGE_TOLERANCE", "5")
    monkeypatch.setattr(trigger_module, "seconds_to_end_a_worker", lambda: 0.0)
    monkeypatch.setattr(polling, "_LONGEST_HOLD", 0.1)
    monkeypatch.setattr(polling, "_SETTLE", 0.5)
    monkeypatch.setattr(polling, "_CONFIRM_MISSING", 0.1)
    monkeypatch.setattr(polling, "_refusals", {})
    monkeypatch.setattr(budget, "_budgets", {})
    monkeypatch.setattr(budget, "_SHORTEST_PAUSE", 0.2)


@pytest.fixture
def emulator(server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    server.emulator.reset()
    monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", server.connection_json())
    return server.emulator
