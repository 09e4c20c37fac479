# SPDX-License-Identifier: Apache-2.0
"""Looking at jobs until all have ended, with bars on a terminal and plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from airflow_provider_mpc.api.client import NO_RETRIES
from airflow_provider_mpc.api.errors import MpcJobNotFoundError
from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.configuration import OUTAGE_TOLERANCE
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.waiting import DirectWait


def printable(text: str) -> str:
    """Return a text of others without control characters and line breaks."""
    return "".join(letter if letter.isprintable() else " " for letter in text.encode("utf-8", "replace").decode())


class Display(Protocol):
    """Where progress is shown."""

    def show(self, job_id: str, state: str, progress: float | None) -> None:
        """Show how a job stands."""

    def say(self, words: str) -> None:
        """Show a line."""


def watch(conn_id: str, job_ids: Sequence[str], *, interval: float, stream: TextIO) -> dict[str, EditingJob]:
    """
    Look until all jobs have ended; return them by id, without those that MPC does not know.

    Faults that may pass are borne as long as a task bears them.

    :param interval: seconds between two looks.
    :param stream: for the progress.
    :raises MpcError: the watch cannot go on.
    """
    began = time.time()
    hook = MpcHook(conn_id, retry=NO_RETRIES)
    seen: dict[str, EditingJob] = {}
    open_ids = list(job_ids)
    with _display(stream, job_ids) as display:
        look: DirectWait | None = None
        while open_ids:
            if look is None:
                look = DirectWait(
                    hook,
                    open_ids,
                    began=began,
                    outage_tolerance=OUTAGE_TOLERANCE.get(),
                    logger=_Faults(display),
                    tolerates_first=bool(seen),
                )
            try:
                look.look()
            except MpcJobNotFoundError as error:
                # The others are watched on.
                missing = [job_id for job_id in open_ids if job_id in error.job_ids]
                if not missing:
                    raise
                for job_id in missing:
                    seen.pop(job_id, None)
                    display.show(job_id, "NOT FOUND", None)
                open_ids = [job_id for job_id in open_ids if job_id not in missing]
                look = None
                continue
            seen |= look.jobs
            for job_id, job in look.jobs.items():
                display.show(job_id, job.status or "NO STATUS", job.progress)
            still_open = [job_id for job_id in open_ids if job_id not in seen or not seen[job_id].state.ended]
            if len(still_open) < len(open_ids):
                open_ids, look = still_open, None
            if open_ids:
                time.sleep(interval)
    return seen


class _Faults:
    """What a wait logs: faults are shown, states are shown anyway."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def info(self, *_: Any) -> None:
        """Say nothing."""

    def warning(self, text: str, *args: Any) -> None:
        """Show a fault."""
        self._display.say(text % args)


@contextmanager
def _display(stream: TextIO, job_ids: Sequence[str]) -> Iterator[Display]:
    if not stream.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        yield _Lines(stream)
        return
    with _Bars.begin(stream, job_ids) as bars:
        yield bars


class _Lines:
    """A line for each change."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: dict[str, str] = {}

    def show(self, job_id: str, state: str, progress: float | None) -> None:
        """Write a line if something has changed."""
        words = f"{job_id} {state}" + ("" if progress is None else f" {progress:g}%")
        if self._shown.get(job_id) != words:
            self._shown[job_id] = words
            self.say(words)

    def say(self, words: str) -> None:
        """Write a line."""
        print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {printable(words)}", file=self._stream, flush=True)


class _Bars:
    """A bar for each job."""

    def __init__(self, progress: Any, job_ids: Sequence[str]) -> None:
        self._progress = progress
        self._bars = {job_id: progress.add_task(job_id, total=100, state="…") for job_id in job_ids}

    @classmethod
    @contextmanager
    def begin(cls, stream: TextIO, job_ids: Sequence[str]) -> Iterator[_Bars]:
        """Show the bars until the end of the block; then they go away."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        console = Console(file=stream, markup=False, emoji=False, highlight=False)
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as progress:
            yield cls(progress, job_ids)

    def show(self, job_id: str, state: str, progress: float | None) -> None:
        """Move a job's bar."""
        completed = {} if progress is None else {"completed": min(max(progress, 0), 100)}
        self._progress.update(self._bars[job_id], state=printable(state), **completed)

    def say(self, words: str) -> None:
        """Show a line above the bars."""
        self._progress.console.print(printable(words))
