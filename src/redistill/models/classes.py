"""Whether a network and a data set mean the same by their class numbers: weights files and data sets keep names."""

from __future__ import annotations

from collections.abc import Sequence

from redistill.errors import RedistillError


def require_same_order(mine: Sequence[str] | None, theirs: Sequence[str] | None, network: str, data: str) -> str | None:
    """Compare the class names of a network with those of data; None where they agree or where one side has none.

    Returns:
        A remark, where the names differ: they may be other words for the same classes, which only a person can tell.

    Raises:
        RedistillError: the same names in another order, under which every number would be about the wrong class.
    """
    if not mine or not theirs or tuple(mine) == tuple(theirs):
        return None
    same = len(mine) == len(theirs)
    first = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    if same and sorted(mine) == sorted(theirs):
        raise RedistillError(
            f"class {first} is {mine[first]!r} for {network} and {theirs[first]!r} for {data}: the same {len(mine)} classes in another "
            f"order. Rename the class folders (their order is that of their names), or train the network on these data"
        )
    if not same:
        return f"{network} knows {len(mine)} class names, {data} has {len(theirs)}"
    other = sum(a != b for a, b in zip(mine, theirs, strict=True))
    return (
        f"{other} of {len(mine)} classes have other names: class {first} is {mine[first]!r} for {network} and {theirs[first]!r} for "
        f"{data}; the numbers are right only if these mean the same ({_listed(mine)}; {_listed(theirs)})"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
