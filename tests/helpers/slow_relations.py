"""Slow formulas of the terms that compare a batch's images with each other, and of decoupled and standardised logits.

As in ``slow``: loops over numbers, written from the papers' definitions, and good for complex steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.slow import A, probabilities


def modulus(x: Any) -> Any:
    """|x| of a real number, with its derivative where x moves along a complex step."""
    return x if np.real(x) >= 0 else -x


def root(vector: A) -> Any:
    return np.sqrt(sum(v * v for v in vector))


def standardise(z: A) -> A:
    out = []
    for row in z:
        mean = sum(row) / len(row)
        spread = np.sqrt(sum((v - mean) ** 2 for v in row) / (len(row) - 1))
        out.append([(v - mean) / (spread + 1e-7) for v in row])
    return np.array(out)


def dkd(z_s: A, z_t: A, y: A, alpha: float, beta: float, T: float) -> Any:
    total: Any = 0.0
    for b in range(len(z_s)):
        p_s, p_t = probabilities(z_s[b], T), probabilities(z_t[b], T)
        rest_s = sum(p_s[c] for c in range(len(p_s)) if c != y[b])
        rest_t = sum(p_t[c] for c in range(len(p_t)) if c != y[b])
        target = p_t[y[b]] * np.log(p_t[y[b]] / p_s[y[b]]) + rest_t * np.log(rest_t / rest_s)
        others: Any = 0.0
        for c in range(len(p_s)):
            if c != y[b]:
                others += p_t[c] / rest_t * np.log((p_t[c] / rest_t) / (p_s[c] / rest_s))
        total += T * T * (alpha * target + beta * others)
    return total / len(z_s)


def pearson(u: A, v: A) -> Any:
    a, b = u - sum(u) / len(u), v - sum(v) / len(v)
    return sum(x * y for x, y in zip(a, b, strict=True)) / (root(a) * root(b) + 1e-8)


def dist(z_s: A, z_t: A, beta: float, gamma: float, T: float) -> Any:
    y_s = np.array([probabilities(z, T) for z in z_s])
    y_t = np.array([probabilities(z, T) for z in z_t])
    images, classes = y_s.shape
    inter = 1 - sum(pearson(y_s[b], y_t[b]) for b in range(images)) / images
    intra = 1 - sum(pearson(y_s[:, c], y_t[:, c]) for c in range(classes)) / classes
    return T * T * (beta * inter + gamma * intra)


def sp(f_s: A, f_t: A) -> Any:
    B = len(f_s)
    grams = []
    for f in (f_s, f_t):
        flat = f.reshape(B, -1)
        gram = [[sum(x * y for x, y in zip(flat[i], flat[j], strict=True)) for j in range(B)] for i in range(B)]
        grams.append([[v / root(np.array(row)) for v in row] for row in gram])
    return sum((grams[0][i][j] - grams[1][i][j]) ** 2 for i in range(B) for j in range(B)) / B**2


def huber(d: Any) -> Any:
    d = modulus(d)
    return d * d / 2 if np.real(d) < 1 else d - 0.5


def rkd(f_s: A, f_t: A, distance: float, angle: float) -> Any:
    B = len(f_s)
    apart, turned = [], []
    for f in (f_s, f_t):
        d = [[root(f[i] - f[j]) if i != j else 0.0 for j in range(B)] for i in range(B)]
        mean = sum(d[i][j] for i in range(B) for j in range(B) if i != j) / (B * (B - 1))
        apart.append([[v / mean for v in row] for row in d])

        def cosine(i: int, j: int, k: int, f: A = f) -> Any:
            if i == j or k == j:
                return 0.0
            a, b = f[i] - f[j], f[k] - f[j]
            return sum(x * y for x, y in zip(a, b, strict=True)) / (root(a) * root(b))

        turned.append([[[cosine(i, j, k) for k in range(B)] for j in range(B)] for i in range(B)])
    loss_d = sum(huber(apart[0][i][j] - apart[1][i][j]) for i in range(B) for j in range(B)) / B**2
    loss_a = sum(huber(turned[0][i][j][k] - turned[1][i][j][k]) for i in range(B) for j in range(B) for k in range(B)) / B**3
    return distance * loss_d + angle * loss_a


def pkt(f_s: A, f_t: A, eps: float, reduction: str) -> Any:
    B = len(f_s)
    rows = []
    for f in (f_s, f_t):
        unit = [v / (root(v) + eps) for v in f]
        kernel = [[(sum(x * y for x, y in zip(a, b, strict=True)) + 1) / 2 for b in unit] for a in unit]
        if reduction == "row":
            for i in range(B):
                kernel[i][i] = 0.0
        rows.append([[v / sum(row) for v in row] for row in kernel])
    total = sum(rows[1][i][j] * np.log((rows[1][i][j] + eps) / (rows[0][i][j] + eps)) for i in range(B) for j in range(B))
    return total / (B * B if reduction == "entry" else B)


def nst(f_s: A, f_t: A) -> Any:
    def kernel(a: A, b: A) -> Any:
        found: Any = 0.0
        for image_a, image_b in zip(a, b, strict=True):
            for x in image_a:
                for y in image_b:
                    u, v = x.reshape(-1), y.reshape(-1)
                    found += (sum(p * q for p, q in zip(u, v, strict=True)) / (root(u) * root(v))) ** 2
        return found / (len(a) * a.shape[1] * b.shape[1])

    return kernel(f_t, f_t) + kernel(f_s, f_s) - 2 * kernel(f_s, f_t)


def fsp(maps_s: list[A], maps_t: list[A]) -> Any:
    """Maps of one size: nothing is pooled."""
    total: Any = 0.0
    for level in range(len(maps_s) - 1):
        flows = []
        for maps in (maps_s, maps_t):
            a, b = maps[level], maps[level + 1]
            B, _, H, W = a.shape
            flows.append(
                [
                    [[sum(a[n, i, y, x] * b[n, j, y, x] for y in range(H) for x in range(W)) / (H * W) for j in range(b.shape[1])]
                     for i in range(a.shape[1])]
                    for n in range(B)
                ]
            )  # fmt: skip
        s, t = np.array(flows[0]), np.array(flows[1])
        total += sum((p - q) ** 2 for p, q in zip(s.reshape(-1), t.reshape(-1), strict=True)) / s.size
    return total


def activation_boundary(f_s: A, f_t: A, margin: float) -> Any:
    """One layer of AB, without its constant."""
    total: Any = 0.0
    for s, t in zip(f_s.reshape(-1), f_t.reshape(-1), strict=True):
        if t > 0 and np.real(s) <= margin:
            total += (s - margin) ** 2
        elif t <= 0 and np.real(s) > -margin:
            total += (s + margin) ** 2
    return total / len(f_s)


def partial(f_s: A, f_t: A, margins: A) -> Any:
    """One layer of OFD: the teacher's value ends at the margin, and a student below a target that is not positive is left alone."""
    total: Any = 0.0
    for image_s, image_t in zip(f_s, f_t, strict=True):
        for c in range(len(margins)):
            for s, t in zip(image_s[c].reshape(-1), image_t[c].reshape(-1), strict=True):
                target = max(t, margins[c])
                if target > 0 or np.real(s) > target:
                    total += (s - target) ** 2
    return total / len(f_s)


