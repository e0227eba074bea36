"""The zero-shot source inside the one loop, against the published loops written out with all their redundant work."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill import models, rng
from redistill.core import Method, RedistillError
from redistill.data import Images
from redistill.features.modes import equal_forwards
from redistill.features.outputs import logits_of
from redistill.launch.fit import fit, fit_cohort
from redistill.published.zero_shot import preset
from redistill.recipe import Cosine, Recipe
from redistill.runs import checkpoint
from redistill.sources.adversarial import Adversarial, AdversarialStream
from redistill.sources.mixed import Mixed
from redistill.sources.variants import Variant
from redistill.terms import AT, CE, KD, Consistency, Diversity, StudentEntropy, TeacherEntropy
from redistill.train.loop import Loop

BATCH, Z, BLOCKS = 6, 5, 3


class Net(nn.Module):
    """Two stages with batch norm (no bias before it: its gradient is rounding, which Adam would blow up)."""

    stages = ("stage1", "stage2")

    def __init__(self, width: int, seed: int, channels: int = 2, classes: int = 4, dropout: float = 0.0):
        super().__init__()
        with rng.seeded(seed, "init", width):
            self.a, self.n = nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
            self.b, self.m = nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(width)
            self.drop, self.head = nn.Dropout(dropout), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.n(self.a(x)))
        x = F.relu(self.m(self.b(x)))
        return self.head(self.drop(x).mean((2, 3)))

    def both(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and what :class:`Loop` taps: the last map of each resolution, before the activation function."""
        first = self.n(self.a(x))
        second = self.m(self.b(F.relu(first)))
        return self.head(F.relu(second).mean((2, 3))), first, F.dropout(F.relu(second), 0.0)


class Generator(nn.Module):
    """Linear, batch norm, convolution, batch norm: what has running statistics that the released code moves often."""

    z, image_shape = Z, (2, 8, 8)

    def __init__(self, seed: int = 0):
        super().__init__()
        with rng.seeded(seed, "init", "generator"):
            self.lift, self.n = nn.Linear(Z, 3 * 64, bias=False), nn.BatchNorm2d(3)
            self.conv, self.m = nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)

    def forward(self, z: Tensor) -> Tensor:
        return self.m(self.conv(F.leaky_relu(self.n(self.lift(z).view(-1, 3, 8, 8)), 0.2)))


def networks() -> tuple[Net, Net, Generator]:
    return Net(3, seed=1), Net(5, seed=2).eval(), Generator()


def real_images() -> Images:
    return Images(torch.zeros(8, 2, 8, 8, dtype=torch.uint8), torch.zeros(8, dtype=torch.long), 4, "real", "none")


def noise(k: int) -> Tensor:
    return torch.randn(BATCH, Z, generator=rng.stream(3, "test noise", k))


def element_kl(student: Tensor, teacher: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(student, 1), F.softmax(teacher, 1), reduction="none").mean()


def batch_kl(student: Tensor, teacher: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(student, 1), F.softmax(teacher, 1), reduction="batchmean")


def attention(s: Tensor, t: Tensor, norm: bool) -> Tensor:
    q_s, q_t = (F.normalize(f.pow(2).mean(1).flatten(1)) for f in (s, t))
    return (q_s - q_t).norm(dim=1).mean() if norm else (q_s - q_t).pow(2).mean()


def published(name: str, n_G: int, n_S: int, T_max: int) -> tuple[Net, Generator, list[float], list[float]]:
    """The loop of each publication as it is written there: every forward where its text or code has one."""
    student, teacher, generator = networks()
    for net in (student, teacher, generator):
        net.double()
    paper = name == "paper"
    kl, rate_g, clip = (batch_kl if paper else element_kl), (2e-3 if paper else 1e-3), (math.inf if paper else 5.0)
    opt_s = torch.optim.Adam(student.parameters(), lr=2e-3)
    opt_g = torch.optim.Adam(generator.parameters(), lr=rate_g)
    decays = [torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max) for o in (opt_s, opt_g)]
    losses, generator_losses, k = [], [], 0

    def draw() -> Tensor:
        nonlocal k
        k += 1
        return noise(k - 1).double()

    for _ in range(BLOCKS):
        for i in range(n_G):
            if i == 0 or name in ("re-2020", "modified"):
                z = draw()
            x = generator(z)
            loss = -kl(student(x), teacher(x))
            opt_g.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(generator.parameters(), clip)
            opt_g.step()
            generator_losses.append(loss.item())
        for _ in range(n_S):
            if name == "authors":
                x = generator(z)
            elif name == "modified":
                x = generator(draw())
            else:
                x = x.detach()
            logits, *maps = student.both(x)
            with torch.no_grad():
                targets, *theirs = teacher.both(x)
            loss = kl(logits, targets) + 250 * sum(attention(s, t, paper) for s, t in zip(maps, theirs, strict=True))
            opt_s.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), clip)
            opt_s.step()
            losses.append(loss.item())
        for decay in decays:
            decay.step()
    return student, generator, losses, generator_losses


