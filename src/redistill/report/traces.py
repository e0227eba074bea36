"""Accuracy over the steps of runs, seed by seed: those that trained to their end, and those that diverged on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from redistill.errors import RedistillError, nearest
from redistill.runs.store import Run

Curve = Sequence[tuple[float, float]]


class Traces(NamedTuple):
    """The runs of one name, each as (step, accuracy in percent).

    Attributes:
        lived: evaluated to their last step. dead: up to the last evaluation before they diverged, which may be none.
    """

    lived: Sequence[Curve]
    dead: Sequence[Curve] = ()

    def named(self, name: str) -> str:
        """The name, and how many seeds diverged, where some did.

        >>> Traces([[(1, 50.0)]], [[], []]).named("VID")
        'VID (2 of 3 diverged)'
        """
        return f"{name}{lost(len(self.dead), len(self.lived) + len(self.dead))}"


def lost(dead: int, of: int) -> str:
    """What stands behind a name where runs diverged; "" where none did.

    >>> lost(2, 3), lost(0, 3)
    (' (2 of 3 diverged)', '')
    """
    return f" ({dead} of {of} diverged)" if dead else ""


def traces(runs: Mapping[str, Sequence[Run]], on: str | None = None) -> dict[str, Traces]:
    """Of each name's runs; names of which nothing was evaluated are left out.

    Args:
        on: the evaluation set; None: ``test``, or the first that a run has.

    Raises:
        RedistillError: a run was evaluated, or trained to its end, and not on the set that is asked for.
    """
    found = {}
    for name, several in runs.items():
        made = Traces([curve for run in several if run.diverged is None and (curve := _curve(run, on))],
                      [_curve(run, on) for run in several if run.diverged is not None])  # fmt: skip
        if made.lived or any(made.dead):
            found[name] = made
    return found


def _curve(run: Run, on: str | None) -> Curve:
    curves = run.curves()["accuracy"]
    if on is not None and on not in curves and (curves or run.diverged is None):
        raise RedistillError(f"{run.folder}: {nearest(on, curves, 'evaluation set')}")
    points = curves.get("test" if on is None else on) or (next(iter(curves.values()), ()) if on is None else ())
    return [(int(step), float(value)) for step, value in points]
