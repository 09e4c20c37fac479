# SPDX-License-Identifier: Apache-2.0
"""
One poller for all waits of a triggerer on one identity, endpoint and project.

MPC answers 100 calls a minute and takes ten ids a call, so waits share calls: ids that are due go out
ten to a call, spread over the interval, inside the budget. The poller lives on the event loop of the
triggerer and makes its calls in a few threads of its own; nothing here blocks the loop.

The poller knows ids, intervals and replies. What an ended job means for a task is decided in
:mod:`airflow_provider_mpc.outcome`.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import heapq
import itertools
import logging
import random
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from airflow_provider_mpc.api.budget import CallBudget
from airflow_provider_mpc.api.client import MpcClient, not_found
from airflow_provider_mpc.api.errors import (
    MpcAuthenticationError,
    MpcEndpointError,
    MpcError,
    MpcJobNotFoundError,
    MpcKeyLockedError,
    MpcOutageError,
    MpcRequestError,
    MpcServerError,
    MpcThrottledError,
    Persistence,
)
from airflow_provider_mpc.api.job_ids import IDS_PER_CALL
from airflow_provider_mpc.api.models import EditingJob, JobState
from airflow_provider_mpc.pacing import FIRST_LOOK_WITHIN, DueQueue, Interval, Pace

log = logging.getLogger(__name__)

_CALLS_IN_FLIGHT = 8
_GATHER = 0.1
"""Seconds that a new wait gives its fellows to join it, so that they go out in one call."""
_EARLY = 0.5
"""The share of its interval by which an id may travel early to fill a call."""
_SPREAD = 0.8
"""First looks lead to second ones that are spread over this share of the interval."""
_AMONG_MANY = 0.95
"""Among many waits each is due after this share of its interval: what waits for its place in a call is not late."""
_SETTLE = 15.0
"""Seconds for the last look at a wait's other jobs, after one has failed or the deadline has passed."""
_CONFIRM_MISSING = 5.0
"""Seconds after which a job that was there before is looked for again before it counts as missing."""
_LONGEST_HOLD = 30.0
_REFUSED_MEMORY = 60.0
"""Seconds in which refused credentials are not tried again by new waits."""
_PROBE_ID = "0"
"""Stands for an id when no known one is left to tell a refused request from a refused id."""
_URGENT = 1e6
"""Seconds by which ids of a refused batch go before all others, so that it is soon known what is to blame."""
_GOLDEN = 0.6180339887498949
_SUSPECTS_REMEMBERED = 10_000


@dataclass(frozen=True)
class Waited:
    """
    How a wait ended.

    :param jobs: every job that MPC has told of, by id, as it was seen last; of those that have not ended only
        status and progress.
    :param deadline_passed: the wait ended by its deadline.
    """

    jobs: dict[str, EditingJob]
    deadline_passed: bool = False


class Caller(Protocol):
    """What the poller needs of the outside world."""

    async def prepare(self) -> CallBudget:
        """Return the budget of the calls; may have to find out the project first."""

    async def query(self, job_ids: Sequence[str]) -> list[EditingJob]:
        """Make one call."""

    def close(self) -> None:
        """Free threads and connections."""


class Meter(Protocol):
    """Where the poller tells its figures."""

    def call(self, ids: int, *, throttled: bool) -> None:
        """One call was made."""

    def waits(self, count: int) -> None:
        """So many jobs are waited for now."""

    def noticed(self, job: EditingJob) -> None:
        """A job's end was seen."""