PLACES = [("n", "n"), ("m", "m")]


def own(name: str, n_G: int, n_S: int, T_max: int, **more: Any) -> tuple[Loop, Net, Generator]:
    student, teacher, generator = networks()
    p = preset(name, blocks=T_max, stop_after=BLOCKS, batch_size=BATCH, precision="double")
    variant = p.variant.model_copy(update={"n_G": n_G, "n_S": n_S})
    kl, (beta, at) = next(iter(p.method.parts()))[1], list(p.method.parts())[1]
    at = AT(at="n", form=at.form) + AT(at="drop", form=at.form)
    recipe = p.recipe.model_copy(
        update={"steps": BLOCKS * n_S, "schedule": Cosine(T_max=T_max * n_S, unit="step", hold=n_S), "fused": False}
    )
    source = Adversarial(generator, "none", variant, p.generator_method, blocks=T_max, epoch_blocks=1, noise=noise)
    loop = Loop([(student, kl + beta * at)], teacher, source, recipe, seed=0, device="cpu", **more)
    return loop, student, generator


@pytest.mark.parametrize("name", ["paper", "authors", "re-2020", "modified"])
@pytest.mark.parametrize(("n_G", "n_S", "T_max"), [(1, 4, 7), (2, 3, 3)])
def test_as_published(name: str, n_G: int, n_S: int, T_max: int) -> None:
    student, generator, losses, generator_losses = published(name, n_G, n_S, T_max)
    loop, mine, my_generator = own(name, n_G, n_S, T_max)
    for _ in loop:
        pass
    result = loop.results()[0]
    for theirs, ours in ((student, mine), (generator, my_generator)):
        for key, want in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], want, rtol=1e-11, atol=1e-12, msg=key)
    weights = dict(zip(result.losses, (1.0, 250.0, 250.0), strict=True))
    total = [sum(w * result.losses[t][b] for t, w in weights.items()) for b in range(BLOCKS)]
    want_total = torch.tensor(losses, dtype=torch.float64).view(BLOCKS, n_S).mean(1)
    assert total == pytest.approx(want_total.tolist(), rel=1e-6)
    logged = [numbers["generator_loss"] for _, numbers in result.source_log]
    assert logged == pytest.approx(torch.tensor(generator_losses, dtype=torch.float64).view(BLOCKS, n_G).mean(1).tolist(), rel=1e-6)


