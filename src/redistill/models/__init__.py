"""The networks of the literature, by name; their files; what they cost."""

from __future__ import annotations

from redistill.models import foreign
from redistill.models.arch import Arch, Network
from redistill.models.build import attribute, build, check, names
from redistill.models.describe import Info, describe
from redistill.models.gan_generator import cmi_generator, dafl_generator, dfad_generator
from redistill.models.generator import generator
from redistill.models.lenet import lenet, mlp
from redistill.models.mobilenetv2 import mobilenetv2, mobilenetv2_tiny
from redistill.models.resnet import resnet
from redistill.models.resnetv2 import resnetv2
from redistill.models.shufflenetv1 import shufflenetv1
from redistill.models.shufflenetv2 import shufflenetv2
from redistill.models.vgg import vgg
from redistill.models.weights import load, read, save
from redistill.models.wrn import wrn

__all__ = [
    "Arch",
    "Info",
    "Network",
    "attribute",
    "build",
    "check",
    "cmi_generator",
    "dafl_generator",
    "describe",
    "dfad_generator",
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
