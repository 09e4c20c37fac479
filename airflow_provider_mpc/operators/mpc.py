# SPDX-License-Identifier: Apache-2.0
"""The operators: make clips, cancel them, and hand on what they have made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    BaseOperator,
    TaskDeferred,
)

from airflow_provider_mpc.connection import DEFAULT_CONNECTION_ID
from airflow_provider_mpc.exceptions import raises_airflow_errors
from airflow_provider_mpc.links.mpc import MpcClipLink
from airflow_provider_mpc.outcome import XCOM_JOB_ID
from airflow_provider_mpc.task_store import TaskStore
from airflow_provider_mpc.waiting import (
    DEFAULT_POKE_INTERVAL,
    DEFAULT_TIMEOUT,
    AwaitsEditingJobs,
    DirectWait,
    check_job_id_at_parse,
    default_deferrable,
    resume,
    seconds,
)

if TYPE_CHECKING:
    from airflow_provider_mpc.api.job_ids import JobIds
    from airflow_provider_mpc.hooks.mpc import MpcHook


class _WaitingOperator(AwaitsEditingJobs, BaseOperator):
    """An operator that may wait for clipping tasks before it ends."""

    operator_extra_links = (MpcClipLink(),)
    ui_color = "#f6e5e6"

    def __init__(
        self,
        *,
        mpc_conn_id: str,
        wait: bool,
        deferrable: bool | None,
        poke_interval: timedelta | float,
        timeout: timedelta | float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mpc_conn_id = mpc_conn_id
        self.wait = wait
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poke_interval = seconds(poke_interval, "poke_interval")
        self.timeout = seconds(timeout, "timeout")

    def _await_jobs(self, context: Any, job_ids: list[str], single: bool) -> Any:
        """Wait in the triggerer or here, then end the task."""
        if self.deferrable:
            self._wait_in_triggerer(context, job_ids, single)
        direct = DirectWait(
            self._hook_without_retries(),
            job_ids,
            began=time.time(),
            outage_tolerance=self._outage_tolerance(),
            logger=self.log,
        )
        deadline = self._deadline(context)
        with self._cancelling_on_kill(job_ids):
            while not direct.look():
                left = deadline - time.time()
                if left <= 0:
                    states = {job_id: job.status for job_id, job in direct.jobs.items()}
                    self._raise_timeout(job_ids, states, execution=False)
                time.sleep(min(max(self.poke_interval, 0.1), left))
        return self._finish(context, direct.jobs, job_ids, single)

    def _cancelling_on_kill(self, job_ids: list[str]) -> AbstractContextManager[None]:
        """Return what is in force while the task waits on its worker."""
        return nullcontext()

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after the triggerer's wait."""
        return resume(self, next_method, next_kwargs, context)


class MpcEditingJobOutputOperator(_WaitingOperator):
    """
    Hand the output of clipping tasks of Huawei Cloud MPC to the tasks downstream, by XCom.

    ``return_value`` is an :class:`~airflow_provider_mpc.outcome.EditingJobResult` for one id, a list of them in the
    order asked for several. Beside it are pushed ``output_uri``, ``duration_ms`` and ``size_byte``: scalars for one
    id, lists for several, null where MPC tells none. The task fails for good if a job has failed.

    :param job_id: one id, or several (templated): text, a number, a list of them, or an upstream task's ``.output``.
    :param mpc_conn_id: id of the connection.
    :param wait: wait first until the jobs have ended; False: a job that has not ended fails the task.
    :param deferrable: wait in the triggerer, without a worker; default is ``[operators] default_deferrable``.
    :param poke_interval: seconds (or timedelta) between two looks at a job.
    :param timeout: seconds (or timedelta) for the wait; ends in ``AirflowSensorTimeout``, which is not retried.
    :param require_output: fail if a job succeeded without an output or with zero duration; else that is a warning.
    """

    template_fields: Sequence[str] = ("job_id", "mpc_conn_id")

    def __init__(
        self,
        *,
        job_id: JobIds,
        mpc_conn_id: str = DEFAULT_CONNECTION_ID,
        wait: bool = True,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = DEFAULT_POKE_INTERVAL,
        timeout: timedelta | float = DEFAULT_TIMEOUT,
        require_output: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            mpc_conn_id=mpc_conn_id,
            wait=wait,
            deferrable=deferrable,
            poke_interval=poke_interval,
            timeout=timeout,
            **kwargs,
        )
        check_job_id_at_parse(job_id)
        self.job_id = job_id
        self.require_output = require_output

    @raises_airflow_errors
    def execute(self, context: Any) -> Any:
        """Return the jobs' outputs; see the class."""
        from airflow_provider_mpc.api.job_ids import is_single

        job_ids = self._normalized_job_ids()
        single = is_single(self.job_id)
        if self.wait:
            return self._await_jobs(context, job_ids, single)
        jobs = {job.job_id: job for job in self._hook().get_editing_jobs(job_ids)}
        return self._finish(context, jobs, job_ids, single)


