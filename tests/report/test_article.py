"""The article: what people wrote stands in it, markup in names stays text, and Typst accepts it as PDF/UA."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import redistill.cli.papers
import redistill.cli.report  # noqa: F401  its command
from redistill.cli import app
from redistill.errors import RedistillError
from redistill.papers.load import load
from redistill.papers.plan import Plan, make, select
from redistill.report import article, web
from redistill.report.written import PARTS, parts_of, written_of
from redistill.runs.store import Store
from redistill.verdicts.beliefs import Believed
from redistill.verdicts.tables import TableVerdict, judged

SMALL = Path(__file__).parents[1] / "helpers" / "small.toml"
HOSTILE = '#import "x" <script> $x$ \\ *b* _c_ ` @ref [a](b) é'
PROSE = f"""# Written parts

## Authors

- Ada
- Grace

## Scope

Whether *it* holds: {HOSTILE}

## What was easy

1. `code`
2. **much**, [there](https://example.org)

## correspondence

> nobody

| a | b |
|---|--:|
| <i> | 2 |
"""


def planned(tmp_path: Path) -> tuple[Plan, list[TableVerdict]]:
    paper = load(SMALL)
    plan = make(paper, select(paper), device="cpu")
    return plan, judged(plan, Store(tmp_path / "none"))


def words(made: Any) -> str:
    return json.dumps(made, ensure_ascii=False)


def test_what_people_wrote_and_what_the_records_say_stand_in_the_article(tmp_path: Path) -> None:
    plan, tables = planned(tmp_path)
    prose = parts_of(PROSE, "p.md")
    made, _ = article.source(web.paper_parts(plan, tables, prose, whole=False), plan, tables, prose)
    assert made["authors"] == ["Ada", "Grace"]
    titles = [section["title"] for section in made["sections"]]
    assert titles[:7] == ["Scope", "Methods", "Results", "What was easy", "What was hard", "Departures", "Correspondence"]
    summary = {one["name"]: one["said"] for one in made["summary"]}
    assert "Whether it holds" in summary["Scope."] and "Not written: it goes into papers/small.md" in summary["What was hard."]
    text = words(made)
    for finding in tables[0].findings:
        assert finding.claim.id in text
    assert f"redistill reproduce {SMALL} --table 1" in text and "temperature" in text
    # the same records and words give the same article, others another one
    again, _ = article.source(web.paper_parts(plan, tables, prose, whole=False), plan, tables, prose)
    other, _ = article.source(web.paper_parts(plan, tables, whole=False), plan, tables)
    assert again["keywords"] == made["keywords"] != other["keywords"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no heading", r"p.md:1: text before the first heading"),
        ("## What was esay\n\nx", r"p.md:1: .*What was easy"),
        ("## Scope\n\nx\n\n## Scope\n\ny", r"p.md:5: Scope stands there twice"),
    ],
)
def test_a_file_that_is_no_article_gets_a_sentence(text: str, message: str) -> None:
    with pytest.raises(RedistillError, match=message):
        parts_of(text, "p.md")


def test_written_parts_come_from_where_one_works_then_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(written_of("ahn2019")) <= set(PARTS) and "What was hard" in written_of("ahn2019")
    assert written_of("tian2020") == {}
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "ahn2019.md").write_text("## Scope\n\nmine")
    assert list(written_of("ahn2019")) == ["Scope"]
    (tmp_path / "own.md").write_text("## Results\n\nx")
    assert list(written_of("./own.toml")) == ["Results"]
    (tmp_path / "own.md").write_bytes(b"## Results\n\n\xff")
    with pytest.raises(RedistillError, match="not UTF-8"):
        written_of("./own.toml")


def test_a_report_does_not_take_the_place_of_what_people_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "banbury2021.md").write_text("## Scope\n\nMine.", encoding="utf-8")
    shutil.copy(SMALL, tmp_path / "own.toml")
    for paper, to in (("banbury2021", "papers"), ("own.toml", ".")):
        done = CliRunner().invoke(app, ["report", paper, "--to", to, "--runs", "none"])
        assert isinstance(done.exception, RedistillError)
        assert "what you write about the paper has its place there" in str(done.exception)
    assert (tmp_path / "papers" / "banbury2021.md").read_text(encoding="utf-8") == "## Scope\n\nMine."


def test_without_typst_there_is_a_sentence_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    done = CliRunner().invoke(app, ["report", str(SMALL), "-o", str(tmp_path / "r"), "--runs", str(tmp_path), "--pdf"])
    assert "needs typst" in str(done.exception) and "redistill[pdf]" in str(done.exception)
    assert list((tmp_path / "r").iterdir()) == []


def test_typst_sets_it_as_pdf_ua_and_no_text_is_markup(tmp_path: Path) -> None:
    pytest.importorskip("typst", reason="pip install 'redistill[pdf]'")
    text = SMALL.read_text().replace('"A small paper"', json.dumps(HOSTILE)).replace('["10", "50.0', '["#strong[x]", "50.0')
    text = text.replace('header = ["M", ', 'header = ["row", ').replace('  ["20", "55.0",       "-"],\n', "")
    (tmp_path / "hostile.toml").write_text(text + '[table.1.row."#strong[x]"]\nM = "10"\n')
    (tmp_path / "hostile.md").write_text(PROSE)
    args = ["report", str(tmp_path / "hostile.toml"), "-o", str(tmp_path / "r"), "--runs", str(tmp_path / "none"), "--pdf"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    pdf = (tmp_path / "r" / "hostile.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"<pdfuaid:part>1</pdfuaid:part>" in pdf and len(article.known_by(pdf)) == 64
    assert b"/StructTreeRoot" in pdf and b"/Lang" in pdf
    CliRunner().invoke(app, args)
    assert (tmp_path / "r" / "hostile.pdf").read_bytes() == pdf


def test_a_missing_font_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("typst", reason="pip install 'redistill[pdf]'")
    monkeypatch.setitem(article.FONTS, "text", ["No Such Font"])
    plan, tables = planned(tmp_path)
    with pytest.raises(RedistillError, match=r"font of the article is missing.*no such font"):
        article.article(web.paper_parts(plan, tables), plan, tables)


def test_a_folder_that_is_a_report_of_something_else_is_left_alone(tmp_path: Path) -> None:
    args = ["report", str(SMALL), "-o", str(tmp_path / "r"), "--runs", str(tmp_path / "none")]
    assert CliRunner().invoke(app, args).exit_code == 0 and CliRunner().invoke(app, args).exit_code == 0  # its own is written again
    before = (tmp_path / "r" / "index.html").read_bytes()
    done = CliRunner().invoke(app, ["report", "ahn2019", "--table", "vid-maps", *args[2:]])
    assert "is a report of paper small, not of paper ahn2019" in str(done.exception)
    assert (tmp_path / "r" / "index.html").read_bytes() == before
    (tmp_path / "r" / "index.html").write_text("<title>somebody's page</title>")
    assert "is no report of redistill" in str(CliRunner().invoke(app, args).exception)


def test_a_report_of_nothing_says_so_and_runs_have_no_article(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(SMALL), "-o", str(tmp_path / "r"), "--runs", str(tmp_path / "none")])
    assert done.exit_code == 0 and "says anything of these claims" in done.output
    done = CliRunner().invoke(app, ["report", "a-run", "b-run", "-o", str(tmp_path / "s"), "--pdf"])
    assert "--pdf makes an article of a paper's report" in str(done.exception)


def test_transition_curves_are_drawn_where_they_were_measured() -> None:
    error = {"attacked_standard_error": 0.01, "other_standard_error": 0.01}
    rows = [{"step": float(k), "attacked": k / 9, "other": 0.0, **error} for k in range(9)]
    one = Believed("run1", "student", "digits:test", 20, 0.4, 0.01, curves=rows)
    run = type("R", (), {"id": "run1", "label": "a label", "seed": 3})()
    drawn = web._transitions([one, replace(one, run="other"), replace(one, curves=())], {"run1": run})
    [figures] = drawn
    text = "".join(figures.itertext())
    assert text.count("MTE 0.4000 ± 0.0100, 20 images") >= 1 and "student (attacked)" in text and "teacher" in text
    assert len(list(figures)) == 1


def test_a_row_of_a_table_stands_on_one_page() -> None:
    pytest.importorskip("typst", reason="pip install 'redistill[pdf]'")

    def pages(rows: int) -> int:
        cells: list[list[str]] = [["word " * 1200]] * rows
        attributes = {"caption": "c", "head": ["a"], "numbers": [False], "widths": [1]}
        table = {"tag": "table", "attributes": attributes, "content": cells}
        made = {"title": "t", "authors": [], "keywords": [], "description": "", "running": "r", "byline": [], "about": "", "summary": []}
        fonts = {"fonts": article.FONTS, "sections": [{"title": "s", "content": [table]}]}
        return len(article.typeset({**made, **fonts}, {}, form="png"))

    assert pages(2) == 2 and pages(4) == 4  # a row is six tenths of a page: broken, four are three pages
