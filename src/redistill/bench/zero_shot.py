"""One zero-shot block (1 generator step, 10 student steps), WRN-16-2 -> WRN-16-1: the package's loop against the released loop.

The plain loop does what the authors' code does, with all of its work: the images are made again before every student step,
the student's loss flows back into the generator, and every network gets gradients of its weights. Gate, in double precision over
two blocks: every parameter and running statistic of student and generator must agree to 1e-9.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill import models, rng
from redistill.bench.gate import OtherWork, most
from redistill.bench.measure import interleaved, row
from redistill.features.tapped import Tapped
from redistill.published.zero_shot import preset
from redistill.sources.adversarial import Adversarial
from redistill.train.loop import Loop

STAGES = ("stage1", "stage2", "stage3")


def noise(k: int, batch: int) -> Tensor:
    return torch.randn(batch, 100, generator=rng.stream(0, "benchmark", k))


def networks(dtype: torch.dtype) -> tuple[nn.Module, nn.Module, nn.Module]:
    teacher = models.wrn(16, 2, classes=10, seed=1).to(dtype).eval()
    student = models.wrn(16, 1, classes=10, seed=0).to(dtype)
    return teacher, student, models.generator(seed=0).to(dtype)


class PlainLoop:
    """The released loop as its authors wrote it, fp32."""

    def __init__(self, batch: int, n_S: int, blocks: int, dtype: torch.dtype = torch.float32):
        self.teacher, self.student, self.generator = networks(dtype)
        self.batch, self.n_S, self.dtype, self.block = batch, n_S, dtype, 0
        self.opt_s = torch.optim.Adam(self.student.parameters(), lr=2e-3)
        self.opt_g = torch.optim.Adam(self.generator.parameters(), lr=1e-3)
        self.decay = [torch.optim.lr_scheduler.CosineAnnealingLR(o, blocks) for o in (self.opt_s, self.opt_g)]
        self.teacher_taps, self.student_taps = Tapped(self.teacher, STAGES), Tapped(self.student, STAGES)
        self.losses: list[float] = []

    def __call__(self) -> None:
        z = noise(self.block, self.batch).to(self.dtype)
        self.student.train()
        x = self.generator(z)
        loss = -F.kl_div(F.log_softmax(self.student_taps(x).logits, 1), F.softmax(self.teacher_taps(x).logits, 1), reduction="none").mean()
        self.opt_g.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), 5)
        self.opt_g.step()
        teacher_output = None
        for _ in range(self.n_S):
            x = self.generator(z)
            if teacher_output is None:
                with torch.no_grad():
                    teacher_output = self.teacher_taps(x)
            student_output = self.student_taps(x)
            loss = F.kl_div(F.log_softmax(student_output.logits, 1), F.softmax(teacher_output.logits, 1), reduction="none").mean()
            for stage in STAGES:
                q_s, q_t = (F.normalize(f.pow(2).mean(1).flatten(1)) for f in (student_output[stage], teacher_output[stage]))
                loss = loss + 250 * (q_s - q_t).pow(2).mean()
            self.opt_s.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.student.parameters(), 5)
            self.opt_s.step()
            self.losses.append(loss.item())
        for decay in self.decay:
            decay.step()
        self.block += 1


class PackageLoop:
    """The package's loop with the ``authors`` preset, a block at a time."""

    def __init__(self, batch: int, n_S: int, blocks: int, precision: str, compiled: bool = False):
        double = precision == "double"
        teacher, self.student, self.generator = networks(torch.float64 if double else torch.float32)
        p = preset("authors", blocks=blocks, change={"n_S": n_S}, batch_size=batch)
        recipe = p.recipe.model_copy(update={"precision": precision, "compile": compiled})
        source = Adversarial(
            self.generator, "cifar10-kuangliu", p.variant, p.generator_method, blocks=blocks, epoch_blocks=blocks,
            noise=lambda k: noise(k, batch),
        )  # fmt: skip
        self.loop = Loop([(self.student, p.method)], teacher, source, recipe, seed=0, device="cpu")
        self.n_S = n_S
        self.losses: list[float] = []

    def __call__(self) -> None:
        own = self.loop.students[0]
        for _ in range(self.n_S):
            next(self.loop)
            self.losses += own.rows(self.loop.step - 1).totals


def same_updates(n_S: int) -> float:
    """Largest relative difference of any parameter or statistic after two blocks in double precision, batch 4."""
    plain, mine = PlainLoop(4, n_S, 10, torch.float64), PackageLoop(4, n_S, 10, "double")
    for _ in range(2):
        plain()
        mine()
    worst = 0.0
    for a, b in ((plain.student, mine.student), (plain.generator, mine.generator)):
        # a bias in front of a batch norm has gradient 0, which Adam turns into rounding noise of its own size
        idle = {"layers.0.bias", "layers.4.bias", "layers.8.bias", "layers.11.bias"} if a is plain.generator else set()
        state = b.state_dict()
        for name, want in a.state_dict().items():
            if name not in idle:
                gap = float((state[name].double() - want.double()).abs().max())
                worst = most([worst, gap / max(float(want.double().abs().max()), 1e-12)])
    return worst


def step(rounds: int, batch: int, kinds: list[str], n_S: int = 10) -> Iterator[dict[str, Any]]:
    """The row of the benchmark: blocks timed side by side."""
    gap = same_updates(2)
    if not gap <= 1e-9:
        raise OtherWork(f"zero-shot: after two blocks in double precision the networks differ by {gap:.1e}: no ratio")
    blocks = rounds + 2
    contenders: dict[str, Any] = {"plain": PlainLoop(batch, n_S, blocks)}
    for kind in kinds:
        contenders[kind] = PackageLoop(batch, n_S, blocks, kind.split()[0], "compiled" in kind)
    turns = interleaved(contenders, rounds)
    for kind in kinds:
        yield row(f"zero-shot block, 1 + {n_S} steps, WRN-16-2", kind, turns["plain"], turns[kind], gap)
