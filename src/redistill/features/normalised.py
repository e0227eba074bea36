"""One network in front of images of another normalisation: a callable that adapts them, and leaves the network alone."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.data import Renormalise
from redistill.features.outputs import logits_of, name_of
from redistill.features.traced import traced_while_training


def inside(net: nn.Module) -> nn.Module | None:
    """The module that a wrapper hands its images to unchanged: ``DataParallel`` and averaged models (``module``),
    ``torch.compile`` (``_orig_mod``), the first of an ``nn.Sequential``; None for a network."""
    if isinstance(net, nn.Sequential):
        return next(iter(net.children()), None)
    children = dict(net.named_children())
    name = next(iter(children), "")
    return children[name] if len(children) == 1 and name in ("module", "_orig_mod") else None


def innermost(net: nn.Module) -> nn.Module:
    """The network behind wrappers that hand it their images and hand on what it says: all of them, but a longer ``nn.Sequential``."""
    while (inner := inside(net)) is not None and len(list(net.children())) == 1:
        net = inner
    return net


def normalisation_of(net: nn.Module) -> str | None:
    """The named set in which a network wants its images, also behind wrappers; None where nothing says it."""
    layer: nn.Module | None = net
    while layer is not None:
        own = getattr(layer, "normalisation", None)
        if own is not None and not isinstance(own, nn.Module):
            return own  # type: ignore[no-any-return]
        layer = inside(layer)
    return None


def _says_nothing(net: nn.Module, space: str) -> None:
    """A wrapper may have means and deviations of its own: what a network deep inside says is not what the wrapper wants."""
    for name, module in net.named_modules():
        own = getattr(module, "normalisation", None)
        if isinstance(own, str) and own != space:
            raise RedistillError(
                f"{type(net).__name__} holds a network ({name}) made for images normalised as {own!r}, and does not say itself how it "
                f"wants its images, which come normalised as {space!r}: set its attribute, net.normalisation = {own!r} (or {space!r} "
                f"if it converts them itself)"
            )


@dataclass(frozen=True, eq=False)
class Normalised:
    """``net`` in front of images normalised as ``space``; ``adapt`` stands between them where the network wants another set.
    ``copies``: it writes into the images that it is given, which others see too, and gets copies."""

    net: nn.Module
    space: str
    adapt: Renormalise | None
    copies: bool = False

    def __post_init__(self) -> None:
        if traced_while_training(innermost(self.net)):
            raise RedistillError(
                f"the network {name_of(self.net)} was traced (torch.jit.trace) in train mode, so that it normalises by the images of its "
                f"batch or drops values for ever, whatever mode it is put into: trace it again after net.eval(), or give the network itself"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W] as the stream gives them."""
        return logits_of(self.net(self.adapted(images)), self.net)

    def adapted(self, images: Shaped[Tensor, " *shape"]) -> Shaped[Tensor, " *shape"]:
        """``images`` as the network wants them."""
        if self.adapt is not None:
            return self.adapt(images)
        return images.clone() if self.copies else images


def normalised(net: nn.Module, space: str) -> Normalised:
    """What calls ``net`` with images that are normalised as ``space``. Nothing is put on the network, which may be called, or
    evaluated, in its own normalisation at the same time.

    Raises:
        RedistillError: a network inside says another normalisation than ``space``, and the wrapper says none.
    """
    own = normalisation_of(net)
    if own is None:
        _says_nothing(net, space)
    return Normalised(net, space, None if own is None or own == space else Renormalise.between(space, own))
