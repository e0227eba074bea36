"""From an experiment to the things it names: networks, method, source, evaluation sets; and facts about them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from redistill import user_code
from redistill.answers.folder import default_folder
from redistill.answers.numbers import remembered
from redistill.core import Method, RedistillError, Source
from redistill.data.named import load_data
from redistill.errors import OtherClasses
from redistill.experiment.method import made_method
from redistill.experiment.networks import Net
from redistill.experiment.source.images import ImagesSettings, opening_of
from redistill.experiment.value import Experiment
from redistill.features.hidden_state import at_first, left_behind
from redistill.features.normalised import Normalised, normalisation_of, normalised
from redistill.features.places import places_of
from redistill.files import canonical, file_digest, there
from redistill.launch.best import Best
from redistill.metrics import NUMERICS as METRICS
from redistill.metrics import ImageSet, accuracy
from redistill.models.weights import load_weights
from redistill.runs.run import Run
from redistill.runs.store import Store
from redistill.sealed import CODE, WEIGHTS
from redistill.tensor_files import packed, require_plain, tensors_digest
from redistill.train.preflight import TeacherWarning

if TYPE_CHECKING:
    from redistill.train.result import Result

LEARNED = "learned"
"""Name of the file in which a run keeps what its terms hand on."""


def sizes_of(source: Source, sets: Sequence[ImageSet], teacher: nn.Module | None = None) -> dict[str, Any]:
    """What a network must fit: number of classes (a source of made images has none: the first evaluation set's, else as many
    as the teacher tells apart), channels, image size; ``classes`` is left out where nothing says it."""
    channels, *size = source.image_shape
    classes = next((count for count in (source.classes, *(s.classes for s in sets)) if count is not None), None)
    if classes is None and teacher is not None:
        classes = places_of(teacher, torch.zeros(2, *source.image_shape), trained=False).shapes["logits"][1]
    return {**({} if classes is None else {"classes": classes}), "channels": channels, "image_size": size[-1]}


def shape_of(sizes: Mapping[str, Any]) -> tuple[int, int, int]:
    """[C, H, W] of the images of such sizes, which are square."""
    return sizes["channels"], sizes["image_size"], sizes["image_size"]


def first_network(
    net: Net, facts: dict[str, Any], seed: int, store: Store, *, resumed: bool = False
) -> tuple[nn.Module, dict[str, Any] | None]:
    """A network with the weights the experiment says, and where they come from (None: drawn).

    ``resumed``: a checkpoint will be loaded into it, so that its first weights may be gone by now, as long as a record says which
    they were.
    """
    network, fact = (_as_recorded(net, facts, seed, store) if resumed else None) or _with_weights(net, facts, seed, store)
    if net.normalise is not None:
        network.normalisation = net.normalise  # type: ignore[assignment]
    return network, fact


def method_of(one: Experiment, store: Store) -> Method:
    """The weighted sum of terms, with what they take over from the stage that the student comes from."""
    method = made_method(one.method)
    if not any(term.begins_with() for _, term in method.parts()):
        return method
    maker = one.student.maker(one.seed)
    run = None if maker is None else store.find(maker)
    if run is None:
        raise RedistillError(f"{method!r} goes on with what a stage before has learned, and the student starts from no finished run")
    return method.beginning_with(run.kept(LEARNED))


def _with_weights(net: Net, facts: dict[str, Any], seed: int, store: Store) -> tuple[nn.Module, dict[str, Any] | None]:
    if (maker := net.maker(seed)) is not None:
        run = store.find(maker)
        if run is None:
            raise RedistillError(f"{store.folder(maker)} is not there yet: it makes the weights of {net.model}")
        network, path = run.network(net.take), run.weights(net.take)
        fact = _from_run(net, maker, run, path.name)
    elif net.weights is not None:
        path = Path(net.weights.path)
        if not path.is_file() or file_digest(path) != net.weights.sha256:
            raise RedistillError(f"{path} is gone or has changed (wanted: SHA-256 {net.weights.sha256[:12]})")
        fact = {"path": str(path)}
        if net.code is None:
            from redistill import models

            user_code.refuse_code(net.model, "this experiment")
            network = models.load(path, model=net.model, args=net.args)
        else:
            network = net.build(facts, seed)
            load_weights(network, path, net.args)
    else:
        network = net.build(facts, seed)
        return network, None
    made = {"model": net.model, "sha256": file_digest(path), "weights_sha256": tensors_digest(network.state_dict())}
    return network, {**made, **fact}


def _as_recorded(net: Net, facts: dict[str, Any], seed: int, store: Store) -> tuple[nn.Module, dict[str, Any]] | None:
    """A network to be filled from a checkpoint, and where it began, as far as the record of the run that made its first weights can
    say it where the weights themselves are gone (``redistill runs --keep`` leaves them out). None: the weights are there; or the record
    does not say all, and they are needed."""
    maker = net.maker(seed)
    run = None if maker is None else store.find(maker)
    if maker is None or run is None or run.file(net.take) != WEIGHTS or there(run.folder / WEIGHTS):
        return None
    space = maker.student.normalise or getattr(maker.source, "normalise", None)
    if space is None:
        return None
    network = net.build(facts, maker.seed)
    network.normalisation = space  # type: ignore[assignment]
    made = {"model": net.model, "sha256": run.record["files"][WEIGHTS], "weights_sha256": run.record["weights_sha256"]}
    return network, {**made, **_from_run(net, maker, run, WEIGHTS)}


def _from_run(net: Net, maker: Experiment, run: Run, file: str) -> dict[str, Any]:
    """Where first weights come from: a run, and which of its networks."""
    return {"run": run.id, "folder": maker.folder, **({} if net.take == "last" else {"take": net.take, "file": file})}


def _code_of(net: Net) -> dict[str, bytes]:
    """The source file of a network of one's own with those that it imports, as they are when the run begins."""
    if net.code is None:
        return {}
    located = user_code.locate(net.model, Path(), file=net.file, code=net.code)
    return {f"{CODE}/{name}": content for name, content in user_code.files_of(located).items()}


