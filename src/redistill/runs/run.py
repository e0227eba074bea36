"""One finished run: its record, curves, weights and what else it left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError, nearest
from redistill.files import digest, json_in, read, there
from redistill.runs.record import Record
from redistill.sealed import BEST, CURVES, RECORD, WEIGHTS, read_sealed

if TYPE_CHECKING:
    from torch import Tensor, nn



def read_record(path: Path) -> dict[str, Any]:
    """One record, checked, or a sentence that says what is wrong with it and what is left.

    Raises:
        RedistillError: it cannot be read (then nothing is said of its content), or it is damaged, altered or of another version.
    """
    record = read_sealed(path)
    try:
        Record.of(record)
    except RedistillError as error:
        raise RedistillError(f"{path} is no record of this version: {error}; another version or program made it") from error
    return record


@dataclass(frozen=True)
class Run:
    """A fact: one finished run."""

    folder: Path
    record: dict[str, Any]

    @cached_property
    def entry(self) -> Record:
        """The record with names and types."""
        return Record.of(self.record)

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
        """Accuracy after the last step on one evaluation set, in percent.

        Raises:
            RedistillError: it was not evaluated there; or it diverged, so that there is no network after the last step (what it
                reached on the way stands in ``record["accuracy"]`` and ``curves()``).
        """
        table = self.record["accuracy"]
        if self.diverged is not None:
            raise RedistillError(f"{self.label} (seed {self.seed}) diverged, so it has no accuracy after its last step: {self.diverged}")
        if name not in table:
            raise RedistillError(f"{self.folder}: {nearest(name, table, 'evaluation set')}")
        return float(table[name]["last"])

    def curves(self) -> dict[str, Any]:
        """Losses, rates and accuracies over the run (``curves.json``)."""
        return dict(json_in(self._checked(CURVES), self.folder / CURVES))

    def weights(self, take: str = "last") -> Path:
        """The file of the trained weights, checked: of the ``last`` step, or of the ``best`` evaluation.

        Raises:
            RedistillError: it is gone or was altered, or the run kept no best network.
        """
        name = self.file(take)
        if not there(self.folder / name):
            raise RedistillError(
                f"{self.folder / name} is gone: the run was kept without its weights (redistill runs --keep leaves them out). The "
                f"record's numbers are still good; delete the folder to train it again"
            )
        self._checked(name)
        return self.folder / name

    def file(self, take: str = "last") -> str:
        """Name of the file of those weights, which may be gone."""
        if take == "last" or self.record.get("best_network") == "last":
            return WEIGHTS
        if self.record.get("kept") is not None:
            raise RedistillError(f"{self.folder} kept one network alone, {self.record['kept']['why']}: leave out take = \"best\"")
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
        from redistill.runs.trained import trained

        return trained(self.weights(take), self.record["experiment"]["student"], self.seed, trust_code=trust_code)

    def kept(self, name: str) -> dict[str, Tensor]:
        """Tensors that the source left beside the weights: ``"generator"``, ``"samples"`` of a zero-shot run."""
        file = f"{name}.safetensors"
        if file not in self.record["files"]:
            kept = [n for n in self.record["files"] if n.endswith(".safetensors") and n not in (WEIGHTS, BEST)]
            others = [n.removesuffix(".safetensors") for n in kept]
            raise RedistillError(f"{self.folder}: {nearest(name, others, 'kept file')}")
        from redistill.tensor_files import tensors_of

        return tensors_of(self._checked(file), self.folder / file)

    def _checked(self, name: str) -> bytes:
        content = read(self.folder / name)
        if digest(content) != self.record["files"].get(name):
            raise RedistillError(
                f"{self.folder / name} was altered or cut off: it does not match the SHA-256 in {RECORD}; the record's "
                f"numbers are still good. Delete the folder to train this run again"
            )
        return content


def step_of(runs: Iterable[Run], on: str) -> float:
    """The step in percent in which the accuracies of some runs come, the coarsest one; that of 10,000 images where none says so."""
    from redistill.stats import STEP  # scipy, which a listing does without

    counts = [count for run in runs if isinstance(count := run.entry.data.get(on, {}).get("count"), int)]
    return 100 / min(counts) if counts and min(counts) > 0 else STEP
