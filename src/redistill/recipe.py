"""How a student is optimised: one frozen value, complete, that prints, hashes and stands in TOML.

Imports no torch. The learning rate of every step is a table made before the run (:meth:`Recipe.rates`), so that
the off-by-one forms of the published loops are settings and not accidents.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, overload

from pydantic import Field, field_validator, model_validator

from redistill.errors import RedistillError
from redistill.values import Value

NUMERICS = 1
RESETS = 2
"""Version of :meth:`Recipe.momentum_resets`, where it counts. 2: a warm-up, whose rate moves at every step, resets nothing."""
PARTS = 2
"""Version of periods that are no whole number. 2: three tenths of an epoch are three periods of a tenth, and not 2.9999999999999996."""
HAIR = 1e-9  # of an epoch or step
Unit = Literal["epoch", "step"]
Precision = Literal["strict", "double", "fast"]

LATER = ("clip_per", "ema", "accumulate", "patience")
"""Switches that came after the first release: written only where they differ, so that older experiments keep their ids."""

MOST_STEPS = 10**9  # at a thousand steps a second eleven days; what is longer is a slip of the hand
MOST_RESTARTS = 10_000


class Constant(Value):
    """The same rate from the first step to the last."""

    kind: Literal["constant"] = "constant"

    def factor(self, now: float, total: float) -> float:
        return 1.0


class Step(Value):
    """Times ``gamma`` every ``every`` epochs (or steps).

    Args:
        every: epochs (steps) between two drops. gamma: what the rate is multiplied by at each. unit: of ``every`` and ``late``.
        late: as with milestones: how many epochs (steps) later the new rate is first used.
    """

    kind: Literal["step"] = "step"
    every: float = Field(gt=0)
    gamma: float = Field(default=0.1, gt=0)
    unit: Unit = "epoch"
    late: int = Field(default=0, ge=0)

    def factor(self, now: float, total: float) -> float:
        return float(self.gamma ** math.floor((max(now - self.late, 0.0) + HAIR) / self.every))


class MultiStep(Value):
    """Times ``gamma`` at each milestone.

    Args:
        at: milestones in epochs or steps; with ``unit="fraction"`` as parts of the whole run (0.6 = after 60 %).
        gamma: what the rate is multiplied by at each. unit: of ``at`` and ``late``.
        late: how many epochs (steps) after the milestone the new rate is first used. 0: the first epoch counted from 0
            that equals the milestone; RepDistiller, whose epochs count from 1 and drop where ``epoch > 150``, has the new rate
            there too. 1: the published loops that call the scheduler after the epoch (ReviewKD: milestones 150, 180, 210, new
            rate from epoch 151, 181, 211 counted from 0; FewShotKT too).
        reset_momentum: attention-transfer builds a new optimiser at each drop, which empties the momentum buffers.
    """

    kind: Literal["multistep"] = "multistep"
    at: tuple[float, ...] = Field(min_length=1)
    gamma: float = Field(default=0.1, gt=0)
    unit: Literal["epoch", "step", "fraction"] = "epoch"
    late: int = Field(default=0, ge=0)
    reset_momentum: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> MultiStep:
        if list(self.at) != sorted(set(self.at)):
            raise ValueError(f"milestones must rise, got {list(self.at)}")
        if self.unit == "fraction" and not all(0 < a < 1 for a in self.at):
            raise ValueError(f"milestones as fractions must lie between 0 and 1, got {list(self.at)}")
        return self

    def passed(self, now: float, total: float) -> int:
        marks = [a * total for a in self.at] if self.unit == "fraction" else list(self.at)
        # 0.6 * 200 is 120.00000000000001 in binary: a milestone is passed within a millionth of a step
        return sum(now >= m + self.late - 1e-6 for m in marks)

    def factor(self, now: float, total: float) -> float:
        return float(self.gamma ** self.passed(now, total))


class Cosine(Value):
    """Half a cosine from the full rate to ``eta_min``, optionally restarted (SGDR, Loshchilov & Hutter 2017, eq. 5).

    Args:
        T_max: length of the (first) half period; default: the whole run.
        eta_min: the rate at its end, absolute, not a factor.
        restarts: after T_max start again at the full rate; without it the cosine continues upward as its formula says.
        T_mult: each period is this much longer than the one before. unit: of ``T_max`` and ``hold``.
        hold: the rate moves only every so many epochs (steps). The zero-shot loops decay once a block of ten student steps:
            ``Cosine(T_max=800_000, unit="step", hold=10)``.
    """

    kind: Literal["cosine"] = "cosine"
    T_max: float | None = Field(default=None, gt=0)
    eta_min: float = Field(default=0.0, ge=0)
    restarts: bool = False
    T_mult: float = Field(default=1.0, ge=1)
    unit: Unit = "epoch"
    hold: int = Field(default=1, ge=1)

    def part(self, now: float, total: float) -> float:
        """(1 + cos(pi * t / T)) / 2 at ``now``."""
        if self.hold > 1:
            now = now // self.hold * self.hold
        period = self.T_max if self.T_max is not None else total
        if self.restarts:
            count = 0
            while now >= period - HAIR:
                now -= period
                period *= self.T_mult
                count += 1
                if count > MOST_RESTARTS:
                    raise RedistillError(
                        f"schedule: T_max={self.T_max} {self.unit}s restart more than {MOST_RESTARTS:,} times in this run: give a longer "
                        f"T_max, or a run as short as is meant"
                    )
        return (1.0 + math.cos(math.pi * now / period)) / 2.0


Schedule = Annotated[Constant | Step | MultiStep | Cosine, Field(discriminator="kind")]


class Rates(Sequence[float]):
    """The learning rates of a run by step; none is kept, so that a long run needs no more memory than a short one."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int):
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        self._steps = range(recipe.total_steps(steps_per_epoch))

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, step: int) -> float: ...
    @overload
    def __getitem__(self, step: slice) -> list[float]: ...
    def __getitem__(self, step: int | slice) -> float | list[float]:
        chosen = self._steps[step]
        if isinstance(chosen, int):
            return self.recipe.rate(chosen, self.steps_per_epoch)
        return [self.recipe.rate(one, self.steps_per_epoch) for one in chosen]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


