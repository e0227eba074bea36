"""What a careful user writes without this package: a ``DataLoader``, Pillow's transforms image by image, fp32, forward hooks, SGD,
the losses from ``torch.nn.functional``, and meters that read loss and accuracies at every step.

The formulas are written out here, so that a mistake of the package's terms fails the gate; layers that a term trains (regressors,
fusions) are copies of the term's own, because they must begin with equal weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from redistill.data import Images
from redistill.data.normalise import normalisation

PAD = 4
Features = Mapping[str, Tensor]
Loss = Callable[[Tensor, Tensor, Features, Features, Tensor], Tensor]
"""(student's logits, teacher's logits, student's features, teacher's features, labels) to a scalar."""


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images that are padded, cropped, mirrored and normalised one by one; asked for as (position, dy, dx, flip)."""

    def __init__(self, images: Images, dtype: torch.dtype = torch.float32):
        assert images.y is not None
        self.pictures = [Image.fromarray(np.ascontiguousarray(x.permute(1, 2, 0).numpy())) for x in images.x]
        self.labels: list[int] = images.y.tolist()
        facts = normalisation(images.normalise)
        self.mean, self.std = (torch.tensor(one, dtype=dtype).view(-1, 1, 1) for one in (facts.mean, facts.std))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, asked: tuple[int, int, int, bool]) -> tuple[Tensor, int]:
        position, dy, dx, flip = asked
        picture = self.pictures[position]
        width, height = picture.size
        padded = Image.new(picture.mode, (width + 2 * PAD, height + 2 * PAD))
        padded.paste(picture, (PAD, PAD))
        cut = padded.crop((dx, dy, dx + width, dy + height))
        if flip:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1).contiguous().to(self.mean.dtype).div(255)
        return (pixels - self.mean) / self.std, self.labels[position]


class Hooked:
    """Logits and features of a network, kept by forward hooks. places: name to (module, what is kept: its output or input)."""

    def __init__(self, net: nn.Module, places: Mapping[str, tuple[str, str]]):
        self.net, self.features = net, dict[str, Tensor]()
        for name, (path, side) in places.items():
            module = net.get_submodule(path)
            if side == "in":
                module.register_forward_pre_hook(lambda m, given, name=name: self._keep(name, given[0]))
            else:
                module.register_forward_hook(lambda m, given, out, name=name: self._keep(name, out))

    def _keep(self, name: str, value: Tensor) -> None:
        self.features[name] = value

    def __call__(self, images: Tensor) -> tuple[Tensor, Features]:
        self.features = {}
        logits: Tensor = self.net(images)
        return logits, self.features


class PlainLoop:
    """The loop. order: what is asked of the pictures, batch by batch; adapters: trained beside the student."""

    def __init__(
        self,
        teacher: Hooked,
        student: Hooked,
        adapters: Sequence[nn.Module],
        loss: Loss,
        pictures: Pictures,
        order: Sequence[Sequence[tuple[int, int, int, bool]]],
        dtype: torch.dtype = torch.float32,
    ):
        self.teacher, self.student, self.loss_of, self.dtype = teacher, student, loss, dtype
        self.adapters = list(adapters)
        teacher.net.to(dtype).eval()
        student.net.to(dtype).train()
        for one in adapters:
            one.to(dtype).train()
        parameters = [*student.net.parameters(), *(p for one in adapters for p in one.parameters())]
        self.optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.batches: Iterator[list[Tensor]] = iter(DataLoader(pictures, batch_sampler=order))  # type: ignore[arg-type]
        self.loss, self.seen, self.right, self.right5 = 0.0, 0, 0.0, 0.0
        self.images = torch.empty(0)

    def __call__(self) -> None:
        images, labels = next(self.batches)
        self.images = images = images.to(self.dtype)
        with torch.no_grad():
            t, f_t = self.teacher(images)
        s, f_s = self.student(images)
        loss = self.loss_of(s, t, f_s, f_t, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        best = s.detach().topk(min(5, s.shape[1]), 1).indices == labels[:, None]
        self.loss, self.seen = loss.item(), self.seen + len(labels)
        self.right += best[:, :1].sum().item()
        self.right5 += best.sum().item()


# ---------------------------------------------------------------------------------------------------------------------
# The losses, written out
# ---------------------------------------------------------------------------------------------------------------------
def kd(s: Tensor, t: Tensor, labels: Tensor, T: float = 4.0) -> Tensor:
    kl = F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="batchmean") * T * T
    return 0.1 * F.cross_entropy(s, labels) + 0.9 * kl


def at(f_s: Features, f_t: Features, places: Sequence[str]) -> Tensor:
    def attention(feature: Tensor) -> Tensor:
        return F.normalize(feature.pow(2).mean(1).flatten(1))

    return torch.stack([(attention(f_s[p]) - attention(f_t[p])).pow(2).mean() for p in places]).sum()


def vid(f_s: Features, f_t: Features, places: Sequence[str], heads: Sequence[nn.Module], scales: Sequence[Tensor]) -> Tensor:
    total = f_s[places[0]].new_zeros(())
    for place, head, scale in zip(places, heads, scales, strict=True):
        variance = (F.softplus(scale) + 1e-5).view(1, -1, 1, 1)
        total = total + 0.5 * ((head(f_s[place]) - f_t[place]).pow(2) / variance + variance.log()).mean()
    return total


def review(f_s: Sequence[Tensor], f_t: Sequence[Tensor], fusions: Sequence[nn.Module]) -> Tensor:
    """As the authors' ``framework.py``: fusions from the deepest level up, hierarchical context loss on each."""
    total, deeper = f_s[0].new_zeros(()), None
    for student, teacher, abf in zip(reversed(f_s), reversed(f_t), fusions, strict=True):
        conv1, conv2, attend = (getattr(abf, name) for name in ("conv1", "conv2", "att_conv"))
        x = conv1(student)
        if deeper is not None:
            y = F.interpolate(deeper, x.shape[2:], mode="nearest")
            z = attend(torch.cat([x, y], 1))
            x = x * z[:, 0].unsqueeze(1) + y * z[:, 1].unsqueeze(1)
        if x.shape[2:] != teacher.shape[2:]:
            x = F.interpolate(x, teacher.shape[2:], mode="nearest")
        deeper = x
        total = total + hcl(conv2(x), teacher)
    return total


def hcl(student: Tensor, teacher: Tensor) -> Tensor:
    total, weights, weight = F.mse_loss(student, teacher), 1.0, 1.0
    for level in (4, 2, 1):
        if level >= student.shape[2]:
            continue
        weight /= 2
        total = total + weight * F.mse_loss(F.adaptive_avg_pool2d(student, level), F.adaptive_avg_pool2d(teacher, level))
        weights += weight
    return total / weights
