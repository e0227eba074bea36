"""The words of a distillation, as they were given."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from redistill.errors import RedistillError
from redistill.launch.carry_out import Resources
from redistill.settings.change import keys_of

ARGS = ("teacher.args", "student.args")
"""Beginnings of changes that decide what is built, and so how long it takes."""

OPTIONS = {
    "recipe.epochs": "--epochs", "recipe.steps": "--epochs", "recipe.batch_size": "--batch-size", "recipe.accumulate": "--accumulate",
    "recipe.precision": "--precision", "recipe.ema": "--ema", "recipe.patience": "--early-stop", "recipe": "--recipe",
    "source.data": "--data", "source.kind": "--data", "source.size": "--size", "source.augment": "--augment",
    "source.beside": "--unlabelled", "source.held_out": "--early-stop", "source": "--data", "evaluate.test": "--evaluate",
    "evaluate": "--evaluate", "method": "--method", "teacher": "--teacher", "student": "--student",
}  # fmt: skip
"""Settings on which others were built by the time a change is made (warm-up, ramps, time, memory, what was looked at), and the option
that says them in time."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """See :func:`redistill.distill.preflight.plan`."""

    data: str
    teacher: str
    student: str | None
    teacher_weights: str | Path | None
    teacher_normalise: str | None
    student_weights: str | Path | None
    student_pretrained: bool
    train_teacher: int | None
    method: str
    epochs: int
    time_budget: float | None
    seeds: tuple[int, ...]
    size: int | None
    batch_size: int | None
    lr: float | None
    precision: str | None
    plain: bool
    evaluate: str | None
    skip_unreadable: bool
    change: tuple[str, ...]
    resources: Resources
    augment: str | None = None
    recipe: str | None = None
    ema: float | None = None
    early_stop: int | None = None
    accumulate: int = 1
    class_weights: bool = False
    unlabelled: str | None = None
    choose: bool = False

    @property
    def of_students(self) -> list[str]:
        """The changes of the students' settings.

        Raises:
            RedistillError: one is of a setting that an option says.
        """
        found = [one for one in self.change if not one.strip().startswith(ARGS)]
        for one in found:
            keys = keys_of(one)
            setting = ".".join(keys[:1] if keys[:1] in (("teacher",), ("student",)) else keys[:2])
            if (option := OPTIONS.get(setting)) is not None:
                raise RedistillError(f"--set {one}: {setting} is chosen before, and what depends on it with it; give {option}")
        return found

    def words(self) -> dict[str, str]:
        """What was asked for as far as it decides how long and in which batches; later words only where they say something."""
        rest = {f.name: f.default for f in dataclasses.fields(self) if f.default is not dataclasses.MISSING}
        args = [one for one in self.change if one.strip().startswith(ARGS)]
        return ({"args": "; ".join(args)} if args else {}) | {
            key: str(value) for key, value in vars(self).items()
            if key not in ("resources", "change", "seeds") and not (key in rest and value == rest[key])
        }  # fmt: skip
