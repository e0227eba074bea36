"""The batch norm whose output a place shows, before the activation: its gains and biases are what is known of the values there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redistill.core import Context, Place, RedistillError

_Norms = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def norm_before(who: str, ctx: Context, place: str, path: str | None, channels: int) -> tuple[Tensor, Tensor]:
    """Gain and bias [C] of the batch norm before a place of the teacher, or of the one that ``path`` names.

    It is the module of the place itself, the last batch norm inside it, or the last one beside it in its block: a residual
    block adds its shortcut after that, which the published codes leave out of account too.
    """
    net = ctx.teacher
    if net is None:
        raise RedistillError(f"{who} needs a teacher")
    found = _named(who, net, path) if path is not None else _found(net, place)
    if found is None:
        raise RedistillError(
            f"{who} reads the margins from the batch norm before {place!r}, and finds none in the teacher {type(net).__name__}: name "
            f"the batch norms with norms=[...], one path a pair, or choose a teacher that has them"
        )
    if found.num_features != channels:
        raise RedistillError(
            f"{who}: the batch norm before {place!r} has {found.num_features} channels, the feature {channels}: name another with "
            f"norms=[...]"
        )
    gain = torch.ones(channels) if found.weight is None else found.weight
    bias = torch.zeros(channels) if found.bias is None else found.bias
    return gain.detach(), bias.detach()


def _named(who: str, net: nn.Module, path: str) -> _Norms:
    modules = dict(net.named_modules())
    module = modules.get(path)
    if not isinstance(module, _Norms):
        what = "no module" if module is None else f"a {type(module).__name__}"
        raise RedistillError(f"{who}(norms=...): {path!r} is {what} in the teacher, expected a batch norm")
    return module


def _found(net: nn.Module, place: str) -> _Norms | None:
    declared = getattr(net, "places", {})
    where: Place = declared.get(place, Place.at(place)) if isinstance(declared, dict) else Place.at(place)
    modules = dict(net.named_modules())
    module = modules.get(where.module)
    if module is None:
        return None
    if where.side == "out":
        inside = _last(module)
        if inside is not None:
            return inside
    parent, _, own = where.module.rpartition(".")
    before: _Norms | None = None
    for name, sibling in modules[parent].named_children():
        if name == own:
            return before
        if isinstance(sibling, _Norms):
            before = sibling
    return None


def _last(module: nn.Module) -> _Norms | None:
    """The module itself, or the last batch norm among its children, looked for in the last child that is a block."""
    if isinstance(module, _Norms):
        return module
    children = [m for n, m in module.named_children() if "short" not in n and "down" not in n]
    for child in reversed(children):
        if (found := _last(child)) is not None:
            return found
    return None
