"""How the students are trained: batch, precision, optimiser, epochs, from what fits the memory and the time of this machine.

What depends on the machine (batch and epochs) is chosen once and kept in the store under the words of the command, so that the
same command goes on with the same runs on a day with less free memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from redistill.distill import cost
from redistill.distill.asked import Asked
from redistill.distill.photos import HELD, Photos
from redistill.errors import RedistillError, counted
from redistill.files import canonical, digest, json_of, make_folder, pretty, there, write
from redistill.launch.progress import estimated
from redistill.precision import has_bf16_matrix_units
from redistill.runs.store import Store

BATCHES = (128, 64, 32, 16, 8)
SHARE = 0.8  # of the free memory that a run may take
STEPS = 8  # an epoch at least
REST = 0.25  # of a batch that an epoch's last one has at least
READING = 1.15  # of the time of the steps: images that are read, evaluations
WARM = 5.0  # epochs of warm-up at most
RECIPES = ("sgd", "adamw", "patient")
"""SGD or AdamW, whatever the student is made of; and AdamW on the images of Beyer et al. 2022 (arXiv:2106.05237), :data:`PATIENT`."""

PATIENT = "resized-crop+mixup:1"
"""Random crops, evenly mixed, which teacher and student see alike: what that paper calls function matching."""

LONG = 300  # epochs from which a schedule is a long one


@dataclass(frozen=True)
class Length:
    """recipe: the section of an experiment. alone: that of the student without a teacher. lesson: that of a teacher that is trained
    first, by what it is made of itself. lines: (what, sentence) of each choice. seconds: expected. place: file of the store where the
    choice is kept, and what it holds."""

    recipe: dict[str, Any]
    alone: dict[str, Any]
    lesson: dict[str, Any]
    lines: tuple[tuple[str, str], ...]
    seconds: float
    place: str
    kept: dict[str, Any]

    def keep(self, store: Store) -> None:
        """Write down what depends on the machine, for the next time."""
        path = store.root / self.place
        if not there(path):
            make_folder(path.parent)
            write(path, pretty(self.kept))


def chosen(
    asked: Asked, images: Photos, teacher: nn.Module, student: nn.Module, methods: int, device: torch.device, store: Store
) -> Length:
    """Every choice with its reason.

    Args:
        methods: how many students learn side by side, or are tried so.

    Raises:
        RedistillError: no batch fits the memory; not one epoch fits the time.
    """
    shape = tuple(images.train.image_shape)
    words = asked.words()
    key = digest(canonical({"words": words, "data": images.train.manifest()["sha256"]}))[:16]
    place = f"plans/{key}.json"
    before = json_of(store.root / place) if there(store.root / place) else {}
    lines: list[tuple[str, str]] = []
    batch, why = _batch(asked, images, teacher, student, methods, device, before)
    lines.append(("batch", f"{batch} images, {why}"))
    precision, reason = _precision(asked, device)
    lines.append(("precision", f"{precision}, {reason}"))
    own, reason = _optimiser(asked, student, batch)
    more = more_settings(asked, batch)
    told = len(lines)  # where the sentence on the optimiser belongs, which says how long the warm-up is
    if asked.accumulate > 1:
        lines.append(("parts", f"{min(asked.accumulate, batch)} of each batch, one after the other: the step is that of the whole batch"))
    lines += kept_lines(asked)
    steps, own_steps = (_steps(count, batch) for count in (len(images.train), images.own_count))
    with_teacher = cost.step_seconds(student, teacher, shape, batch, device)
    alone = cost.step_seconds(student, None, shape, batch, device)
    plain = alone if asked.plain and images.labelled else 0.0
    all_methods = with_teacher + (methods - 1) * alone
    taught = (1 - HELD) * all_methods + with_teacher if asked.choose else all_methods  # trials of all, then one of them
    epoch = steps * (taught + plain) * READING * len(asked.seeds)
    epochs, length = _epochs(asked, epoch, steps, before)
    rate = f"rate {own['lr']:g}, falling to 0 along a cosine after a warm-up of {warm_up(epochs):g} epochs"
    lines.insert(told, ("optimiser", f"{reason}: {rate}"))
    lines.append(("length", length))
    if last_batch(len(images.train), batch):
        left = counted(len(images.train) % batch, "image")
        lines.append(("", f"{left} of each epoch, others every time, are left out: so few would move students as much as a whole batch"))
    seconds = epoch * epochs
    if asked.train_teacher:
        seconds += own_steps * READING * asked.train_teacher * cost.step_seconds(teacher, None, shape, batch, device)
    lines.append(("time", f"{_about(seconds)} on {device} with {cost.threads_text()}"))
    shared = {
        "epochs": epochs, "batch_size": batch, "schedule": {"kind": "cosine"}, "per": "step", "precision": precision,
        "warmup": warm_up(epochs), "warmup_unit": "epoch",
    }  # fmt: skip
    recipe = {**shared, **own, **more}
    lesson = {**shared, **_optimiser(asked, teacher, batch)[0], **({"accumulate": more["accumulate"]} if "accumulate" in more else {})}
    times = steps / own_steps  # where images without labels are added: of the others so many more epochs are as many steps
    by_labels = {**recipe, "epochs": round(epochs * times), "warmup": round(recipe["warmup"] * times, 2)}
    return Length(recipe, by_labels, lesson, tuple(lines), seconds, place, {"batch": batch, "epochs": epochs, "words": words})


def last_batch(count: int, batch: int) -> dict[str, Any]:
    """``drop_last`` for ``count`` training images, where an epoch's last batch would be smaller than a :data:`REST` of the others.

    Statistics of a batch norm, and sums over pairs of images, are of so few then: with 900 images in batches of 64 (a last one of 4) a
    student of KD + SP ended at 15 %, without it at 62 (docs/log.md). Which images are left out is drawn anew in every epoch.

    >>> last_batch(900, 64), last_batch(1000, 64), last_batch(20, 64)
    ({'drop_last': True}, {}, {})
    """
    return {"drop_last": True} if count > batch and 0 < count % batch < REST * batch else {}


def _steps(count: int, batch: int) -> int:
    """Of an epoch."""
    return count // batch if last_batch(count, batch) else -(-count // batch)


def more_settings(asked: Asked, batch: int) -> dict[str, Any]:
    """Settings of the recipe that were asked for and are not the optimiser's."""
    found: dict[str, Any] = {} if asked.accumulate == 1 else {"accumulate": min(asked.accumulate, batch)}
    found |= {} if asked.ema is None else {"ema": asked.ema}
    return found | ({} if asked.early_stop is None else {"patience": asked.early_stop})


