"""The learning curve as a picture."""

from collections.abc import Sequence
from pathlib import Path

from clients.simulated.measurement import Point

INK, ACCENT, QUIET = "#1f2933", "#0b6e8f", "#9aa5b1"


def draw_curve(points: Sequence[Point], title: str, path: Path) -> None:
    """Write a PNG: each version's win rate with its 95 % interval; below it, length and correctness of the answers."""
    import matplotlib as mpl
    from matplotlib.figure import Figure  # draws with Agg, and without the windows of pyplot
    from matplotlib.ticker import PercentFormatter

    style = {
        "font.size": 10,
        "axes.edgecolor": QUIET,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 6.4), dpi=150, layout="constrained")
        rate, length = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        positions = list(range(len(points)))
        wins = [point.win_rate for point in points]
        below = [point.win_rate - point.interval[0] for point in points]
        above = [point.interval[1] - point.win_rate for point in points]
        rate.axhline(0.5, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        rate.annotate(
            "no better than version 0",
            (1, 0.5),
            (-4, -12),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color=QUIET,
            fontsize=9,
        )
        rate.errorbar(
            positions,
            wins,
            yerr=[below, above],
            color=ACCENT,
            linewidth=2,
            marker="o",
            markersize=5,
            capsize=3,
            elinewidth=1.2,
        )
        rate.set_ylim(min(0.3, *(point.interval[0] - 0.05 for point in points)), 1.0)
        rate.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        rate.set_ylabel("win rate against version 0")
        rate.set_title(title, loc="left", fontweight="bold", fontsize=11)
        length.plot(
            positions, [point.mean_length for point in points], color=INK, linewidth=1.5, marker="o", markersize=4
        )
        length.set_ylim(0, max(point.mean_length for point in points) * 1.2)
        length.set_ylabel("characters per answer")
        length.set_xlabel("version (and the count of feedback behind it)")
        length.set_xticks(positions, [f"{point.version}\n({point.items})" for point in points])
        right = length.twinx()
        right.plot(positions, [point.right for point in points], color=ACCENT, linewidth=1.5, marker="s", markersize=4)
        right.set_ylim(0, 1)
        right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        right.set_ylabel("right answers", color=ACCENT)
        for axes in (rate, length, right):
            axes.spines["top"].set_visible(False)
            axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
            axes.set_axisbelow(True)
        right.grid(visible=False)
        rate.spines["right"].set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png")
