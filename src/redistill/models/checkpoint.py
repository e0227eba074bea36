"""Saving and loading networks. A file is data: loading never executes anything in it."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.models.arch import Arch
from redistill.models.build import build, names
from redistill.models.foreign import to_ours, unwrapped

FORMAT = 1


def save(net: nn.Module, path: str | Path, *, normalisation: str | None = None, extra: Mapping[str, str] | None = None) -> None:
    """Write a network of ours as safetensors, with what is needed to build and feed it again.

    Args:
        normalisation: name of the set its images are normalised in; default: what the network carries.
        extra: further text entries of the file's header.
    """
    arch = getattr(net, "arch", None)
    if not isinstance(arch, Arch):
        raise RedistillError(f"{type(net).__name__} does not know its architecture: save its state_dict with safetensors instead")
    about = {"format": FORMAT, "arch": arch.as_json(), "normalisation": normalisation or getattr(net, "normalisation", None)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, str(path), metadata={"redistill": json.dumps(about, sort_keys=True), **(extra or {})})


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file, and what its header says about the network."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise RedistillError(f"there is no network file {path}: give the path of a .safetensors, .pth or .pt file")
    if path.suffix == ".safetensors":
        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError) as error:
            raise RedistillError(f"{path} is damaged or no safetensors file ({error}): get it again") from error
        about = json.loads(header["redistill"]) if "redistill" in header else {}
        if about.get("format", FORMAT) > FORMAT:
            raise RedistillError(f"{path} was written by a newer version (format {about['format']}): update redistill")
        return tensors, about
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: what cannot be read is refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RedistillError(
            f"{path} holds more than tensors, and reading that could run a program hidden in it: it was refused. If you trust "
            f"its author, load it with torch yourself and save its state dict with safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise RedistillError(f"{path} is damaged or no PyTorch file ({str(error).splitlines()[0]}): get it again") from error
    return _tensors(loaded, path), {}


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    """The state dict in what a training script saved: itself, or under a usual key."""
    if isinstance(loaded, Mapping):
        for key in ("state_dict", "model_state_dict", "model", "net", "params"):
            if isinstance(loaded.get(key), Mapping):
                return _tensors(loaded[key], path)
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
    if "arch" in about and model is None:
        arch = about["arch"]
        net = build(arch["name"], arch["classes"], channels=arch["channels"], image_size=arch["image_size"], **arch["args"])
        mine = arch["classes"]
    else:
        mine = classes if classes is not None else _classes(tensors)
        if model is None:
            model = _guess(tensors, mine, Path(path))
        net = build(model, mine, channels=_channels(tensors))
    if classes is not None and mine != classes:
        raise RedistillError(f"{path} tells {mine} classes apart, {classes} were asked for")
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


def _classes(tensors: Mapping[str, Tensor]) -> int:
    linear = {unwrapped(name): v for name, v in tensors.items() if v.ndim == 2}
    if not linear:
        raise RedistillError("the number of classes cannot be read from the file (no linear layer): give classes=")

    def place(name: str) -> list[tuple[int, str]]:  # layers.11 comes after layers.9, which sorting by letters would not know
        return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]

    return int(linear[max(linear, key=place)].shape[0])


_FIRST = ("conv1.weight", "conv1.0.weight", "block0.0.weight", "layers.0.weight", "conv0")


def _channels(tensors: Mapping[str, Tensor]) -> int:
    """Image channels by the first convolution; its name tells, because safetensors sorts its entries."""
    for name, value in tensors.items():
        if unwrapped(name) in _FIRST and value.ndim == 4:
            return int(value.shape[1])
    return 3


def _score(tensors: Mapping[str, Tensor], candidate: str, classes: int) -> tuple[int, int]:
    """(entries that differ, entries) between the file and one architecture, without allocating its weights."""
    with torch.device("meta"):
        net = build(candidate, classes, channels=_channels(tensors), initialise=False)
    wanted = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    state, _ = to_ours(tensors, list(net.state_dict()))
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    return len(_differences(wanted, state)), len(wanted)


def nearest_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """The known architecture with the fewest differing entries, or None where nothing is near."""
    try:
        classes = _classes(tensors)
    except RedistillError:
        return None
    scores = {name: _score(tensors, name, classes) for name in names()}
    name = min(scores, key=lambda n: scores[n][0])
    wrong, entries = scores[name]
    return name if wrong <= entries // 2 else None


def _guess(tensors: Mapping[str, Tensor], classes: int, path: Path) -> str:
    fits = [name for name in names() if _score(tensors, name, classes)[0] == 0]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise RedistillError(f"{path} fits several networks ({', '.join(fits)}): say which one, model=...")
    near = nearest_architecture(tensors)
    hint = f" (nearest: {near})" if near else ""
    raise RedistillError(f"{path} does not say its architecture, and none known fits{hint}: give model=...")
