"""A run as it stands now: its curves so far, and whether somebody is at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from redistill.errors import RedistillError, first_line, nearest
from redistill.files import UNREADABLE, held, json_of, there
from redistill.runs.store import Run, Store, Unfinished, read_record, unfinished
from redistill.sealed import CURVES, LOCK, PENDING, RECORD

Curve = tuple[tuple[float, float], ...]
State = Literal["running", "done", "diverged", "stopped"]


@dataclass(frozen=True)
class Live:
    """What can be seen of a run.

    Attributes:
        label: its name. state: ``stopped`` where no process is at it and it has no record. accuracy: by evaluation set, (steps, percent).
        losses: by term, (epochs, mean of the epoch). why: of a run that diverged.
    """

    label: str
    state: State
    accuracy: dict[str, Curve] = field(default_factory=dict)
    losses: dict[str, Curve] = field(default_factory=dict)
    why: str = ""


def folder_of(store: Store, text: str) -> Path:
    """The folder of one run, finished or not: by its path, by the beginning of its id or cell, or by its name.

    Raises:
        RedistillError: there is none, or there are several; with what there is.
    """
    for path in (Path(text).expanduser(), store.root / text):
        if any((path / name).is_file() for name in (RECORD, PENDING, CURVES, LOCK)):
            return path
        if len(seeds := sorted(path.glob("seed-*"))) == 1:
            return seeds[0]
        if seeds:
            raise RedistillError(f"{path} has {len(seeds)} runs: give one of them, {', '.join(one.name for one in seeds[:5])}")
    everything = [one for one in store.runs() if isinstance(one, Run | Unfinished)]
    found = [one for one in everything if _is(one, text)]
    open_ones = [one for one in found if isinstance(one, Unfinished)]
    picked = open_ones if len(found) > 1 and open_ones else found  # of several seeds the one that is not done yet
    if len(picked) == 1:
        return picked[0].folder
    if picked:
        raise RedistillError(f"{text!r} means {len(picked)} runs: give one of {', '.join(str(one.folder) for one in picked[:5])}")
    if not everything:
        raise RedistillError(f"there is no {text!r}, neither as a folder nor among the runs of {store.root}: it has none")
    raise RedistillError(f"{nearest(text, [one.label for one in everything], 'run')} (in {store.root})")


def _is(one: Run | Unfinished, text: str) -> bool:
    long = len(text) >= 4
    id = one.id if isinstance(one, Run) else ""
    return one.label == text or (long and (id.startswith(text) or one.folder.parent.name.startswith(text)))


def look(folder: Path) -> Live:
    """The run in a folder; curves that are being written are those of the last look."""
    at_work = held(folder / LOCK)  # before the record: it may end in between
    label, why, state = folder.name, "", "running" if at_work else "stopped"
    ended: Run | None = None
    if there(folder / RECORD):
        ended = Run(folder, record := read_record(folder / RECORD))
        label, why = f"{record['label']}, seed {record['seed']}", record["diverged"] or ""
        state = "diverged" if why else "done"
    elif there(folder / PENDING):
        label = f"{unfinished(folder).label}, {folder.name}"
    elif not at_work and (folder / "student-0.safetensors").is_file():  # of rd.fit
        state = "done"
    accuracy: dict[str, Curve] = {}
    losses: dict[str, Curve] = {}
    try:
        # of a run that has ended only what its record answers for
        for before, curves in _written(folder) if ended is None else [("", ended.curves())]:
            accuracy |= {f"{before}{name}": _points(points) for name, points in curves.get("accuracy", {}).items()}
            losses |= {f"{before}{name}": _points(enumerate(values, 1)) for name, values in curves.get("losses", {}).items()}
    except RedistillError:
        raise
    except UNREADABLE as error:
        raise RedistillError(f"{folder / CURVES} is damaged: it holds no curves ({first_line(error)})") from error
    return Live(label, state, accuracy, losses, why)  # type: ignore[arg-type]  # one of the four words


def _points(points: Iterable[Any]) -> Curve:
    """A curve of numbers; whatever else stands there raises one of :data:`UNREADABLE`."""
    curve = tuple((step, value) for step, value in points)
    if not all(isinstance(number, int | float) for point in curve for number in point):
        raise TypeError("a point is not two numbers")
    return curve


def _written(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The curves of the folder, of several students (``rd.fit_cohort``) each with its number before the names."""
    if not there(folder / CURVES):
        return []
    found = json_of(folder / CURVES)
    if not isinstance(found, dict):
        raise RedistillError(f"{folder / CURVES} is damaged: it holds no curves")
    if "accuracy" in found or "losses" in found:
        return [("", found)]
    return [(f"{number} ", curves) for number, curves in found.items() if isinstance(curves, dict)]
