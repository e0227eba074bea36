"""``redistill evaluate`` and ``redistill verify``: what a network says on a data set; our formulas against golden numbers."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.options import DataDir, Device, Json, Out, Threads, TrustCode, show_json, use_threads
from redistill.errors import RedistillError
from redistill.paths import expanded

if TYPE_CHECKING:
    from torch import nn

    from redistill.runs.store import Run


@app.command()
def evaluate(
    what: Annotated[
        str, typer.Argument(help="A run, a folder of a student, or a checkpoint file of any supported format.", metavar="RUN|CHECKPOINT")
    ],
    data: Annotated[str | None, typer.Option(help="Data set, cifar10:test; default for a run: its own test set.")] = None,
    model: Annotated[str | None, typer.Option(help="The network of a checkpoint, where the file does not say it.")] = None,
    normalise: Annotated[str | None, typer.Option(help="Normalisation set the network wants; default: the one it carries.")] = None,
    teacher: Annotated[str | None, typer.Option(help="A run or checkpoint to compare with (agreement, KL).")] = None,
    teacher_model: Annotated[str | None, typer.Option(help="The network of the teacher's checkpoint.")] = None,
    out: Out = Path("runs"),
    data_dir: DataDir = None,
    device: Device = "auto",
    threads: Threads = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """What a network says on a data set.

    Accuracy with its interval, top-5, NLL, calibration error (ECE), and with --teacher how far the two agree.
    """
    from redistill.data.named import content, full_name, load_data
    from redistill.launch.threads import using, wanted
    from redistill.metrics import BATCH
    from redistill.metrics import evaluate as measure
    from redistill.precision import resolve_device

    use_threads(threads)
    where = resolve_device(device)
    net, run = network_of(what, model, out, trust_code=trust_code)
    own_word, before = data is not None, None
    if data is None:
        if run is None or "test" not in run.record["experiment"]["evaluate"]:
            raise RedistillError("say on which data: --data cifar10:test")
        shown = run.record["experiment"]["evaluate"]
        data, before = str(shown["test"]), shown.get("content", {}).get("test")
    full = full_name(data, "test", Path(), data_dir)
    opening = opening_for(full, what, run)
    if before is not None and content(full, data_dir, opening) != before:
        raise RedistillError(f"{data} has changed since {what} was evaluated on it: --data {shlex.quote(data)} takes it as it is now")
    images = load_data(full, data_dir, trust_code=own_word or trust_code, opening=opening)
    require_fit(net, images, what)
    other = None if teacher is None else network_of(teacher, teacher_model, out, trust_code=trust_code)[0].to(where)
    if other is not None:
        require_fit(other, images, f"the teacher {teacher}")
    few = wanted([net], tuple(images.image_shape), BATCH, where) if threads is None else threads
    with using(few):
        found = measure(net.to(where), images, teacher=other, normalise=normalise)
    used = normalise or getattr(net, "normalisation", None) or images.normalise
    row: dict[str, Any] = {"what": what, "data": data, "normalise": used, **dataclasses.asdict(found)}
    if as_json:
        show_json(row)
        return
    low, high = found.accuracy_interval
    print(f"{what} on {data} ({found.images:,} images, normalised as {used})")
    print(f"  accuracy     {found.accuracy:.2f} %  (95 %: {low:.2f} to {high:.2f})")
    for label, value, unit in (
        ("top-5", found.top5, " %"), ("NLL", found.nll, " nats"), ("ECE, 15 bins", found.calibration_error, " %"),
        ("agreement", found.agreement, " %"), ("KL(teacher||)", found.kl_from_teacher, " nats"),
        ("KL(||teacher)", found.kl_to_teacher, " nats"),
    ):  # fmt: skip
        if value is not None:
            print(f"  {label:<13}{value:.4g}{unit}")


def network_of(what: str, model: str | None, out: Path, *, trust_code: bool = False) -> tuple[nn.Module, Run | None]:
    """A network by run or by file, and the run where it is one."""
    from redistill import models
    from redistill.models.folder import is_network_folder
    from redistill.models.shipped import place_of
    from redistill.runs.store import Store

    path = place_of(what) or expanded(what)
    if is_network_folder(path):
        return models.load(path, trust_code=trust_code), None
    if path.suffix.lower() in (".pth", ".pt", ".pt7", ".bin", ".tar", ".safetensors") or _is_file(path):
        return models.load(path, model=model), None
    found = Store(out).pick(what)
    if len(found) != 1:
        raise RedistillError(f"{what!r} means {len(found)} runs ({', '.join(str(r.folder) for r in found)}): give one of them")
    return found[0].network(trust_code=trust_code), found[0]


def opening_for(data: str, what: str, run: Run | None) -> dict[str, Any]:
    """How picture files are opened for a network of :func:`network_of`: as in its run, and at the size that its run, folder or file says;
    convolutions take images of any size, and nothing else would say that these are not what they know."""
    from redistill import models
    from redistill.data.named import PICTURES
    from redistill.experiment.source.images import opening_written
    from redistill.models.folder import facts_of, is_network_folder
    from redistill.models.shipped import place_of
    from redistill.models.whole import kind_of

    if data.partition(":")[0] not in PICTURES:
        return {}
    path = run.weights() if run is not None else place_of(what) or expanded(what)
    if is_network_folder(path):
        size = facts_of(path).sizes.get("image_size")
    else:
        about = {} if kind_of(path) is not None else models.read(path)[1]
        size = (about.get("sizes") or {}).get("image_size") or (about.get("arch") or {}).get("image_size")
    own = {} if run is None else opening_written(run.record["experiment"]["source"])
    return ({"size": size} if isinstance(size, int) else {}) | own


def _is_file(path: Path) -> bool:
    """Whether there is a file, other than a run's record, whatever it may hold; pipes and devices too, which reading refuses."""
    from redistill.sealed import RECORD

    try:
        return path.exists() and not path.is_dir() and path.name != RECORD
    except (OSError, ValueError):  # a name that no file system takes
        return False


