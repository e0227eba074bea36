"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from redistill.errors import RedistillError, cut

Out = Annotated[Path, typer.Option("--runs", "--out", help="Folder of the runs (--out is its earlier name).", metavar="FOLDER")]

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="REDISTILL_DATA", help="Folder of the data sets.", metavar="FOLDER"),
]

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output and nothing else there.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ...")]

Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of one process; default: one where a step is small, else torch's own.", metavar="N"),
]

NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Compute what teachers say anew, and remember none of it; the numbers are the same.")
]

TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run code of one's own that a record or a paper file names; it can do whatever you can.")
]

Track = Annotated[
    list[str],
    typer.Option(
        "--track", help="Send every epoch's numbers there: tensorboard, wandb, mlflow, trackio; several with commas.", metavar="NAME,..."
    ),
]

Change = Annotated[
    list[str], typer.Option("--set", help="Replace a setting, recipe.lr=0.05 or method.KD.T=2; may be repeated.", metavar="KEY=VALUE")
]


def typed(context: typer.Context | None, *names: str) -> list[str]:
    """Those of these options that stand on the command line, whatever their value; none where a command is called as a function."""
    if context is None:
        return []
    sources = {one.name: context.get_parameter_source(one.name) for one in context.command.params if one.name in names}
    there = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    return [one.opts[0] for one in context.command.params if one.name in there]


MOST_SEEDS = 1000  # of one command: a larger number was meant as a seed


def seeds_of(text: str | None) -> list[int] | None:
    """``3`` is 0, 1, 2; a comma makes a list: ``4,7`` is 4 and 7, ``4,`` is 4 alone. None: the file's own seed.

    >>> seeds_of("3"), seeds_of("4,7"), seeds_of("4,")
    ([0, 1, 2], [4, 7], [4])
    """
    if text is None:
        return None
    plain = text.replace(" ", "")
    if re.fullmatch(r"[1-9]\d*", plain):
        if len(plain) > 4 or int(plain) > MOST_SEEDS:
            raise RedistillError(f"--seeds {cut(plain)} means so many, from 0 on: write {cut(plain)}, with the comma for that one alone")
        return list(range(int(plain)))
    if re.fullmatch(r"\d+,(\d+,)*\d*", plain):
        return list(dict.fromkeys(int(part) for part in plain.split(",") if part))
    raise RedistillError(f"--seeds {text!r}: write 3 for the seeds 0, 1, 2, or a list such as 4,7 (4, is seed 4 alone)")


def only_numbers(value: Any) -> Any:
    """``value`` as JSON can hold it: NaN and infinity, which JSON does not know, are null, and a key beside says what they were.

    >>> only_numbers({"mte": 0.5, "error": float("nan")})
    {'mte': 0.5, 'error': None, 'error_why_null': 'nan: not a finite number'}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [only_numbers(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, one in value.items():
        found[key] = only_numbers(one)
        lost = [v for v in (one if isinstance(one, list | tuple) else [one]) if isinstance(v, float) and not math.isfinite(v)]
        if lost:
            found[f"{key}_why_null"] = f"{lost[0]}: not a finite number"
    return found


def show_json(value: Any) -> None:
    """JSON on standard output, written in one piece; letters that its encoding does not have are escaped."""
    if sys.stdout is None:
        raise RedistillError("standard output is closed, so that the JSON has nowhere to go; the work itself is done")
    plain = (sys.stdout.encoding or "ascii").lower().replace("-", "") not in ("utf8", "utf16", "utf32")
    sys.stdout.write(json.dumps(only_numbers(value), indent=1, ensure_ascii=plain, allow_nan=False) + "\n")


def use_threads(threads: int | None) -> None:
    """Let torch work with that many threads; None: as many as it likes."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
