"""Curves as text: in a terminal drawn with dots (two by four a character, U+2800), elsewhere a line a point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from redistill.errors import plain
from redistill.runs.live import Curve, Live

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

STYLES = ("cyan", "yellow", "magenta", "green", "blue", "red")
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a character: column, row


def cells(curves: Mapping[str, Curve], width: int, height: int) -> tuple[list[list[tuple[int, int]]], tuple[float, float], float]:
    """The plot as rows of (dots of a character, number of the curve that is drawn there), the range of y, and the largest x.

    Values that are not finite are left out; points of a curve are joined.
    """
    kept = [[(x, y) for x, y in curve if math.isfinite(y)] for curve in curves.values()]
    values = [y for curve in kept for _, y in curve] or [0.0]
    low, high = min(values), max(values)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    furthest = max([x for curve in kept for x, _ in curve] or [1.0]) or 1.0
    rows = [[(0, 0)] * width for _ in range(height)]

    def place(x: float, y: float) -> tuple[int, int]:
        return round(x / furthest * (2 * width - 1)), round((high - y) / (high - low) * (4 * height - 1))

    for number, curve in enumerate(kept):
        dots = [place(x, y) for x, y in curve]
        for (x0, y0), (x1, y1) in zip(dots, [*dots[1:], *dots[-1:]], strict=True):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for k in range(steps + 1):
                x, y = round(x0 + (x1 - x0) * k / steps), round(y0 + (y1 - y0) * k / steps)
                old, _ = rows[y // 4][x // 2]
                rows[y // 4][x // 2] = old | DOTS[x % 2][y % 4], number
    return rows, (low, high), furthest


def drawn(live: Live, width: int = 80, height: int = 10) -> RenderableType:
    """Accuracies over steps and losses over epochs, each with its range and last values."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Text] = [Text(plain(f"{live.label}: {live.state}{f' ({live.why})' if live.why else ''}"), style="bold")]
    for title, unit, curves in (("accuracy %", "steps", live.accuracy), ("loss", "epochs", live.losses)):
        shown = {name: curve for name, curve in curves.items() if curve}
        if shown:
            parts += _panel(title, unit, shown, width, height)
    if len(parts) == 1:
        parts.append(Text("nothing is measured yet"))
    return Group(*parts)


def _panel(title: str, unit: str, curves: Mapping[str, Curve], width: int, height: int) -> list[Text]:
    from rich.text import Text

    inside = max(16, width - 10)
    rows, (low, high), furthest = cells(curves, inside, height)
    legend = Text(f"{title}  ")
    for number, (name, curve) in enumerate(curves.items()):
        legend.append(f"{plain(name)} {curve[-1][1]:.4g}  ", style=STYLES[number % len(STYLES)])
    lines = [legend]
    for number, row in enumerate(rows):
        label = f"{high:.4g}" if number == 0 else f"{low:.4g}" if number == height - 1 else ""
        line = Text(f"{label:>8} ")
        for dots, which in row:
            line.append(chr(0x2800 + dots), style=STYLES[which % len(STYLES)] if dots else None)
        lines.append(line)
    lines.append(Text(f"{'':9}0{f'{furthest:g} {unit}':>{inside - 1}}"))
    return lines


def lines_of(live: Live, since: Mapping[str, int] | None = None) -> tuple[list[str], dict[str, int]]:
    """A line a point that is new, and how many of each curve were told; ``since``: of the call before.

    >>> lines_of(Live("KD", "running", {"test": ((3, 50.0), (6, 75.0))}, {"CE": ((1, 2.0),)}), {"accuracy test": 1})[0]
    ['step 6: test 75.00 %', 'epoch 1: CE 2']
    """
    before = dict(since or {})
    lines: list[str] = []
    for kind, word, curves in (("accuracy", "step", live.accuracy), ("loss", "epoch", live.losses)):
        at: dict[float, list[str]] = {}
        for name, curve in curves.items():
            for x, y in curve[before.get(f"{kind} {name}", 0) :]:
                at.setdefault(x, []).append(f"{name} {y:.2f} %" if kind == "accuracy" else f"{name} {y:.4g}")
            before[f"{kind} {name}"] = len(curve)
        lines += [plain(f"{word} {x:g}: {', '.join(parts)}") for x, parts in sorted(at.items())]
    return lines, before


def ends(live: Live, command: str) -> str:
    """What became of a run, and what to do, as the last line. ``command``: what goes on with it."""
    if live.state == "stopped":
        return plain(f"{live.label}: nobody is at it; {command} goes on")
    return plain(f"{live.label}: {live.state}{f', {live.why}' if live.why else ''}")
