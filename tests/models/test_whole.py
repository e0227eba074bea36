"""Whole networks of other frameworks: Keras' HDF5 built again in PyTorch, TensorFlow Lite by its interpreter."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from redistill import data, models
from redistill.errors import RedistillError
from redistill.metrics import accuracy
from redistill.models import lite
from redistill.papers.load import load as paper

FILES = {c.file: c for c in paper("banbury2021").file.checkpoint}
MLPERF = "checkpoints/mlperf-tiny"


# ---------------------------------------------------------------------------------------------------------------------
# Keras
# ---------------------------------------------------------------------------------------------------------------------
def kept(path: Path, layers: list[dict[str, Any]], weights: dict[str, list[Any]], kind: str = "Functional") -> Path:
    """A file as Keras 2 writes it, from the description of its layers and their weights."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": kind, "config": {"name": "net", "layers": layers}})
        group = file.create_group("model_weights")
        for name, several in weights.items():
            names = [f"{name}/weight {i}" for i in range(len(several))]
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [one.encode() for one in names]
            for one, value in zip(names, several, strict=True):
                inner.create_dataset(one, data=np.asarray(value, dtype=np.float32))
    return path


def layer(kind: str, name: str, *inputs: str, **config: Any) -> dict[str, Any]:
    nodes = [[[one, 0, 0, {}] for one in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def conv(name: str, *inputs: str, stride: int = 1, **more: Any) -> dict[str, Any]:
    return layer("Conv2D", name, *inputs, strides=[stride, stride], padding="same", use_bias=True, activation="linear", **more)


INPUT = layer("InputLayer", "in", batch_input_shape=[None, 5, 6, 2])
NORM = {"axis": [3], "epsilon": 1e-3, "momentum": 0.99, "center": True, "scale": True}


def slow_conv(x: Any, kernel: Any, bias: Any, stride: int) -> Any:
    """[H, W, C] with kernel [kh, kw, in, out], ``same`` padding as TensorFlow has it, entry by entry."""
    kh, kw, _, out = kernel.shape
    height, width = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    top = max((height - 1) * stride + kh - x.shape[0], 0) // 2
    left = max((width - 1) * stride + kw - x.shape[1], 0) // 2
    made = np.zeros((height, width, out))
    for i in range(height):
        for j in range(width):
            made[i, j] = bias
            for a in range(kh):
                for b in range(kw):
                    y, z = i * stride + a - top, j * stride + b - left
                    if 0 <= y < x.shape[0] and 0 <= z < x.shape[1]:
                        made[i, j] += x[y, z] @ kernel[a, b]
    return made


def test_a_keras_network_computes_what_its_description_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(3, 3, 4, 4)), rng.normal(size=(1, 1, 2, 4))
    biases = rng.normal(size=(3, 4))
    gain, shift, mean, var = rng.normal(size=4), rng.normal(size=4), rng.normal(size=4), rng.uniform(0.5, 2, size=4)
    dense, last = rng.normal(size=(3 * 3 * 4, 3)), rng.normal(size=3)
    layers = [
        INPUT, conv("a", "in", stride=2), layer("BatchNormalization", "norm", "a", **NORM),
        layer("Activation", "relu", "norm", activation="relu"), conv("b", "relu"),
        conv("c", "in", stride=2), layer("Add", "sum", "b", "c"), layer("Flatten", "flat", "sum"),
        layer("Dense", "dense", "flat", use_bias=True, activation="softmax"),
    ]  # fmt: skip
    weights = {
        "a": [a, biases[0]], "b": [b, biases[1]], "c": [c, biases[2]], "norm": [gain, shift, mean, var], "dense": [dense, last],
    }  # fmt: skip
    net = models.load(kept(tmp_path / "net.h5", layers, weights), normalisation="pixels")
    assert net.classes == 3 and net.image_shape == (2, 5, 6) and net.normalisation == "pixels" and not net.training
    x = rng.normal(size=(5, 6, 2))
    first = slow_conv(x, a, biases[0], 2)
    first = np.maximum((first - mean) / np.sqrt(var + 1e-3) * gain + shift, 0)
    flat = (slow_conv(first, b, biases[1], 1) + slow_conv(x, c, biases[2], 2)).reshape(-1)  # height, width, channel
    images = torch.from_numpy(x.transpose(2, 0, 1)[None]).double()
    with torch.no_grad():
        assert net.double()(images)[0].numpy() == pytest.approx(flat @ dense + last, rel=1e-5, abs=1e-5)


def test_a_sequential_network_and_pooling(tmp_path: Path) -> None:
    kernel, dense = np.ones((1, 1, 2, 2)), np.eye(2)
    layers = [
        conv("a", batch_input_shape=[None, 4, 4, 2]), layer("MaxPooling2D", "max", pool_size=[2, 2], strides=[2, 2], padding="valid"),
        layer("GlobalAveragePooling2D", "mean"), layer("Dropout", "drop"), layer("Dense", "dense", use_bias=False, activation="linear"),
    ]  # fmt: skip
    net = models.load(kept(tmp_path / "net.h5", layers, {"a": [kernel, np.zeros(2)], "dense": [dense]}, "Sequential"))
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    largest = x.sum(1).reshape(2, 2, 2, 2).amax((1, 3)).mean()
    assert torch.equal(net(x), largest.expand(1, 2))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([INPUT, layer("Lambda", "mine", "in", function="exec")], "layer 'mine' is a Lambda, which is not known here"),
        ([INPUT, layer("Activation", "act", "in", activation="swish")], "layer 'act' has the activation 'swish'"),
        ([INPUT, layer("Flatten", "one", "in"), layer("Flatten", "two", "in")], "has 2 outputs"),
        ([layer("InputLayer", "in", batch_input_shape=[None, None, 6, 2])], "images of a fixed"),
        ([INPUT, conv("a", "in", data_format="channels_first")], "has its channels first"),
        ([INPUT, layer("Flatten", "one", "none")], "in a circle, or one that is not there"),
        ([INPUT, layer("Dense", "a", "in", use_bias=True, activation="linear")], "layer 'a' .* does not fit its weights"),
    ],
)
def test_what_is_not_known_is_one_sentence(layers: list[dict[str, Any]], words: str, tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match=words):
        models.load(kept(tmp_path / "net.h5", layers, {"a": [np.ones((3, 3, 2, 2))]}))


