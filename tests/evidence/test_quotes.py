"""Tables that quote baselines, beside the registry of published numbers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from helpers.others import run_cli
from redistill.errors import RedistillError
from redistill.evidence.quotes import Compared, compare, lines
from redistill.evidence.registry import key_of, registry
from redistill.evidence.tables import read_table

MARKDOWN = """
| Teacher | wrn-40-2 | ResNet32x4 | resnet110 |
|:--|--:|--:|--:|
| | 75.61 | 79.42 | 74.31 |
| Student | WRN-16-2 | ResNet8x4 | resnet20 |
| | 73.26 | 72.50 | 69.06 |
| FitNets [30] | 73.58 | 73.50 | 68.99 |
| KD | 74.92 | **73.33** | 70.66 |
| CRD† | 75.48 | 75.51 | 71.46 |
| Ours | 77.00 | 77.00 | 72.00 |
"""
CSV = "method,ResNet56 -> ResNet20,WRN40-2 / WRN16-2\nTeacher,72.34,75.61\nStudent,69.06,73.26\nKD,70.66,74.92\nAT,70.55 ± 0.2,74.08\n"
LATEX = r"""
\begin{tabular}{l|cc}
\toprule
Teacher & \multicolumn{2}{c}{WRN-40-2} \\
Student & WRN-16-2 & WRN-40-1 \\
\midrule
KD~\cite{hinton} & 74.92 & 73.54 \\
AT~\cite{zagoruyko} & \textbf{74.08} & 72.77 \\
PKT & 74.54$_{\pm 0.1}$ & 73.54 \\
\bottomrule
\end{tabular}
"""
ACROSS = "| Teacher | Student | KD | AT | CRD |\n|---|---|---|---|---|\n"
ACROSS += "| vgg13 | vgg8 | 72.98 | 71.43 | 73.94 |\n| resnet56 | resnet20 | 70.66 | 70.55 | 71.16 |\n"
BOTH = """
| Teacher <br> Student | wrn-40-2 <br> wrn-16-2 | vgg13 <br> vgg8 | Avg |
|:---:|:---:|:---:|:---:|
| Teacher <br> Student | 75.61 <br> 73.26 | 74.64 <br> 70.36 | |
| SP | 73.83 | 72.68 | 73.26 |

| epochs | lr |
|---|---|
| 240 | 0.05 |
"""
GROUPS = r"""
\begin{tabular}{cc|cc}
\multirow{4}{*}{\makecell{Distillation \\ Manner}} & \multirow{2}{*}{Teacher} & ResNet56 & ResNet110 \\
 & & 72.34 & 74.31 \\
 & \multirow{2}{*}{Student} & ResNet20 & ResNet32 \\
 & & 69.06 & 71.14 \\
\hline
\multirow{2}{*}{Features} & FitNet~\cite{a} & 69.21 & 71.06 \\
 & RKD~\cite{b} & 69.61 & 71.82 \\
