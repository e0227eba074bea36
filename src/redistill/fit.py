"""The one loop: one stream of batches, one teacher, any number of students that each take their own step.

``fit`` trains one student, ``fit_cohort`` several; both drain a :class:`Loop`, which yields at every step boundary and
can be saved there (``state``) and continued elsewhere (``load_state``) bit for bit. Nothing else hooks in.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core import Batch, Culprit, Method, Output, RedistillError, Room, Source, Term, reads_logits, weighted_sum
from redistill.data import Renormalise
from redistill.evaluate import ImageSet, accuracy
from redistill.given import lacking, sets_of, source_of
from redistill.learner import Learner
from redistill.measured import Diverged, Progress, Result
from redistill.optimise import clip, make_optimizer, parameter_groups
from redistill.outputs import NotFinite
from redistill.precision import arithmetic, ieee, resolve_device
from redistill.preflight import check_student, check_teacher
from redistill.recipe import Recipe
from redistill.taps import NOBODY, Tapped, meeting, places_of

NUMERICS = 2
"""2: a teacher in evaluation mode computes in micro-batches of :data:`ROWS`."""
ROWS = 32  # below 16 rows convolutions sum in another order; 32 stay in the cache of a core
READ = 200  # steps between two readings of the loss buffer inside a long epoch


def matched(net: nn.Module, stream: str) -> Any | None:
    """A pre-hook that renormalises the stream for a network trained in another normalisation; None where none is needed."""
    adapt = Renormalise.wanted_by(net, stream)
    if adapt is None:
        return None
    return net.register_forward_pre_hook(lambda _, args: (adapt(args[0]), *args[1:]))


def in_micro_batches(read: Callable[[Tensor], Output], images: Tensor) -> Output:
    """What a teacher in evaluation mode says of ``images`` [B, C, H, W], computed in micro-batches of :data:`ROWS`.

    Every call sees exactly ROWS images, the last one filled up with copies of its first image: kernels choose how they sum
    by the size of a batch, so an image has the same bits only in batches of one size. Here it has them whatever batch it
    stands in and wherever it stands, which is what lets an answer be remembered.
    """
    parts = []
    last = images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last)
    for few in images.split(ROWS):
        missing = ROWS - len(few)
        full = torch.cat([few, few[:1].expand(missing, *few.shape[1:])]) if missing else few
        out = read(full.contiguous(memory_format=torch.channels_last) if last else full)
        parts.append(Output(out.logits[: len(few)], {name: tap[: len(few)] for name, tap in out.taps.items()}) if missing else out)
    if len(parts) == 1:
        return parts[0]
    return Output(
        torch.cat([part.logits for part in parts]), {name: torch.cat([part.taps[name] for part in parts]) for name in parts[0].taps}
    )


class Loop:
    """Trains a cohort step by step: ``for progress in loop: ...``; afterwards ``loop.results()``.

    Args:
        students: (network, method) pairs. Networks are trained in place; methods are copied fresh.
        teacher: any module from images to logits, left bitwise untouched; None for ordinary training.
        source: images or another source. recipe: how it is optimised. seed: of every draw.
        evaluate: evaluation sets by name. every: epochs between evaluations (the last step is always evaluated);
            default: 20 evaluations over the run.
        device: ``auto`` or a torch device.
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
    ):
        source = source_of(source)
        rng.derive(seed)  # refuses an impossible seed before any work
        seed = int(seed)  # numpy's whole numbers too
        self.recipe, self.seed, self.source = recipe, seed, source
        self.device = resolve_device(device)
        self.exact = recipe.precision != "fast"
        means = arithmetic(recipe, self.device)
        self.dtype = torch.float64 if means["forward"] == "float64" else torch.float32
        self.bf16 = means["forward"] == "bfloat16"
        self.layout = torch.channels_last if means["channels_last"] else torch.contiguous_format
        self.evaluate = sets_of(evaluate)
        self.per_epoch = source.steps_per_epoch(recipe.batch_size, recipe.drop_last)
        self.steps = recipe.total_steps(self.per_epoch)
        epochs = math.ceil(self.steps / self.per_epoch)
        if every is not None and every < 1:
            raise RedistillError(f"every={every}: evaluate every 1 or more epochs")
        self.every = every if every is not None else max(1, math.ceil(epochs / 20))
        self.rates = recipe.rates(self.per_epoch)
        self.resets = recipe.momentum_resets(self.per_epoch)
        self.block = min(self.per_epoch, READ)
        self._check(students, teacher, source)

        self._hooks: list[Any] = []
        self.teacher = self._own_teacher(teacher)
        probe = self._probe_images()
        # a network is asked once for its places, by one forward a mode
        self._teacher_map = NOBODY
        if self.teacher is not None:
            self._teacher_map = places_of(self.teacher, probe, trained=recipe.teacher_mode == "train")
        self.students = [self._enrol(net, Method.of(method), probe) for net, method in students]
        matter = any(reads_logits(term) for s in self.students for _, term in s.method.parts())
        notes = [check_teacher(self.teacher, source, logits_matter=matter)] if self.teacher is not None else []
        self.notes = tuple(note for given in notes for note in given)
        self.teacher_taps: Tapped | None = None
        wanted = tuple(dict.fromkeys(p for s in self.students for p in s.method.places("teacher")))
        if self.teacher is not None:
            table = {n: p for n, p in self._teacher_map.places.items() if n in wanted}
            self.teacher_taps = Tapped(self.teacher, table, again=recipe.teacher_mode == "train")
            self.teacher_taps.prepare(probe)
            if recipe.compile:
                self._hooks.append(self.teacher_taps.compile())
            self.teacher.train(recipe.teacher_mode == "train")
        self.stream = source.start(
            Room(
                seed=seed,
                batch_size=recipe.batch_size,
                device=self.device,
                dtype=self.dtype,
                steps=self.steps,
                teacher=self.teacher,
                students=tuple(s.net for s in self.students),
                drop_last=recipe.drop_last,
                channels_last=means["channels_last"],
                autocast=self._autocast,
                teacher_places=wanted,
            )
        )
        together = int(getattr(self.stream, "block_steps", 1))
        self.tell = together * max(1, math.ceil(self.steps / (100 * together)))  # steps between two of the source's own points
        self.step = 0
        self._seconds = self._cpu = 0.0
        self._source_log: list[tuple[int, dict[str, float]]] = []

    # -- before the first step ----------------------------------------------------------------------------------------
    def _check(self, students: Sequence[tuple[nn.Module, Method | Term]], teacher: nn.Module | None, source: Source) -> None:
        if not students:
            raise RedistillError("a cohort needs at least one (student, method) pair")
        if len({id(net) for net, _ in students}) != len(students):
            raise RedistillError("the same network stands twice in the cohort: every student needs its own weights")
        if teacher is not None and any(net is teacher for net, _ in students):
            raise RedistillError("teacher and student are one network: give the student its own weights (copy.deepcopy)")
        if len(students) > 1 and source.depends_on_student:
            raise RedistillError(
                f"{type(source).__name__} makes its images against one student, so it cannot feed a cohort of "
                f"{len(students)}: run the students one by one"
            )
        if len(students) > 1 and self.recipe.teacher_mode == "train":
            raise RedistillError("teacher_mode='train' moves the teacher's statistics: run the students one by one")
        for net, what in students:
            method = Method.of(what)
            for _, term in method.parts():
                name = type(term).__name__
                if term.needs_teacher and teacher is None:
                    raise RedistillError(f"{name} compares with a teacher, but there is none: give a teacher or remove {name}")
                if term.needs_labels and not source.labelled:
                    raise RedistillError(f"{name} needs labels, and this source has none: remove {name} or give labelled images")
            if not any(p.requires_grad for p in net.parameters()):
                raise RedistillError(f"no parameter of the student {type(net).__name__} requires a gradient")
        trained_on = tuple(source.image_shape)
        for name, images in self.evaluate.items():
            shown = tuple(getattr(images, "image_shape", trained_on))
            if shown != trained_on:
                raise RedistillError(
                    f"evaluation set {name!r} has images of shape {list(shown)}, the source {list(trained_on)}: make them the same"
                )

    def _place(self, net: nn.Module) -> nn.Module:
        net.to(device=self.device, dtype=self.dtype)
        if self.layout is torch.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net

    def _own_teacher(self, teacher: nn.Module | None) -> nn.Module | None:
        """A private copy: the caller's teacher keeps its device, precision, mode, gradients and statistics."""
        if teacher is None:
            return None
        own = self._place(copy.deepcopy(teacher))
        own.requires_grad_(False)
        own.eval()
        if (hook := matched(own, self.source.normalisation)) is not None:
            self._hooks.append(hook)
        return own

    def _probe_images(self) -> Tensor:
        shape = tuple(self.source.image_shape)
        return torch.zeros(2, *shape, device=self.device, dtype=self.dtype).to(memory_format=self.layout)

    def _enrol(self, net: nn.Module, template: Method, probe: Tensor) -> Learner:
        self._place(net)
        if (hook := matched(net, self.source.normalisation)) is not None:
            self._hooks.append(hook)
        method = template.fresh()
        mine = places_of(net, probe, trained=self.recipe.student_mode == "train")
        ctx = meeting(
            net, mine, self.teacher, self._teacher_map, count=self.source.count, labels=self.source.all_labels, seed=self.seed
        )
        expected = self.source.classes
        if expected is not None and ctx.classes != expected:
            raise RedistillError(
                f"the student {type(net).__name__} tells {ctx.classes} classes apart, the data have {expected}: they must agree"
            )
        for name, images in self.evaluate.items():
            if images.classes is not None and images.classes != ctx.classes:
                raise RedistillError(
                    f"evaluation set {name!r} has {images.classes} classes, the student {type(net).__name__} tells {ctx.classes} "
                    f"apart: they must agree{lacking(images.classes, ctx.classes)}"
                )
        method.setup(ctx)
        own_notes = check_student(net, self.source)
        self._place(method)
        table = {n: p for n, p in mine.places.items() if n in method.places("student")}
        tapped = Tapped(net, table)
        tapped.prepare(probe)
        if self.recipe.compile:
            self._hooks.append(tapped.compile())
        net.train(self.recipe.student_mode == "train")
        method.train()
        weights = method.weight_table(self.steps, self.per_epoch).tolist()
        return Learner(
            net=net,
            tapped=tapped,
            method=method,
            optimizer=make_optimizer(parameter_groups([net, method], self.recipe), self.recipe),
            weights=weights,
            buffer=torch.zeros(self.block, len(method.weights), dtype=self.dtype, device=self.device),
            norms=None if self.recipe.clip is None else torch.zeros(self.block, dtype=self.dtype, device=self.device),
            curves={name: [] for name in self.evaluate},
            notes=own_notes,
        )

    # -- one step -----------------------------------------------------------------------------------------------------
    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.bf16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _float(self, out: Output) -> Output:
        """Terms compute in fp32 whatever the networks computed in."""
        if not self.bf16:
            return out
        return Output(out.logits.float(), {name: tap.float() for name, tap in out.taps.items()})

    def _teach(self, batch: Batch) -> Output | None:
        if self.teacher_taps is None:
            return None
        if "teacher" in batch.memo and self.recipe.teacher_mode == "eval":
            return batch.memo["teacher"]
        # no_grad and not inference_mode: a term that saves the teacher's output for backward refuses inference tensors
        with torch.no_grad(), self._autocast():
            if self.recipe.teacher_mode == "eval":
                said = in_micro_batches(self.teacher_taps, batch.images)
            else:  # its batch statistics are those of the whole batch
                said = self.teacher_taps(batch.images)
        batch.memo["teacher"] = out = self._float(said)
        return out

    def _learn(self, student: Learner, batch: Batch, taught: Output | None, step: int) -> None:
        if step in self.resets:
            student.optimizer = make_optimizer(parameter_groups([student.net, student.method], self.recipe), self.recipe)
        for group in student.optimizer.param_groups:
            group["lr"] = self.rates[step]
        student.optimizer.zero_grad(set_to_none=True)
        # layers that draw (dropout) see the same stream whoever else is in the cohort
        with rng.seeded(self.seed, "layers", step, device=self.device):
            with self._autocast():
                said = student.tapped(batch.images)
            losses = student.method(self._float(said), taught, batch)
            weighted_sum(student.weights[step], losses).backward()
        place = step % self.per_epoch % self.block
        if self.recipe.clip is not None and student.norms is not None:
            student.norms[place] = clip(student.net, student.method, self.recipe)
        student.optimizer.step()
        with torch.no_grad():
            row = student.buffer[place]
            for column, loss in enumerate(losses):
                row[column] = loss.detach()

    def __iter__(self) -> Iterator[Progress]:
        return self

    def __next__(self) -> Progress:
        if self.step >= self.steps or all(s.diverged for s in self.students):
            self.close()
            raise StopIteration
        wall, cpu = time.perf_counter(), time.process_time()
        step = self.step
        with ieee(self.device, self.exact):
            batch = self.stream.batch(step)
            taught = self._teach(batch)
            for student in self.students:
                if student.diverged is None:
                    began = time.perf_counter()
                    self._learn(student, batch, taught, step)
                    student.seconds += time.perf_counter() - began
            self.step = step + 1
            within = step % self.per_epoch + 1
            last = self.step == self.steps
            if within % self.block == 0 or within == self.per_epoch or last:
                self._read(step)
            if within == self.per_epoch or last:
                self._end_epoch(step // self.per_epoch, within, last)
            if (self.step % self.tell == 0 or last) and (numbers := self.stream.log()):
                self._source_log.append((self.step, numbers))
        self._seconds += time.perf_counter() - wall
        self._cpu += time.process_time() - cpu
        return Progress(self.step, self.steps, step // self.per_epoch)

    def _read(self, step: int) -> None:
        """Fetch the losses of the block that ends with ``step``; stop students whose losses are not finite."""
        count = step % self.per_epoch % self.block + 1
        for student in self.students:
            bad = student.read(count) if student.diverged is None else None
            if bad is not None:
                column, value, row = bad
                where = step - count + 1 + row
                name, weight = student.method.names[column], student.weights[where][column]
                if isinstance(self.stream, Culprit) and (cause := self.stream.blame(where)):
                    student.stop(cause, self.step)
                    continue
                student.stop(
                    f"{name} (weight {weight:g}) became {value} at step {where} of {self.steps} "
                    f"(learning rate {self.rates[where]:g}): lower the rate or the weight, or clip the gradient",
                    self.step,
                )

    def _end_epoch(self, epoch: int, taken: int, last: bool) -> None:
        due = last or (epoch + 1) % self.every == 0
        for student in self.students:
            if student.diverged is not None:
                continue
            student.end_epoch(taken)
            if due:
                self._evaluate(student)

    def _evaluate(self, student: Learner) -> None:
        """One point of every curve; a student that gives no numbers any more stops."""
        for name, images in self.evaluate.items():
            try:
                value = accuracy(
                    student.net,
                    images,
                    # the student sees images as the stream gives them; a pre-hook adapts them where it wants others
                    normalise=self.source.normalisation,
                    channels_last=self.layout is torch.channels_last,
                )
            except NotFinite as error:
                student.stop(f"evaluation set {name!r} after step {self.step}: {error}", self.step)
                return
            student.curves[name].append((self.step, value))

    # -- saving and going on ------------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """Everything the rest of the run depends on: tensors and plain values, to be saved as they are."""
        return {
            "step": self.step,
            "seconds": self._seconds,
            "cpu_seconds": self._cpu,
            "stream": self.stream.state_dict(),
            "source_log": list(self._source_log),
            "teacher": self.teacher.state_dict() if self.teacher is not None and self.teacher.training else None,
            "students": [student.state() for student in self.students],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state` was taken; the loop must have been made from the same experiment."""
        if len(state["students"]) != len(self.students):
            raise RedistillError(f"this checkpoint holds {len(state['students'])} students, the cohort has {len(self.students)}")
        self.step = int(state["step"])
        self._seconds, self._cpu = float(state["seconds"]), float(state["cpu_seconds"])
        self._source_log = [(int(step), dict(numbers)) for step, numbers in state["source_log"]]
        self.stream.load_state_dict(state["stream"])
        if self.teacher is not None and state["teacher"] is not None:
            self.teacher.load_state_dict(state["teacher"])
        for student, saved in zip(self.students, state["students"], strict=True):
            student.load_state(saved)

    def close(self) -> None:
        """Give the students back as ordinary networks: hooks removed, normalisation noted, evaluation mode."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for student in self.students:
            if getattr(student.net, "normalisation", None) is None:
                student.net.normalisation = self.source.normalisation  # type: ignore[assignment]
            student.net.eval()

    def results(self) -> list[Result]:
        """One :class:`Result` a student, in the order given."""
        return [
            Result(
                **s.result(),
                rates=tuple(self.rates[:: self.per_epoch]),
                steps=s.stopped_at if s.stopped_at is not None else self.step,
                seconds=self._seconds,
                cpu_seconds=self._cpu,
                source_log=tuple(self._source_log),
                notes=(*self.notes, *s.notes),
            )
            for s in self.students
        ]


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
) -> list[Result]:
    """Train several (student, method) pairs on one stream with one teacher; see :class:`Loop`.

    In strict and double precision each student ends bit-identical to the same student trained alone. A student that
    diverges stops alone; its result says so in ``diverged``.
    """
    loop = Loop(students, teacher, source, recipe, seed=seed, evaluate=evaluate, every=every, device=device)
    for _ in loop:
        pass
    return loop.results()


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
) -> Result:
    """Train one student in place and return what was measured; a cohort of one. See :class:`Loop`.

    Raises:
        Diverged: a loss became NaN or infinite (the message names term, weight and step).
    """
    result = fit_cohort([(student, method)], teacher, source, recipe, seed=seed, evaluate=evaluate, every=every, device=device)[0]
    if result.diverged is not None:
        raise Diverged(result.diverged)
    return result
