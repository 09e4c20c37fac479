# SPDX-License-Identifier: Apache-2.0
"""How long a triggerer goes by a connection it has read, and what it takes for a missing one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_mpc.api.errors import MpcConfigurationError
from airflow_provider_mpc.triggers import connections
from airflow_provider_mpc.triggers.connections import current_settings


class Reading:
    """A clock, and a connection that takes five seconds to be read."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.began: list[float] = []

    async def __call__(self, conn_id: str) -> Any:
        self.began.append(self.now)
        self.now += 5
        return object()


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    reading = Reading()
    monkeypatch.setattr(connections, "_read", reading)
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: reading.now))
    return reading


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def test_one_is_kept_for_half_a_minute_from_when_its_reading_began(reading: Reading) -> None:
    async def scenario() -> None:
        await current_settings("mine")
        reading.now = 1029.0
        await current_settings("mine")
        assert reading.began == [1000.0]
        await current_settings("another")
        reading.now = 1031.0
        await current_settings("mine")
        assert reading.began == [1000.0, 1029.0, 1031.0]

    run(scenario)


def test_one_whose_reading_began_before_a_refusal_is_read_again(reading: Reading) -> None:
    async def scenario() -> None:
        await current_settings("mine")
        await current_settings("mine", newer_than=1003.0)
        assert reading.began == [1000.0, 1005.0]
        await current_settings("mine", newer_than=1004.0)
        assert reading.began == [1000.0, 1005.0]

    run(scenario)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


def test_a_connection_that_is_not_found_for_a_moment_is_looked_for_again(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found_at_last(conn_id: str) -> Any:
        if len(pauses) < 4:
            raise AirflowNotFoundException("no")
        return SimpleNamespace(login="AK", password="SK", host=None, port=None, extra_dejson={"region": "cn-north-4"})

    async def extra(conn: Any) -> Any:
        return conn.extra_dejson

    monkeypatch.setattr(connections, "get_async_connection", found_at_last)
    monkeypatch.setattr(connections, "get_async_extra_dejson", extra)

    async def scenario() -> None:
        assert (await current_settings("mine")).login == "AK"

    run(scenario)


def test_a_connection_that_stays_away_is_told_after_some_time(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(conn_id: str) -> Any:
        raise AirflowNotFoundException("no")

    monkeypatch.setattr(connections, "get_async_connection", never)

    async def scenario() -> None:
        with pytest.raises(MpcConfigurationError, match="There is no connection 'mine'"):
            await current_settings("mine")

    run(scenario)
    assert 30 <= sum(pauses) <= 60
