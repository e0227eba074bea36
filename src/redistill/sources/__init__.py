"""Inputs that are not a data set: a generator that trains against the student, two sources in turn; and few images."""

from __future__ import annotations

from redistill.sources.adversarial import Adversarial
from redistill.sources.few import extra_images, few_methods, few_recipe
from redistill.sources.mixed import Mixed
from redistill.sources.variants import PRESETS, Preset, Variant, preset

__all__ = ["PRESETS", "Adversarial", "Mixed", "Preset", "Variant", "extra_images", "few_methods", "few_recipe", "preset"]
