"""Runs on disk: ``<root>/<cell>/seed-<n>/`` with ``record.json``, ``curves.json`` and ``weights.safetensors``.

The folders are the truth; there is no database. A record is written last and in one step, so a folder without one holds no
run, and a run is never edited.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError, cut, nearest
from redistill.files import (
    Spoilt,
    canonical,
    digest,
    file_digest,
    json_of,
    make_folder,
    pretty,
    read,
    there,
    why,
    write,
    write_first,
    writing,
)
from redistill.identity import all_differences, identity
from redistill.paths import expanded
from redistill.runs.run import Run as Run
from redistill.runs.run import read_record as read_record
from redistill.sealed import BEST as BEST
from redistill.sealed import CURVES as CURVES
from redistill.sealed import FORMAT as FORMAT
from redistill.sealed import LOCK as LOCK
from redistill.sealed import PENDING as PENDING
from redistill.sealed import RECORD as RECORD
from redistill.sealed import WEIGHTS as WEIGHTS
from redistill.sealed import sealed

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment


@dataclass(frozen=True)
class Damaged:
    """A folder whose record cannot be used, and why."""

    folder: Path
    why: str


@dataclass(frozen=True)
class Unfinished:
    """A run that was begun, and what it is, if that can be read."""

    folder: Path
    experiment: dict[str, Any] | None
    label: str

    @property
    def command(self) -> str:
        """What goes on with it, as a shell takes it; its store is named where that is not ``runs``."""
        root = self.folder.parent.parent
        return shlex.join(["redistill", "run", str(self.folder), *([] if root == Path("runs") else ["--runs", str(root)])])

    def refused(self) -> RedistillError:
        """To be raised where a finished run is needed."""
        return RedistillError(f"{self.folder} holds a run that has not reached its end: {self.command} goes on with it")


class Store:
    """A folder of runs.

    Args:
        root: the folder; made when the first run is written.
    """

    def __init__(self, root: str | Path = "runs"):
        self.root = expanded(root)

    def folder(self, experiment: Experiment) -> Path:
        return self.root / experiment.folder

    def find(self, experiment: Experiment) -> Run | None:
        """The finished run of an experiment, or None.

        Raises:
            RedistillError: there is a record and it is damaged, altered or of a newer version.
        """
        path = self.folder(experiment) / RECORD
        if not there(path):
            return None
        record = read_record(path)
        if record["id"] != experiment.id:
            raise RedistillError(
                f"{path} holds the record of run {record['id']}, the folder belongs to {experiment.id}: it was copied or "
                f"renamed by hand; move it back"
            )
        return Run(path.parent, record)

    def runs(self) -> Iterator[Run | Damaged | Unfinished]:
        """Everything in the store, in the order of the folders; what cannot be read is named and hides nothing."""
        for folder in self._folders():
            if isinstance(folder, Damaged):
                yield folder
            elif there(folder / RECORD):
                try:
                    yield Run(folder, read_record(folder / RECORD))
                except RedistillError as error:
                    yield Damaged(folder, str(error))
            elif there(folder / PENDING):
                yield unfinished(folder)

    def _folders(self) -> Iterator[Path | Damaged]:
        try:
            cells = sorted(self.root.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            yield Damaged(self.root, f"{self.root} cannot be looked into: {why(error)}")
            return
        for cell in cells:
            try:
                inside = [folder for folder in cell.iterdir() if folder.name.startswith("seed-")]
            except NotADirectoryError:
                continue
            except OSError as error:
                yield Damaged(cell, f"{cell} cannot be looked into: {why(error)}")
                continue
            yield from sorted(inside, key=_by_number)

    def finished(self) -> list[Run]:
        return [run for run in self.runs() if isinstance(run, Run)]

    def left_out(self, runs: Iterable[Run]) -> list[Damaged]:
        """What of the cells of these runs cannot be used: a mean over the others must not keep silent about it."""
        cells = {run.folder.parent for run in runs}
        return [one for one in self.runs() if isinstance(one, Damaged) and one.folder.parent in cells]

    def pick(self, text: str) -> list[Run]:
        """Runs by folder, by the beginning of an id, or all seeds of a cell by the beginning of the cell or by its name.

        Raises:
            RedistillError: nothing, or more than one cell, is meant.
        """
        for path in (Path(text), self.root / text):
            if path.name == RECORD and path.is_file():
                path = path.parent
            if (path / RECORD).is_file():
                return [Run(path, read_record(path / RECORD))]
            inside = sorted(path.glob(f"seed-*/{RECORD}"), key=lambda p: _by_number(p.parent))
            if inside:
                return self._readable(inside)
            if (path / PENDING).is_file():
                raise Unfinished(path, None, "?").refused()
        everything = list(self.runs())
        known = [run for run in everything if isinstance(run, Run)]
        if exact := [run for run in known if len(text) >= 4 and run.id.startswith(text)]:
            if len({run.id for run in exact}) > 1:
                raise RedistillError(f"{text!r} is the beginning of {len(exact)} ids: give more digits")
            return exact
        cells = [run for run in known if (len(text) >= 4 and run.cell.startswith(text)) or text in (run.record["name"], run.label)]
        if len({run.cell for run in cells}) > 1:
            raise RedistillError(f"{text!r} means several cells of {self.root}: {_told_apart(cells)}; give one of them")
        if not cells:
            labels = {run.label for run in known if run.label} if re.search(r"[^0-9a-f]", text) else set()
            every = labels or {n for run in known for n in (run.id, run.cell, run.label) if n}
            begun = [run for run in everything if isinstance(run, Unfinished) and text in (run.label, run.folder.parent.name)]
            if begun:
                raise begun[0].refused()
            damaged = [run for run in everything if isinstance(run, Damaged)]
            if damaged:
                reasons = "; ".join(run.why for run in damaged[:3])
                raise RedistillError(f"{nearest(text, every, 'run')} (in {self.root}, where {len(damaged)} cannot be read: {reasons})")
            if not every:
                raise RedistillError(f"there is no {text!r}, neither as a folder nor among the runs of {self.root}: it has none")
            raise RedistillError(f"{nearest(text, every, 'run')} (in {self.root})")
        return cells

    @staticmethod
    def _readable(records: Iterable[Path]) -> list[Run]:
        """The runs of one cell, without those that cannot be used (see :meth:`left_out`); the first reason where none can."""
        found, wrong = [], []
        for path in records:
            try:
                found.append(Run(path.parent, read_record(path)))
            except RedistillError as error:
                wrong.append(error)
        if not found:
            raise wrong[0]
        return found

    # -- writing ------------------------------------------------------------------------------------------------------
    def begin(self, experiment: Experiment) -> Path:
        """Make the folder of a run and write into it what is to be run there, unless the run is there; returns the folder."""
        folder = self.folder(experiment)
        make_folder(folder)
        if not there(folder / RECORD):
            one = {"format": FORMAT, "label": experiment.label, "id": experiment.id, "experiment": experiment.written()}
            write(folder / PENDING, pretty(one))
        return folder

    def rule(self, place: str, rule: Mapping[str, Any]) -> dict[str, Any]:
        """The rule by which a claim is judged, as it was first written: one that is there is never changed.

        Args:
            place: ``rules/<paper>/<table>/<name>.json``. rule: what is written where nothing stands.
        """
        path = self.root / place
        if not there(path):
            make_folder(path.parent)
            write_first(path, pretty(dict(rule)))
        return self.written_rule(place) or dict(rule)

    def written_rule(self, place: str) -> dict[str, Any] | None:
        """The rule that stands at a place, or None.

        Raises:
            RedistillError: the file is damaged.
        """
        path = self.root / place
        if not there(path):
            return None
        try:
            if isinstance(rule := json_of(path), dict):
                return rule
            reason = f"it holds a {type(rule).__name__}"
        except Spoilt as error:
            reason = error.reason
        raise RedistillError(
            f"{path} is damaged: it is no rule ({reason}). Restore it, or delete it: then its claim is judged by today's rule, "
            f"and the report says that the rule is younger than the runs"
        )

    def indices(self, manifest: dict[str, Any], index: list[int]) -> str:
        """Write which images a subset holds, once for all runs that use it; returns the file's place in the store."""
        place = f"indices/{manifest['sha256'][:16]}.json"
        path = self.root / place
        content = (canonical({**manifest, "index": index}) + "\n").encode()
        if there(path):
            if read(path) == content:
                return place
            # what the run itself chose is right; what somebody made of it is kept beside it
            with writing(path):
                path.replace(path.with_name(f"{path.name}.altered"))
        make_folder(path.parent)
        write(path, content)
        return place

    def finish(
        self, folder: Path, record: dict[str, Any], curves: dict[str, Any], weights: bytes, more: Mapping[str, bytes] | None = None
    ) -> Run:
        """Write the files of a finished run, the record last. ``more``: what the source wants kept, and code, by file name."""
        contents = {WEIGHTS: weights, CURVES: pretty(curves), **(more or {})}
        for name, content in contents.items():
            make_folder((folder / name).parent)
            write(folder / name, content)
        files = {name: digest(content) for name, content in contents.items()}
        whole = sealed({**record, "files": files})
        write(folder / RECORD, pretty(whole))
        return Run(folder, whole)


