"""Inputs that are not a data set: generators that train beside the student, images made out of a teacher, two sources in turn.

Its names are loaded when first used, so that who asks for a kind's name alone does not wait for torch; what publications made of them
stands in ``redistill.published``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redistill.sources.adversarial import Adversarial as Adversarial
    from redistill.sources.generated import DAFL as DAFL
    from redistill.sources.generated import DFAD as DFAD
    from redistill.sources.generated import pulls as pulls
    from redistill.sources.inversion import CMI as CMI
    from redistill.sources.inversion import DeepInversion as DeepInversion
    from redistill.sources.inversion import Rounds as Rounds
    from redistill.sources.mixed import Mixed as Mixed
    from redistill.sources.variants import Variant as Variant

_HOME = {
    "Adversarial": "sources.adversarial", "DAFL": "sources.generated", "DFAD": "sources.generated", "pulls": "sources.generated",
    "CMI": "sources.inversion", "DeepInversion": "sources.inversion", "Rounds": "sources.inversion", "Mixed": "sources.mixed",
    "Variant": "sources.variants", "PRESETS": "published.zero_shot", "Preset": "published.zero_shot", "preset": "published.zero_shot",
    "extra_images": "published.few_images", "few_methods": "published.few_images", "few_recipe": "published.few_images",
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
    if name not in _HOME:
        raise AttributeError(f"module 'redistill.sources' has no attribute {name!r}")
    value = vars(importlib.import_module(f"redistill.{_HOME[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
