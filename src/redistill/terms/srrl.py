"""Softmax regression representation learning: the student's pooled feature, in the teacher's width, should classify as the teacher's.

    L = mean (r(f_s) − f_t)²  +  factor · mean (W_t r(f_s) + b_t − z_t)²,   r = ReLU(BN(conv1x1)),   W_t, b_t frozen

Yang et al. 2021 (ICLR, "Knowledge distillation via softmax regression representation learning"), in the form of
SimKD's and CTKD's codes, which the published CIFAR-100 rows come from.

| source | term | use |
|---|---|---|
| SimKD's benchmark | `CE() + KD(T=4.0) + SRRL()` | both parts with weight 1 |
| CTKD's benchmark | `0.1 * CE() + 0.9 * CTKD() + SRRL()` | |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from redistill import rng
from redistill.core import Batch, Context, Output, RedistillError, Term, require_ready
from redistill.terms.kd import check_logits
from redistill.terms.ofd import Connector
from redistill.terms.parts.classifier import classified, classifier_of
from redistill.terms.parts.unowned import UnownedModule
from redistill.terms.parts.vectors import named_or_pooled, require_pairs
from redistill.terms.parts.wide import fitting, wide


@dataclass(eq=False, repr=False)
class SRRL(Term):
    """The student's pooled feature against the teacher's, and through the teacher's classifier. Needs a batch of two or more.

    Args:
        factor: weight of the logits' part, 1.

    >>> import torch
    >>> from redistill.core import Batch, Context, Output
    >>> from torch import nn
    >>> teacher, shapes = nn.Linear(1, 2), {"pooled": (2, 1), "logits": (2, 2)}
    >>> term = SRRL()
    >>> term.setup(Context(nn.Identity(), teacher, shapes, shapes, (), (), classes=2))
    >>> term.connector = nn.Sequential(nn.Flatten())                    # in place of one that learns
    >>> _ = teacher.load_state_dict({"weight": torch.tensor([[1.0], [2.0]]), "bias": torch.zeros(2)})
    >>> out = lambda f: Output(torch.tensor([[f, 2 * f]] * 2), {"pooled": torch.full((2, 1), f)})
    >>> float(term(out(1.0), out(3.0), Batch(torch.zeros(2, 1))))        # (1 − 3)² + ((1 − 3)² + (2 − 6)²) / 2
    14.0
    """

    factor: float = 1.0

    needs_pairs: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    compares_logits: ClassVar[bool | None] = True
    ready = False

    def check(self) -> None:
        if not 0 <= self.factor < math.inf:
            raise RedistillError(f"SRRL(factor={self.factor}): the weight must be at least 0 and finite")
        self._teacher = UnownedModule(None)

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_pooled("SRRL", ctx, None)
        layer = classifier_of("SRRL", ctx, "teacher")
        mine = ctx.shape("student", "pooled")[1]
        with rng.seeded(ctx.seed, "term", "SRRL"):
            self.connector: nn.Module = nn.Sequential(*Connector(mine, layer.in_features), nn.ReLU())
        self._teacher = UnownedModule(layer)
        self.ready = True

    def attach(self, teacher: nn.Linear) -> None:
        """Point a restored term (pickling leaves the network out) at the teacher's classifier."""
        self._teacher = UnownedModule(teacher)

    def parts(self, student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
        """The feature's and the logits' mean square, without ``factor``."""
        require_ready(self)
        layer = self._teacher.net("SRRL", "term.attach(teacher.fc)")
        assert isinstance(layer, nn.Linear)
        require_pairs("SRRL", student["pooled"])  # its batch norm sees one position an image
        feature = fitting(student["pooled"], self.connector)[:, :, None, None]
        made, target = wide(self.connector(feature)).flatten(1), wide(teacher["pooled"])
        student_logits, teacher_logits = classified(made, layer), wide(teacher.logits)
        check_logits("SRRL", student_logits, teacher_logits)
        return (made - target).square().sum() / target.numel(), (student_logits - teacher_logits).square().sum() / teacher_logits.numel()

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        feature, logits = self.parts(student, teacher)
        return feature + self.factor * logits
