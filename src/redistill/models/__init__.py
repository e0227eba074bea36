"""The networks of the literature, by name; their files; what they cost."""

from __future__ import annotations

from redistill.models import foreign
from redistill.models.arch import Arch, Network
from redistill.models.build import (
    attribute,
    build,
    check,
    generator,
    lenet,
    mlp,
    mobilenetv2,
    mobilenetv2_tiny,
    names,
    resnet,
    resnetv2,
    shufflenetv1,
    shufflenetv2,
    vgg,
    wrn,
)
from redistill.models.checkpoint import load, read, save
from redistill.models.describe import Info, describe

__all__ = [
    "Arch",
    "Info",
    "Network",
    "attribute",
    "build",
    "check",
    "describe",
    "foreign",
    "generator",
    "lenet",
    "load",
    "mlp",
    "mobilenetv2",
    "mobilenetv2_tiny",
    "names",
    "read",
    "resnet",
    "resnetv2",
    "save",
    "shufflenetv1",
    "shufflenetv2",
    "vgg",
    "wrn",
]