def bits(*nets: nn.Module) -> list[Tensor]:
    return [v.clone() for net in nets for v in net.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def run(variant: Variant, steps: int = 14, *, dropout: float = 0.0, **more: Any) -> tuple[Loop, Net, Generator]:
    student, teacher, generator = Net(3, seed=1, dropout=dropout), Net(5, seed=2), Generator()
    recipe = Recipe(steps=steps, batch_size=BATCH, lr=2e-3, optimizer="adam", weight_decay=0.0, clip=5.0)
    source = Adversarial(generator, "none", variant, epoch_blocks=2, **more)
    loop = Loop([(student, KD(T=1.0, reduction="element"))], teacher, source, recipe, seed=4, device="cpu")
    return loop, student, generator


FORMS = {
    "after": Variant(n_S=3),
    "before": Variant(n_S=3, images="before"),
    "fresh": Variant(n_S=3, noise="fresh"),
    "several": Variant(n_S=2, n_G=2, generator_noise="fresh", noise="fresh"),
    "value": Variant(n_S=3, clip=1e-4, clip_by="value", decay="constant", student_mode="eval", generator_mode="eval"),
}


@pytest.mark.parametrize("variant", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("stop", [1, 4, 7, 13])
def test_continues_bit_for_bit_from_any_step(variant: Variant, stop: int) -> None:
    whole, student, generator = run(variant, dropout=0.3)
    for _ in whole:
        pass
    first, *_ = run(variant, dropout=0.3)
    for _ in range(stop):
        next(first)
    saved = copy.deepcopy(first.state())
    second, again, generator_again = run(variant, dropout=0.3)
    second.load_state(saved)
    for _ in second:
        pass
    assert same(bits(student, generator), bits(again, generator_again))
    a, b = whole.results()[0], second.results()[0]
    assert (a.losses, a.source_log, a.gradient_norms) == (b.losses, b.source_log, b.gradient_norms)


class Odd(Generator):
    """A weight that lies in memory column by column, and a count of which no state dict knows."""

    def __init__(self) -> None:
        super().__init__()
        self.lift.weight = nn.Parameter(self.lift.weight.detach().t().contiguous().t())
        self.calls = 0

    def forward(self, z: Tensor) -> Tensor:
        self.calls += int(self.training)
        return super().forward(z) * (1 + 0.01 * self.calls)


def test_a_generator_of_ones_own_goes_on_from_a_file(tmp_path: Path) -> None:
    def made() -> tuple[Loop, Net, Generator]:
        student, teacher, generator = Net(3, seed=1), Net(5, seed=2), Odd()
        recipe = Recipe(steps=14, batch_size=BATCH, lr=2e-3, optimizer="adam", weight_decay=0.0)
        source = Adversarial(generator, "none", Variant(n_S=3, lr=0.01), epoch_blocks=2)
        return Loop([(student, KD())], teacher, source, recipe, seed=4, device="cpu"), student, generator

    whole, student, generator = made()
    list(whole)
    first, *_ = made()
    for _ in range(7):
        next(first)
    checkpoint.save(tmp_path, first.state(), {"id": "this"})
    second, again, generator_again = made()
    second.load_state(checkpoint.load(tmp_path / checkpoint.NAME)[0])
    list(second)
    assert same(bits(student, generator), bits(again, generator_again))


def test_nothing_is_computed_twice() -> None:
    """One block of n_G = 1 and n_S = 4: forwards of each network, and images as one object while they are the same."""
    want = {
        "after": {"generator": 2, "teacher": 2, "student": 5, "batches": 1},
        "before": {"generator": 1, "teacher": 1, "student": 5, "batches": 1},
        "fresh": {"generator": 5, "teacher": 5, "student": 5, "batches": 4},
    }
    for name, counts in want.items():
        loop, student, generator = run(FORMS[name].model_copy(update={"n_S": 4}), steps=4)
        calls = dict.fromkeys(("generator", "teacher", "student"), 0)
        assert loop.teacher is not None

        def count(who: str, calls: dict[str, int] = calls) -> Any:
            return lambda *_: calls.__setitem__(who, calls[who] + 1)

        for who, net in (("generator", generator), ("teacher", loop.teacher.net), ("student", student)):
            net.register_forward_hook(count(who))
        loop.stream.snapshots.moments.clear()  # type: ignore[attr-defined]  # samples are looked at five times a run, not once a block
        seen = set()
        for _ in range(4):
            step = loop.step
            next(loop)
            seen.add(id(loop.stream.batch(step)))
            keep = loop.stream.batch(step)  # an id is only unique while the object lives
            loop.kept = [*getattr(loop, "kept", []), keep]  # type: ignore[attr-defined]
        assert {**calls, "batches": len(seen)} == counts, name


def test_real_images_in_between_do_not_make_the_teacher_forget() -> None:
    """One real batch, one of the block, and again: 4 real batches and 4 steps of one block are 5 answers and the generator's."""
    student, teacher, generator = networks()
    real = real_images()
    for images, want in (("after", 4 + 1 + 1), ("before", 4 + 1)):
        mixed = Mixed(real.unlabelled(), Adversarial(generator, "none", Variant(n_S=4, images=images)))
        recipe = Recipe(steps=8, batch_size=BATCH)
        loop = Loop([(copy.deepcopy(student), KD(T=1.0) + AT(at=("n", "drop")))], teacher, mixed, recipe, seed=0, device="cpu")
        calls: list[int] = []
        assert loop.teacher is not None
        loop.stream.streams[1].snapshots.moments.clear()  # type: ignore[attr-defined]
        loop.teacher.net.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        for _ in loop:
            pass
        assert len(calls) == want, images


def test_a_generator_that_diverges_is_named() -> None:
    """Not the student's rate: its loss is not finite because the images are not."""
    loop, *_ = run(Variant(n_S=3, lr=1e30, clip=None))
    for _ in loop:
        pass
    reason = loop.results()[0].diverged
    assert reason is not None and "the generator's images stopped being finite in block 0 (learning rate 1e+30)" in reason
    student, teacher, generator = networks()
    recipe = Recipe(steps=9, batch_size=BATCH, lr=1e30)
    loop = Loop([(student, KD(T=1.0))], teacher, Adversarial(generator, "none", Variant(n_S=3)), recipe, seed=4, device="cpu")
    for _ in loop:
        pass
    reason = loop.results()[0].diverged
    assert reason is not None and reason.startswith("KD (weight 1) became") and "learning rate 1e+30" in reason


def test_what_both_thought_of_the_samples_at_that_time() -> None:
    loop, student, _ = run(Variant(n_S=3), steps=12)
    first = copy.deepcopy(student).eval()
    for _ in loop:
        pass
    kept = loop.stream.artifacts()  # type: ignore[attr-defined]
    assert list(kept["beliefs"]) == list(kept["samples"]) == ["0", "2", "4"]
    assert loop.teacher is not None
    for block, net in (("0", first), ("4", student)):
        images = kept["samples"][block]
        with torch.no_grad():
            want = torch.stack([loop.teacher.net(images).softmax(1), net.eval()(images).softmax(1)])
        torch.testing.assert_close(kept["beliefs"][block], want)


class Named(Net):
    """Says a dictionary, as networks of other libraries do."""

    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


def test_networks_that_return_more_than_logits_meet_a_generator() -> None:
    def taught(kind: type[Net]) -> tuple[list[Tensor], Any]:
        student, generator = kind(3, seed=1), Generator()
        method = -1.0 * KD(T=1.0, reduction="element") + 0.4 * Consistency()
        source = Adversarial(generator, "none", Variant(n_S=2), method, blocks=2)
        loop = Loop([(student, KD(T=1.0))], kind(5, seed=2).eval(), source, Recipe(steps=4, batch_size=BATCH), seed=4, device="cpu")
        for _ in loop:
            pass
        return bits(student, generator), loop.stream.artifacts()["beliefs"]  # type: ignore[attr-defined]

    (plain, believed), (named, also) = taught(Net), taught(Named)
    assert same(plain, named) and same(list(believed.values()), list(also.values()))


def test_the_generator_step_leaves_both_networks_weights_alone() -> None:
    loop, student, _ = run(Variant(n_S=3))
    assert loop.teacher is not None
    weights = [p.clone() for p in student.parameters()]
    teacher = bits(loop.teacher.net)
    loop.stream.batch(0)
    assert all(torch.equal(a, b) for a, b in zip(weights, student.parameters(), strict=True))
    assert all(p.grad is None for p in student.parameters())
    assert same(teacher, bits(loop.teacher.net))
    assert int(student.n.num_batches_tracked) == 1  # type: ignore[arg-type]


class Turned(Generator):
    """The same, but that it keeps the first weight turned: its gradient comes laid out in memory as the weight is not."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = nn.Parameter(self.lift.weight.detach().t().contiguous())
        del self.lift

    def forward(self, z: Tensor) -> Tensor:
        return self.m(self.conv(F.leaky_relu(self.n(F.linear(z, self.turned.t().contiguous()).view(-1, 3, 8, 8)), 0.2)))


def test_a_weight_that_is_used_turned_moves_as_one_that_is_not() -> None:
    """A fused optimiser goes through weight and gradient in the order of memory."""
    student, teacher, plain = networks()
    turned = Turned()
    for generator in (plain, turned):
        source = Adversarial(generator, "none", Variant(n_S=1, lr=1e-3), blocks=4)
        recipe = Recipe(steps=4, batch_size=BATCH, optimizer="sgd", lr=0.0, momentum=0.0)
        for _ in Loop([(copy.deepcopy(student), KD(T=1.0))], teacher, source, recipe, seed=0, device="cpu"):
            pass
    moved = (plain.lift.weight - Generator().lift.weight).detach()
    assert float(moved.abs().mean()) > 1e-3
    assert torch.allclose(turned.turned.t(), plain.lift.weight, atol=1e-5)


class Spare(Generator):
    """Has a weight that it does not use, as generators of labels have where there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Parameter(torch.ones(3))


class Closed(Generator):
    """Makes its images without a gradient."""

    @torch.no_grad()
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z)


def test_a_weight_that_no_image_depends_on_stays_and_a_generator_without_gradients_is_refused() -> None:
    made = []
    for kind in (Generator, Spare, Closed):
        student, teacher, generator = Net(3, seed=1), Net(5, seed=2), kind()
        source = Adversarial(generator, "none", Variant(n_S=1), blocks=2)
        loop = Loop([(student, KD(T=1.0))], teacher, source, Recipe(steps=2, batch_size=BATCH), seed=0, device="cpu")
        if kind is Closed:
            with pytest.raises(RedistillError, match="no gradient reaches what makes the images"):
                next(loop)
            break
        for _ in loop:
            pass
        made.append(generator)
    plain, spare = made
    assert torch.equal(plain.lift.weight, spare.lift.weight) and torch.equal(spare.spare, torch.ones(3))


def test_eval_modes_move_no_running_statistics() -> None:
    loop, student, generator = run(FORMS["value"])
    loop.stream.batch(0)
    assert int(student.n.num_batches_tracked) == int(generator.n.num_batches_tracked) == 0  # type: ignore[arg-type]
    assert student.training


def test_a_bound_on_every_value() -> None:
    loop, _, _ = run(FORMS["value"])
    loop.stream.batch(0)
    gradients = torch.cat([p.grad.flatten() for p in loop.stream.parameters])  # type: ignore[attr-defined]
    assert float(gradients.abs().max()) == pytest.approx(1e-4)


@pytest.mark.parametrize("momentum", [0.1, 0.37, None])
def test_one_forward_stands_for_many(momentum: float | None) -> None:
    x = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum), nn.BatchNorm2d(3, track_running_stats=False)).double()
    many(x + 1.0)
    one = copy.deepcopy(many)
    for _ in range(6):
        many(x)
    with equal_forwards(one, 6):
        one(x)
    for key, want in many.state_dict().items():
        torch.testing.assert_close(one.state_dict()[key], want, rtol=1e-14, atol=1e-15, msg=key)
    assert one[0].momentum == momentum


