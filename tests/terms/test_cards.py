"""The method cards are what the term files say today, and their examples run."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch

from redistill.errors import RedistillError
from redistill.report.card import card, cards
from redistill.terms import ALL

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "methods"


def test_no_card_is_stale() -> None:
    made = cards()
    assert sorted(made) == sorted(["README.md", "zero-shot.md", "few-images.md", *(f"{cls.__name__}.md" for cls in ALL)])
    for name, text in made.items():
        stored = (FOLDER / name).read_text(encoding="utf-8") if (FOLDER / name).is_file() else ""
        assert stored == text, f"docs/methods/{name} is stale: run python scripts/make_docs.py"
    assert sorted(p.name for p in FOLDER.iterdir()) == sorted(made)


@pytest.mark.parametrize("name", [cls.__name__ for cls in ALL])
def test_the_example_of_a_card_runs(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    example = text.partition("```python\n")[2].partition("```")[0]
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(example, {}, name, None, None))
    assert runner.tries > 2 and runner.failures == 0


def test_the_example_of_the_zero_shot_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import redistill as rd

    rd.models.save(rd.models.wrn(10, 1, classes=10, seed=1), tmp_path / "teacher.safetensors", normalisation="cifar10-kuangliu")
    pixels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    test = rd.data.Images(pixels, torch.arange(4), 10, "four", "cifar10-kuangliu")
    monkeypatch.setattr(rd.data, "cifar10", lambda *_: (test, test))
    text = (FOLDER / "zero-shot.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    for long, short in (
        ('"teacher.safetensors"', f'"{tmp_path}/teacher.safetensors"'),
        ('preset("authors")', 'preset("authors", stop_after=1, batch_size=4)'),
    ):
        assert long in text
        text = text.replace(long, short)
    names: dict[str, object] = {}
    exec(compile(text, "zero-shot.md", "exec"), names)  # our own page
    assert isinstance(names["result"], rd.Result) and names["result"].steps == 10


def test_the_example_of_the_few_images_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import redistill as rd

    pixels = torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)
    train = rd.data.Images(pixels, torch.arange(1000) % 10, 10, "cifar10:train", "cifar10-kuangliu")
    ten = rd.data.Images(pixels[:10], torch.arange(10), 10, "ten", "cifar10-kuangliu")
    monkeypatch.setattr(rd.data, "cifar10", lambda *_: (train, ten))
    monkeypatch.setattr(rd.models, "load", lambda *_: rd.models.wrn(10, 1, classes=10, seed=1))
    text = (FOLDER / "few-images.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert "recipe, seed=0" in text
    text = text.replace("recipe, seed=0", 'recipe.model_copy(update={"steps": 1, "batch_size": 4}), seed=0')
    names: dict[str, object] = {}
    exec(compile(text, "few-images.md", "exec"), names)  # our own page
    assert isinstance(names["result"], rd.Result) and names["result"].steps == 1
    assert set(names["result"].losses) == {"CE", "KD", "AT"}


def test_a_setting_without_a_sentence_is_refused() -> None:
    kd = next(cls for cls in ALL if cls.__name__ == "KD")
    doc = kd.__doc__
    try:
        kd.__doc__ = (doc or "").replace("factor:", "faktor:")
        with pytest.raises(RedistillError, match="KD does not say what factor means"):
            card(kd)
    finally:
        kd.__doc__ = doc


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    row = next(line for line in cards()["AT.md"].splitlines() if line.startswith("| `absolute`"))
    assert row.replace("\\|", "").count("|") == 4
