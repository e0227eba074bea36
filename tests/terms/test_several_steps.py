"""CRD, AB, FSP and FT over several steps of the loop, adapters, banks and all, against a plain loop with each formula written again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import Batch, Shape, StreamContext, Term
from redistill.recipe import Recipe
from redistill.terms import AB, CE, CRD, FSP, FT
from redistill.testing import SmallNet
from redistill.train.loop import Loop

STEPS, SIZE, COUNT, CLASSES = 4, 4, 8, 3
DRAW = torch.Generator().manual_seed(7)
IMAGES = torch.randn(COUNT, 3, 8, 8, generator=DRAW, dtype=torch.float64)
LABELS = torch.arange(COUNT) % CLASSES
ORDER = [torch.randperm(COUNT, generator=DRAW)[:SIZE] for _ in range(STEPS)]


@dataclass(frozen=True)
class Few:
    """Eight images in a written order."""

    image_shape: Shape = (3, 8, 8)
    classes: int = CLASSES
    depends_on_student = False
    labelled = True
    count: int | None = COUNT
    normalisation = "half"

    @property
    def all_labels(self) -> Tensor:
        return LABELS

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        return STEPS

    def settings(self) -> dict[str, Any]:
        return {"kind": "few"}

    def start(self, room: StreamContext) -> Few:
        return self

    def batch(self, step: int) -> Batch:
        which = ORDER[step]
        return Batch(IMAGES[which], labels=LABELS[which], index=which, positions=which)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept."""

    def log(self) -> dict[str, float]:
        return {}


Features = list[Tensor]
"""The maps of the three stages, and the vector before the classifier."""


def output_of(net: nn.Module, images: Tensor) -> tuple[Tensor, Features]:
    found: Features = []
    for stage in net.stages:  # type: ignore[union-attr]
        images = stage(images)
        found.append(images)
    found.append(images.mean((2, 3)))
    return net.head(found[-1]), found  # type: ignore[operator]


def boundaries(term: Any, s: Features, t: Features, step: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for number, (a, b, connector) in enumerate(zip(s[:3], t[:3], term.connectors, strict=True)):
        a = connector(a)
        wrong = torch.where(b > 0, F.relu(1 - a), F.relu(1 + a)) ** 2
        total = total + 0.003 * wrong.sum() / SIZE / 2 ** (2 - number)
    return total


def flows(term: Any, s: Features, t: Features, step: int) -> Tensor:
    def flow(low: Tensor, high: Tensor) -> Tensor:
        low = F.adaptive_avg_pool2d(low, high.shape[2:])
        return torch.einsum("bihw,bjhw->bij", low, high) / high[0, 0].numel()

    return sum(
        (((flow(s[i], s[i + 1]) - flow(t[i], t[i + 1])) ** 2).mean() for i in (0, 1)), start=torch.zeros((), dtype=torch.float64)
    )


def attention(factor: Tensor) -> Tensor:
    seen = (factor**2).mean(1).flatten(1)
    return seen / (seen**2).sum(1, keepdim=True).sqrt()


def factors(term: Any, s: Features, t: Features, step: int) -> Tensor:
    with torch.no_grad():
        wanted = attention(term.paraphraser.encoder(t[2]))
    return (attention(term.translator.encoder(s[2])) - wanted).abs().mean()


def reconstruction(term: Any, s: Features, t: Features, step: int) -> Tensor:
    return F.mse_loss(term.paraphraser.decoder(term.paraphraser.encoder(t[2])), t[2])


def contrast(term: Any, s: Features, t: Features, step: int) -> Tensor:
    """Image by image, negative by negative; afterwards the banks move."""
    which = ORDER[step]
    e_s, e_t = (F.normalize(layer(f[3]), dim=1) for layer, f in ((term.embed_s, s), (term.embed_t, t)))
    drawn = torch.cat([which[:, None], term.negatives(which)], dim=1)
    K, total = drawn.shape[1] - 1, torch.zeros((), dtype=torch.float64)
    for number, (own, bank) in enumerate(((e_s, term.memory_teacher.clone()), (e_t, term.memory_student.clone()))):
        raw = torch.stack([torch.stack([(own[b] @ bank[k] / term.T).exp() for k in drawn[b]]) for b in range(SIZE)])
        if step == 0:
            term.Z[number] = raw.detach().mean() * COUNT
        for row in raw / float(term.Z[number]):
            total = total - (row[0] / (row[0] + K / COUNT + 1e-7)).log() / SIZE
            for h in row[1:]:
                total = total - ((K / COUNT) / (h + K / COUNT + 1e-7)).log() / SIZE
    with torch.no_grad():
        for bank, own in ((term.memory_student, e_s), (term.memory_teacher, e_t)):
            for b, k in enumerate(which):
                moved = 0.5 * bank[k] + 0.5 * own[b]
                bank[k] = moved / moved.norm()
    term.step.add_(1)
    term._known.wrote(term, "step", step + 1)
    return total


@pytest.mark.parametrize(
    ("make", "formula", "weight", "ce"),
    [
        (AB, boundaries, 1.0, 0.0),
        (FSP, flows, 50.0, 1.0),
        (lambda: FT(reconstruction=0.0), factors, 200.0, 1.0),
        (lambda: FT(learns="paraphraser"), reconstruction, 1.0, 0.0),
        (lambda: CRD(dim=4, K=3), contrast, 0.8, 1.0),
        (lambda: CRD(dim=4, K=16), contrast, 0.8, 1.0),  # more than there are: drawn with repetition
    ],
    ids=["AB", "FSP", "FT", "FT first stage", "CRD", "CRD with repetition"],
)
def test_several_steps_of_the_loop_are_those_of_a_plain_one(
    make: Callable[[], Term], formula: Callable[[Any, Features, Features, int], Tensor], weight: float, ce: float
) -> None:
    student, teacher = SmallNet((4, 6, 6), CLASSES, seed=1).double(), SmallNet((4, 6, 6), CLASSES, seed=2).double()
    plain = copy.deepcopy(student)
    method = weight * make() + CE() if ce else weight * make()
    recipe = Recipe(steps=STEPS, batch_size=SIZE, lr=0.05, momentum=0.9, weight_decay=5e-4, precision="double")
    loop = Loop([(student, method)], teacher, Few(), recipe, seed=3, device="cpu")
    own = loop.students[0].method.terms[0]
    term = copy.deepcopy(own)
    optimiser = torch.optim.SGD([*plain.parameters(), *term.parameters()], lr=0.05, momentum=0.9, weight_decay=5e-4)
    for step, _ in enumerate(loop):
        which = ORDER[step]
        logits, f_s = output_of(plain, IMAGES[which])
        with torch.no_grad():
            _, f_t = output_of(teacher, IMAGES[which])
        loss = formula(term, f_s, f_t, step)
        optimiser.zero_grad(set_to_none=True)
        # a stage without labels gives the classifier no gradient, not one of 0, which weight decay would follow
        total = weight * loss + F.cross_entropy(logits, LABELS[which]) if ce else weight * loss
        total.backward()
        optimiser.step()
        assert float(loop.students[0].rows(step).losses[0][0]) == pytest.approx(float(loss.detach()), rel=1e-9)
    for (name, a), b in zip(student.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11, msg=name)
    for (name, a), b in zip(own.state_dict().items(), term.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11, msg=name)
