"""Networks by name: ours, a class in a file or module, and three libraries' as extras."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from redistill import rng
from redistill.core import RedistillError, nearest
from redistill.models.arch import Arch, Network
from redistill.models.generator import Generator
from redistill.models.lenet import MLP, LeNet
from redistill.models.mobilenetv2 import MobileNetV2, MobileNetV2Tiny
from redistill.models.resnet import ResNet, parse
from redistill.models.resnetv2 import BLOCKS, ResNetV2
from redistill.models.shufflenetv1 import ShuffleNetV1
from redistill.models.shufflenetv2 import ShuffleNetV2
from redistill.models.vgg import CONVOLUTIONS, VGG
from redistill.models.wrn import WRN, Init

_NAMES = [
    *(f"resnet{d}" for d in (8, 14, 20, 32, 44, 56, 110)), "resnet8x4", "resnet32x4",
    *(f"wrn-{d}-{w}" for d in (10, 16, 40) for w in (1, 2, 4)),
    *(f"vgg{d}" for d in CONVOLUTIONS), *(f"resnet{d}" for d in BLOCKS), "mobilenetv2", "mobilenetv2-tiny",
    "shufflenetv1", "shufflenetv2", "lenet", "mlp", "zskt-generator",
]  # fmt: skip


def names() -> list[str]:
    """The networks that have a name (any other depth and width of WRN and CIFAR ResNet works too)."""
    return list(_NAMES)


def _made(arch: Arch, make: Callable[[Arch], Network], seed: int, initialise: bool = True) -> Network:
    """Build under the stream (seed, "init", architecture): equal architectures start equal whatever ran before."""
    with rng.seeded(seed, "init", arch.key) if initialise else contextlib.nullcontext():
        return make(arch)


def wrn(
    depth: int,
    width: int,
    classes: int = 10,
    *,
    seed: int = 0,
    channels: int = 3,
    image_size: int = 32,
    dropout: float = 0.0,
    branch: str = "activated",
    projection: str = "needed",
    gamma: bool = True,
    init: Init = "fan-out",
    initialise: bool = True,
) -> Network:
    """WRN-depth-width (:mod:`redistill.models.wrn`).

    Args:
        dropout: between the convolutions of a block; 0 in all four projects.
        branch: ``"activated"``: the shortcut of a widening block starts after its BN-ReLU (all published codes); ``"raw"``.
        projection: ``"needed"``: only where widths differ (all published codes); ``"always"``: in every group's first block.
        gamma: False: batch norms without scale (the TensorFlow reproduction of VID).
        init: ``"fan-out"`` N(0, 2/(9 C_out)) (RepDistiller, polo5), ``"zagoruyko"`` (attention-transfer) or ``"pytorch"``.
        initialise: False leaves the first weights to the caller's random state (for loading a file over them).
    """
    given: dict[str, Any] = {"dropout": dropout, "branch": branch, "projection": projection, "gamma": gamma, "init": init}
    usual = {"dropout": 0.0, "branch": "activated", "projection": "needed", "gamma": True, "init": "fan-out"}
    args = {k: v for k, v in given.items() if v != usual[k]}
    arch = Arch(f"wrn-{depth}-{width}", classes, channels, image_size, args)
    return _made(arch, lambda a: WRN(a, depth, width, dropout, branch, projection, gamma, init), seed, initialise)


def resnet(
    variant: str | int, classes: int = 10, *, seed: int = 0, channels: int = 3, image_size: int = 32, initialise: bool = True
) -> Network:
    """CIFAR ResNet: ``20``, ``"56"``, ``"8x4"``, ``"32x4"`` (:mod:`redistill.models.resnet`)."""
    depth, widths = parse(str(variant))
    return _made(Arch(f"resnet{variant}", classes, channels, image_size), lambda a: ResNet(a, depth, widths), seed, initialise)


def vgg(
    depth: int, classes: int = 10, *, seed: int = 0, channels: int = 3, image_size: int = 32, initialise: bool = True
) -> Network:
    """VGG 8, 11, 13, 16 or 19 with batch norm (:mod:`redistill.models.vgg`)."""
    if depth not in CONVOLUTIONS:
        raise RedistillError(f"VGG depths are {', '.join(map(str, CONVOLUTIONS))}, got {depth}")
    return _made(Arch(f"vgg{depth}", classes, channels, image_size), lambda a: VGG(a, depth), seed, initialise)


def resnetv2(
    depth: int, classes: int = 10, *, seed: int = 0, channels: int = 3, image_size: int = 32, initialise: bool = True
) -> Network:
    """ResNet-18, -34, -50, -101 or -152 with a 3x3 stem (:mod:`redistill.models.resnetv2`)."""
    if depth not in BLOCKS:
        raise RedistillError(f"four-stage ResNets have depth {', '.join(map(str, BLOCKS))}, got {depth}")
    return _made(Arch(f"resnet{depth}", classes, channels, image_size), lambda a: ResNetV2(a, depth), seed, initialise)


def mobilenetv2(
    classes: int = 10,
    *,
    seed: int = 0,
    channels: int = 3,
    image_size: int = 32,
    width: float = 0.5,
    expansion: int = 6,
    initialise: bool = True,
) -> Network:
    """MobileNetV2 of the CRD benchmark (:mod:`redistill.models.mobilenetv2`)."""
    usual = {"width": 0.5, "expansion": 6}
    args = {k: v for k, v in {"width": width, "expansion": expansion}.items() if v != usual[k]}
    arch = Arch("mobilenetv2", classes, channels, image_size, args)
    return _made(arch, lambda a: MobileNetV2(a, width, expansion), seed, initialise)


def mobilenetv2_tiny(
    classes: int = 200, *, seed: int = 0, channels: int = 3, image_size: int = 64, initialise: bool = True
) -> Network:
    """mdistiller's MobileNetV2 for Tiny-ImageNet (:mod:`redistill.models.mobilenetv2`)."""
    return _made(Arch("mobilenetv2-tiny", classes, channels, image_size), MobileNetV2Tiny, seed, initialise)


