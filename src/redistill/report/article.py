"""A paper's report as an article in the manner of a reproducibility journal, typeset by Typst: the parts of the page, in its order.

The template (``article.typ``) is fixed; what it says lies beside it as JSON, so that no name, label or note is ever read as
markup. Figures stay vectors with text in them. The PDF is PDF/UA-1: tagged, with a title, a language and a description of
every figure; Typst refuses to write it otherwise. The same records give the same bytes.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from redistill.errors import RedistillError, counted
from redistill.files import digest, write
from redistill.papers.plan import Plan
from redistill.report.html import DARK, Content, Element, el
from redistill.report.paper import seeds_of
from redistill.report.style import matplotlib
from redistill.report.web import PaperParts
from redistill.report.web_parts import versions
from redistill.report.written import Written
from redistill.verdicts.tables import TableVerdict

FONTS = {"text": ["Libertinus Serif", "DejaVu Sans"], "code": ["DejaVu Sans Mono"]}
"""The first and the last come with Typst, DejaVu Sans with matplotlib: no font of the machine is used, so that all machines agree."""

Node: TypeAlias = "str | dict[str, Any]"
SUMMARY = ("Scope", "Methods", "Results", "What was easy", "What was hard", "Correspondence")
MISSING = "Not written: it goes into papers/{name}.md under the heading \u201c{part}\u201d."


def article(parts: PaperParts, plan: Plan, tables: Sequence[TableVerdict], written: Written | None = None) -> bytes:
    """The PDF.

    Raises:
        RedistillError: Typst or a font is not there, or Typst refuses the article.
    """
    made: bytes = typeset(*source(parts, plan, tables, written))
    return made


def source(
    parts: PaperParts, plan: Plan, tables: Sequence[TableVerdict], written: Written | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the article says, and its pictures by file name."""
    prose, name, about = written or {}, plan.paper.name, plan.paper.file.paper
    drawn = _Pictures()
    found = [finding for judged in tables for finding in judged.findings]
    looked = [f for f in found if f.reading is not None or f.measured is not None]
    runs = {run.id: run for judged in tables for several in judged.runs.values() for run in several}
    generated: dict[str, str] = {
        "Scope": f"{counted(len(found), 'claim')} of {counted(len(tables), 'table')} of {about.title} ({about.year}); "
                 f"{len(looked)} of them could be held against something that ran or was evaluated here.",
        "Methods": f"{counted(len(runs), 'run')} at the published length, seeds {seeds_of(plan, tables)}; each claim has its "
                   f"rule (epoch, tolerance, seeds, interval) from the paper file; when it was written down stands below its table. "
                   f"{versions([*runs.values()])}",
        "Results": parts.counts,
    }  # fmt: skip
    summary = []
    for part in SUMMARY:
        # the first paragraph that somebody wrote, after what the records say
        texts = [generated.get(part, ""), _words(prose[part][0]).strip() if part in prose else ""]
        summary.append({"name": f"{part}.", "said": " ".join(filter(None, texts)).strip() or MISSING.format(name=name, part=part)})
    chapters: list[tuple[str, list[Content]]] = [
        ("Scope", [el("p", generated["Scope"]), *parts.others["Scope"], _scope(plan, tables)]),
        ("Methods", [el("p", generated["Methods"]), *parts.others["Methods"], *_headed("Assumed", parts.others["Assumed"])]),
        ("Results", [*parts.others["Results"], *(one for title, content in parts.results for one in _headed(title, content)),
                     *_headed("Transition curves", parts.others["Transition curves"]),
                     *_headed("Samples of generators", parts.others["Samples of generators"]),
                     *_headed("What was not run", parts.others["What was not run"])]),
        *((part, parts.others[part] or [el("p", MISSING.format(name=name, part=part))]) for part in ("What was easy", "What was hard")),
        ("Departures", parts.others["Departures"] or [el("p", "The paper file knows of none that concerns these cells.")]),
        ("Correspondence", parts.others["Correspondence"] or [el("p", MISSING.format(name=name, part="Correspondence"))]),
        *((part, parts.others[part]) for part in ("Cost", "Checklist", "Commands", "References") if parts.others[part]),
    ]  # fmt: skip
    authors = [line for one in prose.get("Authors", []) for line in _lines(one)]
    title = parts.title if parts.title.lower().startswith("[re") else f"[Re] {parts.title}"
    made = {
        "title": title,
        "authors": authors,
        "byline": authors or [f"Made by redistill {version('redistill')} from its records"],
        "about": f"A reproduction of: {parts.byline}",
        "running": title,
        "description": parts.counts,
        "fonts": FONTS,
        "summary": summary,
        "sections": [{"title": title, "content": list(drawn.flow(content))} for title, content in chapters],
    }
    # pictures differ in the last digits from one processor to the next: what is said is what an article is known by
    made["keywords"] = [f"redistill-article {digest(json.dumps(made, sort_keys=True))}"]
    return made, drawn.files


