# SPDX-License-Identifier: Apache-2.0
"""The trigger: a wait for clipping tasks in the triggerer, sharing its calls with all other waits there."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_mpc import outcome
from airflow_provider_mpc.api.client import NO_RETRIES
from airflow_provider_mpc.api.errors import MpcAuthenticationError, MpcError, MpcInputError
from airflow_provider_mpc.api.job_ids import normalize_job_ids
from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.cancelling import PATIENCE, cancel_if_waiting
from airflow_provider_mpc.configuration import BACKSTOP_SECONDS, CALLS_PER_MINUTE, MISSING_GRACE, OUTAGE_TOLERANCE
from airflow_provider_mpc.connection import DEFAULT_CONNECTION_ID, ConnectionSettings
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.metrics import airflow_meter
from airflow_provider_mpc.pacing import Interval
from airflow_provider_mpc.polling import Poller, ThreadedCaller, Waited, shared_poller
from airflow_provider_mpc.triggers.cancellation import begin, bring_to_end, in_own_thread
from airflow_provider_mpc.triggers.connections import current_settings

# One for all triggers: Airflow knows by the context variables whose line it is, and a logger for each of ten
# thousand triggers would weigh.
log = logging.getLogger(__name__)

_DEFAULT_POKE_INTERVAL = 30.0
_SLOW_MACHINE = 5.0
"""Seconds that a worker may need for what comes after the deferral, and the scheduler to hear of its end."""
_TO_READ_THE_CONNECTION = 15.0
_LONGEST_KILL = 30.0 + PATIENCE
"""Seconds that a trigger outlives its kill at most, so that its task's log is open for what becomes of the jobs."""
_BEFORE_AIRFLOW = 3.0
"""Seconds by which a started trigger ends before an execution_timeout that Airflow enforces itself."""


