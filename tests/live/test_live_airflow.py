# SPDX-License-Identifier: Apache-2.0
"""The example pipeline in a real scheduler and triggerer, from a film to the metadata in XCom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_mpc.emulator.media import describe, make_sample
from airflow_provider_mpc.hooks.mpc import MpcHook
from scripts.live_airflow import LiveAirflow

DAG_ID = "example_mpc_pipeline"
BUCKET = "live-media"
SLOW_MACHINE = 150.0


@dataclass
class Story:
    """
    What was seen of one run.

    :ivar states: the states of the waiting task in the order they were seen
    :ivar log_while_deferred: the task's log at the last look that found it deferred
    :ivar callers: the components that held a connection to MPC's stand-in while the task was deferred
    """

    job_id: str
    clip: Path
    run_id: str = ""
    run_state: str = ""
    states: list[str] = field(default_factory=list)
    log_while_deferred: str = ""
    callers: set[str] = field(default_factory=set)
    xcom: dict[str, Any] = field(default_factory=dict)


def _connected_to(port: int, pids: Sequence[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if any(one.raddr and one.raddr.port == port for one in psutil.Process(pid).net_connections("tcp")):
                return True
    return False


@pytest.fixture(scope="module")
def story(live_airflow: LiveAirflow, live_emulator: Any, pytestconfig: pytest.Config) -> Story:
    """Let the example wait for a clip that is cut meanwhile, and look on."""
    make_sample(live_emulator.media_root / BUCKET / "in" / "film.mp4", seconds=5)
    live_airflow.add_dag(pytestconfig.rootpath / "example_dags" / f"{DAG_ID}.py", DAG_ID)
    place = {"bucket": BUCKET, "location": live_emulator.emulator.region}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_LIVE", live_emulator.server.connection_json())
        job_id = MpcHook("live").create_editing_job(
            inputs=[{"input": {**place, "object": "in/film.mp4"}, "timeline_start": "1", "timeline_end": "4"}],
            output={**place, "object": "out/", "file_name": "clip.mp4"},
            editing_settings={"format": "MP4"},
        )
    story = Story(job_id, live_emulator.media_root / BUCKET / "out" / "clip.mp4")
    story.run_id = live_airflow.trigger_dag(DAG_ID, {"job_id": job_id})
    deadline = time.monotonic() + SLOW_MACHINE
    while not story.run_state and time.monotonic() < deadline:
        state = live_airflow.task_states(DAG_ID, story.run_id).get("wait_for_clip")
        if state and state not in story.states[-1:]:
            story.states.append(state)
        if state == "deferred":
            for name in ("scheduler", "dag-processor", "api-server", "triggerer"):
                if _connected_to(live_emulator.server.port, live_airflow.pids(name)):
                    story.callers.add(name)
            log = live_airflow.task_log(DAG_ID, story.run_id, "wait_for_clip")
            if live_airflow.task_states(DAG_ID, story.run_id).get("wait_for_clip") == "deferred":
                story.log_while_deferred = log
        run_state = live_airflow.dag_run_state(DAG_ID, story.run_id)
        story.run_state = run_state if run_state in ("success", "failed") else ""
        time.sleep(0.2)
    if story.run_state != "success":
        log = live_airflow.task_log(DAG_ID, story.run_id, "wait_for_clip")
        pytest.fail(f"The run is {story.run_state or 'not over'}.\n{log}\n{live_airflow.logs()}")
    for key in ("return_value", "output_uri", "duration_ms", "size_byte"):
        story.xcom[key] = live_airflow.xcom(DAG_ID, story.run_id, "wait_for_clip", key)
    return story


def test_the_sensor_defers_and_comes_back(story: Story) -> None:
    assert "deferred" in story.states
    assert story.states[-1] == "success"


def test_only_the_triggerer_asks_mpc_while_the_task_is_deferred(story: Story) -> None:
    assert story.callers == {"triggerer"}


def test_the_log_tells_the_progress_while_the_task_waits(story: Story) -> None:
    assert f"Clipping task {story.job_id}: PROCESSING" in story.log_while_deferred


def test_the_xcom_is_what_mpc_told_of_the_file_made(story: Story) -> None:
    result = story.xcom["return_value"]
    assert result["job_id"] == story.job_id
    assert result["status"] == "SUCCEEDED"
    assert result["output"] == {
        "bucket": BUCKET,
        "location": "cn-north-4",
        "object": "out/",
        "file_name": "clip.mp4",
        "uri": f"obs://{BUCKET}/out/clip.mp4",
    }
    made = describe(story.clip)
    told = result["editing_output"]
    assert {name: told[name] for name in ("duration_ms", "size_byte", "format")} == {
        "duration_ms": made["duration_ms"],
        "size_byte": made["size_byte"],
        "format": "MP4",
    }
    assert told["video_info"]["width"] == made["video_info"]["width"]
    assert told["audio_info"][0]["codec"] == "AAC"


def test_the_scalars_are_pushed_beside_it(story: Story) -> None:
    made = describe(story.clip)
    assert story.xcom["output_uri"] == f"obs://{BUCKET}/out/clip.mp4"
    assert story.xcom["duration_ms"] == made["duration_ms"]
    assert story.xcom["size_byte"] == made["size_byte"]


def test_all_tasks_after_the_wait_have_run(live_airflow: LiveAirflow, story: Story) -> None:
    assert set(live_airflow.task_states(DAG_ID, story.run_id).values()) == {"success"}
    assert live_airflow.xcom(DAG_ID, story.run_id, "clip_output") == story.xcom["return_value"]


def test_a_killed_triggerer_can_be_started_again(live_airflow: LiveAirflow) -> None:
    before = live_airflow.pids("triggerer")
    live_airflow.kill("triggerer")
    assert live_airflow.pids("triggerer") == []
    live_airflow.restart("triggerer")
    assert live_airflow.pids("triggerer")
    assert not set(before) & set(live_airflow.pids("triggerer"))
