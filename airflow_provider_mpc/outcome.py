# SPDX-License-Identifier: Apache-2.0
"""
From jobs that have ended to what a task returns, pushes or raises: one place for every path.

A wait in a worker, a wait in a triggerer and a plain query all end here, so that they cannot differ.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from airflow_provider_mpc.api.errors import MpcError
    from airflow_provider_mpc.api.models import EditingJob

log = logging.getLogger(__name__)

_LARGEST_INTEGER = 2**63 - 1
_DEEPEST = 32
_WITH_REASONS = 20
"""Failed jobs told with MPC's words; of more only the code is told."""


class OutputLocation(TypedDict):
    """Where the clip lies; each is null while MPC has not told it."""

    bucket: str | None
    location: str | None
    object: str | None
    file_name: str | None
    uri: str | None


class EditingJobResult(TypedDict):
    """A clipping task as the tasks downstream get it: JSON types only, times ISO 8601 in UTC."""

    job_id: str
    status: str
    progress: int | float | None
    create_time: str | None
    start_time: str | None
    end_time: str | None
    output: OutputLocation
    editing_output: dict[str, Any]
    metadata: dict[str, Any]
    metadata_list: list[dict[str, Any]]


XCOM_OUTPUT_URI = "output_uri"
XCOM_DURATION_MS = "duration_ms"
XCOM_SIZE_BYTE = "size_byte"
XCOM_JOB_ID = "job_id"


def json_safe(value: Any, depth: int = 0) -> Any:
    """
    Return a value that every store between here and the next task can hold.

    MPC's replies may hold what JSON allows but a msgpack frame, PostgreSQL's JSON or Airflow's own
    deserialization does not: integers over 64 bits, NaN, NUL, lone surrogates, ``__class__``-like keys.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_INTEGER else float(value) if value.bit_length() < 1000 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {
            json_safe(str(key)): json_safe(item, depth + 1)
            for key, item in value.items()
            if not str(key).startswith("__")
        }
    if isinstance(value, (list, tuple)):
        return [json_safe(item, depth + 1) for item in value]
    return json_safe(str(value))


def to_result(job: EditingJob) -> EditingJobResult:
    """Return what the tasks downstream get of a job."""
    output = job.output
    result: EditingJobResult = {
        "job_id": job.job_id,
        "status": job.status,
        "progress": job.progress,
        "create_time": job.create_time.isoformat() if job.create_time else None,
        "start_time": job.start_time.isoformat() if job.start_time else None,
        "end_time": job.end_time.isoformat() if job.end_time else None,
        "output": {
            "bucket": output.bucket,
            "location": output.location,
            "object": output.object,
            "file_name": output.file_name,
            "uri": output.uri,
        },
        "editing_output": job.editing_output.model_dump(mode="python", exclude_unset=True),
        "metadata": job.metadata,
        "metadata_list": job.metadata_list,
    }
    safe: EditingJobResult = json_safe(result)
    return safe


def finish(
    jobs: Mapping[str, EditingJob],
    job_ids: Sequence[str],
    *,
    single: bool,
    context: Any,
    require_output: bool = False,
    logger: logging.Logger | Any = log,
) -> EditingJobResult | list[EditingJobResult]:
    """
    End a task whose jobs have ended: push the scalars, return the rest.

    :param jobs: the jobs by id, all of ``job_ids`` among them unless one has failed.
    :param job_ids: in the order asked.
    :param single: the user asked for one job: an object is returned, not a list.
    :param context: the task's context.
    :param require_output: fail on a success without an output or with zero duration.
    :raises MpcJobFailedError: a job has failed.
    :raises MpcJobNotEndedError: a job goes on.
    :raises MpcOutputError: an output is missing and required.
    """
    from airflow_provider_mpc.api.models import JobState

    if any(job_id not in jobs or jobs[job_id].state is not JobState.SUCCEEDED for job_id in job_ids):
        raise failed_error(jobs, job_ids)
    ordered = [jobs[job_id] for job_id in job_ids]
    _check_outputs(ordered, require_output, logger)
    results = [to_result(job) for job in ordered]
    scalars: dict[str, list[Any]] = {
        XCOM_OUTPUT_URI: [result["output"]["uri"] for result in results],
        XCOM_DURATION_MS: [result["editing_output"].get("duration_ms") for result in results],
        XCOM_SIZE_BYTE: [result["editing_output"].get("size_byte") for result in results],
    }
    for key, values in scalars.items():
        context["ti"].xcom_push(key=key, value=values[0] if single else values)
    uris = [uri for uri in scalars[XCOM_OUTPUT_URI] if uri]
    logger.info(
        "%d clipping task%s succeeded%s%s",
        len(ordered),
        "" if len(ordered) == 1 else "s",
        f": {', '.join(uris[:3])}" if uris else "",
        f" and {len(uris) - 3} more" if len(uris) > 3 else "",
    )
    return results[0] if single else results


def is_over(jobs: Mapping[str, EditingJob], job_ids: Sequence[str]) -> bool:
    """Whether a wait is over: all jobs have succeeded, or one has failed."""
    from airflow_provider_mpc.api.models import JobState

    states = [jobs[job_id].state if job_id in jobs else JobState.ABSENT for job_id in job_ids]
    return JobState.FAILED in states or all(state is JobState.SUCCEEDED for state in states)


def _check_outputs(jobs: Sequence[EditingJob], required: bool, logger: Any) -> None:
    from airflow_provider_mpc.api.errors import MpcOutputError

    for job in jobs:
        problem = ""
        if job.output.uri is None:
            problem = "MPC told no output file"
        elif _duration(job) == 0:
            problem = f"its output {job.output.uri} has a duration of zero"
        if problem and required:
            raise MpcOutputError(
                f"Clipping task {job.job_id} succeeded, but {problem}",
                advice="Look at the job's time range and inputs. require_output=False makes this a warning.",
            )
        if problem:
            logger.warning("Clipping task %s succeeded, but %s.", job.job_id, problem)


def _duration(job: EditingJob) -> int | float | None:
    """Return a clip's duration in whatever unit: its whole seconds are 0 for one that is shorter."""
    made = job.editing_output
    return made.duration if made.duration_ms is None else made.duration_ms


