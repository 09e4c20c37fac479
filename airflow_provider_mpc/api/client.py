# SPDX-License-Identifier: Apache-2.0
"""The calls of MPC's v2 editing-jobs API: query, create, cancel."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_mpc.api import iam, signing
from airflow_provider_mpc.api.auth import Authenticator, Request
from airflow_provider_mpc.api.budget import CallBudget, budget_for
from airflow_provider_mpc.api.errors import (
    MpcAuthenticationError,
    MpcError,
    MpcInputError,
    MpcJobNotFoundError,
    MpcProtocolError,
    MpcRedirectError,
    MpcRequestError,
    MpcServerError,
    MpcSubmitUnknownError,
    MpcThrottledError,
    MpcTransportError,
    Persistence,
)
from airflow_provider_mpc.api.job_ids import IDS_PER_CALL, normalize_job_id, normalize_job_ids
from airflow_provider_mpc.api.models import EditingJob, JobState, ObsObject, job_id_in, parse_job_array, parse_object
from airflow_provider_mpc.api.redaction import Redactor
from airflow_provider_mpc.api.replies import UNKNOWN_JOB, error_from, unexpected
from airflow_provider_mpc.api.transport import Reply, Transport

_PROBE_ID = "0"
_PROVES_ACCESS = frozenset({"MPC.10202", UNKNOWN_JOB})
"""Codes of MPC itself: whoever gets one has passed the gateway with good credentials."""
_GATEWAY_CODE = "APIGW."


@dataclass(frozen=True)
class RetryPolicy:
    """
    How often a query is repeated after a transient fault.

    :param attempts: calls in all; 1 means none is repeated.
    :param base: seconds; the n-th pause is drawn from 0 to ``base * 2**n``.
    :param longest_pause: seconds.
    :param total: seconds after which no further call is begun, and that a call waits for its turn at most.
    """

    attempts: int = 5
    base: float = 2.0
    longest_pause: float = 30.0
    total: float = 180.0

    def pause(self, attempt: int, asked: float | None) -> float:
        """Return the seconds to wait after a failed attempt (counted from 0)."""
        drawn = random.uniform(0.0, min(self.longest_pause, self.base * 2**attempt))  # noqa: S311
        return drawn if asked is None else asked + drawn / 4


NO_RETRIES = RetryPolicy(attempts=1, total=70.0)
"""Waits for its turn longer than the budget of a minute takes to come back."""
IN_A_HURRY = RetryPolicy(attempts=1, total=2.0)
"""For a signal's handler, which Airflow gives 5 s."""


@dataclass(frozen=True)
class Target:
    """
    Where the calls go.

    :param endpoint: scheme, host and port, such as ``https://mpc.cn-north-4.myhuaweicloud.com``.
    :param iam_endpoint: the same for IAM.
    :param region: region id; also the name of its main project.
    :param project_id: None: found at the first call.
    """

    endpoint: str
    iam_endpoint: str
    region: str | None = None
    project_id: str | None = None


