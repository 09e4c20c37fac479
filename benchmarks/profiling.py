# SPDX-License-Identifier: Apache-2.0
"""Where the CPU goes: the loop's thread by samples, the poller's threads by cProfile, grouped by package."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import signal
import sysconfig
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

PERIOD = 0.002
"""Seconds of CPU between two samples."""
OURS = str(Path(__file__).parent.parent / "airflow_provider_mpc")
HARNESS = str(Path(__file__).parent)
BENEATH = ("greenback", "the benchmark itself")
"""Beneath every trigger's stack: they tell nothing of who works."""
LOOP = "asyncio itself"
NONE_OF_OURS = "none of ours"
SLEEP = "sleeping and waking up (epoll)"
STANDARD = sysconfig.get_paths()["stdlib"]

Shares = dict[str, float]


def package_of(file: str) -> str:
    """Return whose code a file is."""
    if file.startswith(OURS):
        return "airflow_provider_mpc"
    if file.startswith(HARNESS):
        return "the benchmark itself"
    for marker in ("site-packages/", "dist-packages/"):
        if marker in file:
            parts = file.rpartition(marker)[2].split("/")
            if parts[:2] == ["airflow", "providers"]:
                return ".".join(parts[:4])
            return "airflow" if parts[0] == "airflow" else parts[0].removesuffix(".py")
    if file.startswith(STANDARD):
        return "Python: " + file.removeprefix(STANDARD).lstrip("/").split("/")[0].removesuffix(".py")
    return "Python: built in"


class Profile:
    """
    Samples the loop's thread each few milliseconds of CPU, and profiles each call of our client.

    cProfile cannot follow the loop's thread: Airflow runs each trigger in a greenlet. The timer counts the CPU of all
    threads, so samples while the loop sleeps are left out, and what it takes to sleep and wake up is timed instead.
    """

    def __init__(self, kind: str) -> None:
        self.own: Shares = defaultdict(float)
        self.behalf: Shares = defaultdict(float)
        self.lines: Shares = defaultdict(float)
        self.nearest: Shares = defaultdict(float)
        self.asleep = 0.0
        self._calls: list[cProfile.Profile] = []
        self._lock = threading.Lock()
        if kind == "ours":
            self._profile_calls()
        self._time_sleep()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, PERIOD, PERIOD)

    def end(self, loop_cpu: float, cpu: float) -> dict[str, Any]:
        """Stop; return who took how many seconds."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        awake = max(0.0, loop_cpu - self.asleep)
        return {
            "loop_cpu": loop_cpu,
            "other_cpu": cpu - loop_cpu,
            "loop_behalf": _most(self._scaled(self.behalf, awake), 10),
            "loop_own": _most(self._scaled(self.own, awake), 12),
            "loop_ours": _most(self._scaled(self.nearest, awake), 14),
            "loop_lines": _most(self._scaled(self.lines, awake), 40),
            "calls": self._call_shares(),
        }

    def _scaled(self, samples: Shares, awake: float) -> Shares:
        whole = sum(samples.values()) or 1.0
        return {name: count / whole * awake for name, count in samples.items()} | {SLEEP: self.asleep}

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code.co_name == "select":
            return
        code = frame.f_code
        self.own[package_of(code.co_filename)] += 1
        self.lines[f"{package_of(code.co_filename)}: {code.co_qualname}"] += 1
        behalf = LOOP
        nearest = None
        while frame is not None:
            package = package_of(frame.f_code.co_filename)
            telling = not package.startswith("Python: ") and package not in BENEATH
            if telling and (behalf == LOOP or package == "airflow_provider_mpc"):
                behalf = package
            if nearest is None and package == "airflow_provider_mpc":
                nearest = frame.f_code.co_qualname
            frame = frame.f_back
        self.behalf[behalf] += 1
        self.nearest[nearest or NONE_OF_OURS] += 1

    def _time_sleep(self) -> None:
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        original = selector.select

        def select(timeout: float | None = None) -> Any:
            began = time.thread_time()
            try:
                return original(timeout)
            finally:
                self.asleep += time.thread_time() - began

        selector.select = select

    def _profile_calls(self) -> None:
        from airflow_provider_mpc.api.client import MpcClient

        query = MpcClient.query
        kept = threading.local()

        def profiled(*args: Any) -> Any:
            if not hasattr(kept, "profile"):
                kept.profile = cProfile.Profile(time.thread_time)
                with self._lock:
                    self._calls.append(kept.profile)
            try:
                kept.profile.enable()
            except ValueError:
                # Python 3.12 and later take one profile at a time.
                return query(*args)
            try:
                return query(*args)
            finally:
                kept.profile.disable()

        MpcClient.query = profiled  # type: ignore[method-assign]

    def _call_shares(self) -> list[tuple[str, float]]:
        shares: Shares = defaultdict(float)
        for profile in self._calls:
            for (file, _, _), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
                if file != "~":
                    shares[package_of(file)] += own
                    continue
                # What is built in counts for who called it.
                for (caller, _, _), figures in callers.items():
                    shares[package_of(caller)] += figures[2]
        return _most(shares, 12)


def _most(shares: Shares, count: int) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: -item[1])[:count]
