# SPDX-License-Identifier: Apache-2.0
"""Jobs that do the work: cut, join, and put the clip into its bucket."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from airflow_provider_mpc.emulator.buckets import BadPlaceError, place_of
from airflow_provider_mpc.emulator.cutting import cut_and_join, part_of
from airflow_provider_mpc.emulator.jobs import CANCELLED, FAILED, PROCESSING, SUCCEEDED, WAITING, Job, Reading
from airflow_provider_mpc.emulator.media import MediaError, describe, pyav
from airflow_provider_mpc.emulator.orders import ClipOrder
from airflow_provider_mpc.emulator.replies import mpc_error

# As at MPC, few jobs run at once and the others wait.
JOBS_AT_ONCE = 2
WAITING_SHARE = 0.2
# The longest a job sleeps before it looks at the clock again, which may be a test's own.
CLOCK_STEP = 0.1


Outcome = TypeVar("Outcome")


class Studio:
    """
    Works on created jobs, each in a thread.

    :param root: the media root.
    :param clock: returns epoch seconds.
    """

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self.root = root
        self.clock = clock
        self.slots = threading.Semaphore(JOBS_AT_ONCE)
        self.closed = threading.Event()

    def check(self) -> None:
        """
        Check that media can be worked on.

        :raises RuntimeError: without PyAV.
        """
        pyav()

    def take(self, job_id: str, order: ClipOrder, seconds: float) -> ClipJob:
        """
        Take an order and start to work on it.

        :param seconds: how long the job takes at least.
        :raises ApiError: MPC.10209 if a place is not in the media root.
        :raises RuntimeError: without PyAV.
        """
        self.check()
        order = replace(order, output=order.output.named(job_id))
        try:
            for obs in (*(item.source for item in order.inputs), order.output):
                place_of(self.root, obs)
        except BadPlaceError as error:
            raise mpc_error("MPC.10209", f"Invalid input or output OBS path: {error}") from error
        job = ClipJob(job_id, order, self, seconds)
        threading.Thread(target=job.run, name=f"mpc-emulator-job-{job_id}", daemon=True).start()
        return job

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Let all jobs that have not begun wait until the end of the block, as if others were worked on."""
        for _ in range(JOBS_AT_ONCE):
            self.slots.acquire()
        try:
            yield
        finally:
            self.slots.release(JOBS_AT_ONCE)

    def close(self) -> None:
        """Stop all work; jobs stay as they are."""
        self.closed.set()


class _StoppedError(Exception):
    """The emulator closes, or the job was cancelled."""


class ClipJob(Job):
    """One order being worked on."""

    def __init__(self, job_id: str, order: ClipOrder, studio: Studio, seconds: float) -> None:
        super().__init__(job_id)
        self._order = order
        self._studio = studio
        self._seconds = seconds
        self._created_at = studio.clock()
        self._done = 0.0
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._reading = Reading(
            WAITING, created_at=self._created_at, metadata=order.metadata, user_data=order.user_data
        )

    def look(self, now: float) -> Reading:
        """Return how the job stands."""
        with self._lock:
            reading = replace(self._reading)
        if reading.status == PROCESSING:
            share = (now - self._created_at) / self._seconds if self._seconds > 0 else 1.0
            reading.progress = min(int(100 * min(self._done, share)), 99)
        return reading

    def cancel(self, now: float) -> bool:
        """Cancel the job if it still waits."""
        if not self._turn(CANCELLED, only_from=WAITING):
            return False
        self._cancelled.set()
        return True

    def run(self) -> None:
        """Do the work, in the calling thread."""
        with contextlib.suppress(_StoppedError):
            self._wait_until(self._created_at + self._seconds * WAITING_SHARE)
            with self._studio.slots:
                if not self._turn(PROCESSING, only_from=WAITING):
                    return
                clip = self._attempt(self._make_clip)
            try:
                self._wait_until(self._created_at + self._seconds)
                if clip is not None:
                    self._attempt(lambda: self._publish(clip))
            finally:
                if clip is not None:
                    clip.unlink(missing_ok=True)

    def _attempt(self, work: Callable[[], Outcome]) -> Outcome | None:
        """Return what the work returns; if it fails, fail the job and return ``None``."""
        try:
            return work()
        except MediaError as error:
            self._fail(error.code, error.reason)
        except BadPlaceError as error:
            self._fail("MPC.10209", str(error))
        except OSError as error:
            self._fail("MPC.10209", f"The output cannot be written: {error.strerror}")
        except _StoppedError:
            raise
        except Exception as error:
            self._fail("MPC.10050", f"System error: {type(error).__name__}: {error}")
        return None

    def _make_clip(self) -> Path:
        """Return the clip made, beside the place where it is to be."""
        order = self._order
        if order.settings.format != "MP4":
            raise MediaError("MPC.10212", f"The emulator makes MP4 only, not {order.settings.format}.")
        parts = [part_of(place_of(self._studio.root, item.source), item.start, item.end) for item in order.inputs]
        target = place_of(self._studio.root, order.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        clip = target.with_name(f".{self.job_id}.part")
        try:
            cut_and_join(parts, clip, order.settings, self._note_progress)
        except BaseException:
            clip.unlink(missing_ok=True)
            raise
        return clip

    def _publish(self, clip: Path) -> None:
        description = describe(clip)
        clip.replace(place_of(self._studio.root, self._order.output))
        output = self._order.output.as_output(self.job_id)
        self._turn(SUCCEEDED, progress=100, output=output, editing_output=description)

    def _fail(self, code: str, reason: str) -> None:
        self._wait_until(self._created_at + self._seconds)
        self._turn(FAILED, progress=int(100 * self._done), error_code=code, description=reason[:256])

    def _note_progress(self, share: float) -> None:
        if self._studio.closed.is_set():
            raise _StoppedError
        self._done = max(self._done, share)

    def _turn(self, status: str, only_from: str | None = None, **changes: object) -> bool:
        """Change the status, and return whether that was allowed."""
        now = self._studio.clock()
        times = {"started_at": now} if status == PROCESSING else {"ended_at": now}
        with self._lock:
            if only_from is not None and self._reading.status != only_from:
                return False
            self._reading = replace(self._reading, status=status, **times, **changes)  # type: ignore[arg-type]
        return True

    def _wait_until(self, when: float) -> None:
        while (left := when - self._studio.clock()) > 0:
            if self._cancelled.wait(min(left, CLOCK_STEP)) or self._studio.closed.is_set():
                raise _StoppedError
