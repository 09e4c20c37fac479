# SPDX-License-Identifier: Apache-2.0
"""The demo: a real clip is cut, a real Airflow waits for it and hands its metadata on (``make demo``)."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
EXAMPLE = ROOT / "example_dags" / "example_mpc_pipeline.py"
DAG_ID = "example_mpc_pipeline"
WAIT_TASK = "wait_for_clip"
OUTPUT_TASK = "clip_output"
LAST_TASK = "use_metadata"
CONNECTION_ID = "mpc_default"

BUCKET = "demo-media"
SOURCE = "in/holiday.mp4"
SOURCE_SECONDS = 6
CLIP_FROM, CLIP_TO = 1, 4
JOB_SECONDS = 8.0
PROGRESS_STEP = 25
RUN_TIMEOUT = 100.0

if TYPE_CHECKING:
    from airflow_provider_mpc.emulator import Emulator
    from scripts.live_airflow import LiveAirflow


class DemoError(Exception):
    """Something a person can put right."""


class Screen:
    """What the person sees: plain lines, with a little colour on a terminal."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def paint(self, text: str, code: str) -> str:
        """Return the text in a colour, where colours are wanted."""
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def say(self, text: str = "") -> None:
        """Print a line."""
        print(text, flush=True)

    @contextlib.contextmanager
    def step(self, words: str) -> Iterator[None]:
        """Print what is being done, and how long it took once it is."""
        begun = time.monotonic()
        print(f"{words} … ", end="", flush=True)
        try:
            yield
        except BaseException:
            print(flush=True)
            raise
        self.say(self.paint(f"{time.monotonic() - begun:.1f} s", "2"))

    def event(self, seconds: float, who: str, what: str) -> None:
        """Print one thing that has happened."""
        colour = {"success": "32", "SUCCEEDED": "32", "deferred": "35", "failed": "31", "FAILED": "31"}
        name, _, rest = what.partition(" ")
        shown = self.paint(name, colour.get(name, "1")) + (f" {rest}" if rest else "")
        self.say(f"  {self.paint(f'{seconds:5.1f} s', '2')}   {who:<22} {shown}")

    def table(self, rows: Mapping[str, str]) -> None:
        """Print names and values in two columns."""
        width = max(map(len, rows))
        for name, value in rows.items():
            self.say(f"  {self.paint(name.ljust(width), '1')}   {value}")


@dataclass
class Watch:
    """
    Follows a job and the run that waits for it, and prints each change once.

    :ivar since: when each task was first seen in each state, in seconds of the monotonic clock
    """

    screen: Screen
    airflow: LiveAirflow
    emulator: Emulator
    job_id: str
    run_id: str
    begun: float = field(default_factory=time.monotonic)
    since: dict[tuple[str, str], float] = field(default_factory=dict)
    _shown: dict[str, str] = field(default_factory=dict)

    def until_done(self, timeout: float) -> str:
        """Return the run's final state."""
        while True:
            state = self.airflow.dag_run_state(DAG_ID, self.run_id)
            self._look()
            if state in ("success", "failed"):
                return state
            if time.monotonic() - self.begun > timeout:
                raise DemoError(f"The run did not end within {timeout:.0f} s.")
            time.sleep(0.2)

    def deferred_for(self, task_id: str) -> float:
        """Return how many seconds a task was seen deferred."""
        begin = self.since.get((task_id, "deferred"))
        ends = [at for (task, _), at in self.since.items() if task == task_id and begin is not None and at > begin]
        return min(ends) - begin if begin is not None and ends else 0.0

    def _look(self) -> None:
        job = self.emulator.jobs.get(self.job_id)
        if job is not None:
            reading = job.look(self.emulator.clock())
            status = str(reading.status)
            progress = reading.progress // PROGRESS_STEP * PROGRESS_STEP
            self._show(f"job {self.job_id}", f"{status} {progress} %" if progress else status)
        for task_id, state in self.airflow.task_states(DAG_ID, self.run_id).items():
            if state is not None:
                self.since.setdefault((task_id, state), time.monotonic())
                self._show(f"task {task_id}", state)

    def _show(self, who: str, what: str) -> None:
        if self._shown.get(who) == what:
            return
        # Scheduling takes a moment, in which a task is "scheduled" and "queued": nothing a person waits for.
        if what in ("scheduled", "queued"):
            return
        self._shown[who] = what
        self.screen.event(time.monotonic() - self.begun, who, what)


def main() -> int:
    """Run the demo; return 0 if the clip arrived."""
    _be_calm()
    screen = Screen()
    try:
        with _alone():
            return _demo(screen, keep=os.environ.get("KEEP", "") not in ("", "0", "no", "false"))
    except DemoError as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"\nA package is missing: {error.name}. “make clean demo” installs all anew.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing is left running.", file=sys.stderr)
        return 130


