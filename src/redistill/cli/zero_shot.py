"""``redistill belief``, ``redistill toy`` and ``redistill samples``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.evaluate import network_of, require_fit
from redistill.cli.look import warn_left_out
from redistill.cli.options import DataDir, Device, Json, Out, Threads, TrustCode, show_json, use_threads
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from torch import Tensor

    from redistill.belief import Transition
    from redistill.runs.store import Run

To = Annotated[Path, typer.Option("--to", help="Folder for figures and data.", metavar="FOLDER")]


@app.command()
def belief(
    networks: Annotated[list[str], typer.Argument(help="Two or more runs or checkpoint files.", metavar="A B ...")],
    data: Annotated[str, typer.Option(help="Evaluation set, cifar10:test.")],
    to: To = Path("belief"),
    count: Annotated[int, typer.Option(help="Images a pair, on which both networks agree.")] = 1000,
    steps: Annotated[int, typer.Option("--steps", "-K", help="Adversarial steps.")] = 100,
    rate: Annotated[float, typer.Option("--xi", help="Rate of the adversarial steps.")] = 1.0,
    aim: Annotated[
        str, typer.Option(metavar="predicted|true", help="Classes aimed at: all but the predicted, or all but the true one.")
    ] = "predicted",
    pick: Annotated[
        str, typer.Option("--images", metavar="first|random|ferles", help="Which images; ferles: as the report's code takes them.")
    ] = "first",
    mean: Annotated[
        str, typer.Option(metavar="plain|prefixes", help="Over the classes aimed at: plain, or as the report's code saves it.")
    ] = "plain",
    error: Annotated[
        str, typer.Option(metavar="images|rows", help="Standard error over images, or over rows as the authors' notebook has it.")
    ] = "images",
    normalise: Annotated[
        str | None, typer.Option(help="Set of the stream, and of networks that name none; default: the data's own.")
    ] = None,
    attack: Annotated[list[str], typer.Option(help="Attack only these networks; may be repeated.")] = [],  # noqa: B006
    beside: Annotated[list[str], typer.Option(help="Look at these networks beside the attacked one; may be repeated.")] = [],  # noqa: B006
    model: Annotated[list[str], typer.Option(help="Networks of checkpoints that do not say it, in their order.")] = [],  # noqa: B006
    noise: Annotated[int, typer.Option(min=0, help="Images of uniform noise for the histograms; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise, and of random images.")] = 0,
    out: Out = Path("runs"),
    data_dir: DataDir = None,
    device: Device = "auto",
    threads: Threads = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Transition curves and errors of every ordered pair of networks.

    Also images on their way, agreement and KL.
    """
    from redistill import files, machine
    from redistill.belief import agreement_and_divergence, check_walk, noise_histogram, transitions
    from redistill.data.named import full_name, load_data
    from redistill.metrics import predict
    from redistill.precision import resolve_device
    from redistill.report.progress import telling
    from redistill.report.zero_shot import noise_figure, transition_figure

    use_threads(threads)
    check_walk(steps, rate)
    if len(networks) < 2:
        raise RedistillError(f"beliefs are compared between two networks or more, got {len(networks)}")
    if len(set(networks)) < len(networks):
        raise RedistillError("the same network is named twice: every one once")
    where = resolve_device(device)
    if mean not in ("plain", "prefixes") or error not in ("images", "rows") or (mean, error) == ("prefixes", "rows"):
        raise RedistillError(f"--mean {mean} --error {error}: known are plain or prefixes, and images or rows (rows with plain only)")
    images: Any = load_data(full_name(data, "test", Path(), data_dir), data_dir, trust_code=True)
    if normalise is not None:
        images = images.with_(normalise=normalise)
    opened = [network_of(name, model[i] if i < len(model) else None, out, trust_code=trust_code) for i, name in enumerate(networks)]
    for name, (net, _) in zip(networks, opened, strict=True):
        require_fit(net, images, name)
    shown = dict(zip(networks, called(networks, [run for _, run in opened]), strict=True))
    nets = {shown[name]: net.to(where) for name, (net, _) in zip(networks, opened, strict=True)}
    silent = [name for name, net in nets.items() if getattr(net, "normalisation", None) is None]
    attacked, others = ([shown.get(name, name) for name in given] or None for given in (attack, beside))
    for option, chosen in (("--attack", attacked), ("--beside", others)):
        if odd := [name for name in chosen or () if name not in nets]:
            raise RedistillError(f"{option} {odd[0]} is none of the networks: {', '.join(nets)}")
    files.make_folder(to)  # before the work, not after it
    with telling("beliefs", 100, unit="percent") as tell:
        found = transitions(
            nets, images, count=count, K=steps, rate=rate, aim=aim, attack=attacked, beside=others,  # type: ignore[arg-type]
            pick=pick, seed=seed,  # type: ignore[arg-type]
            tell=lambda share: tell(int(100 * share)),
        )  # fmt: skip
    rows = []
    logits = {name: predict(net, images) for name, net in nets.items()}
    for (a, b), t in found.items():
        same, forward, backward = agreement_and_divergence(logits[a], logits[b])
        rows.append(
            {
                "attacked": a, "other": b, "images": len(t.index), "mte": t.mte,
                "mte_standard_error": t.mte_standard_error if len(t.index) > 1 else None,
                "relative_mte": t.relative_mte, "agreement": same, "kl_attacked_other": forward, "kl_other_attacked": backward,
            }
        )  # fmt: skip
    form: Any = {"prefixes": mean == "prefixes", "over": error}
    title = f"{data} normalised as {images.normalise}: K = {steps}, ξ = {rate:g}; bands: two standard errors over {error}"
    written = [transition_figure(to / "transitions.svg", found, title + (", means over prefixes" if form["prefixes"] else ""), **form)]
    written += [_curves(to / "curves.csv", found, **form), _on_the_way(to / "images.png", nets, images, found, steps, rate)]
    histograms = {}
    if noise:
        shape = tuple(images.image_shape)
        histograms = {name: noise_histogram(net, shape, count=noise, seed=seed, normalise=own(net, images)) for name, net in nets.items()}
        classes = list(images.class_names or map(str, range(images.classes)))
        written.append(noise_figure(to / "noise.svg", histograms, classes, f"predictions on {noise} images of uniform noise"))
    settings = {
        "data": data, "normalise": images.normalise, "count": count, "K": steps, "xi": rate, "aim": aim, "mean": mean, "error": error,
        **({} if pick == "first" else {"images": pick}),
        "noise_images": noise, "seed": seed,
    }  # fmt: skip
    named = dict(zip(shown.values(), networks, strict=True))
    record = {"settings": settings, "networks": named, "pairs": rows, "noise": histograms, **machine.origin(where)}
    files.write(to / "record.json", files.pretty(record))
    written.append(to / "record.json")
    if as_json:
        show_json({"pairs": rows, "noise": histograms, "files": [str(path) for path in written]})
        return
    print(f"steps in images of {data} normalised as {images.normalise}" + (f", and so are seen by {', '.join(silent)}" if silent else ""))
    for row in rows:
        within = "" if row["mte_standard_error"] is None else f" ± {row['mte_standard_error']:.4f}"
        print(
            f"{row['attacked']} attacked, {row['other']} beside it: MTE {row['mte']:.4f}{within} "
            f"(relative {row['relative_mte']:.3f}), {row['images']} images; agreement {row['agreement']:.2f} %, "
            f"KL({row['attacked']}||{row['other']}) {row['kl_attacked_other']:.4f}, reverse {row['kl_other_attacked']:.4f} nats"
        )
    print(f"written: {', '.join(map(str, written))}")


