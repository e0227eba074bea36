"""Zero-shot distillation as a source: a generator looks for images on which the student disagrees with the teacher.

    L_G = -KL(T(x) || S(x)),   x = G(z),   z ~ N(0, I)

Micaelli & Storkey 2019 (arXiv:1905.09768), algorithm 1. In each block the generator takes ``n_G`` steps on L_G, the gradient
flowing through both networks, and then the loop takes ``n_S`` steps of the student, with any method, on the images of this
source. What published forms do differently are the switches of :class:`redistill.sources.variants.Variant`.

Nothing is computed twice. The released code makes the images again before every student step; with the same noise and the
same generator they are the same images, so they are made once, and the generator's running statistics, which that code
moves k times, are moved once with momentum 1 - (1 - m)^k. Gradients are taken of the generator's weights only. Where the
student learns from the images that the generator's step has seen, what the teacher said of them there is kept for it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core import Batch, Method, Output, RedistillError, Shape, StreamContext, Term, weighted_sum
from redistill.data import Renormalise, normalisation
from redistill.features.drawing import OwnStream
from redistill.features.hidden_state import hidden_state, load_hidden_state, plain_values
from redistill.features.modes import equal_forwards, mode
from redistill.features.outputs import teacher_at_fault
from redistill.memory_order import go_on, lay_side_by_side
from redistill.sources.asked import Asked, require_shape
from redistill.sources.desk import Desk
from redistill.sources.gradients import lay_gradients
from redistill.sources.losses import reads_student
from redistill.sources.training_log import SampleSnapshots, TrainingStatistics
from redistill.sources.variants import Variant
from redistill.terms import KD

NUMERICS = 1
UNASKED = 2
"""Version of runs whose generator minimises nothing of the student's. 2: its step leaves the student's running statistics alone."""
Noise = Callable[[int], Tensor]


def _kl() -> Method:
    return -1.0 * KD(T=1.0, reduction="element", scale_T2=False)


@dataclass(eq=False)
class Adversarial:
    """A generator that trains against the one student of the run. The generator is trained in place, as the student is.

    Args:
        generator: from noise [B, z] to images [B, C, H, W] in the space of the stream; says both sizes itself, as
            ``generator.z`` and ``generator.image_shape``.
        normalisation: the named set in whose space the images are meant; networks trained in another one are adapted.
        variant: what a block does; default: the released code.
        method: what the generator minimises; default: ``-1.0 * KD(T=1, reduction="element", scale_T2=False)``. Further
            terms may be added, ``redistill.terms.generator`` holds the paper's four. Attention is left out on purpose:
            "makes it too easy to fool the student".
        blocks: length of the full schedule, in blocks; it sets the generator's cosine. A run may stop earlier.
        epoch_blocks: blocks between two points of the curves of losses and accuracy; default: 1 % of ``blocks``. The generator's
            own numbers are told at every 1 % of the run.
        noise: the k-th noise [B, z] of the run, counted from 0 over all draws; default: normal numbers from
            ``stream(seed, "noise", k)``.
        described: how an experiment file names the generator, for the record; default: its class and sizes.

    Raises:
        RedistillError: the generator does not say its sizes, a count is below 1, or the normalisation is unknown or of other
            channels.
    """

    generator: nn.Module
    normalisation: str
    variant: Variant = field(default_factory=Variant)
    method: Method | Term = field(default_factory=_kl)
    blocks: int = 80_000
    epoch_blocks: int | None = None
    noise: Noise | None = None
    described: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("z", "image_shape"):
            if not hasattr(self.generator, name):
                raise RedistillError(
                    f"the generator {type(self.generator).__name__} has no attribute {name!r}: it must say the length of its "
                    f"noise as z and the shape of one image as image_shape, for example z = 100, image_shape = (3, 32, 32)"
                )
        for name in ("blocks", "epoch_blocks"):
            count = getattr(self, name)
            if not (isinstance(count, int) and count >= 1) and not (name == "epoch_blocks" and count is None):
                raise RedistillError(f"{name}={count!r}: a whole number of blocks, 1 or more")
        if not isinstance(self.variant, Variant):
            raise RedistillError(
                f"variant={self.variant!r:.60}: the switches of a block, as preset('authors').variant or Variant(n_S=5)"
            )
        normalisation(self.normalisation).require_channels(int(self.image_shape[0]))
        method = self.method = Method.of(self.method)
        for _, term in method.parts():
            if term.needs_labels:
                raise RedistillError(f"{type(term).__name__} needs labels, and generated images have none")

    kind: ClassVar[str] = "adversarial"
    depends_on_student = True
    labelled = False
    classes: int | None = None
    count: int | None = None
    all_labels: Tensor | None = None

    @property
    def image_shape(self) -> Shape:
        shape: Shape = tuple(self.generator.image_shape)  # type: ignore[arg-type]
        return shape

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        """Student steps between two points of the curves: ``epoch_blocks`` blocks."""
        return self.variant.n_S * (self.epoch_blocks or max(1, self.blocks // 100))

    def settings(self) -> dict[str, Any]:
        own = {"class": type(self.generator).__name__, "z": int(self.generator.z), "image_shape": list(self.image_shape)}  # type: ignore[arg-type]
        return {
            "kind": self.kind,
            "generator": self.described if self.described is not None else own,
            "normalisation": self.normalisation,
            "variant": self.variant.model_dump(mode="json", exclude=self.variant.later),
            "method": Method.of(self.method).settings(),
            "blocks": self.blocks,
            "epoch_blocks": self.epoch_blocks,
            "numerics": NUMERICS if reads_student(Method.of(self.method)) else UNASKED,
        }

    def start(self, room: StreamContext) -> AdversarialStream:
        return AdversarialStream(self, room)


class AdversarialStream:
    """The generator at work in one run.

    Attributes:
        generator: the network in training. losses, norms: of the current block's generator steps, the loss and the norm of
            the gradient before it was bounded. statistics, snapshots: what is told and shown of the training.
    """

    def __init__(self, source: Adversarial, room: StreamContext):
        if room.teacher is None:
            raise RedistillError("zero-shot images are made where a teacher and the student disagree: give a teacher")
        if len(room.students) != 1:
            raise RedistillError(f"a generator trains against one student, this run has {len(room.students)}")
        self.source, self.room = source, room
        self.variant = source.variant
        self.block_steps = self.variant.n_S
        self.teacher, self.student = room.teacher, room.students[0]
        self.generator = source.generator.to(device=room.device, dtype=room.dtype)
        if room.channels_last:
            self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = [p for p in self.generator.parameters() if p.requires_grad]
        if not self.parameters:
            raise RedistillError(f"no parameter of the generator {type(self.generator).__name__} requires a gradient")
        self._values = plain_values(self.generator)
        self._to_space = Renormalise.between("none", source.normalisation) if getattr(self.generator, "pixels", False) else None
        self._check_length()
        v = self.variant
        fused, on_cuda = room.device.type != "meta", room.device.type == "cuda"
        lay_side_by_side(self.parameters)
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=v.lr, betas=v.betas, eps=v.eps, fused=fused, foreach=False, capturable=on_cuda
        )
        self.method = Method.of(source.method).fresh()
        self.asks_student = reads_student(self.method)
        self._prepare()
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.statistics, self.snapshots = TrainingStatistics(self.classes), SampleSnapshots(-(-room.steps // self.variant.n_S))
        self._bad = torch.tensor(-1, device=room.device)  # first block whose images are not finite, -1: none yet
        self._bad_teacher = self._bad.clone()  # first block in which the teacher's logits of finite images were not
        self._block = -1
        self._last = -1  # step whose images ``_batch`` holds
        self._batch: Batch | None = None
        # layers that draw (dropout) see the same stream after a resume
        self.layers = OwnStream(
            self.generator, self.student, self.teacher, self.method, seed=room.seed, purpose="generator", device=room.device, train=True
        )
        self.desk = Desk.of(self.layers, self.method.weights, self.optimizer, room, (self.generator, self.method))

    def _check_length(self) -> None:
        """A cosine that has reached zero would go up again."""
        blocks, period = -(-self.room.steps // self.variant.n_S), self.variant.T_max or self.source.blocks
        if self.variant.decay == "cosine" and blocks > period:
            raise RedistillError(
                f"the run takes {blocks} blocks ({self.room.steps} steps, n_S = {self.variant.n_S}), but the generator's rate has "
                f"reached 0 after {period}: make blocks (or T_max) {blocks}, or the run shorter"
            )

    def _prepare(self) -> None:
        shape = tuple(self.source.image_shape)
        require_shape(self.generator, shape, self.room)
        # before its update: the student learns from these very images, so the teacher is asked all there is to ask at once
        self.answered_places = self.room.teacher_places if self.variant.images == "before" and not self.teacher.training else None
        self.asked = Asked(self.room, self.method, shape, self.source.normalisation, beside=self.answered_places or ())
        self.classes = self.asked.classes

    # -- one block ----------------------------------------------------------------------------------------------------
    def _draw(self, block: int, draw: int) -> Tensor:
        """Noise on the device; drawn on the CPU in fp32 whatever the run computes in, so that all see the same."""
        if self.source.noise is not None:
            z = self.source.noise(block * self.variant.draws + draw)
        else:
            generator = rng.stream(self.room.seed, "noise", block * self.variant.draws + draw)
            z = torch.randn(self.room.batch_size, int(self.generator.z), generator=generator)  # type: ignore[arg-type]
        return z.to(device=self.room.device, dtype=self.room.dtype)

    def _images(self, z: Tensor) -> Tensor:
        with self._autocast():
            images: Tensor = self.generator(z)
        images = self._in_space(images.to(self.room.dtype))
        return images.contiguous(memory_format=torch.channels_last) if self.room.channels_last else images

    def _in_space(self, images: Tensor) -> Tensor:
        """What a generator of pixels between 0 and 1 made, as the stream is normalised; of any other as it is."""
        return images if self._to_space is None else self._to_space(images)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return self.room.autocast() if self.room.autocast is not None else contextlib.nullcontext()

    def _rate(self, block: int) -> float:
        v = self.variant
        if v.decay == "constant":
            return v.lr
        if v.decay == "multistep":
            return float(v.lr * v.gamma ** sum(block >= at for at in v.milestones))
        period = self.variant.T_max or self.source.blocks
        return self.variant.lr * (1.0 + math.cos(math.pi * block / period)) / 2.0

    def _train_generator(self, noise: Sequence[Tensor], rate: float | Tensor, weights: Sequence[float | Tensor]) -> tuple[Tensor, Output]:
        """``n_G`` steps; returns the images of the last one, made before its update, and the teacher's output for them."""
        v = self.variant
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.losses, self.norms = [], []
        images = student_output = teacher_output = None
        # where no loss reads it, the student is asked for what is told of the images, and nothing of it moves
        with mode(self.student, self.asks_student and v.student_mode == "train"):
            for i in range(v.n_G):
                images = self._images(noise[i if v.generator_noise == "fresh" else 0])
                with self._autocast():
                    with contextlib.nullcontext() if self.asks_student else torch.no_grad():
                        student_output = self.asked.student(images)
                    teacher_output = self.asked.teacher(images)
                student_output, teacher_output = self.asked.wide(student_output), self.asked.wide(teacher_output)
                self._look_at_teacher(images, teacher_output.logits)
                loss = weighted_sum(weights, self.method(student_output, teacher_output, Batch(images)))
                lay_gradients(loss, self.parameters)  # of the generator's weights only: the engine then skips those of both networks
                self.losses.append(loss.detach())
                self.norms.append(self._clip())
                self.optimizer.step()
        assert images is not None and student_output is not None and teacher_output is not None
        self.statistics.add(self.losses, self.norms, student_output.logits.detach(), teacher_output.logits.detach())
        return images.detach(), teacher_output

    def _answered(self, batch: Batch, teacher_output: Output | None) -> Batch:
        """The batch with what the teacher said of it, so that the loop does not ask again."""
        if self.answered_places is not None and teacher_output is not None:
            taps = {place: teacher_output.taps[place].detach() for place in self.answered_places}
            batch.answered(Output(teacher_output.logits.detach(), taps))
        return batch

    def _ask(self, images: Tensor) -> Output:
        """What the teacher said while the generator learned, computed again in the same way."""
        with torch.enable_grad(), self._autocast():
            return self.asked.wide(self.asked.teacher(images.detach().requires_grad_()))

    def _clip(self) -> Tensor:
        """The gradient's norm before it is bounded."""
        if self.variant.clip is not None and self.variant.clip_by == "norm":
            return nn.utils.clip_grad_norm_(self.parameters, self.variant.clip)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.variant.clip is not None:
            nn.utils.clip_grad_value_(self.parameters, self.variant.clip)
        return norm

    def batch(self, step: int) -> Batch:
        block, within = divmod(step, self.variant.n_S)
        if step == self._last and self._batch is not None:
            return self._batch
        if within == 0:
            self.snapshots.look(block, self.generator, self.room, self.asked.adapt, self._in_space)
        v = self.variant
        drawn = v.n_G if v.generator_noise == "fresh" else 1
        with self.layers.at(step, watch=True), mode(self.generator, v.generator_mode == "train"):
            if block != self._block:
                noise = self.desk.lay_noise([self._draw(block, i) for i in range(drawn)])
                self.desk.lay_block(block, self._rate(block), self.method.weights_at(block, block))
                if block == 0 and v.first == "student":
                    if v.noise == "same":
                        self._show(noise[0])
                else:
                    self.desk.do("block", self._work_of_block, step)
                    self.statistics.counted()
                self._block = block
                if v.noise == "same":
                    self._batch = self._answered(self._as_batch(self.desk.images, block), self.desk.teacher_output)
            if v.noise == "fresh":
                self.desk.lay_fresh(self._draw(block, drawn + within))
                self.desk.do("images", self._work_of_images, step)
                self._batch = self._as_batch(self.desk.images, block, within)
        self._last = step
        assert self._batch is not None
        if within == 0:
            self._look_for_nan(self._batch.images)
        return self._batch

    def _work_of_block(self, step: int | None) -> None:
        """The generator's steps, and the images that the student learns from, where the block has one batch of them."""
        v, desk = self.variant, self.desk
        before, teacher_output = self._train_generator(desk.noise, desk.rate, desk.weights)
        if v.images == "before":
            desk.keep(before, teacher_output if self.answered_places is not None else None)
        elif v.noise == "same":
            self._show(desk.noise[-1])

    def _show(self, noise: Tensor) -> None:
        """The images of a block's student steps, made once for all of them."""
        with torch.no_grad(), equal_forwards(self.generator, self.variant.n_S):
            self.desk.keep(self._images(noise))

    def _work_of_images(self, step: int | None) -> None:
        """The images of one step of the student."""
        with torch.no_grad():
            self.desk.keep(self._images(self.desk.fresh))

    def _look_for_nan(self, images: Tensor) -> None:
        """On the device: nothing waits for it."""
        finite = images.isfinite().all()
        self._bad.copy_(torch.where(finite | (self._bad >= 0), self._bad, self.desk.block))

    def _look_at_teacher(self, images: Tensor, logits: Tensor) -> None:
        bad = images.isfinite().all() & ~logits.isfinite().all() & (self._bad_teacher < 0)
        self._bad_teacher.copy_(torch.where(bad, self.desk.block, self._bad_teacher))

    def explains_nonfinite(self, step: int) -> str | None:
        """See :class:`redistill.core.source.ExplainsNonfinite`."""
        block, first, teacher = step // self.variant.n_S, int(self._bad), int(self._bad_teacher)
        if 0 <= teacher <= block:
            return teacher_at_fault(self.teacher, f"in block {teacher}")
        if not 0 <= first <= block:
            return None
        return (
            f"the generator's images stopped being finite in block {first} (learning rate {self._rate(first):g}): lower its rate "
            f"(lr) or bound its gradient (clip)"
        )

    def _as_batch(self, images: Tensor, block: int, within: int = 0) -> Batch:
        nowhere = torch.full((images.shape[0],), -1, dtype=torch.int64, device=images.device)
        return Batch(images, None, nowhere, torch.zeros_like(nowhere), number=block * self.variant.n_S + within)

    # -- what is shown, told and saved ---------------------------------------------------------------------------------
    def artifacts(self) -> dict[str, dict[str, Tensor]]:
        """``generator``: its state; ``samples`` and ``beliefs``: of the :class:`redistill.sources.training_log.SampleSnapshots`."""
        self.snapshots.look(self.snapshots.blocks, self.generator, self.room, self.asked.adapt, self._in_space)
        return {"generator": dict(self.generator.state_dict()), **self.snapshots.state_dict()}

    def log(self) -> dict[str, float]:
        """See :meth:`redistill.sources.training_log.TrainingStatistics.tell`."""
        return self.statistics.tell()

    def state_dict(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        return {
            "generator": self.generator.state_dict(),
            "hidden": hidden_state(self.generator, self._values),
            "optimizer": {**state, "param_groups": [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]},
            "method": self.method.state_dict(),
            "block": self._block,
            "last": self._last,
            "images": self._batch.images.clone() if self._batch is not None else None,
            "said": self._drawn_output(),
            "bad": self._bad,
            "bad_teacher": self._bad_teacher,
            **self.snapshots.state_dict(),
            **self.statistics.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        load_hidden_state(self.generator, state.get("hidden", {"buffers": {}, "values": {}}))
        go_on(self.optimizer, state["optimizer"])
        self.desk.forget(self.optimizer)
        self.method.load_state_dict(state["method"])
        self._block, self._last = int(state["block"]), int(state["last"])
        self.snapshots.load_state_dict(state)
        self.statistics.load_state_dict(state, self.room.device)
        self._bad.copy_(state["bad"])
        self._bad_teacher.copy_(state.get("bad_teacher", self._bad_teacher))
        images = state["images"]
        within = self._last % self.variant.n_S if self.variant.noise == "fresh" else 0
        self._batch = self._as_batch(images.to(self.room.device), self._block, within) if images is not None else None
        if self._batch is not None and self.answered_places is not None:
            self._answered(self._batch, self._as_output(state.get("said")) or self._ask(self._batch.images))

    def _drawn_output(self) -> dict[str, Tensor] | None:
        """The teacher's answer to the batch, where a network that may draw would give another one when it is asked again."""
        if self.layers.draws == "" or self.answered_places is None or self._batch is None or self._batch.teacher is None:
            return None
        teacher_output = self._batch.teacher
        return {"logits": teacher_output.logits.clone(), **{f"tap:{place}": tap.clone() for place, tap in teacher_output.taps.items()}}

    def _as_output(self, kept: dict[str, Tensor] | None) -> Output | None:
        if kept is None:
            return None
        here = {name: value.to(self.room.device) for name, value in kept.items()}
        return Output(here.pop("logits"), {name.removeprefix("tap:"): value for name, value in here.items()})
