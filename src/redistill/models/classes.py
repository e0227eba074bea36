"""Whether a network and a data set mean the same by their class numbers: weights files and data sets keep names."""

from __future__ import annotations

from collections.abc import Sequence

from redistill.errors import RedistillError


def require_same_order(mine: Sequence[str] | None, theirs: Sequence[str] | None, network: str, data: str) -> str | None:
    """Compare the class names of a network with those of data; None where they agree or where one side has none.

    Returns:
        A remark, where the names differ: they may be other words for the same classes, which only a person can tell.

    Raises:
        RedistillError: one name has two numbers, under which every number would be about the wrong class.
    """
    if not mine or not theirs or tuple(mine) == tuple(theirs):
        return None
    first = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    if sorted(mine) == sorted(theirs):
        raise RedistillError(
            f"class {first} is {mine[first]!r} for {network} and {theirs[first]!r} for {data}: the same {len(mine)} classes in another "
            f"order. Rename the class folders (their order is that of their names), or train the network on these data"
        )
    here, there = _places(mine), _places(theirs)
    if (moved := next((name for name in theirs if name in here and not here[name] & there[name]), None)) is not None:
        raise RedistillError(
            f"{moved!r} is class {min(here[moved])} for {network} and class {min(there[moved])} for {data}: classes are numbered in the "
            f"order of their names, so both need the same class folders ({_listed(mine)}; {_listed(theirs)})"
        )
    if len(mine) != len(theirs):
        return f"{network} knows {len(mine)} class names, {data} has {len(theirs)}"
    other = sum(a != b for a, b in zip(mine, theirs, strict=True))
    return (
        f"{other} of {len(mine)} classes have other names: class {first} is {mine[first]!r} for {network} and {theirs[first]!r} for "
        f"{data}; the numbers are right only if these mean the same ({_listed(mine)}; {_listed(theirs)})"
    )


def _places(names: Sequence[str]) -> dict[str, set[int]]:
    """The numbers of each name; ImageNet has two cranes."""
    found: dict[str, set[int]] = {}
    for number, name in enumerate(names):
        found.setdefault(name, set()).add(number)
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
