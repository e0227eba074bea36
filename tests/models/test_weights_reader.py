"""Files of weights: told by their bytes, named for what they are, read where harmless, and modest whatever they announce."""

from __future__ import annotations

import collections
import io
import json
import os
import pathlib
import pickle
import signal
import tarfile
import tempfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import redistill
from redistill import models
from redistill.core import RedistillError
from redistill.errors import OtherClasses
from redistill.models import foreign
from redistill.models.classes import require_same_order
from redistill.models.weights import WeightsWarning, load_weights
from redistill.models.weights_reader import AVERAGES, tensors_of


@pytest.fixture(scope="module")
def net() -> Any:
    return models.wrn(10, 1, seed=3, channels=1, image_size=8)


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def saved_before_1_6(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    with pytest.warns():
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), file)
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def tarred(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("teachers/one.pth"), io.BytesIO())
    return file.getvalue()


KINDS: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty.pth", lambda: b"", r"is empty \(0 bytes\)"),
    ("lfs.safetensors", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
    ("page.pth", lambda: b"\n<!DOCTYPE html><html></html>", "web page"),
    ("page.pt", lambda: b"\xef\xbb\xbf<html lang='en'>", "web page"),
    ("text.pth", lambda: b"epoch 3\naccuracy 91\n", "is a text that begins with 'epoch 3'"),
    ("keras.h5", lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras"),
    ("keras.keras", lambda: zipped("metadata.json", "model.weights.h5"), "Keras file"),
    ("net.onnx", lambda: b"\x08\x07\x12\x07pytorch" + bytes(50), "ONNX"),
    ("net.pth", lambda: b"\x08\x07\x12\x07pytorch" + bytes(50), "ONNX"),
    ("net.tflite", lambda: b"\x1c\0\0\0TFL3" + bytes(50), "TensorFlow Lite"),
    ("all.zip", lambda: zipped("a/one.pth", "a/two.pth"), r"zip archive that holds files \(a/one.pth, a/two.pth\): unpack it"),
    ("all.tar", lambda: tarred("w"), r"tar archive that holds files \(teachers/one.pth\)"),
    ("all.pth", lambda: tarred("w:gz"), "packed with gzip"),
    ("script.pt", scripted, "TorchScript program"),
    ("exported.pt2", lambda: zipped("m/archive_format", "m/models/model.json"), "exported program"),
    ("a.npz", lambda: zipped("w.npy", "b.npy"), "numpy arrays"),
    ("whole.pth", lambda: saved_before_1_6(nn.Sequential(nn.Linear(2, 2))), "holds a whole network, not its weights .*state_dict"),
    ("optimizer.pth", lambda: saved(torch.optim.Adam([nn.Parameter(torch.zeros(1))]).state_dict()), "state of an optimizer"),
    ("two.pth", lambda: saved({"student": {"a": torch.zeros(1)}, "teacher": {"a": torch.zeros(1)}}), r"several .*\(student, teacher\)"),
    ("tensor.pth", lambda: saved(torch.zeros(3)), r"one tensor \[3\] without a name"),
    ("sparse.pth", lambda: saved({"a": torch.eye(3).to_sparse()}), "a is sparse"),
    ("number.pth", lambda: saved({"epoch": 3}), "holds no state dict, but the keys epoch"),
    ("wide.pth", lambda: saved({"fc.weight": torch.zeros(1).expand(10**9)}), "announces 4,000,000,000 bytes of weights"),
    ("noise.safetensors", lambda: b"\xff" * 100, "damaged or no safetensors file"),
    ("cut.safetensors", lambda: (10**5).to_bytes(8, "little") + b'{"a"', "damaged or no safetensors file"),
    ("noise.pth", lambda: b"\x00\x01\x02" * 30, "damaged or no PyTorch file"),
    ("index.json", lambda: b'{"weight_map": {"a": "../../etc/passwd"}}', "not all of them plain names"),
    ("other.json", lambda: b'{"a": 1}', "no list of shards"),
]


@pytest.mark.parametrize(("name", "content", "says"), KINDS, ids=[name for name, _, _ in KINDS])
def test_files_are_named_for_what_they_are(tmp_path: Path, name: str, content: Callable[[], bytes], says: str) -> None:
    (tmp_path / name).write_bytes(content())
    with pytest.raises(RedistillError, match=says) as refusal:
        models.load(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value) and len(str(refusal.value)) < 600


def test_a_mapping_that_contains_itself(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    torch.save(loop, tmp_path / "a.pth")
    with pytest.raises(RedistillError, match="mappings inside mappings without end"):
        models.load(tmp_path / "a.pth")


def test_what_is_no_file_at_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for path, says in ((tmp_path, "is a folder"), (tmp_path / "pipe.pth", "no plain file"), ("a" * 5000, "there is no network file"),
                       ("a\0b", "there is no network file"), ("/dev/zero", "no plain file")):  # fmt: skip
        with pytest.raises(RedistillError, match=says):
            models.load(path)


WAYS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "numpy scalars beside": lambda s: {"model": s, "best_acc": np.float64(76.3), "epoch": np.int64(3), "curve": np.zeros(3)},
    "paths beside": lambda s: {"state_dict": s, "folder": pathlib.Path("x/y")},
    "half": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    "deep": lambda s: {"model": {"net": {"weights": s}}},
    "lightning": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "pytorch-lightning_version": "2"},
    "wrapped twice": lambda s: {"model_state": {f"module._orig_mod.{k}": v for k, v in s.items()}},
    "compiled in part": lambda s: {k.replace("block1.", "block1._orig_mod."): v for k, v in s.items()},
    "average only": lambda s: {"ema": s, "epoch": 1},
    "optimizer beside": lambda s: {"net": s, "optimizer": {"state": {0: {"m": torch.zeros(1)}}, "param_groups": []}},
    "one other name": lambda s: {"my_network": s, "epoch": 1},
}