_STORED_JOB = "job_id"


class _CreateTemplateFields(tuple[str, ...]):
    """
    The fields to be rendered, of which one has another name than its argument.

    An operator's ``output`` is what the tasks downstream get, so the argument of that name is kept as
    ``clip_output``. Airflow asks here whether ``partial(output=…)`` may bring an upstream task along.
    """

    def __contains__(self, name: object) -> bool:
        return name == "output" or super().__contains__(name)


class MpcCreateEditingJobOperator(_WaitingOperator):
    """
    Make a clip with Huawei Cloud MPC: cut a part out of a file, or join parts of several.

    The short form cuts one file: ``source``, ``start`` and ``end``. With ``inputs`` several parts are joined in order.
    Times are seconds, ``"00:01:30.5"`` or a timedelta; files are ``obs://bucket/key``, or MPC's own objects
    (``bucket``, ``location``, ``object``). Buckets lie in the connection's region, and MPC must be authorised on them.

    At most one job is made for each submission. The job's id is kept in the task state store (Airflow 3.3+), so a
    retry takes up a job that still runs; after a job that failed a retry makes a new one, and so does clearing the
    task. If the reply to the submission is lost, the task fails for good with
    :class:`~airflow_provider_mpc.api.errors.MpcSubmitUnknownError`. A worker that dies in the instant between MPC's
    reply and the store leaves a job that nobody knows.

    Pushes ``job_id`` to XCom at once. Returns the job's id, or with ``wait=True`` what
    :class:`MpcEditingJobOutputOperator` returns.

    :param source: the file to cut (templated, as are all that describe the clip).
    :param start: where the clip begins in ``source``; default is its beginning.
    :param end: where the clip ends in ``source``; default is its end.
    :param output: where the clip goes: ``obs://bucket/key``, or a folder ``obs://bucket/folder/``.
    :param inputs: instead of ``source``: objects with ``source``, ``start`` and ``end``, or MPC's own.
    :param editing_settings: ``format`` (HLS or MP4), ``width``, ``height``, ``resolution_adaptation``,
        ``resolution_upsample``, ``reference``.
    :param editing_type: 1 cuts from several files and joins in order; 0 is MPC's older way.
    :param metadata: objects with ``name`` and ``value``.
    :param user_data: echoed by MPC; a mark of Dag, run and task is added.
    :param mpc_conn_id: id of the connection.
    :param wait: wait until the job has ended.
    :param deferrable: wait in the triggerer, without a worker; default is ``[operators] default_deferrable``.
    :param poke_interval: seconds (or timedelta) between two looks at the job.
    :param timeout: seconds (or timedelta) for the wait; ends in ``AirflowSensorTimeout``, which is not retried.
    :param cancel_on_kill: cancel a job that MPC has not begun when the task is killed, cleared or times out. A
        deferred task needs Airflow 3.3+ for that, but for the timeout.
    :param require_output: fail if the job succeeded without an output or with zero duration.
    """

    template_fields: Sequence[str] = _CreateTemplateFields(
        (
            "source",
            "start",
            "end",
            "clip_output",
            "inputs",
            "editing_settings",
            "editing_type",
            "metadata",
            "user_data",
            "mpc_conn_id",
        )
    )
    job_id = ""
    _made_by: MpcHook

    def __init__(
        self,
        *,
        output: Any,
        source: Any = None,
        start: Any = None,
        end: Any = None,
        inputs: Any = None,
        editing_settings: Any = None,
        editing_type: Any = 1,
        metadata: Any = None,
        user_data: str | None = None,
        mpc_conn_id: str = DEFAULT_CONNECTION_ID,
        wait: bool = True,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = DEFAULT_POKE_INTERVAL,
        timeout: timedelta | float = DEFAULT_TIMEOUT,
        cancel_on_kill: bool = True,
        require_output: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            mpc_conn_id=mpc_conn_id,
            wait=wait,
            deferrable=deferrable,
            poke_interval=poke_interval,
            timeout=timeout,
            **kwargs,
        )
        self.source = source
        self.start = start
        self.end = end
        # BaseOperator.output is what the tasks downstream get.
        self.clip_output = output
        self.inputs = inputs
        self.editing_settings = editing_settings
        self.editing_type = editing_type
        self.metadata = metadata
        self.user_data = user_data
        self.cancel_on_kill = cancel_on_kill
        self.require_output = require_output
        self._killed = False
        self._waits_for: tuple[MpcHook, str] | None = None
        self._request(location=None, rendered=False)

    @raises_airflow_errors
    def execute(self, context: Any) -> Any:
        """Make the job, or take up the one that an earlier try has made; see the class."""
        self._killed = False
        self._made_by = self._hook()
        store = TaskStore(context)
        job_id = self._taken_up(store) or self._submitted(context, store)
        context["ti"].xcom_push(key=XCOM_JOB_ID, value=job_id)
        if not self.wait:
            self._end_if_killed(context, job_id)
            return job_id
        if self.deferrable and self.cancel_on_kill and not _triggers_hear_kills():
            self.log.info("This Airflow tells no trigger of a kill: a task killed while deferred leaves its job.")
        try:
            return self._await_jobs(context, [job_id], True)
        except TaskDeferred:
            # From now on a kill is the trigger's, whatever happens to this worker.
            self._end_if_killed(context, job_id)
            raise
        except (AirflowSensorTimeout, AirflowTaskTimeout):
            self._cancel_after_timeout(context, job_id)
            raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after the triggerer's wait; after a timeout, Airflow's own included, cancel a job not yet begun."""
        # Airflow's timeout takes the arguments of the resumption away, so the id comes from where it was kept.
        job_id = TaskStore(context).get(_STORED_JOB) or context["ti"].xcom_pull(
            task_ids=self.task_id, key=XCOM_JOB_ID, map_indexes=context["ti"].map_index
        )
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowSensorTimeout, AirflowTaskTimeout):
            if job_id:
                self._cancel_after_timeout(context, str(job_id))
            raise

    def on_kill(self) -> None:
        """
        Cancel a job that MPC has not begun, when the task is killed on a worker; Airflow gives that 5 s.

        This runs in a signal's handler, at any point of the task: also within a call to Airflow, which takes no other
        meanwhile. So it only takes note, but for the wait itself, where it needs no more than MPC.
        """
        if not self.cancel_on_kill:
            return
        self._killed = True
        if self._waits_for is not None:
            from airflow_provider_mpc.cancelling import cancel_if_waiting

            cancel_if_waiting(*self._waits_for, self.log)

    @contextmanager
    def _cancelling_on_kill(self, job_ids: list[str]) -> Iterator[None]:
        hook = self._hook_without_retries(in_a_hurry=True)
        # Read when the job was made: to read it in the handler might be a call to Airflow within another.
        hook.settings = self._made_by.settings
        self._waits_for = (hook, job_ids[0])
        try:
            if self._killed:
                self.on_kill()
            yield
        finally:
            self._waits_for = None

    def _end_if_killed(self, context: Any, job_id: str) -> None:
        """Cancel the job after a kill that came while it was made."""
        if self._killed and self._cancel(context, job_id, in_a_hurry=True):
            raise AirflowException(f"The task was killed while it made clipping task {job_id}, which was cancelled.")

    @raises_airflow_errors
    def _finish(self, context: Any, jobs: Any, job_ids: Any, single: bool) -> Any:
        from airflow_provider_mpc.api.errors import MpcClipFailedError, MpcJobFailedError

        try:
            return super()._finish(context, jobs, job_ids, single)
        except MpcJobFailedError as error:
            TaskStore(context).delete(_STORED_JOB)
            raise MpcClipFailedError(
                error.what, job_ids=error.job_ids, advice="Airflow makes a new job if the task has retries left."
            ) from None

    def _request(self, location: str | None, *, rendered: bool = True) -> dict[str, Any]:
        from airflow_provider_mpc.clips import build_request

        return build_request(
            source=self.source,
            start=self.start,
            end=self.end,
            inputs=self.inputs,
            output=self.clip_output,
            editing_settings=self.editing_settings,
            editing_type=self.editing_type,
            metadata=self.metadata,
            user_data=self.user_data,
            location=location,
            rendered=rendered,
        )

    def _taken_up(self, store: TaskStore) -> str | None:
        """Return the job of an earlier try, unless it has failed."""
        from airflow_provider_mpc.api.models import JobState

        job_id = store.get(_STORED_JOB)
        if not job_id:
            return None
        job_id = str(job_id)
        found = self._made_by.get_editing_jobs(job_id, missing_ok=True)
        if found and found[0].state is JobState.FAILED:
            store.delete(_STORED_JOB)
            self.log.info("Clipping task %s of an earlier try has failed; making a new one.", job_id)
            return None
        self.log.info("Taking up clipping task %s, which an earlier try has made.", job_id)
        return job_id

    def _submitted(self, context: Any, store: TaskStore) -> str:
        """Make the job and keep its id."""
        if self.wait and time.time() >= self._deadline(context):
            # A retry that comes too late to wait would only leave a job behind.
            raise AirflowSensorTimeout(f"The timeout of {self.timeout:g} s passed before a new clip could be made")
        body = self._request(location=self._made_by.settings.region)
        ti = context["ti"]
        mapped = f"[{ti.map_index}]" if ti.map_index >= 0 else ""
        mark = f"airflow:{ti.dag_id}/{ti.run_id}/{ti.task_id}{mapped}"
        body["user_data"] = f"{body['user_data']} {mark}" if body.get("user_data") else mark
        if self._killed:
            raise AirflowException("The task was killed before its clip was made.")
        job_id = self._made_by.create_editing_job(**{"editing_type": None, **body})
        try:
            store.set(_STORED_JOB, job_id)
        except AirflowTaskTimeout:
            store.set(_STORED_JOB, job_id)
            raise
        self.log.info("Made clipping task %s.", job_id)
        return job_id

    def _cancel(self, context: Any, job_id: str, *, in_a_hurry: bool = False) -> bool:
        if not self.cancel_on_kill:
            return False
        from airflow_provider_mpc.cancelling import PATIENCE, cancel_if_waiting

        hook = self._hook_without_retries(in_a_hurry=in_a_hurry)
        cancelled = cancel_if_waiting(hook, job_id, self.log, patience=0.0 if in_a_hurry else PATIENCE)
        if cancelled:
            TaskStore(context).delete(_STORED_JOB)
        return cancelled

    def _cancel_after_timeout(self, context: Any, job_id: str) -> None:
        """Cancel the job, and let nothing take the place of the timeout as what the task ends with."""
        try:
            self._cancel(context, job_id)
        except (Exception, AirflowTaskTimeout) as error:
            self.log.warning("Clipping task %s was perhaps not cancelled and may go on: %r", job_id, error)


class MpcCancelEditingJobOperator(BaseOperator):
    """
    Cancel clipping tasks of Huawei Cloud MPC that it has not begun.

    Idempotent: a job that has ended or is unknown is no error, unless ``strict``. One that runs is: MPC cannot cancel
    it any more. Returns ``cancelled``, ``ended`` or ``unknown`` for one id, an object of them by id for several.

    :param job_id: one id, or several (templated).
    :param mpc_conn_id: id of the connection.
    :param strict: fail also if a job has ended or is unknown.
    """

    template_fields: Sequence[str] = ("job_id", "mpc_conn_id")
    ui_color = "#f6e5e6"

    def __init__(
        self, *, job_id: JobIds, mpc_conn_id: str = DEFAULT_CONNECTION_ID, strict: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_job_id_at_parse(job_id)
        self.job_id = job_id
        self.mpc_conn_id = mpc_conn_id
        self.strict = strict

    @raises_airflow_errors
    def execute(self, context: Any) -> str | dict[str, str]:
        """Cancel the jobs; see the class."""
        from airflow_provider_mpc.api.errors import MpcError
        from airflow_provider_mpc.api.job_ids import is_single, normalize_job_ids
        from airflow_provider_mpc.cancelling import cancel
        from airflow_provider_mpc.hooks.mpc import MpcHook

        hook = MpcHook(self.mpc_conn_id)
        results: dict[str, str] = {}
        errors: list[MpcError] = []
        for job_id in normalize_job_ids(self.job_id):
            try:
                results[job_id] = cancel(hook, job_id, strict=self.strict)
                self.log.info("Clipping task %s: %s", job_id, results[job_id])
            except MpcError as error:
                # The others are cancelled all the same: they cost money.
                self.log.error("Clipping task %s was not cancelled: %s", job_id, error)
                errors.append(error)
        if errors:
            raise next((error for error in errors if error.retryable), errors[0])
        return next(iter(results.values())) if is_single(self.job_id) else results


def _triggers_hear_kills() -> bool:
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")