def test_what_is_logged() -> None:
    """Curves of one block against the same numbers computed by hand before the block."""
    loop, student, generator = run(Variant(n_S=3), steps=3)
    assert loop.teacher is not None
    s, g = copy.deepcopy(student), copy.deepcopy(generator)
    z = torch.randn(BATCH, Z, generator=rng.stream(4, "noise", 0))
    x = g.train()(z)
    p_s, p_t = s.train()(x).softmax(1), loop.teacher.net(x).softmax(1)
    loss = -element_kl(p_s.log(), p_t.log())
    loss.backward()
    p_s, p_t = p_s.detach(), p_t.detach()
    for _ in loop:
        pass
    (step, logged), = loop.results()[0].source_log
    assert step == 3
    assert logged["generator_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert logged["generator_gradient_norm"] == pytest.approx(
        float(torch.cat([p.grad.flatten() for p in g.parameters() if p.grad is not None]).norm()), rel=1e-4)
    assert logged["teacher_confidence"] == pytest.approx(float(p_t.max(1).values.mean()), rel=1e-5)
    assert logged["student_confidence"] == pytest.approx(float(p_s.max(1).values.mean()), rel=1e-5)
    assert logged["agreement"] == pytest.approx(float((p_s.argmax(1) == p_t.argmax(1)).double().mean()))
    for who, p in (("teacher", p_t), ("student", p_s)):
        shares = [logged[f"{who}_class_{c}"] for c in range(4)]
        assert shares == pytest.approx([float((p.argmax(1) == c).double().mean()) for c in range(4)])
        assert sum(shares) == pytest.approx(1.0)


