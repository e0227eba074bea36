"""Two sources in turn."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redistill.core import Batch, RedistillError, StreamContext
from redistill.data import Images
from redistill.experiment.length import steps_of
from redistill.experiment.value import Experiment
from redistill.launch.fit import fit
from redistill.recipe import Recipe
from redistill.sources.mixed import Mixed
from redistill.terms import CE, KD
from redistill.train.loop import Loop
from redistill.train.smallest import smallest_batch


@dataclasses.dataclass
class Counting:
    """Batches whose images hold the number of the batch."""

    sign: float
    per_epoch: int
    labelled: bool = True
    classes: int | None = 2
    depends_on_student = False
    normalisation = "none"
    image_shape = (1, 2, 2)
    count = 4
    all_labels = None

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        return self.per_epoch

    def settings(self) -> dict[str, Any]:
        return {"sign": self.sign}

    def start(self, room: StreamContext) -> CountingStream:
        return CountingStream(self.sign, room.steps)


class CountingStream:
    def __init__(self, sign: float, steps: int):
        self.sign, self.steps, self.asked = sign, steps, 0

    def batch(self, step: int) -> Batch:
        self.asked = step + 1
        return Batch(torch.full((2, 1, 2, 2), float(self.sign * (step + 1))), torch.tensor([0, 1]))

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]

    def log(self) -> dict[str, float]:
        return {f"asked {self.sign:+.0f}": float(self.asked)}


def room(steps: int) -> StreamContext:
    return StreamContext(seed=0, batch_size=2, device=torch.device("cpu"), dtype=torch.float32, steps=steps)


def test_whole_batches_in_turn_each_source_counting_its_own() -> None:
    mixed = Mixed(Counting(1, 4), Counting(-1, 9), take=(2, 3))
    stream = mixed.start(room(12))
    seen = [float(stream.batch(s).images[0, 0, 0, 0]) for s in range(12)]
    assert seen == [1, 2, -1, -2, -3, 3, 4, -4, -5, -6, 5, 6]
    assert [s.steps for s in stream.streams] == [6, 6]  # type: ignore[attr-defined]
    assert mixed.steps_per_epoch(2, False) == 10
    assert stream.log() == {"asked +1": 6.0, "asked -1": 6.0}
    other = mixed.start(room(12))
    other.load_state_dict(stream.state_dict())
    assert other.log() == stream.log()


def test_facts_of_both() -> None:
    mixed = Mixed(Counting(1, 4), Counting(-1, 9, labelled=False, classes=None))
    assert (mixed.labelled, mixed.classes, mixed.count, mixed.depends_on_student) == (True, 2, None, False)
    assert mixed.settings()["take"] == [1, 1]
    assert mixed.partly_labelled and not Mixed(Counting(1, 4), Counting(-1, 9)).partly_labelled
    neither = Mixed(Counting(1, 4, labelled=False), Counting(-1, 9, labelled=False))
    with pytest.raises(RedistillError, match="CE needs labels, and this source has none"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), None, CE(), neither, Recipe(steps=2), seed=0)
    with pytest.raises(RedistillError, match="have 2 and 3 classes"):
        Mixed(Counting(1, 4), Counting(-1, 9, classes=3))


@pytest.mark.parametrize(("counts", "steps", "fewest"), [((16, 17), 12, 1), ((17, 16), 12, 1), ((16, 17), 4, 8), ((16, 21), 12, 5)])
def test_the_smallest_batch_of_either_half_counts_where_the_run_reaches_it(counts: tuple[int, int], steps: int, fewest: int) -> None:
    """A half of 17 images ended the run with a traceback where its epoch ended, in steps that come late where it is large."""
    one, two = (Images(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n).long(), 2, str(n), "none") for n in counts)
    mixed, recipe = Mixed(one, two.unlabelled()), Recipe(steps=steps, batch_size=8)
    assert smallest_batch(mixed, recipe, steps=steps, per_epoch=mixed.steps_per_epoch(8, False)) == fewest
    shorter = recipe.model_copy(update={"drop_last": True})
    assert smallest_batch(mixed, shorter, steps=steps, per_epoch=mixed.steps_per_epoch(8, True)) == 8
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    if fewest == 1:
        with pytest.raises(RedistillError, match=r"a batch of this run holds one image \(batches of 8\)"):
            Loop([(net, KD())], copy.deepcopy(net), mixed, recipe, seed=0, device="cpu")


def test_an_epoch_is_as_long_in_a_plan_as_in_a_run() -> None:
    one, two = ({"data": "digits", "unlabelled": lacks} for lacks in (False, True))
    source = {"kind": "mixed", "first": {**one, "per_class": 10}, "second": two, "take": [2, 3]}
    whole = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "recipe": {"epochs": 3, "batch_size": 32}, "source": source}
    made = Experiment.of(whole, device="cpu")
    real = made.source.build(0, None).source.steps_per_epoch(32, False)
    assert real == 10 and steps_of(made) == (3 * real, real)


def test_terms_that_need_labels_are_nothing_on_the_batches_of_the_other() -> None:
    pixels = torch.randint(0, 255, (8, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(8) % 2, 2, "eight", "none")
    mixed = Mixed(images, images.unlabelled())
    stream = mixed.start(room(4))
    batch = stream.batch(1)
    assert batch.labels is not None and batch.labels.tolist() == [-1, -1] and batch.partly and stream.batch(1) is batch
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    loop = Loop([(net, CE())], None, mixed, Recipe(steps=2, lr=0.1, momentum=0.0, weight_decay=0.0), seed=0, device="cpu")
    before = net[1].weight.detach().clone()
    next(loop)
    after = net[1].weight.detach().clone()
    next(loop)
    assert torch.equal(after, net[1].weight) and not torch.equal(before, after) and loop.results()[0].losses["CE"][0] > 0


def test_trains_in_the_loop() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    before: Tensor = net[1].weight.detach().clone()
    loop = Loop([(net, CE())], None, Mixed(Counting(1, 2), Counting(-1, 2)), Recipe(epochs=2, lr=0.1), seed=0, device="cpu")
    for _ in loop:
        pass
    assert loop.steps == 8 and not torch.equal(before, net[1].weight)
    assert loop.results()[0].source_log == tuple((2 * n, {"asked +1": 1.0 * n, "asked -1": 1.0 * n}) for n in (1, 2, 3, 4))
