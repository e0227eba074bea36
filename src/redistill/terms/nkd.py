"""Normalised distillation: cross-entropy with the teacher's confidence in the target, and with its other classes renormalised.

    L = −(1/B) Σ_b p_t log p_s  −  γ·T²·(1/B) Σ_b Σ_{c≠y} q_t log q_s
    p: softmax probability of the labelled class, T = 1;   q: softmax(z / T) over the other classes alone

Yang et al. 2023 (arXiv:2303.13005). Both parts are cross-entropies: a student that equals its teacher has their entropies left.

Where the versions of the released code (cls_KD) differ:

| source | term | effect |
|---|---|---|
| paper, commit ad4876f | `NKD()` with CE | the target is left out of q |
| commit 1c2c0ff | `NKD(target_left_out=False)` | its mask selects every class: q is the whole softmax |
| ImageNet, CIFAR-100 | `NKD(T=1.0)` | γ = 1.5, beside CE with weight 1 |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from redistill.core import Batch, Output, RedistillError, Term
from redistill.terms.kd import check_logits
from redistill.terms.parts.chosen import all_but_label, of_label
from redistill.terms.parts.wide import wide


@dataclass(eq=False, repr=False)
class NKD(Term):
    """Normalised knowledge distillation. Needs labels and at least two classes.

    Args:
        gamma: weight of the other classes' part, 1.5.
        T: temperature of the other classes' part, 1.
        target_left_out: see the module's table.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s, t = torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 1.0]])                # q is (½, ½) for both
    >>> batch = Batch(s, labels=torch.tensor([0]))
    >>> round(float(NKD()(Output(s), Output(t), batch)), 4)                      # .1554 log 3 + 1.5 log 2
    1.2104
    """

    gamma: float = 1.5
    T: float = 1.0
    target_left_out: bool = True

    needs_labels: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("logit shift", "class permutation", "batch permutation", "non-negative")

    def check(self) -> None:
        if not 0 < self.T < math.inf:
            raise RedistillError(f"NKD(T={self.T}): the temperature must be above 0 and finite")
        if not 0 <= self.gamma < math.inf:
            raise RedistillError(f"NKD(gamma={self.gamma}): the weight must be at least 0 and finite")

    def parts(self, student: Output, teacher: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """The target's and the other classes' cross-entropy, with T², without γ."""
        check_logits("NKD", student.logits, teacher.logits)
        labels = batch.labels_for("NKD", teacher.logits)
        z_s, z_t = wide(student.logits), wide(teacher.logits)
        log_s, p_t = torch.log_softmax(z_s, dim=1), torch.softmax(z_t, dim=1)
        target = -(of_label(p_t, labels) * of_label(log_s, labels)).sum() / len(z_s)
        if self.target_left_out:
            z_s, z_t = (all_but_label(z, labels) for z in (z_s, z_t))
        others = -(torch.softmax(z_t / self.T, dim=1) * torch.log_softmax(z_s / self.T, dim=1)).sum() / len(z_s)
        return target, self.T**2 * others

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        target, others = self.parts(student, teacher, batch)
        return target + self.gamma * others
