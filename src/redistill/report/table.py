"""The comparison table: one row a method, every difference paired with the baseline seed by seed."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from redistill.errors import RedistillError, counted, nearest
from redistill.stats import STEP, past_edge, percent_difference, percent_interval


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        n: seeds. mean, low, high: accuracy in percent with its 95 % t interval over seeds (None with one seed).
        difference, difference_low, difference_high: to the baseline, paired by seed, in percentage points; None for the
            baseline itself.
        seconds: mean time of one run, or None; it stands in no table, for it depends on what else the machine was doing.
        sd: standard deviation over seeds (n - 1), None with one seed.
        pairs: how many seeds the difference is of, those that both have; None where it was not counted.
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
    sd: float | None = None
    pairs: int | None = None


Accuracies = Mapping[str, Mapping[int, float]]


def bars(entries: Iterable[object]) -> str:
    """One line of a Markdown table.

    >>> bars(("loss", "|a - b|", 3))
    '| loss | \\\\|a - b\\\\| | 3 |'
    """
    return "| " + " | ".join(map(_entry, entries)) + " |"


def _entry(entry: object) -> str:
    return str(entry).replace("|", "\\|").replace("\n", " ")


def comparison(accuracies: Accuracies, baseline: str, seconds: Mapping[str, float] | None = None, step: float = STEP) -> list[Row]:
    """Rows in the order given. ``accuracies[method][seed]`` in percent; seeds are paired with the baseline's. ``step``: in which
    accuracies come, 100 / images.

    >>> rows = comparison({"CE": {0: 80.0, 1: 82.0}, "KD": {0: 83.0, 1: 84.0}}, "CE")
    >>> rows[1].mean, rows[1].difference
    (83.5, 2.5)
    """
    if baseline not in accuracies:
        raise RedistillError(nearest(baseline, accuracies, "baseline"))
    rows = []
    for method, by_seed in accuracies.items():
        values = list(by_seed.values())
        mine = percent_interval(values, step=step) if len(values) > 1 else None
        difference = low = high = None
        shared = [s for s in by_seed if s in accuracies[baseline]]
        if method != baseline and shared:
            pairs = [by_seed[s] for s in shared], [accuracies[baseline][s] for s in shared]
            difference = sum(a - b for a, b in zip(*pairs, strict=True)) / len(shared)
            if len(shared) > 1:
                paired = percent_difference(*pairs, step=step)
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
                sd=statistics.stdev(values) if len(values) > 1 else None,
                pairs=len(shared) if difference is not None else None,
            )
        )
    return rows


def _cells(rows: Sequence[Row], baseline: str) -> tuple[list[str], list[list[str]]]:
    head = ["method", "seeds", "accuracy %", "95 % interval", f"difference to {_entry(baseline)}", "95 % interval of it"]
    body = []
    for r in rows:
        cells = [
            _entry(r.method),
            str(r.n),
            f"{r.mean:.2f}",
            f"{r.low:.2f} to {r.high:.2f}" if r.low is not None else "one seed",
            f"{r.difference:+.2f}" if r.difference is not None else "",
            _over(r),
        ]
        body.append(cells)
    return head, body


def _over(row: Row) -> str:
    """The interval of a difference, and of how many seeds it is where these are not all of the row's."""
    if row.difference is None:
        return ""
    if row.difference_low is None:
        return "one seed" if row.pairs is not None else ""
    ends = " to ".join(past_edge(end, 0.0, 0.0) for end in (row.difference_low, row.difference_high) if end is not None)
    return f"{ends}{_few(row)}"


def _few(row: Row) -> str:
    """Of how many seeds a difference is, where these are not all of the row's."""
    return f" ({counted(row.pairs, 'seed')})" if row.pairs is not None and row.pairs < row.n else ""


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
    """CSV with a header line: one number a column, in percent and percentage points; empty where there is none. ``pairs``: seeds of
    the difference."""
    head = ["method", "baseline", "seeds", "mean", "sd", "low", "high", "difference", "difference_low", "difference_high", "pairs"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for r in rows:
        numbers = (r.mean, r.sd, r.low, r.high, r.difference, r.difference_low, r.difference_high, r.pairs)
        writer.writerow([r.method, baseline, r.n, *("" if value is None else f"{value:.6g}" for value in numbers)])
    return out.getvalue()


_LATEX = {"\\": r"\textbackslash{}", **{c: f"\\{c}" for c in "%_&#${}"}, "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def escaped(text: str) -> str:
    """A name as LaTeX takes it.

    >>> print(escaped("KD_T=4 & 10 %"))
    KD\\_T=4 \\& 10 \\%
    """
    return "".join(_LATEX.get(letter, letter) for letter in text)


def latex(rows: Sequence[Row], baseline: str) -> str:
    """A booktabs table as papers print it: mean and standard deviation over seeds, the highest mean bold, and the paired difference."""
    best = max(row.mean for row in rows)

    def value(mean: float, sd: float | None, signed: bool = False, bold: bool = False) -> str:
        number = f"{mean:+.2f}" if signed else f"{mean:.2f}"
        if bold:
            number = rf"\mathbf{{{number}}}"
        return f"${number}$" if sd is None else rf"${number} \pm {sd:.2f}$"

    lines = []
    for r in rows:
        half = None if r.difference_low is None or r.difference_high is None else (r.difference_high - r.difference_low) / 2
        gain = "" if r.difference is None else value(r.difference, half, signed=True) + _few(r)
        lines.append(f"{escaped(r.method)} & {value(r.mean, r.sd, bold=r.mean == best and len(rows) > 1)} & {gain} " + r"\\")
    seeds = sorted({row.n for row in rows})
    over = counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    caption = (
        rf"Accuracy in \%, mean $\pm$ standard deviation over {over}; difference to {escaped(baseline)}, paired by seed, $\pm$ half of "
        rf"its 95\,\% interval."
    )
    head = [r"\begin{table}", r"\centering", r"\begin{tabular}{lrr}", r"\toprule"]
    head.append(rf"method & accuracy & difference to {escaped(baseline)} \\")
    tail = [r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", ""]
    return "\n".join([*head, r"\midrule", *lines, *tail])
