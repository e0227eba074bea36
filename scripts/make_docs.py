"""Write every page that is made from files and records: docs/methods, docs/papers, docs/commands.md, docs/keys.md, docs/proof.md,
RESULTS.md with its figures, and the table in README.md.

    python scripts/make_docs.py [--check]

``--check`` writes nothing and fails where a page is stale.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import make_keys

from redistill.report import card, paper_page, results

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


def pages() -> dict[Path, str]:
    """Text of every page by its place."""
    docs = ROOT / "docs"
    made = {docs / "methods" / name: text for name, text in card.cards().items()}
    made |= {docs / name: text for name, text in paper_page.pages().items()}
    readme = ROOT / "README.md"
    made[readme] = results.readme(readme.read_text(encoding="utf-8"), RESULTS)
    made[docs / "keys.md"] = make_keys.text()
    return made | {ROOT / "RESULTS.md": results.text(RESULTS), docs / "proof.md": results.proof(RESULTS)}


def stale() -> list[str]:
    """Places, below the root, of pages and figures that are not what would be written today."""
    found = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    with tempfile.TemporaryDirectory() as place:
        for drawn in results.figures(RESULTS, Path(place)):
            if not (stored := RESULTS / drawn.name).exists() or not results.alike(stored, drawn):
                found.append(stored)
    return [path.relative_to(ROOT).as_posix() for path in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if odd := stale():
            sys.exit(f"{', '.join(odd)}: stale; run python scripts/make_docs.py (figures: with the versions of constraints.txt)")
        return
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in results.figures(RESULTS, RESULTS):
        print(f"drawn: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
