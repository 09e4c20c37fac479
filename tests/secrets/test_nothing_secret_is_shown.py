# SPDX-License-Identifier: Apache-2.0
"""Every way to authenticate and every fault: no log, error, event, row, result or ``repr`` shows a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from canaries import canaries_of, leaks, words_of
from echoing import STYLES
from fault_table import ROWS, Emulated
from fault_world import PATHS, Ended, World

from airflow_provider_mpc.api import auth
from airflow_provider_mpc.api.redaction import Redactor
from airflow_provider_mpc.configuration import CALLS_PER_MINUTE
from airflow_provider_mpc.emulator.connection import Auth
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.polling import Poller, ThreadedCaller
from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

WAYS: tuple[str, ...] = get_args(Auth)
ASKED_FIRST = {"password": ("token",), "agency": ("metadata_token", "security_key")}
"""What is asked before MPC is."""
Shown = list[tuple[str, str]]


class Listener(logging.Handler):
    """Hears all that is logged, before anybody masks it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))
        self.lines.append(repr(record.args))


@pytest.fixture
def heard() -> Iterator[list[str]]:
    listener = Listener()
    root = logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    yield listener.lines
    root.removeHandler(listener)
    root.setLevel(level)


def shown_by(tasks: list[Ended]) -> Shown:
    shown = []
    for task in tasks:
        if task.error is not None:
            shown += [("error", words) for words in words_of(task.error)]
        else:
            shown.append(("result", repr(task.result)))
    return shown


def shown_by_objects(world: World) -> Shown:
    """Return how the parts of the provider show themselves."""
    hook = MpcHook()
    parts: list[Any] = [hook, hook.settings, hook.settings.client(calls_per_minute=CALLS_PER_MINUTE.get())]
    client = parts[-1]
    parts += [client.authenticator, client.transport, client.target, client.budget, ThreadedCaller(client)]
    trigger = MpcEditingJobTrigger(job_id="1", mpc_conn_id="mpc_default")
    parts += [trigger, trigger.serialize(), world.sensor("1"), vars(trigger)]

    async def poller() -> Poller:
        return Poller(ThreadedCaller(client))

    parts.append(world.run(poller))
    said = [("test of the connection", hook.test_connection()[1])]
    return said + [("repr", text) for part in parts for text in (repr(part), str(part), f"{part}")]


def all_shown(world: World, tasks: list[Ended], heard: list[str], capfd: pytest.CaptureFixture[str]) -> Shown:
    printed = capfd.readouterr()
    return [
        *shown_by(tasks),
        *(("event", json.dumps(event)) for event in world.events),
        *(("trigger row", json.dumps(row)) for row in world.rows),
        *(("log", line) for line in heard),
        ("output", printed.out),
        ("output", printed.err),
    ]


@pytest.mark.parametrize("way", WAYS)
def test_no_fault_brings_a_secret_to_light(
    world: World, tmp_path: Path, heard: list[str], capfd: pytest.CaptureFixture[str], way: str
) -> None:
    tasks = []
    world.connect(way)
    # Each fault on one path here, and on another with the next way to authenticate.
    for number, row in enumerate(ROWS, WAYS.index(way)):
        if not isinstance(row.play, Emulated) or (way != "aksk" and row.name.startswith(("APIGW.", "MPC."))):
            continue
        world.edit(timeout="30")
        row.play(world, 0, None, tmp_path)
        tasks += world.go(PATHS[number % 3], world.jobs(2))
        world.emulator.clear_faults()
    assert sum(task.error is not None for task in tasks) > 40
    secrets = canaries_of(world.emulator)
    assert leaks(all_shown(world, tasks, heard, capfd), secrets) == set()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", WAYS)
def test_a_gateway_that_echoes_all_it_was_sent_brings_no_secret_to_light(
    world: World, heard: list[str], capfd: pytest.CaptureFixture[str], way: str, path: str
) -> None:
    tasks = echoed(world, way, path)
    shown = all_shown(world, tasks, heard, capfd)
    assert leaks(shown + shown_by_objects(world), canaries_of(world.emulator)) == set()


def echoed(world: World, way: str, path: str) -> list[Ended]:
    """Let each call be echoed in each style; return the tasks, which have all failed."""
    tasks = []
    world.connect(way)
    for api in ("list", *ASKED_FIRST.get(way, ())):
        for style in STYLES:
            for status in (401, 500, 302) if style == "headers" else (401, 500):
                world.emulator.fault("echo", match=api, style=style, status=status)
                # Another time limit makes another identity, which nobody has refused yet.
                world.edit(timeout=f"30.{len(tasks)}")
                auth.forget_credentials()
                tasks += world.go(path, world.jobs(1))
                world.emulator.clear_faults()
    assert all(task.error is not None for task in tasks)
    return tasks


@pytest.mark.parametrize("api", ["list", "projects"])
@pytest.mark.parametrize("way", ["aksk", "temporary", "token"])
def test_the_search_for_the_project_brings_no_secret_to_light(
    world: World, heard: list[str], capfd: pytest.CaptureFixture[str], way: str, api: str
) -> None:
    tasks = []
    world.connect(way, project_id="")
    for style in STYLES:
        world.emulator.fault("echo", match=api, style=style)
        world.edit(timeout=f"30.{len(tasks)}")
        tasks += world.go("poke", world.jobs(1)) + world.go("deferred", world.jobs(1))
        world.emulator.clear_faults()
    assert world.emulator.calls("projects") > 0
    assert leaks(all_shown(world, tasks, heard, capfd), canaries_of(world.emulator)) == set()


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_well_shows_no_secret_either(
    world: World, heard: list[str], capfd: pytest.CaptureFixture[str], way: str
) -> None:
    world.connect(way)
    tasks = [task for path in PATHS for task in world.go(path, world.jobs(2))]
    assert {task.how for task in tasks} == {"success"}
    shown = all_shown(world, tasks, heard, capfd) + shown_by_objects(world)
    assert leaks(shown, canaries_of(world.emulator)) == set()


@pytest.mark.parametrize("way", WAYS)
def test_the_search_finds_what_is_leaked_on_purpose(
    world: World,
    heard: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    monkeypatch.setattr(Redactor, "__call__", lambda self, text: text)
    tasks = [task for path in ("poke", "deferred") for task in echoed(world, way, path)]
    found = leaks(all_shown(world, tasks, heard, capfd), canaries_of(world.emulator))
    assert {where for where, _ in found} >= {"error", "event", "log", "output"}
    kinds = {name.rstrip("0123456789 ") for _, name in found}
    assert (
        kinds
        >= {
            "aksk": {"signature"},
            "temporary": {"security token"},
            "token": {"token"},
            "password": {"token", "password"},
            "agency": {"security token", "metadata token"},
        }[way]
    )
