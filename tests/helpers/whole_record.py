"""What a record must say beside its numbers, for tests that make finished runs without training."""

from __future__ import annotations

from typing import Any

REST: dict[str, Any] = {
    "data": {"train": {"data": "made up"}}, "parameters": 1, "weights_sha256": "", "method_sha256": "", "cohort": [], "exact": "yes",
    "sessions": [{"hardware": {"device": "cpu", "threads": 1}}], "versions": {}, "git": None, "finished": "2026-01-01T00:00:00+00:00",
    "start": None, "time": {"own": 60.0, "wall": 60.0, "cpu": 60.0, "device": None},
}  # fmt: skip
