# SPDX-License-Identifier: Apache-2.0
"""Credentials that end, are replaced or are locked while tasks wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from fault_world import JOB_SECONDS, PATHS, WAITS, World

from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.triggers import connections

WAITING = PATHS[1:]
CHANGED_AT = 100.0
LOOKS = 2 * (int(JOB_SECONDS / 30) + 1) + 6
"""Calls of a wait in which nothing happens."""


def rotate(world: World) -> None:
    world.emulator.rotate_keys()


def expire(world: World) -> None:
    world.emulator.expire_tokens()


def change_password(world: World) -> None:
    world.emulator.password = "another-password"
    world.emulator.expire_tokens()


@dataclass(frozen=True)
class Change:
    """
    What happens to the credentials of a wait.

    :param edited: as what the connection is written anew at the same moment.
    :param error: how the wait ends; none: it goes on.
    :param asked: calls to IAM or the metadata service in all, at most.
    """

    name: str
    auth: str
    happens: Callable[[World], None]
    edited: str | None = None
    error: str | None = None
    asked: int = 0


CHANGES = (
    Change("key rotated, connection edited", "aksk", rotate, edited="aksk"),
    Change("key rotated, connection not edited", "aksk", rotate, error="MpcAuthenticationError"),
    Change("key rotated, another method now", "aksk", rotate, edited="password", asked=1),
    Change("temporary key expired, connection edited", "temporary", expire, edited="temporary"),
    Change("temporary key expired, connection not edited", "temporary", expire, error="MpcAuthenticationError"),
    Change("token expired, connection edited", "token", expire, edited="token"),
    Change("token expired, connection not edited", "token", expire, error="MpcAuthenticationError"),
    Change("user's token expired", "password", expire, asked=2),
    Change("password changed, connection edited", "password", change_password, edited="password", asked=3),
    Change(
        "password changed, connection not edited",
        "password",
        change_password,
        error="MpcAuthenticationError",
        asked=2,
    ),
    Change("agency's keys expired", "agency", expire, asked=4),
)


@pytest.mark.parametrize("path", WAITING)
@pytest.mark.parametrize("change", [pytest.param(one, id=one.name) for one in CHANGES])
def test_a_wait_survives_what_a_connection_or_a_renewal_can_cure(world: World, path: str, change: Change) -> None:
    world.connect(change.auth)
    job_ids = world.jobs()

    def happen() -> None:
        change.happens(world)
        if change.edited:
            world.connect(change.edited)

    world.clock.after(CHANGED_AT, happen)
    tasks = world.go(path, job_ids)

    assert {task.how for task in tasks} == {change.error or "success"}, str(tasks[0].error)
    assert all(isinstance(task.error, AirflowFailException) for task in tasks if task.error)
    assert len(tasks) == (WAITS if path == "deferred" else 1)
    refused = [sent for sent in world.calls if sent.reply is not None and sent.reply.status == 401]
    assert len(refused) <= 2
    assert len(world.sent) - len(world.calls) <= change.asked
    if change.error:
        assert CHANGED_AT < world.now < CHANGED_AT + 45
        assert len(world.calls) <= LOOKS / 2 + 2
    else:
        assert JOB_SECONDS - 1 < world.now < JOB_SECONDS + 45
        assert len(world.calls) <= LOOKS + 2


@pytest.mark.parametrize("path", WAITING)
@pytest.mark.parametrize("auth", ["password", "agency"])
def test_what_runs_out_is_renewed_before_anybody_refuses_it(world: World, path: str, auth: str) -> None:
    account = world.emulator.account
    kept = account.temporary_key_seconds
    world.emulator.token_seconds = account.temporary_key_seconds = 100.0
    try:
        world.connect(auth)
        tasks = world.go(path, world.jobs())
    finally:
        account.temporary_key_seconds = kept
    assert {task.how for task in tasks} == {"success"}
    assert {sent.reply.status for sent in world.calls if sent.reply} == {200}
    calls_for_one = 1 if auth == "password" else 2
    assert 3 * calls_for_one <= len(world.sent) - len(world.calls) <= 5 * calls_for_one


@pytest.mark.parametrize("path", WAITING)
@pytest.mark.parametrize("fault", ["503", "reset", "html"])
def test_a_wait_bears_an_iam_that_is_away_when_a_token_ends(world: World, path: str, fault: str) -> None:
    world.connect("password")
    job_ids = world.jobs()

    def happen() -> None:
        world.emulator.fault(fault, match="token", for_seconds=60)
        world.emulator.expire_tokens()

    world.clock.after(CHANGED_AT, happen)
    tasks = world.go(path, job_ids)
    assert {task.how for task in tasks} == {"success"}
    assert JOB_SECONDS - 1 < world.now < JOB_SECONDS + 60
    assert len(world.sent) - len(world.calls) <= 10


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("code", ["APIGW.0301", "APIGW.0307"])
def test_a_token_that_is_refused_once_is_replaced_once(world: World, path: str, code: str) -> None:
    world.connect("password")
    world.emulator.fault("token_expired", times=1, match="list", after=1, code=code)
    tasks = world.go(path, world.jobs())
    assert {task.how for task in tasks} == {"success"}
    assert world.emulator.calls("token") == 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("auth", ["password", "agency"])
def test_credentials_that_are_refused_although_fresh_are_not_renewed_for_ever(
    world: World, path: str, auth: str
) -> None:
    world.connect(auth)
    world.emulator.fault("token_expired", match="list")
    tasks = world.go(path, world.jobs())
    assert {task.how for task in tasks} == {"MpcAuthenticationError"}
    assert all(isinstance(task.error, AirflowFailException) for task in tasks)
    assert len(world.calls) <= 4
    assert len(world.sent) - len(world.calls) <= 6


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_password_is_not_tried_again(world: World, path: str) -> None:
    world.connect("password")
    world.emulator.password = "another-password"
    tasks = world.go(path, world.jobs())
    assert {task.how for task in tasks} == {"MpcAuthenticationError"}
    assert world.emulator.calls("token") <= 2
    assert not world.calls


def test_two_hundred_waits_with_a_wrong_secret_do_not_lock_the_key(world: World) -> None:
    key = world.emulator.account.keys[world.emulator.access_key]
    world.connect()
    secret, key.secret = key.secret, "another-secret"
    try:
        first = world.defer(world.jobs(200))
        # Tasks that begin a moment later need not find out again.
        second = world.defer(world.jobs(5))
    finally:
        key.secret, key.failures = secret, 0
    assert {task.how for task in first + second} == {"MpcAuthenticationError"}
    assert len(world.calls) <= 3
    assert key.locked_until == 0.0


@pytest.mark.parametrize("path", WAITING)
def test_a_key_that_others_have_locked_is_waited_out(world: World, path: str) -> None:
    key = world.emulator.account.keys[world.emulator.access_key]
    world.clock.after(CHANGED_AT, partial(setattr, key, "locked_until", world.clock.time() + CHANGED_AT + 300))
    try:
        tasks = world.go(path, world.jobs())
    finally:
        key.locked_until = 0.0
    assert {task.how for task in tasks} == {"success"}
    assert CHANGED_AT + 300 < world.now < CHANGED_AT + 300 + 60
    locked_out = [sent for sent in world.calls if sent.reply is not None and sent.reply.status == 401]
    assert 1 <= len(locked_out) <= (10 if path == "poke" else 3)


def test_a_hundred_waits_take_an_edited_connection_in_a_few_reads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[float] = []
    read = connections._read

    async def counted(conn_id: str) -> Any:
        reads.append(world.now)
        return await read(conn_id)

    monkeypatch.setattr(connections, "_read", counted)
    world.clock.after(CHANGED_AT, lambda: (rotate(world), world.connect()))
    tasks = world.defer(world.jobs(100))
    assert {task.how for task in tasks} == {"success"}
    assert 2 <= len(reads) <= 3
    assert reads[0] < 5.0
    assert reads[1] >= CHANGED_AT
    refused = [sent for sent in world.calls if sent.reply is not None and sent.reply.status == 401]
    assert 1 <= len(refused) <= 8


@pytest.mark.parametrize("path", WAITING)
def test_a_connection_edited_into_nonsense_fails_the_wait_and_names_the_field(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def happen() -> None:
        world.emulator.rotate_keys()
        world.connect(auth_method="magic")

    world.clock.after(CHANGED_AT, happen)
    tasks = world.go(path, world.jobs())
    assert {task.how for task in tasks} == {"MpcConfigurationError"}
    assert all(isinstance(task.error, AirflowFailException) for task in tasks)
    assert all("auth_method" in str(task.error) for task in tasks)
    assert world.now < CHANGED_AT + 45


def test_a_connection_that_cannot_work_fails_before_the_task_is_deferred(world: World) -> None:
    world.connect(auth_method="magic")
    (task,) = world.defer(world.jobs(1))
    assert task.how == "MpcConfigurationError"
    assert not world.sent


@pytest.mark.parametrize(("auth", "asked"), [("password", 2), ("agency", 4)])
def test_a_hook_outlives_its_token(world: World, auth: str, asked: int) -> None:
    world.connect(auth)
    job_ids = world.jobs()
    hook = MpcHook()
    assert world.ask(job_ids, hook).how == "success"
    world.emulator.expire_tokens()
    assert world.ask(job_ids, hook).how == "success"
    assert len(world.sent) - len(world.calls) == asked


def test_a_new_hook_takes_the_edited_connection(world: World) -> None:
    job_ids = world.jobs()
    hook = MpcHook()
    assert world.ask(job_ids, hook).how == "success"
    world.emulator.rotate_keys()
    world.connect()
    assert world.ask(job_ids, hook).how == "MpcAuthenticationError"
    assert world.ask(job_ids).how == "success"
