"""The documentation site: ``make site`` (extra ``docs``). Sphinx, because it reads docstrings and notebooks and searches offline;
zensical is at version 0.1 and has neither. Pages are the Markdown of this folder, readable as they are; what only a site needs (the
reference out of docstrings, RESULTS.md and CHANGELOG.md as pages, addresses of files outside) is added while they are read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import redistill as rd

HERE = Path(__file__).parent
ROOT = HERE.parent

project = "redistill"
copyright = "the redistill founders"
release = version = rd.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
templates_path: list[str] = []
suppress_warnings = ["myst.header"]  # a card begins with its second level where its page has the first

myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks are stored with their outputs; tests/test_notebooks.py executes them
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = "redistill"
html_static_path: list[str] = []
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "secondary_sidebar_items": ["page-toc"],
}

TREE: dict[str, list[str]] = {
    "index": ["tutorials/index", "how-to/index", "reference/index", "results/index", "project/index"],
    "tutorials/index": ["newcomer", "engineer", "researcher", "reproducer", "/notebooks/*"],
    "how-to/index": ["*", "/distill", "/experiments", "/without-data", "/evidence", "/alpha", "/speed", "/gpu"],
    "reference/index": ["/api", "/keys", "/commands", "/methods/README"],
    "methods/README": ["*"],
    "results/index": ["/findings", "/papers/README", "/verdicts", "/proof", "/benchmarks", "/growth", "/numbers"],
    "papers/README": ["*"],
    "project/index": ["/house", "/first-hour", "/decisions/*", "/faults", "/log", "/changelog"],
}
"""Which pages stand below which; ``*`` are those of a folder that nobody else names. tests/test_site.py holds it complete."""

OUTSIDE = {"README.md": "index.md", "RESULTS.md": "findings.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the root, by what shows them here."""


def _links(text: str, place: Path) -> str:
    """Links out of this folder: to a page of the root, its page here; to a folder, its name; to a file, a download."""

    def found(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = (place.parent / target).resolve()
        if not path.is_relative_to(ROOT) or path.is_relative_to(HERE):
            return match[0]
        name = path.relative_to(ROOT).as_posix()
        if name in OUTSIDE:
            return f"[{words}](/{OUTSIDE[name]}{anchor})"
        return f"{words} (`{name}`)" if path.is_dir() else match[0]

    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!\w+:)([^)#]+)(#[^)]*)?\)", found, text)


def _read(app: Any, name: str, source: list[str]) -> None:
    if name.startswith("notebooks/"):
        return
    place = HERE / f"{name}.md"
    for root, shown in OUTSIDE.items():
        if shown == f"{name}.md" and name != "index":
            place = ROOT / root
            source[0] = place.read_text(encoding="utf-8")
    source[0] = _links(source[0], place)
    if place.parent == ROOT:
        source[0] = re.sub(r"\]\(docs/", "](/", source[0])
        source[0] = re.sub(r"!\[([^\]]*)\]\((?!\w+:)", r"![\1](../", source[0])
    if name == "api":
        source[0] += _reference()
    if name in TREE:
        below = "\n".join(TREE[name])
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:glob:\n:maxdepth: 2\n\n{below}\n```\n"


def _reference() -> str:
    """The docstrings of every public name, and of the rooms that are used by their own names."""
    out = ["\n## Reference\n"]
    for name in sorted(rd._HOME, key=str.lower):
        kind = "autoclass" if isinstance(getattr(rd, name), type) else "autofunction"
        members = "\n   :members:" if kind == "autoclass" else ""
        out.append(f"```{{eval-rst}}\n.. {kind}:: redistill.{name}{members}\n```\n")
    for name in rd._ROOMS:
        # what has a public name of its own stands above
        above = ", ".join(public for public, home in rd._HOME.items() if home.partition(".")[0] == name)
        without = f"\n   :exclude-members: {above}" if above else ""
        out.append(f"### `rd.{name}`\n\n```{{eval-rst}}\n.. automodule:: redistill.{name}\n   :members:{without}\n```\n")
    return "\n".join(out)


def _formulas(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings set formulas apart by four spaces, write |x| for a norm and [B, *size] for a shape: no reStructuredText is meant."""
    out: list[str] = []
    literal = False
    for i, line in enumerate(lines):
        if line.startswith("    ") and not literal and i and not lines[i - 1].strip() and _prose(out):
            out[-1:] = ["", "::", ""]
            literal = True
        literal = literal and (not line.strip() or line.startswith("    "))
        out.append(line if literal else re.sub(r"``.*?``|`.*?`|\||\*(?=\w+\])", lambda m: f"\\{m[0]}" if len(m[0]) == 1 else m[0], line))
    lines[:] = out


def _prose(before: list[str]) -> bool:
    """Whether the last line with letters stands at the left and opens no section of arguments."""
    last = next((line for line in reversed(before) if line.strip()), "")
    return not last.startswith(" ") and not re.fullmatch(r"[A-Z]\w+:", last)


def setup(app: Any) -> None:
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _formulas, priority=100)  # before napoleon
