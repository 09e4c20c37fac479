# SPDX-License-Identifier: Apache-2.0
"""Ids from wherever Dags take them, mapping, and starting from the trigger, through real Dag serialization."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from airflow.sdk import DAG, task
from harness import AIRFLOW, DAG_ID, MODES, TaskLife, as_row, dag_run_row, plain, run_trigger
from test_outcomes import make_sensor, options_of

from airflow_provider_mpc.api.errors import MpcInputError
from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor

EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"
starts_from_trigger = pytest.mark.skipif(AIRFLOW < (3, 3), reason="templates are rendered in the triggerer from 3.3 on")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def upstream_task() -> Any:
    @task
    def made() -> Any:
        return None

    return made()


def given_as(kind: str, job_id: str) -> tuple[Any, dict[str, Any]]:
    """Return what a Dag author writes for the id, and the options of the task's life."""
    return {
        "literal": (job_id, {}),
        "int": (int(job_id), {}),
        "template": ("{{ params.job_id }}", {"params": {"job_id": job_id}}),
        "list of templates": (["{{ params.job_id }}"], {"params": {"job_id": job_id}}),
        "xcom": (None, {"upstream": {"made": job_id}}),
        "xcom int": (None, {"upstream": {"made": int(job_id)}}),
        "xcom list": (None, {"upstream": {"made": [job_id, int(job_id)]}}),
        "xcom pulled": ("{{ ti.xcom_pull(task_ids='made') }}", {"upstream": {"made": job_id}}),
        "native list": (
            "{{ params.job_ids }}",
            {"params": {"job_ids": [job_id]}, "dag_options": {"render_template_as_native_obj": True}},
        ),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("literal", "int", "template", "list of templates", "xcom", "xcom int", "xcom list", "xcom pulled"),
        "native list",
    ],
)
def test_id_from(kind: str, mode: str, emulator: Emulator) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    written, world = given_as(kind, job_id)

    def make() -> None:
        made = upstream_task() if "upstream" in world else None
        make_sensor(mode, made if written is None else written, {})

    outcome = TaskLife(make, **world).run()
    assert outcome.state == "success", outcome.text
    value = outcome.xcoms["return_value"]
    assert (value[0] if "list" in kind else value)["job_id"] == job_id
    assert isinstance(value, list) is ("list" in kind)


