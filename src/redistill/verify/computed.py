"""What every golden loss needs: a total with its gradients, and the inputs of a case as outputs with taps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from redistill.core import Context, Output, Shape
from redistill.terms import AT
from redistill.verify.reader import Array, Case


@dataclass
class Computed:
    """A loss with what else the case expects: outputs by name, leaves and buffers by array name."""

    loss: Tensor
    outputs: dict[str, Tensor] = field(default_factory=dict)
    leaves: dict[str, Tensor] = field(default_factory=dict)
    after: dict[str, Tensor] = field(default_factory=dict)

    def arrays(self) -> dict[str, Tensor | Array]:
        found: dict[str, Tensor | Array] = {"out/loss": self.loss}
        found |= {f"out/{name}": value for name, value in self.outputs.items()}
        found |= {f"after/{name}": value for name, value in self.after.items()}
        asked = {name: leaf for name, leaf in self.leaves.items() if leaf.requires_grad}
        if asked:
            grads = torch.autograd.grad(self.loss, list(asked.values()), allow_unused=True)
            for (name, leaf), grad in zip(asked.items(), grads, strict=True):
                # a leaf that the loss does not depend on has gradient 0
                found[f"grad/{name}"] = torch.zeros_like(leaf) if grad is None else grad
        return found

    def of_module(self, module: nn.Module) -> Computed:
        """With the gradients and the buffers of a module whose state carries the case's names."""
        self.leaves |= {f"param/{name}": p for name, p in module.named_parameters()}
        self.after |= {name: b for name, b in module.named_buffers() if not name.endswith("num_batches_tracked")}
        return self


def inputs(case: Case, *names: str) -> dict[str, Tensor]:
    return {f"in/{name}": case.take(f"in/{name}") for name in names}


def _levels(case: Case, stem: str) -> int:
    """How many of ``in/<stem>0, in/<stem>1 ...`` there are."""
    n = 0
    while f"in/{stem}{n}" in case.arrays:
        n += 1
    return n


def features(case: Case, student: str, teacher: str) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """Leaves, the student's maps and the teacher's, shallowest first."""
    n = _levels(case, student)
    leaves = inputs(case, *(f"{who}{i}" for i in range(n) for who in (student, teacher)))
    return leaves, [leaves[f"in/{student}{i}"] for i in range(n)], [leaves[f"in/{teacher}{i}"] for i in range(n)]


def output(logits: Tensor, features: list[Tensor]) -> Output:
    return Output(logits, {f"level{i}": f for i, f in enumerate(features)})


def _shapes(out: Output) -> dict[str, Shape]:
    return {name: tuple(tap.shape) for name, tap in out.taps.items()}


def attention(student: Output, teacher: Output, p: float = 2.0) -> AT:
    term = AT(at=list(student.taps), p=p)
    term.setup(Context(nn.Identity(), nn.Identity(), _shapes(student), _shapes(teacher), (), (), student.logits.shape[1]))
    return term