def shufflenetv1(
    classes: int = 10, *, seed: int = 0, channels: int = 3, image_size: int = 32, initialise: bool = True
) -> Network:
    """ShuffleNetV1 of the CRD benchmark (:mod:`redistill.models.shufflenetv1`)."""
    return _made(Arch("shufflenetv1", classes, channels, image_size), ShuffleNetV1, seed, initialise)


def shufflenetv2(
    classes: int = 10, *, seed: int = 0, channels: int = 3, image_size: int = 32, size: float = 1.0, initialise: bool = True
) -> Network:
    """ShuffleNetV2 of the CRD benchmark (:mod:`redistill.models.shufflenetv2`)."""
    args = {"size": size} if size != 1.0 else {}
    arch = Arch("shufflenetv2", classes, channels, image_size, args)
    return _made(arch, lambda a: ShuffleNetV2(a, float(size)), seed, initialise)


def lenet(classes: int = 10, *, seed: int = 0, channels: int = 3, image_size: int = 32, initialise: bool = True) -> Network:
    """LeNet of the zero-shot code (:mod:`redistill.models.lenet`)."""
    return _made(Arch("lenet", classes, channels, image_size), LeNet, seed, initialise)


def mlp(
    classes: int = 3,
    *,
    seed: int = 0,
    inputs: int = 2,
    hidden: tuple[int, ...] = (100, 500),
    channels: int = 1,
    image_size: int = 1,
    initialise: bool = True,
) -> Network:
    """Multi-layer perceptron; the defaults are the toy experiment's 2-100-500-3."""
    hidden = tuple(hidden)
    args: dict[str, Any] = {"inputs": inputs, "hidden": list(hidden)}
    args = {} if (inputs, hidden) == (2, (100, 500)) else args
    return _made(Arch("mlp", classes, channels, image_size, args), lambda a: MLP(a, inputs, hidden), seed, initialise)


def generator(
    *, seed: int = 0, z: int = 100, channels: int = 3, image_size: int = 32, classes: int = 1, initialise: bool = True
) -> Network:
    """The zero-shot generator (:mod:`redistill.models.generator`); ``z``: 100 in paper and codes. ``classes`` has no meaning."""
    args = {"z": z} if z != 100 else {}
    return _made(Arch("zskt-generator", classes, channels, image_size, args), lambda a: Generator(a, z), seed, initialise)


_SIMPLE: dict[str, Callable[..., Network]] = {
    "mobilenetv2": mobilenetv2, "mobilenetv2-tiny": mobilenetv2_tiny, "shufflenetv1": shufflenetv1,
    "shufflenetv2": shufflenetv2, "lenet": lenet, "mlp": mlp, "zskt-generator": generator,
}  # fmt: skip


