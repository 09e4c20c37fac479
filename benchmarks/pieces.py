# SPDX-License-Identifier: Apache-2.0
"""One piece of the benchmark: a fresh server, and one or more fresh triggerers that wait for its jobs."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_mpc.api.budget import MPC_LIMIT
from benchmarks.connections import connections
from benchmarks.jobs import Jobs

ROOT = Path(__file__).parent.parent
NO_LIMIT = "100000"
LONGEST_LINE = 2**26
TIME_TO_PREPARE = 5.0
TIME_TO_PREPARE_A_WAIT = 0.001
CALL_STREAM = tuple[float, int, bool]


@dataclass(frozen=True)
class Piece:
    """
    What is measured at once.

    :param name: for people.
    :param kind: ``floor``, ``peer`` or ``ours``.
    :param jobs: the jobs that are waited for.
    :param limited: whether the server allows 100 calls a minute; without, ours is told that there is no limit.
    :param triggerers: processes that share the jobs evenly.
    :param interval: seconds between two looks.
    :param warm: see :class:`benchmarks.triggerer.Spec`.
    :param profile: likewise.
    """

    name: str
    kind: str
    jobs: Jobs
    limited: bool
    triggerers: int = 1
    interval: float = 10.0
    warm: bool = True
    profile: bool = False


@dataclass
class Result:
    """
    What came of a piece.

    :param calls: those the server saw: seconds after the beginning, number of the triggerer, whether refused.
    :param seen: what each triggerer saw, as :class:`benchmarks.triggerer.Seen`.
    """

    piece: Piece
    calls: list[CALL_STREAM]
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def notice(self) -> list[float]:
        """Seconds from each job's end to its event, ascending."""
        return sorted(seconds for one in self.seen for seconds in one["notice"])

    @property
    def false_failures(self) -> int:
        """Waits that did not end with success."""
        return sum(one["false_failures"] for one in self.seen)

    @property
    def throttled(self) -> float:
        """Share of the calls that were refused with 429."""
        return throttled_share(self.calls)

    @property
    def cpu(self) -> float:
        """CPU seconds of the triggerers."""
        return sum(one["cpu"] for one in self.seen)

    @property
    def lag(self) -> list[float]:
        """Seconds that the loops were late."""
        return sorted(seconds for one in self.seen for seconds in one["lag"])

    @property
    def memory(self) -> int:
        """Bytes that the waits took."""
        return sum(one["memory"] - one["memory_before"] for one in self.seen)

    def figures(self) -> dict[str, Any]:
        """Return all that is worth keeping, as JSON types."""
        first = self.seen[0]
        return {
            "piece": asdict(self.piece),
            "waits": self.piece.jobs.count,
            "calls": len(self.calls),
            "throttled": sum(refused for _, _, refused in self.calls),
            "false_failures": self.false_failures,
            "first_failures": first["first_failures"],
            "notice_s": spread(self.notice),
            "lag_s": spread(self.lag),
            "cpu_s": round(self.cpu, 3),
            "loop_cpu_s": round(sum(one["loop_cpu"] for one in self.seen), 3),
            "memory_bytes": self.memory,
            "started_s": round(first["started"], 3),
            "finished_s": round(first["finished"], 3),
        }


def throttled_share(calls: list[CALL_STREAM]) -> float:
    """Return the share of calls that were refused."""
    return sum(refused for _, _, refused in calls) / len(calls) if calls else 0.0


def percentile(ascending: list[float], share: float) -> float:
    """Return the value below which so large a share lies; nan of nothing."""
    if not ascending:
        return float("nan")
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def spread(ascending: list[float]) -> dict[str, float] | None:
    """Return what describes a distribution."""
    if not ascending:
        return None
    figures = {
        "p50": percentile(ascending, 0.5),
        "p90": percentile(ascending, 0.9),
        "p99": percentile(ascending, 0.99),
        "max": ascending[-1],
        "mean": statistics.fmean(ascending),
    }
    return {name: round(value, 4) for name, value in figures.items()}


class PieceError(Exception):
    """A process of the benchmark ended before its time."""


async def run_pieces(pieces: list[Piece]) -> list[Result]:
    """Run pieces at once. Only for those whose CPU is not compared."""
    return await asyncio.gather(*(_run_or_repeat(piece) for piece in pieces))


async def _run_or_repeat(piece: Piece) -> Result:
    """Run a piece; once more if it broke, lest one stumble cost twenty minutes."""
    try:
        return await run_piece(piece)
    except PieceError as error:
        print(f"  {piece.name}: {error}; once more", file=sys.stderr, flush=True)
        return await run_piece(piece)


async def run_piece(piece: Piece) -> Result:
    """
    Run one piece.

    :raises PieceError: one of its processes did not live to the end.
    """
    told = time.monotonic()
    print(f"  {piece.name} …", file=sys.stderr, flush=True)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(_server(piece))
        ports = (await _hear(server))["ports"]
        triggerers = [
            await stack.enter_async_context(_triggerer(piece, number, port)) for number, port in enumerate(ports)
        ]
        for triggerer in triggerers:
            await _hear(triggerer)
        began = time.time() + TIME_TO_PREPARE + piece.jobs.count * TIME_TO_PREPARE_A_WAIT
        await _tell(server, {"begin": began})
        await _hear(server)
        for triggerer in triggerers:
            await _tell(triggerer, {"begin": began})
        seen = [await _hear(triggerer) for triggerer in triggerers]
        await _tell(server, {"report": True})
        calls = [(at, port, refused) for at, port, refused in (await _hear(server))["calls"]]
    print(f"  {piece.name}: {time.monotonic() - told:.0f} s", file=sys.stderr, flush=True)
    return Result(piece, calls, seen)


@asynccontextmanager
async def _server(piece: Piece) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = ["--jobs", json.dumps(asdict(piece.jobs)), "--ports", str(piece.triggerers)]
    if piece.limited:
        arguments += ["--limit", str(MPC_LIMIT)]
    async with _process("benchmarks.load_server", arguments, dict(os.environ)) as process:
        yield process


@asynccontextmanager
async def _triggerer(piece: Piece, number: int, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    share = piece.jobs.count // piece.triggerers
    spec = {
        "kind": piece.kind,
        "jobs": asdict(piece.jobs),
        "first": number * share,
        "count": share,
        "interval": piece.interval,
        "warm": piece.warm,
        "profile": piece.profile,
    }
    with tempfile.TemporaryDirectory(prefix="mpc-benchmark-", ignore_cleanup_errors=True) as home:
        environment = airflow_environment(home) | connections(port)
        if not piece.limited:
            environment["AIRFLOW__MPC__CALLS_PER_MINUTE"] = NO_LIMIT
        async with _process("benchmarks.triggerer", [json.dumps(spec)], environment) as process:
            yield process


def airflow_environment(home: str) -> dict[str, str]:
    """Return an environment in which Airflow knows nothing of this machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    return kept | {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def _process(
    module: str, arguments: list[str], environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        cwd=ROOT,
        limit=LONGEST_LINE,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _hear(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise PieceError("a process ended before its time, its words are above")
    heard: dict[str, Any] = json.loads(line)
    return heard


async def _tell(process: asyncio.subprocess.Process, what: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what).encode() + b"\n")
    await process.stdin.drain()
