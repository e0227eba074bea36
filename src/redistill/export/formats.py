"""Runs in the words of others: evaluation results, an RO-Crate of a store, Croissant of a subset. Plain values, made from records.

========================  =====================================================================================================
format                    read by
========================  =====================================================================================================
``.eval_results/*.yaml``  the Hugging Face hub (huggingface_hub's ``EvalResultEntry``); data sets that lie there
Every Eval Ever 0.3.0     ``every_eval_ever validate``
RO-Crate 1.1              rocrate, RO-Crate validators
Croissant 1.0             mlcroissant, Google Dataset Search
========================  =====================================================================================================

Nothing is said that no record says: of a licence, an author or an address nobody knows here, and the format's own word for
*not stated* stands there, or nothing.
"""

from __future__ import annotations

import json
import mimetypes
from datetime import datetime
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.files import digest, pretty, read
from redistill.runs.store import Damaged, Run, Store
from redistill.sealed import CURVES, RECORD
from redistill.stats import binomial_interval

ON_THE_HUB = {
    "cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100", "svhn": "ufldl-stanford/svhn", "tiny-imagenet": "zh-plus/tiny-imagenet",
}  # fmt: skip
LEVEL = 0.95


def hub_name(data: str) -> str | None:
    """The repository of a data set on the hub, or None where it has none.

    >>> hub_name("cifar10:test"), hub_name("hf:user/name:test"), hub_name("digits:test")
    ('uoft-cs/cifar10', 'user/name', None)
    """
    kind, _, rest = data.partition(":")
    return rest.partition(":")[0] if kind == "hf" else ON_THE_HUB.get(kind)


def eval_results(run: Run) -> bytes | None:
    """``.eval_results/redistill.yaml`` of a model folder; None where no evaluation set lies on the hub. JSON is YAML."""
    entries = []
    for name, found in run.entry.accuracy.items():
        if (place := hub_name(found.data)) is not None:
            entries.append({
                "dataset": {"id": place, "task_id": found.data.rpartition(":")[2]},
                "value": found.last,
                "date": run.entry.finished,
                "notes": f"top-1 accuracy in percent {run.entry.network} ({name}); redistill run {run.id}, seed {run.seed}",
            })  # fmt: skip
    return pretty(entries) if entries else None


def every_eval_ever(run: Run) -> bytes:
    """One evaluation of Every Eval Ever: a result for each evaluation set, with the interval over its images.

    Raises:
        RedistillError: the run was evaluated on nothing, or diverged.
    """
    entry = run.entry
    if run.diverged is not None:
        raise RedistillError(f"{run.label} (seed {run.seed}) diverged, so there is no network that an accuracy is of: {run.diverged}")
    if not entry.accuracy:
        raise RedistillError(f"{run.label} (seed {run.seed}) was evaluated on nothing: there is no result to hand on")
    results = []
    for name, found in entry.accuracy.items():
        count = entry.data[name].get("count") if name in entry.data else None
        score: dict[str, Any] = {"score": found.last}
        if count:
            low, high = (100 * end for end in binomial_interval(round(found.last / 100 * count), count))
            interval = {"lower": low, "upper": high, "confidence_level": LEVEL, "method": "Wilson, over the images, of this one run"}
            score["uncertainty"] = {"confidence_interval": interval, "num_samples": count}
        place = hub_name(found.data)
        source = {"dataset_name": found.data, "source_type": "hf_dataset" if place else "other"} | ({"hf_repo": place} if place else {})
        results.append({
            "evaluation_name": f"{found.data} top-1 accuracy",
            "source_data": source,
            "metric_config": {
                "evaluation_description": f"top-1 accuracy in percent, in evaluation mode, {run.entry.network}", "metric_id": "accuracy",
                "metric_name": "Accuracy", "metric_kind": "accuracy", "metric_unit": "percent", "lower_is_better": False,
                "score_type": "continuous", "min_score": 0.0, "max_score": 100.0,
            },
            "score_details": score,
        })  # fmt: skip
    when = datetime.fromisoformat(entry.finished)
    model = entry.experiment["student"]["model"]
    terms = " + ".join(f"{part.get('weight', 1.0)} {part['use']}" for part in entry.experiment["method"])
    teacher = entry.teacher.model if entry.teacher is not None else "none"
    return pretty({
        "schema_version": "0.3.0",
        "evaluation_id": f"redistill/{run.label}/{run.id}",
        "evaluation_timestamp": entry.finished,
        "retrieved_timestamp": str(int(when.timestamp())),
        "source_metadata": {
            "source_name": f"redistill run {run.id}", "source_type": "evaluation_run", "source_organization_name": "not stated",
            "evaluator_relationship": "first_party",
        },
        "eval_library": {"name": "redistill", "version": entry.versions.get("redistill", "unknown")},
        "model_info": {
            "name": f"{model}, {run.label}, seed {run.seed}", "id": f"local/{run.id}",
            "additional_details": {
                "deployment_type": "self_deployed", "model_availability": "unknown", "architecture": model,
                "parameters": str(entry.parameters), "method": terms, "teacher": teacher, "weights_sha256": entry.weights_sha256,
            },
        },
        "evaluation_results": results,
    })  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# RO-Crate of a store
