# SPDX-License-Identifier: Apache-2.0
"""End whole sessions of processes, also when the process that started them can no longer do it.

Run as a script it is a watchdog: it reads session ids from standard input (``+123`` to watch one, ``-123`` to
forget it) and, when the pipe closes because its parent has gone, kills what is left of those it watches.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable

import psutil


def members(sessions: Iterable[int]) -> list[int]:
    """Return the pids of all live processes in the given sessions, zombies left out."""
    wanted = set(sessions)
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) in wanted and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def kill_sessions(sessions: Iterable[int], timeout: float = 10.0) -> list[int]:
    """
    Send SIGKILL to every process of the sessions until none is left.

    :param sessions: session ids (the pid of each session's leader)
    :param timeout: seconds to keep trying
    :return: the pids still alive when time was up, normally none
    """
    wanted = set(sessions)
    deadline = time.monotonic() + timeout
    while left := members(wanted):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []


def main() -> None:
    """Watch the sessions named on standard input; at its end kill them and remove the folders in ``argv``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: set[int] = set()
    for line in sys.stdin:
        session = int(line[1:])
        if line.startswith("+"):
            watched.add(session)
        else:
            watched.discard(session)
    kill_sessions(watched)
    for folder in sys.argv[1:]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
