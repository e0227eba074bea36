"""Networks against the authors' own numbers; names both ways; files that are damaged, foreign, hostile or for another network."""

from __future__ import annotations

import argparse
import importlib.util
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from redistill import models
from redistill.core import RedistillError
from redistill.features.places import places_of
from redistill.features.tapped import Tapped
from redistill.models import foreign
from redistill.models.shufflenetv1 import shuffle

SMALL = ["resnet8", "resnet8x4", "wrn-10-1", "wrn-16-2", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2", "lenet", "resnet18"]


@pytest.mark.parametrize("name", SMALL)
def test_places_and_shapes(name: str) -> None:
    net = models.build(name, 7, seed=1)
    size = net.arch.image_size
    found = places_of(net, torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)))
    assert found.shapes["logits"] == (2, 7)
    assert found.stages == net.stages and len(found.stages) >= 2
    sizes = [found.shapes[s][2] for s in found.stages]
    assert sizes == sorted(sizes, reverse=True)
    assert found.shapes["pooled"] == (2, list(net.modules())[-1].in_features if isinstance(list(net.modules())[-1], nn.Linear)
                                      else found.shapes["pooled"][1])
    for place in net.places:
        if place.endswith(":pre"):
            assert found.shapes[place] == found.shapes[place.removesuffix(":pre")]


@pytest.mark.parametrize("name", SMALL)
def test_pre_is_before_the_activation(name: str) -> None:
    net = models.build(name, 7, seed=1).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pairs = [(p, p.removesuffix(":pre")) for p in net.places if p.endswith(":pre")]
    taps = Tapped(net, tuple(n for pair in pairs for n in pair))(x).taps
    for pre, post in pairs:
        assert (taps[pre] < 0).any(), pre
        if not name.startswith(("wrn", "shufflenetv2")):  # a WRN's stage is a raw sum; ShuffleNetV2 shuffles afterwards
            assert torch.equal(taps[pre].relu(), taps[post]), pre


def test_equal_architectures_start_equal_and_others_do_not() -> None:
    first = models.wrn(16, 1, seed=3)
    models.wrn(16, 2, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), models.wrn(16, 1, seed=3).state_dict().values(), strict=True))
    assert not torch.equal(first.conv1.weight, models.wrn(16, 1, seed=4).conv1.weight)
    assert not torch.equal(first.conv1.weight, models.wrn(16, 2, seed=3).conv1.weight)


def test_published_sizes() -> None:
    # parameters and MACs of performance.md and of the golden sidecars
    for name, classes, parameters, macs in [
        ("wrn-16-1", 10, 175_066, 26_657_408), ("wrn-16-2", 10, 691_674, 101_107_072), ("wrn-40-1", 10, 563_930, 83_280_512),
        ("resnet8x4", 100, 1_233_540, 177_070_592), ("mobilenetv2", 100, 812_836, 6_523_648), ("shufflenetv1", 100, 949_258, 38_691_456),
        ("vgg8", 100, 3_965_028, 96_192_512), ("zskt-generator", 10, 1_051_145, 115_834_880), ("lenet", 10, 62_006, 651_720),
    ]:  # fmt: skip
        info = models.describe(models.build(name, classes))
        assert (info.parameters, info.macs) == (parameters, macs) or name in ("wrn-16-2", "wrn-40-1", "resnet8x4"), name
        assert info.parameters == parameters and abs(info.macs / macs - 1) < 1e-3


def test_wrn_variants_are_arguments() -> None:
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = models.wrn(10, 2, seed=0).eval()
    raw = models.wrn(10, 2, seed=0, branch="raw").eval()
    raw.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(x), raw(x))
    assert "block1.layer.0.convShortcut.weight" not in models.wrn(10, 1).state_dict()
    assert "block1.layer.0.convShortcut.weight" in models.wrn(10, 1, projection="always").state_dict()
    shifted = models.wrn(10, 1, gamma=False)
    assert not any(n.endswith("bn1.weight") for n in shifted.state_dict()) and shifted(x).shape == (2, 10)
    gains = models.wrn(10, 1, init="zagoruyko").bn1.weight.detach()
    assert 0 <= float(gains.min()) and float(gains.max()) <= 1 and float(gains.std()) > 0.1
    assert models.wrn(10, 1, dropout=0.3).arch.args == {"dropout": 0.3}


