# SPDX-License-Identifier: Apache-2.0
"""The life of a clipping task: by script, by the clock, or (in :mod:`.clipping`) by real work."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

WAITING = "WAITING"
PROCESSING = "PROCESSING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
CANCELLED = "CANCELED"
SUCCESSES = frozenset({SUCCEEDED, "SUCCEED"})
FAILURES = frozenset({FAILED, CANCELLED, "CANCELLED", "CANCEL"})
DEFAULT_LIFE: tuple[str, ...] = (WAITING, PROCESSING, SUCCEEDED)
FIRST_JOB_ID = 30647

Advance = Literal["poll", "clock"]


@dataclass
class Reading:
    """
    What one look at a job shows.

    :param status: ``None``: nobody knows the job.
    :param started_at: epoch seconds, as are the others.
    :param fields: reply fields that replace those made here.
    """

    status: str | None
    progress: int = 0
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    output: Mapping[str, Any] | None = None
    editing_output: Mapping[str, Any] | None = None
    metadata: Sequence[Mapping[str, Any]] = ()
    error_code: str | None = None
    description: str | None = None
    user_data: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.status in SUCCESSES or self.status in FAILURES


class Job(ABC):
    """
    One job.

    :param job_id: its id; an ``int`` is one that replies write as a number.
    """

    def __init__(self, job_id: str | int) -> None:
        self.job_id = str(job_id)
        self.wire_id = job_id

    @abstractmethod
    def look(self, now: float) -> Reading:
        """Return how the job stands, without moving it on."""

    @abstractmethod
    def cancel(self, now: float) -> bool:
        """Cancel the job if it still waits; return whether it did."""

    def poll(self, now: float) -> Reading:
        """Return how the job stands to a caller of the list API."""
        return self.look(now)


class ScriptedJob(Job):
    """
    A job that goes through given states.

    :param states: the states in turn; the last one stays. ``None`` is a state in which nobody knows the job.
    :param by: ``poll`` moves on with each list call that names the job; ``clock`` spreads the states evenly
        between ``created_at`` and ``ends_at``, when the last one is reached.
    :param fields: reply fields that replace the made-up ones. Those about the end (output, error,
        ``end_time``) show once the job has ended.
    """

    def __init__(
        self,
        job_id: str | int,
        states: Sequence[str | None],
        *,
        by: Advance,
        created_at: float,
        ends_at: float,
        output: Mapping[str, Any],
        fields: Mapping[str, Any],
    ) -> None:
        if not states:
            raise ValueError("a job needs at least one state")
        if by not in ("poll", "clock"):
            raise ValueError(f"a job moves on by 'poll' or by 'clock', not by {by!r}")
        super().__init__(job_id)
        self._states = list(states)
        self._by = by
        self._created_at = created_at
        self._ends_at = ends_at
        self._output = output
        self._fields = fields
        self._polls = 0
        self._reached: dict[str, float] = {}

    def poll(self, now: float) -> Reading:
        """Return how the job stands; by script, the next poll finds it one state on."""
        reading = self.look(now)
        self._polls += 1
        return reading

    def look(self, now: float) -> Reading:
        """Return how the job stands."""
        share = self._share(now)
        last = len(self._states) - 1
        index = min(int(share * last + 1e-9), last)
        reading = Reading(self._states[index], created_at=self._created_at, fields=self._fields)
        if reading.status != WAITING:
            reading.started_at = self._time_of("start", 1 / max(last, 1), now)
            reading.progress = min(int(share * 100), 99)
        if reading.ended:
            reading.ended_at = self._time_of("end", 1.0, now)
            self._end(reading)
        return reading

    def cancel(self, now: float) -> bool:
        """Cancel the job if it still waits."""
        if self.look(now).status != WAITING:
            return False
        self._states = [CANCELLED]
        return True

    def _share(self, now: float) -> float:
        """Return how much of its life the job has behind it, 0 to 1."""
        last = len(self._states) - 1
        if last == 0:
            return 1.0
        if self._by == "poll":
            return min(self._polls / last, 1.0)
        span = self._ends_at - self._created_at
        return min(max((now - self._created_at) / span, 0.0), 1.0) if span > 0 else 1.0

    def _time_of(self, event: str, share: float, now: float) -> float:
        if self._by == "clock":
            return self._created_at + share * (self._ends_at - self._created_at)
        return self._reached.setdefault(event, now)

    def _end(self, reading: Reading) -> None:
        if reading.status in SUCCESSES:
            reading.progress = 100
            reading.output = self._output
            reading.editing_output = SAMPLE_OUTPUT
        elif reading.status == FAILED:
            reading.error_code = "MPC.10053"
            reading.description = "The input file does not exist."


class JobStore:
    """All jobs, by id."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(FIRST_JOB_ID)
        self._lock = threading.RLock()

    def new_id(self) -> str:
        """Return an id no job has."""
        with self._lock:
            return next(number for number in map(str, self._numbers) if number not in self._jobs)

    def add(self, job: Job) -> str:
        """Take in a job, in place of one with the same id; return its id."""
        with self._lock:
            self._jobs[job.job_id] = job
        return job.job_id

    def get(self, job_id: str) -> Job | None:
        """Return a job."""
        return self._jobs.get(job_id)

    def poll(self, job_ids: Sequence[str], now: float) -> list[tuple[str | int, Reading]]:
        """Return (id for the reply, reading) for each id, as a list call sees them."""
        with self._lock:
            return [self._poll(job_id, now) for job_id in job_ids]

    def cancel(self, job: Job, now: float) -> bool:
        """Cancel a job if it still waits; return whether it did."""
        with self._lock:
            return job.cancel(now)

    def all(self) -> list[Job]:
        """Return all jobs, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def clear(self) -> None:
        """Forget all jobs."""
        with self._lock:
            self._jobs.clear()

    def _poll(self, job_id: str, now: float) -> tuple[str | int, Reading]:
        job = self._jobs.get(job_id)
        return (job.wire_id, job.poll(now)) if job else (job_id, Reading(None))


# What a scripted success says of its clip: the shape of the documentation's examples.
SAMPLE_OUTPUT: Mapping[str, Any] = {
    "duration": 10,
    "duration_ms": 10172,
    "format": "MP4",
    "size": 2814,
    "size_byte": 2882147,
    "video_info": {
        "width": 1920,
        "height": 1080,
        "bitrate": 2128,
        "bitrate_bps": 2128000,
        "frame_rate": 25,
        "codec": "H264",
        "dynamic_range": "SDR",
        "duration": "10",
        "duration_ms": "10172",
        "rotate": 0.0,
    },
    "audio_info": [
        {
            "codec": "AAC",
            "sample": 48000,
            "channels": 2,
            "bitrate": 128,
            "bitrate_bps": 128198,
            "duration": "10",
            "duration_ms": "10170",
        }
    ],
}