class ThreadedCaller:
    """Makes the calls of a client in threads of its own, so that a hung endpoint holds up nobody else."""

    def __init__(self, client: MpcClient) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(_CALLS_IN_FLIGHT, thread_name_prefix="mpc-poller")

    async def prepare(self) -> CallBudget:
        """Find out the project if need be, and return its budget."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self._client.budget)

    async def query(self, job_ids: Sequence[str]) -> list[EditingJob]:
        """Make one call."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._client.query, job_ids)

    def close(self) -> None:
        """End the threads when their calls have ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()


@dataclass(eq=False, slots=True)
class _Waiter:
    """One wait for one or more jobs."""

    pending: set[str]
    interval: Interval
    began: float
    missing_after: float
    outage_tolerance: float
    future: asyncio.Future[Waited]
    on_change: Callable[[EditingJob], None] | None
    on_trouble: Callable[[MpcError | None], None] | None
    context: contextvars.Context | None
    jobs: dict[str, EditingJob] | None = None
    """Jobs that have ended; those that have not are known to :class:`_Watched`."""
    deadline_passed: bool = False
    in_trouble: bool = False
    """Whether it was told of a fault that goes on."""
    last_look: set[str] | None = None
    """Ids to be looked at once more before the wait ends; None while it goes on."""


@dataclass(eq=False, slots=True)
class _Watched:
    """One job that somebody waits for."""

    job_id: str
    due: float
    interval: float
    waiters: list[_Waiter] = field(default_factory=list)
    status: str | None = None
    """As seen last; None before the first look."""
    progress: int | float | None = None
    seen_at: float = float("-inf")
    in_flight: bool = False
    looked_at: bool = False
    missed: int = 0
    failing_since: float | None = None
    batch_size: int = IDS_PER_CALL
    """The most ids it travels with; smaller for one whose batch was refused."""


class _Deadlines:
    """
    When waits must end. Not by a timer for each: a loop with thousands of timers is slow at all that it does.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Waiter]] = []
        self._order = itertools.count()
        self._live = 0

    def add(self, waiter: _Waiter, at: float) -> None:
        heapq.heappush(self._heap, (at, next(self._order), waiter))
        self._live += 1

    def discard_one(self) -> None:
        """Take note that one of the waits has ended; forget those that have once they are the most."""
        self._live -= 1
        if len(self._heap) > 2 * self._live + 100:
            self._heap = [entry for entry in self._heap if not entry[2].future.done()]
            heapq.heapify(self._heap)

    @property
    def next(self) -> float:
        """The time of the next deadline; infinite if there is none."""
        return self._heap[0][0] if self._heap else float("inf")

    def passed(self, now: float) -> Iterator[_Waiter]:
        """Take out the waits whose deadline has passed and that go on."""
        while self._heap and self._heap[0][0] <= now:
            waiter = heapq.heappop(self._heap)[2]
            if not waiter.future.done():
                yield waiter