def test_the_generator_is_told_of_at_every_hundredth_of_the_run_whatever_an_epoch_is() -> None:
    student, teacher, generator = networks()
    source = Adversarial(generator, "none", Variant(n_S=3), blocks=80_000)
    for steps, every in ((750, 9), (300, 3), (31, 3)):  # whole blocks: 2.5 of them are 3; less than 100 are all told
        loop = Loop([(student, KD())], teacher, source, Recipe(steps=steps, batch_size=2, lr=1e-3), seed=0, device="cpu")
        for _ in loop:
            pass
        assert [step for step, _ in loop.results()[0].source_log] == sorted({*range(every, steps + 1, every), steps})
    mixed = Mixed(source, real_images().unlabelled(), take=(2, 1))
    loop = Loop([(student, KD())], teacher, mixed, Recipe(steps=900, batch_size=2, lr=1e-3), seed=0, device="cpu")
    assert loop.tell == 9  # two of every three steps are the generator's: 3 turns are 2 blocks


def test_noise_is_named_not_global() -> None:
    loop, _, first = run(Variant(n_S=2), steps=4)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    for _ in loop:
        pass
    assert torch.equal(before, torch.get_rng_state())
    again, _, second = run(Variant(n_S=2), steps=4, noise=lambda k: torch.randn(BATCH, Z, generator=rng.stream(4, "noise", k)))
    for _ in again:
        pass
    assert same(bits(first), bits(second))


