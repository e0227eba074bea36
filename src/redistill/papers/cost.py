"""What runs cost: multiply-accumulates from the sizes of their networks; hours follow from a rate stored for this machine.

What is counted of a student's steps stands in :mod:`redistill.experiment.length`; here is added what making the images costs, and
the evaluations. A backward to the input alone costs M, as a forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from redistill.answers.folder import limit
from redistill.data.augment import augmentation
from redistill.data.named import is_own_data, looks
from redistill.experiment.length import learning, macs_of_networks, steps_of
from redistill.experiment.method import TermSpec
from redistill.experiment.source.adversarial import AdversarialSettings
from redistill.experiment.source.images import ImagesSettings
from redistill.experiment.source.inverted import InvertedSettings
from redistill.experiment.value import Experiment
from redistill.files import canonical
from redistill.launch.rates import rate
from redistill.models.describe import macs_by_name
from redistill.precision import resolve_device
from redistill.sources.losses import reads_student
from redistill.terms import by_name


def making(group: Sequence[Experiment]) -> float:
    """Multiply-accumulates that the images of a cohort cost, beside what is learned from them; 0 for images that are there."""
    one = group[0]
    source, batch = one.source, one.recipe.batch_size
    if not isinstance(source, AdversarialSettings | InvertedSettings):
        return 0.0
    students, teacher = macs_of_networks(group)
    made = macs_by_name(source.generator, canonical({"z": source.z}), 1, source.channels, source.image_size) if source.generator else 0
    blocks = steps_of(one)[0] / source.n_S
    if isinstance(source, InvertedSettings):
        # every step on the images goes through the networks and back to them; a second view asks the teacher again
        image = 3 * made + (2 * students if source.adversarial else 0) + (4 if source.contrast else 2) * teacher
        return blocks * source.iterations * source.images * image
    # the generator's step goes through both networks, or the teacher alone, back to the images; then new images but where those before do
    back = (2 if reads_student(source.method()) else 1) * students + 2 * teacher
    return blocks * batch * (source.n_G * (3 * made + back) + source.asked * source.n_S * made)


def cost(group: Sequence[Experiment], *, again: bool = True) -> float:
    """Multiply-accumulates of a cohort, with its evaluations. ``again``: see :func:`~redistill.experiment.length.learning`."""
    one = group[0]
    students, teacher = macs_of_networks(group)
    steps, epoch = steps_of(one)
    looked = 20 if one.evaluate.every is None else math.ceil(steps / epoch / one.evaluate.every)
    tested = sum(looks(name).images for name in one.evaluate.sets.values())
    return learning(group, again=again) + making(group) + looked * tested * students + tested * teacher


def seconds(group: Sequence[Experiment], device: str = "auto", *, remembers: bool = True) -> float:
    """Seconds that a cohort takes one process of this machine, at the rate of its precision.

    Args:
        remembers: whether what a teacher says is looked up (``--no-cache`` does not). Counted on are tables of its logits, which
            are small, and of summaries that fit; features of augmented images seldom do, and where they do a run is sooner done
            than this says.
    """
    looked_up = remembers and limit() > 0 and resolve_device(device).type == "cpu"
    looked_up = looked_up and not any(map(reads_features, group)) and max(map(summary_bytes, group)) <= limit()
    return cost(group, again=not looked_up) / rate(device, group[0].recipe.precision)


def reads_features(one: Experiment) -> bool:
    """Whether a term of the method reads places of which no summary suffices: it has a field ``at``, or says of itself that it
    compares logits besides."""
    whole = [term for term in one.method if not _summarises(term)]
    return any("at" in term.settings or (term.code is None and by_name(term.use).compares_logits) for term in whole)


def summary_bytes(one: Experiment) -> int:
    """About what a table of summaries takes, one number in fp32 for each position of maps that halve from stage to stage (the
    three of a network for CIFAR, where none are named); 0 where no term takes them."""
    source = one.source
    maps = [len(named) if isinstance(named := term.settings.get("at"), list | tuple) else 3 for term in one.method if _summarises(term)]
    if not maps or not isinstance(source, ImagesSettings) or is_own_data(source.data) or not (done := augmentation(source.augment)).bounded:
        return 0
    size = looks(source.data).size
    positions: int = sum(size * size // 4**stage for stage in range(max(maps)))
    return source.count * done.variants * 4 * positions


def _summarises(term: TermSpec) -> bool:
    return term.code is None and "summaries" in vars(by_name(term.use))
