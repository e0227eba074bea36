"""``rd.fit`` and ``rd.fit_cohort``: the loop with what a person wants around it: progress, threads that help, saving and going on."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redistill import machine, user_code, versions
from redistill.core import Method, RedistillError, Source, Term
from redistill.data import DataSet
from redistill.features.hidden_state import made_of, unsaved_buffers
from redistill.files import Lock, canonical, digest, make_folder, pretty, sweep, there, write
from redistill.launch.progress import watch
from redistill.launch.stop import Stop
from redistill.launch.threads import using, wanted
from redistill.launch.trackers import Tracked, names_of
from redistill.launch.tracking import Tracking
from redistill.metrics import ImageSet
from redistill.models.weights import save as save_weights
from redistill.paths import expanded
from redistill.precision import resolve_device
from redistill.recipe import Recipe
from redistill.runs import checkpoint
from redistill.runs.record import curves_of, differing
from redistill.sealed import CURVES, LOCK
from redistill.sources.mixed import Mixed
from redistill.tensor_files import require_plain, tensors_digest
from redistill.train.loop import Loop
from redistill.train.result import Diverged, Progress, Result


class _Saved:
    """A loop that leaves checkpoints in a folder, goes on from them, and stops with one when it is asked to."""

    def __init__(self, loop: Loop, folder: Path, mine: str, beside: Mapping[str, str], every: float, stop: Stop):
        self._loop, self._folder, self._mine, self._every, self._stop = loop, folder, mine, every, stop
        self._beside = dict(beside)
        self._resume()
        self.step, self.steps = loop.step, loop.steps
        self._saved, self._points = time.monotonic(), -1

    @property
    def loop(self) -> Loop:
        return self._loop

    def _resume(self) -> None:
        for name in (checkpoint.NAME, checkpoint.PREVIOUS):
            if not there(path := self._folder / name):
                continue
            try:
                state, facts = checkpoint.load(path)
            except checkpoint.Foreign:
                raise
            except RedistillError as error:  # the one before it may be whole
                kept = checkpoint.aside(path, "damaged")
                warnings.warn(f"{error}; it is kept as {kept.name}, and the run goes on from what was saved before it", stacklevel=6)
                continue
            if facts.get("id") != self._mine:
                raise checkpoint.Foreign(
                    f"{self._folder} holds a run with other networks, images, recipe or seed: give out= another folder, or delete this one"
                )
            before = facts.get("beside", {})
            if other := next((what for what, now in self._beside.items() if before.get(what, now) != now), None):
                raise checkpoint.Foreign(
                    f"{self._folder} holds a run with other {other}, which have changed since: give out= another folder, or delete this one"
                )
            with checkpoint.fitting(path):
                self._loop.load_state(state)
            here, sessions = machine.hardware(self._loop.means.device), facts.get("sessions")
            if self._loop.step < self._loop.steps and sessions and (other := differing(sessions[-1], here)):
                warnings.warn(f"{path}: it comes from {other}: the result may differ in its last bits", stacklevel=6)
            return

    def __iter__(self) -> _Saved:
        return self

    def __next__(self) -> Progress:
        progress = next(self._loop)
        self.step = progress.step
        points = sum(len(curve) for student in self._loop.students for curve in student.curves.values())
        if points != self._points:
            self._points = points
            self._curves()
        if self._stop.why is not None and progress.step < progress.steps:
            self.save()
            self._stop.check(f"step {progress.step} of {progress.steps} is saved in {self._folder}")
        if progress.step == progress.steps or not self._loop.active() or time.monotonic() - self._saved >= self._every:
            self.save()
        return progress

    def save(self) -> None:
        sessions = [machine.hardware(self._loop.means.device)]
        checkpoint.save(self._folder, self._loop.state(), {"id": self._mine, "beside": self._beside, "sessions": sessions})
        self._saved = time.monotonic()

    def _curves(self) -> None:
        curves = {str(number): curves_of(result) for number, result in enumerate(self._loop.results())}
        write(self._folder / CURVES, pretty(curves["0"] if len(curves) == 1 else curves))


def _identity(students: Sequence[tuple[nn.Module, Method | Term]], teacher: nn.Module | None, loop: Loop) -> str:
    """Which run it is: what goes on must begin as it began."""
    source = loop.source
    about = getattr(source, "manifest", None) or source.settings
    facts = [
        [[type(net).__name__, tensors_digest(net.state_dict()), repr(method)] for net, method in students],
        None if teacher is None else tensors_digest({name: one for name, one in teacher.state_dict().items() if isinstance(one, Tensor)}),
        about(), loop.recipe.settings(), loop.seed, loop.steps, sorted(loop.evaluate), loop.every,
    ]  # fmt: skip
    return digest(canonical(json.loads(json.dumps(facts, default=str))))


def _beside(students: Sequence[tuple[nn.Module, Method | Term]], teacher: nn.Module | None, loop: Loop) -> dict[str, str]:
    """Digests of what :func:`_identity` does not show: the images of evaluation, how the training images are shown, what networks compute
    with beside their weights, the lines of classes of one's own, and the versions of those of this package."""

    def told(facts: object) -> str:
        return digest(canonical(json.loads(json.dumps(facts, default=str))))

    source = loop.source
    halves = (source.first, source.second) if isinstance(source, Mixed) else ()
    shown = [source.settings(), *(half.manifest() for half in halves if isinstance(half, DataSet))]
    found = {"training images, or another augmentation or normalisation of them": told(shown)}
    found |= {f"images of {name!r}": told(images.manifest()) for name, images in loop.evaluate.items() if hasattr(images, "manifest")}
    for part in (source, *halves):
        if isinstance(generator := getattr(part, "generator", None), nn.Module):
            found["weights or parts of the generator"] = told([_network(generator), tensors_digest(generator.state_dict())])
    for number, (_, method) in enumerate(students):
        if (before := Method.of(method).before) is not None:
            found[f"parts that the terms of student {number} go on with"] = tensors_digest(before)
    for number, student in enumerate(loop.students):
        frozen = [n for n, p in student.net.named_parameters() if not p.requires_grad]
        resting = [n for n, m in student.net.named_modules() if not m.training]
        found[f"parts or settings of student {number}"] = told([_network(student.net), frozen, resting])
    if teacher is not None:
        found["parts or settings of the teacher"] = told(_network(teacher))
    things: list[object] = [loop.source]
    for network in [net for net, _ in students] + ([] if teacher is None else [teacher]):
        things += network.modules()
    for student in loop.students:
        things += [term for _, term in student.method.parts()]
    used = {cls for thing in things for cls in type(thing).__mro__}
    for cls in used:
        if (lines := user_code.lines_of(cls)) is not None:
            found[f"lines of {cls.__module__}.{cls.__qualname__}"] = digest(lines)
    terms = [term for student in loop.students for _, term in student.method.parts()]
    numbers = {**versions.numerics(terms, [], []), **loop.recipe.numerics(), **versions.of_modules(cls.__module__ for cls in used)}
    return found | {"formulas of this package": told(numbers)}


