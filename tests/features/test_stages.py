"""Networks without stages, with tokens, branches, several heads, modules used several times: what trains, what is read, what is refused."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import redistill as rd
from redistill.core import RedistillError
from redistill.core.pairs import pair_stages
from redistill.features.outputs import logits_of
from redistill.features.places import context, places_of
from redistill.features.tapped import Tapped

X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
RECIPE = rd.Recipe(steps=2, lr=0.01, batch_size=32)


class ViT(nn.Module):
    """Patch embedding, class token, two blocks; ``heads``: 2 with a distillation token, as DeiT."""

    def __init__(self, heads: int = 1, dim: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, dim, 2, 2)
        self.cls = nn.Parameter(0.02 * torch.randn(1, heads, dim))
        self.blocks = nn.Sequential(*[nn.TransformerEncoderLayer(dim, 2, 32, 0.1, batch_first=True) for _ in range(2)])
        self.heads = nn.ModuleList([nn.Linear(dim, 10) for _ in range(heads)])

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = self.blocks(torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1))
        logits = tuple(head(tokens[:, i]) for i, head in enumerate(self.heads))
        if len(logits) == 1:
            return logits[0]
        return logits if self.training else sum(logits[1:], start=logits[0]) / len(logits)


class Mixer(nn.Module):
    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, dim, 2, 2)
        self.between, self.within, self.head = nn.Linear(16, 16), nn.Linear(dim, dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        t = self.stem(x).flatten(2).transpose(1, 2)
        t = t + self.between(t.transpose(1, 2)).transpose(1, 2)
        return self.head((t + self.within(t)).mean(1))


class Swin(nn.Module):
    """[B, H, W, C] in two resolutions, turned back at the end only."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.merge = nn.Conv2d(1, 8, 2, 2), nn.LayerNorm(8), nn.Linear(32, 16)
        self.out, self.head = nn.Identity(), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        t = self.norm(self.patch(x).permute(0, 2, 3, 1))
        b, h, w, c = t.shape
        t = self.merge(t.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).flatten(3))
        return self.head(self.out(t.permute(0, 3, 1, 2)).mean((2, 3)))


class Inception(nn.Module):
    """Branches of unlike speed inside of blocks, a squeeze to 1x1, and an auxiliary head while training."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.fast = nn.Conv2d(width, width, 3, 2, 1)
            self.slow = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1))
            self.squeeze = nn.Conv2d(2 * width, 2 * width, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.cat([self.fast(x), self.slow(x)], 1)
            return y * torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True)))

    def __init__(self, form: str = "tuple") -> None:
        super().__init__()
        self.form = form
        self.stem, self.one, self.two = nn.Conv2d(1, 4, 3, 1, 1), self.Block(4), self.Block(8)
        self.aux, self.fc = nn.Linear(8, 10), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> object:
        h = self.one(self.stem(x))
        aux, main = self.aux(h.mean((2, 3))), self.fc(self.two(h).mean((2, 3)))
        if not self.training:
            return main
        return {"tuple": (main, aux), "turned": (aux, main), "dict": {"logits": main, "aux": aux}, "named": Said(main, aux)}[self.form]


@dataclasses.dataclass
class Said:
    logits: Tensor
    aux: Tensor


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.down = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 4, 2, 2)
        self.up, self.head = nn.Upsample(scale_factor=2), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up(self.down(self.a(x))).mean((2, 3)))


class Shared(nn.Module):
    """One activation after three convolutions, or three."""

    def __init__(self, activations: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)])
        self.relu = nn.ModuleList([nn.ReLU() for _ in range(activations)])
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = self.relu[i % len(self.relu)](conv(x))
        return self.fc(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """torchvision's: one ReLU used three times in a block, the stride in the middle convolution, a shortcut beside."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.relu = nn.Conv2d(before, 4, 1), nn.Conv2d(4, after, 3, stride, 1), nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.relu(self.conv2(self.relu(self.conv1(x)))) + self.shortcut(x))


def wrn(seed: int = 0, **kw: int) -> nn.Module:
    return rd.models.wrn(10, 1, channels=1, image_size=8, seed=seed, **kw)  # type: ignore[arg-type]


def digits() -> rd.data.Images:
    return rd.data.digits()[0]


