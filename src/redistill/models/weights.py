"""Saving and loading networks. A file is data: loading never executes anything in it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from redistill import tensor_files
from redistill.core import RedistillError
from redistill.errors import first_line
from redistill.features.hidden_state import unsaved_buffers
from redistill.features.normalised import innermost, normalisation_of
from redistill.models.arch import Arch
from redistill.models.build import build, build_elsewhere
from redistill.models.fitting import fill, put_beside, require_fit
from redistill.models.folder import WEIGHTS, facts_of, is_network_folder
from redistill.models.foreign import stripped
from redistill.models.guess import (
    UNBUILDABLE,
    channels_of,
    classes_of,
    possible_classes,
    recognised,
    shell,
)
from redistill.models.made_weights import plain_state
from redistill.models.shipped import place_of
from redistill.models.weights_reader import contents
from redistill.models.whole import kind_of, load_whole
from redistill.paths import expanded
from redistill.user_code import is_code, locate, require_word

MOST_COUNTS = 20  # numbers of classes that are tried for a network of one's own
FORMAT = 1


def save(
    net: nn.Module,
    path: str | Path,
    *,
    normalisation: str | None = None,
    class_names: Sequence[str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a network as safetensors, with what is needed to build (ours) and to feed it again.

    Weights of ours that are made of others (weight norm, pruning, parametrizations) are written as they are made.

    Args:
        normalisation: name of the set its images are normalised in; default: what the network carries.
        class_names: one name a class, in the order of the outputs; default: what the network carries, if anything.
        extra: further text entries of the file's header.
    """
    if not isinstance(net, nn.Module):
        raise RedistillError(
            f"a network is saved, got a {type(net).__name__}; a state dict goes into a file with safetensors.torch.save_file"
        )
    used = normalisation or normalisation_of(net)
    named = class_names or getattr(net, "class_names", None)
    if isinstance(getattr(inner := innermost(net), "arch", None), Arch):
        net, named = inner, named or getattr(inner, "class_names", None)  # ours, without what is wrapped around it
    arch, state = getattr(net, "arch", None), net.state_dict()
    if isinstance(arch, Arch):
        plain = shell(arch.name, arch.classes, state, channels=arch.channels, image_size=arch.image_size, **arch.args).state_dict()
        if state.keys() != plain.keys() and (state := plain_state(net, plain)).keys() != plain.keys():
            arch = None  # something was built into it: its name would promise another network
    known = {"arch": arch.as_json()} if isinstance(arch, Arch) else {"class": type(net).__name__}
    # a set of one's own is written with its constants, as text
    about: dict[str, Any] = {"format": FORMAT, **known, "normalisation": None if used is None else str(used)}
    if isinstance(arch, Arch) and not getattr(net, "sized", True):
        about["sized"] = False
    if named:
        if isinstance(arch, Arch) and len(named) != arch.classes:
            raise RedistillError(f"{len(named)} class names for the {arch.classes} outputs of {arch.name}: give one name a class")
        about["class_names"] = list(named)
    beside = unsaved_buffers(net)
    if beside:  # of no state dict, and the network computes with them
        about["beside"] = sorted(beside)
    tensor_files.save(path, {**state, **beside}, {"redistill": json.dumps(about, sort_keys=True), **(extra or {})})


