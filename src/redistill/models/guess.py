"""The detective: which architecture a file's tensors belong to, by their names and shapes."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.models.build import build, names
from redistill.models.foreign import stripped, to_ours
from redistill.models.resnetv2 import BLOCKS as RESNETV2
from redistill.models.shufflenetv2 import WIDTHS as SHUFFLENETV2

DEEPEST = 2000
"""Layers; ResNet-1202 is the deepest that was published."""

UNBUILDABLE = (RedistillError, TypeError, ValueError, ArithmeticError, LookupError, RuntimeError)
"""What asking for a network with the numbers of a strange file may raise."""


def differences(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state dict from fitting: one sentence an entry; empty where it fits."""
    wrong = []
    for name, value in wanted.items():
        if name not in state:
            wrong.append(f"{name} {list(value.shape)} is missing in the file")
        elif state[name].shape != value.shape:
            wrong.append(f"{name} has shape {list(state[name].shape)} in the file, {list(value.shape)} in the network")
        elif state[name].is_floating_point() != value.is_floating_point() and not name.endswith("num_batches_tracked"):
            wrong.append(f"{name} is {state[name].dtype} in the file, {value.dtype} in the network")
    wrong += [f"{name[:200]} {list(v.shape)} has no place in the network" for name, v in state.items() if name not in wanted]
    return wrong


def shell(name: str, classes: int, tensors: Mapping[str, Tensor], **args: Any) -> nn.Module:
    """The network of that name without memory for its weights; none that is deeper than the file has entries."""
    deep = re.match(r"(?:wrn-|resnet)(\d+)", name)
    if deep and (len(deep[1]) > 6 or int(deep[1]) > min(DEEPEST, len(tensors))):
        raise RedistillError(f"{name[:100]} has more layers than the file has entries ({len(tensors)})")
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of layers without width, which fit no file
        return build(name, classes, initialise=False, **args)


def classes_of(tensors: Mapping[str, Tensor], asked: int | None = None) -> int:
    """Number of classes by the linear layer whose name comes last; names as :func:`stripped` gives them, here and below."""
    if any(name in MADE for name in tensors):
        return 1  # a generator has none
    linear = {name: v for name, v in tensors.items() if v.ndim == 2 or (v.ndim == 4 and v.shape[1:] == (1280, 1, 1))}
    if not linear:
        if asked is not None:
            return asked
        raise RedistillError("the number of classes cannot be read from the file (no linear layer): give classes=")

    def place(name: str) -> list[tuple[int, str]]:  # layers.11 comes after layers.9, which sorting by letters would not know
        return [(number, "") if (number := _number(part)) is not None else (-1, part) for part in name.split(".")]

    return int(linear[max(linear, key=place)].shape[0])


def possible_classes(tensors: Mapping[str, Tensor]) -> Iterator[int]:
    """Numbers of classes that a network of one's own may have: of its linear layers, the likeliest first."""
    linear = [int(v.shape[0]) for v in tensors.values() if v.ndim == 2 or (v.ndim == 4 and v.shape[2:] == (1, 1))]
    first = [classes_of(tensors)] if any(v.ndim == 2 for v in tensors.values()) else []
    yield from dict.fromkeys([*first, *reversed(linear)])


def _number(part: str) -> int | None:
    return int(part) if part.isascii() and part.isdecimal() and len(part) < 10 else None


MADE = ("layers.12.running_mean", "batch_norm4.running_mean")
"""Last batch norm of a generator: the channels it makes."""

_FIRST = ("conv1.weight", "conv1.0.weight", "block0.0.weight", "layers.0.weight", "conv0", "pre.0.weight")


def channels_of(tensors: Mapping[str, Tensor]) -> int:
    """Image channels by the first convolution; its name tells, because safetensors sorts its entries."""
    for name, value in tensors.items():
        if name in _FIRST and value.ndim == 4:
            return int(value.shape[1])
        if name in MADE and value.ndim == 1:
            return int(value.shape[0])
    return 3


def _score(tensors: Mapping[str, Tensor], candidate: str, classes: int, args: Mapping[str, Any]) -> tuple[int, int]:
    """(entries that differ, entries) between the file and one architecture, without allocating its weights."""
    net = shell(candidate, classes, tensors, channels=channels_of(tensors), **args)
    wanted = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    state, _ = to_ours(tensors, list(net.state_dict()))
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    return len(differences(wanted, state)), len(wanted)


