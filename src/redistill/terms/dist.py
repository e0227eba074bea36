"""DIST: the student keeps the teacher's *relations* of probabilities, within an image and within a class, not the numbers.

    ρ(u, v): Pearson's correlation;   Y = softmax(z / τ)
    inter: 1 − (1/B) Σ_b ρ(Y_s[b, :], Y_t[b, :]),      intra: 1 − (1/C) Σ_c ρ(Y_s[:, c], Y_t[:, c])
    L = τ²·(β·inter + γ·intra)

Huang et al. 2022 (arXiv:2205.10536), eqs. 5 to 10.

| source | term | use |
|---|---|---|
| classification code, CIFAR-100 | `DIST(beta=2.0, gamma=2.0, T=4.0)` | CE + this |
| classification code, ImageNet | `DIST(beta=2.0, gamma=2.0)` | T = 1 |
| segmentation code | `DIST(scale_T2=False)` on positions as images | no τ² |

The intra part correlates over the images of a batch: it changes with the batch's size, and one image has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from redistill.core import Batch, Output, RedistillError, Term
from redistill.terms.kd import check_logits
from redistill.terms.parts.vectors import require_pairs
from redistill.terms.parts.wide import wide


def pearson(a: Float[Tensor, "rows entries"], b: Float[Tensor, "rows entries"], eps: float = 1e-8) -> Float[Tensor, " rows"]:
    """Correlations of the rows of [N, M] with each other: [N]; ``eps`` is added to the product of lengths, as in the code.

    A row whose entries are all equal, but for rounding, goes with nothing: 0, without a gradient, of which the guard alone would make
    1e8 times that of anything else.

    >>> x = torch.tensor([[0.5, 0.5], [0.0, 1.0]], requires_grad=True)
    >>> pearson(x, torch.tensor([[0.2, 0.8], [0.2, 0.8]])).sum().backward()
    >>> x.grad[0].tolist()
    [0.0, 0.0]
    """
    flat = _flat(a) | _flat(b)
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    lengths: Tensor = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return (a * b).sum(dim=1) / (lengths + eps).where(~flat, torch.inf)


def _flat(rows: Float[Tensor, "rows entries"]) -> Bool[Tensor, " rows"]:
    """Which rows of [N, M] are one number M times, as far as their mean can be told from it."""
    rows = rows.detach()
    return (rows.amax(dim=1) - rows.amin(dim=1)) <= 2 * torch.finfo(rows.dtype).eps * rows.abs().amax(dim=1)


@dataclass(eq=False, repr=False)
class DIST(Term):
    """Correlation of probabilities, within images and within classes; a batch of at least two images.

    Args:
        beta, gamma: weights within images and within classes; 1 in the formula, 2 in the published runs.
        T: temperature τ; 1 (ImageNet), 4 (CIFAR-100).
        scale_T2: multiply by τ², as the classification code does.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> round(float(DIST(gamma=0.0)(Output(s), Output(-s), Batch(s))), 4)         # opposite within every image: 1 − (−1)
    2.0
    """

    beta: float = 1.0
    gamma: float = 1.0
    T: float = 1.0
    scale_T2: bool = True

    needs_pairs: ClassVar[bool] = True
    # not "zero at match": the guard in the denominator leaves 1e-8 of a correlation
    theorems: ClassVar[tuple[str, ...]] = ("logit shift", "class permutation", "batch permutation", "non-negative")

    def check(self) -> None:
        if not 0 < self.T < math.inf:
            raise RedistillError(f"DIST(T={self.T}): the temperature must be above 0 and finite")
        if not all(0 <= w < math.inf for w in (self.beta, self.gamma)):
            raise RedistillError(f"DIST(beta={self.beta}, gamma={self.gamma}): both weights must be at least 0 and finite")

    def parts(self, student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
        """Inter and intra, with τ², without β and γ."""
        check_logits("DIST", student.logits, teacher.logits)
        if self.gamma > 0:
            require_pairs("DIST", student.logits)
        y_s, y_t = (torch.softmax(wide(out.logits) / self.T, dim=1) for out in (student, teacher))
        images, classes = y_s.shape
        scale = self.T**2 if self.scale_T2 else 1.0
        return scale * (1 - pearson(y_s, y_t).sum() / images), scale * (1 - pearson(y_s.T, y_t.T).sum() / classes)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        inter, intra = self.parts(student, teacher)
        return self.beta * inter + self.gamma * intra
