"""The zero-shot generator (Micaelli & Storkey 2019, arXiv:1905.09768, section 4.1 and appendix; architecture from their code).

Noise [B, z] -> linear to 128 maps of a quarter of the size -> BN -> twice (nearest up-sampling, 3x3 convolution, BN, LeakyReLU
0.2; 128 then 64 channels) -> 3x3 convolution to the image's channels -> BN. No LeakyReLU after the first BN, no tanh at the
end: the images live in the space of the normalised stream and are unbounded. First weights are PyTorch's, as in the original.
Names and order of the state dict are Micaelli's.
"""

from __future__ import annotations

from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.models.arch import Arch, Network, _made

NUMERICS = 1


class FromNoise(Network):
    """What the generators of the papers share: the trunk above, its last convolution to the image's channels, and then ``end``.

    Args:
        z: length of the noise. end: the last layers. bias: of the convolutions within. eps: of the batch norms beside them.

    Attributes:
        z: length of the noise. image_shape: [C, H, W] of one image.
    """

    def __init__(self, arch: Arch, z: int, *end: nn.Module, bias: bool = True, eps: float = 1e-5):
        super().__init__(arch)
        size = arch.image_size
        who = "the generator" if arch.name == "zskt-generator" else arch.name
        if not isinstance(size, int) or size < 4 or size % 4:
            raise RedistillError(
                f"{who} makes square images and doubles its maps twice, so image_size must be a multiple of 4, got {size!r}"
            )
        if isinstance(z, bool) or not isinstance(z, int) or z < 1:
            raise RedistillError(f"{who} needs noise of a whole number of entries, 1 or more, got z={z!r}")
        self.z = z
        self.image_shape = (arch.channels, size, size)
        side = size // 4
        self.layers = nn.Sequential(
            nn.Linear(z, 128 * side * side),
            nn.Unflatten(1, (128, side, side)),
            nn.BatchNorm2d(128),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, padding=1, bias=bias),
            nn.BatchNorm2d(128, eps=eps),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1, bias=bias),
            nn.BatchNorm2d(64, eps=eps),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(64, arch.channels, 3, padding=1),
            *end,
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.z,)

    def forward(self, noise: Tensor) -> Tensor:
        """[B, z] to images [B, C, H, W]."""
        if noise.ndim != 2 or noise.shape[1] != self.z:
            raise RedistillError(f"the generator takes noise [batch, {self.z}], got {list(noise.shape)}")
        images: Tensor = self.layers(noise)
        return images


class Generator(FromNoise):
    """See :func:`redistill.models.generator`."""

    def __init__(self, arch: Arch, z: int):
        super().__init__(arch, z, nn.BatchNorm2d(arch.channels, affine=True))


def generator(
    *, seed: int = 0, z: int = 100, channels: int = 3, image_size: int = 32, classes: int = 1, initialise: bool = True
) -> Network:
    """The zero-shot generator (:mod:`redistill.models.generator`); ``z``: 100 in paper and codes. ``classes`` has no meaning."""
    args = {"z": z} if z != 100 else {}
    return _made(Arch("zskt-generator", classes, channels, image_size, args), lambda a: Generator(a, z), seed, initialise)