def short(name: str) -> str:
    """How a network is called in figures: its file without ending, or the last two parts of its folder."""
    path = Path(name)
    return path.stem if path.suffix in (".safetensors", ".pth", ".pt", ".tar") else "/".join(path.parts[-2:])


def called(given: list[str], runs: list[Run | None]) -> list[str]:
    """A name for each network, as short as tells them apart: name of the run or file, with its seed, or what was given."""
    pairs = list(zip(given, runs, strict=True))
    plain = [short(name) if run is None or not run.record["name"] else str(run.record["name"]) for name, run in pairs]
    seeds = [name if run is None else f"{name}, seed {run.seed}" for name, (_, run) in zip(plain, pairs, strict=True)]
    places = ["/".join(Path(name).with_suffix("").parts[-2:]) for name in given]
    return next((names for names in (plain, seeds, places) if len(set(names)) == len(given)), given)


def own(net: Any, images: Any) -> str:
    return str(getattr(net, "normalisation", None) or images.normalise)


def _curves(path: Path, found: dict[tuple[str, str], Transition], **form: Any) -> Path:
    from redistill.files import write

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("step", "attacked", "attacked_standard_error", "other", "other_standard_error")
    writer.writerow(["attacked_network", "other_network", *names])
    for (a, b), t in found.items():
        writer.writerows([a, b, *(row[name] for name in names)] for row in t.rows(**form))
    write(path, text.getvalue().encode())
    return path


