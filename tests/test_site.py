"""The documentation as a whole: every page stands in the tree, every relative link leads somewhere, and the site builds."""

from __future__ import annotations

import fnmatch
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "RESULTS.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")), *sorted(DOCS.rglob("*.ipynb"))]


def test_every_page_stands_in_the_tree_of_the_site() -> None:
    tree = runpy.run_path(str(DOCS / "conf.py"))["TREE"]
    every = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES if path.is_relative_to(DOCS)}
    found = {"index"}
    for page, entries in tree.items():
        assert page in every, f"docs/conf.py: {page} is no page"
        for entry in entries:
            whole = entry[1:] if entry.startswith("/") else f"{page.rpartition('/')[0]}/{entry}".lstrip("/")
            inside = {name for name in every if fnmatch.fnmatch(name, whole) and name.count("/") == whole.count("/")}
            assert inside, f"docs/conf.py: {page} names {entry}, and there is no such page"
            found |= inside
    assert every - found == set(), "name them in TREE of docs/conf.py"


def anchors(path: Path) -> set[str]:
    """Headings of a page as links name them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ +(.*?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_relative_link_leads_somewhere() -> None:
    lost = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".md":
            text = re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for target in re.findall(r"\]\(([^()\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            place = (page.parent / name) if name else page
            if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
                lost.append(f"{page.relative_to(ROOT)}: {target}")
    assert lost == []


def test_the_front_page_of_the_results_leads_to_what_is_there() -> None:
    place = ROOT / "results" / "index.html"
    text = place.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r'(?:href|src)="([^"#]+)"', text) if not t.startswith("data:")]
    assert len(targets) > 20 and [t for t in targets if not (place.parent / t).exists()] == []
    assert "ferles2020, Table 4: ours minus the paper's" in text and "Runs killed at random moments" in text
    spoken = [words.split("; ") for words in re.findall(r"<desc[^>]*>([^<]*2 %: [^<]*)</desc>", text)]
    assert len(spoken) >= 2  # tables 1 and tf-plots of ahn2019 share the names of their rows: no figure has a name twice
    for rows in spoken:
        names = [row.partition(":")[0] for row in rows]
        assert len(set(names)) == len(names), names


def test_the_site_builds_without_a_warning_and_its_search_needs_no_network(tmp_path: Path) -> None:
    for name in ("sphinx", "myst_nb", "pydata_sphinx_theme"):
        pytest.importorskip(name, reason="pip install '.[docs]'")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path / "site")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert "redistill.KD" in (site / "api.html").read_text(encoding="utf-8")
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "findings" in index and "tutorials/newcomer" in index
    for page in ("index.html", "search.html", "notebooks/toy.html", "methods/KD.html"):
        text = (site / page).read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]+"', text) == [], page
