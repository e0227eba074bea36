"""Reports say of what their numbers are: halves of a mixture, the network that a run kept, the seeds that ran, commands that run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers.whole_record import REST
from redistill.claims import Claim, Measured, Published, judge
from redistill.cli import program
from redistill.errors import RedistillError
from redistill.files import digest
from redistill.papers.load import load
from redistill.papers.plan import make, select
from redistill.report.article import _Pictures, _words
from redistill.report.belief import Origin, kept
from redistill.report.checklist import checklist
from redistill.report.figures import curves_of
from redistill.report.folder import claim, save
from redistill.report.html import page
from redistill.report.paper import seeds_of
from redistill.report.table import comparison, markdown
from redistill.report.traces import Traces
from redistill.report.web import MOST, _table, address_of, command_of, paper_page
from redistill.report.web_parts import _cost, _samples
from redistill.report.web_runs import runs_page
from redistill.report.written import parts_of
from redistill.runs.measured import begin
from redistill.runs.record import networks_of
from redistill.runs.store import Run, Store
from redistill.sealed import FORMAT
from redistill.tensor_files import packed
from redistill.verdicts.tables import judged

SMALL = Path(__file__).parents[1] / "helpers" / "small.toml"

GENERATED = {"kind": "dafl", "normalise": "half", "n_S": 5}
IMAGES = {"kind": "images", "data": "folder:/mine:train", "augment": "crop-flip", "normalise": "half"}
MIXED = {"kind": "mixed", "first": IMAGES, "second": GENERATED, "take": [1, 1]}


def run_of(folder: Path, source: Mapping[str, Any] = IMAGES, **record: Any) -> Run:
    """A run without training."""
    asked = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": source, "recipe": {}, "evaluate": {}, "numerics": {}}
    table = {"data": "digits:test", "last": 50.0, "best": 50.0, "best_step": 1, "best_is": "x"}
    whole = {
        "format": FORMAT, "id": "0" * 16, "cell": "c" * 16, "seed": 0, "name": "", "label": "a run", "experiment": asked,
        "accuracy": {"test": table}, "diverged": None, "steps": 1, **REST, "files": {}, "sha256": "", **record,
    }  # fmt: skip
    return Run(folder, whole)


def test_the_checklist_tells_both_halves_of_a_mixture() -> None:
    """Its training images were no examples, could be fetched by everybody, and had no augmentation."""
    train = {"kind": "mixed", "first": {"data": "folder:/mine:train", "rule": [], "count": 24}, "second": {"kind": "dafl"}, "take": [1, 1]}
    data = {"train": train, "test": {"data": "digits:test", "rule": [], "count": 797, "sha256": "0" * 64}}
    found = {item.question: item for item in checklist([run_of(Path("c/seed-0"), MIXED, data=data)])}
    assert found["the number of examples is given"].evidence == "folder:/mine:train: 24 images; digits:test: 797 images"
    assert found["the data can be fetched"].answer == "partly"
    looks = found["what was left out and how images were processed is given"].evidence
    assert "folder:/mine:train: normalised as half, augmented by crop-flip" in looks and "mixed" not in looks


@pytest.mark.parametrize("source", [GENERATED, MIXED])
def test_samples_are_shown_in_the_space_of_their_generator(tmp_path: Path, source: Mapping[str, Any]) -> None:
    """Those of a mixture were taken for pixels between 0 and 1: grey was black."""
    content = packed({block: torch.zeros(6, 1, 8, 8) for block in ("0", "1", "2")})
    (tmp_path / "samples.safetensors").write_bytes(content)
    [figures] = _samples([run_of(tmp_path, source, files={"samples.safetensors": digest(content)})])
    address = next(one.get("src", "") for one in figures.iter("img"))  # type: ignore[union-attr]
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        colours = {colour: count for count, colour in picture.convert("RGB").getcolors(1 << 20) or ()}  # type: ignore[misc]
    assert colours[128, 128, 128] == 3 * 6 * 48 * 48


def test_accuracies_are_said_to_be_of_the_network_that_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The average of a run with ``ema`` was "after the last step" in the table of ``run`` and in reports."""
    from redistill.cli.run import _compared

    average = {"step": 1, "average": 0.9, "why": "the average (decay 0.9) of the weights"}
    last, averaged = run_of(tmp_path / "a" / "seed-0"), run_of(tmp_path / "b" / "seed-0", kept=average, cell="d" * 16, label="averaged")
    assert networks_of([last.entry]) == "after the last step" and networks_of([]) == "after the last step"
    both = "after the last step or of the average (decay 0.9) of the weights"
    _compared(SimpleNamespace(runs=[last, averaged]))  # type: ignore[arg-type]
    assert f"test, accuracy {both}:" in capsys.readouterr().out
    for runs, words in (([last], "Accuracy after the last step"), ([averaged], "Accuracy of the average (decay 0.9) of the weights")):
        dead = [Run(one.folder, {**one.record, "diverged": "NaN", "accuracy": {}}) for one in runs]  # whose curves nobody draws
        assert "Accuracy after the last step" in _page_without_curves(dead)
        assert words in _page_without_curves(runs)
    asked = {item.question: item.evidence for item in checklist([averaged])}
    assert "test: of the average (decay 0.9) of the weights; the best is x" in asked["the measure is defined"]


