"""The sections ``[teacher]`` and ``[student]``: what can be built, and where its first weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator
from torch import nn

from redistill import user_code
from redistill.core import RedistillError
from redistill.data import normalisation
from redistill.experiment.reading import Reading
from redistill.models.build import check_model, drawn
from redistill.models.named_file import model_in_file, named_file
from redistill.recipe import Recipe
from redistill.settings.validation import ValidationErrors
from redistill.values import Seed, Value

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment

class WeightsFile(Value):
    """Weights that come from a file; the SHA-256 names them, the path only says where they were found."""

    sha256: str
    path: str


class Net(Value):
    """A network and where its first weights come from.

    Args:
        model: a name of this package, or ``module:name`` / ``./file.py:name``; default: what the file or the experiment says that the
            weights come from. args: further keyword arguments of its constructor; number of classes, channels and image size come from
            the data.
        code: SHA-256 of the file of one's own network, which a record has. file: where that was.
        weights: a file of weights (``from`` in TOML). run: the experiment that trains this network as its student. Where there is
            neither, first weights are drawn from (seed, "init", architecture). seed: of the experiment in ``run``, that of this run
            (``same``) or a number.
        take: of the experiment in ``run``, the network of the ``last`` step, or of the ``best`` evaluation (an epoch chosen on the test
            set; what several published codes save).
        normalise: the set in which it wants its images, a name or mean and standard deviation; default: its file's, which a given one
            replaces.
    """

    model: str
    args: dict[str, Any] | None = None
    code: str | None = None
    file: str | None = None
    weights: WeightsFile | None = Field(default=None, alias="from")
    run: Experiment | None = None
    seed: Seed = "same"
    take: Literal["last", "best"] = "last"
    normalise: str | None = None

    @field_validator("normalise")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return None if name is None else str(normalisation(name))

    def written(self) -> dict[str, Any]:
        rows: dict[str, Any] = {"model": self.model}
        for name in ("args", "code", "file", "normalise"):
            if (value := getattr(self, name)) is not None:
                rows[name] = value
        if self.weights is not None:
            rows["from"] = self.weights.model_dump()
        if self.run is not None:
            rows |= {"run": self.run.written(seed=False), "seed": self.seed}
            if self.take != "last":
                rows["take"] = self.take
        return rows

    def build(self, sizes: Mapping[str, Any], seed: int) -> nn.Module:
        """The network with its drawn first weights. ``sizes``: classes, channels and image size of the data."""
        return drawn(self.model, self.args or {}, sizes, seed, file=self.file, code=self.code)

    def maker(self, seed: int) -> Experiment | None:
        """The experiment, with its seed, that makes these weights for a run of ``seed``."""
        return None if self.run is None else self.run.with_seed(seed if self.seed == "same" else self.seed)


def read(role: str, given: Mapping[str, Any], maker: Experiment | None, mistakes: ValidationErrors, reading: Reading) -> Net | None:
    """The section ``[teacher]`` or ``[student]``; what is wrong with it is told to ``mistakes``.

    ``maker``: the experiment that its ``run`` names, already read; None where it names none, or one that cannot be read.
    """
    before = len(mistakes.found)
    mistakes.unknown((role,), given, ("model", "args", "from", "run", "seed", "take", "normalise", "code", "file"))
    if not isinstance(given.get("args", {}), dict):
        mistakes.add((role, "args"), "must be a table, args = { dropout = 0.3 }")
        return None
    rows: dict[str, Any] = {"normalise": given["normalise"]} if "normalise" in given else {}
    if "from" in given and "run" in given:
        mistakes.add((role, "from"), "weights come from a file (from) or from an experiment (run), not from both")
    if "run" in given:
        rows |= {"run": maker, "seed": given.get("seed", "same"), "take": given.get("take", "last")}
        if rows["take"] == "best" and maker is not None and not maker.evaluate.sets:
            mistakes.add((role, "take"), "the experiment in run evaluates nothing, so none of its networks is the best")
        elif rows["take"] == "best" and maker is not None and (by := _keeps_by(maker.recipe)):
            mistakes.add((role, "take"), f"the experiment in run keeps one network alone, as its {by} says: leave take out")
    elif "seed" in given or "take" in given:
        key, what = ("seed", "seed") if "seed" in given else ("take", "network")
        mistakes.add((role, key), f'chooses the {what} of the experiment in run = "...", and there is none')
    if "from" in given:
        with mistakes.at((role, "from")):
            rows["from"] = named_file(given["from"], reading.folder)
    model = given.get("model")
    if maker is not None:
        rows |= {name: getattr(maker.student, name) for name in ("model", "args", "code", "file")}
        if model is not None and not user_code.is_code(str(model)) and model != maker.student.model:
            mistakes.add((role, "model"), f"the experiment in run trains {maker.student.model!r}: leave model out")
    elif "run" not in given and (model is not None or "from" not in given or "from" in rows):  # else the file would say what it holds
        with mistakes.at((role, "model")):
            rows |= _architecture(role, model, given, rows, reading)
    if rows.get("model") is not None and rows.get("code") is None:
        for key in sorted({"code", "file"} & given.keys()):
            mistakes.add((role, key), "is what a record says of code of one's own, ./mine.py:Net; weights stand in from = \"...\"")
    if len(mistakes.found) > before or ("run" in given and maker is None):  # what is wrong with a maker is told already
        return None
    made = None
    with mistakes.at((role,)):
        made = Net.model_validate(rows)
    return made


def _keeps_by(recipe: Recipe) -> str:
    """The switches by which a run itself says which network it keeps, and then no other one; "" where that is the last."""
    return " and ".join(name for name in ("ema", "patience") if getattr(recipe, name) is not None)


def _architecture(role: str, model: Any, given: Mapping[str, Any], rows: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """What can be built, where no other experiment says it: by name, by one's own code, or by its file of weights."""
    if model is None:
        if "from" not in rows:
            raise RedistillError('is missing: name a network, for example model = "wrn-16-1"')
        name, own = model_in_file(Path(rows["from"]["path"]))
        return {"model": name, "args": own or None}
    if not isinstance(model, str):
        raise RedistillError('must be text, for example model = "wrn-16-1"')
    args = given.get("args", {})
    if user_code.is_code(model):
        found = reading.code(model, given, nn.Module)
        return {"model": found.name, "args": args, "code": found.code, "file": found.file}
    check_model(model, args)
    if role == "teacher" and "from" not in given:
        raise RedistillError('the teacher has no weights: add from = "file" or run = "experiment.toml"')
    return {"model": model, "args": args or None}