def weights_file(
    net: Net,
    facts: dict[str, Any],
    network: nn.Module,
    about: dict[str, str],
    tensors: dict[str, Tensor] | None = None,
    class_names: Sequence[str] | None = None,
) -> bytes:
    """The trained weights with what is needed to build and to feed the network again, and to notice other classes.

    ``tensors``: instead of its own.
    """
    arch = getattr(network, "arch", None)
    own_header = {
        "format": 1,
        **({"class_names": list(class_names)} if class_names else {}),
        "normalisation": None if (used := normalisation_of(network)) is None else str(used),
        **({"arch": arch.as_json()} if arch is not None else {}),
    }
    metadata = {"redistill": canonical(own_header), "model": net.model, "sizes": canonical(facts), **about}
    if net.args:
        metadata["args"] = canonical(net.args)
    if net.code is not None:
        metadata["code"] = net.code
    return packed(network.state_dict() if tensors is None else tensors, metadata)


# ---------------------------------------------------------------------------------------------------------------------
# Held-out images that somebody has seen
# ---------------------------------------------------------------------------------------------------------------------
def already_seen(one: Experiment, net: Net | None, held: Mapping[str, ImageSet], data_dir: Path | None) -> dict[str, tuple[int, int]]:
    """How many of the held-out images (and of how many) the run was trained on that made the weights of ``net``.

    ``held``: evaluation sets that ``one`` set apart from its training images. Sets of which it saw none are left out; what a
    file of weights has seen, or a source of one's own has shown, nobody here knows.
    """
    maker = net.maker(one.seed) if net is not None else None
    apart = [half for half in _halves(one) if half.held_out is not None]
    if maker is None or not apart:
        return {}
    found = {}
    for name, images in held.items():
        mine = set(getattr(images, "index", torch.arange(0)).tolist())
        try:
            if seen := mine & _trained_on(maker, apart[-1], data_dir):
                found[name] = len(seen), len(mine)
        except RedistillError:
            continue  # its data are not here any more
    return found


