"""Figures of accuracies: methods beside each other, curves over a run, numbers of a paper beside ours, accuracy against M."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.errors import plain
from redistill.report.style import ACCENT, GRID, INK, MUTED, RUST, heading, label_ends, name_of, panels, room_for, save
from redistill.report.table import Accuracies, Row
from redistill.report.traces import Curve, Traces

BESIDE = 1.3
"""Inches of a figure's height that its axes do not have: title, ticks and the name of the x axis."""


def accuracy_figure(path: Path, rows: Sequence[Row], accuracies: Accuracies, baseline: str, title: str) -> Path:
    """Mean and 95 % interval of each method, every seed as a dot, the baseline's mean as a line."""
    figure, (axes,) = panels(height=0.45 * len(rows) + 1.5)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    for y, row in enumerate(reversed(rows)):
        colour = MUTED if row.method == baseline else ACCENT
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.5, solid_capstyle="round", alpha=0.45)
        axes.plot(list(accuracies[row.method].values()), [y] * row.n, "o", color=colour, markersize=4, alpha=0.8)
        axes.plot([row.mean], [y], "D", color=INK, markersize=5)
    axes.axvline(next(r.mean for r in rows if r.method == baseline), color=MUTED, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [plain(r.method) for r in reversed(rows)])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_xlabel("test accuracy, last step, %  (diamond: mean; dots: seeds; bar: 95 % interval)")
    heading(figure, title)
    means = "; ".join(f"{row.method} {row.mean:.2f}" for row in rows)
    return save(figure, path, title, f"Mean test accuracy in percent: {means}.")


def curve_figure(path: Path, curves: Mapping[str, Curve], *, title: str, ylabel: str, xlabel: str = "steps") -> Path:
    """One line a name over the steps of a run, named at its end."""
    single = {name: Traces([points]) for name, points in curves.items()}
    return save(curves_of(single, title=title, ylabel=ylabel, xlabel=xlabel), path, title, ends_of(single, ylabel))


def curves_of(
    curves: Mapping[str, Traces], *, title: str, ylabel: str, xlabel: str = "steps", width: float = 7.0, size: float = 10
) -> Any:
    """The mean over the seeds of each name, and between the lowest and the highest seed a band; named at its end.

    A seed that diverged is a line of its own that ends in a cross: the mean is of those that lived.
    """
    names = [seeds.named(name) for name, seeds in curves.items()]
    figure, (axes,) = panels(width=width, height=max(4.4, room_for(names, width, size) + BESIDE), size=size)
    ends = []
    for i, (name, seeds) in enumerate(zip(names, curves.values(), strict=True)):
        look = name_of(i)
        for x, y in (zip(*points, strict=True) for points in seeds.dead if points):
            axes.plot(x, y, color=look["color"], linewidth=0.9, linestyle=":")
            axes.plot(x[-1:], y[-1:], "x", color=look["color"], markersize=6)
        drawn = [dict(points) for points in seeds.lived]
        steps = sorted(set.intersection(*map(set, drawn))) if drawn else []
        if not steps:
            if died := [points[-1] for points in seeds.dead if points]:
                ends.append((*max(died), name, look["color"]))
            continue
        mean = [statistics.fmean(one[step] for one in drawn) for step in steps]
        if len(drawn) > 1:
            low, high = ([pick(one[step] for one in drawn) for step in steps] for pick in (min, max))
            axes.fill_between(steps, low, high, color=look["color"], alpha=0.18, linewidth=0)
        axes.plot(steps, mean, markersize=3, linewidth=1.3, **look)
        ends.append((steps[-1], mean[-1], name, look["color"]))
    key = ["line: mean; band: lowest to highest seed"] if any(len(seeds.lived) > 1 for seeds in curves.values()) else []
    ends_at = ({points[-1][0] for points in seeds.lived if points} for seeds in curves.values())
    key += ["a line ends where the first of its seeds stopped"] if any(len(steps) > 1 for steps in ends_at) else []  # with patience
    key += ["×: last evaluation before a seed diverged"] if any(map(any, (seeds.dead for seeds in curves.values()))) else []
    axes.xaxis.get_major_locator().set_params(integer=True)  # there is no half step
    axes.set_xlabel("\n".join([xlabel, *key]))
    axes.set_ylabel(ylabel)
    heading(figure, title)
    label_ends(axes, ends)
    return figure


