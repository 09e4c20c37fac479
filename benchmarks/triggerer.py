# SPDX-License-Identifier: Apache-2.0
"""
Airflow's own ``TriggerRunner`` in a process of its own, fed with waits and watched.

Runs the runner's real main loop; only the pipe to the supervisor (and with it the database) is played. Takes a
:class:`Spec` as its argument, says ``{"ready": true}``, reads ``{"begin": epoch}`` and in the end tells a
:class:`Seen`, each a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
from airflow.jobs import triggerer_job_runner
from airflow.jobs.triggerer_job_runner import TriggerRunner

from benchmarks.jobs import FIRST_ID, WARM_UP_ID, Jobs
from benchmarks.profiling import Profile
from benchmarks.waits import Kind, make_peer_plain, succeeded, workload

TICK = 0.02
"""Seconds between two looks at how late the loop is."""
PATIENCE = 240.0
"""Seconds after the last job's end in which waits may still end."""
LOOK_AT_MEMORY = 0.9
"""Memory is read at this share of the time to the first job's end: all wait, and have been looked at."""


@dataclass(frozen=True)
class Spec:
    """
    What one triggerer has to do.

    :param kind: of the waits.
    :param jobs: all jobs of the benchmark.
    :param first: number of the first job that is waited for here.
    :param count: how many are.
    :param interval: seconds between two looks.
    :param warm: make one wait beforehand, so that imports and first connections do not count.
    :param profile: look where the CPU goes; costs some itself.
    """

    kind: Kind
    jobs: Jobs
    first: int
    count: int
    interval: float = 10.0
    warm: bool = True
    profile: bool = False

    @classmethod
    def read(cls, text: str) -> Spec:
        """Return the spec from its JSON."""
        fields = json.loads(text)
        return cls(**fields | {"jobs": Jobs(**fields["jobs"])})


@dataclass
class Seen:
    """
    What was measured.

    :param notice: seconds from each successful job's end to its event.
    :param false_failures: waits that ended otherwise than with success, or not at all.
    :param first_failures: what the first of them told.
    :param started: seconds from the beginning until all triggers ran.
    :param finished: seconds from the beginning until the last event.
    :param cpu: seconds of the process from beginning to last event.
    :param loop_cpu: of that, the event loop's thread.
    :param lag: seconds that the loop was late, once for each tick after all had started.
    :param memory_before: resident bytes before the waits were made.
    :param memory: resident bytes while all were waiting.
    :param profile: lines of :mod:`benchmarks.profiling`.
    """

    notice: list[float] = field(default_factory=list)
    false_failures: int = 0
    first_failures: list[str] = field(default_factory=list)
    started: float = 0.0
    finished: float = 0.0
    cpu: float = 0.0
    loop_cpu: float = 0.0
    lag: list[float] = field(default_factory=list)
    memory_before: int = 0
    memory: int = 0
    profile: dict[str, Any] = field(default_factory=dict)


class PlayedSupervisor:
    """The other end of the runner's pipe: takes its reports and hands it triggers."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self._reader_task: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def asend(self, message: Any) -> triggerer_job_runner.messages.TriggerStateSync:
        """Answer the runner's report with what it has to start."""
        waiting, self.waiting = self.waiting, []
        return triggerer_job_runner.messages.TriggerStateSync(to_create=waiting, to_cancel=set())


class Noted(deque[Any]):
    """A queue that tells what is put into it."""

    def __init__(self, note: Callable[[Any], None]) -> None:
        super().__init__()
        self._note = note

    def append(self, item: Any) -> None:
        """Tell, then append."""
        self._note(item)
        super().append(item)


class Runner(TriggerRunner):
    """Airflow's runner, with eyes on its queues."""

    def __init__(self, on_event: Callable[[Any], None], on_failure: Callable[[Any], None]) -> None:
        super().__init__()
        self.job_id = 1
        self.events = Noted(on_event)
        self.failed_triggers = Noted(on_failure)
        self.created = asyncio.Event()

    async def init_comms(self) -> None:
        """Connect to the played supervisor."""
        self.comms_decoder = PlayedSupervisor()

    async def create_triggers(self) -> None:
        """Create as Airflow does, and tell when all there are have been."""
        any_new = bool(self.to_create)
        await super().create_triggers()
        if any_new:
            await asyncio.sleep(0)
            self.created.set()

    def end(self) -> None:
        """End as on a signal."""
        self._handle_signal(0, None)


