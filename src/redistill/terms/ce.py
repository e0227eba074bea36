"""Cross-entropy with the labels, the term that needs no teacher; with label smoothing, the teacher-free control.

    L = -(1/B) Σ_b Σ_c q_bc log p_bc,   p = softmax(z),   q = (1 - ε) onehot(y) + ε / C

Label smoothing: Szegedy et al. 2016 (arXiv:1512.00567), section 7, eq. 3 with the uniform prior. A student helped by
smoothing as much as by a teacher learned nothing from the teacher: run both (Yuan et al. 2020, arXiv:1909.11723).

Every code of the four projects takes the mean over the batch; none smooths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from redistill.core import Batch, Output, RedistillError, Term, one_class
from redistill.terms.parts.wide import wide


def cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Mean cross-entropy of logits [B, C] with labels [B]; ``smoothing`` is ε in [0, 1)."""
    log_p = torch.log_softmax(wide(logits), dim=1)
    batch, classes = logits.shape
    hard = -log_p.gather(1, labels[:, None]).sum() / batch
    if smoothing == 0.0:
        return hard
    uniform = -log_p.sum() / (batch * classes)
    return (1.0 - smoothing) * hard + smoothing * uniform


@dataclass(eq=False, repr=False)
class CE(Term):
    """Cross-entropy with the labels.

    Args:
        smoothing: ε, 0 in every published recipe of the four projects; 0.1 is Szegedy et al.'s.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> z = torch.tensor([[0.0, 0.0]])
    >>> round(float(CE()(Output(z), None, Batch(z, labels=torch.tensor([1])))), 4)    # log 2
    0.6931
    """

    smoothing: float = 0.0

    needs_labels: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False
    theorems: ClassVar[tuple[str, ...]] = ("logit shift", "class permutation", "batch permutation")

    def check(self) -> None:
        if not 0.0 <= self.smoothing < 1.0:
            raise RedistillError(f"CE(smoothing={self.smoothing}): smoothing must lie in [0, 1)")

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        labels = batch.labels_for(self, student.logits)
        if labels.shape[0] != student.logits.shape[0]:
            raise RedistillError(f"CE: {labels.shape[0]} labels for {student.logits.shape[0]} rows of logits")
        if student.logits.shape[1] < 2:
            raise RedistillError(one_class("CE"))
        return cross_entropy(student.logits, labels, self.smoothing)
