"""What stands in for a device that records.

:class:`Taped` does on the CPU what a graph does on its device: work is called once, its operations are kept, and a replay does these
again, on the same memory, without a line of Python of the work. Whatever the work would do on the host at every step (a number that it
makes, a tensor that it puts in another's place, a list that it fills) is then left out, as it is left out on a device. It is as hard
with memory as a graph. What was there before the recording is not kept alive by it: where somebody has given it back, a replay says so.
What was made in it holds garbage when the next replay of any recording begins: whoever reads it then, or keeps something there from one
replay to the next, gets no number.

:class:`Again` calls the work itself again, also where nothing is computed (the meta device).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

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

    def __init__(self, around: Callable[[Work], Work] | None = None) -> None:
        super().__init__(around)
        self.tapes: list[_Tape] = []

    def replay_of(self, work: Work) -> Work:
        tape = _Tape()
        with tape:
            work()
        tape.undo()
        self.tapes.append(tape)

        def play() -> None:
            for one in self.tapes:  # they share one pool of memory
                one.spoil()
            tape.play()

        return play


class GivenBack(AssertionError):
    """A recording reads or writes memory that nobody else holds any more."""


@dataclass(frozen=True)
class _There:
    """A tensor that was there before the recording, without keeping its memory alive."""

    memory: StorageWeakRef
    like: Tensor  # of the meta device
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> _There:
        shape = torch.empty(0, dtype=tensor.dtype, device="meta").expand(0) if tensor.numel() == 0 else tensor.detach().to("meta")
        return cls(StorageWeakRef(tensor.untyped_storage()), shape.reshape(tensor.shape), tensor.stride(), tensor.storage_offset())

    def found(self) -> Tensor:
        if self.memory.expired():
            raise GivenBack(f"memory of a tensor {list(self.like.shape)} that the recorded work uses was given back")
        storage = torch.UntypedStorage._new_with_weak_ptr(self.memory.cdata)
        return torch.empty(0, dtype=self.like.dtype).set_(storage, self.offset, self.like.shape, self.strides)  # type: ignore[call-overload]


class _Tape(TorchDispatchMode):
    """Operations, the tensors that were there before, and what these held."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: dict[int, Tensor] = {}  # alive, so that no second tensor has the number of a first one
        self.there: dict[int, _There] = {}
        self.garbage: list[Tensor] = []

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
        """A recording has done nothing, and holds nothing of what was there before it."""
        with torch.no_grad():
            for tensor, held in self.before.values():
                tensor.detach().copy_(held)
        old = {tensor.untyped_storage()._cdata for tensor, _ in self.before.values()}
        made = {tensor.untyped_storage()._cdata: tensor for tensor in self.made.values()}
        with torch.no_grad():
            self.garbage = [_whole(tensor) for memory, tensor in made.items() if memory not in old]
        mine = {id(tensor): tensor for tensor in self.made.values() if tensor.untyped_storage()._cdata not in old}
        marks: dict[int, _There] = {}

        def mark(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or id(leaf) in mine:
                return leaf
            return marks.setdefault(id(leaf), _There.of(leaf))

        self.done = [(func, tree_map(mark, args), tree_map(mark, kwargs), fresh) for func, args, kwargs, fresh in self.done]
        self.made, self.before = mine, {}

    def spoil(self) -> None:
        """What was made in the recording is memory that other recordings have used since."""
        for memory in self.garbage:
            memory.fill_(0xFF)  # of floating numbers none, of whole numbers -1

    def play(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, fresh in self.done:
                args, kwargs = (tree_map(lambda leaf: leaf.found() if isinstance(leaf, _There) else leaf, one) for one in (args, kwargs))
                found = func(*args, **kwargs)
                if fresh:
                    given = {id(tensor) for tensor in _tensors((args, kwargs))}
                    again = [tensor for tensor in _tensors(found) if id(tensor) not in given]
                    for here, there in zip(fresh, again, strict=True):
                        here.copy_(there)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _whole(tensor: Tensor) -> Tensor:
    """All memory of a tensor, as bytes."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())  # type: ignore[call-overload, no-any-return]