class Measurement:
    """One triggerer's run."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.seen = Seen()
        self.ends = spec.jobs.ends()
        self.missing: set[int] = set()
        self.done = asyncio.Event()
        self.began = 0.0
        self.runner = Runner(self.note_event, self.note_failure)

    async def run(self) -> Seen:
        """Measure."""
        main_loop = asyncio.create_task(self.runner.arun())
        await asyncio.sleep(0)
        if self.spec.warm:
            await self.warm_up()
        await self.measure(await begin())
        self.runner.end()
        await main_loop
        return self.seen

    async def warm_up(self) -> None:
        """Make one wait for a job that has ended; then let its poller go to sleep."""
        await self.wait_for({0: workload(self.spec.kind, 0, WARM_UP_ID, time.time(), self.spec.interval)}, 30)
        self.seen = Seen()
        await asyncio.sleep(1.5)

    async def measure(self, began: float) -> None:
        """Wait for the jobs, and watch."""
        self.began = began
        workloads = {
            FIRST_ID + number: workload(
                self.spec.kind, FIRST_ID + number, FIRST_ID + number, began + self.ends[number], self.spec.interval
            )
            for number in range(self.spec.first, self.spec.first + self.spec.count)
        }
        self.runner.created.clear()
        gc.collect()
        process = psutil.Process()
        self.seen.memory_before = process.memory_info().rss
        if (early := began - time.time()) < 0:
            raise RuntimeError(f"The waits were made {-early:.1f} s too late")
        await asyncio.sleep(early)
        profile = Profile(self.spec.kind) if self.spec.profile else None
        cpu, loop_cpu = time.process_time(), time.thread_time()
        watching = asyncio.create_task(self.watch(process))
        await self.wait_for(workloads, self.spec.jobs.latest + PATIENCE)
        self.seen.cpu = time.process_time() - cpu
        self.seen.loop_cpu = time.thread_time() - loop_cpu
        if profile is not None:
            self.seen.profile = profile.end(self.seen.loop_cpu, self.seen.cpu)
        self.seen.finished = time.time() - began
        watching.cancel()

    async def wait_for(self, workloads: dict[int, Any], patience: float) -> None:
        """Hand triggers over and wait for their events."""
        self.missing = set(workloads)
        self.done.clear()
        self.runner.comms_decoder.waiting = list(workloads.values())
        try:
            await asyncio.wait_for(self.done.wait(), patience)
        except TimeoutError:
            self.seen.first_failures.append("no event")
        self.seen.false_failures += len(self.missing)

    async def watch(self, process: psutil.Process) -> None:
        """Note how late the loop is, and the memory when all are waiting."""
        loop = asyncio.get_running_loop()
        await self.runner.created.wait()
        self.seen.started = time.time() - self.began
        look_at_memory = self.began + LOOK_AT_MEMORY * self.spec.jobs.earliest
        due = loop.time()
        while True:
            due += TICK
            await asyncio.sleep(max(0.0, due - loop.time()))
            now = loop.time()
            # Each moment in which the loop was deaf counts, and not only the first one of a long silence.
            while due + TICK <= now:
                self.seen.lag.append(now - due)
                due += TICK
            self.seen.lag.append(max(0.0, now - due))
            if not self.seen.memory and time.time() > look_at_memory:
                self.seen.memory = process.memory_info().rss

    def note_event(self, entry: Any) -> None:
        """Note an event at the moment at which the runner sees it."""
        if entry.trigger_id not in self.missing:
            return
        if succeeded(entry.event.payload):
            number = entry.trigger_id - FIRST_ID
            self.seen.notice.append(time.time() - self.began - self.ends[number] if number >= 0 else 0.0)
            self.over(entry.trigger_id)
        else:
            self.note_wrong(entry.trigger_id, str(entry.event.payload))

    def note_failure(self, failed: tuple[int, BaseException | None]) -> None:
        """Note a trigger that broke."""
        if failed[0] in self.missing:
            self.note_wrong(failed[0], repr(failed[1]))

    def note_wrong(self, trigger_id: int, words: str) -> None:
        """Note a false failure."""
        self.seen.false_failures += 1
        if len(self.seen.first_failures) < 3:
            self.seen.first_failures.append(words[:500])
        self.over(trigger_id)

    def over(self, trigger_id: int) -> None:
        """Note that a wait is over."""
        self.missing.discard(trigger_id)
        if not self.missing:
            self.done.set()


async def begin() -> float:
    """Say that all is ready; return when it begins."""
    _say({"ready": True})
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return float(json.loads(line)["begin"])


def log_as_a_triggerer() -> None:
    """Write logs as the triggerer's child does, secrets masked, JSON; into nothing instead of the supervisor's pipe."""
    from airflow.sdk.log import configure_logging, reset_logging

    reset_logging()
    nothing = os.fdopen(os.open(os.devnull, os.O_WRONLY), "wb", buffering=0)
    configure_logging(json_output=True, output=nothing, sending_to_supervisor=True)


def _say(what: dict[str, Any]) -> None:
    os.write(_TELL, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Read the spec, measure, tell."""
    spec = Spec.read(sys.argv[1])
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    log_as_a_triggerer()
    workload(spec.kind, 0, WARM_UP_ID, 0.0, spec.interval)  # imports what it needs, before the clock runs
    if spec.kind == "peer":
        make_peer_plain()

    async def measured() -> Seen:
        return await Measurement(spec).run()

    try:
        _say(asdict(asyncio.run(measured())))
    except BaseException:
        # Airflow's hook would put it into the log, which nobody reads here.
        traceback.print_exc()
        raise SystemExit(1) from None


if __name__ == "__main__":
    # What others print must not get between the lines told.
    _TELL = os.dup(1)
    os.dup2(2, 1)
    main()
