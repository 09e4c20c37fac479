# SPDX-License-Identifier: Apache-2.0
"""
A pytest plugin for people who test their own Dags: a stand-in for MPC behind the connection ``mpc_default``.

Opt in, in the ``conftest.py`` of the project's root::

    pytest_plugins = ["airflow_provider_mpc.testing"]

and ask for a fixture::

    def test_a_failed_clip_stops_the_dag(mpc_emulator):
        job_id = mpc_emulator.job(["WAITING", "PROCESSING", "FAILED"])

Each test has an emulator of its own, on a free port. Cutting real media (:func:`mpc_media`) needs PyAV:
``pip install 'airflow-provider-mpc[emulator]'``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.testing.dags import hasten
from airflow_provider_mpc.testing.media import MpcMedia

if TYPE_CHECKING:
    from airflow_provider_mpc.emulator.connection import Auth

__all__ = ["MpcConnection", "MpcMedia", "hasten", "mpc_connection", "mpc_emulator", "mpc_media", "mpc_server"]

JOB_SECONDS = 0.5


class MpcConnection(Protocol):
    """What the fixture ``mpc_connection`` is."""

    def __call__(self, conn_id: str = "mpc_default", auth: Auth = "aksk", **extra: Any) -> str:
        """
        Let a connection lead to the emulator; return its id.

        :param conn_id: the connection's id.
        :param auth: ``aksk``, ``temporary``, ``token``, ``password`` or ``agency``.
        :param extra: further fields of the connection's extra.
        """


@pytest.fixture
def mpc_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorServer]:
    """
    The emulator's server; ``stop()`` and ``start()`` play an outage.

    Airflow's config is set for tests: calls are not slowed down by the budget, and an unknown job is unknown at once.
    """
    # A port of its own for each test: what the provider remembers of an endpoint (refused keys, budgets) goes with it.
    with EmulatorServer(Emulator(job_seconds=JOB_SECONDS)) as server:
        monkeypatch.setenv("AIRFLOW__MPC__CALLS_PER_MINUTE", "100000")
        monkeypatch.setenv("AIRFLOW__MPC__MISSING_GRACE", "0")
        yield server


@pytest.fixture
def mpc_connection(mpc_server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> MpcConnection:
    """Let further connections lead to the emulator: ``mpc_connection("media", auth="token")``."""
    from airflow_provider_mpc.emulator.connection import as_json

    def connect(conn_id: str = "mpc_default", auth: Auth = "aksk", **extra: Any) -> str:
        fields = mpc_server.connection(auth)
        fields["extra"] |= extra
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", as_json(fields))
        return conn_id

    return connect


@pytest.fixture
def mpc_emulator(mpc_server: EmulatorServer, mpc_connection: MpcConnection) -> Emulator:
    """
    The emulator, with the connection ``mpc_default`` leading to it.

    ``job([...])`` scripts a job's life, ``fault(...)`` plays a fault, ``calls("list")`` counts.
    """
    mpc_connection("mpc_default")
    return mpc_server.emulator


@pytest.fixture
def mpc_media(mpc_emulator: Emulator, tmp_path: Path) -> MpcMedia:
    """Buckets as folders: from now on, created jobs really cut media."""
    return MpcMedia.begin(mpc_emulator, tmp_path / "obs")
