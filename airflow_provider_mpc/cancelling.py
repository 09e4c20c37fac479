# SPDX-License-Identifier: Apache-2.0
"""Cancelling jobs, which MPC does only while they wait (api-mpc/DeleteEditingJobs)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mpc.api.errors import (
    MpcConflictError,
    MpcEndpointError,
    MpcJobNotFoundError,
    MpcRequestError,
)
from airflow_provider_mpc.api.models import JobState

if TYPE_CHECKING:
    from airflow_provider_mpc.hooks.mpc import MpcHook

_CANCELLABLE = frozenset({"INIT", "WAITING"})


def cancel_if_waiting(hook: MpcHook, job_id: str, log: Any) -> bool:
    """
    Cancel a job that MPC has not begun; leave any other, with a note. Never raises: it runs while a task ends.

    :returns: whether the job was cancelled.
    """
    try:
        jobs = hook.get_editing_jobs(job_id, missing_ok=True)
        if not jobs or jobs[0].state.ended:
            return False
        if jobs[0].status not in _CANCELLABLE:
            log.warning("Clipping task %s is %s: MPC cannot cancel it any more, so it goes on.", job_id, jobs[0].status)
            return False
        hook.cancel_editing_job(job_id)
    except MpcConflictError:
        log.warning("Clipping task %s began a moment ago: MPC cannot cancel it any more, so it goes on.", job_id)
        return False
    except Exception as error:
        log.warning("Clipping task %s could not be cancelled and may go on: %s", job_id, error)
        return False
    log.info("Clipping task %s was cancelled.", job_id)
    return True


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