@pytest.mark.parametrize(
    "make", [ViT, Mixer, Swin, Inception, UNet, lambda: Shared(1), lambda: Inception("dict"), lambda: Inception("named")]
)
def test_whatever_gives_logits_trains_and_teaches_by_logits(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make()
    before = copy.deepcopy(net.state_dict())
    as_student = rd.fit(net, wrn(), rd.CE() + rd.KD(), digits(), RECIPE, seed=0)
    assert any(not torch.equal(v, before[k]) for k, v in net.state_dict().items())
    as_teacher = rd.fit(wrn(1), net, rd.KD(), digits(), RECIPE, seed=0)
    assert all(v > 0 for v in (*as_student.losses["KD"], *as_teacher.losses["KD"]))


@pytest.mark.parametrize(("make", "block"), [(Mixer, "within")])
def test_a_patch_embedding_is_no_stage(make: Callable[[], nn.Module], block: str) -> None:
    found = places_of(make(), X)
    assert found.stages == () and found.unsure is not None and "its layers work on tokens" in found.unsure
    assert block in found.unsure  # among the candidates
    assert block in found.places
    for term in (rd.AT(), rd.FitNet(), rd.VID(), rd.Review()):
        with pytest.raises(RedistillError, match=r"stages of the teacher .* cannot be told .*name the places yourself"):
            rd.fit(wrn(), make(), rd.CE() + term, digits(), RECIPE, seed=0)


def weight_normed(net: nn.Module) -> nn.Module:
    for module in [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
        nn.utils.parametrizations.weight_norm(module)
    return net


def fake_quantised(net: nn.Module) -> nn.Module:
    net.train().qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")  # type: ignore[assignment]
    return torch.ao.quantization.prepare_qat(net)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning", "ignore:Please use quant_min:UserWarning")
@pytest.mark.parametrize("dress", [weight_normed, fake_quantised])
def test_what_makes_weights_is_no_place(dress: Callable[[nn.Module], nn.Module]) -> None:
    """A kernel [8, 1, 3, 3] was taken for a feature map, and a weight-normed mixer's patch embedding for its stage."""
    layers = nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    found = places_of(dress(nn.Sequential(*layers, nn.Linear(16, 10))), X)
    assert [found.shapes[stage] for stage in found.stages] == [(2, 8, 8, 8), (2, 16, 4, 4)] and found.unsure is None
    assert not any("parametrizations" in name or "weight_fake_quant" in name for name in found.places)
    mixer = places_of(dress(Mixer()), X)
    assert mixer.stages == () and mixer.unsure is not None and "its layers work on tokens" in mixer.unsure


def test_places_are_of_images_in_a_tensor() -> None:
    with pytest.raises(RedistillError, match=r"images are a tensor \[B, C, H, W\], two are enough, got a Images"):
        places_of(wrn(), digits())  # type: ignore[arg-type]


def test_a_named_place_needs_no_stages() -> None:
    for net, place in ((UNet(), "down"), (Inception(), "one"), (Swin(), "out")):
        result = rd.fit(net, wrn(), rd.CE() + rd.FitNet(at=[(place, "stage2")]), digits(), RECIPE, seed=0)
        assert result.losses["FitNet"][-1] > 0


def test_stages_are_what_all_paths_pass_through() -> None:
    found = places_of(Inception(), X)
    assert [found.places[s].module for s in found.stages] == ["stem", "one", "two"]
    assert [found.shapes[s][2] for s in found.stages] == [8, 4, 2]
    assert pair_stages(context(Inception(), Inception(), X)) == tuple((f"stage{i}",) * 2 for i in (1, 2, 3))
    grown = places_of(UNet(), X)
    assert grown.stages == () and "grows again at 'up'" in str(grown.unsure) and "down 4x4x4" in str(grown.unsure)


def test_a_branch_that_still_has_the_size_before_is_not_the_stage_before() -> None:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    net = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), Bottleneck(8, 8, 1), Bottleneck(8, 16, 2), *head)
    found = places_of(net, X)
    assert [(found.places[s].module, found.shapes[s][1:]) for s in found.stages] == [("1", (8, 8, 8)), ("2", (16, 4, 4))]
    assert found.shapes["2.relu@1"] == (2, 4, 8, 8) and found.shapes["2.relu@3"] == (2, 16, 4, 4)


def test_a_module_used_several_times_is_several_places() -> None:
    torch.manual_seed(0)
    apart, shared = Shared(3), Shared(1)
    shared.load_state_dict(apart.state_dict())
    mine, theirs = places_of(apart, X), places_of(shared, X)
    wanted = [(2, 8, 8, 8), (2, 16, 4, 4), (2, 32, 2, 2)]
    assert [mine.shapes[s] for s in mine.stages] == [theirs.shapes[s] for s in theirs.stages] == wanted
    a, b = Tapped(apart, mine.places)(X), Tapped(shared, theirs.places)(X)
    for stage in mine.stages:
        assert torch.equal(a[stage], b[stage])
    by_name = Tapped(shared, ("relu.0@2",))(X)
    assert torch.equal(by_name["relu.0@2"], a["relu.1"])
    assert "relu.0" not in theirs.places
    losses = [rd.fit(net, wrn(), rd.CE() + rd.AT(), digits(), RECIPE, seed=0).losses["AT"] for net in (apart, shared)]
    assert losses[0] == losses[1]


