"""Curriculum temperature: the temperature is learned *against* the student, harder by the epoch.

    L = T²·(1/B) Σ_b KL(p_t || p_s),   p = softmax(z / T),   T = start + span·σ(θ)
    the student descends;  θ gets λ times its gradient,  λ(e) = −½(1 − cos(π e / loops)), −1 from then on

Li et al. 2023 (arXiv:2211.16231), the *global* temperature of its released code: one number θ for all images, 1 at the start.

| source | term | use |
|---|---|---|
| CTKD | `0.1 * CE() + 0.9 * CTKD()` | T from 1 to 21, ten epochs of curriculum, counted from 1 |
| its copy for logit standardisation | `0.1 * CE() + 9 * CTKD(standardise=True)` | both networks' logits over their spread |
| control | `CTKD(reversal=-1.0, loops=0)` | θ descends too: the gradient is the derivative |

θ is a parameter of the term, so the optimiser decays it like every other. Its curriculum counts steps on the device and looks λ up in
a table there. The instance-wise temperature of the paper (a small network of both logits) is not in the released code and is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from redistill.core import Batch, Context, Output, RedistillError, Term, require_ready
from redistill.terms.kd import check_logits, softened_kl, standardised
from redistill.terms.parts.wide import wide

EPOCHS = 2
"""From 2 on the steps of an epoch are the run's, also where its last batch is left out or batches are computed in parts."""


def strength(epoch: int, loops: int) -> float:
    """How strongly the gradient is turned round in epoch ``epoch``, counted from 1: 0 to 1 along half a cosine.

    >>> [round(strength(e, 2), 3) for e in (0, 1, 2, 3)], strength(1, 0)
    ([0.0, 0.5, 1.0, 1.0], 1.0)
    """
    return 1.0 if epoch >= loops else (1.0 - math.cos(math.pi * epoch / loops)) / 2.0


def _images_of(batch: Batch, rows: int) -> int:
    """Images of a batch of ``rows``; one that is shown in two views is one."""
    return rows if batch.positions is None else len(batch.positions.unique())


@dataclass(eq=False, repr=False)
class CTKD(Term):
    """Softened divergence at a temperature that learns against the student.

    Args:
        start, span: T lies between ``start`` and ``start + span``; 1 and 20 in the released scripts.
        loops: epochs until the reversal is whole, 10.
        steps: steps of an epoch; default: those of the run, and in a loop of one's own from the number of images and the first batch.
        reversal: strength of the whole reversal, 1; below 0 θ descends with the student.
        standardise: logits are standardised first, with :func:`redistill.terms.kd.standardised`.

    >>> import torch
    >>> from redistill.core import Batch, Context, Output
    >>> from torch import nn
    >>> term = CTKD(steps=10)
    >>> term.setup(Context(nn.Identity(), nn.Identity(), {}, {}, (), (), classes=2))
    >>> round(term.temperature().item(), 3)                                       # 1 + 20 / (1 + 1/e)
    15.621
    >>> s, t = torch.zeros(1, 2), torch.tensor([[15.6212, 0.0]])                  # at this T: (.731, .269) against (½, ½)
    >>> round(term(Output(s), Output(t), Batch(s)).item(), 2)                     # T² · .1109
    27.07
    """

    start: float = 1.0
    span: float = 20.0
    loops: int = 10
    steps: int | None = None
    reversal: float = 1.0
    standardise: bool = False

    theorems: ClassVar[tuple[str, ...]] = (
        "zero at match", "logit shift", "class permutation", "batch permutation", "non-negative"
    )
    ready = False

    def check(self) -> None:
        if not 0 < self.start < math.inf or not 0 <= self.span < math.inf:
            raise RedistillError(
                f"CTKD(start={self.start}, span={self.span}): the lowest temperature must be above 0, the span at least 0, both finite"
            )
        if self.loops < 0:
            raise RedistillError(f"CTKD(loops={self.loops}): epochs of the curriculum, at least 0")
        if self.steps is not None and self.steps < 1:
            raise RedistillError(f"CTKD(steps={self.steps}): steps of an epoch, at least 1, or None")
        if not math.isfinite(self.reversal):
            raise RedistillError(f"CTKD(reversal={self.reversal}): must be finite")

    def setup(self, ctx: Context) -> None:
        if self.steps is None and ctx.count is None and self.loops:
            raise RedistillError("CTKD counts epochs, and this source has none: say how many steps are one, CTKD(steps=...), or loops=0")
        self.count = ctx.count
        self.theta = nn.Parameter(torch.ones(()))
        self.step = nn.Buffer(torch.zeros((), dtype=torch.int64))
        known = 0 if ctx.count is None else ctx.calls  # of a mixture steps are to be said
        self.length = nn.Buffer(torch.tensor(self.steps or known or 0, dtype=torch.int64))  # steps of an epoch; 0: not known yet
        # of the epochs 0 to loops, the last for all that follow; -0.0 and 0.0 weigh alike
        table = [-self.reversal * strength(epoch, self.loops) for epoch in range(self.loops + 1)]
        self.by = nn.Buffer(torch.tensor(table, dtype=torch.float64), persistent=False)
        self.ready = True

    @property
    def counts_epochs(self) -> int:
        """Version of how it counts those of a run; 0 where it counts none, or is told their length."""
        return EPOCHS if self.steps is None and self.loops else 0

    def temperature(self) -> Tensor:
        """T as it is now: a scalar."""
        require_ready(self)
        return self.start + self.span * torch.sigmoid(wide(self.theta))

    def _reversed(self, batch: Batch, rows: int) -> Tensor:
        """T whose gradient reaches θ times −λ of this step's epoch."""
        T = self.temperature()
        length = torch.where(self.length > 0, self.length, math.ceil((self.count or 1) / _images_of(batch, rows)))
        epoch = (1 + self.step // length).clamp(max=self.loops)
        by = self.by.index_select(0, epoch.reshape(1))[0].to(T.dtype)
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                self.length.copy_(length)
                self.step.add_(1)
        return torch.where(by == 1.0, T, by * T + (T - by * T).detach())

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        z_s, z_t = wide(student.logits), wide(teacher.logits)
        check_logits("CTKD", z_s, z_t)
        if self.standardise:
            z_s, z_t = standardised(z_s), standardised(z_t)
        T = self._reversed(batch, len(z_s)).to(z_s.dtype)
        return T**2 * softened_kl(z_s, z_t, T).sum() / len(z_s)