def ends_of(curves: Mapping[str, Traces], ylabel: str) -> str:
    """What the curves say, for who cannot see them: where each ends."""
    words = []
    for name, seeds in curves.items():
        if last := [points[-1][1] for points in seeds.lived if points]:
            words.append(f"{seeds.named(name)} {statistics.fmean(last):.2f}")
        elif seeds.dead:
            words.append(seeds.named(name))
    return f"Last {ylabel}: {'; '.join(words)}."


@dataclass(frozen=True)
class Held:
    """One claim in a forest plot.

    Attributes:
        name: of the claim. words: what stands beside it, "58.84, ours 55.32: below". difference, low, high: ours minus the
            paper's with the interval that decides (None: no interval). tolerance: half the width of the band. verdict: its word.
    """

    name: str
    words: str
    difference: float
    low: float | None
    high: float | None
    tolerance: float
    verdict: str


VERDICT = {"reproduced": ACCENT, "above": RUST, "below": RUST}
"""Colours of verdicts; the others are grey. The word stands beside, so that no colour has to be told apart."""


HIGHEST = 8.5
"""Inches of a forest plot's rows: what a page of paper holds with title and axis."""

WIDE = 7
"""An interval that is wider than so many times those of the narrowest quarter (and than twenty tolerances) would squeeze every other
row: it ends in an arrow at the edge, and its ends are written."""


def forests(
    rows: Sequence[Held], *, title: str, width: float = 4.9, size: float = 10, unit: str = " points"
) -> Iterator[tuple[Any, Sequence[Held]]]:
    """:func:`forest` in as many figures as pages need, over one and the same axis, each with its rows."""
    ends = _ends(rows)
    parts: list[list[Held]] = [[]]
    room = 0.0
    for row in rows:
        tall = _tall(_name_lines(row, ends, width, size), size)
        if parts[-1] and room + tall > HIGHEST:
            parts.append([])
            room = 0.0
        parts[-1].append(row)
        room += tall
    for number, part in enumerate(parts, 1):
        heading_of = title if len(parts) == 1 else f"{title} ({number} of {len(parts)})"
        yield forest(part, title=heading_of, width=width, size=size, ends=ends, unit=unit), part


