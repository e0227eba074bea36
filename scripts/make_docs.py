"""Write every page that is made from files and records: docs/methods, docs/papers, docs/api.md, docs/alpha.md, docs/numbers.md,
docs/commands.md, docs/keys.md, docs/proof.md, docs/benchmarks.md, RESULTS.md with its figures, results/index.html, the tables in
README.md, docs/distill.md and docs/gpu.md, what ``redistill list`` says, and, where typst is installed, results/articles. With
``--shared`` also what is made from other people's files there: results/audit, and the registry of published numbers in the package.

    python scripts/make_docs.py [--check] [--shared ../shared]

``--check`` writes nothing and fails where a page is stale.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_audit
import make_keys
import make_registry

import redistill as rd
from redistill.cli import listing
from redistill.errors import RedistillError
from redistill.evidence import numbers
from redistill.report import alpha_page, article, benchmarks, card, device, distilled, front, paper_page, proof, results
from redistill.report.table import bars
from redistill.report.web import paper_parts
from redistill.report.written import written_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
ARTICLES = ("ahn2019", "ferles2020")


def sentence(doc: str | None) -> str:
    """The first paragraph of a docstring up to its first full stop, formulas (indented) left out, as Markdown."""
    lines = [line for line in inspect.cleandoc(doc or "").splitlines() if not line.startswith("    ")]
    paragraph = "\n".join(lines).strip().partition("\n\n")[0].replace("\n", " ")
    first = re.split(r"\. (?=[A-Z])", paragraph)[0].rstrip(".")
    return re.sub(r":(?:class|func|meth):`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", first).replace("``", "`")


def name_line(name: str) -> str:
    """``| `rd.KD` | what it is |``"""
    meaning = sentence(getattr(rd, name).__doc__)
    if not meaning:
        raise SystemExit(f"rd.{name} does not say what it is: give it a docstring")
    return bars((f"`rd.{name}`", meaning))


def api() -> str:
    """docs/api.md: the public names, a table for each home, in the order of the package's own table."""
    parts = [
        "<!-- made from the package by scripts/make_docs.py; do not edit -->\n# Public names\n\n"
        "`import redistill as rd`; each name is loaded when it is first used. `help(rd.KD)` says the rest."
    ]
    for home in dict.fromkeys(rd._HOME.values()):
        names = [name for name, where in rd._HOME.items() if where == home]
        title = sentence(importlib.import_module(f"redistill.{home}").__doc__)
        parts.append("\n".join((f"## `redistill.{home}`\n\n{title}.\n\n| name | what it is |\n|---|---|", *map(name_line, names))))
    rooms = "\n".join(name_line(name) for name in rd._ROOMS)
    parts.append(f"## Rooms\n\nModules that are used by their own names.\n\n| name | what it is |\n|---|---|\n{rooms}")
    return "\n\n".join(parts) + "\n"


def of_shared(shared: Path) -> Iterator[tuple[Path, str]]:
    """Places and texts made from files there, each made of those before it as they lie on disk: to be written one by one."""
    yield make_registry.TARGET, make_registry.text(shared)
    with tempfile.TemporaryDirectory() as place:
        for path in make_audit.write(shared, Path(place)):
            yield make_audit.TARGET / path.name, path.read_text(encoding="utf-8")


def pages() -> dict[Path, str]:
    """Text of every page by its place, but of those that are made from files in ``--shared``."""
    docs = ROOT / "docs"
    made = {docs / "methods" / name: text for name, text in card.cards().items()}
    judged = results.judged_papers(RESULTS)
    made |= {docs / name: text for name, text in paper_page.pages(judged).items()}
    made |= {docs / "api.md": api(), docs / "numbers.md": numbers.page(), docs / "alpha.md": alpha_page.page()}
    readme = ROOT / "README.md"
    made[readme] = results.readme(readme.read_text(encoding="utf-8"), RESULTS)
    distill = docs / "distill.md"
    made[distill] = distilled.on_page(distill.read_text(encoding="utf-8"), RESULTS)
    gpu = docs / "gpu.md"
    made[gpu] = device.on_page(gpu.read_text(encoding="utf-8"), RESULTS)
    made[docs / "keys.md"] = make_keys.text()
    made[ROOT / "src/redistill/cli/listed.json"] = listing.text()
    made[docs / "benchmarks.md"] = benchmarks.page(RESULTS)
    measured = results.text(RESULTS)
    made[RESULTS / "index.html"] = front.front_page(measured, judged, ARTICLES)
    return made | {ROOT / "RESULTS.md": measured, docs / "proof.md": proof.proof(RESULTS)}


def figures(to: Path) -> list[Path]:
    """All figures, drawn into a folder."""
    return [*results.figures(RESULTS, to), *benchmarks.figures(RESULTS, to)]


def articles() -> dict[Path, tuple[dict[str, Any], dict[str, bytes]]]:
    """What each article says, and its pictures, by its place."""
    made = {}
    for name in ARTICLES:
        plan, tables = results.judged_papers(RESULTS)[name]
        written = written_of(name)
        made[RESULTS / "articles" / f"{name}.pdf"] = article.source(paper_parts(plan, tables, written, whole=False), plan, tables, written)
    return made


def words(text: str) -> str:
    """A page without the lines of its drawings, which another processor may round otherwise; their letters stay."""
    return re.sub(r"<svg.*?</svg>", lambda drawn: " ".join(re.findall(r"<text[^>]*>([^<]*)", drawn[0])), text, flags=re.DOTALL)


def stale(shared: Path | None = None) -> list[str]:
    """Places, below the root, of pages and figures that are not what would be written today."""
    made = {**(dict(of_shared(shared)) if shared is not None else {}), **pages()}
    found = [path for path, text in made.items() if not path.exists() or words(path.read_text(encoding="utf-8")) != words(text)]
    with tempfile.TemporaryDirectory() as place:
        for drawn in figures(Path(place)):
            if not (stored := RESULTS / "figures" / drawn.name).exists() or not results.alike(stored, drawn):
                found.append(stored)
    for path, (content, _) in articles().items() if importlib.util.find_spec("typst") else ():  # without it nobody could make them again
        if not path.exists() or article.known_by(path.read_bytes()) not in content["keywords"][0]:
            found.append(path)
    return [path.relative_to(ROOT).as_posix() for path in found]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--shared", type=Path, help="folder with evidence, evidence/quotes and papers/claims")
    given = parser.parse_args()
    if given.check:
        if odd := stale(given.shared):
            sys.exit(f"{', '.join(odd)}: stale; run python scripts/make_docs.py (figures: with the versions of constraints.txt)")
        return
    for path, text in of_shared(given.shared) if given.shared is not None else ():
        write(path, text)
    for path, text in pages().items():
        write(path, text)
    for path in figures(RESULTS / "figures"):
        print(f"drawn: {path.relative_to(ROOT)}")
    for path, content in articles().items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(article.typeset(*content))
        except RedistillError as error:
            print(f"{path.relative_to(ROOT)} is left as it is: {error}")


if __name__ == "__main__":
    main()
