"""The loop: what must be bitwise equal is compared bitwise, and a run against the same loop written out by hand."""

from __future__ import annotations

import copy
import functools
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.overrides import TorchFunctionMode

from helpers.bits import bits, same
from helpers.blobs import Blobs
from redistill import models, rng
from redistill.core import Method, Output, Ramp, RedistillError
from redistill.data import Images
from redistill.features.places import places_of
from redistill.features.tapped import Tapped
from redistill.launch.fit import fit, fit_cohort
from redistill.metrics import accuracy
from redistill.recipe import Cosine, MultiStep, Recipe
from redistill.terms import AT, CE, KD
from redistill.train.loop import Loop
from redistill.train.optimise import parameter_groups
from redistill.train.result import Diverged
from redistill.train.teacher import in_micro_batches


class Net(nn.Module):
    """Convolution, batch norm, dropout: everything whose state could leak."""

    def __init__(self, width: int = 4, seed: int = 0, classes: int = 3):
        super().__init__()
        with rng.seeded(seed, "init", f"net-{width}"):
            self.conv, self.bn = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
            self.drop, self.head = nn.Dropout(0.3), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(F.relu(self.bn(self.conv(x))).mean((2, 3))))


RECIPE = Recipe(epochs=3, lr=0.1, batch_size=8, schedule=Cosine(), per="step")
KINDS = {
    "sgd": RECIPE,
    "nesterov, double": Recipe(epochs=3, lr=0.1, batch_size=8, nesterov=True, precision="double"),
    "adam, clipped": Recipe(epochs=3, lr=0.01, batch_size=8, optimizer="adam", clip=0.5),
    "clipped tensor by tensor": Recipe(epochs=3, lr=0.1, batch_size=8, clip=0.05, clip_per="tensor"),
    "adamw, no decay of norms": Recipe(epochs=3, lr=0.01, batch_size=8, optimizer="adamw", no_decay=("norm", "bias")),
    "momentum reset": Recipe(epochs=3, lr=0.1, batch_size=8, schedule=MultiStep(at=(1, 2), reset_momentum=True)),
    "unfused, channels last": Recipe(epochs=3, lr=0.1, batch_size=8, fused=False, channels_last=True),
}
METHODS = {"ce": Method.of(CE()), "kd": 0.1 * CE() + 0.9 * KD(), "ramp": CE() + Ramp(0, 2) * KD(T=2.0), "smooth": Method.of(CE(0.1))}


@pytest.mark.parametrize("recipe", KINDS.values(), ids=KINDS)
def test_in_a_cohort_as_alone(recipe: Recipe) -> None:
    teacher, data = Net(8), Blobs()
    together = {name: Net() for name in METHODS}
    fit_cohort([(together[n], METHODS[n]) for n in METHODS], teacher, data, recipe, seed=5, device="cpu")
    for name, method in METHODS.items():
        alone = Net()
        fit(alone, teacher, method, data, recipe, seed=5, device="cpu")
        assert same(bits(alone), bits(together[name])), name
    assert not same(bits(together["ce"]), bits(together["kd"]))


def test_the_teacher_is_bitwise_untouched() -> None:
    teacher = Net(8).train()
    before = bits(teacher)
    fit(Net(), teacher, METHODS["kd"], Blobs(), RECIPE.model_copy(update={"precision": "double"}), seed=0, device="cpu")
    assert same(before, bits(teacher)) and teacher.training
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.float32 for p in teacher.parameters())


def test_a_teacher_in_train_mode_is_a_switch_on_a_private_copy() -> None:
    teacher = Net(8)
    before, results = bits(teacher), []
    for mode in ("eval", "train"):
        student = Net()
        fit(student, teacher, METHODS["kd"], Blobs(), RECIPE.model_copy(update={"teacher_mode": mode}), seed=0, device="cpu")
        results.append(bits(student))
    assert same(before, bits(teacher)) and not same(*results)


