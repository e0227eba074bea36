"""From the words for a network to the table of an experiment: what is built, from which weights, fed how.

A network is named as everywhere (``wrn-16-2``, ``./file.py:Net``, ``timm:resnet50``), by a folder that holds one, or by a file of
weights that says which network it is. Networks of timm and torchvision come with their published weights where those are asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from redistill.data import normalisation
from redistill.errors import RedistillError
from redistill.experiment.networks import Net
from redistill.files import make_folder
from redistill.models import libraries
from redistill.models.build import check
from redistill.models.file_kinds import FORMATS
from redistill.models.fitting import require_classes, require_fit
from redistill.models.folder import WEIGHTS, facts_of, is_network_folder
from redistill.models.named_file import model_in_file
from redistill.models.shipped import place_of
from redistill.models.signature import NAMES, default_of, filled
from redistill.models.weights import load as load_network
from redistill.models.weights import load_weights, read
from redistill.paths import expanded
from redistill.tensor_files import save
from redistill.user_code import LIBRARIES, is_code, load

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".pth.tar", ".ckpt")


@dataclass(frozen=True)
class Named:
    """A network that somebody named.

    Attributes:
        name: the words. model, args: as in an experiment. weights: its file, or None. normalise: the set in which it wants its
            images, None where nothing says so. size: of the images that it was made for, None where it takes any, or nobody knows.
        class_names: in the order of its outputs. classes: outputs, where its weights say so. published: weights that its library
            gives are wanted, and are fetched when the number of classes is known.
    """

    name: str
    model: str
    args: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    normalise: str | None = None
    size: int | None = None
    class_names: tuple[str, ...] | None = None
    classes: int | None = None
    published: bool = False

    @property
    def short(self) -> str:
        """Its name without folders, for tables."""
        return self.model.rpartition(":")[2] if is_code(self.model) else self.model

    @property
    def with_args(self) -> str:
        """Its short name and its arguments, ``Net(width=8)``."""
        more = ", ".join(f"{key}={value}" for key, value in self.args.items())
        return f"{self.short}({more})" if more else self.short

    def table(self) -> dict[str, Any]:
        """The section ``[teacher]`` or ``[student]``."""
        rows: dict[str, Any] = {"model": self.model}
        if self.args:
            rows["args"] = self.args
        if self.weights is not None:
            rows["from"] = str(self.weights)
        if self.normalise is not None:
            rows["normalise"] = self.normalise
        return rows

    def made(self, sizes: Mapping[str, Any], seed: int = 0) -> nn.Module:
        """The network with its weights, or its first ones: as a run will have it."""
        if self.weights is not None and ":" not in self.model:
            net: nn.Module = load_network(self.weights, model=self.model, args=self.args)  # its file knows more than its name
            require_classes(net, sizes["classes"], str(self.weights))
        else:
            found = load(self.model, Path(), kind=nn.Module, trusted=True) if is_code(self.model) else None
            code = {} if found is None else {"model": found.name, "code": found.code, "file": found.file}
            net = Net.model_validate({"model": self.model, "args": self.args or None, **code}).build(sizes, seed)
            if self.weights is not None:
                load_weights(net, self.weights, self.args)
        if self.normalise is not None:
            net.normalisation = self.normalise  # type: ignore[assignment]
        net.class_names = self.class_names  # type: ignore[assignment]
        return net


def named(
    text: str,
    *,
    weights: str | Path | None = None,
    normalise: str | None = None,
    args: Mapping[str, Any] | None = None,
    published: bool | None = None,
) -> Named:
    """What the words mean.

    Args:
        weights: a file with its weights. normalise: the set in which it wants its images, a name or its constants.
        args: further arguments of its constructor. published: fetch the weights that its library publishes; default: where the
            network is a library's and no weights are given.
    """
    given = dict(args or {})
    own = None if normalise is None else str(normalisation(normalise))
    file = None if weights is None else expanded(weights)
    if file is not None and not os.path.isfile(file):
        raise RedistillError(f"there is no file {file}: give the path of {FORMATS}")
    shipped = place_of(text)
    path = shipped or expanded(text)
    if is_network_folder(path):
        return _of_folder(text, path, file, own, given)
    if file is None and (shipped or (not is_code(text) and text.lower().endswith(ENDINGS))):
        if not os.path.isfile(path):
            raise RedistillError(f"there is no file {path}: give the path of {FORMATS}")
        try:
            model, args_in = model_in_file(path)
        except RedistillError as error:
            raise RedistillError(
                f"{error}. Where the network is known, give it by name and the file beside it: ./file.py:Net and --teacher-weights {text}"
            ) from error
        made = Named(text, model, {**args_in, **given}, path.resolve(), own)
        return _named_in_file(made)
    if is_code(text):
        found = load(text, Path(), kind=nn.Module, trusted=True)
        full = f"{found.file}:{text.rpartition(':')[2]}" if found.file is not None else text
        takes = default_of(found.object, "image_size")
        made = Named(text, full, given, None if file is None else file.resolve(), own, takes if isinstance(takes, int) else None)
        return _named_in_file(made)
    library = text.partition(":")[0]
    if ":" in text and library not in LIBRARIES:
        raise RedistillError(f"{text!r} names no network: write ./file.py:Name, timm:NAME, torchvision:NAME, hf:NAME, or a name of ours")
    if ":" in text:
        facts = libraries.facts_of(text)
        wanted = file is None and facts.published and published is not False
        made = _named_in_file(Named(text, text, given, None if file is None else file.resolve(), own, facts.size, None, None, wanted))
        if made.normalise is not None or not (wanted or file is not None):
            return made
        return replace(made, normalise=facts.normalise)  # where the file says nothing it is taken for one of the published kind
    if os.path.isdir(path):
        raise RedistillError(f"{text} is a folder without a network in it ({WEIGHTS} and redistill.json): name a network, or such a folder")
    check(text)
    return _named_in_file(Named(text, text, given, None if file is None else file.resolve(), own))


def with_classes(one: Named, sizes: Mapping[str, Any]) -> Named:
    """The same with its number of classes among its arguments, for images that do not say how many there are.

    ``sizes``: classes, channels and image_size; of the last two a run knows what the network asks for.
    """
    if not is_code(one.model):
        return replace(one, args={**one.args, "classes": sizes["classes"]})
    made = load(one.model, Path(), kind=nn.Module, trusted=True).object
    takes = filled(one.name, made, sizes, one.args)
    return replace(one, args={name: value for name, value in takes.items() if name in one.args or name in NAMES["classes"]})


def _of_folder(text: str, path: Path, file: Path | None, own: str | None, given: dict[str, Any]) -> Named:
    facts = facts_of(path)
    return Named(
        text,
        facts.place(path.resolve()),
        {**facts.args, **given},
        (file or path / WEIGHTS).resolve(),
        own or (None if file is None else read(file)[1].get("normalisation")) or facts.normalise,
        facts.sizes.get("image_size"),
        facts.class_names,
        facts.sizes.get("classes"),
    )


def _named_in_file(one: Named) -> Named:
    """With what the file of its weights says: normalisation, class names, sizes."""
    if one.weights is None:
        return one
    about = read(one.weights)[1]
    arch = about.get("arch") if isinstance(about.get("arch"), dict) else {}
    sizes = about.get("sizes") or {}
    stated = None if about.get("sized") is False else (arch or {}).get("image_size")
    size = sizes.get("image_size") or stated or one.size  # what a run was shown counts before what its network was built for
    return Named(
        one.name,
        one.model,
        {**(about.get("args") or {}), **one.args},
        one.weights,
        one.normalise or about.get("normalisation"),
        size,
        about.get("class_names"),
        (arch or {}).get("classes") or sizes.get("classes"),
    )


def with_published_weights(one: Named, classes: int, folder: Path) -> Named:
    """The same with its library's weights in a file of ``folder``, its head made anew where it has other classes."""
    if not one.published:
        return one
    net, native, args = libraries.with_weights(one.model, classes, one.args)
    words = one.model + "".join(f"-{key}={value}" for key, value in sorted(one.args.items()))
    file = folder / (re.sub(r"[^\w.=-]", "-", words) + f"-{classes}.safetensors")
    make_folder(folder)
    save(file, net.state_dict(), {"model": one.model})
    made = Named(one.name, one.model, args, file.resolve(), one.normalise, one.size, one.class_names, native, False)
    require_fit(net, read(file)[0], str(file))
    return made
