"""Accuracies that are not in percent: recognised and said, or asked for; never guessed silently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from redistill.errors import RedistillError

Unit = Literal["percent", "fraction", "error"]

ERRORS = (
    "err", "error", "errors", "test_err", "test_error", "top1_err", "top1_error", "top_1_err", "top_1_error", "error_rate",
    "test_error_rate", "err1",
)  # fmt: skip
"""Names of columns that hold errors, as :func:`column_name` writes them."""


def column_name(name: str) -> str:
    """A column's name in small letters, without its unit, words parted by ``_``.

    >>> column_name("Top-1 Acc. (%)"), column_name("test error [%]"), column_name("acc@1")
    ('top_1_acc', 'test_error', 'acc@1')
    """
    return re.sub(r"[\s_-]+", "_", re.sub(r"[(\[]\s*%\s*[)\]]|%|\.", " ", name).strip().lower())


def says_percent(printed: Sequence[object]) -> bool:
    """Whether every number brings a percent sign with it: then 0.35 % is an error of 0.35, and no fraction.

    >>> says_percent(["0.35%", " 0.4 %", ""]), says_percent(["0.35%", 0.4]), says_percent([""])
    (True, False, False)
    """
    there = [text for one in printed if (text := "" if one is None else str(one).strip())]
    return bool(there) and all("%" in text for text in there)


def unit_of(values: Sequence[float], where: str) -> tuple[Unit, str]:
    """The unit of accuracies and the sentence that says so ("" for percent).

    Raises:
        RedistillError: some are at most 1 and some above.
    """
    if not values:
        return "percent", ""
    low = [value for value in values if 0 < value <= 1]
    if low and len(low) == len([v for v in values if v > 0]):
        if all(value == 1.0 for value in low):
            raise RedistillError(
                f"{where}: every accuracy above 0 is 1: say --unit percent if that is 1 %, chance on 100 classes, and --unit fraction if "
                f"it is all of the images"
            )
        return "fraction", f"{where}: all accuracies lie between 0 and 1, so they are read as fractions and taken times 100"
    if low and any(value != 1.0 for value in low):  # 1 % is chance on 100 classes
        raise RedistillError(
            f"{where}: {low[0]:g} stands beside {max(values):g}: accuracies partly as fractions and partly in percent cannot be told; "
            f"give all in percent (or say --unit percent if {low[0]:g} % is meant)"
        )
    return "percent", ""


def of_errors(values: Sequence[float], unit: Unit | None, where: str) -> Unit:
    """Whether errors are in percent or fractions; ``unit``: what was said of them, where ``error`` and ``percent`` are one thing.

    Raises:
        RedistillError: some are at most 1 and some above.
    """
    if unit is not None:
        return "fraction" if unit == "fraction" else "percent"
    low = [value for value in values if 0 < value <= 1]
    if low and len(low) < len([value for value in values if value > 0]):
        raise RedistillError(
            f"{where}: errors of {low[0]:g} and of {max(values):g}: partly as fractions and partly in percent cannot be told; give all in "
            f"percent (or say --unit percent if {low[0]:g} % is meant)"
        )
    return "fraction" if low else "percent"


def percent(value: float, unit: Unit) -> float:
    """In percent of test images classified correctly, to the digits that stood there.

    >>> percent(0.7251, "fraction"), percent(27.49, "error"), percent(72.51, "percent")
    (72.51, 72.51, 72.51)
    """
    return value if unit == "percent" else round(100 * value, 8) if unit == "fraction" else round(100 - value, 8)