def _network(net: nn.Module) -> list[Any]:
    return [made_of(net), tensors_digest(unsaved_buffers(net))]


def fit_cohort(
    students: Sequence[tuple[nn.Module, Method | Term]],
    teacher: nn.Module | None,
    source: Source,
    recipe: Recipe,
    *,
    seed: int,
    evaluate: Mapping[str, ImageSet] | None = None,
    every: int | None = None,
    device: str | torch.device = "auto",
    out: str | Path | None = None,
    checkpoint_every: float = 60.0,
    threads: int | None = None,
    quiet: bool = False,
    cache: bool | str | Path = False,
    track: str | Sequence[str] = (),
) -> list[Result]:
    """Train several (student, method) pairs on one stream with one teacher; see :class:`redistill.Loop`.

    In strict and double precision each student ends bit-identical to the same student trained alone, on as many threads. A student that
    diverges stops alone; its result says so in ``diverged``.

    Args:
        out: a folder in which the run is saved every ``checkpoint_every`` seconds, and when it is stopped (Ctrl-C, SIGTERM); the same
            call goes on from there bit for bit, and once it is done only reads; a call with other networks, images or settings, or after
            a class of yours was changed, is refused. Curves and, at the end, weights
            (``student-0.safetensors`` ...) lie in it.
        threads: of this process; None: one where the steps of all networks are small, else torch's own.
        quiet: tell nothing on standard error. cache: what the teacher says is looked up and remembered.
        track: trackers that hear the numbers at the end of every epoch: ``"tensorboard"``, ``"wandb"``, ``"mlflow"``, ``"trackio"``,
            several with commas between; one that does not work is a ``TrackWarning``.
    """
    trackers = names_of(track)
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise RedistillError(f"threads={threads!r}: a whole number from 1 on, or None")
    if isinstance(checkpoint_every, bool) or not isinstance(checkpoint_every, int | float) or not checkpoint_every >= 0:
        raise RedistillError(f"checkpoint_every={checkpoint_every!r}: seconds between two checkpoints, from 0 on")
    if odd := next((one for one in students if not isinstance(one, tuple | list) or len(one) != 2), None):
        raise RedistillError(f"a cohort is a list of (student, method) pairs, [(student, rd.CE() + rd.KD())], got a {type(odd).__name__}")
    device = resolve_device(device)
    if threads is None:
        threads = _threads(students, teacher, source, recipe, device)
    with (
        using(threads),
        # whatever ends it, a refusal or a stop between two steps too, gives the students back in evaluation mode
        closing(Loop(students, teacher, source, recipe, seed=seed, evaluate=evaluate, every=every, device=device, cache=cache)) as loop,
    ):
        label = " | ".join(repr(student.method) for student in loop.students[:2])
        label += f" and {len(loop.students) - 2} more" if len(loop.students) > 2 else ""
        if out is None:
            _drain(loop, label, quiet, trackers, None, time.strftime("%Y%m%d-%H%M%S"))
            return loop.results()
        if out == "":
            raise RedistillError('out="" names no folder: give one, out="runs/mine", or out="." for the one you are in')
        for net, _ in students:
            require_plain(net.state_dict())  # now and not when a checkpoint, or its weights, are written
        folder = expanded(out)
        make_folder(folder)
        lock = Lock(folder / LOCK)
        if not lock.take():
            raise RedistillError(f"another process trains in {folder}: wait for it, or give out= another folder")
        try:
            sweep(folder)
            listen = threading.current_thread() is threading.main_thread()
            with Stop(listen=listen) as stop:
                mine = _identity(students, teacher, loop)
                saved = _Saved(loop, folder, mine, _beside(students, teacher, loop), checkpoint_every, stop)
                _drain(saved, label, quiet, trackers, folder, mine[:16])
            for number, (net, _) in enumerate(students):
                save_weights(net, folder / f"student-{number}.safetensors")
            return loop.results()
        finally:
            lock.release()


