# SPDX-License-Identifier: Apache-2.0
"""``python -m airflow_provider_mpc.emulator``: the emulator in a process of its own."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, get_args

from airflow_provider_mpc.emulator.connection import ENVIRONMENT_VARIABLE, Auth
from airflow_provider_mpc.emulator.limiter import Window
from airflow_provider_mpc.emulator.server import EmulatorServer
from airflow_provider_mpc.emulator.state import DEFAULT_JOB_SECONDS, Emulator

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit code."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    emulator = Emulator(
        options.media_root,
        options.calls_per_minute,
        options.limiter,
        options.job_seconds,
        region=options.region,
        project_id=options.project_id,
    )
    server = EmulatorServer(emulator, options.host, options.port)
    try:
        if emulator.media_root is not None:
            emulator.media_root.mkdir(parents=True, exist_ok=True)
            emulator.studio.check()
        server.start()
    except (OSError, RuntimeError, OverflowError) as error:
        _say(f"Cannot start the emulator on {options.host}:{options.port}: {error}", sys.stderr)
        return EXIT_USAGE
    _say(_welcome(server, options.auth), sys.stdout)
    # In steps: a wait without a timeout would not let the signal handlers run on every platform.
    while not stop.wait(0.5):
        pass
    server.stop()
    emulator.close()
    return 0


def _say(text: str, stream: TextIO) -> None:
    print(text, file=stream, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_mpc.emulator",
        description="A stand-in for Huawei Cloud MPC and IAM, for tests and demos.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8089, help="0 picks a free one (default: %(default)s)")
    parser.add_argument(
        "--media-root",
        type=Path,
        metavar="DIR",
        help="the folder whose sub-folders are buckets; clips are cut here",
    )
    parser.add_argument(
        "--calls-per-minute",
        type=int,
        metavar="N",
        help="refuse more calls than this for each API, as MPC does at 100",
    )
    parser.add_argument("--limiter", choices=get_args(Window), default="sliding", help="(default: %(default)s)")
    parser.add_argument(
        "--job-seconds",
        type=float,
        default=DEFAULT_JOB_SECONDS,
        metavar="S",
        help="how long a job takes at least (default: %(default)s)",
    )
    parser.add_argument("--region", default="cn-north-4", help="(default: %(default)s)")
    parser.add_argument("--project-id", default="0123456789abcdef0123456789abcdef", help="(default: %(default)s)")
    parser.add_argument(
        "--auth",
        choices=get_args(Auth),
        default="aksk",
        help="the connection to print (default: %(default)s)",
    )
    return parser


def _welcome(server: EmulatorServer, auth: Auth) -> str:
    uri, text = server.connection_uri(auth), server.connection_json(auth)
    return "\n".join(
        (
            f"MPC emulator on {server.url}   (steer it under {server.url}/_emulator; stop it with Ctrl-C)",
            "",
            "The connection as a URI:",
            f"  {uri}",
            "as JSON:",
            f"  {text}",
            "Give it to Airflow:",
            f"  export {ENVIRONMENT_VARIABLE}={shlex.quote(text)}",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
