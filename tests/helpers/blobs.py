"""A small source that is not the package's: the protocol is all it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Batch, StreamContext


class Blobs:
    """Three classes of noisy 1x8x8 images: a source of our own, which shows that the protocol is all it takes."""

    depends_on_student = False
    normalise = normalisation = "none"
    classes = 3
    image_shape = (1, 8, 8)

    def __init__(self, n: int = 30, labelled: bool = True, seed: int = 0, poison: int | None = None):
        g = torch.Generator().manual_seed(seed)
        self.y = torch.arange(n) % 3
        self.x = torch.randn(n, 1, 8, 8, generator=g) + torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(9))[self.y]
        self.labelled, self.count, self.poison = labelled, n, poison

    @property
    def all_labels(self) -> Tensor | None:
        return self.y if self.labelled else None

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        return -(-self.count // batch_size)

    def settings(self) -> dict[str, Any]:
        return {"blobs": self.count}

    def with_(self, *, normalise: str) -> Blobs:
        raise AssertionError(f"asked to renormalise as {normalise}")

    def batches(self, size: int, device: torch.device, dtype: torch.dtype, channels_last: bool = False) -> Iterator[Batch]:
        for i in range(0, self.count, size):
            yield Batch(self.x[i : i + size].to(device, dtype))

    def start(self, room: StreamContext) -> BlobStream:
        return BlobStream(self, room)


class BlobStream:
    def __init__(self, source: Blobs, room: StreamContext):
        self.source, self.room = source, room

    def batch(self, step: int) -> Batch:
        size = self.room.batch_size
        per_epoch = self.source.steps_per_epoch(size, False)
        epoch, within = divmod(step, per_epoch)
        order = torch.randperm(self.source.count, generator=rng.stream(self.room.seed, "order", epoch))
        index = order[within * size : (within + 1) * size]
        images = self.source.x[index].to(self.room.dtype)
        if step == self.source.poison:
            images = images * float("inf")
        return Batch(images, self.source.y[index] if self.source.labelled else None, index)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {}

    def log(self) -> dict[str, float]:
        return {}
