"""Networks of other libraries by name: ``torchvision:resnet18``, ``timm:resnet50``, ``hf:...``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from redistill import rng
from redistill.core import RedistillError
from redistill.data import Normalisation, normalisation
from redistill.errors import first_line
from redistill.user_code import LIBRARIES


def _module(library: str, name: str) -> Any:
    assert library in LIBRARIES
    package = {"hf": "transformers"}.get(library, library)
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:  # torchvision beside a torch that it was not made for raises the latter
        raise RedistillError(
            f"{library}:{name.removeprefix(library + ':')} needs the package {package}, which cannot be imported ({error}): pip install "
            f"'redistill[{library}]'"
        ) from error


def _from_library(library: str, name: str, classes: int, args: dict[str, Any]) -> nn.Module:
    module = _module(library, name)
    net: Any
    if library == "torchvision":
        net = module.models.get_model(name, weights=None, num_classes=classes, **args)
    elif library == "timm":
        net = module.create_model(name, pretrained=False, num_classes=classes, **args)
    else:
        config = module.AutoConfig.from_pretrained(name, num_labels=classes, trust_remote_code=False, **args)
        net = LogitsOnly(module.AutoModelForImageClassification.from_config(config, trust_remote_code=False))
    made: nn.Module = net
    return made


class LogitsOnly(nn.Module):
    """A transformers image classifier as a network from images to logits."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(pixel_values=x).logits
        return logits


# -- published weights ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Facts:
    """What a library says of one of its networks: whether it publishes weights, for which normalisation and image size."""

    published: bool
    normalise: str | None
    size: int | None


def facts_of(full: str) -> Facts:
    """What the library of ``timm:NAME``, ``torchvision:NAME`` or ``hf:NAME`` says; nothing is fetched but the configuration of the last.

    Raises:
        RedistillError: the library is not installed, or does not have that name.
    """
    library, _, name = full.partition(":")
    module = _module(library, full)
    if library == "timm":
        config = module.get_pretrained_cfg(name, allow_unregistered=True)
        if not module.is_model(name.partition(".")[0]):
            raise RedistillError(f"timm has no network {name!r}: timm.list_models('*{name[:8]}*') shows what it has")
        if config is None:
            return Facts(False, None, None)
        size = config.input_size[-1] if getattr(config, "fixed_input_size", False) else None
        return Facts(bool(config.has_weights), _named_set(config.mean, config.std), size)
    if library == "torchvision":
        try:
            weights = list(module.models.get_model_weights(name))
        except (ValueError, KeyError) as error:
            raise RedistillError(f"torchvision has no network {name!r}: torchvision.models.list_models() shows what it has") from error
        if not weights:
            return Facts(False, None, None)
        usual = module.models.get_model_weights(name).DEFAULT  # those that are fetched; the last ones listed may be others
        shown = usual.transforms()
        fixed = usual.meta.get("min_size", (1, 1))[-1]
        return Facts(True, _named_set(shown.mean, shown.std), fixed if fixed >= 224 else None)
    return Facts(False, None, None)


def _named_set(mean: Any, std: Any) -> str:
    """A normalisation by its constants: of ours where it is one."""
    found = Normalisation("imagenet", tuple(mean), tuple(std))
    known = str(found)
    return known if known == "imagenet" else str(normalisation(Normalisation("pretrained", tuple(mean), tuple(std))))


BESIDE = ("transform_input",)
"""Settings that torchvision changes where it loads its own weights (GoogLeNet, Inception v3: images are normalised once more inside)."""


def with_weights(full: str, classes: int, args: dict[str, Any]) -> tuple[nn.Module, int, dict[str, Any]]:
    """The network with the weights that its library publishes, how many classes those tell apart, and ``args`` with what the library
    sets beside its weights: without that the weights would be another function.

    Where that is another number than ``classes``, the tensors of the head keep first values drawn from (0, "init", name).

    Raises:
        RedistillError: the library cannot fetch them; or they are of another network than it builds without them.
    """
    library, _, name = full.partition(":")
    module = _module(library, full)
    try:
        if library == "timm":
            theirs = module.create_model(name, pretrained=True, **args)
        elif library == "torchvision":
            theirs = module.models.get_model(name, weights="DEFAULT", **args)
        else:
            theirs = LogitsOnly(module.AutoModelForImageClassification.from_pretrained(name, trust_remote_code=False))
    except Exception as error:  # whatever a download raises
        raise RedistillError(
            f"the weights that {library} publishes for {name} cannot be had ({first_line(error)[:200]}): fetch them where there is a "
            f"network, or give a file of weights"
        ) from error
    given = theirs.state_dict()
    if library == "torchvision":
        args = {**{name: True for name in BESIDE if getattr(theirs, name, False) is True}, **args}
    with rng.seeded(0, "init", full):
        net = _from_library(library, name, classes, args)
    mine = net.state_dict()
    taken = {key: value for key, value in given.items() if key in mine and mine[key].shape == value.shape}
    left = [key for key in mine if key not in taken and key in given]
    for key in left:  # of the head alone another number of classes says why
        if mine[key].shape[:1] != (classes,) or mine[key].shape[1:] != given[key].shape[1:]:
            raise RedistillError(
                f"the weights that {library} publishes for {name} are of another network than it builds without them: {key} "
                f"{list(given[key].shape)} and {list(mine[key].shape)}; give a file of weights, or another network"
            )
    net.load_state_dict({**mine, **taken})
    return net, next((int(given[key].shape[0]) for key in left), classes), args
