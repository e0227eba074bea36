"""``redistill distill``: from a folder of images and a teacher to a smaller network, beside the same one trained plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redistill.cli import app
from redistill.cli.options import Change, DataDir, Device, Json, NoCache, Threads, Track, seeds_of, show_json, use_threads


@app.command()
def distill(
    data: Annotated[str, typer.Option(help="Folder of class folders, or of images without labels, or a data name.", metavar="DIR")],
    teacher: Annotated[str, typer.Option(help="Network: a name, ./file.py:Net, timm:NAME, torchvision:NAME, a folder or file of one.")],
    student: Annotated[
        str | None, typer.Option(help="Likewise; or smaller, half, quarter of the teacher's family. Left out: these three are shown.")
    ] = None,
    teacher_weights: Annotated[
        Path | None, typer.Option(help="Weights of the teacher, in any format that evaluate reads.", metavar="FILE")
    ] = None,
    teacher_normalise: Annotated[
        str | None,
        typer.Option(help='How it wants its images: imagenet, half ... or "mine (mean 0.5 0.5 0.5, std 0.2 0.2 0.2)".', metavar="SET"),
    ] = None,
    student_weights: Annotated[Path | None, typer.Option(help="First weights of the student.", metavar="FILE")] = None,
    student_pretrained: Annotated[
        bool, typer.Option("--student-pretrained", help="Begin with the weights that the student's library publishes.")
    ] = False,
    train_teacher: Annotated[
        int | None, typer.Option(min=1, help="Train (or tune) the teacher on the labels first, for so many epochs.", metavar="EPOCHS")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="KD,DKD are two students, KD+AT is one that learns by both; or FILE.toml with [[method]]. Default: KD, or "
                     "with --choose KD,KD+AT,KD+SP.", metavar="NAMES"),
    ] = None,
    choose: Annotated[
        bool, typer.Option("--choose", help="Try the methods on nine tenths of the training images; the best on the last tenth is trained.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Of each student.")] = 30,
    time_budget: Annotated[str | None, typer.Option(help="As many epochs as fit into it, instead: 30m, 2h.", metavar="TIME")] = None,
    seeds: Annotated[str, typer.Option(help="3 means 0, 1, 2; 4,7 means 4 and 7.", metavar="SEEDS")] = "1",
    size: Annotated[int | None, typer.Option(min=1, help="Side of the square that pictures become.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: the largest usual one that fits.")] = None,
    lr: Annotated[float | None, typer.Option(min=0.0, help="Highest learning rate; default: by batch and network.")] = None,
    precision: Annotated[str | None, typer.Option(help="strict or fast; default: fast on a GPU.")] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="What is done to training images before teacher and student see them: crop-flip:4, resized-crop, then "
                     "+colour-jitter +randaugment +mixup +cutmix.", metavar="NAME"),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="sgd, adamw, or patient (adamw, random crops, even mixing; for long schedules). Default: by network.")
    ] = None,
    ema: Annotated[
        float | None, typer.Option(help="Evaluate and keep an average of the student's weights of this decay, 0.999.", metavar="DECAY")
    ] = None,
    early_stop: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many evaluations without a better one on a tenth of the training images.", metavar="N"),
    ] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Compute a batch in so many parts: less memory, the same step.")] = 1,
    class_weights: Annotated[bool, typer.Option("--class-weights", help="Each class counts alike, however many images it has.")] = False,
    unlabelled: Annotated[
        str | None, typer.Option(help="Further training images without labels; default: unlabelled/ beside train/.", metavar="DIR")
    ] = None,
    no_plain: Annotated[bool, typer.Option("--no-plain", help="Leave out the student without a teacher, which costs its time.")] = False,
    evaluate: Annotated[str | None, typer.Option(help="Another folder or data name to evaluate on.", metavar="DIR")] = None,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out files that are no images.")] = False,
    change: Change = [],  # noqa: B006  typer reads the default and never changes it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, say what would be done, and end.")] = False,
    out: Annotated[Path, typer.Option(help="Where table, figures and the student's folder go.", metavar="DIR")] = Path("distilled"),
    runs: Annotated[Path, typer.Option(help="Folder of the runs.", metavar="FOLDER")] = Path("runs"),
    device: Device = "auto",
    data_dir: DataDir = None,
    threads: Threads = None,
    no_cache: NoCache = False,
    track: Track = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Distil a teacher into a smaller network on your images.

    Looks at everything first, trains the student with the teacher and, beside it, without, and says what the teacher was worth.

    The same command goes on where it was stopped. Example:

    redistill distill --data photos --teacher ./mine.py:BigNet --teacher-weights big.pth --student ./mine.py:SmallNet
    """
    from redistill.distill.preflight import plan
    from redistill.distill.results import require_place
    from redistill.files import make_folder
    from redistill.launch.carry_out import Resources
    from redistill.launch.stop import seconds
    from redistill.launch.trackers import names_of
    from redistill.paths import expanded
    from redistill.report.progress import Terminal

    trackers = names_of(track)
    use_threads(threads)
    budget = None if time_budget is None else seconds(time_budget)
    made = plan(
        data, teacher, student, teacher_weights=teacher_weights, teacher_normalise=teacher_normalise, student_weights=student_weights,
        student_pretrained=student_pretrained,
        train_teacher=train_teacher, method=method, epochs=epochs, time_budget=budget, seeds=seeds_of(seeds) or [0], size=size,
        batch_size=batch_size, lr=lr, precision=precision, plain=not no_plain, evaluate=evaluate, skip_unreadable=skip_unreadable,
        change=change, runs=runs,
        resources=Resources(data_dir=data_dir, device=device, threads=threads, cache=not no_cache, track=trackers),
        augment=augment, recipe=recipe, ema=ema, early_stop=early_stop, accumulate=accumulate, class_weights=class_weights,
        unlabelled=unlabelled, choose=choose, tell=None if as_json else lambda line: print(line, flush=True),
    )  # fmt: skip
    if student is not None:
        require_place(expanded(out), made)
    if dry_run or student is None:
        if as_json:
            trials = [one.written() for by_seed in made.trials.values() for one in by_seed.values()]
            wanted = {"experiments": [one.written() for one in made.experiments], **({"trials": trials} if trials else {})}
            show_json({"plan": list(made.lines), "seconds": made.seconds, **wanted})
        return
    make_folder(expanded(out))  # before hours of work, not after them
    found = made.carry_out(Terminal())
    written = found.write(out)
    if as_json:
        show_json({**found.as_json(), "written": list(map(str, written))})
        return
    print()
    print(found.table())
    print("written: " + ", ".join(map(str, written)))
