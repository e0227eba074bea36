"""Figures as SVG: what a table says, at a glance, without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redistill.files import write
from redistill.report.table import Accuracies, Row

INK, MUTED, ACCENT = "#1b1f24", "#8a929c", "#0b6e99"


def canvas(width: float, height: float) -> tuple[Any, Any]:
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


def saved(figure: Any, path: Path) -> Path:
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
    figure, axes = canvas(7.0, 0.45 * len(rows) + 1.5)
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
    return saved(figure, path)


def curve_figure(
    path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], *, title: str, ylabel: str, xlabel: str = "steps"
) -> Path:
    """Lines over the steps of a run, labelled in a legend below the plot."""
    figure, axes = canvas(7.0, 4.4)
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
    return saved(figure, path)
