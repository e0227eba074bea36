"""A run's student as the exporters take it: one tensor in, one tensor out, and the real images on which an export is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redistill.data.named import load_data
from redistill.errors import RedistillError
from redistill.experiment.source import SourceSettings
from redistill.experiment.source.images import ImagesSettings, opening_of
from redistill.features.normalised import normalisation_of
from redistill.features.outputs import logits_of
from redistill.runs.store import Run
from redistill.train.kept import HELD_OUT

CHECKED = 32  # images on which an export is compared
CALIBRATION = 256  # training images that show an int8 network its ranges
MOST = 2000  # evaluation images on which float and int8 are compared
TOLERANCE = 1e-3  # of the largest logit: sums in another order differ far less, a wrong operator far more


class Logits(nn.Module):
    """A network that returns its logits alone, whatever else it would return."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.net(images), self.net)


@dataclass(frozen=True)
class Subject:
    """What is exported. net: in evaluation mode, on the CPU. run: whose student it is. normalise: the set in which it takes images."""

    net: Logits
    run: Run
    normalise: str
    data_dir: Path | None = None
    trust_code: bool = False

    @classmethod
    def of(cls, run: Run, data_dir: Path | None = None, *, trust_code: bool = False) -> Subject:
        """The student of a finished run.

        Raises:
            RedistillError: the run diverged.
        """
        if run.diverged is not None:
            raise RedistillError(f"{run.label} (seed {run.seed}) diverged, so there is no network to export: {run.diverged}")
        net = run.network(trust_code=trust_code).cpu().float().eval()  # of a run in double precision too: elsewhere images are fp32
        return cls(
            Logits(net).eval(), run, normalisation_of(net) or str(run.record["experiment"]["source"].get("normalise", "none")), data_dir,
            trust_code,
        )

    def images(self, part: str, most: int) -> tuple[Tensor, Tensor | None]:
        """At most ``most`` images [N, C, H, W] of ``part`` ("train" or "test"), normalised for the network, and the labels of evaluation
        images. A run that was evaluated on nothing shows what it was trained on, for which no accuracy is told.

        Raises:
            RedistillError: the images of the run are not here any more, or it had none.
        """
        asked = self.run.record["experiment"]
        source = _source(asked["source"])
        trained_on = None if source is None else source.data
        sets = {name: data for name, data in asked["evaluate"].items() if _is_set(name)}
        shown = telling(sets, trained_on)
        name = trained_on if part == "train" or shown is None else sets[shown]
        if name is None:
            raise RedistillError(
                f"{self.run.folder} was trained on no images that can be shown again, on which an export is compared: --to hub needs none"
            )
        images: Any
        try:
            if name == trained_on and source is not None:  # the very images that it was trained on
                images = source.build(self.run.seed, self.data_dir).source
            else:
                images = load_data(str(name), self.data_dir, opening=opening_of(source), trust_code=self.trust_code)
        except RedistillError as error:
            raise RedistillError(f"an export is compared on images of {self.run.folder}, and they cannot be had: {error}") from error
        images = images.with_(normalise=self.normalise)
        if len(images) > most:  # evenly, so that every class is there
            chosen = (torch.arange(most, dtype=torch.float64) * (len(images) / most)).long()
            images = images.subset(chosen, ("shown", {"n": most}))
        x = torch.cat([batch.images for batch in images.batches(100)])
        return x, None if name == trained_on else images.all_labels

    @torch.no_grad()
    def outputs(self, images: Tensor) -> Tensor:
        """Logits of the network as it is."""
        return torch.cat([self.net(few) for few in images.split(100)])


def _is_set(key: str) -> bool:
    return key not in ("every", "content", "from")


def telling(sets: Mapping[str, str], trained_on: str | None) -> str | None:
    """The evaluation set that says most of a network, of several by name and data: ``test``, else the first of images that it was not
    trained on, nor chosen on, else the first.

    >>> telling({"train": "digits:train", "digits": "digits:test"}, "digits:train"), telling({"train": "digits:train"}, "digits:train")
    ('digits', 'train')
    """
    others = [name for name, data in sets.items() if data != trained_on and name != HELD_OUT and not name.startswith("train")]
    return "test" if "test" in sets else next(iter([*others, *sets]), None)


def _source(written: Any) -> ImagesSettings | None:
    """The images of a run's source, or of the first half that has some."""
    from pydantic import TypeAdapter

    source: Any = TypeAdapter(SourceSettings).validate_python(written)
    return next((part for part in source.parts if isinstance(part, ImagesSettings)), None)


def difference(theirs: Tensor, ours: Tensor) -> tuple[float, float]:
    """(largest difference of two sets of logits, the same as a share of the largest finite logit); infinite where one of the two
    is NaN, or infinite alone."""
    apart = (theirs - ours).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
    apart = apart.masked_fill(theirs == ours, 0.0)  # equal infinities differ in nothing
    finite = ours[ours.isfinite()]
    largest, scale = float(apart.max()), float(finite.abs().max()) if len(finite) else 0.0
    return largest, largest / max(scale, 1e-12)


def needs(package: str, extra: str) -> RedistillError:
    """The sentence about a missing library."""
    return RedistillError(f"this export needs the package {package}, which is not installed: pip install 'redistill[{extra}]'")
