"""Networks by name: ours, a class in a file or module, and three libraries' as extras."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from redistill import rng
from redistill.core import RedistillError, nearest
from redistill.errors import sentence
from redistill.features.modes import evaluating
from redistill.files import canonical
from redistill.models import simkd as reused
from redistill.models.arch import Network
from redistill.models.gan_generator import cmi_generator, dafl_generator, dfad_generator
from redistill.models.generator import generator
from redistill.models.lenet import lenet, mlp
from redistill.models.libraries import _from_library
from redistill.models.mobilenetv2 import mobilenetv2, mobilenetv2_tiny
from redistill.models.resnet import resnet
from redistill.models.resnetv2 import BLOCKS, resnetv2
from redistill.models.shufflenetv1 import shufflenetv1
from redistill.models.shufflenetv2 import shufflenetv2
from redistill.models.signature import default_of, filled
from redistill.models.vgg import CONVOLUTIONS, vgg
from redistill.models.wrn import wrn
from redistill.user_code import LIBRARIES, UNSAFE, Own, is_code, load, refuse_code

_NAMES = [
    *(f"resnet{d}" for d in (8, 14, 20, 32, 44, 56, 110)), "resnet8x4", "resnet32x4",
    *(f"wrn-{d}-{w}" for d in (10, 16, 40) for w in (1, 2, 4)),
    *(f"vgg{d}" for d in CONVOLUTIONS), *(f"resnet{d}" for d in BLOCKS), "mobilenetv2", "mobilenetv2-tiny",
    "shufflenetv1", "shufflenetv2", "lenet", "mlp", "simkd", "zskt-generator", "dafl-generator", "dfad-generator", "cmi-generator",
]  # fmt: skip


def simkd(
    body: str = "resnet8x4",
    head: str | Sequence[int] = "resnet32x4",
    classes: int = 10,
    *,
    factor: int = 2,
    seed: int = 0,
    channels: int = 3,
    image_size: int = 32,
    initialise: bool = True,
) -> Network:
    """A student under its teacher's classifier: :func:`redistill.models.simkd.simkd`."""
    return reused.simkd(
        body, head, classes, factor=factor, seed=seed, channels=channels, image_size=image_size, initialise=initialise, build=build
    )


def names() -> list[str]:
    """The networks that have a name (any other depth and width of WRN and CIFAR ResNet works too)."""
    return list(_NAMES)


_SIMPLE: dict[str, Callable[..., Network]] = {
    "mobilenetv2": mobilenetv2, "mobilenetv2-tiny": mobilenetv2_tiny, "shufflenetv1": shufflenetv1,
    "shufflenetv2": shufflenetv2, "lenet": lenet, "mlp": mlp, "zskt-generator": generator,
    "dafl-generator": dafl_generator, "dfad-generator": dfad_generator, "cmi-generator": cmi_generator,
}  # fmt: skip


def _maker(name: str) -> Callable[..., Network]:
    """The function that makes the network of this name, with its depth and width filled in."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name == "simkd":
        return simkd
    if found := re.fullmatch(r"wrn-(\d+)-(\d+)", name):
        return functools.partial(wrn, int(found[1]), int(found[2]))
    if (found := re.fullmatch(r"resnet(\d+)", name)) and int(found[1]) in BLOCKS:
        return functools.partial(resnetv2, int(found[1]))
    if found := re.fullmatch(r"resnet(\d+(?:x\d+)?)", name):
        return functools.partial(resnet, found[1])
    if (found := re.fullmatch(r"vgg(\d+)", name)) and int(found[1]) in CONVOLUTIONS:
        return functools.partial(vgg, int(found[1]))
    if name.endswith(".py"):
        raise RedistillError(f"{name} is a file: say which network in it is meant, {name}:Name")
    raise RedistillError(nearest(name, names(), "network"))


def family(name: str) -> str | None:
    """The module of a network's class: ``"wrn"`` for ``"wrn-16-2"``; None for a network from elsewhere."""
    if ":" in name:
        return None
    make = _maker(name)
    function = str(getattr(make, "func", make).__name__)
    return {
        "mobilenetv2_tiny": "mobilenetv2", "mlp": "lenet", "dafl_generator": "gan_generator", "dfad_generator": "gan_generator",
        "cmi_generator": "gan_generator",
    }.get(function, function)  # fmt: skip


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


