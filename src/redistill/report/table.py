"""The comparison table: one row a method, every difference paired with the baseline seed by seed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from redistill.core import RedistillError, nearest
from redistill.stats import mean_interval, paired_difference


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        n: seeds. mean, low, high: accuracy in percent with its 95 % t interval over seeds (None with one seed).
        difference, difference_low, difference_high: to the baseline, paired by seed, in percentage points; None for the
            baseline itself.
        seconds: mean time of one run, or None.
    """

    method: str
    n: int
    mean: float
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    seconds: float | None = None


Accuracies = Mapping[str, Mapping[int, float]]


def bars(entries: Iterable[object]) -> str:
    """One line of a Markdown table.

    >>> bars(("loss", "|a - b|", 3))
    '| loss | \\\\|a - b\\\\| | 3 |'
    """
    return "| " + " | ".join(str(entry).replace("|", "\\|").replace("\n", " ") for entry in entries) + " |"


def comparison(accuracies: Accuracies, baseline: str, seconds: Mapping[str, float] | None = None) -> list[Row]:
    """Rows in the order given. ``accuracies[method][seed]`` in percent; seeds are paired with the baseline's.

    >>> rows = comparison({"CE": {0: 80.0, 1: 82.0}, "KD": {0: 83.0, 1: 84.0}}, "CE")
    >>> rows[1].mean, rows[1].difference
    (83.5, 2.5)
    """
    if baseline not in accuracies:
        raise RedistillError(nearest(baseline, accuracies, "baseline"))
    rows = []
    for method, by_seed in accuracies.items():
        values = list(by_seed.values())
        mine = mean_interval(values) if len(values) > 1 else None
        difference = low = high = None
        shared = [s for s in by_seed if s in accuracies[baseline]]
        if method != baseline and shared:
            pairs = [by_seed[s] for s in shared], [accuracies[baseline][s] for s in shared]
            difference = sum(a - b for a, b in zip(*pairs, strict=True)) / len(shared)
            if len(shared) > 1:
                paired = paired_difference(*pairs)
                low, high = paired.low, paired.high
        rows.append(
            Row(
                method=method,
                n=len(values),
                mean=sum(values) / len(values),
                low=mine.low if mine else None,
                high=mine.high if mine else None,
                difference=difference,
                difference_low=low,
                difference_high=high,
                seconds=seconds.get(method) if seconds else None,
            )
        )
    return rows


def _cells(rows: Sequence[Row], baseline: str) -> tuple[list[str], list[list[str]]]:
    timed = any(r.seconds is not None for r in rows)
    head = ["method", "seeds", "accuracy %", "95 % interval", f"difference to {baseline}", "95 % interval of it"]
    body = []
    for r in rows:
        cells = [
            r.method,
            str(r.n),
            f"{r.mean:.2f}",
            f"{r.low:.2f} to {r.high:.2f}" if r.low is not None else "one seed",
            f"{r.difference:+.2f}" if r.difference is not None else "",
            f"{r.difference_low:+.2f} to {r.difference_high:+.2f}" if r.difference_low is not None else "",
        ]
        if timed:
            cells.append(f"{r.seconds:.1f} s" if r.seconds is not None else "")
        body.append(cells)
    return [*head, "time a run"] if timed else head, body


def markdown(rows: Sequence[Row], baseline: str) -> str:
    """A Markdown table with aligned columns, numbers to the right."""
    head, body = _cells(rows, baseline)
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, body)]) + "\n"


def comma_separated(rows: Sequence[Row], baseline: str) -> str:
    """CSV with a header line."""
    head, body = _cells(rows, baseline)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([head, *body])
    return out.getvalue()


def latex(rows: Sequence[Row], baseline: str) -> str:
    """A booktabs tabular."""
    head, body = _cells(rows, baseline)

    def line(cells: Sequence[str]) -> str:
        return " & ".join(c.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&") for c in cells) + r" \\"

    return "\n".join(
        [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", line(head), r"\midrule", *map(line, body),
         r"\bottomrule", r"\end{tabular}", ""]
    )
