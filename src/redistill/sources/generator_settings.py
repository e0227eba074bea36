"""The network that makes the images of a source, as a file names it: its sizes, its normalisation, its first weights."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from redistill.core import RedistillError
from redistill.data import normalisation
from redistill.models.build import drawn
from redistill.values import Seed, Value


class GeneratorSettings(Value):
    """A network from noise to images, and what it must be told.

    Args:
        blocks: length of the full run. epoch_blocks: blocks between two points of the curves; None: 1 % of ``blocks``.
        generator: the network that makes the images, of this package or one's own. z: numbers of noise that it takes. channels,
            image_size: of its images. normalise: the constants by which its images are normalised.
        seed: of its first weights, that of the run (``same``) or a number. code: SHA-256 of the file of one's own generator, which a
            record has. file: where that was.
    """

    blocks: int = Field(ge=1)
    epoch_blocks: int | None = Field(default=None, ge=1)
    generator: str
    z: int = Field(default=256, ge=1)
    channels: int = Field(default=3, ge=1)
    image_size: int = Field(default=32, ge=1)
    normalise: str = "cifar10-kuangliu"
    seed: Seed = "same"
    code: str | None = None
    file: str | None = None

    depends_on_student: ClassVar[bool] = True
    labelled: ClassVar[bool] = False

    @field_validator("normalise")
    @classmethod
    def _known(cls, name: str) -> str:
        return normalisation(name).name

    @model_validator(mode="after")
    def _of_its_channels(self) -> GeneratorSettings:
        normalisation(self.normalise).require_channels(self.channels)
        return self

    @property
    def uses(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of networks and of data sets that it needs, whose versions are part of an experiment."""
        return (self.generator,) if self.generator and self.code is None else (), ()

    @property
    def sizes(self) -> dict[str, int]:
        """What the generator must be told."""
        return {"z": self.z, "channels": self.channels, "image_size": self.image_size}

    @property
    def blocks_of_epoch(self) -> int:
        """Blocks between two points of the curves."""
        return self.epoch_blocks or max(1, self.blocks // 100)

    def written(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={n for n in ("code", "file") if getattr(self, n) is None})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image."""
        return self.channels, self.image_size, self.image_size

    @property
    def described(self) -> dict[str, Any]:
        """The generator, for the record."""
        return {"model": self.generator, "z": self.z, "image_shape": list(self.shape)}

    def made_generator(self, seed: int) -> Any:
        """The generator with its first weights, which must be of the sizes that stand here."""
        number = seed if self.seed == "same" else self.seed
        net: Any = drawn(self.generator, {}, self.sizes, number, file=self.file, code=self.code)
        if (getattr(net, "z", self.z), tuple(getattr(net, "image_shape", self.shape))) != (self.z, self.shape):
            raise RedistillError(
                f"the generator {self.generator} has z = {net.z} and image_shape = {list(net.image_shape)}, but [source] says "
                f"z = {self.z} and channels and image_size of {list(self.shape)}: make them the same"
            )
        return net
