"""A small network, 24 small images and a short training of ``rd.fit``, for what happens around the loop."""

from __future__ import annotations

from typing import Any

import torch

import redistill as rd

X = torch.randint(0, 255, (24, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
DATA = rd.data.Images(X, torch.arange(24) % 3, 3, "mine", "half")


def net(seed: int = 0) -> Any:
    return rd.models.build("mlp", 3, inputs=64, channels=1, image_size=8, seed=seed)


def trained(student: Any, *, epochs: int = 4, **more: Any) -> rd.Result:
    recipe = rd.Recipe(epochs=epochs, batch_size=8, lr=0.05)
    given: dict[str, Any] = {"recipe": recipe, "seed": 0, "evaluate": {"test": DATA}, "quiet": True}
    return rd.fit(student, net(9), rd.CE() + 0.5 * rd.KD(), DATA, **{**given, **more})
