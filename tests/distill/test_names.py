"""What the words for a network mean: as a run has it, whatever its file and its library say."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import redistill as rd
from redistill.core import RedistillError
from redistill.distill import cost, named, photos
from redistill.distill.names import with_classes, with_published_weights
from redistill.distill.results import _cost
from redistill.distill.teacher import require_knowing
from redistill.models import libraries
from redistill.models.sizes import made_for
from redistill.models.weights import load_weights

SIZES = {"classes": 3, "channels": 3, "image_size": 8}


class Inception(nn.Module):
    """As torchvision's: asked for its published weights it normalises its images once more."""

    def __init__(self, num_classes: int = 6, transform_input: bool = False, kernel: int = 1, more: bool = True):
        super().__init__()
        self.transform_input = transform_input
        self.body = nn.Conv2d(3, 4, kernel)
        self.head = nn.Conv2d(4, num_classes, 1)
        if more:
            self.aux = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = 0.5 * x + 1.0 if self.transform_input else x
        return self.head(self.body(x)).mean((2, 3))


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def get_model(name: str, weights: str | None = None, **args: Any) -> nn.Module:
        torch.manual_seed(0)
        if weights is None:
            return Inception(**args)
        kernel = 3 if name == "wide" else 1
        return Inception(**{"transform_input": True, "kernel": kernel, "more": False, **args})

    def one(size: int) -> SimpleNamespace:
        return SimpleNamespace(transforms=lambda: SimpleNamespace(mean=[0.5] * 3, std=[0.5] * 3), meta={"min_size": (size, size)})

    class Published(list):  # type: ignore[type-arg]
        DEFAULT = one(518)

    made: Any = ModuleType("torchvision")
    made.models = SimpleNamespace(get_model=get_model, get_model_weights=lambda name: Published([Published.DEFAULT, one(224)]))
    monkeypatch.setitem(sys.modules, "torchvision", made)
    return made  # type: ignore[no-any-return]


def test_published_weights_compute_what_the_library_makes_of_them(torchvision: Any, tmp_path: Path) -> None:
    """GoogLeNet's and Inception's were put into a network that is fed otherwise; a fresh head of convolutions passed for their own."""
    images = torch.rand(2, 3, 8, 8)
    one = with_published_weights(named("torchvision:inception_v3"), 6, tmp_path)
    assert one.args == {"transform_input": True} and one.classes == 6 and one.size == 518
    theirs = torchvision.models.get_model("inception_v3", weights="DEFAULT")
    assert torch.equal(one.made({**SIZES, "classes": 6})(images), theirs(images))
    other = with_published_weights(named("torchvision:inception_v3"), 3, tmp_path)
    assert other.classes == 6, "its head is new here, and its weights tell 6 classes apart"
    again = with_published_weights(named("torchvision:inception_v3", args={"transform_input": False}), 6, tmp_path)
    assert again.args == {"transform_input": False}
    says = r"publishes for wide are of another network .*: body\.weight \[4, 3, 3, 3\] and \[4, 3, 1, 1\]"
    with pytest.raises(RedistillError, match=says):
        with_published_weights(named("torchvision:wide"), 6, tmp_path)


