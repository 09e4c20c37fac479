# SPDX-License-Identifier: Apache-2.0
"""The cases: which pieces each needs, what it shows, and what is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from benchmarks import imports
from benchmarks.jobs import Jobs
from benchmarks.pieces import Piece, Result, percentile, run_pieces, throttled_share

NO_PEER = "-"
ROUND_TRIP = 0.1
"""Seconds allowed for one call here, from the due time to the event."""


@dataclass(frozen=True)
class Scale:
    """
    How much of everything.

    :param limited: numbers of waits with the limit on.
    :param waits: without.
    :param many: the large number of waits.
    :param shared: waits of two triggerers together.
    :param earliest: seconds to the first job's end.
    :param latest: and to the last.
    :param settle: seconds that two triggerers have to settle.
    :param singles: how many times one wait alone is tried.
    """

    limited: tuple[int, ...]
    waits: int
    many: int
    shared: int
    earliest: float
    latest: float
    settle: float
    singles: int

    def jobs(self, count: int) -> Jobs:
        """Return jobs for so many waits."""
        return Jobs(count, self.earliest, self.latest)


FULL = Scale((50, 200, 1000), 1000, 10_000, 1000, 20, 90, 120, 5)
QUICK = Scale((50, 200), 300, 2000, 300, 10, 30, 45, 2)


@dataclass(frozen=True)
class Row:
    """
    A line of the table.

    :param met: whether what is wanted was reached.
    """

    case: str
    peer: str
    ours: str
    wanted: str
    met: bool


@dataclass
class Bench:
    """Runs pieces, each once."""

    scale: Scale
    results: dict[str, Result] = field(default_factory=dict)

    async def result(self, piece: Piece) -> Result:
        """Return what came of a piece, which has the machine to itself."""
        return (await self.at_once([piece]))[0]

    async def at_once(self, pieces: list[Piece]) -> list[Result]:
        """Return what came of pieces that ran side by side."""
        for one in await run_pieces([piece for piece in pieces if piece.name not in self.results]):
            self.results[one.piece.name] = one
        return [self.results[piece.name] for piece in pieces]


def limited_piece(scale: Scale, kind: str, count: int) -> Piece:
    """Waits against a server with the limit."""
    return Piece(f"{kind}, {count} waits, limit on", kind, scale.jobs(count), limited=True, warm=False)


def free_piece(scale: Scale, kind: str, count: int) -> Piece:
    """Waits against a server without a limit."""
    return Piece(f"{kind}, {count} waits, no limit", kind, scale.jobs(count), limited=False)


def shared_piece(scale: Scale) -> Piece:
    """Two triggerers on one account; the jobs end only when the shares have been looked at for long enough."""
    jobs = Jobs(scale.shared, 2 * scale.settle, 2.5 * scale.settle)
    return Piece(f"two triggerers, {scale.shared // 2} waits each", "ours", jobs, True, triggerers=2, warm=False)


def single_pieces(scale: Scale, kind: str) -> list[Piece]:
    """One wait alone, several times over."""
    return [
        Piece(f"{kind}, one wait, try {seed}", kind, Jobs(1, scale.earliest, scale.latest, seed), True, warm=False)
        for seed in range(1, scale.singles + 1)
    ]


def profiled_piece(scale: Scale) -> Piece:
    """Ours without a limit, once more, with the profiler."""
    return Piece("profile", "ours", scale.jobs(scale.waits), limited=False, profile=True)


def light_pieces(scale: Scale) -> list[list[Piece]]:
    """Return the pieces whose CPU nobody compares, in groups that can run side by side."""
    peers = [limited_piece(scale, "peer", count) for count in scale.limited]
    ours = [limited_piece(scale, "ours", count) for count in scale.limited]
    singles = single_pieces(scale, "ours") + single_pieces(scale, "peer")[:1]
    return [peers, [*ours, shared_piece(scale)], singles]


async def limit_case(bench: Bench) -> list[Row]:
    """Waits under MPC's limit."""
    rows = []
    for count in bench.scale.limited:
        (peer,) = await bench.at_once([limited_piece(bench.scale, "peer", count)])
        (ours,) = await bench.at_once([limited_piece(bench.scale, "ours", count)])
        name = f"{count} waits, limit on"
        rows += [
            Row(
                f"{name}: false failures",
                f"{peer.false_failures} of {count}",
                str(ours.false_failures),
                "0",
                ours.false_failures == 0,
            ),
            Row(
                f"{name}: 429s",
                f"{peer.throttled:.0%} of {len(peer.calls)} calls",
                f"{ours.throttled:.1%} of {len(ours.calls)} calls",
                "≤ 1 %",
                ours.throttled <= 0.01,
            ),
        ]
    median, worst = _notice(ours)
    wanted_median, wanted_worst = (max(ours.piece.interval * 2, wish * count / 1000) for wish in (35, 70))
    rows.append(
        Row(
            f"{count} waits, limit on: notice p50 / p99",
            NO_PEER,
            f"{median:.1f} / {worst:.1f} s",
            f"≤ {wanted_median:.0f} / {wanted_worst:.0f} s",
            median <= wanted_median and worst <= wanted_worst,
        )
    )
    return rows


