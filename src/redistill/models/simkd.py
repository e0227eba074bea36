"""A student that ends in its teacher's classifier (Chen et al. 2022, arXiv:2203.14001): body, projector, frozen linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import Context, Place, RedistillError
from redistill.features.places import context
from redistill.models.arch import Arch, Network, _made, pooled
from redistill.terms.parts.classifier import classifier_of, map_before_pooling

NUMERICS = 1

Build = Callable[..., nn.Module]


def projector(before: int, after: int, factor: int) -> nn.Sequential:
    """1x1, 3x3 and 1x1 convolutions without biases, each with batch norm and ReLU; the middle is ``after // factor`` wide."""
    middle = after // factor
    layers: list[nn.Module] = []
    for a, b, kernel in ((before, middle, 1), (middle, middle, 3), (middle, after, 1)):
        layers += [nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


class Reused(Network):
    """See :func:`simkd`."""

    def __init__(self, arch: Arch, body: Network, width: int, size: int, factor: int):
        super().__init__(arch)
        looked = _looked(body)
        layer, self.path = classifier_of("SimKD", looked, "student"), map_before_pooling("SimKD", looked, "student")
        path = next(name for name, module in body.named_modules() if module is layer)
        channels = looked.student_places[self.path][1]
        place = body.places.get(self.path, Place(self.path))
        if place.side != "out":
            raise RedistillError(f"{arch.name}: the map of {body.arch.name} before its pooling is no module's output")
        self.path, self.size = place.module, size
        parent, _, own = path.rpartition(".")
        setattr(body.get_submodule(parent), own, nn.Identity())
        self.body = body
        self.projector = projector(channels, width, factor)
        self.classifier = nn.Linear(width, arch.classes).requires_grad_(False)
        stages = {n: Place(f"body.{p.module}", p.side) for n, p in body.places.items() if n in body.stages}
        self.declare({**stages, "projected": Place("projector"), "pooled": Place("classifier", "in")})

    def reuse(self, classifier: nn.Linear) -> None:
        """Take over a teacher's classifier, number by number; it stays frozen."""
        mine = self.classifier
        if tuple(classifier.weight.shape) != tuple(mine.weight.shape):
            raise RedistillError(
                f"{self.arch.name}: the classifier has {mine.in_features} inputs and {mine.out_features} classes, the teacher's "
                f"{classifier.in_features} and {classifier.out_features}: give the head of this teacher, and its classes"
            )
        with torch.no_grad():
            mine.weight.copy_(classifier.weight)
            if mine.bias is not None:
                mine.bias.copy_(classifier.bias if classifier.bias is not None else torch.zeros_like(mine.bias))

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x)
        kept: list[Tensor] = []
        # a hook of this call alone: a copy of the network must not write into the original
        handle = self.body.get_submodule(self.path).register_forward_hook(lambda module, args, out: kept.append(out))
        try:
            self.body(x)
        finally:
            handle.remove()
        feature = kept[-1]
        if min(feature.shape[2:]) > self.size:
            feature = F.adaptive_avg_pool2d(feature, self.size)
        logits: Tensor = self.classifier(pooled(self.projector(feature)))
        return logits


def _looked(net: Network) -> Context:
    """Places of a network of ours; nothing is computed but shapes."""
    device = next(net.parameters()).device
    return context(net, None, torch.zeros(2, *net.input_shape, device=device))


def simkd(
    body: str,
    head: str | Sequence[int],
    classes: int = 10,
    *,
    factor: int = 2,
    seed: int = 0,
    channels: int = 3,
    image_size: int = 32,
    initialise: bool = True,
    build: Build,
) -> Network:
    """The body of one network under the classifier of another, which :class:`redistill.terms.SimKD` puts there.

    Args:
        body: name of the student, whose own classifier is left out.
        head: name of the teacher; or [width, size] of its last map.
        factor: the projector's middle is the teacher's width over it; 2 in the paper's tables.
        initialise: False draws no first weights and leaves NaN in their place (for loading a file over them).
        build: :func:`redistill.models.build`.
    """
    sizes: dict[str, Any] = {"classes": classes, "channels": channels, "image_size": image_size}
    if isinstance(head, str):
        with torch.device("meta"):
            above = _looked(_of_ours("head", build(head, initialise=False, trust_code=False, **sizes)))
        shape = above.student_places[map_before_pooling("SimKD", above, "student")]
        width, size = shape[1], min(shape[2:])
    else:
        given = list(head)
        if len(given) != 2 or not all(type(number) is int and number > 0 for number in given):
            raise RedistillError(f"simkd(head={head!r}): a network's name, or [width, size] of its last map")
        width, size = given
    if type(factor) is not int or not 1 <= factor <= width:
        raise RedistillError(f"simkd(factor={factor!r}): a whole number from 1 to the {width} channels of the head")

    def make(arch: Arch) -> Network:
        own = _of_ours("body", build(body, seed=seed, initialise=initialise, trust_code=False, **sizes))
        return Reused(arch, own, width, size, factor)

    args = {"body": body, "head": head if isinstance(head, str) else list(head), **({} if factor == 2 else {"factor": factor})}
    return _made(Arch("simkd", classes, channels, image_size, args), make, seed, initialise)


def _of_ours(what: str, net: nn.Module) -> Network:
    if not isinstance(net, Network) or net.arch.name == "simkd":
        raise RedistillError(f"simkd({what}=...): name a network of this package, such as wrn-16-2")
    return net
