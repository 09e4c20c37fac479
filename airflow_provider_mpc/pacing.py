# SPDX-License-Identifier: Apache-2.0
"""
When to look at which job, and how fast calls may follow each other. Pure: it knows no clock and no loop.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from airflow_provider_mpc.api.job_ids import IDS_PER_CALL

log = logging.getLogger(__name__)

FIRST_LOOK_WITHIN = 2.0
"""Seconds in which new waits are looked at, while the budget allows."""
_SHORTEST_INTERVAL = 0.1
_PACE = 0.6
"""Calls follow each other after at least this share of their mean distance."""
_LONGEST_GAP = 1.0
_LATE = 0.05
_CATCH_UP = 0.25
_NEARLY_ALL = 0.9
"""The share of the budget from which on calls are spread evenly over the minute."""
_RELAXED = 0.8
"""The share of the budget below which stretching has ended."""


@dataclass(frozen=True)
class Interval:
    """
    How often a wait wants its jobs looked at.

    :param seconds: between two looks.
    :param backoff: double it with each look, as a sensor's ``exponential_backoff``.
    :param longest: seconds; the sensor's ``max_wait``, which counts with ``backoff`` only.
    """

    seconds: float
    backoff: bool = False
    longest: float | None = None

    def after(self, waited: float) -> float:
        """Return the seconds to the next look for a wait that is so many seconds old."""
        seconds = max(self.seconds, _SHORTEST_INTERVAL)
        if self.backoff:
            # The looks are at 0, s, 3s, 7s … of the wait: each pause is twice the one before.
            while seconds <= waited + 0.001 and seconds < 1e6:
                waited -= seconds
                seconds *= 2
            if self.longest is not None:
                seconds = max(min(seconds, self.longest), _SHORTEST_INTERVAL)
        return seconds


class Due(Protocol):
    """Something that is due at a time; NaN: not at all."""

    due: float


Item = TypeVar("Item", bound=Due)


class DueQueue(Generic[Item]):
    """Items by the time at which they are due. An item whose ``due`` was changed is found at the new time only."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._order = itertools.count()

    def schedule(self, item: Item, due: float) -> None:
        """Make an item due at a time, and no longer at the one before."""
        item.due = due
        heapq.heappush(self._heap, (due, next(self._order), item))

    def next_due(self) -> float | None:
        """Return when the next item is due; None if there is none."""
        heap = self._heap
        while heap:
            due, _, item = heap[0]
            if due == item.due:
                return due
            heapq.heappop(heap)
        return None

    def peek(self) -> Item:
        """Return the next item; call :meth:`next_due` first."""
        return self._heap[0][2]

    def pop(self) -> Item:
        """Take the next item out; call :meth:`next_due` first."""
        item = heapq.heappop(self._heap)[2]
        item.due = float("nan")
        return item


class Pace:
    """How many calls the waits want, and what to leave between two of them."""

    def __init__(self) -> None:
        self.stretched = False
        self._looks_per_second = 0.0
        self._new = 0
        self._new_by = 0.0

    def add(self, interval: float, now: float) -> None:
        """Count a job that is to be looked at; it is new until :meth:`looked_at`."""
        self._looks_per_second += 1 / interval
        if self._new == 0:
            self._new_by = now + FIRST_LOOK_WITHIN
        self._new += 1

    def change(self, interval: float, to: float) -> None:
        """Count a job's new interval instead of the one before."""
        self._looks_per_second += 1 / to - 1 / interval

    def remove(self, interval: float, *, new: bool) -> None:
        """Count a job no more."""
        self._looks_per_second -= 1 / interval
        self._new -= new

    def looked_at(self) -> None:
        """A job was looked at for the first time."""
        self._new -= 1

    @property
    def idle(self) -> bool:
        """Whether nothing is counted."""
        return self._new == 0 and abs(self._looks_per_second) < 1e-6

    def gap(self, calls_per_minute: float, jobs: int, late: float, shortest: float, now: float) -> float:
        """
        Return the seconds to leave between a call and the next.

        :param calls_per_minute: as many are allowed.
        :param jobs: as many are waited for.
        :param late: the share of its interval by which the first job is overdue.
        :param shortest: the shortest interval of the call's jobs.
        """
        allowed = calls_per_minute / 60
        wanted = self._calls_per_second(jobs)
        if wanted >= _NEARLY_ALL * allowed:
            return 1 / allowed
        if jobs <= IDS_PER_CALL:
            # Time for others to join the next call.
            return min(_LONGEST_GAP, shortest / 2)
        calls = max(wanted, min(self._looks_per_second, 1.0))
        gap = min(_PACE / calls, _LONGEST_GAP) if calls > 0 else 0.0
        if self._new > 0:
            gap = min(gap, max(0.0, self._new_by - now) * IDS_PER_CALL / self._new)
        if late > _LATE:
            # Waits that end want no more looks, so the mean falls while those behind them are still due.
            gap *= _CATCH_UP
        return gap

    def _calls_per_second(self, jobs: int) -> float:
        """Return the calls that all looks would take, in full batches as far as there are so many jobs."""
        return self._looks_per_second / max(1, min(jobs, IDS_PER_CALL))

    def tell_stretching(self, calls_per_minute: float, jobs: int) -> None:
        """Log, once each, that intervals begin to stretch and that they no longer do."""
        wanted = self._calls_per_second(jobs) * 60
        if not self.stretched and wanted > calls_per_minute:
            self.stretched = True
            log.warning(
                "%d MPC jobs are waited for, which would take %d calls a minute, but %d are allowed: "
                "each is looked at about every %d s instead.",
                jobs,
                wanted,
                calls_per_minute,
                wanted / calls_per_minute * jobs / self._looks_per_second,
            )
        elif self.stretched and wanted < _RELAXED * calls_per_minute:
            self.stretched = False
            log.info(
                "%d MPC jobs are waited for, %d calls a minute of %d allowed: each is looked at as often as asked.",
                jobs,
                wanted,
                calls_per_minute,
            )