def test_the_head_that_is_trained_is_the_one_that_is_evaluated() -> None:
    with pytest.raises(RedistillError, match=r"Inception returns a tuple of 0 \[2, 10\], 1 \[2, 10\] in train mode, of which 1 is what"):
        places_of(Inception("turned"), X)
    with pytest.raises(RedistillError, match=r"ViT returns .* in train mode, of which none is .*wrap it"):
        rd.fit(ViT(heads=2), wrn(), rd.CE(), digits(), RECIPE, seed=0)

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ViT(heads=2)

        def forward(self, x: Tensor) -> Tensor:
            logits = self.net(x)
            return logits if isinstance(logits, Tensor) else sum(logits[1:], start=logits[0]) / len(logits)

    rd.fit(Mean(), wrn(), rd.CE(), digits(), RECIPE, seed=0)
    rd.fit(wrn(), ViT(heads=2), rd.KD(), digits(), RECIPE, seed=0)  # as a teacher it is asked in evaluation mode only


def test_a_head_without_a_layer_of_its_own_is_told_by_its_value() -> None:
    class Free(nn.Module):
        def __init__(self, turned: bool) -> None:
            super().__init__()
            self.turned, self.body = turned, nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
            self.w, self.v = nn.Parameter(torch.randn(8, 10)), nn.Parameter(torch.randn(8, 10))

        def forward(self, x: Tensor) -> object:
            h = self.body(x)
            both = (h @ self.w, h @ self.v)
            return (both[::-1] if self.turned else both) if self.training else both[0]

    assert places_of(Free(False), X).shapes["logits"] == (2, 10)
    with pytest.raises(RedistillError, match="of which 1 is what it returns in evaluation mode"):
        places_of(Free(True), X)


def test_both_modes_leave_a_network_bitwise_as_it_was() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.norm, self.drop = 0, nn.BatchNorm2d(1), nn.Dropout(0.5)
            self.fc = nn.utils.parametrizations.spectral_norm(nn.Linear(64, 10))
            self.register_buffer("mean", torch.zeros(1), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.training:
                self.mean: Tensor = self.mean + 1
            return self.fc(self.drop(self.norm(x)).flatten(1))

    net = Counting().train()
    net.norm.eval()
    before, state = {k: v.clone() for k, v in net.named_buffers()}, torch.random.get_rng_state()
    places_of(net, X)
    assert net.calls == 0 and net.training and not net.norm.training and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.named_buffers())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_what_comes_back_is_read_by_name_or_refused() -> None:
    net, z, f = nn.Identity().eval(), torch.zeros(2, 10), torch.zeros(2, 4, 3)
    for output in (z, (z, f), [None, z], {"logits": z, "other": z}, {"features": f, "out": z}, Said(z, z)):
        assert logits_of(output, net) is z
    for output in ((z, z), {"a": z, "b": z}, f, None, (f,)):
        with pytest.raises(RedistillError, match=r"Identity must map images to logits \[batch, classes\].*wrap it"):
            logits_of(output, net)


def test_features_need_no_equal_classes_and_logits_do() -> None:
    teacher = rd.models.wrn(10, 1, 100, channels=1, image_size=8)
    assert rd.fit(wrn(), teacher, rd.CE() + rd.AT(), digits(), RECIPE, seed=0).losses["AT"][0] > 0
    with pytest.raises(RedistillError, match=r"teacher tells 100 classes apart, the student 10.*KD compares"):
        rd.fit(wrn(), teacher, rd.KD(), digits(), RECIPE, seed=0)


def test_places_inside_a_wrapper_are_those_of_the_network() -> None:
    net = wrn()
    plain, wrapped = places_of(net, X), places_of(nn.Sequential(nn.Identity(), net), X)
    assert plain.stages == wrapped.stages
    assert [wrapped.places[s].module for s in wrapped.stages] == [f"1.{plain.places[s].module}" for s in plain.stages]
    assert all(plain.shapes[s] == wrapped.shapes[s] for s in plain.places if s in wrapped.places)


def test_tokens_and_turned_maps_are_read_where_they_are_named() -> None:
    torch.manual_seed(0)
    for term in (rd.AT(at="blocks.0"), rd.FitNet(at=["blocks.0", "blocks.1"]), rd.VID(at=[("blocks.0", "blocks.1")])):
        result = rd.fit(ViT(), ViT(dim=32), rd.CE() + term, digits(), RECIPE, seed=0)
        assert result.losses[type(term).__name__][-1] > 0
    with pytest.raises(RedistillError, match=r"'stage2' of the student has shape .*tokens \[batch, tokens, channels\] can be compared"):
        rd.fit(wrn(), ViT(), rd.CE() + rd.FitNet(at=[("stage2", "blocks.0")]), digits(), RECIPE, seed=0)
    net = Swin().eval()
    found = places_of(net, X)
    assert found.shapes["norm"] == (2, 8, 4, 4) and found.shapes["merge"] == (2, 16, 2, 2)
    out = Tapped(net, {"merge": found.places["merge"], "out": found.places["out"]})(X)
    assert torch.equal(out["merge"], out["out"])
    assert rd.fit(wrn(), net, rd.CE() + rd.AT(at=[("stage2", "norm")]), digits(), RECIPE, seed=0).losses["AT"][0] > 0
