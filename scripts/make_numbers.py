"""Write docs/numbers.md: the CRD benchmark's cells, every later restatement that the registry knows, and where they part.

python scripts/make_numbers.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from redistill.evidence.numbers import page

TARGET = Path(__file__).resolve().parents[1] / "docs" / "numbers.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    wanted = page()
    if not parser.parse_args().check:
        TARGET.write_text(wanted, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != wanted:
        sys.exit("docs/numbers.md is stale: run python scripts/make_numbers.py")


if __name__ == "__main__":
    main()