def test_extra_generator_terms_by_hand() -> None:
    """The four terms of the appendix change the generator's gradient by exactly their own."""
    own = 0.3 * TeacherEntropy() + 0.2 * StudentEntropy() + 0.1 * Diversity() + 0.4 * Consistency()
    extra = -1.0 * KD(T=1.0, reduction="element") + own
    student, teacher, generator = Net(3, seed=1), Net(5, seed=2), Generator()
    s, t, g = copy.deepcopy(student), copy.deepcopy(teacher).eval(), copy.deepcopy(generator)
    x = g(torch.randn(BATCH, Z, generator=rng.stream(0, "noise", 0)))
    p_s, p_t = s(x).softmax(1), t(x).softmax(1)
    pairs = [((x[a] - x[b]) ** 2).mean().sqrt() for a in range(BATCH) for b in range(BATCH) if a != b]
    mirrored = t(x.flip(3)).softmax(1)
    loss = (
        -element_kl(p_s.log(), p_t.log())
        - 0.3 * (p_t * p_t.log()).sum(1).mean()
        - 0.2 * (p_s * p_s.log()).sum(1).mean()
        - 0.1 * torch.stack(pairs).mean()
        + 0.4 * (p_t * (p_t / mirrored).log()).sum(1).mean()
    )
    loss.backward()
    source = Adversarial(generator, "none", Variant(n_S=1, clip=None), extra)
    loop = Loop([(student, KD(T=1.0))], teacher, source, Recipe(steps=1, batch_size=BATCH), seed=0, device="cpu")
    loop.stream.batch(0)
    for (name, mine), theirs in zip(generator.named_parameters(), g.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=2e-3, atol=1e-5, msg=name)


class WrongSize(Generator):
    image_shape = (2, 16, 16)


class Vector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


