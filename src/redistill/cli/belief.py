"""``redistill belief``: do networks believe the same near their decision boundaries?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.evaluate import network_of, opening_for, require_fit
from redistill.cli.options import DataDir, Device, Json, Out, Threads, TrustCode, show_json, use_threads
from redistill.errors import RedistillError
from redistill.paths import expanded, is_there

if TYPE_CHECKING:
    from torch import nn

    from redistill.runs.store import Run


@app.command()
def belief(
    networks: Annotated[
        list[str],
        typer.Argument(help="Two or more runs or files of weights; NAME= says what figures call it.", metavar="[NAME=]NETWORK"),
    ],
    data: Annotated[str, typer.Option(help="Evaluation set, cifar10:test.")],
    to: Annotated[Path, typer.Option("--to", help="Folder for figures and data.", metavar="FOLDER")] = Path("belief"),
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
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Also a record of each pair there, as in results/measured/belief.", metavar="FOLDER")
    ] = None,
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
    from redistill.belief import check_walk, transitions
    from redistill.data.named import full_name, load_data
    from redistill.launch.threads import using, wanted
    from redistill.metrics import BATCH
    from redistill.precision import resolve_device
    from redistill.report.belief import Compared, Origin, kept
    from redistill.report.progress import progress

    use_threads(threads)
    check_walk(steps, rate)
    if len(networks) < 2:
        raise RedistillError(f"beliefs are compared between two networks or more, got {len(networks)}")
    names, networks = named(networks)
    if len(set(networks)) < len(networks):
        raise RedistillError("the same network is named twice: every one once")
    where = resolve_device(device)
    if mean not in ("plain", "prefixes") or error not in ("images", "rows") or (mean, error) == ("prefixes", "rows"):
        raise RedistillError(f"--mean {mean} --error {error}: known are plain or prefixes, and images or rows (rows with plain only)")
    opened = _opened(networks, model, out, trust_code)
    full = full_name(data, "test", Path(), data_dir)
    opening = next(filter(None, (opening_for(full, name, run) for name, (_, run) in zip(networks, opened, strict=True))), {})
    images: Any = load_data(full, data_dir, trust_code=True, opening=opening)
    if normalise is not None:
        images = images.with_(normalise=normalise)
    for name, (net, _) in zip(networks, opened, strict=True):
        require_fit(net, images, name)
    shown = dict(zip(networks, called(networks, [run for _, run in opened], names), strict=True))
    if len(set(shown.values())) < len(shown):
        raise RedistillError(f"two networks are called the same ({', '.join(shown.values())}): give each a NAME= of its own")
    nets = {shown[name]: net.to(where) for name, (net, _) in zip(networks, opened, strict=True)}
    silent = [name for name, net in nets.items() if getattr(net, "normalisation", None) is None]
    attacked, others = ([shown.get(name, name) for name in given] or None for given in (attack, beside))
    for option, chosen in (("--attack", attacked), ("--beside", others)):
        if odd := [name for name in chosen or () if name not in nets]:
            raise RedistillError(f"{option} {odd[0]} is none of the networks: {', '.join(nets)}")
    for folder in filter(None, (to, keep)):
        files.make_folder(folder)  # before the work, not after it
    begun = machine.origin(where)  # of the code that begins, whatever becomes of a checkout meanwhile
    few = wanted(nets.values(), tuple(images.image_shape), BATCH, where) if threads is None else threads
    with using(few), progress("beliefs", 100, unit="percent") as tell:
        found = transitions(
            nets, images, count=count, K=steps, rate=rate, aim=aim, attack=attacked, beside=others,  # type: ignore[arg-type]
            pick=pick, seed=seed,  # type: ignore[arg-type]
            tell=lambda share: tell(int(100 * share)),
        )  # fmt: skip
    compared = Compared.of(nets, images, found, steps, rate)
    rows, form = compared.rows(), {"prefixes": mean == "prefixes", "over": error}
    title = f"{data} normalised as {images.normalise}: K = {steps}, ξ = {rate:g}; bands: two standard errors over {error}"
    written = compared.write(to, title + (", means over prefixes" if form["prefixes"] else ""), **form)  # type: ignore[arg-type]
    histograms: dict[str, list[int]] = {}
    if noise:
        histograms, figure = compared.noise(to, noise, seed)
        written.append(figure)
    measured = {"data": data, "normalise": images.normalise, "K": steps, "xi": rate, "aim": aim}
    settings = {
        **measured, "count": count, "mean": mean, "error": error, **({} if pick == "first" else {"images": pick}), "noise_images": noise,
        "seed": seed,
    }  # fmt: skip
    record = {"settings": settings, "networks": {shown[name]: name for name in networks}, "pairs": rows, "noise": histograms}
    files.write(to / "record.json", files.pretty(record | begun))
    written.append(to / "record.json")
    if keep is not None:
        origins = {shown[name]: Origin(weights_of(name, run), run) for name, (_, run) in zip(networks, opened, strict=True)}
        written += kept(compared, origins, measured, keep, begun)
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


def _opened(networks: list[str], models: list[str], out: Path, trust_code: bool) -> list[tuple[nn.Module, Run | None]]:
    """The networks, and the runs of those that are runs; ``models``: of all, or of the files alone that do not say which network they
    are of."""
    if len(models) > len(networks):
        raise RedistillError(f"--model stands there {len(models)} times, for {len(networks)} networks: once for each file that needs it")
    if len(models) == len(networks):
        return [network_of(name, model, out, trust_code=trust_code) for name, model in zip(networks, models, strict=True)]
    found, left = [], list(models)
    for name in networks:
        try:
            one = network_of(name, None, out, trust_code=trust_code)
        except RedistillError:
            if not left:
                raise
            one = network_of(name, left.pop(0), out, trust_code=trust_code)
        found.append(one)
    if left:
        raise RedistillError(f"--model {left[0]}: every other network here says which one it is: leave it out")
    return found


def named(given: list[str]) -> tuple[list[str | None], list[str]]:
    """Names and networks of ``NAME=NETWORK``; what is a file or a folder as it stands has no name, and may have an equals sign in it.

    >>> named(["KD=runs/kd", "teacher.pth"])
    (['KD', None], ['runs/kd', 'teacher.pth'])
    """
    parts = [_parted(one) for one in given]
    return [name or None for name, _ in parts], [network for _, network in parts]


def _parted(one: str) -> tuple[str, str]:
    """Name and network of one: where the text may be parted in several ways, a file or folder that is there counts."""
    words = one.split("=")
    ways = [("=".join(words[:i]), "=".join(words[i:])) for i in range(len(words))]
    return next((way for way in ways if is_there(expanded(way[1]))), ways[-1])


def weights_of(name: str, run: Run | None) -> Path:
    """The file of a network's weights."""
    from redistill.models.shipped import place_of

    return (place_of(name) or expanded(name)) if run is None else run.weights()


def short(name: str) -> str:
    """How a network is called in figures: its file without ending, or the last two parts of its folder."""
    path = Path(name)
    return path.stem if path.suffix in (".safetensors", ".pth", ".pt", ".tar") else "/".join(path.parts[-2:])


def called(given: list[str], runs: list[Run | None], names: list[str | None] | None = None) -> list[str]:
    """A name for each network: the one of ``names``, or as short as tells them apart, that of the run or file, with its seed, or what
    was given."""
    found = _called(given, runs)
    return found if names is None else [name or one for name, one in zip(names, found, strict=True)]


def _called(given: list[str], runs: list[Run | None]) -> list[str]:
    pairs = list(zip(given, runs, strict=True))
    plain = [short(name) if run is None or not run.record["name"] else str(run.record["name"]) for name, run in pairs]
    seeds = [name if run is None else f"{name}, seed {run.seed}" for name, (_, run) in zip(plain, pairs, strict=True)]
    places = ["/".join(Path(name).with_suffix("").parts[-2:]) for name in given]
    return next((names for names in (plain, seeds, places) if len(set(names)) == len(given)), given)
