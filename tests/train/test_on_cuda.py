"""On a CUDA device: replayed steps are the written ones bit for bit in strict precision, and what else is promised there.

Skipped where there is none. ``scripts/on_device`` runs this file first, without the conftest.py beside it and what that needs.
"""

from __future__ import annotations

import copy
import gc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from redistill import models
from redistill.core import Batch, Method, Output, Ramp, Term
from redistill.data import Images
from redistill.published.zero_shot import preset
from redistill.recipe import Cosine, Recipe
from redistill.replay import ReplayWarning
from redistill.sources.adversarial import Adversarial
from redistill.terms import AT, CE, CRD, DKD, KD, VID, FitNet, Review
from redistill.train.loop import Loop

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    # what PyTorch says of a device for the first time spoils no test; what the package says of it does
    pytest.mark.filterwarnings("default", "error::redistill.replay.ReplayWarning"),
]


def images(count: int = 200) -> Images:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, 32, 32), generator=g, dtype=torch.uint8)
    return Images(x, torch.arange(count) % 10, 10, "noise", "cifar10-kuangliu", "crop-flip")


METHODS: dict[str, Callable[[], Method]] = {
    "KD": lambda: 0.1 * CE() + 0.9 * KD(T=4),
    "KD+AT, ramps": lambda: CE() + Ramp(0, 4) * KD() + 1000.0 * AT(),
    "FitNet": lambda: CE() + 100.0 * FitNet(),
    "VID": lambda: CE() + VID(),
    "Review": lambda: CE() + 5.0 * Review(),
    "DKD": lambda: CE() + DKD(),
}
STRICT = Recipe(epochs=6, batch_size=64, lr=0.05, schedule=Cosine(), per="step")
FAST = STRICT.model_copy(update={"precision": "fast"})


def student(seed: int = 0) -> nn.Module:
    return models.wrn(16, 1, classes=10, seed=seed)


def teacher() -> nn.Module:
    return models.wrn(16, 2, classes=10, seed=1)


def run(
    methods: list[Method], recipe: Recipe, *, replay: bool = True, until: int | None = None, state: Any = None, **more: Any
) -> Loop:
    source = more.pop("source", images())
    loop = Loop([(student(), m) for m in methods], teacher(), source, recipe, seed=0, device="cuda", replay=replay, **more)
    if state is not None:
        loop.load_state(state)
    for progress in loop:
        if progress.step == until:
            break
    return loop


def same(a: Loop, b: Loop, first: int = 0, second: int = 0) -> None:
    mine, theirs = (loop.students[n].net.state_dict() for loop, n in ((a, first), (b, second)))
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name
    assert a.students[first].losses == b.students[second].losses


def test_images_are_those_of_the_cpu_bit_for_bit() -> None:
    """Order, crop, flip and normalisation: division rounds on the device as it does here."""
    there, here = (
        Loop([(student(), METHODS["KD"]())], teacher(), images(), STRICT, seed=0, device=device, replay=False).stream.batch(2).images
        for device in ("cuda", "cpu")
    )
    assert torch.equal(there.cpu().contiguous(), here.contiguous())


@pytest.mark.parametrize("method", METHODS)
def test_replayed_is_written_bit_for_bit(method: str) -> None:
    replayed = run([METHODS[method]()], STRICT)
    assert replayed.replays is not None and replayed.replays.replayed.reason is None
    same(replayed, run([METHODS[method]()], STRICT, replay=False))


def test_a_cohort_is_each_alone() -> None:
    together = run([make() for make in METHODS.values()], STRICT)
    assert together.replays is not None and together.replays.replayed.reason is None
    for number, make in enumerate(METHODS.values()):
        same(together, run([make()], STRICT), number)


@pytest.mark.parametrize("at", [5, 13])
def test_a_replayed_run_goes_on_bit_for_bit(at: int) -> None:
    whole = run([METHODS["KD+AT, ramps"]()], STRICT)
    part = run([METHODS["KD+AT, ramps"]()], STRICT, until=at)
    same(whole, run([METHODS["KD+AT, ramps"]()], STRICT, state=copy.deepcopy(part.state())))


def test_fast_is_near_strict() -> None:
    """bf16 forwards with fp32 weights: the losses of the first epoch lie within 5 per cent."""
    strict, fast = (run([METHODS["KD"]()], recipe, until=4) for recipe in (STRICT, FAST))
    assert fast.means.bf16
    for a, b in zip(strict.students[0].losses[0], fast.students[0].losses[0], strict=True):
        assert b == pytest.approx(a, rel=0.05)


def test_strict_on_the_device_is_near_the_cpu() -> None:
    here = run([METHODS["KD+AT, ramps"]()], STRICT, until=4)
    cpu = Loop([(student(), METHODS["KD+AT, ramps"]())], teacher(), images(), STRICT, seed=0, device="cpu")
    for _ in range(4):
        next(cpu)
    for a, b in zip(cpu.students[0].losses[0], here.students[0].losses[0], strict=True):
        assert b == pytest.approx(a, rel=1e-3)