class Poller:
    """
    Looks at jobs for all who wait for them; see the module.

    :param caller: makes the calls.
    :param meter: told the figures.
    :param on_end: called once when the last wait has gone, or the credentials were refused.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        meter: Meter | None = None,
        on_end: Callable[[MpcError | None], None] = lambda error: None,
    ) -> None:
        self._caller = caller
        self._meter = meter
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._watched: dict[str, _Watched] = {}
        self._queue: DueQueue[_Watched] = DueQueue()
        self._deadlines = _Deadlines()
        self._pace = Pace()
        self._budget: CallBudget | None = None
        self._in_flight: set[asyncio.Task[None]] = set()
        self._doubt: MpcError | None = None
        """A refusal since which nothing was answered: is it for some ids, or for all requests?"""
        self._searched: set[_Watched] = set()
        """Ids of refused batches that have not yet been asked for alone."""
        self._accused: dict[_Watched, MpcError] = {}
        """Ids that were refused alone; judged once the search has ended and there is no doubt."""
        self._witness: _Watched | None = None
        """An id that is asked for alone to end the doubt."""
        self._nobody = self._nobodys_wait()
        self._suspects: dict[str, None] = {}
        self._next_send = 0.0
        self._hold_until = 0.0
        self._failures = 0
        self._failing_since: float | None = None
        self._ever_good = False
        self._good_at = float("-inf")
        self._spread = 0.0
        self._wake = asyncio.Event()
        self._refusal: MpcError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether it takes no more waits."""
        return self._refusal is not None or (self._task is not None and self._task.done())

    async def wait(self, job_id: str, interval: Interval | float) -> EditingJob:
        """
        Wait until a job has ended, well or badly.

        :raises MpcError: the wait cannot go on.
        """
        return (await self.wait_all([job_id], interval)).jobs[job_id]

    async def wait_all(
        self,
        job_ids: Sequence[str],
        interval: Interval | float,
        *,
        timeout: float | None = None,
        missing_grace: float = 60.0,
        outage_tolerance: float = 900.0,
        on_change: Callable[[EditingJob], None] | None = None,
        on_trouble: Callable[[MpcError | None], None] | None = None,
    ) -> Waited:
        """
        Wait until all jobs have ended, or one has failed.

        When one has failed, or the time is over, the others are looked at once more.

        :param timeout: seconds; negative if the deadline has passed already.
        :param missing_grace: seconds in which MPC need not know a job.
        :param outage_tolerance: seconds without a good answer that are borne.
        :param on_change: called with a job when its status has changed, in the caller's context.
        :param on_trouble: called likewise with a fault that was met twice in a row, and with None once it has passed.
        :raises MpcJobNotFoundError: MPC does not know a job.
        :raises MpcError: the wait cannot go on.
        """
        if self._refusal is not None:
            raise copy.copy(self._refusal)
        if self.ended:
            raise RuntimeError("This poller has ended; ask shared_poller() for another")
        now = self._loop.time()
        waiter = _Waiter(
            pending=set(job_ids),
            interval=interval if isinstance(interval, Interval) else Interval(interval),
            began=now,
            missing_after=now + missing_grace,
            outage_tolerance=outage_tolerance,
            future=self._loop.create_future(),
            on_change=on_change,
            on_trouble=on_trouble,
            context=contextvars.copy_context() if on_change or on_trouble else None,
        )
        for job_id in job_ids:
            self._join(job_id, waiter, now)
        self._wake.set()
        if self._task is None:
            # An empty context: else all the poller logs would go to the log of the task that came first.
            self._task = self._loop.create_task(self._run(), name="mpc-poller", context=contextvars.Context())
        if timeout is not None:
            self._deadlines.add(waiter, now + max(0.0, timeout))
        try:
            return await waiter.future
        finally:
            if timeout is not None:
                self._deadlines.discard_one()
            for job_id in waiter.pending:
                self._leave(job_id, waiter)

    def _nobodys_wait(self) -> _Waiter:
        """Return what waits for the id that nobody has."""
        future: asyncio.Future[Waited] = self._loop.create_future()
        future.cancel()
        for_ever = float("inf")
        return _Waiter(set(), Interval(_LONGEST_HOLD), 0.0, for_ever, for_ever, future, None, None, None)

    # Who waits for what.

    def _join(self, job_id: str, waiter: _Waiter, now: float) -> None:
        watched = self._watched.get(job_id)
        if watched is None:
            watched = _Watched(job_id, now + _GATHER, waiter.interval.after(0.0))
            if job_id in self._suspects:
                watched.batch_size = 1
            self._watched[job_id] = watched
            self._pace.add(watched.interval, now)
        watched.waiters.append(waiter)
        self._set_interval(watched, now)
        # One that was looked at a moment ago need not be for each who asks.
        self._look_now(watched, max(now + _GATHER, watched.seen_at + min(FIRST_LOOK_WITHIN, watched.interval)))

    def _leave(self, job_id: str, waiter: _Waiter) -> None:
        watched = self._watched.get(job_id)
        if watched is None or waiter not in watched.waiters:
            return
        watched.waiters.remove(waiter)
        if not watched.waiters:
            self._forget(watched)

    def _forget(self, watched: _Watched) -> None:
        del self._watched[watched.job_id]
        watched.due = float("nan")
        self._absolve(watched)
        self._pace.remove(watched.interval, new=not watched.looked_at)
        if not self._watched:
            self._wake.set()

    def _set_interval(self, watched: _Watched, now: float) -> None:
        interval = min(waiter.interval.after(now - waiter.began) for waiter in watched.waiters)
        if interval != watched.interval:
            self._pace.change(watched.interval, interval)
            watched.interval = interval

    def _look_now(self, watched: _Watched, now: float) -> None:
        # What is under way is answered in a moment.
        if not watched.in_flight:
            self._queue.schedule(watched, min(now, watched.due))

    # Sending.

    async def _run(self) -> None:
        try:
            while self._watched and self._refusal is None:
                self._wake.clear()
                for waiter in self._deadlines.passed(self._loop.time()):
                    self._deadline_passed(waiter)
                delay = self._send_due()
                if delay is None or delay > 0:
                    deadline = self._deadlines.next - self._loop.time()
                    await self._sleep(min(deadline, float("inf") if delay is None else delay))
        except Exception as error:
            log.exception("The MPC poller broke; its waits fail")
            self._refuse_all(MpcServerError(f"The provider's poller broke: {error!r}", advice="Please report this."))
        finally:
            for task in self._in_flight:
                task.cancel()
            self._caller.close()
            if self._meter:
                self._meter.waits(0)
            self._on_end(self._refusal)

    async def _sleep(self, delay: float) -> None:
        """Wait until woken, but no longer than so many seconds."""
        timer = self._loop.call_later(max(0.0, delay), self._wake.set) if delay < float("inf") else None
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _send_due(self) -> float | None:
        """Start one call if one may go now; return 0 then, else the seconds to wait (None: until woken)."""
        now = self._loop.time()
        # While nothing but faults comes back, one call at a time asks whether the fault has passed. So does the first
        # one, with credentials that nobody has proved yet: five refused signatures would lock the key.
        alone = self._failures > 1 or not self._ever_good or self._doubt is not None
        if len(self._in_flight) >= (1 if alone else _CALLS_IN_FLIGHT):
            return None
        if now < self._hold_until:
            return self._hold_until - now
        if self._budget is None:
            if not self._in_flight:
                self._start(self._prepare())
            return None
        if now < self._next_send:
            return self._next_send - now
        due = self._queue.next_due()
        if due is None:
            return None
        if due > now:
            return due - now
        rate = self._budget.rate()
        self._pace.tell_stretching(rate, len(self._watched))
        delay = max(self._budget.delay(), self._budget.delay_to_spread())
        if delay > 0:
            return delay
        batch = self._next_batch(now)
        if (delay := self._budget.try_take()) > 0:
            # A task of this process (or another loop's poller) was quicker.
            self._later(batch, now)
            return delay
        for watched in batch:
            watched.in_flight = True
            if not watched.looked_at:
                watched.looked_at = True
                self._pace.looked_at()
        shortest = min(watched.interval for watched in batch)
        late = (now - due) / batch[0].interval
        self._next_send = now + self._pace.gap(rate, len(self._watched), late, shortest, now)
        self._start(self._look(batch))
        return 0.0

    def _start(self, work: object) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)  # type: ignore[arg-type]
        self._in_flight.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("The MPC poller broke; its waits fail", exc_info=error)
            self._refuse_all(MpcServerError(f"The provider's poller broke: {error!r}", advice="Please report this."))

    def _next_batch(self, now: float) -> list[_Watched]:
        """Take the longest due ids, and others nearly due to fill the call."""
        batch: list[_Watched] = []
        passed_over: list[tuple[_Watched, float]] = []
        size = IDS_PER_CALL
        while len(batch) < size and (due := self._queue.next_due()) is not None:
            if due > now + _EARLY * self._queue.peek().interval:
                break
            watched = self._queue.pop()
            if batch and watched.batch_size <= len(batch):
                passed_over.append((watched, due))
                continue
            size = min(size, watched.batch_size)
            batch.append(watched)
        for watched, due in passed_over:
            self._queue.schedule(watched, due)
        return batch

    # What comes back.

    async def _prepare(self) -> None:
        try:
            self._budget = await self._caller.prepare()
        except MpcError as error:
            self._fault(error, list(self._watched.values()), self._loop.time())

    async def _look(self, batch: list[_Watched]) -> None:
        throttled = False
        if self._meter:
            self._meter.waits(len(self._watched))
        try:
            jobs = await self._caller.query([watched.job_id for watched in batch])
        except MpcError as error:
            throttled = isinstance(error, MpcThrottledError)
            self._failed(error, self._back(batch))
        else:
            self._answered(self._back(batch), jobs)
        if self._meter:
            self._meter.call(len(batch), throttled=throttled)

    def _back(self, batch: list[_Watched]) -> list[_Watched]:
        """Take a batch back; return those of it that are still waited for."""
        for watched in batch:
            watched.in_flight = False
        return [watched for watched in batch if self._watched.get(watched.job_id) is watched]

    def _answered(self, batch: list[_Watched], jobs: list[EditingJob]) -> None:
        now = self._loop.time()
        self._good()
        self._ever_good = True
        self._good_at = now
        by_id: dict[str, EditingJob] = {}
        for job in jobs:
            by_id.setdefault(job.job_id, job)
        spread = 0.0
        many = len(self._watched) > 2 * IDS_PER_CALL and not self._pace.stretched
        if many:
            # Jobs that began to be waited for together would be due together for ever.
            self._spread = (self._spread + _GOLDEN) % 1.0
            spread = self._spread * _SPREAD
        missing: list[_Watched] = []
        for watched in batch:
            watched.failing_since = None
            self._searched.discard(watched)
            found = by_id.get(watched.job_id)
            if found is None or found.state is JobState.ABSENT:
                missing.append(watched)
            else:
                first = watched.status is None
                self._seen(watched, found, now, 1.0 if not many else 1.0 - spread if first else _AMONG_MANY)
        self._missing(missing, now)
        self._end_doubt()

    def _good(self) -> None:
        """Take note that the endpoint answers."""
        self._failures = 0
        self._failing_since = None

    def _seen(self, watched: _Watched, job: EditingJob, now: float, pace: float) -> None:
        changed = watched.status != job.status
        seen_before, watched.seen_at = watched.seen_at, now
        watched.status = sys.intern(job.status)
        watched.progress = job.progress
        watched.missed = 0
        watched.batch_size = IDS_PER_CALL
        self._suspects.pop(job.job_id, None)
        if job.state.ended and self._meter:
            self._meter.noticed(job)
        for waiter in list(watched.waiters):
            if waiter.in_trouble:
                self._tell_trouble(waiter, None)
            if waiter.on_change and waiter.context and (changed or waiter.began > seen_before):
                waiter.context.run(waiter.on_change, job)
            self._step(waiter, job)
        if watched.waiters:
            self._set_interval(watched, now)
            self._queue.schedule(watched, now + watched.interval * pace)

    def _step(self, waiter: _Waiter, job: EditingJob) -> None:
        """Take note that a job was looked at, for one who waits."""
        if job.state.ended:
            if waiter.jobs is None:
                waiter.jobs = {}
            waiter.jobs[job.job_id] = job
            waiter.pending.discard(job.job_id)
            self._leave(job.job_id, waiter)
        if waiter.last_look is not None:
            waiter.last_look.discard(job.job_id)
        elif job.state is JobState.FAILED and waiter.pending:
            self._begin_last_look(waiter)
        if not waiter.pending or waiter.last_look == set():
            self._finish(waiter)

    def _missing(self, missing: list[_Watched], now: float, cause: MpcError | None = None) -> None:
        """
        Take note that MPC did not know jobs when it was asked for them.

        :param cause: what it said, where it did not just leave them out.
        """
        for watched in missing:
            watched.missed += 1
        for watched in missing:
            # A job that was there before must be missing twice: one reply may be at fault.
            confirmed = watched.status is None or watched.missed > 1
            pause = watched.interval if confirmed else min(_CONFIRM_MISSING, watched.interval)
            for waiter in list(watched.waiters):
                if waiter.last_look is not None:
                    waiter.last_look.discard(watched.job_id)
                    if not waiter.last_look:
                        self._finish(waiter)
                elif confirmed and now >= waiter.missing_after:
                    gone = [one.job_id for one in missing if one.job_id in waiter.pending]
                    self._fail(waiter, not_found(gone, cause))
                elif now < waiter.missing_after:
                    pause = min(pause, max(1.0, waiter.missing_after - now))
            if watched.waiters:
                self._queue.schedule(watched, now + pause)

    def _deadline_passed(self, waiter: _Waiter) -> None:
        waiter.deadline_passed = True
        if waiter.last_look is None:
            self._begin_last_look(waiter)

    def _begin_last_look(self, waiter: _Waiter) -> None:
        now = self._loop.time()
        waiter.last_look = set(waiter.pending)
        self._loop.call_later(_SETTLE, self._finish, waiter)
        for job_id in waiter.pending:
            # Due before all others, so that the end is not told late.
            self._look_now(self._watched[job_id], now - _SETTLE)
        self._next_send = min(self._next_send, now)
        self._wake.set()

    def _finish(self, waiter: _Waiter) -> None:
        if not waiter.future.done():
            jobs = waiter.jobs or {}
            for job_id in waiter.pending:
                watched = self._watched[job_id]
                if watched.status is not None:
                    # Of a job that goes on no more is kept: with ten thousand waits its details would weigh.
                    raw = {"job_id": job_id, "status": watched.status, "progress": watched.progress}
                    job = EditingJob.from_json(raw)
                    if job is not None:
                        jobs[job_id] = job
            # A job that has failed decides, also when the deadline passed during the last look at the others.
            undecided = bool(waiter.pending) and not any(job.state is JobState.FAILED for job in jobs.values())
            waiter.future.set_result(Waited(jobs, waiter.deadline_passed and undecided))
        self._leave_all(waiter)

    def _fail(self, waiter: _Waiter, error: MpcError) -> None:
        if not waiter.future.done():
            # Each its own copy: a raised exception collects the frames of all who raise it.
            waiter.future.set_exception(copy.copy(error))
        self._leave_all(waiter)

    def _leave_all(self, waiter: _Waiter) -> None:
        for job_id in waiter.pending:
            self._leave(job_id, waiter)

    # What goes wrong.

    def _failed(self, error: MpcError, batch: list[_Watched]) -> None:
        now = self._loop.time()
        if isinstance(error, MpcThrottledError) and not error.preliminary:
            self._good()
            for watched in batch:
                watched.failing_since = None
            self._later(batch, now)
        elif isinstance(error, MpcJobNotFoundError) or _blames_an_id(error):
            self._refused(error, batch, now)
        else:
            self._fault(error, batch, now)

    def _later(self, batch: list[_Watched], due: float) -> None:
        for watched in batch:
            self._queue.schedule(watched, due)

    def _fault(self, error: MpcError, batch: list[_Watched], now: float) -> None:
        """Bear a fault that may pass; any other ends the poller."""
        if error.persistence is Persistence.PERMANENT or (
            error.persistence is Persistence.SUSPECT and not self._ever_good
        ):
            self._refuse_all(error)
            return
        self._failures += 1
        if self._failures == 1:
            log.warning("A look at %d MPC jobs failed and will be repeated: %s", len(batch), error)
        if self._failing_since is None:
            self._failing_since = now
        pause = random.uniform(0.75, 1.25) * min(_LONGEST_HOLD, 2.0 ** min(self._failures, 10))  # noqa: S311
        if isinstance(error, MpcKeyLockedError):
            pause = error.retry_after
        elif isinstance(error, (MpcServerError, MpcThrottledError)) and error.retry_after:
            pause = max(pause, min(error.retry_after, 600.0))
        for watched in batch:
            if watched.failing_since is None:
                watched.failing_since = now
            elif self._good_at > watched.failing_since or self._failures > 2:
                # One of this batch may be what the cloud stumbles over.
                watched.batch_size = max(1, min(watched.batch_size, len(batch)) // 2)
            self._searched.discard(watched)
            self._bear(watched, watched.failing_since, error, now)
        if self._failures > 1 or self._budget is None or isinstance(error, MpcKeyLockedError):
            # Nothing comes back for anybody, so nobody else needs to find that out by a call.
            self._hold_until = max(self._hold_until, now + pause)
            for watched in list(self._watched.values()):
                self._bear(watched, self._failing_since, error, now)
        self._later([watched for watched in batch if watched.waiters], now + pause)
        self._judge()

    def _bear(self, watched: _Watched, since: float, error: MpcError, now: float) -> None:
        for waiter in list(watched.waiters):
            lasted = now - max(since, waiter.began)
            if lasted > waiter.outage_tolerance:
                self._fail(waiter, MpcOutageError.of(error, lasted))
            elif lasted > 0 and not waiter.in_trouble:
                self._tell_trouble(waiter, error)

    def _tell_trouble(self, waiter: _Waiter, error: MpcError | None) -> None:
        waiter.in_trouble = error is not None
        if waiter.on_trouble and waiter.context:
            waiter.context.run(waiter.on_trouble, error)

    def _refused(self, error: MpcError, batch: list[_Watched], now: float) -> None:
        """Find out for which id a batch was refused: halve it until that one stands alone."""
        if isinstance(error, MpcJobNotFoundError):
            # Whoever is told of a job's absence may ask.
            self._good()
            self._end_doubt()
        else:
            self._doubt = self._doubt or error
        if len(batch) > 1:
            for watched in batch:
                watched.batch_size = len(batch) // 2
                self._searched.add(watched)
                # The smaller first: the sooner one stands alone.
                self._look_now(watched, now - _URGENT * (IDS_PER_CALL - watched.batch_size))
        elif batch and batch[0] is self._witness:
            self._refuse_all(error)
        elif batch:
            (watched,) = batch
            self._suspect(watched)
            watched.failing_since = None
            self._searched.discard(watched)
            self._accused[watched] = error
        self._next_send = min(self._next_send, now)
        self._judge()

    def _judge(self) -> None:
        """
        Fail those that were refused alone, once it is known that not all requests are refused.

        If every id of a batch was refused alone: is it each of them, or the request as such? In the latter case the
        other waits need not find out one by one, so one of them is a witness for all.
        """
        if not self._accused:
            self._dismiss_witness()
        if not self._accused or self._searched or self._refusal is not None:
            return
        if self._doubt is not None and len(self._watched) > len(self._accused):
            self._call_witness()
            return
        accused, self._accused = self._accused, {}
        self._doubt = None
        missing = [watched for watched, error in accused.items() if isinstance(error, MpcJobNotFoundError)]
        if missing:
            self._missing(missing, self._loop.time(), accused[missing[0]])
        for watched, error in accused.items():
            if watched not in missing:
                for waiter in list(watched.waiters):
                    self._fail(waiter, error.about([watched.job_id]))

    def _call_witness(self) -> None:
        """Ask for a job that was answered before, or for one that nobody has; if it is refused too, all are."""
        if self._witness is not None:
            return
        now = self._loop.time()
        known = (one for one in self._watched.values() if one.status is not None and one not in self._accused)
        self._witness = next(known, None)
        if self._witness is None:
            self._join(_PROBE_ID, self._nobody, now)
            self._witness = self._watched[_PROBE_ID]
        self._witness.batch_size = 1
        self._look_now(self._witness, now - _URGENT * IDS_PER_CALL)
        self._wake.set()

    def _dismiss_witness(self) -> None:
        witness, self._witness = self._witness, None
        if witness is not None and self._nobody in witness.waiters:
            self._leave(witness.job_id, self._nobody)

    def _end_doubt(self) -> None:
        """Take note that not all requests are refused."""
        self._doubt = None
        self._dismiss_witness()
        self._judge()

    def _absolve(self, watched: _Watched) -> None:
        """Leave an id out of the search: nobody waits for it any more."""
        self._searched.discard(watched)
        self._accused.pop(watched, None)
        if watched is self._witness:
            self._witness = None
        self._judge()

    def _suspect(self, watched: _Watched) -> None:
        """Let an id travel alone from now on, also in later waits."""
        watched.batch_size = 1
        self._suspects[watched.job_id] = None
        while len(self._suspects) > _SUSPECTS_REMEMBERED:
            del self._suspects[next(iter(self._suspects))]

    def _refuse_all(self, error: MpcError) -> None:
        """End: no call with these credentials, or to this address, can succeed."""
        if self._refusal is not None:
            return
        self._refusal = error
        for watched in list(self._watched.values()):
            for waiter in list(watched.waiters):
                self._fail(waiter, error)
        self._wake.set()


def _blames_an_id(error: MpcError) -> bool:
    """Whether a refusal may be due to one id of the batch: a 400, or a 404 that is not the gateway's."""
    if error.preliminary:
        return False
    if isinstance(error, MpcEndpointError):
        return error.status == 404 and not error.error_code
    return isinstance(error, MpcRequestError)


# The pollers of each event loop: a triggerer has one loop for all, ``dag.test()`` a fresh one for each trigger.
_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Poller]] = WeakKeyDictionary()
_refusals: dict[Hashable, tuple[float, MpcError]] = {}


def shared_poller(
    key: Hashable, make_caller: Callable[[], Caller], *, make_meter: Callable[[], Meter | None] = lambda: None
) -> Poller:
    """
    Return the running loop's poller for an identity, endpoint and project; begin one if there is none.

    :param key: tells identities, endpoints and projects apart.
    :param make_caller: called only if there is no poller yet, as is ``make_meter``.
    :raises MpcError: the credentials were refused a moment ago: they are not tried again by each wait.
    """
    loop = asyncio.get_running_loop()
    refusal = _refusals.get(key)
    if refusal is not None:
        if loop.time() < refusal[0]:
            raise copy.copy(refusal[1])
        del _refusals[key]
    pollers = _pollers.setdefault(loop, {})
    poller = pollers.get(key)
    if poller is None or poller.ended:

        def ended(error: MpcError | None) -> None:
            if pollers.get(key) is poller:
                del pollers[key]
            if isinstance(error, MpcAuthenticationError):
                _refusals[key] = (loop.time() + _REFUSED_MEMORY, error)

        poller = pollers[key] = Poller(make_caller(), meter=make_meter(), on_end=ended)
    return poller
