"""The command line. Nothing heavy is imported before a command runs: ``redistill --help`` never waits for torch."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
import typer.core

from redistill.errors import RedistillError

# first what makes runs, then what looks at them, papers, what data make of networks, and what there is
ORDER = (
    "run", "train", "runs", "show", "compare", "diff", "evaluate", "papers", "reproduce", "explain", "report",
    "audit", "quotes",
    "belief", "samples", "toy", "list", "download", "verify",
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


@app.callback()
def _options(
    show: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (anywhere on the line).")] = False,
) -> None:
    """Distil neural networks, and find out whether a paper's number is true."""


def main() -> None:
    """The entry point: an error is one sentence on standard error, ``--debug`` shows where it came from."""
    from redistill.cli import download, evaluate, evidence, look, papers, run, zero_shot  # noqa: F401  each module adds its commands to ``app``

    global debug
    debug = "--debug" in sys.argv[1:]
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        app()
    except BrokenPipeError:
        # the reader of our output left (``| head``): nothing is wrong; a second error on closing must not show either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("redistill: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            traceback.print_exc()
        sys.exit(tell(error))


def tell(error: BaseException) -> int:
    """Say an error as one sentence on standard error; returns the exit status."""
    hint = "" if debug or isinstance(error, RedistillError) else " (--debug shows where)"
    print(f"redistill: {said(error)}{hint}", file=sys.stderr)
    return int(getattr(error, "status", 1))


def said(error: BaseException) -> str:
    """The sentence of an error of ours; of any other, its kind too."""
    if isinstance(error, RedistillError):
        return str(error)
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no further word"
    return f"{type(error).__name__}: {first}"
