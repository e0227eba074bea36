"""Files of weights that stand in for a trained teacher."""

from __future__ import annotations

from pathlib import Path

import pytest

from redistill import models


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{name}.safetensors" for name in ("good", "other")]
    for seed, path in enumerate(made):
        models.save(models.wrn(40, 2, classes=10, seed=seed), path, normalisation="cifar10-kuangliu")
    return made
