"""The formulas again, slowly: NumPy and loops, written from the definitions and not from the package.

Every function also works on complex numbers, so that a derivative is an imaginary part (:func:`derivative`): exact to the
last digits, without a difference of two close numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

A = NDArray[Any]


def derivative(f: Callable[[A], Any], x: A) -> A:
    """df/dx entry by entry by a complex step: Im f(x + ih) / h."""
    h = 1e-30
    grad = np.zeros(x.shape)
    for where in np.ndindex(*x.shape):
        moved = x.astype(complex)
        moved[where] += 1j * h
        grad[where] = np.imag(f(moved)) / h
    return grad


# -- logits ------------------------------------------------------------------------------------------------------------
def probabilities(z: A, T: float = 1.0) -> A:
    e = [np.exp(v / T) for v in z]
    return np.array([v / sum(e) for v in e])


def ce(z: A, y: A, smoothing: float = 0.0) -> Any:
    total: Any = 0.0
    for b in range(len(z)):
        p = probabilities(z[b])
        for c in range(len(p)):
            q = (1 - smoothing) * (c == y[b]) + smoothing / len(p)
            total -= q * np.log(p[c])
    return total / len(z)


def kl(z_s: A, z_t: A, T: float = 1.0) -> Any:
    """Sum over images and classes."""
    total: Any = 0.0
    for b in range(len(z_s)):
        p_s, p_t = probabilities(z_s[b], T), probabilities(z_t[b], T)
        for c in range(len(p_s)):
            total += p_t[c] * np.log(p_t[c] / p_s[c])
    return total


# -- maps --------------------------------------------------------------------------------------------------------------
def pool(f: A, h: int, w: int) -> A:
    """Adaptive average pooling [B, C, H, W]."""
    B, C, H, W = f.shape
    out = np.zeros((B, C, h, w), dtype=f.dtype)
    for i in range(h):
        for j in range(w):
            top, bottom = math.floor(i * H / h), math.ceil((i + 1) * H / h)
            left, right = math.floor(j * W / w), math.ceil((j + 1) * W / w)
            for y in range(top, bottom):
                for x in range(left, right):
                    out[:, :, i, j] += f[:, :, y, x] / ((bottom - top) * (right - left))
    return out


def nearest(f: A, h: int, w: int) -> A:
    B, C, H, W = f.shape
    out = np.zeros((B, C, h, w), dtype=f.dtype)
    for i in range(h):
        for j in range(w):
            out[:, :, i, j] = f[:, :, (i * H) // h, (j * W) // w]
    return out


def smaller(a: A, b: A) -> tuple[A, A]:
    h, w = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    return pool(a, h, w), pool(b, h, w)


def conv(f: A, weight: A, bias: A | None = None, stride: int = 1, padding: int = 0) -> A:
    B, C, H, W = f.shape
    out_channels, _, kh, kw = weight.shape
    padded = np.zeros((B, C, H + 2 * padding, W + 2 * padding), dtype=f.dtype)
    padded[:, :, padding : padding + H, padding : padding + W] = f
    h, w = (H + 2 * padding - kh) // stride + 1, (W + 2 * padding - kw) // stride + 1
    out = np.zeros((B, out_channels, h, w), dtype=np.result_type(f, weight, *([] if bias is None else [bias])))
    for b in range(B):
        for o in range(out_channels):
            for i in range(h):
                for j in range(w):
                    patch = padded[b, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
                    out[b, o, i, j] = (patch * weight[o]).sum() + (0 if bias is None else bias[o])
    return out


def conv_transposed(f: A, weight: A, bias: A, stride: int, padding: int) -> A:
    B, C, H, W = f.shape
    _, out_channels, kh, kw = weight.shape
    full = np.zeros(
        (B, out_channels, (H - 1) * stride + kh, (W - 1) * stride + kw), dtype=np.result_type(f, weight, bias)
    )
    for b in range(B):
        for c in range(C):
            for i in range(H):
                for j in range(W):
                    full[b, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += f[b, c, i, j] * weight[c]
    cut = full[:, :, padding : full.shape[2] - padding, padding : full.shape[3] - padding]
    return cut + bias[None, :, None, None]


def moments(f: A) -> tuple[A, A, int]:
    """Mean, biased variance and count of each channel over images and positions."""
    n = f.shape[0] * f.shape[2] * f.shape[3]
    mean = f.sum(axis=(0, 2, 3)) / n
    return mean, ((f - mean[None, :, None, None]) ** 2).sum(axis=(0, 2, 3)) / n, n


def batch_norm(f: A, gain: A, bias: A) -> A:
    mean, variance, _ = moments(f)
    out = np.zeros(f.shape, dtype=np.result_type(f, gain, bias))
    for c in range(f.shape[1]):
        out[:, c] = (f[:, c] - mean[c]) / np.sqrt(variance[c] + 1e-5) * gain[c] + bias[c]
    return out


def relu(f: A) -> A:
    return np.where(f.real > 0, f, 0)


def sigmoid(f: A) -> A:
    return 1 / (1 + np.exp(-f))


def mse(a: A, b: A) -> Any:
    return ((a - b) ** 2).sum() / a.size


# -- attention transfer ------------------------------------------------------------------------------------------------
def attention(f: A, p: float, absolute: bool = False, normalise: bool = True) -> A:
    """One image [C, H, W] to its attention [H·W]."""
    C, H, W = f.shape
    q = []
    for i in range(H):
        for j in range(W):
            q.append(sum((abs(f[c, i, j]) if absolute else f[c, i, j]) ** p for c in range(C)) / C)
    length = np.sqrt(sum(v * v for v in q)) if normalise else 1.0
    return np.array([v / length for v in q])


def at(f_s: A, f_t: A, p: float = 2, form: str = "mean", absolute: bool = False, normalise: bool = True) -> Any:
    f_s, f_t = smaller(f_s, f_t)
    total: Any = 0.0
    for b in range(len(f_s)):
        difference = attention(f_s[b], p, absolute, normalise) - attention(f_t[b], p, absolute, normalise)
        squared = sum(v * v for v in difference)
        total += {"mean": squared / len(difference), "sum": squared, "norm": np.sqrt(squared)}[form]
    return total / len(f_s)


# -- variational information distillation -------------------------------------------------------------------------------
def vid_head(f: A, weights: Sequence[A], norms: Sequence[tuple[A, A]] = ()) -> A:
    """Three 1x1 convolutions; with ``norms`` batch norm and ReLU after each, else ReLU between."""
    for k, weight in enumerate(weights):
        f = conv(f, weight)
        if norms:
            f = relu(batch_norm(f, *norms[k]))
        elif k < len(weights) - 1:
            f = relu(f)
    return f


def vid(mean: A, log_scale: A, eps: float, target: A, reduction: str = "element", constant: bool = False) -> Any:
    B, C, H, W = target.shape
    total: Any = 0.0
    for c in range(C):
        variance = np.log(1 + np.exp(log_scale[c])) + eps
        for b in range(B):
            for i in range(H):
                for j in range(W):
                    total += 0.5 * ((mean[b, c, i, j] - target[b, c, i, j]) ** 2 / variance + np.log(variance))
                    total += 0.5 * math.log(2 * math.pi) if constant else 0.0
    return total / (B if reduction == "batch" else B * C * H * W)


# -- FitNets -----------------------------------------------------------------------------------------------------------
def regressed(f: A, size: tuple[int, int], state: Mapping[str, A], norm: bool, use_relu: bool) -> A:
    h_s, h_t = f.shape[2], size[0]
    weight, bias = state["conv.weight"], state["conv.bias"]
    if h_s == 2 * h_t:
        out = conv(f, weight, bias, stride=2, padding=1)
    elif 2 * h_s == h_t:
        out = conv_transposed(f, weight, bias, stride=2, padding=1)
    elif h_s >= h_t and f.shape[3] >= size[1]:
        out = conv(f, weight, bias)
    else:
        out = conv(pool(f, *size), weight, bias)
    if norm:
        out = batch_norm(out, state["bn.weight"], state["bn.bias"])
    return relu(out) if use_relu else out


def hint(r: A, target: A, reduction: str) -> Any:
    B, C, H, W = target.shape
    total: Any = 0.0
    for where in np.ndindex(*target.shape):
        total += (r[where] - target[where]) ** 2
    return total / {"element": B * C * H * W, "position": B * H * W, "batch": B}[reduction]


# -- knowledge review --------------------------------------------------------------------------------------------------
def context(
    f: A,
    g: A,
    levels: Sequence[Any] = ("h", 4, 2, 1),
    weights: Sequence[float] = (1, 0.5, 0.25, 0.125),
    at_most: bool = False,
    by_place: bool = False,
    denominator: float | None = None,
) -> Any:
    """Hierarchical context loss of square maps."""
    h = f.shape[2]
    of_h = {"h": h, "h/2": h // 2, "h/4": h // 4, "h-1": h - 1, "h-2": h - 2, "h-3": h - 3}
    total: Any = 0.0
    tally, used = 0.0, 0
    for place, level in enumerate(levels):
        cells = of_h.get(level, level)
        kept = cells >= 1 if level in of_h else (cells <= h if at_most else cells < h)
        if kept:
            weight = weights[place if by_place else used]
            total += weight * mse(pool(f, cells, cells), pool(g, cells, cells))
            tally += weight
            used += 1
    return total / (tally if denominator is None else denominator)


def conv_norm(f: A, state: Mapping[str, A], name: str) -> A:
    weight = state[f"{name}.0.weight"]
    out = conv(f, weight, padding=weight.shape[2] // 2)
    return batch_norm(out, state[f"{name}.1.weight"], state[f"{name}.1.bias"])


def attend(x: A, y: A, state: Mapping[str, A]) -> A:
    z = sigmoid(conv(np.concatenate([x, y], axis=1), state["att_conv.0.weight"], state["att_conv.0.bias"]))
    return x * z[:, 0:1] + y * z[:, 1:2]


def abf(x: A, deeper: A | None, state: Mapping[str, A], size: tuple[int, int], plain_sum: bool = False) -> tuple[A, A]:
    h, w = x.shape[2:]
    x = conv_norm(x, state, "conv1")
    if deeper is not None:
        y = nearest(deeper, h, w)
        x = x + y if plain_sum else attend(x, y, state)
    x = nearest(x, *size)
    return conv_norm(x, state, "conv2"), x


def direct(x: A, deeper: A | None, state: Mapping[str, A], size: tuple[int, int]) -> tuple[A, A]:
    h, w = x.shape[2:]
    x = conv_norm(x, state, "conv_stage")
    if deeper is not None:
        x = attend(x, conv_norm(nearest(deeper, h, w), state, "conv_deeper"), state)
    x = nearest(x, *size)
    return x, x


def cascade(features: Sequence[A], sizes: Sequence[tuple[int, int]], state: Mapping[str, A], fusion: str) -> list[A]:
    """Fused maps, shallowest first; ``state`` under ``abfs.<k>.``, k = 0 the deepest."""
    outs: list[A] = []
    residual: A | None = None
    for k, (f, size) in enumerate(zip(reversed(features), reversed(sizes), strict=True)):
        own = {n.removeprefix(f"abfs.{k}."): v for n, v in state.items() if n.startswith(f"abfs.{k}.")}
        if fusion == "figure3a":
            out, residual = direct(f, residual, own, size)
        else:
            out, residual = abf(f, residual, own, size, plain_sum=fusion == "sum")
        outs.insert(0, out)
    return outs


# -- anchor ------------------------------------------------------------------------------------------------------------
def anchor(now: Mapping[str, A], start: Mapping[str, A], squared: bool = False, by_tensor: bool = True) -> Any:
    total: Any = 0.0
    for name, value in now.items():
        part: Any = 0.0
        for where in np.ndindex(*value.shape):
            d = value[where] - start[name][where]
            part += d * d if squared else (d if d.real > 0 else -d)
        total += part / value.size if by_tensor else part
    return total