@pytest.mark.parametrize("family", ["ferles", "zagoruyko"])
@pytest.mark.parametrize("name", ["wrn-16-1", "wrn-16-2", "wrn-40-1"])
def test_foreign_names_round_trip(family: str, name: str) -> None:
    net = models.build(name, 10, seed=5)
    theirs = foreign.from_ours(net.state_dict(), family)
    wrapped = {f"module.{k}": v for k, v in theirs.items()}
    back, found = foreign.to_ours(wrapped, list(net.state_dict()))
    assert found == family
    kept = {k: v for k, v in net.state_dict().items() if family == "ferles" or not k.endswith("num_batches_tracked")}
    assert back.keys() == kept.keys() and all(torch.equal(back[k], v) for k, v in kept.items())


def _pruned(layer: nn.Module) -> None:
    nn.utils.prune.l1_unstructured(layer, "weight", 0.3)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "dress",
    [_pruned, nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm,
     nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.orthogonal],
)  # fmt: skip
def test_a_network_whose_weights_are_made_is_saved_as_it_computes(dress: Callable[[nn.Module], object], tmp_path: Path) -> None:
    """The file had the architecture's name and weights under others (weight_orig, weight_g), and nothing could read it."""
    net, images = models.wrn(10, 1, seed=0), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():  # some of them draw vectors of their own
        torch.manual_seed(0)
        for layer in [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
            dress(layer)
    net.train()(images)
    with torch.no_grad():
        for parameter in net.parameters():  # a step since the last forward: what stands at a pruned layer is of before
            parameter.mul_(1.1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    models.save(net, tmp_path / "net.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    loaded = models.load(tmp_path / "net.safetensors").eval()
    torch.testing.assert_close(loaded(images), net.eval()(images), rtol=1e-4, atol=1e-3)  # logits of some ten, layers deep in fp32


def test_a_network_with_more_built_in_does_not_promise_the_plain_one(tmp_path: Path) -> None:
    net = models.wrn(10, 1, seed=0)
    net.add_module("more", nn.Linear(3, 3))
    models.save(net, tmp_path / "net.safetensors")
    with pytest.raises(RedistillError, match="does not say its architecture"):
        models.load(tmp_path / "net.safetensors")


def test_a_saved_network_knows_itself(tmp_path: Path) -> None:
    net = models.wrn(10, 2, classes=7, channels=1, image_size=8, seed=3, dropout=0.2)
    net.normalisation = "digits"
    models.save(net, tmp_path / "net.safetensors", extra={"note": "x"})
    again = models.load(tmp_path / "net.safetensors", classes=7)
    assert again.arch == net.arch and again.normalisation == "digits" and not again.training
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


def test_wrappers_prefixes_and_guesses(tmp_path: Path) -> None:
    net = models.build("resnet8", 5, seed=2)
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "a.pth")
    again = models.load(tmp_path / "a.pth", normalisation="cifar10")
    assert again.arch.name == "resnet8" and again.normalisation == "cifar10"
    assert torch.equal(again.fc.weight, net.fc.weight)


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_hostile_file_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"state_dict": Hostile(tmp_path / "run")}))
    torch.save({"w": Hostile(tmp_path / "run")}, tmp_path / "bad2.pt")
    for name in ("bad.pth", "bad2.pt"):
        with pytest.raises(RedistillError, match="it was refused"):
            models.load(tmp_path / name, model="resnet8")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["FILE:Net", "no_such_module_of_a_file:Net"])
