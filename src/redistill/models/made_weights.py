"""The state of a network whose weights are made of others (weight norm, pruning, any parametrization), as that of the plain one."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod

from redistill.features.modes import evaluating


def plain_state(net: nn.Module, wanted: Collection[str]) -> dict[str, Tensor]:
    """The state of ``net``, with weights that some layer makes under their own names and without what they are made of.

    Args:
        wanted: names of the plain network.
    """
    state = net.state_dict()
    with evaluating(net), torch.no_grad():
        for name in [name for name in wanted if name not in state]:
            path, _, own = name.rpartition(".")
            try:
                made = _made(net.get_submodule(path), own)
            except AttributeError:  # no such layer
                continue
            if made is None:
                continue
            sources = {f"{name}_{ending}" for ending in ("orig", "mask", "g", "v", "u")}
            start = f"{path}.parametrizations.{own}." if path else f"parametrizations.{own}."
            state = {key: value for key, value in state.items() if key not in sources and not key.startswith(start)}
            state[name] = made.detach().clone()
    return {name: state[name] for name in wanted} if state.keys() == set(wanted) else state


def _made(layer: nn.Module, own: str) -> Tensor | None:
    """The weight as it is made now: what stands at the layer is of its last forward, before the last step."""
    if parametrize.is_parametrized(layer, own):
        found = getattr(layer, own)
        return found if isinstance(found, Tensor) else None
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == own:
            made = hook.apply_mask(layer)
            return made if isinstance(made, Tensor) else None
        if getattr(hook, "name", None) == own and hasattr(hook, "compute_weight"):  # torch.nn.utils.weight_norm and spectral_norm
            made = hook.compute_weight(layer, False) if hasattr(hook, "n_power_iterations") else hook.compute_weight(layer)
            return made if isinstance(made, Tensor) else None
    return None