def _on_the_way(
    path: Path, nets: dict[str, Any], images: Any, found: dict[tuple[str, str], Transition], steps: int, rate: float, shown: int = 4
) -> Path:
    """For the first pair: some images, each on its way to another class, with both networks' belief in it."""
    import torch

    from redistill.belief import seeing, trajectory_images
    from redistill.report.zero_shot import grid

    (a, b), t = next(iter(found.items()))
    parameter = next(nets[a].parameters())
    x = images.normalised(t.index[:shown]).to(parameter)
    which = torch.arange(len(x)) % t.targets.shape[1]
    targets = t.targets[torch.arange(len(x)), which].to(x.device)
    at = sorted({round((steps - 1) * part / 6) for part in range(7)})
    trail = trajectory_images(seeing(nets[a], images.normalise), x, targets, at, rate=rate)
    names = images.class_names or tuple(map(str, range(images.classes)))
    captions = []
    for n in range(len(x)):
        with torch.no_grad():
            p = [seeing(nets[who].eval(), images.normalise)(trail[n]).softmax(1)[:, targets[n]].tolist() for who in (a, b)]
        captions.append([f"{one:.2f} {two:.2f}" for one, two in zip(*p, strict=True)])
    with torch.no_grad():
        start = seeing(nets[a], images.normalise)(x).argmax(1)
    titles = [f"{names[int(i)]} to {names[int(j)]}: {', '.join(map(str, at))} steps" for i, j in zip(start, targets, strict=True)]
    titles[0] += f"; below: p of {names[int(targets[0])]}, {a} and {b}"
    return grid(path, list(trail), images.normalise, titles=titles, captions=captions)


@app.command()
def toy(
    to: Annotated[Path, typer.Option("--to", "--out", help="Folder for panels, animation and numbers.", metavar="FOLDER")] = Path("toy"),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of 50 point steps and 10 student steps.")] = 3000,
    seed: Annotated[int, typer.Option(min=0)] = 4,
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
    space = normalise or getattr(generator, "normalisation", None)
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
    from redistill.experiment.sealed import RECORD
    from redistill.files import make_folder
    from redistill.report.zero_shot import diagnostics_figure, grid
    from redistill.runs.store import Store

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
        raise RedistillError(f"{one.folder} keeps no samples: its source is not a generator")
    kept = {int(block): images for block, images in one.kept("samples").items()}
    order = sorted(kept)
    source = one.record["experiment"]["source"]
    made = next(s for s in (source, *source.values()) if isinstance(s, dict) and s.get("kind") == "adversarial")
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
