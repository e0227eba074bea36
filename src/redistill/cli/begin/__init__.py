"""Files to begin with, one for each kind of work; ``redistill init`` writes them."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent

ABOUT = {
    "train": "one network on labels alone",
    "distill": "a student and its teacher",
    "compare": "several methods in one table",
    "unlabelled": "images without labels",
    "zero-shot": "no images at all",
    "paper": "printed numbers, to be judged",
}


def text_of(kind: str) -> str:
    """The commented file of a kind of work."""
    return (HERE / f"{kind}.toml").read_text(encoding="utf-8")
