"""Runs beside each other: the cells that they make, and whether these may be compared."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redistill.runs.store import Run


def titled(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by cell, each cell in the order of its seeds and titled by its label, with its hash where labels are equal."""
    cells: dict[str, dict[int, Run]] = {}
    for run in runs:
        cells.setdefault(run.cell, {})[run.seed] = run
    labels = [next(iter(found.values())).label for found in cells.values()]
    made = {}
    for (cell, found), label in zip(cells.items(), labels, strict=True):
        made[label if labels.count(label) == 1 else f"{label} ({cell[:6]})"] = [found[seed] for seed in sorted(found)]
    return made


def other_images(cells: Mapping[str, Sequence[Run]], first: str, on: str) -> list[str]:
    """Which cells were evaluated on other images than ``first``, seed by seed, a sentence each: a difference is then not one of methods."""
    mine = {run.seed: run for run in cells[first]}
    told = []
    for title, found in cells.items():
        other = next((run for run in found if run.seed in mine and _images(run, on) != _images(mine[run.seed], on)), None)
        if other is not None:
            told.append(
                f"{title} and {first} were not evaluated on the same images of {on!r} ({_about(other, on)}; "
                f"{_about(mine[other.seed], on)}): their difference is not one of methods alone"
            )
    return told


def warn_other_images(cells: Mapping[str, Sequence[Run]], first: str, on: str) -> None:
    """Say so on standard error."""
    for text in other_images(cells, first, on):
        print(f"redistill: {text}", file=sys.stderr)


def _images(run: Run, on: str) -> object:
    """What tells one evaluation set from another: its content, or all that is known of it; None where a record says nothing."""
    known = run.entry.data.get(on, {})
    return known.get("sha256") or {key: value for key, value in known.items() if key != "seen_by_teacher"} or None


def _about(run: Run, on: str) -> str:
    known = run.entry.data.get(on, {})
    content = f", sha256 {str(known['sha256'])[:12]}" if "sha256" in known else ""
    return f"{known.get('data', '?')}, {known.get('count', '?')} images{content}"
