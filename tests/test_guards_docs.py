"""What the pages tell people to type: blocks of Python run (on small stand-ins), commands are understood by the program."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from torch import nn
from torch.nn import functional as F

import redistill as rd
from redistill import papers
from redistill.cli import program
from redistill.cli.begin import text_of
from redistill.papers.plan import select

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "RESULTS.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FILES = [*sorted((ROOT / "examples").glob("*.*")), *sorted((ROOT / "experiments").rglob("*.toml"))]


# -- Python -----------------------------------------------------------------------------------------------------------
def blocks(page: Path) -> list[str]:
    """Every block of Python of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def block_of(word: str, place: str = "README.md") -> str:
    """The block of a page that holds a word."""
    found = [block for block in blocks(ROOT / place) if word in block]
    assert len(found) == 1, f"{len(found)} blocks of {place} hold {word!r}"
    return found[0]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> tuple[rd.data.Images, rd.data.Images]:
    """Digits-sized stand-ins for what the README's blocks name and nobody has: the data, a teacher's file, 200 epochs."""
    pixels = torch.randint(0, 256, (60, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    train = rd.data.Images(pixels, torch.arange(60) % 10, 10, "cifar10:train", "cifar10-kuangliu")
    test = rd.data.Images(pixels[:20], torch.arange(20) % 10, 10, "cifar10:test", "cifar10-kuangliu")
    monkeypatch.setattr(rd.data, "cifar10", lambda *_: (train, test))
    monkeypatch.setattr(rd.models, "load", lambda *_: rd.models.wrn(10, 1, seed=1))
    return train, test


def shortened(text: str) -> str:
    """The same script with a short run of a small network."""
    made = re.sub(r"epochs=\d+", "epochs=1", text)
    made = re.sub(r"at=\((\d+, )+\d+\)", "at=(1,)", made)
    return re.sub(r"per_class\(\d+", "per_class(3", made).replace("wrn(16, 1", "wrn(10, 1")


def test_the_first_block_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing but the package and scikit-learn's digits; cut short."""
    pytest.importorskip("sklearn")
    names: dict[str, Any] = {}
    exec(compile(shortened(blocks(ROOT / "README.md")[0]), "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["teacher", "seed 0", "seed 1", "seed 2", "the teacher's help"]
    assert len(names["gains"]) == 3 and all(-100 <= gain <= 100 for gain in names["gains"])


def test_the_loop_of_ones_own_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The block after the first, which goes on from its names; a tenth of its steps."""
    pytest.importorskip("sklearn")
    first, own = blocks(ROOT / "README.md")[:2]
    names: dict[str, Any] = {}
    exec(compile(f"{first.partition('methods = ')[0]}\n{own.replace('range(100)', 'range(10)')}", "README.md", "exec"), names)
    assert names["loss"].isfinite() and "% on the test images" in capsys.readouterr().out.splitlines()[-1]
    assert all(p.grad is None for p in names["teacher"].parameters()) and len(own.strip().splitlines()) <= 14


def test_the_block_on_cifar_runs(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(shortened(block_of("rd.data.cifar10(")), "README.md", "exec"), names)
    accuracy, agreed = capsys.readouterr().out.split(maxsplit=1)
    assert 0 <= float(accuracy) <= 100 and agreed.strip()
    assert isinstance(names["result"], rd.Result) and names["result"].steps > 0


class Foreign(nn.Module):
    """A network as people have them: no stages, no names of ours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.features(x).mean((2, 3)))
        return out


@pytest.mark.parametrize("pair", ["ours", "foreign"])
def test_the_loop_of_ones_own_runs(pair: str) -> None:
    student = rd.models.wrn(10, 1) if pair == "ours" else Foreign(4)
    teacher = rd.models.wrn(10, 2) if pair == "ours" else Foreign(8)
    given = {"rd": rd, "torch": torch, "F": F, "nn": nn, "student": student, "teacher": teacher}
    names: dict[str, Any] = {**given, "images": torch.randn(8, 3, 32, 32), "labels": torch.arange(8)}
    exec(compile(block_of("rd.Batch(images", "docs/how-to/own-loop.md"), "own-loop.md", "exec"), names)
    assert names["loss"].isfinite() and all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


TRIED = {"README.md": 4}  # cards are run by test_terms_cards and test_doctests, how-to pages and tutorials by test_how_to


def test_no_page_has_a_block_that_nobody_runs() -> None:
    counted = {str(page.relative_to(ROOT)): len(found) for page in PAGES if (found := blocks(page))}
    elsewhere = ("docs/methods/", "docs/how-to/", "docs/tutorials/")
    left = {place: count for place, count in counted.items() if not place.startswith(elsewhere) and TRIED.get(place) != count}
    assert left == {}, "add a test that runs these blocks, and count them in TRIED"


# -- commands ---------------------------------------------------------------------------------------------------------
def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of everything that begins with ``redistill`` on a line of its own or between backticks."""
    for page in [*PAGES, *FILES]:
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"`redistill ([^`]+)`", text) if page.suffix == ".md" else []
        found += re.findall(r"^(?:#\s+)?redistill ([a-z].*)$", text, flags=re.MULTILINE)
        for command in found:
            for one in re.split(r"\s&&\s(?:redistill )?", re.split(r"\s{2,}|\s#", command)[0]):
                yield str(page.relative_to(ROOT)), one.strip()


COMMANDS = sorted(set(commands()))
PROGRAM: Any = typer.main.get_command(program())


def words_of(command: str) -> list[str]:
    """The words of a documented command: ``[--set a=b]`` may be left out but must be understood, of ``a|b`` the first is."""
    words = shlex.split(re.sub(r"[\[\]]|\.\.\.", " ", command))
    return ["0" if word == "S" else word if "=" in word else word.split("|")[0] for word in words]  # S: any seed


def understood(command: str) -> Any:
    """The parsed command; a click error where the program does not know it."""
    name, *words = words_of(command)
    found = PROGRAM if name.startswith("-") else PROGRAM.get_command(None, name)
    assert found is not None, f"there is no command {name!r}"
    words = [name, *words] if found is PROGRAM else words
    try:
        return found.make_context(name, words)
    except typer.Exit:  # --help
        return None
    except Exception as error:
        if any(part in str(error) for part in ("Missing argument", "Missing parameter", "requires an argument")):
            return None  # in a sentence a command need not be whole: `redistill run`
        raise


@pytest.mark.parametrize("command", sorted({command for _, command in COMMANDS}))
def test_a_documented_command_is_understood(command: str) -> None:
    understood(command)


def test_commands_are_found_where_people_read_them() -> None:
    assert {page for page, _ in COMMANDS} >= {"README.md", "RESULTS.md", "docs/commands.md", "docs/experiments.md"}
    assert len(COMMANDS) > 80
    with pytest.raises(Exception, match="No such option"):
        understood("reproduce tian2020 --tabel 1")


paper = functools.cache(papers.load)


@pytest.mark.parametrize("command", sorted({c for _, c in COMMANDS if re.match(r"reproduce \w+[0-9]{4}", c)}))
def test_a_documented_cell_is_there(command: str) -> None:
    given = understood(command).params
    assert select(paper(given["paper"]), given["table"], given["only"], given["rows"], given["columns"])


def test_files_that_commands_name_are_there() -> None:
    named = {word for _, command in COMMANDS for word in words_of(command) if re.match(r"(examples|experiments)/.*\.toml$", word)}
    missing = [word for word in named if "FILE" not in word and not list(ROOT.glob(word))]
    assert named and missing == []


CHEAP = r"(plan .*|list \w+|papers.*|runs|reproduce .*--dry-run.*|explain .*--dry-run.*|run .*--dry-run.*)$"


@pytest.mark.parametrize("command", sorted({c for _, c in COMMANDS if re.match(CHEAP, c)}))
def test_a_cheap_command_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("REDISTILL_CACHE", str(tmp_path))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "FILE.toml").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "paper.toml").write_text(text_of("paper"), encoding="utf-8")  # as redistill init paper writes it
    monkeypatch.chdir(tmp_path)
    if re.search(r"\b(FILE|PAPER|TABLE|NAME|CELL|FOLDER|mine\.toml)\b", command):
        pytest.skip("stands for what the reader names")
    with pytest.raises(SystemExit) as ended:
        PROGRAM.main(words_of(command), prog_name="redistill")
    assert not ended.value.code
    assert (capsys.readouterr().out.strip() != "") or command == "runs"
