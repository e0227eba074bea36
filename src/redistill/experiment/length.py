"""How long an experiment is, and what its student's steps cost: multiply-accumulates from the sizes of its networks.

Counted are convolutions and linear layers. A forward of a network of M multiply-accumulates an image costs M, a forward with
backward 3 M. Adapters of terms, augmentation and optimisers are left out, so an estimate is low by some per cent.
"""

from __future__ import annotations

from collections.abc import Sequence

from redistill.data.augment import augmentation
from redistill.data.named import is_own_data, looks
from redistill.experiment.networks import Net
from redistill.experiment.source.images import ImagesSettings
from redistill.experiment.value import Experiment
from redistill.files import canonical
from redistill.models.describe import macs_by_name


def steps_of(one: Experiment) -> tuple[int, int]:
    """(steps of the run, steps of an epoch)."""
    epoch = one.source.steps_of_epoch(one.recipe)
    return one.recipe.total_steps(epoch), epoch


def macs_of(net: Net, data: str) -> int:
    """Multiply-accumulates of one forward of one image; 0 for a network of one's own, which nothing is known of."""
    if net.code is not None:
        return 0
    known = looks(data)
    return macs_by_name(net.model, canonical(net.args or {}), known.classes, known.channels, known.size)


def macs_of_networks(group: Sequence[Experiment]) -> tuple[int, int]:
    """Of one forward of one image: through the students of a cohort, together, and through their teacher."""
    one = group[0]
    # images as a run sees them
    data = next(iter(one.evaluate.sets.values()), one.source.data if isinstance(one.source, ImagesSettings) else "cifar10:test")
    return sum(macs_of(member.student, data) for member in group), 0 if one.teacher is None else macs_of(one.teacher, data)


def learning(group: Sequence[Experiment], *, again: bool = True) -> float:
    """Of all steps of the students of a cohort, and of what their teacher says of the images, once for all of them.

    Args:
        again: also of variants of an image that it was asked for before, which a table of its answers would hold.
    """
    one = group[0]
    students, teacher = macs_of_networks(group)
    steps, epoch = steps_of(one)
    images = min(one.source.count / epoch, one.recipe.batch_size) if isinstance(one.source, ImagesSettings) else one.recipe.batch_size
    asked = steps * images * one.source.asked
    if not again and isinstance(one.source, ImagesSettings) and not is_own_data(one.source.data):
        if (done := augmentation(one.source.augment)).bounded:
            asked = min(asked, one.source.count * done.variants)
    return asked * teacher + steps * images * 3 * one.source.views * students
