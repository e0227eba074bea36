"""Runs on disk: ``<root>/<cell>/seed-<n>/`` with ``record.json``, ``curves.json`` and ``weights.safetensors``.

The folders are the truth; there is no database. A record is written last and in one step, so a folder without one holds no
run, and a run is never edited.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError, nearest
from redistill.experiment.files import canonical, digest, file_digest, make_folder, pretty, read, write
from redistill.paths import expanded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from redistill.experiment.value import Experiment

FORMAT = 1
RECORD, CURVES, WEIGHTS, PENDING, LOCK = "record.json", "curves.json", "weights.safetensors", "experiment.json", "lock"
BEST = "best.safetensors"
"""The network of the best evaluation, where that is not the last one: kept for who takes it as teacher or as start."""


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the SHA-256 of its own content, by which an altered one is known."""
    return {**record, "sha256": digest(canonical(record))}


def read_record(path: Path) -> dict[str, Any]:
    """One record, checked, or a sentence that says what is wrong with it and what is left."""
    folder = path.parent
    left = [n for n in (WEIGHTS, CURVES) if (folder / n).exists()]
    rest = f"; beside it {' and '.join(left)} {'is' if len(left) == 1 else 'are'} still there" if left else ""
    again = f"{rest}. Delete {path} to train this run again"
    try:
        record = json.loads(read(path))
        version = record["format"]
        claimed = record["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise RedistillError(f"{path} is damaged: it is not a complete record ({error}){again}") from error
    if version > FORMAT:
        raise RedistillError(
            f"{path} was written by a newer redistill (record format {version}, this one reads up to {FORMAT}): update redistill"
        )
    if digest(canonical({k: v for k, v in record.items() if k != "sha256"})) != claimed:
        raise RedistillError(f"{path} was altered: its content does not match its SHA-256{again}")
    return dict(record)


@dataclass(frozen=True)
class Run:
    """A fact: one finished run."""

    folder: Path
    record: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def cell(self) -> str:
        return str(self.record["cell"])

    @property
    def seed(self) -> int:
        return int(self.record["seed"])

    @property
    def label(self) -> str:
        return str(self.record["label"])

    @property
    def diverged(self) -> str | None:
        found = self.record["diverged"]
        return None if found is None else str(found)

    def accuracy(self, name: str = "test") -> float:
        """Accuracy after the last step on one evaluation set, in percent."""
        table = self.record["accuracy"]
        if name not in table:
            raise RedistillError(f"{self.folder}: {nearest(name, table, 'evaluation set')}")
        return float(table[name]["last"])

    def curves(self) -> dict[str, Any]:
        """Losses, rates and accuracies over the run (``curves.json``)."""
        return dict(json.loads(self._checked(CURVES)))

    def weights(self, take: str = "last") -> Path:
        """The file of the trained weights, checked: of the ``last`` step, or of the ``best`` evaluation.

        Raises:
            RedistillError: it was altered, or the run kept no best network.
        """
        name = self._file_of(take)
        self._checked(name)
        return self.folder / name

    def _file_of(self, take: str) -> str:
        if take == "last" or self.record.get("best_network") == "last":
            return WEIGHTS
        if BEST not in self.record["files"]:
            raise RedistillError(
                f"{self.folder} kept the network of its last step alone, and take = \"best\" wants that of its best evaluation: "
                f"delete the folder to train it again"
            )
        return BEST

    def network(self, take: str = "last", *, trust_code: bool = False) -> nn.Module:
        """The trained student, ready to use; ``take`` as for :meth:`weights`.

        ``trust_code``: a network of one's own, which the record names, may be run (needed once a process, unless its experiment was
        read in it from a file of yours).
        """
        from redistill.experiment.build import trained

        return trained(self, take, trust_code=trust_code)

    def kept(self, name: str) -> dict[str, Tensor]:
        """Tensors that the source left beside the weights: ``"generator"``, ``"samples"`` of a zero-shot run."""
        file = f"{name}.safetensors"
        if file not in self.record["files"]:
            kept = [n for n in self.record["files"] if n.endswith(".safetensors") and n not in (WEIGHTS, BEST)]
            others = [n.removesuffix(".safetensors") for n in kept]
            raise RedistillError(f"{self.folder}: {nearest(name, others, 'kept file')}")
        import safetensors.torch

        return safetensors.torch.load(self._checked(file))

    def _checked(self, name: str) -> bytes:
        content = read(self.folder / name)
        if digest(content) != self.record["files"][name]:
            raise RedistillError(
                f"{self.folder / name} was altered or cut off: it does not match the SHA-256 in {RECORD}; the record's "
                f"numbers are still good. Delete the folder to train this run again"
            )
        return content


@dataclass(frozen=True)
class Damaged:
    """A folder whose record cannot be used, and why."""

    folder: Path
    why: str


@dataclass(frozen=True)
class Unfinished:
    """A run that was begun: ``step`` of the last good checkpoint, 0 where there is none; what it is, if that can be read."""

    folder: Path
    experiment: dict[str, Any] | None
    label: str

    def refused(self) -> RedistillError:
        """To be raised where a finished run is needed."""
        return RedistillError(f"{self.folder} holds a run that has not reached its end: redistill run {self.folder} goes on with it")


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
        if not path.exists():
            return None
        record = read_record(path)
        if record["id"] != experiment.id:
            raise RedistillError(
                f"{path} holds the record of run {record['id']}, the folder belongs to {experiment.id}: it was copied or "
                f"renamed by hand; move it back"
            )
        return Run(path.parent, record)

    def runs(self) -> Iterator[Run | Damaged | Unfinished]:
        """Everything in the store, in the order of the folders."""
        for folder in sorted(self.root.glob("*/seed-*"), key=_by_number):
            if (folder / RECORD).exists():
                try:
                    yield Run(folder, read_record(folder / RECORD))
                except RedistillError as error:
                    yield Damaged(folder, str(error))
            elif (folder / PENDING).exists():
                try:
                    pending = json.loads((folder / PENDING).read_bytes())
                    yield Unfinished(folder, pending["experiment"], str(pending["label"]))
                except (ValueError, KeyError, OSError):
                    yield Unfinished(folder, None, "?")

    def finished(self) -> list[Run]:
        return [run for run in self.runs() if isinstance(run, Run)]

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
                return [Run(p.parent, read_record(p)) for p in inside]
            if (path / PENDING).is_file():
                raise Unfinished(path, None, "?").refused()
        known = self.finished()
        if exact := [run for run in known if len(text) >= 4 and run.id.startswith(text)]:
            if len({run.id for run in exact}) > 1:
                raise RedistillError(f"{text!r} is the beginning of {len(exact)} ids: give more digits")
            return exact
        cells = [run for run in known if (len(text) >= 4 and run.cell.startswith(text)) or text in (run.record["name"], run.label)]
        if len({run.cell for run in cells}) > 1:
            names = ", ".join(sorted({run.cell for run in cells}))
            raise RedistillError(f"{text!r} means several cells of {self.root}: {names}; give one of them")
        if not cells:
            every = [n for run in known for n in (run.id, run.cell, run.label) if n]
            begun = [run for run in self.runs() if isinstance(run, Unfinished) and text in (run.label, run.folder.parent.name)]
            if begun:
                raise begun[0].refused()
            if not every:
                raise RedistillError(f"there is no {text!r}, neither as a folder nor among the runs of {self.root}: it has none")
            raise RedistillError(f"{nearest(text, every, 'run')} (in {self.root})")
        return cells

    # -- writing ------------------------------------------------------------------------------------------------------
    def begin(self, experiment: Experiment) -> Path:
        """Make the folder of a run and write into it what is to be run there, unless the run is there; returns the folder."""
        folder = self.folder(experiment)
        make_folder(folder)
        if not (folder / RECORD).exists():
            one = {"format": FORMAT, "label": experiment.label, "id": experiment.id, "experiment": experiment.written()}
            write(folder / PENDING, pretty(one))
        return folder

    def rule(self, place: str, rule: Mapping[str, Any]) -> dict[str, Any]:
        """The rule by which a claim is judged, as it was first written: one that is there is never changed.

        Args:
            place: ``rules/<paper>/<table>/<name>.json``. rule: what is written where nothing stands.
        """
        path = self.root / place
        if not path.exists():
            make_folder(path.parent)
            write(path, pretty(dict(rule)))
        return self.written_rule(place) or dict(rule)

    def written_rule(self, place: str) -> dict[str, Any] | None:
        """The rule that stands at a place, or None.

        Raises:
            RedistillError: the file is damaged.
        """
        path = self.root / place
        if not path.exists():
            return None
        try:
            return dict(json.loads(read(path)))
        except (ValueError, TypeError) as error:
            raise RedistillError(
                f"{path} is damaged: it is no rule ({error}). Restore it, or delete it: then its claim is judged by today's rule, "
                f"and the report says that the rule is younger than the runs"
            ) from error

    def indices(self, manifest: dict[str, Any], index: list[int]) -> str:
        """Write which images a subset holds, once for all runs that use it; returns the file's place in the store."""
        place = f"indices/{manifest['sha256'][:16]}.json"
        path = self.root / place
        if not path.exists():
            make_folder(path.parent)
            write(path, (canonical({**manifest, "index": index}) + "\n").encode())
        return place

    def finish(
        self, folder: Path, record: dict[str, Any], curves: dict[str, Any], weights: bytes, more: Mapping[str, bytes] | None = None
    ) -> Run:
        """Write the files of a finished run, the record last. ``more``: what the source wants kept, by file name."""
        contents = {WEIGHTS: weights, CURVES: pretty(curves), **(more or {})}
        for name, content in contents.items():
            write(folder / name, content)
        files = {name: digest(content) for name, content in contents.items()}
        whole = sealed({**record, "files": files})
        write(folder / RECORD, pretty(whole))
        return Run(folder, whole)


def _by_number(folder: Path) -> tuple[str, int]:
    number = folder.name.removeprefix("seed-")
    return folder.parent.name, int(number) if number.isdigit() else -1


def stale(run: Run, store: Store) -> str | None:
    """Why a run is out of date: a network that it started or learned from has since been trained again to other weights."""
    for role in ("teacher", "start"):
        used = run.record.get(role)
        if not used or "folder" not in used:
            continue
        path = store.root / used["folder"] / used.get("file", WEIGHTS)
        if path.exists() and file_digest(path) != used["sha256"]:
            return f"its {'teacher' if role == 'teacher' else 'starting point'} {used['folder']} has other weights by now"
    return None
