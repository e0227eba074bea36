"""How one network meets the images of a stream: its own normalisation, the layout that it can take, and its places.

A network is looked at once, with two images of zeros, and left bitwise as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.features.normalised import Normalised, inside, normalised
from redistill.features.places import Layers, places_of
from redistill.features.tapped import Tapped
from redistill.precision import Arithmetic


def bare(net: nn.Module) -> nn.Module:
    """The network inside ``DataParallel`` and ``torch.compile``: the loop computes on one device and compiles itself.

    Raises:
        RedistillError: a hook stands on the wrapper itself, where the loop would not call it.
    """
    while type(net).__name__ in ("DataParallel", "OptimizedModule") and (inner := inside(net)) is not None:
        if net._forward_hooks or net._forward_pre_hooks:
            raise RedistillError(
                f"a hook stands on the {type(net).__name__} around {type(inner).__name__}: put it on the network inside, which is what "
                f"trains, and give that"
            )
        net = inner
    return net


def _plain(images: Tensor) -> Tensor:
    """Rows after rows; a copy, because images of one channel count as contiguous in every layout and keep their strides."""
    return images.clone(memory_format=torch.contiguous_format)


def spoils_memory(net: nn.Module) -> bool:
    """Whether a network has a 1x1 convolution that skips positions and reads 2 to 7 channels.

    On CPUs PyTorch (oneDNN; seen in 2.13) writes beyond its memory where it computes the gradient of such a weight in channels_last:
    the process ends, or goes on with other numbers. In the plain layout it does not.
    """
    return any(
        isinstance(m, nn.Conv2d) and set(m.kernel_size) == {1} and max(m.stride) > 1 and 1 < m.in_channels // m.groups < 8
        for m in net.modules()
    )


@dataclass(frozen=True, eq=False)
class Sight:
    """``view``: the network behind its normalisation. ``contiguous``: it wants the plain layout, because it flattens with ``view`` or
    would spoil memory in the other (:func:`spoils_memory`). ``found``: its places. ``probe``: two images of zeros [2, C, H, W] as the
    stream gives them."""

    view: Normalised
    contiguous: bool
    found: Layers
    probe: Tensor

    @classmethod
    def of(cls, net: nn.Module, space: str, image_shape: tuple[int, ...], means: Arithmetic, *, trained: bool) -> Sight:
        """Look at ``net``, which may be called in train mode too where ``trained``."""
        view = normalised(net, space)
        images = means.zeros(image_shape, means.channels_last)
        if means.channels_last and means.device.type == "cpu" and spoils_memory(net):
            net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            return cls._found(view, True, places_of(net, _plain(images), trained=trained), images)
        try:
            return cls._found(view, False, places_of(net, images, trained=trained), images)
        except RedistillError:
            if not means.channels_last:
                raise
            try:
                return cls._found(view, True, places_of(net, _plain(images), trained=trained), images)
            except RedistillError:
                pass
            raise

    @classmethod
    def _found(cls, view: Normalised, contiguous: bool, found: Layers, images: Tensor) -> Sight:
        return cls(replace(view, copies=True) if found.overwrites else view, contiguous, found, images)

    def __call__(self, images: Tensor) -> Tensor:
        """Images of the stream as the network takes them."""
        images = self.view.adapted(images)
        return _plain(images) if self.contiguous else images

    def tapped(self, places: Sequence[str], *, again: bool = False) -> Tapped:
        """A reader of these places that takes images of the stream."""
        return Tapped.reading(self.view.net, self.probe, places, found=self.found, again=again, adapt=self)
