"""Runs that fell to guessing on their way: they did not diverge, have an accuracy, and it says little of their method."""

from __future__ import annotations

import math
from dataclasses import dataclass

from redistill.errors import RedistillError
from redistill.runs.run import Run

SURE = 3.0  # standard errors above guessing below which an evaluation is taken for guessing


@dataclass(frozen=True)
class Fall:
    """Attributes: steps, with accuracies in percent: of the best evaluation before the fall, of the first one at guessing."""

    high_step: int
    high: float
    low_step: int
    low: float

    def __str__(self) -> str:
        where = f"{self.low:.2f} % at step {self.low_step:,}, after {self.high:.2f} % at step {self.high_step:,}"
        return f"fell to guessing on its way ({where})"


def fall(run: Run, on: str = "test") -> Fall | None:
    """The first fall of a run to guessing, after it had at least half of the best accuracy that it ever reached.

    Told by evaluations alone: one between two of them, and one of data of one's own, whose classes are not known without their
    files, goes unseen. None for a run that diverged, which counts as guessing anyway.
    """
    evaluated, count = run.record["experiment"]["evaluate"].get(on), run.entry.data.get(on, {}).get("count")
    if run.diverged is not None or evaluated is None or not isinstance(count, int) or count < 1:
        return None
    try:
        points = [(int(step), float(value)) for step, value in run.curves()["accuracy"].get(on, ())]
    except RedistillError:  # gone or altered: whoever draws them says so
        return None
    best, drops = (0, 0.0), []
    for step, value in points:
        if value <= best[1] / 2:
            drops.append(Fall(*best, step, value))
        best = max(best, (step, value), key=lambda point: point[1])
    if not drops:
        return None
    from redistill.data.catalogue import row_of  # brings torch, for which a listing does not wait

    if (row := row_of(str(evaluated))) is None:
        return None
    share = 1 / row.classes
    guessing = 100 * (share + SURE * math.sqrt(share * (1 - share) / count))
    return next((drop for drop in drops if drop.low <= guessing and drop.high >= max(2 * guessing, best[1] / 2)), None)
