"""Write results/audit: every source of other people's runs audited, and every quoting table compared with the registry.

    python scripts/make_docs.py --shared SHARED

``SHARED`` holds ``evidence`` and ``evidence/quotes``.
"""

from __future__ import annotations

import json
from pathlib import Path

from redistill.evidence.audit import audit, save
from redistill.evidence.quotes import compare, lines, rows
from redistill.evidence.read import read_evidence
from redistill.evidence.tables import read_table

TARGET = Path(__file__).resolve().parents[1] / "results" / "audit"


def write(shared: Path, folder: Path) -> list[Path]:
    written = save([audit(one) for one in read_evidence(shared / "evidence")], folder)
    made, text = [], ["# Tables that quote others, beside the registry\n"]
    for path in sorted((shared / "evidence" / "quotes").glob("*.json")):
        table = read_table(path)
        found = compare(table)
        kept = rows(table, found)
        # equal cells are counted, not listed
        kept["cells"] = [cell for cell in kept["cells"] if cell["status"] != "equal"]
        made.append(kept)
        text += [f"## {table.name}\n", f"{table.about['title']}: {table.about['where']}, read as {table.about['how_read']}.\n"]
        text += [*(f"- {line}" for line in lines(table, found)), ""]
    (folder / "quotes.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "quotes.md").write_text("\n".join(text), encoding="utf-8")
    return [*written, folder / "quotes.json", folder / "quotes.md"]
