"""A TensorFlow Lite file (``.tflite``), float or int8, run by its interpreter: a network to be evaluated, without gradients.

Images come as everywhere here, [N, C, H, W] in the file's own units (pixels of 0 to 255: normalisation ``pixels``); the
interpreter takes [N, H, W, C], quantised where the file says how: round(x / scale) + zero point. Probabilities come back as
their logarithms, because networks here give logits; an int8 file says 0 below 1/512, which stands as half a step.

Needs an interpreter (``pip install "redistill[tflite]"``; tflite-runtime and tensorflow have one too).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.errors import first_line

MAGIC = b"TFL3"
"""Bytes 4 to 8 of a file."""

INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")


class LiteNetwork(nn.Module):
    """Images [N, C, H, W] to logits [N, classes] by an interpreter. ``image_shape`` [C, H, W]: as the file has it."""

    def __init__(self, path: Path):
        super().__init__()
        self.interpreter = _interpreter(path)
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4 or len(outputs[0]["shape"]) != 2:
            raise RedistillError(f"{path} is no classifier of images: one input [N, height, width, channels] and one output [N, classes]")
        self.given, self.output = inputs[0], outputs[0]
        _, height, width, channels = (int(size) for size in self.given["shape"])
        self.image_shape, self.classes = (channels, height, width), int(self.output["shape"][1])
        # whether a softmax stands at the end is not in what the interpreter tells: some images of noise show it
        noise = np.random.default_rng(0).integers(0, 256, (8, height, width, channels)).astype(np.float32)
        out = self._run(noise)
        self.probabilities = bool((out >= 0).all() and (np.abs(out.sum(axis=1) - 1) < 0.05).all())

    def forward(self, x: Tensor) -> Tensor:
        out = self._run(x.detach().permute(0, 2, 3, 1).float().cpu().numpy())
        if self.probabilities:
            step = float(self.output["quantization"][0])
            out = np.log(np.maximum(out, step / 2 if step else np.finfo(np.float32).tiny))
        return torch.from_numpy(out).to(x.device, x.dtype)

    def _run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Images [N, H, W, C] through the interpreter, quantised and back."""
        channels, height, width = self.image_shape
        if images.shape[1:] != (height, width, channels):
            raise RedistillError(f"the TensorFlow Lite file takes images {[height, width, channels]}, got {list(images.shape[1:])}")
        self.interpreter.resize_tensor_input(self.given["index"], images.shape)
        self.interpreter.allocate_tensors()
        self.interpreter.set_tensor(self.given["index"], _quantised(images, self.given))
        self.interpreter.invoke()
        out = self.interpreter.get_tensor(self.output["index"])
        scale, zero = self.output["quantization"]
        return np.asarray((out.astype(np.float32) - zero) * np.float32(scale) if scale else out.astype(np.float32))


def _quantised(images: np.ndarray[Any, Any], details: Any) -> np.ndarray[Any, Any]:
    scale, zero = details["quantization"]
    if np.issubdtype(details["dtype"], np.floating):
        return np.asarray(images, dtype=details["dtype"])
    # a network that takes pixels as they are says no scale; they come back from their normalisation within a rounding of themselves
    limits = np.iinfo(details["dtype"])
    return np.asarray(np.clip(np.round(images / (scale or 1.0)) + zero, limits.min, limits.max), dtype=details["dtype"])


def _interpreter(path: Path) -> Any:
    for name in INTERPRETERS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return module.Interpreter(model_path=str(path), num_threads=1)
        except (ValueError, RuntimeError) as error:
            raise RedistillError(f"{path} is damaged or no TensorFlow Lite file ({first_line(error)[:200]}): get it again") from error
    raise RedistillError(f'{path} is a TensorFlow Lite file, which needs an interpreter: pip install "redistill[tflite]"')
