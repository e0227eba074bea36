"""Accuracy of the published networks in ../shared/checkpoints on real CIFAR-10 and on the SVHN substitute.

    python scripts/evaluate_checkpoints.py --data-dir D --shared ../shared --out results/checkpoints.json

The SVHN substitute is grey, cut again from larger images: its accuracy is never called SVHN accuracy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import redistill as rd

SVHN = "arrays:svhn-recrop/test_recrop.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("results/checkpoints.json"))
    args = parser.parse_args()
    folder = args.shared / "checkpoints"
    files = [*sorted((folder / "ferles2020").glob("*.pth")), *sorted((folder / "teachers").glob("*.safetensors"))]
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    done = {row["file"] for row in rows}
    for file in files:
        name = f"{file.parent.name}/{file.name}"
        if name in done:
            continue
        svhn = "svhn" in file.name.lower()
        data = rd.data.load(SVHN if svhn else "cifar10:test", args.data_dir)
        normalise = "svhn-zskt" if svhn else "cifar10-kuangliu"
        found = rd.evaluate(rd.models.load(file, normalisation=normalise), data)
        rows.append({"file": name, "data": SVHN if svhn else "cifar10:test", "normalise": normalise, "images": found.images,
                     "accuracy": found.accuracy, "accuracy_interval": found.accuracy_interval, "nll": found.nll,
                     "calibration_error": found.calibration_error})  # fmt: skip
        print(f"{name}: {found.accuracy:.4f}", flush=True)
        command = "python scripts/evaluate_checkpoints.py --data-dir D --shared ../shared --out results/checkpoints.json"
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
