"""The one exception and the sentence for an unknown name, for modules that must not wait for torch.

Floor 0, below ``core``, which offers both under its own name too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class RedistillError(ValueError):
    """Something the user gave cannot work; the message says what was given, what was expected and what to do."""


LONGEST = 60
"""Characters of a value or a name in a message."""


def cut(text: str, most: int = LONGEST) -> str:
    """A text that a message quotes, cut to a length that somebody reads."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def nearest(name: str, candidates: Iterable[str], what: str, words: Mapping[str, str] | None = None) -> str:
    """The sentence for an unknown name: what was given, the nearest names, or all of them where none is near.

    ``words``: what others call these things, by their name for it.

    >>> nearest("resnet2O", ["resnet20", "resnet56"], "network")
    "unknown network 'resnet2O': did you mean resnet20 or resnet56?"
    >>> nearest("temperature", ["T", "factor"], "setting", {"temperature": "T"})
    "unknown setting 'temperature': here it is called T"
    """
    known = sorted(set(candidates))
    given = cut(repr(name))
    if (ours := (words or {}).get(name.lower())) in known:
        return f"unknown {what} {given}: here it is called {ours}"
    lowered = {k.lower(): k for k in known}
    # comparing takes time that grows with the length, and no name is as long as what is not compared
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6) if len(name) <= 200 else []
    if close := [lowered[c] for c in near]:
        return f"unknown {what} {given}: did you mean {' or '.join(close)}?"
    return f"unknown {what} {given}: known are {', '.join(known) if known else '(none)'}"
