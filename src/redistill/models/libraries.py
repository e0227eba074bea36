"""Networks of other libraries by name: ``torchvision:resnet18``, ``timm:resnet50``, ``hf:...``."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from redistill.core import RedistillError
from redistill.user_code import LIBRARIES


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
