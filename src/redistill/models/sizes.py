"""The size of images that a network is made for. Convolutions take images of any size, so nothing else says that these are not the
ones that it knows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import nn

from redistill.features.normalised import innermost
from redistill.models.arch import Network


class SizeWarning(UserWarning):
    """A network sees images of another size than it was made for."""


def made_for(net: nn.Module) -> int | None:
    """Side of the square images that a network is made for, also behind wrappers; None where nobody says it, or it takes none."""
    inner = innermost(net)  # a wrapper takes what the network inside takes
    if not isinstance(inner, Network) or not inner.sized or len(inner.input_shape) != 3:
        return None
    return inner.arch.image_size


def other_size(net: nn.Module, shape: Sequence[int], who: str) -> str | None:
    """A sentence where images [C, H, W] are of another size than ``net`` is made for."""
    side = made_for(net)
    if side is None or tuple(shape[1:]) == (side, side):
        return None
    return (
        f"{who} is made for images of {side}x{side}, these are {'x'.join(map(str, shape[1:]))}: it takes them and may know nothing of "
        f"what they show; resize them, or give a network of their size"
    )


def warn_of_size(net: nn.Module, shape: Sequence[int], who: str) -> None:
    """Warn of it."""
    if (sentence := other_size(net, shape, who)) is not None:
        warnings.warn(sentence, SizeWarning, stacklevel=3)
