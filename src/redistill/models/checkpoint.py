"""Saving and loading networks. A file is data: loading never executes anything in it."""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from redistill import tensor_files
from redistill.core import RedistillError
from redistill.models.arch import Arch
from redistill.models.build import build, names
from redistill.models.foreign import to_ours, unwrapped
from redistill.models.resnetv2 import BLOCKS as RESNETV2
from redistill.models.shufflenetv2 import WIDTHS as SHUFFLENETV2
from redistill.paths import expanded
from redistill.user_code import is_code

FORMAT = 1


def save(net: nn.Module, path: str | Path, *, normalisation: str | None = None, extra: Mapping[str, str] | None = None) -> None:
    """Write a network as safetensors, with what is needed to build (ours) and to feed it again.

    Args:
        normalisation: name of the set its images are normalised in; default: what the network carries.
        extra: further text entries of the file's header.
    """
    arch = getattr(net, "arch", None)
    known = {"arch": arch.as_json()} if isinstance(arch, Arch) else {"class": type(net).__name__}
    used = normalisation or getattr(net, "normalisation", None)
    # a set of one's own is written with its constants, as text
    about = {"format": FORMAT, **known, "normalisation": None if used is None else str(used)}
    tensor_files.save(path, net.state_dict(), {"redistill": json.dumps(about, sort_keys=True), **(extra or {})})


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file, and what its header says about the network."""
    path = expanded(path)
    if not path.is_file():
        raise RedistillError(f"there is no network file {path}: give the path of a .safetensors, .pth or .pt file")
    if path.suffix == ".safetensors":
        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError) as error:
            raise RedistillError(f"{path} is damaged or no safetensors file ({error}): get it again") from error
        return tensors, _about(header, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: what cannot be read is refused below
            # RepDistiller keeps its options beside the weights: a Namespace is a bag of values and runs nothing
            with torch.serialization.safe_globals([argparse.Namespace]):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RedistillError(
            f"{path} holds more than tensors, and reading that could run a program hidden in it: it was refused. If you trust "
            f"its author, load it with torch yourself and save its state dict with safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise RedistillError(f"{path} is damaged or no PyTorch file ({str(error).splitlines()[0]}): get it again") from error
    return _tensors(loaded, path), {}


def _about(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    """What the header says: ours in full, of other files the normalisation."""
    try:
        about = json.loads(header.get("redistill", ""))
    except json.JSONDecodeError:
        about = None
    if not isinstance(about, dict):
        about = {}
    form = about.get("format", FORMAT)
    if not isinstance(form, int) or form > FORMAT:
        raise RedistillError(f"{path} was written by a newer version (format {form}): update redistill")
    said = about.get("normalisation") or header.get("normalisation") or header.get("normalise")
    return {**about, "normalisation": said or None}


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


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    """The state dict in what a training script saved: itself, or under a usual key."""
    if isinstance(loaded, Mapping):
        for key in ("state_dict", "model_state_dict", "model", "net", "params"):
            if isinstance(loaded.get(key), Mapping):
                beside = loaded.get("stats")  # attention-transfer keeps running statistics beside the parameters
                return _tensors({**loaded[key], **beside} if isinstance(beside, Mapping) else loaded[key], path)
        found = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        if found:
            return found
    raise RedistillError(f"{path} holds no state dict: expected tensors by name, or such a mapping under 'state_dict' or 'model'")


def load(
    path: str | Path, *, model: str | None = None, classes: int | None = None, normalisation: str | None = None
) -> nn.Module:
    """A network from a file, in evaluation mode.

    Args:
        path: a file of :func:`save` (which knows everything), plain safetensors, or ``.pth``/``.pt`` with tensors only. Names
            of other published families and wrapper prefixes are understood.
        model: the architecture, where the file does not say it; guessed from names and shapes where only one fits.
        classes: number of classes, checked, or for building where the file does not say it.
        normalisation: set its images are normalised in, where the file does not say it.
    """
    tensors, about = read(path)
    if about.get("arch") is not None and model is None:
        arch = _arch(about["arch"], Path(path))
        mine = arch.classes
        args = dict(arch.args)
        if classes is None or classes == mine:
            net = build(arch.name, mine, channels=arch.channels, image_size=arch.image_size, **args)
    else:
        mine = _classes(tensors, classes)
        model, args = _guess(tensors, mine, Path(path), model)
        if classes is None or classes == mine:
            # a network of one's own has channels of its own: its first layer has no name that says them
            net = build(model, mine, channels=None if is_code(model) else _channels(tensors), **args)
            net.sized = "image_size" in args  # type: ignore[assignment]
    if classes is not None and mine != classes:
        raise RedistillError(f"{path} tells {mine} classes apart, {classes} were asked for: leave classes= out, or give another file")
    fill(net, tensors, str(path))
    net.normalisation = normalisation or about.get("normalisation")  # type: ignore[assignment]
    return net.eval()


def fill(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load tensors of any known family into ``net``, or say what differs first and which network is nearest."""
    wanted = net.state_dict()
    state, _ = to_ours(tensors, list(wanted))
    # older files and functional networks have no step counters; they do not enter any computation
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(value))
    wrong = _differences(wanted, state)
    if wrong:
        arch = getattr(net, "arch", None)
        name = arch.name if isinstance(arch, Arch) else type(net).__name__
        last = [n for n in wanted if n.endswith("weight")][-1]
        if last in state and state[last].ndim == 2 and wrong == _classes_only(wanted, state):
            raise RedistillError(
                f"{where} tells {state[last].shape[0]} classes apart, the network {name} was built for {wanted[last].shape[0]}: "
                f"build it with classes={state[last].shape[0]}"
            )
        near = nearest_architecture(tensors)
        hint = f"; nearest is {near}" if near and near != name else ""
        raise RedistillError(f"{where} does not fit {name}: {'; '.join(wrong[:3])}{hint}")
    if any(value.dtype == torch.float64 for value in state.values()):
        net.double()  # float32 would round a network saved in double precision
    net.load_state_dict(state)


