"""What a person sees of a loop at work."""

from __future__ import annotations

import io
import re

import pytest

from redistill.launch.progress import progress


@pytest.mark.parametrize("columns", ["80", "40"])
def test_a_narrow_terminal_keeps_steps_time_and_every_number(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    news = "loss " + " | ".join(f"{n}.25" for n in range(6)) + ", test " + " | ".join(f"{n}1.50" for n in range(6)) + " %"
    with progress("a name that is much longer than what a terminal has room for", 10, stream=screen) as tell:
        tell(3, news)
    last = re.split(r"\x1b\[\d*A", screen.getvalue())[-1]
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last).replace("\r", "").splitlines()
    assert "3/10 steps" in lines[0] and max(map(len, lines)) <= int(columns)
    assert " ".join(" ".join(lines[1:]).split()).startswith(news)
