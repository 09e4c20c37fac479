# SPDX-License-Identifier: Apache-2.0
"""
A real Airflow, with every way to authenticate and a gateway that echoes: nothing secret in its database and files.

The connections come by environment: a connection in the database is there to hold secrets, encrypted.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from canaries import PASSWORD, SECRET_KEY, canaries_of, leaks
from cryptography.fernet import Fernet
from echoing import make_echo_a_fault

from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.emulator.connection import Auth, as_json
from scripts.live_airflow import LiveAirflow

pytestmark = pytest.mark.timeout(400)

WAYS: tuple[str, ...] = get_args(Auth)
DAG_ID = "every_way"
LEAK = "LEAK canary/on+purpose&%4c7Kx2Rw9"
SLOW_MACHINE = 200.0
DAG = """
import pendulum
from airflow.sdk import dag, task
from airflow.sdk.exceptions import TaskDeferred
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor


class Leaking(MpcEditingJobSensor):
    template_fields = (*MpcEditingJobSensor.template_fields, "note")

    def __init__(self, *, note, **kwargs):
        super().__init__(**kwargs)
        self.note = note

    def execute(self, context):
        print("leaked on purpose:", self.note)
        context["ti"].xcom_push(key="note", value=self.note)
        try:
            super().execute(context)
        except TaskDeferred as deferred:
            deferred.trigger._unknown["note"] = self.note
            raise


@task
def ask(way, good, bad):
    hook = MpcHook(way)
    print(hook, hook.settings, hook.get_conn(), hook.test_connection())
    print(MpcHook(way + "_echoed").test_connection())
    try:
        MpcHook(way + "_echoed").get_editing_jobs(bad)
    except Exception as error:
        print(repr(error))
        raise


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), params={"good": "", "bad": "", "leak": ""})
def every_way():
    good, bad = "{{ params.good }}", "{{ params.bad }}"
    for way in WAYS:
        common = {"poke_interval": 2, "timeout": 300}
        MpcEditingJobSensor(
            task_id=f"{way}_good", mpc_conn_id=way, job_id=good, deferrable=True, **common
        )
        MpcEditingJobSensor(
            task_id=f"{way}_deferred", mpc_conn_id=way + "_echoed", job_id=bad, deferrable=True, **common
        )
        MpcEditingJobSensor(
            task_id=f"{way}_poke", mpc_conn_id=way + "_echoed", job_id=bad, deferrable=False, **common
        )
        ask.override(task_id=f"{way}_ask")(way, good, bad)
    Leaking(
        task_id="leaking", mpc_conn_id="aksk", job_id=good, deferrable=True, note="{{ params.leak }}", **common
    )


