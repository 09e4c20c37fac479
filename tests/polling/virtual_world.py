# SPDX-License-Identifier: Apache-2.0
"""A world in which seconds cost nothing: an event loop with a clock of its own, and an MPC to poll."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_mpc.api.budget import CallBudget
from airflow_provider_mpc.api.errors import MpcError, MpcJobNotFoundError, MpcRequestError, MpcThrottledError
from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.polling import Poller

Result = TypeVar("Result")


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Instead of waiting for a timeout, moves the clock by it."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("everything waits for ever")
            self.loop.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when there is nothing to do."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(scenario: Callable[[], Awaitable[Result]]) -> Result:
    """Run a scenario in virtual time; nothing may be left running at its end."""
    loop = VirtualLoop()
    try:

        async def main() -> Result:
            result = await scenario()
            for _ in range(5):
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"left running: {left}"
            return result

        return loop.run_until_complete(main())
    finally:
        loop.close()


@dataclass
class Call:
    at: float
    ids: tuple[str, ...]
    refused: str = ""


@dataclass
class World:
    """
    An MPC whose replies are scripted; it is the poller's caller too.

    :param limit: calls it answers in any 60 s; the rest get a 429.
    :param latency: seconds a call takes.
    """

    limit: int | None = None
    latency: float = 0.05
    calls_per_minute: float = 90
    ends: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By job id: when it ends (loop time) and with which status."""
    unknown: set[str] = field(default_factory=set)
    unknown_as: str = "absent"
    malformed: set[str] = field(default_factory=set)
    fault: Callable[[Sequence[str]], MpcError | None] = lambda ids: None
    calls: list[Call] = field(default_factory=list)
    closed: int = 0
    under_way: int = 0
    most_under_way: int = 0
    accepted: deque[float] = field(default_factory=deque)
    budget: CallBudget | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def poller(self) -> Poller:
        return Poller(self)

    async def prepare(self) -> CallBudget:
        if self.budget is None:  # a process keeps it when a poller ends and another begins
            self.budget = CallBudget(self.calls_per_minute, clock=self.now, jitter=lambda: 0.5)
        return self.budget

    async def query(self, job_ids: Sequence[str]) -> list[EditingJob]:
        assert 0 < len(job_ids) <= 10
        assert len(set(job_ids)) == len(job_ids)
        call = Call(self.now(), tuple(job_ids))
        self.calls.append(call)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.under_way -= 1
        try:
            return self._reply(job_ids)
        except MpcError as error:
            call.refused = type(error).__name__
            if isinstance(error, MpcThrottledError) and not error.preliminary and self.budget:
                self.budget.refused(error.retry_after, taken_at=call.at)
            raise

    def _reply(self, job_ids: Sequence[str]) -> list[EditingJob]:
        now = self.now()
        if self.limit is not None:
            while self.accepted and self.accepted[0] <= now - 60:
                self.accepted.popleft()
            if len(self.accepted) >= self.limit:
                raise MpcThrottledError("too many", status=429)
            self.accepted.append(now)
        if (error := self.fault(job_ids)) is not None:
            raise error
        if self.malformed & set(job_ids):
            raise MpcRequestError("bad parameter", status=400, error_code="MPC.10202")
        if self.unknown_as == "error" and self.unknown & set(job_ids):
            raise MpcJobNotFoundError("unknown", status=403, error_code="MPC.10211")
        jobs = []
        for job_id in job_ids:
            if job_id in self.unknown:
                if self.unknown_as == "no_task":
                    jobs.append(EditingJob.from_json({"job_id": job_id, "status": "NO_TASK"}))
                continue
            ends_at, status = self.ends.get(job_id, (float("inf"), ""))
            raw = {"job_id": job_id, "status": status if now >= ends_at else "PROCESSING"}
            jobs.append(EditingJob.from_json(raw))
        return [job for job in jobs if job is not None]

    def close(self) -> None:
        self.closed += 1

    def looks(self) -> Counter[str]:
        return Counter(job_id for call in self.calls for job_id in call.ids)

    def most_in_a_minute(self) -> int:
        times = [call.at for call in self.calls]
        return max((sum(1 for other in times if at - 60 + 1e-6 < other <= at) for at in times), default=0)
