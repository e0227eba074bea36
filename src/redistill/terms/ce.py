"""Cross-entropy with the labels, the term that needs no teacher; with label smoothing, the teacher-free control.

    L = -(1/B) Σ_b Σ_c q_bc log p_bc,   p = softmax(z),   q = (1 - ε) onehot(y) + ε / C

Label smoothing: Szegedy et al. 2016 (arXiv:1512.00567), section 7, eq. 3 with the uniform prior. A student helped by
smoothing as much as by a teacher learned nothing from the teacher: run both (Yuan et al. 2020, arXiv:1909.11723).

Every code of the four projects takes the mean over the batch; none smooths.

With weights w_c of classes the mean is a weighted one, L = Σ_b w_y(b) L_b / Σ_b w_y(b), as ``torch.nn.CrossEntropyLoss(weight=w)``
has it. Balanced weights are N / (C N_c), the N_c images of class c among N: a class counts alike however many images it has.

An image that is mixed of two (mixup, CutMix) has the loss λ L(y_1) + (1 - λ) L(y_2), and its weight is mixed likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from redistill.core import Batch, Context, Output, RedistillError, Term, one_class, require_ready
from redistill.terms.parts.chosen import of_label
from redistill.terms.parts.wide import wide


def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    smoothing: float = 0.0,
    weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of logits [B, C] with labels [B]; ``smoothing`` is ε in [0, 1), ``weights`` [C] of the classes."""
    if weights is not None:
        return mixed_cross_entropy(logits, ((labels, torch.ones(len(labels), device=logits.device)),), smoothing, weights)
    log_p = torch.log_softmax(wide(logits), dim=1)
    batch, classes = logits.shape
    hard = -of_label(log_p, labels).sum() / batch
    if smoothing == 0.0:
        return hard
    uniform = -log_p.sum() / (batch * classes)
    return (1.0 - smoothing) * hard + smoothing * uniform


def mixed_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    parts: Sequence[tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]],
    smoothing: float = 0.0,
    weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """The same of images with several labels, each with its share [B]; the shares of an image sum to 1.

    >>> z, y = torch.tensor([[0.0, 2.0]]), torch.tensor([0])
    >>> halves = ((y, torch.tensor([0.5])), (1 - y, torch.tensor([0.5])))
    >>> round(float(mixed_cross_entropy(z, halves)), 4)                                  # log(1 + e²) - ½ · 2
    1.1269
    """
    log_p = torch.log_softmax(wide(logits), dim=1)
    w = torch.ones(logits.shape[1], device=log_p.device) if weights is None else weights
    w = w.to(log_p)
    hard = [-(share.to(log_p) * w[labels] * of_label(log_p, labels)).sum() for labels, share in parts]
    mass = [(share.to(log_p) * w[labels]).sum() for labels, share in parts]
    over = torch.stack(mass).sum().clamp(min=torch.finfo(log_p.dtype).tiny)  # a batch of classes that count nothing
    loss = torch.stack(hard).sum() / over
    if smoothing == 0.0:
        return loss
    # as torch.nn.CrossEntropyLoss: the uniform part is weighted class by class and divided by the same sum
    uniform = -(w * log_p).sum() / (over * logits.shape[1])
    return (1.0 - smoothing) * loss + smoothing * uniform


def balanced_weights(labels: Int[Tensor, " images"], classes: int) -> Float[Tensor, " classes"]:
    """N / (C N_c) of the images that have a label [N]; 0 for a class without images. float64.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1, -1]), 2).tolist()
    [0.6666666666666666, 2.0]
    """
    counts = torch.bincount(labels[labels >= 0].cpu(), minlength=classes).double()
    there = counts > 0
    return torch.where(there, counts.sum() / (there.sum() * counts.clamp(min=1)), 0.0)


@dataclass(eq=False, repr=False)
class CE(Term):
    """Cross-entropy with the labels.

    Args:
        smoothing: ε, 0 in every published recipe of the four projects; 0.1 is Szegedy et al.'s.
        class_weights: ``"balanced"``: a class counts alike however many images it has (scikit-learn's word and formula); or one number
            for each class.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> z = torch.tensor([[0.0, 0.0]])
    >>> round(float(CE()(Output(z), None, Batch(z, labels=torch.tensor([1])))), 4)    # log 2
    0.6931
    """

    smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"

    later: ClassVar[tuple[str, ...]] = ("class_weights",)
    takes_mixed: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False
    theorems: ClassVar[tuple[str, ...]] = ("logit shift", "class permutation", "batch permutation")

    def check(self) -> None:
        if not 0.0 <= self.smoothing < 1.0:
            raise RedistillError(f"CE(smoothing={self.smoothing}): smoothing must lie in [0, 1)")
        given: Any = self.class_weights
        if not isinstance(given, str):
            if not isinstance(given, list | tuple) or not all(_is_weight(w) for w in given) or not any(given):
                raise RedistillError(f"CE(class_weights={given!r}): 'balanced', or one number for each class, 0 or more and finite")
            self.class_weights = tuple(float(w) for w in given)
        elif given not in ("none", "balanced"):
            raise RedistillError(f"CE(class_weights={given!r}): known are 'none' and 'balanced', or one number for each class")
        self.ready = given == "none"

    def setup(self, ctx: Context) -> None:
        if isinstance(self.class_weights, tuple):
            if len(self.class_weights) != ctx.classes:
                raise RedistillError(f"CE has {len(self.class_weights)} class weights, and there are {ctx.classes} classes")
            self.weights = nn.Buffer(torch.tensor(self.class_weights, dtype=torch.float64), persistent=False)
        elif self.class_weights == "balanced":
            if ctx.labels is None:
                raise RedistillError(
                    "CE(class_weights='balanced') counts the images of each class, and this source has no fixed set of labelled images"
                )
            self.weights = nn.Buffer(balanced_weights(ctx.labels, ctx.classes), persistent=False)
        self.ready = True

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        weights = self._weights()
        parts = () if batch.second is None else batch.mixed_labels_for(self, student.logits)
        labels = parts[0][0] if parts else batch.labels_for(self, student.logits)
        if labels.shape[0] != student.logits.shape[0]:
            raise RedistillError(f"CE: {labels.shape[0]} labels for {student.logits.shape[0]} rows of logits")
        if student.logits.shape[1] < 2:
            raise RedistillError(one_class("CE"))
        if parts:
            return mixed_cross_entropy(student.logits, parts, self.smoothing, weights)
        return cross_entropy(student.logits, labels, self.smoothing, weights)

    def _weights(self) -> Tensor | None:
        if self.class_weights == "none":
            return None
        require_ready(self)
        return self.weights


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
