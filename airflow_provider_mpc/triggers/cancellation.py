# SPDX-License-Identifier: Apache-2.0
"""
Work that a triggerer's cancellation must not cut short, nor spoil.

Airflow's triggerer tells a kill from its own shutdown by the message of the cancellation, and repeats it with each
pass of its loop, about once a second, until the trigger has ended: also while the trigger's ``on_kill`` is at work
(airflow.jobs.triggerer_job_runner, TriggerRunner.cancel_triggers and run_trigger).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_at_work: set[asyncio.Task[Any]] = set()
"""An event loop alone does not keep its tasks."""


async def keep_reason(work: Coroutine[Any, Any, T]) -> T:
    """
    Await work so that a cancellation arrives with its message; the work itself goes on to its end.

    ``asgiref.sync.sync_to_async``, through which Airflow reads some connections, loses the message.
    """
    return await asyncio.shield(_begin(work))


async def bring_to_end(work: Coroutine[Any, Any, T], *, patience: float) -> T:
    """
    Await work although this is cancelled, even repeatedly.

    :param patience: seconds after which a cancellation counts; the work goes on to its end then, too.
    """
    task = _begin(work)
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # When the loop is shut down, all tasks are cancelled, this work among them.
            if task.done() or loop.time() >= until:
                raise


def _begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.get_running_loop().create_task(work)
    _at_work.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _at_work.discard(task)
    if not task.cancelled():
        # Whoever awaits it is told; if nobody does any more, asyncio need not complain.
        task.exception()
