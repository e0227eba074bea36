"""The linear layer that makes a network's logits of its pooled features, and the map that it would give at each position."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from redistill.core import Context, RedistillError, describe_places
from redistill.terms.parts.wide import wide


def classifier_of(who: str, ctx: Context, whose: Literal["student", "teacher"]) -> nn.Linear:
    """The last linear layer from what ``pooled`` holds to the logits, or a sentence that says what is missing."""
    net, places = (ctx.student, ctx.student_places) if whose == "student" else (ctx.teacher, ctx.teacher_places)
    if net is None:
        raise RedistillError(f"{who} needs a teacher")
    sizes = [places[name][1] if name in places and len(places[name]) == 2 else None for name in ("pooled", "logits")]
    fitting = [m for m in net.modules() if isinstance(m, nn.Linear) and [m.in_features, m.out_features] == sizes]
    if not fitting:
        raise RedistillError(
            f"{who} reads the {whose}'s classifier, and the {type(net).__name__} has no linear layer from a pooled vector "
            f"({sizes[0] or 'none was found'}) to its {sizes[1]} logits: choose a network that ends in one"
        )
    return fitting[-1]


def map_before_pooling(who: str, ctx: Context, whose: Literal["student", "teacher"]) -> str:
    """The place of the map whose mean over positions the classifier is given: the last one of its width.

    >>> from torch import nn
    >>> from redistill.core import Context
    >>> shapes = {"conv": (2, 4, 3, 3), "act": (2, 4, 3, 3), "pool": (2, 4, 1, 1), "pooled": (2, 4), "logits": (2, 10)}
    >>> map_before_pooling("CATKD", Context(nn.Identity(), None, shapes, {}, (), (), 10), "student")
    'act'
    """
    places = ctx.student_places if whose == "student" else ctx.teacher_places
    width = places["pooled"][1] if "pooled" in places and len(places["pooled"]) == 2 else None
    maps = [name for name, shape in places.items() if len(shape) == 4 and shape[1] == width]
    wide_ones = [name for name in maps if places[name][2] * places[name][3] > 1]
    if not maps:
        raise RedistillError(
            f"{who} reads the {whose}'s map whose mean the classifier is given, and no map has the {width or '(unknown)'} channels of "
            f"its input: name the place, at=[(student place, teacher place)], from: {describe_places(places)}"
        )
    return (wide_ones or maps)[-1]


def classified(values: Float[Tensor, "batch width"], layer: nn.Linear) -> Float[Tensor, "batch classes"]:
    """``layer`` of vectors [B, D] in fp32 at least; no gradient reaches its weights."""
    weight, bias = wide(layer.weight.detach()), None if layer.bias is None else wide(layer.bias.detach())
    return F.linear(wide(values).to(weight.dtype), weight, bias)
