"""A network that a term reads but does not own."""

from __future__ import annotations

from typing import Any

from torch import nn

from redistill.core import RedistillError


class Seen:
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Seen:
        return Seen(memo.get(id(self._net), self._net))

    def __reduce__(self) -> tuple[type[Seen], tuple[None]]:
        return Seen, (None,)
