"""Data as values: images and subsets of images."""

from __future__ import annotations

from redistill.data.augment import Augmentation, Augmenter, augmentation
from redistill.data.dataset import DataSet
from redistill.data.images import Images
from redistill.data.normalise import Normalisation, affine_between, normalisation

__all__ = ["Augmentation", "Augmenter", "DataSet", "Images", "Normalisation", "affine_between", "augmentation", "normalisation"]