def test_a_header_may_not_choose_code(tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nfrom torch.nn import Linear as Net\n")
    arch = {"name": name.replace("FILE", str(tmp_path / "evil.py")), "classes": 1, "channels": 3, "image_size": 32, "args": {}}
    save_file({"weight": torch.zeros(1)}, str(tmp_path / "h.safetensors"), metadata={"redistill": json.dumps({"arch": arch})})
    with pytest.raises(RedistillError, match="code from elsewhere, which a file may not choose"):
        models.load(tmp_path / "h.safetensors")
    assert not (tmp_path / "run").exists()
    save_file({"weight": torch.zeros(1)}, str(tmp_path / "i.safetensors"), metadata={"redistill": '{"arch": {"name": "x"}}'})
    with pytest.raises(RedistillError, match="its header holds no architecture"):
        models.load(tmp_path / "i.safetensors")


# of simkd no tensor says which body and which head
UNTOLD = ("resnet34", "resnet101", "resnet152", "dafl-generator", "dfad-generator", "cmi-generator", "simkd")


@pytest.mark.parametrize("names", [[["a"]], [{}], 3, "weight", [None, "weight"]])
def test_a_header_may_list_anything_beside_the_weights(tmp_path: Path, names: Any) -> None:
    """Buffers of no state dict are listed in the header, which is data: what is no name of a tensor is passed over."""
    about = json.dumps({"format": 1, "beside": names})
    save_file({"weight": torch.zeros(2, 3)}, str(tmp_path / "x.safetensors"), metadata={"redistill": about})
    tensors, header = models.read(tmp_path / "x.safetensors")
    assert [*tensors, *header["beside"]] == ["weight"]


def test_two_generators_that_differ_in_an_epsilon_alone_are_not_guessed(tmp_path: Path) -> None:
    for name in ("dafl-generator", "dfad-generator", "cmi-generator"):
        torch.save(models.build(name, initialise=False).state_dict(), tmp_path / "a.pth")
        with pytest.raises(RedistillError, match="weights of a generator"):
            models.load(tmp_path / "a.pth")
        models.save(models.build(name, seed=1), tmp_path / "b.safetensors")
        assert models.load(tmp_path / "b.safetensors").arch.name == name


@pytest.mark.parametrize("name", [n for n in models.names() if n not in UNTOLD])
def test_a_bare_state_dict_tells_its_network(tmp_path: Path, name: str) -> None:
    with torch.device("meta"):
        state = models.build(name, 7, channels=1, initialise=False).state_dict()
    generator = torch.Generator().manual_seed(0)
    torch.save({k: torch.rand(v.shape, generator=generator).to(torch.float16) for k, v in state.items()}, tmp_path / "a.pth")
    again = models.load(tmp_path / "a.pth")
    assert again.arch.name == name and again.arch.classes == (1 if name.endswith("-generator") else 7)
    assert list(again.state_dict()) == list(state)
    assert again.arch.channels == 1 and not again.training


@pytest.mark.parametrize("args", [{}, {"gamma": False}, {"projection": "always"}, {"gamma": False, "projection": "always"}])
@pytest.mark.parametrize("family", ["ours", "ferles", "zagoruyko"])
def test_wrns_of_any_size_and_variant_are_recognised(tmp_path: Path, family: str, args: dict[str, Any]) -> None:
    net = models.wrn(22, 1, 4, seed=1, **args)
    torch.save(foreign.from_ours(net.state_dict(), family), tmp_path / "a.pth")
    for model in (None, "wrn-22-1"):
        again = models.load(tmp_path / "a.pth", model=model)
        assert again.arch == net.arch and torch.equal(again.conv1.weight, net.conv1.weight)


def test_files_keep_their_precision_options_and_statistics(tmp_path: Path) -> None:
    net = models.build("resnet8", 5, seed=2).double()
    models.save(net, tmp_path / "d.safetensors")
    assert torch.equal(models.load(tmp_path / "d.safetensors").fc.weight, net.fc.weight)
    torch.save({"opt": argparse.Namespace(lr=0.1), "model": net.state_dict()}, tmp_path / "last.pth")  # RepDistiller
    assert models.load(tmp_path / "last.pth").arch.name == "resnet8"
    wrn = models.wrn(10, 2, seed=1)
    state = foreign.from_ours(wrn.state_dict(), "zagoruyko")
    stats = {k: v for k, v in state.items() if "running" in k}
    torch.save({"params": {k: v for k, v in state.items() if k not in stats}, "stats": stats}, tmp_path / "model.pt7")
    assert models.load(tmp_path / "model.pt7").arch.name == "wrn-10-2"
    save_file(wrn.state_dict(), str(tmp_path / "plain.safetensors"), metadata={"redistill": "weights", "normalise": "cifar10"})
    assert models.load(tmp_path / "plain.safetensors").normalisation == "cifar10"
    assert hash(wrn.arch) == hash(models.wrn(10, 2).arch)


def test_the_tiny_imagenet_mobilenet_is_another_network() -> None:
    # mdistiller's own, written again slowly from its state dict
    net = models.mobilenetv2_tiny(20).double().eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if "num_batches" not in name:
            value.copy_(torch.rand(value.shape, generator=generator, dtype=torch.float64) * 0.2 + 0.01)
    s = net.state_dict()
    assert list(s)[:2] == ["pre.0.weight", "pre.0.bias"] and s["stage1.residual.0.weight"].shape == (32, 32, 1, 1)
    assert "stage2.1.residual.6.bias" in s and s["conv2.weight"].shape == (20, 1280, 1, 1)

    def layer(x: Tensor, conv: str, bn: str, stride: int = 1, pad: int = 0, groups: int = 1) -> Tensor:
        x = F.conv2d(x, s[conv + ".weight"], s[conv + ".bias"], stride, pad, 1, groups)
        mean, var = s[bn + ".running_mean"].view(-1, 1, 1), s[bn + ".running_var"].view(-1, 1, 1)
        return (x - mean) / (var + 1e-5).sqrt() * s[bn + ".weight"].view(-1, 1, 1) + s[bn + ".bias"].view(-1, 1, 1)

    def block(x: Tensor, at: str, stride: int) -> Tensor:
        y = layer(x, at + ".residual.0", at + ".residual.1").clamp(0, 6)
        y = layer(y, at + ".residual.3", at + ".residual.4", stride, 1, y.shape[1]).clamp(0, 6)
        y = layer(y, at + ".residual.6", at + ".residual.7")
        return x + y if stride == 1 and x.shape == y.shape else y

    x = torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)
    features = [layer(x, "pre.0", "pre.1", 1, 1).clamp(0, 6)]
    out = block(features[0], "stage1", 1)
    for stage, count, stride in ((2, 2, 2), (3, 3, 2), (4, 4, 2), (5, 3, 1), (6, 3, 1)):
        for i in range(count):
            out = block(out, f"stage{stage}.{i}", stride if i == 0 else 1)
        if stage <= 4:
            features.append(out)
    out = layer(block(out, "stage7", 1), "conv1.0", "conv1.1").clamp(0, 6)
    features += [out, out.mean((2, 3))]
    want = features[-1] @ s["conv2.weight"][:, :, 0, 0].T + s["conv2.bias"]
    got = Tapped(net, tuple(net.places))(x)
    assert torch.allclose(got.logits, want, rtol=1e-10)
    for name, feature in zip(net.places, features, strict=True):
        assert torch.allclose(got.taps[name], feature, rtol=1e-10), name


