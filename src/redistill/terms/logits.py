"""How far two networks' answers lie apart, measured otherwise than by Kullback and Leibler.

    l1:     L = (1/BC) Σ_b Σ_c |s − t|                                                      logits as they are
    js:     L = (1/2B) Σ_b Σ_c [ M log(M / P) + M log(M / Q) ],   M = (P + Q) / 2           each of P, Q, M kept in [0.01, 0.99]
    agreed: L = (1/B) Σ_b 1[argmax s = argmax t] · T² KL(Q || P)

P = softmax(s / T), Q = softmax(t / T); s: the student's logits, t: the teacher's. Who distils without data measures so:

| source | term | use |
|---|---|---|
| DFAD, Fang et al. 2019, eq. 3 | `LogitDistance()` | the student minimises it, the generator maximises it |
| Adaptive DeepInversion, Yin et al. 2020, eq. 8 | `LogitDistance(form="js", T=3.0)` | images maximise it |
| CMI, Fang et al. 2021 | `LogitDistance(form="agreed")` | images maximise it where both say one class |

arXiv:1912.11006 with DFAD_cifar.py, arXiv:1912.08795 with deepinversion_cifar10.py, arXiv:2105.08584 with contrastive.py.
In "js" the arguments of the two divergences stand as in the code, M against P and Q and not the other way round as in the definition, and
bounded numbers no longer sum to 1, so that many small ones can make L less than 0; the code's 1 − min(max(L, 0), 1) has the same
gradient between 0 and 1, where ``most=1`` ends it above here too. Below 0 the code has none, and here L keeps its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from redistill.core import Batch, Output, RedistillError, Term
from redistill.terms.kd import check_logits, softened_kl
from redistill.terms.parts.wide import wide


def bounded_js(student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], T: float = 3.0) -> Float[Tensor, ""]:
    """The form "js" of logits [B, C]: a scalar, 0 where the two agree."""
    p, q = (torch.softmax(wide(z) / T, dim=1) for z in (student, teacher))
    middle = (0.5 * (p + q)).clamp(0.01, 0.99)
    p, q = p.clamp(0.01, 0.99), q.clamp(0.01, 0.99)
    return 0.5 * sum(((middle * (middle.log() - one.log())).sum() / len(p) for one in (p, q)), start=p.new_zeros(()))


def agreed_kl(student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], T: float = 1.0) -> Float[Tensor, ""]:
    """The form "agreed" of logits [B, C]: a scalar."""
    same = (student.argmax(dim=1) == teacher.argmax(dim=1)).to(wide(student).dtype)
    return T**2 * (softened_kl(student, teacher, T) * same).sum() / len(student)


@dataclass(eq=False, repr=False)
class LogitDistance(Term):
    """Distance of logits or of probabilities, as methods without data measure it.

    Args:
        form: ``"l1"``: mean absolute difference of logits; ``"js"``: Jensen-Shannon's, bounded as in the code; ``"agreed"``: KL of
            the images on which both networks say the same class.
        T: temperature of "js" (3 in the code) and "agreed" (1); "l1" has none.
        most: the value counts as this much at most, and has no gradient above; None: no bound. 1 in Adaptive DeepInversion.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s, t = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 5.0]])
    >>> float(LogitDistance()(Output(s), Output(t), Batch(s)))                 # (1 + 3) / 2
    2.0
    """

    form: Literal["l1", "js", "agreed"] = "l1"
    T: float = 1.0
    most: float | None = None

    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "class permutation", "batch permutation")

    def check(self) -> None:
        if self.form not in ("l1", "js", "agreed"):
            raise RedistillError(f"LogitDistance(form={self.form!r}): known are 'l1', 'js' and 'agreed'")
        if not 0 < self.T < math.inf:
            raise RedistillError(f"LogitDistance(T={self.T}): the temperature must be above 0 and finite")
        if self.form == "l1" and self.T != 1:
            raise RedistillError(f"LogitDistance(form='l1', T={self.T}): the distance of logits has no temperature, leave T out")
        if self.most is not None and not 0 < self.most < math.inf:
            raise RedistillError(f"LogitDistance(most={self.most}): the bound must be above 0 and finite, or left out")

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        s, t = wide(student.logits), wide(teacher.logits)
        check_logits("LogitDistance", s, t)
        if self.form == "l1":
            value = (s - t).abs().sum() / s.numel()
        else:
            value = bounded_js(s, t, self.T) if self.form == "js" else agreed_kl(s, t, self.T)
        return value if self.most is None else value.clamp(max=self.most)
