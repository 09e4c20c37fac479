# SPDX-License-Identifier: Apache-2.0
"""
What the sensor and the operators share: a wait for clipping tasks, on a worker or in the triggerer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowTaskTimeout, BaseOperator, conf

from airflow_provider_mpc import outcome
from airflow_provider_mpc.assets import emit_clip_events
from airflow_provider_mpc.configuration import BACKSTOP_SECONDS, MISSING_GRACE, OUTAGE_TOLERANCE
from airflow_provider_mpc.exceptions import raises_airflow_errors
from airflow_provider_mpc.task_store import TaskStore
from airflow_provider_mpc.templating import is_known

if TYPE_CHECKING:
    from airflow_provider_mpc.api.models import EditingJob
    from airflow_provider_mpc.hooks.mpc import MpcHook

DEFAULT_POKE_INTERVAL = 30.0
DEFAULT_TIMEOUT = 24 * 60 * 60.0


def default_deferrable() -> bool:
    """Return ``[operators] default_deferrable``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def seconds(value: timedelta | float, name: str) -> float:
    """
    Return a duration in seconds.

    :raises ValueError: it is no duration, or negative.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f"{name} must be a timedelta or seconds, 0 or more, not {value!r}")
    return float(value)


def check_job_id_at_parse(job_id: Any) -> None:
    """
    Refuse, when the Dag is parsed, a job id that cannot be right whatever comes later.

    Templates and upstream outputs are left alone: their value is known only when the task runs.

    :raises MpcInputError: see :func:`~airflow_provider_mpc.api.job_ids.normalize_job_ids`.
    """
    if is_known(job_id):
        from airflow_provider_mpc.api.job_ids import normalize_job_ids

        normalize_job_ids(job_id)


class DirectWait:
    """
    Looks at jobs from a worker, and remembers between two looks what a wait must remember.

    :param hook: makes the query; its repetition is off, since the next look repeats.
    :param job_ids: texts, each once.
    :param began: when the wait began, as seconds since the epoch.
    :param outage_tolerance: seconds without a good answer that are borne.
    :param tolerates_first: whether an earlier look (of another process) got through.
    :param logger: told of changes of status.
    """

    def __init__(
        self,
        hook: MpcHook,
        job_ids: Sequence[str],
        *,
        began: float,
        outage_tolerance: float,
        logger: Any,
        tolerates_first: bool = False,
    ) -> None:
        self._hook = hook
        self._job_ids = job_ids
        self._missing_after = began + MISSING_GRACE.get()
        self._outage_tolerance = outage_tolerance
        self._log = logger
        self._ever_good = tolerates_first
        self._failing_since: float | None = None
        self.jobs: dict[str, EditingJob] = {}

    def look(self) -> bool:
        """
        Look once; return whether the wait is over: all jobs have ended, or one has failed.

        :raises MpcError: the wait cannot go on.
        """
        from airflow_provider_mpc.api.errors import MpcError, MpcOutageError, MpcThrottledError, Persistence

        try:
            found = self._query()
        except MpcError as error:
            persistence = error.persistence
            if persistence is Persistence.PERMANENT or (persistence is Persistence.SUSPECT and not self._ever_good):
                raise
            now = time.monotonic()
            if self._failing_since is None or (isinstance(error, MpcThrottledError) and not error.preliminary):
                self._failing_since = now
            lasted = now - self._failing_since
            if lasted > self._outage_tolerance:
                raise MpcOutageError.of(error, lasted) from error
            self._log.warning("A look at the clipping tasks failed and will be repeated: %s", error)
            return False
        self._failing_since = None
        self._ever_good = True
        for job_id, job in found.items():
            if job_id not in self.jobs or self.jobs[job_id].status != job.status:
                self._log.info(outcome.describe_change(job))
        self.jobs |= found
        return outcome.is_over(found, self._job_ids)

    def _query(self) -> dict[str, EditingJob]:
        from airflow_provider_mpc.api.client import not_found

        found = self._found(self._job_ids)
        missing = [job_id for job_id in self._job_ids if job_id not in found]
        if missing and time.time() >= self._missing_after:
            # One reply may be at fault: what was there before must be missing twice.
            found |= self._found(missing) if self._ever_good else {}
            missing = [job_id for job_id in missing if job_id not in found]
            if missing:
                raise not_found(missing)
        return found

    def _found(self, job_ids: Sequence[str]) -> dict[str, EditingJob]:
        from airflow_provider_mpc.api.errors import MpcAuthenticationError

        try:
            jobs = self._hook.get_editing_jobs(job_ids, missing_ok=True)
        except MpcAuthenticationError as error:
            if error.retryable or not self._take_edited_connection():
                raise
            jobs = self._hook.get_editing_jobs(job_ids, missing_ok=True)
        return {job.job_id: job for job in jobs}

    def _take_edited_connection(self) -> bool:
        """Go on with what the connection holds by now; return whether that is something else than before."""
        from airflow_provider_mpc.api.client import NO_RETRIES
        from airflow_provider_mpc.hooks.mpc import MpcHook

        hook = MpcHook(self._hook.mpc_conn_id, retry=NO_RETRIES)
        if hook.settings == self._hook.settings:
            return False
        self._hook.get_conn().close()
        self._hook = hook
        return True


class AwaitsEditingJobs:
    """
    Mixin of the tasks that wait for clipping tasks.

    A wait ends the same way wherever it was spent: :meth:`_finish` for jobs that have ended, and one
    exception for each other outcome.
    """

    job_id: Any
    mpc_conn_id: str
    poke_interval: float
    timeout: float
    execution_timeout: timedelta | None
    exponential_backoff: bool = False
    max_wait: timedelta | None = None
    silent_fail: bool = False
    require_output: bool = False
    cancel_on_kill: bool = False
    outlets: Any
    log: Any

    _clips: list[outcome.EditingJobResult] | None = None

    def _normalized_job_ids(self) -> list[str]:
        from airflow_provider_mpc.api.job_ids import normalize_job_ids

        return normalize_job_ids(self.job_id)

    def _hook_without_retries(self, *, in_a_hurry: bool = False) -> MpcHook:
        from airflow_provider_mpc.api.client import IN_A_HURRY, NO_RETRIES
        from airflow_provider_mpc.hooks.mpc import MpcHook

        return MpcHook(self.mpc_conn_id, retry=IN_A_HURRY if in_a_hurry else NO_RETRIES)

    def _hook(self) -> MpcHook:
        from airflow_provider_mpc.hooks.mpc import MpcHook

        return MpcHook(self.mpc_conn_id)

    def _outage_tolerance(self) -> float:
        # A sensor that is told to be silent about failures bears an outage until its timeout.
        return float("inf") if self.silent_fail else OUTAGE_TOLERANCE.get()

    def _deadline(self, context: Mapping[str, Any]) -> float:
        """Return when the timeout passes, as seconds since the epoch; a retry does not put it off."""
        store = TaskStore(context)
        kept = store.get("deadline")
        if isinstance(kept, (int, float)) and not isinstance(kept, bool):
            return float(kept)
        deadline = time.time() + self.timeout
        store.set("deadline", deadline)
        return deadline

    def _wait_in_triggerer(self, context: Mapping[str, Any], job_ids: Sequence[str], single: bool) -> NoReturn:
        """Hand the wait to the triggerer; makes no call to MPC."""
        from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

        # Read now, so that a connection that cannot work fails here, with a worker's log.
        _ = self._hook().get_conn()
        now = time.time()
        deadline = self._deadline(context)
        ends_at = deadline
        execution_deadline = None
        if self.execution_timeout is not None:
            execution_deadline = now + self.execution_timeout.total_seconds()
            ends_at = min(ends_at, execution_deadline)
        self.log.info(
            "Waiting in the triggerer for %d clipping task%s, looking every %g s.",
            len(job_ids),
            "" if len(job_ids) == 1 else "s",
            self.poke_interval,
        )
        self.defer(  # type: ignore[attr-defined]
            trigger=MpcEditingJobTrigger(
                job_id=job_ids[0] if single else list(job_ids),
                mpc_conn_id=self.mpc_conn_id,
                poke_interval=self.poke_interval,
                deadline=deadline,
                execution_deadline=execution_deadline,
                exponential_backoff=self.exponential_backoff,
                max_wait=None if self.max_wait is None else self.max_wait.total_seconds(),
                outage_tolerance=-1.0 if self.silent_fail else None,
                began=now,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name="execute_complete",
            timeout=max(timedelta(0), timedelta(seconds=ends_at - now)) + timedelta(seconds=BACKSTOP_SECONDS),
        )
        raise AssertionError("defer() raises")

    @raises_airflow_errors
    def _finish(
        self, context: Mapping[str, Any], jobs: Mapping[str, EditingJob], job_ids: Sequence[str], single: bool
    ) -> outcome.EditingJobResult | list[outcome.EditingJobResult]:
        """End the task with jobs that have ended."""
        result = outcome.finish(
            jobs, job_ids, single=single, context=context, require_output=self.require_output, logger=self.log
        )
        self._clips = result if isinstance(result, list) else [result]
        emit_clip_events(context, self._clips, self.outlets)
        return result

    @raises_airflow_errors
    def execute_complete(self, context: Any, event: Any = None) -> Any:
        """
        Go on after the triggerer's wait.

        :param event: see :class:`~airflow_provider_mpc.outcome.TriggerEventPayload`; one that this version does
            not understand is an error, never a success.
        """
        from airflow_provider_mpc.api.errors import MpcTriggerEventError
        from airflow_provider_mpc.api.job_ids import is_single

        told = event if isinstance(event, Mapping) else {}
        kind = told.get("outcome")
        if kind == "error" and isinstance(told.get("error"), Mapping):
            raise outcome.error_of_event(told["error"])
        job_ids = told.get("job_ids")
        if kind not in ("ended", "timeout", "execution_timeout") or not isinstance(job_ids, list) or not job_ids:
            raise MpcTriggerEventError(
                f"The task was resumed with an event that this version does not understand: {_shown(event)}",
                advice="Run the same version of airflow-provider-mpc on workers and triggerers.",
            )
        job_ids = [str(job_id) for job_id in job_ids]
        if kind == "ended":
            jobs = outcome.jobs_of_event(told)
            if jobs is None:
                self.log.info("The jobs' details were too large for the trigger's event; asking MPC for them.")
                found = self._hook().get_editing_jobs(job_ids, missing_ok=True)
                jobs = {job.job_id: job for job in found}
            if not outcome.is_over(jobs, job_ids):
                raise MpcTriggerEventError(
                    f"The trigger told that the clipping tasks have ended, but not with which state: {_shown(event)}",
                    advice="A retry waits for them anew.",
                )
            return self._finish(context, jobs, job_ids, is_single(self.job_id))
        states = told.get("states")
        self._raise_timeout(job_ids, states if isinstance(states, Mapping) else {}, execution=kind != "timeout")

    def _raise_timeout(self, job_ids: Sequence[str], states: Mapping[str, str], *, execution: bool) -> NoReturn:
        shown = [f"{job_id} {states.get(job_id, 'not seen') or 'without a status'}" for job_id in job_ids[:10]]
        more = f" and {len(job_ids) - 10} more" if len(job_ids) > 10 else ""
        text = f"clipping tasks, seen last as: {', '.join(shown)}{more}"
        if execution:
            raise AirflowTaskTimeout(
                f"The execution_timeout ({self.execution_timeout}) passed while waiting for {text}"
            )
        raise AirflowSensorTimeout(f"The timeout of {self.timeout:g} s passed while waiting for {text}")


def _shown(event: Any) -> str:
    text = repr(event)
    return text if len(text) <= 300 else text[:297] + "..."


def resume(task: Any, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
    """
    Resume a task as Airflow does any operator; its backstop for a triggerer that never came round is our timeout.

    :raises AirflowSensorTimeout: Airflow's deferral timeout passed, and with it the task's ``timeout``.
    :raises AirflowTaskTimeout: the same, with the task's ``execution_timeout``.
    """
    try:
        return BaseOperator.resume_execution(task, next_method, next_kwargs, context)
    except Exception as error:
        # The class lives in different modules of different versions of Airflow.
        if type(error).__name__ != "TaskDeferralTimeout":
            raise
        told = ", and no triggerer told how the clipping tasks stand. Is a triggerer running?"
        execution = task.execution_timeout
        kept = TaskStore(context).get("deadline")
        if execution is not None and execution.total_seconds() < task.timeout and time.time() < (kept or float("inf")):
            raise AirflowTaskTimeout(f"The execution_timeout ({execution}) passed{told}") from error
        raise AirflowSensorTimeout(f"The timeout of {task.timeout:g} s passed{told}") from error