def kept_lines(asked: Asked) -> list[tuple[str, str]]:
    """Which network of a run is kept, where it is not the last one."""
    lines = []
    if asked.ema is not None:
        lines.append(("kept", f"an average of the student's weights, decay {asked.ema:g}; it is what is evaluated"))
    if asked.early_stop is not None:
        lines.append((
            "early stop", f"after {counted(asked.early_stop, 'evaluation')} without a better one on a tenth of the training images, on "
            f"which nobody trains; the best one's network is kept. The evaluation images decide nothing",
        ))  # fmt: skip
    return lines


def warm_up(epochs: int) -> float:
    """Epochs of warm-up: a tenth of the run, at most :data:`WARM`."""
    return min(WARM, round(epochs / 10, 2))


def _batch(
    asked: Asked, images: Photos, teacher: nn.Module, student: nn.Module, methods: int, device: torch.device, before: dict[str, Any]
) -> tuple[int, str]:
    shape = tuple(images.train.image_shape)
    most = next((b for b in BATCHES if b * STEPS <= len(images.train)), BATCHES[-1])
    batch = asked.batch_size or before.get("batch") or most
    eight = "at least eight steps an epoch" if most * STEPS <= len(images.train) else "the smallest, for so few images"
    why = eight if most < BATCHES[0] else "the usual one"
    why = "as asked for" if asked.batch_size else "as in the first call of this command" if before.get("batch") else why
    free = cost.available_memory(device)
    tried = sorted({batch, *(b for b in BATCHES if b < batch)}, reverse=True)
    need = {b: _need(student, teacher, shape, -(-b // asked.accumulate), methods, device) for b in tried}
    if free is None:
        return batch, f"{why}; about {cost.bytes_text(need[batch])} a step"
    fitting = [b for b in tried if need[b] <= SHARE * free]
    fixed = bool(asked.batch_size or before.get("batch"))
    if not fitting or (fixed and batch not in fitting):
        least = batch if fixed else min(tried)
        rest = f"a batch of {max(fitting)} would fit (--batch-size {max(fitting)})" if fitting else "no smaller batch fits"
        raise RedistillError(
            f"a step with {least} images of {shape[-2]}x{shape[-1]} needs about {cost.bytes_text(need[least])}, and of "
            f"{cost.bytes_text(free)} free a run may take {100 * SHARE:.0f} %: {rest}; --accumulate 4 computes a batch in four parts, and "
            f"smaller images (--size) or a smaller network need less"
        )
    if max(fitting) < batch:
        needed = cost.bytes_text(need[batch])
        why = f"the largest that fits into {100 * SHARE:.0f} % of {cost.bytes_text(free)} ({batch} would need {needed})"
        batch = max(fitting)
    return batch, f"{why}; about {cost.bytes_text(need[batch])} a step, {cost.bytes_text(free)} are free"


def _need(student: nn.Module, teacher: nn.Module, shape: Sequence[int], batch: int, methods: int, device: torch.device) -> int:
    return cost.training_memory(student, teacher, shape, batch, device, students=methods)


def _precision(asked: Asked, device: torch.device) -> tuple[str, str]:
    if asked.precision:
        return asked.precision, "as asked for"
    if device.type == "cuda":
        return "fast", "bf16 where the device has units for it"
    if has_bf16_matrix_units(device):
        return "strict", "IEEE fp32, whose numbers repeat; --precision fast uses this processor's bf16 units and may take half the time"
    return "strict", "IEEE fp32, because this processor is no faster otherwise"


def _optimiser(asked: Asked, student: nn.Module, batch: int) -> tuple[dict[str, Any], str]:
    kinds = list(student.modules())
    own: dict[str, Any]
    transforms = any(isinstance(m, nn.LayerNorm) for m in kinds) and not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in kinds)
    if asked.recipe in RECIPES[1:] or (asked.recipe is None and transforms):
        own = {"optimizer": "adamw", "lr": 5e-4 * batch / 128, "weight_decay": 0.05, "no_decay": ["norm", "bias"], "clip": 1.0}
        why = "because the student normalises by layers as transformers do" if asked.recipe is None else "as asked for"
        reason = f"AdamW, {why} (decay 0.05, clipped at 1)"
    else:
        own = {"optimizer": "sgd", "lr": round(0.1 * batch / 128, 6), "nesterov": True, "weight_decay": 5e-4}
        reason = "SGD with Nesterov momentum, 0.1 at a batch of 128"
    if asked.lr is not None:
        own["lr"], reason = asked.lr, f"{reason.partition(',')[0]}, the rate as asked for"
    return own, reason


def _epochs(asked: Asked, epoch: float, steps: int, before: dict[str, Any]) -> tuple[int, str]:
    if asked.time_budget is None:
        return asked.epochs, f"{_epochs_of(asked.epochs, steps)}{_patience(asked)}"
    if before.get("epochs"):
        return int(before["epochs"]), f"{_epochs_of(int(before['epochs']), steps)}, as in the first call of this command"
    epochs = int(asked.time_budget / epoch)
    if epochs < 1:
        raise RedistillError(
            f"one epoch of all students takes {_about(epoch)} here, more than the budget of "
            f"{estimated(asked.time_budget)}: give more time, fewer seeds or methods, or smaller images"
        )
    return epochs, f"{_epochs_of(epochs, steps)}, which is what fits into {estimated(asked.time_budget)}"


def _epochs_of(epochs: int, steps: int) -> str:
    return f"{counted(epochs, 'epoch')} of {counted(steps, 'step')}"


def _about(seconds: float) -> str:
    return estimated(seconds) if seconds < 1 else f"about {estimated(seconds)}"


def _patience(asked: Asked) -> str:
    """What a schedule is, where it is long, or short for what was asked for."""
    who = "patient teachers (Beyer et al. 2022, arXiv:2106.05237)"
    if asked.epochs >= LONG:
        return f", a long schedule, as {who} need"
    if asked.recipe == "patient":
        return f", which is short: {who} pay off over hundreds to thousands of epochs"
    return ""