def test_compile_compiles_networks_that_give_features_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with ``compile`` and a term that reads features ran uncompiled once, and its record said otherwise."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    recipe = Recipe(epochs=2, lr=0.05, batch_size=10, precision="fast")
    at = CE() + 0.5 * KD(T=2.0) + 10.0 * AT(at=[("conv", "conv")])
    results, graphs = [], []
    for compiled in (False, True):
        counters.clear()
        student = Net()
        student.drop = nn.Identity()  # compiled layers draw other numbers
        change = recipe.model_copy(update={"compile": compiled})
        results.append(fit(student, Net(8), at, Blobs(), change, seed=1, device="cpu"))
        graphs.append(counters["stats"]["unique_graphs"])
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())
    assert graphs == [0, 2]
    for name, losses in results[0].losses.items():
        assert results[1].losses[name] == pytest.approx(losses, rel=0.02), name


def test_global_random_state_is_neither_used_nor_changed() -> None:
    results = []
    for start in (1, 2):
        torch.manual_seed(start)
        before = torch.get_rng_state()
        net = Net()
        fit(net, Net(8), METHODS["kd"], Blobs(), RECIPE, seed=0, device="cpu")
        assert torch.equal(before, torch.get_rng_state())
        results.append(bits(net))
    assert same(*results)