def factors(g_s: A, g_t: A, p1: int, p2: int) -> Any:
    total: Any = 0.0
    for image_s, image_t in zip(g_s, g_t, strict=True):
        q = []
        for image in (image_s, image_t):
            flat = image.reshape(len(image), -1)
            means = np.array([sum(channel[x] ** p1 for channel in flat) / len(flat) for x in range(flat.shape[1])])
            q.append(means / root(means))
        total += sum(modulus(a - b) ** p2 for a, b in zip(*q, strict=True)) / len(q[0])
    return total / len(g_s)


def multi_level(s: A, s_strong: A, t: A, t_strong: A, y: A, Ts: list[float], ce: float, kd: float) -> Any:
    """MLKD of the released code, logits as they are; the last two temperatures of the strong KD read the weak logits."""
    B, C = s.shape
    total: Any = sum(-ce * np.log(probabilities(z[b], 1.0)[y[b]]) for z in (s, s_strong) for b in range(B)) / B
    p = np.array([probabilities(row, 1.0) for row in t])
    sure, likely = p.max(axis=1), p.sum(axis=0)
    a, c = float((sure <= np.percentile(sure, 50)).mean()), float((likely <= np.percentile(likely, 50)).mean())

    def soft(u: A, v: A, T: float) -> Any:
        rows = [(probabilities(u[b], T), probabilities(v[b], T)) for b in range(B)]
        return T * T * sum(q[i] * np.log(q[i] / r[i]) for r, q in rows for i in range(C)) / B

    for i, T in enumerate(Ts):
        total += kd * a * soft(s, t, T)
        total += kd * (soft(s, t, T) if i >= len(Ts) - 2 else soft(s_strong, t_strong, T))
        P, Q = (np.array([probabilities(row, T) for row in z]) for z in (s, t))
        total += kd * c * sum((Q.T @ Q - P.T @ P).reshape(-1) ** 2) / C + kd * a * sum((Q @ Q.T - P @ P.T).reshape(-1) ** 2) / B
    return total