def test_a_dense_layer_on_maps_is_refused(tmp_path: Path) -> None:
    """Keras works along the channels there, a linear layer along the width: where both are 6 the numbers would be others, silently."""
    start = layer("InputLayer", "in", batch_input_shape=[None, 5, 6, 6])
    layers = [start, layer("Dense", "a", "in", use_bias=False, activation="linear"), layer("GlobalAveragePooling2D", "mean", "a")]
    net = models.load(kept(tmp_path / "net.h5", layers, {"a": [np.ones((6, 3))]}))
    with pytest.raises(RedistillError, match=r"reads maps \[2, 6, 5, 6\], only vectors are read here"):
        net(torch.zeros(2, 6, 5, 6))


@pytest.mark.parametrize(
    "described",
    [
        [],
        {"class_name": "Functional", "config": {"layers": [{"class_name": "InputLayer", "config": []}]}},
        {"class_name": "Sequential", "config": []},
        {"class_name": "Functional", "config": {"layers": [layer("InputLayer", "in", batch_input_shape=5)]}},
        {"class_name": "Functional", "config": {"layers": [INPUT, layer("Conv2D", "a", "in", **{"activation": []})]}},
    ],
)
def test_a_description_of_other_kinds_is_one_sentence(described: Any, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(described)
        file.create_group("model_weights")
    with pytest.raises(RedistillError, match=r"^\S+net.h5"):
        models.load(tmp_path / "net.h5")


def test_weights_without_a_description_and_damaged_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_group("dense")
    with pytest.raises(RedistillError, match=r"^\S+weights.h5 holds weights of a Keras network without its description: save it whole"):
        models.load(tmp_path / "weights.h5")
    whole = (tmp_path / "weights.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[:200])
    with pytest.raises(RedistillError, match="is damaged or no Keras file"):
        models.load(tmp_path / "cut.h5")
    net = kept(tmp_path / "net.h5", [INPUT, layer("Flatten", "f", "in"), layer("Dense", "d", "f", use_bias=False, activation="softmax")],
               {"d": [np.ones((60, 4))]})  # fmt: skip
    with pytest.raises(RedistillError, match="tells 4 classes apart, 10 were asked for"):
        models.load(net, classes=10)
    with pytest.raises(RedistillError, match=r"is a whole network of its own \(keras\), not a resnet20"):
        models.load(net, model="resnet20")
    with pytest.raises(RedistillError, match="takes no arguments, got width"):
        models.load(net, args={"width": 2})


def test_without_the_package_the_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for name in lite.INTERPRETERS:
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (tmp_path / "net.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(99))
    with pytest.raises(RedistillError, match=r'which needs h5py: pip install "redistill\[keras\]"'):
        models.load(tmp_path / "net.h5")
    with pytest.raises(RedistillError, match=r'which needs an interpreter: pip install "redistill\[tflite\]"'):
        models.load(tmp_path / "net.tflite")


# ---------------------------------------------------------------------------------------------------------------------
# TensorFlow Lite
# ---------------------------------------------------------------------------------------------------------------------
class Interpreter:
    """Stands for TensorFlow Lite's: the mean of each of two channels, as probabilities, in int8 or in float."""

    int8 = True

    def __init__(self, model_path: str, num_threads: int):
        if "damaged" in model_path:
            raise ValueError("Model provided has model identifier 'xxxx'\nmore")

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0, "shape": np.array([1, 2, 2, 2]), "dtype": np.int8, "quantization": (1.0, -128)} if self.int8 else
                {"index": 0, "shape": np.array([1, 2, 2, 2]), "dtype": np.float32, "quantization": (0.0, 0)}]  # fmt: skip

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 1, "shape": np.array([1, 2]), "quantization": (1 / 256, -128) if self.int8 else (0.0, 0)}]

    def resize_tensor_input(self, index: int, shape: Any) -> None: ...

    def allocate_tensors(self) -> None: ...

    def set_tensor(self, index: int, value: Any) -> None:
        assert value.dtype == (np.int8 if self.int8 else np.float32)
        self.value = value.astype(np.float64) + (128 if self.int8 else 0)

    def invoke(self) -> None: ...

    def get_tensor(self, index: int) -> Any:
        share = self.value.mean((1, 2))
        share = share / share.sum(axis=1, keepdims=True)
        return np.clip(np.round(share * 256) - 128, -128, 127).astype(np.int8) if self.int8 else share.astype(np.float32)


