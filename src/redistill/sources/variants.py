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
the reproducibility report's repository @5b4f27a ``train_reproducibility_zero_shot.py``, ``train_modified_zero_shot.py``. Common to all:
one generator step and ten student steps a block, Adam with PyTorch's defaults, cosine to zero, temperature 1, weight 250 on
attention, noise of 100 normal numbers; batch 128, student and generator in train mode (both codes; the paper names neither).
Not rebuilt: for the one generator step after each of its tests, every 1,000 blocks, the report's code leaves the student in
evaluation mode.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from redistill.values import Value

KINDS = ("adversarial", "dafl", "dfad", "deep-inversion", "cmi")
"""Kinds of source that make their images, as files and records name them."""
LATER = ("milestones", "gamma", "first")


class Variant(Value):
    """What happens in one block: ``n_G`` generator steps, then ``n_S`` student steps.

    Args:
        n_G: steps of the generator in a block; 1 in every zero-shot publication.
        n_S: steps of the student in a block; 10 in every zero-shot publication.
        images: the student sees the images made ``"before"`` the generator's (last) update or ``"after"`` it.
        noise: the student's steps share the block's noise (``"same"``: one batch of images a block) or each draws its own
            (``"fresh"``, only with images after the update).
        generator_noise: with ``n_G`` > 1, whether the generator's steps share the block's noise (``"same"``) or each draws its own.
        lr, betas, eps: the generator's Adam.
        decay: of the generator's rate: ``"cosine"`` from ``lr`` at the first block to 0 after ``T_max`` blocks, ``"constant"``, or
            ``"multistep"``, times ``gamma`` from each of ``milestones`` on.
        T_max: length of the cosine in blocks; None: the source's ``blocks``.
        milestones: blocks, rising, from each of which the rate is multiplied by ``gamma``.
        gamma: the factor of the rate at each of ``milestones``.
        first: whose steps a run begins with, the ``"generator"``'s, or the ``"student"``'s on images of the untrained generator (DFAD).
        clip: bound of the generator's gradient, None for no bound. A preset bounds the norm of the student's by the same.
        clip_by: whether ``clip`` bounds the ``"norm"`` of the gradient or every ``"value"`` in it.
        student_mode, generator_mode: ``train`` or ``eval`` while the generator learns. In train mode, which both codes have,
            the generator's step moves the student's running statistics too; a generator that minimises nothing of the student's
            (DAFL) asks it in evaluation mode, for the curves alone.

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
    decay: Literal["cosine", "constant", "multistep"] = "cosine"
    T_max: int | None = Field(default=None, ge=1)
    milestones: tuple[int, ...] = ()
    gamma: float = Field(default=0.1, gt=0)
    first: Literal["generator", "student"] = "generator"
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
        if (self.decay == "multistep") != bool(self.milestones):
            raise ValueError('milestones belong to decay = "multistep", which needs at least one')
        if list(self.milestones) != sorted({m for m in self.milestones if m > 0}):
            raise ValueError(f"milestones are blocks above 0 that rise, got {list(self.milestones)}")
        if self.first == "student" and self.images == "before":
            raise ValueError("first='student' needs images='after': there is no generator's step before whose update images could be made")
        return self

    @property
    def later(self) -> set[str]:
        """Switches that came after the first release and stand at their defaults: they are not written, so that ids stay."""
        return {name for name in LATER if getattr(self, name) == Variant.model_fields[name].default}

    @property
    def draws(self) -> int:
        """Batches of noise in one block."""
        return (self.n_G if self.generator_noise == "fresh" else 1) + (self.n_S if self.noise == "fresh" else 0)
