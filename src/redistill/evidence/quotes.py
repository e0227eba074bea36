"""A quoting table beside the registry: equal, different, not there, or to be asked; shifted columns are named as such."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redistill.errors import RedistillError, counted, nearest
from redistill.evidence import names
from redistill.evidence.entries import Quoted
from redistill.evidence.registry import Key, Number, Registry, key_of, registry
from redistill.evidence.tables import QuotingTable

Status = Literal["equal", "differs", "not in the registry", "to be asked"]


@dataclass(frozen=True)
class Compared:
    """One quoted number beside its source.

    Attributes:
        source: the number nearest to the origin, None where there is none. differs_by: quoted minus source, in points of accuracy.
        others: further sources of the same cell. contradict: the sources print different values. beside: where in the source the
            quoted value stands instead, a shifted column for example. note: whatever else is to be said. question: what is asked.
    """

    cell: Quoted
    status: Status
    source: Number | None = None
    differs_by: float | None = None
    others: tuple[Number, ...] = ()
    contradict: bool = False
    beside: str = ""
    note: str = ""
    question: str = ""

    @property
    def sentence(self) -> str:
        head = f"{self.cell.method}, {self.cell.pair}: {self.cell.text}"
        if self.cell.mark:
            head += f" (marked {self.cell.mark} in the table)"
        if self.source is None:
            return f"{head}: {self.question or self.note or 'not in the registry'}"
        parts = [
            f"{head} {self.status if self.status == 'equal' else f'differs by {self.differs_by:+.{max(2, self.cell.decimals)}f} from'}"
        ]
        parts[0] += f" {'to ' if self.status == 'equal' else ''}{self.source.printed} in {self.source.source} ({self.source.table})"
        parts += [text for text in (self.beside, self.note) if text]
        return "; ".join(parts)


def sources_of(against: Sequence[str], known: Registry) -> set[str] | None:
    """Sources by name, ``tian2020`` for ``tian2020_crd``; None for all.

    Raises:
        RedistillError: there is no such source.
    """
    if not against:
        return None
    every = {number.source for number in known.numbers}
    found = set()
    for name in against:
        mine = {source for source in every if name in (source, source.partition("_")[0])}
        if not mine:
            raise RedistillError(f"--against {name}: {nearest(name, [*every, *(s.partition('_')[0] for s in every)], 'source of numbers')}")
        found |= mine
    return found


def compare(table: QuotingTable, against: Sequence[str] = (), same: Mapping[str, str] | None = None) -> list[Compared]:
    """Every number of a table.

    Args:
        against: only these sources. same: names that the author says are equal, as the table writes them -> as the registry does.

    Raises:
        RedistillError: most numbers are a source's error rates, so the unit must be said; ``against`` is not there.
    """
    known = registry()
    wanted = sources_of(against, known)
    found = [_one(cell, table, wanted, same or {}, known) for cell in table.cells]
    sourced = [one for one in found if one.source is not None]
    turned = [one for one in sourced if one.source and abs(100 - one.cell.value - one.source.accuracy) < 0.0051 < abs(one.differs_by or 0)]
    if len(turned) > len(sourced) / 2:
        one = turned[0]
        assert one.source is not None
        raise RedistillError(
            f"{table.name}: {len(turned)} of {len(sourced)} numbers are 100 minus the source's accuracy ({one.cell.text} beside "
            f"{one.source.accuracy:g}): they look like errors; say --unit error"
        )
    return found


def _named(text: str, same: Mapping[str, str]) -> str:
    bare = names.unmarked(text)[0]
    return same.get(text, same.get(bare, text))


def _one(cell: Quoted, table: QuotingTable, wanted: set[str] | None, same: Mapping[str, str], known: Registry) -> Compared:
    teacher = None if cell.teacher is None else _named(cell.teacher, same)
    key = key_of(cell.dataset, teacher, _named(cell.student, same), _named(cell.method, same), cell.setting)
    numbers = [n for n in _numbers(key, known) if n.source != table.name and (wanted is None or n.source in wanted)]
    usable = [n for n in numbers if not n.doubt]
    if not usable:
        if numbers:
            return Compared(
                cell,
                "not in the registry",
                note=f"{numbers[0].source} has {numbers[0].printed} there, which is no source: {numbers[0].doubt}",
            )
        return _absent(cell, key, table, wanted, known)
    settings = {n.key[4] for n in usable}
    if len(settings) > 1:
        listed = ", ".join(f"{n.printed} with {n.key[4] or 'nothing notes'} ({n.source})" for n in usable[:4])
        return Compared(cell, "to be asked", question=f"of which setting? The registry has {listed}: say it in a column 'setting'")
    # a source that prints two numbers for one thing is quoted rightly with either
    first = next((n for n in usable if n.source == usable[0].source and agree(cell, n)[0]), usable[0])
    others = tuple(n for n in usable if n is not first)
    own = [n for n in usable if not n.reproduction] or usable
    contradict = any(abs(n.accuracy - first.accuracy) > 0.5 * 10.0 ** -min(n.decimals, first.decimals) + 1e-9 for n in own) or any(
        n.decimals == first.decimals and abs(n.accuracy - first.accuracy) > 1e-6 for n in own
    )
    notes = []
    equal, how = agree(cell, first)
    differs = round(cell.value - first.accuracy, 6)
    if contradict:
        listed = ", ".join(f"{n.printed} ({n.source}, {n.table})" for n in own)
        notes.append(f"the sources contradict each other: {listed}")
    if how:
        notes.append(how)
    if not equal:
        again = _again(cell, key, table, others, known)
        if again:
            notes.append(f"{cell.text} is also printed in {', '.join(again)}")
        if len(again) > 1:
            contradict = True
            notes.append("so many print it that the source here may not be the first")
        notes += _digits(cell, first)
    if cell.std is not None and first.std is not None and abs(cell.std - first.std) > 0.0051:
        notes.append(f"its spread ± {cell.std:g} is ± {first.std:g} there")
    beside = "" if equal else _beside(cell, first, known)
    return Compared(cell, "equal" if equal else "differs", first, differs, others, contradict, beside, "; ".join(notes))


def _numbers(key: Key, known: Registry) -> list[Number]:
    """Numbers of a cell; where the table says no setting, of all settings."""
    if key[4]:
        return known.of(key)
    exact = known.of(key)
    return exact or known.at(key[:4])


def agree(cell: Quoted, number: Number) -> tuple[bool, str]:
    """Whether a quoted number is the source's, to the digits it prints."""
    decimals = min(cell.decimals, number.decimals)
    if abs(cell.value - number.accuracy) < 1e-6:
        return True, "as an accuracy: the source prints the error" if number.error else ""
    unit = 10.0**-decimals
    if cell.decimals < number.decimals and abs(cell.value - number.accuracy) <= unit / 2 + 1e-9:
        return True, f"to {counted(cell.decimals, 'decimal')}"
    if cell.decimals > number.decimals and abs(cell.value - number.accuracy) <= unit / 2 + 1e-9:
        return True, f"as far as the source goes, which prints {counted(number.decimals, 'decimal')}"
    return False, ""


