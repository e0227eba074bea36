"""Energy of runs, where CodeCarbon measured it: its own ``emissions.csv`` in the folder of the store.

    codecarbon monitor --offline --country-iso-code DEU -- redistill run FILE.toml        (with CODECARBON_OUTPUT_DIR=runs)
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from redistill.errors import RedistillError, counted
from redistill.runs.store import Run

FILE = "emissions.csv"
NOT_MEASURED = "Energy was not measured."


def energy(runs: Sequence[Run]) -> str:
    """What CodeCarbon wrote beside these runs, in a sentence; that nothing was measured, where it wrote nothing.

    Raises:
        RedistillError: a file of that name that is not CodeCarbon's.
    """
    places = sorted({path for run in runs if (path := run.folder.parents[1] / FILE).is_file()})
    sentences = [_measured(path) for path in places]
    return " ".join(sentences) if sentences else NOT_MEASURED


def _measured(path: Path) -> str:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            every = list(csv.DictReader(file))
        # a tracking that was flushed on its way has several rows, each with all that it had measured by then: the last one counts
        rows = list({row.get("run_id") or number: row for number, row in enumerate(every)}.values())
        used, emitted = (sum(float(row[name]) for row in rows) for name in ("energy_consumed", "emissions"))
        versions = ", ".join(dict.fromkeys(row["codecarbon_version"] for row in rows))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise RedistillError(f"{path} is no file of CodeCarbon ({type(error).__name__}: {error}): move it away") from error
    if not rows or not math.isfinite(used) or used < 0:
        raise RedistillError(f"{path} holds no measurement of CodeCarbon: move it away")
    return (
        f"Energy, measured by CodeCarbon {versions} ({counted(len(rows), 'tracking')} in {path.name} of this store): {used:.4g} kWh, "
        f"{emitted:.4g} kg of CO2 equivalents. These are of all that was tracked there, whichever runs it was."
    )
