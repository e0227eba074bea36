"""What stands in for a device that records.

:class:`Taped` does on the CPU what a graph does on its device: work is called once, its operations are kept with the tensors that they
read and wrote, and a replay does these again, on the same tensors, without a line of Python of the work. Whatever the work would do on
the host at every step (a number that it makes, a tensor that it puts in another's place, a list that it fills) is then left out, as it
is left out on a device. :class:`Again` calls the work itself again, also where nothing is computed (the meta device).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from redistill.replay import Lanes

Work = Callable[[], None]


class Again:
    """Counts what was recorded and how often that was replayed. around: wraps recorded work, to look at what it does."""

    def __init__(self, around: Callable[[Work], Work] | None = None) -> None:
        self.lanes = Lanes()
        self.recorded = self.replayed = 0
        self.around = around

    def rehearse(self, work: Work) -> str | None:
        work()
        return None

    def record(self, work: Work) -> Work:
        self.recorded += 1
        again = self.replay_of(work if self.around is None else self.around(work))

        def replay() -> None:
            self.replayed += 1
            again()

        return replay

    def replay_of(self, work: Work) -> Work:
        """What does the work again."""
        return work

    def simpler(self) -> bool:
        return False


class Taped(Again):
    """The same with a tape of operations."""

    def replay_of(self, work: Work) -> Work:
        tape = _Tape()
        with tape:
            work()
        tape.undo()
        return tape.play


class _Tape(TorchDispatchMode):
    """Operations, the tensors that were there before, and what these held."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: dict[int, Tensor] = {}  # alive, so that no second tensor has the number of a first one

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            if id(tensor) not in self.made and id(tensor) not in self.before:
                self.before[id(tensor)] = tensor, tensor.detach().clone()
        found = func(*args, **kwargs)
        given = {id(tensor) for tensor in _tensors((args, kwargs))}
        fresh = [tensor for tensor in _tensors(found) if id(tensor) not in given]
        self.made |= {id(tensor): tensor for tensor in fresh}
        views = any(out.alias_info is not None and not out.alias_info.is_write for out in func._schema.returns)
        if not views:  # what looks at another tensor's memory sees what is there
            self.done.append((func, args, kwargs, fresh))
        return found

    def undo(self) -> None:
        """A recording has done nothing."""
        with torch.no_grad():
            for tensor, held in self.before.values():
                tensor.detach().copy_(held)

    def play(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, fresh in self.done:
                found = func(*args, **kwargs)
                if fresh:
                    given = {id(tensor) for tensor in _tensors((args, kwargs))}
                    again = [tensor for tensor in _tensors(found) if id(tensor) not in given]
                    for here, there in zip(fresh, again, strict=True):
                        here.copy_(there)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
