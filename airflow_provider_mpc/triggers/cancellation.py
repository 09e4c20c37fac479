# SPDX-License-Identifier: Apache-2.0
"""
Work that a triggerer's cancellation must not cut short, nor spoil.

Airflow's triggerer tells a kill from its own shutdown by the message of the cancellation, and repeats it with each
pass of its loop, about once a second, until the trigger has ended: also while the trigger's ``on_kill`` is at work
(airflow.jobs.triggerer_job_runner, TriggerRunner.cancel_triggers and run_trigger).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_at_work: set[asyncio.Task[Any]] = set()
"""An event loop alone does not keep its tasks."""
_threads = ThreadPoolExecutor(8, thread_name_prefix="mpc-cancel")


async def keep_reason(work: Coroutine[Any, Any, T]) -> T:
    """
    Await work so that a cancellation arrives with its message; the work itself goes on to its end.

    ``asgiref.sync.sync_to_async``, through which Airflow reads some connections, loses the message.
    """
    return await asyncio.shield(begin(work))


async def bring_to_end(task: asyncio.Task[T], *, until: float) -> T:
    """
    Await a task although this is cancelled, even repeatedly.

    :param task: what :func:`begin` has returned.
    :param until: on the loop's clock; then a cancellation counts. The task goes on to its end all the same.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # When the loop is shut down, all tasks are cancelled, this one among them.
            if task.done() or loop.time() >= until:
                raise


def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin work that goes on to its end, whoever awaits it."""
    task = asyncio.get_running_loop().create_task(work)
    _at_work.add(task)
    task.add_done_callback(_ended)
    return task


async def in_own_thread(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """
    Call what takes its time in a thread of the provider's own, in the caller's context: log lines know their task.

    asyncio's own threads are few, and Airflow's triggerer needs them to tell of any trigger's event or kill.
    """
    call = functools.partial(contextvars.copy_context().run, work, *arguments, **options)
    return await asyncio.get_running_loop().run_in_executor(_threads, call)


def _ended(task: asyncio.Task[Any]) -> None:
    _at_work.discard(task)
    if not task.cancelled():
        # Whoever awaits it is told; if nobody does any more, asyncio need not complain.
        task.exception()
