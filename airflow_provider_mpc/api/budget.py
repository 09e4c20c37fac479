# SPDX-License-Identifier: Apache-2.0
"""
How many calls a minute may be made: one budget for each endpoint and project of this process.

MPC answers 100 calls a minute per account and API (api-mpc/mpc_04_0103) and refuses the rest with 429.
Pure and thread-safe: it never sleeps by itself, and the clock is passed in.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable

WINDOW = 60.0
"""Seconds over which the limit is counted."""
MPC_LIMIT = 100
DEFAULT_CALLS_PER_MINUTE = 90
"""Below MPC's limit, since other tools use the account too."""

_LONGEST_PAUSE = 60.0
_LONGEST_RETRY_AFTER = 600.0
"""A limit by the minute asks for no more; a longer wish must not silence a process for a day."""
_SHORTEST_PAUSE = 10.0
_RECOVERY = 20.0
"""Calls a minute that come back each minute after a refusal."""
_LOWEST_RATE = 4.0
_SHARED_RECOVERY = 4.0
"""The same above half of the limit, once refusals keep coming although this process makes far fewer calls."""
_REFUSALS_BELONG_TOGETHER = 300.0
_OWN_SHARE = 0.8
_BURST = 1 / 3
"""The share of a minute's calls that may be made at once by those who spread them."""


class CallBudget:
    """
    A limit over any minute, which halves when the cloud refuses and comes back slowly.

    Several processes on one account thus settle near equal shares without talking to each other: refusals that keep
    coming to one that uses less than the limit tell it of the others, and it goes on slowly above half of the limit.

    :param calls_per_minute: never passed in any 60 seconds.
    :param clock: seconds, monotonic.
    :param jitter: returns a number in [0, 1); spreads the pauses of several processes.
    """

    def __init__(
        self,
        calls_per_minute: float = DEFAULT_CALLS_PER_MINUTE,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.calls_per_minute = max(1, int(calls_per_minute))
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.RLock()
        self._taken: deque[float] = deque()
        self._rate_after_refusal = float(self.calls_per_minute)
        self._recovers_from = clock()
        self._paused_until = 0.0
        self._pause = 0.0
        self._refused_at: float | None = None
        self._shared = False

    def limit_to(self, calls_per_minute: float) -> None:
        """Change the limit; what was taken and refused under the old one still counts."""
        with self._lock:
            self.calls_per_minute = max(1, int(calls_per_minute))
            if self._refused_at is None:
                self._rate_after_refusal = float(self.calls_per_minute)

    def rate(self) -> float:
        """Return the calls a minute that are allowed now."""
        with self._lock:
            return self._rate(self._clock())

    def delay(self) -> float:
        """Return the seconds until the next call may be made, 0 for now. Takes nothing."""
        with self._lock:
            return self._delay(self._clock())

    def delay_to_spread(self) -> float:
        """
        Return the seconds to wait if the rest of the minute's calls are to be spread over the rest of the minute.

        For whoever will need calls later too: who uses all of them at once is blind until they come back.
        """
        with self._lock:
            now = self._clock()
            taken = self._forget_old(now)
            left = self.calls_per_minute - len(taken)
            if left <= 0 or len(taken) <= self.calls_per_minute * _BURST:
                return 0.0
            return max(0.0, taken[-1] + (taken[0] + WINDOW - taken[-1]) / (left + 1) - now)

    def try_take(self) -> float:
        """Take one call and return 0, or take nothing and return the seconds to wait before asking again."""
        with self._lock:
            now = self._clock()
            delay = self._delay(now)
            if delay <= 0:
                self._taken.append(now)
                return 0.0
            return delay

    def refused(self, retry_after: float | None = None, *, taken_at: float | None = None) -> float:
        """
        Tell that the cloud refused a call with 429; return the seconds of the pause.

        :param retry_after: seconds the cloud asked for.
        :param taken_at: when the refused call was taken; calls that were under way together when
            one was refused count as one refusal.
        """
        with self._lock:
            now = self._clock()
            already_known = self._refused_at is not None and taken_at is not None and taken_at <= self._refused_at
            if not already_known:
                recently = self._refused_at is not None and now - self._paused_until < WINDOW
                made = sum(1 for taken in self._taken if taken > now - WINDOW)
                again = self._refused_at is not None and now - self._refused_at < _REFUSALS_BELONG_TOGETHER
                self._shared = again and made < _OWN_SHARE * self.calls_per_minute
                self._rate_after_refusal = max(_LOWEST_RATE, self._rate(now) / 2)
                self._pause = min(_LONGEST_PAUSE, self._pause * 2) if recently else _SHORTEST_PAUSE
                self._refused_at = now
            # Pauses are drawn a little longer than asked, so that processes do not return in step.
            pause = max(min(retry_after or 0.0, _LONGEST_RETRY_AFTER), self._pause) + self._jitter() * self._pause / 4
            self._paused_until = max(self._paused_until, now + pause)
            self._recovers_from = self._paused_until
            return self._paused_until - now

    def _rate(self, now: float) -> float:
        rate = self._rate_after_refusal + max(0.0, now - self._recovers_from) / 60.0 * _RECOVERY
        half = max(self.calls_per_minute / 2, self._rate_after_refusal)
        if self._shared and rate > half:
            rate = half + (rate - half) * _SHARED_RECOVERY / _RECOVERY
        return min(float(self.calls_per_minute), rate)

    def _delay(self, now: float) -> float:
        if now < self._paused_until:
            return self._paused_until - now
        taken = self._forget_old(now)
        rate = self._rate(now)
        allowed = self.calls_per_minute
        delay = 0.0
        if len(taken) >= allowed:
            delay = taken[len(taken) - allowed] + WINDOW - now
        if rate < self.calls_per_minute and taken:
            # After a refusal no bursts: the cloud's window is still full.
            delay = max(delay, taken[-1] + WINDOW / rate - now)
        return max(0.0, delay)

    def _forget_old(self, now: float) -> deque[float]:
        """Return when calls were taken in the last minute."""
        while self._taken and self._taken[0] <= now - WINDOW:
            self._taken.popleft()
        return self._taken


_budgets: dict[tuple[str, str], CallBudget] = {}
_budgets_lock = threading.RLock()


def budget_for(endpoint: str, project: str, calls_per_minute: float) -> CallBudget:
    """
    Return this process's budget for an endpoint and project; of several limits the latest holds.

    :param project: the project id, or what stands for it until it is known.
    """
    key = (endpoint, project)
    with _budgets_lock:
        budget = _budgets.get(key)
        if budget is None:
            budget = _budgets[key] = CallBudget(calls_per_minute)
        elif budget.calls_per_minute != max(1, int(calls_per_minute)):
            budget.limit_to(calls_per_minute)
        return budget
