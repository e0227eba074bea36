"""Write every page that is made from files and records: docs/methods, docs/papers, docs/commands.md, docs/keys.md, docs/proof.md,
docs/benchmarks.md, RESULTS.md with its figures, and the table in README.md.

    python scripts/make_docs.py [--check]

``--check`` writes nothing and fails where a page is stale.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import make_keys  # type: ignore[import-not-found]  # beside this file

from redistill.report import benchmarks, card, paper_page, results

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
    made[docs / "benchmarks.md"] = benchmarks.page(RESULTS)
    return made | {ROOT / "RESULTS.md": results.text(RESULTS), docs / "proof.md": results.proof(RESULTS)}


def figures(to: Path) -> list[Path]:
    """All figures, drawn into a folder."""
    return [*results.figures(RESULTS, to), *benchmarks.figures(RESULTS, to)]


def stale() -> list[str]:
    """Places, below the root, of pages and figures that are not what would be written today."""
    found = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    with tempfile.TemporaryDirectory() as place:
        for drawn in figures(Path(place)):
            if not (stored := RESULTS / "figures" / drawn.name).exists() or not results.alike(stored, drawn):
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
    for path in figures(RESULTS / "figures"):
        print(f"drawn: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
