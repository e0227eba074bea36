"""An experiment is a value: what is trained, on what, how, and which numbers it will show, complete before it runs.

``cell`` is the SHA-256 of all of it but the seed (and the seeds that follow it), ``id`` the same with the seed. Names,
notes and the places of files on this disk are no part of either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from redistill.data.subsets import whole
from redistill.experiment.evaluate import Evaluate
from redistill.experiment.method import TermSpec
from redistill.experiment.networks import Net
from redistill.experiment.reading import Reading
from redistill.experiment.source import SourceSettings
from redistill.identity import hashed, identity
from redistill.paths import expanded
from redistill.recipe import Recipe
from redistill.values import Value

if TYPE_CHECKING:
    from redistill.runs.store import Run, Store


class Arithmetic(Value):
    """What the recipe's precision means on the device: data type of the forwards, memory layout, compiled or not."""

    device: str
    forward: Literal["float32", "float64", "bfloat16"]
    channels_last: bool
    compile: bool


class Experiment(Value):
    """What is trained, on what and how, down to the last default.

    Made by :func:`redistill.experiment.read.load` (``Experiment.load``) and never by hand.

    Attributes:
        teacher: None for ordinary training. method, source, recipe, evaluate: what varies between experiments.
        arithmetic, numerics: what follows from device and version, written down before the id is made.
        seed: of this run. name, notes: for people.
    """

    teacher: Net | None
    student: Net
    method: tuple[TermSpec, ...] = Field(min_length=1)
    source: SourceSettings
    recipe: Recipe
    evaluate: Evaluate
    arithmetic: Arithmetic
    numerics: dict[str, int]
    seed: int = Field(default=0, ge=0)
    name: str = ""
    notes: str = ""

    @classmethod
    def load(
        cls,
        file: str | Path,
        *,
        seed: int | None = None,
        device: str = "auto",
        change: Sequence[str] = (),
        data_dir: str | Path | None = None,
        trust_code: bool = False,
    ) -> Experiment:
        """The experiment of a TOML file, or of the JSON of an earlier record.

        Args:
            seed: of the run; default: the record's, 0 for a TOML file. device: ``auto``, ``cpu``, ``cuda`` ...
            change: settings that replace those of the file, ``"recipe.lr=0.05"``.
            data_dir: where data of your own are looked for (their content is part of the experiment); default as for
                :func:`redistill.data.load`. Official data need not be there.
            trust_code: code of one's own that a record names may be run. What a TOML file names may be run anyway.

        Raises:
            RedistillError: every mistake of the file (and of the files it names), each with its line.
        """
        from redistill.experiment.read import load

        return load(
            expanded(file), seed=seed, device=device, change=change, data_dir=data_dir, trust_code=trust_code, one=True
        )[0]

    @classmethod
    def load_all(
        cls,
        file: str | Path,
        *,
        seed: int | None = None,
        device: str = "auto",
        change: Sequence[str] = (),
        data_dir: str | Path | None = None,
        trust_code: bool = False,
    ) -> list[Experiment]:
        """Every experiment of a file: one for each name in its ``[methods]``, itself where it has one method; see :meth:`load`."""
        from redistill.experiment.read import load

        return load(expanded(file), seed=seed, device=device, change=change, data_dir=data_dir, trust_code=trust_code, one=False)

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        *,
        folder: str | Path = ".",
        seed: int | None = None,
        device: str = "auto",
        data_dir: str | Path | None = None,
        trust_code: bool = True,
    ) -> Experiment:
        """The experiment of a dictionary shaped like the TOML file; ``folder`` is where its relative paths start.

        ``trust_code``: False where the settings come from somebody else; code that they name is then only located.
        """
        from redistill.experiment.read import resolve

        where = None if data_dir is None else expanded(data_dir)
        return resolve(settings, Reading(expanded(folder), device, (), where, trust_code), seed)

    def with_seed(self, seed: int) -> Experiment:
        """The same cell under another seed."""
        made = self.model_copy(update={"seed": whole("seed", seed, 0)})
        made.__dict__["_hashed"] = self._hashed  # the cell is the same
        return made

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Experiment:
        """A copy with some fields replaced, which knows nothing of the hashes of this one."""
        made = super().model_copy(update=update, deep=deep)
        for name in ("_hashed", "cell", "id"):
            made.__dict__.pop(name, None)
        return made

    def written(self, seed: bool = True) -> dict[str, Any]:
        """Complete, JSON-able, shaped like the TOML file; reading it again gives an equal experiment."""
        rows: dict[str, Any] = {}
        if self.name:
            rows["name"] = self.name
        if self.notes:
            rows["notes"] = self.notes
        if self.teacher is not None:
            rows["teacher"] = self.teacher.written()
        rows["student"] = self.student.written()
        rows["method"] = [part.written() for part in self.method]
        rows["source"] = self.source.written()
        rows["recipe"] = self.recipe.settings()
        rows["evaluate"] = self.evaluate.written()
        rows["arithmetic"] = self.arithmetic.model_dump()
        rows["numerics"] = dict(sorted(self.numerics.items()))
        if seed:
            rows["seed"] = self.seed
        return rows

    @cached_property
    def _hashed(self) -> dict[str, Any]:
        """What :attr:`cell` is the hash of."""
        return identity(self.written(seed=False))

    @cached_property
    def cell(self) -> str:
        """Hash of everything but the seed: runs of one cell are repetitions of one measurement."""
        return hashed(self._hashed)

    @cached_property
    def id(self) -> str:
        """Hash of everything, with the seed."""
        return hashed({**self._hashed, "seed": self.seed})

    @property
    def folder(self) -> str:
        """Where its run lies in a store: ``<cell>/seed-<n>``."""
        return f"{self.cell}/seed-{self.seed}"

    def needs(self) -> Iterator[Experiment]:
        """The experiments whose students this one starts from or learns from, with their seeds."""
        for net in (self.teacher, self.student):
            if net is not None and (maker := net.maker(self.seed)) is not None:
                yield maker

    @property
    def label(self) -> str:
        """One line for people."""
        method = " + ".join(part.use for part in self.method)
        teacher = f"{self.teacher.model} -> " if self.teacher is not None else ""
        return self.name or f"{teacher}{self.student.model}, {method}, {self.source.label}"

    def run(
        self, store: Store | str | Path = "runs", seed: int | None = None, *, data_dir: str | Path | None = None
    ) -> Run:
        """This experiment's run: read where the store has it, otherwise trained now, with what it needs before it.

        Raises:
            RedistillError: the run was interrupted (a checkpoint is kept), or its loss diverged in a needed experiment.
        """
        from redistill.launch.queue import run_one

        return run_one(self if seed is None else self.with_seed(seed), store, data_dir)


Net.model_rebuild(_types_namespace={"Experiment": Experiment})
