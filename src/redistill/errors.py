"""The one exception and the sentence for an unknown name, for modules that must not wait for torch.

Floor 0, below ``core``, which offers both under its own name too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RedistillError(ValueError):
    """Something the user gave cannot work; the message says what was given, what was expected and what to do."""


def nearest(name: str, candidates: Iterable[str], what: str) -> str:
    """The sentence for an unknown name: what was given, the nearest names, or all of them where none is near.

    >>> nearest("resnet2O", ["resnet20", "resnet56"], "network")
    "unknown network 'resnet2O': did you mean resnet20 or resnet56?"
    """
    known = sorted(set(candidates))
    lowered = {k.lower(): k for k in known}
    close = [lowered[c] for c in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
    if close:
        return f"unknown {what} {name!r}: did you mean {' or '.join(close)}?"
    return f"unknown {what} {name!r}: known are {', '.join(known) if known else '(none)'}"
