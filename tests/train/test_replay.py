"""Recorded steps: on the CPU a stand-in keeps a tape of their operations and plays it; on a CUDA device graphs are replayed.

Whatever recorded work would read from the host (a step's number, a rate, a weight, a batch), or do there, is frozen when it is recorded,
on the tape as in a graph: a run that ends with the bits of the ordinary loop has read everything where it changes, and from memory that
is still there.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.standing_in import Again, GivenBack, Taped
from redistill import rng
from redistill.core import Batch, Method, Output, Ramp, Source, Term
from redistill.data import Images
from redistill.published.zero_shot import preset
from redistill.recipe import Cosine, MultiStep, Recipe
from redistill.replay import WARM, ReplayWarning
from redistill.sources.adversarial import Adversarial
from redistill.sources.mixed import Mixed
from redistill.sources.variants import Variant
from redistill.terms import AT, CE, CRD, CTKD, KD, VID, FitNet, Review
from redistill.train.loop import Loop


def images(count: int = 44, augment: str = "crop-flip") -> Images:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, 8, 8), generator=g, dtype=torch.uint8)
    y = torch.arange(count) % 4
    return Images(x, y, 4, "noise", "cifar10-kuangliu", augment)


def student(width: int = 1, seed: int = 0) -> nn.Module:
    """Two stages, of layers that are known to draw nothing."""
    c = 4 * width
    with rng.seeded(seed, "init", width):
        return nn.Sequential(
            nn.Conv2d(3, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
            nn.Conv2d(c, 2 * c, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(2 * c), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * c, 4),
        )  # fmt: skip


class Generator(nn.Module):
    """A class of one's own: nobody knows whether it draws."""

    z, image_shape = 6, (3, 8, 8)

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        with rng.seeded(0, "init"):
            self.lift, self.norm = nn.Linear(6, 3 * 64), nn.BatchNorm2d(3)
            self.conv, self.drop = nn.Conv2d(3, 3, 3, padding=1), nn.Dropout(drop)

    def forward(self, z: Tensor) -> Tensor:
        return self.drop(self.conv(F.leaky_relu(self.norm(self.lift(z).view(-1, 3, 8, 8)))))


def bits(loop: Loop) -> list[Tensor]:
    found = []
    for s in loop.students:
        found += [*s.net.state_dict().values(), *s.method.state_dict().values()]
        found += [torch.tensor(s.losses), torch.tensor(s.gradient_norms)]
        found += [v for state in s.optimizer.state_dict()["state"].values() for v in state.values() if isinstance(v, Tensor) and v.any()]
    return found


def same(a: Loop, b: Loop) -> None:
    one, two = bits(a), bits(b)
    assert len(one) == len(two) and all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


def test_the_stand_in_is_as_hard_with_memory_as_a_graph() -> None:
    again, out, lent, kept = Taped(), torch.zeros(3), [torch.ones(3)], list[Tensor]()
    adds = again.record(lambda: [out.add_(lent[0])] and None)
    adds()
    assert out.tolist() == [1.0, 1.0, 1.0]
    lent[0] = torch.ones(3)  # the tensor that was there when it was recorded is nobody's now
    with pytest.raises(GivenBack, match=r"memory of a tensor \[3\] that the recorded work uses was given back"):
        adds()
    makes, reads = again.record(lambda: kept.append(2 * out)), again.record(lambda: [out.copy_(kept[0])] and None)
    makes()
    assert kept[0].tolist() == [2.0, 2.0, 2.0] and again.recorded == 3
    reads()
    assert out.isnan().all()  # what one recording made is not there for another


METHODS: dict[str, Callable[[], Method]] = {
    "KD": lambda: 0.1 * CE() + 0.9 * KD(T=4),
    "ramps": lambda: CE() + Ramp(0, 3) * AT() + Ramp(0, 20, unit="step") * KD() + 0.1 * CTKD(loops=3),
    "features": lambda: CE() + 0.5 * VID() + 10.0 * FitNet() + 0.2 * Review(at=["stage1", "stage2"]),
}
RECIPES = {
    "sgd, cosine by step": Recipe(epochs=6, lr=0.05, batch_size=8, schedule=Cosine(), per="step", warmup=1),
    "adam, clipped": Recipe(epochs=6, lr=0.002, batch_size=8, optimizer="adam", clip=0.5, schedule=Cosine(), per="step"),
    "clipped tensor by tensor": Recipe(epochs=6, lr=0.05, batch_size=8, clip=0.05, clip_per="tensor"),
    "momentum forgotten": Recipe(epochs=6, lr=0.05, batch_size=8, schedule=MultiStep(at=(2, 4), reset_momentum=True)),
    "last batch left out": Recipe(epochs=6, lr=0.05, batch_size=8, drop_last=True, nesterov=True),
    "double": Recipe(epochs=6, lr=0.05, batch_size=8, precision="double"),
}


