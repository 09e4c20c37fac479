# SPDX-License-Identifier: Apache-2.0
"""What a task pushes: the same from sensor and operator, in every mode."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from harness import MODES, Outcome, TaskLife
from test_outcomes import make_sensor

from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.outcome import EditingJobResult, OutputLocation, json_safe, to_result

PATHS = (*MODES, "operator", "operator deferrable", "operator without wait")

FIELDS: dict[str, Any] = {
    "create_time": "20260115080000",
    "start_time": "20260115080001",
    "end_time": "20260115080105",
    "progress": "100",
    "metadata": [{"name": "title", "value": "a"}, {"name": "title", "value": "b"}, {"name": "n", "value": 1}],
    "output": {"bucket": "b", "location": "cn-north-4", "object": "clips/", "file_name": "a b.mp4"},
    "editing_output": {
        "duration": "10",
        "duration_ms": "10172",
        "format": "MP4",
        "size_byte": 2882147,
        "md5": "d41d8",
        "video_info": {"width": "1920", "rotate": 0.5},
        "audio_info": {"codec": "AAC"},
        "of_the_future": [1],
    },
}
CLIP = {
    "job_id": "50",
    "status": "SUCCEEDED",
    "progress": 100,
    "create_time": "2026-01-15T08:00:00+00:00",
    "start_time": "2026-01-15T08:00:01+00:00",
    "end_time": "2026-01-15T08:01:05+00:00",
    "output": {
        "bucket": "b",
        "location": "cn-north-4",
        "object": "clips/",
        "file_name": "a b.mp4",
        "uri": "obs://b/clips/a b.mp4",
    },
    "editing_output": {
        "duration": 10,
        "duration_ms": 10172,
        "format": "MP4",
        "size_byte": 2882147,
        "md5": "d41d8",
        "video_info": {"width": 1920, "rotate": 0.5},
        "audio_info": [{"codec": "AAC"}],
        "of_the_future": [1],
    },
    "metadata": {"title": "b", "n": 1},
    "metadata_list": [{"name": "title", "value": "a"}, {"name": "title", "value": "b"}, {"name": "n", "value": 1}],
}


def run(path: str, job_id: Any, **options: Any) -> Outcome:
    if path in MODES:
        return TaskLife(lambda: make_sensor(path, job_id, options)).run()
    options |= {"deferrable": path == "operator deferrable", "wait": path != "operator without wait"}
    return TaskLife(
        lambda: MpcEditingJobOutputOperator(task_id="wait", job_id=job_id, poke_interval=0.1, **options)
    ).run()


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("asked", ["50", 50])
def test_one_id_gives_an_object_and_scalars(path: str, asked: Any, emulator: Emulator) -> None:
    emulator.job(["SUCCEEDED"], job_id="50", **FIELDS)
    assert run(path, asked).xcoms == {
        "return_value": CLIP,
        "output_uri": "obs://b/clips/a b.mp4",
        "duration_ms": 10172,
        "size_byte": 2882147,
    }


def test_list_gives_lists_in_the_order_asked(path: str, emulator: Emulator) -> None:
    emulator.variant.update(reverse_order=True)
    for number in (50, 51, 52):
        emulator.job(["SUCCEEDED"], job_id=str(number), **FIELDS)
    emulator.job(["SUCCEEDED"], job_id="53", output=None, editing_output=None)
    outcome = run(path, ["52", 50, "50", "53", 51])
    assert [clip["job_id"] for clip in outcome.xcoms["return_value"]] == ["52", "50", "53", "51"]
    assert outcome.xcoms["return_value"][1] == CLIP
    assert outcome.xcoms["output_uri"] == ["obs://b/clips/a b.mp4"] * 2 + [None, "obs://b/clips/a b.mp4"]
    assert outcome.xcoms["duration_ms"] == [10172, 10172, None, 10172]
    assert outcome.xcoms["size_byte"] == [2882147, 2882147, None, 2882147]


def test_list_of_one_stays_a_list(path: str, emulator: Emulator) -> None:
    emulator.job(["SUCCEEDED"], job_id="50", **FIELDS)
    xcoms = run(path, ["50"]).xcoms
    assert xcoms["return_value"] == [CLIP]
    assert xcoms["output_uri"] == ["obs://b/clips/a b.mp4"]


def test_bare_success_is_told_with_nulls(path: str, emulator: Emulator) -> None:
    emulator.variant.update(missing_fields=True)
    emulator.job(["SUCCEEDED"], job_id="50")
    outcome = run(path, "50")
    assert outcome.xcoms["return_value"] == {
        **dict.fromkeys(("progress", "create_time", "start_time", "end_time")),
        "job_id": "50",
        "status": "SUCCEEDED",
        "output": dict.fromkeys(("bucket", "location", "object", "file_name", "uri")),
        "editing_output": {},
        "metadata": {},
        "metadata_list": [],
    }
    assert outcome.lines("told no output file"), "a warning"


ODD = {
    "large": 2**70,
    "largest": 2**63 - 1,
    "huge": 10**400,
    "nan": float("nan"),
    "inf": float("inf"),
    "nul": "a\x00b",
    "surrogate": "\ud800x",
    "__class__": "os.system",
    "nested": {"__var": 1, "list": [float("-inf"), {"\x00key": "\udfff"}]},
}


def test_odd_values_arrive_in_every_path(path: str, emulator: Emulator) -> None:
    body = json.dumps({"job_array": [{"job_id": "50", "status": "SUCCEEDED", **FIELDS, "editing_output": ODD}]})
    emulator.job(["SUCCEEDED"], job_id="50")
    emulator.fault("respond", match="list", body=body)
    told = run(path, "50").xcoms["return_value"]["editing_output"]
    assert told["largest"] == 2**63 - 1
    assert math.isclose(told["large"], 2**70)
    assert (told["huge"], told["nan"], told["inf"]) == (None, None, None)
    assert told["nul"] == "ab"
    assert told["surrogate"] == "?x"
    assert "__class__" not in told
    assert told["nested"] == {"list": [None, {"key": "?"}]}


def test_json_safe_ends_at_some_depth_and_takes_any_type() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    json.dumps(json_safe(deep), allow_nan=False)
    assert json_safe((1, object)) == [1, str(object)]
    assert json_safe(True) is True


@pytest.mark.parametrize(
    ("output", "uri"),
    [
        ({"bucket": "b", "object": "out", "file_name": "a.mp4"}, "obs://b/out/a.mp4"),
        ({"bucket": "b", "object": "out/", "file_name": "a.mp4"}, "obs://b/out/a.mp4"),
        ({"bucket": "b", "object": "out/a.mp4", "file_name": "a.mp4"}, "obs://b/out/a.mp4"),
        ({"bucket": "b", "object": "a.mp4", "file_name": "a.mp4"}, "obs://b/a.mp4"),
        ({"bucket": "b", "object": "out/not-a.mp4", "file_name": "a.mp4"}, "obs://b/out/not-a.mp4/a.mp4"),
        ({"bucket": "b", "object": "out/a.mp4"}, "obs://b/out/a.mp4"),
        ({"bucket": "b", "file_name": "a.mp4"}, "obs://b/a.mp4"),
        ({"bucket": "b"}, None),
        ({"object": "out/a.mp4"}, None),
        ({"bucket": "", "object": "o"}, None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_uri_is_joined(output: Any, uri: str | None) -> None:
    job = EditingJob.from_json({"job_id": 1, "status": "SUCCEED", "output": output})
    assert job is not None
    assert to_result(job)["output"]["uri"] == uri


def test_result_has_the_keys_it_is_typed_with() -> None:
    job = EditingJob.from_json({"job_id": 1})
    assert job is not None
    assert to_result(job).keys() == EditingJobResult.__annotations__.keys()
    assert to_result(job)["output"].keys() == OutputLocation.__annotations__.keys()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"output": None}, "told no output file"),
        ({"editing_output": {"duration_ms": 0}}, "duration of zero"),
        ({"editing_output": {"duration": "0"}}, "duration of zero"),
    ],
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_output_that_is_required_and_lacks_fails_for_good(
    fields: dict[str, Any], told: str, deferrable: bool, emulator: Emulator
) -> None:
    emulator.job(["SUCCEEDED"], job_id="50", **fields)
    way = "operator deferrable" if deferrable else "operator"
    outcome = run(way, "50", require_output=True, retries=2)
    assert (outcome.state, outcome.error_name) == ("failed", "MpcOutputError")
    assert told in outcome.text
    assert outcome.xcoms == {}

    outcome = run(way, "50", require_output=False)
    assert outcome.state == "success"
    assert len(outcome.lines(told)) == 1


@pytest.mark.parametrize("duration", [0, "0", None])
def test_clip_of_less_than_a_second_is_not_taken_for_an_empty_one(duration: Any, emulator: Emulator) -> None:
    emulator.job(["SUCCEEDED"], job_id="50", editing_output={"duration": duration, "duration_ms": 480})
    outcome = run("operator", "50", require_output=True)
    assert outcome.state == "success"
    assert outcome.lines("duration of zero") == []


def test_number_too_large_for_its_field_reads_alike_in_every_path(path: str, emulator: Emulator) -> None:
    emulator.job(["SUCCEEDED"], job_id="50", editing_output={"duration_ms": 10**30})
    assert run(path, "50").xcoms["return_value"]["editing_output"]["duration_ms"] is None


def test_required_output_that_is_there_is_no_failure(path: str, emulator: Emulator) -> None:
    emulator.job(["SUCCEEDED"], job_id="50", **FIELDS)
    options = {} if path in MODES else {"require_output": True}
    assert run(path, "50", **options).state == "success"


def test_operator_without_wait_fails_on_a_job_that_runs(emulator: Emulator) -> None:
    job_id = emulator.job(["PROCESSING"])
    outcome = run("operator without wait", job_id)
    assert (outcome.state, outcome.error_name) == ("failed", "MpcJobNotEndedError")
    assert f"{job_id} PROCESSING" in outcome.text
    assert "wait=True" in outcome.text
    assert emulator.calls("list") == 1
    # A later try may find that it has ended.
    assert run("operator without wait", job_id, retries=1).state == "up_for_retry"


def test_operator_without_wait_fails_on_a_job_unknown(emulator: Emulator) -> None:
    outcome = run("operator without wait", [emulator.job(["SUCCEEDED"]), "98", "99"])
    assert outcome.error_name == "MpcJobNotFoundError"
    assert "98, 99" in outcome.text


@pytest.mark.parametrize("silent", [True, False])
def test_failure_names_each_job_with_code_and_reason(path: str, silent: bool, emulator: Emulator) -> None:
    emulator.variant.update(failed_without_reason=silent)
    emulator.job(["SUCCEEDED"], job_id="50")
    emulator.job(["FAILED"], job_id="51")
    emulator.job(["CANCELED"], job_id="52")
    emulator.job(["PROCESSING"], job_id="53")
    outcome = run(path, ["50", "51", "52", "53"])
    assert (outcome.state, outcome.error_name) == ("failed", "MpcJobFailedError")
    reason = "MPC gives no reason" if silent else "MPC.10053 The input file does not exist."
    assert f"51 FAILED ({reason})" in outcome.text
    assert "52 CANCELED (MPC gives no reason)" in outcome.text
    assert "2 of 4 clipping tasks failed" in outcome.text
    assert "1 succeeded, 1 still running" in outcome.text
    assert outcome.error.job_ids == ["51", "52"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"error_code": 10053, "description": None, "error_msg": "in the newer place"}, "10053 in the newer place"),
        ({"error_code": None, "description": None, "editing_output": {"exec_description": "deep"}}, "deep"),
        ({"error_code": "X", "description": "a\x00b" * 200}, "X ab"),
    ],
)
def test_reason_is_found_wherever_it_is(path: str, fields: dict[str, Any], told: str, emulator: Emulator) -> None:
    emulator.job(["FAILED"], job_id="51", **fields)
    outcome = run(path, "51")
    assert told in outcome.text
    assert len(outcome.text) < 600


@pytest.mark.parametrize("word", ["SUCCEED", "SUCCEEDED", "succeeded "])
def test_both_words_for_success_count(path: str, word: str, emulator: Emulator) -> None:
    emulator.job([word], job_id="50", **FIELDS)
    assert run(path, "50").state == "success"


@pytest.mark.parametrize("word", ["SUCCESS", "FINISHED", "SUCCEEDED_PARTLY", "", "NO_SUCCEED", "OK"])
def test_no_other_word_does(word: str, emulator: Emulator) -> None:
    emulator.job([word], job_id="50", **FIELDS)
    for path in ("poke", "deferrable"):
        assert run(path, "50", timeout=0.3).error_name == "AirflowSensorTimeout"
    assert run("operator without wait", "50").error_name == "MpcJobNotEndedError"
