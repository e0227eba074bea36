"""What every student of a run shares: its recipe, how it computes, its rates, and where its losses are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redistill.precision import Arithmetic
from redistill.recipe import Recipe

READ = 200  # steps between two readings of the loss buffer inside a long epoch
AHEAD = 100_000  # the same on an accelerator, which runs ahead of who asks: an epoch of any usual set (ImageNet by 16s: 80,073)


@dataclass(frozen=True)
class SharedSchedule:
    """What every student of a run shares. rates: of each step. resets: steps before which momentum is forgotten."""

    recipe: Recipe
    means: Arithmetic
    seed: int
    per_epoch: int
    steps: int
    rates: Sequence[float]
    resets: set[int]

    @classmethod
    def of(cls, recipe: Recipe, means: Arithmetic, seed: int, per_epoch: int) -> SharedSchedule:
        steps, rates, resets = recipe.total_steps(per_epoch), recipe.rates(per_epoch), recipe.momentum_resets(per_epoch)
        return cls(recipe, means, seed, per_epoch, steps, rates, resets)

    @property
    def block(self) -> int:
        """Steps between two readings of the losses."""
        return min(self.per_epoch, READ if self.means.device.type == "cpu" else AHEAD)

    def row(self, step: int) -> int:
        """Row of a step in a buffer of one block."""
        return step % self.per_epoch % self.block