def test_what_a_file_says_counts_before_what_its_library_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of timm that was trained under one normalisation was fed in that of the weights that timm publishes."""
    monkeypatch.setattr(libraries, "facts_of", lambda full: libraries.Facts(True, "imagenet", None))
    net = nn.Linear(2, 2)
    rd.models.save(net, tmp_path / "says.safetensors", normalisation="half")
    torch.save(net.state_dict(), tmp_path / "silent.pth")
    assert named("timm:tiny", weights=tmp_path / "says.safetensors").normalise == "half"
    assert named("timm:tiny", weights=tmp_path / "silent.pth").normalise == "imagenet"
    assert named("timm:tiny", weights=tmp_path / "says.safetensors", normalise="none").normalise == "none"
    assert named("timm:tiny").normalise == "imagenet" and named("timm:tiny", published=False).normalise is None


def test_arguments_that_no_shape_shows_are_those_of_the_file(tmp_path: Path) -> None:
    """A plan measured, and put into its table, a teacher of the same weights under another function than its runs learned from."""
    net: Any = rd.models.wrn(10, 1, classes=3, image_size=8, norm_eps=0.5).eval()
    rd.models.save(net, tmp_path / "floor.safetensors")
    images = torch.rand(2, 3, 8, 8)
    one = named("wrn-10-1", weights=tmp_path / "floor.safetensors")
    assert torch.equal(one.made(SIZES)(images), net(images)) and one.args == {}
    plain = rd.models.wrn(10, 1, classes=3, image_size=8)
    with pytest.raises(RedistillError, match=r"made with norm_eps = 0\.5, the network has its usual value"):
        load_weights(plain, tmp_path / "floor.safetensors")
    with pytest.raises(RedistillError, match="tells 3 classes apart, the network wrn-10-1 was built for 5"):
        one.made({**SIZES, "classes": 5})


def test_a_network_may_ask_for_more_than_its_classes(tmp_path: Path) -> None:
    """For images without labels its number of classes is written down; what a run knows of the images was missed and refused."""
    (tmp_path / "asks.py").write_text(
        "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, num_classes, in_chans, width=4):\n"
        "        super().__init__(nn.Conv2d(in_chans, width, 1), nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    one = with_classes(named(f"{tmp_path}/asks.py:Net", args={"width": 2}), SIZES)
    assert one.args == {"num_classes": 3, "width": 2}
    assert with_classes(named("wrn-10-1"), SIZES).args == {"classes": 3}


def test_a_network_in_double_precision_has_a_cost() -> None:
    """With --precision double everything was trained, and the table ended with PyTorch's message about its dtypes, at every try."""
    nets = {"double": rd.models.wrn(10, 1, 3, image_size=8).double(), "single": rd.models.wrn(10, 1, 3, image_size=8)}
    found = cost.latencies(nets, (3, 8, 8), torch.device("cpu"), (1, 2))
    assert all(milliseconds > 0 for one in found.values() for milliseconds in one.milliseconds.values())
    memory = {name: _cost(net, (3, 8, 8), torch.device("cpu"), {}).memory for name, net in nets.items()}
    assert memory["double"] == pytest.approx(2 * memory["single"], rel=0.01)


def test_a_plan_tells_the_accuracy_of_the_evaluation_images() -> None:
    """Of more than 2,000 the same number of each class was asked: 95 % right on these was told as 86 %."""
    g = torch.Generator().manual_seed(0)
    labels = (torch.rand(5000, generator=g) < 0.1).long()
    known = labels * (torch.rand(5000, generator=g) < 0.5)  # it takes half of the rarer class for the other
    test = rd.data.Images((255 * known).to(torch.uint8).view(-1, 1, 1, 1), labels, 2, "rare", "none")
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-1.0], [1.0]]))
        net[1].bias.copy_(torch.tensor([0.5, -0.5]))
    right = rd.accuracy(net, test)
    found = require_knowing(net, test, "the teacher")
    assert 94 < right < 96 and found.n == 2000 and abs(100 * found.right / found.n - right) < 1


def test_a_size_that_nobody_said_is_not_said_by_a_copy(tmp_path: Path) -> None:
    """A network of a plain state dict, saved again, was "made for" 32, to which a plan then brought all pictures."""
    torch.save(rd.models.wrn(10, 1, classes=3, image_size=64).state_dict(), tmp_path / "plain.pth")
    net: Any = rd.models.load(tmp_path / "plain.pth")
    rd.models.save(net, tmp_path / "copy.safetensors")
    assert named(str(tmp_path / "plain.pth")).size is None is named(str(tmp_path / "copy.safetensors")).size
    assert made_for(rd.models.load(tmp_path / "copy.safetensors")) is None
    rd.models.save(rd.models.wrn(10, 1, classes=3, image_size=64), tmp_path / "sized.safetensors")
    assert named(str(tmp_path / "sized.safetensors")).size == 64 == made_for(rd.models.load(tmp_path / "sized.safetensors"))


def test_a_held_out_part_is_counted_of_what_has_labels(tmp_path: Path) -> None:
    """The interval of a chosen method was that of a tenth of all images, where some had no label."""
    y = np.where(np.arange(100) < 40, np.arange(100) % 2, -1)
    np.savez(tmp_path / "some.npz", x=np.random.default_rng(0).integers(0, 256, (100, 3, 8, 8), dtype=np.uint8), y=y)
    words = {"skip_unreadable": False, "data_dir": None}
    found = photos.opened(photos.looked_at(f"arrays:{tmp_path / 'some.npz'}"), None, evaluate=None, **words)  # type: ignore[arg-type]
    assert (found.own_count, found.labelled_count) == (100, 40)
    assert len(found.train.held_out(0.1, seed=0)[1]) == 4
    with pytest.raises(RedistillError, match=r"60 of the 100 images of .* have no label, and an accuracy needs one of each"):
        photos.opened(photos.looked_at("digits"), None, evaluate=f"arrays:{tmp_path / 'some.npz'}", **words)  # type: ignore[arg-type]