def known_by(pdf: bytes) -> str:
    """The words of an article as :func:`source` numbered them, from its PDF; "" where it is none."""
    found = re.search(rb"redistill-article ([0-9a-f]{64})", pdf)
    return found[1].decode() if found else ""


def typeset(made: Mapping[str, Any], pictures: Mapping[str, bytes], form: str = "pdf") -> Any:
    """Typst's output: the bytes of a PDF, or with ``form="png"`` of every page."""
    try:
        import typst
    except ImportError as error:
        raise RedistillError("--pdf needs typst, which is not installed: pip install 'redistill[pdf]'") from error
    with tempfile.TemporaryDirectory(prefix="redistill-") as place:
        folder = Path(place)
        form_of = files("redistill.report").joinpath("article.typ").read_bytes()
        for name, content in {"article.json": json.dumps(made).encode(), "article.typ": form_of, **pictures}.items():
            write(folder / name, content)
        fonts = [str(Path(matplotlib().get_data_path()) / "fonts" / "ttf")]
        try:
            found, warnings = typst.compile_with_warnings(
                str(folder / "article.typ"), root=place, font_paths=fonts, ignore_system_fonts=True, format=form,
                pdf_standards=["ua-1"] if form == "pdf" else [], timestamp=0,
            )  # fmt: skip
        except typst.TypstError as error:
            raise RedistillError(f"typst {version('typst')} refuses the article: {' '.join(str(error).split())}") from error
    for warning in warnings:
        if "unknown font" in (text := str(getattr(warning, "message", warning))):
            raise RedistillError(f"a font of the article is missing ({text}): install typst and matplotlib again, they bring all of them")
    return found


def _headed(title: str, content: Sequence[Content]) -> list[Content]:
    return [el("h3", title), *content] if content else []


def _scope(plan: Plan, tables: Sequence[TableVerdict]) -> Element:
    from redistill.report.html import table
    from redistill.report.paper import reported

    rows = []
    for judged in tables:
        printed = plan.paper.table(judged.table)
        seen = sum(f.reading is not None or f.measured is not None for f in judged.findings)
        rows.append((judged.table, printed.caption, reported(plan.paper.protocol(judged.table)), str(len(judged.findings)), str(seen)))
    head = ("table", "what it shows", "reported", "claims", "looked at")
    return table(head, rows, "What was claimed, and how much of it was looked at", numbers=(3, 4))


BLOCKS = ("p", "ul", "ol", "li", "pre", "blockquote", "caption", "tr", "th", "td")


def _words(one: Element) -> str:
    """The text of an element; blocks in it, as the entries of a list, are parted."""
    text = one.text or ""
    for part in one:
        text = f"{text.rstrip()} {_words(part).strip()} " if part.tag in BLOCKS else text + _words(part)
        text += part.tail or ""
    return text


def _lines(one: Element) -> Iterator[str]:
    """Names of people: the entries of a list, or the lines of a paragraph."""
    for part in one if one.tag in ("ul", "ol") else [one]:
        if text := " ".join("".join(part.itertext()).split()):
            yield text


# ---------------------------------------------------------------------------------------------------------------------
# From elements of a page to what the template reads
# ---------------------------------------------------------------------------------------------------------------------
_LIGHT = {f"var(--c{number})": colour for number, colour in enumerate(DARK)}
WIDTH, HEIGHT = 470.0, 780.0  # points between the margins of A4, and below them less a caption, as pictures are scaled there