\multirow{1}{*}{Logits} & KD & 70.66 & 73.08 \\
\end{tabular}
"""
YEARS = "Method,Venue,Year,vgg13 -> vgg8\nKD,NIPS-W,2014,72.98\nCRD,ICLR,2020,73.94\n"
LONG = "teacher,student,method,acc\nvgg13,vgg8,KD,72.98\nvgg13,vgg8,CRD,73.94\n"


def found(tmp_path: Path, name: str, text: str, **more: object) -> list[Compared]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    against = more.pop("against", ())
    same = more.pop("same", None)
    return compare(read_table(path, **more), against, same)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("a.md", MARKDOWN, {"equal": 14, "differs": 1, "not in the registry": 3}),
        ("a.csv", CSV, {"equal": 8}),
        ("a.tex", LATEX, {"equal": 5, "differs": 1}),
        ("b.md", ACROSS, {"equal": 6}),
        ("b.csv", LONG, {"equal": 2}),
        ("c.md", "CIFAR-100\n\n| | ResNet56 <br> ResNet20 | VGG13 <br> VGG8 |\n|---|---|---|\n| KD | 70.66 | 72.98 |\n", {"equal": 2}),
        ("e.md", BOTH, {"equal": 6}),
        ("h.md", f"# CIFAR-100\n{ACROSS}\nand ImageNet\n\n| | AT | CRD |\n|---|---|---|\n| R34 -> R18 | 70.69 | 71.17 |\n", {"equal": 8}),
        ("f.tex", GROUPS, {"equal": 10}),
        ("g.csv", YEARS, {"equal": 2}),
        ("d.csv", "dataset,teacher,student,method,quoted\nCIFAR-10,WRN-40-1,WRN-16-1,AT,91.75\n", {"equal": 1}),
    ],
)
def test_tables_as_papers_write_them(tmp_path: Path, name: str, text: str, counts: dict[str, int]) -> None:
    assert Counter(one.status for one in found(tmp_path, name, text)) == counts


def test_a_shifted_column_is_named(tmp_path: Path) -> None:
    (one,) = [one for one in found(tmp_path, "a.md", MARKDOWN) if one.status == "differs"]
    assert one.cell.method == "KD" and one.differs_by == pytest.approx(-0.01)
    assert one.beside == "a shifted column: 70.66 stands in the neighbouring column of the source, under resnet56 -> resnet20"
    assert one.source is not None and one.source.source == "tian2020_crd"


def test_marks_are_kept_and_contradicting_sources_are_told(tmp_path: Path) -> None:
    marked = [one for one in found(tmp_path, "a.md", MARKDOWN) if one.cell.method.startswith("CRD")]
    assert all(one.cell.mark == "†" and "marked †" in one.sentence for one in marked)
    (pkt,) = [one for one in found(tmp_path, "a.tex", LATEX) if one.status == "differs"]
    assert (
        pkt.contradict and "the sources contradict each other: 73.45 (tian2020_crd" in pkt.note and "73.54 (chen2021_reviewkd" in pkt.note
    )
    assert "also printed in chen2021_reviewkd" in pkt.note


def test_doubtful_names_are_asked_and_can_be_answered(tmp_path: Path) -> None:
    text = "teacher,student,method,acc\nvgg13-bn,vgg8,KD,72.98\n"
    (one,) = found(tmp_path, "a.csv", text, dataset="CIFAR-100")
    assert one.status == "to be asked" and one.question == "is 'vgg13-bn' the registry's 'vgg13'? Say --same \"vgg13-bn=vgg13\""
    (one,) = found(tmp_path, "a.csv", text, dataset="CIFAR-100", same={"vgg13-bn": "vgg13"})
    assert one.status == "equal"
    (one,) = found(tmp_path, "a.csv", text.replace("vgg13-bn", "vgg16"), dataset="CIFAR-100")
    assert one.status == "not in the registry"


def test_against_some_sources_only(tmp_path: Path) -> None:
    assert Counter(one.status for one in found(tmp_path, "b.csv", LONG, against=("zhao2022",))) == {"equal": 1, "not in the registry": 1}
    with pytest.raises(RedistillError, match="--against tian2021: unknown source of numbers 'tian2021': did you mean tian2020"):
        found(tmp_path, "b.csv", LONG, against=("tian2021",))


def test_a_misprinted_column_is_no_source(tmp_path: Path) -> None:
    text = "teacher,student,method,acc\nresnet32x4,MobileNetV2,DKD,77.07\n"
    (one,) = found(tmp_path, "a.csv", text, dataset="CIFAR-100")
    assert one.status == "not in the registry" and "misprint" in one.note


def test_fewer_digits_fractions_and_errors_are_recognised_and_said(tmp_path: Path) -> None:
    (one,) = found(tmp_path, "a.csv", "teacher,student,method,acc\nvgg13,vgg8,KD,73.0\n", dataset="CIFAR-100")
    assert one.status == "equal" and one.note == "to 1 decimal"
    path = tmp_path / "f.csv"
    path.write_text("teacher,student,method,acc\nvgg13,vgg8,KD,0.7298\n", encoding="utf-8")
    table = read_table(path, "CIFAR-100")
    assert "read as fractions" in table.notes[0] and compare(table)[0].status == "equal"
    errors = "teacher,student,method,acc\nvgg13,vgg8,KD,27.02\nvgg13,vgg8,CRD,26.06\n"
    with pytest.raises(RedistillError, match="they look like errors; say --unit error"):
        found(tmp_path, "a.csv", errors, dataset="CIFAR-100")
    assert Counter(one.status for one in found(tmp_path, "a.csv", errors, dataset="CIFAR-100", unit="error")) == {"equal": 2}
    for numbers, name, unit in (("27.02 26.06", "error", None), ("27.02 26.06", "Top-1 error (%)", "error"),
                                ("0.2702 0.2606", "err", None), ("72.98 73.94", "Acc. (%)", None)):  # fmt: skip
        kd, crd = numbers.split()
        text = f"teacher,student,method,{name}\nvgg13,vgg8,KD,{kd}\nvgg13,vgg8,CRD,{crd}\n"
        assert {one.status for one in found(tmp_path, "a.csv", text, dataset="CIFAR-100", unit=unit)} == {"equal"}, (numbers, name)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.md", "no table\n", "holds no table"),
        ("a.xlsx", "x", "a table to compare is .csv"),
        ("a.csv", "method,A,B\nKD,70,71\n", "column 'A' cannot be told"),
        ("a.csv", "teacher,student,top1\nvgg13,vgg8,72.98\n", "one number a row needs columns .*; method is missing beside 'teacher'"),
        ("a.csv", "method,teacher,top1\nKD,vgg13,72.98\n", "student is missing beside 'method'"),
        ("a.csv", "method,ResNet56,VGG13\nKD,70.66,72.98\n", "column 'ResNet56' cannot be told: write the pair above it"),
        ("a.csv", "teacher,student,method,acc,top1\nvgg13,vgg8,KD,72.98,72.98\n", "columns 'acc' and 'top1' could both be the value"),
        ("a.csv", "teacher,student,method,acc\nvgg13,vgg8,KD,about 72\n", "'about 72' is no number"),
        ("a.csv", "teacher,student,method,acc\nvgg13,vgg8,KD,0.72\nvgg13,vgg8,CRD,73.94\n", "partly as fractions and partly in percent"),
        ("a.csv", "teacher,student,method,acc\nWRN-40-2,WRN-16-2,AT,72\n", "names no data set and its pairs could be of several"),
        ("a.json", '{"cells": [{"method": "KD", "student": "vgg8", "quoted": NaN}]}', "cell 1: quoted is nan"),
        ("a.json", "[]", "has no list 'cells'"),
    ],
)
def test_bad_tables_are_a_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(RedistillError, match=sentence):
        found(tmp_path, name, text)


def test_the_registry_knows_sources_last_or_best_and_runs() -> None:
    known = registry()
    first, *others = known.of(key_of("CIFAR-100", "resnet32x4", "resnet8x4", "KD", ""))
    assert (first.source, first.value, first.which, first.aggregate, first.seeds) == ("tian2020_crd", 73.33, "last epoch", "mean", 5)
    assert {n.source for n in others} >= {"zhao2022_dkd", "chen2021_reviewkd"}
    assert first.place == "HobbitLong/RepDistiller@b84f547 README.md"
    assert {number.source for number in known.numbers} >= {"tian2020_crd", "micaelli2019_zeroshot", "zagoruyko2017_at"}


def test_every_shared_quoting_table_gives_the_counts_of_its_readme(shared: Path) -> None:
    if not (shared / "evidence" / "quotes").is_dir():
        pytest.skip("the shared quoting tables are not here")
    # the README's counts and, beside them, what paper files of ours that came later add: rows of DIST and DKD now have a source
    wanted = {
        "zheng2024_wttm_same": (69 + 3, 1), "zheng2024_wttm_different": (58 + 4, 0), "li2023_ctkd": (6, 1),
        "cui2024_ikl_t13": (54, 1), "cui2024_ikl_t14": (44 + 1, 0), "hayder2026_dtokd": (59 + 7, 2 + 6),
        "shing2025_taid": (12 + 12, 2), "chen2021_reviewkd": (99, 1), "nicolini2019_report": (13, 2),
    }  # fmt: skip
    for name, counts in wanted.items():
        table = read_table(shared / "evidence" / "quotes" / f"{name}.json")
        made = compare(table)
        assert (sum(one.source is not None for one in made), sum(one.status == "differs" for one in made)) == counts, name
    copy = read_table(shared / "evidence" / "quotes" / "cui2024_ikl_t13.json")
    assert any("looked up in the PDF first" in line for line in lines(copy, compare(copy)))


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(MARKDOWN, encoding="utf-8")
    done = run_cli("quotes", str(path))
    assert done.returncode == 0 and "a shifted column" in done.stdout and "18 numbers: 14 equal, 1 differs" in done.stdout
    cells = json.loads(run_cli("quotes", str(path), "--json").stdout)["cells"]
    assert len(cells) == 18 and sum(cell["status"] == "differs" for cell in cells) == 1
    assert "wrn-" in run_cli("quotes", "--rules").stdout
    assert any("wrn-" in rule for rule in json.loads(run_cli("quotes", "--rules", "--json").stdout))
    done = run_cli("quotes", str(tmp_path / "none.csv"))
    assert done.returncode == 1 and "there is no such file" in done.stderr and "Traceback" not in done.stderr


def test_the_page_of_numbers_says_where_restatements_part() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "numbers.md").read_text(encoding="utf-8")
    assert "KD, resnet110 -> resnet20: 70.67 in tian2020_crd; 70.66 (-0.01) li2023_ctkd. 70.66 stands in the neighbouring column" in text
    assert "75.44 (-0.88) hayder2026_dtokd (text copy, the PDF is to be looked up first)" in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"teacher": 110}, "teacher is 110"), ({"student": ["resnet20"]}, "student is"), ({"quoted_std": "0.2"}, "quoted_std is '0.2'"),
        ({"quoted": float("inf")}, "quoted is inf"), ({"quoted": True}, "quoted is True"),
    ],
)  # fmt: skip
def test_cells_of_other_types_get_a_sentence(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    cell = {"teacher": "ResNet56", "student": "ResNet20", "method": "KD", "quoted": 70.66, "dataset": "CIFAR-100", **wrong}
    (tmp_path / "q.json").write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(RedistillError, match=f"q.json, cell 1: {message}"):
        read_table(tmp_path / "q.json")


def test_a_spread_of_fractions_is_in_percent_as_its_number(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("dataset,teacher,student,method,acc\nCIFAR-100,ResNet56,ResNet20,KD,0.7066 ± 0.0021\n")
    [cell] = read_table(tmp_path / "q.csv").cells
    assert (cell.value, cell.std) == (70.66, 0.21)


WIDE = "Results on {data}\n\n| Teacher | resnet32x4 | WRN-40-2 |\n|---|---|---|\n| Student | resnet8x4 | WRN-16-2 |\n"


@pytest.mark.parametrize(
    ("rows", "values", "said"),
    [
        ("| KD | 73,33 | 74,92 |\n| CRD | 75.51/91.2 | 75.48 |\n", [75.48], "73,33, 74,92, 75.51/91.2 (3 cells)"),
        ("| KD | 73.33 +0.2 | 74.92 |\n", [74.92], "73.33 +0.2 (1 cell)"),
        ("| KD | 73.3<sup>2</sup> | 74.9¹ |\n| CRD | 75.5<sup>a</sup> | 75.4<sup>(1)</sup> |\n", [73.3, 74.9, 75.5, 75.4], ""),
        ("| KD | 73.33 +- 0.2 | 74.92 ± 0.2% |\n", [73.33, 74.92], ""),
        ("| KD | 73.33 | 74.92 |\n| Top-5 | 91.20 | 92.10 |\n", [73.33, 74.92], "called top-5: 2 numbers"),
        ("| Method | Top-1 | Top-5 |\n| KD | 73.33 | 92.10 |\n", [73.33], "called top-5: 1 number"),
    ],
)
def test_what_is_no_number_to_compare_is_named(tmp_path: Path, rows: str, values: list[float], said: str) -> None:
    """A decimal comma, two numbers in a cell, a top-5: none is passed over in silence, and a footnote's number is no digit."""
    path = tmp_path / "t.md"
    path.write_text(WIDE.format(data="CIFAR-100") + rows, encoding="utf-8")
    table = read_table(path)
    assert [cell.value for cell in table.cells] == values
    left = [note for note in table.notes if "left out" in note]
    assert (said in left[0] and lines(table, compare(table))[: len(table.notes)] == list(table.notes)) if said else not left