async def free_case(bench: Bench) -> list[Row]:
    """Waits without a limit: what each costs."""
    count = bench.scale.waits
    floor = await bench.result(free_piece(bench.scale, "floor", count))
    peer = await bench.result(free_piece(bench.scale, "peer", count))
    ours = await bench.result(free_piece(bench.scale, "ours", count))
    name = f"{count} waits, no limit"
    peer_cpu, our_cpu = peer.cpu - floor.cpu, ours.cpu - floor.cpu
    floor_lag, peer_lag, our_lag = (percentile(one.lag, 0.99) * 1000 for one in (floor, peer, ours))
    (peer_median, peer_worst), (median, worst) = _notice(peer), _notice(ours)
    calls, peer_calls = len(ours.calls), len(peer.calls)
    return [
        Row(f"{name}: calls", str(peer_calls), _part(calls, peer_calls, ""), "≤ 1/8", calls <= peer_calls / 8),
        Row(
            f"{name}: CPU above the floor of {floor.cpu:.2f} s",
            f"{peer_cpu:.2f} s",
            _part(our_cpu, peer_cpu, " s"),
            "≤ 1/4",
            our_cpu <= peer_cpu / 4,
        ),
        Row(
            f"{name}: event-loop lag p99 (floor: {floor_lag:.1f} ms)",
            f"{peer_lag:.1f} ms",
            _part(our_lag, peer_lag, " ms"),
            "≤ 1/5",
            our_lag <= peer_lag / 5,
        ),
        Row(
            f"{name}: notice p50 / p99",
            f"{peer_median:.1f} / {peer_worst:.1f} s",
            f"{median:.1f} / {worst:.1f} s",
            "no later than the peer's",
            median <= peer_median and worst <= peer_worst and not ours.false_failures,
        ),
    ]


async def many_case(bench: Bench) -> list[Row]:
    """Ten times as many."""
    few, many = bench.scale.waits, bench.scale.many
    floor_few = await bench.result(free_piece(bench.scale, "floor", few))
    ours_few = await bench.result(free_piece(bench.scale, "ours", few))
    floor = await bench.result(free_piece(bench.scale, "floor", many))
    ours = await bench.result(free_piece(bench.scale, "ours", many))
    name = f"{many} waits, no limit"
    cpu_few = (ours_few.cpu - floor_few.cpu) / few * 1000
    cpu = (ours.cpu - floor.cpu) / many * 1000
    memory = (ours.memory - floor.memory) / many / 1000
    succeeded = many - ours.false_failures
    return [
        Row(f"{name}: finished with success", NO_PEER, f"{succeeded} of {many}", "all", succeeded == many),
        Row(
            f"{name}: CPU a wait above the floor",
            NO_PEER,
            f"{cpu:.2f} ms",
            f"≤ {cpu_few:.2f} ms, as with {few}",
            cpu <= cpu_few,
        ),
        Row(f"{name}: memory a wait above the floor", NO_PEER, f"{memory:.1f} kB", "≤ 3 kB", memory <= 3),
    ]


