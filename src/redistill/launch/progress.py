"""What a loop is doing, for a person: a bar on a terminal, plain lines in a log; on standard error, so that results stay apart."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from redistill.core import reads_logits
from redistill.errors import NOTE, counted, plain

if TYPE_CHECKING:
    from redistill.launch.tracking import Tracking

Tell = Callable[..., None]
"""``tell(done)``, or ``tell(done, news)`` with what is new to say."""

QUIET = 10.0  # seconds between two lines of a log without news
OFTEN = 1.0  # and with news
SHARE = ": share of the loss"
LOOKED = 20  # steps after which the terms are weighed against each other
WARNS = "; warning: "
SMALL_REST = 0.125  # of a batch, below which the last one of an epoch is worth a word
DROWNS = 0.9  # share of the loss above which one term leaves nothing to the others


class Stepwise(Protocol):
    """Anything that says how many steps it takes and yields after each (``redistill.Loop``)."""

    step: int
    steps: int

    def __iter__(self) -> Iterator[object]: ...


def lasting(seconds: float) -> str:
    """A length of time for people.

    >>> lasting(0.1), lasting(8.2), lasting(95), lasting(7300)
    ('under 1 s', '8 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole == 0 and seconds > 0:
        return "under 1 s"
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def estimated(seconds: float) -> str:
    """A length of time that is not known to the second: two or three digits in one unit.

    >>> estimated(0.2), estimated(40), estimated(700), estimated(12_000), estimated(4_000_000)
    ('under 1 s', '40 s', '12 min', '3.3 h', '1,111 h')
    """
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    if seconds < 5400:
        return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


@contextlib.contextmanager
def progress(label: str, total: int, *, done: int = 0, unit: str = "steps", stream: TextIO | None = None) -> Iterator[Tell]:
    """A function to be told how many of ``total`` are done, and the news; it shows them on ``stream`` (default: standard error)."""
    out = stream if stream is not None else sys.stderr
    label = plain(label)
    if out.isatty():
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column
        from rich.text import Text

        # what has to be seen keeps its width; a long name gives way, and the numbers have lines of their own
        name = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        columns = (name, BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
        console = Console(file=out)
        bar = Progress(*columns, console=console, expand=True)
        task = bar.add_task(label, total=total, completed=done)
        numbers = Text()
        with Live(Group(bar, numbers), console=console, refresh_per_second=5):

            def move(now: int, news: str = "") -> None:
                bar.update(task, completed=now)
                if news:
                    numbers.plain = f"  {plain(news)}"

            yield move
        return
    start = last = time.monotonic()
    shown = ""
    print(f"{label}: {done} of {total} {unit}", file=out, flush=True)

    def line(now: int, news: str = "") -> None:
        nonlocal last, shown
        since = time.monotonic() - last
        if now < total and (since >= QUIET or (news != shown and since >= OFTEN)):
            last, shown = time.monotonic(), news
            spent = last - start
            left = f", {lasting((total - now) * spent / (now - done))} left" if now > done else ""
            more = f": {plain(news)}" if news else ""
            print(f"{label}: {now} of {total} {unit}, {lasting(spent)}{left}{more}", file=out, flush=True)
        elif now >= total:
            shown = news

    yield line
    print(f"{label}: done in {time.monotonic() - start:.1f} s{f': {plain(shown)}' if shown else ''}", file=out, flush=True)


class News:
    """What is new in a loop after a step: loss and accuracies whenever it has evaluated, images a second; and the terms' shares, once.

    Args:
        say: takes a sentence that must not be lost among the lines of progress.
        told: what was said (:func:`gist`); one set for several loops says each method's shares once, and a warning once.
    """

    def __init__(self, say: Callable[[str], None], told: set[object] | None = None):
        self.say = say
        self.told = told if told is not None else set()
        self._points = -1
        self._text = ""
        self._begun: tuple[float, int] | None = None
        self._looked = False

    def of(self, loop: Any) -> str:
        """The news; "" where a loop has none (no students: points on a plane)."""
        inner = getattr(loop, "loop", loop)
        students = getattr(inner, "students", None)
        if not students:
            return ""
        if self._begun is None:
            self._begun = time.monotonic(), inner.step
            if inner.step > LOOKED:  # it went on from a checkpoint: the first steps are gone
                self._looked = True
        if not self._looked and inner.step >= min(LOOKED, inner.block, inner.steps):
            self._looked = True
            for text in (*map(shares, students), small_rest(inner)):
                if text and (known := gist(text)) not in self.told:
                    self.told.add(known)
                    self.say(text)
        points = sum(len(curve) for student in students for curve in student.curves.values())
        if points != self._points:
            self._points = points
            spent, steps = time.monotonic() - self._begun[0], inner.step - self._begun[1]
            speed = f"{inner.recipe.batch_size * steps / spent:,.0f} images/s" if steps and spent > 0 else ""
            self._text = ", ".join(part for part in (_numbers(students), speed) if part)
        return self._text


def gist(note: str) -> object:
    """What a note is about: the shares of one method are the same note with every seed, and another one with a warning.

    >>> gist("CE() + KD(): share of the loss in the first step: CE 1 %, KD 99 %")
    ('CE() + KD()', False)
    """
    method, share, _ = note.partition(SHARE)
    return (method, WARNS in note) if share else note


def _numbers(students: Any) -> str:
    """``loss 0.42, test 93.11 %``; of a cohort the numbers of all, in their order."""
    numbers = []
    losses = [sum(w * v for w, v in zip(s.weights[s.taken - 1], s.losses[-1], strict=True)) for s in students if s.losses and s.taken]
    if losses:
        numbers.append("loss " + " | ".join(f"{loss:.3g}" for loss in losses))
    for name in students[0].curves:
        values = [f"{s.curves[name][-1][1]:.2f}" if s.curves[name] else "-" for s in students]
        if any(value != "-" for value in values):
            numbers.append(f"{name} {' | '.join(values)} %")
    return ", ".join(numbers)


def shares(student: Any) -> str:
    """How much of a student's loss each term is in the first steps, and a warning where one drowns the rest; "" for a single term."""
    names = student.method.names
    if len(names) < 2:
        return ""
    try:
        losses = student.rows(0).losses
    except ValueError:  # an epoch ended: its rows are gone
        return ""
    parts = [0.0] * len(names)
    for step, row in enumerate(losses.tolist()):
        for i, (weight, value) in enumerate(zip(student.weights[step], row, strict=True)):
            parts[i] += abs(weight * value)
    total = sum(parts)
    if not 0 < total < float("inf"):
        return ""
    text = ", ".join(f"{name} {100 * part / total:.0f} %" for name, part in zip(names, parts, strict=True))
    line = f"{student.method!r}{SHARE} in the first {f'{len(losses)} steps' if len(losses) > 1 else 'step'}: {text}"
    most = max(range(len(parts)), key=parts.__getitem__)
    term = [term for _, term in student.method.parts()][most]
    # soft targets carry what labels say and may be nearly all of a loss; features alone tell no class
    if parts[most] > DROWNS * total and not term.needs_labels and not reads_logits(term):
        weight = student.weights[0][most]
        line += (
            f"{WARNS}{names[most]} (weight {weight:g}) leaves next to nothing to the other terms: is its weight made for these data?"
        )
    return line


def small_rest(loop: Any) -> str:
    """What to know of a run whose epochs end with a batch much smaller than the others; "" where none does.

    Measured once (docs/log.md): of 900 images in batches of 64 the last 4 kept SP from learning at all.
    """
    size, fewest = loop.recipe.batch_size, loop.fewest
    if loop.per_epoch == 1 or fewest >= size * SMALL_REST:
        return ""
    return (
        f"the last batch of an epoch has {counted(fewest, 'image')} where the others have {size}: what is normalised or compared within a "
        f"batch is of so few there, and counts like a whole one; drop_last = true leaves it out"
    )


def watch(
    loop: Stepwise, label: str, tracking: Tracking | None = None, *, stream: TextIO | None = None, told: set[object] | None = None
) -> None:
    """Drain ``loop``, telling the progress on ``stream`` (see :func:`progress`; ``told`` as in :class:`News`), and its numbers to
    ``tracking``."""

    def say(text: str) -> None:
        # looked up now: on a terminal the bar has put itself in the place of standard error, and goes on below what is said
        print(f"{NOTE}{plain(text)}", file=stream if stream is not None else sys.stderr, flush=True)

    with progress(label, loop.steps, done=loop.step, stream=stream) as tell:
        news = News(say, told)
        for _ in loop:
            tell(loop.step, news.of(loop))
            if tracking is not None:
                tracking.look(getattr(loop, "loop", loop))
