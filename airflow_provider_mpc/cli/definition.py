# SPDX-License-Identifier: Apache-2.0
"""What ``airflow mpc`` offers. Read at each start of ``airflow``, so the commands themselves are loaded when called."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_mpc.connection import DEFAULT_CONNECTION_ID

DEFAULT_INTERVAL = 10.0
SHORTEST_INTERVAL = 1.0

EXIT_CODES = (
    "Exit code: 0 all jobs have succeeded; 1 a job has failed or was cancelled; 2 it is not known: a job still runs "
    "(and --watch is not given), MPC does not know it, MPC could not be asked, or Ctrl-C."
)


def interval(text: str) -> float:
    """
    Return the seconds between two looks.

    :raises argparse.ArgumentTypeError: it is no number, or too short.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not SHORTEST_INTERVAL <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, {SHORTEST_INTERVAL:g} or more")
    return value


def get_mpc_cli_commands() -> list[Any]:
    """Return the commands; Airflow calls this as the ``cli`` entry of provider info says."""
    from airflow.cli import cli_config
    from airflow.cli.cli_config import (
        ARG_OUTPUT,
        ARG_VERBOSE,
        ActionCommand,
        GroupCommand,
        lazy_load_command,
    )

    # Airflow's class has no types.
    Arg: Any = cli_config.Arg  # noqa: N806
    jobs = ActionCommand(
        name="jobs",
        help="Show how clipping tasks stand",
        description="Show state, progress, times, output and reason of clipping tasks (editing jobs) of MPC.",
        epilog=EXIT_CODES,
        func=lazy_load_command("airflow_provider_mpc.cli.jobs.jobs"),
        args=(
            Arg(("job_ids",), nargs="+", metavar="ID", help="Ids of the jobs"),
            Arg(
                ("--conn-id",),
                default=DEFAULT_CONNECTION_ID,
                help=f"The connection to MPC (default: {DEFAULT_CONNECTION_ID})",
            ),
            ARG_OUTPUT,
            Arg(
                ("-w", "--watch"),
                action="store_true",
                help="Wait until all jobs have ended, and show their progress meanwhile (on standard error)",
            ),
            Arg(
                ("--interval",),
                type=interval,
                default=DEFAULT_INTERVAL,
                metavar="SECONDS",
                help=f"Seconds between two looks of --watch (default: {DEFAULT_INTERVAL:g})",
            ),
            ARG_VERBOSE,
        ),
    )
    return [GroupCommand(name="mpc", help="Clipping tasks of Huawei Cloud MPC", subcommands=(jobs,))]
