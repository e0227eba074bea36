"""Whole numbers that a term counts in buffers, as the host knows them: nobody waits for the device to read them."""

from __future__ import annotations

from torch import nn


class Known(dict[str, tuple[int, int]]):
    """By name of a buffer: its version, and the number in it at that version. What somebody else has written since (a checkpoint) is
    read from the device once."""

    def of(self, module: nn.Module, name: str) -> int:
        """The number in a buffer."""
        buffer = module.get_buffer(name)
        version, number = self.get(name, (-1, 0))
        if version != buffer._version:
            number = int(buffer)
            self[name] = buffer._version, number
        return number

    def wrote(self, module: nn.Module, name: str, number: int) -> None:
        """A buffer holds ``number`` now."""
        self[name] = module.get_buffer(name)._version, number
