"""Whole numbers that a term counts in buffers, as the host knows them: nobody waits for the device to read them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Known(dict[str, tuple[Tensor, int, int]]):
    """By name of a buffer: the tensor, its version, and the number in it at that version. What somebody else has written since, or put
    in the tensor's place (a checkpoint, a move to a device), is read from the device once. A copy of a term knows nothing yet."""

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
