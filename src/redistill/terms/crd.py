"""Contrastive representation distillation: tell the teacher's embedding of this image from those of many others.

    e_s, e_t: linear embeddings of the vectors before the classifier, of unit length;  M_s, M_t: memories of all n images
    h_k = exp(M_t[k]·e_s / τ) / Z                                        k = 0 the image itself, 1 ... K drawn images
    L_s = −(1/B) Σ_b [ log h_0/(h_0 + K/n + ε) + Σ_k log (K/n)/(h_k + K/n + ε) ],   L = L_s + L_t (M_s against e_t)
    afterwards M[i] ← (m·M[i] + (1 − m)·e_i) / ‖·‖

Tian, Krishnan & Isola 2020 (arXiv:1910.10699), eqs. 17 to 19; memories after Wu et al. 2018 (arXiv:1805.01978).

Where paper and code differ:

| source | term | effect |
|---|---|---|
| RepDistiller | 0.8 · `CRD()` with CE | τ = 0.07 |
| paper, section 4 | `CRD(T=0.1)` | τ = 0.1 for the same experiments |
| RepDistiller, `--mode relax` | `CRD(positive="class")` | the positive is any image of the class, not the image itself |

Z is set by the first batch (mean of exp(·) times n, a constant from then on) and belongs, like both memories, to the state
that is saved. The draws are those of (seed, "term", "CRD", step): a resumed run draws what it would have drawn. They are made on
the host, step by step, so that on a CUDA device a run with CRD takes its steps as they are written and not from a recording. A recording
would save nothing: 64 times 16,384 of 45,000 images take 20 ms to draw, several times a step of a large GPU.

Bytes: 8·n·dim for the memories and as many for what a step holds of them until its gradient is known (102 MB in all for 50,000
images and 128 numbers, 2.6 GB for ImageNet), and 4·B·n for the scores of one direction, 64 MiB at a time at most, whatever K is:
each embedding meets the whole memory once, and what was drawn is picked from that. The released code gathers 4·B·K·dim bytes
instead, 1.1 GB at K = 16,384 for both directions. Memories that do not fit are refused by ``setup``, before anything is trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, pairs_of, require_ready
from redistill.terms.parts.known import CountingTerm
from redistill.terms.parts.room import require_room
from redistill.terms.parts.vectors import named_or_pooled
from redistill.terms.parts.wide import embedding_of

ENTRIES = 16 * 2**20
"""Scores that are held at a time: 64 MiB in fp32."""


def bank_bytes(count: int, dim: int) -> int:
    """What the memories of ``count`` images need, with the copies that a step holds.

    >>> bank_bytes(50_000, 128)
    102400000
    """
    return 16 * count * dim


def unit(embedded: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
    """[B, D] at unit length; no guard, as in the code."""
    return embedded / embedded.square().sum(dim=1, keepdim=True).sqrt()


def contrast(scores: Float[Tensor, "batch drawn"], count: int, eps: float = 1e-7) -> Float[Tensor, ""]:
    """The loss of one direction from h [B, 1 + K] of the positive and K negatives among ``count`` images: a scalar."""
    images, drawn = len(scores), scores.shape[1] - 1
    noise = drawn / count
    positive = torch.log(scores[:, 0] / (scores[:, 0] + noise + eps)).sum()
    negative = torch.log(noise / (scores[:, 1:] + noise + eps)).sum()
    return -(positive + negative) / images


def _picked(
    embedded: Float[Tensor, "batch width"], memory: Float[Tensor, "count width"], drawn: Int[Tensor, "batch drawn"]
) -> Float[Tensor, "batch drawn"]:
    """Products of each embedding with the drawn rows of the memory, some images at a time."""
    few = max(1, ENTRIES // len(memory))
    found = [(e @ memory.T).gather(1, d) for e, d in zip(embedded.split(few), drawn.split(few), strict=True)]
    return found[0] if len(found) == 1 else torch.cat(found)


@dataclass(eq=False, repr=False)
class CRD(CountingTerm):
    """Contrast with a memory of every training image. Needs labels, and a source that says which images a batch holds.

    Args:
        at: one pair of places, read as vectors; default: ``pooled`` of both.
        dim: numbers of an embedding, 128.
        K: negatives an image, 16,384; drawn with repetition where there are fewer images of other classes.
        T: temperature τ; 0.07 in the code, 0.1 in the paper.
        momentum: of the memories, 0.5.
        positive: ``"image"`` (``exact`` in the code): the same image; ``"class"`` (``relax``): any of its class.

    >>> import torch
    >>> from torch import nn
    >>> from redistill.core import Context
    >>> shapes = {"pooled": (2, 4)}
    >>> term = CRD(dim=2, K=3)
    >>> term.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), 2, count=6, labels=torch.arange(6) % 2))
    >>> term.negatives(torch.tensor([0, 1])).remainder(2).tolist()          # images of the other class, each once
    [[1, 1, 1], [0, 0, 0]]
    """

    at: At = None
    dim: int = 128
    K: int = 16_384
    T: float = 0.07
    momentum: float = 0.5
    positive: Literal["image", "class"] = "image"

    needs_labels: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("non-negative",)
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if self.dim < 1 or self.K < 1:
            raise RedistillError(f"CRD(dim={self.dim}, K={self.K}): both must be at least 1")
        if not 0 < self.T < math.inf:
            raise RedistillError(f"CRD(T={self.T}): the temperature must be above 0 and finite")
        if not 0 <= self.momentum < 1:
            raise RedistillError(f"CRD(momentum={self.momentum}): must be at least 0 and below 1")
        if self.positive not in ("image", "class"):
            raise RedistillError(f"CRD(positive={self.positive!r}): known are 'image' and 'class'")

    def setup(self, ctx: Context) -> None:
        if ctx.count is None or ctx.labels is None:
            raise RedistillError(
                "CRD remembers every training image and its class, but this source has no fixed set of labelled images; in a loop of "
                "your own say them: redistill.context(student, teacher, images, labels=...), one label for every training image"
            )
        if int(ctx.labels.min()) < 0:
            raise RedistillError("CRD remembers every training image and its class, but some images have no label: leave these out")
        if int(ctx.labels.unique().numel()) < 2:
            raise RedistillError("CRD contrasts images of different classes, but all labels are the same")
        self.pairs = named_or_pooled("CRD", ctx, pairs_of(self.at))
        if len(self.pairs) != 1:
            raise RedistillError(f"CRD compares one pair of places, at names {len(self.pairs)}")
        ((mine, theirs),) = self.pairs
        self.count = ctx.count
        require_room(
            f"CRD remembers {ctx.count:,} images with {self.dim} numbers in two banks", bank_bytes(ctx.count, self.dim), ctx.student,
            "give it fewer images, or a smaller CRD(dim=...)",
        )
        self.embed_s, self.embed_t = (
            self._linear(ctx.seed, math.prod(ctx.shape("student", mine)[1:]), "student"),
            self._linear(ctx.seed, math.prod(ctx.shape("teacher", theirs)[1:]), "teacher"),
        )
        bound = 1 / math.sqrt(self.dim / 3)
        first = [torch.rand(ctx.count, self.dim, generator=rng.stream(ctx.seed, "term", "CRD", "memory", who)) for who in "st"]
        self.memory_student, self.memory_teacher = (nn.Buffer((2 * drawn - 1) * bound) for drawn in first)
        self.Z = nn.Buffer(torch.full((2,), -1.0))  # of the student's and the teacher's scores; below 0: not set yet
        self.step = nn.Buffer(torch.zeros((), dtype=torch.int64))
        seed = ctx.seed if ctx.seed < 2**63 else rng.derive(ctx.seed)  # no buffer holds a larger one
        self.seed = nn.Buffer(torch.tensor(seed, dtype=torch.int64))  # of the draws to come: part of the state
        self.count_in(step=0, seed=seed)
        # images sorted by class: those of other classes are all but one run of this list; known anew from the data
        labels = ctx.labels.cpu()
        order = torch.argsort(labels, stable=True)
        sizes = torch.bincount(labels)
        self.by_class = order
        self.first = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)[:-1]])[labels]
        self.size = sizes[labels]
        self.ready = True

    def _linear(self, seed: int, width: int, who: str) -> nn.Linear:
        with rng.seeded(seed, "term", "CRD", "embedding", who):
            return nn.Linear(width, self.dim)

    def _draw(self, what: str) -> torch.Generator:
        return rng.stream(self._known.of(self, "seed"), "term", "CRD", what, self._known.of(self, "step"))

    def negatives(self, index: Int[Tensor, " batch"]) -> Int[Tensor, "batch negatives"]:
        """K images of other classes for each of ``index`` [B]: [B, K], by the stream of this step."""
        draw = self._draw("negatives")
        rows = []
        for i in index.tolist():
            others = self.count - int(self.size[i])
            if self.K > others:
                chosen = torch.randint(others, (self.K,), generator=draw)
            else:
                chosen = torch.randperm(others, generator=draw)[: self.K]
            # the run of the image's own class is stepped over
            rows.append(self.by_class[chosen + self.size[i] * (chosen >= self.first[i])])
        return torch.stack(rows)

    def positives(self, index: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The image itself, or one of its class: [B]."""
        if self.positive == "image":
            return index
        draw = self._draw("positives")
        share = torch.rand(len(index), generator=draw, dtype=torch.float64)
        return self.by_class[self.first[index] + (share * self.size[index]).long()]

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        batch.labels_for("CRD")
        if batch.index is None:
            raise RedistillError(
                "CRD must know which images a batch holds (Batch.index), and this source does not say; in a loop of your own: "
                "Batch(images, labels, index), the position of each among all training images"
            )
        ((mine, theirs),) = self.pairs
        index = batch.index.cpu() if batch.positions is None else batch.positions
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < self.count:
            raise RedistillError(
                f"CRD remembers {self.count} images, 0 to {self.count - 1}, and this batch holds {int(index.min())} to {int(index.max())}: "
                f"Batch.index is the position of each among all training images"
            )
        drawn = torch.cat([self.positives(index)[:, None], self.negatives(index)], dim=1)
        return self.contrasted(student[mine].flatten(1), teacher[theirs].flatten(1), index, drawn)

    def contrasted(self, f_s: Tensor, f_t: Tensor, index: Tensor, drawn: Tensor) -> Tensor:
        """The loss for vectors of the images ``index`` [B] against those of ``drawn`` [B, 1 + K]; then the memories move.

        They move in training with gradients alone, so that looking at a loss changes nothing.
        """
        e_s = unit(embedding_of(f_s, self.embed_s))
        e_t = unit(embedding_of(f_t, self.embed_t))
        drawn, index = drawn.to(e_s.device), index.to(e_s.device)
        Z = list(self.Z.clone())
        losses = []
        for which, (embedded, memory) in enumerate(((e_s, self.memory_teacher), (e_t, self.memory_student))):
            scores = torch.exp(_picked(embedded, memory.to(embedded.dtype, copy=True), drawn) / self.T)
            Z[which] = torch.where(Z[which] < 0, scores.detach().mean() * self.count, Z[which])  # set once, and nobody waits
            losses.append(contrast(scores / Z[which], self.count))
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                self.Z.copy_(torch.stack(Z))
                step = self._known.of(self, "step") + 1
                self.step.add_(1)
                self._known.wrote(self, "step", step)
                for memory, embedded in ((self.memory_student, e_s), (self.memory_teacher, e_t)):
                    memory[index] = unit(self.momentum * memory[index].to(embedded.dtype) + (1 - self.momentum) * embedded).to(memory.dtype)
        return losses[0] + losses[1]