def loop(replay: Any, method: Callable[[], Method], recipe: Recipe, source: Source | None = None, **more: Any) -> Loop:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Loop([(student(), method())], student(2, 1), source or images(), recipe, seed=3, device="cpu", replay=replay, **more)


def drained(made: Loop) -> Loop:
    for _ in made:
        pass
    return made


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("method", METHODS)
def test_replayed_steps_are_the_ordinary_ones(method: str, recipe: str) -> None:
    again = Taped()
    replayed = drained(loop(again, METHODS[method], RECIPES[recipe]))
    same(drained(loop(True, METHODS[method], RECIPES[recipe])), replayed)
    short = 0 if RECIPES[recipe].drop_last else 1  # the shorter last batch comes once an epoch and is recorded after three
    assert again.recorded == 1 + short and again.replayed == replayed.steps - WARM * (1 + short)
    assert replayed.replays is not None and replayed.replays.replayed.reason is None


@pytest.mark.parametrize("augment", ["none", "flip", "crop-flip-reflect", "crop-flip-reflect-batch"])
def test_what_is_looked_up_is_what_is_given(augment: str) -> None:
    """Order, variants and shared offsets of two epochs, the shorter last batch among them."""
    source = images(20, augment)
    made = loop(Taped(), METHODS["KD"], Recipe(epochs=2, batch_size=8), source)
    for step in range(6):
        wanted = made.stream.batch(step)
        made.stream.upload(step)  # type: ignore[attr-defined]
        assert made.stream.rows(step) == len(wanted.images)  # type: ignore[attr-defined]
        found = made.stream.looked_up(torch.tensor([step]), len(wanted.images))  # type: ignore[attr-defined]
        for name in ("images", "labels", "index", "variant"):
            assert torch.equal(getattr(found, name), getattr(wanted, name)), (step, name)


def test_a_cohort_is_replayed_as_each_alone() -> None:
    recipe = RECIPES["sgd, cosine by step"]
    teacher = student(2, 1)
    pairs = [(student(), METHODS[name]()) for name in METHODS]
    together = drained(Loop(pairs, teacher, images(), recipe, seed=3, device="cpu", replay=Taped()))
    for number, name in enumerate(METHODS):
        alone = drained(loop(Taped(), METHODS[name], recipe))
        mine, theirs = together.students[number], alone.students[0]
        assert all(torch.equal(a, b) for a, b in zip(mine.net.state_dict().values(), theirs.net.state_dict().values(), strict=True))
        assert mine.losses == theirs.losses


def test_a_student_that_diverges_leaves_the_recording() -> None:
    again, plain = Taped(), None
    for replay in (True, again):
        pairs = [(student(), METHODS["KD"]()), (student(), 1e30 * CE())]
        made = drained(Loop(pairs, student(2, 1), images(), RECIPES["sgd, cosine by step"], seed=3, device="cpu", replay=replay))
        assert made.students[0].diverged is None and "CE" in str(made.students[1].diverged)
        plain = made if plain is None else plain
    assert plain is not None
    assert plain.students[0].losses == made.students[0].losses and plain.students[1].stopped_at == made.students[1].stopped_at
    assert again.recorded == 3  # full batches of two students and of one, and the shorter batch of one


@pytest.mark.parametrize("at", [2, 9, 10])
@pytest.mark.parametrize("recipe", ["adam, clipped", "momentum forgotten"])
def test_a_replayed_run_goes_on_where_it_was_saved(recipe: str, at: int) -> None:
    """Saved in the middle of an epoch and at its end, by a replayed run or an ordinary one, and gone on with by either."""
    whole = drained(loop(True, METHODS["ramps"], RECIPES[recipe]))
    for before, after in ((Taped(), Taped()), (True, Taped()), (Taped(), True)):
        first = loop(before, METHODS["ramps"], RECIPES[recipe])
        for _ in range(at):
            next(first)
        state = copy.deepcopy(first.state())
        assert all(isinstance(group["lr"], float) for s in state["students"] for group in s["optimizer"]["param_groups"])
        second = loop(after, METHODS["ramps"], RECIPES[recipe])
        for _ in range(WARM + 2):  # what was recorded before a state is loaded must not be replayed after it
            next(second)
        second.load_state(state)
        same(whole, drained(second))


