# SPDX-License-Identifier: Apache-2.0
"""What users write for a clip becomes MPC's request, or a clear error when the Dag is parsed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_mpc.api.errors import MpcInputError
from airflow_provider_mpc.clips import build_request, seconds_text
from airflow_provider_mpc.operators.mpc import MpcCreateEditingJobOperator


def request(**given: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = dict.fromkeys(
        ("source", "start", "end", "inputs", "editing_settings", "editing_type", "metadata", "user_data")
    )
    return build_request(**{**defaults, "output": "obs://media/out/cut.mp4", "location": "cn-north-4", **given})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0, "0"),
        (90, "90"),
        (90.5, "90.5"),
        ("90.5", "90.5"),
        ("00:01:30.5", "90.5"),
        ("01:30", "90"),
        ("1:02:03", "3723"),
        (timedelta(minutes=1, milliseconds=250), "60.25"),
        (0.1 + 0.2, "0.3"),
    ],
)
def test_times_become_seconds(given: Any, text: str) -> None:
    assert seconds_text(given, "start") == text


@pytest.mark.parametrize("given", [-1, "-1", "1:99", "one", True, float("nan"), float("inf"), "", "1:2:3:4", [1]])
def test_what_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises(MpcInputError, match="start is"):
        seconds_text(given, "start")


def test_the_short_form_becomes_one_input_and_a_folder_with_a_file_name() -> None:
    assert request(source="obs://media/in/a b#1.mp4", start=1, end="00:00:03.5") == {
        "inputs": [
            {
                "input": {"bucket": "media", "location": "cn-north-4", "object": "in/a b#1.mp4"},
                "timeline_start": "1",
                "timeline_end": "3.5",
            }
        ],
        "output": {"bucket": "media", "location": "cn-north-4", "object": "out/", "file_name": "cut.mp4"},
    }


def test_an_output_folder_keeps_its_name_to_mpc() -> None:
    body = request(source="obs://m/a", output="obs://media/out/")
    assert body["output"] == {"bucket": "media", "location": "cn-north-4", "object": "out/"}


def test_inputs_may_be_short_or_as_the_api_has_them() -> None:
    native = {"input": {"bucket": "b", "location": "ap-southeast-3", "object": "o"}, "timeline_start": "1"}
    body = request(inputs=[{"source": "obs://b/k", "end": 4}, native])
    assert body["inputs"] == [
        {"input": {"bucket": "b", "location": "cn-north-4", "object": "k"}, "timeline_end": "4"},
        native,
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either source"),
        ({"source": "obs://b/k", "inputs": [{"source": "obs://b/k"}]}, "either source"),
        ({"inputs": []}, "at least one"),
        ({"inputs": [{"source": "obs://b/k"}], "start": 1}, "belong to source"),
        ({"inputs": [{"source": "obs://b/k", "begin": 1}]}, "no begin"),
        ({"source": "s3://b/k"}, "obs://bucket/key"),
        ({"source": "obs://b"}, "obs://bucket/key"),
        ({"source": "obs://b/../k"}, "obs://bucket/key"),
        ({"source": "obs://b/k", "start": 5, "end": 5}, "before it begins"),
        ({"source": "obs://b/k", "end": 0}, "before it begins"),
        ({"source": {"bucket": "b", "object": "k", "locaton": "cn-north-4"}}, "no locaton"),
        ({"source": "obs://b/k", "editing_settings": [1]}, "must be an object"),
        ({"source": "obs://b/k", "metadata": "x"}, "name and value"),
        ({"source": "obs://b/k", "output": {"bucket": "b"}}, "output has no object"),
        ({"source": "obs://b/k", "editing_settings": {"format": "AVI"}}, "HLS, MP4"),
        ({"source": "obs://b/k", "editing_settings": {"width": -1}}, "pixels"),
        ({"source": "obs://b/k", "editing_settings": {"codec": "H264"}}, "no codec"),
        ({"source": "obs://b/k", "editing_type": 2}, "editing_type is 2"),
        ({"source": "obs://b/k", "editing_type": True}, "editing_type is True"),
        ({"source": "obs://b/k", "metadata": [{"key": "x"}]}, "name and value"),
    ],
)
def test_what_cannot_be_right_is_refused_when_the_dag_is_parsed(given: dict[str, Any], words: str) -> None:
    with pytest.raises(MpcInputError, match=words):
        MpcCreateEditingJobOperator(task_id="make", **{"output": "obs://b/out", **given})


def test_templates_and_upstream_outputs_are_left_until_the_task_runs() -> None:
    with DAG("d", schedule=None):

        @task
        def upstream() -> str:
            return "obs://b/k"

        MpcCreateEditingJobOperator(
            task_id="template", source="{{ params.source }}", start="{{ params.a }}", end=3, output="{{ params.o }}"
        )
        MpcCreateEditingJobOperator(task_id="xcom", source=upstream(), start=1, output="obs://b/out")
        MpcCreateEditingJobOperator.partial(task_id="mapped", output="obs://b/out/").expand(source=["obs://b/1"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": "obs://b/k", "end": -1}, "end is -1"),
        ({"source": "obs://b/k", "editing_settings": {"format": "AVI"}}, "HLS, MP4"),
        ({"inputs": [{"source": "{{ params.x }}"}, {"source": "s3://b/k"}]}, "obs://bucket/key"),
    ],
)
def test_one_upstream_output_does_not_keep_the_rest_from_being_checked(given: dict[str, Any], words: str) -> None:
    with DAG("d", schedule=None):

        @task
        def upstream() -> str:
            return "obs://b/out"

        with pytest.raises(MpcInputError, match=words):
            MpcCreateEditingJobOperator(task_id="make", output=upstream(), **given)


def test_whole_fields_may_be_templates() -> None:
    MpcCreateEditingJobOperator(
        task_id="make",
        inputs="{{ params.inputs }}",
        output="{{ params.output }}",
        editing_settings="{{ params.settings }}",
        metadata="{{ params.metadata }}",
    )
    MpcCreateEditingJobOperator(
        task_id="sizes",
        source="obs://b/k",
        output="obs://b/out",
        editing_settings={"width": "{{ params.width }}", "format": "{{ params.format }}"},
    )


def test_the_editing_type_may_be_a_template_or_an_upstream_output() -> None:
    with DAG("types", schedule=None):

        @task
        def upstream() -> int:
            return 0

        chosen = upstream()
        for task_id, value in (("template", "{{ params.type }}"), ("output", chosen)):
            MpcCreateEditingJobOperator(
                task_id=task_id, source="obs://b/k", output="obs://b/out", editing_type=value, wait=False
            )
        mapped: Any = MpcCreateEditingJobOperator.partial(
            task_id="mapped", source="obs://b/k", output="obs://b/out", editing_type=chosen
        ).expand(end=[1])
    assert mapped.upstream_task_ids == {"upstream"}


@pytest.mark.parametrize(("given", "sent"), [("0", 0), ("1", 1), (0, 0), (1, 1)])
def test_the_editing_type_is_sent_as_a_number(given: Any, sent: int) -> None:
    assert request(source="obs://b/k", editing_type=given)["editing_type"] == sent


def test_a_size_may_be_the_text_that_a_template_renders_to() -> None:
    body = request(source="obs://b/k", editing_settings={"width": "1280", "height": 720})
    assert body["editing_settings"] == {"width": 1280, "height": 720}


def test_a_rendered_key_may_hold_braces() -> None:
    body = request(source="obs://media/in/{{x}}.mp4")
    assert body["inputs"][0]["input"] == {"bucket": "media", "location": "cn-north-4", "object": "in/{{x}}.mp4"}


def test_a_bucket_of_no_known_region_is_refused() -> None:
    with pytest.raises(MpcInputError, match="region of the bucket"):
        request(source="obs://b/k", location=None)
    place = {"bucket": "b", "location": "ap-southeast-3", "object": "k"}
    assert request(source=place, output=place, location=None)["output"] == place


def test_an_upstream_task_may_tell_the_output_of_mapped_tasks() -> None:
    with DAG("d", schedule=None) as dag:

        @task
        def upstream() -> str:
            return "obs://b/out/"

        MpcCreateEditingJobOperator.partial(task_id="make", output=upstream()).expand_kwargs(
            [{"source": "obs://b/1"}, {"source": "obs://b/2"}]
        )
    assert dag.get_task("make").upstream_task_ids == {"upstream"}


def test_the_operators_own_output_still_stands_for_what_it_returns() -> None:
    operator = MpcCreateEditingJobOperator(task_id="make", source="obs://b/k", output="obs://b/out")
    assert operator.output.operator is operator
