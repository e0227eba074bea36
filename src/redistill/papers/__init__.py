"""Papers as files: their tables cell by cell, the experiment behind each cell, and what it takes to run them.

``schema`` what a file may say; ``load`` how it is read; ``cells`` its cells and their experiments; ``plan`` what to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redistill._moved import old_names
from redistill.papers.cells import Cell, Paper, ReportedValue
from redistill.papers.load import load, names

__all__ = ["Cell", "Paper", "ReportedValue", "load", "names"]

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
