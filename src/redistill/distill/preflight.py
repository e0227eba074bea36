"""Before anything long begins: images, networks, length and memory looked at, every choice made and told, what cannot end well refused."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from redistill.core import Context
from redistill.data.named import PICTURES
from redistill.data.subsets import whole
from redistill.distill import beside, choice, length, methods, photos, teacher
from redistill.distill.asked import Asked
from redistill.distill.family import WORDS, chosen, family
from redistill.distill.lessons import Classroom, Lessons
from redistill.distill.names import Named, named, with_classes, with_published_weights
from redistill.distill.photos import Photos
from redistill.distill.plan import Plan
from redistill.errors import OtherClasses, RedistillError, counted, nearest
from redistill.experiment.method import made_method
from redistill.features.normalised import normalisation_of
from redistill.features.places import Layers, meeting, places_of
from redistill.launch.carry_out import Resources
from redistill.launch.materials import sizes_of
from redistill.launch.threads import using, wanted
from redistill.models.classes import require_same_order
from redistill.paths import expanded
from redistill.precision import resolve_device
from redistill.runs.store import Store
from redistill.settings.change import changed
from redistill.user_code import LIBRARIES


def plan(
    data: str | Path,
    teacher: str | Path,
    student: str | Path | None = None,
    *,
    teacher_weights: str | Path | None = None,
    teacher_normalise: str | None = None,
    student_weights: str | Path | None = None,
    student_pretrained: bool = False,
    train_teacher: int | None = None,
    method: str | None = None,
    epochs: int = 30,
    time_budget: float | None = None,
    seeds: Sequence[int] = (0,),
    size: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    precision: str | None = None,
    plain: bool = True,
    evaluate: str | Path | None = None,
    skip_unreadable: bool = False,
    change: Sequence[str] = (),
    runs: str | Path = "runs",
    resources: Resources | None = None,
    augment: str | None = None,
    recipe: str | None = None,
    ema: float | None = None,
    early_stop: int | None = None,
    accumulate: int = 1,
    class_weights: bool = False,
    unlabelled: str | Path | None = None,
    choose: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Plan:
    """Look at images and networks and say what will be done.

    Args:
        data: a folder of class folders (with ``train/`` and ``val/``, or without), of unlabelled images, or a data name.
        teacher, student: networks by name, ``./file.py:Net``, ``timm:NAME``, ``torchvision:NAME``, a folder or a file of weights; the
            student may be ``smaller``, ``half`` or ``quarter``. None: only proposals are made.
        teacher_weights, student_weights: files of weights. teacher_normalise: the set in which the teacher wants its images.
        student_pretrained: begin with the weights that the student's library publishes.
        train_teacher: epochs for which the teacher is trained here on the labels first.
        method: ``KD``, ``KD,DKD`` (two students), ``KD+AT`` (one that learns by both), or a file with ``[[method]]``; default: KD, or
            with ``choose`` :data:`redistill.distill.choice.TRIED`, as far as the networks have places for them.
        epochs: of each student. time_budget: seconds for all students together, from which the epochs follow instead.
        size: side of the images; default: see the plan. batch_size, lr, precision: default: chosen, with a reason in the plan.
        plain: train beside each student the same one without a teacher. evaluate: another set to evaluate on.
        skip_unreadable: leave out files that are no images. change: settings of the students, ``"recipe.weight_decay=1e-4"``; a term's
            for those that have it; ``"teacher.args.depth=50"`` and ``"student.args.width=8"`` of the constructors.
        runs: folder of the runs. resources: device, threads, data folder.
        augment: of the training images, before teacher and student see them (:mod:`redistill.data.augment`); default: crop and flip.
        recipe: ``sgd``, ``adamw``, or ``patient`` (AdamW on random crops that are mixed evenly, for long schedules); default: by network.
        ema: decay of an average of the student's weights, which is then what is evaluated and kept.
        early_stop: evaluations without a better one on a tenth of the training images, after which a student stops.
        accumulate: parts that a batch is computed in. class_weights: in cross-entropy each class counts alike.
        unlabelled: a folder (or data name) of further training images, whose labels are hidden if they have some: they are learned from
            by terms that need none. Default: ``unlabelled/`` beside ``train/``.
        choose: try every method with every seed on nine tenths of the training images first, and go on with the one that is right most
            often on the other tenth.
        tell: is given each line of the plan as soon as it is known; looking takes its time.

    Raises:
        RedistillError: what cannot end well, in a sentence.
    """
    if isinstance(seeds, int | str):
        raise RedistillError(f"seeds are several numbers, got {seeds!r}: give seeds=(0, 1, 2)")
    asked = Asked(
        data=str(data), teacher=_text(teacher), student=_text(student), teacher_weights=teacher_weights,
        teacher_normalise=teacher_normalise, student_weights=student_weights, student_pretrained=student_pretrained,
        train_teacher=train_teacher, method=(choice.TRIED if choose else "KD") if method is None else method, choose=choose,
        epochs=epochs, time_budget=time_budget, seeds=tuple(dict.fromkeys(seeds)), size=size, batch_size=batch_size, lr=lr,
        precision=precision, plain=plain, evaluate=_text(evaluate), skip_unreadable=skip_unreadable, change=tuple(change),
        resources=resources or Resources(), augment=length.PATIENT if recipe == "patient" and augment is None else augment,
        recipe=recipe, ema=ema, early_stop=early_stop, accumulate=accumulate, class_weights=class_weights, unlabelled=_text(unlabelled),
    )  # fmt: skip
    for role, one in (("teacher", asked.teacher), ("student", asked.student)):
        if not isinstance(one, str) and (one is not None or role == "teacher"):
            raise RedistillError(
                f"the {role} of a plan is named, so that its runs can build it again: ./file.py:Net, timm:NAME, a folder or a file, got "
                f"{type(one).__name__}; rd.fit takes networks as they are"
            )
    for what, count in (
        ("train_teacher", train_teacher), ("epochs", epochs), ("size", size), ("batch_size", batch_size), ("early_stop", early_stop),
        ("accumulate", accumulate),
    ):  # fmt: skip
        whole(what, 1 if count is None else count, 1)
    if recipe is not None and recipe not in length.RECIPES:
        raise RedistillError(nearest(recipe, length.RECIPES, "recipe"))
    return _Preflight(asked, Store(expanded(runs)), tell, usual=method is None).plan()


def _text(one: Any) -> Any:
    """Of a path its text; whatever else was given as it is."""
    return str(one) if isinstance(one, Path) else one


class _Preflight:
    """One look at everything, in the order in which it is told."""

    def __init__(self, asked: Asked, store: Store, tell: Callable[[str], None] | None, usual: bool):
        """usual: nobody named a method."""
        self.asked, self.store, self.tell, self.usual = asked, store, tell, usual
        self.device = resolve_device(asked.resources.device)
        self.lines: list[str] = []
        self.class_names: tuple[str, ...] | None = None
        self.shape: tuple[int, ...] = ()  # [C, H, W] of the images
        self.changes = asked.of_students

    def args(self, role: str) -> dict[str, Any]:
        """Further arguments of a constructor, as ``--set student.args.width=12`` gives them."""
        asked = [one for one in self.asked.change if one.strip().startswith(f"{role}.args")]
        found: dict[str, Any] = changed({role: {"args": {}}}, asked)[role].get("args", {})
        return found

    def say(self, what: str, text: str) -> None:
        self.line(f"{what:<14}{text}")

    def line(self, text: str) -> None:
        self.lines.append(text)
        if self.tell is not None:
            self.tell(text)

    def plan(self) -> Plan:
        asked = self.asked
        if not asked.seeds:
            raise RedistillError("give at least one seed, --seeds 1")
        big = named(asked.teacher, weights=asked.teacher_weights, normalise=asked.teacher_normalise, args=self.args("teacher"))
        if big.weights is None and not big.published and asked.train_teacher is None:
            raise RedistillError(
                f"the teacher {big.name} has no weights: give its file, --teacher-weights FILE, or have it trained on these images "
                f"first, --train-teacher 30"
            )
        images = self.images(big)
        sources: Any = images.train
        sizes = sizes_of(sources, [s for s in (images.test,) if s is not None])
        if "classes" not in sizes:
            if big.classes is None:
                raise RedistillError(
                    f"{asked.data} has no labels and {big.name} does not say how many classes it has: name classes by --evaluate DIR"
                )
            sizes["classes"] = big.classes
            big = with_classes(big, sizes)
        if asked.train_teacher is not None and not images.labelled:
            raise RedistillError("--train-teacher needs labels, and these images have none: give the teacher's weights")
        big = self.fetched(big, sizes["classes"])
        net = self.built(big, sizes, "teacher")
        shape = tuple(images.train.image_shape)
        # as the runs themselves will: what is measured here says how long they take
        with using(asked.resources.threads or wanted((net,), shape, asked.batch_size or length.BATCHES[0], self.device)):
            return self._of_networks(big, net, images, sizes)

    def _of_networks(self, big: Named, net: nn.Module, images: Photos, sizes: dict[str, int]) -> Plan:
        """What follows once the images are known and the teacher is built."""
        asked = self.asked
        big = self.knowing(big, net, images)
        relatives = family(big, sizes, self.shape) if asked.student is None or asked.student in WORDS else []
        if asked.student is None:
            lines = beside.proposed(big, net, relatives, sizes, self.shape, self.device)
            for line in lines:
                self.line(line)
            if not lines:
                self.say("students", f"no smaller network of the family of {big.name} is known: name one, --student ./file.py:Net")
            return Plan(tuple(self.lines), images, big, big, sizes, {}, {}, {}, tuple(relatives), 0.0, self.store, None, asked.resources)
        if asked.student in WORDS:
            small = chosen(asked.student, big, relatives)
            small = replace(small, args={**small.args, **self.args("student")})
            if asked.student_weights is not None or asked.student_pretrained:
                small = replace(self.named_student(small.model, small.args), name=small.name)
        else:
            small = self.named_student(asked.student, self.args("student"))
        small = self.fetched(small, sizes["classes"])
        if not images.labelled and images.test is None:
            small = with_classes(small, sizes)
        little = self.built(small, sizes, "student")
        for number, text in enumerate(beside.compared(net, little, big, small, self.shape)):
            self.say("" if number else "student", text)
        rows = methods.asked(asked.method, images.labelled, epochs=1)  # refused before anything is measured
        seen = self.places(net, little, images)
        meet = partial(meeting, little, seen[1], net, seen[0], count=len(images.train), labels=images.train.all_labels)
        if asked.choose:
            self.asked = asked = self.tried(rows, images, meet)
            rows = methods.asked(asked.method, images.labelled, epochs=1)
        count = len(rows)
        chosen_length = length.chosen(asked, images, net, little, count, self.device, self.store)
        rows = methods.asked(asked.method, images.labelled, chosen_length.recipe["epochs"])
        for what, text in chosen_length.lines:
            self.say(what, text)
        if self.changes:
            self.say("set", f"{', '.join(self.changes)}: in the place of what is said of it here")
        lessons = Classroom(asked, images, big, small, chosen_length, self.changes).lessons(rows)
        missing = self.told(lessons, images, chosen_length)
        for name, by_seed in lessons.distilled.items():
            method = made_method(next(iter(by_seed.values())).method)
            try:
                method.setup(meet())
            except RedistillError as error:  # now, and not when a teacher has been trained for an hour
                raise RedistillError(f"--method {name}: {error}") from error
        return Plan(
            tuple(self.lines), images, big, small, sizes, lessons.teaching, lessons.plain, lessons.distilled, tuple(relatives),
            chosen_length.seconds if missing else 0.0, self.store, chosen_length, asked.resources, lessons.trials,
        )  # fmt: skip

    def tried(self, rows: Sequence[methods.Asked], images: Photos, meet: Callable[[], Context]) -> Asked:
        """The same with the methods that can be tried, where nobody named them; by one there is nothing to choose."""
        choice.require_trials(rows, images, self.usual)
        if not self.usual:
            return self.asked
        fitting, others = choice.fitting(rows, meet)
        for name, why in others.items():
            self.say("", f"{name} is not tried: {why}")
        return replace(self.asked, method=",".join(fitting), choose=len(fitting) > 1)

    # -- images -------------------------------------------------------------------------------------------------------
    def images(self, big: Named) -> Photos:
        asked = self.asked
        place = photos.looked_at(asked.data)
        found = place.survey
        if asked.size is not None and place.name.partition(":")[0] not in PICTURES:
            raise RedistillError(f"--size is for folders of pictures; the images of {place.name} have their size: leave it out")
        if found is not None:
            self.say("images", f"{found.root}: {found.described()}")
            if (left_out := found.left_out(asked.skip_unreadable)) is not None:
                self.say("", left_out)
        size, why = (asked.size, "as asked for") if asked.size is not None else photos.auto_size(place, big.size)
        images = photos.opened(
            place, size, skip_unreadable=asked.skip_unreadable, evaluate=asked.evaluate, data_dir=asked.resources.data_dir,
            augment=asked.augment, unlabelled=asked.unlabelled,
        )  # fmt: skip
        side = self.shape = tuple(images.train.image_shape)
        self.class_names = getattr(images.train, "class_names", None)
        self.say("size", f"{side[-2]}x{side[-1]}, {why}" if found is not None else f"{side[-2]}x{side[-1]}, the set's own")
        if asked.class_weights and not images.labelled:
            raise RedistillError("--class-weights weighs cross-entropy with labels, and these images have none: leave it out")
        for option, given in (("--choose", asked.choose), ("--early-stop", asked.early_stop is not None)):
            if given:
                images.require_unseen(option)
        self.say("training", images.described(asked.class_weights))
        shown = "none" if images.test is None else counted(len(images.test), "image")
        self.say("evaluation", f"{shown}: {images.how}")
        if lacking := images.not_evaluated():
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            self.say("", f"none of {', '.join(lacking[:5])}{more}, of which an accuracy says nothing")
        if (again := images.seen_in_training()) is not None:
            self.say("", again)
        if images.test is not None and not teacher.can_tell(images.test.all_labels.cpu(), images.test.classes):
            self.say("", "so few, or so many of one class, that whoever is always right looks like chance: --evaluate DIR gives more")
        theirs = getattr(images.test, "class_names", None)
        if images.labelled and (remark := require_same_order(self.class_names, theirs, "the training images", "the evaluation images")):
            self.say("", remark)
        return images

    # -- networks -----------------------------------------------------------------------------------------------------
    def fetched(self, one: Named, classes: int) -> Named:
        if not one.published:
            return one
        made = with_published_weights(one, classes, self.store.root / "networks")
        self.say("weights", f"{one.name}: as its library publishes them, kept as {made.weights}")
        return made

    def named_student(self, name: str, args: Mapping[str, Any]) -> Named:
        wanted = self.asked.student_pretrained
        one = named(name, weights=self.asked.student_weights, published=wanted, args=args)
        if wanted and not one.published:
            raise RedistillError(f"--student-pretrained is for networks of timm and torchvision with published weights, {name} has none")
        return one

    def built(self, one: Named, sizes: Mapping[str, Any], role: str) -> nn.Module:
        """The network, after a forward that shows that it takes these images."""
        who = f"the {role} {one.name}"
        if role == "teacher" and one.classes is not None and self.asked.train_teacher is None:
            tuned = one.model.partition(":")[0] in LIBRARIES and self.asked.teacher_weights is None
            teacher.require_classes(one.classes, one.class_names, self.class_names, sizes["classes"], who, tuned=tuned)
        try:
            net = one.made(sizes).to(self.device)
        except OtherClasses as error:  # how many there are is what the data say
            raise OtherClasses(
                f"{who}: {error.fact}, as the data have", "give the folders of its classes, or a file whose last layer is for these"
            ) from error
        except RedistillError as error:
            raise RedistillError(f"{who}: {error}") from error
        if (role == "student" or self.asked.train_teacher is not None) and not any(p.requires_grad for p in net.parameters()):
            raise RedistillError(f"no parameter of {who} requires a gradient, so nothing of it can be trained")
        try:
            found = places_of(net, torch.zeros(2, *self.shape, device=self.device), trained=role == "student")
        except RedistillError as error:
            raise RedistillError(f"{who}: {error}. --size N makes the images NxN") from error
        outputs = found.shapes["logits"][1]
        if outputs != sizes["classes"]:
            if role == "teacher":
                teacher.require_classes(outputs, one.class_names, self.class_names, sizes["classes"], who)
            raise RedistillError(f"{who} tells {outputs} classes apart, the data have {sizes['classes']}: they must agree")
        return net

    def knowing(self, big: Named, net: nn.Module, images: Photos) -> Named:
        who = f"the teacher {big.name}"
        for line in teacher.order_table(big.class_names, getattr(images.train, "class_names", None)):
            self.line("  " + line)
        if self.asked.train_teacher is not None:
            self.say("teacher", f"{big.name}, trained on the labels first, for {counted(self.asked.train_teacher, 'epoch')}")
            return big
        if (better := teacher.best_normalisation(net, images.train)) is not None:
            big = replace(big, normalise=better[0])
            net.normalisation = better[0]  # type: ignore[assignment]
            self.say("", better[1])
        wanted = normalisation_of(net)
        space = (
            f"wants images normalised as {wanted}"
            if wanted
            else f"says no normalisation of its own, so it sees them as {images.train.normalise}"
        )
        if images.test is None:
            self.say("teacher", f"{big.name}; {space}; its accuracy cannot be measured without labels")
            return big
        # a teacher that says nothing is shown its images as the students are, whatever an evaluation set of another origin has
        test = images.test if wanted else images.test.with_(normalise=images.train.normalise)
        known = teacher.require_knowing(net, test, who, images.train)
        self.say("teacher", f"{big.name}: {known.sentence}; {space}")
        return big

    def places(self, net: nn.Module, little: nn.Module, images: Photos) -> list[Layers]:
        """Tell the stages that meet; what a look at the teacher and one at the student found."""
        looks = []
        zeros = torch.zeros(2, *images.train.image_shape, device=self.device)
        for who, one in (("teacher", net), ("student", little)):
            found = places_of(one, zeros, trained=who == "student")
            looks.append(found)
            stages = ", ".join(f"{name} {'x'.join(map(str, found.shapes[name][1:]))}" for name in found.stages)
            self.say(
                "places" if who == "teacher" else "",
                f"{who}: {stages or 'its stages cannot be told, methods that compare features need places by name'}",
            )
        return looks

    # -- experiments --------------------------------------------------------------------------------------------------
    def told(self, lessons: Lessons, images: Photos, chosen_length: length.Length) -> int:
        """Tell what is trained; how many runs of it are missing."""
        for number, (name, by_seed) in enumerate(lessons.distilled.items()):
            terms = next(iter(by_seed.values())).written()["method"]
            weights = " + ".join(f"{row.get('weight', 1.0)} {row['use']}" for row in terms)
            self.say("" if number else "method", f"{name}: {weights}")
        if lessons.trials:
            then = "on all" if self.asked.early_stop is None else "as if it alone had been asked for"
            self.say(
                "choice",
                f"each is tried on nine tenths of the training images, and the one that is right on most of the other "
                f"{counted(choice.held_images(images.labelled_count), 'image')} is trained {then}; the evaluation images decide nothing",
            )
            if self.asked.early_stop is not None:
                self.say("", "no trial stops early: it would do so by the images that it is judged on")
            if lessons.teaching:
                self.say("", "the teacher is trained on these nine tenths too, so that it knows no more than the trials")
        each = statistics.median(images.train.class_counts()) if images.labelled else math.inf
        if (remark := methods.of_few_images(list(lessons.distilled), each, images.beside is not None)) is not None:
            self.say("", remark)
        if not lessons.plain:
            self.say("plain", "none: " + ("left out" if images.labelled else "without labels a student cannot learn alone"))
        elif images.beside is None:
            self.say("plain", "the same student by cross-entropy alone, same images, epochs and seeds")
        else:
            self.say(
                "plain",
                f"the same student by cross-entropy alone on the {images.own_count:,} images with labels, for about as many steps "
                f"({counted(chosen_length.alone['epochs'], 'epoch')} of these), same seeds",
            )
        missing = sum(self.store.find(one) is None for one in lessons.every)
        self.say("runs", f"{missing} to train in {self.store.root}, {len(lessons.every) - missing} are there")
        return missing
