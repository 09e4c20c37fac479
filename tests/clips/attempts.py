# SPDX-License-Identifier: Apache-2.0
"""A task's surroundings as Airflow makes them, and a clock for the emulator."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


class StateStore(dict[str, Any]):
    """The task state store of Airflow 3.3."""

    def set(self, key: str, value: Any, **_: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class Try:
    """One try of a task instance; a retry shares the store, and a clear makes ``max_tries`` grow."""

    store: StateStore | None = field(default_factory=StateStore)
    max_tries: int = 0
    xcom: dict[str, Any] = field(default_factory=dict)
    dag_id: str = "clips"
    run_id: str = "manual"
    task_id: str = "make"
    map_index: int = -1
    task: Any = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value

    def xcom_pull(self, *, key: str, **_: Any) -> Any:
        return self.xcom.get(key)

    def context(self, task: Any) -> dict[str, Any]:
        self.task = task
        context: dict[str, Any] = {"ti": self}
        if self.store is not None:
            context["task_state_store"] = self.store
        return context


class Clock:
    """The emulator's time, in which a created job waits for 20 s and works for 80."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead
