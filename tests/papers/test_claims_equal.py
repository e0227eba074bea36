"""The numbers of the paper files are those of the claim files, one for one, both ways."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from redistill import papers
from redistill.papers import Cell, Paper, ReportedValue

# claim table -> (paper, its table or tables). A claim table that stands in no paper file is in ABSENT, with the reason.
TABLES = {
    "micaelli2019_zeroshot.json": {
        "table1": ("micaelli2019", "1"),
        "figure2_svhn": ("micaelli2019", "figure2-svhn"),
        "figure2_cifar10": ("micaelli2019", "figure2-cifar10"),
        "table2": ("micaelli2019", "2"),
        "learning_curve_cifar10": ("micaelli2019", "curve-cifar10"),
        "learning_curve_svhn": ("micaelli2019", "curve-svhn"),
        "notebook_constants": ("micaelli2019", "notebook"),
    },
    "ferles2020_re_zeroshot.json": {
        "table1": ("ferles2020", "1"),
        "table2": ("ferles2020", "2"),
        **{f"table{n}": ("ferles2020", str(n)) for n in range(4, 17)},
        "figure1_cifar10": ("ferles2020", "figure1-cifar10"),
        "figure1_svhn": ("ferles2020", "figure1-svhn"),
    },
    "chen2021_reviewkd.json": {
        "table1": ("chen2021", "1"),
        "table2": ("chen2021", "2"),
        "table6": ("chen2021", "6"),
        "table7": ("chen2021", "7"),
    },
    "verma2022_re_reviewkd.json": {
        "same_style": ("chen2021", "re-same"),
        "different_style": ("chen2021", "re-different"),
        "ablation": ("chen2021", "re-ablation"),
    },
    "tian2020_crd.json": {"same_style": ("tian2020", "same"), "different_style": ("tian2020", "different")},
    "zhao2022_dkd.json": {"cifar100_same": ("zhao2022", "same"), "cifar100_different": ("zhao2022", "different")},
    "ahn2019_vid.json": {"cifar10_few_shot": ("ahn2019", "1")},
    "sseung2019_vid_tf.json": {
        "cifar10_last": ("ahn2019", "tf"),
        "cifar10_last_worker": ("ahn2019", "tf-vid"),
        "plot_reading": ("ahn2019", "tf-plots"),
    },
    "kth2019_re_zeroshot.json": {f"table{n}": ("kth2019", str(n)) for n in (1, 2, 3)},
    "zagoruyko2017_at.json": {
        "table1": ("zagoruyko2017", "1"),
        "text_single_losses": ("zagoruyko2017", "groups"),
        "table2": ("zagoruyko2017", "2"),
        "table3": ("zagoruyko2017", "3"),
    },
}
ABSENT = {
    "micaelli2019_zeroshot.json": {
        "text_claims": "the numbers of the figures again, an average over pairs, a number of another paper; 94.06 is in [[also]]",
        "text_confidence": "rounded probabilities during training, no accuracy",
        "table2_notebook": "more digits of Table 2; the one that differs is in [[also]]",
        "figure4": "curves read off a figure",
    },
    "ferles2020_re_zeroshot.json": {
        "figures3_6_plateaus": "read off figures by eye",
        "logs_git_history": "logs of earlier runs; those that contradict a printed number are in [[also]]",
    },
    "chen2021_reviewkd.json": {
        "table3": "ImageNet",
        "readme_imagenet": "ImageNet",
        "table4": "object detection on COCO",
        "table5": "instance segmentation on COCO",
    },
    "sseung2019_vid_tf.json": {
        "cifar10_last_seed": "three of the same numbers again, from an older README",
    },
    "kth2019_re_zeroshot.json": {
        "text": "single runs of cells of Table 1, the best of three, and a loop with real images that no text describes",
    },
    "tian2020_crd.json": {"imagenet_quoted": "ImageNet"},
    "zhao2022_dkd.json": {"imagenet": "ImageNet"},
    "zagoruyko2017_at.json": {"table4": "CUB and Scenes", "table5": "ImageNet"},
}
METHODS = {
    "VID (Ahn et al. 2019, quoted)": "VID (quoted)",
    "KD+AT (M=200)": "KD+AT",
    "zero-shot, samples stepped on the teacher": "zero-shot",
    "KD+AT (M=200), samples stepped on the teacher": "KD+AT",
    "no-teacher (caption); the M=200 row is probably KD-AT": "no-teacher",
    "single stage pair distillation": "stage to stage",
    "min-l2 (Drucker & LeCun)": "min-l2",
}


STAGE = re.compile(r"student stage (\d) <- teacher stage (\d)")
PLACES = {"1": "stage1", "2": "stage2", "3": "stage3", "4": "pooled"}


def sizes_of(row: dict[str, Any], table: dict[str, Any], file: str) -> dict[str, str]:
    """What a claim row says, in the words of the paper files."""
    setting = row["setting"] or ""
    facts = {"method": METHODS.get(row["method"], row["method"])}
    facts |= {role: re.sub(r" \(.*\)", "", row[role]) for role in ("teacher", "student") if row[role] is not None}
    if table["id"] == "table2" and "MTE" in table["metric"]:
        facts["gradient"] = "teacher" if "stepped on the teacher" in row["method"] else ""
    text = f"{table['dataset']} {setting}" if "/" not in table["dataset"] else setting
    facts["data"] = "svhn" if "SVHN" in text else "cifar100" if "CIFAR-100" in text else "cifar10"
    if "full data" in setting:
        facts["M"] = "all|5000"
    elif found := re.search(r"M=(\d+)", setting):
        facts["M"] = found[1]
    if found := re.search(r"after (\d+) blocks", setting):
        facts["blocks"] = found[1]
    if found := re.search(r"seed (\d)", setting):
        facts["seed"] = found[1]
    if found := STAGE.search(setting):
        facts |= {"mine": PLACES[found[1]], "theirs": "pooled" if found[2] == "4" else f"{PLACES[found[2]]}:pre"}
    return {**facts, **SPECIAL.get(file, lambda row, table: {})(row, table)}


def _chen(row: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    if table["id"] == "table7":
        method = "none" if row["method"].startswith("baseline") else row["method"]
        return {"method": "ReviewKD" if method == "RM+RLF+ABF+HCL" else method}
    if row["method"] == "teacher":
        return {"method": "alone", "trains": "teacher"}
    if row["method"] == "student (no distillation)":
        return {"method": "baseline" if table["id"] == "table6" else "alone", "trains": ""}
    return {"trains": ""}


def _verma(row: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    named = {"ReviewKD (paper, as quoted)": "ReviewKD (quoted)", "ReviewKD (reproduction)": "ReviewKD"}
    rows = {"baseline (none)": "re none", "RM+RLF+ABF+HCL": "re all"}
    if table["id"] == "ablation":
        return {"method": rows.get(row["method"], f"re {row['method']}")}
    return {"method": named[row["method"]]}


def _vid(row: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    if row["method"] == "teacher":
        return {"method": "alone", "trains": "teacher", "student": "WRN-16-1"}
    facts = {"M": "100"} if row["setting"] == "2%" else {}  # so in the readings of the plots
    if row["method"].startswith("student"):
        return {**facts, "method": "alone", "trains": ""}
    return facts | ({"method": f"tf {row['method']}"} if table["id"] != "cifar10_few_shot" and row["method"] != "AT" else {})


def _at(row: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    facts: dict[str, str] = {}
    if table["id"] == "table1":
        facts["trains"] = "teacher" if row["method"] == "teacher" else ""
    if table["id"] == "table2":
        facts["map"] = row["setting"] if row["setting"].startswith("F_") else ""
    if table["id"] == "text_single_losses":
        facts["group"] = re.sub(r"group(\d) only", r"stage\1", row["setting"]).replace("all three", "all")
    if row["method"] in ("teacher", "student (no distillation)"):
        facts["method"] = "alone"
    return facts


def _kth(row: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    return {"measure": "relative" if table["id"] == "table3" else ""}


def _ferles(row: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    """Figure 1's students with M images were fine-tuned on them: its points are the means of Tables 14 to 16."""
    tuned = table["id"].startswith("figure1") and "zero-shot" in row["method"] and "M=0" not in row["setting"]
    return {"method": f"{row['method']} + M samples"} if tuned else {}


