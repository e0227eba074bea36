"""Figures as SVG: what a table says, at a glance, without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redistill.files import write
from redistill.report.table import Accuracies, Row

INK, MUTED, ACCENT = "#1b1f24", "#8a929c", "#0b6e99"


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("svg")
    # text stays text (searchable, small), and the file is the same for the same numbers
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "redistill", "font.family": "sans-serif", "font.size": 10})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    drawn = io.BytesIO()
    try:
        figure.savefig(drawn, format=path.suffix.removeprefix(".") or "svg", metadata={"Date": None, "Creator": "redistill"})
    finally:
        plt.close(figure)
    write(path, drawn.getvalue())
    return path


def accuracy_figure(path: Path, rows: Sequence[Row], accuracies: Accuracies, baseline: str, title: str) -> Path:
    """Mean and 95 % interval of each method, every seed as a dot, the baseline's mean as a line."""
    figure, axes = _figure(7.0, 0.45 * len(rows) + 1.5)
    for y, row in enumerate(reversed(rows)):
        colour = MUTED if row.method == baseline else ACCENT
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.5, solid_capstyle="round", alpha=0.45)
        axes.plot(list(accuracies[row.method].values()), [y] * row.n, "o", color=colour, markersize=4, alpha=0.8)
        axes.plot([row.mean], [y], "D", color=INK, markersize=5)
    axes.axvline(next(r.mean for r in rows if r.method == baseline), color=MUTED, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [r.method for r in reversed(rows)])
    axes.set_xlabel("test accuracy, last step, %  (diamond: mean; dots: seeds; bar: 95 % interval)")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    return _save(figure, path)


def curve_figure(
    path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], *, title: str, ylabel: str, xlabel: str = "steps"
) -> Path:
    """Lines over the steps of a run, labelled in a legend below the plot."""
    figure, axes = _figure(7.0, 4.4)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    markers = "osv^D<>ph*"
    for i, (name, points) in enumerate(curves.items()):
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, marker=markers[i % len(markers)], markersize=3, linewidth=1.3, label=name, color=f"C{i % 10}")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    # as many columns as fit below the plot
    columns = max(1, min(4, 100 // (max(map(len, curves), default=0) + 5)))
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    return _save(figure, path)


PALETTE = ("#0b6e99", "#c2571a", "#5b8c3a", "#8a4f9e", "#b08a00", "#3f4a5a", "#a8324e", "#2a9d8f")
"""Told apart by people who see no red or green, and in print without colours by their order of brightness."""

Seeds = Sequence[Sequence[tuple[int, float]]]


def seeds_figure(path: Path, curves: Mapping[str, Seeds], *, title: str, line: float | None = None) -> Path:
    """Mean over the seeds of each cell, a band from the lowest to the highest seed, and its name at the end of the line.

    Args:
        curves: (steps taken, percent) of every seed, by cell. line: a value to be drawn across, in percent.
    """
    figure, axes = _figure(7.5, 4.4)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    ends: list[tuple[float, float, str, str]] = []
    for number, (name, seeds) in enumerate(curves.items()):
        colour = PALETTE[number % len(PALETTE)]
        by_step: dict[int, list[float]] = {}
        for seed in seeds:
            for step, value in seed:
                by_step.setdefault(step, []).append(value)
        steps = sorted(step for step, values in by_step.items() if len(values) == len(seeds)) or sorted(by_step)
        means = [sum(by_step[step]) / len(by_step[step]) for step in steps]
        if len(seeds) > 1:
            lows, highs = [min(by_step[step]) for step in steps], [max(by_step[step]) for step in steps]
            axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(steps, means, color=colour, linewidth=1.8)
        ends.append((means[-1], float(steps[-1]), name, colour))
    if line is not None:
        axes.axhline(line, color=MUTED, linewidth=1, linestyle=":")
    low, high = axes.get_ylim()
    at = low - 1.0
    for value, last, name, colour in sorted(ends):  # names that would lie on each other are moved up
        at = max(value, at + 0.05 * (high - low))
        axes.annotate(name, (last, value), xytext=(axes.get_xlim()[1], at), textcoords="data", color=colour, va="center", fontsize=9)
    axes.set_xlabel("steps")
    axes.set_ylabel("%  (mean; band: lowest to highest seed)")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    return _save(figure, path)