def _candidates(tensors: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Any]]]:
    """What the names alone allow: (network, arguments), depths and widths counted; all known names where they say nothing."""
    shapes = {name: tuple(value.shape) or (0,) for name, value in tensors.items()}  # a scalar has no width either

    def indices(pattern: str) -> int:
        return len({found[1] for name in shapes if (found := re.match(pattern, name))})

    def shape(pattern: str) -> tuple[int, ...]:
        return next((shape for name, shape in shapes.items() if re.fullmatch(pattern, name)), (0,))

    if n := indices(r"(?:block1\.(?:layer|nblockLayer)\.|group0\.block)(\d+)\."):
        width = shape(r"block1\.(?:layer|nblockLayer)\.0\.conv1\.weight|group0\.block0\.conv0")[0] // 16
        projected = shape(r"block1\.(?:layer|nblockLayer)\.0\.(?:convShortcut|conv_inp)\.weight|group0\.block0\.convdim") != (0,)
        wrn: dict[str, Any] = {"projection": "always"} if width == 1 and projected else {}
        if shape(r"bn1\.weight|batch_norm\.weight|bn\.weight") == (0,):
            wrn["gamma"] = False
        if "fc.weight" in shapes and "fc.bias" not in shapes:
            wrn["bias"] = False
        return [(f"wrn-{6 * n + 4}-{width}", wrn)]
    thin: list[tuple[str, dict[str, Any]]] = []
    if (n := indices(r"layer1\.(\d+)\.")) and ("fc.weight" in shapes or not indices(r"layer4\.(\d+)\.")):
        padded = shape(r"layer2\.0\.downsample\.0\.weight") == (0,) and indices(r"layer2\.(\d+)\.")
        name = f"resnet{6 * n + 2}{'x4' if shape('conv1.weight')[0] == 32 else ''}"
        thin = [(name, {"shortcut": "padding"} if padded else {})]
    if "linear.weight" in shapes:  # three stages of a CIFAR ResNet (akamaster), or of a ShuffleNet
        sizes: list[tuple[str, dict[str, Any]]] = [("shufflenetv2", {"size": s} if s != 1.0 else {}) for s in SHUFFLENETV2]
        return [*thin, *((f"resnet{depth}", {}) for depth in RESNETV2), ("shufflenetv1", {}), *sizes]
    if thin:
        return thin
    if "classifier.0.weight" in shapes:
        half = shape(r"conv1\.0\.weight")[0] == 16
        return [("mobilenetv2", {} if half else {"width": shape(r"conv1\.0\.weight")[0] / 32})]
    if len(outputs := shapes.get("layers.0.weight", ())) == 2:
        if "layers.12.running_mean" in shapes:
            return [("zskt-generator", {"z": outputs[1], "image_size": 4 * math.isqrt(outputs[0] // 128)})]
        if "layers.9.running_mean" in shapes:
            raise RedistillError(
                "these are weights of a generator (dafl-generator, dfad-generator or cmi-generator), and the first two differ in nothing "
                "that a file of weights holds: build the one that it is with redistill.models.build and load them into it"
            )
        layers = ((_number(name.split(".")[1]), s) for name, s in shapes.items() if len(s) == 2 and name.startswith("layers."))
        rows = [shape[0] for _, shape in sorted((n, s) for n, s in layers if n is not None)]
        return [("mlp", {"inputs": outputs[1], "hidden": tuple(rows[:-1])})]
    if "layers.7.weight" in shapes:
        return [("lenet", {"image_size": 4 * math.isqrt(shapes["layers.7.weight"][-1] // 16) + 12})]
    return [(name, {}) for name in names()]


def nearest_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """The known architecture with the fewest differing entries, or None where nothing is near."""
    tensors = stripped(tensors)
    try:
        classes = classes_of(tensors)
    except RedistillError:
        return None
    known: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in names()]
    scores: dict[str, tuple[int, int]] = {}
    for name, args in [*known, *_candidates(tensors)]:
        try:
            scores[name] = min(scores.get(name, (10**9, 0)), _score(tensors, name, classes, args))
        except UNBUILDABLE:  # counted from names that are nobody's: no such network
            continue
    name = min(scores, key=lambda n: scores[n][0])
    wrong, entries = scores[name]
    return name if wrong <= entries // 2 else None


def _fitting(tensors: Mapping[str, Tensor], classes: int) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, args in _candidates(tensors):
        try:
            if _score(tensors, name, classes, args)[0] == 0:
                found.append((name, args))
        except UNBUILDABLE:  # as above
            continue
    return found


def recognised(tensors: Mapping[str, Tensor], classes: int, path: str, asked: str | None) -> tuple[str, dict[str, Any]]:
    """The network and the arguments that fit; where the name was given, its variant."""
    if asked is not None and ":" in asked:
        return asked, {}
    fits = _fitting(tensors, classes)
    if asked is not None:
        return next(((name, args) for name, args in fits if name == asked), (asked, {}))
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise RedistillError(f"{path} fits several networks ({', '.join(name for name, _ in fits)}): say which one, model=...")
    near = nearest_architecture(tensors)
    hint = f" (nearest: {near})" if near else ""
    raise RedistillError(f"{path} does not say its architecture, and none known fits{hint}: give model=... (--model in a command)")
