"""The smallest batch of a run: one image may be too few, which is said before the first step and not at the end of an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from redistill.core import Batch, RedistillError, Source
from redistill.errors import first_line
from redistill.features.modes import untouched
from redistill.precision import Arithmetic
from redistill.recipe import Recipe
from redistill.train.learner import Learner
from redistill.train.teacher import Teacher


def smallest_batch(source: Source, recipe: Recipe, *, steps: int, per_epoch: int) -> int:
    """How many images it holds; the last batch of an epoch counts where the run reaches it, of either half of a mixture."""
    size, count = recipe.batch_size, source.count
    if (shares := getattr(source, "shares", None)) is not None:
        halves = ((half, own, half.steps_per_epoch(size, recipe.drop_last)) for half, own in shares(steps))
        return min(smallest_batch(half, recipe, steps=own, per_epoch=epoch) for half, own, epoch in halves)
    if count is not None and not recipe.drop_last and steps >= per_epoch == math.ceil(count / size):
        return int(count - (per_epoch - 1) * size)
    return size


def require_one_image(
    students: Sequence[Learner], teacher: Teacher | None, means: Arithmetic, source: Source, recipe: Recipe
) -> None:
    """Try a batch of one image, which this run has: batch norm over one position, for one, cannot take it."""
    for student in students:
        nets = [student.net, student.method, *([teacher.net] if teacher is not None else [])]
        one = student.sight.probe[:1]
        batch = Batch(one, torch.zeros(1, dtype=torch.int64, device=one.device), torch.zeros(1, dtype=torch.int64, device=one.device))
        try:
            with untouched(*nets), torch.no_grad(), means.autocast():
                if teacher is not None and teacher.borrowed:
                    teacher.net.eval()
                asked = teacher.tapped if teacher is not None else None
                teacher_output = None if asked is None else means.wide(asked(one))
                student.method(means.wide(student.tapped(one)), teacher_output, batch)
        except ValueError as error:
            if isinstance(error, RedistillError):
                raise
            images = "" if source.count is None else f", {source.count} images"
            what = "a batch" if recipe.accumulate == 1 else f"a part of a batch (accumulate={recipe.accumulate})"
            raise RedistillError(
                f"{what} of this run holds one image (batches of {recipe.batch_size}{images}), and "
                f"{type(student.net).__name__} with {student.method!r} cannot train on one "
                f"({first_line(error)}): choose another batch_size, or drop_last = true"
            ) from error
