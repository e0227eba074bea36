"""``kind = "own"``: a source of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from redistill.core import RedistillError, Source
from redistill.experiment.source.images import Built, Settings
from redistill.user_code import load
from redistill.values import Seed


class OwnSettings(Settings):
    """A source of one's own: ``use(seed=..., **args)`` is called once a run and must return a ``redistill.Source``.

    Args:
        use: ``./file.py:name`` or ``module:name``. args: further keyword arguments. labelled: whether its images have labels.
        code: SHA-256 of its file, which a record has. file: where that was. seed: handed to it, that of the run (``same``) or a number.
    """

    kind: Literal["own"]
    use: str
    args: dict[str, Any] = Field(default_factory=dict)
    labelled: bool = True
    code: str
    file: str | None = None
    seed: Seed = "same"

    depends_on_student: ClassVar[bool] = True  # unknown before it is made, so it gets a cohort of its own

    @property
    def label(self) -> str:
        return self.use

    def numerics(self) -> dict[str, int]:
        return {}  # the SHA-256 of its code says more

    def written(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)

    def build(self, seed: int, data_dir: Path | None) -> Built:
        made = load(self.use, Path(), file=self.file, code=self.code).object
        source = made(seed=seed if self.seed == "same" else self.seed, **self.args)
        if not isinstance(source, Source):
            raise RedistillError(f"{self.use} must return a redistill.Source, it returned a {type(source).__name__}")
        return Built(source, {})
