"""What an experiment costs: multiply-accumulates from the sizes of its networks, hours from a rate stored for this machine.

Counted are convolutions and linear layers. A forward of a network of M multiply-accumulates an image costs M, a forward
with backward 3 M, a backward to the input alone M more. Adapters of terms, augmentation and optimisers are left out, so an
estimate is low by some per cent; the measured rate contains what they cost for a usual network.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redistill.data.catalogue import count_of, row_of
from redistill.data.named import load_data
from redistill.data.strong import SUFFIX
from redistill.errors import RedistillError
from redistill.experiment.networks import Net
from redistill.experiment.source.adversarial import AdversarialSettings
from redistill.experiment.source.images import ImagesSettings
from redistill.experiment.source.inverted import InvertedSettings
from redistill.experiment.value import Experiment
from redistill.files import canonical


@functools.cache
def _macs(model: str, args: str, classes: int, channels: int, size: int) -> int:
    from redistill import models

    given: dict[str, Any] = json.loads(args)
    network = models.build(model, classes=classes, channels=channels, image_size=size, trust_code=False, **given)
    return models.describe(network).macs


def macs_of(net: Net, data: str) -> int:
    """Multiply-accumulates of one forward of one image; 0 for a network of one's own, which nothing is known of."""
    if net.code is not None:
        return 0
    known = looks(data)
    return _macs(net.model, canonical(net.args or {}), known.classes, known.channels, known.size)


@dataclass(frozen=True)
class Looks:
    """What of a data set a cost depends on."""

    images: int
    classes: int
    channels: int
    size: int


UNKNOWN = Looks(0, 10, 3, 32)
"""Data of one's own that are not on this machine: they are counted as CIFAR-10's images, and their number as none."""


@functools.cache
def looks(data: str) -> Looks:
    """From the catalogue; data of one's own are opened, once."""
    if (row := row_of(data)) is not None:
        return Looks(count_of(data) or 0, row.classes, row.channels, row.size)
    try:
        found = load_data(data, None)
        channels, size, *_ = found.image_shape
        return Looks(int(found.count), int(found.classes or UNKNOWN.classes), channels, size)
    except RedistillError:
        return UNKNOWN


def images_of(source: ImagesSettings) -> int:
    """Images in the source."""
    known = looks(source.data)
    count, classes = known.images, known.classes
    if source.held_out is not None:
        held = source.held_out
        count -= int(held * count) if isinstance(held, float) else held
    if (few := source.per_class or source.first_per_class or source.per_class_ferles) is not None:
        return min(count, few * classes)
    return round(count * source.fraction) if source.fraction is not None else count


def steps_of(one: Experiment) -> tuple[int, int]:
    """(steps of the run, steps of an epoch)."""
    if isinstance(one.source, AdversarialSettings | InvertedSettings):
        epoch = (one.source.epoch_blocks or max(1, one.source.blocks // 100)) * one.source.n_S
    elif isinstance(one.source, ImagesSettings):
        count, batch = images_of(one.source), one.recipe.batch_size
        epoch = max(1, count // batch if one.recipe.drop_last else math.ceil(count / batch))
    else:
        epoch = 1
    return one.recipe.total_steps(epoch), epoch


def _data_of(one: Experiment) -> str:
    """Images as a run sees them."""
    return next(iter(one.evaluate.sets.values()), one.source.data if isinstance(one.source, ImagesSettings) else "cifar10:test")


def _macs_of_networks(group: Sequence[Experiment]) -> tuple[int, int]:
    """Of one forward of one image: through the students of a cohort, together, and through their teacher."""
    data, teacher = _data_of(group[0]), group[0].teacher
    return sum(macs_of(member.student, data) for member in group), 0 if teacher is None else macs_of(teacher, data)


def cost_of_steps(group: Sequence[Experiment]) -> float:
    """Multiply-accumulates of the steps of a cohort: its teacher looks at every batch once, whoever learns from it."""
    one = group[0]
    students, teacher = _macs_of_networks(group)
    steps, epoch = steps_of(one)
    batch = one.recipe.batch_size
    if isinstance(one.source, AdversarialSettings):
        variant = one.source.variant
        made = _macs(one.source.generator, canonical({"z": one.source.z}), 1, one.source.channels, one.source.image_size)
        blocks = steps / variant.n_S
        # the generator's step goes through both networks back to the images; then new images, unless those before are used
        again = 0 if variant.images == "before" else 1 if variant.noise == "same" else variant.n_S
        block = variant.n_G * (3 * made + 2 * students + 2 * teacher) + again * (made + teacher)
        return blocks * batch * (block + variant.n_S * 3 * students)
    if isinstance(one.source, InvertedSettings):
        r, blocks = one.source, steps / one.source.n_S
        made = _macs(r.generator, canonical({"z": r.z}), 1, r.channels, r.image_size) if r.generator else 0
        asked = students if r.adversarial else 0
        # every step on the images goes through the networks and back to them; a second view asks the teacher again
        image = 3 * made + 2 * asked + (4 if r.contrast else 2) * teacher
        return blocks * r.iterations * r.images * image + steps * batch * (teacher + 3 * students)
    seen, views = float(batch), 1
    if isinstance(one.source, ImagesSettings):
        seen, views = images_of(one.source) / epoch, 2 if one.source.augment.endswith(SUFFIX) else 1
    return steps * min(seen, batch) * views * (teacher + 3 * students)


def cost(group: Sequence[Experiment]) -> float:
    """Multiply-accumulates of a cohort, with its evaluations."""
    one = group[0]
    students, teacher = _macs_of_networks(group)
    steps, epoch = steps_of(one)
    looked = 20 if one.evaluate.every is None else math.ceil(steps / epoch / one.evaluate.every)
    tested = sum(looks(name).images for name in one.evaluate.sets.values())
    return cost_of_steps(group) + looked * tested * students + tested * teacher
