"""Decoupled distillation: what the teacher says of the target class, and what it says of all others, weighed apart.

    L = α·TCKD + β·NCKD
    TCKD = T²·(1/B) Σ_b KL([p_t, 1 − p_t] || [p_s, 1 − p_s])       p: softened probability of the labelled class
    NCKD = T²·(1/B) Σ_b KL(q_t || q_s)                             q: softmax over the other classes alone

Zhao et al. 2022 (arXiv:2203.08679), eqs. 4 to 7. Ordinary KD is α = 1, β = 1 − p_t of each image (their eq. 6): it
silences NCKD exactly where the teacher is sure.

Where paper and codes differ:

| source | term | effect |
|---|---|---|
| mdistiller, CIFAR-100 | `CE() + Ramp(-1, 19) * DKD()` | min(epoch / 20, 1) from epoch 1; the target leaves by −1000, an exact zero |
| mdistiller, ImageNet | `CE() + DKD(beta=0.5, T=1.0)` | β 2 for ResNet-50 to MobileNet; its warm-up is over in the first epoch |
| logit standardisation | `9 · DKD(T=2.0, standardise=True)` | logits standardised, T and weight change at once; β is 2 for most pairs |
| two classes | any | NCKD is 0, and TCKD is KD |

β is tuned per pair in the paper (1 to 10; Table 7 of its appendix).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from redistill.core import Batch, Output, RedistillError, Term
from redistill.terms.kd import check_logits, standardised
from redistill.terms.parts.chosen import all_but_label, of_label
from redistill.terms.parts.wide import wide


def target_kl(
    student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], T: float = 1.0
) -> Float[Tensor, " batch"]:
    """KL of [target, all others] of softened logits [B, C], one value an image: [B], without T²."""
    log_t, log_s = (_target_and_rest(z / T, labels) for z in (teacher, student))
    return (log_t.exp() * (log_t - log_s)).sum(dim=1)


def _target_and_rest(z: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch 2"]:
    """log [p, 1 − p] of the labelled class: [B, 2]."""
    log_p = torch.log_softmax(z, dim=1)
    chosen = of_label(log_p, labels)[:, None]
    rest = torch.logsumexp(log_p.masked_fill(_mask(z, labels), -math.inf), dim=1, keepdim=True)
    return torch.cat([chosen, rest], dim=1)


def _mask(z: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Bool[Tensor, "batch classes"]:
    return torch.nn.functional.one_hot(labels, z.shape[1]).bool()


def others_kl(
    student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], T: float = 1.0
) -> Float[Tensor, " batch"]:
    """KL among the classes that are not the target, of softened logits [B, C], one value an image: [B], without T²."""
    log_t, log_s = (torch.log_softmax(all_but_label(z, labels) / T, dim=1) for z in (teacher, student))
    return (log_t.exp() * (log_t - log_s)).sum(dim=1)


@dataclass(eq=False, repr=False)
class DKD(Term):
    """Decoupled knowledge distillation. Needs labels and at least two classes.

    Args:
        alpha, beta: weights of the target's and of the other classes' part; 1 and 8: ResNet-32x4 to ResNet-8x4 in paper and
            mdistiller, whose β runs from 1 to 10 over the pairs.
        T: temperature, 4 in the paper.
        standardise: logits are standardised first (see :func:`redistill.terms.kd.standardised`).

    The released trainer warms the term up and not CE: ``Ramp(-1, 19)`` as the weight.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s, t = torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 1.0]])        # the other two are alike to both: NCKD is 0
    >>> batch = Batch(s, labels=torch.tensor([0]))
    >>> round(float(DKD(T=1.0)(Output(s), Output(t), batch)), 4)         # .1554 log(.1554/.3333) + .8446 log(.8446/.6667)
    0.0813
    """

    alpha: float = 1.0
    beta: float = 8.0
    T: float = 4.0
    standardise: bool = False

    needs_labels: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = (
        "zero at match", "logit shift", "class permutation", "batch permutation", "non-negative"
    )

    def check(self) -> None:
        if not 0 < self.T < math.inf:
            raise RedistillError(f"DKD(T={self.T}): the temperature must be above 0 and finite")
        if not (0 <= self.alpha < math.inf and 0 <= self.beta < math.inf):
            raise RedistillError(f"DKD(alpha={self.alpha}, beta={self.beta}): both weights must be at least 0 and finite")

    def parts(self, student: Output, teacher: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """TCKD and NCKD, with T², without α and β."""
        check_logits("DKD", student.logits, teacher.logits)
        labels = batch.labels_for("DKD", teacher.logits)
        if teacher.logits.shape[1] < 2:
            raise RedistillError(f"DKD tells the target from the other classes, but there is {teacher.logits.shape[1]} class")
        z_s, z_t = (standardised(z) if self.standardise else z for z in (wide(student.logits), wide(teacher.logits)))
        images = len(z_s)
        target = target_kl(z_s, z_t, labels, self.T).sum() / images
        others = others_kl(z_s, z_t, labels, self.T).sum() / images
        return self.T**2 * target, self.T**2 * others

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        target, others = self.parts(student, teacher, batch)
        return self.alpha * target + self.beta * others
