"""Four further losses of a zero-shot generator: teacher entropy, student entropy, consistency, diversity.

    teacher entropy   L = (1/B) Σ_b H(T(x_b)),   H(p) = -Σ_c p_c log p_c
    student entropy   L = (1/B) Σ_b H(S(x_b))
    consistency       L = (1/B) Σ_b KL(T(x_b) || T(x'_b)),   x' = x mirrored left to right
    diversity         L = -(1/(B (B-1))) Σ_{a≠b} ‖x_a - x_b‖₂ / √n,   n entries an image

Micaelli & Storkey 2019 (arXiv:1905.09768) name the four among the additions that did not help, so their published method
has none; neither formulas nor weights are in the released code. The formulas above are the plainest readings of the names, and
a run with them reproduces nobody's numbers. They are added to what the generator minimises:
``-1.0 * KD(T=1, reduction="element", scale_T2=False) + 0.1 * TeacherEntropy()``; a negative weight asks for the opposite.

Entropies are in nats, between 0 and log C. The distance is the root mean square difference of two images, in units of the
normalised image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from redistill.core import Batch, Context, Output, RedistillError, Term, require_ready
from redistill.terms.kd import softened_kl
from redistill.terms.parts.unowned import UnownedModule
from redistill.terms.parts.wide import wide


def mean_entropy(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, ""]:
    """Mean over images of the entropy of softmax(logits [B, C]), in nats.

    >>> import torch
    >>> round(float(mean_entropy(torch.zeros(3, 2))), 4)     # log 2
    0.6931
    """
    log_p = torch.log_softmax(wide(logits), dim=1)
    return -(log_p.exp() * log_p).sum() / logits.shape[0]


def mean_distance(images: Float[Tensor, " batch *image"]) -> Float[Tensor, ""]:
    """Mean root mean square difference over all ordered pairs of images [B, ...], B of at least 2.

    >>> import torch
    >>> float(mean_distance(torch.tensor([[0.0, 0.0], [3.0, 3.0]])))
    3.0
    """
    count = images.shape[0]
    if count < 2:
        raise RedistillError(f"Diversity compares images with each other, but the batch holds {count}: use 2 or more")
    flat = wide(images).flatten(1)
    between = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")  # its gradient is 0 where two are equal
    return between.sum() / (count * (count - 1)) / math.sqrt(flat.shape[1])


@dataclass(eq=False, repr=False)
class TeacherEntropy(Term):
    """Mean entropy of the teacher's prediction; minimised: images of which the teacher is sure.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> unsure = Output(torch.zeros(1, 4))
    >>> round(float(TeacherEntropy()(unsure, unsure, Batch(torch.zeros(1, 1)))), 4)      # log 4
    1.3863
    """

    theorems: ClassVar[tuple[str, ...]] = ("batch permutation", "non-negative")
    compares_logits: ClassVar[bool | None] = False

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return mean_entropy(teacher.logits)


@dataclass(eq=False, repr=False)
class StudentEntropy(Term):
    """Mean entropy of the student's prediction; minimised: images of which the student is sure.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> round(float(StudentEntropy()(Output(torch.zeros(1, 2)), None, Batch(torch.zeros(1, 1)))), 4)      # log 2
    0.6931
    """

    needs_teacher: ClassVar[bool] = False
    theorems: ClassVar[tuple[str, ...]] = ("logit shift", "batch permutation", "non-negative")

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        return mean_entropy(student.logits)


@dataclass(eq=False, repr=False)
class Consistency(Term):
    """How far the teacher's prediction moves when the image is mirrored. One more forward of the teacher.

    >>> import torch
    >>> from redistill.core import Batch, Context, Output
    >>> from torch import nn
    >>> net = nn.Flatten()                                    # the two pixels of an image are its logits
    >>> consistency = Consistency()
    >>> consistency.setup(Context(net, net, {}, {}, (), (), classes=2))
    >>> x = torch.tensor([[[[2.0, 0.0]]]])
    >>> round(float(consistency(Output(net(x)), Output(net(x)), Batch(x))), 4)      # .8808 · 2 - .1192 · 2
    1.5232
    """

    ready = False
    compares_logits: ClassVar[bool | None] = False

    def setup(self, ctx: Context) -> None:
        if ctx.teacher is None:
            raise RedistillError("Consistency asks the teacher twice, but there is none: give a teacher or remove it")
        self._teacher, self._adapt, self._read = UnownedModule(ctx.teacher), ctx.adapt, ctx.read
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        if batch.images.ndim != 4:
            raise RedistillError(f"Consistency mirrors images [B, C, H, W], got shape {list(batch.images.shape)}")
        ask = self._teacher.net("Consistency", "consistency.setup(redistill.context(student, teacher, images))")
        images = batch.images.flip(-1)
        said = ask(images if self._adapt is None else self._adapt(images))
        mirrored: Tensor = said if self._read is None else self._read(said, ask)
        return softened_kl(wide(mirrored).to(wide(teacher.logits).dtype), teacher.logits).sum() / teacher.logits.shape[0]


@dataclass(eq=False, repr=False)
class Diversity(Term):
    """Minus the mean distance of the images from each other; minimised: a batch of unlike images.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> x = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    >>> float(Diversity()(Output(x), None, Batch(x)))
    -2.0
    """

    needs_teacher: ClassVar[bool] = False
    theorems: ClassVar[tuple[str, ...]] = ("batch permutation",)

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        return -mean_distance(batch.images)
