"""``redistill translate``: an experiment file from another implementation's settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli import app
from redistill.errors import RedistillError, nearest, plain
from redistill.paths import expanded

FROM = ("mdistiller", "torchdistill", "repdistiller")


@app.command(context_settings={"ignore_unknown_options": True})
def translate(
    source: Annotated[str, typer.Argument(help="Whose settings: mdistiller, torchdistill (yaml), repdistiller (flags).", metavar="FROM")],
    what: Annotated[
        list[str],
        typer.Argument(help="Their file; of repdistiller a script, or its flags: --distill kd -a 0.9 ...", metavar="FILE|FLAGS"),
    ],
    teacher_weights: Annotated[
        Path | None, typer.Option(help="The teacher's file, which their settings seldom name.", metavar="FILE")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", "-o", help="Where to; default: standard output.", metavar="FILE")] = None,
) -> None:
    """Write our experiment file from another code's settings.

    Weights follow docs/alpha.md. What is not translated stands key by key as comments in the file, and on standard error;
    nothing is guessed. What stays open is to be filled in below the section that the note names.

    redistill translate mdistiller kd.yaml --to kd.toml && redistill distill --method kd.toml --data photos --teacher ...
    """
    from redistill.files import write
    from redistill.published import mdistiller, repdistiller, torchdistill
    from redistill.published.translated import yaml_of
    from redistill.settings.tables import MOST_BYTES, content_of, text_of

    if source.lower() not in FROM:
        raise RedistillError(nearest(source, FROM, "implementation to translate from"))
    weights = None if teacher_weights is None else expanded(teacher_weights)
    if source.lower() == "repdistiller":
        text = " ".join(what)
        if len(what) == 1 and not what[0].startswith("-") and "train_student.py" not in what[0]:
            text = text_of(content_of(expanded(what[0]), MOST_BYTES), what[0])
        made = repdistiller.translated(repdistiller.words_in(text), weights)
    elif len(what) > 1:
        raise RedistillError(f"one file at a time: {what[0]}, and {len(what) - 1} more were given")
    else:
        file = expanded(what[0])
        made = (mdistiller if source.lower() == "mdistiller" else torchdistill).translated(yaml_of(file), file, weights)
    if to is None:
        print(made.toml(), end="")
    else:
        place = expanded(to)
        if place.exists():
            raise RedistillError(f"{place} is there already: give another name with --to, or remove it")
        if not place.parent.is_dir():
            raise RedistillError(f"cannot write {place}: there is no folder {place.parent}")
        write(place, made.toml().encode())
        print(f"{place} is written")
    for line in made.remarks():
        print(plain(line), file=sys.stderr)
