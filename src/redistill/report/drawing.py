"""A method as a drawing: which place of the student is compared with which of the teacher, by which term.

Made from a run's record (its terms, and the places that each of them met), not from what a method usually does.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from redistill.core import numbered
from redistill.report.html import el, variable
from redistill.report.style import INK, MUTED, PAPER, SERIES
from redistill.runs.record import Record
from redistill.terms import by_name
from redistill.user_code import is_code

WIDE, HIGH, STEP, TOP = 110, 24, 38, 30
LEFT, RIGHT = 4, 246  # of the boxes of teacher and student


@dataclass(frozen=True)
class Link:
    """``term``: as in the run's losses, ``AT.2`` for a second one. ``teacher`` is None for a term that needs none, and for code of
    one's own, of which a record does not say: then the student meets ``with_what``."""

    term: str
    weight: str
    teacher: str | None
    student: str
    with_what: str = ""


def links(record: Record) -> list[Link]:
    """What a run compared with what."""
    made = []
    rows = record.experiment["method"]
    for row, name in zip(rows, numbered(str(row["use"]).rpartition(":")[2] for row in rows), strict=True):
        weight = row.get("weight", 1.0)
        text = f"{weight:g}" if isinstance(weight, int | float) else "scheduled"
        met: Sequence[Sequence[str]] = record.pairs.get(name, [])
        if met:  # (student's place, teacher's place)
            made += [Link(name, text, theirs, mine) for mine, theirs in met]
        elif is_code(row["use"]):
            made.append(Link(name, text, None, "output", "its own code"))
        elif by_name(row["use"]).needs_teacher:
            made.append(Link(name, text, "logits", "logits"))
        elif row["use"] == "Anchor":
            made.append(Link(name, text, None, "weights", "start"))
        else:
            made.append(Link(name, text, None, "logits", "labels"))
    return made


def described(found: Sequence[Link]) -> str:
    """The drawing in words."""
    return "; ".join(f"{one.term} (weight {one.weight}) compares the student's {one.student} with "
                     f"{'the teacher’s ' + one.teacher if one.teacher else one.with_what}" for one in found) + "."  # fmt: skip


def drawing(record: Record, name: str) -> ET.Element:
    """An SVG element: a row a comparison, teacher (or labels) on the left, student on the right, the term on the line between.

    Args:
        name: of the drawing, different on a page from every other's.
    """
    found = links(record)
    colours = {term: SERIES[i % len(SERIES)] for i, term in enumerate(dict.fromkeys(one.term for one in found))}
    student = str(record.experiment["student"]["model"])
    teacher = str((record.experiment.get("teacher") or {}).get("model", "")) if any(one.teacher for one in found) else ""
    networks = f"student {student}, teacher {teacher}" if teacher else f"student {student}"
    made = el(
        "svg", el("title", f"What {record.label} compares", id=f"{name}-t"), el("desc", f"{networks}: {described(found)}", id=f"{name}-d"),
        viewBox=f"0 0 {RIGHT + WIDE + LEFT} {TOP + len(found) * STEP}", role="img", style="max-width: 480px",
        aria_labelledby=f"{name}-t {name}-d",
    )  # fmt: skip
    made.append(_text(f"teacher {_end(teacher, 12)}" if teacher else "", LEFT + WIDE / 2, 16, INK))
    made.append(_text(f"student {_end(student, 12)}", RIGHT + WIDE / 2, 16, INK))
    for row, link in enumerate(found):
        y, colour = TOP + row * STEP, colours[link.term]
        middle = str(y + HIGH / 2)
        made.append(el("line", x1=str(LEFT + WIDE), y1=middle, x2=str(RIGHT), y2=middle, stroke=variable(colour), stroke_width="2"))
        made.append(_text(f"{link.weight} × {_end(link.term, 14)}", (LEFT + WIDE + RIGHT) / 2, y + HIGH / 2 - 5, colour))
        for x, place in ((LEFT, link.teacher or link.with_what), (RIGHT, link.student)):
            made.append(el("rect", x=str(x), y=str(y), width=str(WIDE), height=str(HIGH), rx="3",
                           fill=variable(PAPER), stroke=variable(MUTED)))  # fmt: skip
            made.append(_text(_end(place, 16), x + WIDE / 2, y + 16, INK))
    return made


def _end(name: str, most: int) -> str:
    """What of a name fits into a box: places and networks of code differ in their ends."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _text(text: str, x: float, y: float, colour: str) -> ET.Element:
    return el("text", text, x=f"{x:g}", y=f"{y:g}", fill=variable(colour), text_anchor="middle", font_family="sans-serif", font_size="11")
