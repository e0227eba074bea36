"""The one loop: one stream of batches, one teacher, any number of students that each take their own step.

A :class:`Loop` yields at every step boundary and can be saved there (``state``) and continued elsewhere (``load_state``) bit for bit.
Nothing else hooks in; ``rd.fit`` and ``rd.fit_cohort`` (:mod:`redistill.launch.fit`) drain one.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from redistill import rng
from redistill.answers.folder import default_folder
from redistill.core import Batch, Context, ExplainsNonfinite, Method, Output, RedistillError, Source, StreamContext, Term, reads_logits
from redistill.core.summary import needed
from redistill.features.modes import set_mode, whole_or_as_before
from redistill.features.normalised import innermost, normalisation_of
from redistill.features.outputs import NotFinite
from redistill.features.places import NOBODY, Layers, meeting
from redistill.features.sight import Sight, bare
from redistill.metrics import ImageSet, accuracy
from redistill.models.describe import describe
from redistill.models.sizes import made_for
from redistill.paths import expanded
from redistill.precision import Arithmetic, compiling_may_pay, compiling_pays, require_undisturbed, resolve_device
from redistill.recipe import Recipe
from redistill.replay import Lanes, Recorder, Replayed, ReplayWarning, recorder_of
from redistill.train.clock import Clock, Moment
from redistill.train.given import require_classes, require_cohort, sets_of, source_of
from redistill.train.learner import Learner
from redistill.train.preflight import check_student, check_teacher
from redistill.train.remembered import variants_of
from redistill.train.result import Progress, Result
from redistill.train.schedule import SharedSchedule
from redistill.train.smallest import require_one_image, smallest_batch
from redistill.train.steps import Replays, as_written
from redistill.train.teacher import Teacher
from redistill.train.trial import NotRemembered

ONE_LANE = Lanes()
NUMERICS = 2
"""2: a teacher in evaluation mode computes in micro-batches of :data:`redistill.train.teacher.ROWS`."""


class Loop:
    """Trains a cohort step by step: ``for progress in loop: ...``; afterwards ``loop.results()``.

    Networks may be looked at, evaluated and saved between two steps: nothing of the loop stands on them.

    Args:
        students: (network, method) pairs. Networks are trained in place; methods are copied fresh. Parts that are frozen (no
            parameter requires a gradient, or put into evaluation mode inside a network in train mode) stay in evaluation mode.
        teacher: any module from images to logits, left bitwise untouched; None for ordinary training.
        source: images or another source. recipe: how it is optimised. seed: of every draw.
        evaluate: evaluation sets by name. every: epochs between evaluations (the last step is always evaluated);
            default: 20 evaluations over the run.
        device: ``auto`` or a torch device. cache: folder in which what the teacher says is remembered for other runs
            (:mod:`redistill.train.remembered`), True for the user's own; no bit changes by it.
        replay: record a step once and replay it, where the device can (CUDA graphs); what cannot be recorded is done as it is
            written, with a warning that says why. In strict and double precision no bit is to change by it.
    """

    def __init__(
        self,
        students: Sequence[tuple[nn.Module, Method | Term]],
        teacher: nn.Module | None,
        source: Source,
        recipe: Recipe,
        *,
        seed: int,
        evaluate: Mapping[str, ImageSet] | None = None,
        every: int | None = None,
        device: str | torch.device = "auto",
        replay: bool | Recorder = True,
        cache: bool | str | Path = False,
    ):
        source = source_of(source)
        if not isinstance(recipe, Recipe):
            raise RedistillError(f"the recipe must be a redistill.Recipe, got a {type(recipe).__name__}: rd.Recipe(epochs=30, lr=0.1)")
        rng.derive(seed)  # refuses an impossible seed before any work
        seed = int(seed)  # numpy's whole numbers too
        self.recipe, self.seed, self.source, self.cache = recipe, seed, source, cache
        self.means = Arithmetic.of(recipe, resolve_device(device, walk=True))
        require_undisturbed(self.means.device)
        self.evaluate = sets_of(evaluate)
        self.per_epoch = source.steps_per_epoch(recipe.batch_size, recipe.drop_last)
        self.schedule = SharedSchedule.of(recipe, self.means, seed, self.per_epoch)
        self.steps, self.block = self.schedule.steps, self.schedule.block
        self._recorder = recorder_of(self.means.device) if isinstance(replay, bool) else replay
        self._may_replay = replay is not False
        self.clock = Clock(self.schedule, tabled=self._recorder is not None)
        self.replays: Replays | None = None
        epochs = math.ceil(self.steps / self.per_epoch)
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise RedistillError(f"every={every!r}: evaluate every 1 or more epochs, a whole number")
        self.every = every if every is not None else max(1, math.ceil(epochs / 20))
        self.fewest = smallest_batch(source, recipe, steps=self.steps, per_epoch=self.per_epoch)  # images of its smallest batch
        self.smallest = max(1, self.fewest // recipe.accumulate)
        require_cohort(students, teacher, source, recipe, self.evaluate, smallest=self.smallest)
        if recipe.compile == "auto":
            self.recipe = recipe.model_copy(update={"compile": self._compiling_pays([net for net, _ in students], teacher)})
        with whole_or_as_before(*(net for net, _ in students)):
            self._begin([(bare(net), Method.of(method)) for net, method in students], teacher)
        if self._recorder is not None and self._may_replay:
            self.replays = Replays(self.stream, self.clock, self._replayed(self._recorder))
        together = int(getattr(self.stream, "block_steps", 1))
        self.tell = together * max(1, math.ceil(self.steps / (100 * together)))  # steps between two of the source's own points
        self.step = 0
        self._seconds = self._cpu = 0.0
        self._source_log: list[tuple[int, dict[str, float]]] = []

    # -- the step -----------------------------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Progress]:
        return self

    def __next__(self) -> Progress:
        if self.step >= self.steps or not self.active():
            self.close()
            raise StopIteration
        step = self.step
        with self._timed(), self.means.ieee():
            begins = self.clock.turn(step)
            for student in self.active():
                student.ready(step, begins=begins)
            if self.replays is None:
                as_written(self.stream, self.clock, step, self._take)
            else:
                self._replay(self.replays, step)
            for student in self.active():
                student.taken = step + 1
                student.moved()
            self.step = step + 1
            self._at_boundaries(step)
        return Progress(self.step, self.steps, step // self.per_epoch)

    def _take(self, batch: Batch, now: Moment) -> Output | None:
        """The step itself: the teacher once, then every student; side by side where the step is recorded."""
        with self.lanes.beside("teacher"):
            teacher_output = self.teacher(batch, now.number, now.counter) if self.teacher is not None else None
        for number, student in enumerate(self.active()):
            with self.lanes.beside(f"student {number}"), student.timed():
                student.learn(batch, self.lanes.after("teacher", teacher_output), now)
        self.lanes.join()
        return teacher_output

    def _replay(self, replays: Replays, step: int) -> None:
        """A step that may be replayed; of one that is, which is one piece of work, every student has an equal share."""
        began, learning = time.perf_counter(), [number for number, s in enumerate(self.students) if s.learns]
        if replays.take(step, tuple(learning), self._take):
            for number in learning:
                self.students[number].seconds += (time.perf_counter() - began) / len(learning)

    @property
    def lanes(self) -> Lanes:
        """Which parts of a step are independent of each other."""
        return self._recorder.lanes if self._recorder is not None else ONE_LANE

    @property
    def source_log(self) -> Sequence[tuple[int, dict[str, float]]]:
        """(steps taken, what the source said of itself) so far."""
        return self._source_log

    def active(self) -> list[Learner]:
        """Students that have not stopped."""
        return [student for student in self.students if student.learns]

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the seconds of a step; a step that fails, or is interrupted, leaves networks in evaluation mode."""
        wall, cpu = time.perf_counter(), time.process_time()
        if self.step == 0:
            self._note_images()
        try:
            yield
        except BaseException:
            self.close()
            raise
        self._seconds += time.perf_counter() - wall
        self._cpu += time.process_time() - cpu

    def _at_boundaries(self, step: int) -> None:
        """After a step: losses are read at the end of a block, the source tells its numbers, an epoch ends."""
        within = step % self.per_epoch + 1
        last = self.step == self.steps
        if within % self.block == 0 or within == self.per_epoch or last:
            self._read(step)
        if within == self.per_epoch or last:
            self._end_epoch(step // self.per_epoch, within, last)
        if (self.step % self.tell == 0 or last) and (numbers := self.stream.log()):
            self._source_log.append((self.step, numbers))

    def _read(self, step: int) -> None:
        """Fetch the losses of the block that ends with ``step``; stop students whose losses are not finite."""
        count = step % self.per_epoch % self.block + 1
        for student in self.active():
            if (bad := student.read(count)) is not None:
                column, value, row = bad
                where = step - count + 1 + row
                name, weight = student.method.names[column], student.weights[where][column]
                student.stop(
                    self._someone_else(where)
                    or f"{name} (weight {weight:g}) became {value} at step {where} of {self.steps} "
                    f"(learning rate {self.schedule.rates[where]:g}): lower the rate or the weight, or clip the gradient",
                    self.step,
                )

    def _someone_else(self, step: int) -> str | None:
        """Why a loss of ``step`` is not finite, where the student is not to blame: the source's images or the teacher."""
        cause = self.stream.explains_nonfinite(step) if isinstance(self.stream, ExplainsNonfinite) else None
        return cause or (self.teacher.explains_nonfinite(step) if self.teacher is not None else None)

    def _end_epoch(self, epoch: int, taken: int, last: bool) -> None:
        due = last or (epoch + 1) % self.every == 0
        for student in self.active():
            student.end_epoch(taken)
            if (spoilt := student.spoilt()) is not None:
                student.stop(
                    self._someone_else(self.step - 1)
                    or f"{spoilt} is not finite after step {self.step} of {self.steps} (learning rate "
                    f"{self.schedule.rates[self.step - 1]:g}), although every loss was: lower the rate, or clip the gradient",
                    self.step,
                )
            elif due:
                self._evaluate(student)
            if student.diverged is None and (last or (student.patience is not None and student.patience.exhausted)):
                student.settle(self.step)

    def _evaluate(self, student: Learner) -> None:
        layout = self.means.channels_last and not student.sight.contiguous
        with student.shown():
            for name, images in self.evaluate.items():
                try:
                    # the student sees images as the stream gives them
                    value = accuracy(student.sight.view, images, channels_last=layout)
                except NotFinite as error:
                    student.stop(f"{error} (after step {self.step} of {self.steps}, on {name!r})", self.step)
                    return
                student.curves[name].append((self.step, value))
            if student.patience is not None:
                student.patience.look(student.net, self.step, {name: points[-1][1] for name, points in student.curves.items()})

    # -- before the first step ----------------------------------------------------------------------------------------
    def _compiling_pays(self, students: list[nn.Module], teacher: nn.Module | None) -> bool:
        """What ``compile = "auto"`` comes to in this run."""
        if not compiling_may_pay(self.recipe, self.means.device):
            return False
        size = tuple(self.source.image_shape)
        seen = asked = self.steps * self.recipe.batch_size
        if self.cache is not False and self.source.count is not None:
            with contextlib.suppress(NotRemembered):
                asked = min(seen, self.source.count * variants_of(self.source))
        macs = seen * sum(3 * describe(net, size).macs for net in students)
        return compiling_pays(float(macs + (asked * describe(teacher, size).macs if teacher is not None else 0)))

    def _begin(self, students: list[tuple[nn.Module, Method]], teacher: nn.Module | None) -> None:
        """Look at every network once, set the methods up, and start the stream."""
        space, shape = self.source.normalisation, tuple(self.source.image_shape)
        self.teacher: Teacher | None = None
        if teacher is not None:
            trains = self.recipe.teacher_mode == "train"
            self.teacher = Teacher(bare(teacher), space, shape, self.means, seed=self.seed, train=trains)
            if self.teacher.borrowed and self.source.depends_on_student:
                raise RedistillError(
                    f"the teacher {type(teacher).__name__} cannot be copied, and {type(self.source).__name__} needs a private copy: "
                    f"give a network that copy.deepcopy takes"
                )
        self.students = [self._enrol(net, method) for net, method in students]
        wanted = tuple(dict.fromkeys(p for s in self.students for p in s.method.places("teacher")))
        self.notes: tuple[str, ...] = ()
        if self.teacher is not None:
            matter = any(reads_logits(term) for s in self.students for _, term in s.method.parts())
            self.notes = check_teacher(self.teacher.net, self.source, logits_matter=matter, adapt=self.teacher.sight)
            self.teacher.read(wanted, compiled=self.recipe.compile is True)
            if self.cache is not False:
                folder = default_folder() if self.cache is True else expanded(self.cache)
                what = needed(wanted, [read for s in self.students for read in s.method.reading()])
                self.teacher.remember(self.source, what, folder, fit=NUMERICS, compiled=self.recipe.compile is True)
        if self.smallest == 1:
            require_one_image(self.students, self.teacher, self.means, self.source, self.recipe)
        sights = {id(s.net): s.sight for s in self.students} | ({id(self.teacher.net): self.teacher.sight} if self.teacher else {})
        self.stream = self.source.start(
            StreamContext(
                seed=self.seed,
                batch_size=self.recipe.batch_size,
                device=self.means.device,
                dtype=self.means.dtype,
                steps=self.steps,
                teacher=self.teacher.net if self.teacher is not None else None,
                students=tuple(s.net for s in self.students),
                drop_last=self.recipe.drop_last,
                channels_last=self.means.channels_last,
                autocast=self.means.autocast,
                teacher_places=wanted,
                adapt=lambda net: sights[id(net)],
                replays=None if self._recorder is None or not self._may_replay else self._replayed(self._recorder),
            )
        )

    def _replayed(self, recorder: Recorder) -> Replayed:
        """What does a kind of work again and again, and watches the networks of this run."""
        nets = [net for s in self.students for net in (s.net, s.method)] + ([self.teacher.net] if self.teacher is not None else [])
        return Replayed(recorder, nets, self._hindered, self._say)

    def _hindered(self) -> str | None:
        """Why no step of this run can be recorded, as far as is known."""
        layers = [s.layers for s in self.students] + ([self.teacher.layers] if self.teacher is not None else [])
        if (draws := next((one.draws for one in layers if one.draws), None)) is not None:
            return f"{draws} draws random numbers of its own at every step"
        if self.teacher is not None and self.teacher.memory is not None:
            return "what the teacher said is looked up on the host"
        if getattr(self.source, "partly_labelled", False):
            return "images without labels are picked out of each batch on the host"
        return None if self.recipe.fused else "fused = false: only PyTorch's fused optimisers read their rate on the device"

    def _say(self, note: str) -> None:
        """Something about how the steps are taken, once."""
        if note not in self.notes:
            self.notes = (*self.notes, note)
            warnings.warn(note, ReplayWarning, stacklevel=2)

    def _enrol(self, net: nn.Module, template: Method) -> Learner:
        self.means.place(net)
        sight = Sight.of(net, self.source.normalisation, tuple(self.source.image_shape), self.means,
                         trained=self.recipe.student_mode == "train")
        with rng.seeded(self.seed, "term", "made"):
            method = template.fresh()
        ctx = self._context(net, sight.found)
        require_classes(net, ctx.classes, self.source, self.evaluate)
        method.setup(ctx)
        notes = check_student(net, self.source, adapt=sight)
        self.means.place(method)
        if not self.means.exact:
            for _, term in method.parts():
                term.quicker(bf16=self.means.bf16)
        tapped = sight.tapped(method.places("student"))
        if self.recipe.compile is True:
            tapped.compile()
        set_mode(net, self.recipe.student_mode == "train")
        method.train()
        return Learner(
            net, sight, tapped, method, self.schedule, {name: [] for name in self.evaluate}, notes, tabled=self._recorder is not None
        )

    def _context(self, net: nn.Module, found: Layers) -> Context:
        """What a student's terms see of both networks, which have been looked at already."""
        teacher = self.teacher
        images = self.recipe.batch_size if self.source.count is None else min(self.recipe.batch_size, self.source.count)
        return meeting(
            net,
            found,
            teacher.net if teacher is not None else None,
            teacher.sight.found if teacher is not None else NOBODY,
            count=self.source.count,
            labels=self.source.all_labels,
            seed=self.seed,
            adapt=teacher.sight if teacher is not None else None,
            calls=self.per_epoch * min(self.recipe.accumulate, images),
        )

    def _note_images(self) -> None:
        """From its first step on a student is one for images of this size, and without a normalisation of its own for images as the
        stream gives them."""
        for student in self.students:
            if made_for(student.net) not in (None, self.source.image_shape[-1]):
                innermost(student.net).sized = False  # type: ignore[assignment]
            if normalisation_of(student.net) is None:
                student.net.normalisation = self.source.normalisation  # type: ignore[assignment]

    # -- saving and going on ------------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """Everything the rest of the run depends on: tensors and plain values, to be saved as they are."""
        return {
            "step": self.step,
            "seconds": self._seconds,
            "cpu_seconds": self._cpu,
            "stream": self.stream.state_dict(),
            "source_log": list(self._source_log),
            "teacher": self.teacher.state() if self.teacher is not None else None,
            "students": [student.state() for student in self.students],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state` was taken; the loop must have been made from the same experiment."""
        if len(state["students"]) != len(self.students):
            raise RedistillError(f"this checkpoint holds {len(state['students'])} students, the cohort has {len(self.students)}")
        self.step = int(state["step"])
        self._seconds, self._cpu = float(state["seconds"]), float(state["cpu_seconds"])
        self._source_log = [(int(step), dict(numbers)) for step, numbers in state["source_log"]]
        with self.means.ieee():  # a source may ask the teacher once more, whose answer must have the bits that it had in its step
            self.stream.load_state_dict(state["stream"])
        if self.teacher is not None and state["teacher"] is not None:
            self.teacher.load_state(state["teacher"])
        for student, saved in zip(self.students, state["students"], strict=True):
            student.load_state(saved, self.step)
        if self.replays is not None:
            self.replays.forget()
        self._note_images()

    def close(self) -> None:
        """Give the students back in evaluation mode. Nothing else of the loop stands on them."""
        for student in self.students:
            student.net.eval()

    def results(self) -> list[Result]:
        """One :class:`Result` a student, in the order given."""
        return [
            Result(
                **s.result(),
                rates=tuple(self.schedule.rates[:: self.per_epoch]),
                steps=s.stopped_at if s.stopped_at is not None else self.step,
                seconds=self._seconds,
                cpu_seconds=self._cpu,
                source_log=tuple(self._source_log),
                notes=(*self.notes, *s.notes),
            )
            for s in self.students
        ]
