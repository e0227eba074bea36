"""The report's page: what stands in it, that markup in names stays text, and how a real browser shows it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import redistill.cli.papers
import redistill.cli.report  # noqa: F401  its command
from redistill.cli import app
from redistill.errors import RedistillError
from redistill.papers.load import load
from redistill.papers.plan import make, select
from redistill.report.checklist import checklist
from redistill.report.drawing import links
from redistill.report.paper_page import page as documented
from redistill.report.references import bibtex, entries
from redistill.report.web import paper_page
from redistill.report.web_parts import versions
from redistill.report.web_runs import runs_page
from redistill.runs.store import Run, Store
from redistill.sources.variants import KINDS
from redistill.stats import percent_interval
from redistill.terms import ALL
from redistill.verdicts.tables import judged

SMALL = Path(__file__).parents[1] / "helpers" / "small.toml"
HOSTILE = r"A <script>alert(1)</script> & $\\frac{x$ \"paper\" ]]>"  # as TOML has it
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Text(HTMLParser):
    """Tags with their attributes, and text, of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A paper with markup in its title and rows, and three seeds of one of its rows, trained."""
    root = tmp_path_factory.mktemp("page")
    text = SMALL.read_text().replace('"A small paper"', f'"{HOSTILE}"').replace('["10", "50.0', '["<b>10</b>", "50.0')
    text = text.replace('page = "p. 1"\n', 'page = "p. 1"\nnote = "of one row, at HEAD"\n')
    text = text.replace('header = ["M", ', 'header = ["row", ').replace('  ["20", "55.0",       "-"],\n', "")
    text += '[table.1.row."<b>10</b>"]\nM = "10"\n'
    paper = root / "hostile.toml"
    paper.write_text(text)
    done = CliRunner().invoke(app, ["reproduce", str(paper), "--out", str(root / "runs"), "--threads", "1"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["report", str(paper), "-o", str(root / "report"), "--runs", str(root / "runs")])
    assert done.exit_code == 0, done.output
    return root


def read(path: Path) -> Text:
    page = Text()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_the_page_needs_nothing_else_and_markup_in_names_stays_text(place: Path) -> None:
    page = read(place / "report" / "index.html")
    assert "A <script>alert(1)</script> & $\\frac{x$" in page.text and "<b>10</b> / KD" in page.text
    assert "c (p. 1). Note: of one row, at HEAD." in page.text
    assert [tag for tag, _ in page.tags].count("script") == 1  # ours
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), (tag, target)
    text = (place / "report" / "index.html").read_text(encoding="utf-8")
    assert "@import" not in text and "url(http" not in text


def test_ids_are_unique_and_every_reference_has_its_target(place: Path) -> None:
    page = read(place / "report" / "index.html")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) and len(ids) > 20
    for _, attributes in page.tags:
        for value in filter(None, attributes.values()):
            for target in re.findall(r"url\(#([^)]+)\)", value) + re.findall(r"^#(.+)$", value):
                if not re.fullmatch(r"[0-9a-f]{3,6}", target):
                    assert target in ids, value


def test_numbers_verdicts_and_commands_stand_in_the_page(place: Path) -> None:
    paper, store = load(place / "hostile.toml"), Store(place / "runs")
    [table] = judged(make(paper, select(paper), device="cpu"), store)
    text = read(place / "report" / "index.html").text
    for finding in table.findings:
        assert finding.claim.id in text
        if finding.reading is not None:
            assert f"{finding.reading.ours.value:.2f} [{finding.reading.ours.low:.2f}" in text and finding.verdict in text
    values = [run.accuracy() for run in table.runs["<b>10</b> / KD"]]
    assert len(values) == 3 and f"{sum(values) / 3:.2f}" in text
    assert "--rows '<b>10</b>' --columns KD" in text
    assert "temperature" in text and "Theirs: paper: 2." in text
    assert "hinton2015" in text


def test_the_paper_page_of_the_documentation_has_claim_runs_and_verdict_side_by_side(place: Path) -> None:
    paper, store = load(place / "hostile.toml"), Store(place / "runs")
    [table] = judged(make(paper, select(paper), device="cpu"), store)
    text = documented(paper, [table])
    for finding in table.findings:
        if finding.reading is not None and finding.claim.kind == "value":
            low, high = finding.reading.ours.low, finding.reading.ours.high
            seeds = ", ".join(f"{run.accuracy():.2f} ({run.seed})" for run in table.runs[finding.claim.cells[0]])
            [row] = [line for line in text.splitlines() if line.startswith(f"| {finding.claim.id} |")]
            assert f"| {seeds} | {finding.reading.ours.value:.2f} [{low:.2f}, {high:.2f}] |" in row and finding.verdict in row
    assert "## Claims beside our runs" not in documented(paper)


def test_drawings_show_what_the_record_says(place: Path) -> None:
    runs = [run for run in Store(place / "runs").finished() if ":KD" in run.label]
    found = links(runs[0].entry)
    assert [(one.term, one.weight, one.teacher, one.student) for one in found] == [
        ("CE", "0.1", None, "logits"), ("KD", "0.9", "logits", "logits"),
    ]  # fmt: skip


def test_the_checklist_is_read_off_the_records(place: Path) -> None:
    runs = Store(place / "runs").finished()
    kd = [run for run in runs if ":KD" in run.label]
    many = {item.question: item for item in checklist(kd)}
    assert many["mean and spread are given"].answer == "yes"
    assert "runs: 3, configurations: 1, seeds of each: 3;" in many["the exact number of training and evaluation runs is given"].evidence
    assert "per_class (M 10, seed 0); " in many["what was left out and how images were processed is given"].evidence
    assert "{" not in "".join(item.evidence for item in checklist(kd))  # no notation of Python
    assert "digits:train: 100 images" in many["the number of examples is given"].evidence
    one = {item.question: item for item in checklist(kd[:1])}
    assert one["mean and spread are given"].answer == "no"
    assert {item.answer for item in checklist([]) if item.group in ("Experimental results", "Shared code")} == {"no"}
    (kd[0].folder / "weights.safetensors").rename(kd[0].folder / "away")
    try:
        fewer = {item.question: item for item in checklist(kd)}
        assert fewer["trained models"].answer == "partly" and "2 of 3" in fewer["trained models"].evidence
    finally:
        (kd[0].folder / "away").rename(kd[0].folder / "weights.safetensors")


def test_runs_have_a_page_of_their_own(place: Path, tmp_path: Path) -> None:
    store = place / "runs"
    runs = Store(store).finished()
    done = CliRunner().invoke(app, ["report", *(str(run.folder) for run in runs), "-o", str(tmp_path / "two"), "--runs", str(store)])
    assert done.exit_code == 0, done.output
    text = read(tmp_path / "two" / "index.html").text
    for run in runs:
        assert run.label in text
    assert "Verdict" not in text and "hostile.toml" not in text
    assert f"redistill run {runs[0].folder}" in text


def changed(run: Run, **record: Any) -> Run:
    """The run with another record."""
    return Run(run.folder, {**run.record, **record})


def test_second_terms_of_a_name_and_terms_of_ones_own_are_drawn(place: Path) -> None:
    run = next(run for run in Store(place / "runs").finished() if ":KD" in run.label)
    rows = [{"use": "AT"}, {"use": "AT"}, {"use": "mine.py:Focal", "weight": 2.0, "code": "0" * 64, "file": "/mine.py"}]
    asked = {**run.record["experiment"], "method": rows}
    other = changed(run, experiment=asked, pairs={"AT": [["a", "b"]], "AT.2": [["c", "d"]], "Focal": []})
    assert [(one.term, one.student, one.teacher, one.with_what) for one in links(other.entry)] == [
        ("AT", "a", "b", ""), ("AT.2", "c", "d", ""), ("Focal", "output", None, "its own code"),
    ]  # fmt: skip
    page = Text()
    page.feed(runs_page([other]))
    assert "2 × Focal" in page.text


def test_a_run_that_was_never_evaluated_stands_in_the_page_and_long_names_are_cut_in_drawings(place: Path) -> None:
    run = next(run for run in Store(place / "runs").finished() if ":KD" in run.label)
    asked = {**run.record["experiment"], "student": {"model": "my_package.networks:AVeryLongNameOfANetwork"}}
    page = Text()
    page.feed(runs_page([changed(run, label="never looked at", accuracy={}, diverged="NaN at step 0", experiment=asked)]))
    table = page.text.partition("Accuracy after the last step")[2].partition("Methods")[0]
    assert f"never looked atnone0{run.seed} (diverged: {run.seed})" in table
    assert "student …eOfANetwork" in page.text and "student my_package.networks:AVeryLongNameOfANetwork" in page.text


def test_data_of_ones_own_can_be_fetched_by_nobody_and_equal_seeds_hide_an_image(place: Path) -> None:
    """The checklist sent to ``redistill download`` for a folder, and 66.67 [66.64, 66.69] was said of two seeds on 24 images."""
    one, two, *_ = (run for run in Store(place / "runs").finished() if ":KD" in run.label)
    test = next(iter(one.entry.accuracy))
    assert "redistill download NAME" in (found := {item.question: item for item in checklist([one])}["the data can be fetched"]).evidence
    assert found.answer == "yes"
    data = {**one.record["data"], test: {"data": "folder:/mine:val", "rule": [], "count": 24, "sha256": "0" * 64}}
    accuracy = {test: {**one.record["accuracy"][test], "last": 200 / 3}}
    runs = [changed(run, data=data, accuracy=accuracy) for run in (one, two)]
    found = {item.question: item for item in checklist(runs)}["the data can be fetched"]
    assert found.answer == "partly" and "data of one's own, which nobody else can fetch: folder:/mine:val;" in found.evidence
    own = {name: {**row, "data": f"folder:/mine:{name}"} for name, row in data.items()}
    found = {item.question: item for item in checklist([changed(one, data=own)])}["the data can be fetched"]
    assert found.answer == "for the author" and "download" not in found.evidence
    page = Text()
    page.feed(runs_page(runs))
    wanted = percent_interval([200 / 3] * 2, step=100 / 24)
    assert wanted.high > 70 and f"66.67 [{wanted.low:.2f}, {wanted.high:.2f}]" in page.text


def test_runs_of_several_versions_are_told_apart(place: Path) -> None:
    one, two, *_ = (run for run in Store(place / "runs").finished() if ":KD" in run.label)
    assert "several versions" not in runs_page([one, two])
    other = changed(two, versions={**two.record["versions"], "redistill": "9.9"})
    page = Text()
    page.feed(runs_page([one, other], ["Stale, a run: its data changed."]))
    assert "Made by several versions: redistill " in page.text and page.text.count("(1 run") == 2 and "redistill 9.9, " in page.text
    assert "Stale, a run" in page.text.partition("Accuracy")[0]


def test_commits_of_one_version_are_told_with_its_name_said_once(place: Path) -> None:
    one, two, three = (run for run in Store(place / "runs").finished() if ":KD" in run.label)
    at = {name: {"commit": name * 40, "changed": name == "b"} for name in "ab"}
    runs = [changed(one, git=at["a"]), changed(two, git=at["b"]), changed(three, git=at["a"])]
    assert versions(runs).startswith("Made by several commits of one version: redistill ") and versions(runs).count("torch") == 1
    assert versions(runs).endswith(f"(2 runs at {'a' * 10}; 1 run at {'b' * 10}, changed).") and versions(runs[::2]) == ""
    sealed = [changed(run, versions={**run.record["versions"], "package": name * 64}) for run, name in zip(runs, "aba", strict=True)]
    found = {item.question: item.evidence for item in checklist(sealed)}
    assert found["the dependencies are given"].count("torch") == 1 and "a" * 13 not in found["the dependencies are given"]
    assert found["the training code is given"].endswith("; its SHA-256 in every record")


def test_the_energy_that_codecarbon_measured_stands_under_the_costs(place: Path) -> None:
    runs = Store(place / "runs").finished()
    assert "Energy was not measured." in runs_page(runs)
    file = place / "runs" / "emissions.csv"
    try:
        file.write_text("timestamp,emissions,energy_consumed,codecarbon_version\nx,0.001,0.0025,3.3.2\ny,0.002,0.0025,3.3.2\n")
        page = Text()
        page.feed(runs_page(runs))
        assert "measured by CodeCarbon 3.3.2 (2 trackings in emissions.csv of this store): 0.005 kWh, 0.003 kg" in page.text
        # every row of one tracking holds what the rows before it held, too
        rows = "a,one,0.001,0.0025,3.3.2\nb,two,0.002,0.001,3.3.2\nc,one,0.004,0.01,3.3.2\n"
        file.write_text("timestamp,run_id,emissions,energy_consumed,codecarbon_version\n" + rows)
        page = Text()
        page.feed(runs_page(runs))
        assert "(2 trackings in emissions.csv of this store): 0.011 kWh, 0.006 kg" in page.text
        for wrong in ("a,b\n1,2\n", "emissions,energy_consumed,codecarbon_version\n1,x,2\n"):
            file.write_text(wrong)
            with pytest.raises(RedistillError, match="is no file of CodeCarbon"):
                runs_page(runs)
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ahn2019", "chen2021"], "ahn2019 is a paper"),
        (["nothing-of-that-name"], "papers are"),
        (["./no.toml"], "no.toml"),
    ],
)
def test_wrong_names_get_a_sentence(names: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", *names, "-o", str(tmp_path / "r"), "--runs", str(tmp_path)])
    assert done.exit_code != 0 and message in str(done.exception)


def test_an_empty_store_gives_a_page_that_says_so(tmp_path: Path) -> None:
    paper = load("ahn2019")
    plan = make(paper, select(paper, ["1"], columns=["2 %"]), device="cpu")
    page = Text()
    page.feed(paper_page(plan, judged(plan, Store(tmp_path))))
    assert "No run of these cells is in the store." in page.text and "not attempted" in page.text
    empty = Text()
    empty.feed(runs_page([]))
    assert "0 runs" in empty.text


def test_every_source_of_a_paper_has_its_reference() -> None:
    assert set(KINDS) <= set(entries()), f"references.bib lacks the papers of {set(KINDS) - set(entries())}"


def test_every_term_of_a_paper_has_its_reference() -> None:
    without = {term.__name__ for term in ALL} - set(entries())
    assert without <= {"CE"}, f"references.bib lacks the papers of {without}"
    assert bibtex(["KD", "AT", "KD"]).count("@") == 2 and bibtex(["CE"]) == ""


# ---------------------------------------------------------------------------------------------------------------------
# In a browser
# ---------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install '.[browser]'")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
    with playwright.sync_playwright() as started:
        one = started.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield one
        one.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_without_network_and_axe_finds_nothing(browser: Any, place: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install '.[browser]'")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((place / "report" / "index.html").as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [] and wrong == []
    # nothing makes the page itself wider than the screen: tables scroll in their own frame
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_a_column_sorts_by_its_numbers(browser: Any, place: Path) -> None:
    page = browser.new_page()
    page.goto((place / "report" / "index.html").as_uri())
    table = page.locator("table", has_text="beside our runs").first
    column = table.locator("thead th").nth(1)
    printed = lambda: table.locator("tbody tr td:nth-child(2)").all_inner_texts()  # noqa: E731
    number = lambda text: float(text.split()[0])  # noqa: E731
    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "ascending"
    rising = [number(text) for text in printed() if text.strip()]
    assert rising == sorted(rising) and len(rising) > 1
    column.locator("button").click()
    assert [number(text) for text in printed() if text.strip()] == rising[::-1]
    page.close()


def test_it_reads_without_scripts(browser: Any, place: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((place / "report" / "index.html").as_uri())
    assert page.locator("table").count() >= 4 and page.locator("svg[role=img]").count() >= 2
    assert page.locator("h1").inner_text().startswith("A <script>")
    context.close()
