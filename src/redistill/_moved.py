"""Old names for one release, with a DeprecationWarning: modules that have moved to other rooms, and names inside of modules.

``redistill.fit`` and ``redistill.evaluate`` are no modules any more, only the functions that they always were as well.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # typing is not imported: this runs before the current folder has left the path
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

MOVED = {
    "taps": "features.tapped", "pairs": "core.pairs", "ramp": "core.ramp", "measured": "train.result", "learner": "train.learner",
    "optimise": "train.optimise", "jobs": "launch.jobs", "launch.telling": "launch.progress",
    "experiment.store": "runs.store", "experiment.record": "runs.record", "experiment.checkpoint": "runs.checkpoint",
    "experiment.compare": "runs.compare", "experiment.run": "launch.queue", "experiment.work": "launch.cohort",
    "experiment.stop": "launch.stop", "experiment.build": "launch.materials", "experiment.files": "files",
    "experiment.machine": "machine", "experiment.own": "user_code", "experiment.text": "settings.text",
    "experiment.sources": "experiment.source.images", "experiment.generated": "experiment.source.adversarial",
    "experiment.few": "published.few_words", "experiment.presets": "published.preset_words",
    "models.checkpoint": "models.weights", "sources.few": "published.few_images",
    "sources.diary": "sources.training_log", "terms.parts.seen": "terms.parts.unowned", "settings.mistakes": "settings.validation",
    "experiment.cost": "papers.cost", "experiment.sealed": "sealed", "experiment.versions": "versions",
    "experiment.named_code": "launch.named_code",
    "report.verdicts": "verdicts.tables", "report.checkpoints": "verdicts.checkpoints", "report.beliefs": "verdicts.beliefs",
}  # fmt: skip

_STREAMS = {"Room": "StreamContext", "Culprit": "ExplainsNonfinite", "Keeper": "LeavesArtifacts"}
RENAMED = {
    "core": _STREAMS, "core.source": _STREAMS,
    "features.places": {"Map": "Layers"}, "features.modes": {"standing_for": "equal_forwards"},
    "terms.parts.unowned": {"Seen": "UnownedModule"},  # terms that were pickled name it
    "belief": {"aims": "target_classes", "walk": "adversarial_trajectory", "journey": "trajectory_images"},
    "stats": {"Part": "VarianceComponent"}, "papers": {"Printed": "ReportedValue"}, "testing": {"Bench": "Fixture"},
}  # fmt: skip


def old_names(module: str) -> Callable[[str], object]:
    """The ``__getattr__`` of a module whose names have changed."""

    def find(name: str) -> object:
        new = RENAMED[module.removeprefix("redistill.")].get(name)
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        import warnings

        warnings.warn(f"{module}.{name} is now called {new}; the old name goes with the next release", DeprecationWarning, stacklevel=2)
        found: object = getattr(sys.modules[module], new)
        return found

    return find


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
