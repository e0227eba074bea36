"""One for all: every stage of the student makes logits through a branch of its own, so that networks of unlike kinds can meet.

    ℓ(z_s) = −(1/B) Σ_b Σ_c [(p_t + 1(c = y))^ε − 1(c = y)] log p_s,   p = softmax(z / T)
    L = Σ_l ℓ(branch_l(F_s^l)) + factor · ℓ(z_s)

Hao et al. 2023 (arXiv:2310.19444). With ε = 1 it is the cross-entropy with the teacher; a larger ε lets the
target's share grow. There is no T² in the code.

A branch of a convolutional student: a separable block for each stage below the last one (1x1 convolution at the last), mean over
positions, linear. Of tokens: a transformer block for each stage below the last one (one at the last), mean of the tokens, linear;
the code's class token and its merging of patches above 7x7 are not followed.

| source | term | use |
|---|---|---|
| authors | `CE() + OFA()` | ε by pair, 1.0 to 1.5; all three weights 1 |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, Shape, Term, describe_places, named_places, require_ready
from redistill.terms.kd import check_logits
from redistill.terms.parts.layers import total
from redistill.terms.parts.wide import fitting, wide


def target_enhanced(
    student: Float[Tensor, "batch classes"],
    teacher: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    eps: float = 1.0,
    T: float = 1.0,
) -> Float[Tensor, ""]:
    """ℓ of logits [B, C]: a scalar.

    >>> import torch
    >>> z = torch.zeros(1, 2)
    >>> round(float(target_enhanced(z, z, torch.tensor([0]), eps=2.0)), 4)       # (1.5² − 1 + .5²) log 2
    1.0397
    """
    student, teacher = wide(student), wide(teacher)
    target = torch.nn.functional.one_hot(labels, teacher.shape[1]).to(teacher.dtype)
    wanted = (torch.softmax(teacher / T, dim=1) + target).pow(eps) - target
    return -(wanted * torch.log_softmax(student / T, dim=1)).sum() / len(student)


class Separable(nn.Sequential):
    """Two depthwise 3x3 and pointwise convolutions with batch norm and ReLU; the first halves the size: [B, C, H, W]."""

    def __init__(self, before: int, after: int):
        layers: list[nn.Module] = []
        for stride, out in ((2, before), (1, after)):
            layers += [
                nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False), nn.Conv2d(before, out, 1, bias=False),
                nn.BatchNorm2d(out), nn.ReLU(),
            ]  # fmt: skip
        super().__init__(*layers)


class Branch(nn.Module):
    """A stage's map [B, C, H, W], or tokens [B, N, D], to logits [B, classes]. ``below``: stages between it and the last one."""

    def __init__(self, shape: Shape, below: int, width: int, classes: int):
        super().__init__()
        channels = shape[-1] if len(shape) == 3 else shape[1]
        self.tokens = len(shape) == 3
        if self.tokens:
            heads = 4 if channels % 4 == 0 else 1
            blocks = [
                nn.TransformerEncoderLayer(channels, heads, 4 * channels, 0.0, "gelu", batch_first=True, norm_first=True)
                for _ in range(max(below, 1))
            ]
            self.body = nn.Sequential(*blocks)
            width = channels
        elif below:
            outs = [*(channels * 2**i for i in range(1, below)), width]
            self.body = nn.Sequential(*(Separable(channels * 2**i, out) for i, out in enumerate(outs)))
        else:
            self.body = nn.Sequential(nn.Conv2d(channels, width, 1))
        self.head = nn.Linear(width, classes)

    def forward(self, feature: Tensor) -> Tensor:
        made = self.body(feature)
        logits: Tensor = self.head(made.mean(1 if self.tokens else (2, 3)))
        return logits


@dataclass(eq=False, repr=False)
class OFA(Term):
    """Branches of the student against the teacher's logits. Needs labels; the teacher may be of any kind, of the same classes.

    Args:
        at: places of the student, shallow to deep; default: all its stages.
        eps: exponent ε of the target's and the others' shares, 1 or more.
        T: temperature, 1.
        factor: weight of the student's own logits beside the branches, 1.

    >>> import torch
    >>> from redistill.core import Context
    >>> from torch import nn
    >>> shapes = {"stage1": (2, 4, 8, 8), "stage2": (2, 6, 4, 4), "pooled": (2, 6), "logits": (2, 3)}
    >>> term = OFA()
    >>> term.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, ("stage1", "stage2"), (), classes=3))
    >>> [branch(torch.zeros(shapes[name])).shape[1] for name, branch in zip(("stage1", "stage2"), term.branches)]
    [3, 3]
    """

    at: At = None
    eps: float = 1.0
    T: float = 1.0
    factor: float = 1.0

    needs_labels: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("batch permutation", "non-negative")
    compares_logits: ClassVar[bool | None] = True
    ready = False

    def check(self) -> None:
        if self.at is not None:
            if not (names := named_places(self.at)):
                raise RedistillError(f"OFA(at={self.at!r}): names places of the student alone, for example ['stage1', 'stage2']")
            self.at = names
        if not 1 <= self.eps < math.inf:
            raise RedistillError(f"OFA(eps={self.eps}): the exponent must be at least 1 and finite")
        if not 0 < self.T < math.inf:
            raise RedistillError(f"OFA(T={self.T}): the temperature must be above 0 and finite")
        if not 0 <= self.factor < math.inf:
            raise RedistillError(f"OFA(factor={self.factor}): the weight must be at least 0 and finite")

    def setup(self, ctx: Context) -> None:
        # of a transformer's stages the tokens, not the grid of its patches
        usual = (f"{name}:tokens" if f"{name}:tokens" in ctx.student_places else name for name in ctx.student_stages)
        names = tuple(usual) if self.at is None else tuple(str(name) for name in self.at)
        if not names:
            raise RedistillError(
                f"OFA branches off the student's stages, and none was found: name places with at=[...], from: "
                f"{describe_places(ctx.student_places)}"
            )
        shapes = [ctx.shape("student", name) for name in names]
        if odd := [name for name, shape in zip(names, shapes, strict=True) if len(shape) not in (3, 4)]:
            raise RedistillError(f"OFA branches off maps [B, C, H, W] or tokens [B, N, D], but {odd[0]!r} is neither")
        # of the teacher the logits alone are read; a pair names a place of it, which need not be a map
        theirs = "pooled" if "pooled" in ctx.teacher_places else next(iter(ctx.teacher_places))
        self.pairs = tuple((name, theirs) for name in names)
        last = shapes[-1]
        width = max(last[-1] if len(last) == 3 else last[1], ctx.teacher_places[theirs][-1] if theirs == "pooled" else 1)
        self.branches = nn.ModuleList()
        for i, (name, shape) in enumerate(zip(names, shapes, strict=True)):
            with rng.seeded(ctx.seed, "term", "OFA", name):
                self.branches.append(Branch(shape, len(names) - 1 - i, width, ctx.classes))
        self.ready = True

    def parts(self, student: Output, teacher: Output, batch: Batch) -> list[Tensor]:
        """One value a branch, then the student's own logits', without ``factor``."""
        require_ready(self)
        labels = batch.labels_for("OFA", teacher.logits)
        logits_of_stages = [
            branch(fitting(student[mine], branch)) for branch, (mine, _) in zip(self.branches, self.pairs, strict=True)
        ]
        found = []
        for logits in (*logits_of_stages, student.logits):
            check_logits("OFA", logits, teacher.logits)
            found.append(target_enhanced(logits, teacher.logits, labels, self.eps, self.T))
        return found

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        *branches, own = self.parts(student, teacher, batch)
        return total(student, branches) + self.factor * own
