# SPDX-License-Identifier: Apache-2.0
"""Every fault over a real socket, at every time, on every path: how it ends, after how many calls, and when."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout
from fault_table import ROWS, Emulated, Kind, Phase, Row, cells, expected
from fault_world import PATHS, WAITS, Ended, World

from airflow_provider_mpc.api.errors import MpcError
from airflow_provider_mpc.emulator.faults import KINDS

LATER = 1
"""Good calls before a fault that comes later, when a query or a first look asks for twelve jobs by two."""


def is_final(error: BaseException) -> bool:
    return isinstance(error, (AirflowFailException, AirflowSensorTimeout))


@pytest.mark.parametrize(
    ("row", "phase", "path"),
    [pytest.param(*cell, id=f"{cell[0].name}-{cell[1].name.lower()}-{cell[2]}") for cell in cells()],
)
def test_a_fault_ends_as_the_table_says(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Row, phase: Phase, path: str
) -> None:
    monkeypatch.setenv("AIRFLOW__MPC__OUTAGE_TOLERANCE", str(row.tolerance))
    job_ids = world.jobs()
    good = 0 if not phase.later else LATER if path == "hook" else 2
    row.play(world, good, row.hits if phase.passing else None, tmp_path)

    tasks = world.go(path, job_ids)

    want = expected(row, phase, path)
    assert {task.how for task in tasks} == {want.how}, [str(task.error) for task in tasks]
    assert len(tasks) == (WAITS if path == "deferred" else 1)
    assert len(world.events) == (WAITS if path == "deferred" else 0)
    if want.how == "success":
        assert found(tasks) == job_ids
    else:
        assert {is_final(task.error) for task in tasks if task.error} == {not want.tried_again}
    assert len(world.calls) <= want.calls
    assert want.between[0] <= world.now <= want.between[1]
    if row.kind is not Kind.REFUSES_AN_ID and row.kind is not Kind.UNKNOWN_JOB:
        assert world.most_calls_in(1.0) <= 5
    keeps_silent(world, row.silence)


def found(tasks: list[Ended]) -> list[str]:
    """Return the ids that tasks ended with, in order."""
    ids = []
    for task in tasks:
        results = task.result if isinstance(task.result, list) else [task.result]
        ids += [one["job_id"] if isinstance(one, dict) else one.job_id for one in results]
    return ids


def keeps_silent(world: World, seconds: float) -> None:
    """After a refusal by 429 nobody calls for a while; two calls may have been under way together."""
    refused = [sent.at for sent in world.calls if sent.reply is not None and sent.reply.status == 429]
    for at in refused:
        following = [sent.at - at for sent in world.calls if sent.at > at + 1.0]
        assert min(following, default=seconds) >= seconds


def test_the_table_has_every_fault_that_the_emulator_plays() -> None:
    played = {row.play.kind for row in ROWS if isinstance(row.play, Emulated)}
    # Told by their codes, as any other refusal of the gateway.
    assert set(KINDS) - played == {"token_expired", "not_found"}


@pytest.mark.parametrize("path", PATHS)
def test_a_redirect_is_not_followed(world: World, path: str) -> None:
    job_ids = world.jobs()
    world.emulator.fault("redirect", match="list", location=f"{world.server.url}/elsewhere")
    world.go(path, job_ids)
    assert world.emulator.calls("list") > 0
    assert world.emulator.calls("other") == 0


@pytest.mark.parametrize("path", PATHS)
def test_a_clock_that_goes_wrong_is_named(world: World, path: str) -> None:
    world.emulator.variant.clock_skew = 3600.0
    for task in world.go(path, world.jobs()):
        assert "60 minutes behind the cloud's" in str(task.error)


@pytest.mark.parametrize("path", PATHS)
def test_an_outage_names_the_fault_that_it_was(world: World, path: str) -> None:
    world.emulator.fault("502", match="list")
    for task in world.go(path, world.jobs()):
        assert isinstance(task.error, MpcError)
        assert task.error.status == 502
        assert "502 Bad Gateway" in str(task.error)
        assert task.error.request_id


BAD_FOR_ONE = {
    "MPC.10202": ("MpcRequestError", {"kind": "mpc", "code": "MPC.10202"}),
    "MPC.10211": ("MpcJobNotFoundError", {"kind": "mpc", "code": "MPC.10211"}),
    "bare 400": ("MpcRequestError", {"kind": "respond", "status": 400}),
    "bare 404": ("MpcEndpointError", {"kind": "respond", "status": 404}),
    "500": ("MpcOutageError", {"kind": "500"}),
    "reset": ("MpcOutageError", {"kind": "reset"}),
}


@pytest.mark.parametrize("name", BAD_FOR_ONE)
def test_one_job_that_mpc_stumbles_over_fails_alone_in_the_triggerer(world: World, name: str) -> None:
    error, options = BAD_FOR_ONE[name]
    job_ids = world.jobs()
    world.emulator.fault(match="list", job_id=job_ids[3], **options)  # type: ignore[arg-type]
    tasks = world.defer(job_ids)
    assert [task.how for task in tasks] == [error if number == 3 else "success" for number in range(WAITS)]
    assert len(world.calls) <= 80
    assert found(tasks[:3] + tasks[4:]) == job_ids[:3] + job_ids[4:]
