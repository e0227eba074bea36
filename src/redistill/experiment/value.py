"""An experiment is a value: what is trained, on what, how, and which numbers it will show, complete before it runs.

``cell`` is the SHA-256 of all of it but the seed (and the seeds that follow it), ``id`` the same with the seed. Names,
notes and the places of files on this disk are no part of either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from redistill.core import Ramp
from redistill.experiment.files import canonical, digest
from redistill.experiment.kinds import SourceSettings
from redistill.recipe import Recipe, Value

if TYPE_CHECKING:
    from redistill.experiment.store import Run, Store

Seed = Literal["same"] | Annotated[int, Field(ge=0)]
"""A rule: ``same`` as the run's own seed, or always this number."""

SHORT = 16  # hex digits of an id


class WeightsFile(Value):
    """Weights that come from a file; the SHA-256 names them, the path only says where they were found."""

    sha256: str
    path: str


class Net(Value):
    """A network and where its first weights come from.

    Args:
        model: a name of this package, or ``module:name`` / ``./file.py:name``. args: further keyword arguments of its
            constructor; number of classes, channels and image size come from the data.
        code, file: of one's own network: SHA-256 of its file, and where it was.
        weights: a file of weights (``from`` in TOML). run: the experiment whose student this is, with its ``seed`` rule.
            Neither: drawn from (seed, "init", architecture).
    """

    model: str
    args: dict[str, Any] | None = None
    code: str | None = None
    file: str | None = None
    weights: WeightsFile | None = Field(default=None, alias="from")
    run: Experiment | None = None
    seed: Seed = "same"

    def written(self) -> dict[str, Any]:
        rows: dict[str, Any] = {"model": self.model}
        for name in ("args", "code", "file"):
            if (value := getattr(self, name)) is not None:
                rows[name] = value
        if self.weights is not None:
            rows["from"] = self.weights.model_dump()
        if self.run is not None:
            rows |= {"run": self.run.written(seed=False), "seed": self.seed}
        return rows

    def maker(self, seed: int) -> Experiment | None:
        """The experiment, with its seed, that makes these weights for a run of ``seed``."""
        return None if self.run is None else self.run.with_seed(seed if self.seed == "same" else self.seed)


class Part(Value):
    """One term of the method with its weight and all its settings."""

    use: str
    weight: float | Ramp = 1.0
    settings: dict[str, Any] = Field(default_factory=dict)
    code: str | None = None
    file: str | None = None

    def written(self) -> dict[str, Any]:
        weight: Any = self.weight
        if isinstance(weight, Ramp):
            weight = {key: getattr(weight, key) for key in ("start", "end", "first", "last", "unit")}
        own = {name: value for name in ("code", "file") if (value := getattr(self, name)) is not None}
        return {"use": self.use, "weight": weight, **own, **self.settings}


class Evaluate(Value):
    """Evaluation sets by name (``content``: SHA-256 of those of one's own), and the epochs between evaluations.

    ``every`` None stands for the loop's own rule, 20 evaluations over the run, where the length is given in steps.
    """

    sets: dict[str, str]
    content: dict[str, str] = Field(default_factory=dict)
    every: int | None

    def written(self) -> dict[str, Any]:
        more: dict[str, Any] = {"content": self.content} if self.content else {}
        return {**self.sets, **more, **({} if self.every is None else {"every": self.every})}


class Arithmetic(Value):
    """What the recipe's precision means on the device: data type of the forwards, memory layout, compiled or not."""

    device: str
    forward: Literal["float32", "float64", "bfloat16"]
    channels_last: bool
    compile: bool


class Experiment(Value):
    """See the module. Made by :func:`redistill.experiment.read.load` (``Experiment.load``) and never by hand.

    Attributes:
        teacher: None for ordinary training. method, source, recipe, evaluate: what varies between experiments.
        arithmetic, numerics: what follows from device and version, written down before the id is made.
        seed: of this run. name, notes: for people.
    """

    teacher: Net | None
    student: Net
    method: tuple[Part, ...] = Field(min_length=1)
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

        where = None if data_dir is None else Path(data_dir)
        return load(Path(file), seed=seed, device=device, change=change, data_dir=where, trust_code=trust_code)

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

        where = None if data_dir is None else Path(data_dir)
        return resolve(settings, folder=Path(folder), seed=seed, device=device, data_dir=where, trust_code=trust_code)

    def with_seed(self, seed: int) -> Experiment:
        """The same cell under another seed."""
        return self.model_copy(update={"seed": seed})

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
    def cell(self) -> str:
        """Hash of everything but the seed: runs of one cell are repetitions of one measurement."""
        return digest(canonical(identity(self.written(seed=False))))[:SHORT]

    @property
    def id(self) -> str:
        """Hash of everything, with the seed."""
        return digest(canonical(identity(self.written())))[:SHORT]

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
        from redistill.experiment.run import run_one
        from redistill.experiment.store import Store

        where = store if isinstance(store, Store) else Store(Path(store))
        return run_one(self if seed is None else self.with_seed(seed), where, data_dir)


def identity(written: Any) -> Any:
    """What of a written experiment is hashed: everything but names, notes and the places of files whose SHA-256 is there."""
    if isinstance(written, Mapping):
        skip = {"name", "notes"} if "recipe" in written else {"file"} if "code" in written else set()
        if written.keys() == {"sha256", "path"}:
            skip = {"path"}
        if isinstance(content := written.get("content"), Mapping):
            written = {**written, **content}  # evaluation sets
        elif content is not None and "data" in written:
            skip = {"data"}
        return {key: identity(value) for key, value in written.items() if key not in skip}
    if isinstance(written, list | tuple):
        return [identity(value) for value in written]
    return written


Net.model_rebuild()
