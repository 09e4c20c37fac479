# SPDX-License-Identifier: Apache-2.0
"""Connections as a triggerer reads them: without blocking its loop, and once for all triggers that ask."""

from __future__ import annotations

import asyncio
import copy
import time
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_mpc.api.errors import MpcConfigurationError, MpcConnectionNotFoundError
from airflow_provider_mpc.connection import ConnectionSettings, read_connection
from airflow_provider_mpc.triggers.cancellation import keep_reason

KEPT_FOR = 30.0
"""Seconds that a connection is good for all who ask for it."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0)


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    settings: ConnectionSettings | None = None
    read_at: float = float("-inf")
    failure: MpcConfigurationError | None = None
    failed_at: float = float("-inf")


_entries: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Entry]] = WeakKeyDictionary()


async def current_settings(conn_id: str, *, newer_than: float = 0.0) -> ConnectionSettings:
    """
    Return a connection, read and checked.

    :param newer_than: on the monotonic clock; what was read before that is read again.
    :raises MpcConfigurationError: there is no such connection, or a field of it makes no sense.
    """
    entry = _entries.setdefault(asyncio.get_running_loop(), {}).setdefault(conn_id, _Entry())
    asked_at = time.monotonic()
    async with entry.lock:
        kept = entry.read_at > max(newer_than, time.monotonic() - KEPT_FOR)
        if entry.settings is None or not kept:
            if entry.failure is not None and entry.failed_at >= asked_at:
                # Whoever came first has tried in vain while this one waited.
                raise copy.copy(entry.failure)
            began = time.monotonic()
            try:
                entry.settings = await keep_reason(_read(conn_id))
            except MpcConfigurationError as error:
                entry.failure, entry.failed_at = copy.copy(error), time.monotonic()
                raise
            entry.read_at = began
        return entry.settings


async def _read(conn_id: str) -> ConnectionSettings:
    for pause in (*_PAUSES, None):
        try:
            conn = await get_async_connection(conn_id)
            break
        except AirflowNotFoundException:
            # Airflow says the same when its API server or a secrets backend is down for a moment.
            if pause is None:
                raise MpcConnectionNotFoundError.of(conn_id) from None
            await asyncio.sleep(pause)
    return read_connection(
        login=conn.login,
        password=conn.password,
        host=conn.host,
        port=conn.port,
        extra=await get_async_extra_dejson(conn),
    )
