"""``redistill download``: the official files of the data sets, fetched once, checked, and described."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.options import DataDir, Json, show_json
from redistill.errors import RedistillError


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(help="Data sets, cifar10, or parts of them, svhn:extra.", metavar="DATA")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fetch official data sets that are missing.

    They are compared with their checksums, and it is said what they hold.
    Without --data-dir they go to ~/.cache/redistill, where every other command looks for them.
    """
    from redistill import data

    known = [name for name in data.names() if name.partition(":")[0] not in data.OWN]
    wanted: list[str] = []
    for name in names:
        parts = [full for full in known if name in (full, full.partition(":")[0])]
        if not parts:
            sets = dict.fromkeys(full.partition(":")[0] for full in known)
            raise RedistillError(f"{name!r} is no official data set: known are {', '.join(sets)}")
        wanted += parts
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(wanted):
        found = data.load(name, data_dir, download=True)
        rows.append({"name": name, "classes": found.classes, "shape": list(found.image_shape), **found.manifest()})
        if not as_json:
            size = "x".join(map(str, found.image_shape))
            print(f"{name}: {len(found):,} images {size}, {found.classes} classes, sha256 {rows[-1]['sha256'][:12]}")
    if as_json:
        show_json(rows)
