"""Every kind of ``[source]``, together."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from redistill.experiment.source.adversarial import AdversarialSettings
from redistill.experiment.source.images import ImagesSettings, Settings
from redistill.experiment.source.mixed import MixedSettings
from redistill.experiment.source.own import OwnSettings

SourceSettings = Annotated[
    ImagesSettings | AdversarialSettings | MixedSettings | OwnSettings, Field(discriminator="kind")
]

KINDS: dict[str, type[Settings]] = {
    "images": ImagesSettings, "adversarial": AdversarialSettings, "mixed": MixedSettings, "own": OwnSettings,
}  # fmt: skip
