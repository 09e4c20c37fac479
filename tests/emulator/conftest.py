# SPDX-License-Identifier: Apache-2.0
"""An emulator on a real socket, and a plain caller that signs by the rules of the documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_mpc.api import signing
from airflow_provider_mpc.emulator import Emulator, EmulatorServer

MIDNIGHT = datetime(2026, 1, 15, tzinfo=UTC).timestamp()


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = MIDNIGHT) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Caller:
    """Calls an emulator; each call has a connection of its own, and can be spoilt by an argument."""

    def __init__(self, server: EmulatorServer) -> None:
        self.server = server
        self.emulator = server.emulator
        self.jobs_path = f"/v2/{self.emulator.project_id}/editing/jobs"

    def signed(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        unsigned: Mapping[str, str] | None = None,
        keys: tuple[str, str] | None = None,
        sent_query: str | None = None,
    ) -> requests.Response:
        """Sign ``headers`` and send them with the ``unsigned`` ones."""
        wire_query = signing.canonical_query(query)
        now = datetime.fromtimestamp(self.emulator.clock(), UTC)
        signed = {
            "Host": self.server.url.removeprefix("http://"),
            signing.DATE_HEADER: signing.sdk_date(now),
            **({"Content-Type": "application/json"} if body else {}),
            **(headers or {}),
        }
        access_key, secret_key = keys or (self.emulator.access_key, self.emulator.secret_key)
        authorization = signing.authorization(access_key, secret_key, method, path, wire_query, signed, body)
        sent = {**signed, "Authorization": authorization, **(unsigned or {})}
        return self.send(method, path, wire_query if sent_query is None else sent_query, sent, body)

    def send(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> requests.Response:
        """Send a request as it is."""
        url = f"{self.server.url}{path}" + (f"?{query}" if query else "")
        return requests.request(
            method, url, headers=dict(headers or {}), data=body or None, timeout=30, allow_redirects=False
        )

    def list(self, *job_ids: str, **options: Any) -> requests.Response:
        return self.signed("GET", self.jobs_path, [("job_id", job_id) for job_id in job_ids], **options)

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the only job a list call tells of."""
        reply = self.list(job_id)
        assert reply.status_code == 200, reply.text
        (job,) = reply.json()["job_array"]
        return job

    def create(self, order: Any, **options: Any) -> requests.Response:
        return self.signed("POST", self.jobs_path, body=json.dumps(order).encode(), **options)

    def delete(self, job_id: str) -> requests.Response:
        return self.signed("DELETE", f"{self.jobs_path}/{job_id}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Emulator:
    return Emulator(clock=clock)


@pytest.fixture
def server(emulator: Emulator) -> Iterator[EmulatorServer]:
    with EmulatorServer(emulator) as running:
        yield running


@pytest.fixture
def caller(server: EmulatorServer) -> Caller:
    return Caller(server)


@pytest.fixture
def media_root(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    root.mkdir()
    return root.resolve()
