# SPDX-License-Identifier: Apache-2.0
"""``airflow mpc jobs --watch`` on a terminal: bars, and a clean end by Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from airflow_provider_mpc.emulator import Emulator

SHOW_CURSOR = "\x1b[?25h"
HIDE_CURSOR = "\x1b[?25l"
SLOW_MACHINE = 120.0
# pty.fork() would run Python in a copy of a process with threads, whose locks may stay locked for ever.
TAKE_THE_TERMINAL = """
import fcntl, os, signal, sys, termios
# A shell lets what it starts in the background ignore Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def on_terminal(*arguments: str, until: Callable[[str], bool] | None = None) -> tuple[int, str]:
    """
    Run ``airflow mpc jobs …`` on a terminal; return its exit code and what the terminal got.

    :param until: press Ctrl-C as soon as this holds of what the terminal got.
    """
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_THE_TERMINAL, "-m", "airflow", "mpc", "jobs", *arguments],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "180"},
        start_new_session=True,
    )
    os.close(inside)
    got = ""
    deadline = time.monotonic() + SLOW_MACHINE
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            got += data.decode(errors="replace")
        if until is not None and until(got):
            until = None
            os.write(terminal, b"\x03")
    else:
        process.kill()
    code = process.wait()
    os.close(terminal)
    return code, got


@pytest.mark.usefixtures("server")
def test_bars_are_shown_until_all_have_ended(emulator: Emulator) -> None:
    jobs = [emulator.job(["WAITING", "PROCESSING", "SUCCEEDED"]), emulator.job(["PROCESSING", "FAILED"])]
    code, got = on_terminal(*jobs, "--watch", "--interval", "1")
    assert code == 1
    bars, _, table = got.rpartition(SHOW_CURSOR)
    assert "━" in bars
    assert all(state in bars for state in ("WAITING", "PROCESSING"))
    assert "━" not in table
    assert all(state in table for state in ("SUCCEEDED", "FAILED", "The input file"))


def test_ctrl_c_leaves_a_clean_terminal(emulator: Emulator) -> None:
    job_id = emulator.job(["WAITING"])
    code, got = on_terminal(job_id, "--watch", until=lambda got: "WAITING" in got)
    assert code == 2
    assert got.count(HIDE_CURSOR) == got.count(SHOW_CURSOR) == 1
    assert got.endswith("Stopped. The jobs go on; their state is not known.\r\n")
    assert "Traceback" not in got
