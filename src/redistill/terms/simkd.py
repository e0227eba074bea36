"""Reused classifier: the student's last map, through a projector, should be the teacher's; then the teacher's own classifier reads it.

    L = mean (g(F_s) − F_t)²,   logits = W_t pool(g(F_s)) + b_t,   W_t, b_t the teacher's, frozen

Chen et al. 2022 (arXiv:2203.14001). The projector g (1x1, 3x3 and 1x1 convolutions, the middle ones 1/factor as wide as the
teacher's map) and the classifier are parts of the *network* that is kept: :func:`redistill.models.simkd`. Maps of unlike size
meet at the smaller. The teacher's last map is the last that one of its modules gives: of a teacher that calls its last activation as
a function (torchvision's DenseNet) it is the map before that, for which its classifier is not made.

| source | method | network |
|---|---|---|
| authors | `SimKD()` alone, without labels | `simkd` with `args = { body = "wrn-16-2", head = "wrn-40-2" }`, factor 2 |

The student that is compared has more parameters than its body: the cards of both say how many. The benchmark of this paper is
its own (KD 74.42 where others have 73.33 for ResNet-32x4 to 8x4): its rows do not mix with those of the CRD benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from redistill.core import Batch, Context, Output, RedistillError, Term, require_ready
from redistill.terms.parts.classifier import classifier_of, map_before_pooling
from redistill.terms.parts.maps import as_map, average_to, map_shape
from redistill.terms.parts.wide import wide


def projected_distance(
    student: Float[Tensor, "batch channels height width"], teacher: Float[Tensor, "batch channels high broad"]
) -> Float[Tensor, ""]:
    """Mean squared difference of the projected map and the teacher's, which is averaged down to its size: a scalar."""
    target = average_to(wide(teacher), student.shape[2], student.shape[3])
    return (wide(student) - target).square().sum() / target.numel()


@dataclass(eq=False, repr=False)
class SimKD(Term):
    """The projected map of a :func:`redistill.models.simkd` student against its teacher's last map.

    Set up, it hands the teacher's classifier to the student. It has no settings.

    >>> import torch
    >>> from redistill.terms import projected_distance
    >>> a, b = torch.ones(1, 2, 1, 1), torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]]]])
    >>> float(projected_distance(a, b + 1))                                # the teacher's 1x2 map averages to (2, 2)
    1.0
    """

    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "non-negative", "batch permutation")
    compares_logits: ClassVar[bool | None] = True
    ready = False

    def setup(self, ctx: Context) -> None:
        own = classifier_of("SimKD", ctx, "teacher")
        theirs = map_before_pooling("SimKD", ctx, "teacher")
        reuse = getattr(ctx.student, "reuse", None)
        if "projected" not in ctx.student_places or reuse is None:
            raise RedistillError(
                f'SimKD keeps the teacher\'s classifier in the student, and a {type(ctx.student).__name__} has no place for it: make the '
                f'student with model = "simkd", args = {{ body = "wrn-16-2", head = "wrn-40-2" }}'
            )
        mine = map_shape("SimKD", ctx, "student", "projected")[0]
        if mine != own.in_features:
            raise RedistillError(
                f"SimKD: the student projects to {mine} channels, the teacher's classifier takes {own.in_features}: give the student the "
                f"head of this teacher"
            )
        reuse(own)
        self.pairs = (("projected", theirs),)
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        ((mine, theirs),) = self.pairs
        return projected_distance(as_map(student[mine]), as_map(teacher[theirs]))
