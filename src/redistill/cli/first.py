"""``redistill init`` and ``redistill plot``: a file to begin with, and a figure of what came of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli import app
from redistill.cli.options import Out
from redistill.errors import RedistillError, nearest
from redistill.paths import expanded


@app.command()
def init(
    kind: Annotated[
        str | None, typer.Argument(help="train, distill, compare, unlabelled, zero-shot, paper; none: a list.", metavar="KIND")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Where to; default: KIND.toml in this folder.", metavar="FILE")] = None,
) -> None:
    """Write a commented file to begin with.

    It runs as it is, on data that come with the package.
    """
    from redistill.cli.begin import ABOUT, text_of
    from redistill.cli.look import columns
    from redistill.files import write

    if kind is None:
        print(columns([[name, about] for name, about in ABOUT.items()]))
        return
    if kind not in ABOUT:
        raise RedistillError(nearest(kind, ABOUT, "kind of work"))
    place = expanded(to) if to is not None else Path(f"{kind}.toml")
    if place.exists():
        raise RedistillError(f"{place} is there already: give another name with --to, or remove it")
    if not place.parent.is_dir():
        raise RedistillError(f"cannot write {place}: there is no folder {place.parent}")
    write(place, text_of(kind).encode())
    # a paper file is told from a paper's name by its slash
    words = ["reproduce", str(place) if "/" in str(place) else f"./{place}"] if kind == "paper" else ["run", str(place)]
    print(f"{place} is written; {shlex.join(['redistill', *words])} begins")


@app.command()
def plot(
    names: Annotated[list[str], typer.Argument(help="Folders, beginnings of ids or cells, or names.", metavar="RUN")],
    to: Annotated[Path, typer.Option("--to", "-o", help="The figure: .svg, .png or .pdf.", metavar="FILE")] = Path("curves.svg"),
    out: Out = Path("runs"),
    on: Annotated[str, typer.Option(help="Evaluation set.")] = "test",
    line: Annotated[float | None, typer.Option("--line", help="A value to draw beside them: a paper's, in percent.")] = None,
) -> None:
    """Draw the accuracy over the run, cell by cell.

    Mean over seeds, a band from the lowest to the highest of them, and each curve's name at its end; of a seed that diverged a line
    that ends in a cross.
    """
    from redistill.cli.cells import warn_other_images
    from redistill.cli.compare import cells_of
    from redistill.report.figures import seeds_figure
    from redistill.report.traces import traces
    from redistill.runs.store import Store

    place = expanded(to)
    if place.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise RedistillError(f"--to {to}: a figure is a .svg, .png or .pdf file")
    if not place.parent.is_dir():
        raise RedistillError(f"cannot write {place}: there is no folder {place.parent}")
    cells = cells_of(Store(out), names)
    curves = traces(cells, on)
    if len(cells) > 1:
        warn_other_images(cells, next(iter(cells)), on)
    if not curves:
        raise RedistillError(f"nothing to draw of {', '.join(names)}: diverged before anything was evaluated on {on}")
    seeds_figure(place, curves, title=f"accuracy on {on}", line=line)
    print(place)
