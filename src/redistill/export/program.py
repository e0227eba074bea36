"""``torch.export``: the network as a program without its Python, checked against the network on real images."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch

from redistill.errors import RedistillError
from redistill.export.network import CHECKED, TOLERANCE, Subject, difference
from redistill.files import make_folder, write


def write_program(subject: Subject, file: Path) -> tuple[float, int]:
    """Write a ``.pt2`` file for any number of images; (largest difference of a logit after reading it again, images).

    Raises:
        RedistillError: the network decides by its images' values what it computes, or computes something else when read again.
    """
    images, _ = subject.images("test", CHECKED)
    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.export.export(subject.net, (images[:2],), dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}})
            torch.export.save(made, content)
            content.seek(0)
            again = torch.export.load(content).module()
    except Exception as error:  # of many kinds, and not public
        line = next((one.strip() for one in str(error).splitlines() if one.strip()), type(error).__name__)
        raise RedistillError(
            f"{subject.run.label} cannot be exported ({line[:200]}): what depends on the values of its images (if, for, .item()) has no "
            f"form in a program"
        ) from error
    with torch.no_grad():
        largest, share = difference(again(images), subject.outputs(images))
    if share > TOLERANCE:
        raise RedistillError(
            f"{subject.run.label} as a program differs from the network by {largest:.2g}: it does not compute the same, and {file} was "
            f"not written"
        )
    make_folder(file.parent)
    write(file, content.getvalue())
    return largest, len(images)
