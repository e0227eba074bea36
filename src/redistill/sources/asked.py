"""Teacher and student that images are made against: what they must be, how they see the images, and what a source's losses read of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from redistill.core import Method, Output, RedistillError, Shape, StreamContext
from redistill.features.modes import mode
from redistill.features.normalised import normalised
from redistill.features.outputs import name_of
from redistill.features.places import meeting, places_of
from redistill.features.tapped import Tapped
from redistill.models.sizes import made_for


class Asked:
    """Both networks, and the method that the images minimise, which is set up for them here.

    Args:
        shape: [C, H, W] of the images. space: the set in which they are normalised. beside: places of the teacher that others read.
        maker: who makes the images, as sentences call it.

    Attributes:
        student, teacher: readers of the places that the method names. classes: that both networks tell apart.

    Raises:
        RedistillError: a network is made for images of another size, or a term has parameters, which nothing would train.
    """

    def __init__(
        self, room: StreamContext, method: Method, shape: Shape, space: str, *, beside: Sequence[str] = (), maker: str = "the generator"
    ):
        assert room.teacher is not None
        self._room, self._space = room, space
        student, teacher = room.students[0], room.teacher
        for who, net in (("student", student), ("teacher", teacher)):
            require_size(shape, who, net, maker)
        probe = torch.zeros(2, *shape, device=room.device, dtype=room.dtype)
        if room.channels_last:
            probe = probe.to(memory_format=torch.channels_last)
        # shapes are the same in every layout, and some networks take only this one
        plain = probe.clone(memory_format=torch.contiguous_format)
        see_s, see_t = self.adapt(student), self.adapt(teacher)
        mine, theirs = places_of(student, plain), places_of(teacher, plain, trained=teacher.training)
        ctx = meeting(student, mine, teacher, theirs, seed=room.seed, adapt=see_t)
        self.classes = ctx.classes
        method.setup(ctx)
        method.to(device=room.device, dtype=room.dtype)
        if any(True for _ in method.parameters()):
            raise RedistillError(f"a term of {maker} has parameters, which no optimiser would train: leave it out")
        self.student = Tapped.reading(student, probe, method.places("student"), found=mine, adapt=see_s)
        self.teacher = Tapped.reading(teacher, probe, (*method.places("teacher"), *beside), found=theirs, adapt=see_t)

    def adapt(self, net: nn.Module) -> Callable[[Tensor], Tensor]:
        """What makes of the source's images what ``net`` is to be called with."""
        return self._room.adapt(net) if self._room.adapt is not None else normalised(net, self._space).adapted

    def wide(self, out: Output) -> Output:
        """Terms compute in the run's precision whatever the networks computed in."""
        dtype = self._room.dtype
        return Output(out.logits.to(dtype), {name: tap.to(dtype) for name, tap in out.taps.items()})


def require_size(shape: Shape, who: str, net: nn.Module, maker: str) -> None:
    """Convolutions take images of any size, so nothing else would say that these are not the ones a network knows."""
    size = made_for(net)
    if size is not None and tuple(shape[1:]) != (size, size):
        raise RedistillError(
            f"{maker} makes images of {shape[1]}x{shape[2]}, the {who} {name_of(net)} is made for {size}x{size}: "
            f"give {maker} image_size={size}, or a {who} of {maker}'s size"
        )


def require_shape(generator: nn.Module, shape: Shape, room: StreamContext) -> None:
    """Refuse a generator whose images are not of the shape that it says."""
    z = torch.zeros(2, int(generator.z), device=room.device, dtype=room.dtype)  # type: ignore[arg-type]
    with torch.no_grad(), mode(generator, False):
        made = tuple(generator(z).shape)
    if made != (2, *shape):
        raise RedistillError(
            f"the generator {type(generator).__name__} makes images of shape {list(made[1:])} but says "
            f"image_shape={list(shape)}: give it the image size and channels of the student"
        )
