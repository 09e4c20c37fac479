# SPDX-License-Identifier: Apache-2.0
"""
What can go wrong, and which of it may be tried again.

Every error says in its text what to do. Airflow's own classes are put on top of these at Airflow's
edge (:mod:`airflow_provider_mpc.exceptions`), so ``except MpcJobNotFoundError`` works everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar, Self

SOMEBODY_ELSE_ADVICE = "Something between here and MPC (a proxy, a sign-in page) may have answered in its place."


class Persistence(Enum):
    """How an error behaves when the same call is made again."""

    TRANSIENT = "transient"
    """It may pass: the next poll may succeed."""
    SUSPECT = "suspect"
    """A wrong setting when the endpoint never answered well before, an outage when it did."""
    PERMANENT = "permanent"
    """It stays until somebody changes something."""


class MpcError(Exception):
    """
    Anything that goes wrong with MPC; all other errors derive from it.

    :param what: what happened, one sentence, without secrets.
    :param advice: what the reader can do about it.
    :param status: HTTP status of the reply, if there was one.
    :param error_code: the cloud's code, such as ``MPC.10202`` or ``APIGW.0301``.
    :param error_msg: the cloud's own words, redacted.
    :param request_id: ``X-Request-Id`` of the reply, which Huawei Cloud's support asks for.
    """

    persistence: ClassVar[Persistence] = Persistence.PERMANENT
    maybe_sent: bool = False
    """Whether the request itself (not a log-in before it) may have reached the cloud, and been acted on."""
    preliminary: bool = False
    """Whether it was met before the request itself: by a log-in, or the search for the project."""

    def __init__(
        self,
        what: str,
        *,
        advice: str = "",
        status: int | None = None,
        error_code: str | None = None,
        error_msg: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.what = what
        self.advice = advice
        self.status = status
        self.error_code = error_code
        self.error_msg = error_msg
        self.request_id = request_id
        super().__init__(self._text())

    @property
    def retryable(self) -> bool:
        """Whether Airflow should try the task again."""
        return self.persistence is not Persistence.PERMANENT

    def about(self, job_ids: Sequence[str]) -> Self:
        """Return a copy that names the jobs it is about."""
        twin = copy.copy(self)
        twin.what = f"{self.what} {', '.join(job_ids)}"
        twin.args = (twin._text(),)
        return twin

    def with_advice(self, advice: str) -> Self:
        """Return this error with other advice."""
        self.advice = advice
        self.args = (self._text(),)
        return self

    def _text(self) -> str:
        facts = [
            f"HTTP {self.status}" if self.status else "",
            self.error_code or "",
            f"request id {self.request_id}" if self.request_id else "",
        ]
        known = ", ".join(fact for fact in facts if fact)
        said = f": {self.error_msg}" if self.error_msg else ""
        text = f"{self.what}{f' ({known})' if known else ''}{said}"
        return f"{text.rstrip('. ')}. {self.advice}" if self.advice else text


class MpcConfigurationError(MpcError):
    """The connection lacks a field, or two of its fields contradict each other."""


class MpcConnectionNotFoundError(MpcConfigurationError):
    """Airflow finds no such connection; also when its API server or secrets backend is down for a moment."""

    persistence = Persistence.TRANSIENT

    @classmethod
    def of(cls, conn_id: str) -> MpcConnectionNotFoundError:
        """Return the error for a connection id."""
        return cls(
            f"There is no connection {conn_id!r}",
            advice="Make one of the type Huawei Cloud MPC (Admin, Connections), or correct mpc_conn_id.",
        )


class MpcInputError(MpcError, ValueError):
    """An argument that cannot be right; nothing was sent."""


class MpcTransportError(MpcError):
    """
    No complete reply: name not found, refused, reset, cut off, or too slow.

    :param maybe_sent: see :attr:`MpcError.maybe_sent`.
    """

    persistence = Persistence.TRANSIENT

    def __init__(self, what: str, *, maybe_sent: bool = True, **facts: Any) -> None:
        self.maybe_sent = maybe_sent
        super().__init__(what, **facts)


class MpcTlsError(MpcTransportError):
    """The endpoint's certificate was not accepted."""

    persistence = Persistence.SUSPECT


