"""Places of networks that know nothing of this package, and features that are overwritten in place."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from redistill.core import Method, Place, RedistillError
from redistill.core.pairs import pair_stages
from redistill.features.places import context, places_of
from redistill.features.tapped import Tapped
from redistill.terms import AT, KD, VID, FitNet


class PlainCNN(nn.Module):
    """In-place activations, no names anyone knows."""

    def __init__(self, widths: tuple[int, ...] = (4, 8, 12), classes: int = 3):
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class MLP(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 3))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.down, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 2, 2), nn.Conv2d(4, 4, 1)
        self.up, self.head = nn.Upsample(scale_factor=2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up(self.b(self.down(self.a(x)))).mean((2, 3)))


X = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_stages_are_where_the_resolution_changes() -> None:
    found = places_of(PlainCNN(), X)
    assert found.stages == ("stage1", "stage2", "stage3")
    assert [found.places[s].module for s in found.stages] == ["body.2", "body.6", "body.10"]
    assert [found.shapes[s] for s in found.stages] == [(2, 4, 16, 16), (2, 8, 8, 8), (2, 12, 4, 4)]
    assert found.shapes["pooled"] == (2, 12) and found.shapes["logits"] == (2, 3)
    assert found.shapes["body.4"] == (2, 8, 8, 8)  # any module path is a place


def test_probing_leaves_the_network_bitwise_as_it_was() -> None:
    net = PlainCNN().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    places_of(net, X)
    assert net.training and all(m.training for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())


def test_a_feature_overwritten_in_place_is_read_before_the_change() -> None:
    torch.manual_seed(0)
    net = PlainCNN().eval()
    tapped = Tapped(net, ("body.1",))  # a batch norm, followed by an in-place ReLU
    value = tapped(X)["body.1"]
    with torch.no_grad():
        want = net.body[1](net.body[0](X))
    assert (want < 0).any() and torch.equal(value, want)
    value.sum().backward()  # and it can be differentiated


def test_in_train_mode_the_change_is_refused_until_prepared() -> None:
    net = PlainCNN().train()
    with pytest.raises(RedistillError, match=r"overwrites body.1 in place"):
        Tapped(net, ("body.1",))(X)
    tapped = Tapped(net, ("body.1",))
    tapped.prepare(X)
    mean = net.body[1].running_mean.clone()
    assert (tapped(X)["body.1"] < 0).any()
    assert not torch.equal(mean, net.body[1].running_mean)


def test_pairs_go_by_resolution_from_the_deepest() -> None:
    ctx = context(PlainCNN((4, 8)), PlainCNN((2, 4, 8, 16)), X)
    assert pair_stages(ctx) == (("stage1", "stage1"), ("stage2", "stage2"))
    halved = nn.Sequential(nn.AvgPool2d(2), PlainCNN((4, 8)))
    assert pair_stages(context(PlainCNN((4, 8, 8)), halved, X)) == (("stage2", "stage1"), ("stage3", "stage2"))


def test_where_no_resolution_is_shared_only_equal_numbers_of_stages_meet_without_a_word() -> None:
    smaller = nn.Sequential(nn.AvgPool2d(3), PlainCNN((4, 8)))
    equal, unlike = context(PlainCNN((4, 8)), smaller, X), context(PlainCNN((4, 8, 8)), smaller, X)
    assert pair_stages(equal) == (("stage1", "stage1"), ("stage2", "stage2"))
    AT().setup(equal)
    for adapted in (VID(), FitNet()):  # what has adapters can learn to compare any two maps
        adapted.setup(unlike)
    with pytest.raises(RedistillError, match=r"AT cannot pair .* for example at=\[\('stage2', 'stage1'\), \('stage3', 'stage2'\)\]"):
        AT().setup(unlike)
    AT(at=[("stage2", "stage1"), ("stage3", "stage2")]).setup(unlike)


def test_again_calls_the_module_twice() -> None:
    net = PlainCNN().train()
    tapped = Tapped(net, {"p": Place("body.1", "out", again=True)}, again=True)
    tapped.prepare(X)
    count = int(net.body[1].num_batches_tracked)
    tapped(X)
    assert int(net.body[1].num_batches_tracked) == count + 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pair_stages(context(UNet(), UNet(), X)), "stages of the student UNet .*grows again at 'up'.*name the places yourself"),
        (lambda: Tapped(PlainCNN(), ("body.22",)), "unknown place 'body.22': did you mean body.2"),
        (
            lambda: Method.of(KD()).setup(context(PlainCNN(classes=3), PlainCNN(classes=5), X)),
            "teacher tells 5 classes apart, the student 3.*KD compares their logits",
        ),
        (lambda: pair_stages(context(MLP(), MLP(), X)), "the student has no feature maps to pair"),
        (lambda: places_of(nn.Conv2d(1, 2, 3), X), r"must map images to logits \[batch, classes\]"),
        (lambda: Tapped(PlainCNN(), ("body.2",)).__call__(X)["body.3"], "was not tapped"),
    ],
)
def test_what_cannot_be_found_is_told_with_candidates(make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RedistillError, match=says):
        make()


def test_images_that_a_network_does_not_take_are_named() -> None:
    with pytest.raises(RedistillError, match=r"Sequential does not accept images of shape \[3, 8, 8\] .*channels.*that fit"):
        places_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)), torch.zeros(2, 3, 8, 8))


def test_a_compiled_reader_gives_what_the_plain_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    # how torch reads the network is what can go wrong here, and not the code it makes, which takes a minute
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    net = PlainCNN().train()
    other = copy.deepcopy(net)
    plain, compiled = (Tapped(n, places_of(n, X).places) for n in (net, other))
    for reader in (plain, compiled):
        reader.prepare(X)
    counters.clear()
    handle = compiled.compile()
    for _ in range(2):
        plain_output, compiled_output = plain(X), compiled(X)
        assert list(plain_output.taps) == list(compiled_output.taps)
        assert {"body.5", "pooled"} <= compiled_output.taps.keys()  # body.5: overwritten by the activation behind it; pooled: an input
        for name, tensor in plain_output.taps.items():
            assert torch.allclose(tensor, compiled_output[name], atol=1e-5), name
        assert torch.allclose(plain_output.logits, compiled_output.logits, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1  # one graph, read once, and no way back to plain calls
    first, second = (
        torch.autograd.grad(out.logits.square().sum() + out["stage2"].square().sum(), list(n.parameters()))
        for out, n in ((plain_output, net), (compiled_output, other))
    )
    for a, b in zip([*first, *net.buffers()], [*second, *other.buffers()], strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)
    handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in other.modules())