def read(path: str | Path, *, averaged: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file of weights (:mod:`redistill.models.weights_reader`), and what its header says about the network.

    averaged: of a file that holds weights and their running average, the average.
    """
    if not isinstance(path, str | PathLike):
        raise RedistillError(f"a network is read from the path of a file, got a {type(path).__name__}")
    tensors, header = contents(path, averaged=averaged)
    if "n_averaged" in tensors and all(name.startswith("module.") for name in tensors if name != "n_averaged"):
        del tensors["n_averaged"]  # how often torch's AveragedModel has averaged: no part of the network
    about = _about(header, Path(path)) if header else {}
    names = about.get("beside")
    listed = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    about["beside"] = {name: tensors.pop(name) for name in listed if name in tensors}
    return tensors, about


class WeightsWarning(UserWarning):
    """Of what a file holds, one thing was read and another was not."""


def _tell_of_average(about: Mapping[str, Any], where: str) -> None:
    """Say that a running average stands beside the weights that were read: the two are different networks, by points."""
    if "average" in about:
        warnings.warn(
            f"{where} holds weights and their running average ({about['average']}), and the weights were read: for the average give a "
            f"file of it, rd.models.save(rd.models.load({where!r}, averaged=True), 'averaged.safetensors')",
            WeightsWarning,
            stacklevel=3,
        )


def _about(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    """What the header says: ours in full, of other files the normalisation; sizes and arguments of a run's own network."""
    about = _object(header.get("redistill", ""))
    form = about.get("format", FORMAT)
    if not isinstance(form, int) or form > FORMAT:
        raise RedistillError(f"{path} was written by a newer version (format {str(form)[:20]}): update redistill")
    stated = about.get("normalisation") or header.get("normalisation") or header.get("normalise")
    if stated is not None and not isinstance(stated, str):
        raise RedistillError(f"{path}: its header names no normalisation, but {str(stated)[:100]!r}")
    names = about.get("class_names")
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    more = {"sizes": _object(header.get("sizes", "")), "args": _object(header.get("args", ""))}
    return {**about, **more, "normalisation": stated or None, "class_names": tuple(names or ()) if named else None}


def _object(text: str) -> dict[str, Any]:
    """A JSON object of a header; empty where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _arch(written: object, path: Path) -> Arch:
    """The architecture in a header. A header is data: it may name a network of ours, never code from elsewhere."""
    fields = {"name": str, "classes": int, "channels": int, "image_size": int, "args": dict}
    if not isinstance(written, dict) or {k: type(v) for k, v in written.items()} != fields:
        raise RedistillError(f"{path}: its header holds no architecture ({', '.join(fields)}), but {str(written)[:100]}")
    if ":" in written["name"] or "initialise" in written["args"]:
        raise RedistillError(
            f"{path} names {written['name']!r}, code from elsewhere, which a file may not choose: if you trust it, give model="
        )
    return Arch(**written)


def load(
    path: str | Path,
    *,
    model: str | None = None,
    classes: int | None = None,
    normalisation: str | None = None,
    args: Mapping[str, Any] | None = None,
    trust_code: bool = False,
    averaged: bool = False,
) -> nn.Module:
    """A network from a file or a folder, in evaluation mode; its ``class_names`` are those the file keeps, or None.

    Args:
        path: the name of a network of the package (``"wrn-16-2-digits"``), a file of :func:`save`, plain safetensors,
            or ``.pth``/``.pt`` with tensors only. Names
            of other published families and wrapper prefixes are understood. A whole network of Keras (HDF5) or TensorFlow Lite
            is read where its package is installed; its images are mostly pixels as stored, normalisation ``pixels``. Or a
            folder that ``redistill distill`` or ``export`` wrote, which says all the rest itself.
        model: the architecture, where the file does not say it; guessed from names and shapes where only one fits.
        classes: number of classes, checked, or for building where the file does not say it.
        normalisation: set its images are normalised in; default: the one that the file says, which a given one replaces.
        args: arguments of the architecture that the file does not say; one that contradicts the file is refused.
        trust_code: the source file that lies in such a folder may be run.
        averaged: of a training script's file that holds weights and their running average (timm's ``state_dict_ema``), the average;
            without this the weights.
    """
    net, about = loaded(path, model, classes, normalisation, args, trust_code, averaged)
    _tell_of_average(about, str(path))
    return net


def loaded(
    path: str | Path,
    model: str | None = None,
    classes: int | None = None,
    normalisation: str | None = None,
    args: Mapping[str, Any] | None = None,
    trust_code: bool = False,
    averaged: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
    """:func:`load`, and what the header of the file says; nobody is told of an average that was not read."""
    path = place_of(path) or path
    if isinstance(path, str | PathLike) and is_network_folder(folder := expanded(path)):
        if model is not None or classes is not None or args or averaged:
            raise RedistillError(f"{path} says itself what its network is: leave model, classes, args and averaged out")
        whole = _of_folder(folder, trust_code)
        if normalisation is not None:
            whole.normalisation = normalisation  # type: ignore[assignment]
        return whole, {}
    given = dict(args or {})
    if isinstance(path, str | PathLike) and (kind := kind_of(expanded(path))) is not None:
        if averaged:
            raise RedistillError(f"{path} is a whole network, which holds no averaged weights beside its own: leave averaged out")
        net = load_whole(expanded(path), kind, model, classes, given)
        net.normalisation = normalisation  # type: ignore[assignment]
        return net.eval(), {}
    tensors, about = read(path, averaged=averaged)
    where = str(path)
    if about.get("arch") is not None and (model is None or ":" not in model):
        arch = _arch(about["arch"], Path(path))
        net = _ours(arch, model, classes, given, tensors, where)
        shown = about["sizes"].get("image_size")  # to a run that began with a file of another size
        if about.get("sized") is False or shown not in (None, arch.image_size):
            net.sized = False  # type: ignore[assignment]
    elif model is not None and ":" in model:
        net = _theirs(model, classes, given, tensors, about, where)
    else:
        net = _recognised(model, classes, given, tensors, where)
    fill(net, tensors, where)
    put_beside(net, about["beside"], where)
    net.normalisation = normalisation or about.get("normalisation")  # type: ignore[assignment]
    net.class_names = about.get("class_names")  # type: ignore[assignment]
    return net.eval(), about


def _of_folder(folder: Path, trust_code: bool) -> nn.Module:
    """The network of a folder in evaluation mode; its source file runs only where that is trusted."""
    facts = facts_of(folder)
    name = facts.place(folder)
    if is_code(name):
        found = locate(name, Path(), code=facts.code)
        if not trust_code:
            require_word(found, None)
    if ":" in name:
        # of a library's, sizes that stand among the arguments are sizes, as when the run was made
        net = build_elsewhere(name, facts.sizes, facts.args) if is_code(name) else build(name, **{**facts.sizes, **facts.args})
        load_weights(net, folder / WEIGHTS)
    else:
        net = load(folder / WEIGHTS)
    net.normalisation = facts.normalise  # type: ignore[assignment]
    net.class_names = facts.class_names  # type: ignore[assignment]
    return net.eval()


def require_same_args(written: Mapping[str, Any], given: Mapping[str, Any], where: str) -> None:
    """Refuse an argument that contradicts the one with which the file's network was made."""
    for name, value in written.items():
        if name in given and given[name] != value:
            raise RedistillError(
                f"args say {name} = {given[name]!r}, {where} was made with {value!r}, and its weights mean something else under "
                f"another: leave {name} out of args"
            )


