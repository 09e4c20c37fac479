# SPDX-License-Identifier: Apache-2.0
"""
One task instance's life, without scheduler and database.

The parts that decide an outcome are Airflow's own: the worker's task runner (it renders templates, enforces
``execution_timeout``, decides on retries, pushes XComs and links), the triggerer's ``TriggerRunner`` with its
frames, and the function that stores an event for the resume. Played here is only what lies between them: rows of
the database, made by a round trip through JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import airflow
import structlog
from airflow.executors import workloads
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.models import trigger as trigger_model
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from airflow.sdk import DAG
from airflow.sdk.api.datamodels import _generated as datamodels
from airflow.sdk.execution_time import comms, task_runner
from airflow.serialization.serialized_objects import BaseSerialization
from packaging.version import Version
from pydantic import TypeAdapter

AIRFLOW = Version(airflow.__version__).release[:2]
HAS_STORE = AIRFLOW >= (3, 3)
DAG_ID = "a_dag"
RUN_ID = "a_run"
MODES = ("poke", "reschedule", "deferrable")
SLACK = 25.0
"""Seconds after which a task that has not ended counts as hung."""

MakeTask = Callable[[], Any]


class HungError(AssertionError):
    """A task did not come to its end."""


@dataclass
class Outcome:
    """
    How a try of a task ended, the same in every mode.

    :param state: ``success``, ``failed``, ``skipped`` or ``up_for_retry``.
    :param error: what was raised at last; of a skip, what it was made of.
    :param xcoms: what was pushed, as a task downstream reads it.
    :param log: the lines that the provider wrote, on worker and triggerer.
    :param runs: how often a worker was needed.
    :param deferrals: how often the task was deferred.
    """

    state: str
    error: BaseException | None
    xcoms: dict[str, Any]
    log: list[str]
    runs: int
    deferrals: int

    @property
    def error_name(self) -> str | None:
        return None if self.error is None else type(self.error).__name__

    @property
    def text(self) -> str:
        return str(self.error)

    def lines(self, part: str) -> list[str]:
        return [line for line in self.log if part in line]


@dataclass
class TaskLife:
    """
    A task instance from its first try on.

    :param make_task: makes the operator anew, inside a Dag, as each parse of the Dag file does.
    :param upstream: return values of tasks upstream, by task id.
    :param params: the Dag's.
    :param triggerer: False: no triggerer ever comes round, so the scheduler's deferral timeout ends the wait.
    :param before_trigger: called before each start of the trigger.
    :param restarts: how often the triggerer is restarted, each time ``restart_after`` seconds after its start.
    """

    make_task: MakeTask
    upstream: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    triggerer: bool = True
    before_trigger: Callable[[], None] = lambda: None
    restarts: int = 0
    restart_after: float = 0.3
    dag_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.id = uuid.uuid4()
        self.try_number = 1
        self.max_tries: int | None = None
        self.retries = 0
        self.store: dict[str, Any] = {}
        self.xcoms: dict[str, Any] = {}
        self.rendered: dict[str, Any] = {}
        self.trigger_rows: list[dict[str, Any]] = []
        self.events: list[Any] = []
        self.sent: list[Any] = []
        self.links: list[tuple[str, Any]] = []
        self._new_try()

    def _new_try(self) -> None:
        self._first_reschedule: datetime | None = None
        self._reschedules = 0

    # What a person or the scheduler does with it.

    def run(self) -> Outcome:
        """Run one try to its end."""
        until = time.monotonic() + SLACK
        runs = deferrals = 0
        next_method: str | None = None
        next_kwargs: Any = None
        self.xcoms = {}
        with _captured_log() as lines:
            while True:
                state, message, error = self.work(next_method, next_kwargs)
                runs += 1
                next_method = next_kwargs = None
                if time.monotonic() > until:
                    raise HungError(f"still {state} after {runs} runs; log: {lines}")
                if state == "up_for_reschedule":
                    self._reschedules += 1
                    self._first_reschedule = self._first_reschedule or self._started
                    time.sleep(max(0.0, message.reschedule_date.timestamp() - time.time()))
                elif state == "deferred":
                    deferrals += 1
                    next_method, next_kwargs = self._wait(message)
                else:
                    return Outcome(state, error, dict(self.xcoms), list(lines), runs, deferrals)

    def retry(self) -> Outcome:
        """Run the next try, after one that ended in ``up_for_retry``."""
        self.try_number += 1
        self._new_try()
        return self.run()

    def clear(self) -> Outcome:
        """Clear the task, as a person does on Airflow's page, and run it again."""
        self.max_tries = self.try_number + self.retries
        return self.retry()

    # On a worker.

    def work(self, next_method: str | None, next_kwargs: Any) -> tuple[str, Any, BaseException | None]:
        dag = self._dag()
        task = dag.get_task(_only_task_of(dag, self.upstream))
        self.retries = task.retries
        if self.max_tries is None:
            self.max_tries = task.retries
        self._started = datetime.now(UTC)
        ti = task_runner.RuntimeTaskInstance.model_construct(
            id=self.id,
            task_id=task.task_id,
            dag_id=DAG_ID,
            run_id=RUN_ID,
            try_number=self.try_number,
            map_index=-1,
            dag_version_id=self.id,
            task=task,
            max_tries=self.max_tries,
            start_date=self._started,
            state="running",
            _ti_context_from_server=datamodels.TIRunContext.model_validate(
                {
                    "dag_run": dag_run_row(self.params),
                    "task_reschedule_count": self._reschedules,
                    "max_tries": self.max_tries,
                    "should_retry": self.try_number <= self.max_tries,
                    "next_method": next_method,
                    "next_kwargs": next_kwargs,
                }
            ),
        )
        raised: list[BaseException] = []
        execute = task_runner._execute_task

        def recording(*args: Any, **kwargs: Any) -> Any:
            try:
                return execute(*args, **kwargs)
            except BaseException as error:
                raised.append(error)
                raise

        log = structlog.get_logger("task")
        with self._as_worker(), mock.patch.object(task_runner, "_execute_task", recording):
            context = ti.get_template_context()
            state, message, _ = task_runner.run(ti, context, log)
            task_runner.finalize(ti, state, context, log, raised[0] if raised else None)
        error = raised[0] if raised else None
        if state == "skipped" and error is not None:
            error = error.__cause__ or error
            if str(error).startswith("Sensor has timed out"):
                # The base class makes a skip of its own timeout without a cause.
                error = AirflowSensorTimeout(str(error))
        return state.value, message, None if state in ("up_for_reschedule", "deferred") else error

    def _dag(self) -> DAG:
        with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **self.dag_options) as dag:
            dag.params.update(self.params) if self.params else None
            self.make_task()
        return dag

    @contextlib.contextmanager
    def _as_worker(self) -> Iterator[None]:
        """Be a worker's process: its supervisor, its signals, its environment."""
        on_term = signal.getsignal(signal.SIGTERM)
        with (
            mock.patch.object(task_runner, "SUPERVISOR_COMMS", self, create=True),
            mock.patch.dict(os.environ, {"_AIRFLOW_PROCESS_CONTEXT": "client"}),
        ):
            try:
                yield
            finally:
                signal.signal(signal.SIGTERM, on_term)

    def send(self, msg: Any) -> Any:
        """Answer a request of the worker, as its supervisor does."""
        self.sent.append(msg)
        answer = getattr(self, f"_on_{type(msg).__name__}", None)
        return answer(msg) if answer else None

    async def asend(self, msg: Any) -> Any:
        return self.send(msg)

    def _on_SetXCom(self, msg: Any) -> None:  # noqa: N802
        value = _read_xcom(_stored(msg.value))
        if msg.key.startswith("_link_"):
            self.links.append((msg.key, value))
        else:
            self.xcoms[msg.key] = value

    def _on_GetXCom(self, msg: Any) -> Any:  # noqa: N802
        value = self.upstream.get(msg.task_id) if msg.key == "return_value" else None
        return comms.XComResult(key=msg.key, value=_write_xcom(value))

    def _on_GetXComSequenceSlice(self, msg: Any) -> Any:  # noqa: N802
        return comms.XComSequenceSliceResult(root=[_write_xcom(self.upstream.get(msg.task_id))])

    def _on_SetRenderedFields(self, msg: Any) -> None:  # noqa: N802
        self.rendered = _stored(msg.rendered_fields)

    def _on_GetTaskRescheduleStartDate(self, msg: Any) -> Any:  # noqa: N802
        return comms.TaskRescheduleStartDate(start_date=self._first_reschedule)

    def _on_GetTaskStateStore(self, msg: Any) -> Any:  # noqa: N802
        if msg.key in self.store:
            return comms.TaskStateStoreResult(value=self.store[msg.key])
        return comms.ErrorResponse(error=comms.ErrorType.TASK_STORE_NOT_FOUND)

    def _on_SetTaskStateStore(self, msg: Any) -> None:  # noqa: N802
        self.store[msg.key] = _stored(msg.value)

    def _on_DeleteTaskStateStore(self, msg: Any) -> None:  # noqa: N802
        self.store.pop(msg.key, None)

    # In the triggerer.

    def _wait(self, message: Any) -> tuple[str, Any]:
        row = json.loads(message.model_dump_json())
        if AIRFLOW < (3, 2):
            row["next_kwargs"] = BaseSerialization.deserialize(row["next_kwargs"])
        self.trigger_rows.append({**row, "trigger_kwargs": plain(row["trigger_kwargs"])})
        if not self.triggerer:
            time.sleep(max(0.0, message.trigger_timeout.total_seconds() - 60.0))
            return self._failure(row, "Trigger timeout", None)
        for _ in range(self.restarts):
            told = run_trigger(row, self, restart_after=self.restart_after)
            assert told is None, "the trigger ended before the restart"
        self.before_trigger()
        told = run_trigger(row, self)
        assert told is not None
        kind, value = told
        if kind == "failure":
            return self._failure(row, "Trigger failure", value)
        self.events.append(value.payload)
        ti = SimpleNamespace(next_kwargs=row["next_kwargs"], state="deferred")
        trigger_model.handle_event_submit(value, task_instance=ti, session=mock.Mock())
        assert ti.state == "scheduled"
        return row["next_method"], as_row(ti.next_kwargs)

    def _failure(self, row: Mapping[str, Any], reason: str, trace: Any) -> tuple[str, Any]:
        kwargs = {**row["next_kwargs"], "error": reason, **({"traceback": trace} if trace else {})}
        return "__fail__", as_row({"error": reason, "traceback": trace} if trace else kwargs)


