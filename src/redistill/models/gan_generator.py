"""Generators of 32x32 images from the papers that distil without data: one trunk, three ends.

Noise [B, z] -> linear to 128 maps of a quarter of the size -> BN -> twice (nearest up-sampling, 3x3 convolution, BN, LeakyReLU 0.2; 128
then 64 channels) -> 3x3 convolution to the image's channels -> the end. First weights are PyTorch's.

* ``dafl-generator``: DAFL, Chen et al. 2019 (arXiv:1904.01186), DAFL-train.py. The batch norms within have epsilon 0.8, as in the code; the
  end is tanh, then BN without gain and bias; z = 1000.
* ``dfad-generator``: DFAD, Fang et al. 2019 (arXiv:1912.11006), network/gan.py, GeneratorA. The same with the usual epsilon; z = 256.
* ``cmi-generator``: CMI, Fang et al. 2021 (arXiv:2105.08584), datafree/models/generator.py. A bias in the last convolution; the end is a
  sigmoid; z = 256.

What ends in batch norm lives in the space of the normalised stream. A sigmoid makes pixels between 0 and 1 (``pixels`` is true): whoever
uses them normalises them.
"""

from __future__ import annotations

from torch import nn

from redistill.models.arch import Arch, Network, _made
from redistill.models.generator import FromNoise

NUMERICS = 1
ENDS = {"dafl-generator": (1000, 0.8, True), "dfad-generator": (256, 1e-5, True), "cmi-generator": (256, 1e-5, False)}
"""By name: usual length of the noise, epsilon of the batch norms within, whether the end is a batch norm."""


class GanGenerator(FromNoise):
    """See :func:`redistill.models.dafl_generator`.

    Attributes:
        pixels: whether images are pixels between 0 and 1.
    """

    def __init__(self, arch: Arch, z: int):
        _, eps, normed = ENDS[arch.name]
        end = [nn.Tanh(), nn.BatchNorm2d(arch.channels, affine=False)] if normed else [nn.Sigmoid()]
        super().__init__(arch, z, *end, bias=normed, eps=eps)
        self.pixels = not normed


def _named(name: str, z: int, channels: int, image_size: int, seed: int, initialise: bool) -> Network:
    args = {"z": z} if z != ENDS[name][0] else {}
    return _made(Arch(name, 1, channels, image_size, args), lambda a: GanGenerator(a, z), seed, initialise)


def dafl_generator(
    *, seed: int = 0, z: int = 1000, channels: int = 3, image_size: int = 32, classes: int = 1, initialise: bool = True
) -> Network:
    """The generator of DAFL (:mod:`redistill.models.gan_generator`); ``classes`` has no meaning."""
    return _named("dafl-generator", z, channels, image_size, seed, initialise)


def dfad_generator(
    *, seed: int = 0, z: int = 256, channels: int = 3, image_size: int = 32, classes: int = 1, initialise: bool = True
) -> Network:
    """The generator of DFAD (:mod:`redistill.models.gan_generator`); ``classes`` has no meaning."""
    return _named("dfad-generator", z, channels, image_size, seed, initialise)


def cmi_generator(
    *, seed: int = 0, z: int = 256, channels: int = 3, image_size: int = 32, classes: int = 1, initialise: bool = True
) -> Network:
    """The generator of CMI (:mod:`redistill.models.gan_generator`), which makes pixels between 0 and 1; ``classes`` has no meaning."""
    return _named("cmi-generator", z, channels, image_size, seed, initialise)
