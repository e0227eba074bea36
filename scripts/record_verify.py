"""Run ``redistill verify`` over a golden folder and keep its verdicts in results/verify.json, from which docs/proof.md is made.

    python scripts/record_verify.py ../shared/golden
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from pathlib import Path

import torch

import redistill
from redistill import machine
from redistill.verify import verify

OUT = Path(__file__).resolve().parents[1] / "results" / "verify.json"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows = []
    for verdict in verify(sys.argv[1]):
        print(verdict.line(), flush=True)
        rows.append(dataclasses.asdict(verdict))
    totals = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in ("pass", "fail", "not supported")}
    record = {
        "command": "redistill verify ../shared/golden",
        "versions": {"redistill": redistill.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "git": machine.git(),
        "totals": totals,
        "rows": rows,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if totals["fail"] else 0)


if __name__ == "__main__":
    main()
