# SPDX-License-Identifier: Apache-2.0
"""An emulator whose account is full of canaries."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mpc import polling
from airflow_provider_mpc.api import auth, budget
from airflow_provider_mpc.emulator import Emulator, EmulatorServer

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS / "faults"), str(_TESTS / "integration"), str(_TESTS.parent)]

from canaries import PASSWORD, SECRET_KEY  # noqa: E402
from echoing import make_echo_a_fault  # noqa: E402
from fault_world import World  # noqa: E402


@pytest.fixture(scope="session")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(Emulator(secret_key=SECRET_KEY, password=PASSWORD)) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__MPC__OUTAGE_TOLERANCE", "60")
    monkeypatch.setattr(polling, "_refusals", {})
    monkeypatch.setattr(budget, "_budgets", {})
    make_echo_a_fault(monkeypatch)
    _take_the_mask_off(monkeypatch)
    auth.forget_credentials()
    yield
    auth.forget_credentials()


def _take_the_mask_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put Airflow's own masking out of action: it knows no token of IAM, and nobody should need it."""
    found = [module for name, module in sys.modules.items() if name.endswith(".secrets_masker.secrets_masker")]
    found += [module for name, module in sys.modules.items() if name.endswith(".execution_time.secrets_masker")]
    for module in found:
        monkeypatch.setattr(module.SecretsMasker, "add_mask", lambda *_, **__: None)


@pytest.fixture
def world(server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(server, monkeypatch)
    yield world
    world.close()
