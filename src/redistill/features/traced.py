"""Networks that ``torch.jit.trace`` made: whatever mode they are put into, they compute in the mode of the tracing."""

from __future__ import annotations

from torch import nn

_MODES = {"aten::batch_norm": 5, "aten::dropout": 2, "aten::feature_dropout": 2, "aten::alpha_dropout": 2}
"""Operations that compute otherwise while a network trains, and where among their inputs stands whether it does."""


def is_traced(net: nn.Module) -> bool:
    """Whether ``torch.jit.trace`` made it: it computes in the mode of the tracing, whatever mode it is put into."""
    return type(net).__name__ in ("TopLevelTracedModule", "TracedModule")


def traced_while_training(net: nn.Module) -> bool:
    """Whether a traced network computes in train mode for ever: on the statistics of its batch, or with dropout."""
    if not is_traced(net):
        return False
    graph = net.inlined_graph
    return any(
        list(node.inputs())[place].toIValue()
        for kind, place in _MODES.items()
        for node in graph.findAllNodes(kind)  # type: ignore[operator, union-attr]
    )
