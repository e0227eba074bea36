"""Soft targets: the student imitates the teacher's class probabilities, softened by a temperature.

    L = T^k · KL(p_t || p_s),   p = softmax(z / T),   KL = (1/B) Σ_b Σ_c p_t log(p_t / p_s)

Hinton, Vinyals & Dean 2015 (arXiv:1503.02531), section 2: eq. 1 is the softened softmax; T² makes the size of the
gradient independent of T (the argument after eq. 4).

Where the codes differ, for the same logits and the same written weight:

| code | term | T² | effect |
|---|---|---|---|
| RepDistiller, AT, DKD: sum over classes, mean over images | `KD()` | yes | the definition above |
| few-shot of Micaelli and of Ferles: both means, doubled | `KD(reduction="element", factor=2.0)` | yes | 2/C of it: 0.2 with ten classes |
| zero-shot of both: both means, T = 1 | `KD(T=1.0, reduction="element")` | no | 1/C of it, so "β = 250" weighs 2,500 |
| logit standardisation: z over its own spread, T = 2, weight 9 | `KD(T=2.0, standardise=True)` | yes | scale and shift of both are gone |
| negative control | `KD(shift=1)` | yes | every class taught as its neighbour: what helps all the same is no knowledge |
| FitNets eq. 2 | `KD(T=3.0, target="cross-entropy", scale_T2=False)` | no | H(p_t, p_s): the gradient of KL, T² smaller |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from redistill.core import Batch, Output, RedistillError, Term, one_class
from redistill.terms.parts.wide import wide

Reduction = Literal["batch", "element"]


def softened_kl(
    student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], T: float | Float[Tensor, ""] = 1.0
) -> Float[Tensor, " batch"]:
    """KL(p_t || p_s) of softened logits [B, C], one value an image: [B], without T²."""
    log_t = torch.log_softmax(wide(teacher) / T, dim=1)
    log_s = torch.log_softmax(wide(student) / T, dim=1)
    return (log_t.exp() * (log_t - log_s)).sum(dim=1)


def standardised(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Logits [B, C], C >= 2, over their own spread: (z - mean) / (sd + 1e-7) image by image, sd with C - 1.

    Sun et al. 2024 (arXiv:2403.01427), eq. 12; divisor and guard are those of the released code. The gradient runs through
    mean and spread; logits that are all equal, as those of a classifier that starts at 0, have none: the guard alone would give
    them 1e7 times the gradient of anything else.

    >>> standardised(torch.tensor([[1.0, 3.0]])).round(decimals=4)
    tensor([[-0.7071,  0.7071]])
    """
    if logits.shape[1] < 2:
        raise RedistillError(f"standardised logits need a spread, but there is {logits.shape[1]} class")
    spread = logits.std(dim=1, keepdim=True, correction=1)
    return (logits - logits.mean(dim=1, keepdim=True)) / (spread + 1e-7).where(spread > 0, torch.inf)


def check_logits(who: str, student: Tensor, teacher: Tensor) -> None:
    """Same images, same classes, two or more, or a sentence with the numbers."""
    if student.shape != teacher.shape:
        raise RedistillError(
            f"{who}: student logits have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}; both must be "
            f"[images, classes] of the same batch and classes"
        )
    if student.ndim == 2 and student.shape[1] < 2:
        raise RedistillError(one_class(who))


@dataclass(eq=False, repr=False)
class KD(Term):
    """Softened Kullback-Leibler divergence from the teacher's to the student's probabilities.

    Args:
        T: temperature. 4: attention-transfer and the CRD benchmark; Hinton et al. give none for images.
        reduction: ``"batch"``: sum over classes, mean over images (the definition). ``"element"``: mean over both, as
            ``F.kl_div`` does by default and the zero-shot codes therefore do.
        scale_T2: multiply by T² (Hinton et al. section 2); off in FitNets' eq. 2.
        factor: further constant of a published code; 2 in Micaelli's few-shot code and the reproducibility report's.
        standardise: both networks' logits over their own spread first (:func:`standardised`); off but for that paper.
        shift: the negative control: what the teacher says of class c is taken for class c + shift (modulo the classes), so that a
            student is taught as softly, by somebody who is wrong of every image.
        target: ``"kl"`` or ``"cross-entropy"`` (FitNets: differs by the teacher's entropy, a constant).

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s, t = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    >>> round(float(KD(T=1.0)(Output(s), Output(t), Batch(s))), 4)    # .8808 log(.8808/.5) + .1192 log(.1192/.5)
    0.3278
    """

    T: float = 4.0
    reduction: Reduction = "batch"
    scale_T2: bool = True
    factor: float = 1.0
    target: Literal["kl", "cross-entropy"] = "kl"
    standardise: bool = False
    shift: int = 0

    later: ClassVar[tuple[str, ...]] = ("standardise", "shift")
    theorems: ClassVar[tuple[str, ...]] = (
        "zero at match", "logit shift", "class permutation", "batch permutation", "non-negative"
    )

    def check(self) -> None:
        if not 0 < self.T < math.inf:
            raise RedistillError(f"KD(T={self.T}): the temperature must be above 0 and finite")
        if self.reduction not in ("batch", "element"):
            raise RedistillError(f"KD(reduction={self.reduction!r}): known are 'batch' and 'element'")
        if self.target not in ("kl", "cross-entropy"):
            raise RedistillError(f"KD(target={self.target!r}): known are 'kl' and 'cross-entropy'")

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        z_s, z_t = wide(student.logits), wide(teacher.logits)
        check_logits("KD", z_s, z_t)
        if self.standardise:
            z_s, z_t = standardised(z_s), standardised(z_t)
        if self.shift:
            if self.shift % z_t.shape[1] == 0:
                raise RedistillError(f"KD(shift={self.shift}) moves each of the {z_t.shape[1]} classes onto itself: give another number")
            z_t = z_t.roll(self.shift, dims=1)
        if self.target == "kl":
            per_image = softened_kl(z_s, z_t, self.T)
        else:
            p_t = torch.softmax(z_t / self.T, dim=1)
            per_image = -(p_t * torch.log_softmax(z_s / self.T, dim=1)).sum(dim=1)
        images, classes = z_s.shape
        total = per_image.sum() / (images if self.reduction == "batch" else images * classes)
        return self.factor * (self.T**2 if self.scale_T2 else 1.0) * total
