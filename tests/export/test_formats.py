"""Records in the words of others, read back by the formats' own libraries where they are installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redistill.cli import program
from redistill.errors import RedistillError
from redistill.export import formats
from redistill.runs.store import Run, Store

RESULTS = Path(__file__).parents[2] / "results" / "runs"


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(RESULTS)


def with_subset(store: Store) -> Run:
    return next(run for run in store.finished() if "indices" in run.entry.data["train"])


def test_evaluation_results_of_the_hub_are_what_its_library_reads(store: Store) -> None:
    run = with_subset(store)
    text = formats.eval_results(run)
    assert text is not None
    [entry] = json.loads(text)
    assert entry["dataset"]["id"].startswith("uoft-cs/cifar") and entry["value"] == run.entry.accuracy["test"].last
    assert formats.hub_name("digits:test") is None and formats.hub_name("folder:photos") is None
    hub = pytest.importorskip("huggingface_hub", reason="pip install '.[hub]'")
    if not hasattr(hub, "EvalResultEntry"):
        pytest.skip("this huggingface_hub knows no .eval_results")
    from huggingface_hub._eval_results import parse_eval_result_entries

    [read] = parse_eval_result_entries([entry])
    assert hub.eval_result_entries_to_yaml([read]) == [entry]


def test_every_eval_ever_says_the_accuracy_with_its_interval(store: Store) -> None:
    run = with_subset(store)
    made = json.loads(formats.every_eval_ever(run))
    [result] = made["evaluation_results"]
    interval = result["score_details"]["uncertainty"]["confidence_interval"]
    assert result["score_details"]["score"] == run.entry.accuracy["test"].last
    assert interval["lower"] < result["score_details"]["score"] < interval["upper"] and result["source_data"]["source_type"] == "hf_dataset"
    assert all(isinstance(value, str) for value in made["model_info"]["additional_details"].values())
    bare = Run(run.folder, {**run.record, "accuracy": {}})
    with pytest.raises(RedistillError, match="was evaluated on nothing"):
        formats.every_eval_ever(bare)


def test_results_say_of_which_network_they_are(store: Store) -> None:
    """Those of the best evaluation of a held-out part were told as "after the last step", those of a run that diverged as its end."""
    run = with_subset(store)
    kept = {"step": 5, "average": None, "why": "the network of the best evaluation of the held-out part, and the run stopped"}
    early = Run(run.folder, {**run.record, "kept": kept})
    [result] = json.loads(formats.every_eval_ever(early))["evaluation_results"]
    assert result["metric_config"]["evaluation_description"].endswith(", of the network of the best evaluation of the held-out part")
    text = formats.eval_results(early)
    assert text is not None and "of the network of the best evaluation of the held-out part (test)" in json.loads(text)[0]["notes"]
    [result] = json.loads(formats.every_eval_ever(run))["evaluation_results"]
    assert result["metric_config"]["evaluation_description"].endswith(", after the last step")
    with pytest.raises(RedistillError, match=r"diverged, so there is no network that an accuracy is of: the loss at step 3"):
        formats.every_eval_ever(Run(run.folder, {**run.record, "diverged": "the loss at step 3"}))


def test_croissant_lists_only_images_of_the_set_that_it_is_about(store: Store, tmp_path: Path) -> None:
    """Images that stood beside it without labels had the position -1."""
    run = with_subset(store)
    train = run.record["data"]["train"]
    kept = json.loads((store.root / train["indices"]).read_text())
    rule = [*train["rule"], ["beside", {"data": "images:more", "rule": [], "count": 3, "sha256": "x"}]]
    (tmp_path / "indices").mkdir()
    (tmp_path / "indices" / "with.json").write_text(json.dumps({**kept, "index": [*kept["index"], -1, -1, -1]}))
    changed = {**train, "rule": rule, "count": train["count"] + 3, "indices": "indices/with.json"}
    mixed = Run(run.folder, {**run.record, "data": {**run.record["data"], "train": changed}})
    made = formats.croissant(mixed, Store(tmp_path))
    assert json.loads(made["positions.json"])["position"] == kept["index"]
    about = json.loads(made["croissant.json"])["description"]
    assert about.startswith(f"{train['count']} images of ") and "beside 3 images without labels of images:more" in about
    assert "-1" not in made["positions.json"].decode() and "beside {" not in about


def test_every_eval_ever_is_valid_by_its_own_validator(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("every_eval_ever", reason="pip install every-eval-ever (Python 3.12)")
    run = with_subset(store)
    place = Path("data", "cifar10", "local", run.id, "0b5f3a52-6a9c-4a8e-9a0e-2d1d1c4f6f11.json")  # as its repository has them
    (tmp_path / place.parent).mkdir(parents=True)
    (tmp_path / place).write_bytes(formats.every_eval_ever(run))
    words = [sys.executable, "-m", "every_eval_ever", "validate", str(place)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def copied(store: Store, to: Path) -> Store:
    """One run of the store with its files, alone."""
    import shutil

    run = with_subset(store)
    shutil.copytree(run.folder, to / run.folder.relative_to(store.root))
    return Store(to)


def test_a_crate_names_every_file_and_the_training_that_made_it(store: Store, tmp_path: Path) -> None:
    mine = copied(store, tmp_path / "runs")
    (tmp_path / "runs" / formats.CRATE).write_bytes(formats.crate(mine))
    graph = {one["@id"]: one for one in json.loads((tmp_path / "runs" / formats.CRATE).read_text())["@graph"]}
    [run] = mine.finished()
    place = f"{run.cell}/seed-{run.seed}/"
    assert {part["@id"] for part in graph[place]["hasPart"]} == {f"{place}{name}" for name in ("record.json", "curves.json")}
    assert graph[f"{place}curves.json"]["sha256"] == run.entry.files["curves.json"]
    assert graph[f"#training-{run.id}"]["result"] == {"@id": place} and graph[f"#training-{run.id}"]["endTime"] == run.entry.finished
    referred = set(re.findall(r'"@id": "([^"]+)"', json.dumps(list(graph.values()))))
    assert {one for one in referred if not one.startswith("http")} <= set(graph)
    rocrate = pytest.importorskip("rocrate.rocrate", reason="pip install rocrate")
    read = rocrate.ROCrate(str(tmp_path / "runs"))
    assert {entity.id for entity in read.data_entities} == {place, f"{place}record.json", f"{place}curves.json"}


@pytest.mark.filterwarnings("ignore")
def test_a_crate_is_valid_by_a_validator(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rocrate_validator", reason="pip install roc-validator")
    rocrate = pytest.importorskip("rocrate", reason="pip install rocrate")
    from rocrate_validator import models, services
    from rocrate_validator.utils import document_loader

    # the validator reads the format's context from its address; rocrate has the same file, and tests have no network
    found_at = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text())
    monkeypatch.setattr(document_loader, "_fetch_json_ld", lambda address: found_at)

    mine = copied(store, tmp_path / "runs")
    (tmp_path / "runs" / formats.CRATE).write_bytes(formats.crate(mine))
    settings = services.ValidationSettings(
        rocrate_uri=str(tmp_path / "runs"), profile_identifier="ro-crate-1.1", requirement_severity=models.Severity.REQUIRED,
    )  # fmt: skip
    found = services.validate(settings)
    # one check of its own fetches that context whatever the loader says
    assert [message for issue in found.get_issues() if "/ro/crate/1.1/context" not in (message := issue.message)] == []


@pytest.mark.filterwarnings("ignore")  # of the libraries that read it
def test_croissant_of_a_subset_names_its_images(store: Store, tmp_path: Path) -> None:
    run = with_subset(store)
    for name, content in formats.croissant(run, store).items():
        (tmp_path / name).write_bytes(content)
    positions = json.loads((tmp_path / "positions.json").read_text())["position"]
    assert len(positions) == run.entry.data["train"]["count"] == len(set(positions))
    mlc = pytest.importorskip("mlcroissant", reason="pip install mlcroissant")
    read = mlc.Dataset(jsonld=str(tmp_path / "croissant.json"))
    assert not read.metadata.ctx.issues.errors
    assert [record["images/position"] for record in read.records("images")] == positions


def test_what_cannot_be_handed_on_gets_a_sentence(store: Store, tmp_path: Path) -> None:
    made = next(run for run in store.finished() if run.entry.experiment["source"]["kind"] == "adversarial")
    with pytest.raises(RedistillError, match="images that were made"):
        formats.croissant(made, store)
    whole = next(r for r in store.finished() if "data" in r.entry.data["train"] and "indices" not in r.entry.data["train"])
    with pytest.raises(RedistillError, match="no subset to describe"):
        formats.croissant(whole, store)
    (tmp_path / "empty").mkdir()
    for words, reason in (
        (["runs", "--as", "ro-crate", "--out", str(tmp_path / "empty")], "holds no finished run"),
        (["runs", "--as", "ro-crate", "--data", "digits", "--out", str(RESULTS)], "leave --data"),
    ):
        assert reason in str(CliRunner().invoke(program(), words).exception)
    assert not (tmp_path / "empty" / formats.CRATE).exists()
