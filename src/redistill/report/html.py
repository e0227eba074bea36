"""HTML made of elements: text is escaped by the library, never by hand, so that a name with markup in it stays a name.

A page is one file that needs nothing else: style and the few lines that sort tables stand in it, figures are SVG inside it.
It reads without scripts, on a phone, in both colour schemes, and on paper.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import NamedTuple, TypeAlias

from redistill.errors import plain
from redistill.report import style

Element: TypeAlias = ET.Element
Content: TypeAlias = "str | Element | Iterable[Content] | None"

DARK = {
    style.INK: "#e8eaed", style.MUTED: "#a3abb5", style.GRID: "#353b43", style.PAPER: "#16191d", style.ACCENT: "#6cb6e8",
    style.RUST: "#f2a065", style.GREEN: "#5cc9a7", style.PURPLE: "#dd97c8", style.OLIVE: "#d3b64f", style.GREY: "#aeb3ba",
}  # fmt: skip
"""Each colour of :mod:`redistill.report.style` in the dark scheme; all have a contrast of at least 7 on its background but the grid."""


def el(tag: str, *content: Content, **attributes: str | None) -> Element:
    """An element: ``el("a", "text", href="...")``; ``class_`` is class, ``aria_label`` aria-label, None leaves one out.

    >>> ET.tostring(el("p", "a < b ", el("b", "<script>"), class_="x"), encoding="unicode")
    '<p class="x">a &lt; b <b>&lt;script&gt;</b></p>'
    """
    made = ET.Element(tag, {name.rstrip("_").replace("_", "-"): plain(value) for name, value in attributes.items() if value is not None})
    _fill(made, content)
    return made


def _fill(parent: Element, content: Iterable[Content]) -> None:
    for one in content:
        if one is None:
            continue
        if isinstance(one, ET.Element):
            parent.append(one)
        elif isinstance(one, str):
            text = plain(one).encode("utf-8", "replace").decode()
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        else:
            _fill(parent, one)


class Sorted(NamedTuple):
    """An entry of a table that is sorted by a number of its own, and not by the first one in it: a length of time."""

    text: str
    by: float


def table(
    head: Sequence[str], rows: Iterable[Sequence[Content | Sorted]], caption: str, *, numbers: Sequence[int] = (), wide: int | None = None,
    named: bool = True,
) -> Element:  # fmt: skip
    """A table that can be sorted and read aloud; the first entry of a row names it.

    Args:
        numbers: columns that hold numbers (on the right). wide: the column that holds sentences, which a phone does not make narrow.
            named: whether the caption is shown; it is said in any case.
    """

    def aligned(column: int) -> str | None:
        return "n" if column in numbers else "note" if column == wide else None

    def cell(column: int, entry: Content | Sorted) -> Element:
        by = f"{entry.by:.3f}" if isinstance(entry, Sorted) else None
        shown = entry.text if isinstance(entry, Sorted) else entry
        return el("td" if column else "th", shown, class_=aligned(column), scope=None if column else "row", data_sort=by)

    body = [el("tr", [cell(c, entry) for c, entry in enumerate(row)]) for row in rows]
    # a column without a name has no heading
    columns = [el("th" if name else "td", name, class_=aligned(c), scope="col" if name else None) for c, name in enumerate(head)]
    made = el("table", el("caption", caption) if named else None, el("thead", el("tr", columns)), el("tbody", body))
    # who reads by keyboard must be able to scroll it
    return el("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Content]]) -> Element:
    """Names and what is to be said of them."""
    return el("dl", [(el("dt", name), el("dd", value)) for name, value in pairs])


def listed(entries: Iterable[Content]) -> Element:
    return el("ul", [el("li", entry) for entry in entries])


_NAMES = {colour: f"--c{number}" for number, colour in enumerate(DARK)}


def variable(colour: str) -> str:
    """A colour of ours as a page has it."""
    return f"var({_NAMES[colour]})"


def inline(svg: str, name: str) -> Element:
    """A figure of ours as part of a page: its colours become variables, and its ids its own.

    Args:
        name: of the figure, different on a page from every other's.
    """
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda m: variable(m[0]) if m[0] in _NAMES else m[0], svg)
    root = ET.fromstring(svg)
    ids = {one.get("id") for one in root.iter()} - {None}
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
        for key, value in list(one.attrib.items()):
            del one.attrib[key]
            if key == "id":
                value = f"{name}-{value}"
            elif value[:1] == "#" and value[1:] in ids:
                value = f"#{name}-{value[1:]}"
            else:
                value = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value)
            one.set(key.rpartition("}")[2], value)
    for parent in list(root.iter()):
        for child in list(parent):
            # the library's own style would hold for the whole page; its metadata are said by nobody
            if child.tag in ("metadata", "style") or (child.tag == "defs" and all(one.tag == "style" for one in child)):
                parent.remove(child)
    _, _, width, _ = root.get("viewBox", "0 0 360 0").split()
    root.set("style", f"max-width: {float(width) * 1.35:.0f}px")
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    return root


def figure(svg: str, name: str, caption: Content = None) -> Element:
    """``inline`` with a caption below."""
    return el("figure", inline(svg, name), el("figcaption", caption) if caption else None)


MARK = "redistill-report"


def page(title: str, *content: Content, of: str = "") -> str:
    """A whole page; ``of``: what it is a report of, said to machines (:func:`redistill.report.folder.claim`)."""
    folder = files("redistill.report")
    variables = {scheme: "".join(f"{_NAMES[light]}:{colour(light)};" for light in DARK) for scheme, colour in _SCHEMES.items()}
    css = folder.joinpath("page.css").read_text(encoding="utf-8")
    css = f":root{{{variables['light']}}}\n@media (prefers-color-scheme: dark){{:root{{{variables['dark']}}}}}\n" + css
    css += f"\n@media print{{:root{{{variables['light']}}}}}\n"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name=MARK, content=of) if of else None,
        el("title", title),
        el("style", css),
    )
    body = el("body", el("main", *content))
    counts: dict[str, int] = {}
    for one in body.iter():  # who jumps from region to region hears a different name for each
        if one.get("role") == "region" and (label := one.get("aria-label")) is not None:
            counts[label] = counts.get(label, 0) + 1
            one.set("aria-label", label if counts[label] == 1 else f"{label} ({counts[label]})")
    root = el("html", head, body, lang="en")
    script = el("script")
    script.text = folder.joinpath("page.js").read_text(encoding="utf-8")
    body.append(script)
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


_SCHEMES = {"light": lambda colour: colour, "dark": lambda colour: DARK[colour]}