RECIPE = Recipe(steps=2, batch_size=BATCH)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda s, t, g: fit(Net(3, 0, channels=1), t, KD(), g, RECIPE, seed=0), r"Net does not accept images of shape \[2, 8, 8\]"),
        (lambda s, t, g: fit(s, t, KD(), Adversarial(WrongSize(), "none"), RECIPE, seed=0),
         r"makes images of shape \[2, 8, 8\] but says image_shape=\[2, 16, 16\]"),
        (lambda s, t, g: fit(s, Net(4, 0, classes=7), KD(), g, RECIPE, seed=0), "teacher tells 7 classes apart, the student 4"),
        (lambda s, t, g: fit(s, t, KD() + CE(), g, RECIPE, seed=0), "CE needs labels, and this source has none"),
        (lambda s, t, g: fit(s, None, Diversity(), g, RECIPE, seed=0), "give a teacher"),
        (lambda s, t, g: fit(Vector(), t, KD() + AT(), g, RECIPE, seed=0), "the student has no feature maps to pair"),
        (lambda s, t, g: fit(models.lenet(), models.wrn(10, 1), KD() + AT(), Adversarial(models.generator(z=5), "none"), RECIPE, seed=0),
         r"AT cannot pair the stages of the student \(stage1 28x28, stage2 10x10\) with those of the teacher \(stage1 32x32, stage2 "
         r"16x16, stage3 8x8\): .* at=\[\('stage1', 'stage2'\), \('stage2', 'stage3'\)\]$"),
        (lambda s, t, g: fit(models.wrn(10, 1), models.wrn(10, 1), KD(), Adversarial(models.generator(z=5, image_size=64), "none"), RECIPE,
                             seed=0), "images of 64x64, the student wrn-10-1 is made for 32x32: give the generator image_size=32"),
        (lambda s, t, g: fit(models.wrn(10, 1), models.wrn(10, 1, image_size=8), KD(), Adversarial(models.generator(z=5), "none"),
                             RECIPE, seed=0), "images of 32x32, the teacher wrn-10-1 is made for 8x8"),
        (lambda s, t, g: fit(s, t, KD(), Adversarial(Generator(), "none", Variant(n_S=2), blocks=3), Recipe(steps=7), seed=0),
         "takes 4 blocks .7 steps, n_S = 2., but the generator's rate has reached 0 after 3"),
        (lambda s, t, g: fit(s, t, KD(), Adversarial(Generator(), "none", Variant(n_S=1, T_max=1)), RECIPE, seed=0), "0 after 1: make"),
        (lambda s, t, g: Adversarial(Generator(), "cifar11"), "unknown normalisation 'cifar11': did you mean cifar10"),
        (lambda s, t, g: Adversarial(Generator(), "cifar10"), "has 3 channels, the images have 2"),
        (lambda s, t, g: Adversarial(Generator(), "none", "authors"), "variant='authors': the switches of a block"),
        (lambda s, t, g: Adversarial(Generator(), "none", blocks=2.5), "blocks=2.5: a whole number"),
        (lambda s, t, g: Mixed(g, g), "both make images against the student"),
        (lambda s, t, g: fit_cohort([(s, KD()), (Net(4, 0), KD())], t, g, RECIPE, seed=0), "makes its images against one student"),
        (lambda s, t, g: Adversarial(nn.Linear(2, 2), "none"), "has no attribute 'z'"),
        (lambda s, t, g: Adversarial(Generator(), "none", method=Method.of(CE())), "CE needs labels, and generated images have none"),
        (lambda s, t, g: Adversarial(Generator(), "none", blocks=0), "blocks=0"),
        (lambda s, t, g: fit(s, t, KD(), Adversarial(Generator().requires_grad_(False), "none"), RECIPE, seed=0),
         "generator .* requires a"),
        (lambda s, t, g: Variant(images="before", noise="fresh"), "noise='fresh' needs images='after'"),
        (lambda s, t, g: preset("author"), "unknown zero-shot preset 'author': did you mean authors"),
        (lambda s, t, g: preset("authors", change={"n_s": 3}), "unknown switch 'n_s': did you mean n_S"),
        (lambda s, t, g: preset("authors", change={"n_S": 0}), "preset 'authors', n_S: Input should be greater than or equal to 1"),
        (lambda s, t, g: preset("re-2020", change={"noise": "fresh"}), "noise='fresh' needs images='after'"),
        (lambda s, t, g: preset("authors", blocks=0), "blocks=0: a whole number of blocks"),
        (lambda s, t, g: preset("authors", blocks=2.5), "blocks=2.5: a whole number"),
        (lambda s, t, g: models.generator(image_size=0), "must be a multiple of 4, got 0"),
        (lambda s, t, g: models.generator(image_size=(32, 48)), r"makes square images .* got \(32, 48\)"),
        (lambda s, t, g: models.generator(z=2.5), "whole number of entries, 1 or more, got z=2.5"),
        (lambda s, t, g: preset("authors", blocks=10, stop_after=11), "the schedule has 10 blocks"),
        (lambda s, t, g: preset("authors", attention=-1.0), "attention=-1.0"),
        (lambda s, t, g: preset("authors", attention=0, attention_form="norm"), "attention=0 leaves the term out"),
        (lambda s, t, g: preset("authors", attention_form="max"), "known are 'mean', 'sum' and 'norm'"),
        (lambda s, t, g: preset("authors", kl="mean"), "known are 'batch' and 'element'"),
        (lambda s, t, g: preset("authors", decay_per="epoch"), "decay_per='epoch'"),
        (lambda s, t, g: Mixed(g, g, take=(1, 0)), r"take=\(1, 0\)"),
        (lambda s, t, g: Mixed(g, Adversarial(Generator(), "half")), "unlike normalisation, none and half"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, says: str) -> None:
    student, teacher, generator = networks()
    with pytest.raises((RedistillError, ValueError), match=says):
        make(student, teacher, Adversarial(generator, "none"))