class MpcThrottledError(MpcError):
    """
    More calls than the account may make (100 a minute for each API).

    :param retry_after: seconds the cloud asked to wait, if it did.
    """

    persistence = Persistence.TRANSIENT

    def __init__(self, what: str, *, retry_after: float | None = None, **facts: Any) -> None:
        self.retry_after = retry_after
        super().__init__(what, **facts)


class MpcServerError(MpcError):
    """
    The cloud failed on its side.

    :param retry_after: seconds the cloud asked to wait, if it did.
    """

    persistence = Persistence.TRANSIENT

    def __init__(self, what: str, *, retry_after: float | None = None, **facts: Any) -> None:
        self.retry_after = retry_after
        super().__init__(what, **facts)


class MpcProtocolError(MpcError):
    """A reply that is not what the API promises, such as a proxy's HTML page with status 200."""

    persistence = Persistence.TRANSIENT


class MpcAuthenticationError(MpcError):
    """
    The cloud does not accept the credentials.

    :param renewable: whether a fresh token or fresh temporary keys may cure it.
    """

    def __init__(self, what: str, *, renewable: bool = False, **facts: Any) -> None:
        self.renewable = renewable
        super().__init__(what, **facts)


class MpcKeyLockedError(MpcAuthenticationError):
    """Five failed signatures in a row, anybody's, lock an access key for five minutes; then it heals."""

    persistence = Persistence.TRANSIENT
    retry_after: ClassVar[float] = 300.0


class MpcPermissionError(MpcError):
    """The credentials are good, but not allowed to do this."""


class MpcEndpointError(MpcError):
    """The address answers, but it is not the MPC API."""


class MpcRedirectError(MpcEndpointError):
    """The address answers with a redirect, which is never followed: it would carry credentials away."""

    persistence = Persistence.SUSPECT


class MpcRequestError(MpcError):
    """The cloud refuses the request as it is."""


class MpcConflictError(MpcError):
    """The job's state does not allow the operation, such as cancelling one that runs."""


class MpcJobNotFoundError(MpcError):
    """
    MPC does not know the job.

    :param job_ids: all ids that are missing.
    """

    def __init__(self, what: str, *, job_ids: Sequence[str] = (), **facts: Any) -> None:
        self.job_ids = list(job_ids)
        super().__init__(what, **facts)


class MpcOutageError(MpcError):
    """MPC gave no good answer for longer than ``[mpc] outage_tolerance``; the cause is chained."""

    persistence = Persistence.TRANSIENT

    @classmethod
    def of(cls, cause: MpcError, lasted: float) -> MpcOutageError:
        """
        Return the error for an outage.

        :param cause: the last fault.
        :param lasted: seconds.
        """
        error = cls(
            f"MPC gave no good answer for {lasted:.0f} s. The last fault: {cause}",
            status=cause.status,
            request_id=cause.request_id,
            advice="Airflow retries the task if it has retries; [mpc] outage_tolerance says how long is borne.",
        )
        error.__cause__ = cause
        return error


class MpcJobFailedError(MpcError):
    """
    A job ended without success; its id will not heal.

    :param job_ids: the ids of the failed jobs.
    """

    def __init__(self, what: str, *, job_ids: Sequence[str] = (), **facts: Any) -> None:
        self.job_ids = list(job_ids)
        super().__init__(what, **facts)


class MpcClipFailedError(MpcJobFailedError):
    """A job that this task made ended without success; a retry of the task makes a new one."""

    persistence = Persistence.TRANSIENT


class MpcJobNotEndedError(MpcError):
    """A job goes on, and the task was told not to wait for it."""

    persistence = Persistence.TRANSIENT


class MpcSubmitUnknownError(MpcError):
    """A job may or may not have been made: the reply was lost. Making another might pay for two."""


class MpcOutputError(MpcError):
    """A job succeeded, but told no usable output, and the task requires one."""


class MpcTriggerEventError(MpcError):
    """A deferred task was resumed with an event that this version does not understand."""

    persistence = Persistence.TRANSIENT
