"""What people write about a reproduction: a Markdown file beside the records, its parts by their headings.

A report knows what ran and what came out; what was easy, what was hard and what the authors answered it does not. That stands in
``papers/NAME.md`` of the folder where one works, in the package, or beside a paper file of one's own, under the headings of
:data:`PARTS`. Text of the file is text: HTML in it is shown and not done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from redistill.errors import RedistillError, nearest
from redistill.files import read
from redistill.paths import expanded
from redistill.report.html import Content, Element, el, table

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

PARTS = ("Authors", "Scope", "Methods", "Results", "What was easy", "What was hard", "Departures", "Correspondence")
Written: TypeAlias = Mapping[str, Sequence[Element]]
MOST_BYTES = 1 << 20


def written_of(paper: str) -> dict[str, list[Element]]:
    """The written parts of a paper; none where nobody wrote any.

    Args:
        paper: a name of the package, or the path of a paper file.

    Raises:
        RedistillError: a heading that no article has, text before the first heading, or a file that cannot be read.
    """
    for place in places_of(paper):
        if place.is_file():
            return parts_of(_text(place), str(place))
    inside = files("redistill.papers") / f"{paper}.md"
    own = paper.endswith(".toml")
    return parts_of(inside.read_text(encoding="utf-8"), f"{paper}.md") if not own and inside.is_file() else {}


def places_of(paper: str) -> list[Path]:
    """Where somebody may write about a paper, the first that is there counts."""
    path = expanded(paper)
    if path.suffix == ".toml":
        return [path.with_suffix(".md"), Path("papers") / f"{path.stem}.md"]
    return [Path("papers") / f"{paper}.md"]


def _text(path: Path) -> str:
    content = read(path)
    if len(content) > MOST_BYTES:
        raise RedistillError(f"{path} has {len(content):,} bytes: the written parts of an article are text of at most {MOST_BYTES:,}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RedistillError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def parts_of(text: str, where: str) -> dict[str, list[Element]]:
    """Elements by part; ``where`` is how messages call the file.

    >>> [el.tag for el in parts_of("## What was easy\\n\\nThe *data*.", "x.md")["What was easy"]]
    ['p']
    """
    found: dict[str, list[str]] = {}
    now: list[str] | None = None
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.startswith("```")
        heading = None if fenced else re.fullmatch(r"#{1,2} +(.*?) *#*", line)
        if heading is None:
            if now is not None:
                now.append(line)
            elif line.strip() and not line.startswith("<!--"):
                raise RedistillError(f"{where}:{number}: text before the first heading: put it under one of {', '.join(PARTS)}")
            continue
        if line.startswith("# ") and not found:
            continue  # a title of the file
        name = next((part for part in PARTS if part.casefold() == heading[1].casefold()), None)
        if name is None:
            raise RedistillError(f"{where}:{number}: {nearest(heading[1], PARTS, 'part of an article')}")
        if name in found:
            raise RedistillError(f"{where}:{number}: {name} stands there twice: join them")
        now = found[name] = []
    made = {name: elements("\n".join(lines)) for name, lines in found.items()}
    return {name: content for name, content in made.items() if content}


def elements(markdown: str) -> list[Element]:
    """Markdown (CommonMark and tables) as elements of a page."""
    try:
        from markdown_it import MarkdownIt
        from markdown_it.tree import SyntaxTreeNode
    except ImportError as error:  # rich brings it
        raise RedistillError("written parts need the package markdown-it-py, which is not installed: pip install markdown-it-py") from error
    tree = SyntaxTreeNode(MarkdownIt("commonmark", {"html": False}).enable("table").parse(markdown))
    return [one for one in map(_block, tree.children) if one is not None]


def _block(node: SyntaxTreeNode) -> Element | None:
    if node.type == "heading":
        return el(node.tag, _inside(node))
    if node.type == "table":
        return _table(node)
    if node.type in ("fence", "code_block"):
        return el("pre", node.content, tabindex="0")
    if node.type == "hr":
        return el("hr")
    if node.type in ("bullet_list", "ordered_list"):
        return el(node.tag, [el("li", [_item(child) for child in item.children]) for item in node.children])
    if node.type == "blockquote":
        return el("blockquote", [_block(child) for child in node.children])
    return el("p", _inside(node))


def _item(node: SyntaxTreeNode) -> Content:
    """What stands in a list: the paragraph of a tight list is no paragraph of its own."""
    return _inside(node) if node.type == "paragraph" and node.hidden else _block(node)


def _table(node: SyntaxTreeNode) -> Element:
    head, *body = (row for part in node.children for row in part.children)
    numbers = [i for i, cell in enumerate(head.children) if "right" in str(cell.attrs.get("style", ""))]
    names = ["".join(_inside_text(cell)) for cell in head.children]
    rows = [[_inside(cell) for cell in row.children] for row in body]
    return table(names, rows, ", ".join(name for name in names if name), numbers=numbers, named=False)


def _inside_text(node: SyntaxTreeNode) -> list[str]:
    return [one.content for one in node.walk() if one.type in ("text", "code_inline")]


def _inside(node: SyntaxTreeNode) -> list[Content]:
    return [_inline(child) for inline in node.children for child in (inline.children if inline.type == "inline" else [inline])]


def _inline(node: SyntaxTreeNode) -> Content:
    if node.type in ("text", "html_inline"):
        return node.content
    if node.type in ("softbreak", "hardbreak"):
        return " "
    if node.type == "code_inline":
        return el("code", node.content)
    if node.type == "image":
        return el("img", src=str(node.attrs["src"]), alt="".join(_inside_text(node)))
    if node.type == "link":
        return el("a", [_inline(child) for child in node.children], href=str(node.attrs["href"]))
    return el(node.tag, [_inline(child) for child in node.children])
