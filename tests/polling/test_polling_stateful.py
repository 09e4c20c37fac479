# SPDX-License-Identifier: Apache-2.0
"""Random waits, cancellations, faults and time against one poller; what must hold whatever comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from virtual_world import VirtualLoop, World

from airflow_provider_mpc.api.errors import (
    MpcError,
    MpcJobNotFoundError,
    MpcProtocolError,
    MpcRequestError,
    MpcServerError,
    MpcTransportError,
)
from airflow_provider_mpc.polling import Poller, Waited

CALLS_PER_MINUTE = 30
JOB_IDS = [f"j{number}" for number in range(60)]
FAULTS = {
    "none": None,
    "server": MpcServerError("down", status=503),
    "cut": MpcTransportError("cut off"),
    "page": MpcProtocolError("a page"),
}
job_ids = st.lists(st.sampled_from(JOB_IDS), min_size=1, max_size=15, unique=True)


class PollerMachine(RuleBasedStateMachine):
    """A poller in a world that misbehaves."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.world = World(calls_per_minute=CALLS_PER_MINUTE, unknown_as="error")
        self.poller: Poller | None = None
        self.waits: list[tuple[list[str], asyncio.Task[Waited]]] = []
        self.fault: MpcError | None = None
        self.quiet_since = self.loop.time()
        self.world.fault = self._fault

    def _fault(self, ids: Sequence[str]) -> MpcError | None:
        return self.fault

    def _noise(self) -> None:
        self.quiet_since = self.loop.time()

    def _run(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(ids=job_ids, interval=st.sampled_from([1.0, 5.0, 20.0, 90.0]))
    def wait(self, ids: list[str], interval: float) -> None:
        async def begin() -> None:
            if self.poller is None or self.poller.ended:
                self.poller = self.world.poller()
            wait = self.poller.wait_all(ids, interval, missing_grace=60.0, outage_tolerance=10_000.0)
            self.waits.append((ids, asyncio.ensure_future(wait)))
            await asyncio.sleep(0)

        self.loop.run_until_complete(begin())
        self._noise()

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        _, wait = data.draw(st.sampled_from(self.waits))
        wait.cancel()
        self._run(0)

    @rule(seconds=st.floats(0.01, 200))
    def pass_time(self, seconds: float) -> None:
        self._run(seconds)

    @rule(job_id=st.sampled_from(JOB_IDS), status=st.sampled_from(["SUCCEEDED", "FAILED", "CANCELED"]))
    def end(self, job_id: str, status: str) -> None:
        self.world.ends.setdefault(job_id, (self.loop.time(), status))

    @rule(kind=st.sampled_from(sorted(FAULTS)))
    def break_or_mend(self, kind: str) -> None:
        self.fault = FAULTS[kind]
        self._noise()

    @rule(limit=st.sampled_from([None, 5, 20]))
    def limit(self, limit: int | None) -> None:
        self.world.limit = limit
        self._noise()

    @rule(job_id=st.sampled_from(JOB_IDS), how=st.sampled_from(["unknown", "malformed", "good"]))
    def spoil(self, job_id: str, how: str) -> None:
        self.world.unknown.discard(job_id)
        self.world.malformed.discard(job_id)
        if how != "good":
            getattr(self.world, how).add(job_id)
        self._noise()

    @invariant()
    def the_budget_is_never_passed(self) -> None:
        assert self.world.most_in_a_minute() <= CALLS_PER_MINUTE

    @invariant()
    def at_most_eight_calls_are_under_way(self) -> None:
        assert self.world.most_under_way <= 8

    @invariant()
    def answers_are_true(self) -> None:
        for ids, wait in self.waits:
            if not wait.done() or wait.cancelled():
                continue
            error = wait.exception()
            if error is None:
                jobs = wait.result().jobs
                failed = any(job.state.ended and job.status != "SUCCEEDED" for job in jobs.values())
                assert failed or all(jobs[job_id].status == "SUCCEEDED" for job_id in ids)
                assert all(self.world.ends[job_id][1] == job.status for job_id, job in jobs.items() if job.state.ended)
            else:
                assert isinstance(error, (MpcJobNotFoundError, MpcRequestError)), error

    @invariant()
    def nobody_starves(self) -> None:
        if self.fault or self.world.limit or self.loop.time() - self.quiet_since < 600:
            return
        recent = {job_id for call in self.world.calls if call.at > self.quiet_since for job_id in call.ids}
        for ids, wait in self.waits:
            if not wait.done():
                assert recent & set(ids)

    def teardown(self) -> None:
        """No wait is lost: in a mended world every one ends, and the poller with them."""
        self.fault = None
        self.world.limit = None
        self.world.unknown.clear()
        self.world.malformed.clear()
        for job_id in JOB_IDS:
            self.world.ends.setdefault(job_id, (self.loop.time(), "SUCCEEDED"))
        self._run(1500)
        assert all(wait.done() for _, wait in self.waits)
        self.answers_are_true()
        if self.poller is not None:
            assert self.poller.ended
            assert not self.poller._watched
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


PollerMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPoller = PollerMachine.TestCase