class Recipe(Value):
    """Optimiser, schedule, length, precision. Every default is written into the record.

    Args:
        epochs, steps: the length, exactly one of the two. An epoch is one pass over the source.
        lr: initial learning rate. 0.1: WRN (Zagoruyko & Komodakis 2016) and both zero-shot papers' baselines.
        batch_size: images a step. 128: the same. drop_last: leave out an epoch's last incomplete batch (PyTorch's
            default, and the published loops': False).
        optimizer: ``sgd``, ``adam`` or ``adamw``. momentum: of sgd, 0.9 everywhere. nesterov: off (attention-transfer,
            RepDistiller). betas, eps: PyTorch's.
        weight_decay: 5e-4 in every supervised recipe of the four projects, on students and on adapters.
        no_decay: what weight decay leaves out: any of ``"norm"`` (gains and shifts of PyTorch's normalisation layers), ``"bias"`` and
            ``"vector"`` (every parameter of one dimension: the former two and the variances of VID). The published recipes in
            PyTorch leave out nothing; TensorFlow's regularisers stand on kernels alone.
        schedule: how the rate falls; in a file a table with ``kind``, in Python a value of this module. warmup: epochs (or steps, see
            ``warmup_unit``) of linear rise to ``lr`` first.
        warmup_unit: of ``warmup``, ``epoch`` or ``step``.
        per: whether the rate changes once an ``epoch`` (published supervised loops) or every ``step``.
        clip: largest norm of the student's gradient; None does not clip (zero-shot clips at 5). clip_per: ``"tensor"`` bounds
            the gradient of every parameter by itself, adapters' too (TensorFlow's ``clip_by_norm``); the norm in the curves is the
            largest.
        accumulate: parts that a batch is computed in, one after the other, their gradients added in proportion to their images: the
            memory of one part, the step of the whole batch. Batch statistics, and terms that compare images, see a part; so do means
            that are none over all images (of those that have a label, of classes with weights).
        ema: decay d of an average of the student's weights and running statistics, a <- d a + (1 - d) w after every step n, where d is
            at most (1 + n) / (10 + n) (TensorFlow's ``num_updates``), so that a short run forgets its first weights too. The average
            is what is evaluated and kept. None: no average; 0.999 to 0.9999 are usual.
        patience: evaluations of ``held_out`` (a part of the training images that the source sets apart) without a better one, after
            which a student stops; the network of the best of them is kept. None: trained to the end, and the last one kept.
        precision: ``strict`` (IEEE fp32, default for anything published), ``double`` (proofs), ``fast`` (bf16 where the
            device has bf16 units for matrices, else fp32). compile: torch.compile for the calls of teacher and students in a
            student's step, features included (not for a generator's step), only with ``fast``; ``"auto"``: where it saves more than
            it costs, which is decided and written down before a run has its id: long runs on CPUs with AMX tiles.
        channels_last: memory layout of images and weights; None: on a CPU (0.87 of a strict step's time) and with bf16, else
            off; ``double`` stays contiguous. fused: PyTorch's fused optimiser, where it exists.
        teacher_mode: ``eval``; ``train`` is what two published codes have (batch statistics, drifting running
            statistics), on a private copy. student_mode: ``train``; ``eval`` is the reproducibility
            report's code for learning on from M images a class.
    """

    epochs: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    steps: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    lr: float = Field(default=0.1, ge=0)
    batch_size: int = Field(default=128, ge=1)
    drop_last: bool = False
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    no_decay: tuple[Literal["norm", "bias", "vector"], ...] = ()
    schedule: Schedule = Constant()
    warmup: float = Field(default=0.0, ge=0)
    warmup_unit: Unit = "epoch"
    per: Unit = "epoch"
    clip: float | None = Field(default=None, gt=0)
    clip_per: Literal["network", "tensor"] = "network"
    accumulate: int = Field(default=1, ge=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    precision: Precision = "strict"
    compile: bool | Literal["auto"] = False
    channels_last: bool | None = None
    fused: bool = True
    teacher_mode: Literal["eval", "train"] = "eval"
    student_mode: Literal["train", "eval"] = "train"

    @field_validator("schedule", mode="before")
    @classmethod
    def _is_a_value(cls, given: Any) -> Any:
        if isinstance(given, str):
            kinds = {"constant": "Constant()", "step": "Step(every=30)", "multistep": "MultiStep(at=(60, 120))", "cosine": "Cosine()"}
            plain = given.lower().replace("_", "").removesuffix("lr").removesuffix("annealing")
            kind = plain if plain in kinds else "cosine"
            raise ValueError(f'is a value of its own: write schedule = {{ kind = "{kind}" }} in a file, {kinds[kind]} in Python')
        if isinstance(given, dict) and not isinstance(given.get("kind", ""), str):
            raise ValueError("its kind must be 'constant', 'step', 'multistep' or 'cosine'")
        return given

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"give the length once, as epochs or as steps; got epochs={self.epochs}, steps={self.steps}"
            )
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimizer='sgd' and momentum above 0")
        if self.compile is True and self.precision != "fast":
            raise ValueError(f"compile=True changes rounding and is allowed with precision='fast' only, not {self.precision!r}")
        if self.clip_per == "tensor" and self.clip is None:
            raise ValueError("clip_per='tensor' says what is clipped, but clip names no norm: add clip, or leave clip_per out")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate={self.accumulate} parts of a batch of {self.batch_size}: a part needs an image, give fewer parts")
        if not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """Length of the run in steps."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        if (steps := self.epochs * steps_per_epoch) > MOST_STEPS:
            raise RedistillError(
                f"epochs={self.epochs}: of {steps_per_epoch:,} steps each they make {steps:,}, more than the {MOST_STEPS:,} a run may have"
            )
        return steps

    def _ramp(self, steps_per_epoch: int) -> float:
        """Steps of the warm-up."""
        return self.warmup * (steps_per_epoch if self.warmup_unit == "epoch" else 1)

    def _clock(self, step: int, steps_per_epoch: int) -> tuple[float, float]:
        """Where a step stands, and how long the run is, in the unit of the schedule."""
        total, unit = self.total_steps(steps_per_epoch), getattr(self.schedule, "unit", "epoch")
        if unit == "step" or (unit == "fraction" and self.per == "step"):
            return float(step), float(total)
        epoch = step // steps_per_epoch
        return float(epoch) if self.per == "epoch" else step / steps_per_epoch, total / steps_per_epoch

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of one step (0-based)."""
        now, length = self._clock(step, steps_per_epoch)
        if self.warmup:
            # the ramp is continuous in steps whatever `per` says: a warm-up of two epochs at one value each is no warm-up
            done = (step + 1) / (steps_per_epoch if self.warmup_unit == "epoch" else 1)
            if done <= self.warmup:
                return self.lr * done / self.warmup
            if isinstance(self.schedule, Cosine) and self.schedule.T_max is None:
                ramp = self._ramp(steps_per_epoch) / (1.0 if self.schedule.unit == "step" else float(steps_per_epoch))
                now, length = max(now - ramp, 0.0), length - ramp
        if isinstance(self.schedule, Cosine):
            low = self.schedule.eta_min
            return low + (self.lr - low) * self.schedule.part(now, length)
        return self.lr * self.schedule.factor(now, length)

    def rates(self, steps_per_epoch: int) -> Rates:
        """Learning rate of every step, before the run: a table that is computed where it is read.

        Raises:
            RedistillError: the schedule gives no number by the end of the run.
        """
        made = Rates(self, steps_per_epoch)
        try:
            last = made[-1]
        except (OverflowError, ZeroDivisionError) as error:
            raise RedistillError(f"schedule: the learning rate at the end of the run is no number ({error})") from error
        if not math.isfinite(last):
            raise RedistillError("schedule: the learning rate at the end of the run is infinite")
        return made

    def momentum_resets(self, steps_per_epoch: int) -> set[int]:
        """Steps before which the optimiser is built anew (``MultiStep(reset_momentum=True)``)."""
        schedule = self.schedule
        if not (isinstance(schedule, MultiStep) and schedule.reset_momentum):
            return set()
        steps = range(self.total_steps(steps_per_epoch))
        after = math.floor(self._ramp(steps_per_epoch))  # a milestone inside the warm-up shows at its end
        firsts = (
            bisect.bisect_left(steps, mark, key=lambda step: schedule.passed(*self._clock(step, steps_per_epoch)))
            for mark in range(1, len(schedule.at) + 1)
        )
        return {step for first in firsts if 0 < (step := max(first, after)) < len(steps)}

    def numerics(self) -> dict[str, int]:
        """Versions of what of a recipe computes otherwise than it once did, where this one uses it; part of an experiment's identity."""
        schedule, found = self.schedule, dict[str, int]()
        if isinstance(schedule, MultiStep) and schedule.reset_momentum and (self.warmup > 0 or schedule.gamma == 1):
            found["recipe:resets"] = RESETS
        periods = [schedule.every] if isinstance(schedule, Step) else []
        if isinstance(schedule, Cosine) and schedule.restarts:
            periods = [schedule.T_max or 0.0, schedule.T_mult]
        return found | ({"recipe:parts": PARTS} if any(period % 1 for period in periods) else {})

    def settings(self) -> dict[str, Any]:
        """Every switch, defaults written out (but for those of ``LATER``), JSON-able."""
        rows = self.model_dump(mode="json")
        return {name: v for name, v in rows.items() if name not in LATER or v != Recipe.model_fields[name].default}