def test_a_file_that_does_not_say_its_image_size_may_be_of_any(tmp_path: Path) -> None:
    teacher = models.wrn(10, 1, seed=1)
    torch.save(teacher.state_dict(), tmp_path / "net.pth")
    models.save(teacher, tmp_path / "net.safetensors")
    source = Adversarial(models.generator(z=5, image_size=8), "none", blocks=1)
    recipe = Recipe(steps=1, batch_size=BATCH)
    student = models.wrn(10, 1, image_size=8)
    assert fit(student, models.load(tmp_path / "net.pth", model="wrn-10-1"), KD(), source, recipe, seed=0).steps == 1
    with pytest.raises(RedistillError, match="the teacher wrn-10-1 is made for 32x32"):
        fit(student, models.load(tmp_path / "net.safetensors"), KD(), source, recipe, seed=0)


def test_presets_hold_every_published_switch() -> None:
    p = {name: preset(name) for name in ("paper", "authors", "re-2020", "modified")}
    assert {n: (x.variant.images, x.variant.noise, x.variant.lr, x.variant.clip, x.blocks) for n, x in p.items()} == {
        "paper": ("before", "same", 2e-3, None, 80_000),
        "authors": ("after", "same", 1e-3, 5.0, 80_000),
        "re-2020": ("before", "same", 1e-3, 5.0, 80_000),
        "modified": ("after", "fresh", 1e-3, 5.0, 65_000),
    }
    assert repr(p["paper"].method) == "KD(T=1.0, scale_T2=False) + 250.0 * AT(form='norm')"
    assert repr(p["authors"].method) == "KD(T=1.0, reduction='element', scale_T2=False) + 250.0 * AT()"
    assert repr(preset("authors", attention=0).method) == "KD(T=1.0, reduction='element', scale_T2=False)"
    other = preset("authors", kl="batch", attention_form="norm")
    assert repr(other.method) == repr(p["paper"].method) and repr(other.generator_method) == repr(p["paper"].generator_method)
    assert other.variant == p["authors"].variant
    short = preset("authors", stop_after=1600)
    assert (short.recipe.steps, short.blocks) == (16_000, 80_000)
    rates = short.recipe.rates(8_000)
    for step in (0, 9, 10, 15_999):
        assert rates[step] == pytest.approx(2e-3 * (1 + math.cos(math.pi * (step // 10) / 80_000)) / 2, rel=1e-12)
    stepwise = preset("authors", stop_after=1600, decay_per="step").recipe.rates(8_000)
    assert stepwise[15_999] == pytest.approx(2e-3 * (1 + math.cos(math.pi * 15_999 / 800_000)) / 2, rel=1e-12)


def test_what_is_asked_again_and_shown_at_the_end_has_the_precision_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a block the teacher is asked again for what it said of images made before the generator's step; on a CUDA device
    that would be in TF32, and the run would go on with other bits. So would the last samples, which are made after the last step."""
    heard: list[str] = []

    def listening(real: Any) -> Any:
        return lambda *given: (heard.append(torch.get_float32_matmul_precision()), real(*given))[1]

    monkeypatch.setattr(AdversarialStream, "_ask", listening(AdversarialStream._ask))
    monkeypatch.setattr("redistill.sources.training_log.logits_of", listening(logits_of))
    small: dict[str, Any] = {"channels": 3, "image_size": 8}

    def loop() -> Loop:
        student, teacher = (models.wrn(10, 1, classes=4, seed=seed, **small) for seed in (1, 2))
        generator = models.generator(z=Z, seed=0, **small)
        source = Adversarial(generator, "none", Variant(n_S=3, images="before"), blocks=2, epoch_blocks=1, noise=noise)
        recipe = Recipe(steps=6, lr=1e-3, batch_size=BATCH, optimizer="adam", weight_decay=0.0)
        return Loop([(student, Method.of(KD(T=1)))], teacher, source, recipe, seed=0, device="cpu")

    part = loop()
    next(part)
    state, again = copy.deepcopy(part.state()), loop()
    torch.set_float32_matmul_precision("medium")
    try:
        heard.clear()
        again.load_state(state)
        assert heard == ["highest"]
        for _ in again:
            pass
        heard.clear()
        shown = again.stream.artifacts()  # type: ignore[attr-defined]
        assert heard == ["highest"] * 2 and set(shown["samples"]) == {"0", "1", "2"}
    finally:
        torch.set_float32_matmul_precision("highest")
