# SPDX-License-Identifier: Apache-2.0
"""The table, the machine, the JSON and the README's results."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import Bench, Row
from benchmarks.profiling import NONE_OF_OURS, SLEEP

HERE = Path(__file__).parent
README = HERE / "README.md"
RESULTS = HERE / "results.json"
BEGIN, END = "<!-- results: written by python -m benchmarks -->", "<!-- end of results -->"
DISTRIBUTIONS = (
    "apache-airflow",
    "apache-airflow-task-sdk",
    "apache-airflow-providers-dbt-cloud",
    "apache-airflow-providers-http",
    "apache-airflow-providers-common-compat",
    "aiohttp",
    "requests",
)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
    }


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["| case | peer | ours | wanted | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "reached" if row.met else "**missed**"
        lines.append(f"| {row.case} | {row.peer} | {row.ours} | {row.wanted} | {verdict} |")
    return "\n".join(lines)


def profile_tables(profile: dict[str, Any]) -> str:
    """Return where the CPU went, in Markdown."""
    loop, other = profile["loop_cpu"], profile["other_cpu"]
    calls = profile["calls"]
    ours = [one for one in profile["loop_ours"] if one[0] not in (SLEEP, NONE_OF_OURS)]
    spent = sum(seconds for _, seconds in calls)
    return "\n\n".join(
        (
            f"The event loop's thread took {loop:.2f} s, all other threads (our calls) {other:.2f} s.",
            _shares("the loop's thread, on behalf of", profile["loop_behalf"], loop),
            _shares("the loop's thread, whose code ran", profile["loop_own"], loop),
            _shares("the loop's thread, nearest function of ours", ours, loop),
            _shares(f"our calls, whose code ran (of {spent:.2f} s under cProfile)", calls, spent),
            "The functions of the loop's thread that took most:",
            _shares("function", profile["loop_lines"][:15], loop),
        )
    )


def write_json(place: dict[str, Any], rows: Iterable[Row], bench: Bench, extra: dict[str, Any]) -> None:
    """Keep all figures."""
    figures = {
        "machine": place,
        "rows": [row.__dict__ for row in rows],
        "pieces": {name: one.figures() for name, one in bench.results.items()},
        **extra,
    }
    RESULTS.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def footprint_table(lines: Iterable[tuple[str, str, str, str]]) -> str:
    """Return the footprint's lines as a table in Markdown."""
    return "\n".join(
        ("| what | floor | peer | ours |", "|---|---|---|---|", *(f"| {' | '.join(one)} |" for one in lines))
    )


def write_readme(
    place: dict[str, Any],
    rows: Iterable[Row],
    profile: dict[str, Any] | None,
    footprint: Iterable[tuple[str, str, str, str]],
) -> None:
    """Put the results between the README's two marks."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    versions = ", ".join(f"{name} {number}" for name, number in place["versions"].items())
    parts = [
        f"{place['date']}; {place['processors']} processors, {place['processor']}; {place['system']}; "
        f"Python {place['python']}; {versions}. Load of the machine when it began: {place['load_before']}; mean of the "
        f"last quarter of an hour when it ended: {place['load_after']}.",
        table(rows),
        "![notice time](notice.png)",
        "![two triggerers](two_triggerers.png)",
        "### Footprint",
        footprint_table(footprint),
    ]
    if profile is not None:
        parts += ["### Where the CPU goes", profile_tables(profile)]
    README.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")


def _shares(title: str, shares: list[tuple[str, float]], whole: float) -> str:
    lines = [f"| {title} | s | share |", "|---|---|---|"]
    lines += [f"| {name} | {seconds:.2f} | {seconds / (whole or 1.0):.0%} |" for name, seconds in shares if seconds > 0]
    return "\n".join(lines)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
