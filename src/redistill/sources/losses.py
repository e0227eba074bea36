"""What images made without data are pulled by: five losses that ask the teacher alone, and one that smooths.

    one hot               L = (1/B) Σ_b −log softmax(t_b)[y_b]            y: the teacher's own answer, or the class that was asked for
    activation norm       L = −(1/BD) Σ_b Σ_d |f_T|                       f_T: the vector before the teacher's classifier
    information entropy   L = Σ_c p̄_c log p̄_c,  p̄ = (1/B) Σ_b softmax(t_b)   (least where every class is as likely)
    batch-norm statistics L = Σ_l ‖μ_l(x) − μ̂_l‖₂ + ‖σ²_l(x) − σ̂²_l‖₂      over batch norms l: of what each is given, and its running ones
    total variation       L = Σ_k ‖x − x shifted by one pixel‖₂           k: across, down, and both diagonals
    norm                  L = ‖x‖₂

Sources: the first three are DAFL's (Chen et al. 2019, arXiv:1904.01186, eqs. 2, 5 and 6), the fourth is DeepInversion's (Yin et al. 2020,
arXiv:1912.08795, eq. 4; variances with divisor N as in the code), as are the last two (eq. 3; NVlabs/DeepInversion, cifar10).

They are terms, so that a generator minimises a weighted sum of them as it does of any other; a student has no use for them, and no file
names them: the settings of a source do (``one_hot``, ``activation`` ...).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import Batch, Context, Method, Output, RedistillError, Term, require_ready
from redistill.terms.generator import Consistency, Diversity, TeacherEntropy
from redistill.terms.parts.unowned import UnownedModule
from redistill.terms.parts.wide import wide

NUMERICS = 1
AGAIN = "term.setup(redistill.context(student, teacher, images))"


@dataclass(eq=False, repr=False)
class OneHot(Term):
    """Cross-entropy of the teacher's answer against a class.

    Args:
        target: ``"teacher"``: the class that the teacher finds likeliest (DAFL); ``"label"``: the class asked for (DeepInversion, CMI).
    """

    target: Literal["teacher", "label"] = "teacher"

    compares_logits: ClassVar[bool | None] = False

    def check(self) -> None:
        if self.target not in ("teacher", "label"):
            raise RedistillError(f"OneHot(target={self.target!r}): known are 'teacher' and 'label'")

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        logits = wide(teacher.logits)
        return F.cross_entropy(logits, logits.detach().argmax(dim=1) if self.target == "teacher" else batch.labels_for(self))


@dataclass(eq=False, repr=False)
class ActivationNorm(Term):
    """Minus the mean absolute value of the teacher's vector before the classifier.

    Args:
        at: the teacher's place.
    """

    at: str = "pooled"

    compares_logits: ClassVar[bool | None] = False
    ready = False

    def setup(self, ctx: Context) -> None:
        ctx.shape("teacher", self.at)
        self.pairs = (("logits", self.at),)
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        size: Tensor = wide(teacher[self.at]).abs().mean()
        return -size


@dataclass(eq=False, repr=False)
class InformationEntropy(Term):
    """Minus the entropy of the classes in a batch, as the teacher sees them.

    Args:
        base: of the logarithm: ``"e"``, or ``"10"`` in several copies of DAFL's code, which is 2.3 times smaller.
    """

    base: Literal["e", "10"] = "e"

    compares_logits: ClassVar[bool | None] = False

    def check(self) -> None:
        if self.base not in ("e", "10"):
            raise RedistillError(f"InformationEntropy(base={self.base!r}): known are 'e' and '10'")

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        share = torch.softmax(wide(teacher.logits), dim=1).mean(dim=0)
        # 0 log 0 is 0, and so is what it gives the logits; the logarithm's own gradient there is infinite, and softmax's 0 makes it NaN
        entropy: Tensor = torch.special.entr(share.where(share > 0, 1.0)).sum()
        return -entropy / (math.log(10) if self.base == "10" else 1.0)


def norms_of(net: nn.Module) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """The batch norms of a network that keep running statistics, by their paths."""
    kinds = nn.modules.batchnorm._BatchNorm
    return {name: m for name, m in net.named_modules() if isinstance(m, kinds) and m.running_mean is not None}


def places_before(net: nn.Module, who: str) -> tuple[str, ...]:
    """What every batch norm of the teacher is given, as places (``bn1:in``).

    Raises:
        RedistillError: it has none.
    """
    found = norms_of(net)
    if not found:
        raise RedistillError(f"{who} compares with running statistics of batch norms, and the teacher {type(net).__name__} has none")
    return tuple(f"{name}:in" for name in found)


@dataclass(eq=False, repr=False)
class BatchNormStatistics(Term):
    """Distance of the batch's means and variances from the running ones, over every batch norm of the teacher."""

    compares_logits: ClassVar[bool | None] = False
    ready = False

    def setup(self, ctx: Context) -> None:
        if ctx.teacher is None:
            raise RedistillError("BatchNormStatistics reads the teacher's running statistics, but there is none: give a teacher")
        self.places = places_before(ctx.teacher, "BatchNormStatistics")
        self.pairs = tuple(("logits", place) for place in self.places)
        self._teacher = UnownedModule(ctx.teacher)
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        norms = norms_of(self._teacher.net("BatchNormStatistics", AGAIN))
        total = wide(teacher.logits).new_zeros(())
        for place in self.places:
            given, norm = wide(teacher[place]), norms[place.removesuffix(":in")]
            over = [d for d in range(given.ndim) if d != 1]
            assert norm.running_mean is not None and norm.running_var is not None
            mean, var = given.mean(dim=over), given.var(dim=over, correction=0)
            total = total + (norm.running_mean.to(mean) - mean).norm() + (norm.running_var.to(var) - var).norm()
        return total


@dataclass(eq=False, repr=False)
class TotalVariation(Term):
    """Length of the differences of neighbouring pixels, over the whole batch."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        x = wide(batch.images)
        across, down = x[..., :, :-1] - x[..., :, 1:], x[..., :-1, :] - x[..., 1:, :]
        one, other = x[..., 1:, :-1] - x[..., :-1, 1:], x[..., :-1, :-1] - x[..., 1:, 1:]
        total: Tensor = across.norm() + down.norm() + one.norm() + other.norm()
        return total


@dataclass(eq=False, repr=False)
class ImageNorm(Term):
    """Length of the whole batch of images."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        length: Tensor = wide(batch.images).norm()
        return length


OF_TEACHER_ALONE = (
    OneHot, ActivationNorm, InformationEntropy, BatchNormStatistics, TotalVariation, ImageNorm, TeacherEntropy, Consistency, Diversity,
)  # fmt: skip
"""Losses that read nothing of the student: where there is no other, nobody asks it."""


def reads_student(method: Method) -> bool:
    """Whether what images minimise looks at the student at all."""
    return any(type(term) not in OF_TEACHER_ALONE for _, term in method.parts())  # a subclass of one's own may read more