def _differences(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    wrong = []
    for name, value in wanted.items():
        if name not in state:
            wrong.append(f"{name} {list(value.shape)} is missing in the file")
        elif state[name].shape != value.shape:
            wrong.append(f"{name} has shape {list(state[name].shape)} in the file, {list(value.shape)} in the network")
    wrong += [f"{name} {list(v.shape)} has no place in the network" for name, v in state.items() if name not in wanted]
    return wrong


def _classes_only(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """The differences that another number of classes alone would make."""
    return [d for d in _differences(wanted, state) if d.split(" ")[0] in list(wanted)[-2:]]


def _classes(tensors: Mapping[str, Tensor], asked: int | None = None) -> int:
    if any(unwrapped(name) in _MADE for name in tensors):
        return 1  # a generator has none
    linear = {unwrapped(name): v for name, v in tensors.items() if v.ndim == 2 or (v.ndim == 4 and v.shape[1:] == (1280, 1, 1))}
    if not linear:
        if asked is not None:
            return asked
        raise RedistillError("the number of classes cannot be read from the file (no linear layer): give classes=")

    def place(name: str) -> list[tuple[int, str]]:  # layers.11 comes after layers.9, which sorting by letters would not know
        return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]

    return int(linear[max(linear, key=place)].shape[0])


_MADE = ("layers.12.running_mean", "batch_norm4.running_mean")
"""Last batch norm of a generator: the channels it makes."""
_FIRST = ("conv1.weight", "conv1.0.weight", "block0.0.weight", "layers.0.weight", "conv0", "pre.0.weight")


def _channels(tensors: Mapping[str, Tensor]) -> int:
    """Image channels by the first convolution; its name tells, because safetensors sorts its entries."""
    for name, value in tensors.items():
        if unwrapped(name) in _FIRST and value.ndim == 4:
            return int(value.shape[1])
        if unwrapped(name) in _MADE:
            return int(value.shape[0])
    return 3


def _score(tensors: Mapping[str, Tensor], candidate: str, classes: int, args: Mapping[str, Any]) -> tuple[int, int]:
    """(entries that differ, entries) between the file and one architecture, without allocating its weights."""
    with torch.device("meta"):
        net = build(candidate, classes, channels=_channels(tensors), initialise=False, **args)
    wanted = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    state, _ = to_ours(tensors, list(net.state_dict()))
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    return len(_differences(wanted, state)), len(wanted)


def _candidates(tensors: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Any]]]:
    """What the names alone allow: (network, arguments), depths and widths counted; all known names where they say nothing."""
    shapes = {unwrapped(name): tuple(value.shape) for name, value in tensors.items()}

    def indices(pattern: str) -> int:
        return len({found[1] for name in shapes if (found := re.match(pattern, name))})

    def shape(pattern: str) -> tuple[int, ...]:
        return next((shape for name, shape in shapes.items() if re.fullmatch(pattern, name)), (0,))

    if n := indices(r"(?:block1\.(?:layer|nblockLayer)\.|group0\.block)(\d+)\."):
        width = shape(r"block1\.(?:layer|nblockLayer)\.0\.conv1\.weight|group0\.block0\.conv0")[0] // 16
        projected = shape(r"block1\.(?:layer|nblockLayer)\.0\.(?:convShortcut|conv_inp)\.weight|group0\.block0\.convdim") != (0,)
        wrn: dict[str, Any] = {"projection": "always"} if width == 1 and projected else {}
        if shape(r"bn1\.weight|batch_norm\.weight|bn\.weight") == (0,):
            wrn["gamma"] = False
        if "fc.weight" in shapes and "fc.bias" not in shapes:
            wrn["bias"] = False
        return [(f"wrn-{6 * n + 4}-{width}", wrn)]
    if (n := indices(r"layer1\.(\d+)\.")) and ("fc.weight" in shapes or not indices(r"layer4\.(\d+)\.")):
        padded = shape(r"layer2\.0\.downsample\.0\.weight") == (0,) and indices(r"layer2\.(\d+)\.")
        name = f"resnet{6 * n + 2}{'x4' if shape('conv1.weight')[0] == 32 else ''}"
        return [(name, {"shortcut": "padding"} if padded else {})]
    if "linear.weight" in shapes:
        sizes: list[tuple[str, dict[str, Any]]] = [("shufflenetv2", {"size": s} if s != 1.0 else {}) for s in SHUFFLENETV2]
        return [*((f"resnet{depth}", {}) for depth in RESNETV2), ("shufflenetv1", {}), *sizes]
    if "classifier.0.weight" in shapes:
        half = shape(r"conv1\.0\.weight")[0] == 16
        return [("mobilenetv2", {} if half else {"width": shape(r"conv1\.0\.weight")[0] / 32})]
    if len(outputs := shapes.get("layers.0.weight", ())) == 2:
        if "layers.12.running_mean" in shapes:
            return [("zskt-generator", {"z": outputs[1], "image_size": 4 * math.isqrt(outputs[0] // 128)})]
        rows = [shape[0] for _, shape in sorted((int(n.split(".")[1]), s) for n, s in shapes.items() if len(s) == 2)]
        return [("mlp", {"inputs": outputs[1], "hidden": tuple(rows[:-1])})]
    if "layers.7.weight" in shapes:
        return [("lenet", {"image_size": 4 * math.isqrt(shapes["layers.7.weight"][-1] // 16) + 12})]
    return [(name, {}) for name in names()]


def nearest_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """The known architecture with the fewest differing entries, or None where nothing is near."""
    try:
        classes = _classes(tensors)
    except RedistillError:
        return None
    known: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in names()]
    scores: dict[str, tuple[int, int]] = {}
    for name, args in [*known, *_candidates(tensors)]:
        try:
            scores[name] = min(scores.get(name, (10**9, 0)), _score(tensors, name, classes, args))
        except RedistillError:  # counted from names that are nobody's: no such network
            continue
    name = min(scores, key=lambda n: scores[n][0])
    wrong, entries = scores[name]
    return name if wrong <= entries // 2 else None


def _fits(tensors: Mapping[str, Tensor], classes: int) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, args in _candidates(tensors):
        try:
            if _score(tensors, name, classes, args)[0] == 0:
                found.append((name, args))
        except RedistillError:  # as above
            continue
    return found


def _guess(tensors: Mapping[str, Tensor], classes: int, path: Path, asked: str | None) -> tuple[str, dict[str, Any]]:
    """The network and the arguments that fit; where the name was given, its variant."""
    if asked is not None and ":" in asked:
        return asked, {}
    fits = _fits(tensors, classes)
    if asked is not None:
        return next(((name, args) for name, args in fits if name == asked), (asked, {}))
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise RedistillError(f"{path} fits several networks ({', '.join(name for name, _ in fits)}): say which one, model=...")
    near = nearest_architecture(tensors)
    hint = f" (nearest: {near})" if near else ""
    raise RedistillError(f"{path} does not say its architecture, and none known fits{hint}: give model=...")
