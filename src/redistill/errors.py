"""What is raised, and the words that sentences of ours share, for modules that must not wait for torch.

On the lowest floor; ``core`` offers the exception and ``nearest`` under its own name too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class RedistillError(ValueError):
    """Something the user gave cannot work; the message says what was given, what was expected and what to do."""


class OtherClasses(RedistillError):
    """A network, or a file of one, tells another number of classes apart than what it is for.

    ``fact``: that alone; what to do about it (``remedy``) is another thing for whoever can name another way out.
    """

    def __init__(self, fact: str, remedy: str = ""):
        super().__init__(f"{fact}: {remedy}" if remedy else fact)
        self.fact = fact


def plain(text: str) -> str:
    r"""Text for a terminal: control characters (which could move the cursor, or colour, or hide what follows) as ``\x1b``.

    >>> print(plain("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return text.translate(_CONTROL)


_HIDDEN = (*range(9), 11, 12, *range(14, 32), 13, *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROL = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _HIDDEN}
NOTE = "note: "
"""How a line begins that a person should know of, whatever else is told of the progress; a process hands such lines of its workers on."""

LONGEST = 8_000  # characters of a message: beyond that nobody reads it, and a value somewhere is much too long
QUOTED = 60  # characters of a value or a name that a message quotes
LISTED = 24  # names that a message lists: a longer list is a command's work


def cut(text: str, most: int = QUOTED) -> str:
    """A text that a message quotes, cut to a length that somebody reads."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def counted(n: int, what: str) -> str:
    """How many there are, in words.

    >>> counted(1, "claim"), counted(2000, "claim")
    ('1 claim', '2,000 claims')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, for a sentence of ours about it; its kind where it says nothing.

    >>> first_line(ValueError("sizes differ\\n  at line 3")), first_line(NotImplementedError())
    ('sizes differ', 'NotImplementedError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def sentence(error: BaseException) -> str:
    """An error in words: ours as it is, one of the operating system with its file, any other with its kind."""
    if isinstance(error, RedistillError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        files = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        text = f"{files or 'reading or writing failed'}: {error.strerror}"
    elif isinstance(error, RuntimeError) and "home directory" in str(error):
        text = (
            "this user has no home folder, where data and caches are looked for: set HOME, or say --data-dir FOLDER (or REDISTILL_DATA) "
            "and REDISTILL_CACHE"
        )
    else:
        first = next((line for line in str(error).strip().splitlines() if line.strip()), "no further word")
        text = f"{type(error).__name__}: {first}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... ({len(text):,} characters) ... {text[-LONGEST // 4 :]}"


def meant(name: str, candidates: Iterable[str], words: Mapping[str, str] | None = None) -> list[str]:
    """At most three names that somebody may have meant, the likeliest first; ``words``: what others call these things.

    >>> meant("epoch", ["epochs", "steps"]), meant("alpha", ["weight", "T"], {"alpha": "weight"}), meant("x", ["weight"])
    (['epochs'], ['weight'], [])
    """
    known = sorted(set(candidates))
    if (ours := (words or {}).get(name.lower())) in known:
        return [str(ours)]
    lowered = {k.lower(): k for k in known}
    # comparing takes time that grows with the length, and no name is as long as what is not compared
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6) if len(name) <= 200 else []
    return [lowered[c] for c in near]


def nearest(name: str, candidates: Iterable[str], what: str, words: Mapping[str, str] | None = None) -> str:
    """The sentence for an unknown name: what was given, the nearest names, or known ones where none is near.

    ``words``: what others call these things, by their name for it.

    >>> nearest("resnet2O", ["resnet20", "resnet56"], "network")
    "unknown network 'resnet2O': did you mean resnet20 or resnet56?"
    >>> nearest("temperature", ["T", "factor"], "setting", {"temperature": "T"})
    "unknown setting 'temperature': here it is called T"
    >>> nearest("Table 9", ["KD, T = 4", "KD"], "row")
    "unknown row 'Table 9': known are 'KD', 'KD, T = 4'"
    """
    known = sorted(set(candidates))
    given = cut(repr(name))
    close = meant(name, known, words)
    if close and close[0] == (words or {}).get(name.lower()):
        return f"unknown {what} {given}: here it is called {close[0]}"
    if close:
        return f"unknown {what} {given}: did you mean {' or '.join(close)}?"
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    shown = [repr(one) for one in known] if any("," in one for one in known) else known
    return f"unknown {what} {given}: known are {', '.join(shown[:LISTED]) if known else '(none)'}{more}"
