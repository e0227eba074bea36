"""What a source without data keeps: images as pixels, and features for contrast, both in rings."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from redistill import rng
from redistill.data import Normalisation
from redistill.data.augment import Augmenter, augmentation


class ImageMemory:
    """Images that were made, as uint8 pixels [N, C, H, W], the latest ``most`` of them; what the student sees is drawn from here.

    Args:
        augment: what is done to an image when it is drawn, by the name of a data set's augmentation.
        most: images that are kept; None: all.
    """

    def __init__(self, space: Normalisation, augment: str, most: int | None, device: torch.device, dtype: torch.dtype):
        self.space, self.augment, self.most = space, augmentation(augment), most
        self.device, self.dtype = device, dtype
        self.pixels = torch.zeros(0, 0, 0, 0, dtype=torch.uint8)
        self.added = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def add(self, images: Tensor) -> None:
        """Images [B, C, H, W] in the space of the stream; what lies outside of black and white is cut off, as a file of pixels would."""
        mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (self.space.mean, self.space.std))
        pixels = ((images.detach() * std + mean).clamp(0, 1) * 255).to(torch.uint8).cpu()
        self.pixels = pixels if not len(self) else torch.cat([self.pixels, pixels])
        if self.most is not None:
            self.pixels = self.pixels[-self.most :]
        self.added += len(pixels)

    def draw(self, seed: int, block: int, within: int, count: int) -> tuple[Tensor, Tensor]:
        """The batch number ``within`` of a block: images in the space of the stream and where they lie [B].

        Every block goes through the whole memory in a new order, again and again; the last batch of a pass may be smaller.
        """
        turns, at = divmod(within, math.ceil(len(self) / count))
        order = torch.randperm(len(self), generator=rng.stream(seed, "memory", block, turns))
        chosen = order[at * count : (at + 1) * count]
        pixels = self.pixels[chosen]
        if self.augment.variants > 1:
            variant = torch.randint(self.augment.variants, (len(chosen),), generator=rng.stream(seed, "memory", "augment", block, within))
            pixels = Augmenter(self.augment, pixels).applied(pixels, variant)
        images = pixels.to(torch.float32) / 255
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (self.space.mean, self.space.std))
        return ((images - mean) / std).to(device=self.device, dtype=self.dtype), chosen

    def state_dict(self) -> dict[str, Any]:
        return {"pixels": self.pixels, "added": self.added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pixels, self.added = state["pixels"].cpu(), int(state["added"])


class FeatureMemory:
    """The latest ``most`` feature vectors [N, D]."""

    def __init__(self, most: int):
        self.most = most
        self.features = torch.zeros(0, 0)

    def add(self, features: Tensor) -> None:
        kept = features.detach().float().cpu()
        self.features = (kept if not len(self.features) else torch.cat([self.features, kept]))[-self.most :]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` of them, each once, or all where there are fewer."""
        return self.features[torch.randperm(len(self.features), generator=generator)[:count]]

    def state_dict(self) -> dict[str, Any]:
        return {"features": self.features}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.features = state["features"].cpu()