@dataclass
class _Pictures:
    """Walks elements; ``files``: the pictures that it met."""

    files: dict[str, bytes] = field(default_factory=dict)

    def flow(self, content: Content) -> Iterator[Node]:
        """Blocks."""
        if content is None:
            return
        if isinstance(content, str):
            yield content
            return
        if not isinstance(content, ET.Element):
            for one in content:
                yield from self.flow(one)
            return
        if content.tag == "div" and content.get("class") == "scroll":
            yield _table(content[0])
        elif content.tag in ("div", "blockquote"):
            for one in content:
                yield from self.flow(one)
        elif content.tag == "figure":
            yield from self._figure(content)
        elif content.tag == "pre":
            yield _node("pre", text="".join(content.itertext()))
        elif content.tag == "dl":
            pairs = zip(content.findall("dt"), content.findall("dd"), strict=True)
            yield {"tag": "dl", "attributes": {}, "content": [{"content": [_inside(name), _inside(value)]} for name, value in pairs]}
        elif content.tag in ("ul", "ol"):
            yield {"tag": content.tag, "attributes": {}, "content": [{"content": _inside(one)} for one in content]}
        else:
            yield {"tag": content.tag, "attributes": {}, "content": _inside(content)}

    def _figure(self, content: Element) -> Iterator[Node]:
        caption = "".join("".join(one.itertext()) for one in content.iter("figcaption"))
        for one in content:
            if one.tag == "svg":
                texts = [found.text or "" for found in (one.find("title"), one.find("desc")) if found is not None]
                width, height = map(float, one.get("viewBox", "0 0 360 0").split()[2:])
                shrunk = min(1.0, WIDTH / width, HEIGHT / height if height else 1.0)  # what is higher than a page would be cut off
                yield self._picture(_svg(one), "svg", ". ".join(texts), caption, width * shrunk)
            elif one.tag == "img" and (address := one.get("src", "")).startswith("data:image/png;base64,"):
                png = base64.b64decode(address.partition(",")[2])
                yield self._picture(png, "png", one.get("alt", ""), caption, min(0.75 * int.from_bytes(png[16:20]), WIDTH))

    def _picture(self, content: bytes, kind: str, alt: str, caption: str, width: float) -> Node:
        name = f"figure{len(self.files)}.{kind}"
        self.files[name] = content
        return _node("figure", file=name, alt=alt, caption=caption, width=width)


def _node(tag: str, **attributes: Any) -> dict[str, Any]:
    return {"tag": tag, "attributes": attributes, "content": []}


def _svg(drawn: Element) -> bytes:
    """A figure of a page as a file of its own: its colours are those of paper, its letters a font that is there."""
    alone = ET.fromstring(ET.tostring(drawn, encoding="unicode"))
    alone.set("xmlns", "http://www.w3.org/2000/svg")
    alone.attrib.pop("style", None)
    text = re.sub(r"var\(--c\d+\)", lambda found: _LIGHT[found[0]], ET.tostring(alone, encoding="unicode"))
    return re.sub(r'font-family="sans-serif"', 'font-family="DejaVu Sans"', text).encode()


def _inside(element: Element) -> list[Node]:
    """Text and elements in a line."""
    out: list[Node] = [element.text] if element.text else []
    for one in element:
        raw = one.tag in ("code", "pre")
        attributes = {"text": "".join(one.itertext())} if raw else {"href": one.get("href", "")} if one.tag == "a" else {}
        out.append({"tag": one.tag, "attributes": attributes, "content": _inside(one)})
        if one.tail:
            out.append(one.tail)
    return out


def _table(element: Element) -> Node:
    heads = [cell for row in element.findall("thead/tr") for cell in row]
    head = ["".join(cell.itertext()) for cell in heads]
    rows = [list(row) for row in element.findall("tbody/tr")]
    numbers = [cell.get("class") == "n" for cell in heads]
    longest = [max([len(name), *(len("".join(row[i].itertext())) for row in rows)]) for i, name in enumerate(head)]
    narrow = sum(longest) <= 95
    room: Callable[[int, bool], float] = lambda letters, number: 0 if number or narrow or letters <= 20 else min(letters, 110) ** 0.8  # noqa: E731
    found = element.find("caption")
    return {
        "tag": "table",
        "attributes": {
            "caption": found.text if found is not None else "",
            "head": head,
            "numbers": numbers,
            "widths": [room(letters, number) for letters, number in zip(longest, numbers, strict=True)],
        },
        "content": [_inside(cell) for row in rows for cell in row],
    }
