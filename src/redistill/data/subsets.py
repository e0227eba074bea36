"""Which images a subset holds: rules from labels to positions, each a pure function.

All return positions in increasing order, so that a subset keeps the order of the files. A random rule draws each class's
order from a stream of its own, (seed, rule, class): ``per_class(10, s)`` is contained in ``per_class(20, s)``.

Two rules repeat a mistake of published code on purpose (Ferles et al. 2020, ``utils.py`` of the reproduction of Micaelli &
Storkey 2019), because the numbers made with it can only be compared under it. They are named after it, and are no methods of a
data set: ``redistill.published.few_images`` applies them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import SupportsIndex

import torch
from torch import Tensor

from redistill import rng
from redistill.errors import RedistillError, counted

NUMERICS = 1


def whole(what: str, value: int, least: int) -> int:
    """``value`` (also numpy's) as a whole number of at least ``least``, or a sentence."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or value < least:
        raise RedistillError(f"{what} must be a whole number >= {least}, got {value!r}")
    return int(value)


def members(labels: Tensor, classes: int) -> list[Tensor]:
    """The positions of each class, in increasing order; an image without a label (-1) stands in none."""
    order = torch.argsort(labels, stable=True)[int((labels < 0).sum()) :]
    return list(order.split(torch.bincount(labels[labels >= 0], minlength=classes).tolist()))


def _enough(rule: str, groups: list[Tensor], per_class: int, where: str, class_names: tuple[str, ...] | None) -> None:
    smallest = min(range(len(groups)), key=lambda c: len(groups[c]))
    held = len(groups[smallest])
    if held < per_class:
        named = f" ({class_names[smallest]})" if class_names else ""
        raise RedistillError(f"{rule}(M={per_class}): class {smallest}{named} of {where} holds {held} images: choose M <= {held}")


def _some(group: Tensor, count: int, seed: int, rule: str, label: int) -> Tensor:
    return group[torch.randperm(len(group), generator=rng.stream(seed, "subset", rule, label))[:count]]


def per_class(groups: list[Tensor], M: int, seed: int, where: str, class_names: tuple[str, ...] | None) -> Tensor:
    """M random images of every class."""
    _enough("per_class", groups, M, where, class_names)
    return torch.cat([_some(g, M, seed, "per_class", c) for c, g in enumerate(groups)]).sort().values


def first_per_class(groups: list[Tensor], M: int, where: str, class_names: tuple[str, ...] | None) -> Tensor:
    """The first M images of every class in the order of the files (as in sseung0703's reproduction of VID)."""
    _enough("first_per_class", groups, M, where, class_names)
    return torch.cat([g[:M] for g in groups]).sort().values


def shares(sizes: list[int], count: int) -> list[int]:
    """``count`` divided over the classes in proportion to their sizes, by largest remainder (ties: the lower class).

    >>> shares([5, 5, 10], 7)
    [2, 2, 3]
    """
    exact = [Fraction(count * size, sum(sizes)) for size in sizes]
    parts = [int(e) for e in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda c: (parts[c] - exact[c], c))
    for c in by_remainder[: count - sum(parts)]:
        parts[c] += 1
    return parts


def balanced(groups: list[Tensor], count: int, seed: int, rule: str) -> Tensor:
    """``count`` random images, every class in proportion to its size."""
    parts = shares([len(g) for g in groups], count)
    return torch.cat([_some(g, n, seed, rule, c) for c, (g, n) in enumerate(zip(groups, parts, strict=True))]).sort().values


def matching(matches: Tensor, n: int, seed: int) -> Tensor:
    """n random images out of those where ``matches`` [N] is true (for example where two networks agree)."""
    found = torch.nonzero(matches).flatten()
    _enough_matches("matching", len(found), n)
    return found[torch.randperm(len(found), generator=rng.stream(seed, "subset", "matching"))[:n]].sort().values


def per_class_ferles(
    labels: Tensor, groups: list[Tensor], M: int, seed: int, where: str, class_names: tuple[str, ...] | None
) -> Tensor:
    """What ``cifar10loadersM`` and ``svhnloadersM`` select instead of M images of every class.

    They walk through a *shuffled* loader, count the labels they meet, and store the *position in the loader* of each image
    that is still wanted; those positions are then used as indices of the data set. The counts are right for the images met,
    and say nothing about the images at the stored positions: the result is roughly the first classes*M images of the data
    set, not balanced (CIFAR-10, M = 10: 9 to 12 images a class in one run of the published code).
    """
    _enough("per_class_ferles", groups, M, where, class_names)
    met = labels[torch.randperm(len(labels), generator=rng.stream(seed, "subset", "per_class_ferles"))]
    return torch.cat([positions[:M] for positions in members(met, len(groups))]).sort().values


def matching_ferles(matches: Tensor, n: int, seed: int) -> Tensor:
    """What ``get_matching_indices`` selects instead of n images on which two networks agree: the same mistake.

    The positions of agreeing images in a shuffled loader serve as indices of the unshuffled set, so that the selection is
    independent of whether the networks agree there.
    """
    _enough_matches("matching_ferles", int(matches.sum()), n)
    order = torch.randperm(len(matches), generator=rng.stream(seed, "subset", "matching_ferles"))
    return torch.nonzero(matches[order]).flatten()[:n]


def _enough_matches(rule: str, found: int, n: int) -> None:
    if found < n:
        match = f"{counted(found, 'image')} match{'es' if found == 1 else ''}"
        raise RedistillError(f"{rule}(n={n}): only {match}: choose n <= {found}")
