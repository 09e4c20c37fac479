# SPDX-License-Identifier: Apache-2.0
"""A world for each test: an emulator behind ``mpc_default``, and a clock that skips what would be waited."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mpc import polling
from airflow_provider_mpc.api import auth, budget
from airflow_provider_mpc.emulator import Emulator, EmulatorServer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from fault_world import TOLERANCE, World


@pytest.fixture(scope="session")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(Emulator()) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__MPC__OUTAGE_TOLERANCE", str(TOLERANCE))
    monkeypatch.setattr(polling, "_refusals", {})
    monkeypatch.setattr(budget, "_budgets", {})
    auth.forget_credentials()
    yield
    auth.forget_credentials()


@pytest.fixture
def world(server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(server, monkeypatch)
    yield world
    world.close()
