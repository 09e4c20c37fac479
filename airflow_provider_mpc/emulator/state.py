# SPDX-License-Identifier: Apache-2.0
"""The emulator itself: everything it knows, and the handles a test steers it by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mpc.emulator.accounts import AccessKey, Account, Token
from airflow_provider_mpc.emulator.calls import Call, CallLog, apis_matching
from airflow_provider_mpc.emulator.faults import Fault, FaultQueue
from airflow_provider_mpc.emulator.jobs import DEFAULT_LIFE, Advance, JobStore, ScriptedJob
from airflow_provider_mpc.emulator.limiter import Limiter, Window
from airflow_provider_mpc.emulator.variants import UnknownIdBehaviour, Variants

if TYPE_CHECKING:
    from airflow_provider_mpc.emulator.clipping import Studio

DEFAULT_JOB_SECONDS = 2.0


class Emulator:
    """
    A stand-in for MPC and IAM; :class:`.EmulatorServer` puts it on a socket. All methods may be called from
    any thread, also while it serves.

    :param media_root: the folder whose sub-folders are the buckets. With it, a created job really cuts media;
        without it, a created job runs by the clock and succeeds with made-up metadata.
    :param calls_per_minute: calls accepted for each project and API in a minute; ``None``: no limit.
    :param limiter: ``sliding`` (any 60 seconds) or ``fixed`` (each minute anew); more in :attr:`limiter`.
    :param job_seconds: how long a created job takes at least, and a clock-driven scripted one if nothing else
        is said.
    :param clock: returns epoch seconds; a test may give its own.
    :param log_size: how many requests the log keeps.
    """

    def __init__(
        self,
        media_root: str | PathLike[str] | None = None,
        calls_per_minute: int | None = None,
        limiter: Window = "sliding",
        job_seconds: float = DEFAULT_JOB_SECONDS,
        clock: Callable[[], float] = time.time,
        *,
        region: str = "cn-north-4",
        project_id: str = "0123456789abcdef0123456789abcdef",
        access_key: str = "AKEMULATOR0000000000",
        secret_key: str = "SKemulator0000000000000000000000000000000",  # noqa: S107
        user: str = "emulator-user",
        password: str = "emulator-password",  # noqa: S107
        domain: str = "emulator-account",
        log_size: int = 20_000,
    ) -> None:
        self.clock = clock
        self.job_seconds = job_seconds
        self.media_root = None if media_root is None else Path(media_root).resolve()
        self.account = Account(
            clock=clock,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            user=user,
            password=password,
            domain=domain,
            project_id=project_id,
        )
        self.limiter = Limiter(calls_per_minute, limiter)
        self.variant = Variants()
        self.faults = FaultQueue(clock)
        self.jobs = JobStore()
        self.log = CallLog(log_size)
        self._studio: Studio | None = None

    # Jobs

    def job(
        self,
        states: Sequence[str | None] = DEFAULT_LIFE,
        job_id: str | int | None = None,
        by: Advance = "poll",
        seconds: float | None = None,
        ends_at: float | None = None,
        **fields: Any,
    ) -> str:
        """
        Add a scripted job and return its id.

        :param states: the states in turn; the last one stays. ``None`` is a state in which nobody knows the
            job.
        :param job_id: its id; an ``int`` is written as a number in replies.
        :param by: ``poll``: each list call that names the job finds it one state on; ``clock``: the states
            are spread evenly over its life.
        :param seconds: its life by the clock.
        :param ends_at: when its life ends, in epoch seconds; instead of ``seconds``.
        :param fields: reply fields that replace the made-up ones, such as ``error_code``, ``description``,
            ``progress``, ``output``, ``editing_output`` or ``user_data``. Those about the end show once it
            has ended.
        """
        now = self.clock()
        wire_id = self.jobs.new_id() if job_id is None else job_id
        if ends_at is None:
            ends_at = now + (self.job_seconds if seconds is None else seconds)
        output = {
            "bucket": "example-bucket",
            "location": self.region,
            "object": "out/",
            "file_name": f"{wire_id}.mp4",
        }
        return self.jobs.add(
            ScriptedJob(wire_id, states, by=by, created_at=now, ends_at=ends_at, output=output, fields=fields)
        )

    @property
    def studio(self) -> Studio:
        """
        Return what cuts the clips of created jobs.

        :raises RuntimeError: without a media root, or without PyAV.
        """
        if self.media_root is None:
            raise RuntimeError("the emulator has no media root, so it cannot cut media")
        if self._studio is None:
            from airflow_provider_mpc.emulator.clipping import Studio

            self._studio = Studio(self.media_root, self.clock)
        return self._studio

    def close(self) -> None:
        """Stop the work on all clips."""
        studio, self._studio = self._studio, None
        if studio is not None:
            studio.close()

    # Faults and variants

    def fault(
        self,
        kind: str | int,
        times: int | None = None,
        match: str | None = None,
        job_id: str | None = None,
        *,
        after: int = 0,
        for_seconds: float | None = None,
        **options: Any,
    ) -> Fault:
        """
        Add a fault, played before those added later; :mod:`.faults` lists the kinds and their options.

        :param times: how many calls it hits; ``None``: all, until cleared.
        :param match: an API (``list``, ``create``, ``delete``, ``token``, ``projects``, ``auth_projects``,
            ``metadata_token``, ``security_key``, ``other``) or a group (``mpc``, ``iam``, ``metadata``);
            ``None``: every call.
        :param job_id: hits only calls that name this job.
        :param after: how many matching calls pass unharmed first.
        :param for_seconds: it ends by itself this long after now.
        :raises ValueError: for an unknown kind, API or option.
        """
        return self.faults.add(
            str(kind),
            times=times,
            apis=apis_matching(match),
            job_id=job_id,
            after=after,
            for_seconds=for_seconds,
            options=options,
        )

    def clear_faults(self) -> None:
        """Take back all faults."""
        self.faults.clear()

    @property
    def unknown_id_behaviour(self) -> UnknownIdBehaviour:
        """How an id nobody knows reads: ``absent``, ``no_task`` or ``error``."""
        return self.variant.unknown_id_behaviour

    @unknown_id_behaviour.setter
    def unknown_id_behaviour(self, behaviour: UnknownIdBehaviour) -> None:
        self.variant.unknown_id_behaviour = behaviour

    # What was asked

    @property
    def requests(self) -> list[Call]:
        """The requests received, oldest first."""
        return self.log.calls()

    def calls(self, api: str | None = None) -> int:
        """Return how many requests came for an API or group (see :meth:`fault`), or in all."""
        return self.log.count(api)

    def accepted(self, api: str) -> int:
        """Return how many calls of an API passed authentication and the limit."""
        return sum(count for (_, name), count in self.limiter.accepted.items() if name == api)

    def refused(self, api: str) -> int:
        """Return how many calls of an API were over the limit."""
        return sum(count for (_, name), count in self.limiter.refused.items() if name == api)

    def busiest_minute(self, api: str) -> int:
        """Return the largest number of calls of an API accepted for one project in any 60 seconds."""
        return max((count for (_, name), count in self.limiter.busiest.items() if name == api), default=0)

    def reset(self) -> None:
        """Forget jobs, faults, requests and counts, and set all variants back; keys and tokens stay."""
        self.jobs.clear()
        self.faults.clear()
        self.log.clear()
        self.limiter.reset()
        self.variant.reset()

    # The account

    @property
    def access_key(self) -> str:
        """The permanent AK."""
        return self.account.access_key

    @property
    def secret_key(self) -> str:
        """The permanent SK."""
        return self.account.secret_key

    @property
    def region(self) -> str:
        """The region, which is also the name of its project."""
        return self.account.region

    @property
    def project_id(self) -> str:
        """The id of the region's project."""
        return self.account.project_id

    @property
    def user(self) -> str:
        """The IAM user's name."""
        return self.account.user

    @property
    def domain(self) -> str:
        """The account's name."""
        return self.account.domain

    @property
    def password(self) -> str:
        """The IAM user's password; may be set."""
        return self.account.password

    @password.setter
    def password(self, password: str) -> None:
        self.account.password = password

    @property
    def token_seconds(self) -> float:
        """How long a new token lives; may be set."""
        return self.account.token_seconds

    @token_seconds.setter
    def token_seconds(self, seconds: float) -> None:
        self.account.token_seconds = seconds

    @property
    def token_bytes(self) -> int | None:
        """The length of a new token; ``None``: 1200, or 9100 with a catalogue, as real ones; may be set."""
        return self.account.token_bytes

    @token_bytes.setter
    def token_bytes(self, length: int | None) -> None:
        self.account.token_bytes = length

    @property
    def temporary_key_seconds(self) -> float:
        """How long a new temporary key lives; may be set."""
        return self.account.temporary_key_seconds

    @temporary_key_seconds.setter
    def temporary_key_seconds(self, seconds: float) -> None:
        self.account.temporary_key_seconds = seconds

    def add_project(self, name: str, project_id: str) -> None:
        """Give the account one more project."""
        self.account.projects[name] = project_id

    def issue_token(self) -> Token:
        """Return a new token for the region's project."""
        return self.account.issue_token(self.project_id)

    def issue_temporary_key(self) -> AccessKey:
        """Return a new temporary key."""
        return self.account.issue_temporary_key()

    def rotate_keys(self) -> tuple[str, str]:
        """Replace AK and SK; the old ones are refused from now on. Return the new ones."""
        return self.account.rotate_keys()

    def expire_tokens(self) -> None:
        """Let all tokens and temporary keys run out now."""
        self.account.expire_tokens()