NO_MATTER = ("dropout", "init", "norm_momentum")
"""Arguments of networks of ours that change nothing that stored weights compute."""


def _require_same_arch(net: nn.Module, written: object, where: str) -> None:
    """Refuse a file of a network of ours for another of that name, where the names and shapes of weights do not show it (the floor of
    a variance, what a branch reads)."""
    mine = getattr(innermost(net), "arch", None)
    if not isinstance(mine, Arch) or not isinstance(written, dict) or written.get("name") != mine.name:
        return
    given = (json.loads(json.dumps(dict(args or {}))) for args in (mine.args, written.get("args")))  # a tuple is a list in a file
    own, theirs = ({name: value for name, value in args.items() if name not in NO_MATTER} for args in given)
    if (odd := next((name for name in sorted({*own, *theirs}) if own.get(name) != theirs.get(name)), None)) is not None:
        said = [f"{args[odd]!r}" if odd in args else "its usual value" for args in (theirs, own)]
        raise RedistillError(
            f"{where} holds a {mine.name} made with {odd} = {said[0]}, the network has {said[1]}, under which its weights mean something "
            f"else: give the same to both"
        )


_FACTS = ("classes", "channels", "image_size")


def _require_classes(mine: int, asked: int | None, where: str) -> None:
    if asked is not None and mine != asked:
        raise RedistillError(f"{where} tells {mine} classes apart, {asked} were asked for: leave classes= out, or give another file")


def _ours(
    arch: Arch, model: str | None, classes: int | None, given: dict[str, Any], tensors: Mapping[str, Tensor], where: str
) -> nn.Module:
    """The network that the header describes; ``given`` may add a dropout, and may contradict nothing else."""
    if model is not None and model != arch.name:
        raise RedistillError(f"{where} holds a {arch.name[:100]}, not a {model}: leave the model out, or give another file")
    _require_classes(arch.classes, classes, where)
    try:
        plain = {name: value for name, value in given.items() if name not in _FACTS}
        asked: Any = shell(arch.name, 1, tensors, **plain)
    except UNBUILDABLE as error:
        raise _unbuildable(where, error) from error
    for name, value in given.items():
        mine, wanted = (getattr(arch, name), value) if name in _FACTS else (arch.args.get(name), asked.arch.args.get(name))
        if mine != wanted and name not in ("dropout", "init"):  # which change nothing that stored weights compute
            usual = "its usual value" if mine is None else repr(mine)
            raise RedistillError(
                f"args say {name} = {value!r}, {where} was made with {usual}, and its weights mean something else under "
                f"another: leave {name} out of args"
            )
    more = {"dropout": given["dropout"]} if "dropout" in given else {}
    return _built(arch.name, arch.classes, {"channels": arch.channels, "image_size": arch.image_size, **arch.args, **more}, tensors, where)


