"""Plots of results, as matplotlib figures."""

from __future__ import annotations

import io
from pathlib import Path

from ..errors import UnsupportedError

OURS, THEIRS, ACCENT = "#0b7285", "#adb5bd", ("#0b7285", "#f08c00", "#5f3dc4", "#2b8a3e", "#c92a2a", "#868e96")

WIDTH = 7.0  # inches
MOST_TIMES = 8  # the fastest engine's time, of what a plot has room for


def new_figure(width: float, height: float):
    """A figure of so many inches and its axes."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnsupportedError("plots need matplotlib; pip install 'tvm-zerocopy[bench]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def race_plot(engines: list, width: float = WIDTH):
    """Median milliseconds a frame of each engine that ran, its 99th percentile as a whisker; the fastest on top.

    What is many times slower than the others runs out of the plot, with its figure on it.
    """
    rows = sorted((row for row in engines if row["status"] == "ran"), key=lambda row: -row["median"])
    figure, axes = new_figure(width, 0.9 + 0.4 * max(len(rows), 1))
    limit = max([MOST_TIMES * rows[-1]["median"] * 1e3, *(row["p99"] * 1e3 for row in rows[-2:])]) if rows else 1.0
    end = 0.0
    for place, row in enumerate(rows):
        median, p99 = row["median"] * 1e3, min(row["p99"] * 1e3, limit)
        end = max(end, min(median, limit), p99)
        axes.barh(place, min(median, limit), color=OURS if row["name"].startswith("ours") else THEIRS, height=0.7)
        if median < limit:
            axes.plot([median, p99], [place, place], color="#343a40", linewidth=1)
            axes.annotate(f"{median:.1f}", (max(median, p99), place), (4, 0), textcoords="offset points", va="center")
        else:
            text = f"{median:.0f} \N{RIGHTWARDS ARROW}"
            axes.annotate(text, (limit, place), (-4, 0), textcoords="offset points", va="center", ha="right")
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.set_xlim(0, end * 1.1 or 1)
    axes.set_xlabel("ms a frame (line: 99th percentile)")
    return figure


def stages_plot(stages: list, width: float = WIDTH):
    """One stacked bar of medians, a stage a segment."""
    figure, axes = new_figure(width, 2.0)
    left = 0.0
    for number, stage in enumerate(stages):
        span = stage["median"] * 1e3
        label = f"{stage['name']} {span:.2f} ms"
        axes.barh(0, span, left=left, color=ACCENT[number % len(ACCENT)], label=label, height=0.6)
        left += span
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("ms a frame (medians)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)
    return figure


def layers_plot(layers: list, peak: float, width: float = WIDTH):
    """GFLOP/s of each kernel with arithmetic, as wide as its share of the time; the machine's peak as a line."""
    figure, axes = new_figure(width, 2.8)
    left = 0.0
    for row in layers:
        span = row["share"] * 100
        if row["gflops"]:
            axes.bar(left, row["gflops"], span, align="edge", color=OURS, edgecolor="white", linewidth=0.4)
        else:
            axes.bar(left, peak * 0.01, span, align="edge", color=ACCENT[1])
        left += span
    axes.axhline(peak, color=ACCENT[4], linewidth=1)
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    axes.annotate(
        "measured peak", (100, peak), (0, 3), textcoords="offset points", ha="right", color=ACCENT[4], bbox=behind
    )
    axes.set_xlabel("% of the time, kernels in the program's order")
    axes.set_ylabel("GFLOP/s")
    axes.set_xlim(0, 100)
    return figure


def plot_of(result: dict):
    """The plot of the first part that the result has: race, stages, layers."""
    if result["engines"]:
        return race_plot(result["engines"])
    if "stages" in result:
        return stages_plot(result["stages"]["rows"])
    return layers_plot(result["layers"]["rows"], result["layers"]["peak_gflops"])


def save(figure, path: str) -> None:
    """As a PNG file.

    Raises
    ------
    UnsupportedError
        If it cannot be written.
    """
    try:
        figure.savefig(Path(path), dpi=150, format="png")
    except OSError as error:
        raise UnsupportedError(f"{path}: {error.strerror or error}; give a file that can be written") from None


def svg(figure) -> str:
    """As an SVG element to put into a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