async def shared_case(bench: Bench) -> list[Row]:
    """Two triggerers that know nothing of each other."""
    (ours,) = await bench.at_once([shared_piece(bench.scale)])
    settle = bench.scale.settle
    settled = [call for call in ours.calls if settle <= call[0] < 2 * settle]
    first = sum(number == 0 for _, number, _ in settled) / len(settled)
    share = max(first, 1 - first)
    throttled = throttled_share(settled)
    name = f"two triggerers, {bench.scale.shared // 2} waits each, limit on"
    return [
        Row(f"{name}: false failures", NO_PEER, str(ours.false_failures), "0", ours.false_failures == 0),
        Row(
            f"{name}: shares after {settle:.0f} s",
            NO_PEER,
            f"{share * 100:.0f}:{100 - share * 100:.0f} of {len(settled)} calls",
            "within 60:40",
            share <= 0.6,
        ),
        Row(
            f"{name}: 429s after {settle:.0f} s",
            NO_PEER,
            f"{throttled:.1%} ({ours.throttled:.1%} from the beginning)",
            "≤ 3 %",
            throttled <= 0.03,
        ),
    ]


async def single_case(bench: Bench) -> list[Row]:
    """One wait alone."""
    peers = await bench.at_once(single_pieces(bench.scale, "peer")[:1])
    ours = await bench.at_once(single_pieces(bench.scale, "ours"))
    latest = max((one.notice or [math.inf])[-1] for one in ours)
    interval = ours[0].piece.interval
    calls = [(len(one.calls), _calls_asked(one)) for one in ours]
    peer_notice = (peers[0].notice or [math.inf])[-1]
    return [
        Row(
            f"one wait, interval {interval:.0f} s: noticed, latest of {len(ours)}",
            f"{peer_notice:.2f} s (one try)",
            f"{latest:.2f} s",
            f"≤ {interval + ROUND_TRIP:.1f} s",
            latest <= interval + ROUND_TRIP,
        ),
        Row(
            f"one wait, interval {interval:.0f} s: calls",
            f"{len(peers[0].calls)}, asked {_calls_asked(peers[0])}",
            ", ".join(f"{made} of {asked}" for made, asked in calls),
            "no more than the interval asks",
            all(made <= asked for made, asked in calls),
        ),
    ]


async def import_case(bench: Bench) -> list[Row]:
    """What importing costs."""
    peer, ours = imports.import_seconds(imports.PEER), imports.import_seconds(imports.OURS)
    return [
        Row(
            "import of sensor and operator after airflow.sdk",
            f"{peer * 1000:.0f} ms (http sensor)",
            f"{ours * 1000:.1f} ms",
            "≤ 25 ms",
            ours <= 0.025,
        )
    ]


CASES = {
    "imports": import_case,
    "free": free_case,
    "many": many_case,
    "limit": limit_case,
    "shared": shared_case,
    "single": single_case,
}


def _calls_asked(result: Result) -> int:
    """Return how many looks fit: one at once, one after each interval until the end was seen."""
    seen = result.seen[0]
    return math.floor((seen["finished"] - seen["started"]) / result.piece.interval + 0.01) + 1


def _notice(result: Result) -> tuple[float, float]:
    return percentile(result.notice, 0.5), percentile(result.notice, 0.99)


def _part(ours: float, peer: float, unit: str) -> str:
    shown = f"{ours:.0f}" if not unit else f"{ours:.2f}"
    return f"{shown}{unit} (1/{peer / ours:.1f})" if ours > 0 else f"{shown}{unit}"
