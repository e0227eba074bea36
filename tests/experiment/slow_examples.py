"""Every example run to its end: it teaches what it says only if it reaches what it should.

Not part of ``make test`` (six minutes of CPU); ``test_examples.py`` runs the cheap ones to their end and all others cut short.

    make examples
"""

from __future__ import annotations

import pytest

from helpers.examples import EXAMPLES, REACHED, at_its_end, require_reached
from redistill.runs.store import Store


def test_it_is_known_of_every_example_what_it_should_reach() -> None:
    assert REACHED.keys() == {path.stem for path in EXAMPLES.glob("*.toml")}


@pytest.mark.parametrize("name", REACHED)
def test_an_example_reaches_what_it_should(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Store(tmp_path_factory.getbasetemp() / "whole")  # teachers are trained once for all
    require_reached(name, at_its_end(name, place))
