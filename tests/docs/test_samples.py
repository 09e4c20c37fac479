# SPDX-License-Identifier: Apache-2.0
"""Each code sample of README and docs is run, as far as it can be without an account."""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

sys.path.insert(0, str(Path(__file__).parent))

from samples import ROOT, Sample, commands_of, of_kind, samples

from airflow_provider_mpc import configuration
from airflow_provider_mpc.connection import read_connection
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.emulator import __main__ as emulator_command
from scripts.check_user_project import files_of

KINDS_TESTED = {"python", "json", "ini", "console", "bash"}
# Output and words, no code.
KINDS_SHOWN = {"text"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorServer]:
    """Serve the jobs that the samples speak of."""
    emulator = Emulator(job_seconds=0.1)
    with EmulatorServer(emulator) as running:
        monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", running.connection_json())
        monkeypatch.setenv("AIRFLOW__MPC__CALLS_PER_MINUTE", "100000")
        emulator.job(["SUCCEEDED"], job_id="30647")
        emulator.job(["PROCESSING", "SUCCEEDED"], job_id="30650", progress=40)
        yield running


def test_there_is_no_code_of_another_kind() -> None:
    kinds = {sample.kind for sample in samples()}
    assert kinds <= KINDS_TESTED | KINDS_SHOWN, kinds
    assert kinds >= KINDS_TESTED


def in_project(sample: Sample) -> bool:
    """Whether a sample is a file of the project that check_user_project runs."""
    return sample.text in files_of((ROOT / "docs" / "testing.md").read_text(encoding="utf-8")).values()


def execute(sample: Sample) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "sample", "__file__": str(ROOT / sample.page)}
    exec(compile("\n" * (sample.line - 1) + sample.text, str(ROOT / sample.page), "exec"), names)
    return names


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("sample", of_kind("python"), ids=str)
def test_python_runs(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_project(sample) and "pytest" in sample.text:
        # Run by scripts/check_user_project.py, in a project of its own.
        compile(sample.text, sample.page, "exec")
        return
    made: list[DAG] = []
    enter = DAG.__enter__
    monkeypatch.setattr(DAG, "__enter__", lambda dag: made.append(dag) or enter(dag))
    execute(sample)
    assert len(made) == sample.text.count("@dag(")
    for dag in made:
        dag.validate()
        assert dag.tasks


@pytest.mark.parametrize("sample", of_kind("json"), ids=str)
def test_json_is_json(sample: Sample) -> None:
    found = json.loads(sample.text)
    if found.get("conn_type"):
        given = {name: found.get(name) for name in ("login", "password", "host", "port")}
        settings = read_connection(**given, extra=found.get("extra", {}))
        assert settings.auth_method == found["extra"]["auth_method"]


def test_results_and_events_are_as_shown() -> None:
    from airflow_provider_mpc.api.models import EditingJob
    from airflow_provider_mpc.assets import clip_extra
    from airflow_provider_mpc.outcome import to_result

    shown = [json.loads(sample.text) for sample in of_kind("json") if '"job_id"' in sample.text]
    results = [one for one in shown if "editing_output" in one]
    events = [one for one in shown if "editing_output" not in one]
    assert len(results) >= 2
    assert events
    for result in results:
        moments = {name: re.sub(r"\D", "", result[name][:19]) for name in ("create_time", "start_time", "end_time")}
        job = EditingJob.from_json({**result, **moments, "metadata": result["metadata_list"]})
        assert job is not None
        # MPC's own object, put through the code, gives what the page shows.
        assert to_result(job) == result
        extra = clip_extra(to_result(job))
        extra.pop("metadata", None)
        assert events == [extra]


@pytest.mark.parametrize("sample", of_kind("ini"), ids=str)
def test_configuration_is_of_options_that_exist(sample: Sample) -> None:
    config = configparser.ConfigParser()
    config.read_string(sample.text)
    ours = {configuration.SECTION: {one.name for one in configuration.OPTIONS}}
    known = {"operators": {"default_deferrable"}, "pytest": {"pythonpath"}} | ours
    assert config.sections()
    for section in config.sections():
        assert set(config[section]) <= known[section]


ALL_COMMANDS = [
    pytest.param(command, output, id=f"{sample}: {command[:60]}")
    for kind in ("console", "bash")
    for sample in of_kind(kind)
    for command, output in commands_of(sample)
]


@pytest.mark.parametrize(("command", "output"), ALL_COMMANDS)
def test_commands_work(command: str, output: str, server: EmulatorServer, tmp_path: Path) -> None:
    words = shlex.split(command, comments=True)
    match words:
        case ["make", *targets]:
            check_make(targets)
        case ["pip", "install", *wanted]:
            check_requirements(wanted)
        case ["airflow", "mpc", *_]:
            check_airflow_mpc(command, output, tmp_path)
        case ["airflow", "connections", "add", *_]:
            check_connection_command(words)
        case ["python", "-m", "airflow_provider_mpc.emulator", *arguments]:
            emulator_command._parser().parse_args(arguments)
        case ["python", "-m", module, *_] if module.startswith("scripts."):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
        case ["curl", *_]:
            check_curl(command, server)
        case ["export", assignment]:
            check_connection(assignment.partition("=")[2])
        case _:
            pytest.fail(f"nobody knows how to try this: {command}")


def check_make(targets: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        if "=" not in target:
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


def check_requirements(wanted: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for one in wanted:
        found = re.fullmatch(r"(?P<name>[\w-]+)(\[(?P<extra>\w+)\])?", one)
        assert found
        assert found["name"] in (project["name"], "pytest")
        assert found["extra"] is None or found["extra"] in project["optional-dependencies"]


def check_airflow_mpc(command: str, output: str, folder: Path) -> None:
    ours = re.sub(r"\bairflow mpc", f"{shlex.quote(sys.executable)} -m airflow mpc", command)
    done = subprocess.run(["bash", "-c", ours], cwd=folder, capture_output=True, text=True, timeout=120)
    # The samples show jobs of which one still runs or is unknown, and jobs that all succeed.
    assert done.returncode == (2 if "999" in command else 0), done.stderr
    if output:
        # Times are of today.
        now, shown = (re.sub(r"\d{4}-[\dT:-]+Z", "TIME", text).split() for text in (done.stdout, output))
        assert now == shown


def check_connection_command(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for name in ("type", "login", "password", "extra"):
        parser.add_argument(f"--conn-{name}")
    parser.add_argument("conn_id")
    found = parser.parse_args(words[3:])
    read_connection(
        login=found.conn_login, password=found.conn_password, host=None, port=None, extra=json.loads(found.conn_extra)
    )


def check_curl(command: str, server: EmulatorServer) -> None:
    done = subprocess.run(
        ["bash", "-c", command.replace("localhost:8089", server.url)], capture_output=True, text=True, timeout=60
    )
    assert "error" not in json.loads(done.stdout), done.stdout


def check_connection(text: str) -> None:
    from airflow.models.connection import Connection

    conn = Connection.from_json(text) if text.startswith("{") else Connection(uri=text)
    settings = read_connection(
        login=conn.login, password=conn.password, host=conn.host, port=conn.port, extra=conn.extra_dejson
    )
    assert (settings.login, settings.password, settings.region) == ("AK", "SK", "cn-north-4")
