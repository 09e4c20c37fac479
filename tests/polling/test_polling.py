# SPDX-License-Identifier: Apache-2.0
"""The poller's promises, in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from virtual_world import World, run

from airflow_provider_mpc import polling
from airflow_provider_mpc.api.errors import (
    MpcAuthenticationError,
    MpcEndpointError,
    MpcError,
    MpcJobNotFoundError,
    MpcKeyLockedError,
    MpcOutageError,
    MpcPermissionError,
    MpcRequestError,
    MpcServerError,
    MpcThrottledError,
    MpcTlsError,
    MpcTransportError,
)
from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.pacing import Interval
from airflow_provider_mpc.polling import Poller, Waited


def ids(count: int) -> list[str]:
    return [f"j{number}" for number in range(count)]


async def gather_waits(poller: Poller, job_ids: Sequence[str], interval: float = 10.0, **kwargs: float) -> list[object]:
    waits = [poller.wait_all([job_id], interval, **kwargs) for job_id in job_ids]  # type: ignore[arg-type]
    return await asyncio.gather(*waits, return_exceptions=True)


def test_one_wait_is_looked_at_once_each_interval_and_noticed_within_one() -> None:
    world = World(latency=0.2)

    async def scenario() -> float:
        world.ends["j"] = (world.now() + 34.0, "SUCCEEDED")
        job = await world.poller().wait("j", 10.0)
        assert job.status == "SUCCEEDED"
        return world.now() - world.ends["j"][0]

    late = run(scenario)
    assert late <= 10.0 + 0.2 + 0.01
    assert len(world.calls) == 5
    pauses = [later.at - earlier.at for earlier, later in zip(world.calls, world.calls[1:], strict=False)]
    assert min(pauses) >= 10.0


def test_waits_go_out_ten_to_a_call() -> None:
    world = World(calls_per_minute=100_000)

    async def scenario() -> None:
        world.ends = {job_id: (world.now() + 35, "SUCCEEDED") for job_id in ids(100)}
        await gather_waits(world.poller(), ids(100))

    run(scenario)
    assert sum(len(call.ids) for call in world.calls) / len(world.calls) > 9.5
    assert max(world.looks().values()) <= 6


def test_waits_that_begin_within_a_tenth_of_a_second_go_out_in_one_call() -> None:
    world = World()

    async def scenario() -> None:
        world.ends = dict.fromkeys(ids(10), (0.0, "SUCCEEDED"))
        poller = world.poller()
        waits = []
        for job_id in ids(10):
            waits.append(asyncio.ensure_future(poller.wait(job_id, 10.0)))
            await asyncio.sleep(0.009)
        await asyncio.gather(*waits)

    run(scenario)
    assert [len(call.ids) for call in world.calls] == [10]


@pytest.mark.parametrize("later", [2.0, 3.0, 4.0, 6.0, 8.0])
def test_what_is_nearly_due_travels_along_but_never_before_half_its_interval(later: float) -> None:
    world = World()

    async def scenario() -> None:
        world.ends = dict.fromkeys(("a", "b"), (world.now() + 100, "SUCCEEDED"))
        poller = world.poller()
        first = asyncio.ensure_future(poller.wait("a", 10.0))
        await asyncio.sleep(later)
        await asyncio.gather(first, poller.wait("b", 10.0))

    run(scenario)
    assert len(world.calls) <= 13, "each went its own way"
    for job_id in ("a", "b"):
        looks = [call.at for call in world.calls if job_id in call.ids]
        assert min(after - before for before, after in itertools.pairwise(looks)) >= 5.0


def test_an_id_wanted_by_two_is_asked_once_and_answered_to_both() -> None:
    world = World()

    async def scenario() -> list[object]:
        world.ends["j"] = (world.now() + 15, "SUCCEEDED")
        poller = world.poller()
        return await gather_waits(poller, ["j", "j"])

    first, second = run(scenario)
    assert isinstance(first, Waited)
    assert isinstance(second, Waited)
    assert first.jobs["j"].status == second.jobs["j"].status == "SUCCEEDED"
    assert len(world.calls) <= 3


def test_who_joins_while_an_id_is_under_way_does_not_send_it_twice_at_once() -> None:
    world = World(latency=3.0)

    async def scenario() -> None:
        world.ends["j"] = (world.now() + 30, "SUCCEEDED")
        poller = world.poller()
        first = asyncio.ensure_future(poller.wait("j", 10.0))
        await asyncio.sleep(14)
        assert world.under_way == 1
        await asyncio.gather(first, poller.wait("j", 10.0))

    run(scenario)
    assert world.most_under_way == 1


def test_ever_new_waits_for_an_id_do_not_put_its_look_off() -> None:
    world = World()

    async def scenario() -> float:
        began = world.now()
        poller = world.poller()
        waits = []
        for _ in range(100):
            waits.append(asyncio.ensure_future(poller.wait("j", 10.0)))
            await asyncio.sleep(0.05)
        world.ends["j"] = (0.0, "SUCCEEDED")
        await asyncio.gather(*waits)
        return world.calls[0].at - began

    assert run(scenario) <= 0.2


def test_of_two_who_want_an_id_the_less_patient_one_sets_the_interval() -> None:
    world = World()

    async def scenario() -> None:
        world.ends["j"] = (world.now() + 99, "SUCCEEDED")
        poller = world.poller()
        await asyncio.gather(poller.wait("j", 60.0), poller.wait("j", 10.0))

    run(scenario)
    assert len(world.calls) == 11


def test_new_waits_are_looked_at_within_two_seconds_while_the_budget_allows() -> None:
    world = World()
    first_looks: dict[str, float] = {}

    async def scenario() -> None:
        began = world.now()
        world.ends = dict.fromkeys(ids(300), (began + 3, "SUCCEEDED"))
        await gather_waits(world.poller(), ids(300), 30.0)
        for call in world.calls:
            for job_id in call.ids:
                first_looks.setdefault(job_id, call.at - began)

    run(scenario)
    assert max(first_looks.values()) <= 2.5
    assert len({round(at, 1) for at in first_looks.values()}) > 10, "a burst"


def test_a_wait_that_joins_later_is_looked_at_within_two_seconds() -> None:
    world = World()

    async def scenario() -> float:
        poller = world.poller()
        early = asyncio.ensure_future(gather_waits(poller, ids(10), 60.0))
        await asyncio.sleep(13)
        joined = world.now()
        world.ends["late"] = (0.0, "SUCCEEDED")
        await poller.wait("late", 60.0)
        taken = world.now() - joined
        early.cancel()
        await asyncio.gather(early, return_exceptions=True)
        await asyncio.sleep(1)
        return taken

    assert run(scenario) <= 2.0


def test_calls_are_spread_over_the_interval() -> None:
    world = World(calls_per_minute=100_000)

    async def scenario() -> None:
        world.ends = {job_id: (world.now() + 65, "SUCCEEDED") for job_id in ids(1000)}
        await gather_waits(world.poller(), ids(1000))

    run(scenario)
    began = world.calls[0].at
    steady = [call.at for call in world.calls if began + 25 <= call.at < began + 60]
    per_second = [sum(1 for at in steady if second <= at - began - 25 < second + 1) for second in range(35)]
    assert max(per_second) <= 20, "twice the mean of ten"
    assert sum(1 for count in per_second if count == 0) <= 5


def test_the_budget_is_never_passed_and_nobody_starves_when_more_is_due_than_allowed() -> None:
    world = World(limit=100)

    async def scenario() -> list[object]:
        world.ends = {job_id: (world.now() + 200, "SUCCEEDED") for job_id in ids(1000)}
        return await gather_waits(world.poller(), ids(1000))

    results = run(scenario)
    assert all(isinstance(result, Waited) for result in results)
    assert world.most_in_a_minute() <= 90
    assert not [call for call in world.calls if call.refused]
    looks = world.looks().values()
    assert max(looks) - min(looks) <= 1, "stretched unevenly"


def test_stretching_is_logged_once_when_it_starts_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    world = World()

    async def scenario() -> None:
        now = world.now()
        world.ends = {
            job_id: (now + (100 if number % 2 else 300), "SUCCEEDED") for number, job_id in enumerate(ids(400))
        }
        world.ends |= dict.fromkeys(ids(20), (now + 600, "SUCCEEDED"))
        await gather_waits(world.poller(), ids(400))

    with caplog.at_level(logging.INFO, "airflow_provider_mpc.pacing"):
        run(scenario)
    told = [record.getMessage() for record in caplog.records if "allowed" in record.getMessage()]
    assert len(told) == 2
    assert "400" in told[0]
    assert "90" in told[0]


def test_after_a_429_it_pauses_and_goes_on_slower_and_comes_back() -> None:
    world = World(limit=50, calls_per_minute=90)

    async def scenario() -> list[object]:
        world.ends = {job_id: (world.now() + 600, "SUCCEEDED") for job_id in ids(1000)}
        return await gather_waits(world.poller(), ids(1000))

    results = run(scenario)
    assert all(isinstance(result, Waited) for result in results), "a 429 is no failure"
    refused = [call for call in world.calls if call.refused]
    assert refused
    assert len(refused) <= 0.05 * len(world.calls)
    for call in refused:
        following = [other.at - call.at for other in world.calls if other.at > call.at + world.latency]
        assert min(following, default=99) >= 9.9


def test_a_bad_id_does_not_hurt_its_nine_neighbours() -> None:
    world = World(malformed={"j3"})

    async def scenario() -> list[object]:
        world.ends = {job_id: (world.now() + 25, "SUCCEEDED") for job_id in ids(10)}
        return await gather_waits(world.poller(), ids(10))

    results = run(scenario)
    assert isinstance(results[3], MpcRequestError)
    assert "j3" in str(results[3])
    assert sum(isinstance(result, Waited) for result in results) == 9
    assert len([call for call in world.calls if call.refused]) <= 5, "a search by halves"


@pytest.mark.parametrize("bad", ["j0", "j4", "j9"])
def test_a_bad_id_is_searched_by_halves_wherever_it_stands(bad: str) -> None:
    world = World(malformed={bad})

    async def scenario() -> int:
        world.ends = dict.fromkeys(ids(10), (world.now() + 25, "SUCCEEDED"))
        poller = world.poller()
        others = asyncio.ensure_future(gather_waits(poller, [job_id for job_id in ids(10) if job_id != bad]))
        with pytest.raises(MpcRequestError):
            await poller.wait(bad, 10.0)
        needed = len(world.calls)
        await others
        return needed

    assert run(scenario) <= 9
    assert len([call for call in world.calls if call.refused]) <= 5


@pytest.mark.parametrize("others", [["j5"], ["j5", "j6", "j7", "j8"]])
def test_a_bad_id_fails_soon_though_the_cloud_stumbles_over_its_neighbour(others: list[str]) -> None:
    world = World(malformed={"j3"})

    async def scenario() -> float:
        began = world.now()
        world.fault = lambda job_ids: MpcServerError("boom") if "j5" in job_ids and "j3" not in job_ids else None
        poller = world.poller()
        stays = asyncio.ensure_future(gather_waits(poller, others))
        with pytest.raises(MpcRequestError):
            await poller.wait("j3", 10.0)
        taken = world.now() - began
        stays.cancel()
        await asyncio.gather(stays, return_exceptions=True)
        await asyncio.sleep(1)
        return taken

    assert run(scenario) < 100


@pytest.mark.parametrize("after", range(1, 14, 2))
@pytest.mark.parametrize("leaves", ["j0", "j5", "j9"])
def test_who_leaves_amid_the_search_for_a_bad_id_does_not_keep_its_end_from_others(leaves: str, after: int) -> None:
    world = World(malformed={"j3", "j8"}, latency=2.0)

    async def scenario() -> None:
        world.ends = dict.fromkeys(ids(10), (world.now() + 60, "SUCCEEDED"))
        poller = world.poller()
        waits = {job_id: asyncio.ensure_future(poller.wait(job_id, 10.0)) for job_id in ids(10)}
        await asyncio.sleep(after)
        waits.pop(leaves).cancel()
        results = await asyncio.wait_for(asyncio.gather(*waits.values(), return_exceptions=True), 300)
        for job_id, result in zip(waits, results, strict=True):
            assert isinstance(result, MpcRequestError if job_id in world.malformed else EditingJob)

    run(scenario)


@pytest.mark.parametrize("after", range(30, 80, 2))
def test_who_leaves_when_all_of_a_call_are_bad_does_not_keep_its_end_from_others(after: int) -> None:
    bad = {f"j{number}" for number in range(10)}
    world = World(malformed=bad, latency=2.0)

    async def scenario() -> None:
        world.ends["good"] = (world.now() + 100, "SUCCEEDED")
        poller = world.poller()
        waits = [asyncio.ensure_future(poller.wait(job_id, 10.0)) for job_id in sorted(bad)]
        good = asyncio.ensure_future(poller.wait("good", 10.0))
        await asyncio.sleep(after / 2)
        waits[-1].cancel()
        results = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 300)
        assert all(isinstance(result, (MpcRequestError, asyncio.CancelledError)) for result in results)
        assert (await good).status == "SUCCEEDED"

    run(scenario)


BAD = [f"b{number}" for number in range(10)]
"""A whole call of them, so that nobody in it tells whether the request as such was refused."""


def test_a_fault_while_that_is_found_out_fails_nobody() -> None:
    world = World(malformed=set(BAD))
    faults = [MpcServerError("down")]

    def each_was_refused_alone() -> bool:
        return {call.ids for call in world.calls if call.refused} >= {(job_id,) for job_id in BAD}

    async def scenario() -> list[object]:
        world.fault = lambda job_ids: faults.pop() if faults and each_was_refused_alone() else None
        world.ends = dict.fromkeys(ids(5), (world.now() + 25, "SUCCEEDED"))
        return await gather_waits(world.poller(), [*BAD, *ids(5)])

    results = run(scenario)
    assert not faults
    assert all(isinstance(result, MpcRequestError) for result in results[:10])
    assert all(isinstance(result, Waited) for result in results[10:])


@pytest.mark.parametrize("unknown_as", ["absent", "error"])
def test_an_id_asked_for_only_to_find_that_out_need_not_be_known(unknown_as: str) -> None:
    world = World(malformed=set(BAD), unknown={"0"}, unknown_as=unknown_as)

    async def scenario() -> list[object]:
        world.ends = dict.fromkeys(ids(5), (world.now() + 25, "SUCCEEDED"))
        return await gather_waits(world.poller(), [*BAD, *ids(5)])

    assert all(isinstance(result, Waited) for result in run(scenario)[10:])


def test_a_job_that_was_answered_before_is_asked_for_if_there_is_one() -> None:
    world = World(malformed={*BAD, "0"})

    async def scenario() -> list[object]:
        world.ends = dict.fromkeys(ids(5), (world.now() + 60, "SUCCEEDED"))
        poller = world.poller()
        healthy = asyncio.ensure_future(gather_waits(poller, ids(5)))
        await asyncio.sleep(11)
        await gather_waits(poller, BAD)
        return await healthy

    assert all(isinstance(result, Waited) for result in run(scenario))


@pytest.mark.parametrize(("code", "calls"), [("APIGW.0101", 1), (None, 20)])
def test_a_404_of_the_gateway_blames_no_id_but_a_bare_one_may(code: str | None, calls: int) -> None:
    error = MpcEndpointError("no", status=404, error_code=code)
    world = World(fault=lambda job_ids: error if "j3" in job_ids else None)

    async def scenario() -> list[object]:
        world.ends = dict.fromkeys(ids(10), (world.now() + 25, "SUCCEEDED"))
        return await gather_waits(world.poller(), ids(10))

    failed = [result for result in run(scenario) if isinstance(result, MpcEndpointError)]
    assert len(failed) == (10 if code else 1)
    assert len(world.calls) <= calls


def test_one_that_turns_bad_while_alone_does_not_testify_against_the_others() -> None:
    world = World()

    async def scenario() -> list[object]:
        began = world.now()
        world.ends = dict.fromkeys(("a", "b"), (began + 500, "SUCCEEDED"))
        poller = world.poller()
        turns_bad = asyncio.ensure_future(poller.wait("j", 10.0))
        await asyncio.sleep(1)
        others = asyncio.ensure_future(gather_waits(poller, ["a", "b"], 600.0))
        await asyncio.sleep(30)
        world.malformed.add("j")
        with pytest.raises(MpcRequestError, match="bad parameter j"):
            await turns_bad
        assert world.now() < began + 60
        return await others

    assert all(isinstance(result, Waited) for result in run(scenario))


def test_of_bad_ids_no_more_are_remembered_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_SUSPECTS_REMEMBERED", 4)
    world = World(malformed=set(BAD))

    async def scenario() -> None:
        poller = world.poller()
        await gather_waits(poller, BAD)
        assert len(poller._suspects) == 4

    run(scenario)


def test_two_bad_ids_in_different_halves_do_not_fail_the_others() -> None:
    world = World(malformed={"j1", "j8"})

    async def scenario() -> list[object]:
        world.ends = {job_id: (world.now() + 25, "SUCCEEDED") for job_id in ids(10)}
        return await gather_waits(world.poller(), ids(10))

    results = run(scenario)
    assert [number for number, result in enumerate(results) if isinstance(result, MpcRequestError)] == [1, 8]
    assert sum(isinstance(result, Waited) for result in results) == 8


def test_twenty_bad_ids_do_not_fail_a_healthy_wait() -> None:
    bad = [f"b{number}" for number in range(20)]
    world = World(malformed=set(bad))

    async def scenario() -> list[object]:
        world.ends["good"] = (world.now() + 25, "SUCCEEDED")
        return await gather_waits(world.poller(), [*bad, "good"])

    *failed, good = run(scenario)
    assert all(isinstance(result, MpcRequestError) for result in failed)
    assert isinstance(good, Waited)


def test_a_fault_in_the_middle_of_the_search_for_a_bad_id_loses_nobody() -> None:
    world = World(malformed={"j3"})

    async def scenario() -> list[object]:
        world.fault = lambda job_ids: MpcServerError("down") if len(world.calls) in (2, 4) else None
        world.ends = {job_id: (world.now() + 25, "SUCCEEDED") for job_id in ids(10)}
        return await asyncio.wait_for(gather_waits(world.poller(), ids(10)), 300)

    results = run(scenario)
    assert isinstance(results[3], MpcRequestError)
    assert sum(isinstance(result, Waited) for result in results) == 9


def test_a_systemic_400_fails_a_thousand_waits_in_a_few_calls() -> None:
    world = World(fault=lambda job_ids: MpcRequestError("bad parameter", status=400))

    async def scenario() -> list[object]:
        return await gather_waits(world.poller(), ids(1000))

    results = run(scenario)
    assert all(isinstance(result, MpcRequestError) for result in results)
    assert len(world.calls) < 60


def test_a_systemic_400_in_the_middle_of_the_waits_fails_them_in_a_few_calls() -> None:
    world = World()

    async def scenario() -> list[object]:
        began = world.now()
        world.fault = lambda job_ids: MpcRequestError("no", status=400) if world.now() > began + 100 else None
        return await gather_waits(world.poller(), ids(200), 30.0)

    results = run(scenario)
    assert all(isinstance(result, MpcRequestError) for result in results)
    assert len([call for call in world.calls if call.refused]) < 60


def test_a_known_culprit_travels_alone_in_a_later_wait() -> None:
    world = World(malformed={"bad"})

    async def scenario() -> None:
        poller = world.poller()
        company = asyncio.ensure_future(gather_waits(poller, ids(9), 5.0))
        await asyncio.gather(poller.wait("bad", 5.0), return_exceptions=True)
        before = len(world.calls)
        with pytest.raises(MpcRequestError):
            await poller.wait("bad", 5.0)
        assert [call.ids for call in world.calls[before:] if "bad" in call.ids] == [("bad",)]
        company.cancel()
        await asyncio.gather(company, return_exceptions=True)
        await asyncio.sleep(1)

    run(scenario)


@pytest.mark.parametrize("later", [0.0, 2.0, 3.0, 4.0, *(4.5 + 0.05 * step for step in range(16))])
def test_a_known_culprit_takes_nobody_along_who_is_nearly_due(later: float) -> None:
    world = World(malformed={"bad"})

    async def scenario() -> None:
        poller = world.poller()
        company = asyncio.ensure_future(gather_waits(poller, ids(9), 5.0))
        await asyncio.gather(poller.wait("bad", 5.0), return_exceptions=True)
        await asyncio.sleep(later)
        before = len(world.calls)
        with pytest.raises(MpcRequestError):
            await poller.wait("bad", 5.0)
        assert [call.ids for call in world.calls[before:] if call.refused] == [("bad",)]
        company.cancel()
        await asyncio.gather(company, return_exceptions=True)
        await asyncio.sleep(1)

    run(scenario)


@pytest.mark.parametrize("unknown_as", ["absent", "no_task", "error"])
def test_a_missing_job_gets_its_grace_and_then_fails_alone(unknown_as: str) -> None:
    world = World(unknown={"j4"}, unknown_as=unknown_as)

    async def scenario() -> tuple[list[object], float]:
        began = world.now()
        world.ends = dict.fromkeys(ids(10), (began + 200, "SUCCEEDED"))
        poller = world.poller()
        others = asyncio.ensure_future(gather_waits(poller, ids(4) + ids(10)[5:]))
        with pytest.raises(MpcJobNotFoundError) as raised:
            await poller.wait_all(["j4"], 10.0, missing_grace=60.0)
        assert raised.value.job_ids == ["j4"]
        failed_after = world.now() - began
        return await others, failed_after

    results, failed_after = run(scenario)
    assert 60 <= failed_after <= 71
    assert all(isinstance(result, Waited) for result in results)


def test_the_grace_of_a_missing_job_is_not_stretched_by_a_long_interval() -> None:
    world = World(unknown={"j"})

    async def scenario() -> float:
        began = world.now()
        with pytest.raises(MpcJobNotFoundError):
            await world.poller().wait_all(["j"], 600.0, missing_grace=60.0)
        return world.now() - began

    assert 60 <= run(scenario) <= 63


def test_a_missing_job_is_looked_for_each_interval() -> None:
    world = World(unknown={"j"})

    async def scenario() -> float:
        began = world.now()
        asyncio.get_running_loop().call_later(15, world.unknown.clear)
        world.ends["j"] = (0.0, "SUCCEEDED")
        await world.poller().wait_all(["j"], 10.0, missing_grace=600.0)
        return world.now() - began

    assert 15 <= run(scenario) <= 26


def test_a_job_that_is_listed_late_is_not_missing() -> None:
    world = World(unknown={"j"})

    async def scenario() -> EditingJob:
        asyncio.get_running_loop().call_later(40, world.unknown.clear)
        world.ends["j"] = (world.now() + 80, "SUCCEEDED")
        return await world.poller().wait("j", 10.0)

    assert run(scenario).status == "SUCCEEDED"


def test_one_reply_without_a_job_that_was_there_before_does_not_fail_it() -> None:
    world = World()

    async def scenario() -> Waited:
        loop = asyncio.get_running_loop()
        loop.call_later(95, world.unknown.add, "j")
        loop.call_later(102, world.unknown.clear)
        world.ends["j"] = (world.now() + 150, "SUCCEEDED")
        return await world.poller().wait_all(["j"], 10.0, missing_grace=5.0)

    assert run(scenario).jobs["j"].status == "SUCCEEDED"


def test_single_replies_without_a_job_are_not_added_up() -> None:
    world = World()

    async def scenario() -> Waited:
        def absent_now_and_then(job_ids: Sequence[str]) -> None:
            world.unknown = {"j"} if len(world.calls) % 10 == 0 else set()

        world.fault = absent_now_and_then
        world.ends["j"] = (world.now() + 400, "SUCCEEDED")
        return await world.poller().wait_all(["j"], 10.0, missing_grace=5.0)

    assert run(scenario).jobs["j"].status == "SUCCEEDED"


def test_a_job_that_vanishes_fails_its_wait() -> None:
    world = World()

    async def scenario() -> float:
        began = world.now()
        asyncio.get_running_loop().call_later(95, world.unknown.add, "j")
        with pytest.raises(MpcJobNotFoundError):
            await world.poller().wait_all(["j"], 10.0, missing_grace=60.0)
        return world.now() - began

    assert 95 <= run(scenario) <= 120


def test_a_job_that_was_there_is_looked_for_again_soon_when_it_is_missing() -> None:
    world = World()

    async def scenario() -> float:
        began = world.now()
        asyncio.get_running_loop().call_later(95, world.unknown.add, "j")
        with pytest.raises(MpcJobNotFoundError):
            await world.poller().wait_all(["j"], 300.0, missing_grace=60.0)
        return world.now() - began

    assert 300 <= run(scenario) <= 307


@pytest.mark.parametrize("error", [MpcPermissionError("no"), MpcAuthenticationError("no")])
def test_a_permanent_refusal_fails_all_waits_at_once_after_one_call(error: MpcError) -> None:
    world = World(fault=lambda job_ids: error, latency=0.5)

    async def scenario() -> list[object]:
        return await gather_waits(world.poller(), ids(10))

    results = run(scenario)
    assert all(isinstance(result, type(error)) for result in results)
    assert len({id(result) for result in results}) == 10, "a shared exception collects everybody's frames"
    assert len(world.calls) == 1


def test_a_refused_signature_stops_all_sends() -> None:
    world = World(fault=lambda job_ids: MpcAuthenticationError("no"), latency=0.5)

    async def scenario() -> list[object]:
        return await gather_waits(world.poller(), ids(1000))

    run(scenario)
    assert len(world.calls) <= 8, "only what was under way when the first was refused"


def test_credentials_that_nobody_has_proved_are_tried_by_one_call() -> None:
    """Five refused signatures lock the key."""
    world = World(fault=lambda job_ids: MpcAuthenticationError("no"), latency=5.0)

    async def scenario() -> None:
        await gather_waits(world.poller(), ids(1000))

    run(scenario)
    assert len(world.calls) == 1


def test_faults_are_borne_for_less_than_the_tolerance() -> None:
    world = World()

    async def scenario() -> list[object]:
        began = world.now()
        world.fault = lambda job_ids: MpcServerError("down") if 20 < world.now() - began < 800 else None
        world.ends = dict.fromkeys(ids(200), (began + 30, "SUCCEEDED"))
        return await gather_waits(world.poller(), ids(200), 30.0)

    results = run(scenario)
    assert all(isinstance(result, Waited) for result in results)
    assert len([call for call in world.calls if call.refused]) < 60, "a hot loop in the outage"


@pytest.mark.parametrize("lasts", [9.0, 60.0])
def test_two_outages_with_good_answers_between_are_not_one(lasts: float) -> None:
    world = World()

    def down(since_began: float) -> bool:
        return any(start < since_began < start + lasts for start in (100, 1200, 2300))

    async def scenario() -> list[object]:
        began = world.now()
        world.fault = lambda job_ids: MpcServerError("down") if down(world.now() - began) else None
        world.ends = dict.fromkeys(ids(30), (began + 2500, "SUCCEEDED"))
        return await gather_waits(world.poller(), ids(30), 10.0)

    assert all(isinstance(result, Waited) for result in run(scenario))
    assert [call for call in world.calls if call.refused]


def test_in_an_outage_one_call_at_a_time_asks_whether_it_has_passed() -> None:
    world = World(latency=5.0, calls_per_minute=100_000)

    async def scenario() -> float:
        began = world.now()
        world.fault = lambda job_ids: MpcServerError("down") if world.now() > began + 30 else None
        await gather_waits(world.poller(), ids(400), 10.0, timeout=200.0)
        return began

    began = run(scenario)
    late = [call.at for call in world.calls if call.at > began + 60]
    assert min(after - before for before, after in itertools.pairwise(late)) >= world.latency


def test_who_joins_in_an_outage_bears_it_for_as_long_as_any_other() -> None:
    world = World()

    async def scenario() -> float:
        began = world.now()
        world.fault = lambda job_ids: MpcServerError("down") if world.now() - began > 20 else None
        poller = world.poller()
        patient = asyncio.ensure_future(poller.wait_all(["j0"], 30.0, outage_tolerance=float("inf")))
        await asyncio.sleep(800)
        joined = world.now()
        with pytest.raises(MpcOutageError):
            await poller.wait("j1", 30.0)
        patient.cancel()
        await asyncio.gather(patient, return_exceptions=True)
        await asyncio.sleep(1)
        return world.now() - joined

    assert 900 <= run(scenario) <= 970


def test_an_outage_longer_than_the_tolerance_fails_every_wait_with_its_cause() -> None:
    world = World()

    async def scenario() -> float:
        began = world.now()
        world.fault = lambda job_ids: MpcTransportError("cable cut") if world.now() - began > 20 else None
        results = await gather_waits(world.poller(), ids(200), 30.0)
        assert all(isinstance(result, MpcOutageError) for result in results)
        assert all("cable cut" in str(result) for result in results)
        return world.now() - began

    assert 900 <= run(scenario) <= 990


def test_a_throttled_account_never_counts_as_an_outage() -> None:
    world = World(limit=0)

    async def scenario() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(world.poller().wait_all(["j"], 10.0, outage_tolerance=100.0), 3000)
        await asyncio.sleep(1)

    run(scenario)
    assert 10 < len(world.calls) < 100


def test_one_id_the_cloud_stumbles_over_does_not_hold_up_the_others() -> None:
    world = World()
    world.fault = lambda job_ids: MpcServerError("boom", status=500) if "j5" in job_ids else None

    async def scenario() -> list[object]:
        began = world.now()
        world.ends = dict.fromkeys(ids(30), (began + 25, "SUCCEEDED"))
        waits = gather_waits(world.poller(), ids(30), 10.0, outage_tolerance=300.0)
        return await waits

    results = run(scenario)
    assert isinstance(results[5], MpcOutageError)
    assert sum(isinstance(result, Waited) for result in results) == 29


def test_after_the_cloud_has_stumbled_over_an_id_calls_are_full_again() -> None:
    world = World()

    async def scenario() -> float:
        began = world.now()
        world.fault = lambda job_ids: MpcServerError("boom") if "j5" in job_ids and world.now() < began + 100 else None
        world.ends = dict.fromkeys(ids(30), (began + 400, "SUCCEEDED"))
        await gather_waits(world.poller(), ids(30), 10.0)
        return began

    began = run(scenario)
    late = [len(call.ids) for call in world.calls if began + 250 < call.at < began + 390]
    assert sum(late) / len(late) > 8


def test_a_wrong_certificate_is_told_at_once_but_borne_once_the_endpoint_was_good() -> None:
    world = World(fault=lambda job_ids: MpcTlsError("bad certificate"))

    async def at_once() -> float:
        began = world.now()
        with pytest.raises(MpcTlsError):
            await world.poller().wait("j", 10.0)
        return world.now() - began

    assert run(at_once) < 5
    later = World()

    async def borne() -> EditingJob:
        began = later.now()
        later.fault = lambda job_ids: MpcTlsError("bad certificate") if 20 < later.now() - began < 100 else None
        later.ends["j"] = (began + 50, "SUCCEEDED")
        return await later.poller().wait("j", 10.0)

    assert run(borne).status == "SUCCEEDED"


def test_a_locked_key_is_left_alone_for_five_minutes() -> None:
    world = World()

    async def scenario() -> EditingJob:
        began = world.now()
        world.fault = lambda job_ids: MpcKeyLockedError("locked") if 5 < world.now() - began < 200 else None
        world.ends["j"] = (began + 50, "SUCCEEDED")
        return await world.poller().wait("j", 10.0)

    assert run(scenario).status == "SUCCEEDED"
    refused = next(call for call in world.calls if call.refused)
    following = min(call.at for call in world.calls if call.at > refused.at)
    assert following - refused.at >= 299


def test_a_locked_key_is_left_alone_by_all_waits() -> None:
    world = World()

    async def scenario() -> float:
        began = world.now()
        locked = MpcKeyLockedError("locked")
        world.fault = lambda job_ids: locked if 20 < world.now() - began < 250 else None
        world.ends = dict.fromkeys(ids(200), (began + 50, "SUCCEEDED"))
        results = await gather_waits(world.poller(), ids(200), 30.0)
        assert all(isinstance(result, Waited) for result in results)
        return began

    run(scenario)
    first = next(call for call in world.calls if call.refused)
    assert not [call for call in world.calls if first.at + 2 * world.latency < call.at < first.at + 299]


@pytest.mark.parametrize(("asked", "least", "most"), [(120.0, 120.0, 121.0), (86400.0, 599.0, 601.0), (None, 1.0, 3.0)])
def test_after_a_fault_the_pause_is_as_asked_within_reason(asked: float | None, least: float, most: float) -> None:
    world = World()

    async def scenario() -> None:
        down = MpcServerError("down", retry_after=asked)
        world.fault = lambda job_ids: down if len(world.calls) == 2 else None
        world.ends["j"] = (world.now() + 5, "SUCCEEDED")
        await world.poller().wait("j", 10.0)

    run(scenario)
    assert least <= world.calls[2].at - world.calls[1].at <= most


def test_a_failure_ends_a_list_at_once_with_a_last_look_at_the_others() -> None:
    world = World()

    async def scenario() -> tuple[Waited, float]:
        began = world.now()
        world.ends = dict.fromkeys(("j2", "j27"), (began + 15, "FAILED"))
        world.ends["j28"] = (began + 15, "SUCCEEDED")
        waited = await world.poller().wait_all(ids(30), 30.0)
        return waited, world.now() - began

    waited, taken = run(scenario)
    assert {job_id for job_id, job in waited.jobs.items() if job.status == "FAILED"} == {"j2", "j27"}
    assert waited.jobs["j28"].status == "SUCCEEDED"
    assert len(waited.jobs) == 30
    assert not waited.deadline_passed
    assert taken < 48


def test_a_throttled_log_in_is_a_fault_like_any_other() -> None:
    world = World()
    world.calls_per_minute = 100_000
    throttled = MpcThrottledError("IAM refuses more for now", status=429, retry_after=60.0)
    throttled.preliminary = True
    world.fault = lambda job_ids: throttled

    async def scenario() -> float:
        began = world.now()
        with pytest.raises(MpcOutageError):
            await world.poller().wait_all(["j"], 5.0, outage_tolerance=900.0)
        return world.now() - began

    taken = run(scenario)
    assert 900 <= taken <= 1100
    assert len(world.calls) <= 20


def test_a_refusal_before_the_query_blames_no_id() -> None:
    world = World()
    refusal = MpcRequestError("IAM refuses to find the project", status=400)
    refusal.preliminary = True
    world.fault = lambda job_ids: refusal

    async def scenario() -> list[EditingJob | BaseException]:
        poller = world.poller()
        return await asyncio.gather(*(poller.wait(job_id, 10.0) for job_id in ids(30)), return_exceptions=True)

    results = run(scenario)
    assert {str(result) for result in results} == {"IAM refuses to find the project (HTTP 400)"}
    assert len(world.calls) <= 3, "the batches are not halved"


def test_the_deadline_ends_a_wait_with_a_last_look() -> None:
    world = World()

    async def scenario() -> tuple[Waited, float]:
        began = world.now()
        waited = await world.poller().wait_all(["a", "b"], 60.0, timeout=30.0)
        return waited, world.now() - began

    waited, taken = run(scenario)
    assert waited.deadline_passed
    assert set(waited.jobs) == {"a", "b"}
    assert 30 <= taken <= 33
    assert len(world.calls) == 2


@pytest.mark.parametrize("failed_at", [25.0, 29.9])
def test_a_failure_before_the_deadline_decides_though_others_still_run(failed_at: float) -> None:
    world = World()

    async def scenario() -> Waited:
        world.ends["a"] = (world.now() + failed_at, "FAILED")
        return await world.poller().wait_all(["a", "b"], 60.0, timeout=30.0)

    waited = run(scenario)
    assert not waited.deadline_passed
    assert {job_id: job.status for job_id, job in waited.jobs.items()} == {"a": "FAILED", "b": "PROCESSING"}


def test_a_deadline_during_the_last_look_after_a_failure_changes_nothing() -> None:
    world = World()

    async def scenario() -> Waited:
        world.ends["a"] = (world.now() + 5, "FAILED")
        world.latency = 4.0
        return await world.poller().wait_all(["a", "b"], 10.0, timeout=12.0)

    assert not run(scenario).deadline_passed


def test_a_job_that_ended_before_the_deadline_is_a_success_even_if_nobody_had_looked() -> None:
    world = World()

    async def scenario() -> Waited:
        world.ends["j"] = (world.now() + 25, "SUCCEEDED")
        return await world.poller().wait_all(["j"], 60.0, timeout=30.0)

    waited = run(scenario)
    assert not waited.deadline_passed
    assert waited.jobs["j"].status == "SUCCEEDED"


def test_a_deadline_that_has_passed_already_still_allows_one_look() -> None:
    world = World()

    async def scenario() -> Waited:
        world.ends["j"] = (0.0, "SUCCEEDED")
        return await world.poller().wait_all(["j"], 60.0, timeout=-500.0)

    waited = run(scenario)
    assert waited.jobs["j"].status == "SUCCEEDED"
    assert not waited.deadline_passed


def test_a_deadline_in_an_outage_is_kept() -> None:
    world = World(fault=lambda job_ids: MpcServerError("down"))

    async def scenario() -> tuple[Waited, float]:
        began = world.now()
        waited = await world.poller().wait_all(["j"], 10.0, timeout=30.0)
        return waited, world.now() - began

    waited, taken = run(scenario)
    assert waited.deadline_passed
    assert taken <= 30 + 15.1


def test_changes_of_status_are_told_and_nothing_else() -> None:
    world = World()
    told: list[str] = []

    async def scenario() -> None:
        world.ends["j"] = (world.now() + 95, "SUCCEEDED")
        await world.poller().wait_all(["j"], 10.0, on_change=lambda job: told.append(job.status))

    run(scenario)
    assert told == ["PROCESSING", "SUCCEEDED"]


def test_changes_are_told_in_the_context_of_who_waits_and_the_pollers_own_lines_in_nobodys() -> None:
    world = World()
    whose = contextvars.ContextVar("whose", default="nobody")
    told: list[tuple[str, str]] = []
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(whose.get())

    async def wait(poller: Poller, job_id: str) -> None:
        whose.set(job_id)
        await poller.wait_all([job_id], 10.0, on_change=lambda job: told.append((job.job_id, whose.get())))

    async def scenario() -> None:
        began = world.now()
        world.fault = lambda job_ids: MpcServerError("down") if world.now() < began + 15 else None
        world.ends = dict.fromkeys(ids(3), (began, "SUCCEEDED"))
        poller = world.poller()
        await asyncio.gather(*(wait(poller, job_id) for job_id in ids(3)))

    logger, handler = logging.getLogger("airflow_provider_mpc.polling"), Handler()
    logger.addHandler(handler)
    try:
        run(scenario)
    finally:
        logger.removeHandler(handler)
    assert sorted(told) == [(job_id, job_id) for job_id in ids(3)]
    assert set(lines) == {"nobody"}


def test_who_joins_later_is_told_how_the_job_stands_by_then() -> None:
    world = World()
    told: list[str] = []

    async def scenario() -> None:
        world.ends["j"] = (world.now() + 95, "SUCCEEDED")
        poller = world.poller()
        first = asyncio.ensure_future(poller.wait("j", 10.0))
        await asyncio.sleep(33)
        await poller.wait_all(["j"], 10.0, on_change=lambda job: told.append(job.status))
        await first

    run(scenario)
    assert told == ["PROCESSING", "SUCCEEDED"]


class Figures:
    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []
        self.waiting: list[int] = []
        self.ended: list[str] = []

    def call(self, ids: int, *, throttled: bool) -> None:
        self.calls.append((ids, throttled))

    def waits(self, count: int) -> None:
        self.waiting.append(count)

    def noticed(self, job: EditingJob) -> None:
        self.ended.append(job.job_id)


def test_its_figures_are_told() -> None:
    world, figures = World(limit=4), Figures()

    async def scenario() -> None:
        world.ends = dict.fromkeys(ids(12), (world.now() + 25, "SUCCEEDED"))
        await gather_waits(Poller(world, meter=figures), ids(12))

    run(scenario)
    assert sorted(figures.ended) == sorted(ids(12))
    assert figures.calls == [(len(call.ids), bool(call.refused)) for call in world.calls]
    assert any(throttled for _, throttled in figures.calls)
    assert (max(figures.waiting), figures.waiting[-1]) == (12, 0)


def test_backoff_doubles_the_pauses_up_to_the_longest() -> None:
    world = World()

    async def scenario() -> None:
        world.ends["j"] = (world.now() + 400, "SUCCEEDED")
        await world.poller().wait("j", Interval(10.0, backoff=True, longest=60.0))

    run(scenario)
    pauses = [later.at - earlier.at for earlier, later in zip(world.calls, world.calls[1:], strict=False)]
    assert [round(pause) for pause in pauses[:5]] == [10, 20, 40, 60, 60]


def test_an_interval_of_nothing_is_a_short_one() -> None:
    world = World(calls_per_minute=100_000, latency=0.01)

    async def scenario() -> None:
        world.ends["j"] = (world.now() + 10, "SUCCEEDED")
        assert (await world.poller().wait("j", 0.0)).status == "SUCCEEDED"

    run(scenario)
    assert len(world.calls) <= 110


def test_a_cancelled_wait_is_not_looked_at_again_and_an_idle_poller_ends() -> None:
    world = World()

    async def scenario() -> None:
        poller = world.poller()
        wait = asyncio.ensure_future(poller.wait("j", 10.0))
        await asyncio.sleep(25)
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)
        calls = len(world.calls)
        await asyncio.sleep(100)
        assert len(world.calls) == calls
        assert poller.ended

    run(scenario)
    assert world.closed == 1


def test_a_poller_that_ends_waits_for_no_call_under_way() -> None:
    world = World(latency=20.0)

    async def scenario() -> None:
        wait = asyncio.ensure_future(world.poller().wait("j", 10.0))
        await asyncio.sleep(5)
        assert world.under_way == 1
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)

    run(scenario)
    assert world.closed == 1


@pytest.mark.parametrize("where", ["sending", "asking"])
def test_a_poller_that_breaks_fails_its_waits_and_leaves_none_hanging(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    if where == "sending":
        monkeypatch.setattr(Poller, "_next_batch", lambda self, now: [][0])
    else:
        world.fault = lambda job_ids: RuntimeError("bug")  # type: ignore[assignment, return-value]

    async def scenario() -> None:
        results = await gather_waits(world.poller(), ids(3))
        assert all(isinstance(result, MpcServerError) and "broke" in str(result) for result in results)

    run(scenario)
    assert world.closed == 1


def test_a_cancelled_wait_does_not_disturb_another_for_the_same_job() -> None:
    world = World()

    async def scenario() -> EditingJob:
        poller = world.poller()
        world.ends["j"] = (world.now() + 50, "SUCCEEDED")
        leaves = asyncio.ensure_future(poller.wait("j", 10.0))
        stays = asyncio.ensure_future(poller.wait("j", 10.0))
        await asyncio.sleep(22)
        leaves.cancel()
        return await stays

    assert run(scenario).status == "SUCCEEDED"


def test_no_more_than_eight_calls_are_under_way() -> None:
    world = World(latency=20.0, calls_per_minute=100_000)

    async def scenario() -> None:
        world.ends = dict.fromkeys(ids(400), (0.0, "SUCCEEDED"))
        await gather_waits(world.poller(), ids(400))

    run(scenario)
    assert world.most_under_way == 8


def test_an_unknown_status_is_waited_out() -> None:
    world = World()

    async def scenario() -> Waited:
        world.ends["j"] = (world.now() + 5, "TELEPORTED")
        return await world.poller().wait_all(["j"], 10.0, timeout=100.0)

    waited = run(scenario)
    assert waited.deadline_passed
    assert waited.jobs["j"].status == "TELEPORTED"


def test_ten_thousand_waits_leave_nothing_behind() -> None:
    world = World(calls_per_minute=1_000_000)

    async def scenario() -> Poller:
        poller = world.poller()
        now = world.now()
        world.ends = {job_id: (now + 5 + hash(job_id) % 40, "SUCCEEDED") for job_id in ids(10_000)}
        results = await gather_waits(poller, ids(10_000))
        assert all(isinstance(result, Waited) for result in results)
        return poller

    poller = run(scenario)
    assert not poller._watched
    assert not poller._in_flight
    assert poller._pace.idle
    assert world.closed == 1


def test_waits_that_ended_long_before_their_deadlines_leave_none_behind() -> None:
    world = World(calls_per_minute=1_000_000)

    async def scenario() -> None:
        poller = world.poller()
        world.ends = dict.fromkeys(ids(2000), (0.0, "SUCCEEDED"))
        goes_on = asyncio.ensure_future(poller.wait("long", 10.0))
        await gather_waits(poller, ids(2000), timeout=86400.0)
        assert len(poller._deadlines._heap) <= 100
        goes_on.cancel()
        await asyncio.gather(goes_on, return_exceptions=True)

    run(scenario)


def test_refused_credentials_are_remembered_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_refusals", {})
    world = World(fault=lambda job_ids: MpcAuthenticationError("no"))

    async def scenario() -> None:
        with pytest.raises(MpcAuthenticationError):
            await polling.shared_poller("me", lambda: world).wait("j", 10.0)
        told = []
        for _ in range(2):
            await asyncio.sleep(25)
            with pytest.raises(MpcAuthenticationError) as raised:
                polling.shared_poller("me", lambda: world)
            told.append(raised.value)
        assert told[0] is not told[1], "a shared exception collects everybody's frames"
        polling.shared_poller("you", lambda: world)
        await asyncio.sleep(11)
        polling.shared_poller("me", lambda: world)

    run(scenario)
    assert len(world.calls) == 1


def test_any_other_refusal_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_refusals", {})
    world = World(fault=lambda job_ids: MpcPermissionError("no"))

    async def scenario() -> None:
        for _ in range(2):
            with pytest.raises(MpcPermissionError):
                await polling.shared_poller("me", lambda: world).wait("j", 10.0)
            await asyncio.sleep(1)

    run(scenario)
    assert len(world.calls) == 2


@pytest.mark.parametrize("unknown_as", ["absent", "error"])
def test_a_list_with_several_missing_jobs_names_them_all(unknown_as: str) -> None:
    world = World(unknown={"j2", "j5"}, unknown_as=unknown_as)

    async def scenario() -> None:
        with pytest.raises(MpcJobNotFoundError) as raised:
            await world.poller().wait_all(ids(8), 10.0, missing_grace=0.0)
        assert sorted(raised.value.job_ids) == ["j2", "j5"]

    run(scenario)


def test_a_lone_wait_with_a_short_interval_is_looked_at_that_often_as_far_as_the_budget_goes() -> None:
    world = World(latency=0.01, calls_per_minute=100_000)
    modest = World(latency=0.01)

    def looks(world: World, interval: float, seconds: float) -> int:
        async def scenario() -> None:
            world.ends["j"] = (world.now() + seconds, "SUCCEEDED")
            await world.poller().wait("j", interval)

        run(scenario)
        return len(world.calls)

    assert looks(world, 0.2, 10) >= 45
    looks(modest, 0.2, 120)
    pauses = [later.at - earlier.at for earlier, later in zip(modest.calls, modest.calls[1:], strict=False)]
    assert max(pauses) < 1.0, "it used its budget up and was blind"


@pytest.mark.parametrize("seed", range(30))
def test_searches_that_overlap_lose_nobody(seed: int) -> None:
    draw = random.Random(seed)

    class Slow(World):
        async def query(self, job_ids: Sequence[str]) -> list[EditingJob]:
            self.latency = draw.uniform(0.05, 0.6)
            return await super().query(job_ids)

    world = Slow(malformed={"c0", *(f"b{number}" for number in range(4))}, calls_per_minute=100_000)

    async def scenario() -> float:
        poller, begin = world.poller(), world.now()
        late = [f"d{number}" for number in range(8)]
        world.ends = dict.fromkeys((*late, *ids(5)), (begin + 60, "SUCCEEDED"))
        healthy = asyncio.ensure_future(gather_waits(poller, ids(5), 30.0, timeout=600))
        await asyncio.sleep(3)
        bad = asyncio.ensure_future(gather_waits(poller, [f"b{number}" for number in range(4)], 30.0, timeout=600))
        await asyncio.sleep(0.3)
        mixed = await gather_waits(poller, ["c0", *late], 30.0, timeout=600)
        ended = world.now() - begin
        assert all(isinstance(result, Waited) and not result.deadline_passed for result in [*mixed[1:], *await healthy])
        assert all(isinstance(result, MpcRequestError) for result in [mixed[0], *await bad])
        return ended

    assert run(scenario) <= 60 + 30 + 10


def test_a_bad_id_beside_one_that_the_cloud_stumbles_over_hurts_nobody_else() -> None:
    world = World(malformed={"j3"})
    world.fault = lambda job_ids: MpcServerError("stumbles", status=500) if "j7" in job_ids else None

    async def scenario() -> None:
        world.ends = {job_id: (world.now() + 60, "SUCCEEDED") for job_id in ids(100)}
        begin = world.now()
        poller = world.poller()
        stumbling = asyncio.ensure_future(poller.wait("j7", 10.0))
        bad = asyncio.ensure_future(poller.wait("j3", 10.0))
        others = await gather_waits(poller, [one for one in ids(100) if one not in ("j3", "j7")])
        assert all(isinstance(result, Waited) for result in others)
        assert world.now() - begin < 80
        with pytest.raises(MpcRequestError):
            await bad
        with pytest.raises(MpcOutageError):
            await stumbling

    run(scenario)


def test_one_of_ten_that_the_cloud_stumbles_over_does_not_fail_the_other_nine() -> None:
    world = World()
    world.fault = lambda job_ids: MpcServerError("stumbles", status=500) if "j7" in job_ids else None

    async def scenario() -> list[object]:
        world.ends = {job_id: (world.now() + 60, "SUCCEEDED") for job_id in ids(10)}
        return await gather_waits(world.poller(), ids(10))

    results = run(scenario)
    assert isinstance(results.pop(7), MpcOutageError)
    assert all(isinstance(result, Waited) for result in results)


@pytest.mark.parametrize("lasts", [0.5, 1e9])
def test_a_fault_just_when_a_bad_id_stands_alone_is_borne_like_any_other(lasts: float) -> None:
    world = World(malformed={"bad"})

    async def scenario() -> None:
        begin, alone_at = world.now(), float("inf")

        def fault(job_ids: Sequence[str]) -> MpcError | None:
            nonlocal alone_at
            if list(job_ids) == ["bad"]:
                alone_at = min(alone_at, world.now())
                return None
            return MpcServerError("down", status=503) if alone_at < world.now() < alone_at + lasts else None

        world.fault = fault
        world.ends = dict.fromkeys(ids(50), (begin + 30, "SUCCEEDED"))
        poller = world.poller()
        healthy = asyncio.ensure_future(gather_waits(poller, ids(50), 5.0))
        await asyncio.sleep(21)
        with pytest.raises(MpcError):
            await poller.wait("bad", 5.0)
        results = await healthy
        if lasts < 5:
            assert all(isinstance(result, Waited) for result in results)
            assert world.now() - begin < 45
        else:
            assert all(isinstance(result, MpcOutageError) for result in results)
            assert world.now() - begin < 900 + 120

    run(scenario)


def test_refusals_between_two_faults_are_no_outage() -> None:
    world = World()

    async def scenario() -> Waited:
        begin = world.now()

        def fault(job_ids: Sequence[str]) -> MpcError | None:
            since = world.now() - begin
            if 20 < since < 23 or 984 < since < 990:
                return MpcServerError("blip", status=503)
            return MpcThrottledError("too many", status=429) if 23 < since < 984 else None

        world.fault = fault
        world.ends["j"] = (begin + 995, "SUCCEEDED")
        return await world.poller().wait_all(["j"], 10.0)

    assert not run(scenario).deadline_passed


def test_waits_that_come_one_by_one_share_calls_and_leave_some_for_later() -> None:
    world = World()

    async def scenario() -> list[float]:
        poller, waits = world.poller(), []
        delays: list[float] = []

        async def one(job_id: str) -> None:
            nonlocal poller
            began = world.now()
            if poller.ended:
                poller = world.poller()
            await poller.wait(job_id, 10.0)
            delays.append(world.now() - began)

        for job_id in ids(200):
            world.ends[job_id] = (0.0, "SUCCEEDED")
            waits.append(asyncio.ensure_future(one(job_id)))
            await asyncio.sleep(0.2)
        await asyncio.gather(*waits)
        return delays

    assert max(run(scenario)) <= 2.1
    assert world.most_in_a_minute() <= 75


def test_an_id_that_many_ask_for_is_not_asked_for_each() -> None:
    world = World()

    async def scenario() -> None:
        poller = world.poller()
        world.ends["j"] = (world.now() + 45, "SUCCEEDED")
        waits = []
        for _ in range(200):
            waits.append(asyncio.ensure_future(poller.wait("j", 10.0)))
            await asyncio.sleep(0.2)
        await asyncio.gather(*waits)

    run(scenario)
    assert len(world.calls) <= 45 / 2 + 5


@pytest.mark.parametrize("interval", [0.1, 0.25, 0.5])
def test_one_that_wants_to_be_looked_at_very_often_does_not_blind_the_others(interval: float) -> None:
    world = World()

    async def scenario() -> None:
        poller = world.poller()
        world.ends = {job_id: (world.now() + 180, "SUCCEEDED") for job_id in ids(100)}
        hasty = asyncio.ensure_future(poller.wait("hasty", interval))
        await gather_waits(poller, ids(100))
        hasty.cancel()
        await asyncio.gather(hasty, return_exceptions=True)

    run(scenario)
    times = [call.at for call in world.calls]
    assert max(later - earlier for earlier, later in pairwise(times)) < 5
    assert world.most_in_a_minute() <= 90


def test_two_identities_of_one_project_share_its_budget_without_silence() -> None:
    world = World(limit=100)

    async def scenario() -> list[object]:
        await world.prepare()
        world.ends = {job_id: (world.now() + 200, "SUCCEEDED") for job_id in ids(1000)}
        both = [gather_waits(world.poller(), ids(1000)[start : start + 500]) for start in (0, 500)]
        return [result for results in await asyncio.gather(*both) for result in results]

    assert all(isinstance(result, Waited) for result in run(scenario))
    times = [call.at for call in world.calls]
    assert max(later - earlier for earlier, later in pairwise(times)) < 5


@pytest.mark.parametrize("longest", [-5.0, 0.0, 0.01])
def test_a_longest_pause_without_sense_is_no_hot_loop(longest: float) -> None:
    assert Interval(10.0, backoff=True, longest=longest).after(50.0) >= 0.1
    assert Interval(10.0, longest=longest).after(50.0) == 10.0, "as in any sensor, max_wait counts with backoff only"


def test_an_ended_poller_takes_no_more_waits() -> None:
    world = World()

    async def scenario() -> None:
        poller = world.poller()
        world.ends["j"] = (0.0, "SUCCEEDED")
        await poller.wait("j", 1.0)
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="has ended"):
            await poller.wait("j", 1.0)

    run(scenario)
