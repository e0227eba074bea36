"""Feature maps as the feature terms see them: which pairs, as [B, C, H, W], and two maps at one size."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from redistill.core import Context, Pair, RedistillError
from redistill.pairs import check_pairs, pair_stages

MapShape = tuple[int, int, int]
"""Channels, height, width."""


def named_or_paired(ctx: Context, named: tuple[Pair, ...] | None) -> tuple[Pair, ...]:
    """The pairs that were named, or every pair of stages; a name that does not exist is refused with the nearest."""
    return pair_stages(ctx) if named is None else check_pairs(ctx, named)


def map_shape(who: str, ctx: Context, whose: Literal["student", "teacher"], place: str) -> MapShape:
    """[C, H, W] of one place; a vector [B, C] counts as a map of one position."""
    shape = ctx.shape(whose, place)
    if len(shape) == 4:
        return shape[1], shape[2], shape[3]
    if len(shape) == 2:
        return shape[1], 1, 1
    raise RedistillError(
        f"{who} compares maps [B, C, H, W] or vectors [B, C], but {place!r} of the {whose} has shape {list(shape)}: "
        f"name another place with at=[(student place, teacher place)]"
    )


def as_map(feature: Tensor) -> Tensor:
    """A vector [B, C] as a map [B, C, 1, 1]; a map as it is."""
    return feature[:, :, None, None] if feature.ndim == 2 else feature


def average_to(feature: Tensor, height: int, width: int) -> Tensor:
    """Adaptive average pooling of [B, C, H, W] to [B, C, height, width]; nothing where the size is that already.

    Windows of equal size take plain average pooling, the same numbers, whose CUDA gradient is deterministic.
    """
    h, w = feature.shape[2:]
    if (h, w) == (height, width):
        return feature
    if h % height == 0 and w % width == 0:
        return F.avg_pool2d(feature, (h // height, w // width))
    return F.adaptive_avg_pool2d(feature, (height, width))


def to_smaller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps at the smaller of their sizes, axis by axis, the larger averaged down."""
    height, width = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    return average_to(a, height, width), average_to(b, height, width)


def same_shape(who: str, student: Tensor, teacher: Tensor) -> None:
    """Equal shapes, or a sentence with both; broadcasting would compare the wrong entries without a word."""
    if student.shape != teacher.shape:
        raise RedistillError(
            f"{who} compares entry by entry, but the student's map has shape {list(student.shape)} and the teacher's "
            f"{list(teacher.shape)}: set the term up with the sizes it is used with"
        )
