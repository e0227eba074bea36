"""Operations at which the host waits for a CUDA device: in strict precision, which asks for deterministic kernels, in any.

Neither the CPU nor the meta device waits at them, so a walk there is given this list. Of ``index_put`` and all that comes to it in
deterministic mode (``index_copy_``, ``index_add_``, ``scatter_add_`` and with it the gradient of ``gather``) it is the range of the
indices that is read back; of boolean masks, ``nonzero`` and ``unique`` it is how many there are; what is made of Python's numbers is
copied from memory that is not pinned.

A tensor of one number on the CPU is the trap beside them: it may stand next to tensors of a device, nothing waits for it, and a graph
keeps for ever what it held when it was recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NAMES = (
    "index_put", "index_put_", "index_copy", "index_copy_", "index_add", "index_add_", "index_reduce", "index_reduce_", "scatter_add",
    "scatter_add_", "scatter_reduce", "scatter_reduce_", "put", "put_", "nonzero", "masked_select", "_unique2", "unique_dim",
    "unique_consecutive", "bincount", "histc", "equal", "_local_scalar_dense", "masked_scatter", "masked_scatter_",
)  # fmt: skip


class Waits(AssertionError):
    """Something in recorded work would wait."""


def waiting(name: str, overload: str, args: tuple[Any, ...]) -> bool:
    """Whether ``aten::name.overload`` waits for the device."""
    if name in NAMES:
        return True
    if name in ("scatter", "scatter_"):
        return overload == "src"  # a value that is one number is written without a look at the indices
    if name == "_index_put_impl_":
        return not (len(args) > 4 and args[4])  # the gradient of indexing trusts the indices of its forward
    if name in ("masked_fill", "masked_fill_", "index_fill", "index_fill_"):
        return overload.endswith("Tensor")
    if name == "repeat_interleave":
        return overload == "Tensor"
    if name == "index":
        return any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1])
    return False


class _Dispatched(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if waiting(func._schema.name.removeprefix("aten::"), func._overloadname, args):
            raise Waits(f"{func} waits for a CUDA device")
        if len({leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}) > 1:
            raise Waits(f"{func} reads a tensor on the CPU: a graph would keep what that held when it was recorded")
        return func(*args, **(kwargs or {}))


class _Called(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        given = args[-1] if args else None
        if name in ("tensor", "as_tensor", "from_numpy", "new_tensor") and not isinstance(given, Tensor):
            raise Waits(f"{name} copies from the host, and waits")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def none_waits() -> Iterator[None]:
    """Raise :class:`Waits` where something inside would."""
    with _Called(), _Dispatched():
        yield


def watched(work: Callable[[], None]) -> Callable[[], None]:
    """The work, under :func:`none_waits`."""

    def done() -> None:
        with none_waits():
            work()

    return done