def describe_failure(job: EditingJob, *, words: bool = True) -> str:
    """
    Return a failed job's id, status, code and reason, as far as MPC tells.

    :param words: tell MPC's words beside its code.
    """
    parts = [part for part in (job.reason_code, job.reason if words else None) if part]
    reason = json_safe(" ".join(parts)) or ("MPC gives no reason" if words else "")
    return f"{job.job_id} {job.status or 'without a status'}" + (f" ({reason[:300]})" if reason else "")


def failed_error(jobs: Mapping[str, EditingJob], job_ids: Sequence[str]) -> MpcError:
    """Return the error for jobs of which some have not succeeded; it names those that failed."""
    from airflow_provider_mpc.api.errors import MpcJobFailedError, MpcJobNotEndedError
    from airflow_provider_mpc.api.models import JobState

    failed = [jobs[job_id] for job_id in job_ids if job_id in jobs and jobs[job_id].state is JobState.FAILED]
    succeeded = sum(job_id in jobs and jobs[job_id].state is JobState.SUCCEEDED for job_id in job_ids)
    running = len(job_ids) - len(failed) - succeeded
    if not failed:
        states = [f"{job_id} {jobs[job_id].status or '?' if job_id in jobs else 'unknown'}" for job_id in job_ids]
        return MpcJobNotEndedError(
            f"Not all clipping tasks have ended: {'; '.join(states)}",
            advice="Wait for them: wait=True, or a MpcEditingJobSensor upstream.",
        )
    told = [describe_failure(job, words=place < _WITH_REASONS) for place, job in enumerate(failed)]
    others = [f"{count} {what}" for count, what in ((succeeded, "succeeded"), (running, "still running")) if count]
    return MpcJobFailedError(
        f"{len(failed)} of {len(job_ids)} clipping task{'s' if len(job_ids) > 1 else ''} failed: "
        f"{'; '.join(told)}{'; ' if others else ''}{', '.join(others)}",
        job_ids=[job.job_id for job in failed],
        advice="A failed job does not heal: correct its inputs or settings and make a new one.",
    )


