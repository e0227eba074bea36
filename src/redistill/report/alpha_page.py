"""docs/alpha.md: what other implementations call alpha, from :data:`redistill.published.elsewhere.ROWS`."""

from __future__ import annotations

from redistill.published.elsewhere import ROWS, Row, written
from redistill.report.table import bars

TITLES = {
    "KD": "Soft targets",
    "AT": "Attention",
    "hint": "Hints",
    "VID": "Variational information",
}

HEAD = """\
<!-- made from src/redistill/published/elsewhere.py by scripts/make_docs.py; do not edit -->
# What your alpha means here

The same word weighs the teacher in one code and the labels in the next; the same loss is divided by the images here and by images
times classes there. Below is, for each common implementation, its loss in its own names, read at the commit given, and the terms and
weights that mean the same here. Every row is tested: its formula written out with loops, against our terms with the translated
weights, loss and gradient equal in double precision, for other settings than the defaults too (`tests/published/test_elsewhere.py`).

In the formulas B images, C classes; KL is that of the softened probabilities of an image (a sum over classes), T the temperature;
"mean" is over all entries; Q is a map's vector of mean squares over channels, of length 1; r is the trained regressor, F a map of
stage l, f a pooled feature. `KD` here is T² Σ KL / B, `AT` is Σ_l mean((Q_S − Q_T)²), `FitNet` is mean((r(F_S) − F_T)²), `VID` the mean
of ½ ((μ − F_T)² / σ² + log σ²), summed over stages.

`redistill translate mdistiller kd.yaml` (or `torchdistill FILE.yaml`, or `repdistiller "--distill kd -r 0.1 -a 0.9"`) writes our file
from theirs with these weights, and says key by key what it leaves out.
"""


def page() -> str:
    """The page: a table a method, a row an implementation."""
    parts = [HEAD]
    for method, title in TITLES.items():
        rows = [one for one in ROWS if one.method == method]
        lines = [f"## {title}\n", "| implementation | its loss | here | with its defaults |", "|---|---|---|---|"]
        lines += [bars((f"{one.code} @{one.commit}", one.theirs, one.here, _defaults(one))) for one in rows]
        notes = [f"* {_short(one)}: {one.note}" for one in rows if one.note]
        parts.append("\n".join([*lines, "", *notes]) + "\n")
    return "\n".join(parts)


def _defaults(one: Row) -> str:
    settings = ", ".join(f"{name} {value:g}" for name, value in one.settings.items() if isinstance(value, int | float))
    return f"`{written(one.ours(one.settings))}`{f' ({settings})' if settings else ''}"


def _short(one: Row) -> str:
    return f"{one.code.partition(',')[0]} @{one.commit}"
