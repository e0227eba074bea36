"""What a generator's training leaves behind: means over its blocks, and images at five moments of the run.

Nothing here moves anything of the run: numbers are summed on the device and nobody waits for them; samples are made by a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core import StreamContext
from redistill.features.modes import mode
from redistill.features.outputs import logits_of
from redistill.precision import unrounded

SHOWN, KEPT = 64, 16  # draws made together for a sample, and how many of them are kept


class TrainingStatistics:
    """Sums over blocks, on the device. ``classes``: that both networks tell apart."""

    def __init__(self, classes: int):
        self.classes = classes
        self._sums: Tensor | None = None  # [5 + 2 * classes], where it stays from the first block on
        self._summed = 0

    def add(self, losses: Sequence[Tensor], norms: Sequence[Tensor], student: Tensor, teacher: Tensor) -> None:
        """One block, on the device: losses and gradient norms of its generator steps; logits [B, classes] of student and teacher.
        Who adds calls :meth:`counted` too."""
        p_s, p_t = student.softmax(1), teacher.softmax(1)
        (top_s, c_s), (top_t, c_t) = p_s.max(1), p_t.max(1)
        b, steps = student.shape[0], len(losses)
        numbers = [sum(losses) / steps, sum(norms) / steps]
        numbers += [x.sum() / b for x in (top_t, top_s, (c_s == c_t).to(student))]
        every = torch.arange(self.classes, device=student.device)
        shares = [(c[:, None] == every).sum(0).to(student) / b for c in (c_t, c_s)]  # bincount would ask for the largest
        row = torch.cat([torch.stack([torch.as_tensor(n).to(student) for n in numbers]), *shares])
        if self._sums is None:
            self._sums = torch.zeros_like(row)
        self._sums.add_(row)

    def counted(self) -> None:
        """A block more."""
        self._summed += 1

    def tell(self) -> dict[str, float]:
        """Means over the blocks since the last call.

        ``generator_loss``, ``generator_gradient_norm`` (before the bound): of every generator step. Of the images of the
        block's last generator step, before its update: ``teacher_confidence`` and ``student_confidence``: mean largest
        probability; ``agreement``: share of images on which both say the same class; ``teacher_class_c``,
        ``student_class_c``: share of images that each network calls class c.
        """
        if self._sums is None or not self._summed:
            return {}
        names = ["generator_loss", "generator_gradient_norm", "teacher_confidence", "student_confidence", "agreement"]
        names += [f"{who}_class_{c}" for who in ("teacher", "student") for c in range(self.classes)]
        values = (self._sums / self._summed).tolist()
        self._sums.zero_()
        self._summed = 0
        return dict(zip(names, values, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums.clone() if self._sums is not None and self._summed else None, "summed": self._summed}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self._sums = state["sums"].to(device) if state["sums"] is not None else None
        self._summed = int(state["summed"])


class SampleSnapshots:
    """Images of the same noise, and what teacher and student think of them, at 0, 1, 10, 50 and 100 % of ``blocks``.

    Attributes:
        samples: by block, the first :data:`KEPT` draws as they were made at that time. beliefs: by block, [2, KEPT, classes],
            how likely teacher and student, as it was then, thought each class.
    """

    def __init__(self, blocks: int):
        self.blocks = blocks
        self.moments = {0, *(blocks * part // 100 for part in (1, 10, 50)), blocks}
        self.samples: dict[int, Tensor] = {}
        self.beliefs: dict[int, Tensor] = {}

    def look(
        self,
        block: int,
        generator: nn.Module,
        room: StreamContext,
        adapt: Callable[[nn.Module], Callable[[Tensor], Tensor]],
        in_space: Callable[[Tensor], Tensor],
    ) -> None:
        """Before the block's first step. The images are made in train mode, as the student sees them.

        ``adapt``: what a network is called with. ``in_space``: what the generator made, as the stream is normalised."""
        if block not in self.moments or block in self.samples:
            return
        z = torch.randn(SHOWN, int(generator.z), generator=rng.stream(room.seed, "noise", "shown"))  # type: ignore[arg-type]
        twin = copy.deepcopy(generator).train()
        for module in twin.modules():
            module._forward_hooks.clear()  # whoever listens to the generator in training did not ask for this
        # the last moment comes after the last step, where nobody else sees to it that fp32 means fp32
        with torch.no_grad(), unrounded(room.device), rng.seeded(room.seed, "shown", block, device=room.device):
            images = in_space(twin(z.to(device=room.device, dtype=room.dtype)))[:KEPT]
            self.samples[block] = images.float()  # on the device: nobody waits for it
            beliefs = []
            for net in (room.teacher, *room.students):
                assert net is not None
                with mode(net, False):
                    beliefs.append(logits_of(net(adapt(net)(images)), net).softmax(1).float())
            self.beliefs[block] = torch.stack(beliefs)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Both by block; also what is kept of a finished run."""
        shown = {"samples": self.samples, "beliefs": self.beliefs}
        return {name: {str(block): x.cpu() for block, x in by_block.items()} for name, by_block in shown.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples, self.beliefs = ({int(block): x.cpu() for block, x in state[name].items()} for name in ("samples", "beliefs"))