@pytest.fixture(params=[True, False])
def interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    module = types.ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = type("One", (Interpreter,), {"int8": request.param})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    for name in ("net", "damaged"):
        (tmp_path / f"{name}.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(99))
    return tmp_path


def test_images_are_quantised_laid_out_and_probabilities_are_logarithms(interpreter: Path) -> None:
    net = models.load(interpreter / "net.tflite", model="tflite", classes=2, normalisation="pixels")
    x = torch.tensor([[[[10.0, 20.4], [30.0, 40.0]], [[50.0, 60.0], [70.0, 80.0]]], [[[0.0] * 2] * 2, [[255.0, 255.0]] * 2]])
    out = net(x)
    assert out.shape == (2, 2) and out.dtype == x.dtype
    assert out[0].exp().tolist() == pytest.approx([100 / 360, 260 / 360], abs=1 / 256)
    assert out[1, 1].item() == pytest.approx(0.0, abs=1 / 200) and out[1, 0] < -6 and torch.isfinite(out).all()
    with pytest.raises(RedistillError, match=r"takes images \[2, 2, 2\], got \[3, 2, 2\]"):
        net(torch.zeros(1, 2, 3, 2))


def test_bytes_that_a_network_takes_as_they_are_are_rounded() -> None:
    """They were cut off: 120 of the 256 levels, 7 and 13 among them, came out of their normalisation one level lower."""
    levels = torch.arange(256, dtype=torch.uint8)
    images = data.normalisation("pixels").on("cpu", torch.float32)(levels.view(1, 1, 16, 16)).numpy()
    found = lite._quantised(images, {"quantization": (0.0, 0), "dtype": np.uint8})
    assert found.dtype == np.uint8 and found.flatten().tolist() == levels.tolist()
    assert lite._quantised(images, {"quantization": (0.0, 0), "dtype": np.float32}) is images
    assert lite._quantised(images, {"quantization": (1.0, -128), "dtype": np.int8}).flatten().tolist() == list(range(-128, 128))


def test_a_damaged_tflite_file_is_one_sentence(interpreter: Path) -> None:
    with pytest.raises(RedistillError, match=r"is damaged or no TensorFlow Lite file \(Model provided has model identifier 'xxxx'\)"):
        models.load(interpreter / "damaged.tflite")


# ---------------------------------------------------------------------------------------------------------------------
# The published files
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FILES)
def test_mlperf_tiny_gives_its_accuracy_to_the_image(name: str, shared: Path) -> None:
    path, place = shared / MLPERF / name, Path(os.environ.get("REDISTILL_DATA", ""))
    if not path.is_file() or not (place / "cifar-10-batches-py").is_dir():
        pytest.skip("the published files, or the official test images ($REDISTILL_DATA), are not here")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FILES[name].sha256
    pytest.importorskip("h5py" if name.endswith(".h5") else "ai_edge_litert")
    net = models.load(path, model=FILES[name].model, classes=10, normalisation=FILES[name].normalise)
    assert accuracy(net, data.load("cifar10:test", place)) == pytest.approx(86.97 if "quant" in name else 87.19)
