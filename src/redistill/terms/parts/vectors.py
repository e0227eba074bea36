"""Features as vectors, one an image, as relational terms see them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from redistill.core import Context, Pair, RedistillError
from redistill.core.pairs import check_pairs
from redistill.terms.parts.wide import wide


def as_vectors(feature: Float[Tensor, " batch *entries"]) -> Float[Tensor, "batch width"]:
    """[B, ...] as [B, D], half precision as fp32."""
    return wide(feature.flatten(1))


def of_unit_length(values: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """``values`` over their length along ``dim``, 1e-12 at least (the guard of the codes); zeros stay zeros, without a gradient.

    The guard alone would give what is exactly zero 1e12 times the gradient of anything else.

    >>> import torch
    >>> x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    >>> of_unit_length(x, dim=1)[:, 0].sum().backward()
    >>> x.grad[1].tolist()
    [0.0, 0.0]
    """
    lengths: Tensor = torch.linalg.vector_norm(values, dim=dim, keepdim=True)
    return values / lengths.clamp_min(1e-12).where(lengths > 0, torch.inf)


def require_pairs(who: str, images: Tensor) -> None:
    """Refuse a batch [B, ...] of one image."""
    if len(images) < 2:
        raise RedistillError(
            f"{who} compares the images of a batch with each other, but the batch has one: drop the last batch or enlarge it"
        )


def named_or_pooled(who: str, ctx: Context, named: tuple[Pair, ...] | None) -> tuple[Pair, ...]:
    """The pairs that were named; default: ``pooled``, what the classifier is given, of both networks."""
    if named is not None:
        return check_pairs(ctx, named)
    for whose, places in (("student", ctx.student_places), ("teacher", ctx.teacher_places)):
        if "pooled" not in places:
            raise RedistillError(
                f"{who} compares the vectors before the classifier, and none was found in the {whose}: name a place, "
                f"at=[(student place, teacher place)]"
            )
    return (("pooled", "pooled"),)
