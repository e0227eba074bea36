"""A Keras network saved whole as HDF5 (``model.save("net.h5")``, Keras 2), built again in PyTorch from its own description.

The file describes its layers as JSON and holds their weights; nothing in it is run. Images come as everywhere here, [N, C, H, W];
Keras lays them [N, H, W, C], which matters for kernels (height, width, in, out), for ``flatten`` and for ``same`` padding, which
with a stride pads more below and to the right. The softmax of the last layer is taken off: networks here give logits.

Needs h5py (``pip install "redistill[keras]"``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import RedistillError

MAGIC = b"\x89HDF\r\n\x1a\n"

ACTIVATIONS: dict[str, type[nn.Module]] = {"linear": nn.Identity, "relu": nn.ReLU}


class Conv(nn.Conv2d):
    """A convolution with Keras' ``same`` padding: as little as keeps ceil(size / stride), the odd row below and to the right."""

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int], stride: tuple[int, int], same: bool, bias: bool):
        super().__init__(c_in, c_out, kernel, stride, bias=bias)
        self.same = same

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            around: list[int] = []
            for size, kernel, stride in reversed(list(zip(x.shape[2:], self.kernel_size, self.stride, strict=True))):
                more = max((-(-size // stride) - 1) * stride + kernel - size, 0)
                around += [more // 2, more - more // 2]
            x = F.pad(x, around)
        return super().forward(x)


class Dense(nn.Linear):
    """Keras' layer works along the last axis, which is the channels there and the width here: only vectors [N, features] are taken."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise RedistillError(f"a Dense layer of the Keras file reads maps {list(x.shape)}, only vectors are read here")
        return super().forward(x)


class Flat(nn.Module):
    """[N, C, H, W] to [N, H * W * C], in the order of Keras."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)


class Sum(nn.Module):
    def forward(self, *parts: Tensor) -> Tensor:
        return torch.stack(parts).sum(0) if len(parts) > 2 else parts[0] + parts[1]


class GlobalMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


PLAIN: dict[str, type[nn.Module]] = {
    "ReLU": nn.ReLU, "Add": Sum, "Flatten": Flat, "GlobalAveragePooling2D": GlobalMean, "Dropout": nn.Identity,
}  # fmt: skip
"""Layers without settings and weights."""


@dataclass(frozen=True)
class Layer:
    """One layer of the description: its kind, its settings, and the layers that it reads."""

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]


class KerasNetwork(nn.Module):
    """A description carried out: images [N, C, H, W] to logits. ``classes``, ``image_shape`` [C, H, W]: as the file has them."""

    def __init__(self, layers: Sequence[Layer], made: Mapping[str, nn.Module], classes: int, image_shape: tuple[int, int, int]):
        super().__init__()
        self.steps = tuple((layer.name.replace(".", "_"), tuple(i.replace(".", "_") for i in layer.inputs)) for layer in layers)
        self.layers = nn.ModuleDict({name.replace(".", "_"): module for name, module in made.items()})
        self.classes, self.image_shape = classes, image_shape

    def forward(self, x: Tensor) -> Tensor:
        known: dict[str, Tensor] = {}
        last = x
        for name, inputs in self.steps:
            last = self.layers[name](*(known[i] for i in inputs)) if inputs else x
            known[name] = last
        return last


def load(path: Path) -> KerasNetwork:
    """The network of a Keras HDF5 file.

    Raises:
        RedistillError: h5py is not installed; the file holds weights alone, is damaged, or has a layer that is not known here.
    """
    try:
        import h5py
    except ImportError as error:
        raise RedistillError(f'{path} is a Keras file (HDF5), which needs h5py: pip install "redistill[keras]"') from error
    try:
        with h5py.File(path, "r") as file:
            described, group = file.attrs.get("model_config"), file.get("model_weights")
            if described is None or group is None:
                raise RedistillError(f"{path} holds weights of a Keras network without its description: save it whole, model.save(...)")
            layers = described_layers(json.loads(described), path)
            weights = {name: _weights(group[name]) for name in group if name in {layer.name for layer in layers}}
        return _built(layers, weights, path)
    except RedistillError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:  # also of a description of other kinds
        raise RedistillError(f"{path} is damaged or no Keras file ({type(error).__name__}: {str(error)[:200]}): get it again") from error


def _weights(group: Any) -> list[Tensor]:
    """Weights of a layer in its own order, as Keras lists them."""
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs.get("weight_names", ())]
    return [torch.from_numpy(group[name][...]) for name in names]


def described_layers(model: Mapping[str, Any], path: Path) -> list[Layer]:
    """The layers of ``model_config`` in an order in which each comes after those that it reads.

    Raises:
        RedistillError: several inputs or outputs, a layer used twice, or a description of another version.
    """
    if model.get("class_name") not in ("Functional", "Model", "Sequential"):
        raise RedistillError(f"{path} describes a {model.get('class_name')}, which is not known here: Sequential and Functional are")
    config = model["config"]
    rows = config["layers"] if isinstance(config, Mapping) else config
    found: list[Layer] = []
    for number, row in enumerate(rows):
        name = str(row["config"].get("name", f"layer {number}"))
        if model["class_name"] == "Sequential":
            if number == 0 and row["class_name"] != "InputLayer":
                shape = {"batch_input_shape": row["config"].get("batch_input_shape", ())}
                found.append(Layer("input", "InputLayer", shape, ()))
            inputs: tuple[str, ...] = (found[-1].name,) if found else ()
        else:
            nodes = row.get("inbound_nodes", [])
            if len(nodes) > 1 or (nodes and not isinstance(nodes[0], list)):
                raise RedistillError(f"{path}: layer {name!r} is used twice or is described as Keras 3 does, which is not read here")
            inputs = tuple(str(node[0]) for node in nodes[0]) if nodes else ()
        found.append(Layer(name, str(row["class_name"]), row["config"], inputs))
    starts = [layer.name for layer in found if not layer.inputs]
    if len(starts) != 1:
        raise RedistillError(f"{path}: its network has {len(starts)} inputs, one set of images is expected")
    ordered: list[Layer] = []
    while len(ordered) < len(found):
        there = {layer.name for layer in ordered}
        ready = [layer for layer in found if layer not in ordered and set(layer.inputs) <= there]
        if not ready:
            raise RedistillError(f"{path}: its layers read each other in a circle, or one that is not there")
        ordered += ready
    read = {name for layer in found for name in layer.inputs}
    ends = [layer for layer in ordered if layer.name not in read]
    if len(ends) != 1:
        raise RedistillError(f"{path}: its network has {len(ends)} outputs, one of logits or probabilities is expected")
    return [*(layer for layer in ordered if layer is not ends[0]), ends[0]]


def _built(layers: Sequence[Layer], weights: Mapping[str, list[Tensor]], path: Path) -> KerasNetwork:
    made: dict[str, nn.Module] = {}
    shape: tuple[int, ...] = ()
    for layer in layers:
        if layer.kind == "InputLayer":
            shape = tuple(layer.config.get("batch_input_shape") or layer.config.get("batch_shape") or ())[1:]
            made[layer.name] = nn.Identity()
            continue
        try:
            made[layer.name] = _module(layer, weights.get(layer.name, []), last=layer is layers[-1])
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            if isinstance(error, RedistillError):
                raise RedistillError(f"{path}: {error}") from error
            raise RedistillError(f"{path}: layer {layer.name!r} ({layer.kind}) does not fit its weights: {error}") from error
    if len(shape) != 3 or not all(isinstance(size, int) for size in shape):
        raise RedistillError(f"{path}: takes inputs of shape {list(shape)}, images of a fixed [height, width, channels] are expected")
    classes = next((int(w[0].shape[-1]) for layer in reversed(layers) if (w := weights.get(layer.name))), 0)
    height, width, channels = shape
    return KerasNetwork(layers, made, classes, (channels, height, width))


def _module(layer: Layer, weights: Sequence[Tensor], *, last: bool) -> nn.Module:
    config, kind = layer.config, layer.kind
    if config.get("data_format", "channels_last") != "channels_last":
        raise RedistillError(f"layer {layer.name!r} has its channels first, which is not read here")
    if kind in ("Conv2D", "Dense"):
        kernel = weights[0].permute(3, 2, 0, 1) if kind == "Conv2D" else weights[0].t()
        core = _conv(layer, kernel) if kind == "Conv2D" else Dense(kernel.shape[1], kernel.shape[0], bool(config["use_bias"]))
        _fill(core, {"weight": kernel, **({"bias": weights[1]} if config["use_bias"] else {})})
        active = _activation(layer, last=last)
        return core if isinstance(active, nn.Identity) else nn.Sequential(core, active)
    if kind == "BatchNormalization":
        return _norm(layer, weights)
    if kind == "Activation":
        return _activation(layer, last=last)
    if kind in ("AveragePooling2D", "MaxPooling2D"):
        if config.get("padding") != "valid":
            raise RedistillError(f"layer {layer.name!r} pools with padding {config.get('padding')!r}: 'valid' is read here")
        size, stride = tuple(config["pool_size"]), tuple(config["strides"])
        return nn.AvgPool2d(size, stride) if kind == "AveragePooling2D" else nn.MaxPool2d(size, stride)
    if kind == "ReLU" and any(config.get(name) for name in ("max_value", "negative_slope", "threshold")):
        raise RedistillError(f"layer {layer.name!r} is a ReLU with a bound, a slope or a threshold, which is not read here")
    if kind == "Softmax" and last:
        return nn.Identity()
    if kind not in PLAIN:
        known = "Conv2D, Dense, BatchNormalization, Activation, pooling, " + ", ".join(PLAIN)
        raise RedistillError(f"layer {layer.name!r} is a {kind}, which is not known here: {known} are")
    return PLAIN[kind]()


def _activation(layer: Layer, *, last: bool) -> nn.Module:
    name = str(layer.config.get("activation", "linear"))
    if name == "softmax" and last:
        return nn.Identity()
    if name not in ACTIVATIONS:
        raise RedistillError(f"layer {layer.name!r} has the activation {name!r}: {', '.join(ACTIVATIONS)} are read, softmax at the end")
    return ACTIVATIONS[name]()


def _conv(layer: Layer, kernel: Tensor) -> Conv:
    config = layer.config
    if config.get("groups", 1) != 1 or tuple(config.get("dilation_rate", (1, 1))) != (1, 1) or config["padding"] not in ("same", "valid"):
        raise RedistillError(f"layer {layer.name!r} has groups, a dilation or a padding that is not read here")
    c_out, c_in, height, width = kernel.shape
    stride = tuple(config["strides"])
    return Conv(c_in, c_out, (height, width), (stride[0], stride[1]), config["padding"] == "same", bool(config["use_bias"]))


def _norm(layer: Layer, weights: Sequence[Tensor]) -> nn.Module:
    """A batch norm after a convolution; Keras counts the share of the old statistics, PyTorch that of the new."""
    config, left = layer.config, list(weights)
    axis = config["axis"][0] if isinstance(config["axis"], list) else config["axis"]
    if axis not in (3, -1):
        raise RedistillError(f"layer {layer.name!r} normalises along axis {axis}, the channels (3) are expected")
    norm = nn.BatchNorm2d(len(left[-1]), eps=float(config["epsilon"]), momentum=1 - float(config["momentum"]))
    gain = left.pop(0) if config["scale"] else torch.ones(norm.num_features)
    shift = left.pop(0) if config["center"] else torch.zeros(norm.num_features)
    _fill(norm, {"weight": gain, "bias": shift, "running_mean": left[0], "running_var": left[1]})
    return norm


def _fill(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            there: Tensor = getattr(module, name)
            if there.shape != value.shape:
                raise ValueError(f"{name} {list(value.shape)} where {list(there.shape)} belongs")
            there.copy_(value)
