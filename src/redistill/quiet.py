"""Libraries that tell their logs more than anybody asked for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No log speaks below an error while it lasts; what was silenced before stays so afterwards.

    >>> with quiet():
    ...     logging.getLogger("onnxruntime").isEnabledFor(logging.WARNING)
    False
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
