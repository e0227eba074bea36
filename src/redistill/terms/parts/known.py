"""Whole numbers that a term counts in buffers, as the host knows them: nobody waits for the device to read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from redistill.core import Term


class Known(dict[str, tuple[Tensor, int, int]]):
    """By name of a buffer: the tensor, its version, and the number in it at that version. What somebody else has written since, or put
    in the tensor's place (a checkpoint), is read from the device once. A copy of a term knows nothing yet."""

    def of(self, module: nn.Module, name: str) -> int:
        """The number in a buffer."""
        buffer = module.get_buffer(name)
        tensor, version, number = self.get(name, (None, -1, 0))
        if tensor is not buffer or version != buffer._version:
            number = int(buffer)
            self.wrote(module, name, number)
        return number

    def wrote(self, module: nn.Module, name: str, number: int) -> None:
        """A buffer holds ``number`` now."""
        buffer = module.get_buffer(name)
        self[name] = buffer, buffer._version, number

    def __deepcopy__(self, memo: dict[int, Any]) -> Known:
        return Known()

    def __reduce__(self) -> tuple[type[Known], tuple[()]]:
        return Known, ()


class CountingTerm(Term):
    """A term with whole numbers in buffers. They are known before it is moved and so known after it, on a device as well."""

    _known: Known

    def count_in(self, **first: int) -> None:
        """Known from now on: buffers by name, and what ``setup`` has put into them."""
        self._known = Known()
        for name, number in first.items():
            self._known.wrote(self, name, number)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        known = {name: self._known.of(self, name) for name in self._known} if self.ready else {}
        super()._apply(fn, recurse)
        for name, number in known.items():
            self._known.wrote(self, name, number)
        return self
