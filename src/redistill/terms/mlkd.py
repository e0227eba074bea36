"""Multi-level logit distillation: several temperatures at once, and the Gram matrices of a batch's and of the classes' answers.

    L = ce·[CE(z_s, y) + CE(z_s', y)] + kd·Σ_T [ a·KD_T(z_s, z_t) + KD_T(z_s', z_t') + c·CC_T(z_s, z_t) + a·BC_T(z_s, z_t) ]
    KD_T = T²·(1/B) Σ_b KL(p_t || p_s),   CC_T = (1/C) ‖P_tᵀP_t − P_sᵀP_s‖²,   BC_T = (1/B) ‖P_tP_tᵀ − P_sP_sᵀ‖²

z: the weakly, z': the strongly augmented view of the same images; P [B, C]: softmax(z / T), T in {base, 3, 5, 2, 6}. a: share of
images whose teacher is no surer than the median image, c: share of classes that are no likelier than the median class.

Jin et al. 2023 (CVPR, "Multi-level logit distillation"), eqs. 4 to 9, in the form of the released code (logit standardisation's
copy, commit f6e5aa5). Where that differs from the text:

* the masks multiply losses that are means already, so that a and c scale the whole batch and select nothing;
* the strong KD at the last two temperatures reads the weak logits (``slip``);
* CC and BC of the strong view are computed there and added to nothing.

| source | method |
|---|---|
| paper, a sum without weights | `2 * CE() + MLKD()` on a source of two views, `augment = "crop-flip+strong"` |
| author's code (cfg.py, commit 6327e73: 0.1 and 0.9) | `0.2 * CE() + 0.9 * MLKD()` on the same source |
| logit standardisation | `0.2 * CE() + 9 * MLKD(temperatures=(2, 3, 5, 2, 6), standardise=True)` on the same source |

Of a batch of two views (:mod:`redistill.data.strong`) the first half is weak, the second strong, so that CE, a mean over both, weighs
twice. Both views pass the student in one forward here and in two there: batch norms see both at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from redistill.core import Batch, Output, RedistillError, Term
from redistill.terms.kd import check_logits, softened_kl, standardised
from redistill.terms.parts.wide import wide

TEMPERATURES = (4.0, 3.0, 5.0, 2.0, 6.0)


def class_gram(student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], T: float) -> Float[Tensor, ""]:
    """CC: squared distance of the Gram matrices [C, C] of softened probabilities, over C."""
    p_s, p_t = (torch.softmax(wide(z) / T, dim=1) for z in (student, teacher))
    return (p_t.T @ p_t - p_s.T @ p_s).square().sum() / p_s.shape[1]


def batch_gram(student: Float[Tensor, "batch classes"], teacher: Float[Tensor, "batch classes"], T: float) -> Float[Tensor, ""]:
    """BC: squared distance of the Gram matrices [B, B] of softened probabilities, over B."""
    p_s, p_t = (torch.softmax(wide(z) / T, dim=1) for z in (student, teacher))
    return (p_t @ p_t.T - p_s @ p_s.T).square().sum() / len(p_s)


def shares(teacher: Float[Tensor, "batch classes"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """a and c: shares of images, and of classes, at or below the median confidence of the teacher's logits [B, C]."""
    p = torch.softmax(wide(teacher), dim=1)
    sure, likely = p.amax(dim=1), p.sum(dim=0)
    return (sure <= sure.quantile(0.5)).to(p).mean(), (likely <= likely.quantile(0.5)).to(p).mean()


def multi_level(
    student: tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch classes"]],
    teacher: tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch classes"]],
    labels: Int[Tensor, " batch"],
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    ce: float = 0.1,
    kd: float = 9.0,
    standardise: bool = False,
    slip: int = 2,
) -> dict[str, Float[Tensor, ""]]:
    """The weighted parts ``ce``, ``kd``, ``cc`` and ``bc``, whose sum is the loss.

    Args:
        student, teacher: logits [B, C] of the weak and of the strong view.
        labels: [B] int64.
        temperatures: 4 and four more in the released code; 2 first where logits are standardised.
        ce, kd: weights; 0.1 and 0.9 in the author's code, 0.1 and 9 in logit standardisation's runs, 1 and 1 in the paper's sum.
        standardise: KD reads standardised logits; CC and BC do not.
        slip: how many temperatures, from the last, read the weak logits in place of the strong; 2 in the code, 0 in the text.

    >>> import torch
    >>> z, y = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([1, 0])
    >>> {name: round(float(part), 4) for name, part in multi_level((z, z), (z, z), y, ce=1.0).items()}        # CE is left
    {'ce': 0.4402, 'kd': 0.0, 'cc': 0.0, 'bc': 0.0}
    """
    (s, s_strong), (t, t_strong) = ((wide(weak), wide(strong)) for weak, strong in (student, teacher))
    for mine, theirs in ((s, t), (s_strong, t_strong)):
        check_logits("MLKD", mine, theirs)
    if s.shape != s_strong.shape or not temperatures or min(temperatures) <= 0 or not 0 <= slip <= len(temperatures):
        raise RedistillError(
            f"multi_level: views of {list(s.shape)} and {list(s_strong.shape)}, temperatures {list(temperatures)}, slip {slip}: two views "
            f"of the same images, temperatures above 0 and at most as many slips are needed"
        )
    levels = _levels((s, s_strong), (t, t_strong), temperatures, standardise, slip)
    return {
        "ce": ce * (F.cross_entropy(s, labels) + F.cross_entropy(s_strong, labels)),
        **{name: kd * part for name, part in levels.items()},
    }


