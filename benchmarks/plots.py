# SPDX-License-Identifier: Apache-2.0
"""Pictures where they tell more than the table."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pieces import Result

HERE = Path(__file__).parent
BIN = 10.0


def plot_notice(results: dict[str, Result]) -> None:
    """Draw which share of the ends was noticed how late."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, result in results.items():
        if not result.notice:
            continue
        shares = [(place + 1) / result.piece.jobs.count for place in range(len(result.notice))]
        axes.step(result.notice, shares, where="post", label=name)
    axes.set(xlabel="seconds from the job's end to the task's event", ylabel="share of all waits", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(HERE / "notice.png", dpi=110)
    plt.close(figure)


def plot_shared(result: Result) -> None:
    """Draw how two triggerers settle: their calls in each ten seconds, and those that were refused."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    last = int(max(at for at, _, _ in result.calls) // BIN) + 1
    middles = [(slot + 0.5) * BIN for slot in range(last)]
    for number in range(result.piece.triggerers):
        made = _per_bin([at for at, who, _ in result.calls if who == number], last)
        axes.plot(middles, made, marker="o", markersize=3, label=f"triggerer {number + 1}")
    refused = _per_bin([at for at, _, refused in result.calls if refused], last)
    axes.bar(middles, refused, width=BIN * 0.8, color="tab:red", alpha=0.6, label="refused (429), both")
    axes.axhline(100 / 60 * BIN, color="grey", linestyle="--", label="the limit for both together")
    axes.set(xlabel="seconds", ylabel=f"calls in {BIN:.0f} s", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(HERE / "two_triggerers.png", dpi=110)
    plt.close(figure)


def _per_bin(times: list[float], bins: int) -> list[int]:
    counts = [0] * bins
    for at in times:
        counts[max(0, int(at // BIN))] += 1
    return counts


def _pyplot():  # type: ignore[no-untyped-def]
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
