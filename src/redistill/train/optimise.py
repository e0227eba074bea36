"""The optimiser a recipe describes: PyTorch's own, with the parameters it is to move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.memory_order import lay_side_by_side
from redistill.recipe import Recipe

NUMERICS = 1

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(modules: Sequence[nn.Module], recipe: Recipe) -> list[dict[str, Any]]:
    """Trainable parameters, those that weight decay leaves out in a group of their own."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    seen: set[int] = set()
    for root in modules:
        for module in root.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) in seen or not parameter.requires_grad:
                    continue
                seen.add(id(parameter))
                out = ("norm" in recipe.no_decay and isinstance(module, _NORMS)) or (
                    "bias" in recipe.no_decay and name.endswith("bias")
                ) or ("vector" in recipe.no_decay and parameter.dim() <= 1)
                (spared if out else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}] if decayed else []
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    if not groups:
        raise RedistillError("there is nothing to train: no parameter of the student or of the method requires a gradient")
    return groups


def make_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """PyTorch's own optimisers, fused where they exist for the device (fallback: one kernel a tensor)."""
    fused = recipe.fused and not any(p.is_meta for group in groups for p in group["params"])
    lay_side_by_side(p for group in groups for p in group["params"])
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused, foreach=False
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    recorded = all(p.is_cuda for group in groups for p in group["params"])  # its count of steps lies on the device anyway
    return kind(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=fused, foreach=False, capturable=fused and recorded)


def take_in(optimizer: torch.optim.Optimizer) -> None:
    """Before a step: weights that get their first gradient later than others of their group, as layers that were dropped until now do,
    have a momentum of 0 until then. PyTorch's fused SGD takes all of a group, or none, for new."""
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        if not (group["fused"] and group["momentum"]):
            continue
        moving = [p for p in group["params"] if p.grad is not None]
        new = [p for p in moving if optimizer.state.get(p, {}).get("momentum_buffer") is None]
        if len(new) < len(moving):
            for p in new:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)


def forget(optimizer: torch.optim.Optimizer) -> None:
    """A new optimiser in the place of the old one: the state is that before the first step."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


def saved(optimizer: torch.optim.Optimizer, rate: float) -> dict[str, Any]:
    """State to be saved, with the rate of the last step as a number, wherever it was read."""
    state = optimizer.state_dict()
    return {**state, "param_groups": [{**group, "lr": rate} for group in state["param_groups"]]}


def clip(student: nn.Module, method: nn.Module, recipe: Recipe) -> Tensor:
    """Bound the gradients as the recipe says; a scalar: the norm before, with ``clip_per="tensor"`` the largest one."""
    assert recipe.clip is not None
    # of what learns: a part that was frozen after an earlier training still holds the gradient of its last step
    if recipe.clip_per == "network":
        return nn.utils.clip_grad_norm_([p for p in student.parameters() if p.requires_grad], recipe.clip)
    moved = [p for p in (*student.parameters(), *method.parameters()) if p.requires_grad and p.grad is not None]
    return torch.stack([nn.utils.clip_grad_norm_(parameter, recipe.clip) for parameter in moved]).max()
