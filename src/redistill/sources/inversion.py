"""DeepInversion and CMI: images are made by many steps on their pixels, or on a generator, and kept; the student learns from the memory.

In every block a batch of images is made by ``iterations`` steps of Adam on

    DeepInversion  L = oh·CE(T(x), y) + bn·statistics − adv·JS(S(x), T(x)) + tv·total variation + l2·‖x‖      over the pixels
    CMI            L = oh·CE(T(x), y) + bn·statistics − adv·KL where both agree + cr·contrast                 over generator and noise

and put into a memory of pixels; then the student takes ``n_S`` steps on what it draws from that memory.

Yin et al. 2020 (arXiv:1912.08795), eqs. 2 to 8, and Fang et al. 2021 (arXiv:2105.08584), eqs. 3 to 10. The codes: NVlabs/DeepInversion
cifar10/ and zju-vipa/CMI datafree/synthesis. What they do beside their formulas are switches: the classes asked for, jitter, cutting
pixels off, which of the images on the way is kept (DeepInversion's code means the best, but its variable is the images themselves:
the last).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from redistill import rng
from redistill.core import Batch, Method, Output, RedistillError, Shape, StreamContext, Term
from redistill.data import Renormalise, augmentation, normalisation
from redistill.features.modes import mode, untouched
from redistill.features.outputs import teacher_at_fault
from redistill.sources.asked import Asked, require_shape
from redistill.sources.contrast import Head, contrast_loss, global_view, instance_means, local_view, new_start, shifted
from redistill.sources.generated import Form, pulls
from redistill.sources.gradients import lay_gradients
from redistill.sources.losses import places_before, reads_student
from redistill.sources.memory import FeatureMemory, ImageMemory
from redistill.values import Value

NUMERICS = 1


class Rounds(Value):
    """What happens in one block: ``iterations`` steps on ``images`` new images, then ``n_S`` steps of the student.

    Args:
        images: how many are made in a block. iterations: steps in which they are made. n_S: steps of the student in a block.
        lr, betas: of Adam on images, or on generator, noise and head. classes: those that images are made for, ``"random"``, sorted, or
            ``"balanced"``.
        jitter: images are rolled by so many pixels at most before each step. flip: they are also flipped half of the time. clamp: pixels
            are cut off at black and white after each step. keep: the images of the ``"last"`` step, or of the least loss, ``"best"``.
        memory: images kept for the student, the latest ones; None: all. augment: of the images that the student draws from them.
        contrast: weight of CMI's contrast. contrast_T: its temperature. bank: feature vectors kept for it. negatives: vectors drawn from
            the bank in a step. head: entries of a projected vector.
    """

    images: int = Field(default=256, ge=2)
    iterations: int = Field(default=1000, ge=1)
    n_S: int = Field(default=400, ge=1)
    lr: float = Field(default=0.1, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    classes: Literal["random", "balanced"] = "random"
    jitter: int = Field(default=2, ge=0)
    flip: bool = False
    clamp: bool = False
    keep: Literal["last", "best"] = "last"
    memory: int | None = Field(default=None, ge=2)
    augment: str = "crop-flip"
    contrast: float = Field(default=0.0, ge=0)
    contrast_T: float = Field(default=0.1, gt=0)
    bank: int = Field(default=40_960, ge=1)
    negatives: int = Field(default=4096, ge=1)
    head: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Rounds:
        if self.memory is not None and self.memory < self.images:
            raise ValueError(f"memory={self.memory} cannot hold the {self.images} images of one block")
        if not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"betas={self.betas}: both at least 0 and below 1")
        found = augmentation(self.augment)
        if found.pictured or found.mixing is not None:
            raise ValueError(f"augment={self.augment!r} is for images of a data set: give 'none', 'flip' or 'crop-flip'")
        if found.strong or found.batch:
            raise ValueError(f"augment={self.augment!r}: what is drawn from the memory has one view and its own crop: leave the ending out")
        return self


class ImageLosses(Value):
    """What the images minimise, as settings of a source.

    Args:
        one_hot: weight of the cross-entropy of the teacher's answer with the class asked for; 0 leaves it out, and so do those below.
        batch_norm: weight of the distance from the statistics in the teacher's batch norms. variation: weight of the images' total
            variation. norm: weight of their length.
        adversarial: weight of the student's disagreement, which is sought. form: of that disagreement, ``"kl"``, ``"l1"``, ``"js"`` or
            ``"agreed"``. T: its temperature. most: its bound; None: none.
    """

    one_hot: float = Field(default=1.0, ge=0)
    batch_norm: float = Field(default=0.0, ge=0)
    variation: float = Field(default=0.0, ge=0)
    norm: float = Field(default=0.0, ge=0)
    adversarial: float = Field(default=0.0, ge=0)
    form: Form = "kl"
    T: float = Field(default=1.0, gt=0)
    most: float | None = Field(default=None, gt=0)

    def method(self) -> Method:
        """Their weighted sum."""
        return pulls(
            one_hot=self.one_hot, target="label", batch_norm=self.batch_norm, variation=self.variation, norm=self.norm,
            adversarial=self.adversarial, form=self.form, T=self.T, most=self.most,
        )  # fmt: skip


@dataclass(eq=False)
class DeepInversion:
    """Images made out of noise by steps on their own pixels.

    Args:
        normalisation: the named set in whose space the images are meant. image_shape: [C, H, W].
        rounds: what a block does. method: what the images minimise; default: the published numbers of CIFAR-10,
            ``pulls(one_hot=1, target="label", batch_norm=10, variation=2.5e-5)``, without a student that is asked.
        blocks: blocks of the full run. epoch_blocks: between two points of the curves; default 1 % of ``blocks``.
        described: how an experiment file names it, for the record.

    Raises:
        RedistillError: a count below 1, or a normalisation of other channels.
    """

    normalisation: str
    image_shape: Shape = (3, 32, 32)
    rounds: Rounds = field(default_factory=lambda: Rounds(iterations=2000, lr=0.05, classes="balanced"))
    method: Method | Term = field(default_factory=lambda: pulls(one_hot=1.0, target="label", batch_norm=10.0, variation=2.5e-5))
    blocks: int = 200
    epoch_blocks: int | None = None
    generator: nn.Module | None = None
    described: dict[str, Any] | None = None

    kind: ClassVar[str] = "deep-inversion"
    depends_on_student = True
    labelled = False
    classes: ClassVar[int | None] = None
    count: ClassVar[int | None] = None
    all_labels: ClassVar[Tensor | None] = None

    def __post_init__(self) -> None:
        for name in ("blocks", "epoch_blocks"):
            count = getattr(self, name)
            if not (isinstance(count, int) and count >= 1) and not (name == "epoch_blocks" and count is None):
                raise RedistillError(f"{name}={count!r}: a whole number of blocks, 1 or more")
        if not isinstance(self.rounds, Rounds):
            raise RedistillError(f"rounds={self.rounds!r:.60}: what a block does, as Rounds(iterations=500)")
        if self.generator is not None:
            for name in ("z", "image_shape", "pixels"):
                if not hasattr(self.generator, name):
                    raise RedistillError(
                        f"the generator {type(self.generator).__name__} has no attribute {name!r}: it must say the length of its noise as "
                        f"z, the shape of one image as image_shape, and with pixels = True that it makes pixels between 0 and 1"
                    )
            self.image_shape = tuple(self.generator.image_shape)  # type: ignore[arg-type]
        normalisation(self.normalisation).require_channels(int(self.image_shape[0]))
        self.method = Method.of(self.method)

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        """Student steps between two points of the curves: ``epoch_blocks`` blocks."""
        return self.rounds.n_S * (self.epoch_blocks or max(1, self.blocks // 100))

    def settings(self) -> dict[str, Any]:
        made = None if self.generator is None else type(self.generator).__name__
        return {
            "kind": self.kind,
            "generator": self.described if self.described is not None else made,
            "normalisation": self.normalisation,
            "image_shape": list(self.image_shape),
            "rounds": self.rounds.model_dump(mode="json"),
            "method": Method.of(self.method).settings(),
            "blocks": self.blocks,
            "epoch_blocks": self.epoch_blocks,
            "numerics": NUMERICS,
        }

    def start(self, room: StreamContext) -> InversionStream:
        return InversionStream(self, room)


@dataclass(eq=False)
class CMI(DeepInversion):
    """Images of a generator that is drawn anew in every block, told from all that were made before.

    The settings are those of :class:`DeepInversion`; these differ:

    Args:
        generator: from noise [B, z] to pixels [B, C, H, W] between 0 and 1 (``models.cmi_generator``). It is trained in place.
        rounds, method: default: the published numbers of CIFAR-10 without images made before
            (scripts/cmi/scratch_cmi_cifar10_wrn402_wrn161.sh).
    """

    rounds: Rounds = field(
        default_factory=lambda: Rounds(iterations=200, lr=1e-3, betas=(0.5, 0.999), jitter=0, keep="best", contrast=0.8)
    )
    method: Method | Term = field(
        default_factory=lambda: pulls(one_hot=1.0, target="label", batch_norm=1.0, adversarial=0.5, form="agreed")
    )

    kind: ClassVar[str] = "cmi"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generator is None:
            raise RedistillError("CMI makes its images by a generator: give one, for example redistill.models.cmi_generator()")
        if not self.generator.pixels:
            raise RedistillError("CMI looks at crops of pixels between 0 and 1: give a generator with pixels = True, as cmi_generator")


class InversionStream:
    """Rounds of images in one run.

    Attributes:
        memory: what the student draws from. bank: what the contrast is drawn from.
    """

    def __init__(self, source: DeepInversion, room: StreamContext):
        if room.teacher is None:
            raise RedistillError("images without data are made out of what a teacher knows: give a teacher")
        if len(room.students) != 1:
            raise RedistillError(f"images are made against one student, this run has {len(room.students)}")
        self.source, self.room, self.rounds = source, room, source.rounds
        self.block_steps = self.rounds.n_S
        self.teacher, self.student = room.teacher, room.students[0]
        self.generator = None if source.generator is None else source.generator.to(device=room.device, dtype=room.dtype)
        space = normalisation(source.normalisation)
        self.memory = ImageMemory(space, self.rounds.augment, self.rounds.memory, room.device, room.dtype)
        self.to_space = Renormalise.between("none", source.normalisation)
        self.method = Method.of(source.method).fresh()
        self.bank = FeatureMemory(self.rounds.bank)
        self.head: Head | None = None
        self._prepare()
        self._block, self._last, self._batch = -1, -1, None  # type: int, int, Batch | None
        self._logged: list[tuple[float, float]] = []

    def _prepare(self) -> None:
        shape, space = tuple(self.source.image_shape), self.source.normalisation
        if self.generator is not None:
            require_shape(self.generator, shape, self.room)
        self.before = places_before(self.teacher, type(self.source).__name__) if self.rounds.contrast else ()
        self.asked = Asked(self.room, self.method, shape, space, beside=self.before, maker="the source")
        self.asks_student = reads_student(self.method)
        if self.rounds.contrast:
            probe = torch.zeros(2, *shape, device=self.room.device, dtype=self.room.dtype)
            with torch.no_grad(), untouched(self.teacher), mode(self.teacher, False):
                width = instance_means([self.asked.teacher(probe)[place] for place in self.before]).shape[1]
            with rng.seeded(self.room.seed, "head"):
                self.head = Head(width, self.rounds.head).to(device=self.room.device, dtype=self.room.dtype)
            self.head_optimizer = torch.optim.Adam(self.head.parameters(), lr=self.rounds.lr)

    # -- one block ----------------------------------------------------------------------------------------------------
    def _asked(self, block: int) -> Tensor:
        count = self.rounds.images
        if self.rounds.classes == "balanced":
            return (torch.arange(count) % self.asked.classes).to(self.room.device)
        drawn = torch.randint(self.asked.classes, (count,), generator=rng.stream(self.room.seed, "classes", block))
        return drawn.sort().values.to(self.room.device)

    def _start(self, block: int) -> tuple[list[Tensor], Callable[[], Tensor]]:
        """What is moved in this block, and what makes images of it: pixels between 0 and 1 with a generator, else the stream's own."""
        draw = rng.stream(self.room.seed, "noise", block)
        where: tuple[torch.device, torch.dtype] = (self.room.device, self.room.dtype)
        if self.generator is None:
            x = torch.randn(self.rounds.images, *self.source.image_shape, generator=draw).to(*where).requires_grad_()
            return [x], lambda: x
        new_start(self.generator, self.room.seed, block)
        z = torch.randn(self.rounds.images, int(self.generator.z), generator=draw).to(*where).requires_grad_()  # type: ignore[arg-type]
        net = self.generator
        return [*(p for p in net.parameters() if p.requires_grad), z], lambda: net(z)

    def _make(self, block: int) -> None:
        """``iterations`` steps on one batch of images; then they, and their features, are remembered."""
        r, labels = self.rounds, self._asked(block)
        moved, images = self._start(block)
        optimizer = torch.optim.Adam(moved, lr=r.lr, betas=r.betas, foreach=False)
        kept, features, best, value = None, None, math.inf, math.nan
        for iteration in range(r.iterations):
            draw = rng.stream(self.room.seed, "views", block, iteration)
            made = images()
            whole = self.to_space(global_view(made, draw)) if self.generator is not None else shifted(made, r.jitter, r.flip, draw)
            teacher_output = self.asked.wide(self.asked.teacher(whole))
            mine = self.asked.wide(self.asked.student(whole)) if self.asks_student else teacher_output
            # what smooths looks at the images as they are shown to the teacher
            loss = self.method.loss(mine, teacher_output, Batch(whole, labels), epoch=block, step=iteration)
            seen = None
            if self.head is not None:
                part, seen = self._contrast(made, teacher_output, draw)
                loss = loss + r.contrast * part
            value = float(loss.detach())
            if not math.isfinite(value):
                if bool(whole.isfinite().all()) and not bool(teacher_output.logits.isfinite().all()):
                    raise RedistillError(teacher_at_fault(self.teacher, f"in block {block}"))
                raise RedistillError(
                    f"the images of block {block} are not finite after {iteration} steps (learning rate {r.lr:g}): lower lr, or a weight"
                )
            if r.keep == "last" or value < best:
                best, kept, features = value, made.detach().clone(), seen
            self._step(loss, moved, optimizer)
            if r.clamp and self.generator is None:
                with torch.no_grad():
                    back = Renormalise.between(self.source.normalisation, "none")
                    moved[0].copy_(self.to_space(back(moved[0]).clamp(0, 1)))
        if r.keep == "last" and self.generator is None:
            kept = moved[0].detach()  # the code's variable is the images themselves, after the last step
        assert kept is not None
        self.memory.add(self.to_space(kept) if self.generator is not None else kept)
        if features is not None:
            self.bank.add(features)
        self._logged.append((value, best))

    def _contrast(self, pixels: Tensor, teacher_output: Output, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """The contrast of the two views, and both views' vectors [B, 2 D] for the memory."""
        assert self.head is not None
        near = self.asked.teacher(self.to_space(local_view(pixels, draw)))
        local, whole = (instance_means([out[place].to(self.room.dtype) for place in self.before]) for out in (near, teacher_output))
        old = self.bank.draw(self.rounds.negatives, draw).to(local) if len(self.bank.features) else local.new_zeros(0, 2 * local.shape[1])
        old_local, old_whole = old.chunk(2, dim=1)
        projected = self.head(torch.cat([local, old_local, whole, old_whole]))
        mine, theirs = projected.chunk(2)
        loss = contrast_loss(mine, theirs, len(pixels), self.rounds.contrast_T)
        return loss, torch.cat([local, whole], dim=1).detach()

    def _step(self, loss: Tensor, moved: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
        learned = list(self.head.parameters()) if self.head is not None else []
        lay_gradients(loss, [*moved, *learned])
        optimizer.step()
        if learned:
            self.head_optimizer.step()

    def batch(self, step: int) -> Batch:
        block, within = divmod(step, self.rounds.n_S)
        if step == self._last and self._batch is not None:
            return self._batch
        if block != self._block:
            drawn = rng.seeded(self.room.seed, "generator", block, device=self.room.device)
            with drawn, torch.enable_grad(), mode(self.student, False), mode(self.teacher, False):
                if self.generator is not None:
                    self.generator.train()
                self._make(block)
            self._block = block
        images, where = self.memory.draw(self.room.seed, block, within, self.room.batch_size)
        if self.room.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        self._last = step
        nowhere = torch.full((len(where),), -1, dtype=torch.int64, device=self.room.device)
        self._batch = Batch(images, None, nowhere, torch.zeros_like(nowhere), number=step)
        return self._batch

    # -- what is shown, told and saved ---------------------------------------------------------------------------------
    def artifacts(self) -> dict[str, dict[str, Tensor]]:
        """``images``: pixels of the memory, the latest 1,024; ``generator``: its state, where there is one."""
        kept = {"images": {"pixels": self.memory.pixels[-1024:]}}
        return kept if self.generator is None else {**kept, "generator": dict(self.generator.state_dict())}

    def log(self) -> dict[str, float]:
        """Means over the blocks since the last call: ``image_loss`` of the last step, ``kept_loss`` of the images kept; ``images``:
        made so far."""
        if not self._logged:
            return {}
        last, kept = (sum(values) / len(self._logged) for values in zip(*self._logged, strict=True))
        self._logged = []
        return {"image_loss": last, "kept_loss": kept, "images": float(self.memory.added)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state_dict(),
            "bank": self.bank.state_dict(),
            "generator": None if self.generator is None else self.generator.state_dict(),
            "head": None if self.head is None else self.head.state_dict(),
            "head_optimizer": None if self.head is None else self.head_optimizer.state_dict(),
            "block": self._block,
            "told": list(self._logged),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self.bank.load_state_dict(state["bank"])
        if self.generator is not None:
            self.generator.load_state_dict(state["generator"])
        if self.head is not None:
            self.head.load_state_dict(state["head"])
            self.head_optimizer.load_state_dict(state["head_optimizer"])
        self._block = int(state["block"])
        self._logged = [(float(a), float(b)) for a, b in state["told"]]
