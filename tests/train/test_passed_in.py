"""What people pass in their own code: each works, or is one sentence with the way out."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import redistill as rd
from redistill.models import weights_reader

X = torch.randint(0, 255, (24, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3
CODE = """
import torch
from torch import nn

class Scaled(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.linear = nn.Linear(64, classes)
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, x):
        return self.linear(x.flatten(1)) * self.scale
"""


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.1), nn.Flatten(), nn.Linear(144, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)  # type: ignore[no-any-return]


def images() -> rd.data.Images:
    return rd.data.Images(X, Y, 3, "mine", "half")


def fitted(net: nn.Module, method: Any = None, teacher: nn.Module | None = None, **more: Any) -> rd.Result:
    given = {"recipe": rd.Recipe(steps=1, batch_size=8, lr=0.01), "seed": 0, **more}
    return rd.fit(net, teacher, method if method is not None else rd.CE(), images(), **given)


# -- networks in wrappers and files -----------------------------------------------------------------------------------
def wrapped(kind: str, net: nn.Module) -> nn.Module:
    if kind == "average":
        return torch.optim.swa_utils.AveragedModel(net)
    return nn.DataParallel(net) if kind == "parallel" else nn.Sequential(net)


@pytest.mark.parametrize("kind", ["parallel", "sequence", "average"])
def test_a_wrapped_network_is_saved_with_its_size_and_its_normalisation(kind: str, tmp_path: Path) -> None:
    net = rd.models.wrn(10, 1, classes=3, channels=1, image_size=8, seed=0)
    net.normalisation = "half"
    rd.models.save(wrapped(kind, net), tmp_path / "net.safetensors")
    back: Any = rd.models.load(tmp_path / "net.safetensors")
    assert (back.arch, back.normalisation) == (net.arch, "half")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), back.state_dict().values(), strict=True))


def test_buffers_that_no_state_dict_holds_come_back_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    space: dict[str, Any] = {}
    exec(CODE, space)
    net = space["Scaled"]()
    net.scale.fill_(7.0)
    rd.models.save(net, tmp_path / "net.safetensors")
    back = rd.models.load(tmp_path / "net.safetensors", model=f"{tmp_path}/mine.py:Scaled")
    x = torch.ones(2, 1, 8, 8)
    assert torch.equal(back(x), net.eval()(x)) and float(back.scale) == 7.0  # type: ignore[arg-type]
    (tmp_path / "mine.py").write_text(CODE.replace("torch.ones(1)", "torch.ones(2)"))
    with pytest.raises(rd.RedistillError, match=r"holds the buffer scale \[1\], Scaled has \[2\]"):
        rd.models.load(tmp_path / "net.safetensors", model=f"{tmp_path}/mine.py:Scaled")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_network_traced_in_train_mode_is_noticed_wherever_it_is_asked() -> None:
    bad = torch.jit.trace(Small().train(), torch.zeros(4, 1, 8, 8), check_trace=False)
    good = torch.jit.trace(Small().eval(), torch.zeros(4, 1, 8, 8))
    fitted(Small(), 1.0 * rd.KD(), good)
    asked = (lambda: fitted(Small(), 1.0 * rd.KD(), bad), lambda: rd.accuracy(bad, images()), lambda: rd.agreement(bad, good, images()))
    for ask in asked:
        with pytest.raises(rd.RedistillError, match=r"was traced .* in train mode"):
            ask()


@pytest.mark.parametrize("kind", [torch.int64, torch.complex64])
def test_logits_that_are_no_real_numbers_are_refused(kind: torch.dtype) -> None:
    class Odd(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).to(kind)

    with pytest.raises(rd.RedistillError, match=f"returned logits of {kind}"):
        fitted(Odd())


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = rd.models.wrn(10, 1, classes=3, channels=1, image_size=8, seed=0)
    rd.models.save(net, tmp_path / "net.safetensors")
    torch.save(net.state_dict(), tmp_path / "net.pth")

    def broken(*args: object, **more: object) -> None:
        raise OSError(5, "Input/output error")

    for reader, file in ((weights_reader, "net.safetensors"), (torch, "net.pth"), (zipfile, "net.pth")):
        name = {"net.safetensors": "safe_open"}.get(file, "load" if reader is torch else "ZipFile")
        with monkeypatch.context() as patched:
            patched.setattr(reader, name, broken)
            with pytest.raises(rd.RedistillError, match=r"cannot be read \(Input/output error\)") as caught:
                rd.models.load(tmp_path / file)
        assert "damaged" not in str(caught.value)


def test_dates_beside_weights_are_harmless_and_addresses_are_no_files(tmp_path: Path) -> None:
    net = rd.models.wrn(10, 1, classes=3, channels=1, image_size=8, seed=0)
    torch.save({"model": net.state_dict(), "when": datetime.datetime.now(datetime.UTC)}, tmp_path / "net.pth")
    assert rd.models.load(tmp_path / "net.pth").arch.classes == 3  # type: ignore[union-attr]
    with pytest.raises(rd.RedistillError, match="is an address"):
        rd.models.load("https://example.org/net.pth")


# -- methods ----------------------------------------------------------------------------------------------------------
def test_terms_are_weighed_as_numbers_are() -> None:
    assert repr(rd.CE() - 0.5 * rd.KD()) == "CE() + -0.5 * KD()"
    assert (rd.CE() / 4 + rd.KD() * np.int64(2)).weights == (0.25, 2.0)
    assert (-(rd.CE() + 2 * rd.KD())).weights == (-1.0, -2.0)
    assert (np.float32(3) * rd.CE()).weights == (3.0,)
    assert (3 * (rd.Ramp(0, 2) * rd.CE())).weights == (rd.Ramp(0, 2, last=3.0),)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rd.CE() * rd.KD(), lambda: rd.CE() + 1,  # type: ignore[operator]
        lambda: 1 + rd.CE(), lambda: rd.CE() - "KD",  # type: ignore[operator]
        lambda: "2" * rd.CE(),
        lambda: (rd.CE() + rd.KD()) * None, lambda: (rd.CE() + rd.KD()) * True, lambda: rd.CE() / 0,
        lambda: rd.Ramp(0, 2) * (rd.Ramp(0, 2) * rd.CE()), lambda: rd.CE() * torch.tensor(2.0),
    ],
)  # fmt: skip
def test_what_is_no_weighted_sum_is_one_sentence(make: Any) -> None:
    with pytest.raises(rd.RedistillError):
        make()


def test_labels_that_count_from_one_are_spoken_of() -> None:
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 4
    student = rd.models.wrn(10, 1, classes=4, image_size=8, seed=0)
    for first, said in ((1, "the data have 5: they must agree .no image has label 0"), (2, "the data have 6: they must agree$")):
        data = rd.data.of(torch.utils.data.TensorDataset(images, labels + first))
        with pytest.raises(rd.RedistillError, match=said):
            rd.fit(student, None, rd.CE(), data, rd.Recipe(epochs=1, batch_size=4), seed=0)


def test_labels_that_are_no_classes_of_the_logits_are_one_sentence() -> None:
    student_output, teacher_output = rd.Output(torch.zeros(2, 3)), rd.Output(torch.ones(2, 3))
    wrong = (([1, 5], "run from 1 to 5"), ([1, -1], "run from -1 to 1"), ([1.0, 0.0], "whole number"), ([[1, 0], [0, 1]], "argmax"))
    for labels, why in wrong:
        for term in (rd.CE(), rd.DKD()):
            with pytest.raises(rd.RedistillError, match=why):
                term(student_output, teacher_output, rd.Batch(X[:2].float(), torch.tensor(labels)))
    with pytest.raises(rd.RedistillError, match=r"redistill.Output\(logits\)"):
        rd.KD()(torch.zeros(2, 3), torch.zeros(2, 3), rd.Batch(X[:2].float()))


# -- the rest of a call -----------------------------------------------------------------------------------------------
def test_images_with_their_channels_last_are_refused() -> None:
    with pytest.raises(rd.RedistillError, match=r"permute\(0, 3, 1, 2\)"):
        rd.data.Images(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), 2, "mine", "half")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(rd.RedistillError, match="there is no device 'cuda' here"):
        fitted(Small(), device="cuda")


def test_a_device_that_computes_nothing_is_one_sentence() -> None:
    with pytest.raises(rd.RedistillError, match="nothing can be computed on device 'vulkan' here"):
        fitted(Small(), device="vulkan")


def test_a_recipe_and_an_interval_of_the_wrong_kind_are_one_sentence() -> None:
    with pytest.raises(rd.RedistillError, match=r"must be a redistill.Recipe, got a dict"):
        fitted(Small(), recipe={"epochs": 1})
    with pytest.raises(rd.RedistillError, match="every='1'"):
        fitted(Small(), every="1")
