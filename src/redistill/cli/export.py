"""``redistill export``: a run's student for elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli import app
from redistill.cli.options import DataDir, Json, Threads, TrustCode, show_json, use_threads
from redistill.errors import RedistillError


class Form(StrEnum):
    onnx = "onnx"
    program = "torch-export"
    int8 = "int8"
    hub = "hub"
    every_eval_ever = "every-eval-ever"
    croissant = "croissant"


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Folder, beginning of an id, or name.", metavar="RUN")],
    to: Annotated[Form, typer.Option(help="onnx, torch-export and int8 write a file of the network, hub a folder with card and source; "
                                     "every-eval-ever writes its accuracies, croissant a folder about the images it learned from.")],
    out: Annotated[
        Path | None, typer.Option(help="File or folder to write; default: beside you, by the run's id.", metavar="PLACE")
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="With --to hub: upload the folder as this model of the hub.", metavar="USER/NAME")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.", metavar="FOLDER")] = Path("runs"),
    data_dir: DataDir = None,
    threads: Threads = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Write the student of a run for use elsewhere.

    It is checked on real images: ONNX and torch.export are compared with the network, int8 (as ONNX) has its accuracy told beside the
    float one. The source file of a network of your own, which the run keeps, is run only with --trust-code. every-eval-ever and
    croissant hand on what the record says, and no network.
    """
    from redistill.export.folder import write_folder
    from redistill.export.network import Subject
    from redistill.models.folder import facts_of, is_network_folder
    from redistill.paths import expanded
    from redistill.runs.store import Store

    use_threads(threads)
    if push is not None and to is not Form.hub:
        raise RedistillError("--push goes with --to hub, whose folder it uploads")
    if is_network_folder(expanded(run)):  # of distill, or of an export: its run is meant
        run = facts_of(expanded(run)).run or run
    found = Store(runs).pick(run)
    if len(found) != 1:
        raise RedistillError(f"{run!r} means {len(found)} runs ({', '.join(str(r.folder) for r in found)}): give one of them")
    one = found[0]
    endings = {
        Form.onnx: ".onnx", Form.program: ".pt2", Form.int8: "-int8.onnx", Form.hub: "-hub", Form.every_eval_ever: "-eval.json",
        Form.croissant: "-croissant",
    }  # fmt: skip
    place = out if out is not None else Path(f"{one.id}{endings[to]}")
    if to is Form.hub:
        from redistill.export.hub import push as upload

        write_folder(one, place, trust_code=trust_code)
        line = f"{place}: model.safetensors, config.json, the card, and a script that feeds it a picture"
        if push is not None:
            line += f"; pushed: {upload(place, push)}"
    elif to is Form.every_eval_ever:
        from redistill.export.formats import every_eval_ever
        from redistill.files import write

        write(place, every_eval_ever(one))
        line = f"{place}: accuracies of the run, as Every Eval Ever reads them"
    elif to is Form.croissant:
        from redistill.export.formats import croissant
        from redistill.files import make_folder, write

        made = croissant(one, Store(runs))
        make_folder(place)
        for name, content in made.items():
            write(place / name, content)
        line = f"{place}: {', '.join(made)}; which images the run learned from, as Croissant"
    elif to is Form.program:
        from redistill.export.program import write_program

        largest, count = write_program(Subject.of(one, data_dir, trust_code=trust_code), place)
        line = f"{place}: read again it differs from the network by {largest:.2g} at most, over {count} real images"
    else:
        from redistill.export.onnx import write_int8, write_onnx

        line = str((write_onnx if to is Form.onnx else write_int8)(Subject.of(one, data_dir, trust_code=trust_code), place))
    if as_json:
        show_json({"run": one.id, "to": to.value, "place": str(place), "said": line})
        return
    print(line)
