"""Small transformers of nobody's library: tokens on a grid, with or without tokens in front, and windows in two resolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Attention and a feed-forward part, before each a norm, beside each a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), nn.MultiheadAttention(dim, 2, batch_first=True)
        self.norm2, self.mlp = nn.LayerNorm(dim), nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm1(x)
        x = x + self.attn(seen, seen, seen)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Transformer(nn.Module):
    """``heads`` 1: a class token. 2: a distillation token too, with a head of its own; the network says their mean. 0: the mean of the
    patches."""

    def __init__(self, num_classes: int = 5, dim: int = 12, depth: int = 4, heads: int = 1, in_chans: int = 3) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(in_chans, dim, 4, 4)
        self.front = nn.Parameter(0.1 * torch.randn(1, heads, dim))
        self.blocks = nn.Sequential(*[Block(dim) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, num_classes)
        self.head_dist = nn.Linear(dim, num_classes) if heads == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = self.norm(self.blocks(torch.cat([self.front.expand(len(x), -1, -1), x], 1)))
        out: Tensor = self.head(x[:, 0] if self.front.shape[1] else x.mean(1))
        return out if self.head_dist is None else (out + self.head_dist(x[:, 1])) / 2


class Windows(nn.Module):
    """[B, H, W, C] in two resolutions, as Swin has it, without the windows."""

    def __init__(self, num_classes: int = 5, dim: int = 6) -> None:
        super().__init__()
        self.patch_embed, self.norm0 = nn.Conv2d(3, dim, 2, 2), nn.LayerNorm(dim)
        self.stage = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.merge, self.deep = nn.Linear(4 * dim, 2 * dim), nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, 2 * dim))
        self.norm, self.head = nn.LayerNorm(2 * dim), nn.Linear(2 * dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm0(self.patch_embed(x).permute(0, 2, 3, 1))
        x = x + self.stage(x)
        b, h, w, c = x.shape
        x = self.merge(x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c))
        out: Tensor = self.head(self.norm(x + self.deep(x)).mean((1, 2)))
        return out