def require_fit(net: nn.Module, images: Any, what: str) -> None:
    """Refuse data that the network cannot mean; say on standard error what may be meant otherwise."""
    from redistill.models.classes import require_same_order

    arch = getattr(net, "arch", None)
    if arch is not None and arch.channels != images.image_shape[0]:
        raise RedistillError(f"{what} takes images with {arch.channels} channels, the data have {images.image_shape[0]}")
    if arch is not None and images.classes is not None and arch.classes != images.classes:
        raise RedistillError(f"{what} tells {arch.classes} classes apart, the data have {images.classes}: they must agree")
    if remark := require_same_order(getattr(net, "class_names", None), getattr(images, "class_names", None), what, images.name):
        print(f"note: {remark}", file=sys.stderr)


@app.command()
def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of golden numbers, <group>/<case>.json and .npz; default: those of the package.", metavar="DIR"),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes side by side.", min=1)] = 1,
    to: Annotated[Path | None, typer.Option(help="Keep the verdicts as a record.", metavar="FILE")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Compute every golden case in double precision and compare.

    Without a folder the cases that the package ships: they prove what is installed. The exit status is 1 if one fails.
    """
    import redistill.verify as verifier
    from redistill.runs.measured import begin, keep

    use_threads(1 if threads is None else threads)
    begun = begin()
    verdicts = []
    for verdict in verifier.verify(folder, jobs):
        verdicts.append(verdict)
        if not as_json:
            print(verdict.line(), flush=True)
    rows, found = [dataclasses.asdict(verdict) for verdict in verdicts], verifier.totals(verdicts)
    if to is not None:
        given = "" if folder is None else f" {folder}"
        keep(to, {"command": f"redistill verify{given}", "totals": found, "rows": rows}, begun, "verify")
    if as_json:
        show_json(rows)
    else:
        print("  ".join(f"{count} {outcome}" for outcome, count in found.items()))
    status = int(found["fail"] > 0)
    sys.stdout.flush()
    if status:
        raise typer.Exit(status)