def test_no_step_of_an_epoch_waits_for_the_device() -> None:
    loop = Loop([(student(), METHODS["KD"]())], teacher(), images(64 * 20), STRICT, seed=0, device="cuda")
    for _ in range(5):
        next(loop)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            next(loop)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@dataclass(eq=False, repr=False)
class Waits(Term):
    """Reads a value inside the step."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        return student.logits.square().mean() * (1.0 + 0.0 * float(student.logits.mean()))


WAITING: list[tuple[Callable[[], Method], str]] = [
    (lambda: CE() + 0.1 * Waits(), "waits for the device"),
    (lambda: CE() + 0.1 * CRD(K=8), "host"),
]


@pytest.mark.parametrize(("make", "says"), WAITING)
def test_what_cannot_be_recorded_says_so_once(make: Callable[[], Method], says: str) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        loop = run([make()], STRICT)
    warned = [str(w.message) for w in heard if w.category is ReplayWarning]
    assert len(warned) == 1 and says in warned[0]
    same(loop, run([make()], STRICT, replay=False))


@pytest.mark.parametrize("name", ["authors", "paper"])
def test_zero_shot_blocks_are_replayed_bit_for_bit(name: str) -> None:
    ends = []
    for replay in (True, False):
        p = preset(name, blocks=12, change={"n_S": 3}, batch_size=32)
        generator = models.generator(seed=0)
        source = Adversarial(generator, "cifar10-kuangliu", p.variant, p.generator_method, blocks=12, epoch_blocks=4)
        recipe = p.recipe.model_copy(update={"steps": 36, "batch_size": 32})
        loop = Loop([(student(), p.method)], teacher(), source, recipe, seed=0, device="cuda", replay=replay)
        for _ in loop:
            pass
        ends.append((loop, generator.state_dict()))
    same(ends[0][0], ends[1][0])
    assert all(torch.equal(value, ends[1][1][key]) for key, value in ends[0][1].items())
    assert ends[0][0].replays is not None and ends[0][0].replays.replayed.reason is None


def test_a_device_without_memory_for_the_recording_goes_on_without() -> None:
    written = run([METHODS["KD"]()], STRICT, replay=False)
    loop = Loop([(student(), METHODS["KD"]())], teacher(), images(), STRICT, seed=0, device="cuda")
    for _ in range(3):
        next(loop)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.warns(ReplayWarning, match="no memory left"):
            recorder = loop.replays.replayed  # type: ignore[union-attr]
            recorder._record(("looked up", 64, (0,)), lambda step: torch.empty(2**30, device="cuda") and None)
            recorder._record(("looked up", 64, (0,)), lambda step: torch.empty(2**30, device="cuda") and None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for _ in loop:
        pass
    same(loop, written)


def test_runs_side_by_side_are_each_alone_also_when_one_of_them_ends() -> None:
    """All runs of a process record on the same streams; from PyTorch 2.12 on a graph that is given up takes the workspaces of cuBLAS on
    the stream that was recorded along."""
    alone = run([METHODS["KD"]()], STRICT)
    first, second = (
        Loop([(student(), METHODS["KD"]())], teacher(), images(), STRICT, seed=0, device="cuda") for _ in range(2)
    )
    for _ in range(8):
        next(first)
        next(second)
    first.replays.forget()  # type: ignore[union-attr]
    del first
    gc.collect()
    torch.cuda.empty_cache()
    taken = torch.full((2**26,), float("nan"), device="cuda")  # what was given back is somebody else's now
    for _ in second:
        pass
    assert second.replays is not None and second.replays.replayed.reason is None and taken.isnan().all()
    same(second, alone)


SWITCHES = {
    "in parts": {"accumulate": 3}, "an average": {"ema": 0.9}, "patience": {"patience": 1, "lr": 0.2},
    "all": {"accumulate": 2, "ema": 0.9, "patience": 2, "optimizer": "adamw", "lr": 0.002, "clip": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("augment", ["crop-flip", "crop-flip+mixup:1+cutmix", "resized-crop+randaugment+mixup"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_switches_are_replayed_bit_for_bit_and_gone_on_with(switch: str, augment: str) -> None:
    """What an average and a held-out part need happens beside the recording; mixed images are copied to where it reads."""
    train, held = images().held_out(40, seed=0)
    given = {"source": train.with_(augment=augment), "evaluate": {"held_out": held}, "every": 1}
    recipe = STRICT.model_copy(update=SWITCHES[switch])
    method = lambda: 0.5 * CE(0.1, class_weights="balanced") + KD()  # noqa: E731
    replayed = run([Method.of(method())], recipe, **given)
    assert replayed.replays is not None and replayed.replays.replayed.reason is None
    same(replayed, run([Method.of(method())], recipe, replay=False, **given))
    part = run([Method.of(method())], recipe, until=4, **given)
    same(replayed, run([Method.of(method())], recipe, state=copy.deepcopy(part.state()), **given))
