"""Names of other projects' state dicts, mapped both ways and in their order.

The networks compute the same functions as ours; only names and order of the entries differ. Families:

* ``ferles``: the reproducibility report (``block1.nblockLayer.0.batch_norm1``, batch norms before convolutions) and its generator;
* ``zagoruyko``: attention-transfer's flat dictionary (``group0.block0.conv0``; no ``num_batches_tracked``);
* ``akamaster``: pytorch_resnet_cifar10, our names but for the classifier's, ``linear``; no step counters;
* RepDistiller, mdistiller, ReviewKD and Micaelli use our own names (``ours``);
* prefixes of wrappers (``module.``, ``_orig_mod.``) are dropped, and of an attribute (``model.``) that all names begin with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from redistill.errors import RedistillError

FAMILIES = ("ours", "ferles", "zagoruyko", "akamaster")

# ours -> theirs, tried in order; a rule is (pattern of ours, replacement)
_RULES: dict[str, list[tuple[str, str]]] = {
    "ferles": [
        (r"block(\d)\.layer\.(\d+)\.bn(\d)\.", r"block\1.nblockLayer.\2.batch_norm\3."),
        (r"block(\d)\.layer\.(\d+)\.conv(\d)\.", r"block\1.nblockLayer.\2.conv\3."),
        (r"block(\d)\.layer\.(\d+)\.convShortcut\.", r"block\1.nblockLayer.\2.conv_inp."),
        (r"bn1\.", "batch_norm."),
        (r"layers\.0\.", "noise_to_linear."),
        (r"layers\.2\.", "batch_norm1."),
        (r"layers\.4\.", "conv1."),
        (r"layers\.5\.", "batch_norm2."),
        (r"layers\.8\.", "conv2."),
        (r"layers\.9\.", "batch_norm3."),
        (r"layers\.11\.", "conv3."),
        (r"layers\.12\.", "batch_norm4."),
        (r"conv1\.", "conv1."),
        (r"fc\.", "fc."),
    ],
    "akamaster": [(r"fc\.", "linear."), (r"(conv1|bn1|layer\d)\.", r"\1.")],
}

_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put in front of every name."""

_HOLDERS = ("model.", "net.", "network.", "student.", "backbone.")
"""Attributes under which training scripts and Lightning modules keep their network."""

_NETWORKS = (".model.", ".net.", ".network.", ".student.")
"""Of these the ones that hold a whole network, so that what stands beside them is none of it."""


def unwrapped(name: str) -> str:
    """A name without the prefixes that DataParallel and torch.compile put in front; compiled parts have one in the middle."""
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name.replace("._orig_mod.", ".")