def test_top_5_beside_top_1_where_methods_stand_across(tmp_path: Path) -> None:
    path = tmp_path / "t.md"
    head = "ImageNet\n\n| Pair | Acc | Teacher | KD | CRD |\n|---|---|---|---|---|\n"
    one, five = "Top-1 | 73.31 | 70.66 | 71.17", "Top-5 | 91.42 | 89.88 | 90.13"
    path.write_text(head + "".join(f"| ResNet34 -> ResNet18 | {row} |\n" for row in (one, five)))
    assert [cell.value for cell in read_table(path).cells] == [73.31, 70.66, 71.17]


def test_colors_and_sizes_of_latex_are_no_part_of_a_number(tmp_path: Path) -> None:
    path = tmp_path / "t.tex"
    rows = r"""\rowcolor{gray!20} KD & \textcolor{red}{73.33} & \cellcolor[HTML]{EFEFEF}74.92{\tiny$\pm$0.20} \\
CRD & 75.51\tnote{1} & \bm{75.48}$^{2}$ \\ AT & \best{73.44} & 74.08 \\"""
    path.write_text("CIFAR-100\n\\begin{tabular}{lcc}\nTeacher & resnet32x4 & WRN-40-2 \\\\\nStudent & resnet8x4 & WRN-16-2 \\\\\n" + rows
                    + "\n\\end{tabular}\n")  # fmt: skip
    table = read_table(path)
    assert [(cell.method, cell.value) for cell in table.cells] == [
        ("KD", 73.33), ("KD", 74.92), ("CRD", 75.51), ("CRD", 75.48), ("AT", 74.08)]  # fmt: skip
    assert table.cells[1].std == 0.2 and r"\best73.44 (1 cell)" in table.notes[1]


@pytest.mark.parametrize(("written", "taken"), [("CIFAR10", "CIFAR-10"), ("cifar 100", "CIFAR-100"), ("Tiny-ImageNet", "Tiny-ImageNet"),
                                                ("TinyImageNet", "Tiny-ImageNet"), ("ImageNet-1k", "ImageNet")])  # fmt: skip
def test_a_data_set_is_known_however_it_is_written(tmp_path: Path, written: str, taken: str) -> None:
    path = tmp_path / "t.md"
    path.write_text(WIDE.format(data=written) + "| KD | 73.33 | 74.92 |\n")
    assert {cell.dataset for cell in read_table(path).cells} == {taken}
