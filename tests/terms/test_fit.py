"""Terms in the loop: every learnable parameter is in the optimiser and moves, and a resumed run ends bit for bit the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from helpers.bits import bits, same
from helpers.blobs import Blobs
from redistill import rng
from redistill.core import Method, Ramp
from redistill.recipe import Recipe
from redistill.terms import AT, CE, KD, VID, Anchor, FitNet, Review
from redistill.train.loop import Loop


class Three(nn.Module):
    """Three stages of 8x8, 4x4 and 2x2."""

    def __init__(self, *widths: int):
        super().__init__()
        channels = [1, *widths]
        with rng.seeded(0, "three", *widths):
            self.stages = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 3, padding=1, stride=2 if i else 1), nn.BatchNorm2d(b), nn.ReLU())
                for i, (a, b) in enumerate(zip(channels, widths, strict=False))
            )
            self.head = nn.Linear(widths[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


METHODS: dict[str, Callable[[], Method]] = {
    "extra M": lambda: 0.1 * CE() + 0.9 * KD(reduction="element", factor=2.0) + 1.0 * Anchor(),
    "CRD's AT": lambda: CE() + 1000 * AT(),
    "CRD's VID": lambda: CE() + VID(),
    "CRD's FitNet": lambda: CE() + 100 * FitNet(),
    "ReviewKD": lambda: CE() + 5 * Ramp(0, 2) * Review(),
    "everything": lambda: CE() + KD() + 10 * AT() + VID(regressor="norm") + FitNet() + Review(fusion="figure3a") + Anchor(),
}


@pytest.mark.parametrize("precision", ["strict", "double"])
@pytest.mark.parametrize("name", METHODS)
def test_terms_train_save_and_resume(name: str, precision: str) -> None:
    recipe = Recipe(epochs=4, lr=0.01, batch_size=10, weight_decay=5e-4, precision=precision)  # type: ignore[arg-type]

    def loop() -> tuple[nn.Module, Loop]:
        student = Three(3, 4, 5)
        return student, Loop([(student, METHODS[name]())], Three(4, 6, 8), Blobs(), recipe, seed=0, device="cpu")

    whole_net, whole = loop()
    learner = whole.students[0].method
    optimised = {id(p) for group in whole.students[0].optimizer.param_groups for p in group["params"]}
    learnable = {n: p for n, p in learner.named_parameters() if p.requires_grad}
    assert all(id(p) in optimised for p in learnable.values())
    before = {n: p.detach().clone() for n, p in learnable.items()}
    halfway = None
    for progress in whole:
        if progress.step == 5:
            halfway = copy.deepcopy(whole.state())
    assert halfway is not None
    assert [n for n, p in learnable.items() if torch.equal(p, before[n])] == []

    net, resumed = loop()
    with torch.no_grad():  # what a set-up saw is not what a checkpoint says: the checkpoint must win
        for p in [*net.parameters(), *resumed.students[0].method.parameters(), *resumed.students[0].method.buffers()]:
            if p.is_floating_point():
                p.add_(0.1)
    resumed.load_state(halfway)
    for _ in resumed:
        pass
    assert same(bits(net), bits(whole_net))
    assert same(bits(resumed.students[0].method), bits(learner))
    assert resumed.results()[0].losses == whole.results()[0].losses
