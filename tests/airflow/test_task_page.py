# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a task: its extra link, its log, its rendered fields; and how often it looks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from harness import MODES, TaskLife
from test_outcomes import make_sensor

from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.links.mpc import MpcClipLink
from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.pacing import Interval
from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

URL = "https://console.huaweicloud.com/console/?region=cn-north-4#/obs/manage/example-bucket/object/list"


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sensor_life(mode: str, job_id: Any, **options: Any) -> TaskLife:
    return TaskLife(lambda: make_sensor(mode, job_id, options))


def test_link_is_there_at_the_end_and_not_before(mode: str, emulator: Emulator) -> None:
    life = sensor_life(mode, emulator.job(["PROCESSING", "SUCCEEDED"]))
    life.run()
    *before, after = life.links
    assert after == ("_link_MpcClipLink", URL)
    assert {url for _, url in before} <= {""}
    assert len(before) == (0 if mode == "poke" else 1)


@pytest.mark.parametrize("end", ["FAILED", "PROCESSING"])
def test_link_is_absent_without_an_output(end: str, mode: str, emulator: Emulator) -> None:
    life = sensor_life(mode, emulator.job([end]), timeout=0.3)
    outcome = life.run()
    assert {url for _, url in life.links} == {""}
    assert not outcome.lines("extra link")


@pytest.mark.parametrize(
    ("output", "url"),
    [
        (
            {"bucket": "b", "location": "l", "object": "o"},
            URL.replace("cn-north-4", "l").replace("example-bucket", "b"),
        ),
        ({"bucket": "b", "object": "o"}, ""),
        ({"location": "l", "object": "o"}, ""),
        (None, ""),
        (
            {"bucket": "b/../#?", "location": "l&x=1", "object": "o"},
            "https://console.huaweicloud.com/console/?region=l%26x%3D1#/obs/manage/b%2F..%2F%23%3F/object/list",
        ),
    ],
)
def test_link_is_made_of_what_mpc_told(output: Any, url: str, emulator: Emulator) -> None:
    emulator.job(["SUCCEEDED"], job_id="50", output=output)
    life = TaskLife(lambda: MpcEditingJobOutputOperator(task_id="wait", job_id=["50"], wait=False))
    assert life.run().state == "success"
    assert life.links == [("_link_MpcClipLink", url)]


@pytest.mark.parametrize("clips", [None, [], "absent"])
def test_link_of_a_task_that_knows_nothing_is_no_error(clips: Any) -> None:
    operator = SimpleNamespace() if clips == "absent" else SimpleNamespace(_clips=clips)
    assert MpcClipLink().get_link(operator, ti_key=None) == ""


def test_log_tells_changes_and_not_looks(mode: str, emulator: Emulator) -> None:
    states = ["WAITING"] * 3 + ["PROCESSING"] * 4 + ["SUCCEEDED"]
    job_id = emulator.job(states, progress=7)
    outcome = sensor_life(mode, job_id, poke_interval=0.1).run()
    assert emulator.calls("list") == len(states)
    told = [line.split(": ")[1].split(",")[0] for line in outcome.lines(f"Clipping task {job_id}: ")]
    assert told == (states if mode == "reschedule" else ["WAITING", "PROCESSING", "SUCCEEDED"])


def test_status_that_nobody_knows_is_logged_once(mode: str, emulator: Emulator) -> None:
    job_id = emulator.job(["PAUSED"] * 6 + ["SUCCEEDED"])
    outcome = sensor_life(mode, job_id, poke_interval=0.1).run()
    assert outcome.state == "success"
    assert len(outcome.lines("never takes it for success")) == (6 if mode == "reschedule" else 1)


def test_outage_is_logged_in_few_lines(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator.fault("503", match="list", times=5)
    outcome = sensor_life("deferrable", emulator.job(["SUCCEEDED"]), poke_interval=0.1).run()
    assert outcome.state == "success"
    # One in the triggerer's own log, one in the task's.
    assert len(outcome.lines("will be repeated")) <= 2


def test_large_event_is_not_logged_in_full_by_us(emulator: Emulator) -> None:
    job_ids = [emulator.job(["SUCCEEDED"]) for _ in range(60)]
    outcome = sensor_life("deferrable", job_ids).run()
    assert max(len(line) for line in outcome.log) < 2000


def test_sensors_options_shape_the_interval_in_the_triggerer(emulator: Emulator) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    life = sensor_life("deferrable", job_id, poke_interval=7, exponential_backoff=True, max_wait=40)
    life.run()
    (row,) = life.trigger_rows
    interval = MpcEditingJobTrigger(**row["trigger_kwargs"])._interval()
    assert interval == Interval(7.0, True, 40.0)
    assert [interval.after(waited) for waited in (0, 7, 21, 49, 3600)] == [7, 14, 28, 40, 40]


def test_deferrable_sensor_makes_no_call_of_its_own(emulator: Emulator) -> None:
    life = sensor_life("deferrable", emulator.job(["PROCESSING"]), timeout=0.2)
    life.triggerer = False
    life.run()
    assert emulator.calls() == 0


def test_rendered_id_is_shown(mode: str, emulator: Emulator) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    life = TaskLife(lambda: make_sensor(mode, "{{ params.job_id }}", {}), params={"job_id": job_id})
    life.run()
    assert life.rendered == {"job_id": job_id, "mpc_conn_id": "mpc_default"}
