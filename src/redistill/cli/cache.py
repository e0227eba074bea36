"""``redistill cache``: what teachers said and is remembered between runs, listed and cleared."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from redistill.cli import app
from redistill.cli.look import columns
from redistill.cli.options import Json, show_json
from redistill.errors import RedistillError, counted


@app.command()
def cache(
    names: Annotated[
        list[str] | None, typer.Argument(help="With --clear: only files whose names begin so.", metavar="NAME")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it, or NAME...; runs compute it again.")] = False,
    as_json: Json = False,
) -> None:
    """List what is remembered of teachers, or remove it.

    Their answers, image by image, and their accuracies, found again by every later run.

    It lies in $REDISTILL_CACHE, else in the user's cache folder. At most 4 GiB, or $REDISTILL_CACHE_LIMIT (500MB, 20GB, 0 for
    nothing); what was not used for longest goes first. Nothing is lost with it, and no number changes: redistill run --no-cache
    does without.
    """
    from redistill.answers import folder as answers

    where, most = answers.default_folder(), answers.limit()
    if where is None:
        raise RedistillError("there is no folder for it: HOME is not set and this user has none; say REDISTILL_CACHE=FOLDER")
    if names and not clear:
        raise RedistillError(f"{' '.join(names)}: names are for --clear; redistill cache lists everything")
    kept = answers.clear(where, names or None) if clear else answers.listed(where)
    size, taken = sum(one.size for one in kept), sum(one.taken for one in kept)
    if as_json:
        rows = [
            {
                "name": one.path.name, "about": one.about, "bytes": one.size, "bytes_on_disk": one.taken, "answers": one.rows,
                "used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.used)), "damaged": one.damaged,
            }
            for one in kept
        ]  # fmt: skip
        show_json({"folder": str(where), "limit": most, "removed" if clear else "kept": rows})
        return
    if kept:
        table = [["name", "size", "on disk", "used", "what"]]
        for one in kept:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
            state = one.about if one.damaged is None else f"of no use: {one.damaged}"
            table.append([one.path.name.partition(".")[0][:12], answers.shown(one.size), answers.shown(one.taken), used, state])
        print(columns(table))
    done = "removed" if clear else f"of {answers.shown(most)}"
    print(f"{counted(len(kept), 'file')}, {answers.shown(size)} when full {done}, {answers.shown(taken)} on the disk: {where}")