def _demo(screen: Screen, *, keep: bool) -> int:
    begun = time.monotonic()
    media = FOLDER / "media"
    for stale in (media, FOLDER / "airflow"):
        shutil.rmtree(stale, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        with screen.step("Making a film of six seconds, with sound"):
            _make_film(media / BUCKET / SOURCE)
        emulator, connection = stack.enter_context(_emulator(media))
        with screen.step("Starting Airflow: scheduler, Dag processor, triggerer, API server"):
            airflow = stack.enter_context(_airflow(connection))
            airflow.wait_for_dag(DAG_ID)
        job_id = _create_job(connection)
        screen.say(f"Asked MPC's stand-in to cut seconds {CLIP_FROM} to {CLIP_TO}: it is job {job_id}.\n")
        run_id = airflow.trigger_dag(DAG_ID, {"job_id": job_id}, run_id="demo")
        watch = Watch(screen, airflow, emulator, job_id, run_id)
        state = watch.until_done(RUN_TIMEOUT)
        if state != "success":
            raise DemoError(_why_failed(airflow, run_id))
        result = airflow.xcom(DAG_ID, run_id, OUTPUT_TASK)
        used = airflow.xcom(DAG_ID, run_id, LAST_TASK)
        screen.say()
        screen.table(_summary(result, watch, emulator) | {f"{LAST_TASK} says": str(used)})
        screen.say(f"\nThe demo took {time.monotonic() - begun:.0f} s.")
        if keep:
            screen.say(f"Airflow's page (no password): {airflow.url}/dags/{DAG_ID}/runs/{run_id}")
            _wait_for_the_person(screen)
    screen.say("Nothing is left running." if keep else "Nothing is left running; make demo KEEP=1 stays up.")
    return 0


def _wait_for_the_person(screen: Screen) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdin.isatty():
            screen.say("Enter ends it.")
            sys.stdin.readline()
            return
        screen.say("Ctrl-C ends it.")
        while True:
            time.sleep(3600)
    screen.say()


def _be_calm() -> None:
    """Let nobody but this module write to the terminal, and let every way to stop end all processes."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError("another demo runs in this folder. End it first.") from None
        yield


def _make_film(path: Path) -> None:
    from airflow_provider_mpc.emulator.media import make_sample

    try:
        make_sample(path, seconds=SOURCE_SECONDS)
    except RuntimeError as error:
        raise DemoError(str(error)) from None


@contextlib.contextmanager
def _emulator(media: Path) -> Iterator[tuple[Emulator, str]]:
    from airflow_provider_mpc.emulator import Emulator, EmulatorServer

    emulator = Emulator(media_root=media, job_seconds=JOB_SECONDS)
    server = EmulatorServer(emulator)
    try:
        server.start()
    except OSError as error:
        raise DemoError(f"no port for MPC's stand-in: {error}") from None
    with contextlib.closing(emulator):
        try:
            yield emulator, server.connection_json()
        finally:
            server.stop()


@contextlib.contextmanager
def _airflow(connection: str) -> Iterator[LiveAirflow]:
    from scripts.live_airflow import LiveAirflow, LiveAirflowError

    airflow = LiveAirflow(home=FOLDER / "airflow", dags=[EXAMPLE], connections={CONNECTION_ID: connection})
    try:
        with airflow:
            yield airflow
    except LiveAirflowError as error:
        raise DemoError(f"Airflow is in trouble; its logs are in {airflow.home}/logs.\n{error}") from None


def _create_job(connection: str) -> str:
    """Ask for a clip through the hook, as a task of one's own would."""
    os.environ["AIRFLOW_HOME"] = str(FOLDER / "airflow")
    os.environ[f"AIRFLOW_CONN_{CONNECTION_ID.upper()}"] = connection
    from airflow_provider_mpc.hooks.mpc import MpcHook

    place = {"bucket": BUCKET, "location": "cn-north-4"}
    return MpcHook(CONNECTION_ID).create_editing_job(
        inputs=[
            {
                "input": {**place, "object": SOURCE},
                "timeline_start": str(CLIP_FROM),
                "timeline_end": str(CLIP_TO),
            }
        ],
        output={**place, "object": "out/", "file_name": "holiday-clip.mp4"},
        editing_settings={"format": "MP4"},
        editing_type=1,
        user_data="make demo",
    )


def _why_failed(airflow: LiveAirflow, run_id: str) -> str:
    failed = [task for task, state in airflow.task_states(DAG_ID, run_id).items() if state == "failed"]
    logs = "\n".join(f"--- {task}\n{airflow.task_log(DAG_ID, run_id, task)[-3000:]}" for task in failed)
    return f"the run failed at {', '.join(failed) or 'no task'}; all logs are in {airflow.home}/logs.\n{logs}"


def _summary(result: Mapping[str, Any], watch: Watch, emulator: Emulator) -> dict[str, str]:
    made = result["editing_output"] or {}
    video = made.get("video_info") or {}
    audio = (made.get("audio_info") or [{}])[0]
    output = result["output"]
    name = output["uri"].removeprefix(f"obs://{output['bucket']}/")
    clip = FOLDER / "media" / output["bucket"] / name
    waited = watch.since[(WAIT_TASK, "success")] - watch.begun
    deferred = watch.deferred_for(WAIT_TASK)
    rows = {
        "Job": str(result["job_id"]),
        "State": str(result["status"]),
        "Waited": f"{waited:.1f} s; for {deferred:.1f} s of that deferred, which holds no worker",
        "Output": output["uri"],
        "Duration": f"{made['duration_ms'] / 1000:.2f} s",
        "Resolution": f"{video.get('width')} x {video.get('height')}, {video.get('frame_rate'):g} frames/s",
        "Codecs": f"{video.get('codec')} and {audio.get('codec')}",
        "Size": f"{made['size_byte'] / 1000:.1f} kB",
        "Calls to MPC": f"{emulator.calls('create')} to create, {emulator.calls('list')} to query",
        "The clip": os.path.relpath(clip),
    }
    if not clip.is_file():
        raise DemoError(f"the clip should lie in {clip}, and does not.")
    return rows


if __name__ == "__main__":
    sys.exit(main())
