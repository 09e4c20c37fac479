# SPDX-License-Identifier: Apache-2.0
"""
What a task remembers over its retries: Airflow 3.3's task state store, where there is one.

Airflow keeps the store's rows when a task is cleared, but a cleared task must start afresh. So each key
carries ``max_tries - task.retries``, which grows when a task is cleared and not when it is retried.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)


class TaskStore:
    """
    The task's store; without one (Airflow before 3.3) nothing is remembered.

    :param context: the task's context.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        try:
            self._store: Any = context["task_state_store"]
        except KeyError:
            self._store = None
        ti: Any = context.get("ti")
        max_tries = getattr(ti, "max_tries", None)
        retries = getattr(getattr(ti, "task", None), "retries", None)
        self._mark = max_tries - retries if isinstance(max_tries, int) and isinstance(retries, int) else 0

    def get(self, name: str) -> Any:
        """Return what was kept under a name since the task was last cleared, or None."""
        if self._store is None:
            return None
        try:
            return self._store.get(self._key(name))
        except Exception as error:
            log.warning("The task state store could not be read (%s); the task goes on without it.", error)
            return None

    def set(self, name: str, value: Any) -> bool:
        """Keep a JSON value; return whether it was kept."""
        if self._store is None:
            return False
        try:
            self._store.set(self._key(name), value)
        except Exception as error:
            log.warning("The task state store could not be written (%s); a retry will not know %s.", error, name)
            return False
        return True

    def delete(self, name: str) -> None:
        """Forget what was kept under a name."""
        if self._store is None:
            return
        try:
            self._store.delete(self._key(name))
        except Exception as error:
            log.warning("The task state store could not be written (%s).", error)

    def _key(self, name: str) -> str:
        return f"mpc_{name}_{self._mark}"