def _maker(name: str) -> Callable[..., Network]:
    """The function that makes the network of this name, with its depth and width filled in."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    if found := re.fullmatch(r"wrn-(\d+)-(\d+)", name):
        return functools.partial(wrn, int(found[1]), int(found[2]))
    if (found := re.fullmatch(r"resnet(\d+)", name)) and int(found[1]) in BLOCKS:
        return functools.partial(resnetv2, int(found[1]))
    if found := re.fullmatch(r"resnet(\d+(?:x\d+)?)", name):
        return functools.partial(resnet, found[1])
    if (found := re.fullmatch(r"vgg(\d+)", name)) and int(found[1]) in CONVOLUTIONS:
        return functools.partial(vgg, int(found[1]))
    raise RedistillError(nearest(name, names(), "network"))


def check(name: str) -> None:
    """Refuse a name that :func:`build` does not know, with the nearest ones; what stands behind a colon is not looked at."""
    if ":" not in name:
        _maker(name)


def build(name: str, classes: int = 10, *, seed: int = 0, channels: int = 3, image_size: int = 32, **args: Any) -> nn.Module:
    """A network by name, with its own first weights.

    Args:
        name: one of :func:`names`, any ``wrn-D-W`` or ``resnetN``/``resnetNxF``; ``./file.py:Class`` or ``package.module:Class``
            (called with ``classes=`` and ``args``); ``torchvision:NAME``, ``timm:NAME``, ``hf:NAME`` where those are installed.
        args: what the network's own constructor in this module takes.

    Raises:
        RedistillError: an unknown name or argument, with the nearest ones.
    """
    if ":" in name:
        return _from_elsewhere(name, classes, seed, args)
    make = _maker(name)
    own = [n for n in inspect.signature(make).parameters if n not in ("classes", "seed", "channels", "image_size", "initialise")]
    if unknown := [n for n in args if n not in own and n != "initialise"]:
        raise RedistillError(f"{name}: {nearest(unknown[0], own, 'argument')}")
    if name != "mlp":  # its images are whatever flattens to `inputs`
        args = {**args, "channels": channels, "image_size": image_size}
    return make(classes=classes, seed=seed, **args)


def build_elsewhere(name: str, classes: int, facts: dict[str, Any], args: dict[str, Any]) -> nn.Module:
    """As :func:`build` for a class in a file or module, or a library's network, to be filled from a file of weights.

    ``facts``: channels and image size where known; one's own network gets those that its signature asks for.
    """
    if name.partition(":")[0] in ("torchvision", "timm", "hf"):
        return _from_elsewhere(name, classes, 0, args)
    return _from_elsewhere(name, classes, 0, {**{k: v for k, v in facts.items() if k in _parameters(attribute(name))}, **args})


def _parameters(made: Any) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(made).parameters)
    except (TypeError, ValueError) as error:
        raise RedistillError(f"{made!r} cannot be called: it must be a class or a function that makes a network") from error


def _from_elsewhere(name: str, classes: int, seed: int, args: dict[str, Any]) -> nn.Module:
    where, _, what = name.partition(":")
    args = {k: v for k, v in args.items() if k != "initialise"}
    with rng.seeded(seed, "init", f"{name}({classes},{sorted(args.items())})"):
        if where in ("torchvision", "timm", "hf"):
            net = _from_library(where, what, classes, args)
        else:
            made = attribute(name)
            accepted = _parameters(made)  # the world says num_classes
            count = "num_classes" if "num_classes" in accepted and "classes" not in accepted else "classes"
            try:
                net = made(**{count: classes, **args})
            except TypeError as error:
                raise RedistillError(f"{name} cannot be made with {count}={classes} and args {args}: {error}") from error
    if not isinstance(net, nn.Module):
        raise RedistillError(f"{name} made a {type(net).__name__}, expected a torch.nn.Module")
    return net


def attribute(name: str) -> Any:
    """What ``./file.py:name`` or ``package.module:name`` means; the file is run, so it must be one you trust."""
    where, _, what = name.rpartition(":")
    if where.endswith(".py"):
        path = Path(where).expanduser().resolve()
        if not path.is_file():
            raise RedistillError(f"{name}: there is no file {Path(where)}")
        known = f"redistill_file_{hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:16]}"
        if known in sys.modules:
            return _named(sys.modules[known], what, where)
        spec = importlib.util.spec_from_file_location(known, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module  # dataclasses look their module up while they are being made
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[known]
            raise
    else:
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise RedistillError(f"{name}: there is no module {error.name!r} to import; for a file write ./file.py:{what}") from error
    return _named(module, what, where)


def _named(module: Any, what: str, where: str) -> Any:
    if not hasattr(module, what):
        raise RedistillError(nearest(what, [n for n in vars(module) if not n.startswith("_")], f"name in {where}"))
    return getattr(module, what)


def _from_library(library: str, name: str, classes: int, args: dict[str, Any]) -> nn.Module:
    package = {"hf": "transformers"}.get(library, library)
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise RedistillError(f"{library}:{name} needs the package {package}, which cannot be imported ({error}): install it") from error
    net: Any
    if library == "torchvision":
        net = module.models.get_model(name, weights=None, num_classes=classes, **args)
    elif library == "timm":
        net = module.create_model(name, pretrained=False, num_classes=classes, **args)
    else:
        config = module.AutoConfig.from_pretrained(name, num_labels=classes, **args)
        net = LogitsOnly(module.AutoModelForImageClassification.from_config(config))
    made: nn.Module = net
    return made


class LogitsOnly(nn.Module):
    """A transformers image classifier as a network from images to logits."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(pixel_values=x).logits
        return logits
