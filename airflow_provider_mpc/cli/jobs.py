# SPDX-License-Identifier: Apache-2.0
"""``airflow mpc jobs``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from airflow.cli.simple_table import AirflowConsole
from airflow.providers.common.compat.sdk import AirflowException
from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_mpc.api.errors import MpcError
from airflow_provider_mpc.api.job_ids import normalize_job_ids
from airflow_provider_mpc.api.models import EditingJob, JobState
from airflow_provider_mpc.cli.watching import printable, watch
from airflow_provider_mpc.hooks.mpc import MpcHook

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_UNKNOWN = 2
NOT_FOUND = "NOT FOUND"


def jobs(args: Any) -> NoReturn:
    """Show how clipping tasks stand; the exit code tells it too."""
    # Otherwise Airflow would look for the connection everywhere but in its own database.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    codes: list[int] = []
    suppress_logs_and_warning(lambda args: codes.append(_jobs(args)))(args)
    sys.exit(codes[0])


def _jobs(args: Any) -> int:
    try:
        job_ids = normalize_job_ids([one for text in args.job_ids for one in text.removesuffix(",").split(",")])
        if args.watch:
            found = watch(args.conn_id, job_ids, interval=args.interval, stream=sys.stderr)
        else:
            found = {job.job_id: job for job in MpcHook(args.conn_id).get_editing_jobs(job_ids, missing_ok=True)}
    except KeyboardInterrupt:
        return _give_up("Stopped. The jobs go on; their state is not known.")
    except (MpcError, AirflowException) as error:
        return _give_up(str(error))
    report([row(job_id, found.get(job_id)) for job_id in job_ids], args.output)
    return exit_code(job_ids, found)


def _give_up(words: str) -> int:
    sys.stderr.write(f"{printable(words)}\n")
    return EXIT_UNKNOWN


def exit_code(job_ids: Sequence[str], found: Mapping[str, EditingJob]) -> int:
    """Return the code for jobs of which some may not have been found."""
    states = [found[job_id].state if job_id in found else JobState.ABSENT for job_id in job_ids]
    if JobState.FAILED in states:
        return EXIT_FAILED
    return EXIT_SUCCEEDED if all(state is JobState.SUCCEEDED for state in states) else EXIT_UNKNOWN


def row(job_id: str, job: EditingJob | None) -> dict[str, Any]:
    """Return what is shown of a job; None: MPC does not know it."""
    if job is None:
        return dict.fromkeys(COLUMNS) | {"job_id": job_id, "state": NOT_FOUND}
    # A job that succeeded may have a code and a description too; they say that it is done.
    reason = (job.reason_code, job.reason) if job.state is not JobState.SUCCEEDED else ()
    values = (
        job.job_id,
        job.status or "NO STATUS",
        job.progress,
        *(
            f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else None
            for moment in (job.create_time, job.start_time, job.end_time)
        ),
        job.output.uri,
        " ".join(part for part in reason if part) or None,
    )
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in zip(COLUMNS, values, strict=True)
    }


COLUMNS = ("job_id", "state", "progress", "created", "started", "ended", "output", "reason")


def for_people(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return rows as texts, without the columns in which there is nothing to read."""
    shown = [name for name in COLUMNS if any(one[name] is not None for one in rows)]
    return [
        {name: "" if one[name] is None else f"{one[name]}%" if name == "progress" else str(one[name]) for name in shown}
        for one in rows
    ]


def report(rows: Sequence[dict[str, Any]], output: str) -> None:
    """Print rows in one of Airflow's formats."""
    terminal = sys.stdout.isatty()
    # MPC's words are no markup, and no control codes go where no terminal is.
    color = "auto" if terminal else None
    console = AirflowConsole(markup=False, emoji=False, force_terminal=terminal, color_system=color)
    console.print_as(for_people(rows) if output in ("table", "plain") else rows, output)
