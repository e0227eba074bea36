"""One network of a cohort with everything that is its own: method, optimiser, losses, curves, its step, and how it ended."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from redistill.core import Batch, Method, Output, RedistillError, WeightTable, weighted_sum
from redistill.errors import counted
from redistill.features.drawing import OwnStream
from redistill.features.hidden_state import hidden_state, load_hidden_state, plain_values
from redistill.features.modes import frozen
from redistill.features.outputs import name_of
from redistill.features.sight import Sight
from redistill.features.tapped import Tapped
from redistill.memory_order import go_on
from redistill.replay import prime
from redistill.train.clock import Moment
from redistill.train.kept import Average, Kept, Patience, lay
from redistill.train.optimise import clip, forget, make_optimizer, parameter_groups, saved, take_in
from redistill.train.result import Accuracy
from redistill.train.schedule import SharedSchedule


@dataclass(frozen=True)
class Rows:
    """Steps one by one. losses: [steps, terms], unweighted. totals: [steps], weighted sums. norms: [steps] of the gradient
    before it was clipped, None where nothing is clipped. All float64 on the CPU."""

    losses: Tensor
    totals: list[float]
    norms: Tensor | None


@dataclass
class Learner:
    """A student at work. Its step writes into ``buffer`` on the device, which is read once a block, not once a step.

    Attributes:
        net, sight, tapped: the network, how it meets the images, and the same network giving its features away.
        method: its own fresh copy. schedule: what all students share. weights: of every term at every step of the run.
        tabled: its steps may be replayed: what changes from step to step is read on the device.
        buffer: [block, terms] losses of the steps since the last reading. epoch_sum: [terms] float64, on the CPU.
        norms: [block] norms of the gradient before clipping; stays None where nothing is clipped.
        taken: steps so far. losses, gradient_norms: means by epoch. curves: (step, accuracy in percent) by evaluation set.
        diverged, stopped_at: why and where this student stopped before the end. seconds: spent on this student alone.
        notes: what was warned of before the first step.
        average, patience: what decides which network is kept, where the recipe says so. kept: which one that was; it stands in ``net``
            from then on, and this student learns no more.
    """

    net: nn.Module
    sight: Sight
    tapped: Tapped
    method: Method
    schedule: SharedSchedule
    curves: dict[str, list[tuple[int, float]]]
    notes: tuple[str, ...] = ()
    tabled: bool = False
    optimizer: torch.optim.Optimizer = field(init=False)
    weights: WeightTable = field(init=False)
    buffer: Tensor = field(init=False)
    norms: Tensor | None = field(init=False)
    epoch_sum: Tensor = field(init=False)
    norm_sum: float = 0.0
    taken: int = 0
    losses: list[list[float]] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    diverged: str | None = None
    stopped_at: int | None = None
    seconds: float = 0.0
    average: Average | None = field(init=False)
    patience: Patience | None = field(init=False)
    kept: Kept | None = None

    def __post_init__(self) -> None:
        schedule, terms = self.schedule, len(self.method.weights)
        device, dtype = schedule.means.device, schedule.means.dtype
        self.optimizer = self._new_optimizer()
        if self.tabled:
            prime(self.optimizer)
        self.weights = self.method.weight_table(schedule.steps, schedule.per_epoch)
        self.table = torch.zeros(schedule.block, terms, device=device, dtype=dtype)
        self.places = torch.arange(schedule.block, device=device)
        trains = schedule.recipe.student_mode == "train"
        self.layers = OwnStream(self.net, self.method, seed=schedule.seed, purpose="layers", device=device, train=trains)
        self.buffer = torch.zeros(schedule.block, terms, device=device, dtype=dtype)
        self.norms = torch.zeros(schedule.block, device=device, dtype=dtype) if schedule.recipe.clip is not None else None
        self.epoch_sum = torch.zeros(terms, dtype=torch.float64)
        self._modes, self._frozen = [(module, module.training) for module in self.net.modules()], frozen(self.net)
        self._infinite = {name for name, _ in self._not_finite()}
        self._values, self._of_terms = plain_values(self.net), plain_values(self.method)
        recipe = schedule.recipe
        self.average = None if recipe.ema is None else Average(self.net, recipe.ema)
        self.patience = None if recipe.patience is None else Patience(recipe.patience)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return make_optimizer(parameter_groups([self.net, self.method], self.schedule.recipe), self.schedule.recipe)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count what happens inside as this student's."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    # -- one step -----------------------------------------------------------------------------------------------------
    def ready(self, step: int, *, begins: bool) -> None:
        """Before a step, on the host. ``begins``: a block begins with it."""
        trains = self.schedule.recipe.student_mode == "train"
        if self.net.training != trains:  # whoever looked at the network between two steps may have left it otherwise
            self.net.train(trains)
            for module, mode in self._modes:
                module.training = mode
        for module in self._frozen if trains else ():  # and its train() wakes what is frozen
            if module.training:
                module.training = False
        self._modes = [(module, module.training) for module, _ in self._modes]
        if step in self.schedule.resets:
            if self.tabled:
                forget(self.optimizer)
            else:
                self.optimizer = self._new_optimizer()
        if self.tabled and begins and self.weights.which is not None:
            first = step - self.schedule.row(step)
            rows = self.weights.rows[self.weights.which[first : first + self.schedule.block].long()]
            self.table[: len(rows)].copy_(rows)

    def learn(self, batch: Batch, ask_teacher: Callable[[], Output | None], now: Moment) -> None:
        """One step of this student, on what all students see. ``ask_teacher``: gives what the teacher says, when it is needed."""
        schedule = self.schedule
        for group in self.optimizer.param_groups:
            group["lr"] = now.rate
        self.optimizer.zero_grad(set_to_none=True)
        # layers that draw (dropout) see the same stream whoever else is in the cohort
        with self.layers.at(now.number, watch=self.tabled):
            if schedule.recipe.accumulate == 1:
                losses = self._passed(batch, ask_teacher, now)
            else:
                losses = self._in_parts(batch, ask_teacher, now)
        if self.norms is not None:
            self._lay(self.norms, now.row, clip(self.net, self.method, schedule.recipe).to(self.norms))
        take_in(self.optimizer)
        self.optimizer.step()
        row = [loss.detach().to(self.buffer).reshape(()) for loss in losses]
        self._lay(self.buffer, now.row, torch.stack(row))

    def _lay(self, table: Tensor, row: Tensor, values: Tensor) -> None:
        """``values`` into the row [1] of a buffer [block, ...]. Not index_copy_: in strict precision a CUDA device would be waited for."""
        here = (self.places == row).view(-1, *[1] * values.dim())
        torch.where(here, values, table, out=table)

    def _passed(self, batch: Batch, ask_teacher: Callable[[], Output | None], now: Moment, share: float = 1.0) -> Sequence[Tensor]:
        """Forward, losses and gradients of a batch, or of a part that is ``share`` of one; what it gives is the unweighted losses."""
        means = self.schedule.means
        with means.autocast():
            student_output = self.tapped(batch.images)
        losses: Sequence[Tensor] = self.method(means.wide(student_output), ask_teacher(), batch)
        total = weighted_sum(self._weights_at(now), losses)
        if not total.requires_grad:
            raise RedistillError(
                f"no gradient reaches the student {name_of(self.net)}: its forward computes without one (torch.no_grad, detach) "
                f"what {self.method!r} reads, or what it reads is frozen; it would learn nothing"
            )
        (total if share == 1.0 else share * total).backward()
        return losses

    def _in_parts(self, batch: Batch, ask_teacher: Callable[[], Output | None], now: Moment) -> Sequence[Tensor]:
        """The same part by part, as even as whole images allow; losses are means over the batch."""
        count, parts = len(batch.images), min(self.schedule.recipe.accumulate, len(batch.images))
        bounds = [count * part // parts for part in range(parts + 1)]
        teacher_output, sums = None, None
        for low, high in itertools.pairwise(bounds):
            here, share = slice(low, high), (high - low) / count

            def of_part(here: slice = here) -> Output | None:
                nonlocal teacher_output
                teacher_output = ask_teacher() if teacher_output is None else teacher_output
                return None if teacher_output is None else teacher_output.rows(here)

            losses = [share * loss.detach() for loss in self._passed(batch.rows(here), of_part, now, share)]
            sums = losses if sums is None else [a + b for a, b in zip(sums, losses, strict=True)]
        assert sums is not None
        return sums

    def _weights_at(self, now: Moment) -> Sequence[float | Tensor]:
        """Of the terms: numbers, or where they change from step to step and steps may be replayed, entries of the table."""
        if self.weights.which is None or not self.tabled:
            return self.weights[now.number or 0]
        return self.table.index_select(0, now.row)[0].unbind()

    @property
    def learns(self) -> bool:
        """Whether it takes the next step."""
        return self.diverged is None and self.kept is None

    # -- which network is kept ----------------------------------------------------------------------------------------
    def moved(self) -> None:
        """After a step, wherever it was taken: the average follows."""
        if self.average is not None:
            self.average.update(self.taken)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """For an evaluation: the network that would be kept now."""
        with contextlib.nullcontext() if self.average is None or self.kept is not None else self.average.shown():
            yield

    def settle(self, step: int) -> None:
        """It learns no more: the network that is kept takes its place, for good."""
        if self.average is None and self.patience is None:
            return
        decay = None if self.average is None else self.average.decay
        what = "the last network" if decay is None else f"the average (decay {decay:g}) of the weights"
        if self.patience is not None and self.patience.best is not None:
            best, accuracies = self.patience.best
            lay(self.net, self.patience.values)
            why = "the network" if decay is None else what
            waited = f", and the run stopped after {counted(self.patience.many, 'evaluation')} without a better one"
            stopped = waited if self.patience.exhausted else ""
            self.kept = Kept(best, decay, accuracies, f"{why} of the best evaluation of the held-out part{stopped}")
        else:
            if self.average is not None:
                lay(self.net, self.average.values)
            self.kept = Kept(step, decay, {name: points[-1][1] for name, points in self.curves.items() if points}, what)
        if step < self.schedule.steps:
            self.stopped_at = step

    # -- what it measured ---------------------------------------------------------------------------------------------
    def rows(self, since: int) -> Rows:
        """Losses of the steps from ``since`` (0-based) on, one by one; kept for a block, which ends with its epoch."""
        first = self.taken - 1 - self.schedule.row(self.taken - 1) if self.taken else 0
        if not first <= since < self.taken:
            raise RedistillError(f"the losses of step {since} are not kept step by step: those of {first} to {self.taken - 1} are")
        kept = slice(self.schedule.row(since), self.schedule.row(self.taken - 1) + 1)
        losses = self.buffer[kept].cpu().double()  # on the CPU: mps has no float64
        totals = [sum(w * v for w, v in zip(self.weights[since + i], row, strict=True)) for i, row in enumerate(losses.tolist())]
        return Rows(losses, totals, None if self.norms is None else self.norms[kept].cpu().double())

    def read(self, count: int) -> tuple[int, float, int] | None:
        """Add the first ``count`` rows of the buffer to the epoch; or the first loss that is not finite: term, value, row."""
        rows = self.buffer[:count].cpu().double()
        bad = (~torch.isfinite(rows)).nonzero()
        if len(bad):
            row, column = (int(v) for v in bad[0])
            return column, float(rows[row, column]), row
        self.epoch_sum += rows.sum(0)
        if self.norms is not None:
            self.norm_sum += float(self.norms[:count].cpu().double().sum())
        return None

    def spoilt(self) -> str | None:
        """Name of the first parameter or running statistic, of the network or of a term, that is not finite: what the last step
        made of it shows in no loss. A buffer that was infinite before the first step, as a mask is, is so on purpose."""
        return next((name for name, infinite in self._not_finite() if not (infinite and name in self._infinite)), None)

    def _not_finite(self) -> Iterator[tuple[str, bool]]:
        """Names of tensors that are not finite, and whether one is a buffer that holds no NaN."""
        held = [
            (f"{name}{of}", value)
            for of, module in (("", self.net), (" of the method", self.method))
            for name, value in (*module.named_parameters(), *module.named_buffers())
            if value.is_floating_point() and not value.is_meta
        ]
        finite = [value.detach().isfinite().all() for _, value in held]
        if len({one.device for one in finite}) == 1 and bool(torch.stack(finite).all()):
            return  # asked one by one a device would be waited for a hundred times at the end of every epoch
        for (name, value), one in zip(held, finite, strict=True):
            if not bool(one):
                yield name, not isinstance(value, nn.Parameter) and not bool(value.isnan().any())

    def stop(self, why: str, step: int) -> None:
        """This student learns no more; the others of its cohort go on."""
        self.diverged, self.stopped_at = why, step

    def end_epoch(self, taken: int) -> None:
        """The epoch had ``taken`` steps: keep its means and begin the next."""
        self.losses.append((self.epoch_sum / taken).tolist())
        self.epoch_sum.zero_()
        if self.norms is not None:
            self.gradient_norms.append(self.norm_sum / taken)
            self.norm_sum = 0.0

    def result(self) -> dict[str, Any]:
        """What a :class:`redistill.train.result.Result` says of this student alone."""
        kept = {} if self.kept is None else self.kept.accuracy
        return {
            "accuracy": {name: Accuracy.of(points, kept.get(name)) for name, points in self.curves.items() if points},
            "losses": {name: tuple(row[i] for row in self.losses) for i, name in enumerate(self.method.names)},
            "own_seconds": self.seconds,
            "diverged": self.diverged,
            "method": self.method,
            "gradient_norms": tuple(self.gradient_norms),
            "kept": self.kept,
        }

    # -- saving and going on ------------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """All that the rest of its run depends on, to be saved as it is."""
        return {
            "net": self.net.state_dict(),
            "hidden": hidden_state(self.net, self._values),
            "method": self.method.state_dict(),
            "hidden_method": hidden_state(self.method, self._of_terms),
            "optimizer": saved(self.optimizer, self.schedule.rates[max(self.taken - 1, 0)]),
            "buffer": self.buffer.clone(),
            "epoch_sum": self.epoch_sum.clone(),
            "norms": None if self.norms is None else self.norms.clone(),
            "norm_sum": self.norm_sum,
            "gradient_norms": list(self.gradient_norms),
            "losses": [list(row) for row in self.losses],
            "curves": {name: list(points) for name, points in self.curves.items()},
            "diverged": self.diverged,
            "stopped_at": self.stopped_at,
            "seconds": self.seconds,
            **({} if self.average is None else {"average": {name: value.clone() for name, value in self.average.values.items()}}),
            **({} if self.patience is None else {"patience": self.patience.state()}),
            **({} if self.kept is None else {"kept": vars(self.kept)}),
        }

    def load_state(self, saved: dict[str, Any], taken: int) -> None:
        """Go on where :meth:`state` was taken, after ``taken`` steps."""
        self.taken = taken
        self.net.load_state_dict(saved["net"])
        self.method.load_state_dict(saved["method"])
        for module, hidden in ((self.net, "hidden"), (self.method, "hidden_method")):
            load_hidden_state(module, saved.get(hidden, {"buffers": {}, "values": {}}))
        go_on(self.optimizer, saved["optimizer"])
        if self.tabled:
            prime(self.optimizer)
        self.buffer.copy_(saved["buffer"])
        self.epoch_sum.copy_(saved["epoch_sum"])
        if self.norms is not None:
            self.norms.copy_(saved["norms"])
        self.norm_sum = float(saved["norm_sum"])
        self.gradient_norms = [float(norm) for norm in saved["gradient_norms"]]
        self.losses = [list(row) for row in saved["losses"]]
        self.curves = {name: [(int(s), float(v)) for s, v in points] for name, points in saved["curves"].items()}
        self.diverged = saved["diverged"]
        self.stopped_at = saved["stopped_at"]
        self.seconds = float(saved["seconds"])
        if self.average is not None:
            for name, value in self.average.values.items():
                value.copy_(saved["average"][name])
        if self.patience is not None:
            self.patience.load_state(saved["patience"])
        self.kept = Kept(**saved["kept"]) if "kept" in saved else None