def _halves(one: Experiment) -> list[ImagesSettings]:
    return [part for part in one.source.parts if isinstance(part, ImagesSettings)]


def _trained_on(maker: Experiment, data: ImagesSettings, data_dir: Path | None) -> set[int]:
    """Positions in ``data`` of the images that a run, or one that it went on from, was trained on."""
    seen: set[int] = set()
    step: Experiment | None = maker
    while step is not None:
        for half in _halves(step):
            if half.data == data.data or (half.content is not None and half.content == data.content):
                images: Any = half.build(step.seed, data_dir).source
                seen |= set(getattr(images, "index", torch.arange(0)).tolist())
        step = step.student.maker(step.seed)
    return seen


def _warn(seen: Mapping[str, tuple[int, int]], who: str) -> None:
    for name, (count, total) in seen.items():
        warnings.warn(
            f"{who} was trained on {count} of the {total} images of {name}: an accuracy on them says less than one on images that "
            f"nobody has seen. Train it on the same rest (its [source] with this held_out and seed), or measure on a test set",
            TeacherWarning,
            stacklevel=3,
        )


def _measured(seen: Normalised, images: ImageSet, name: str, say: Callable[[str], None]) -> float:
    """The accuracy of a teacher, announced: it may take longer than the training."""
    say(f"evaluating the teacher on {name}, once for these weights and images")
    return accuracy(seen, images)