def _threads(students: Any, teacher: Any, source: Any, recipe: Any, device: torch.device) -> int | None:
    """See :func:`redistill.launch.threads.wanted`; what is no network or no source is left for the loop to refuse."""
    nets = [net for net, _ in students] + ([teacher] if teacher is not None else [])
    shape, size = getattr(source, "image_shape", None), getattr(recipe, "batch_size", None)
    if not isinstance(shape, tuple) or not isinstance(size, int) or not all(isinstance(net, nn.Module) for net in nets):
        return None
    return wanted(nets, tuple(shape), size, device)


def _drain(loop: Any, label: str, quiet: bool, trackers: Sequence[str], folder: Path | None, which: str) -> None:
    inner: Loop = getattr(loop, "loop", loop)
    runs = [_tracked(student.method, number, inner, folder, which) for number, student in enumerate(inner.students)]
    tracking = Tracking(trackers, runs) if trackers else None
    try:
        if not quiet:
            watch(loop, label, tracking)
        else:
            for _ in loop:
                if tracking is not None:
                    tracking.look(inner)
    finally:
        if tracking is not None:
            tracking.close()


def _tracked(method: Method, number: int, loop: Loop, folder: Path | None, which: str) -> Tracked:
    """A student as trackers are told of it; several of a folder have a part of it each."""
    several = len(loop.students) > 1
    place = folder / f"student-{number}" if folder is not None and several else folder
    if place is not None:
        make_folder(place)
    settings = {"method": repr(method), "recipe": loop.recipe.settings(), "seed": loop.seed, "steps": loop.steps}
    return Tracked(f"{method!r} seed {loop.seed} {which[:8] if folder is not None else which}", f"{which}-{number}", place, settings)


def fit(
    student: nn.Module,
    teacher: nn.Module | None,
    method: Method | Term,
    source: Source,
    recipe: Recipe,
    *,
    seed: int,
    evaluate: Mapping[str, ImageSet] | None = None,
    every: int | None = None,
    device: str | torch.device = "auto",
    out: str | Path | None = None,
    checkpoint_every: float = 60.0,
    threads: int | None = None,
    quiet: bool = False,
    cache: bool | str | Path = False,
    track: str | Sequence[str] = (),
) -> Result:
    """Train one student in place and return what was measured; a cohort of one. See :func:`fit_cohort` and :class:`redistill.Loop`.

    Raises:
        Diverged: a loss became NaN or infinite (the message names term, weight and step).
    """
    result = fit_cohort(
        [(student, method)], teacher, source, recipe, seed=seed, evaluate=evaluate, every=every, device=device, out=out,
        checkpoint_every=checkpoint_every, threads=threads, quiet=quiet, cache=cache, track=track,
    )[0]  # fmt: skip
    if result.diverged is not None:
        raise Diverged(result.diverged)
    return result