class MpcEditingJobTrigger(BaseTrigger):
    """
    Wait until clipping tasks have ended, or one has failed; then tell it in one event.

    The event's shape is :class:`~airflow_provider_mpc.outcome.TriggerEventPayload`, whatever the outcome.
    Nothing secret is stored: the connection is read in the triggerer. Rows outlive upgrades, so the constructor
    takes arguments that it does not know and never raises; :meth:`run` checks them.

    :param job_id: one id or several.
    :param mpc_conn_id: id of the connection.
    :param poke_interval: seconds between two looks at a job.
    :param deadline: the sensor's timeout as seconds since the epoch; None: no end.
    :param execution_deadline: the ``execution_timeout``, likewise.
    :param exponential_backoff: double the interval with each look.
    :param max_wait: the longest interval in seconds.
    :param outage_tolerance: seconds without a good answer that are borne; None: as ``[mpc]`` says; negative: any.
    :param began: when the wait began, as seconds since the epoch: it outlives a restart of the triggerer.
    :param timeout: the sensor's timeout in seconds, for a trigger that no worker started; else ``deadline`` counts.
    :param execution_timeout: the task's, likewise.
    :param cancel_on_kill: cancel jobs that MPC has not begun when a user kills the task (Airflow 3.3+).
    """

    _cancelling: asyncio.Task[None] | None = None
    _cancelling_until = 0.0

    def __init__(
        self,
        job_id: Any = None,
        mpc_conn_id: str = DEFAULT_CONNECTION_ID,
        poke_interval: float = _DEFAULT_POKE_INTERVAL,
        deadline: float | None = None,
        execution_deadline: float | None = None,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        outage_tolerance: float | None = None,
        began: float | None = None,
        timeout: float | None = None,
        execution_timeout: float | None = None,
        cancel_on_kill: bool = False,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_id = job_id
        self.mpc_conn_id = mpc_conn_id
        self.poke_interval = poke_interval
        self.deadline = deadline
        self.execution_deadline = execution_deadline
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.outage_tolerance = outage_tolerance
        self.began = began
        self.timeout = timeout
        self.execution_timeout = execution_timeout
        self.cancel_on_kill = cancel_on_kill
        # A newer version's row: what this one does not know is handed on unchanged.
        self._unknown = unknown

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what a triggerer needs to wait again after a restart."""
        return (
            "airflow_provider_mpc.triggers.mpc.MpcEditingJobTrigger",
            {
                **self._unknown,
                "job_id": self.job_id,
                "mpc_conn_id": self.mpc_conn_id,
                "poke_interval": self.poke_interval,
                "deadline": self.deadline,
                "execution_deadline": self.execution_deadline,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": self.max_wait,
                "outage_tolerance": self.outage_tolerance,
                "began": self.began,
                "timeout": self.timeout,
                "execution_timeout": self.execution_timeout,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then tell the outcome in exactly one event."""
        job_ids: list[str] = []
        try:
            job_ids = normalize_job_ids(self.job_id)
            self._set_deadlines()
            waited = await self._wait(job_ids)
        except MpcError as error:
            payload = outcome.event_of_error(error, job_ids)
        except (TypeError, ValueError, OverflowError) as error:
            log.exception("The wait broke")
            unsound = MpcInputError(f"The trigger's arguments make no sense: {error}")
            payload = outcome.event_of_error(unsound, job_ids)
        else:
            payload = outcome.event_of_jobs(self._outcome_of(waited), waited.jobs, job_ids)
        await self._let_the_worker_end()
        yield TriggerEvent(dict(payload))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """
        Cancel what MPC has not begun, if a user has killed the task.

        Airflow 3.3 calls this also when another triggerer has taken the trigger over (apache/airflow#73454): the task
        is still deferred then, and its job must go on.
        """
        if self.cancel_on_kill:
            self._cancelling = begin(self._cancel_jobs())
            self._cancelling_until = asyncio.get_running_loop().time() + _LONGEST_KILL
            await self.cleanup()

    async def cleanup(self) -> None:
        """
        Wait for what :meth:`on_kill` has begun: with Python 3.11 a repeated cancellation ends that one early.

        The log of the task is closed after this.
        """
        if self._cancelling is not None:
            await bring_to_end(self._cancelling, until=self._cancelling_until)

    async def _cancel_jobs(self) -> None:
        try:
            if await self._is_still_deferred():
                log.info("The task is still deferred: another triggerer goes on with it, its jobs are left alone.")
                return
            hook = MpcHook(self.mpc_conn_id, retry=NO_RETRIES)
            hook.settings = await current_settings(self.mpc_conn_id)
            for job_id in normalize_job_ids(self.job_id):
                await in_own_thread(cancel_if_waiting, hook, job_id, log, patience=PATIENCE)
        except Exception as error:
            log.warning("Clipping task %s could not be cancelled and may go on: %s", self.job_id, error)

    async def _is_still_deferred(self) -> bool:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from airflow.utils.state import TaskInstanceState
        from asgiref.sync import sync_to_async

        ti: Any = self.task_instance
        if ti is None:
            return True
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        return TaskInstanceState.DEFERRED in (states.get(ti.run_id) or {}).values()

    async def _let_the_worker_end(self) -> None:
        """
        Wait until the worker that deferred has surely ended, and the scheduler has seen it.

        A task that is queued again before that is taken for one that died, and fails ("finished with state success,
        but the task instance's state attribute is queued"; airflow.jobs.scheduler_job_runner,
        process_executor_events). A worker's supervisor may notice the end of its process only at its next heartbeat
        (airflow.sdk.execution_time.supervisor, _monitor_subprocess).
        """
        in_a_triggerer = self.trigger_id is not None
        began_on_worker = self.timeout is None and isinstance(self.began, float)
        if in_a_triggerer and began_on_worker and self.began is not None:
            lingers = seconds_to_end_a_worker()
            await asyncio.sleep(min(max(0.0, self.began + lingers - time.time()), lingers))

    def _outcome_of(self, waited: Waited) -> str:
        if not waited.deadline_passed:
            return "ended"
        return "timeout" if self._ends_at() == self.deadline else "execution_timeout"

    async def _wait(self, job_ids: list[str]) -> Waited:
        """Wait; when the credentials are refused, go on with those that the connection holds by now."""
        tried: list[ConnectionSettings] = []
        newer_than = 0.0
        refusal: MpcError | None = None
        while True:
            try:
                left = self._left()
                # Also when the time is over already, as after an outage of the triggerer: the last look needs it.
                async with asyncio.timeout(None if left is None else max(left, _TO_READ_THE_CONNECTION)):
                    settings = await current_settings(self.mpc_conn_id, newer_than=newer_than)
            except TimeoutError:
                return Waited({}, deadline_passed=True)
            if refusal is not None and settings in tried:
                raise refusal
            if settings not in tried:
                tried.append(settings)
            try:
                return await self._wait_with(settings, job_ids)
            except MpcError as error:
                if isinstance(error, MpcAuthenticationError) and not error.retryable:
                    refusal = error
                    newer_than = time.monotonic()
                    continue
                if not (error.retryable and self._bears_any_outage()):
                    raise
                left = self._left()
                if left is not None and left <= 0:
                    return Waited({}, deadline_passed=True)
                log.warning("A look at the clipping tasks failed and will be repeated: %s", error)
                refusal = None
                pause = self._interval().after(0.0)
                await asyncio.sleep(pause if left is None else min(left, pause))

    def _wait_with(self, settings: ConnectionSettings, job_ids: list[str]) -> Coroutine[Any, Any, Waited]:
        # No coroutine of its own: of ten thousand waits each frame counts.
        interval = self._interval()
        waited_before = max(0.0, time.time() - float(self.began)) if self.began is not None else 0.0
        tolerance = OUTAGE_TOLERANCE.get() if self.outage_tolerance is None else float(self.outage_tolerance)
        return self._poller(settings).wait_all(
            job_ids,
            interval,
            timeout=self._left(),
            missing_grace=MISSING_GRACE.get() - waited_before,
            outage_tolerance=float("inf") if self._bears_any_outage() else tolerance,
            on_change=_tell_change,
            on_trouble=_tell_trouble,
        )

    def _bears_any_outage(self) -> bool:
        return self.outage_tolerance is not None and float(self.outage_tolerance) < 0

    def _poller(self, settings: ConnectionSettings) -> Poller:
        calls_per_minute = CALLS_PER_MINUTE.get()
        return shared_poller(
            (settings, calls_per_minute),
            lambda: ThreadedCaller(settings.client(calls_per_minute=calls_per_minute)),
            make_meter=airflow_meter,
        )

    def _interval(self) -> Interval:
        try:
            seconds = float(self.poke_interval)
            longest = None if self.max_wait is None else float(self.max_wait)
            if seconds == seconds and longest == longest:
                return Interval(seconds, bool(self.exponential_backoff), longest)
        except (TypeError, ValueError, OverflowError):
            pass
        raise MpcInputError(
            f"poke_interval and max_wait must be seconds, not {self.poke_interval!r} and {self.max_wait!r}"
        )

    def _set_deadlines(self) -> None:
        """Find the deadlines of a trigger that the scheduler started: it has only durations to go by."""
        self.deadline = _epoch(self.deadline)
        self.execution_deadline = _epoch(self.execution_deadline)
        self.began = _epoch(self.began)
        if self.began is not None or self.timeout is None:
            return
        lasts = [float(self.timeout) + BACKSTOP_SECONDS]
        if self.execution_timeout is not None:
            lasts.append(float(self.execution_timeout))
        # Airflow's own deadline stays the same when a triggerer restarts, so it tells when the wait began.
        airflows_deadline = getattr(self, "timeout_after", None)
        began = time.time() if airflows_deadline is None else airflows_deadline.timestamp() - min(lasts)
        self.began = began
        self.deadline = began + float(self.timeout)
        if self.execution_timeout is not None:
            self.execution_deadline = began + float(self.execution_timeout) - _BEFORE_AIRFLOW

    def _ends_at(self) -> float | None:
        deadlines = [one for one in (self.deadline, self.execution_deadline) if one is not None]
        return min(deadlines, default=None)

    def _left(self) -> float | None:
        """Return the seconds until the wait must end; None: no end."""
        ends_at = self._ends_at()
        return None if ends_at is None else ends_at - time.time()


def _tell_change(job: EditingJob) -> None:
    log.info(outcome.describe_change(job))


def _tell_trouble(error: MpcError | None) -> None:
    if error is None:
        log.info("MPC answers again.")
    else:
        log.warning("The looks at the clipping tasks fail and will be repeated: %s", error)


@functools.cache
def seconds_to_end_a_worker() -> float:
    """Return the seconds from a deferral after which the worker has ended, as seen by the scheduler."""
    return float(conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)) + _SLOW_MACHINE


def _epoch(moment: Any) -> float | None:
    """Read a moment: seconds since the epoch, or a date and time as object or ISO text (UTC unless it says)."""
    if moment is None:
        return None
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if isinstance(moment, datetime):
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return float(moment)
    except (TypeError, ValueError, OverflowError):
        raise MpcInputError(f"A deadline must be seconds since the epoch, not {moment!r}") from None