class Ran:
    """Beside the weights somebody keeps what would run a program when it is built."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(pathlib.Path(tempfile.gettempdir()) / f"redistill-ran-{os.getpid()}"),)


BESIDE: dict[str, Any] = {
    "history": lambda: collections.defaultdict(list, {"loss": [0.1]}),
    "configuration": lambda: types.SimpleNamespace(lr=0.1, steps=[1, 2]),
    "enumeration": lambda: signal.SIGINT,
    "program": Ran,
}


SIZES = {"classes": 10, "channels": 1, "image_size": 8}


@pytest.mark.parametrize("what", BESIDE)
def test_objects_beside_the_weights_are_passed_over_and_nothing_in_them_runs(tmp_path: Path, net: Any, what: str) -> None:
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "beside": BESIDE[what]()}, tmp_path / "a.pth")
    assert torch.equal(models.load(tmp_path / "a.pth").fc.weight, net.fc.weight)
    assert not (pathlib.Path(tempfile.gettempdir()) / f"redistill-ran-{os.getpid()}").exists()


def test_a_distillers_checkpoint_gives_its_student_or_says_what_it_holds(tmp_path: Path) -> None:
    """mdistiller saves student and teacher together; a deeper teacher has every name of its student."""
    small, big, like = (models.wrn(depth, 1, seed=seed, **SIZES) for depth, seed in ((10, 0), (16, 1), (10, 2)))
    for wrap in ("", "module."):
        state = {f"{wrap}{who}.{k}": v for who, one in (("student", small), ("teacher", big)) for k, v in one.state_dict().items()}
        torch.save({"epoch": 1, "model": state}, tmp_path / "latest.pth")
        assert torch.equal(models.load(tmp_path / "latest.pth", model="wrn-10-1", args=SIZES).fc.weight, small.fc.weight)
        with pytest.raises(RedistillError, match=rf"more than wrn-16-1, whose names stand under '{wrap}teacher\.': save one"):
            models.load(tmp_path / "latest.pth", model="wrn-16-1", args=SIZES)
    both = {f"{who}.{k}": v for who, one in (("student", small), ("teacher", like)) for k, v in one.state_dict().items()}
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(RedistillError, match=r"stand under 'student\.', 'teacher\.'"):
        models.load(tmp_path / "both.pth", model="wrn-10-1", args=SIZES)


@pytest.mark.parametrize("key", AVERAGES)
def test_weights_and_their_average_are_told_apart(tmp_path: Path, net: Any, key: str) -> None:
    """timm publishes accuracies of ``state_dict_ema``; which of the two was read must not be a secret."""
    average, file = models.wrn(10, 1, seed=4, channels=1, image_size=8), tmp_path / "a.pth"
    torch.save({"epoch": 1, "state_dict": net.state_dict(), key: {f"module.{k}": v for k, v in average.state_dict().items()}}, file)
    with pytest.warns(WeightsWarning, match=rf"running average \({key}\), and the weights were read") as told:
        assert torch.equal(models.load(file).fc.weight, net.fc.weight)
    line = str(told[0].message).partition("give a file of it, ")[2]
    exec(line.replace("'averaged.safetensors'", repr(str(tmp_path / "averaged.safetensors"))), {"rd": redistill})
    assert torch.equal(models.load(tmp_path / "averaged.safetensors").fc.weight, average.fc.weight)
    with pytest.warns(WeightsWarning):
        load_weights(mine := models.wrn(10, 1, seed=5, channels=1, image_size=8), file)
    assert torch.equal(mine.fc.weight, net.fc.weight)


def test_an_average_that_is_asked_for_must_be_there(tmp_path: Path, net: Any) -> None:
    torch.save({"ema": net.state_dict()}, tmp_path / "only.pth")
    assert torch.equal(models.load(tmp_path / "only.pth", averaged=True).fc.weight, net.fc.weight)
    torch.save({"state_dict": net.state_dict(), "ema": None}, tmp_path / "plain.pth")
    models.save(net, tmp_path / "plain.safetensors")
    for file in ("plain.pth", "plain.safetensors"):
        assert torch.equal(models.load(tmp_path / file).fc.weight, net.fc.weight)
        with pytest.raises(RedistillError, match=rf"{file} holds no averaged weights .*: leave averaged out"):
            models.load(tmp_path / file, averaged=True)


@pytest.mark.parametrize("way", WAYS)
def test_ways_of_saving_are_read(tmp_path: Path, net: Any, way: str) -> None:
    torch.save(WAYS[way](net.state_dict()), tmp_path / "a.pth")
    again = models.load(tmp_path / "a.pth")
    kept = net.state_dict()
    assert again.arch.name == "wrn-10-1"
    close = 1e-3 if way == "half" else 0.0
    assert all(torch.allclose(v, kept[k], rtol=close, atol=close) for k, v in again.state_dict().items())


def test_names_of_files_do_not_matter_and_shards_are_joined(tmp_path: Path, net: Any) -> None:
    models.save(net, tmp_path / "really.pth")
    (tmp_path / "really.safetensors").write_bytes(saved(net.state_dict()))
    for name in ("really.pth", "really.safetensors"):
        assert torch.equal(models.load(tmp_path / name).fc.weight, net.fc.weight)
    state = net.state_dict()
    halves = [dict(list(state.items())[0::2]), dict(list(state.items())[1::2])]
    for i, half in enumerate(halves):
        save_file(half, str(tmp_path / f"part-{i}.safetensors"))
    listed = {name: f"part-{i}.safetensors" for i, half in enumerate(halves) for name in half}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    found = tensors_of(tmp_path / "model.safetensors.index.json")
    assert found.keys() == state.keys() and all(torch.equal(found[k], v) for k, v in state.items())
    os.remove(tmp_path / "part-1.safetensors")
    with pytest.raises(RedistillError, match=r"there is no network file .*part-1.safetensors"):
        models.load(tmp_path / "model.safetensors.index.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"classes": 10**8}, r"fc.weight has shape \[10, 64\] in the file, \[100000000, 64\]|tells 10 classes apart"),
        ({"channels": 10**8}, r"conv1.weight has shape .*\[16, 100000000, 3, 3\] in the network"),
        ({"classes": 10**30}, "cannot be built"),
        ({"name": "wrn-10-3000"}, "in the network"),
        ({"name": "wrn-60004-1"}, "more layers than the file has entries"),
        ({"name": "wrn-10-" + "9" * 50}, "cannot be built"),
        ({"args": {"classes": 3}}, "cannot be built|multiple values"),
        ({"args": {"nothing": 3}}, "unknown argument 'nothing'"),
        ({"name": "mlp", "args": {"inputs": 10**12, "hidden": [10**9, 10**9]}}, "cannot be built|in the network"),
    ],
)
def test_a_header_cannot_ask_for_much(tmp_path: Path, net: Any, change: dict[str, Any], says: str) -> None:
    arch = {**net.arch.as_json(), **change}
    save_file(net.state_dict(), str(tmp_path / "a.safetensors"), metadata={"redistill": json.dumps({"format": 1, "arch": arch})})
    with pytest.raises(RedistillError, match=says):
        models.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "state",
    [
        {f"layer1.{i}.conv1.weight": torch.zeros(0) for i in range(3000)} | {"fc.weight": torch.zeros(10, 4)},
        {"layers.0.weight": torch.zeros(3, 3), "layers.x.weight": torch.zeros(3, 3)},
        {"conv1.0.weight": torch.tensor(1.0), "classifier.0.weight": torch.zeros(2, 2)},
        {"layers.7.weight": torch.tensor(1.0), "a": torch.zeros(2, 2)},
        {"layers.²": torch.zeros(2, 2), "9" * 5000: torch.zeros(2, 2)},
    ],
)
def test_names_and_shapes_that_nobody_has(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(RedistillError, match="does not say its architecture, and none known fits"):
        models.load(tmp_path / "a.pth")


def test_whole_numbers_are_no_weights(tmp_path: Path, net: Any) -> None:
    torch.save({k: v.to(torch.int8) if k == "fc.weight" else v for k, v in net.state_dict().items()}, tmp_path / "a.pth")
    with pytest.raises(RedistillError, match=r"fc.weight is torch.int8 in the file, torch.float32 in the network"):
        models.load(tmp_path / "a.pth", model="wrn-10-1")


def test_args_do_not_change_what_a_file_computes(tmp_path: Path, net: Any) -> None:
    models.save(net, tmp_path / "a.safetensors")
    for args in ({"branch": "raw"}, {"classes": 7}, {"channels": 3}, {"projection": "always"}):
        with pytest.raises(RedistillError, match=f"args say {next(iter(args))} = "):
            models.load(tmp_path / "a.safetensors", args=args)
    with pytest.raises(RedistillError, match="holds a wrn-10-1, not a wrn-16-1"):
        models.load(tmp_path / "a.safetensors", model="wrn-16-1")
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    same = models.load(tmp_path / "a.safetensors", model="wrn-10-1", args={"branch": "activated", "dropout": 0.3})
    assert torch.equal(same(x), net.eval()(x)) and same.arch.args == {"dropout": 0.3}
    torch.save(net.state_dict(), tmp_path / "bare.pth")  # a bare file does not say it: there args have the word
    assert models.load(tmp_path / "bare.pth", args={"branch": "raw"}).arch.args == {"branch": "raw"}
    with pytest.raises(RedistillError, match="tells 10 classes apart, 7 were asked for"):
        models.load(tmp_path / "bare.pth", args={"classes": 7})


OWN = """
from torch import nn
class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.head = nn.Linear(width, num_classes)
        self.trunk = nn.Linear(9, width)
    def forward(self, x):
        return self.head(self.trunk(x.flatten(1)).relu())
