# SPDX-License-Identifier: Apache-2.0
"""The calls-a-minute limit of the API gateway, and the count of what it let through."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal

from airflow_provider_mpc.emulator.replies import ApiError, gateway_error

WINDOW = 60.0
Window = Literal["sliding", "fixed"]
RetryAfter = Literal["seconds", "date"]
Meter = tuple[str, str]


@dataclass
class Limiter:
    """
    Counts calls for each project and API, and refuses those over the limit when there is one.

    :param calls_per_minute: the limit for each API; ``None`` refuses nothing.
    :param total_calls_per_minute: the limit for all of a project's APIs together.
    :param window: ``sliding`` looks back 60 seconds from each call; ``fixed`` starts anew with each minute.
    :param count_refused: whether a refused call, too, counts against the limit.
    :param retry_after: whether a refusal tells when to come back, and how.
    """

    calls_per_minute: int | None = None
    window: Window = "sliding"
    total_calls_per_minute: int | None = None
    count_refused: bool = False
    retry_after: RetryAfter | None = None
    accepted: Counter[Meter] = field(default_factory=Counter)
    refused: Counter[Meter] = field(default_factory=Counter)
    busiest: Counter[Meter] = field(default_factory=Counter)
    _counted: defaultdict[Meter, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _recent: defaultdict[Meter, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, project: str, api: str, now: float) -> None:
        """
        Count a call.

        :raises ApiError: 429 APIGW.0308 when the call is over the limit.
        """
        limits = [((project, api), self.calls_per_minute), ((project, "*"), self.total_calls_per_minute)]
        with self._lock:
            over = [(meter, limit) for meter, limit in limits if self._is_over(meter, limit, now)]
            if not over or self.count_refused:
                for meter, limit in limits:
                    if limit is not None:
                        self._counted[meter].append(now)
            if over:
                self.refused[project, api] += 1
                meter, limit = over[0]
                raise self._refusal(limit or 0, self._wait(meter, now), now)
            self._note_accepted((project, api), now)

    def reset(self) -> None:
        """Forget all calls."""
        with self._lock:
            for counts in (self.accepted, self.refused, self.busiest, self._counted, self._recent):
                counts.clear()

    def _is_over(self, meter: Meter, limit: int | None, now: float) -> bool:
        if limit is None:
            return False
        counted = self._counted[meter]
        while counted and not self._in_window(counted[0], now):
            counted.popleft()
        return len(counted) >= limit

    def _in_window(self, then: float, now: float) -> bool:
        if self.window == "fixed":
            return then // WINDOW == now // WINDOW
        return then > now - WINDOW

    def _wait(self, meter: Meter, now: float) -> float:
        if self.window == "fixed":
            return WINDOW - now % WINDOW
        counted = self._counted[meter]
        return counted[0] + WINDOW - now if counted else WINDOW

    def _refusal(self, limit: int, wait: float, now: float) -> ApiError:
        headers = {}
        if self.retry_after == "seconds":
            headers["Retry-After"] = str(int(wait) + 1)
        elif self.retry_after == "date":
            headers["Retry-After"] = formatdate(now + wait + 1, usegmt=True)
        message = f"The throttling threshold has been reached: policy user over ratelimit,limit:{limit},time:1 minute"
        return gateway_error("APIGW.0308", message, headers=headers)

    def _note_accepted(self, meter: Meter, now: float) -> None:
        self.accepted[meter] += 1
        recent = self._recent[meter]
        recent.append(now)
        while recent[0] <= now - WINDOW:
            recent.popleft()
        self.busiest[meter] = max(self.busiest[meter], len(recent))