def test_the_run_equals_the_loop_written_out_by_hand() -> None:
    recipe = Recipe(epochs=4, lr=0.1, batch_size=8, nesterov=True, precision="double",
                    schedule=MultiStep(at=(2,)), clip=1.0)
    student, teacher, data = Net(), Net(8), Blobs()
    mine, theirs = copy.deepcopy(student).double().train(), copy.deepcopy(teacher).double().eval()
    result = fit(student, teacher, 0.1 * CE() + 0.9 * KD(T=4.0), data, recipe, seed=2, device="cpu")

    optimizer = torch.optim.SGD(mine.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    step = 0
    for epoch in range(4):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 if epoch < 2 else 0.01
        order = torch.randperm(30, generator=rng.stream(2, "order", epoch))
        for index in order.split(8):
            x, y = data.x[index].double(), data.y[index]
            with torch.no_grad():
                t = theirs(x)
            with rng.seeded(2, "layers", step):
                s = mine(x)
            kd = F.kl_div(F.log_softmax(s / 4, 1), F.softmax(t / 4, 1), reduction="batchmean") * 16
            loss = 0.1 * F.cross_entropy(s, y) + 0.9 * kd
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(mine.parameters(), 1.0)
            optimizer.step()
            step += 1
    assert result.steps == step == 16
    for (name, got), want in zip(student.state_dict().items(), mine.state_dict().values(), strict=True):
        assert torch.allclose(got, want, rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize("recipe", KINDS.values(), ids=KINDS)
def test_a_loop_continues_bit_for_bit_from_its_state(recipe: Recipe) -> None:
    def loop() -> tuple[Loop, list[nn.Module]]:
        nets: list[nn.Module] = [Net(), Net()]
        methods = (METHODS["kd"], METHODS["ramp"])
        return Loop(list(zip(nets, methods, strict=True)), Net(8), Blobs(), recipe, seed=1, evaluate={"test": Blobs(12, seed=3)},
                    every=1, device="cpu"), nets

    whole, nets = loop()
    list(whole)
    for stop in (1, 4, 7, 11):
        first, _ = loop()
        for _ in range(stop):
            next(first)
        saved = copy.deepcopy(first.state())
        second, again = loop()
        second.load_state(saved)
        list(second)
        for a, b, left, right in zip(nets, again, whole.results(), second.results(), strict=True):
            assert same(bits(a), bits(b)), stop
            assert (left.losses, left.accuracy, left.steps) == (right.losses, right.accuracy, right.steps)


def test_adding_a_method_moves_nobody_else() -> None:
    few, more = [Net(), Net()], [Net(), Net(), Net()]
    fit_cohort([(few[0], METHODS["ce"]), (few[1], METHODS["kd"])], Net(8), Blobs(), RECIPE, seed=0, device="cpu")
    fit_cohort([(more[0], METHODS["smooth"]), (more[1], METHODS["ce"]), (more[2], METHODS["kd"])], Net(8), Blobs(), RECIPE,
               seed=0, device="cpu")
    assert same(bits(few[0]), bits(more[1])) and same(bits(few[1]), bits(more[2]))


def test_a_student_that_diverges_stops_alone_and_says_why() -> None:
    nets = [Net(), Net()]
    wild = 0.1 * CE() + 1e30 * KD()
    results = fit_cohort([(nets[0], wild), (nets[1], METHODS["ce"])], Net(8), Blobs(), RECIPE, seed=0, device="cpu")
    assert results[1].diverged is None and results[1].steps == 12
    alone = Net()
    fit(alone, Net(8), METHODS["ce"], Blobs(), RECIPE, seed=0, device="cpu")
    assert same(bits(alone), bits(nets[1]))
    reason = results[0].diverged
    assert reason is not None and results[0].steps < 12
    with pytest.raises(Diverged, match=r"(CE \(weight 0.1\)|KD \(weight 1e\+30\)) became (nan|inf) at step \d+ of 12"):
        fit(Net(), Net(8), wild, Blobs(), RECIPE, seed=0, device="cpu")


def test_the_first_non_finite_loss_is_named_with_its_step() -> None:
    with pytest.raises(Diverged, match=r"CE \(weight 1\) became nan at step 6 of 12"):
        fit(Net(), None, CE(), Blobs(poison=6), RECIPE, seed=0, device="cpu")


def test_curves_say_what_they_are() -> None:
    test = Blobs(12, seed=3)
    net = Net()
    result = fit(net, None, CE(), Blobs(), RECIPE, seed=0, evaluate={"test": test}, every=1, device="cpu")
    found = result.accuracy["test"]
    assert [s for s, _ in found.curve] == [4, 8, 12]
    assert found.last == found.curve[-1][1] == accuracy(net, test)
    assert found.best == max(v for _, v in found.curve)
    assert len(result.losses["CE"]) == 3 and min(result.losses["CE"][1:]) < result.losses["CE"][0]
    assert net.normalisation == "none" and not net.training


def test_weight_decay_can_leave_out_norms_and_biases() -> None:
    net = Net()
    groups = parameter_groups([net], Recipe(epochs=1, no_decay=("norm", "bias")))
    names = {id(p): n for n, p in net.named_parameters()}
    assert [[names[id(p)] for p in g["params"]] for g in groups] == [
        ["conv.weight", "head.weight"], ["conv.bias", "bn.weight", "bn.bias", "head.bias"]]
    assert [g["weight_decay"] for g in groups] == [5e-4, 0.0]


def test_norms_are_all_normalisations_of_pytorch() -> None:
    made = (
        nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4), nn.SyncBatchNorm(4), nn.InstanceNorm1d(4, affine=True),
        nn.InstanceNorm2d(4, affine=True), nn.InstanceNorm3d(4, affine=True), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4),
    )  # fmt: skip
    there = {name for name in vars(nn) if name.endswith(("Norm", "Norm1d", "Norm2d", "Norm3d")) and not name.startswith("Lazy")}
    assert {type(layer).__name__ for layer in made} == there - {"LocalResponseNorm"}  # which has nothing that learns
    (only,) = parameter_groups(made, Recipe(epochs=1, no_decay=("norm",)))
    assert only["weight_decay"] == 0.0 and len(only["params"]) == sum(1 for layer in made for _ in layer.parameters())