def _beside(cell: Quoted, number: Number, known: Registry) -> str:
    """Where in the source's table the quoted value stands."""
    for where, other in known.neighbours(number):
        if abs(other.accuracy - cell.value) < 1e-6:
            of = other.pair if other.row == number.row else other.method
            near = where.startswith("in the neighbouring")
            what = ("a shifted column" if "column" in where else "a shifted row") if near else "the same value"
            return f"{what}: {cell.text} stands {where} of the source, under {of}"
    return ""


def _again(cell: Quoted, key: Key, table: QuotingTable, others: Sequence[Number], known: Registry) -> list[str]:
    """Who else prints the quoted value."""
    same = [n.source for n in others if abs(n.accuracy - cell.value) < 1e-6]
    later = [r.source for r in known.restated.get(key, ()) if abs(r.value - cell.value) < 1e-6 and r.source != table.name]
    return list(dict.fromkeys([*same, *later]))


def _digits(cell: Quoted, number: Number) -> list[str]:
    """Whether one digit is another, or two are exchanged: a fact about the two numbers, no more."""
    a, b = f"{cell.value:.{number.decimals}f}", f"{number.accuracy:.{number.decimals}f}"
    if len(a) != len(b):
        return []
    unlike = [i for i in range(len(a)) if a[i] != b[i]]
    if len(unlike) == 1 and abs(cell.value - number.accuracy) > 0.0101:
        return ["the two differ in one digit"]
    places = [i for i in range(len(a)) if a[i] != "."]
    if len(unlike) == 2 and a[unlike[0]] == b[unlike[1]] and a[unlike[1]] == b[unlike[0]]:
        return ["two digits are exchanged"] if places.index(unlike[1]) - places.index(unlike[0]) == 1 else []
    return []


