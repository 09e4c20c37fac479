# SPDX-License-Identifier: Apache-2.0
"""Several triggerers on one account, which know of each other only by refusals."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence

import pytest
from virtual_world import World, run

from airflow_provider_mpc.api.budget import CallBudget
from airflow_provider_mpc.api.errors import MpcThrottledError
from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.polling import Waited

LIMIT = 100


class SharedWorld(World):
    """One triggerer's view of an account whose calls others make too."""

    account: deque[float]
    chance: random.Random

    def _reply(self, job_ids: Sequence[str]) -> list[EditingJob]:
        now = self.now()
        while self.account and self.account[0] <= now - 60:
            self.account.popleft()
        if len(self.account) >= LIMIT:
            raise MpcThrottledError("too many", status=429)
        self.account.append(now)
        return super()._reply(job_ids)

    async def prepare(self) -> CallBudget:
        self.budget = CallBudget(self.calls_per_minute, clock=self.now, jitter=self.chance.random)
        return self.budget


@pytest.mark.parametrize("seed", range(5))
def test_two_triggerers_share_the_limit_and_are_hardly_refused(seed: int) -> None:
    account: deque[float] = deque()
    worlds = [SharedWorld(latency=0.02), SharedWorld(latency=0.02)]
    chance = random.Random(seed)

    async def triggerer(world: SharedWorld) -> list[Waited]:
        world.account, world.chance = account, chance
        await asyncio.sleep(chance.random() * 3)
        ids = [f"j{number}" for number in range(500)]
        world.ends = {job_id: (world.now() + chance.uniform(240, 300), "SUCCEEDED") for job_id in ids}
        poller = world.poller()
        return await asyncio.gather(*(poller.wait_all([job_id], 10.0) for job_id in ids))

    async def scenario() -> float:
        began = worlds[0].now()
        results = await asyncio.gather(*(triggerer(world) for world in worlds))
        assert all(job.status == "SUCCEEDED" for waits in results for one in waits for job in one.jobs.values())
        return began

    began = run(scenario)
    settled = [[call for call in world.calls if 120 <= call.at - began < 240] for world in worlds]
    shares = [len(calls) for calls in settled]
    refused = sum(bool(call.refused) for calls in settled for call in calls)
    assert max(shares) <= 0.6 * sum(shares), shares
    assert refused <= 0.03 * sum(shares)
    assert sum(shares) >= 120, "the limit allows 200"