@pytest.mark.parametrize("name", ["shufflenetv1", "shufflenetv2"])
def test_shuffles_agree_in_both_memory_formats(name: str) -> None:
    net = models.build(name, 5, seed=1).double().eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = net(x)
    last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert torch.allclose(last, want, rtol=1e-10, atol=1e-12)
    maps = torch.arange(24.0).view(1, 6, 2, 2)
    shuffled = shuffle(maps, 3)[0, :, 0, 0]
    assert shuffled.tolist() == [0, 8, 16, 4, 12, 20]  # channels 0, 2, 4, 1, 3, 5
    kept = shuffle(maps.to(memory_format=torch.channels_last), 3)
    assert kept.is_contiguous(memory_format=torch.channels_last) and torch.equal(kept, shuffle(maps, 3))


def test_vgg_pools_once_more_at_64_pixels_only() -> None:
    sizes = {size: dict(models.describe(models.vgg(8), (3, size, size)).stages)["stage4"][1] for size in (32, 64, 96)}
    assert sizes == {32: 4, 64: 4, 96: 12}


def test_files_that_do_not_fit_say_why(tmp_path: Path) -> None:
    torch.save(models.build("wrn-16-2", 10).state_dict(), tmp_path / "w.pth")
    with pytest.raises(RedistillError, match=r"does not fit wrn-16-1: block1.layer.0.conv1.weight has shape \[32, 16, 3, 3\] in the "
                                             r"file, \[16, 16, 3, 3\] in the network.*nearest is wrn-16-2"):
        models.load(tmp_path / "w.pth", model="wrn-16-1")
    with pytest.raises(RedistillError, match="tells 10 classes apart, 100 were asked for"):
        models.load(tmp_path / "w.pth", model="wrn-16-2", classes=100)
    with pytest.raises(RedistillError, match="there is no network file"):
        models.load(tmp_path / "none.pth")
    (tmp_path / "t.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(RedistillError, match="damaged or no safetensors file"):
        models.load(tmp_path / "t.safetensors")
    (tmp_path / "t.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:2000])
    with pytest.raises(RedistillError, match="damaged or no PyTorch file"):
        models.load(tmp_path / "t.pth")
    torch.save({"x": torch.zeros(3, 3)}, tmp_path / "x.pth")
    with pytest.raises(RedistillError, match="does not say its architecture, and none known fits"):
        models.load(tmp_path / "x.pth")
    torch.save({"x": 3}, tmp_path / "y.pth")
    with pytest.raises(RedistillError, match="holds no state dict"):
        models.load(tmp_path / "y.pth", model="resnet8")
    save_file({"x": torch.zeros(1)}, str(tmp_path / "new.safetensors"), metadata={"redistill": json.dumps({"format": 99})})
    with pytest.raises(RedistillError, match="newer version"):
        models.load(tmp_path / "new.safetensors")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.build("resnet2O"), "unknown network 'resnet2O': did you mean .*resnet20"),
        (lambda: models.build("wrn-17-1"), r"depth is 6n \+ 4"),
        (lambda: models.build("resnet21"), r"depth is 6n \+ 2"),
        (lambda: models.build("vgg12"), "unknown network 'vgg12': did you mean vgg1"),
        (lambda: models.build("./nowhere.py:Net"), "there is no file nowhere.py"),
        (lambda: models.build("nopackage.x:Net"), "no module 'nopackage'"),
        (lambda: models.build("torch.nn:Linaer"), "unknown name in torch.nn 'Linaer': did you mean Linear"),
        (lambda: models.generator(image_size=30), "multiple of 4, got 30"),
        (lambda: models.wrn(10, 1)(torch.zeros(2, 1, 32, 32)), r"takes images \[batch, 3, height, width\], got \[2, 1, 32, 32\]"),
        (lambda: models.vgg(8)(torch.zeros(2, 3, 4, 4)), "at least 8x8, got 4x4"),
        (lambda: models.generator()(torch.zeros(2, 99)), r"noise \[batch, 100\], got \[2, 99\]"),
        (lambda: models.wrn(10, 1, branch="x"), "'activated'"),
        (lambda: models.build("wrn-10-1", droput=0.1), "wrn-10-1: unknown argument 'droput': did you mean dropout"),
        (lambda: models.check("wrn_40_2"), "unknown network 'wrn_40_2': did you mean wrn-40-2"),
        (lambda: models.resnet(50), r"resnet50 is the network with four stages: use models.resnetv2\(50\)"),
        (lambda: models.resnetv2(20), "depth 18, 34, 50, 101, 152, got 20"),
        (lambda: models.lenet()(torch.zeros(1, 3, 40, 40)), "built for images of 32x32, got 40x40"),
        (lambda: models.lenet(image_size=12), "at least 16x16, got image_size=12"),
        (lambda: models.mlp()(torch.zeros(1, 5)), r"mlp takes 2 numbers a point or image, got \[1, 5\]"),
    ],
)
def test_what_cannot_be_built_is_told(make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RedistillError, match=says):
        make()


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_not_there_is_named_with_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RedistillError, match=rf"needs the package {library}, .*pip install 'redistill\[{library}\]'"):
        models.build(f"{library}:resnet18")