"""


@pytest.mark.parametrize("way", ["raw", "lightning", "optimizer beside"])
def test_a_network_of_ones_own_is_read_by_the_same_reader(tmp_path: Path, way: str) -> None:
    (tmp_path / "own.py").write_text(OWN)
    made = models.build(f"{tmp_path}/own.py:Net", 6, seed=1)
    state = made.state_dict()
    torch.save(state if way == "raw" else WAYS[way](state), tmp_path / "a.pth")
    again = models.load(tmp_path / "a.pth", model=f"{tmp_path}/own.py:Net")
    assert all(torch.equal(v, state[k]) for k, v in again.state_dict().items())
    with pytest.raises(RedistillError, match="does not fit Net"):
        models.load(tmp_path / "a.pth", model=f"{tmp_path}/own.py:Net", args={"width": 5})
    with pytest.raises(RedistillError, match="unknown argument 'depth': did you mean width"):
        models.load(tmp_path / "a.pth", model=f"{tmp_path}/own.py:Net", args={"depth": 5})


def test_two_entries_of_one_name(tmp_path: Path, net: Any) -> None:
    state = net.state_dict()
    torch.save({**state, **{f"module.{k}": v + 1 for k, v in state.items() if k == "fc.bias"}}, tmp_path / "a.pth")
    with pytest.raises(RedistillError, match=r"two entries are called 'fc.bias'|module.fc.bias .* has no place"):
        models.load(tmp_path / "a.pth")


# -- names of classes -------------------------------------------------------------------------------------------------
def test_class_names_travel_with_the_weights(tmp_path: Path, net: Any) -> None:
    names = tuple("abcdefghij")
    models.save(net, tmp_path / "a.safetensors", class_names=names)
    again = models.load(tmp_path / "a.safetensors")
    assert again.class_names == names
    models.save(again, tmp_path / "b.safetensors")
    assert models.load(tmp_path / "b.safetensors").class_names == names
    models.save(net, tmp_path / "c.safetensors")
    assert models.load(tmp_path / "c.safetensors").class_names is None
    with pytest.raises(RedistillError, match="2 class names for the 10 outputs of wrn-10-1"):
        models.save(net, tmp_path / "d.safetensors", class_names=["a", "b"])


def test_classes_in_another_order_are_refused_and_other_names_are_told() -> None:
    natural, letters = ["1", "2", "10"], ["1", "10", "2"]
    with pytest.raises(RedistillError, match=r"class 1 is '2' for t.pth and '10' for folder:x: the same 3 classes in another order"):
        require_same_order(natural, letters, "t.pth", "folder:x")
    assert require_same_order(natural, natural, "t", "d") is None and require_same_order(None, letters, "t", "d") is None
    message = require_same_order(["0", "1"], ["zero", "1"], "t.pth", "folder:x")
    assert message is not None and message.startswith("1 of 2 classes have other names: class 0 is '0' for t.pth and 'zero' for folder:x")
    assert require_same_order(["a"], ["a", "b"], "t", "d") == "t knows 1 class names, d has 2"
    with pytest.raises(RedistillError, match=r"'c' is class 2 for t and class 1 for d: .* the same class folders \(a, b, c; a, c\)"):
        require_same_order(["a", "b", "c"], ["a", "c"], "t", "d")
    assert "1 of 3" in str(require_same_order(["crane", "b", "crane"], ["crane", "b", "c"], "t", "d"))  # ImageNet has two


def test_padded_resnets_and_their_foreign_names(tmp_path: Path) -> None:
    """pytorch_resnet_cifar10's files are told by their shapes, wrapped or not, and contradicted by no argument."""
    made: Any = models.resnet("20", 10, shortcut="padding", seed=1)
    state = foreign.from_ours(made.state_dict(), "akamaster")
    assert "linear.weight" in state and not any(name.endswith("num_batches_tracked") for name in state)
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "a.th")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for given in ({}, {"model": "resnet20"}, {"args": {"shortcut": "padding"}}):
        again: Any = models.load(tmp_path / "a.th", **given)
        assert (again.arch.name, again.arch.args) == ("resnet20", {"shortcut": "padding"}) and torch.equal(again(x), made.eval()(x))
    with pytest.raises(RedistillError, match=r"args say shortcut = 'projection', the shapes in .* say 'padding'"):
        models.load(tmp_path / "a.th", args={"shortcut": "projection"})


