# SPDX-License-Identifier: Apache-2.0
"""A deferred task is killed: what a real triggerer's runner does to the trigger, and what becomes of the job."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
import structlog
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.execution_time import task_runner
from airflow.triggers.base import BaseTrigger
from asgiref.sync import sync_to_async
from harness import TaskLife, TriggererSupervisor, workload

from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.triggers import connections
from airflow_provider_mpc.triggers import mpc as trigger_module
from airflow_provider_mpc.triggers.cancellation import begin, bring_to_end

pytestmark = pytest.mark.skipif(
    not hasattr(BaseTrigger, "on_kill"), reason="triggers hear of kills from Airflow 3.3 on"
)
CLASS = "airflow_provider_mpc.triggers.mpc.MpcEditingJobTrigger"


@pytest.fixture
def hold() -> Iterator[threading.Event]:
    """Hold up what waits for it, until it is set or the test is over."""
    event = threading.Event()
    yield event
    event.set()


class Airflow:
    """
    Plays the API server's part in a kill.

    :param state: of the task once it was killed.
    :param hold: the answer waits for it.
    """

    def __init__(self, state: str, hold: threading.Event | None = None) -> None:
        self.state = state
        self.asked = threading.Event()
        self._hold = hold

    def get_task_states(self, **asked: Any) -> dict[str, dict[str, str]]:
        self.asked.set()
        if self._hold:
            self._hold.wait(20)
        return {asked["run_ids"][0]: {asked["task_ids"][0]: self.state}}


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not fact():
            await asyncio.sleep(0.01)


async def kill(
    job_id: str,
    when: Callable[[], bool],
    *,
    airflow: Airflow,
    then: Callable[[TriggerRunner], Any],
) -> None:
    """Run a trigger in a runner; once ``when`` is true cancel it, as the runner does with each pass of its loop."""
    runner = TriggerRunner()
    side = TaskLife(lambda: None)
    runner.comms_decoder = supervisor = TriggererSupervisor(side)  # type: ignore[assignment]
    with (
        mock.patch.object(task_runner, "SUPERVISOR_COMMS", supervisor, create=True),
        mock.patch.dict(os.environ, {"_AIRFLOW_PROCESS_CONTEXT": "client"}),
        mock.patch.object(task_runner.RuntimeTaskInstance, "get_task_states", staticmethod(airflow.get_task_states)),
    ):
        row = {"classpath": CLASS, "trigger_kwargs": {"job_id": job_id, "poke_interval": 0.1, "cancel_on_kill": True}}
        runner.to_create.append(workload(row, side))
        await runner.create_triggers()
        await until(when)
        await cancel(runner)
        await then(runner)
        tasks = [one["task"] for one in runner.triggers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def cancel(runner: TriggerRunner) -> None:
    runner.to_cancel.append(1)
    await runner.cancel_triggers()


async def cancel_again_and_again(runner: TriggerRunner, airflow: Airflow) -> None:
    """Repeat the cancellation while the trigger asks for the task's state."""
    await until(airflow.asked.is_set)
    for _ in range(4):
        await cancel(runner)
        await asyncio.sleep(0.02)


def status_of(emulator: Emulator, job_id: str) -> str | None:
    job = emulator.jobs.get(job_id)
    assert job is not None
    return job.look(emulator.clock()).status


def test_a_job_is_cancelled_though_airflow_repeats_its_cancellation_meanwhile(
    emulator: Emulator, hold: threading.Event
) -> None:
    job_id = emulator.job(["WAITING"])
    airflow = Airflow("failed", hold)

    async def again_and_again(runner: TriggerRunner) -> None:
        await cancel_again_and_again(runner, airflow)
        assert not runner.triggers[1]["task"].done(), "the task's log would be closed"
        hold.set()
        await until(lambda: status_of(emulator, job_id) == "CANCELED")

    asyncio.run(kill(job_id, lambda: emulator.calls("list") > 0, airflow=airflow, then=again_and_again))