def _by_number(folder: Path) -> tuple[str, int]:
    number = folder.name.removeprefix("seed-")
    return folder.parent.name, int(number) if number.isdecimal() else -1


def _told_apart(runs: Iterable[Run]) -> str:
    """Cells by their hash, each with the settings in which it is unlike the others: at most three, the shortest values first."""
    cells = {run.cell: identity(run.record["experiment"]) for run in runs}
    shown = []
    for cell, mine in sorted(cells.items()):
        own = {path: value for other in cells.values() for path, value, _ in all_differences(mine, other) if path != "seed"}
        few = sorted(own.items(), key=lambda row: len(str(row[1])))[:3]
        shown.append(f"{cell} ({', '.join(f'{path} {cut(str(value), 20)}' for path, value in few)})" if few else cell)
    return ", ".join(shown)


def unfinished(folder: Path) -> Unfinished:
    """The run that was begun in a folder; what its file does not say is unknown."""
    try:
        pending = json_of(folder / PENDING)
        label, experiment = pending["label"], pending["experiment"]
    except (RedistillError, LookupError, TypeError):
        return Unfinished(folder, None, "?")
    return Unfinished(folder, experiment if isinstance(experiment, dict) else None, str(label))


def stale(run: Run, store: Store) -> str | None:
    """Why a run is out of date: a network that it started or learned from has since been trained again to other weights.

    Tensors are compared; of the first records, which do not have their SHA-256, the files.
    """
    for role, used in (("teacher", run.entry.teacher), ("starting point", run.entry.start)):
        if used is None or used.folder is None:
            continue
        path = store.root / used.folder / (used.file or WEIGHTS)
        if there(path) and file_digest(path) != used.sha256 and not _same_tensors(path, used.weights_sha256):
            return f"its {role} {used.folder} has other weights by now"
    return None


def _same_tensors(path: Path, wanted: str | None) -> bool:
    if wanted is None:
        return False
    from redistill.tensor_files import tensors_digest, tensors_of

    try:
        return tensors_digest(tensors_of(read(path), path)) == wanted
    except RedistillError:
        return False
