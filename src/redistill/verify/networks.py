"""Networks of golden cases: from the name of the original and its salt to our network with the same closed-form weights."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redistill import models
from redistill.core import Method, Source
from redistill.models import foreign
from redistill.recipe import Recipe
from redistill.train.loop import Loop
from redistill.verify.reader import Array, NotSupported, checksum, closed_entry

_ELSEWHERE = {
    "shufflev1": "shufflenetv1", "shufflev2": "shufflenetv2", "mobilenetv2": "mobilenetv2", "resnet50": "resnet50",
    "resnet18": "resnet18", "resnet34": "resnet34", "polo5_lenet": "lenet", "mobile_half": "mobilenetv2",
}  # fmt: skip
_TINY = ("mobilenetv2tiny", "mobilenetv2tinyimagenet", "mobilenetv2(tinyimagenet)", "tinymobilenetv2", "tinyimagenetmobilenetv2")
"""MobileNetV2 for Tiny-ImageNet, whatever stands between the words."""


@dataclass(frozen=True)
class GoldenNetwork:
    """A network of ours with the names and the order of the original's state dict."""

    net: nn.Module
    family: str

    def entries(self) -> list[tuple[str, str]]:
        """(our name, the original's) in the original's order."""
        return foreign.order_in(self.family, list(self.net.state_dict()))

    def fill(self, salt: int) -> None:
        """Closed-form weights in double precision."""
        state = self.net.double().state_dict()
        values = {
            ours: torch.from_numpy(closed_entry(i, theirs, state[ours].shape, salt))
            for i, (ours, theirs) in enumerate(self.entries())
        }
        # a functional network has no step counters, which enter no computation
        counters = {name: torch.zeros_like(value) for name, value in state.items() if name.endswith("num_batches_tracked")}
        self.net.load_state_dict({**counters, **values})

    def rows(self, names: Sequence[str] | None = None) -> Array:
        """Checksums [n, 3] of ``names`` (of the original; default: every entry that is not a counter)."""
        state, table = self.net.state_dict(), {theirs: ours for ours, theirs in self.entries()}
        wanted = names if names is not None else [t for t in table if not t.endswith("num_batches_tracked")]
        if odd := [n for n in wanted if n not in table]:
            raise NotSupported(f"our network has no entry {odd[0]}")
        return np.stack([checksum(state[table[name]].numpy()) for name in wanted])


def network(described: dict[str, Any], classes: int, shape: Sequence[int] = (3, 32, 32)) -> GoldenNetwork:
    """The network that a sidecar describes as ``{"arch": ..., "salt": ...}``, weights filled; ``shape`` [C, H, W] of its images."""
    arch, salt = described.get("arch"), described.get("salt")
    if odd := sorted(set(described) - {"arch", "salt", "state_dict_entries"}):
        raise NotSupported(f"network setting {odd[0]} is unknown")
    if not isinstance(arch, str) or not isinstance(salt, int):
        raise NotSupported("a network needs arch and salt")
    named = copy.deepcopy(_filled(arch, classes, tuple(shape), salt))  # a case may train it
    if listed := described.get("state_dict_entries"):
        state = named.net.state_dict()
        ours = [[theirs, list(state[name].shape)] for name, theirs in named.entries()]
        if ours != listed:
            raise NotSupported(f"the state dict of {arch} differs from ours")
    return named


@functools.lru_cache(maxsize=8)
def _filled(arch: str, classes: int, shape: tuple[int, ...], salt: int) -> GoldenNetwork:
    """Built and filled once for all cases of it."""
    named = _built(arch, classes, shape)
    named.fill(salt)
    return named


def _built(arch: str, classes: int, shape: tuple[int, ...]) -> GoldenNetwork:
    channels, image_size = (shape[0], shape[-1]) if len(shape) == 3 else (3, 32)
    if len(shape) == 3 and shape[1] != shape[2]:
        raise NotSupported(f"images of {shape[1]}x{shape[2]} are no squares")
    given: Any = {"channels": channels, "image_size": image_size, "initialise": False}
    if found := re.fullmatch(r"polo5 WideResNet\((\d+), ?(\d+), ?(\d+)\)", arch):
        depth, own, width = map(int, found.groups())
        if own != classes:
            raise NotSupported(f"{arch} has {own} classes, the case {classes}")
        return GoldenNetwork(models.wrn(depth, width, classes, **given), "ours")
    if found := re.fullmatch(r"seed WideResNet\(d=(\d+), ?k=(\d+)\)", arch):
        return GoldenNetwork(models.wrn(int(found[1]), int(found[2]), classes, **given), "ferles")
    if found := re.fullmatch(r"polo5 LeNet(?:32)?\((\d+)\)", arch):
        return GoldenNetwork(models.lenet(int(found[1]), **given), "ours")
    if found := re.fullmatch(r"polo5 Generator\((\d+)\)", arch):
        return GoldenNetwork(models.generator(z=int(found[1]), initialise=False), "ours")
    if arch in ("seed Generator()", "seed_generator"):
        return GoldenNetwork(models.generator(initialise=False), "ferles")
    if found := re.fullmatch(r"polo5_generator(?:_z(\d+))?", arch):
        return GoldenNetwork(models.generator(z=int(found[1] or 100), initialise=False), "ours")
    if found := re.fullmatch(r"(seed|zagoruyko|polo5)_wrn_(\d+)_(\d+)", arch):
        family = {"seed": "ferles", "zagoruyko": "zagoruyko", "polo5": "ours"}[found[1]]
        return GoldenNetwork(models.wrn(int(found[2]), int(found[3]), classes, **given), family)
    if found := re.fullmatch(r"(?:mdistiller|reviewkd|repdistiller)[_ ](.+)", arch, flags=re.IGNORECASE):  # one set of names and functions
        return _built(found[1], classes, shape)
    if found := re.fullmatch(r"wrn[-_](\d+)[-_](\d+)", arch):
        return GoldenNetwork(models.wrn(int(found[1]), int(found[2]), classes, **given), "ours")
    if re.sub(r"[-_ ]", "", arch.casefold()) in _TINY:
        return GoldenNetwork(models.build("mobilenetv2-tiny", classes, trust_code=False, **given), "ours")
    name = _ELSEWHERE.get(arch.casefold(), re.sub(r"^(vgg\d+)_bn$", r"\1", arch))  # the function behind vgg8 is called vgg8_bn
    if re.fullmatch(r"resnet\d+(x\d+)?|vgg\d+", name) or name in _ELSEWHERE.values():
        return GoldenNetwork(models.build(name, classes, trust_code=False, **given), "ours")
    raise NotSupported(f"network {arch} is unknown")


def loop_of(student: GoldenNetwork, method: Method, teacher: GoldenNetwork, source: Source, recipe: Recipe) -> Loop:
    """The package's loop for one golden training."""
    loop = Loop([(student.net, method)], teacher.net, source, recipe, seed=0, device="cpu")
    assert loop.teacher is not None
    loop.teacher.rows = recipe.batch_size  # nothing is remembered: a batch of 4 need not be filled up to a full micro-batch
    return loop


def levels(net: nn.Module) -> list[str]:
    """Places in the order of RepDistiller's feature list: stem, stages, pooled."""
    places: Any = net.places
    return [name for name in places if ":" not in name]


def numbers(values: Sequence[Tensor | float]) -> Array:
    """One number a step."""
    return np.array([float(v) for v in values], dtype=np.float64)