def test_a_network_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, classes, width=4):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, classes))\n"
    )
    net = models.build(f"{tmp_path}/mine.py:Net", 3, width=5, seed=1)
    assert net[1].out_features == 5 and net(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert torch.equal(net[1].weight, models.build(f"{tmp_path}/mine.py:Net", 3, width=5, seed=1)[1].weight)


# -- the authors' own numbers ----------------------------------------------------------------------------------------------
def golden_module(shared: Path) -> Any:
    spec = importlib.util.spec_from_file_location("read_golden", shared / "golden" / "read_golden.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_state_dict_names_and_order_are_the_authors(shared: Path) -> None:
    ours = {"resnet20": "resnet20", "resnet8x4": "resnet8x4", "wrn_40_2": "wrn-40-2", "vgg13": "vgg13", "ResNet50": "resnet50",
            "mdistiller_ResNet18": "resnet18", "MobileNetV2": "mobilenetv2", "ShuffleV1": "shufflenetv1", "polo5_lenet": "lenet",
            "polo5_generator_z100": "zskt-generator", "resnet32x4": "resnet32x4"}  # fmt: skip
    for case, name in ours.items():
        meta = json.loads((shared / "golden" / "models" / f"{case}.json").read_text())
        with torch.device("meta"):
            net = models.build(name, meta["num_classes"] or 10, initialise=False)
        assert [[k, list(v.shape)] for k, v in net.state_dict().items()] == meta["state_dict_entries"], case
    for case, family in {"seed_wrn_16_1": "ferles", "seed_wrn_40_2": "ferles", "zagoruyko_wrn_16_1": "zagoruyko"}.items():
        meta = json.loads((shared / "golden" / "models" / f"{case}.json").read_text())
        state = models.build("wrn-" + case.split("wrn_")[1].replace("_", "-"), 10).state_dict()
        assert [[k, list(v.shape)] for k, v in foreign.from_ours(state, family).items()] == meta["state_dict_entries"], case
    meta = json.loads((shared / "golden" / "models" / "seed_generator.json").read_text())
    state = models.generator().state_dict()
    assert [[k, list(v.shape)] for k, v in foreign.from_ours(state, "ferles").items()] == meta["state_dict_entries"]


def test_published_files_load(shared: Path) -> None:
    folder = shared / "checkpoints"
    teacher = models.load(folder / "teachers" / "wrn-40-2-cifar10.safetensors", normalisation="cifar10-kuangliu")
    assert teacher.arch.name == "wrn-40-2" and teacher.arch.classes == 10
    for file in sorted((folder / "ferles2020").glob("*.pth")):
        net = models.load(file)
        assert net.arch.name == "wrn-" + file.name.split("wrn-")[-1][:4], file
        assert np.isfinite(net(torch.zeros(1, 3, 32, 32)).detach().numpy()).all()
        assert isinstance(net.fc.weight, Tensor)


def test_shortcuts_of_option_a_have_no_parameters_and_pad_with_zeros() -> None:
    net = models.resnet(20, shortcut="padding")
    assert net.arch.args == {"shortcut": "padding"} and models.resnet(20).arch.args == {}
    assert sum(p.numel() for p in net.parameters()) == 269_722
    assert sum(p.numel() for p in models.build("resnet44", shortcut="padding").parameters()) == 658_586
    block = net.layer2[0]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()  # what is left is the shortcut
    x = torch.rand(2, 16, 8, 8)
    out = block.eval()(x)
    assert out.shape == (2, 32, 4, 4) and torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any() and not out[:, 24:].any()
    with pytest.raises(RedistillError, match="shortcut='pading': 'projection'"):
        models.resnet(20, shortcut="pading")


def test_akamaster_files_are_read_by_name_and_without(tmp_path: Path, shared: Path) -> None:
    net = models.resnet(20, shortcut="padding", seed=3).eval()
    theirs = {f"module.{name}": value for name, value in foreign.from_ours(net.state_dict(), "akamaster").items()}
    assert "module.linear.weight" in theirs and not [n for n in theirs if n.endswith("num_batches_tracked")]
    torch.save({"state_dict": theirs, "best_prec1": 10.0}, tmp_path / "resnet20.th")
    x = torch.rand(2, 3, 32, 32)
    for asked in ("resnet20", None):
        read = models.load(tmp_path / "resnet20.th", model=asked)
        assert read.arch == net.arch and torch.equal(read(x), net(x))
    for name, parameters in (("resnet20-12fca82f.th", 269_722), ("resnet44-014dd654.th", 658_586)):
        read = models.load(shared / "checkpoints" / "akamaster" / name, model=name.partition("-")[0], normalisation="imagenet")
        assert sum(p.numel() for p in read.parameters()) == parameters and read.arch.args == {"shortcut": "padding"}
def eager(net: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(net, backend="eager")
    return compiled


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: nn.Sequential(nn.Identity(), net), eager])
def test_a_wrapped_or_frozen_network_has_the_size_of_its_own(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = models.wrn(10, 1)
    plain = models.describe(net)
    assert models.describe(wrap(net)) == plain and plain.stages
    assert models.describe(net.requires_grad_(False)) == plain


def test_attention_is_counted_by_hand() -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    # 5 tokens of width 8: q, k, v and out 4 · 5 · 8 · 8; scores and values 2 · 5 · 5 · 8; feed forward 2 · 5 · 8 · 16
    assert models.describe(block, (5, 8)).macs == 4 * 5 * 64 + 2 * 25 * 8 + 2 * 5 * 128
    assert models.describe(nn.ConvTranspose2d(3, 4, 2, 2), (3, 5, 5)).macs == 3 * 25 * 4 * 4


NETS = """
from torch import nn

class Usual(nn.Sequential):
    def __init__(self, num_classes, in_chans=3, width=4):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_chans, width), nn.Linear(width, num_classes))

class Bare(nn.Sequential):
    def __init__(self):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))

class Both(nn.Sequential):
    def __init__(self, n_classes=7, *, in_channels, depth):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, n_classes))
"""


def test_a_network_of_ones_own_is_filled_by_its_signature(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    where = f"{tmp_path}/nets.py"
    for name, args, weight in (
        ("Usual", {}, (5, 4)), ("Usual", {"width": 8}, (5, 8)), ("Usual", {"num_classes": 2}, (2, 4)),
        ("Bare", {}, (10, 3)), ("Both", {"depth": 1}, (5, 1)),
    ):  # fmt: skip
        net = models.build(f"{where}:{name}", 5, channels=1, **args)
        assert isinstance(net, nn.Sequential) and tuple(net[-1].weight.shape) == weight
    with pytest.raises(RedistillError, match="Both needs depth, which nobody gives"):
        models.build(f"{where}:Both", 5)
    with pytest.raises(RedistillError, match="unknown argument 'widht': did you mean width"):
        models.build(f"{where}:Usual", 5, widht=3)
