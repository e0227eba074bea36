"""What a run counts for where runs are judged, one that diverged too."""

from __future__ import annotations

from redistill.runs.run import Run


def counts_for(run: Run, name: str = "test") -> tuple[float, float]:
    """Accuracy in percent at the last epoch and at the best one, on one evaluation set.

    The last network of a run that diverged answers nothing, so it counts as guessing, 100 / classes: that is what published
    codes print of such a network too, whose every answer is the first class. What it reached on the way would let dead networks
    reproduce a number; it is the best epoch's alone, where there was an evaluation. Of data of one's own the classes are not
    known without their files: there it counts as 0.
    """
    evaluated = run.record["accuracy"].get(name)
    if run.diverged is None:
        return float(evaluated["last"]), float(evaluated["best"])
    from redistill.data.catalogue import row_of

    row = row_of(str(run.record["experiment"]["evaluate"].get(name, "")))
    last = 0.0 if row is None else 100.0 / row.classes
    return last, last if evaluated is None else float(evaluated["best"])


def counts(run: Run, name: str = "test") -> bool:
    """Whether a run has something to say of an evaluation set: it was evaluated there, or diverged before it could be."""
    return name in run.record["accuracy"] or (run.diverged is not None and name in run.record["experiment"]["evaluate"])


def why(run: Run) -> str:
    """Why it diverged, without the advice to whoever trains."""
    return (run.diverged or "").partition(": ")[0]


def came_to(run: Run, unit: str = "") -> str:
    """The accuracy after the last step on ``test``, in percent, with a unit behind it (" %"), or that there is none; "" where nothing
    was evaluated."""
    if run.diverged is not None:
        return "diverged"
    return f"{run.accuracy():.2f}{unit}" if "test" in run.record["accuracy"] else ""
