"""Feature maps as the feature terms see them: which pairs, as [B, C, H, W], and two maps at one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from redistill.core import Context, Pair, RedistillError, Shape
from redistill.core.pairs import check_pairs, pair_stages

MapShape = tuple[int, int, int]
"""Channels, height, width."""


def named_or_paired(ctx: Context, named: tuple[Pair, ...] | None) -> tuple[Pair, ...]:
    """The pairs that were named, or every pair of stages; a name that does not exist is refused with the nearest.

    Tokens [B, N, D] meet tokens of the same number only: where a token lies in the image is not written on it.
    """
    pairs = pair_stages(ctx) if named is None else check_pairs(ctx, named)
    for mine, theirs in pairs:
        s, t = ctx.shape("student", mine), ctx.shape("teacher", theirs)
        if (len(s) == 3 or len(t) == 3) and (len(s) != len(t) or s[1] != t[1]):
            raise RedistillError(
                f"{mine!r} of the student has shape {list(s)}, {theirs!r} of the teacher {list(t)}: tokens [batch, tokens, channels] "
                f"can be compared with as many tokens only; name other places with at=[(student place, teacher place)]: a transformer's "
                f"stage1, stage2 ... are its patches as maps"
            )
    return pairs


def before_activation(ctx: Context, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Both places of every pair before the activation (``stage2:pre``), where a network declares such a place."""

    def pre(place: str, places: Mapping[str, Shape]) -> str:
        return f"{place}:pre" if f"{place}:pre" in places else place

    return tuple((pre(mine, ctx.student_places), pre(theirs, ctx.teacher_places)) for mine, theirs in pairs)


def map_shape(who: str, ctx: Context, whose: Literal["student", "teacher"], place: str, *, tokens: bool = True) -> MapShape:
    """[C, H, W] of one place; a vector [B, C] counts as a map of one position, and tokens [B, N, D] where a term takes them as one
    of N times 1."""
    shape = ctx.shape(whose, place)
    if len(shape) == 3 and tokens:
        return shape[2], shape[1], 1
    if len(shape) == 4:
        return shape[1], shape[2], shape[3]
    if len(shape) == 2:
        return shape[1], 1, 1
    raise RedistillError(
        f"{who} compares maps [B, C, H, W]{', tokens [B, N, D]' if tokens else ''} or vectors [B, C], but {place!r} of the {whose} "
        f"has shape {list(shape)}: "
        f"name another place with at=[(student place, teacher place)]"
    )


def as_map(feature: Tensor) -> Tensor:
    """A vector [B, C] as a map [B, C, 1, 1], tokens [B, N, D] as a map [B, D, N, 1]; a map as it is."""
    if feature.ndim == 3:
        return feature.transpose(1, 2)[:, :, :, None]
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
    a, b = as_map(a), as_map(b)
    height, width = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    return average_to(a, height, width), average_to(b, height, width)


def same_shape(who: str, student: Tensor, teacher: Tensor) -> None:
    """Equal shapes, or a sentence with both; broadcasting would compare the wrong entries without a word."""
    if student.shape != teacher.shape:
        raise RedistillError(
            f"{who} compares entry by entry, but the student's map has shape {list(student.shape)} and the teacher's "
            f"{list(teacher.shape)}: set the term up with the sizes it is used with"
        )
