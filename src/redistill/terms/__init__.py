"""The formulas: one file a paper's term, all settings as named arguments, no weights."""

from __future__ import annotations

from redistill.core import RedistillError, Term, nearest
from redistill.terms.ce import CE, cross_entropy
from redistill.terms.kd import KD, softened_kl

ALL: tuple[type[Term], ...] = (CE, KD)

__all__ = ["ALL", "CE", "KD", "by_name", "cross_entropy", "softened_kl"]


def by_name(name: str) -> type[Term]:
    """The term that a file calls ``name``, or a sentence with the nearest names."""
    table = {cls.__name__: cls for cls in ALL}
    if name not in table:
        raise RedistillError(nearest(name, table, "term"))
    return table[name]
