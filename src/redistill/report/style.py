"""One look for every figure: colours that colour-blind people tell apart, text as text, a title for screen readers.

The palette is Okabe and Ito's (2008), darkened until each colour has a contrast of 4.5 on white, so that it serves for text as
well. A page replaces each colour by a variable of its own (:func:`redistill.report.html.inline`), which is how figures follow
a reader's dark scheme.
"""

from __future__ import annotations

import io
import textwrap
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from redistill.errors import plain
from redistill.files import write
from redistill.quiet import quiet

INK, MUTED, GRID, PAPER = "#1b1f24", "#5f6873", "#e3e6ea", "#ffffff"
ACCENT, RUST, GREEN, PURPLE, OLIVE, GREY = "#0072b2", "#b54a00", "#007a5a", "#9b3f82", "#7d6100", "#6b6f76"
SERIES = (ACCENT, RUST, GREEN, PURPLE, OLIVE, GREY)
MARKERS = "osv^D<>ph*"
SVG = "http://www.w3.org/2000/svg"


def matplotlib() -> Any:
    """The library, whose first import tells its log of folders and fonts: a home that is no folder, a cache that it builds."""
    with quiet():
        import matplotlib
        import matplotlib.font_manager
    return matplotlib


def panels(count: int = 1, *, width: float = 7.0, height: float = 4.4, columns: int = 1, size: float = 10) -> tuple[Any, list[Any]]:
    """A figure with ``count`` panels, each ``width`` x ``height`` inches, in ``columns`` columns; text of ``size`` points."""
    library = matplotlib()
    library.use("svg")
    library.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text: searchable, small
            "svg.hashsalt": "redistill",  # the same numbers give the same file
            "text.parse_math": False,  # a $ in somebody's label is a dollar
            "font.family": "sans-serif",
            "font.size": size,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
        }
    )
    import matplotlib.pyplot as plt

    lines = -(-count // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(width * columns, height * lines), layout="constrained", squeeze=False)
    flat = list(axes.flat)
    for ax in flat[count:]:
        ax.remove()
    for ax in flat[:count]:
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, flat[:count]


def name_of(series: int) -> dict[str, Any]:
    """Colour and marker of the n-th line of a figure; beyond the palette the marker alone goes on."""
    return {"color": SERIES[series % len(SERIES)], "marker": MARKERS[series % len(MARKERS)]}


def no_more_than_all(axis: Any) -> None:
    """An axis of percents without a tick above 100; its limits are those that the figure has now."""
    low, high = axis.get_view_interval()
    axis.set_ticks([tick for tick in axis.get_majorticklocs() if low <= tick <= min(high, 100.0)])


def heading(figure: Any, title: str) -> None:
    """A title in as many lines as the figure is narrow."""
    figure.suptitle(textwrap.fill(plain(title), int(13 * figure.get_figwidth())), fontsize=11, color=INK, x=0.01, ha="left")


def _in_lines(name: str, width: float) -> str:
    """A label in as many lines as it needs within about a third of a figure that is ``width`` inches wide."""
    return textwrap.fill(plain(name), round(3.6 * width))


def room_for(names: Iterable[str], width: float, size: float) -> float:
    """Inches that the labels of :func:`label_ends` take, one below the other; ``size`` of the figure's letters in points."""
    return sum(1 + _in_lines(name, width).count("\n") for name in names) * (size - 1) * 1.25 / 72


def label_ends(ax: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names right of the last points of lines, moved apart where they would lie on each other; instead of a legend.

    Args:
        ends: (x, y, name, colour).
    """
    figure = ax.figure
    size = float(ax.xaxis.label.get_size()) - 1
    width = figure.get_figwidth()
    shown = sorted(((y, x, _in_lines(name, width), colour) for x, y, name, colour in ends), key=lambda one: one[0])
    names = [
        ax.annotate(
            text, xy=(x, y), xytext=(1.03, y), textcoords=ax.get_yaxis_transform(), va="center", color=colour, fontsize=size,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "linestyle": (0, (1, 2)),  # no line of the figure's
                        "relpos": (0.0, 0.5), "shrinkA": 0, "shrinkB": 2},
        )
        for y, x, text, colour in shown
    ]  # fmt: skip
    figure.canvas.draw()  # only now the height of a letter in data units is known
    low, high = ax.get_ylim()
    letter = (high - low) * size * 1.25 / (ax.get_window_extent().height * 72 / figure.dpi)
    heights = [letter * (1 + text.count("\n")) for _, _, text, _ in shown]
    for name, place in zip(names, apart([y for y, *_ in shown], heights, high), strict=True):
        name.set_position((1.03, place))


def apart(wanted: Sequence[float], heights: Sequence[float], top: float) -> list[float]:
    """Middles of labels as near to where they are wanted as they can be without touching, none above ``top``.

    Args:
        wanted: rising. heights: of each.

    >>> apart([1.0, 1.0, 5.0], [2.0, 2.0, 2.0], 6.0)
    [1.0, 3.0, 5.0]
    >>> apart([1.0, 5.0, 5.0], [2.0, 2.0, 2.0], 6.0)
    [1.0, 3.0, 5.0]
    """
    places: list[float] = []
    for y, height in zip(wanted, heights, strict=True):
        places.append(y if not places else max(y, places[-1] + (heights[len(places) - 1] + height) / 2))
    ceiling = top
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling - heights[i] / 2)
        ceiling = places[i] - heights[i] / 2
    return places


def _numbers_on_log_axes(figure: Any) -> None:
    """10,000 and 20 M where matplotlib would write a formula with a power of ten, which stays unread here (``text.parse_math``)."""
    from matplotlib.ticker import LogFormatter, LogFormatterSciNotation

    class Numbers(LogFormatterSciNotation):  # which ticks of a short axis have a label is its matter
        def __call__(self, x: float, pos: int | None = None) -> str:
            if not super().__call__(x, pos):
                return ""
            return f"{x / 1e6:,g} M" if 1e6 <= x < 1e12 else f"{x:,.0f}" if 1 <= x < 1e6 else f"{x:g}"

    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(Numbers())
        if isinstance(axis.get_minor_formatter(), LogFormatter):
            axis.set_minor_formatter(Numbers())


def svg_text(figure: Any, title: str, described: str = "") -> str:
    """The figure as SVG, with a title and a description that a screen reader says; closes it."""
    import matplotlib.pyplot as plt

    _numbers_on_log_axes(figure)
    drawn = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")  # text stays text: the reader's fonts have it
            figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": "redistill"})
    finally:
        plt.close(figure)
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ET.fromstring(drawn.getvalue())
    root.set("role", "img")
    root.set("aria-label", plain(title))
    for place, (tag, text) in enumerate((("title", title), ("desc", described))):
        if text:
            one = ET.Element(f"{{{SVG}}}{tag}")
            one.text = plain(text)
            root.insert(place, one)
    return ET.tostring(root, encoding="unicode") + "\n"


def save(figure: Any, path: Path, title: str, described: str = "") -> Path:
    """Write the figure in one step: SVG as :func:`svg_text` gives it, or what else the suffix of ``path`` says."""
    if path.suffix in ("", ".svg"):
        write(path, b'<?xml version="1.0" encoding="utf-8"?>\n' + svg_text(figure, title, described).encode())
        return path
    import matplotlib.pyplot as plt

    _numbers_on_log_axes(figure)
    drawn = io.BytesIO()
    try:
        figure.savefig(drawn, format=path.suffix.removeprefix("."))
    finally:
        plt.close(figure)
    write(path, drawn.getvalue())
    return path