def test_a_saved_file_has_the_rights_of_any_other(tmp_path: Path, net: Any) -> None:
    (tmp_path / "any").touch()
    models.save(net, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode
    with pytest.raises(RedistillError, match=r"there is no folder"):
        models.save(net, tmp_path / "missing" / "a.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "any"]


class Destroyer:
    """An object of a file that does something when it is read by Python's own unpickler."""

    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["REDISTILL_TEST_TRAP"],)


class Glass(nn.Module):
    """Looks through a buffer that no state dict holds, and was drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.register_buffer("glass", torch.randn(4), persistent=False)


@pytest.mark.parametrize("around", [lambda n: n, nn.DataParallel, AveragedModel, lambda n: {"net": n}], ids=["whole", "dp", "swa", "in"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_whole_network_keeps_its_buffers_of_no_state_dict(around: Any, protocol: int, tmp_path: Path) -> None:
    saved, fresh = Glass(), Glass()
    torch.save(around(saved), tmp_path / "whole.pth", pickle_protocol=protocol)
    models.weights.load_weights(fresh, tmp_path / "whole.pth")
    assert torch.equal(fresh.glass, saved.glass) and torch.equal(fresh.head.weight, saved.head.weight)  # type: ignore[arg-type]


def test_a_training_module_keeps_its_network_beside_other_things(tmp_path: Path) -> None:
    def loaded(state: dict[str, Any]) -> nn.Module:
        torch.save({"state_dict": state, "hyper_parameters": {"lr": 0.1}}, tmp_path / "epoch.ckpt")
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
        models.weights.load_weights(net, tmp_path / "epoch.ckpt")
        return net

    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)).state_dict()
    under = {holder: {f"{holder}.{name}": value for name, value in made.items()} for holder in ("model", "own", "teacher", "student")}
    for state in (under["own"], {**under["model"], "criterion.weight": torch.ones(2)}):
        assert torch.equal(loaded(state).state_dict()["3.weight"], made["3.weight"])
    with pytest.raises(RedistillError, match="holds more than Sequential, whose names stand under 'teacher"):  # which of them?
        loaded({**under["teacher"], **under["student"]})
    with pytest.raises(RedistillError, match="more than Sequential, whose names stand under 'own"):  # a part of a network that holds more
        loaded({**under["own"], "head.weight": torch.ones(2, 2)})


@pytest.mark.parametrize("around", [lambda net: net, lambda net: {"epoch": 3, "model": nn.DataParallel(net)}], ids=["whole", "inside"])
def test_a_whole_network_is_read_as_data_and_nothing_in_it_runs(around: Any, net: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("REDISTILL_TEST_TRAP", str(tmp_path / "sprung"))
    held = models.wrn(10, 1, seed=3, channels=1, image_size=8)
    held.trap = Destroyer()  # type: ignore[assignment]
    torch.save(around(held), tmp_path / "whole.pth")
    found = tensors_of(tmp_path / "whole.pth")
    wanted = {name if around(net) is net else f"module.{name}": value for name, value in net.state_dict().items()}
    assert list(found) == list(wanted) and all(torch.equal(found[name], value) for name, value in wanted.items())
    assert not (tmp_path / "sprung").exists()
    assert torch.equal(models.load(tmp_path / "whole.pth").fc.weight, net.fc.weight)


def test_a_file_of_other_classes_says_so_by_its_type(net: Any, tmp_path: Path) -> None:
    """Whoever knows how many classes there are names another way out than a text that it would have to recognise."""
    torch.save(net.state_dict(), tmp_path / "ten.pth")
    with pytest.raises(OtherClasses) as refusal:
        load_weights(models.wrn(10, 1, classes=7, channels=1, image_size=8), tmp_path / "ten.pth")
    fact = "ten.pth tells 10 classes apart, the network wrn-10-1 was built for 7"
    assert refusal.value.fact.endswith(fact) and str(refusal.value) == f"{refusal.value.fact}: build it with classes=10"
    other = pickle.loads(pickle.dumps(refusal.value))  # as a worker hands it on
    assert (str(other), other.fact) == (str(refusal.value), refusal.value.fact)
