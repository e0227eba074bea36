"""Pictures of coming batches, made by threads while the steps before them are taken."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

Known = TypeVar("Known")
PREFETCH = 3  # batches that are made ahead


class Ahead(Generic[Known]):
    """Asks ``chosen(step)`` for what a batch is made of: what is known of it, and one piece of work a picture.

    How many threads there are, and in which order they end, shows in no pixel: every piece of work is a pure function.

    Args:
        workers: threads. steps: of the run; beyond it nothing is made ahead. chosen: a method of the stream that this belongs to, which
            is not kept alive by it: a circle would hold threads and networks of a run that is over until the garbage is collected.
    """

    def __init__(self, workers: int, steps: int, chosen: Callable[[int], tuple[Known, Sequence[Callable[[], Tensor]]]]):
        self.steps, self._chosen = steps, weakref.WeakMethod(chosen)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="picture")
        self._begun: dict[int, tuple[Known, list[Future[Tensor]]]] = {}

    def batch(self, step: int) -> tuple[Known, Tensor]:
        """What is known of the batch of a step, and its pixels [B, C, H, W]."""
        wanted = range(step, min(step + 1 + PREFETCH, max(self.steps, step + 1)))
        for old in [s for s in self._begun if s not in wanted]:
            for future in self._begun.pop(old)[1]:
                future.cancel()
        chosen = self._chosen()
        assert chosen is not None  # who asks is alive
        for soon in wanted:
            if soon not in self._begun:
                known, work = chosen(soon)
                self._begun[soon] = known, [self._pool.submit(one) for one in work]
        known, futures = self._begun.pop(step)
        return known, torch.stack([future.result() for future in futures]).contiguous()
