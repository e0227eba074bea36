"""Generated pages say what the records say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_no_page_that_is_made_is_stale() -> None:
    done = subprocess.run([sys.executable, "scripts/make_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readme_offers_the_two_commands_and_its_script_names_exist() -> None:
    import redistill as rd

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text and "make test" in text
    (script,) = [block.split("```")[0] for block in text.split("```python")[1:] if "rd.data.cifar10(" in block]
    compile(script, "README.md", "exec")
    for word in ("fit", "CE", "KD", "AT", "Recipe", "MultiStep", "agreement"):
        assert f"rd.{word}(" in script and hasattr(rd, word)


def test_what_is_made_of_other_peoples_files_is_not_stale(shared: Path) -> None:
    if not (shared / "evidence" / "quotes").is_dir():
        pytest.skip("the shared evidence is not here")
    words = [sys.executable, "scripts/make_docs.py", "--check", "--shared", str(shared)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_picture_of_the_house_shows_the_floors_that_are_tested() -> None:
    import re

    from test_floors import FLOORS

    text = (ROOT / "docs" / "house.md").read_text(encoding="utf-8").partition("<!-- floors:")[2].partition("<!-- end of floors -->")[0]
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.+?) \|$", text, flags=re.MULTILINE)
    shown = [(int(height), tuple(re.findall(r"`(\w+)`", rooms))) for height, rooms, _ in rows]
    assert shown == [(height + 1, rooms) for height, rooms in reversed(list(enumerate(FLOORS)))]


def test_files_that_the_house_names_are_there() -> None:
    import re

    text = (ROOT / "docs" / "house.md").read_text(encoding="utf-8").partition("## Three walks")[2]
    named = re.findall(r"`([a-z_]+/[a-z_]*(?:\.py)?)`", text)
    assert len(named) > 10 and [name for name in named if not (ROOT / "src" / "redistill" / name).exists()] == []


def test_tests_that_the_page_of_faults_names_are_there() -> None:
    import re

    file, named = "", 0
    for found in re.finditer(r"`(tests/[\w/]+\.py)?::(\w+)`", (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")):
        file, named = found[1] or file, named + 1
        assert f"\ndef {found[2]}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{found[2]}"
    assert named > 50


def test_tests_and_scripts_that_pages_and_comments_name_are_there() -> None:
    import re

    places = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").glob("*.py"), *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    places += [file for room in ("src", "scripts", "tests", "benchmarks", "examples") for file in (ROOT / room).rglob("*.py")]
    old = {ROOT / "docs" / "log.md", ROOT / "CHANGELOG.md"}  # what was true when it was written stays
    made_up = {"tests/a.py"}
    named = {
        (found[0], str(file.relative_to(ROOT)))
        for file in places
        if file not in old
        for found in re.finditer(r"(?<![\w./@-])(?:tests|scripts|benchmarks)/[\w/]+\.py\b", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 100
    assert sorted(name for name in named if name[0] not in made_up and not (ROOT / name[0]).exists()) == []


def test_every_paper_has_its_page_and_the_list_of_papers_names_it() -> None:
    import re

    from redistill.papers.load import names

    folder = ROOT / "docs" / "papers"
    listed = set(re.findall(r"\]\((\w+)\.md\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert listed == set(names()) == {page.stem for page in folder.glob("*.md")} - {"README"}


def test_no_page_shows_the_markup_of_docstrings() -> None:
    """``:mod:`redistill.rng` `` and two backticks are for Sphinx: on a page that is read as it is they are noise."""
    import re

    odd, noise = [], re.compile(r":(?:mod|class|func|meth|data|attr):`[^`]*`|(?<!`)``(?!`)[^`\n]+``")
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        plain = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        odd += [f"{page.name}: {found[0]}" for found in noise.finditer(plain)]
    assert odd == []