def _ends(rows: Sequence[Held]) -> tuple[float, float]:
    """Of the axis: every difference and tolerance is within, and every interval but those that are much wider than the others."""
    spans = sorted(row.high - row.low for row in rows if row.low is not None and row.high is not None)
    most = max([20 * row.tolerance for row in rows] + [WIDE * spans[(len(spans) - 1) // 4]] if spans else [0.0])
    within = [x for row in rows for x in (row.difference, row.tolerance, -row.tolerance)]
    for row in rows:
        if row.low is not None and row.high is not None and row.high - row.low <= most:
            within += [row.low, row.high]
    margin = 0.05 * (max(within) - min(within)) or 1.0
    return min(within) - margin, max(within) + margin


def _goes_on(row: Held, ends: tuple[float, float]) -> bool:
    """Whether an interval ends beyond the axis."""
    return row.low is not None and row.high is not None and (row.low < ends[0] or row.high > ends[1])


def _name_lines(row: Held, ends: tuple[float, float], width: float, size: float) -> list[str]:
    written = f" [{row.low:+.2f}, {row.high:+.2f}]" if _goes_on(row, ends) else ""
    return textwrap.wrap(plain(f"{row.name}: {row.words}{written}"), int(width * 13 * 10 / size))


def _tall(lines: Sequence[str], size: float) -> float:
    """Inches of a row of a forest plot."""
    return 0.2 * size / 10 * len(lines) + 0.28


def forest(
    rows: Sequence[Held], *, title: str, width: float = 4.9, size: float = 10, ends: tuple[float, float] | None = None,
    unit: str = " points",
) -> Any:
    """Ours minus the paper's, claim by claim, with the interval that decides and the tolerance as a band.

    Args:
        ends: of the axis; None: as these rows need it. An interval that goes on beyond them ends in an arrow, and is written.
        unit: of the differences.
    """
    ends = _ends(rows) if ends is None else ends
    names = [_name_lines(row, ends, width, size) for row in rows]
    tall = [_tall(lines, size) for lines in names]
    figure, (axes,) = panels(width=width, height=sum(tall) + 1.1, size=size)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    top = 0.0
    for row, lines, high in zip(rows, names, tall, strict=True):
        y = top - high + 0.12
        colour = VERDICT.get(row.verdict, MUTED)
        axes.fill_betweenx([top - high + 0.02, y + 0.1], -row.tolerance, row.tolerance, color=GRID, linewidth=0)
        if row.low is not None and row.high is not None:
            axes.plot([max(row.low, ends[0]), min(row.high, ends[1])], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
            for beyond, end, arrow in ((row.low < ends[0], ends[0], "<"), (row.high > ends[1], ends[1], ">")):
                if beyond:
                    axes.plot([end], [y], arrow, color=colour, markersize=7, clip_on=False)
        axes.plot([row.difference], [y], "D", color=colour, markersize=5)
        axes.text(0.0, top - 0.02, "\n".join(lines), transform=axes.get_yaxis_transform(), va="top", color=INK, fontsize=size - 1)
        top -= high
    axes.axvline(0.0, color=MUTED, linewidth=1, linestyle=":")
    axes.set(xlim=ends, ylim=(top, 0.05), yticks=[])
    axes.spines["left"].set_visible(False)
    further = ";\narrow: it goes on, its ends are written" if any(_goes_on(row, ends) for row in rows) else ""
    what = f"ours minus the paper's{unit and ',' + unit}"
    axes.set_xlabel(f"{what}\n(bar: the interval that decides; band: tolerance{further})")
    heading(figure, title)
    return figure


def against_images(
    printed: Mapping[str, Curve], ours: Mapping[str, Sequence[tuple[float, float, float, float]]], *, title: str,
    diverged: Mapping[str, str] | None = None, width: float = 4.9, size: float = 10,
) -> Any:  # fmt: skip
    """Accuracy against the number of images a class M: dashed what the paper prints, solid ours with 95 % intervals.

    Args:
        printed: (M, accuracy in percent) by method. ours: (M, mean, low, high) by method, ends of nan where there is no
            interval. diverged: what stands behind ours, by method.
    """
    mine_of = {name: f"{name}, ours{(diverged or {}).get(name, '')}" for name in ours}
    labels = [f"{name}, paper" for name in printed] + list(mine_of.values())
    figure, (axes,) = panels(width=width, height=max(3.8, room_for(labels, width, size) + BESIDE), size=size)
    ends = []
    for i, name in enumerate(dict.fromkeys([*printed, *ours])):
        look = name_of(i)
        if theirs := sorted(printed.get(name, ())):
            axes.plot(*zip(*theirs, strict=True), linestyle="--", linewidth=1.2, markersize=3, **look)
            ends.append((*theirs[-1], f"{name}, paper", look["color"]))
        if mine := sorted(ours.get(name, ())):
            at, mean, low, high = zip(*mine, strict=True)
            ends_at = [[m - a for m, a in zip(mean, low, strict=True)], [b - m for m, b in zip(mean, high, strict=True)]]
            axes.errorbar(at, mean, yerr=ends_at, linewidth=1.6, markersize=4, capsize=2, **look)
            ends.append((at[-1], mean[-1], mine_of[name], look["color"]))
    every = [m for points in printed.values() for m, _ in points] + [row[0] for rows in ours.values() for row in rows]
    if min(every) > 0 and max(every) > 20 * min(every):
        axes.set_xscale("log")
        axes.set_xticks(shown := sorted(set(every)), [f"{m:g}" for m in shown])
        axes.minorticks_off()
    axes.set(xlabel="M, images a class\n(dashed: the paper; solid: ours, bar: 95 % interval)", ylabel="test accuracy, %")
    heading(figure, title)
    label_ends(axes, ends)
    return figure


def seeds_figure(path: Path, curves: Mapping[str, Traces], *, title: str, line: float | None = None) -> Path:
    """Mean over the seeds of each cell, a band from the lowest to the highest, its name at the end; ``line``: a value across."""
    figure = curves_of(curves, title=title, ylabel="accuracy, %")
    if line is not None:
        figure.axes[0].axhline(line, color=MUTED, linewidth=1, linestyle=":")
    return save(figure, path, title, ends_of(curves, "accuracy, %"))