# ---------------------------------------------------------------------------------------------------------------------
# A cohort
# ---------------------------------------------------------------------------------------------------------------------
class BuiltObjects:
    """Everything a cohort needs, built from its experiments.

    Attributes:
        students: (network, method) pairs. teacher, source, evaluate: what they share. cache: folder in which the teacher's
            accuracy is remembered, None for nowhere.
        resumed: checkpoints will be loaded into the students.
    """

    def __init__(
        self, experiments: Sequence[Experiment], store: Store, data_dir: Path | None, *, cache: bool = False, resumed: bool = False
    ):
        first = experiments[0]
        self.cache = default_folder() if cache else None
        shown = first.evaluate
        self.experiments = experiments
        opening = opening_of(first.source)
        built = first.source.build(first.seed, data_dir)
        self.source = built.source
        self.evaluate: dict[str, ImageSet] = {
            **{name: load_data(data, data_dir, shown.content.get(name), opening=opening) for name, data in shown.sets.items()},
            **built.evaluate,
        }
        sets = list(self.evaluate.values())
        self.sizes = sizes_of(self.source, sets)
        named = (getattr(images, "class_names", None) for images in (self.source, *sets))
        self.class_names: tuple[str, ...] | None = next((tuple(names) for names in named if names), None)
        self.teacher: nn.Module | None = None
        self.teacher_fact: dict[str, Any] | None = None
        if first.teacher is not None:
            self.teacher, self.teacher_fact = first_network(first.teacher, self.sizes, first.seed, store)
            if self.teacher_fact is None:
                weights = tensors_digest(self.teacher.state_dict())
                self.teacher_fact = {"model": first.teacher.model, "sha256": weights, "weights_sha256": weights}
            self.sizes = sizes_of(self.source, sets, self.teacher)
        self.seen = already_seen(first, first.teacher, built.evaluate, data_dir)
        _warn(self.seen, "the teacher")
        self.students: list[tuple[nn.Module, Method]] = []
        self.starts: list[dict[str, Any] | None] = []
        self.beside: list[dict[str, Any]] = []  # what no file of weights keeps, as it was before the first step
        self.code: list[dict[str, bytes]] = []  # source files of each student, by their names in the run's folder
        for one in experiments:
            if "classes" not in {**self.sizes, **(one.student.args or {})}:
                raise RedistillError(
                    "nothing says how many classes there are: add an evaluation set, [evaluate] test = \"cifar10:test\", or "
                    "args = { classes = 10 } to [student]"
                )
            _warn(already_seen(one, one.student, built.evaluate, data_dir), f"the network that {one.label} starts from")
            network, start = first_network(one.student, self.sizes, one.seed, store, resumed=resumed)
            require_plain(network.state_dict())  # now and not when its weights are written, after the training
            self.students.append((network, method_of(one, store)))
            self.beside.append(at_first(network))
            self.starts.append(start)
            self.code.append(_code_of(one.student))

    def facts(
        self, store: Store, say: Callable[[str], None] = lambda text: None, device: torch.device | None = None
    ) -> dict[str, Any]:
        """For every record of the cohort: which images, which teacher and how good it is. ``device``: of the run, on which that is
        asked: a processor may take longer for it than a GPU for the run."""
        fact: dict[str, Any] = {"data": {"train": self._manifest(self.source, store)}}
        fact["data"] |= {name: self._manifest(images, store) for name, images in self.evaluate.items()}
        for name, (count, _) in self.seen.items():
            fact["data"][name] = {**fact["data"][name], "seen_by_teacher": count}
        if self.teacher is not None and self.teacher_fact is not None:
            if device is not None and device.type == "cuda":  # the run had a copy there
                self.teacher.to(device)
            # it sees images as the stream gives them, as in the run
            seen = normalised(self.teacher, self.source.normalisation)
            measured: dict[str, float] = {}
            for name, images in self.evaluate.items():
                with contextlib.suppress(OtherClasses):  # where only features are read, its classes may be anybody's
                    what = {"name": "accuracy", "version": METRICS, "space": self.source.normalisation}
                    measured[name] = remembered(self.teacher, images, what, self.cache, partial(_measured, seen, images, name, say))
            fact["teacher"] = {**self.teacher_fact, "accuracy": measured}
        return fact

    def origins(self, number: int) -> dict[str, str]:
        """SHA-256 of the weights that one student learns from and began with, where they come from somewhere: for its session."""
        found = {"teacher": self.teacher_fact, "start": self.starts[number]}
        return {role: fact["weights_sha256"] for role, fact in found.items() if fact is not None}

    def _manifest(self, images: Any, store: Store) -> dict[str, Any]:
        describe = getattr(images, "manifest", None)
        if describe is None:
            return dict(images.settings()) if hasattr(images, "settings") else {"data": type(images).__name__}
        manifest: dict[str, Any] = dict(describe())
        if manifest.get("rule"):
            manifest["indices"] = store.indices(manifest, images.index.tolist())
        return manifest

    def own_facts(self, number: int, result: Result) -> dict[str, Any]:
        """For one student's record: where it started, and a hash of what its method learned."""
        network = self.students[number][0]
        beside = left_behind(network, self.beside[number])
        return {
            **({"beside_weights": beside} if beside else {}),
            "start": self.starts[number],
            "parameters": sum(p.numel() for p in network.parameters()),
            "weights_sha256": tensors_digest(network.state_dict()),
            "method_sha256": tensors_digest(result.method.state_dict()),
            # which stage met which, also where the experiment left that to the term
            "pairs": {name: [list(pair) for pair in term.pairs] for name, term in result.method.named_terms()},
        }

    def learned(self, number: int, result: Result) -> dict[str, bytes]:
        """A file of what the terms hand on to a next stage, where some do."""
        tensors = result.method.learned()
        return {f"{LEARNED}.safetensors": packed(tensors, {"redistill": "kept", "run": self.experiments[number].id})} if tensors else {}

    def weights(self, number: int, result: Result) -> bytes:
        one = self.experiments[number]
        about = {"run": one.id, "accuracy": canonical({name: found.last for name, found in result.accuracy.items()})}
        return weights_file(one.student, self.sizes, self.students[number][0], about, class_names=self.class_names)

    def best_weights(self, number: int, best: Best) -> bytes:
        """The network of the best evaluation, as :meth:`weights`."""
        one = self.experiments[number]
        about = {"run": one.id, "step": str(best.step), "accuracy": canonical({best.name: best.accuracy})}
        return weights_file(one.student, self.sizes, self.students[number][0], about, best.tensors, self.class_names)
