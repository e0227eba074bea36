"""The contrastive memory of CMI: an image should be told from all that were made before.

    v = instance means: mean over positions of what every batch norm of the teacher is given, one vector an image
    h = head(v) / ‖head(v)‖,   head: linear, ReLU, linear
    L = mean over the batch of CE(h_local · h_globalᵀ / τ, itself) + the same over remembered images;   no gradient through h_global

Fang et al. 2021 (arXiv:2105.08584), eqs. 7 to 9, as datafree/synthesis/contrastive.py computes it: rows and columns are the images of
the batch and ``negatives`` of the memory, the global view is a padded crop and a flip, the local one a resized crop of 25 to 100 % of
the image and a flip; the batch's mean and the memory's are added, so that the batch's gradient does not shrink as the memory grows.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.data.augment import Augmenter, augmentation
from redistill.terms.parts.wide import wide


class Head(nn.Sequential):
    """Vectors [B, D] to unit vectors [B, width] through one hidden layer of D entries."""

    def __init__(self, inputs: int, width: int):
        super().__init__(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, width))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(super().forward(features), dim=1)


def instance_means(taps: list[Tensor]) -> Float[Tensor, "batch width"]:
    """What each batch norm was given, [B, C, ...], averaged over positions and put side by side."""
    return torch.cat([wide(x).flatten(2).mean(dim=2) if x.ndim > 2 else wide(x) for x in taps], dim=1)


def contrast_loss(
    local: Float[Tensor, "all width"], whole: Float[Tensor, "all width"], images: int, T: float
) -> Float[Tensor, ""]:
    """Of unit vectors of both views, the batch's ``images`` first and the remembered ones after them."""
    scores = local @ whole.detach().T / T
    each = F.cross_entropy(scores, torch.arange(len(scores), device=scores.device), reduction="none")
    return each[:images].mean() + (each[images:].mean() if len(each) > images else 0.0)


def global_view(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """A crop of the image padded by 4 black pixels, and a flip, drawn image by image: [B, C, H, W]."""
    crop = augmentation("crop-flip")
    variant = torch.randint(crop.variants, (len(pixels),), generator=draw).to(pixels.device)
    return Augmenter(crop, pixels.detach()).applied(pixels.contiguous(), variant)


def local_view(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """A window of 25 to 100 % of the area and 3/4 to 4/3 in shape, at the image's own size by bilinear interpolation, and a flip."""
    count, _, height, width = pixels.shape
    share = 0.25 + 0.75 * torch.rand(count, generator=draw)
    shape = torch.exp((2 * torch.rand(count, generator=draw) - 1) * math.log(4 / 3))
    across, down = (share * shape).sqrt().clamp(max=1.0), (share / shape).sqrt().clamp(max=1.0)
    left, top = ((2 * torch.rand(count, generator=draw) - 1) * (1 - size) for size in (across, down))
    flip = 1 - 2.0 * torch.randint(2, (count,), generator=draw)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2], theta[:, 1, 1], theta[:, 1, 2] = across * flip, left, down, top
    grid = F.affine_grid(theta, [count, 1, height, width], align_corners=False).to(pixels)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def shifted(images: Tensor, most: int, flip: bool, draw: torch.Generator) -> Tensor:
    """All images rolled by the same at most ``most`` pixels down and across, and half of the time flipped (DeepInversion's jitter)."""
    down, across = (int(torch.randint(-most, most + 1, (1,), generator=draw)) for _ in range(2))
    moved = images.roll((down, across), dims=(2, 3))
    return moved.flip(3) if flip and bool(torch.rand(1, generator=draw) > 0.5) else moved


def new_start(net: nn.Module, seed: int, block: int) -> None:
    """A generator's weights as CMI draws them anew in each round: N(0, 0.02), gains N(1, 0.02), biases 0; running statistics stay."""
    with rng.seeded(seed, "restart", block), torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                module.weight.copy_(torch.empty(module.weight.shape).normal_(0.0, 0.02))
            elif isinstance(module, nn.BatchNorm2d) and module.weight is not None:
                module.weight.copy_(torch.empty(module.weight.shape).normal_(1.0, 0.02))
            else:
                continue
            if module.bias is not None:
                module.bias.zero_()
