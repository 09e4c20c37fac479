# SPDX-License-Identifier: Apache-2.0
"""Cancelling jobs, which MPC does only while they wait (api-mpc/DeleteEditingJobs)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_mpc.api.errors import (
    MpcConflictError,
    MpcEndpointError,
    MpcError,
    MpcJobNotFoundError,
    MpcRequestError,
)
from airflow_provider_mpc.api.models import JobState

if TYPE_CHECKING:
    from airflow_provider_mpc.hooks.mpc import MpcHook

PATIENCE = 60.0
"""Seconds of trouble that are borne where nobody is in a hurry: a job that is not cancelled is made, and paid for."""
_CANCELLABLE = frozenset({"INIT", "WAITING"})
_LONGEST_PAUSE = 15.0


def cancel_if_waiting(hook: MpcHook, job_id: str, log: Any, *, patience: float = 0.0) -> bool:
    """
    Cancel a job that MPC has not begun; leave any other, with a note. Never raises: it runs while a task ends.

    :param hook: does not repeat its calls by itself.
    :param patience: seconds in which it is tried again after what may pass; calls that are under way then end first.
    :returns: whether the job was cancelled.
    """
    until = time.monotonic() + patience
    pause = 1.0
    asked = False
    while True:
        try:
            jobs = hook.get_editing_jobs(job_id, missing_ok=True)
            status = jobs[0].status if jobs else None
            if jobs and not jobs[0].state.ended:
                if status not in _CANCELLABLE:
                    log.warning("Clipping task %s is %s: MPC cannot cancel it any more, so it goes on.", job_id, status)
                    return False
                asked = True
                hook.cancel_editing_job(job_id)
            elif not asked or (status is not None and not status.startswith("CANCEL")):
                return False
            # Else the reply to the cancellation was lost, and this is how it shows.
            log.info("Clipping task %s was cancelled.", job_id)
            return True
        except MpcConflictError:
            log.warning("Clipping task %s began a moment ago: MPC cannot cancel it any more, so it goes on.", job_id)
            return False
        except Exception as error:
            wait = max(pause, getattr(error, "retry_after", None) or 0.0)
            passes = isinstance(error, MpcError) and error.retryable
            if not passes or time.monotonic() + wait > until:
                log.warning("Clipping task %s could not be cancelled and may go on: %s", job_id, error)
                return False
        time.sleep(wait)
        pause = min(_LONGEST_PAUSE, pause * 2)


def cancel(hook: MpcHook, job_id: str, *, strict: bool) -> str:
    """
    Cancel a job.

    :param strict: a job that has ended or is unknown is an error.
    :returns: ``cancelled``, ``ended`` or ``unknown``.
    :raises MpcConflictError: it runs, and MPC cannot cancel it any more; or, if strict, it has ended.
    :raises MpcJobNotFoundError: strict, and MPC does not know it.
    """
    try:
        hook.cancel_editing_job(job_id)
        return "cancelled"
    except (MpcConflictError, MpcJobNotFoundError, MpcRequestError, MpcEndpointError) as error:
        # Different APIs of MPC refuse with different codes: how the job stands tells more than they do.
        jobs = hook.get_editing_jobs(job_id, missing_ok=True)
        if jobs and not jobs[0].state.ended:
            if isinstance(error, MpcConflictError) and jobs[0].state is JobState.PENDING:
                raise error.with_advice(
                    "MPC cancels a job only while it waits; this one runs. Let it end, and delete its output."
                ) from None
            raise
        if strict:
            raise
        return "ended" if jobs else "unknown"
