"""Golden networks: logits, features, gradients and running statistics in both modes, from closed-form weights."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor, nn

from redistill.core import Output
from redistill.features.tapped import Tapped
from redistill.models import describe
from redistill.verify.images import formula
from redistill.verify.networks import GoldenNetwork, levels, network
from redistill.verify.reader import Array, Case, NotSupported, checksum, closed_form, probes


def compute(case: Case) -> dict[str, Tensor | Array]:
    """The ``out/`` arrays of a models case."""
    meta = case.meta
    weights, given, gradient = (meta.get(key, {}) for key in ("weights", "input", "gradient"))
    _only(weights, {"rule": "read_golden.fill_state over state_dict_entries"}, "weights")
    _only(given, {}, "input", ("shape", "formula"))
    if gradient.get("loss") != "sum(logits * closed_form(777, logits.shape, salt))":
        raise NotSupported("this gradient rule is unknown")
    shape = given.get("shape")
    images = formula(given.get("formula")).images(given["salt"], shape, B=shape[0] if shape else 1, t=0)
    if shape and list(images.shape) != shape:
        raise NotSupported(f"input shape = {shape}, but the formula gives {list(images.shape)}")
    arch = meta.get("arch") or case.method.split("__")[0]
    described = {"arch": arch, "salt": weights["salt"], "state_dict_entries": meta["state_dict_entries"]}
    named = network(described, meta.get("num_classes") or 10, images.shape[1:])
    direction = given["salt"]
    found: dict[str, Tensor | Array] = {"out/weight_checksums": _weights(named)}
    start = {name: value.clone() for name, value in named.net.state_dict().items()}
    wanted = _features(case, named.net)
    before = [f"{p}:pre" if f"{p}:pre" in _places(named.net) else p for p in wanted][: len(meta.get("preact_shapes") or ())]
    for mode in ("eval", "train"):
        named.net.load_state_dict(start)
        named.net.train(mode == "train")
        named.net.zero_grad(set_to_none=True)
        shown = before if mode == "eval" or "out/train_preact0_checksum" in case.arrays else []
        read = Tapped(named.net, tuple(dict.fromkeys((*wanted, *shown))))
        if read.places:
            read.prepare(images)
        # a generator's images are no logits, and have no places
        out = read(images) if read.places else Output(named.net(images))
        (out.logits * torch.from_numpy(closed_form(777, tuple(out.logits.shape), direction))).sum().backward()
        found[f"out/{mode}_logits"] = out.logits
        for i, place in enumerate(wanted):
            _describe(found, f"out/{mode}_feat{i}", out[place], meta["feature_shapes"][i])
        for i, place in enumerate(shown):
            _describe(found, f"out/{mode}_preact{i}", out[place], meta["preact_shapes"][i])
        found[f"out/{mode}_paramgrad_checksums"] = _gradients(named, meta["paramgrad_names"])
        if mode == "train" and "out/train_running_checksums" in case.arrays:
            found["out/train_running_checksums"] = named.rows(meta["running_names"])
    _same_size(case, named.net)
    return found


def _only(given: object, known: dict[str, str], what: str, free: tuple[str, ...] = ()) -> None:
    """A mapping with these values, a salt, and whatever of ``free``; anything else is not supported."""
    if not isinstance(given, dict) or not isinstance(given.get("salt"), int):
        raise NotSupported(f"{what} needs a salt")
    for key, value in given.items():
        if key not in ("salt", *free) and known.get(key) != value:
            raise NotSupported(f"{what} {key} = {value!r} is unknown")


def _places(net: nn.Module) -> list[str]:
    return list(net.places)  # type: ignore[arg-type]


def _features(case: Case, net: nn.Module) -> list[str]:
    """Our places in the order of the original's features: stem, stages and pooled, or the stages alone, by their number."""
    count = len(case.meta.get("feature_shapes") or [])
    if not count:
        return []
    found = levels(net)
    if len(found) != count:
        found = [name for name in found if name.startswith("stage")]
    if len(found) != count:
        raise NotSupported(f"{case.method} has {count} features, ours has {len(found)}")
    return found


def _describe(found: dict[str, Tensor | Array], name: str, feature: Tensor, shape: list[int]) -> None:
    values = feature.detach().numpy()
    if list(values.shape) != shape:
        raise ValueError(f"{name.removeprefix('out/')} has shape {list(values.shape)}, the original {shape}")
    found[f"{name}_checksum"], found[f"{name}_probes"] = checksum(values), probes(values)


def _weights(named: GoldenNetwork) -> Array:
    state = named.net.state_dict()
    return np.stack([checksum(state[ours].numpy()) for ours, _ in named.entries()])


def _gradients(named: GoldenNetwork, names: list[str]) -> Array:
    ours = {theirs: mine for mine, theirs in named.entries()}
    parameters = dict(named.net.named_parameters())
    if odd := [n for n in names if ours.get(n) not in parameters]:
        raise NotSupported(f"our network has no parameter {odd[0]}")
    rows = []
    for name in names:
        parameter = parameters[ours[name]]
        grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        rows.append(checksum(grad.numpy()))
    return np.stack(rows)


def _same_size(case: Case, net: nn.Module) -> None:
    """Parameters and multiply-accumulates are numbers of the sidecar too."""
    info = describe(net)
    for key, mine in (("parameters", info.parameters), ("macs_per_image", info.macs)):
        if key in case.meta and case.meta[key] != mine and not re.match("zagoruyko", case.method):
            raise ValueError(f"{key}: the original has {case.meta[key]:,}, ours {mine:,}")