def run_trigger(
    row: Mapping[str, Any],
    airflow_side: TaskLife,
    *,
    restart_after: float | None = None,
    start_from: Mapping[str, Any] | None = None,
) -> tuple[str, Any] | None:
    """
    Run a stored trigger in a ``TriggerRunner``; return its first message to the supervisor.

    :param row: classpath and kwargs as the database holds them.
    :param restart_after: stop the runner after so many seconds; then None is returned.
    :param start_from: ``dag_data`` and ``dag_run_data`` of a trigger that no worker started.
    """
    return asyncio.run(_run_trigger(row, airflow_side, restart_after, start_from or {}))


async def _run_trigger(
    row: Mapping[str, Any], airflow_side: TaskLife, restart_after: float | None, start_from: Mapping[str, Any]
) -> tuple[str, Any] | None:
    runner = TriggerRunner()
    supervisor = TriggererSupervisor(airflow_side)
    runner.comms_decoder = supervisor  # type: ignore[assignment]
    began = time.monotonic()
    with (
        mock.patch.object(task_runner, "SUPERVISOR_COMMS", supervisor, create=True),
        mock.patch.dict(os.environ, {"_AIRFLOW_PROCESS_CONTEXT": "client"}),
    ):
        runner.to_create.append(workload(row, airflow_side, **start_from))
        await runner.create_triggers()
        try:
            while True:
                await runner.sync_state_to_supervisor(await runner.cleanup_finished_triggers())
                if supervisor.told is not None:
                    # Not one event more may follow.
                    await asyncio.gather(*(one["task"] for one in runner.triggers.values()), return_exceptions=True)
                    await runner.sync_state_to_supervisor(await runner.cleanup_finished_triggers())
                    return supervisor.told
                if restart_after is not None and time.monotonic() - began > restart_after:
                    return None
                if time.monotonic() - began > SLACK:
                    raise HungError("the trigger tells nothing")
                await asyncio.sleep(0.02)
        finally:
            tasks = [one["task"] for one in runner.triggers.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class TriggererSupervisor:
    """The triggerer's parent process: takes events as frames, and answers what triggers ask."""

    def __init__(self, airflow_side: TaskLife) -> None:
        self._airflow_side = airflow_side
        self.told: tuple[str, Any] | None = None
        self.events = 0

    async def asend(self, msg: Any) -> Any:
        if type(msg).__name__ != "TriggerStateChanges":
            return self._airflow_side.send(msg)
        frame = comms._RequestFrame(id=1, body=msg.model_dump()).as_bytes()
        body = comms.msgspec.msgpack.decode(bytes(frame[4:]))[1]
        changes = TypeAdapter(type(msg)).validate_python(body)
        for entry in changes.events or ():
            trigger_id, event = entry[0], entry[1]
            assert trigger_id == 1
            self.events += 1
            assert self.events == 1, "a second event"
            self.told = ("event", event)
        for _, trace in changes.failures or ():
            self.told = ("failure", trace)
        from airflow.jobs.triggerer_job_runner import messages

        return messages.TriggerStateSync(to_create=[], to_cancel=set())

    def send(self, msg: Any) -> Any:
        return self._airflow_side.send(msg)


def workload(row: Mapping[str, Any], life: TaskLife, timeout_after: datetime | None = None, **more: Any) -> Any:
    """Return what the supervisor sends to the runner for a stored trigger."""
    kind = getattr(workloads, "TaskInstanceDTO", None) or workloads.TaskInstance
    ti = kind(
        id=life.id,
        dag_version_id=life.id,
        task_id=more.pop("task_id", "wait"),
        dag_id=DAG_ID,
        run_id=RUN_ID,
        try_number=life.try_number,
        map_index=-1,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )
    return workloads.RunTrigger(
        id=1,
        ti=ti,
        classpath=row["classpath"],
        encrypted_kwargs=row.get("encrypted_kwargs") or json.dumps(_as_written(row["trigger_kwargs"])),
        timeout_after=timeout_after,
        **more,
    )


def dag_run_row(conf: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a Dag run as the API tells it, with what this version of Airflow knows of one."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = {
        "dag_id": DAG_ID,
        "run_id": RUN_ID,
        "logical_date": now,
        "data_interval_start": now,
        "data_interval_end": now,
        "run_after": now,
        "start_date": now,
        "end_date": None,
        "run_type": "manual",
        "state": "running",
        "conf": dict(conf or {}),
        "consumed_asset_events": [],
        "partition_key": None,
    }
    return {name: value for name, value in row.items() if name in datamodels.DagRun.model_fields}


def _only_task_of(dag: DAG, upstream: Mapping[str, Any]) -> str:
    (task_id,) = (task_id for task_id in dag.task_ids if task_id not in upstream)
    return task_id


def _stored(value: Any) -> Any:
    """Return a value as a JSON column gives it back; what PostgreSQL refuses is refused."""
    text = json.dumps(value, allow_nan=False)
    assert "\\u0000" not in text
    text.encode()
    return json.loads(text)


def plain(kwargs: Any) -> Any:
    """Return a trigger's arguments without the marks of Airflow's older serialization."""
    return BaseSerialization.deserialize(kwargs) if "__var" in kwargs else kwargs


def _as_written(kwargs: Any) -> Any:
    return BaseSerialization.serialize(kwargs) if AIRFLOW < (3, 2) and "__var" not in kwargs else kwargs


def as_row(next_kwargs: Any) -> Any:
    if AIRFLOW < (3, 2):
        next_kwargs = BaseSerialization.serialize(next_kwargs)
    return _stored(next_kwargs)


def _read_xcom(value: Any) -> Any:
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.deserialize_value(SimpleNamespace(value=value))


def _write_xcom(value: Any) -> Any:
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.serialize_value(value)


@contextlib.contextmanager
def _captured_log() -> Iterator[list[str]]:
    """Collect what the provider logs, by whichever logging Airflow's version gives it."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    def collect(logger: Any, method: str, event: dict[str, Any]) -> Any:
        args = event.get("positional_args")
        text = str(event.get("event"))
        lines.append(text % args if args else text)
        raise structlog.DropEvent

    handler = Handler(logging.INFO)
    package = logging.getLogger("airflow_provider_mpc")
    package.addHandler(handler)
    level, package.level = package.level, logging.INFO
    config = structlog.get_config()
    structlog.configure(processors=[collect], cache_logger_on_first_use=False)
    try:
        yield lines
    finally:
        structlog.configure(**config)
        package.removeHandler(handler)
        package.level = level