def describe_change(job: EditingJob) -> str:
    """Return a line for the task's log when a job's status has changed."""
    from airflow_provider_mpc.api.models import JobState

    status = json_safe(job.status) or "no status"
    progress = f", {job.progress} %" if job.progress is not None else ""
    if job.state is JobState.UNKNOWN:
        return (
            f"Clipping task {job.job_id}: {status}{progress}. This provider does not know that status and never "
            "takes it for success; the wait goes on."
        )
    return f"Clipping task {job.job_id}: {status}{progress}"


# What a trigger tells the task that it resumes. Rows and events outlive upgrades, so the shape only grows.

EVENT_VERSION = 1
_LARGEST_EVENT = 256 * 1024


class TriggerEventPayload(TypedDict):
    """
    The one shape of event, for every outcome.

    ``outcome`` is ``ended`` (all jobs ended, or one failed), ``timeout`` (the sensor's), ``execution_timeout``
    or ``error``; ``jobs`` are the jobs as MPC sent them, or null if they would be too large.
    """

    version: int
    outcome: str
    job_ids: list[str]
    states: dict[str, str]
    jobs: list[dict[str, Any]] | None
    error: dict[str, Any] | None


def event_of_jobs(outcome: str, jobs: Mapping[str, EditingJob], job_ids: Sequence[str]) -> TriggerEventPayload:
    """Return the event for a wait that ended with these jobs seen."""
    raw: list[dict[str, Any]] | None = [json_safe(jobs[job_id].raw) for job_id in job_ids if job_id in jobs]
    if len(json.dumps(raw)) > _LARGEST_EVENT:
        raw = None
    return {
        "version": EVENT_VERSION,
        "outcome": outcome,
        "job_ids": list(job_ids),
        "states": {job_id: json_safe(jobs[job_id].status) for job_id in job_ids if job_id in jobs},
        "jobs": raw,
        "error": None,
    }


_ERROR_FACTS = ("what", "advice", "status", "error_code", "error_msg", "request_id")


def event_of_error(error: MpcError, job_ids: Sequence[str]) -> TriggerEventPayload:
    """Return the event for a wait that cannot go on."""
    facts = {name: json_safe(getattr(error, name)) for name in _ERROR_FACTS}
    told_ids = getattr(error, "job_ids", None)
    return {
        "version": EVENT_VERSION,
        "outcome": "error",
        "job_ids": list(job_ids),
        "states": {},
        "jobs": None,
        "error": {"kind": type(error).__name__, **facts, "told_ids": told_ids},
    }


def error_of_event(facts: Mapping[str, Any]) -> MpcError:
    """Return the error that an event tells of, of the same class."""
    from airflow_provider_mpc.api import errors

    kind = getattr(errors, str(facts.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.MpcError)):
        kind = errors.MpcTriggerEventError
    known: dict[str, Any] = {name: facts.get(name) for name in _ERROR_FACTS if name != "what"}
    known["advice"] = known["advice"] or ""
    if isinstance(facts.get("told_ids"), list) and issubclass(
        kind, (errors.MpcJobNotFoundError, errors.MpcJobFailedError)
    ):
        known["job_ids"] = facts["told_ids"]
    return kind(str(facts.get("what") or "The trigger told of an error, but not which"), **known)


def jobs_of_event(event: Mapping[str, Any]) -> dict[str, EditingJob] | None:
    """Return the jobs of an event by id; None if it was too large to hold them."""
    from airflow_provider_mpc.api.models import EditingJob

    raw = event.get("jobs")
    if not isinstance(raw, list):
        return None
    jobs = (EditingJob.from_json(entry) for entry in raw if isinstance(entry, dict))
    return {job.job_id: job for job in jobs if job is not None}
