"""A network whose first weights nobody needs: built with no number drawn, for looking at it or loading a file over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DRAWS = frozenset(
    ("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_", "trunc_normal_")
)
"""The in-place draws of first weights, by the names that ``torch.nn.init`` and tensors share."""


class Undrawn(TorchFunctionMode):
    """``with Undrawn(): ...``: layers made inside hold NaN where their first weights would have been drawn.

    NaN, so that whoever forgets to load weights notices; on the meta device nothing is written either, and torch does not
    import its compiler, which it needs (for five seconds) to pretend to draw there.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") not in DRAWS:
            return func(*args, **(kwargs or {}))
        tensor: torch.Tensor = args[0] if args else (kwargs or {})["tensor"]
        if not tensor.is_meta:
            with torch.no_grad():
                tensor.fill_(torch.nan)
        return tensor