def check_model(name: str, args: dict[str, Any]) -> None:
    """Refuse a name, or an argument, that no network of this package has; nothing is allocated."""
    _buildable(name, canonical(args))


@functools.cache
def _buildable(name: str, written: str) -> None:
    """See :func:`check_model`; a paper's plan asks a hundred times for the same few networks."""
    args = json.loads(written)
    if name.partition(":")[0] in LIBRARIES:
        return  # building it is the only way to know
    with torch.device("meta"):
        try:
            build(name, initialise=False, trust_code=False, **args)
        except TypeError as error:
            raise RedistillError(f"args of {name}: {str(error).rpartition('() ')[2]}") from error


def build_elsewhere(name: str, sizes: Mapping[str, Any], args: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A network with a colon in its name, on the word of the caller; its ``args`` are its own, whatever they are called.

    ``sizes``: classes, and channels and image size where they are known.
    """
    if not is_code(name):
        return _from_elsewhere(name, dict(sizes), seed, dict(args))
    return own_network(load(name, Path(), kind=nn.Module, trusted=True), {"channels": None, "image_size": None, **sizes}, args, seed)


def drawn(
    name: str, args: Mapping[str, Any], sizes: Mapping[str, Any], seed: int, *, file: str | None = None, code: str | None = None
) -> nn.Module:
    """A network that data name, with its drawn first weights. ``file``, ``code``: of one's own, see :func:`redistill.user_code.locate`.

    One's own gets what of ``sizes`` (classes, channels, image_size) its signature asks for.

    Raises:
        RedistillError: code of one's own that no word of the user has run (see :func:`redistill.user_code.require_word`).
    """
    if code is None:
        return build(name, seed=seed, trust_code=False, **{**sizes, **args})
    return own_network(load(name, Path(), file=file, code=code, kind=nn.Module), sizes, args, seed)


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
            _shape_what_waits(network, {**sizes, **own})
        except Exception as error:  # somebody else's constructor
            raise RedistillError(f"{found.name} cannot be made with {', '.join(given) or 'no arguments'}: {sentence(error)}") from error
    if not isinstance(network, nn.Module):
        raise RedistillError(f"{found.name} must give a torch.nn.Module, it gave a {type(network).__name__}")
    return network


def _shape_what_waits(network: Any, sizes: Mapping[str, Any]) -> None:
    """Give layers whose shapes the first images decide (``LazyLinear``) these shapes, and first weights that are drawn here."""
    if not isinstance(network, nn.Module) or not any(map(is_lazy, (*network.parameters(), *network.buffers()))):
        return
    shape = [sizes.get(name) or usual for name, usual in (("channels", 3), ("image_size", 32), ("image_size", 32))]
    with evaluating(network), torch.no_grad():
        network(torch.zeros(2, *shape))


def _from_elsewhere(name: str, facts: dict[str, Any], seed: int, args: dict[str, Any]) -> nn.Module:
    library, _, what = name.partition(":")
    args = {k: v for k, v in args.items() if k != "initialise"}
    if unsafe := [n for n in args if n in UNSAFE]:
        raise RedistillError(f"{name}: the argument {unsafe[0]!r} lets the library fetch or run code and files, which is refused")
    classes = facts["classes"]
    with rng.seeded(seed, "init", f"{name}({classes},{sorted(args.items())})"):
        try:
            net = _from_library(library, what, classes, args)
        except RedistillError:
            raise
        except Exception as error:  # a library's own
            raise RedistillError(f"{name} cannot be made with {', '.join(args) or 'no further arguments'}: {sentence(error)}") from error
    if not isinstance(net, nn.Module):
        raise RedistillError(f"{name} made a {type(net).__name__}, expected a torch.nn.Module")
    return net


def attribute(name: str) -> Any:
    """What ``./file.py:name`` or ``package.module:name`` means; the file is run, so it must be one you trust."""
    return load(name, Path(), trusted=True).object