def _absent(cell: Quoted, key: Key, table: QuotingTable, wanted: set[str] | None, known: Registry) -> Compared:
    """Not there: because a name is doubtful (asked), or because nothing is known."""
    asked = []
    for place, written in ((1, cell.teacher or ""), (2, cell.student), (3, cell.method)):
        mine = key[place]
        if not mine or mine in known.known(place) or (place < 3 and mine in known.known(1) | known.known(2)):
            continue
        near = names.doubtful(mine, known.known(place))
        if near:
            asked.append(f'is {written!r} the registry\'s {" or ".join(repr(n) for n in near)}? Say --same "{written}={near[0]}"')
    if asked:
        return Compared(cell, "to be asked", question="; ".join(asked))
    later = [f"{r.value:g} in {r.source}" for r in known.restated.get(key, ()) if r.source != table.name]
    note = "not in the registry" + (" (against these sources)" if wanted is not None else "")
    if later and wanted is None:
        note += f", but also printed in other quoting tables: {', '.join(later)}"
    return Compared(cell, "not in the registry", note=note)


# ---------------------------------------------------------------------------------------------------------------------
# As text and data
# ---------------------------------------------------------------------------------------------------------------------
def lines(table: QuotingTable, found: Sequence[Compared], whole: bool = False) -> list[str]:
    """What an author wants to read: what differs first, then questions, then counts; ``whole``: equal ones and unknown ones too."""
    out = list(table.notes)
    order: tuple[Status, ...] = ("differs", "to be asked", "not in the registry", "equal")
    for status in order:
        mine = [one for one in found if one.status == status]
        if status in ("equal", "not in the registry") and not whole:
            mine = [one for one in mine if one.contradict or (status == "not in the registry" and "no source" in one.note)]
        seen: set[str] = set()
        for one in mine:
            text = one.question if status == "to be asked" else one.sentence
            if text not in seen:
                out.append(text)
            seen.add(text)
    out.append(summary(found))
    if str(table.about.get("how_read", "")).startswith("text copy"):
        out.append(
            "This table was read from a text copy: every difference has to be looked up in the PDF first; a digit can be lost in "
            "such a copy."
        )
    if any(one.status == "differs" for one in found):
        out.append("A difference is a fact about two numbers: the authors may have run the baseline themselves, or quote another version.")
    return out


def summary(found: Sequence[Compared]) -> str:
    counts = Counter(one.status for one in found)
    listed = ", ".join(f"{counts[s]} {s}" for s in ("equal", "differs", "to be asked", "not in the registry") if counts[s])
    contradict = sum(one.contradict for one in found)
    return f"{len(found)} numbers: {listed}{f'; the sources of {contradict} contradict each other' if contradict else ''}."


def rows(table: QuotingTable, found: Sequence[Compared]) -> dict[str, Any]:
    """JSON."""
    made = []
    for one in found:
        cell, source = one.cell, one.source
        made.append(
            {
                "row": cell.row, "column": cell.column, "dataset": cell.dataset, "teacher": cell.teacher, "student": cell.student,
                "method": cell.method, "quoted": cell.value, "marked": cell.mark or None, "status": one.status,
                "source": None if source is None else source.source, "table": None if source is None else source.table,
                "source_value": None if source is None else source.accuracy, "differs_by": one.differs_by,
                "sources_contradict": one.contradict,
                "others": [{"source": n.source, "value": n.accuracy} for n in one.others], "shifted": one.beside or None,
                "note": one.note, "question": one.question or None,
            }
        )  # fmt: skip
    counts = Counter(one.status for one in found)
    return {"name": table.name, "about": dict(table.about), "said": list(table.notes), "counts": dict(counts), "cells": made}