def test_connection_id_is_templated(
    mode: str, emulator: Emulator, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", server.connection_json())
    monkeypatch.delenv("AIRFLOW_CONN_MPC_DEFAULT")
    job_id = emulator.job(["SUCCEEDED"])
    life = TaskLife(lambda: make_sensor(mode, job_id, {"mpc_conn_id": "{{ params.conn }}"}), params={"conn": "other"})
    assert life.run().state == "success"


@pytest.mark.parametrize("value", [None, [], "", "a,b", {"a": 1}, [None], "['1', '2']", [["1"]]])
def test_upstream_output_that_is_no_id_fails_for_good(value: Any, mode: str, emulator: Emulator) -> None:
    life = TaskLife(lambda: make_sensor(mode, upstream_task(), {"retries": 2}), upstream={"made": value})
    outcome = life.run()
    assert (outcome.state, outcome.error_name) == ("failed", "MpcInputError")
    assert emulator.calls() == 0


@pytest.mark.parametrize("value", ["", [], "1,2", ["1", ""], "['1']", {"a": 1}, 1.5, b"1"])
@pytest.mark.parametrize("kind", [MpcEditingJobSensor, MpcEditingJobOutputOperator])
def test_literal_that_is_no_id_is_refused_when_the_dag_is_parsed(kind: Any, value: Any) -> None:
    with pytest.raises(MpcInputError):
        kind(task_id="wait", job_id=value)


@pytest.mark.parametrize("option", ["poke_interval", "timeout"])
@pytest.mark.parametrize("value", [-1, "30", None, True, float("nan")])
def test_durations_of_the_operator_are_checked(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        MpcEditingJobOutputOperator(task_id="wait", job_id="1", **{option: value})


@pytest.mark.parametrize("default", ["True", "False"])
def test_deferrable_follows_airflows_default(default: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", default)
    wanted = default == "True"
    assert MpcEditingJobSensor(task_id="wait", job_id="1").deferrable is wanted
    assert MpcEditingJobOutputOperator(task_id="wait", job_id="1").deferrable is wanted
    assert MpcEditingJobSensor(task_id="wait", job_id="1", deferrable=not wanted).deferrable is not wanted


def test_list_of_hundreds_takes_a_call_for_ten(mode: str, emulator: Emulator) -> None:
    job_ids = [emulator.job(["SUCCEEDED"]) for _ in range(300)]
    outcome = TaskLife(lambda: make_sensor(mode, [*job_ids, job_ids[0]], {})).run()
    assert outcome.state == "success", outcome.text
    assert [clip["job_id"] for clip in outcome.xcoms["return_value"]] == job_ids
    assert emulator.calls("list") == 30 if mode != "deferrable" else emulator.calls("list") <= 75
    assert len(outcome.log) < 400


def test_hundreds_of_failures_are_all_named_but_only_some_with_all_words(mode: str, emulator: Emulator) -> None:
    job_ids = [emulator.job(["FAILED"], error_code="MPC.10208", description="broken input") for _ in range(100)]
    outcome = TaskLife(lambda: make_sensor(mode, job_ids, {})).run()
    assert outcome.error_name == "MpcJobFailedError"
    failed = int(outcome.text.split(" of 100 ")[0])
    assert sum(f"{job_id} FAILED (MPC.10208" in outcome.text for job_id in job_ids) == failed > 20
    assert outcome.text.count("broken input") == 20
    assert len(outcome.text) < 8000


# Serialization


def serialized(make: Callable[[], Any], **options: Any) -> tuple[dict[str, Any], Any]:
    """Return a Dag as JSON, and as the scheduler reads it."""
    with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **options) as dag:
        make()
    from airflow.serialization import serialized_objects

    kind: Any = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    data = json.loads(json.dumps(kind.to_dict(dag)))
    return data, kind.from_dict(data)


def test_mapped_tasks_survive_serialization() -> None:
    def make() -> None:
        ids = upstream_task()
        MpcEditingJobSensor.partial(task_id="wait", deferrable=True, poke_interval=5).expand(job_id=ids)
        MpcEditingJobOutputOperator.partial(task_id="output", deferrable=True).expand(job_id=["1", 2])

    _, dag = serialized(make)
    for task_id in ("wait", "output"):
        mapped = dag.get_task(task_id)
        assert mapped.is_mapped
        assert "job_id" in mapped.template_fields
        assert not mapped.start_from_trigger
        assert [link.name for link in mapped.operator_extra_links] == ["Clip in OBS console"]


def test_mapped_task_runs_for_its_own_id(mode: str, emulator: Emulator) -> None:
    job_ids = [emulator.job(["SUCCEEDED"]) for _ in range(3)]
    with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        MpcEditingJobSensor.partial(task_id="wait", poke_interval=0.1, **options_of(mode)).expand(job_id=job_ids)
    mapped: Any = dag.get_task("wait")
    for job_id in job_ids:

        def make(job_id: str = job_id) -> None:
            MpcEditingJobSensor(**{**mapped.partial_kwargs, "task_id": "wait", "job_id": job_id})

        outcome = TaskLife(make).run()
        assert outcome.xcoms["return_value"]["job_id"] == job_id


def test_unmapped_task_is_as_written() -> None:
    with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        mapped: Any = MpcEditingJobSensor.partial(
            task_id="wait", poke_interval=7, deferrable=True, soft_fail=True
        ).expand(job_id=["1", "2"])
    one = mapped.unmap({"job_id": "2"})
    assert isinstance(one, MpcEditingJobSensor)
    assert (one.job_id, one.poke_interval, one.deferrable, one.soft_fail) == ("2", 7, True, True)


# Starting from the trigger


def start(job_id: Any, **options: Any) -> tuple[dict[str, Any], Any]:
    return serialized(
        lambda: MpcEditingJobSensor(
            task_id="wait", job_id=job_id, start_from_trigger=True, poke_interval=0.1, **options
        ),
        params={"x": "50"},
    )


@pytest.mark.parametrize("job_id", ["50", 50, ["50", "51"], ("50", "51")])
def test_literal_ids_start_from_the_trigger(job_id: Any) -> None:
    _, dag = start(job_id, timeout=100)
    wait = dag.get_task("wait")
    assert wait.start_from_trigger is True
    args = wait.start_trigger_args
    assert args.trigger_cls == "airflow_provider_mpc.triggers.mpc.MpcEditingJobTrigger"
    assert args.next_method == "execute_complete"
    assert args.timeout.total_seconds() == 160
    kwargs = plain(args.trigger_kwargs)
    assert kwargs["job_id"] == (list(job_id) if isinstance(job_id, tuple) else job_id)
    assert kwargs["timeout"] == 100


@starts_from_trigger
@pytest.mark.parametrize(
    "job_id",
    [
        "50",
        "{{ params.x }}",
        ["{{ params.x }}"],
        "{% if run_id and ds and ts_nodash and data_interval_start and dag_run.conf != 1 %}50{% endif %}",
        "{{ macros.datetime(2026, 1, 1).year - 1976 }}",
    ],
)
def test_ids_are_rendered_in_the_triggerer(job_id: Any, emulator: Emulator) -> None:
    emulator.job(["SUCCEEDED"], job_id="50")
    data, dag = start(job_id)
    args = dag.get_task("wait").start_trigger_args
    row = {"classpath": args.trigger_cls, "encrypted_kwargs": Trigger.encrypt_kwargs(args.trigger_kwargs)}
    kind, event = run_trigger(
        row, TaskLife(lambda: None), start_from={"dag_data": data, "dag_run_data": dag_run_row()}
    ) or ("", None)
    assert kind == "event", event
    assert event.payload["outcome"] == "ended", event
    assert event.payload["job_ids"] == ["50"]


def test_task_that_started_from_the_trigger_ends_like_any_other(emulator: Emulator) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    plain = TaskLife(lambda: make_sensor("deferrable", job_id, {}))
    wanted = plain.run().xcoms
    life = TaskLife(lambda: make_sensor("deferrable", job_id, {"start_from_trigger": True}))
    state, _, error = life.work("execute_complete", as_row({"event": plain.events[0]}))
    assert (state, error) == ("success", None)
    assert life.xcoms == wanted


def refuse(job_id: Callable[[], Any], **options: Any) -> str:
    with pytest.raises(MpcInputError) as caught:
        serialized(lambda: MpcEditingJobSensor(task_id="wait", job_id=job_id(), start_from_trigger=True, **options))
    return str(caught.value)


def test_upstream_output_is_refused_with_the_reason() -> None:
    for text in (refuse(upstream_task), refuse(lambda: ["1", upstream_task()])):
        assert "not resolved in the triggerer" in text
        assert "Leave start_from_trigger out" in text


@pytest.mark.parametrize(
    "template",
    [
        "{{ ti.xcom_pull(task_ids='made') }}",
        "{{ task_instance.xcom_pull('made') }}",
        "{% set id = ti.xcom_pull('made') %}{{ id }}",
        "{{ prev_start_date_success }}",
        "{{ prev_data_interval_start_success.year }}",
        "{{ task_state_store.get('id') }}",
        "{{ inlet_events }}",
        "{{ a_macro_of_the_dags() }}",
    ],
)
def test_template_that_pulls_is_refused_with_the_reason(template: str) -> None:
    for text in (refuse(lambda: template), refuse(lambda: ["1", template])):
        assert "deferred for ever" in text
    assert "deferred for ever" in refuse(lambda: "1", mpc_conn_id=template) or AIRFLOW < (3, 3)


def test_not_deferrable_is_refused() -> None:
    assert "contradict" in refuse(lambda: "1", deferrable=False)


@pytest.mark.skipif(AIRFLOW >= (3, 3), reason="this Airflow renders templates in the triggerer")
def test_template_is_refused_where_nobody_renders_it() -> None:
    assert "3.3" in refuse(lambda: "{{ params.x }}")


@starts_from_trigger
def test_template_over_params_and_dates_is_taken() -> None:
    for template in ("{{ params.x }}", "{{ run_id }}", "clip-{{ ds }}", "{{ dag_run.conf['id'] }}"):
        start(template)


@pytest.mark.parametrize("ids", [["1", "2"], None])
def test_mapped_task_falls_back_to_a_worker(ids: Any) -> None:
    data, dag = serialized(
        lambda: MpcEditingJobSensor.partial(task_id="wait", start_from_trigger=True, deferrable=True).expand(
            job_id=ids or upstream_task()
        )
    )
    # Without arguments of its class the scheduler starts no trigger.
    assert not dag.get_task("wait").start_trigger_args
    assert MpcEditingJobSensor.start_trigger_args is None
    assert "start_trigger_args" not in json.dumps(data) or '"start_trigger_args": null' in json.dumps(data)


def test_mapped_task_with_start_from_trigger_runs_on_a_worker(emulator: Emulator) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    life = TaskLife(lambda: make_sensor("deferrable", job_id, {"start_from_trigger": True}))
    outcome = life.run()
    assert outcome.state == "success"
    assert outcome.deferrals == 1


def test_start_from_trigger_takes_over_the_sensors_options(emulator: Emulator) -> None:
    from datetime import timedelta

    _, dag = start(
        "1",
        exponential_backoff=True,
        max_wait=timedelta(seconds=9),
        silent_fail=True,
        execution_timeout=timedelta(seconds=8),
    )
    kwargs = plain(dag.get_task("wait").start_trigger_args.trigger_kwargs)
    wanted = {"exponential_backoff": True, "max_wait": 9.0, "outage_tolerance": -1.0, "execution_timeout": 8.0}
    assert wanted.items() <= kwargs.items()


# Examples


@pytest.fixture(scope="module")
def examples() -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag  # type: ignore[attr-defined, no-redef]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = DagBag(str(EXAMPLES))
    ours = [one for one in caught if "airflow_provider_mpc" in one.filename or "example_dags" in one.filename]
    assert not ours, [str(one.message) for one in ours]
    return bag


def test_examples_load_on_a_bare_airflow(examples: Any) -> None:
    assert examples.import_errors == {}
    files = {path.name for path in EXAMPLES.glob("example_*.py")}
    assert {Path(dag.fileloc).name for dag in examples.dags.values()} == files
    assert all(dag_id.startswith("example_mpc_") for dag_id in examples.dags)


def test_examples_survive_serialization(examples: Any) -> None:
    from airflow.serialization import serialized_objects

    kind: Any = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    for dag in examples.dags.values():
        assert kind.from_dict(json.loads(json.dumps(kind.to_dict(dag)))).task_ids == dag.task_ids


@pytest.mark.parametrize("task_id", ["wait_for_clip", "clip_output"])
def test_pipelines_tasks_run(task_id: str, examples: Any, emulator: Emulator) -> None:
    job_id = emulator.job(["SUCCEEDED"])
    example = examples.dags["example_mpc_pipeline"].get_task(task_id)

    def make() -> None:
        kind = type(example)
        options = {"wait": example.wait} if task_id == "clip_output" else {}
        kind(task_id=task_id, job_id=upstream_task(), deferrable=example.deferrable, poke_interval=0.1, **options)

    outcome = TaskLife(make, upstream={"made": job_id}).run()
    assert outcome.state == "success"
    assert outcome.deferrals == (1 if task_id == "wait_for_clip" else 0), "the sensor has waited"
    clip = outcome.xcoms["return_value"]
    used = examples.dags["example_mpc_pipeline"].get_task("use_metadata").python_callable(clip)
    assert used.startswith(clip["output"]["uri"])
    assert "10.2 s, 1920x1080" in used


def test_hooks_task_runs(examples: Any, emulator: Emulator) -> None:
    job_id = emulator.job(["PROCESSING"])
    report = examples.dags["example_mpc_hook"].get_task("report").python_callable
    assert report({"job_ids": [job_id, "99"]}) == {job_id: "PROCESSING 99 %"}
