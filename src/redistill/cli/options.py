"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from redistill.errors import RedistillError

Out = Annotated[Path, typer.Option("--out", help="Folder of the runs.", metavar="FOLDER")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="REDISTILL_DATA", help="Folder of the data sets.", metavar="FOLDER"),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output and nothing else there.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ...")]
Change = Annotated[
    list[str], typer.Option("--set", help="Replace a setting, recipe.lr=0.05 or method.KD.T=2; may be repeated.", metavar="KEY=VALUE")
]


def seeds_of(text: str | None) -> list[int] | None:
    """``3`` is 0, 1, 2; a comma makes a list: ``4,7`` is 4 and 7, ``4,`` is 4 alone. None: the file's own seed.

    >>> seeds_of("3"), seeds_of("4,7"), seeds_of("4,")
    ([0, 1, 2], [4, 7], [4])
    """
    if text is None:
        return None
    plain = text.replace(" ", "")
    if re.fullmatch(r"[1-9]\d*", plain):
        return list(range(int(plain)))
    if re.fullmatch(r"\d+,(\d+,)*\d*", plain):
        return list(dict.fromkeys(int(part) for part in plain.split(",") if part))
    raise RedistillError(f"--seeds {text!r}: write 3 for the seeds 0, 1, 2, or a list such as 4,7 (4, is seed 4 alone)")


def show_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
