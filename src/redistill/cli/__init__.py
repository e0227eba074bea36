"""The command line. Nothing heavy is imported before a command runs: ``redistill --help`` never waits for torch."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from typing import Annotated, Any, TextIO

import typer
import typer.core

from redistill import __version__
from redistill.allocator import keep_freed_memory
from redistill.errors import LONGEST, NOTE, RedistillError, plain, sentence

# first what makes runs, then what looks at them, papers, what data make of networks, and what there is
ORDER = (
    "init", "translate", "distill", "export", "run", "train", "runs", "show", "watch", "compare", "plot", "diff", "evaluate",
    "papers", "plan", "reproduce", "campaign", "explain", "report",
    "audit", "quotes",
    "belief", "samples", "toy", "list", "download", "cache", "bench", "verify", "check",
)  # fmt: skip


class _Commands(typer.core.TyperGroup):
    """The commands in the order in which somebody needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    cls=_Commands,
    name="redistill",
    help="Distil neural networks, and find out whether a paper's number is true.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

debug = False  # set by ``main``; the one thing that every command may want to know


def _version(asked: bool) -> None:
    if asked:
        print(f"redistill {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version of the package and end.")
    ] = False,
    show: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (anywhere on the line).")] = False,
) -> None:
    """Distil neural networks, and find out whether a paper's number is true."""


class _Plain(io.TextIOWrapper):
    """Standard output or error on which no control character of a name or label reaches the terminal."""

    def write(self, text: str) -> int:
        return super().write(plain(text))


def _safe(stream: Any, encoding_only: bool) -> Any:
    """A stream that can write whatever it is given: what its encoding lacks as \\xe9, control characters as \\x1b."""
    if type(stream) is not io.TextIOWrapper:
        return stream  # a notebook's or a test's, or closed
    stream.reconfigure(errors="backslashreplace")
    if encoding_only:
        return stream
    buffered, encoding = stream.line_buffering, stream.encoding
    return _Plain(stream.detach(), encoding=encoding, errors="backslashreplace", line_buffering=buffered)


def program() -> typer.Typer:
    """The program with all its commands; each module adds its own to :data:`app` when it is imported."""
    from redistill.cli import (  # noqa: F401
        belief,
        bench,
        cache,
        campaign,
        check,
        compare,
        distill,
        download,
        evaluate,
        evidence,
        export,
        first,
        look,
        papers,
        report,
        run,
        translate,
        watch,
        zero_shot,
    )

    return app


def main() -> None:
    """The entry point: an error is one sentence on standard error, ``--debug`` shows where it came from."""
    keep_freed_memory()
    commands = program()
    global debug
    debug = "--debug" in sys.argv[1:]
    sys.argv[1:] = [_at_home(word) for word in sys.argv[1:] if word != "--debug"]
    sys.stdout = _safe(sys.stdout, encoding_only=False)
    warnings.showwarning = _warned
    # rich draws on a terminal's standard error and escapes what it is given; everything else there goes through ``tell``
    sys.stderr = _safe(sys.stderr, encoding_only=sys.stderr is not None and sys.stderr.isatty())
    try:
        try:
            commands()
        finally:
            _flush()
    except BrokenPipeError:
        # the reader of our output left (``| head``): nothing is wrong; a second error on closing must not show either
        _discard_output()
        sys.exit(141)
    except KeyboardInterrupt:
        print("redistill: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _discard_output()
        sys.exit(tell(error))


def _at_home(word: str) -> str:
    """``--to=~/report`` with the home folder written out, as shells do where the tilde begins a word, and only there."""
    name, equals, value = word.partition("=")
    return f"{name}={os.path.expanduser(value)}" if equals and name.startswith("--") and value.startswith("~") else word


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """A warning is a note to a person: where it stands in the code is of no use to them, nor is hearing it again from another place."""
    text = plain(str(message))
    if sys.stderr is not None and text not in _told:
        _told.add(text)
        print(f"{NOTE}{text}", file=sys.stderr)


_told: set[str] = set()
"""What this process has been warned of."""


def _flush() -> None:
    """A full disk shows here, and not at the very end without a sentence."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RedistillError(f"cannot write to standard output: {error.strerror or error}; the work itself is done") from error


def _discard_output() -> None:
    """What cannot be written any more is not tried again when Python ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError, AttributeError):
            pass  # it is closed already


def tell(problem: BaseException | str) -> int:
    """Say an error, or a sentence, as one line on standard error; returns the exit status."""
    text = problem if isinstance(problem, str) else sentence(problem)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ..."
    hint = "" if debug or isinstance(problem, str | RedistillError | OSError) else " (--debug shows where)"
    if sys.stderr is not None:
        print(f"redistill: {plain(text)}{hint}", file=sys.stderr)
    return int(getattr(problem, "status", 1))
