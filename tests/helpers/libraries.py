"""Other people's libraries, where they are installed; a test that needs one that is not is skipped, with the reason."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch

_KEPT: list[object] = []  # schemas live as long as their library does


def library(name: str) -> ModuleType:
    """torchvision refuses to be imported beside a torch that its compiled operators do not fit; two schemas are all it looks for."""
    if name.split(".")[0] in ("torchvision", "timm") and not hasattr(torch.ops.torchvision, "nms"):
        shim = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            shim.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(shim)
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"{name} cannot be imported here ({error}): pip install --no-deps {name.split('.')[0]}")
