"""Names of other projects' state dicts, mapped both ways and in their order.

The networks compute the same functions as ours; only names and order of the entries differ. Families:

* ``ferles``: the [RE] zero-shot report (``block1.nblockLayer.0.batch_norm1``, batch norms before convolutions) and its generator;
* ``zagoruyko``: attention-transfer's flat dictionary (``group0.block0.conv0``; no ``num_batches_tracked``);
* ``akamaster``: pytorch_resnet_cifar10, our names but for the classifier's, ``linear``; no step counters;
* RepDistiller, mdistiller, ReviewKD and polo5 use our own names (``ours``);
* prefixes of wrappers (``module.``, ``_orig_mod.``) are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

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


def unwrapped(name: str) -> str:
    """A name without the prefixes that DataParallel and torch.compile put in front."""
    while True:
        for prefix in ("module.", "_orig_mod."):
            if name.startswith(prefix):
                name = name[len(prefix) :]
                break
        else:
            return name


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
    plain = {unwrapped(name): value for name, value in state.items()}
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
