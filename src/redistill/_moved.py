"""Modules that have moved to other rooms, under their old names for one release: imported with a DeprecationWarning.

``redistill.fit`` and ``redistill.evaluate`` are no modules any more, only the functions that they always were as well.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # typing is not imported: this runs before the current folder has left the path
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

MOVED = {
    "taps": "features.tapped", "pairs": "core.pairs", "ramp": "core.ramp", "measured": "train.result", "learner": "train.learner",
    "optimise": "train.optimise", "jobs": "launch.jobs",
    "experiment.store": "runs.store", "experiment.record": "runs.record", "experiment.checkpoint": "runs.checkpoint",
    "experiment.compare": "runs.compare", "experiment.run": "launch.queue", "experiment.work": "launch.cohort",
    "experiment.stop": "launch.stop", "experiment.build": "launch.materials", "experiment.files": "files",
    "experiment.machine": "machine", "experiment.own": "user_code", "experiment.text": "settings.text",
    "experiment.sources": "experiment.source.images", "experiment.generated": "experiment.source.adversarial",
    "experiment.few": "published.few_words", "experiment.presets": "published.preset_words",
    "models.checkpoint": "models.weights", "sources.few": "published.few_images",
    "papers.cost": "experiment.cost",
    "report.verdicts": "verdicts.tables", "report.checkpoints": "verdicts.checkpoints", "report.beliefs": "verdicts.beliefs",
}  # fmt: skip


class Moved:
    """Finds an old name, and gives the module that stands under the new one."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != "redistill" or name not in MOVED:
            return None
        import warnings

        warnings.warn(
            f"{fullname} has moved to redistill.{MOVED[name]}; the old name goes with the next release", DeprecationWarning, stacklevel=2
        )
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]  # it has what a loader needs

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"redistill.{MOVED[spec.name.partition('.')[2]]}")
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # importing under the old name has put its own there


def install() -> None:
    """Let old names be found, after everything else has failed."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
