"""Networks against the authors' own numbers; names both ways; files that are damaged, foreign, hostile or for another network."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from redistill import models
from redistill.core import RedistillError
from redistill.models import foreign
from redistill.taps import Tapped, places_of

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


def test_files_that_do_not_fit_say_why(tmp_path: Path) -> None:
    torch.save(models.build("wrn-16-2", 10).state_dict(), tmp_path / "w.pth")
    with pytest.raises(RedistillError, match=r"does not fit wrn-16-1: block1.layer.0.conv1.weight has shape \[32, 16, 3, 3\] in the "
                                             r"file, \[16, 16, 3, 3\] in the network.*nearest is wrn-16-2"):
        models.load(tmp_path / "w.pth", model="wrn-16-1")
    with pytest.raises(RedistillError, match="tells 10 classes apart, the network wrn-16-2 was built for 100"):
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
    from safetensors.torch import save_file

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
        (lambda: models.build("timm:resnet18"), "needs the package timm"),
        (lambda: models.generator(image_size=30), "multiple of 4, got 30"),
        (lambda: models.wrn(10, 1)(torch.zeros(2, 1, 32, 32)), r"takes images \[batch, 3, height, width\], got \[2, 1, 32, 32\]"),
        (lambda: models.vgg(8)(torch.zeros(2, 3, 4, 4)), "at least 8x8, got 4x4"),
        (lambda: models.generator()(torch.zeros(2, 99)), r"noise \[batch, 100\], got \[2, 99\]"),
        (lambda: models.wrn(10, 1, branch="x"), "'activated'"),
    ],
)
def test_what_cannot_be_built_is_told(make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RedistillError, match=says):
        make()


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