@dataclass
class MpcClient:
    """
    MPC's v2 editing-jobs API for one identity, endpoint and project. Safe to share between threads.

    :param target: where the calls go.
    :param authenticator: proves who is calling.
    :param transport: makes the HTTP calls.
    :param calls_per_minute: limit for all clients of this endpoint and project in the process.
    :param retry: how queries are repeated; making and cancelling jobs never is.
    :param clock: seconds, monotonic.
    :param sleep: waits so many seconds.
    """

    target: Target
    authenticator: Authenticator
    transport: Transport
    calls_per_minute: float
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _project_lock: Any = field(default_factory=threading.RLock, init=False, repr=False)
    _project_id: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._project_id = self.target.project_id

    @property
    def budget(self) -> CallBudget:
        """
        The process's budget for this endpoint and project.

        :raises MpcError: the project could not be found out.
        """
        return budget_for(self.target.endpoint, self.project_id, self.calls_per_minute)

    @property
    def project_id(self) -> str:
        """
        The project; asked for once if the connection does not name it.

        :raises MpcError: it could not be found out.
        """
        with self._project_lock:
            if self._project_id is None:
                with _before_the_request():
                    self._project_id = self.authenticator.project_id() or iam.find_project(
                        self.transport, self.target.iam_endpoint, self.target.region or "", self.authenticator
                    )
            return self._project_id

    def get_editing_jobs(self, job_ids: Any, *, missing_ok: bool = False) -> list[EditingJob]:
        """
        Query clipping tasks, ten to a call.

        :param job_ids: one id or several; a repeated id is asked for once.
        :param missing_ok: leave out jobs that MPC does not know, instead of raising.
        :returns: the jobs in the order asked.
        :raises MpcInputError: an id cannot be right; nothing was sent.
        :raises MpcJobNotFoundError: MPC does not know some jobs; it names them all.
        :raises MpcError: the query failed.
        """
        wanted = normalize_job_ids(job_ids)
        found: dict[str, EditingJob] = {}
        refusals: list[MpcError] = []
        for first in range(0, len(wanted), IDS_PER_CALL):
            found |= self._known_among(wanted[first : first + IDS_PER_CALL], refusals)
        missing = [job_id for job_id in wanted if job_id not in found]
        if missing and not missing_ok:
            raise not_found(missing, *refusals[:1])
        return [found[job_id] for job_id in wanted if job_id in found]

    def get_editing_job(self, job_id: Any) -> EditingJob:
        """
        Query one clipping task.

        :raises MpcJobNotFoundError: MPC does not know it.
        """
        return self.get_editing_jobs(normalize_job_id(job_id))[0]

    def create_editing_job(self, body: Mapping[str, Any], *, about_to_send: Callable[[], None] = lambda: None) -> str:
        """
        Make a clipping task (api-mpc/CreateEditingJobs). Never repeated: each call may make a job.

        :param body: the request as the API describes it.
        :param about_to_send: called when all is ready for the request itself: from now on a job may be made.
        :returns: the new job's id.
        :raises MpcInputError: the request is no JSON; nothing was sent.
        :raises MpcSubmitUnknownError: the reply was lost or told no id, so the job may have been made.
        :raises MpcError: the job was not made.
        """
        try:
            content = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise MpcInputError(f"The clip's request cannot be written as JSON: {error}") from None
        self._take()
        try:
            reply = self._call("POST", "", body=content, doing="make a clipping task", about_to_send=about_to_send)
        except MpcError as error:
            if not _may_have_been_acted_on(error):
                raise
            raise submit_unknown(body, error) from error
        try:
            told = parse_object(reply.body)
        except MpcProtocolError as error:
            raise submit_unknown(body, unexpected(reply, error)) from error
        with contextlib.suppress(MpcInputError):
            return normalize_job_id(job_id_in(told))
        no_id = MpcProtocolError("MPC accepted the request, but told no job id")
        raise submit_unknown(body, unexpected(reply, no_id))

    def cancel_editing_job(self, job_id: Any) -> None:
        """
        Cancel a clipping task that still waits (api-mpc/DeleteEditingJobs).

        :raises MpcConflictError: it runs or has ended.
        :raises MpcJobNotFoundError: MPC does not know it.
        """
        wanted = normalize_job_id(job_id)
        self._take()
        try:
            self._call("DELETE", "/" + signing.percent_encode(wanted), doing=f"cancel clipping task {wanted}")
        except MpcJobNotFoundError as error:
            error.job_ids = [wanted]
            raise

    def check_access(self) -> None:
        """
        Make one query that succeeds for whoever may query at all.

        :raises MpcError: why not.
        """
        self._take()
        try:
            self.query([_PROBE_ID])
        except MpcError as error:
            if error.error_code not in _PROVES_ACCESS:
                raise

    def query(self, job_ids: Sequence[str]) -> list[EditingJob]:
        """
        Make one query call, without repetition and without asking the budget.

        :param job_ids: at most ten.
        :returns: what MPC sent, in its order; unknown ids are missing or have the state ``ABSENT``.
        :raises MpcError: the call failed.
        """
        parameters = [("job_id", job_id) for job_id in job_ids]
        reply = self._call("GET", "", parameters=parameters, doing="query clipping tasks")
        try:
            return parse_job_array(reply.body)
        except MpcProtocolError as error:
            told = unexpected(reply, error)
            if told.error_code == UNKNOWN_JOB:
                # Some of MPC's services say so with a 2xx.
                raise not_found(job_ids, told) from None
            raise told from None

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def _known_among(self, chunk: list[str], refusals: list[MpcError]) -> dict[str, EditingJob]:
        """
        Query up to ten ids with repetition; where MPC refuses a batch for an unknown id, find it.

        :param refusals: takes what MPC said of ids that it does not know.
        """
        try:
            jobs = self._query_with_retries(chunk)
        except MpcJobNotFoundError as error:
            if len(chunk) == 1:
                refusals.append(error)
                return {}
            half = len(chunk) // 2
            return self._known_among(chunk[:half], refusals) | self._known_among(chunk[half:], refusals)
        except MpcRequestError as error:
            raise error if error.preliminary else error.about(chunk) from None
        return index_jobs(chunk, jobs)

    def _query_with_retries(self, chunk: list[str]) -> list[EditingJob]:
        started = self.clock()
        attempt = 0
        while True:
            asked = None
            try:
                self._take()
                return self.query(chunk)
            except (MpcTransportError, MpcThrottledError, MpcServerError, MpcProtocolError) as error:
                if isinstance(error, (MpcThrottledError, MpcServerError)):
                    asked = error.retry_after
                if isinstance(error, MpcThrottledError) and self._project_id is not None:
                    asked = max(asked or 0.0, self.budget.delay())
                pause = self.retry.pause(attempt, asked)
                attempt += 1
                too_late = self.clock() - started + pause > self.retry.total
                if error.persistence is not Persistence.TRANSIENT or attempt >= self.retry.attempts or too_late:
                    raise
            self.sleep(pause)

    def _take(self) -> None:
        """
        Wait until the budget allows a call.

        :raises MpcThrottledError: that would be later than whoever waits for the answer has patience for.
        """
        patience = self.retry.total
        while (delay := self.budget.try_take()) > 0:
            patience -= delay
            if patience < 0:
                raise MpcThrottledError(
                    f"MPC has refused calls of this account; the next one is due in {delay:.0f} s",
                    retry_after=delay,
                    advice="Where several Airflows or tools share the account, lower [mpc] calls_per_minute.",
                )
            self.sleep(delay)

    def _call(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        parameters: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        about_to_send: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Make one authorised call; once more with fresh credentials if they had run out."""
        renewed = False
        while True:
            project = self.project_id
            url = urlsplit(self.target.endpoint)
            wire_path = f"{url.path.rstrip('/')}/v2/{signing.percent_encode(project)}/editing/jobs{path}"
            request = Request(
                method,
                wire_path,
                signing.canonical_query(parameters),
                {"Host": url.netloc, "Content-Type": "application/json", "X-Project-Id": project},
                body,
            )
            with _before_the_request():
                proof = self.authenticator.authorize(request)
            began = time.monotonic()
            about_to_send()
            reply = self.transport.send(
                method,
                f"{url.scheme}://{url.netloc}{wire_path}{'?' if request.query else ''}{request.query}",
                headers=proof.headers,
                body=body,
                redact=Redactor(proof.secrets),
                fresh=method == "POST",
            )
            if reply.ok:
                return reply
            error = error_from(reply, doing=doing, asker=self.authenticator)
            error.maybe_sent = True
            if isinstance(error, MpcThrottledError):
                self.budget.refused(error.retry_after, taken_at=began)
            curable = isinstance(error, MpcAuthenticationError) and error.renewable and not renewed
            if not curable:
                raise error
            with _before_the_request():
                renewed = self.authenticator.renew(proof)
            if not renewed:
                raise error
            self._take()


@contextlib.contextmanager
def _before_the_request() -> Iterator[None]:
    """Mark the errors of calls that go before the one wanted: log-ins, the search for the project."""
    try:
        yield
    except MpcError as error:
        error.maybe_sent, error.preliminary = False, True
        raise


def _may_have_been_acted_on(error: MpcError) -> bool:
    if isinstance(error, MpcServerError) and error.status == 503 and (error.error_code or "").startswith(_GATEWAY_CODE):
        # The gateway says that it handed the request to nobody.
        return False
    if isinstance(error, MpcRedirectError):
        # 303 shows the way to what came of the request.
        return error.maybe_sent and error.status == 303
    return error.maybe_sent and isinstance(error, (MpcTransportError, MpcServerError, MpcProtocolError))


def submit_unknown(body: Mapping[str, Any], cause: MpcError) -> MpcSubmitUnknownError:
    """
    Return the error for a job of which nobody knows whether it was made.

    :param body: the request.
    :param cause: what happened to the reply.
    """
    output = body.get("output")
    place = ObsObject.model_validate(output).uri if isinstance(output, Mapping) else None
    return MpcSubmitUnknownError(
        f"It is not known whether MPC made the clipping task for {place} with user_data "
        f"{body.get('user_data')!r}: {cause.what}",
        status=cause.status,
        error_code=cause.error_code,
        error_msg=cause.error_msg,
        request_id=cause.request_id,
        advice=(
            "Look in the MPC console, or for the output file, before you clear this task: clearing makes a job "
            "anew. It is not retried, so that nobody pays for two."
        ),
    )


def index_jobs(wanted: Iterable[str], jobs: Iterable[EditingJob]) -> dict[str, EditingJob]:
    """Return the jobs that were wanted and are known, by id; a reply may hold others, in any order."""
    by_id: dict[str, EditingJob] = {}
    for job in jobs:
        if job.state is not JobState.ABSENT:
            by_id.setdefault(job.job_id, job)
    return {job_id: by_id[job_id] for job_id in wanted if job_id in by_id}


def not_found(job_ids: Sequence[str], cause: MpcError | None = None) -> MpcJobNotFoundError:
    """
    Return the error for jobs that MPC does not know.

    :param cause: what MPC said, where it did not just leave them out.
    """
    return MpcJobNotFoundError(
        f"MPC does not know the clipping task{'s' if len(job_ids) > 1 else ''} {', '.join(job_ids)}",
        job_ids=job_ids,
        status=cause.status if cause else None,
        error_code=cause.error_code if cause else None,
        error_msg=cause.error_msg if cause else None,
        request_id=cause.request_id if cause else None,
        advice="Check the ids, and that the connection's region and project are those the jobs were made in.",
    )
