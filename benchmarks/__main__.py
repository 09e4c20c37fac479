# SPDX-License-Identifier: Apache-2.0
"""
``python -m benchmarks [case …] [--quick]``: measure, print the table, say whether all is as wanted.

A run of all cases at full size takes about half an hour and writes ``results.json``, two pictures and the results
in ``README.md``. A quick one, or one of some cases, only prints.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from typing import Any

from benchmarks import footprint, plots, report, workers
from benchmarks.cases import (
    CASES,
    FULL,
    QUICK,
    Bench,
    Row,
    Scale,
    free_piece,
    light_pieces,
    limited_piece,
    profiled_piece,
    shared_piece,
)

PROFILE = "profile"
WORKERS = "workers"


async def measure(names: list[str], scale: Scale) -> tuple[Bench, list[Row], dict[str, Any] | None]:
    """Run cases; return what came of them."""
    bench = Bench(scale)
    rows: list[Row] = []
    profile = None
    for name in (name for name in CASES if name in names and name in ("imports", "free", "many")):
        rows += await CASES[name](bench)
    if PROFILE in names:
        profile = (await bench.result(profiled_piece(scale))).seen[0]["profile"]
    if {"limit", "shared", "single"} <= set(names):
        # Nobody compares their CPU, and they mostly sleep: side by side they take a third of the time.
        for group in light_pieces(scale):
            await bench.at_once(group)
    for name in (name for name in CASES if name in names and name in ("limit", "shared", "single")):
        rows += await CASES[name](bench)
    return bench, rows, profile


def keep(place: dict[str, Any], bench: Bench, rows: list[Row], profile: dict[str, Any] | None) -> None:
    """Write down a full run."""
    scale = bench.scale
    kinds = {kind: bench.results[free_piece(scale, kind, scale.waits).name] for kind in ("floor", "peer", "ours")}
    held = workers.measure()
    footprints = footprint.lines(kinds) + workers.lines(held)
    report.write_json(place, rows, bench, {PROFILE: profile, "footprint": footprints, WORKERS: workers.as_json(held)})
    report.write_readme(place, rows, profile, footprints)
    pieces = {
        f"dbt Cloud's trigger, {scale.waits} waits, no limit": free_piece(scale, "peer", scale.waits),
        f"ours, {scale.waits} waits, no limit": free_piece(scale, "ours", scale.waits),
        **{f"ours, {count} waits, 100 calls a minute": limited_piece(scale, "ours", count) for count in scale.limited},
    }
    plots.plot_notice({label: bench.results[piece.name] for label, piece in pieces.items()})
    plots.plot_shared(bench.results[shared_piece(scale).name])


def main() -> int:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="*", choices=[*CASES, PROFILE, WORKERS, []], help="all, if none is named")
    parser.add_argument("--quick", action="store_true", help="a smaller one, to see that it works")
    arguments = parser.parse_args()
    # A full run measures the workers when it is written down.
    names = arguments.case or [*CASES, PROFILE]
    place = report.machine()
    began = time.monotonic()
    bench, rows, profile = asyncio.run(measure(names, QUICK if arguments.quick else FULL))
    if rows:
        print(f"\n{report.table(rows)}\n")
    if profile is not None:
        print(f"{report.profile_tables(profile)}\n")
    if WORKERS in names:
        print(f"{report.footprint_table(workers.lines(workers.measure()))}\n")
    if not arguments.quick and not arguments.case:
        place["load_after"] = round(os.getloadavg()[2], 2)
        keep(place, bench, rows, profile)
    missed = [row.case for row in rows if not row.met]
    print(f"{time.monotonic() - began:.0f} s. " + ("Missed: " + "; ".join(missed) if missed else "All as wanted."))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
