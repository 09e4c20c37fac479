# SPDX-License-Identifier: Apache-2.0
"""The poller with real threads and sockets: hung endpoints, leaks, loops of their own."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from airflow_provider_mpc.api.client import MpcClient
from airflow_provider_mpc.connection import read_connection
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.polling import Poller, ThreadedCaller, Waited, shared_poller


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(Emulator()) as server:
        yield server


@pytest.fixture
def hung() -> Iterator[str]:
    """An endpoint that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def client_of(endpoint: str, server: EmulatorServer, timeout: float = 30.0) -> MpcClient:
    emulator = server.emulator
    extra = {"project_id": emulator.project_id, "region": emulator.region, "timeout": str(timeout)}
    settings = read_connection(
        login=emulator.access_key, password=emulator.secret_key, host=endpoint, port=None, extra=extra
    )
    return settings.client(calls_per_minute=100_000)


def poller_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("mpc-poller")]


def wait_until(condition: object, seconds: float = 20.0) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_hung_calls_to_one_endpoint_do_not_slow_another_identity(server: EmulatorServer, hung: str) -> None:
    async def scenario() -> float:
        stuck = [Poller(ThreadedCaller(client_of(hung, server, timeout=3.0))) for _ in range(2)]
        for poller in stuck:
            # As if it had been good before: until then a poller makes one call at a time.
            poller._ever_good = True
        hanging = [
            asyncio.ensure_future(poller.wait_all([f"h{number}"], 1.0, timeout=2.0))
            for poller in stuck
            for number in range(100)
        ]
        await asyncio.sleep(1.0)
        assert sum(len(poller._in_flight) for poller in stuck) == 16
        job_id = server.emulator.job(states=["SUCCEEDED"])
        began = time.monotonic()
        await asyncio.wait_for(Poller(ThreadedCaller(client_of(server.url, server))).wait(job_id, 1.0), 30)
        taken = time.monotonic() - began
        for wait in hanging:
            wait.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return taken

    assert asyncio.run(scenario()) < 2.0
    assert wait_until(lambda: not poller_threads())


def test_a_reply_that_drips_holds_a_thread_no_longer_than_the_time_limit(server: EmulatorServer) -> None:
    server.emulator.fault("drip", times=1, interval=0.2)
    job_id = server.emulator.job(states=["SUCCEEDED"])

    async def scenario() -> float:
        began = time.monotonic()
        poller = Poller(ThreadedCaller(client_of(server.url, server, timeout=1.0)))
        await asyncio.wait_for(poller.wait(job_id, 1.0), 30)
        return time.monotonic() - began

    assert asyncio.run(scenario()) < 8.0
    assert wait_until(lambda: not poller_threads())


def test_nothing_is_left_of_ten_thousand_waits(server: EmulatorServer) -> None:
    emulator = server.emulator
    job_ids = [emulator.job(states=["SUCCEEDED"]) for _ in range(10_000)]

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    async def round_of(ids: list[str]) -> None:
        poller = Poller(ThreadedCaller(client_of(server.url, server)))
        results = await asyncio.gather(*(poller.wait_all([job_id], 1.0) for job_id in ids))
        assert all(isinstance(result, Waited) for result in results)
        await asyncio.sleep(0)
        assert poller.ended
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    asyncio.run(round_of(job_ids[:10]))
    assert wait_until(lambda: not poller_threads())
    gc.collect()
    before = open_files()
    asyncio.run(round_of(job_ids))
    assert wait_until(lambda: not poller_threads())
    gc.collect()
    # The server's side of the connections is in this process too, and closes a moment later.
    assert wait_until(lambda: open_files() <= before + 2), (before, open_files())


def test_waits_of_one_loop_share_a_poller_and_each_loop_has_its_own(server: EmulatorServer) -> None:
    emulator = server.emulator
    made: list[object] = []

    def make() -> ThreadedCaller:
        caller = ThreadedCaller(client_of(server.url, server))
        made.append(caller)
        return caller

    async def scenario() -> None:
        ids = [emulator.job(states=["SUCCEEDED"]) for _ in range(5)]
        await asyncio.gather(*(shared_poller("key", make).wait(job_id, 1.0) for job_id in ids))

    asyncio.run(scenario())
    asyncio.run(scenario())
    assert len(made) == 2
    assert emulator.calls(api="list") == 2
