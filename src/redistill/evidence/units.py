"""Accuracies that are not in percent: recognised and said, or asked for; never guessed silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from redistill.errors import RedistillError

Unit = Literal["percent", "fraction", "error"]

ERRORS = ("err", "error", "errors", "test_err", "test_error", "top1_err", "top1_error", "error_rate", "err1")
"""Names of columns that hold errors."""


def unit_of(values: Sequence[float], where: str) -> tuple[Unit, str]:
    """The unit of accuracies and the sentence that says so ("" for percent).

    Raises:
        RedistillError: some are at most 1 and some above.
    """
    if not values:
        return "percent", ""
    low = [value for value in values if 0 < value <= 1]
    if low and len(low) == len([v for v in values if v > 0]):
        return "fraction", f"{where}: all accuracies lie between 0 and 1, so they are read as fractions and taken times 100"
    if low and any(value != 1.0 for value in low):  # 1 % is chance on 100 classes
        raise RedistillError(
            f"{where}: {low[0]:g} stands beside {max(values):g}: accuracies partly as fractions and partly in percent cannot be told; "
            f"give all in percent (or say --unit percent if {low[0]:g} % is meant)"
        )
    return "percent", ""


def percent(value: float, unit: Unit) -> float:
    """In percent of test images classified correctly, to the digits that stood there.

    >>> percent(0.7251, "fraction"), percent(27.49, "error"), percent(72.51, "percent")
    (72.51, 72.51, 72.51)
    """
    return value if unit == "percent" else round(100 * value, 8) if unit == "fraction" else round(100 - value, 8)