def test_a_repeated_cancellation_in_a_hand_over_cancels_no_job(emulator: Emulator, hold: threading.Event) -> None:
    job_id = emulator.job(["WAITING"])
    airflow = Airflow("deferred", hold)

    async def again_and_again(runner: TriggerRunner) -> None:
        await cancel_again_and_again(runner, airflow)
        hold.set()
        await until(lambda: all(one["task"].done() for one in runner.triggers.values()))
        await asyncio.sleep(0.3)

    asyncio.run(kill(job_id, lambda: emulator.calls("list") > 0, airflow=airflow, then=again_and_again))
    assert emulator.calls("delete") == 0
    assert status_of(emulator, job_id) == "WAITING"


def test_a_job_is_cancelled_though_the_kill_came_while_the_connection_was_read(
    emulator: Emulator, hold: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = emulator.job(["WAITING"])
    read = connections.get_async_connection
    reads = threading.Event()

    def linger() -> None:
        reads.set()
        hold.wait(20)

    async def slowly(conn_id: str) -> Any:
        # As Airflow's own code reads it from a secrets backend, or at all before 3.3.2.
        await sync_to_async(linger, thread_sensitive=False)()
        return await read(conn_id)

    monkeypatch.setattr(connections, "get_async_connection", slowly)

    async def go_on(runner: TriggerRunner) -> None:
        hold.set()
        await until(lambda: status_of(emulator, job_id) == "CANCELED")

    asyncio.run(kill(job_id, reads.is_set, airflow=Airflow("failed"), then=go_on))


def test_a_triggerer_that_shuts_down_during_a_kill_is_not_held_up(emulator: Emulator, hold: threading.Event) -> None:
    job_id = emulator.job(["WAITING"])
    airflow = Airflow("failed", hold)

    async def shut_down() -> None:
        async def leave(runner: TriggerRunner) -> None:
            await until(airflow.asked.is_set)
            raise KeyboardInterrupt

        await kill(job_id, lambda: emulator.calls("list") > 0, airflow=airflow, then=leave)

    # asyncio.run cancels what is left on the loop, and then waits for the threads.
    threading.Timer(1.0, hold.set).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(shut_down())
    assert time.monotonic() - began < 20


def test_a_kill_that_cannot_be_looked_into_leaves_the_job_and_says_so(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = emulator.job(["WAITING"])

    def refuse(**_: Any) -> Any:
        raise RuntimeError("no API server")

    airflow = Airflow("failed")
    monkeypatch.setattr(airflow, "get_task_states", refuse)
    monkeypatch.setattr(logging.getLogger("airflow_provider_mpc"), "propagate", True)

    async def wait(runner: TriggerRunner) -> None:
        await until(lambda: all(one["task"].done() for one in runner.triggers.values()))

    asyncio.run(kill(job_id, lambda: emulator.calls("list") > 0, airflow=airflow, then=wait))
    assert status_of(emulator, job_id) == "WAITING"
    assert f"Clipping task {job_id} could not be cancelled and may go on: no API server" in caplog.text


def test_a_kill_takes_no_thread_that_airflow_needs_and_keeps_to_its_tasks_log(
    emulator: Emulator, hold: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = emulator.job(["WAITING"])
    contexts: list[dict[str, Any]] = []

    def linger(*_: Any, **__: Any) -> None:
        contexts.append(structlog.contextvars.get_contextvars())
        hold.wait(20)

    monkeypatch.setattr(trigger_module, "cancel_if_waiting", linger)

    async def go_on(runner: TriggerRunner) -> None:
        await until(lambda: bool(contexts))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            assert await loop.run_in_executor(None, int) == 0
        hold.set()

    async def with_one_thread() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await kill(job_id, lambda: emulator.calls("list") > 0, airflow=Airflow("failed"), then=go_on)

    asyncio.run(with_one_thread())
    assert [context["trigger_id"] for context in contexts] == [1]


def test_work_that_never_ends_holds_a_trigger_until_it_is_time() -> None:
    async def cancelled(until: float) -> asyncio.Task[None]:
        work = begin(asyncio.sleep(3600))
        task = asyncio.ensure_future(bring_to_end(work, until=until))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not work.done()
        work.cancel()
        return task

    async def both() -> None:
        now = asyncio.get_running_loop().time()
        early = await cancelled(now + 3600)
        assert not early.done()
        late = await cancelled(now - 1)
        assert late.cancelled()
        await asyncio.gather(early, return_exceptions=True)

    asyncio.run(both())
