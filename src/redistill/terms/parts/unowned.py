"""A network that a term reads but does not own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from redistill._moved import old_names
from redistill.core import RedistillError


class UnownedModule:
    """Holds a network outside a term's modules, so that it is neither among its parameters nor in what is saved.

    A copy made together with the network points to the copied network, any other copy to the same one; a pickle leaves the
    network out.
    """

    def __init__(self, net: nn.Module | None):
        self._net = net

    def net(self, who: str, again: str) -> nn.Module:
        """The network, or a sentence that says how to give it ``again`` to an unpickled term."""
        if self._net is None:
            raise RedistillError(f"this {who} was unpickled without the network that it reads: call {again}")
        return self._net

    def __deepcopy__(self, memo: dict[int, Any]) -> UnownedModule:
        return UnownedModule(memo.get(id(self._net), self._net))

    def __reduce__(self) -> tuple[type[UnownedModule], tuple[None]]:
        return UnownedModule, (None,)

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
