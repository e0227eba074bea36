"""A few real images: the recipes and losses that the zero-shot papers compare with and finish with.

How long a student trains on M images a class is itself a choice, and it moves the result:

=============  ==================================================================  =========================================
``counting``   length, rate x0.2 after 30, 60 and 80 % of it                       where
=============  ==================================================================  =========================================
``steps``      the optimiser steps of the full run, exactly, for every M           what the paper says it does
``authors``    int(epochs x images / (classes x M) x scale) epochs; the lower      FewShotKnowledgeTransfer@ac68538: with
               rate starts one epoch late; an incomplete batch is a step too       M = 10 that is 100,000 steps, not 78,200
``re-2020``    int(epochs x 5000 / M) epochs, Nesterov                             reproducibility report's repository @5b4f27a
=============  ==================================================================  =========================================

All: batch 128, SGD 0.1, momentum 0.9, weight decay 5e-4. Full runs have 200 epochs (CIFAR-10) or 100 (SVHN). The authors' SVHN
scripts set ``scale`` to 0.1, 0.25, 0.5, 0.75 and 1 for M = 10, 25, 50, 75 and 100.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import torch

from redistill.core import Method, RedistillError, nearest
from redistill.data import DataSet, subsets
from redistill.data.dataset import chosen_by_matches, labelled_groups
from redistill.data.subsets import whole
from redistill.errors import counted
from redistill.recipe import Cosine, MultiStep, Precision, Recipe
from redistill.terms import AT, CE, KD, Anchor

Counting = Literal["steps", "authors", "re-2020"]
AnySet = TypeVar("AnySet", bound=DataSet)


def few_recipe(
    M: int,
    *,
    counting: Counting = "steps",
    epochs: int = 200,
    images: int = 50_000,
    classes: int = 10,
    scale: float = 1.0,
    precision: Precision = "strict",
) -> Recipe:
    """The recipe of the baselines on M images a class.

    Args:
        counting: how the length follows from M: the table of :mod:`redistill.published.few_images`. epochs: of the full run: 200
            (CIFAR-10), 100 (SVHN). images: in the full set (SVHN 73,257).
        scale: further factor on the length, for ``"authors"`` only.

    Raises:
        RedistillError: images that are not there, a scale elsewhere, or a length too short for the schedule.
    """
    if M < 1 or classes < 1 or images < classes * M:
        raise RedistillError(f"M={M}: {classes} classes of M images must be between 1 image a class and the {images} there are")
    if epochs < 1 or not 0 < scale < math.inf:
        raise RedistillError(f"epochs={epochs}, scale={scale}: at least 1 epoch, and a finite factor above 0")
    if counting != "authors" and scale != 1.0:
        raise RedistillError(f"scale belongs to counting='authors'; {counting!r} has none")
    common = {"lr": 0.1, "batch_size": 128, "momentum": 0.9, "weight_decay": 5e-4, "precision": precision}
    if counting == "steps":
        schedule = MultiStep(at=(0.3, 0.6, 0.8), gamma=0.2, unit="fraction")
        return Recipe(steps=epochs * -(-images // 128), schedule=schedule, **common)  # type: ignore[arg-type]
    if counting == "authors":
        factor = images / (classes * M) * scale
        marks = [int(epochs * part * factor) for part in (0.3, 0.6, 0.8)]
        length = int(epochs * factor)
        late, nesterov = 1, False
    elif counting == "re-2020":
        length = int(epochs * 5000 / M)
        marks = [int(length * part) for part in (0.3, 0.6, 0.8)]
        late, nesterov = 0, True
    else:
        raise RedistillError(nearest(counting, ("steps", "authors", "re-2020"), "counting"))
    if not (at := tuple(float(m) for m in dict.fromkeys(marks) if m > 0)):
        short = f"{counted(length, 'epoch')} {'is' if length == 1 else 'are'} too short for rates at 30, 60 and 80 %"
        raise RedistillError(f"M={M}, epochs={epochs}, scale={scale}: {short}")
    schedule = MultiStep(at=at, gamma=0.2, late=late)
    return Recipe(epochs=length, schedule=schedule, nesterov=nesterov, **common)  # type: ignore[arg-type]


def few_methods(codes: bool = False) -> dict[str, Method]:
    """The losses of the few-image comparisons by name.

    Args:
        codes: with both zero-shot codes' KD, which is 2/C of the definition's (mean over classes, times 2).
    """
    kd = KD(T=4.0, reduction="element", factor=2.0) if codes else KD(T=4.0)
    return {
        "no teacher": Method.of(CE()),
        "KD, soft targets alone": Method.of(kd.fresh()),
        "KD": 0.1 * CE() + 0.9 * kd.fresh(),
        "AT": CE() + 1000.0 * AT(),
        "KD+AT": 0.1 * CE() + 0.9 * kd.fresh() + 1000.0 * AT(),
    }


def extra_images(epochs: int = 200, anchor: float = 1.0, *, batch_size: int = 128) -> tuple[Method, Recipe]:
    """Fine-tuning of a zero-shot student on M images a class, as the reproducibility report's code does it.

    Adam 5e-4 with a cosine over the epochs (200 for CIFAR-10, 100 for SVHN), KD of both codes without attention, plus
    ``anchor`` times the mean distance of each weight tensor from the zero-shot student's, which stays in evaluation mode.
    That code keeps the best epoch on the test set, counting the start, so that its numbers cannot fall; we report the last.
    The paper's own recipe for this step ("naively finetuning") is in no publication and no code.
    """
    method = 0.1 * CE() + 0.9 * KD(T=4.0, reduction="element", factor=2.0) + anchor * Anchor()
    recipe = Recipe(
        epochs=epochs,
        lr=5e-4,
        batch_size=batch_size,
        optimizer="adam",
        weight_decay=0.0,
        schedule=Cosine(),
        student_mode="eval",
    )
    return method, recipe


# -- subsets as published code draws them, mistakes included ----------------------------------------------------------
def per_class_ferles(images: AnySet, M: int, seed: int) -> AnySet:
    """A published mistake, for comparison with the numbers made with it: *not* M images of every class.

    See :func:`redistill.data.subsets.per_class_ferles`; ``images.per_class(M, seed)`` is what its report describes.
    """
    groups = labelled_groups(images, "per_class_ferles")
    M, seed = whole("per_class_ferles: M", M, 1), whole("per_class_ferles: seed", seed, 0)
    assert images.y is not None
    chosen = subsets.per_class_ferles(images.y, groups, M, seed, images.name, images.class_names)
    return images.subset(chosen, ("per_class_ferles", {"M": M, "seed": seed}))


def matching_ferles(images: AnySet, matches: torch.Tensor, n: int, seed: int) -> AnySet:
    """A published mistake: images that have nothing to do with ``matches`` (bool [N]).

    See :func:`redistill.data.subsets.matching_ferles`; ``images.matching(matches, n, seed)`` is what its report describes.
    """
    return chosen_by_matches(images, "matching_ferles", subsets.matching_ferles, matches, n, seed)
