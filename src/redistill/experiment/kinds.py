"""Every kind of ``[source]``, together."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from redistill.experiment.generated import AdversarialSettings, MixedSettings
from redistill.experiment.sources import ImagesSettings, OwnSettings, Settings

SourceSettings = Annotated[
    ImagesSettings | AdversarialSettings | MixedSettings | OwnSettings, Field(discriminator="kind")
]
KINDS: dict[str, type[Settings]] = {
    "images": ImagesSettings, "adversarial": AdversarialSettings, "mixed": MixedSettings, "own": OwnSettings,
}  # fmt: skip
