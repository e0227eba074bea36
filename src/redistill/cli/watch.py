"""``redistill watch``: curves of a run in the terminal, while it runs."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Annotated, TextIO, cast

import typer

from redistill.cli import app
from redistill.cli.options import Json, Out, show_json

EVERY = 0.5  # seconds between two looks


class _Screen:
    """Standard output for what rich draws: the names in it are made plain already, and its own colours must pass."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        if isinstance(sys.stdout, io.TextIOWrapper):
            return io.TextIOWrapper.write(sys.stdout, text)  # not that of the program's stream, which escapes control characters
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()

    def isatty(self) -> bool:
        return True


@app.command()
def watch(
    run: Annotated[str, typer.Argument(help="Folder, beginning of an id or cell, or name; also a folder of rd.fit.", metavar="RUN")],
    once: Annotated[bool, typer.Option("--once", help="Show what is there, and end.")] = False,
    out: Out = Path("runs"),
    as_json: Json = False,
) -> None:
    """Draw a run's curves in the terminal.

    Follows a run until it ends; Ctrl-C leaves it alone. Where there is no terminal, a line a point.
    """
    import dataclasses

    from redistill.report.terminal import drawn, ends, lines_of
    from redistill.runs.live import folder_of, look
    from redistill.runs.store import PENDING, Store, Unfinished

    folder = folder_of(Store(out), run)
    live = look(folder)
    if as_json:
        show_json(dataclasses.asdict(live))
        return
    follow = live.state == "running" and not once
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live as Screen

        console = Console(file=cast(TextIO, _Screen()))
        height = max(4, (console.height - 8) // 2)
        if not follow:
            console.print(drawn(live, console.width, min(height, 12)))
        else:
            with Screen(console=console, auto_refresh=False) as screen:
                while True:
                    live = look(folder)
                    screen.update(drawn(live, console.width, height), refresh=True)
                    if live.state != "running":
                        break
                    time.sleep(EVERY)
    else:
        lines, known = lines_of(live)
        print("\n".join([live.label, *(lines or ["nothing is measured yet"])]), flush=True)
        while follow:
            time.sleep(EVERY)
            live = look(folder)
            lines, known = lines_of(live, known)
            if lines:
                print("\n".join(lines), flush=True)
            follow = live.state == "running"
    if live.state != "running":
        begun = Unfinished(folder, None, live.label).command if (folder / PENDING).is_file() else "the same call of rd.fit"
        print(ends(live, begun))