def _levels(
    student: tuple[Tensor, Tensor | None],
    teacher: tuple[Tensor, Tensor | None],
    temperatures: Sequence[float],
    standardise: bool,
    slip: int,
) -> dict[str, Tensor]:
    """``kd``, ``cc`` and ``bc`` without their weight; without a strong view (None) the strong KD is left out."""
    (s, s_strong), (t, t_strong) = student, teacher
    read = standardised if standardise else (lambda z: z)
    images, classes = shares(t)

    def soft(mine: Tensor, theirs: Tensor, T: float) -> Tensor:
        return T**2 * softened_kl(read(mine), read(theirs), T).sum() / len(mine)

    kd = images * sum((soft(s, t, T) for T in temperatures), start=s.new_zeros(()))
    if s_strong is not None and t_strong is not None:
        clear = len(temperatures) - slip
        strong = sum((soft(s_strong, t_strong, T) for T in temperatures[:clear]), start=s.new_zeros(()))
        kd = kd + (strong + sum((soft(s, t, T) for T in temperatures[clear:]), start=s.new_zeros(())))
    return {
        "kd": kd,
        "cc": classes * sum((class_gram(s, t, T) for T in temperatures), start=s.new_zeros(())),
        "bc": images * sum((batch_gram(s, t, T) for T in temperatures), start=s.new_zeros(())),
    }


def _same_images(weak: Int[Tensor, " half"], strong: Int[Tensor, " half"]) -> bool:
    """Whether both halves hold the same images of a data set; images that were made (-1) are no views of each other."""
    return bool(((weak == strong) & (weak >= 0)).all())


@dataclass(eq=False, repr=False)
class MLKD(Term):
    """KD, CC and BC of two views; the labels' part is CE's.

    Args:
        temperatures: T of every part, 4 and four more; 2 first where logits are standardised.
        standardise: KD reads standardised logits; CC and BC do not.
        slip: how many temperatures, from the last, read the weak logits in place of the strong; 2 in the code, 0 in the text.
        views: 2: the batch's first half is the weak view of its images, the second half the strong. 1: an ordinary batch, whose
            strong KD is left out (the ablation without strong augmentation).

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s, t = torch.zeros(2, 2), torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> parts = MLKD(temperatures=(1.0,), slip=0, views=1).parts(Output(s), Output(t), Batch(s))
    >>> {name: round(float(part), 4) for name, part in parts.items()}        # KD as KD(T=1); a is 1, c is ½
    {'kd': 0.3278, 'cc': 0.3741, 'bc': 0.1682}
    """

    temperatures: tuple[float, ...] = TEMPERATURES
    standardise: bool = False
    slip: int = 2
    views: int = 2

    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "logit shift", "class permutation", "batch permutation", "non-negative")

    def check(self) -> None:
        self.temperatures = tuple(map(float, self.temperatures))
        if not self.temperatures or not all(0 < T < math.inf for T in self.temperatures):
            raise RedistillError(f"MLKD(temperatures={list(self.temperatures)}): one or more, all above 0 and finite")
        if not 0 <= self.slip <= len(self.temperatures):
            raise RedistillError(f"MLKD(slip={self.slip}): between 0 and the number of temperatures, {len(self.temperatures)}")
        if self.views not in (1, 2):
            raise RedistillError(f"MLKD(views={self.views}): known are 1 and 2")

    def parts(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """``kd``, ``cc`` and ``bc``, whose sum is the loss."""
        check_logits("MLKD", student.logits, teacher.logits)
        s, t = wide(student.logits), wide(teacher.logits)
        if self.views == 1:
            return _levels((s, None), (t, None), self.temperatures, self.standardise, self.slip)
        index = batch.index if batch.positions is None else batch.positions  # on the CPU, where that is known: nobody waits
        if len(s) % 2 or (index is not None and not _same_images(*index.chunk(2))):
            raise RedistillError(
                'MLKD compares a weak and a strong view of the same images, and this batch holds one view: give the source augment = '
                '"crop-flip+strong", or MLKD views = 1, which leaves the strong view out'
            )
        half = len(s) // 2
        return _levels((s[:half], s[half:]), (t[:half], t[half:]), self.temperatures, self.standardise, self.slip)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return torch.stack(list(self.parts(student, teacher, batch).values())).sum()