def test_generators_are_not_seeded_anew_in_steps_whose_networks_draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[object] = []
    real = rng.seeded
    for net, wanted in ((student, 0), (with_dropout, 3)):
        made = Loop([(net(), METHODS["KD"]())], student(2, 1), images(), RECIPES["double"], seed=3, device="cpu")
        seeded.clear()
        with monkeypatch.context() as patched:
            patched.setattr(rng, "seeded", lambda *names, **more: (seeded.append(names), real(*names, **more))[1])
            for _ in range(3):  # none of them the last of an epoch, which evaluates
                next(made)
        assert len(seeded) == wanted


# -- what cannot be recorded -------------------------------------------------------------------------------------------
class Counting(nn.Module):
    """Counts its forwards on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.seen = student(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += self.training
        return self.net(x)


class Drawing(nn.Module):
    """Draws by itself, in no layer that anybody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = student()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.1 * torch.randn_like(x) if self.training else x)


class Queue(nn.Module):
    """Keeps what it saw in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.kept = student(), {"last": [torch.zeros(1)]}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        if self.training:
            self.kept["last"] = [out.detach().mean()]
        return out + 0.0 * self.kept["last"][0]


@dataclass(eq=False, repr=False)
class Rebinding(Term):
    """Makes its running mean anew at every step."""

    needs_teacher: ClassVar[bool] = False
    ready = False

    def setup(self, ctx: Any) -> None:
        self.mean = nn.Buffer(torch.zeros(()))
        self.ready = True

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * student.logits.detach().square().mean()
        return student.logits.square().mean() * (1 + self.mean)


@dataclass(eq=False, repr=False)
class HostNoise(Term):
    """Draws on the host, with numpy."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        import numpy as np

        return student.logits.square().mean() * float(np.random.rand())


def with_dropout() -> nn.Module:
    net = student()
    return nn.Sequential(nn.Dropout(0.2), net)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Method], str]] = {
    "dropout": (with_dropout, METHODS["KD"], "Dropout draws random numbers of its own"),
    "a network that draws": (Drawing, METHODS["KD"], "code of its own draws random numbers"),
    "a network that counts": (Counting, METHODS["KD"], "Counting's seen changes on the host"),
    "a network that keeps": (Queue, METHODS["KD"], "Queue's kept changes on the host"),
    "a term that rebinds": (student, lambda: CE() + 0.1 * Rebinding(), "Method's terms.1.mean changes on the host"),
    "a term that draws on the host": (student, lambda: CE() + 0.1 * HostNoise(), "code of its own draws random numbers"),
    "CRD": (student, lambda: CE() + 0.1 * CRD(dim=4, K=5), "changes on the host"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_recorded_is_done_as_it_is_written_and_said_once(case: str) -> None:
    make, method, reason = CASES[case]
    recipe, ends = RECIPES["sgd, cosine by step"], []
    for replay in (True, Taped()):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            made = drained(Loop([(make(), method())], student(2, 1), images(), recipe, seed=3, device="cpu", replay=replay))
        warned = [str(w.message) for w in heard if w.category is ReplayWarning]
        ends.append(made)
        if replay is True:
            assert not warned
        else:
            assert len(warned) == 1 and reason in warned[0] and warned[0] in made.results()[0].notes
    same(*ends)


class Failing(Again):
    """A device that refuses to record."""

    def __init__(self, error: BaseException, tries: int = 1):
        super().__init__()
        self.error, self.tries = error, tries

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        if self.tries:
            try:
                raise self.error
            except BaseException:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")  # noqa: B904
        return super().record(work)

    def simpler(self) -> bool:
        self.tries -= 1
        return self.tries >= 0 and self.simple

    simple = False


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the device has no memory left for the recording"),
        (RuntimeError("operation not permitted when stream is capturing"), "RuntimeError: operation not permitted"),
        (NotImplementedError(), "NotImplementedError: no more was said"),
    ],
)
def test_a_device_that_cannot_record_says_why_and_the_run_ends_as_ever(error: BaseException, says: str) -> None:
    with pytest.warns(ReplayWarning, match=says):
        made = drained(loop(Failing(error), METHODS["KD"], RECIPES["adam, clipped"]))
    same(drained(loop(True, METHODS["KD"], RECIPES["adam, clipped"])), made)


