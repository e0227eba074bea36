"""Distillation by a token: one head of a transformer learns the labels, another one what the teacher says.

    hard:  L = (1 − α) CE(z_c, y) + α CE(z_d, y_t),              y_t = argmax z_t
    soft:  L = (1 − α) CE(z_c, y) + α T² KL(p_t^T || p_d^T)

Touvron et al. 2021 (arXiv:2012.12877), section 4; z_c and z_d are the logits of the class token's and of the distillation token's head.
A student with one head is its own z_c and z_d, which is the paper's distillation without a token. What such a network says when it is
evaluated (timm: the mean of both heads) is its own business.

| source | term | use |
|---|---|---|
| paper, hard | `DeiT()` alone | α = 1/2 |
| paper, soft ("usual") | `DeiT(mode="soft", alpha=0.1, T=3.0)` alone | |
| authors' code, soft | `DeiT(mode="soft", alpha=0.5, T=1.0, reduction="element")` | its options' defaults; mean over images and classes |

The paper's recipe smooths labels by 0.1 and mixes images (augment `...+mixup:0.8+cutmix`); the teacher's hard label is not smoothed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from redistill.core import At, Batch, Context, Output, RedistillError, Term, describe_places, named_places, require_ready
from redistill.terms.ce import cross_entropy, mixed_cross_entropy
from redistill.terms.kd import Reduction, check_logits, softened_kl
from redistill.terms.parts.wide import wide

LOGITS = "logits"


@dataclass(eq=False, repr=False)
class DeiT(Term):
    """Labels for the class token's head, the teacher for the distillation token's.

    Args:
        mode: ``"hard"``: the class that the teacher says; ``"soft"``: its softened probabilities.
        alpha: weight α of the teacher's part; 1/2 in the paper's hard form, 0.1 in its soft one.
        T: temperature of the soft form; 3 in the paper.
        smoothing: ε of the labels' part; 0.1 in the paper's recipe.
        reduction: of the soft form, ``"batch"``: sum over classes, mean over images (the paper); ``"element"``: mean over both (the code).
        at: the heads of the student, [class head, distillation head]; default: the two linear layers that give [B, classes], in the order
            in which they are called; the logits for both where the network has one.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s = Output(torch.zeros(1, 2), {"head": torch.tensor([[0.0, 2.0]]), "head_dist": torch.tensor([[2.0, 0.0]])})
    >>> term = DeiT(at=["head", "head_dist"])
    >>> t = Output(torch.tensor([[3.0, 0.0]]))
    >>> round(float(term(s, t, Batch(torch.zeros(1, 1), labels=torch.tensor([1])))), 4)        # either head is right: log(1 + e⁻²)
    0.1269
    """

    mode: Literal["hard", "soft"] = "hard"
    alpha: float = 0.5
    T: float = 3.0
    smoothing: float = 0.0
    reduction: Reduction = "batch"
    at: At = None

    needs_labels: ClassVar[bool] = True
    takes_mixed: ClassVar[bool] = True
    compares_logits: ClassVar[bool | None] = True
    theorems: ClassVar[tuple[str, ...]] = ("logit shift", "class permutation", "batch permutation", "non-negative")
    ready = False

    def check(self) -> None:
        if self.mode not in ("hard", "soft"):
            raise RedistillError(f"DeiT(mode={self.mode!r}): known are 'hard' and 'soft'")
        if not 0 <= self.alpha <= 1:
            raise RedistillError(f"DeiT(alpha={self.alpha}): the weight of the teacher's part must lie between 0 and 1")
        if not 0 < self.T < math.inf:
            raise RedistillError(f"DeiT(T={self.T}): the temperature must be above 0 and finite")
        if not 0 <= self.smoothing < 1:
            raise RedistillError(f"DeiT(smoothing={self.smoothing}): smoothing must lie in [0, 1)")
        if self.reduction not in ("batch", "element"):
            raise RedistillError(f"DeiT(reduction={self.reduction!r}): known are 'batch' and 'element'")
        if self.at is not None:
            if len(heads := named_places(self.at)) != 2:
                raise RedistillError(f"DeiT(at={self.at!r}): names two heads of the student, for example ['head', 'head_dist']")
            self.at = heads
            self._take(heads)

    def _take(self, heads: tuple[str, ...]) -> None:
        self.pairs = tuple((head, LOGITS) for head in heads)
        self.ready = True

    def setup(self, ctx: Context) -> None:
        if self.at is None:
            heads = _heads(ctx)
            if len(heads) > 2:
                raise RedistillError(
                    f"DeiT needs a head for the labels and one for the teacher, and {type(ctx.student).__name__} has {len(heads)} "
                    f"({', '.join(heads)}): name two, at=['{heads[0]}', '{heads[-1]}']"
                )
            self._take(heads if len(heads) == 2 else (LOGITS, LOGITS))
        for head, _ in self.pairs:
            shape = ctx.shape("student", head)
            if shape[1:] != (ctx.classes,):
                raise RedistillError(
                    f"DeiT: {head!r} of the student gives {'x'.join(map(str, shape[1:]))}, and a head gives {ctx.classes} classes; places: "
                    f"{describe_places({n: s for n, s in ctx.student_places.items() if s[1:] == (ctx.classes,)})}"
                )

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        own, distilled = (student[head] for head, _ in self.pairs)
        check_logits("DeiT", distilled, teacher.logits)
        if batch.second is None:
            by_labels = cross_entropy(own, batch.labels_for(self, own), self.smoothing)
        else:
            by_labels = mixed_cross_entropy(own, batch.mixed_labels_for(self, own), self.smoothing)
        return (1.0 - self.alpha) * by_labels + self.alpha * self._by_teacher(wide(distilled), wide(teacher.logits))

    def _by_teacher(self, distilled: Tensor, teacher: Tensor) -> Tensor:
        if self.mode == "hard":
            return cross_entropy(distilled, teacher.argmax(1))
        images, classes = distilled.shape
        over = images if self.reduction == "batch" else images * classes
        return self.T**2 * softened_kl(distilled, teacher, self.T).sum() / over


def _heads(ctx: Context) -> tuple[str, ...]:
    """Linear layers of the student that give [B, classes], in the order of their calls."""
    modules = dict(ctx.student.named_modules())
    return tuple(
        name for name, shape in ctx.student_places.items()
        if shape[1:] == (ctx.classes,) and isinstance(modules.get(name), nn.Linear)
    )  # fmt: skip
