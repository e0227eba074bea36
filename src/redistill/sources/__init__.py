"""Inputs that are not a data set: generators that train beside the student, images made out of a teacher, two sources in turn.

What publications made of them stands in ``redistill.published``; its documented names are handed on when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from redistill.sources.adversarial import Adversarial
from redistill.sources.generated import DAFL, DFAD, pulls
from redistill.sources.inversion import CMI, DeepInversion, Rounds
from redistill.sources.mixed import Mixed
from redistill.sources.variants import Variant

_PUBLISHED = {
    "PRESETS": "zero_shot", "Preset": "zero_shot", "preset": "zero_shot",
    "extra_images": "few_images", "few_methods": "few_images", "few_recipe": "few_images",
}  # fmt: skip

__all__ = [
    "CMI",
    "DAFL",
    "DFAD",
    "PRESETS",
    "Adversarial",
    "DeepInversion",
    "Mixed",
    "Preset",
    "Rounds",
    "Variant",
    "extra_images",
    "few_methods",
    "few_recipe",
    "preset",
    "pulls",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLISHED:
        raise AttributeError(f"module 'redistill.sources' has no attribute {name!r}")
    module = importlib.import_module(f"redistill.published.{_PUBLISHED[name]}")
    return vars(module)[name]


def __dir__() -> list[str]:
    return sorted(__all__)