def test_a_simpler_way_of_recording_is_tried_before_none() -> None:
    failing = Failing(RuntimeError("streams"), 1)
    failing.simple = True
    made = drained(loop(failing, METHODS["KD"], RECIPES["adam, clipped"]))
    assert failing.recorded and made.replays is not None and made.replays.replayed.reason is None


def test_unfused_optimisers_are_no_part_of_a_recording() -> None:
    with pytest.warns(ReplayWarning, match="fused = false"):
        made = Loop([(student(), METHODS["KD"]())], student(2, 1), images(), Recipe(epochs=1, batch_size=8, fused=False), seed=0,
                    device="cpu", replay=Taped())  # fmt: skip
    drained(made)


def test_a_network_moved_between_two_steps_is_recorded_anew() -> None:
    made, again = None, Taped()
    for replay in (True, again):
        made = loop(replay, METHODS["KD"], RECIPES["sgd, cosine by step"])
        for _ in range(WARM + 3):
            next(made)
        for p in made.students[0].net.parameters():
            p.data = p.data.clone()
        drained(made)
    assert again.recorded == 3


def test_a_part_that_is_frozen_between_two_steps_is_frozen_in_what_is_replayed() -> None:
    """By its mode, or by what learns."""
    ends, again = [], Taped()
    for replay in (True, again):
        made = loop(replay, METHODS["KD"], RECIPES["sgd, cosine by step"])
        for _ in range(WARM + 3):
            next(made)
        made.students[0].net[1].eval()
        next(made)
        made.students[0].net[0].weight.requires_grad_(False)
        ends.append(drained(made))
    same(*ends)
    assert again.recorded >= 3 and ends[1].replays is not None and ends[1].replays.replayed.reason is None


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("whose", ["student", "teacher", "a parameter"])
def test_who_listens_to_a_network_hears_every_step(whose: str, late: bool) -> None:
    """A replay calls no hook."""
    heard: list[int] = []
    net, teacher = student(), student(2, 1)

    def listen(loop: Loop | None) -> None:
        of = net if whose != "teacher" else teacher if loop is None else loop.teacher.net  # type: ignore[union-attr]
        if whose == "a parameter":
            of[0].weight.register_hook(lambda gradient: heard.append(1) and None)
        else:
            of[3].register_forward_hook(lambda *given: heard.append(1) and None)

    if not late:
        listen(None)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        made = Loop([(net, KD())], teacher, images(40), RECIPES["double"], seed=0, device="cpu", replay=Taped())
        for _ in range(WARM + 2):
            next(made)
        if late:
            listen(made)
        heard.clear()
        for _ in range(3):
            next(made)
    said = [str(one.message) for one in warned if one.category is ReplayWarning]
    assert len(heard) == 3 and len(said) == 1 and "a hook stands on Sequential" in said[0]


# -- other sources -----------------------------------------------------------------------------------------------------
class Lent:
    """Images whose stream says nothing of tables: batches are made on the host, as a folder's are."""

    def __init__(self, inner: Images):
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def start(self, room: Any) -> Any:
        stream = self.inner.start(room)

        class Stream:
            batch, state_dict, load_state_dict, log = stream.batch, stream.state_dict, stream.load_state_dict, stream.log

        return Stream()


def test_batches_that_are_made_on_the_host_are_copied_to_where_they_are_read() -> None:
    again = Taped()
    recipe = RECIPES["adam, clipped"]
    plain = drained(loop(True, METHODS["features"], recipe))
    same(plain, drained(loop(again, METHODS["features"], recipe, Lent(images()))))
    assert again.replayed == plain.steps - 2 * WARM


VARIANTS = {
    "authors": Variant(n_S=3),
    "before": Variant(n_S=3, images="before", clip=None),
    "fresh": Variant(n_S=3, noise="fresh", decay="constant"),
    "two generator steps": Variant(n_S=2, n_G=2, generator_noise="fresh", student_mode="eval", clip_by="value"),
}