def test_a_network_of_another_normalisation_gets_the_affine_map_in_front() -> None:
    teacher, student = Net(8), Net()
    teacher.normalisation = "half"  # (x - .5) / .5 of what the stream ("none") gives
    shifted = copy.deepcopy(teacher)
    hook = shifted.register_forward_pre_hook(lambda m, a: ((a[0] - 0.5) / 0.5,))
    shifted.normalisation = "none"
    results = []
    for net in (teacher, shifted):
        s = copy.deepcopy(student)
        fit(s, net, METHODS["kd"], Blobs(), RECIPE, seed=0, device="cpu")
        results.append(s.head.weight.detach())
    hook.remove()
    first, second = results
    assert torch.allclose(first, second, rtol=1e-4, atol=1e-6)


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fit(Net(), None, KD(), Blobs(), RECIPE, seed=0), "KD compares with a teacher, but there is none"),
        (lambda: fit(Net(), None, CE(), Blobs(labelled=False), RECIPE, seed=0), "CE needs labels, and this source has none"),
        (lambda: fit(Net(classes=5), None, CE(), Blobs(), RECIPE, seed=0), "tells 5 classes apart, the data have 3"),
        (lambda: fit(Net(), Net(classes=4), KD(), Blobs(), RECIPE, seed=0), "teacher tells 4 classes apart, the student 3"),
        (lambda: fit(Net(), None, CE(), Blobs(), RECIPE, seed=-1), "seed must be a whole number >= 0, got -1"),
        (lambda: fit(Net(), None, CE(), Blobs(), RECIPE, seed=0, every=0), "every=0"),
        (lambda: fit(Net(), None, CE(), Blobs(), RECIPE, seed=0, device="cpuu"), "unknown device 'cpuu'"),
        (lambda: fit_cohort([], None, Blobs(), RECIPE, seed=0), "at least one"),
        (lambda: (lambda n: fit_cohort([(n, CE()), (n, CE())], None, Blobs(), RECIPE, seed=0))(Net()), "stands twice"),
        (lambda: fit(lazy(), None, CE(), Blobs(), RECIPE, seed=0), r"student Sequential has lazy layers.*sizes yet \(1.weight\)"),
        (lambda: fit(Net(), lazy(), KD(), Blobs(), RECIPE, seed=0), "the teacher Sequential has lazy layers"),
        (lambda: places_of(lazy(), torch.zeros(2, 1, 8, 8)), "the network Sequential has lazy layers"),
        (lambda: (lambda n: fit_cohort([(n, CE()), (nn.DataParallel(n), CE())], None, Blobs(), RECIPE, seed=0))(Net()),
         r"two students of the cohort \(1 and 2\) share weights \(module.conv.weight\)"),
        (lambda: (lambda n: fit(n, n, KD(), Blobs(), RECIPE, seed=0))(Net()), "teacher and student are one network"),
        (lambda: fit_cohort([(Net(), CE()), (Net(), CE())], Net(), Blobs(), RECIPE.model_copy(update={"teacher_mode": "train"}),
                            seed=0), "run the students one by one"),
        (lambda: fit(Net().requires_grad_(False), None, CE(), Blobs(), RECIPE, seed=0), "requires a gradient"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((RedistillError, ValueError), match=says):
        make()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"image_shape": (1, 4, 4)}, r"evaluation set 'test' has images of shape \[1, 4, 4\], the source \[1, 8, 8\]"),
        ({"image_shape": (3, 8, 8)}, r"evaluation set 'test' has images of shape \[3, 8, 8\]"),
        ({"classes": 10}, "evaluation set 'test' has 10 classes, the student Net tells 3 apart"),
    ],
)
def test_an_evaluation_set_that_does_not_fit_is_refused_before_the_first_step(what: dict[str, Any], says: str) -> None:
    other = Blobs()
    for name, value in what.items():
        setattr(other, name, value)
    with pytest.raises(RedistillError, match=says):
        Loop([(Net(), CE())], None, Blobs(), RECIPE, seed=0, evaluate={"test": other}, device="cpu")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["wrn-10-1", "mobilenetv2", "shufflenetv1"])
def test_a_teacher_says_the_same_bits_of_an_image_whatever_batch_it_stands_in(name: str, layout: torch.memory_format) -> None:
    net = models.build(name, classes=10, seed=3).eval().to(memory_format=layout)
    images = torch.randn(72, 3, 32, 32, generator=torch.Generator().manual_seed(5)).to(memory_format=layout)
    tapped = Tapped(net, {"pooled": places_of(net, images[:2]).places["pooled"]})
    with torch.no_grad():
        heard = in_micro_batches(tapped, images)
        order = torch.randperm(72, generator=torch.Generator().manual_seed(1))
        moved = in_micro_batches(tapped, images[order].contiguous(memory_format=layout))
        one = in_micro_batches(tapped, images[70:71])
        whole = tapped(images)
    assert torch.equal(heard.logits[order], moved.logits) and torch.equal(heard.taps["pooled"][order], moved.taps["pooled"])
    assert torch.equal(one.logits[0], heard.logits[70])
    assert torch.allclose(heard.logits, whole.logits, rtol=1e-4, atol=1e-5)  # another size sums in another order, and no more


