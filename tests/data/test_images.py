"""Images as a value and as a source: subsets, manifest, stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from redistill import rng
from redistill.core import RedistillError, Source, Stream, StreamContext
from redistill.data import Augmenter, Images, augmentation
from redistill.published.few_images import matching_ferles, per_class_ferles


def make(count: int = 60, classes: int = 4, augment: str = "crop-flip:1", **more: Any) -> Images:
    g = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (count, 3, 8, 8), generator=g, dtype=torch.uint8)
    y = torch.randint(0, classes, (count,), generator=g)
    names = tuple("abcdefghij"[:classes])
    return Images(x, y, classes, "noise", "half", augment, class_names=names, **more)


def room(batch_size: int = 16, seed: int = 0, dtype: torch.dtype = torch.float32, **more: Any) -> StreamContext:
    return StreamContext(seed, batch_size, torch.device("cpu"), dtype, steps=100, **more)


# -- subsets ----------------------------------------------------------------------------------------------------------
def test_per_class_is_balanced_sorted_nested_and_seeded() -> None:
    images = make(200)
    few, more = images.per_class(5, seed=1), images.per_class(9, seed=1)
    assert few.class_counts() == (5, 5, 5, 5) and more.class_counts() == (9, 9, 9, 9)
    assert few.index.tolist() == sorted(few.index.tolist())
    assert set(few.index.tolist()) < set(more.index.tolist())
    assert torch.equal(few.index, images.per_class(5, seed=1).index)
    assert not torch.equal(few.index, images.per_class(5, seed=2).index)
    assert torch.equal(few.x, images.x[few.index]) and few.y is not None and images.y is not None
    assert torch.equal(few.y, images.y[few.index])
    assert few.rule == (("per_class", {"M": 5, "seed": 1}),)


def test_first_per_class_walks_the_files_in_order() -> None:
    images = make(200)
    assert images.y is not None
    seen: dict[int, int] = {}
    expected = []
    for i, label in enumerate(images.y.tolist()):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= 3:
            expected.append(i)
    assert images.first_per_class(3).index.tolist() == expected


def test_a_subset_of_a_subset_knows_its_images_in_the_full_part() -> None:
    images = make(200)
    twice = images.per_class(20, seed=0).per_class(3, seed=5)
    assert torch.equal(twice.x, images.x[twice.index])
    assert [rule for rule, _ in twice.rule] == ["per_class", "per_class"]


def test_fraction_keeps_the_proportions_of_the_classes() -> None:
    y = torch.tensor([0] * 40 + [1] * 20 + [2] * 20)
    images = Images(torch.zeros(80, 1, 4, 4, dtype=torch.uint8), y, 3, "skewed", "half")
    assert images.fraction(0.25, seed=0).class_counts() == (10, 5, 5)
    assert images.fraction(0.1, seed=0).class_counts() == (4, 2, 2)
    assert torch.equal(images.fraction(1.0, seed=0).index, torch.arange(80))
    assert len(images.unlabelled().fraction(0.3, seed=0)) == 24


def test_held_out_divides_without_overlap_in_proportion() -> None:
    y = torch.tensor([0] * 40 + [1] * 20 + [2] * 21)
    images = Images(torch.zeros(81, 1, 4, 4, dtype=torch.uint8), y, 3, "skewed", "half")
    rest, held = images.held_out(20, seed=4)
    assert (len(rest), len(held)) == (61, 20) and held.class_counts() == (10, 5, 5)
    assert sorted([*rest.index.tolist(), *held.index.tolist()]) == list(range(81))
    assert images.held_out(0.1, seed=4)[1].count == 8
    assert (rest.rule[0][1]["part"], held.rule[0][1]["part"]) == ("rest", "held")


def test_per_class_ferles_repeats_the_published_loop() -> None:
    """The loop of ``cifar10loadersM``: walk a shuffled loader, count labels, store the position in the loader."""
    images = make(400)
    assert images.y is not None
    order = torch.randperm(400, generator=rng.stream(3, "subset", "per_class_ferles")).tolist()
    counts, positions = [0] * 4, []
    for position, image in enumerate(order):
        label = int(images.y[image])
        if counts[label] < 10:
            counts[label] += 1
            positions.append(position)
        if len(positions) == 40:
            break
    chosen = per_class_ferles(images, 10, seed=3)
    assert chosen.index.tolist() == positions
    assert len(chosen) == 40 and int(chosen.index.max()) < 100, "roughly the first images of the set"
    assert chosen.class_counts() != (10, 10, 10, 10)


def test_matching_selects_matches_and_matching_ferles_does_not() -> None:
    images = make(400)
    agree = torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.25
    good, void = images.matching(agree, 60, seed=0), matching_ferles(images, agree, 60, seed=0)
    assert bool(agree[good.index].all()) and len(good) == 60
    assert len(void) == 60 and 5 < int(agree[void.index].sum()) < 30, "a quarter of them match, as by chance"
    order = torch.randperm(400, generator=rng.stream(0, "subset", "matching_ferles"))
    assert void.index.tolist() == [p for p in range(400) if agree[order[p]]][:60]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda i: i.per_class(6000, 0), r"per_class\(M=6000\): class \d \([abcd]\) of noise holds \d+ images: choose M <= \d+"),
        (lambda i: i.first_per_class(99), r"first_per_class\(M=99\): class \d"),
        (lambda i: i.per_class(0, 0), "per_class: M must be a whole number >= 1, got 0"),
        (lambda i: i.per_class(2, -1), "per_class: seed must be a whole number >= 0, got -1"),
        (lambda i: i.fraction(0.0, 0), "fraction: p must be above 0 and at most 1, got 0.0"),
        (lambda i: i.fraction(1.5, 0), "fraction: p must be above 0 and at most 1, got 1.5"),
        (lambda i: i.fraction(0.5, -3), "fraction: seed must be a whole number >= 0, got -3"),
        (lambda i: i.held_out(60, 0), "n=60 holds out 60 of the 60 images of noise: choose between 1 and 59"),
        (lambda i: i.held_out(1.5, 0), "n=1.5 holds out 90 of the 60"),
        (lambda i: i.unlabelled().per_class(2, 0), "per_class needs labels, and noise has none here"),
        (lambda i: per_class_ferles(i.unlabelled(), 2, 0), "per_class_ferles needs labels"),
        (lambda i: i.matching(torch.zeros(60, dtype=torch.bool), 1, 0), r"matching\(n=1\): only 0 images match"),
        (lambda i: i.matching(torch.ones(3), 1, 0), r"must be a bool tensor \[60\], one entry an image, got torch.float32 \[3\]"),
        (lambda i: i.with_(normalise="cifr10"), "unknown normalisation 'cifr10'"),
        (lambda i: i.with_(augment="crop"), "unknown augmentation 'crop'"),
        (lambda i: next(i.batches(0)), "batch_size must be a whole number >= 1, got 0"),
    ],
)
def test_impossible_wishes_are_refused(act: Any, message: str) -> None:
    with pytest.raises(RedistillError, match=message):
        act(make())


def test_inconsistent_images_are_refused() -> None:
    x, y = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2, 3])
    with pytest.raises(RedistillError, match="labels run from 0 to 3, but 3 classes have labels 0 to 2: give classes=4"):
        Images(x, y, 3, "mine", "half")
    with pytest.raises(RedistillError, match=r"images must be uint8 \[N, C, H, W\], got torch.float32"):
        Images(x.float(), y, 4, "mine", "half")
    with pytest.raises(RedistillError, match=r"labels must be int64 \[4\]"):
        Images(x, y[:3], 4, "mine", "half")
    with pytest.raises(RedistillError, match="mine holds no image"):
        Images(x[:0], None, None, "mine", "half")
    with pytest.raises(RedistillError, match="2 class names for 4 classes"):
        Images(x, y, 4, "mine", "half", class_names=("a", "b"))
    with pytest.raises(RedistillError, match="'cifar10' has 3 channels, the images have 2: use one of mnist"):
        Images(x[:, :2], y, 4, "mine", "cifar10")


# -- what a set says of itself ----------------------------------------------------------------------------------------
def test_settings_and_manifest_are_json_and_say_which_images() -> None:
    images = make()
    few = images.per_class(3, seed=0)
    assert few.settings() == {
        "data": "noise", "rule": [["per_class", {"M": 3, "seed": 0}]], "normalise": "half", "augment": "crop-flip:1", "count": 12,
    }  # fmt: skip
    manifest = json.loads(json.dumps(few.manifest()))
    assert manifest == make().per_class(3, seed=0).manifest()
    # another number here means that other images are drawn, or are hashed differently: raise a NUMERICS
    assert manifest["sha256"] == "fb229ea25cc7f7cf8f47b36653fb62c317e326b5b1e3d3856cc23cac8c162cb3"
    assert few.with_(normalise="none", augment="none").manifest()["sha256"] == manifest["sha256"], "the images are the same"


def test_the_hash_sees_pixels_labels_and_positions() -> None:
    images = make(8, 2, "none")
    assert images.y is not None
    x, y, index = images.x.clone(), images.y.clone(), images.index.clone()
    x[3, 0, 0, 0] ^= 1
    y[2] = 1 - y[2]
    index[1] = 40
    different = [
        Images(x, images.y, 2, "noise", "half"),
        Images(images.x, y, 2, "noise", "half"),
        Images(images.x, images.y, 2, "noise", "half", index=index),
        images.unlabelled(),
        Images(images.x.view(8, 3, 4, 16), images.y, 2, "noise", "half"),
    ]
    assert len({images.sha256, *(d.sha256 for d in different)}) == 6


def test_images_print_what_they_are() -> None:
    shown = repr(make().per_class(3, seed=0))
    assert shown == "<noise.per_class(M=3, seed=0): 12 images 3x8x8, half, augment crop-flip:1>"


# -- as a source ------------------------------------------------------------------------------------------------------
def test_images_are_a_source() -> None:
    images = make()
    assert isinstance(images, Source) and isinstance(images.start(room()), Stream)
    assert (images.depends_on_student, images.labelled, images.classes, images.count) == (False, True, 4, 60)
    assert images.image_shape == (3, 8, 8) and images.normalisation == "half"
    assert not images.unlabelled().labelled and images.unlabelled().start(room()).batch(0).labels is None


def test_steps_per_epoch() -> None:
    images = make(60)
    assert [images.steps_per_epoch(b, False) for b in (1, 16, 60, 128)] == [60, 4, 1, 1]
    assert [images.steps_per_epoch(b, True) for b in (1, 16, 60, 128)] == [60, 3, 1, 1]


def test_an_epoch_is_a_permutation_with_one_variant_an_image() -> None:
    images = make(60)
    stream = images.start(room(16, seed=5))
    batches = [stream.batch(s) for s in range(4)]
    assert [len(b.images) for b in batches] == [16, 16, 16, 12]
    order = torch.cat([b.index for b in batches if b.index is not None])
    variant = torch.cat([b.variant for b in batches if b.variant is not None])
    assert torch.equal(order, torch.randperm(60, generator=rng.stream(5, "order", 0)))
    drawn = torch.randint(0, 18, (60,), generator=rng.stream(5, "variant", 0))
    assert torch.equal(variant, drawn[order])
    pixels = Augmenter(augmentation("crop-flip:1"), images.x)(order, variant)
    expected = (pixels.float() / 255 - 0.5) / 0.5
    assert torch.equal(torch.cat([b.images for b in batches]), expected)
    assert images.y is not None
    assert torch.equal(torch.cat([b.labels for b in batches if b.labels is not None]), images.y[order])


def test_any_step_is_the_same_whenever_it_is_asked_for() -> None:
    images = make(60)
    walked = images.start(room())
    sequence = [walked.batch(s) for s in range(13)]
    jumped = images.start(room())
    for step in (11, 3, 12, 0, 7, 4, 3):
        ours, theirs = jumped.batch(step), sequence[step]
        assert torch.equal(ours.images, theirs.images) and ours.index is not None and theirs.index is not None
        assert torch.equal(ours.index, theirs.index)
    assert walked.state_dict() == {}
    walked.load_state_dict({})
    with pytest.raises(RedistillError, match=r"has no state, got \['generator'\]"):
        walked.load_state_dict({"generator": 1})


def test_the_same_step_is_the_same_object() -> None:
    stream = make().start(room())
    assert stream.batch(2) is stream.batch(2) and stream.log() == {}


def test_epochs_differ_and_seeds_differ_and_global_state_does_not_matter() -> None:
    images = make(60)
    torch.manual_seed(1)
    a = images.start(room(60)).batch(0)
    torch.manual_seed(2)
    b = images.start(room(60)).batch(0)
    assert torch.equal(a.images, b.images)
    assert not torch.equal(a.images, images.start(room(60)).batch(1).images)
    assert not torch.equal(a.images, images.start(room(60, seed=1)).batch(0).images)


def test_order_and_variant_do_not_depend_on_batch_size_precision_or_augmentation() -> None:
    images = make(60)

    def epoch(source: Images, r: StreamContext) -> tuple[list[int], dict[int, int]]:
        stream = source.start(r)
        batches = [stream.batch(s) for s in range(source.steps_per_epoch(r.batch_size, r.drop_last))]
        index = [i for b in batches for i in (b.index if b.index is not None else torch.empty(0)).tolist()]
        variant = [v for b in batches for v in (b.variant if b.variant is not None else torch.empty(0)).tolist()]
        return index, dict(zip(index, variant, strict=True))

    reference = epoch(images, room(16))
    assert epoch(images, room(60, dtype=torch.float64)) == reference
    assert epoch(images.unlabelled(), room(7)) == reference
    assert epoch(images.with_(augment="none"), room(16))[0] == reference[0]


def test_a_batch_larger_than_the_set_is_all_of_it() -> None:
    stream = make(10).start(room(128))
    assert len(stream.batch(0).images) == 10
    first, second = stream.batch(0).index, stream.batch(1).index
    assert first is not None and second is not None
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10)) and not torch.equal(first, second)


def test_drop_last_leaves_only_full_batches() -> None:
    stream = make(60).start(room(16, drop_last=True))
    assert [len(stream.batch(s).images) for s in range(6)] == [16] * 6
    assert torch.equal(stream.batch(3).index, torch.randperm(60, generator=rng.stream(0, "order", 1))[:16])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_precision_and_layout_of_the_room(dtype: torch.dtype) -> None:
    images = make(20)
    plain = images.start(room(8, dtype=dtype)).batch(1).images
    moved = images.start(room(8, dtype=dtype, channels_last=True)).batch(1).images
    assert plain.dtype == moved.dtype == dtype and torch.equal(plain, moved)
    assert plain.is_contiguous() and moved.is_contiguous(memory_format=torch.channels_last)
    assert moved.stride() == (192, 1, 24, 3)


def test_evaluation_goes_through_all_images_in_order_without_augmentation() -> None:
    images = make(23)
    batches = list(images.batches(10, "cpu", torch.float64, True))
    assert [len(b.images) for b in batches] == [10, 10, 3]
    together = torch.cat([b.images for b in batches])
    assert torch.equal(together, images.normalised(dtype=torch.float64))
    assert torch.equal(together, (images.x.double() / 255 - 0.5) / 0.5)
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)
    assert [i for b in batches if b.index is not None for i in b.index.tolist()] == list(range(23))
    assert torch.equal(images.normalised(torch.tensor([3, 1])), images.normalised()[[3, 1]])
