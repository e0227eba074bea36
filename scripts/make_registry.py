"""Write src/redistill/evidence/registry.json: published numbers with their sources, and who restated them.

    python scripts/make_docs.py --shared SHARED

``SHARED`` holds ``papers/claims`` (numbers as printed, from which page) and ``evidence/quotes`` (tables that quote others).
Kept are accuracies and errors in percent; single seeds and training logs are left out, they are printed for nobody to quote.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "src" / "redistill" / "evidence" / "registry.json"


def read(path: Path) -> tuple[dict[str, Any], str]:
    content = path.read_bytes()
    return json.loads(content), hashlib.sha256(content).hexdigest()


def kept(table: dict[str, Any]) -> bool:
    metric, protocol = table["metric"], table["protocol"]
    percent = "%" in metric and ("accuracy" in metric or "error" in metric)
    return (
        percent and protocol["aggregate"] != "single seed value" and "training log" not in table["kind"] and "ablation" not in table["id"]
    )


def source_of(path: Path) -> dict[str, Any]:
    data, digest = read(path)
    paper = data["paper"]
    places: list[str] = []
    tables: dict[str, Any] = {}
    for table in filter(kept, data["tables"]):
        rows = []
        for row in table["rows"]:
            if not isinstance(row["value"], int | float):
                continue
            if row["source"] not in places:
                places.append(row["source"])
            kept_row = [row["teacher"], row["student"], row["method"], row.get("setting") or "", row["value"], row["std"],
                        bool(row["approximate"]), places.index(row["source"])]  # fmt: skip
            rows.append([*kept_row, row["note"]] if "note" in row else kept_row)
        about = {name: table["protocol"][name] for name in ("which", "aggregate", "seeds")}
        tables[table["id"]] = {"dataset": table["dataset"], "metric": table["metric"], "kind": table["kind"], **about, "rows": rows}
    about = {"title": paper["title"], "year": paper["year"], "venue": paper["venue"], "arxiv": paper["arxiv"]}
    return {**about, "reproduces": paper.get("reproduces"), "sha256": digest, "places": places, "tables": tables}


def restated_of(path: Path) -> dict[str, Any]:
    data, digest = read(path)
    cells = [
        [c["dataset"], c["teacher"], c["student"], c["method"], c.get("setting") or "", c["quoted"], c["marked"]] for c in data["cells"]
    ]
    return {**data["quoting"], "sha256": digest, "cells": cells}


def dense(value: Any, depth: int = 0) -> str:
    """JSON with one line a row."""
    if isinstance(value, dict) and value:
        pad = " " * (depth + 1)
        inner = ",\n".join(f"{pad}{json.dumps(k)}: {dense(v, depth + 1)}" for k, v in value.items())
        return "{\n" + inner + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        pad = " " * (depth + 1)
        return "[\n" + ",\n".join(pad + json.dumps(row, ensure_ascii=False) for row in value) + "\n" + " " * depth + "]"
    return json.dumps(value, ensure_ascii=False)


def text(shared: Path) -> str:
    sources = {path.stem: made for path in sorted((shared / "papers" / "claims").glob("*.json")) if (made := source_of(path))["tables"]}
    restated = {path.stem: restated_of(path) for path in sorted((shared / "evidence" / "quotes").glob("*.json"))}
    about = (
        "Numbers as printed. sources: rows of [teacher, student, method, setting, value, std, approximate, place, note]; sha256 of "
        "the claim "
        "file they were taken from. restated: tables that quote others, rows of [dataset, teacher, student, method, setting, value, mark]."
    )
    return dense({"about": about, "made_by": "scripts/make_registry.py", "sources": sources, "restated": restated}) + "\n"