def _recognised(
    model: str | None, classes: int | None, given: dict[str, Any], tensors: Mapping[str, Tensor], where: str
) -> nn.Module:
    """A network of ours by names and shapes, with the arguments that those tell and the ``given`` ones that they do not."""
    plain = stripped(tensors)
    mine = classes_of(plain, classes)
    _require_classes(mine, classes, where)
    _require_classes(mine, given.pop("classes", None), where)
    name, implied = recognised(plain, mine, where, model)
    for argument in implied.keys() & given.keys():
        value = given[argument]
        same = implied[argument] in (value, tuple(value) if isinstance(value, list) else ())
        if not same:
            raise RedistillError(
                f"args say {argument} = {given[argument]!r}, the shapes in {where} say {implied[argument]!r}: leave it out of args"
            )
    every = {"channels": channels_of(plain), **given, **implied}
    net = _built(name, mine, every, tensors, where)
    net.sized = "image_size" in every  # type: ignore[assignment]
    return net


def _built(name: str, classes: int, args: dict[str, Any], tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """A network of ours whose names and shapes are those of the file; only then is memory asked for."""
    try:
        require_fit(shell(name, classes, tensors, **args), tensors, where)
        return build(name, classes, **args)
    except UNBUILDABLE as error:
        if isinstance(error, RedistillError) and where in str(error):
            raise
        raise _unbuildable(where, error) from error


def _unbuildable(where: str, error: Exception) -> RedistillError:
    return RedistillError(f"{where} describes a network that cannot be built: {first_line(error)[:300]}")


def _theirs(
    model: str, classes: int | None, given: dict[str, Any], tensors: Mapping[str, Tensor], about: Mapping[str, Any], where: str
) -> nn.Module:
    """A network from elsewhere. Where nobody says its number of classes, it is the one with which the file fits."""
    require_same_args(about.get("args") or {}, given, where)
    given = {**(about.get("args") or {}), **given}
    sizes = about.get("sizes") or {}
    plain = stripped(tensors)
    held = list(possible_classes(plain))
    if "classes" in given:
        classes = given.pop("classes")
    stated = sizes.get("classes")
    if classes is None and stated in held:
        classes = stated
    facts = {name: sizes[name] for name in ("channels", "image_size") if name in sizes and name not in given}
    counts = [classes] if classes is not None else held[:MOST_COUNTS]
    if not counts:
        raise RedistillError(f"the number of classes cannot be read from {where} (no linear layer): give classes=")
    first: RedistillError | None = None
    guesses = [facts]
    if "channels" not in {**facts, **given}:  # then a convolution of the file may say it
        guesses += [{**facts, "channels": c} for c in sorted({t.shape[1] for t in plain.values() if t.dim() == 4 and t.shape[1] <= 4})]
    for count, known in ((count, known) for known in guesses for count in counts):
        net = build_elsewhere(model, {**known, "classes": count}, given)
        try:
            require_fit(net, tensors, where)
        except RedistillError as error:
            first = first or error
        else:
            return net
    assert first is not None
    raise first


def load_weights(network: nn.Module, path: Path, args: dict[str, Any] | None = None) -> None:
    """Fill a network from a file of weights of any format; one that does not fit is refused with the first difference.

    ``args``: those the network was built with; one that contradicts the file is refused.
    """
    tensors, about = read(path)
    require_same_args(about.get("args") or {}, args or {}, str(path))
    _require_same_arch(network, about.get("arch"), str(path))
    fill(network, tensors, str(path))
    put_beside(network, about["beside"], str(path))
    if about.get("normalisation"):
        network.normalisation = about["normalisation"]
    if about.get("class_names"):
        network.class_names = about["class_names"]
    _tell_of_average(about, str(path))
