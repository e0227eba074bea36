"""ONNX, checked against torch on real images; and int8 from it, calibrated on training images."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.export.network import CALIBRATION, CHECKED, MOST, TOLERANCE, Subject, difference, needs
from redistill.files import make_folder, write
from redistill.quiet import quiet
from redistill.stats import binomial_interval

INPUT, OUTPUT = "images", "logits"
OPSET = 18


@dataclass(frozen=True)
class Checked:
    """A written file, and how far it is from torch: largest difference of a logit over ``images`` real images."""

    file: Path
    largest: float
    share: float
    images: int

    def __str__(self) -> str:
        return (
            f"{self.file} ({self.file.stat().st_size:,} bytes): the largest difference to torch over {self.images} real images is "
            f"{self.largest:.2g} ({100 * self.share:.2g} % of the largest logit)"
        )


def _libraries(*names: str) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise needs(name, "onnx") from error


def write_onnx(subject: Subject, file: Path) -> Checked:
    """The network as ONNX, with any number of images a call, compared with torch by onnxruntime.

    Raises:
        RedistillError: a library is missing; an operator has no ONNX form (which); the file computes something else.
    """
    _libraries("onnx", "onnxscript", "onnxruntime")
    images, _ = subject.images("test", CHECKED)
    make_folder(file.parent)
    write(file, _exported(subject, images[:2]))
    return _compared(subject, file, images)


def _exported(subject: Subject, images: Tensor) -> bytes:
    """The content of an ONNX file."""
    batch = torch.export.Dim("batch", min=1)
    printed = io.StringIO()
    try:
        with (
            tempfile.TemporaryDirectory() as place,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                subject.net, (images,), f"{place}/net.onnx", input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False,
                dynamic_shapes={"images": {0: batch}}, external_data=False, opset_version=OPSET,
            )  # fmt: skip
            return Path(place, "net.onnx").read_bytes()
    except Exception as error:  # the exporter's own kinds of errors are not public
        raise RedistillError(f"{subject.run.label}: {why_not(error)}") from error


def why_not(error: BaseException) -> str:
    """Which operator has no form in ONNX, or what else kept a network from being exported, in one clause.

    >>> why_not(RuntimeError("No ONNX function found for <OpOverload(op='aten.foo', overload='default')>"))
    'its operator aten.foo has no form in ONNX: replace it, or export with --to torch-export'
    """
    text: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(text) < 10:
        text.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    every = "\n".join(text)
    if found := re.search(r"No ONNX function found for\s*<OpOverload\(op='([\w.:]+)'", every) or re.search(
        r"No decompositions? .*?([\w]+[.:]+[\w.]+)", every
    ):
        return f"its operator {found[1]} has no form in ONNX: replace it, or export with --to torch-export"
    if found := re.search(r"[Uu]nsupported (?:FX nodes|operator)[^\w]*'?([\w.:]+)", every):
        return f"its operator {found[1]} has no form in ONNX: replace it, or export with --to torch-export"
    line = next((one.strip() for one in every.splitlines() if one.strip()), type(error).__name__)
    return f"it cannot be exported ({line[:200]}): what depends on the values of its images (if, for, .item()) has no form in a graph"


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _run(session: Any, images: Tensor) -> Tensor:
    rows = [torch.from_numpy(session.run([OUTPUT], {INPUT: few.numpy()})[0]) for few in images.split(100)]
    return torch.cat(rows)


def _compared(subject: Subject, file: Path, images: Tensor) -> Checked:
    found = Checked(file, *difference(_run(_session(file), images), subject.outputs(images)), len(images))
    if found.share > TOLERANCE:
        raise RedistillError(
            f"{found}: that is more than sums in another order explain, so the file does not compute what the network does; it is kept "
            f"for a look and should not be used"
        )
    return found


@dataclass(frozen=True)
class Quantised:
    """An int8 network beside the float one, on the same ``images``: right answers of both. kind: how it was made."""

    file: Path
    kind: str
    images: int
    right_float: int
    right_int8: int
    bytes_float: int

    def __str__(self) -> str:
        def shown(right: int) -> str:
            low, high = binomial_interval(right, self.images)
            return f"{100 * right / self.images:.2f} % (95 %: {100 * low:.2f} to {100 * high:.2f})"

        return (
            f"{self.file} ({self.file.stat().st_size:,} bytes, float {self.bytes_float:,}): {self.kind}; accuracy on {self.images:,} "
            f"images: int8 {shown(self.right_int8)}, float {shown(self.right_float)}"
        )


def write_int8(subject: Subject, file: Path) -> Quantised:
    """An int8 network as ONNX: weights a channel, activations calibrated on training images where it has convolutions; a network of
    linear layers alone finds its ranges while it runs (dynamic)."""
    _libraries("onnx", "onnxscript", "onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images, labels = subject.images("test", MOST)
    if labels is None:
        raise RedistillError(
            f"{subject.run.folder} has no labelled images to evaluate on beside its own, so nobody could see what int8 costs: "
            f"train it with a set to evaluate on ([evaluate], distill --evaluate DIR)"
        )
    make_folder(file.parent)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(), quiet():  # it advises what has been done
        warnings.simplefilter("ignore")
        plain, prepared, made = (Path(place) / f"{name}.onnx" for name in ("float", "prepared", "int8"))
        write_onnx(subject, plain)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        if any(isinstance(m, nn.Conv2d) for m in subject.net.modules()):
            shown, _ = subject.images("train", CALIBRATION)
            kind = f"static, calibrated on {len(shown)} training images, weights by channel"
            quantize_static(
                str(prepared), str(made), _Reader(shown), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )  # fmt: skip
        else:
            kind = "dynamic, for its linear layers"
            quantize_dynamic(str(prepared), str(made), weight_type=QuantType.QInt8, per_channel=True)
        size = plain.stat().st_size
        write(file, made.read_bytes())
        small = _run(_session(file), images).argmax(1)
    whole = subject.outputs(images).argmax(1)
    return Quantised(file, kind, len(labels), int((whole == labels).sum()), int((small == labels).sum()), size)


class _Reader:
    """Calibration images, a few at a time."""

    def __init__(self, images: Tensor):
        self.waiting = iter(images.split(16))

    def get_next(self) -> dict[str, Any] | None:
        few = next(self.waiting, None)
        return None if few is None else {INPUT: few.numpy()}

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, Any]:
        if (found := self.get_next()) is None:
            raise StopIteration
        return found
