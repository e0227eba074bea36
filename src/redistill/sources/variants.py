"""Every published form of zero-shot distillation as one value: which switch stands where, and the presets by name.

Micaelli & Storkey 2019 (arXiv:1905.09768) describe one algorithm and released another; Ferles et al. 2020 wrote it again
and changed it once more. The four forms, switch by switch:

=====================  ==========================  =======================  =======================  ===================
switch                 ``paper``                   ``authors``              ``re-2020``              ``modified``
=====================  ==========================  =======================  =======================  ===================
images of the student  before the generator's step after it                 before it                after it
noise of its steps     the block's                 the block's              the block's              fresh each step
noise of n_G > 1       the block's                 the block's              fresh each step          fresh each step
KL                     sum over classes, mean      mean over images and     as authors               as authors
                       over images                 classes (C times less)
attention              unsquared norm              mean of squares          as authors               as authors
generator's rate       2e-3                        1e-3                     1e-3                     1e-3
gradient clipping      none is named               norm 5, both networks    as authors               as authors
blocks (CIFAR-10)      80,000                      80,000                   80,000                   65,000 [1]_
=====================  ==========================  =======================  =======================  ===================

.. [1] the released code; the report's text says 80,000.

Sources: algorithm 1 and eq. 1 of the paper; polo5/ZeroShotKnowledgeTransfer@e24915d ``solver.py``, ``utils/loaders.py``;
the [RE] report's repository @5b4f27a ``train_reproducibility_zero_shot.py``, ``train_modified_zero_shot.py``. Common to all:
one generator step and ten student steps a block, Adam with PyTorch's defaults, cosine to zero, temperature 1, weight 250 on
attention, noise of 100 normal numbers; batch 128, student and generator in train mode (both codes; the paper names neither).
Not rebuilt: for the one generator step after each of its tests, every 1,000 blocks, the report's code leaves the student in
evaluation mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from redistill.core import Method, RedistillError, nearest
from redistill.recipe import Constant, Cosine, Recipe
from redistill.terms import AT, KD
from redistill.terms.at import Form
from redistill.terms.kd import Reduction
from redistill.values import Value

Precision = Literal["strict", "double", "fast"]


class Variant(Value):
    """What happens in one block: ``n_G`` generator steps, then ``n_S`` student steps.

    Args:
        n_G, n_S: steps of the generator and of the student in a block; 1 and 10 in every publication.
        images: the student sees the images made ``"before"`` the generator's (last) update or ``"after"`` it.
        noise: its steps share the block's noise (``"same"``: one batch of images a block) or each draws its own
            (``"fresh"``, only with images after the update).
        generator_noise: with ``n_G`` > 1, whether the generator's steps share the block's noise.
        lr, betas, eps: the generator's Adam.
        decay: of its rate; ``"cosine"`` from ``lr`` at the first block to 0 after ``T_max`` blocks, or ``"constant"``.
        T_max: in blocks; default: the source's ``blocks``.
        clip: bound of the generator's gradient, None for no bound. A preset bounds the norm of the student's by the same.
        clip_by: of its ``"norm"`` or of every ``"value"``.
        student_mode, generator_mode: ``train`` or ``eval`` while the generator learns. In train mode, which both codes have,
            the generator's step moves the student's running statistics too.

    They are the generator's alone, but for ``clip`` and ``n_S``: the student's optimiser and schedule are the recipe's.
    """

    n_G: int = Field(default=1, ge=1)
    n_S: int = Field(default=10, ge=1)
    images: Literal["before", "after"] = "after"
    noise: Literal["same", "fresh"] = "same"
    generator_noise: Literal["same", "fresh"] = "same"
    lr: float = Field(default=1e-3, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    decay: Literal["cosine", "constant"] = "cosine"
    T_max: int | None = Field(default=None, ge=1)
    clip: float | None = Field(default=5.0, gt=0)
    clip_by: Literal["norm", "value"] = "norm"
    student_mode: Literal["train", "eval"] = "train"
    generator_mode: Literal["train", "eval"] = "train"

    @model_validator(mode="after")
    def _possible(self) -> Variant:
        if self.noise == "fresh" and self.images == "before":
            raise ValueError(
                "noise='fresh' needs images='after': images made before the generator's update come from the noise of that "
                "update, so there are none of other noise"
            )
        return self

    @property
    def draws(self) -> int:
        """Batches of noise in one block."""
        return (self.n_G if self.generator_noise == "fresh" else 1) + (self.n_S if self.noise == "fresh" else 0)


@dataclass(frozen=True)
class Preset:
    """One published form, whole.

    Attributes:
        variant: what a block does. method: what the student learns by. generator_method: what the generator minimises.
        recipe: the student's optimiser and the length of the run. blocks: length of the full schedule.
        epoch_blocks: blocks between two points of the curves, 1 % of the run.
    """

    variant: Variant
    method: Method
    generator_method: Method
    recipe: Recipe
    blocks: int
    epoch_blocks: int = 1


class Published(NamedTuple):
    """What one publication says: the switches of a block, the length, and what the losses are.

    Attributes:
        variant: switches of a block. blocks: of the full schedule on CIFAR-10. kl: reduction of both KLs.
        attention_form: of the attention term.
    """

    variant: Variant
    blocks: int
    kl: Reduction
    attention_form: Form


PUBLISHED: dict[str, Published] = {
    "paper": Published(Variant(images="before", lr=2e-3, clip=None), 80_000, "batch", "norm"),
    "authors": Published(Variant(), 80_000, "element", "mean"),
    "re-2020": Published(Variant(images="before", generator_noise="fresh"), 80_000, "element", "mean"),
    "modified": Published(Variant(noise="fresh", generator_noise="fresh"), 65_000, "element", "mean"),
}
PRESETS: tuple[str, ...] = tuple(PUBLISHED)


def _kl(reduction: Reduction) -> KD:
    return KD(T=1.0, reduction=reduction, scale_T2=False)


def preset(
    name: str,
    *,
    change: Mapping[str, Any] | None = None,
    blocks: int | None = None,
    stop_after: int | None = None,
    kl: Reduction | None = None,
    attention: float = 250.0,
    attention_form: Form | None = None,
    decay_per: Literal["block", "step"] = "block",
    batch_size: int = 128,
    precision: Precision = "strict",
) -> Preset:
    """One of ``paper``, ``authors``, ``re-2020``, ``modified``, whole, or with switches that differ.

    Args:
        change: switches of :class:`Variant` that differ, by name.
        blocks: length of the full schedule; default: the published one for CIFAR-10 (SVHN: 50,000 in the paper).
        stop_after: end the run after so many blocks, rates as in the full schedule; default: none are left out.
        kl: reduction of the KL, the student's and the generator's: ``"batch"``, the mathematical one, or ``"element"``, divided
            by the number of classes too.
        attention: weight β of the attention term; 0 leaves it out (networks without common feature maps).
        attention_form: of the attention term: ``"mean"`` of squares, their ``"sum"``, or the unsquared ``"norm"``.
        decay_per: the student's cosine moves once a ``"block"`` (published) or every student ``"step"``.

    Raises:
        RedistillError: unknown preset, a length that does not fit, a weight below 0, or a form of attention that is left out.
    """
    if name not in PUBLISHED:
        raise RedistillError(nearest(name, PUBLISHED, "zero-shot preset"))
    published = PUBLISHED[name]
    variant = published.variant
    if change:
        if odd := sorted(set(change) - set(Variant.model_fields)):
            raise RedistillError(nearest(odd[0], Variant.model_fields, "switch"))
        try:
            variant = Variant.model_validate({**variant.model_dump(), **change})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "switches"
            raise RedistillError(f"preset {name!r}, {where}: {first.get('ctx', {}).get('error', first['msg'])}") from error
    length = blocks if blocks is not None else published.blocks
    taken = stop_after if stop_after is not None else length
    for what, count in (("blocks", length), ("stop_after", taken)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise RedistillError(f"{what}={count!r}: a whole number of blocks, 1 or more")
    if taken > length:
        raise RedistillError(f"stop_after={stop_after}: the schedule has {length} blocks, so stop after 1 to {length} of them")
    if decay_per not in ("block", "step"):
        raise RedistillError(f"decay_per={decay_per!r}: the student's cosine moves once a 'block' or every 'step'")
    if attention < 0:
        raise RedistillError(f"attention={attention}: the weight of the attention term must be 0 or more")
    if attention_form is not None and not attention:
        raise RedistillError(f"attention_form={attention_form!r}: attention=0 leaves the term out that it would be the form of")
    divergence = _kl(kl or published.kl)
    method = Method.of(divergence)
    if attention:
        method = divergence + attention * AT(form=attention_form or published.attention_form)
    schedule = Cosine(T_max=length * variant.n_S, unit="step", hold=variant.n_S if decay_per == "block" else 1)
    recipe = Recipe(
        steps=taken * variant.n_S,
        lr=2e-3,
        batch_size=batch_size,
        optimizer="adam",
        weight_decay=0.0,
        schedule=schedule,
        per="step",
        clip=variant.clip,
        precision=precision,
    )
    return Preset(variant, method, -1.0 * divergence, recipe, length, max(1, taken // 100))


def points(rounds: int) -> Preset:
    """Figure 1 of the paper: points instead of a generator, 50 steps on them and 10 of the student a round.

    Constant rates of 1e-3; every entry of the points' gradient is bounded by 3, the student's gradient by norm 3.
    """
    variant = Variant(n_G=50, n_S=10, lr=1e-3, decay="constant", clip=3.0, clip_by="value")
    recipe = Recipe(
        steps=10 * rounds, lr=1e-3, batch_size=50, optimizer="adam", weight_decay=0.0, schedule=Constant(), clip=3.0,
        channels_last=False,
    )  # fmt: skip
    kl = _kl("element")
    return Preset(variant, Method.of(kl), -1.0 * kl, recipe, rounds)
