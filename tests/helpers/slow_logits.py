"""Slow formulas of NKD, CTKD, OFA, class attention and channel correlation: loops over numbers, good for complex steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.slow import A, probabilities
from helpers.slow_relations import root


def nkd(z_s: A, z_t: A, y: A, gamma: float, T: float, left_out: bool = True) -> Any:
    total: Any = 0.0
    for b in range(len(z_s)):
        total -= probabilities(z_t[b])[y[b]] * np.log(probabilities(z_s[b])[y[b]])
        kept = [c for c in range(len(z_s[b])) if c != y[b] or not left_out]
        q_s, q_t = (probabilities(np.array([z[b][c] for c in kept]), T) for z in (z_s, z_t))
        total -= gamma * T * T * sum(t * np.log(s) for s, t in zip(q_s, q_t, strict=True))
    return total / len(z_s)


def target_enhanced(z_s: A, z_t: A, y: A, eps: float, T: float) -> Any:
    total: Any = 0.0
    for b in range(len(z_s)):
        p_s, p_t = probabilities(z_s[b], T), probabilities(z_t[b], T)
        for c in range(len(p_s)):
            here = 1.0 if c == y[b] else 0.0
            total -= ((p_t[c] + here) ** eps - here) * np.log(p_s[c])
    return total / len(z_s)


def class_maps(f: A, weight: A) -> A:
    B, K, H, W = f.shape
    return np.array(
        [[[[sum(weight[c][k] * f[b, k, h, w] for k in range(K)) for w in range(W)] for h in range(H)] for c in range(len(weight))]
         for b in range(B)]
    )  # fmt: skip


def quarters(a: A, size: int) -> A:
    """Average pooling of maps whose sides are multiples of ``size``."""
    B, C, H, W = a.shape
    h, w = H // size, W // size
    return np.array(
        [[[[sum(a[b, c, i * h + x, j * w + y] for x in range(h) for y in range(w)) / (h * w) for j in range(size)] for i in range(size)]
          for c in range(C)] for b in range(B)]
    )  # fmt: skip


def class_attention(a_s: A, a_t: A, size: int, normalise: bool) -> Any:
    pooled = []
    for a in (a_s, a_t):
        p = quarters(a, size)
        if normalise:
            p = np.array([[m / root(m.reshape(-1)) for m in image] for image in p])
        pooled.append(p)
    d = (pooled[0] - pooled[1]).reshape(-1)
    return sum(v * v for v in d) / len(d)


def correlation(f_s: A, f_t: A) -> Any:
    B, C = f_t.shape[:2]
    total: Any = 0.0
    for b in range(B):
        rows = []
        for f in (f_s, f_t):
            flat = f[b].reshape(C, -1)
            gram = [np.array([sum(x * y for x, y in zip(flat[i], flat[j], strict=True)) for j in range(C)]) for i in range(C)]
            rows.append([row / root(row) for row in gram])
        total += sum((rows[0][i][j] - rows[1][i][j]) ** 2 for i in range(C) for j in range(C))
    return total / (B * C)
