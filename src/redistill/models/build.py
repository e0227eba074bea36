"""Networks by name: ours, a class in a file or module, and three libraries' as extras."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
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
from redistill.models.signature import default_of, filled
from redistill.models.undrawn import Undrawn
from redistill.models.vgg import CONVOLUTIONS, VGG
from redistill.models.wrn import WRN, Init
from redistill.user_code import LIBRARIES, UNSAFE, Own, is_code, load, refuse_code

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
    with rng.seeded(seed, "init", arch.key) if initialise else Undrawn():
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
    bias: bool = True,
    norm_eps: float = 1e-5,
    norm_momentum: float = 0.1,
    init: Init = "fan-out",
    initialise: bool = True,
) -> Network:
    """WRN-depth-width (:mod:`redistill.models.wrn`).

    Args:
        dropout: between the convolutions of a block; 0 in all four projects.
        branch: ``"activated"``: the shortcut of a widening block starts after its BN-ReLU (all published codes); ``"raw"``.
        projection: ``"needed"``: only where widths differ (all published codes); ``"always"``: in every group's first block.
        gamma: False: batch norms without scale. bias: False: a classifier without it. norm_eps, norm_momentum: of the batch
            norms. The TensorFlow reproduction of VID has neither scale nor bias, 1e-3, and 0.001 (its "decay" .999).
        init: ``"fan-out"`` N(0, 2/(9 C_out)) (RepDistiller, polo5), ``"zagoruyko"`` (attention-transfer) or ``"pytorch"``.
        initialise: False draws no first weights and leaves NaN in their place (for loading a file over them).
    """
    given: dict[str, Any] = {
        "dropout": dropout, "branch": branch, "projection": projection, "gamma": gamma, "bias": bias, "norm_eps": norm_eps,
        "norm_momentum": norm_momentum, "init": init,
    }  # fmt: skip
    usual = {
        "dropout": 0.0, "branch": "activated", "projection": "needed", "gamma": True, "bias": True, "norm_eps": 1e-5,
        "norm_momentum": 0.1, "init": "fan-out",
    }  # fmt: skip
    args = {k: v for k, v in given.items() if v != usual[k]}
    arch = Arch(f"wrn-{depth}-{width}", classes, channels, image_size, args)
    def make(arch: Arch) -> Network:
        return WRN(arch, depth, width, dropout, branch, projection, gamma, bias, norm_eps, norm_momentum, init)

    return _made(arch, make, seed, initialise)


def resnet(
    variant: str | int,
    classes: int = 10,
    *,
    seed: int = 0,
    channels: int = 3,
    image_size: int = 32,
    shortcut: str = "projection",
    initialise: bool = True,
) -> Network:
    """CIFAR ResNet: ``20``, ``"56"``, ``"8x4"``, ``"32x4"`` (:mod:`redistill.models.resnet`).

    Args:
        shortcut: where the width changes: ``"projection"`` (RepDistiller) or ``"padding"`` (He et al.'s option A; akamaster).
    """
    depth, widths = parse(str(variant))
    args = {"shortcut": shortcut} if shortcut != "projection" else {}
    arch = Arch(f"resnet{variant}", classes, channels, image_size, args)
    return _made(arch, lambda a: ResNet(a, depth, widths, shortcut), seed, initialise)


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


def family(name: str) -> str | None:
    """The module of a network's class: ``"wrn"`` for ``"wrn-16-2"``; None for a network from elsewhere."""
    if ":" in name:
        return None
    make = _maker(name)
    function = str(getattr(make, "func", make).__name__)
    return {"mobilenetv2_tiny": "mobilenetv2", "mlp": "lenet"}.get(function, function)


def check(name: str) -> None:
    """Refuse a name that :func:`build` does not know, with the nearest ones; what stands behind a colon is not looked at."""
    if ":" not in name:
        _maker(name)


def build(
    name: str,
    classes: int = 10,
    *,
    seed: int = 0,
    channels: int | None = None,
    image_size: int | None = None,
    trust_code: bool = True,
    **args: Any,
) -> nn.Module:
    """A network by name, with its own first weights.

    Args:
        name: one of :func:`names`, any ``wrn-D-W`` or ``resnetN``/``resnetNxF``; ``./file.py:Class`` or ``package.module:Class``
            (called with ``args`` and what of classes, channels and image size its signature asks for, also as ``num_classes``,
            ``in_channels`` ...: :mod:`redistill.models.signature`);
            ``torchvision:NAME``, ``timm:NAME``, ``hf:NAME`` where those are installed.
        channels, image_size: of the images; default: 3 and 32, or the own default of a network of yours.
        trust_code: False where the name comes from data: a name of code from elsewhere is then refused.
        args: what the network's own constructor in this module takes.

    Raises:
        RedistillError: an unknown name or argument, with the nearest ones.
    """
    if is_code(name):
        if not trust_code:
            refuse_code(name, "this")
        args = {k: v for k, v in args.items() if k != "initialise"}
        return build_elsewhere(name, {"classes": classes, "channels": channels, "image_size": image_size}, args, seed)
    channels, image_size = 3 if channels is None else channels, 32 if image_size is None else image_size
    if ":" in name:
        return _from_elsewhere(name, {"classes": classes, "channels": channels, "image_size": image_size}, seed, args)
    make = _maker(name)
    own = [n for n in inspect.signature(make).parameters if n not in ("classes", "seed", "channels", "image_size", "initialise")]
    if unknown := [n for n in args if n not in own and n != "initialise"]:
        raise RedistillError(f"{name}: {nearest(unknown[0], own, 'argument')}")
    if name != "mlp":  # its images are whatever flattens to `inputs`
        args = {**args, "channels": channels, "image_size": image_size}
    return make(classes=classes, seed=seed, **args)


def build_elsewhere(name: str, sizes: Mapping[str, Any], args: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A network with a colon in its name, on the word of the caller; its ``args`` are its own, whatever they are called.

    ``sizes``: classes, and channels and image size where they are known.
    """
    if not is_code(name):
        return _from_elsewhere(name, dict(sizes), seed, dict(args))
    return own_network(load(name, Path(), kind=nn.Module, trusted=True), {"channels": None, "image_size": None, **sizes}, args, seed)


def own_network(found: Own, sizes: Mapping[str, Any], args: Mapping[str, Any], seed: int) -> nn.Module:
    """A network of one's own under the stream (seed, "init", name, arguments), the same in Python and in an experiment.

    What of ``sizes`` (classes, channels, image_size) its signature asks for and ``args`` does not hold is given to it; a size that is
    None is the signature's own default, else that of :func:`build`.
    """
    usual = {"channels": 3, "image_size": 32}
    own = {name: default_of(found.object, name, usual.get(name)) for name, value in sizes.items() if value is None}
    given = filled(found.name, found.object, {n: v for n, v in {**sizes, **own}.items() if v is not None}, args)
    written = json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=repr)
    with rng.seeded(seed, "init", found.name, written):
        try:
            network = found.object(**given)
        except TypeError as error:
            raise RedistillError(f"{found.name} cannot be made with {', '.join(given) or 'no arguments'}: {error}") from error
    if not isinstance(network, nn.Module):
        raise RedistillError(f"{found.name} must give a torch.nn.Module, it gave a {type(network).__name__}")
    return network


def _from_elsewhere(name: str, facts: dict[str, Any], seed: int, args: dict[str, Any]) -> nn.Module:
    library, _, what = name.partition(":")
    args = {k: v for k, v in args.items() if k != "initialise"}
    if unsafe := [n for n in args if n in UNSAFE]:
        raise RedistillError(f"{name}: the argument {unsafe[0]!r} lets the library fetch or run code and files, which is refused")
    classes = facts["classes"]
    with rng.seeded(seed, "init", f"{name}({classes},{sorted(args.items())})"):
        net = _from_library(library, what, classes, args)
    if not isinstance(net, nn.Module):
        raise RedistillError(f"{name} made a {type(net).__name__}, expected a torch.nn.Module")
    return net


def attribute(name: str) -> Any:
    """What ``./file.py:name`` or ``package.module:name`` means; the file is run, so it must be one you trust."""
    return load(name, Path(), trusted=True).object


def _from_library(library: str, name: str, classes: int, args: dict[str, Any]) -> nn.Module:
    assert library in LIBRARIES
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
        config = module.AutoConfig.from_pretrained(name, num_labels=classes, trust_remote_code=False, **args)
        net = LogitsOnly(module.AutoModelForImageClassification.from_config(config, trust_remote_code=False))
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