def test_a_small_batch_rounds_differently_which_is_why_the_last_one_is_filled_up() -> None:
    # a batch of one image alone is computed by other kernels: the same image, other last bits
    net = models.build("wrn-10-1", classes=10, seed=3).eval()
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        together, alone = net(images)[:1], net(images[:1])
        filled = in_micro_batches(Tapped(net), images[:1]).logits
    assert torch.equal(filled, together)
    assert torch.allclose(alone, together, rtol=1e-4, atol=1e-5)


def test_micro_batches_have_the_rows_that_are_asked_for() -> None:
    seen = []

    def read(images: Tensor) -> Output:
        seen.append(len(images))
        return Output(images.flatten(1), {})

    images = torch.arange(60.0).view(5, 3, 2, 2)
    assert torch.equal(in_micro_batches(read, images, 3).logits, images.flatten(1)) and seen == [3, 3]
    assert torch.equal(in_micro_batches(read, images).logits, images.flatten(1)) and seen == [3, 3, 32]


class WithoutDouble(TorchFunctionMode):
    """float64 is refused but for what was fetched to the CPU, as on Apple's mps."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.double and not any(args[0] is one for one in self.fetched):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        out = func(*args, **(kwargs or {}))
        if func is Tensor.cpu:
            self.fetched.append(out)
        return out


def test_losses_and_norms_are_read_from_a_device_without_float64() -> None:
    images = Images(torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8), torch.arange(16) % 2, 2, "noise", "half")
    recipe = Recipe(epochs=2, batch_size=8, lr=0.01, clip=1.0)
    loop = Loop([(models.wrn(10, 1, classes=2, image_size=8, seed=0), Method.of(CE()))], None, images, recipe, seed=0, device="cpu")
    with WithoutDouble():
        next(loop)
        assert len(loop.students[0].rows(0).totals) == 1
        for _ in loop:
            pass
    assert len(loop.students[0].losses) == 2 and len(loop.students[0].gradient_norms) == 2


class Dropping(nn.Module):
    """Stochastic depth as it is often written: a layer that is dropped is not called, and has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        with rng.seeded(0, "init", "dropping"):
            self.first, self.head = nn.Linear(12, 8), nn.Linear(8, 2)
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.flatten(1)))
        for layer in self.layers:
            if not self.training or random.random() >= 0.6:
                x = x + torch.relu(layer(x))
        return self.head(x)


@pytest.mark.parametrize("nesterov", [False, True])
def test_layers_whose_first_gradient_comes_later_learn(nesterov: bool) -> None:
    """PyTorch's fused SGD ended with a TypeError at the first step in which they took part; a plain one takes them in."""
    pixels = torch.randint(0, 256, (32, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(32) % 2, 2, "noise", "half")

    def loop(fused: bool) -> Loop:
        recipe = Recipe(steps=12, batch_size=8, lr=0.05, nesterov=nesterov, fused=fused)
        return Loop([(Dropping(), Method.of(CE()))], None, images, recipe, seed=0, device="cpu")

    def ended(one: Loop) -> dict[str, Tensor]:
        for _ in one:
            pass
        return one.students[0].net.state_dict()

    begun, plain = loop(True), ended(loop(False))
    for _ in range(2):
        next(begun)
    assert len({p for p in begun.students[0].net.parameters() if begun.students[0].optimizer.state.get(p)}) < 10  # some were never called
    again = loop(True)
    again.load_state(copy.deepcopy(begun.state()))
    whole = ended(begun)
    for name, value in plain.items():
        torch.testing.assert_close(whole[name], value, rtol=1e-5, atol=1e-7)
    assert all(torch.equal(value, whole[name]) for name, value in ended(again).items())