# ---------------------------------------------------------------------------------------------------------------------
CRATE = "ro-crate-metadata.json"


def crate(store: Store) -> bytes:
    """``ro-crate-metadata.json`` for the folder of a store: each finished run with its files, and the training that made it.

    Raises:
        RedistillError: there is no finished run.
    """
    runs = store.finished()
    damaged = [one for one in store.runs() if isinstance(one, Damaged)]
    if not runs:
        unreadable = f", and {len(damaged)} that cannot be read" if damaged else ""
        raise RedistillError(f"{store.root} holds no finished run{unreadable}: there is nothing to describe")
    graph: list[dict[str, Any]] = []
    software: dict[str, dict[str, Any]] = {}
    parts, actions = [], []
    for run in sorted(runs, key=lambda one: one.folder.as_posix()):
        entry, place = run.entry, f"{run.folder.relative_to(store.root).as_posix()}/"
        names = [name for name in (RECORD, CURVES, *sorted(entry.files)) if (run.folder / name).is_file()]
        files = list(dict.fromkeys(names))
        when = run.entry.network if run.diverged is None else "at the last evaluation before it diverged"
        accuracy = [
            {"@id": f"#{run.id}-{name}", "@type": "PropertyValue", "name": f"accuracy on {found.data} {when}",
             "value": found.last, "unitText": "percent"}
            for name, found in entry.accuracy.items()
        ]  # fmt: skip
        unreadable = entry.versions.get("redistill", "unknown")
        tool = {"@id": f"#redistill-{unreadable}", "@type": "SoftwareApplication", "name": "redistill", "version": unreadable}
        software[unreadable] = tool
        action = f"#training-{run.id}"
        graph.append({
            "@id": place, "@type": "Dataset", "name": f"{run.label}, seed {run.seed}", "identifier": run.id,
            "description": _sentence(run), "hasPart": [{"@id": f"{place}{name}"} for name in files],
            "variableMeasured": [{"@id": one["@id"]} for one in accuracy],
        })  # fmt: skip
        graph += [_file(run.folder / name, f"{place}{name}", entry.files.get(name)) for name in files]
        graph += accuracy
        graph.append({
            "@id": action, "@type": "CreateAction", "name": f"training of {run.label}, seed {run.seed}", "endTime": entry.finished,
            "instrument": {"@id": tool["@id"]}, "result": {"@id": place},
        })  # fmt: skip
        parts.append({"@id": place})
        actions.append({"@id": action})
    newest = max(run.entry.finished for run in runs)
    licence = {"@id": "#licence", "@type": "CreativeWork", "name": "not stated", "description": "Ask whoever made these runs."}
    root = {
        "@id": "./", "@type": "Dataset", "name": f"Runs of redistill: {store.root.name}", "datePublished": newest[:10],
        "description": f"{len(runs)} finished trainings of redistill, each sealed by its own SHA-256.", "license": {"@id": "#licence"},
        "hasPart": parts, "mentions": actions,
    }  # fmt: skip
    about = {"@id": CRATE, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"}}
    return pretty({"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": [about, root, licence, *software.values(), *graph]})


def _sentence(run: Run) -> str:
    entry = run.entry
    terms = ", ".join(part["use"] for part in entry.experiment["method"])
    teacher = f", taught by {entry.teacher.model}" if entry.teacher is not None else ""
    lost = f" Diverged: {run.diverged}." if run.diverged is not None else ""
    network = f"{entry.experiment['student']['model']} of {entry.parameters:,} parameters"
    return f"{network}{teacher}; terms {terms}; {entry.steps:,} steps.{lost}"


def _file(path: Path, place: str, sha256: str | None) -> dict[str, Any]:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    made = {"@id": place, "@type": "File", "name": path.name, "encodingFormat": kind, "contentSize": str(path.stat().st_size)}
    return made | ({"sha256": sha256} if sha256 else {})


# ---------------------------------------------------------------------------------------------------------------------
# Croissant of a subset
# ---------------------------------------------------------------------------------------------------------------------
def croissant(run: Run, store: Store) -> dict[str, bytes]:
    """Files of the subset that a run was trained on: ``croissant.json``, and ``positions.json`` with the places of its images.

    Raises:
        RedistillError: the run saw no subset of a data set: all of it, or images that were made.
    """
    train = run.entry.data["train"]
    if "data" not in train:
        raise RedistillError(f"{run.label} (seed {run.seed}) was trained on images that were made: there is no subset to describe")
    if "indices" not in train:
        raise RedistillError(f"{run.label} (seed {run.seed}) was trained on the whole of {train['data']}: there is no subset to describe")
    place = store.root / train["indices"]
    kept = json.loads(read(place))
    # images of another set that stood beside these without labels have no position in it
    own, others = [one for one in kept["index"] if one >= 0], [settings for rule, settings in train["rule"] if rule == "beside"]
    positions = pretty({"data": kept["data"], "position": own})
    rule = "; ".join(f"{name} {json.dumps(settings)}" for name, settings in train["rule"] if name != "beside") or "taking all of them"
    beside = "".join(f", beside {one['count']} images without labels of {one['data']}, which are not listed here" for one in others)
    hub = hub_name(train["data"])
    name = f"{train['data']}, {len(own)} images"
    made: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name.replace(":", "-").replace(", ", "-").replace(" ", "-"),
        "description": f"{len(own)} images of {train['data']}, chosen by {rule}, on which redistill trained run {run.id}{beside}; "
                       f"{'together their' if others else 'their'} pixels and labels have the SHA-256 {train['sha256']}. The images "
                       f"themselves are not part of it.",
        "version": "1.0.0",
        "datePublished": run.entry.finished[:10],
        "distribution": [{
            "@type": "cr:FileObject", "@id": "positions.json", "name": "positions.json", "contentUrl": "positions.json",
            "encodingFormat": "application/json", "sha256": digest(positions),
            "description": f"positions in {train['data']}, counted from 0, in the order of that data set",
        }],
        "recordSet": [{
            "@type": "cr:RecordSet", "@id": "images", "name": "images", "description": "one record an image",
            "field": [{
                "@type": "cr:Field", "@id": "images/position", "name": "position", "dataType": "sc:Integer",
                "description": f"place of the image in {train['data']}",
                "source": {"fileObject": {"@id": "positions.json"}, "extract": {"jsonPath": "$.position[*]"}},
            }],
        }],
    }  # fmt: skip
    if hub is not None:
        made["url"] = f"https://huggingface.co/datasets/{hub}"
    return {"croissant.json": pretty(made), "positions.json": positions}


CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column", "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty", "samplingRate": "cr:samplingRate",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field", "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "parentField": "cr:parentField", "path": "cr:path", "rai": "http://mlcommons.org/croissant/RAI/", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
"""Croissant 1.0's own, which a file has to repeat (specification, appendix 1)."""