def _renamed(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    if len(set(names)) != len(state):
        double = next(name for i, name in enumerate(names) if name in names[:i])
        raise RedistillError(f"two entries are called {double!r} once the prefixes of wrappers are taken off: save one network alone")
    return dict(zip(names, state.values(), strict=True))


def stripped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the prefixes of wrappers, and of the attribute that held the network where all names have it."""
    names = [unwrapped(name) for name in state]
    while names and (holder := next((h for h in _HOLDERS if all(name.startswith(h) for name in names)), None)):
        names = [unwrapped(name[len(holder) :]) for name in names]
    return _renamed(state, names)


def parts_with(state: Mapping[str, Tensor], names: Sequence[str]) -> list[str]:
    """Prefixes under which a state dict holds all of ``names``, counters of batches aside: ``["student.", "teacher."]``."""
    counted = [name for name in names if not name.endswith("num_batches_tracked")]
    found = {name.removesuffix(counted[0]): None for name in state if name.endswith(f".{counted[0]}")} if counted else {}
    return [one for one in found if all(one + name in state for name in counted)]


def _named_for(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """As it is, without wrappers, or without the attribute that held the network too: whichever meets most of ``names``.

    Where a training module kept the network beside other things (the weights of a loss, a metric), what stands under its attribute.
    """
    if all(name in state for name in names):
        return dict(state)
    whole = parts_with(state, names)
    if len(whole) > 1:  # a distiller's student, whose names a deeper teacher has too
        whole = [one for one in whole if all(name[len(one) :] in names for name in state if name.startswith(one))]
    if len(whole) == 1 and (f".{whole[0]}".endswith(_NETWORKS) or all(name.startswith(whole[0]) for name in state)):
        return {name: state[whole[0] + name] for name in names if whole[0] + name in state}
    ways = [dict(state), _renamed(state, [unwrapped(name) for name in state]), stripped(state)]
    met = [sum(name in way for name in names) for way in ways]
    return ways[met.index(max(met))] if max(met) else ways[-1]


def _to_zagoruyko(name: str) -> str | None:
    if name == "conv1.weight":
        return "conv0"
    if name.startswith("fc."):
        return name
    if found := re.fullmatch(r"bn1\.(\w+)", name):
        return f"bn.{found[1]}"
    found = re.fullmatch(r"block(\d)\.layer\.(\d+)\.(conv|bn)(\d)\.(\w+)", name)
    if found:
        group, block, kind, number, last = found.groups()
        head = f"group{int(group) - 1}.block{block}.{kind}{int(number) - 1}"
        return head if kind == "conv" else f"{head}.{last}"
    if found := re.fullmatch(r"block(\d)\.layer\.(\d+)\.convShortcut\.weight", name):
        return f"group{int(found[1]) - 1}.block{found[2]}.convdim"
    return None


def name_in(family: str, name: str) -> str | None:
    """What ``family`` calls our entry ``name``; None where it has no such entry."""
    if family == "ours":
        return name
    if family in ("zagoruyko", "akamaster") and name.endswith("num_batches_tracked"):
        return None
    if family == "zagoruyko":
        return _to_zagoruyko(name)
    for pattern, replacement in _RULES[family]:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", replacement, name)
    return None


def _rank(family: str, name: str) -> tuple[int, ...]:
    """Order of an entry inside its block in ``family``; equal ranks keep our order."""
    if family == "ferles":
        if found := re.match(r"block(\d)\.layer\.(\d+)\.(bn|convShortcut|conv)", name):
            return int(found[1]), int(found[2]), {"bn": 0, "conv": 1, "convShortcut": 2}[found[3]]
        return (0,) if name.startswith("conv1") else (9,)
    if found := re.match(r"block(\d)\.layer\.(\d+)\.(bn|convShortcut|conv)", name):
        return int(found[1]), int(found[2]), {"conv": 0, "bn": 1, "convShortcut": 2}[found[3]]
    return (0,) if name.startswith("conv1") else (9,)


def order_in(family: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """(our name, their name) of every entry ``family`` has, in the order of its state dict."""
    known = [(ours, theirs) for ours in names if (theirs := name_in(family, ours)) is not None]
    if family in ("ours", "akamaster") or any(ours.startswith("layers.") for ours in names):
        return known
    return sorted(known, key=lambda pair: _rank(family, pair[0]))


def to_ours(state: Mapping[str, Tensor], names: Sequence[str]) -> tuple[dict[str, Tensor], str]:
    """A state dict of any family under our ``names``, and which family it was; entries that fit no family keep their names."""
    plain = _named_for(state, names)
    best: tuple[int, str] = (-1, "ours")
    for family in FAMILIES:
        hits = sum(theirs in plain for _, theirs in order_in(family, names))
        best = max(best, (hits, family), key=lambda pair: pair[0])
    family = best[1]
    table = {theirs: ours for ours, theirs in order_in(family, names)}
    return {table.get(name, name): value for name, value in plain.items()}, family


def from_ours(state: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """Our state dict under the names and in the order of ``family``."""
    return {theirs: state[ours] for ours, theirs in order_in(family, list(state))}
