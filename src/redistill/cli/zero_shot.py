"""``redistill toy`` and ``redistill samples``: pictures of zero-shot training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.look import warn_left_out
from redistill.cli.options import Json, Out, show_json
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from torch import Tensor


To = Annotated[Path, typer.Option("--to", help="Folder for figures and data.", metavar="FOLDER")]


@app.command()
def toy(
    to: Annotated[Path, typer.Option("--to", "--out", help="Folder for panels, animation and numbers.", metavar="FOLDER")] = Path("toy"),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of 50 point steps and 10 student steps.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Of points and networks.")] = 4,
    as_json: Json = False,
) -> None:
    """Figure 1 of the zero-shot paper: fifty points teach a student.

    They teach it the plane of its teacher, in minutes on one core.
    """
    import torch

    from redistill import files
    from redistill.toy import Toy

    torch.set_num_threads(1)  # networks this small only wait for each other on several cores
    done = Toy(seed=seed, rounds=rounds)
    files.make_folder(to)  # before minutes of work, not after them
    done.run()
    written = done.write(to)
    last = done.agreement[-1][1]
    if as_json:
        show_json({**done.record(), "files": [str(path) for path in written]})
        return
    print(f"teacher {done.teacher_accuracy:.2f} %, student {done.student_accuracy:.2f} % on test points it never saw")
    print(f"student and teacher agree on {last:.2f} % of the plane after {rounds} rounds, {done.seconds:.0f} s")
    print(f"written: {', '.join(map(str, written))}")


def thought(p: Tensor) -> str:
    """The class that one row of probabilities is for, and how much."""
    return f"{int(p.argmax())}: {float(p.max()):.2f}"


def _drawn(file: Path, to: Path, count: int, seed: int, normalise: str | None) -> Path:
    """New images of a saved generator, sixteen a row, made in train mode as a student sees them."""
    import torch

    from redistill import models, rng
    from redistill.files import make_folder
    from redistill.report.zero_shot import grid

    generator: Any = models.load(file)
    if not hasattr(generator, "z") or not hasattr(generator, "image_shape"):
        raise RedistillError(f"{file} holds a {type(generator).__name__}, not a generator: give a run, or its generator.safetensors")
    # pixels between 0 and 1 are shown as they are, whatever they were normalised as for the networks
    space = "none" if getattr(generator, "pixels", False) else normalise or getattr(generator, "normalisation", None)
    if space is None:
        raise RedistillError(f"{file} does not say in which normalisation it paints: add --normalise, for example cifar10-kuangliu")
    z = torch.randn(count, generator.z, generator=rng.stream(seed, "noise", "shown"))
    with torch.no_grad():
        rows = list(generator.train()(z).split(16))
    make_folder(to)
    return grid(to / "samples.png", rows, space, titles=[f"{file.name}, seed {seed}", *[""] * (len(rows) - 1)])


@app.command()
def samples(
    run: Annotated[
        str, typer.Argument(help="A finished zero-shot run: folder, id, cell or name; or a generator's file.", metavar="RUN|GENERATOR")
    ],
    to: To = Path("samples"),
    student: Annotated[
        bool, typer.Option("--student/--alone", help="Say below each image what teacher (T) and student (S) thought of it then.")
    ] = True,
    count: Annotated[int, typer.Option(min=2, help="Images of a generator's file, with --seed and --normalise.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of their noise.")] = 0,
    normalise: Annotated[str | None, typer.Option(help="Set in which their generator paints; default: the one it carries.")] = None,
    out: Out = Path("runs"),
    as_json: Json = False,
) -> None:
    """Images of a generator during its training, or new ones.

    For a run: from its beginning to its end, and the curves. For the file of a generator: new images.
    """
    from redistill.files import make_folder
    from redistill.report.zero_shot import diagnostics_figure, grid
    from redistill.runs.store import Store
    from redistill.sealed import RECORD

    if Path(run).is_file() and Path(run).name != RECORD:
        picture = _drawn(Path(run), to, count, seed, normalise)
        show_json({"generator": run, "files": [str(picture)]}) if as_json else print(f"written: {picture}")
        return
    found = Store(out).pick(run)
    warn_left_out(Store(out), found)
    if len(found) != 1:
        raise RedistillError(f"{run!r} means {len(found)} runs ({', '.join(str(r.folder) for r in found)}): give one of them")
    one = found[0]
    if "samples.safetensors" not in one.record["files"]:
        kept_images = "images.safetensors" in one.record["files"]
        why = "the images that were made, as pixels, are in its images.safetensors" if kept_images else "its source is not a generator"
        raise RedistillError(f"{one.folder} keeps no samples: {why}")
    kept = {int(block): images for block, images in one.kept("samples").items()}
    order = sorted(kept)
    from redistill.sources.variants import KINDS

    source = one.record["experiment"]["source"]
    made = next(s for s in (source, *source.values()) if isinstance(s, dict) and s.get("kind") in KINDS)
    space, together = str(made["normalise"]), int(made["n_S"]) if made is source else 1
    captions, above = None, ""
    if student and "beliefs.safetensors" in one.record["files"]:
        above = ": class and probability of teacher T and student S"
        beliefs = {int(block): p for block, p in one.kept("beliefs").items()}
        captions = [[f"T {thought(t)}\nS {thought(s)}" for t, s in zip(*beliefs[block], strict=True)] for block in order]
    make_folder(to)
    titles = [f"after {block} blocks{above}" for block in order]
    written = [grid(to / "samples.png", [kept[block] for block in order], space, titles=titles, captions=captions)]
    curves = one.curves()
    if any("generator_loss" in numbers for _, numbers in curves["source"]):
        written.append(diagnostics_figure(to / "training.svg", curves, one.label, together))
    if as_json:
        show_json({"run": one.id, "blocks": order, "files": [str(path) for path in written]})
    else:
        print(f"written: {', '.join(map(str, written))}")
