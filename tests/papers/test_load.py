"""Paper files: what they say, and every mistake of one in one answer with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.experiments import HERE
from redistill import papers
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.papers import ReportedValue, load
from redistill.papers.cells import filled
from redistill.papers.load import checked
from redistill.settings.change import put, put_over

SMALL = (HERE / "small.toml").read_text(encoding="utf-8")


def small(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = SMALL
    for before, after in changes:
        assert text.count(before) == 1, f"{before!r} stands there {text.count(before)} times"
        text = text.replace(before, after)
    path = tmp_path / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, *changes: tuple[str, str]) -> str:
    path = small(tmp_path, *changes)
    with pytest.raises(RedistillError) as error:
        load(path)
    return str(error.value).replace(str(path), "small.toml")


def line(tmp_path: Path, words: str) -> int:
    return next(n for n, text in enumerate((tmp_path / "small.toml").read_text(encoding="utf-8").splitlines(), 1) if words in text)


@pytest.mark.parametrize(
    ("text", "value", "decimals", "std", "approximate"),
    [("86.60 ± 0.56", 86.6, 2, 0.56, False), ("76", 76.0, 0, None, False), ("≈ 0.8", 0.8, 1, None, True),
     ("−2.0", -2.0, 1, None, False), ("74.3 ± 5e-2", 74.3, 1, 0.05, False)],
)  # fmt: skip
def test_numbers_are_read_as_printed(text: str, value: float, decimals: int, std: float | None, approximate: bool) -> None:
    assert ReportedValue.read(text) == ReportedValue(value, decimals, std, approximate)


def test_dashes_hold_no_number_and_words_are_refused() -> None:
    assert ReportedValue.read("-") is None and ReportedValue.read("?") is None
    with pytest.raises(RedistillError, match=r"'86,60' is not a printed number: write it as it stands"):
        ReportedValue.read("86,60")


def test_a_cell_gives_the_whole_experiment(tmp_path: Path) -> None:
    paper = load(small(tmp_path))
    assert [cell.id for cell in paper.cells] == ["small:1:10:alone", "small:1:10:KD", "small:1:20:alone"]
    kd = paper.cell("small:1:10:KD")
    assert kd.facts == {"data": "digits", "teacher": "Big", "student": "LeNet", "M": "10", "method": "KD"}
    base = {"source": {"data": "digits"}, "recipe": {"epochs": 2}, "evaluate": {"test": "digits:test"}}
    assert paper.settings(kd) == {
        "name": "small:1:10:KD",
        **base,
        "source": {"data": "digits", "per_class": 10},
        "student": {"model": "wrn-10-1"},
        "method": [{"use": "CE", "weight": 0.1}, {"use": "KD", "weight": 0.9, "T": 4.0}],
        "teacher": {"run": {**base, "student": {"model": "wrn-16-1"}, "method": [{"use": "CE"}]}, "seed": "same"},
    }
    assert "teacher" not in paper.settings(paper.cell("1:10:alone"))


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        ('["20", "55.0",       "-"]', '["20", "55,0"]'),
        ('recipe = "short"', 'recipe = "shrt"'),
        ("where = { M = [10, 20] }", "where = { N = [10, 20] }"),
        ('KD = { method = "KD" }', 'KDD = { method = "KD" }'),
    )
    assert message.startswith("5 mistakes:")
    assert f'small.toml: line {line(tmp_path, "shrt")}, case[0].recipe = "shrt": unknown recipe \'shrt\': did you mean short?' in message
    assert f"small.toml: line {line(tmp_path, 'N = [10')}, case[1].where.N: unknown fact" in message
    assert "unknown entry of the header 'KDD': did you mean KD?" in message
    assert f"small.toml: line {line(tmp_path, '55,0')}, table.1.rows[1]: has 2 entries, the header has 3" in message


def test_unknown_and_missing_keys(tmp_path: Path) -> None:
    message = refused(tmp_path, ("aggregate =", "agregate ="), ("caption = ", "captoin = "))
    assert f"small.toml: line {line(tmp_path, 'agregate')}, protocol.agregate = \"mean\": unknown key 'agregate': did you mean" in message
    assert "is missing" not in message, message
    assert "table.1.captoin" in message and "did you mean caption?" in message


def test_wrong_values_name_what_is_allowed(tmp_path: Path) -> None:
    message = refused(tmp_path, ('which = "last"', 'which = "lats"'))
    assert f"line {line(tmp_path, 'lats')}, protocol.which = \"lats\": must be 'last', 'best_on_test'" in message


def test_names_of_methods_and_networks_are_resolved(tmp_path: Path) -> None:
    assert "10 / KD: unknown method 'KDD'" in refused(tmp_path, ('KD = { method = "KD" }', 'KD = { method = "KDD" }'))
    message = refused(tmp_path, ('student = "LeNet" }', 'student = "LeNt" }'))
    assert "unknown student (see [network]) 'LeNt': did you mean LeNet?" in message


def test_one_cell_with_two_numbers_is_refused(tmp_path: Path) -> None:
    path = small(tmp_path, ('["20", "55.0", ', '["10", "55.0", '))
    with pytest.raises(RedistillError, match=r"10 / alone and 10 / alone are one cell with two numbers: put the second into"):
        load(path)


def test_tables_are_in_percent(tmp_path: Path) -> None:
    """Held against runs in percent, fractions would be verdicts of eighty points."""
    rows = (('"50.0 ± 0.3", "60.00"', '"0.500 ± 0.003", "0.600"'), ('["20", "55.0", ', '["20", "0.55", '))
    assert "are all at most 1, as fractions are: an accuracy stands in percent, 50 for 0.5" in refused(tmp_path, *rows)
    error = ('page = "p. 1"\n', 'page = "p. 1"\nmetric = "error"\n')
    assert "are all at most 1, as fractions are: an error stands" in refused(tmp_path, *rows, error)
    load(small(tmp_path, ('"50.0 ± 0.3", "60.00"', '"0.50", "0.60"'), ('["20", "55.0", ', '["20", "0.55", '), error))  # errors of MNIST
    load(small(tmp_path, *rows, ('page = "p. 1"\n', 'page = "p. 1"\nmetric = "mte"\n')))
    assert "600 is no accuracy in percent, which lies between 0 and 100" in refused(tmp_path, ('"60.00"', '"600"'))


FILE = """
[[checkpoint]]
table = "1"
where = { M = 10, method = "KD" }
path = "a/KD.pth"
sha256 = "%s"
model = "wrn-10-1"
data = "digits:test"
normalise = "%s"
value = "%s"

