# SPDX-License-Identifier: Apache-2.0
"""``airflow mpc jobs`` as Airflow's own command line runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from airflow_provider_mpc.cli import watching
from airflow_provider_mpc.emulator import Emulator, EmulatorServer


@dataclass
class Done:
    """
    A command that has ended.

    :param told: what it wrote to standard error.
    """

    code: int
    out: str
    told: str


Run = Callable[..., Done]


@pytest.fixture
def run(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``airflow mpc jobs …`` in this process."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    from airflow.cli import cli_parser

    def start(arguments: list[str]) -> None:
        args = cli_parser.get_parser().parse_args(arguments)
        args.func(args)

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as end:
            start(["mpc", "jobs", *arguments])
        written = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, written.out, written.err)

    return run


def test_a_row_tells_all_that_mpc_tells(emulator: Emulator, run: Run) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    done = run(job_id, "--output", "json")
    (row,) = json.loads(done.out)
    assert {name: row[name] for name in ("job_id", "state", "progress", "output", "reason")} == {
        "job_id": job_id,
        "state": "SUCCEEDED",
        "progress": "100",
        "output": f"obs://example-bucket/out/{job_id}.mp4",
        "reason": None,
    }
    assert row["created"] <= row["started"] <= row["ended"]
    assert datetime.fromisoformat(row["created"]).tzinfo == UTC


def test_a_failed_job_has_its_reason(emulator: Emulator, run: Run) -> None:
    done = run(emulator.job(["FAILED"]), "-o", "json")
    (row,) = json.loads(done.out)
    assert (row["state"], row["reason"], row["output"]) == (
        "FAILED",
        "MPC.10053 The input file does not exist.",
        None,
    )


def test_that_a_task_is_completed_is_no_reason(emulator: Emulator, run: Run) -> None:
    emulator.variant.success_code_10218 = True
    (row,) = json.loads(run(emulator.job(["SUCCEEDED"]), "-o", "json").out)
    assert row["reason"] is None


def test_rows_come_in_the_order_asked(emulator: Emulator, run: Run) -> None:
    emulator.variant.reverse_order = True
    jobs = [emulator.job() for _ in range(12)]
    rows = json.loads(run(*jobs, "-o", "json").out)
    assert [row["job_id"] for row in rows] == jobs
    assert emulator.calls("list") == 2


def test_ids_may_be_joined_by_commas(emulator: Emulator, run: Run) -> None:
    jobs = [emulator.job() for _ in range(3)]
    rows = json.loads(run(f"{jobs[0]},{jobs[1]},", jobs[2], "-o", "json").out)
    assert [row["job_id"] for row in rows] == jobs


def test_the_formats_are_airflows(emulator: Emulator, run: Run) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    assert yaml.safe_load(run(job_id, "-o", "yaml").out)[0]["state"] == "SUCCEEDED"
    header, row = run(job_id, "-o", "plain").out.splitlines()
    # Columns in which there is nothing to read are left out for people, and null for programs.
    assert header.split() == ["job_id", "state", "progress", "created", "started", "ended", "output"]
    assert row.split()[:3] == [job_id, "SUCCEEDED", "100%"]
    table = run(job_id).out
    assert [cell.strip() for cell in table.splitlines()[0].split("|")] == header.split()
    assert "===" in table


@pytest.mark.parametrize(
    ("lives", "code"),
    [
        ([["SUCCEEDED"], ["SUCCEED"]], 0),
        ([["SUCCEEDED"], ["FAILED"]], 1),
        ([["CANCELED"]], 1),
        ([["PROCESSING"]], 2),
        ([["SUCCEEDED"], ["WAITING"]], 2),
        ([["SUCCEEDED"], [None]], 2),
        ([[None], ["FAILED"]], 1),
        ([["A_NEW_WORD"]], 2),
        ([[""]], 2),
    ],
)
def test_the_exit_code_tells_the_outcome(emulator: Emulator, run: Run, lives: list[list[str]], code: int) -> None:
    done = run(*[emulator.job(life) for life in lives], "-o", "json")
    assert len(json.loads(done.out)) == len(lives)
    assert done.code == code


def test_an_unknown_job_is_shown_as_such(run: Run) -> None:
    (row,) = json.loads(run("999", "-o", "json").out)
    assert row["state"] == "NOT FOUND"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["30647", "--conn-id", "nowhere"], "There is no connection 'nowhere'"),
        (["[1]"], "not a list"),
        ([","], "empty"),
        (["1", ""], "empty"),
        (["1,,2"], "empty"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(run: Run, arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.told
    assert len(done.told.splitlines()) == 1


def test_refused_credentials_are_told_without_them(emulator: Emulator, run: Run) -> None:
    emulator.fault("signature", echo=True)
    done = run(emulator.job())
    assert done.code == 2
    assert "Secret key (SK)" in done.told
    assert emulator.access_key not in done.told


def test_words_of_mpc_are_neither_markup_nor_control_codes(emulator: Emulator, run: Run) -> None:
    job_id = emulator.job(["FAILED"], description="[/red] :smile: \x1b[31mred\nnext")
    for output in ("table", "plain", "json", "yaml"):
        done = run(job_id, "-o", output)
        assert "[/red]" in done.out
        assert ":smile:" in done.out
        assert "\x1b" not in done.out


@pytest.mark.parametrize("seconds", ["0", "0.5", "soon", "nan", "-3"])
def test_a_senseless_interval_is_refused(run: Run, seconds: str) -> None:
    done = run("1", "--interval", seconds)
    assert done.code == 2
    assert "not a number of seconds" in done.told


class TestWatch:
    """``--watch`` without a terminal; time does not pass."""

    @pytest.fixture(autouse=True)
    def naps(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        naps: list[float] = []
        monkeypatch.setattr(watching.time, "sleep", naps.append)
        return naps

    def test_each_change_is_a_line_with_its_time(self, emulator: Emulator, run: Run) -> None:
        job_id = emulator.job(["WAITING", "WAITING", "PROCESSING", "SUCCEEDED"], progress=None)
        done = run(job_id, "--watch")
        lines = done.told.splitlines()
        assert [line.split()[1:3] for line in lines] == [
            [job_id, state] for state in ("WAITING", "PROCESSING", "SUCCEEDED")
        ]
        assert lines[0].split()[0].endswith("Z")
        assert "\x1b" not in done.told

    def test_it_goes_on_after_a_failure_until_all_have_ended(self, emulator: Emulator, run: Run) -> None:
        jobs = [emulator.job(["FAILED"]), emulator.job(["WAITING", "PROCESSING", "PROCESSING", "SUCCEEDED"])]
        done = run(*jobs, "--watch", "-o", "json")
        assert [row["state"] for row in json.loads(done.out)] == ["FAILED", "SUCCEEDED"]
        assert done.code == 1

    def test_jobs_that_have_ended_are_not_asked_for_again(self, emulator: Emulator, run: Run) -> None:
        first, second = emulator.job(["SUCCEEDED"]), emulator.job(["WAITING", "PROCESSING", "SUCCEEDED"])
        assert run(first, second, "--watch").code == 0
        assert [first in call.job_ids for call in emulator.requests] == [True, False, False]

    def test_it_looks_at_the_interval(self, emulator: Emulator, run: Run, naps: list[float]) -> None:
        run(emulator.job(["WAITING", "PROCESSING", "SUCCEEDED"]), "--watch", "--interval", "7")
        assert naps == [7.0, 7.0]

    def test_a_fault_that_passes_is_a_line_and_no_end(self, emulator: Emulator, run: Run) -> None:
        job_id = emulator.job(["PROCESSING", "SUCCEEDED"])
        emulator.fault("503", times=2, after=1)
        done = run(job_id, "--watch")
        assert done.code == 0
        assert len([line for line in done.told.splitlines() if "will be repeated" in line]) == 2

    def test_an_outage_ends_it(self, emulator: Emulator, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__MPC__OUTAGE_TOLERANCE", "0")
        emulator.fault("503")
        done = run(emulator.job(), "--watch")
        assert (done.code, done.out) == (2, "")
        assert "MPC gave no good answer" in done.told

    def test_an_unknown_job_does_not_end_it(self, emulator: Emulator, run: Run) -> None:
        job_id = emulator.job(["WAITING", "PROCESSING", "PROCESSING", "SUCCEEDED"])
        done = run("999", job_id, "--watch", "-o", "json")
        assert [row["state"] for row in json.loads(done.out)] == ["NOT FOUND", "SUCCEEDED"]
        assert done.code == 2

    def test_a_new_job_may_be_unknown_for_a_while(
        self, emulator: Emulator, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__MPC__MISSING_GRACE", "60")
        assert run(emulator.job([None, None, "SUCCEEDED"]), "--watch").code == 0

    def test_ctrl_c_ends_it_with_a_sentence(
        self, emulator: Emulator, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(watching.time, "sleep", interrupt)
        done = run(emulator.job(["WAITING"]), "--watch")
        assert (done.code, done.out) == (2, "")
        assert done.told.splitlines()[-1] == "Stopped. The jobs go on; their state is not known."


def test_the_connection_may_lie_in_airflows_database(
    server: EmulatorServer, emulator: Emulator, tmp_path: Path
) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    env |= {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    def airflow(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments], env=env, capture_output=True, text=True, timeout=200
        )

    assert airflow("db", "migrate").returncode == 0
    assert airflow("connections", "add", "stored", "--conn-json", server.connection_json()).returncode == 0
    done = airflow("mpc", "jobs", emulator.job(["SUCCEEDED"]), "--conn-id", "stored", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["state"] == "SUCCEEDED"