every_way()
""".replace("WAYS", repr(WAYS))


@dataclass
class Run:
    """
    What one run left behind.

    :ivar shown: where a text stood, and the text: while tasks were deferred, and at the end.
    :ivar secrets: the account's, by name.
    :ivar trigger_rows: rows of waits that were seen in the database.
    """

    states: dict[str, str | None] = field(default_factory=dict)
    shown: list[tuple[str, str]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    trigger_rows: int = 0


def connections_of(server: EmulatorServer) -> dict[str, str]:
    """Return two connections for each way: one for what goes well, and one whose calls are echoed."""
    connections = {}
    for way in WAYS:
        fields: dict[str, Any] = server.connection(way)  # type: ignore[arg-type]
        connections[way] = as_json(fields)
        # Another time limit makes another identity: a refusal of one is none of the other.
        connections[f"{way}_echoed"] = as_json({**fields, "extra": {**fields["extra"], "timeout": "29"}})
    return connections


def shown_by(airflow: LiveAirflow, fernet: Fernet) -> Iterator[tuple[str, str]]:
    """Return all that Airflow keeps: each table, and in plain text what is encrypted in it, and each file."""
    with contextlib.closing(sqlite3.connect(airflow.home / "airflow.db")) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for row in database.execute(f'select * from "{table}"'):
                yield f"table {table}", repr(row)
                for cell in row:
                    text = cell.decode("latin-1") if isinstance(cell, bytes) else cell
                    if isinstance(text, str) and text.startswith("gAAAA"):
                        yield f"table {table}", fernet.decrypt(text.encode()).decode()
    for file in airflow.home.rglob("*"):
        # The plain text of the database's files too: rows that were deleted may still stand there.
        if file.is_file():
            place = "log" if "logs" in file.parts else "file"
            yield f"{place} {file.relative_to(airflow.home).parts[-1]}", file.read_bytes().decode("latin-1")


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    emulator = Emulator(secret_key=SECRET_KEY, password=PASSWORD)
    with EmulatorServer(emulator) as server, pytest.MonkeyPatch.context() as patch:
        make_echo_a_fault(patch)
        good, bad = emulator.job(["PROCESSING"]), emulator.job(["PROCESSING"])
        for style in ("lines", "gateway", "cut", "html", "canonical"):
            emulator.fault("echo", match="list", job_id=bad, times=3, style=style)
        emulator.fault("echo", match="list", job_id=bad)
        with LiveAirflow(connections=connections_of(server)) as airflow:
            yield _lived_through(airflow, emulator, good, bad)


def _lived_through(airflow: LiveAirflow, emulator: Emulator, good: str, bad: str) -> Run:
    run = Run()
    fernet = Fernet(airflow.env["AIRFLOW__CORE__FERNET_KEY"].encode())
    airflow.add_dag(DAG, DAG_ID)
    run_id = airflow.trigger_dag(DAG_ID, {"good": good, "bad": bad, "leak": LEAK})
    waiting = {*(f"{way}_good" for way in WAYS), "leaking"}

    def all_wait_that_can() -> bool:
        states = airflow.task_states(DAG_ID, run_id)
        wanted = {name: "deferred" if name in waiting else "failed" for name in states}
        return waiting <= states.keys() and states == wanted

    airflow.wait_for(all_wait_that_can, SLOW_MACHINE, "the deferred tasks")
    run.shown += shown_by(airflow, fernet)
    run.trigger_rows = sum(where == "table trigger" for where, _ in run.shown)
    emulator.job(["SUCCEEDED"], job_id=good)
    airflow.wait_for_run(DAG_ID, run_id, SLOW_MACHINE)
    run.states = airflow.task_states(DAG_ID, run_id)
    logs = [airflow.task_log_records(DAG_ID, run_id, name) for name in run.states]
    run.shown += [("log by API", json.dumps(log)) for log in logs]
    run.shown += shown_by(airflow, fernet)
    run.secrets = canaries_of(emulator)
    return run


def test_the_run_was_what_it_should_be(run: Run) -> None:
    assert {name for name, state in run.states.items() if state == "success"} == {
        *(f"{way}_good" for way in WAYS),
        "leaking",
    }
    assert run.trigger_rows >= len(WAYS) + 1
    kinds = {name.rstrip("0123456789 ") for name in run.secrets}
    assert kinds == {"password", "secret key", "security token", "token", "metadata token", "signature"}


def test_nothing_secret_is_in_the_database_or_in_any_file(run: Run) -> None:
    # Airflow's own digests are 64 hexadecimal digits too, so only signatures that were sent are looked for.
    assert leaks(run.shown, run.secrets, signatures=False) == set()


def test_no_log_shows_a_signature_whoever_made_it(run: Run) -> None:
    logs = [(where, text) for where, text in run.shown if where.startswith("log")]
    assert leaks(logs, {}) == set()


def test_what_is_leaked_on_purpose_is_found_in_every_place(run: Run) -> None:
    places = {where for where, _ in leaks(run.shown, {"leak": LEAK}, signatures=False)}
    assert places >= {
        "table xcom",
        "table rendered_task_instance_fields",
        "table dag_run",
        "table trigger",
        "log by API",
        "log attempt=1.log",
    }
