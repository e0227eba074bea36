"""Anchor: regularisation towards the starting point (L2-SP and its relatives), so that a few images do not overwrite what was learnt.

    tensor:  L = Σ_p (1/n_p) Σ_i |w_pi − w⁰_pi|        p: parameter tensors of n_p entries
    sum:     L = Σ_p Σ_i |w_pi − w⁰_pi|                 (or squared)

Ferles, Nöu & Valavanis 2020, "extra M" (code; the report describes it as ordinary KD-AT): fine-tuning a zero-shot student
with M images a class, weight 1 on ``Anchor()``. With ``norm="squared", reduction="sum"`` and half the weight it is L2-SP,
Li, Grandvalet & Davoine 2018 (arXiv:1802.01483), eq. 1 without its second sum.

The mean by tensor weighs an entry of a small tensor (a batch norm's 16 scales) more than one of a large convolution. In the
first step both loss and gradient are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from redistill.core import Batch, Context, Output, RedistillError, Term, require_ready
from redistill.terms.parts.unowned import UnownedModule
from redistill.terms.parts.wide import wide


def distance_from(
    now: Float[Tensor, "*entries"],
    start: Float[Tensor, "*entries"],
    norm: Literal["absolute", "squared"] = "absolute",
    reduction: Literal["tensor", "sum"] = "tensor",
) -> Float[Tensor, ""]:
    """Distance of one parameter tensor from its start: a scalar; ``"tensor"``: mean over entries.

    >>> import torch
    >>> float(distance_from(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0])))     # (1 + 3) / 2
    2.0
    """
    difference = wide(now) - wide(start)
    entries = difference.abs() if norm == "absolute" else difference.square()
    return entries.sum() / (entries.numel() if reduction == "tensor" else 1)


@dataclass(eq=False, repr=False)
class Anchor(Term):
    """Distance of the student's parameters from where they stood at ``setup``; needs neither teacher nor labels.

    The start is saved as buffers (``start/<parameter>``). Buffers of the student (running statistics) are not anchored.

    Args:
        norm: ``"absolute"`` (the reproducibility report's extra M) or ``"squared"``.
        reduction: ``"tensor"``: mean over a tensor's entries, summed over tensors (the report); ``"sum"``: over all entries.

    >>> import torch
    >>> from redistill.core import Batch, Context, Output
    >>> from torch import nn
    >>> net = nn.Linear(1, 2)
    >>> anchor = Anchor()
    >>> anchor.setup(Context(net, None, {}, {}, (), (), classes=2))
    >>> with torch.no_grad():
    ...     _ = net.bias.add_(torch.tensor([1.0, 2.0]))
    >>> anchor(Output(torch.zeros(1, 2)), None, Batch(torch.zeros(1, 1))).item()     # (1 + 2) / 2; the weight stood still
    1.5
    """

    norm: Literal["absolute", "squared"] = "absolute"
    reduction: Literal["tensor", "sum"] = "tensor"

    needs_teacher: ClassVar[bool] = False
    theorems: ClassVar[tuple[str, ...]] = ("zero at start", "non-negative")
    ready = False

    def check(self) -> None:
        if self.norm not in ("absolute", "squared"):
            raise RedistillError(f"Anchor(norm={self.norm!r}): known are 'absolute' and 'squared'")
        if self.reduction not in ("tensor", "sum"):
            raise RedistillError(f"Anchor(reduction={self.reduction!r}): known are 'tensor' and 'sum'")
        self._seen = UnownedModule(None)

    def setup(self, ctx: Context) -> None:
        self._seen = UnownedModule(ctx.student)
        for stale in [name for name, _ in self.named_buffers()]:
            delattr(self, stale)
        for name, parameter in ctx.student.named_parameters():
            self.register_buffer(_start_of(name), parameter.detach().clone())
        self.ready = True

    def attach(self, student: nn.Module) -> None:
        """Point a restored anchor (after pickling, which leaves the network out) at its student; the start stays."""
        mine = {name for name, _ in self.named_buffers()}
        theirs = {_start_of(name) for name, _ in student.named_parameters()}
        if mine != theirs:
            odd = ", ".join(sorted(mine ^ theirs)[:3])
            raise RedistillError(f"this anchor was made for another network: {odd} is only on one side")
        self._seen = UnownedModule(student)

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        require_ready(self)
        total = wide(student.logits).new_zeros(())
        for name, parameter in self._seen.net("Anchor", "anchor.attach(student)").named_parameters():
            total = total + distance_from(parameter, self.get_buffer(_start_of(name)), self.norm, self.reduction)
        return total


def _start_of(name: str) -> str:
    """Name of a parameter's buffer, whose names allow no dots."""
    return f"start/{name.replace('.', '/')}"