def _page_without_curves(runs: list[Run]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("redistill.report.web_runs.traces", lambda named: {})
        return runs_page(runs)


def test_times_are_sorted_by_their_seconds() -> None:
    """"35 s" stood below "2 h 1 min" where a column of times was sorted."""
    times = {"own": 7300.0, "wall": 1.0, "cpu": 35.0, "device": None}
    table, *_ = _cost([run_of(Path("c/seed-0"), time=times)])
    cells = [(one.text, one.get("data-sort")) for one in table.iter("td")]  # type: ignore[union-attr]
    assert ("2 h 1 min", "7300.000") in cells and ("35 s", "35.000") in cells and ("1", None) in cells


def test_the_seeds_of_a_report_are_those_that_ran() -> None:
    """Five seeds were judged below "seeds 0, 1, 2", which a report asks for where nobody says otherwise."""
    plan: Any = SimpleNamespace(seeds=(0, 1, 2))
    ran: Any = SimpleNamespace(runs={"KD": [SimpleNamespace(seed=seed) for seed in (7, 0)], "AT": [SimpleNamespace(seed=3)]})
    assert seeds_of(plan, [ran]) == "0, 3, 7" and seeds_of(plan, []) == "0, 1, 2"


def test_commands_of_a_paper_file_of_ones_own_name_the_file(tmp_path: Path) -> None:
    """``redistill reproduce small``, of which there is no paper."""
    file = tmp_path / "my papers" / "R&D.toml"
    file.parent.mkdir()
    file.write_text(SMALL.read_text(encoding="utf-8"), encoding="utf-8")
    paper = load(file)
    command = command_of(paper.cells[0], address_of(paper))
    assert command.startswith(f"redistill reproduce '{file}' --table 1 ") and address_of(load("ahn2019")) == "ahn2019"
    plan = make(paper, select(paper), device="cpu")
    tables = judged(plan, Store(tmp_path / "runs"))
    assert "reproduce '" in paper_page(plan, tables)
    # its report may be made again, and its figures are found
    to = tmp_path / "report"
    save(plan, tables, to)
    save(plan, tables, to)
    assert 'content="paper R&amp;D"' in (to / "index.html").read_text(encoding="utf-8")
    with pytest.raises(RedistillError, match="is a report of paper R&D, not of paper small"):
        claim(to, "paper small")


def test_a_report_of_a_name_with_signs_of_html_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(page("x", of='paper "a" <b>'), encoding="utf-8")
    claim(tmp_path, 'paper "a" <b>')


def test_a_bar_in_the_name_of_the_baseline_is_no_column() -> None:
    rows = comparison({"a|b": {0: 50.0}, "c": {0: 51.0}}, "a|b")
    head, rule, *body = markdown(rows, "a|b").splitlines()
    assert "difference to a\\|b" in head
    assert {len(line.replace("\\|", "").split("|")) for line in (head, rule, *body)} == {8}


def test_lists_in_lists_stay_lists_in_the_article_and_their_entries_are_parted(tmp_path: Path) -> None:
    """"The data.The code." stood in the summary, and entries below entries ran together in the PDF."""
    prose = parts_of("## What was easy\n\n- The *data*.\n- The code:\n  - one\n  - two\n\n## Scope\n\nOne `name`.\n", "x.md")
    assert _words(prose["What was easy"][0]).strip() == "The data. The code: one two" and _words(prose["Scope"][0]) == "One name."
    [made] = list(_Pictures().flow(prose["What was easy"]))
    inner = made["content"][1]["content"][-1]  # type: ignore[index]
    assert inner["tag"] == "ul" and [one["content"] for one in inner["content"]] == [["one"], ["two"]]
    pytest.importorskip("typst", reason="pip install '.[pdf]'")
    from redistill.report.article import FONTS, typeset

    said: dict[str, Any] = dict.fromkeys(("title", "about", "running", "description"), "x")
    said |= {"authors": [], "byline": [], "keywords": [], "summary": [], "fonts": FONTS}
    heights = []
    for content in ([made], [{**made, "content": made["content"][:1]}]):  # type: ignore[dict-item, index]
        png = typeset({**said, "sections": [{"title": "x", "content": content}]}, {}, form="png")
        with Image.open(io.BytesIO(png[0] if isinstance(png, list) else png)) as picture:
            rows = picture.convert("L").point(lambda value: 255 * (value < 128)).crop((0, 0, picture.width, 1500)).getbbox()
            assert rows is not None
            heights.append(rows[3])
    line = (heights[0] - heights[1]) / 3
    assert 20 < line < 60  # three further lines: the second entry and both of its own


def test_no_record_of_beliefs_takes_the_place_of_another(tmp_path: Path) -> None:
    """Networks called "A, M = 1" and "A M 1", or in letters beyond ASCII alone, had one file."""
    names = ["A, M = 1", "A M 1", "学生", "生徒", "kd_1"]
    walk = SimpleNamespace(record=lambda: [])
    row = dict.fromkeys(("images", "mte", "mte_standard_error", "relative_mte", "agreement", "kl_attacked_other", "kl_other_attacked"), 1)
    compared: Any = SimpleNamespace(
        rows=lambda: [{"attacked": name, "other": "T", **row} for name in names], found={(name, "T"): walk for name in names},
        images=SimpleNamespace(all_labels=None),
    )  # fmt: skip
    (tmp_path / "w.safetensors").write_bytes(b"")
    origins = dict.fromkeys([*names, "T"], Origin(tmp_path / "w.safetensors", None))
    written = kept(compared, origins, {}, tmp_path / "belief", begin())
    assert [path.name for path in written] == ["a-m-1.json", "a-m-1-2.json", "学生.json", "生徒.json", "kd-1.json"]
    assert all(path.is_file() for path in written)


def test_a_line_that_ends_where_a_seed_stopped_says_so() -> None:
    """Of seeds that stopped early (``patience``) the mean goes as far as all of them; the figure did not say that others went on."""
    long, short = [(1, 50.0), (2, 60.0)], [(1, 40.0)]
    for seeds, says in (([long, short], True), ([long, long], False), ([long], False)):
        figure = curves_of({"KD": Traces(seeds)}, title="t", ylabel="accuracy, %")
        assert ("a line ends where the first of its seeds stopped" in figure.axes[0].get_xlabel()) is says
        plt.close(figure)


def test_a_figure_of_some_of_the_claims_says_so(tmp_path: Path) -> None:
    paper = load(SMALL)
    plan = make(paper, select(paper), device="cpu")
    [table] = judged(plan, Store(tmp_path))
    number = Published(75.0, seeds=3, which="last", aggregate="mean")
    runs = {"A": [Measured(seed, 79 + seed / 10) for seed in range(3)]}
    findings = tuple(judge(Claim(f"claim {i}", "value", "A", number), runs) for i in range(MOST + 2))
    words = []
    for many in (MOST, MOST + 2):
        parts = _table(plan, replace(table, findings=findings[:many]), "t0", True)
        figures = next(one for one in parts if getattr(one, "tag", "") == "div")
        words.append(" ".join(figures.itertext()))  # type: ignore[union-attr]
    assert "the first 40 of 42" not in words[0] and "the first 40 of 42" in " ".join(words[1].split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("report", "a-run", "-o", "r", "--seeds", "3"), "--seeds: of the report of a paper alone; a-run means runs"),
        (("report", "a-run", "-o", "r", "--belief", "--table", "1"), "--table, --belief: of the report of a paper alone"),
        (("compare", "a", "b", "--seeds", "3"), "--seeds says how methods are trained"),
        (("compare", "a", "b", "--dry-run"), "--dry-run says how methods are trained"),
        (("papers", "--check"), "--check builds the cells of one paper"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    """``compare A B --seeds 3`` compared all seeds."""
    more = () if words[0] == "papers" else ("--runs", str(tmp_path))
    done = CliRunner().invoke(program(), [*words, *more])
    assert done.exit_code != 0 and says in str(done.exception)