[table.1]
"""


def test_a_published_file_has_one_evaluation(tmp_path: Path) -> None:
    one, other = FILE % ("a" * 64, "none", ""), FILE % ("a" * 64, "cifar10", "")
    load(small(tmp_path, ("[table.1]\n", one.removesuffix("[table.1]\n") + one)))
    twice = refused(tmp_path, ("[table.1]\n", one.removesuffix("[table.1]\n") + other))
    assert "checkpoint[1]: a/KD.pth stands there twice with another sha256, model, data or normalise" in twice
    assert "'about 60' is not a printed number" in refused(tmp_path, ("[table.1]\n", FILE % ("a" * 64, "none", "about 60")))


def test_entries_must_speak_of_some_cell(tmp_path: Path) -> None:
    reported = '[[reported]]\nwhich = "last"\nbecause = "b"\nwhere = { M = 30 }\n\n[table.1]'
    assert "reported[0].where: holds for no cell of the paper" in refused(tmp_path, ("[table.1]\n", reported + "\n"))
    extra = '[[assumed]]\nabout = "a"\nours = "o"\nbecause = "b"\nwhere = { M = 30 }\n\n[table.1]'
    assert "assumed[0].where: holds for no cell of the paper" in refused(tmp_path, ("[table.1]\n", extra + "\n"))
    also = '[[also]]\ntable = "1"\nwhere = { M = 10 }\nvalue = "1"\nsource = "s"\n\n[table.1]'
    assert "must mean one cell of table 1, it means 2" in refused(tmp_path, ("[table.1]\n", also + "\n"))


def test_not_toml_and_not_there(tmp_path: Path) -> None:
    assert "small.toml: not valid TOML" in refused(tmp_path, ("[paper]", "[paper"))
    with pytest.raises(RedistillError, match="unknown paper 'micaeli2019': did you mean micaelli2019"):
        load("micaeli2019")
    with pytest.raises(RedistillError, match="there is no such file"):
        load(tmp_path / "none.toml")


def test_changes_name_a_term_by_its_use_and_take_keys_away() -> None:
    settings = {"recipe": {"lr": 0.1, "clip": 5.0}, "method": [{"use": "CE"}, {"use": "KD", "T": 4.0}]}
    made = put_over(settings, {"recipe": {"clip": ""}, "method": {"KD": {"T": 2.0}}})
    assert made == {"recipe": {"lr": 0.1}, "method": [{"use": "CE"}, {"use": "KD", "T": 2.0}]}
    assert settings["recipe"] == {"lr": 0.1, "clip": 5.0}
    with pytest.raises(RedistillError, match="unknown term of the method 'KDD'"):
        put(dict(settings), {"method": {"KDD": {"T": 1.0}}})


@pytest.mark.parametrize("name", papers.names())
def test_every_paper_of_the_package_gives_experiments_that_can_be_made(name: str) -> None:
    assert checked(load(name)) == []


@pytest.mark.parametrize("name", papers.names())
def test_every_version_has_its_line_of_history(name: str) -> None:
    about = load(name).file.paper
    assert [entry.split(":")[0] for entry in about.history] == [str(n) for n in range(1, about.version + 1)]


@pytest.mark.parametrize("name", papers.names())
def test_every_departure_with_a_change_moves_the_experiment(name: str) -> None:
    paper = load(name)
    for departs in paper.file.departs:
        cells = [cell for cell in paper.cells if not cell.unknown and departs.holds(cell.facts)]
        if departs.change and cells:
            plain = paper.settings(cells[0])
            moved = Experiment.of(put_over(plain, filled(departs.change, cells[0].facts)), device="cpu")
            assert moved.cell != Experiment.of(plain, device="cpu").cell, departs.name


@pytest.mark.parametrize(
    ("cell", "preset", "blocks"),
    [("micaelli2019:1:WRN-40-2, WRN-16-1:zero-shot", "authors", 80_000), ("micaelli2019:figure2-svhn:zero-shot:M = 0", "authors", 50_000),
     ("ferles2020:1:WRN-40-2, WRN-16-1:zero-shot", "re-2020", 80_000),
     ("ferles2020:1:WRN-40-2, WRN-16-1:modified zero-shot", "modified", 65_000)],
)  # fmt: skip
def test_zero_shot_cells_are_the_published_forms(cell: str, preset: str, blocks: int) -> None:
    from redistill import sources
    paper = load(cell.partition(":")[0])
    one = Experiment.of(paper.settings(paper.cell(cell)), device="cpu")
    form = sources.preset(preset, blocks=blocks)
    assert one.source.variant == form.variant and one.source.blocks == blocks
    assert one.recipe == form.recipe
    assert [part.written() for part in one.method] == form.method.settings()


def lengths(one: Experiment) -> tuple[int, list[int]]:
    """Epochs of a run, and the epochs at which its rate falls, by trying every one around each fifth of the run."""
    epochs, steps = one.recipe.epochs, 3
    assert epochs is not None
    marks = [e for part in (0.3, 0.6, 0.8) for e in range(max(1, int(epochs * part) - 3), int(epochs * part) + 4)]
    return epochs, [e for e in marks if one.recipe.rate(e * steps, steps) < one.recipe.rate((e - 1) * steps, steps)]


@pytest.mark.parametrize("data", ["cifar10", "svhn"])
@pytest.mark.parametrize("M", [10, 25, 50, 75, 100])
def test_few_image_recipes_are_those_of_both_codes_to_the_epoch(data: str, M: int) -> None:
    from redistill.published.few_images import few_recipe

    images, epochs = (50_000, 200) if data == "cifar10" else (73_257, 100)
    scale = 1.0 if data == "cifar10" else M / 100
    for name, counting, more in (("micaelli2019", "authors", {"images": images, "scale": scale}), ("ferles2020", "re-2020", {})):
        paper = load(name)
        table = f"figure{2 if name == 'micaelli2019' else 1}-{data}"
        one = Experiment.of(paper.settings(paper.cell(f"{table}:KD+AT:M = {M}")), device="cpu")
        code = one.model_copy(update={"recipe": few_recipe(M, counting=counting, epochs=epochs, **more)})
        assert lengths(one) == lengths(code) and len(lengths(one)[1]) == 3
        assert one.recipe.nesterov == code.recipe.nesterov and one.recipe.lr == code.recipe.lr


def test_fine_tuning_is_that_of_the_reports_code() -> None:
    from redistill.published.few_images import extra_images

    paper = load("ferles2020")
    one = Experiment.of(paper.settings(paper.cell("14:50:0")), device="cpu")
    method, recipe = extra_images(200)
    assert one.recipe == recipe and [part.written() for part in one.method] == method.settings()