def _zhao(row: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    """The heading of the last column is a misprint, which the claim keeps and says so."""
    return {"student": "ShuffleNet-V2"} if "misprint for ShuffleNet-V2" in (row.get("note") or "") else {}


SPECIAL = {
    "kth2019_re_zeroshot.json": _kth, "ferles2020_re_zeroshot.json": _ferles,
    "tian2020_crd.json": _chen, "chen2021_reviewkd.json": _chen, "verma2022_re_reviewkd.json": _verma, "ahn2019_vid.json": _vid,
    "sseung2019_vid_tf.json": _vid, "zagoruyko2017_at.json": _at, "zhao2022_dkd.json": _zhao,
}  # fmt: skip
OPTIONAL = ("gradient", "trains", "map", "measure")  # facts that most cells do not have


def fitting(paper: Paper, table: str, facts: dict[str, str]) -> list[Cell]:
    def fits(cell: Cell) -> bool:
        return all(cell.facts.get(name, "" if name in OPTIONAL else wanted.split("|")[0]) in wanted.split("|")
                   for name, wanted in facts.items())  # fmt: skip

    return [cell for cell in paper.cells_of(table) if fits(cell)]


@pytest.mark.parametrize("file", TABLES)
def test_every_claim_has_its_cell_and_every_cell_its_claim(file: str, shared: Path) -> None:
    claims = json.loads((shared / "papers" / "claims" / file).read_text(encoding="utf-8"))
    missing = {t["id"] for t in claims["tables"]} - TABLES[file].keys() - ABSENT.get(file, {}).keys()
    assert not missing, f"claim tables that no paper file has: {missing}"
    for table in claims["tables"]:
        if table["id"] not in TABLES[file]:
            continue
        name, ours = TABLES[file][table["id"]]
        paper = papers.load(name)
        left = {cell.id: cell for cell in paper.cells_of(ours) if cell.printed is not None}
        for row in table["rows"]:
            if row["value"] is None:
                continue  # the print says N/A
            found = [cell for cell in fitting(paper, ours, sizes_of(row, table, file)) if cell.id in left]
            assert len(found) == 1, f"{file} {table['id']}: {row} means {[c.id for c in found]}"
            printed = left.pop(found[0].id).printed
            assert printed is not None
            assert (printed.value, printed.std) == (row["value"], row["std"]), f"{found[0].id}: {printed}, claimed {row}"
            assert printed.approximate == row["approximate"], found[0].id
        assert not left, f"{name} table {ours} prints what no claim has: {sorted(left)}"


def test_contradicting_values_of_micaelli(shared: Path) -> None:
    paper = papers.load("micaelli2019")
    found = {cell.id: [ReportedValue.read(also.value) for also in cell.also] for cell in paper.cells if cell.also}
    assert found == {
        "micaelli2019:figure2-svhn:zero-shot:M = 0": [ReportedValue(94.06, 2, 0.27)],
        "micaelli2019:2:CIFAR-10:KD+AT": [ReportedValue(0.7182, 4)],
    }
    claims = json.loads((shared / "papers" / "claims" / "micaelli2019_zeroshot.json").read_text(encoding="utf-8"))
    tables = {table["id"]: table["rows"] for table in claims["tables"]}
    assert any((row["value"], row["std"]) == (94.06, 0.27) for row in tables["text_claims"])
    notebook = [row["value"] for row in tables["table2_notebook"]]
    assert notebook == [0.0941, 0.6361, 0.2182, 0.7182]
    printed = [cell.printed.value for cell in paper.cells_of("2") if cell.printed is not None]
    assert [round(value, 2) == p for value, p in zip(notebook, printed, strict=True)] == [True, True, True, False]


def test_contradicting_values_of_ferles(shared: Path) -> None:
    paper = papers.load("ferles2020")
    found = {cell.id.removeprefix("ferles2020:"): [also.value for also in cell.also] for cell in paper.cells if cell.also}
    assert found == {
        "1:WRN-40-1, WRN-16-2:zero-shot": ["86.48 ± 1.04"],
        "11:WRN-40-1, WRN-16-2:0": ["85.01"],
        "12:WRN-40-2, WRN-16-1:1": ["93.84"],
        "15:10:2": ["94.07"],
    }
    claims = json.loads((shared / "papers" / "claims" / "ferles2020_re_zeroshot.json").read_text(encoding="utf-8"))
    logs = next(t["rows"] for t in claims["tables"] if t["id"] == "logs_git_history")
    for value, student, seed in ((85.01, "WRN-16-2", 0), (93.84, "WRN-16-1", 1)):
        assert any(row["value"] == value and row["student"] == student and f"seed {seed}" in row["setting"] for row in logs)
    seeds = [85.01, 87.34, 87.08]
    mean = sum(seeds) / 3
    assert round(mean, 2) == 86.48 and round((sum((s - mean) ** 2 for s in seeds) / 3) ** 0.5, 2) == 1.04


def test_table_1_of_ferles_comes_out_of_its_tables_by_seed() -> None:
    """Means and spreads (ddof 0) come out to 0.02; 87.25 is printed where the seeds of Table 10 give 87.263."""
    paper = papers.load("ferles2020")
    for cell in paper.cells_of("1"):
        method = cell.facts["method"]
        table = {"scratch": "4", "KD+AT": "10", "zero-shot": "11", "modified zero-shot": "13"}[method]
        wanted = {n: v for n, v in cell.facts.items() if n in ("teacher", "student")}
        seeds = [c.printed.value for c in paper.cells_of(table) if c.printed and wanted.items() <= c.facts.items()]
        assert len(seeds) == 3 and cell.printed is not None and cell.printed.std is not None
        mean = sum(seeds) / 3
        std = (sum((s - mean) ** 2 for s in seeds) / 3) ** 0.5
        assert abs(cell.printed.value - mean) < 0.02, cell.id
        assert abs(cell.printed.std - std) < 0.02, cell.id