def zero_shot(replay: Any, variant: Variant, method: Method | None = None, mixed: bool = False, blocks: int = 9) -> tuple[Loop, nn.Module]:
    generator = Generator()
    learns = method or -1.0 * KD(T=1.0, reduction="element", scale_T2=False)
    source: Any = Adversarial(generator, "cifar10-kuangliu", variant, learns, blocks=blocks, epoch_blocks=4)
    if mixed:
        source = Mixed(images().unlabelled(), source, (1, 3))
    p = preset("authors", blocks=blocks)
    recipe = p.recipe.model_copy(update={"batch_size": 8, "steps": (variant.n_S * blocks) if not mixed else 24})
    made = Loop([(student(), 1.0 * KD(T=1.0) + 250.0 * AT())], student(2, 1), source, recipe, seed=3, device="cpu", replay=replay)
    return made, generator


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_shot_blocks_are_replayed_as_they_are_written(variant: str) -> None:
    again = Taped()
    ends = []
    for replay in (True, again):
        made, generator = zero_shot(replay, VARIANTS[variant])
        drained(made)
        ends.append((made, generator, made.results()[0].source_log, made.stream.artifacts()))  # type: ignore[attr-defined]
    (plain, g, log, kept), (replayed, h, replayed_log, keeping) = ends
    same(plain, replayed)
    assert all(torch.equal(a, b) for a, b in zip(g.state_dict().values(), h.state_dict().values(), strict=True))
    assert log == replayed_log and kept.keys() == keeping.keys()
    assert all(torch.equal(a, keeping[name][key]) for name, rows in kept.items() for key, a in rows.items())
    steps = VARIANTS[variant].n_S
    kinds = {"authors": 3, "before": 2, "fresh": 3, "two generator steps": 3}[variant]
    assert again.recorded == kinds and again.replayed >= (9 - WARM) * (steps + 1) - WARM * kinds


def test_a_ramp_of_the_generator_is_read_at_every_block() -> None:
    method = lambda: Ramp(0, 6, first=-0.1, last=-2.0) * KD(T=1.0, reduction="element", scale_T2=False)  # noqa: E731
    ends = [zero_shot(replay, VARIANTS["authors"], Method.of(method())) for replay in (True, Taped())]
    for made, _ in ends:
        drained(made)
    assert all(torch.equal(a, b) for a, b in zip(ends[0][1].state_dict().values(), ends[1][1].state_dict().values(), strict=True))


@pytest.mark.parametrize("variant", ["authors", "before", "fresh"])
@pytest.mark.parametrize("at", [6, 13, 20])
def test_a_replayed_zero_shot_run_goes_on_where_it_was_saved(variant: str, at: int) -> None:
    whole, g = zero_shot(True, VARIANTS[variant])
    drained(whole)
    first, _ = zero_shot(Taped(), VARIANTS[variant])
    for _ in range(at):
        next(first)
    state = copy.deepcopy(first.state())
    second, h = zero_shot(Taped(), VARIANTS[variant])
    for _ in range(WARM * 3 + 5):
        next(second)
    second.load_state(state)
    drained(second)
    same(whole, second)
    assert all(torch.equal(a, b) for a, b in zip(g.state_dict().values(), h.state_dict().values(), strict=True))


def test_a_mixture_is_replayed_too() -> None:
    again = Taped()
    ends = [drained(zero_shot(replay, VARIANTS["authors"], mixed=True)[0]) for replay in (True, again)]
    same(*ends)
    assert again.replayed > 0


class Aging(Generator):
    """Counts its forwards, and makes darker images by the count."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, z: Tensor) -> Tensor:
        self.seen += self.training
        return super().forward(z) / (1 + self.seen)


@pytest.mark.parametrize(
    ("generator", "why"), [(Aging, "Aging's seen changes on the host"), (lambda: Generator(drop=0.3), "Dropout draws")]
)
def test_a_generator_that_counts_or_draws_is_called_as_it_is_written(generator: Callable[[], nn.Module], why: str) -> None:
    ends = []
    for replay in (True, Taped()):
        source = Adversarial(generator(), "cifar10-kuangliu", Variant(n_S=2), blocks=8)
        recipe = Recipe(steps=16, batch_size=8, optimizer="adam", lr=1e-3)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            ends.append(drained(Loop([(student(), KD(T=1.0))], student(2, 1), source, recipe, seed=0, device="cpu", replay=replay)))
    assert [w for w in heard if why in str(w.message)]
    same(*ends)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*training images.*")
        yield
