"""Files that are not what they say, and changes to settings: each gets a sentence with the file's name, none an exception of a library."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from helpers.experiments import HERE
from redistill import papers
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.settings.change import changed, put, put_over
from redistill.settings.several import extended
from redistill.settings.tables import MOST_BYTES, toml_of
from redistill.settings.text import parse
from redistill.settings.validation import ValidationErrors, shown

GOOD = '[student]\nmodel = "wrn-10-1"\n[[method]]\nuse = "CE"\n[source]\ndata = "digits"\n[recipe]\nepochs = 2\n'


def write(folder: Path, content: bytes, name: str = "a.toml") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


BROKEN: list[tuple[str, bytes, str]] = [
    ("thousands of digits", GOOD.encode() + b"lr = " + b"9" * 5000, "holds a whole number of thousands of digits"),
    ("nesting", GOOD.encode() + b"x = " + b"[" * 3000 + b"]" * 3000, "too deep in each other"),
    ("less nesting", GOOD.encode() + b"x = " + b"[" * 150 + b"]" * 150, "more than 100 deep"),
    ("tables in tables", GOOD.encode() + b"x = " + b"{a=" * 3000 + b"1" + b"}" * 3000, "too deep in each other"),
    ("dots", GOOD.encode() + b".".join([b"a"] * 20_000) + b" = 1", "line 9: a key of more than 32 parts"),
    ("dots in a header", b"[" + b".".join([b'"a b"'] * 20_000) + b"]", "line 1: a key of more than 32 parts"),
    ("dots in a table", b"x = { " + b" . ".join([b"a"] * 20_000) + b" = 1 }", "line 1: a key of more than 32 parts"),
    ("size", b"# " + b"x" * MOST_BYTES, "1,000,002 bytes, more than the 1,000,000"),
    ("latin", GOOD.encode() + 'notes = "é"'.encode("latin-1"), "is not text in UTF-8 (invalid continuation byte at byte"),
    ("UTF-16", GOOD.encode("utf-16"), "it looks like UTF-16"),
    ("a date", GOOD.encode().replace(b'"wrn-10-1"', b'"wrn-10-1"\nargs = { since = 2020-01-01 }'), "student.args.since = "),
    ("a syntax", GOOD.encode() + b"[recipe\n", "not valid TOML: "),
    ("no TOML", b"\x00\x01", "not valid TOML: "),
]


@pytest.mark.parametrize(("content", "says"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_file_that_is_no_experiment(tmp_path: Path, content: bytes, says: str) -> None:
    path = write(tmp_path, content)
    begin = time.process_time()
    with pytest.raises(RedistillError) as caught:
        Experiment.load(path, device="cpu")
    assert time.process_time() - begin < 5
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and says in message and len(message) < 400, message
    if "date" not in message:  # a paper has no settings that a date could stand for
        with pytest.raises(RedistillError) as other:
            papers.load(path)
        assert str(path) in str(other.value) and says in str(other.value)


def test_a_long_list_on_one_line_is_read() -> None:
    """A limit on keys is none on values."""
    text, table = toml_of(b"at = [" + b", ".join([b"0.5"] * 5000) + b"]\nnotes = '" + b"a.b " * 100 + b"'", "x.toml")
    assert len(table["at"]) == 5000 and text.startswith("at")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.encode("utf-8-sig"))
    plain = Experiment.load(write(tmp_path, GOOD.encode(), "b.toml"), device="cpu")
    assert Experiment.load(path, device="cpu").id == plain.id
    small = HERE / "small.toml"
    marked = write(tmp_path, b"\xef\xbb\xbf" + small.read_bytes(), "small.toml")
    assert papers.load(marked).file == papers.load(small).file


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path, says in (
        (tmp_path / "pipe.toml", "no plain file but a pipe or a device"),
        (Path("/dev/zero"), "no plain file but a pipe or a device"),
        (tmp_path / ("x" * 300 + ".toml"), "the name is too long"),
        (tmp_path / "a\0b.toml", "holds no zero byte"),
        (tmp_path / "none.toml", "there is no such file"),
    ):
        with pytest.raises(RedistillError, match=says):
            Experiment.load(path, device="cpu")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RedistillError, match="it is a folder"):
        papers.load(tmp_path / "folder.toml")


def test_a_path_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, GOOD.encode())
    assert parse(Path("~/a.toml"))[0]["recipe"] == {"epochs": 2}
    assert Experiment.load("~/a.toml", device="cpu").student.model == "wrn-10-1"


@pytest.mark.parametrize(
    ("content", "says"),
    [(b'{"a": ' * 5000, "too deep"), (b'{"a": "\\ud800"}', "half of a surrogate pair"), (b"[1]", "this is a list"),
     (b'{"a": ' + b"9" * 5000 + b"}", "thousands of digits"), (b"\xff", "is not text in UTF-8"), (b"", "line 1: not valid JSON")],
)  # fmt: skip
def test_a_record_that_is_none(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        Experiment.load(write(tmp_path, content, "a.json"), device="cpu")


# ---------------------------------------------------------------------------------------------------------------------
# Settings of kinds that nobody foresaw, and other people's words
# ---------------------------------------------------------------------------------------------------------------------
PLAIN: dict[str, Any] = {
    "student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits"}, "recipe": {"epochs": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"source": {"kind": {}}}, "unknown kind of source"),
        ({"source": {"kind": ["images"]}}, "unknown kind of source"),
        ({"recipe": {"epochs": 1, "schedule": {"kind": {}}}}, "recipe.schedule"),
        (
            {"recipe": {"epochs": 1, "schedule": "cosine"}},
            r'recipe\.schedule = "cosine": is a value of its own: write schedule = { kind = "cosine" }',
        ),
        ({"recipe": {"epochs": 1, "optimizer": "SGD"}}, "must be 'sgd', 'adam' or 'adamw': write 'sgd'"),
        ({"recipe": {"epochs": 1, "learning_rate": 0.1}}, "unknown setting 'learning_rate': here it is called lr"),
        ({"recipe": {"epochs": 1, "lr": True}}, r"recipe\.lr = true: must be a number, not true or false"),
        ({"recipe": {"epochs": True}}, r"recipe\.epochs = true: must be a number"),
        ({"recipe": {"epochs": 10**12}}, "less than or equal to 1000000000"),
        ({"recipe": {"epochs": 10**3000}}, "more than a hundred digits: must be below 2\\^63"),
        ({"recipe": {"epochs": 1, "schedule": {"kind": 10**5000}}}, "recipe.schedule"),
        ({"source": {"kind": 10**5000}}, "unknown kind of source 'a whole number of more than a hundred digits'"),
        ({"evaluate": {"every": 10**5000}}, "every.* must be below 2\\^63"),
        ({"seed": 10**5000}, "must be below 2\\^63"),
        ({"student": None}, r"must be a table, \[student\]"),
        ({"teacher": {"run": "a\0b.toml"}}, r"teacher\.run = "),
        ({"teacher": {"run": "\ud800"}}, r"teacher\.run = "),
        ({"student": {"arch": "wrn-10-1"}}, "unknown setting 'arch': here it is called model"),
        ({"student": {"model": "wrn-10-1", "checkpoint": "x"}}, "unknown setting 'checkpoint': here it is called from"),
        ({"student": {"model": "wrn-10-1", "weights": "x"}}, "unknown setting 'weights': here it is called from"),
        ({"method": [{"use": "KD", "temperature": 4}]}, "unknown setting of KD 'temperature': here it is called T"),
        ({"method": [{"use": "KD", "T": True}]}, r"method\[0\]\.T = true: must be a number"),
        ({"method": [{"use": "CE", "weight": {"start": True, "end": 3}}]}, "start must be a number, not true"),
        ({"method": [{"use": "CE", "alpha": 0.1}]}, "unknown setting of CE 'alpha': here it is called weight"),
        ({"source": {"dataset": "digits"}}, "unknown setting 'dataset': here it is called data"),
        ({"student": {"model": "wrn-10-1", "file": "x"}}, r'student\.file = "x": is what a record says.* weights stand in from = '),
        ({"student": {"model": "wrn-10-1", "code": "abc"}}, r'student\.code = "abc": is what a record says of code of one\'s own'),
        ({"method": [{"use": "CE", "file": "x.py"}]}, "unknown setting of CE 'file'"),
        ({"source": {"data": "digits", "size": 32}}, r"source\.size = 32: is for picture files"),
        ({"source": {"data": "digits", "on_corrupt": "skip"}}, r'source\.on_corrupt = "skip": is for picture files'),
    ],
)
def test_mistakes_in_other_peoples_words(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        Experiment.of({**PLAIN, **sections}, device="cpu")


def test_a_misspelt_key_has_no_followers() -> None:
    with pytest.raises(RedistillError) as caught:
        Experiment.of({**PLAIN, "source": {"dta": "digits"}}, device="cpu")
    message = str(caught.value)
    assert "unknown setting 'dta': did you mean data?" in message and "augment" not in message and "normalise" not in message


def test_a_file_of_weights_that_is_not_there_is_one_mistake() -> None:
    for role, net in (("student", {}), ("teacher", {}), ("teacher", {"model": "wrn-16-1"})):
        with pytest.raises(RedistillError) as caught:
            Experiment.of({**PLAIN, role: {**net, "from": "nowhere.pth"}}, device="cpu")
        message = str(caught.value)
        assert "there is no file" in message and "model" not in message and "no weights" not in message


def test_what_a_message_quotes_is_short_and_visible() -> None:
    mistakes = ValidationErrors("x.toml", data={"a": "\x1b[2J" + "y" * 10**6, "k" * 10**5: 1})
    mistakes.add(("a",), "is wrong")
    mistakes.unknown((), mistakes.data, ["b"])
    assert all(len(one) < 500 and one.isprintable() for one in mistakes.found)
    assert r"\u001b[2J" in mistakes.found[0] and shown("plain") == '"plain"'


# ---------------------------------------------------------------------------------------------------------------------
# Changes: one grammar
# ---------------------------------------------------------------------------------------------------------------------
SETTINGS: dict[str, Any] = {
    "recipe": {"lr": 0.1, "schedule": {"kind": "step", "every": 3}},
    "method": [{"use": "CE", "weight": 0.1}, {"use": "./m.py:Mine", "a": 1}, {"use": "KD", "T": 4}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "table", "want"),
    [
        ("recipe.lr=.05", {"recipe": {"lr": 0.05}}, ("recipe", "lr", 0.05)),
        ("recipe.lr = 1e-3", {"recipe": {"lr": 1e-3}}, ("recipe", "lr", 1e-3)),
        ("recipe.optimizer=adam", {"recipe": {"optimizer": "adam"}}, ("recipe", "optimizer", "adam")),
        ("method.KD.T=2", {"method": {"KD": {"T": 2}}}, ("method", 2, "T", 2)),
        ("method.2.T=2", {"method": {"2": {"T": 2}}}, ("method", 2, "T", 2)),
        ('method."./m.py:Mine".a=2', {"method": {"./m.py:Mine": {"a": 2}}}, ("method", 1, "a", 2)),
        ("source.data=digits", {"source": {"data": "digits"}}, ("source", "data", "digits")),
        ("recipe.no_decay=['bias']", {"recipe": {"no_decay": ["bias"]}}, ("recipe", "no_decay", ["bias"])),
    ],
)
def test_a_word_and_a_table_make_the_same_change(change: str, table: dict[str, Any], want: tuple[Any, ...]) -> None:
    made = changed(SETTINGS, [change])
    assert made == put_over(SETTINGS, table)
    here: Any = made
    for part in want[:-1]:
        here = here[part]
    assert here == want[-1] and type(here) is type(want[-1])


def test_the_empty_text_takes_away() -> None:
    table = {"recipe": {"schedule": ""}, "method": {"KD": ""}}
    for made in (changed(SETTINGS, ["recipe.schedule=", "method.KD="]), put_over(SETTINGS, table)):
        assert made["recipe"] == {"lr": 0.1} and [row["use"] for row in made["method"]] == ["CE", "./m.py:Mine"]
    assert changed(SETTINGS, ['recipe.schedule=""'])["recipe"] == {"lr": 0.1}


def test_a_table_replaces_on_the_line_and_completes_in_a_paper() -> None:
    assert changed(SETTINGS, ['recipe.schedule={kind="cosine"}'])["recipe"]["schedule"] == {"kind": "cosine"}
    made = put_over(SETTINGS, {"recipe": {"schedule": {"every": 5}}, "method": {"CE": {"weight": {"start": 0, "end": 1}}}})
    assert made["recipe"]["schedule"] == {"kind": "step", "every": 5} and made["method"][0]["weight"] == {"start": 0, "end": 1}
    assert SETTINGS["recipe"]["schedule"] == {"kind": "step", "every": 3}, "what was given is not changed"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("recipe", "write key=value"), ("=3", "write key=value"), ("recipe lr=3", "write key=value"),
        ("recipe.schedule={kind=", "not valid TOML"), ("method.KD={T=2}", "is a list: say which entry"),
        ("method.AT.p=1", "unknown term 'AT': known are"), ("recipe.lr=" + "[" * 3000, "the value"),
        ("recipe.lr.x=1", "'lr' is a value, not a table"), ("x" * 5000, "write key=value"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_made(change: str, says: str) -> None:
    with pytest.raises(RedistillError, match=says) as caught:
        changed(SETTINGS, [change])
    assert str(caught.value).startswith("--set ") and len(str(caught.value)) < 400


def test_a_row_that_stands_twice_is_named_by_its_number() -> None:
    rows = {"method": [{"use": "KD", "T": 1}, {"use": "KD", "T": 2}]}
    with pytest.raises(RedistillError, match="KD stands there 2 times: give its number, from 0"):
        changed(rows, ["method.KD.T=3"])
    put(rows, {"method": {"1": {"T": 3}}})
    assert [row["T"] for row in rows["method"]] == [1, 3]


def test_a_mistake_is_told_in_the_file_in_which_it_stands(tmp_path: Path) -> None:
    """Those of a file that another goes on from were told as if they stood in the upper one, on the line of its nearest table."""
    (tmp_path / "base.toml").write_text('[recipe]\nepochs = 2\n\nlrr = 0.1\nclip = -1\n[[method]]\nuse = "CE"\nT = 1\n', encoding="utf-8")
    (tmp_path / "one.toml").write_text('extends = "base.toml"\n[recipe]\nclip = -2\n', encoding="utf-8")
    (tmp_path / "two.toml").write_text('extends = "one.toml"\nmethod = [{ use = "KD", t = 1 }]\n', encoding="utf-8")
    _, mistakes = extended(tmp_path / "two.toml")
    for key in (("recipe", "lrr"), ("recipe", "clip"), ("recipe", "batch"), ("method", 0, "t"), ("method", 0, "T")):
        mistakes.add(key, "x")
    assert [one.removeprefix(f"{tmp_path}/") for one in mistakes.found] == [
        "base.toml: line 4, recipe.lrr = 0.1: x", "one.toml: line 3, recipe.clip = -2: x", "two.toml: recipe.batch: x",
        "two.toml: line 2, method[0].t = 1: x", "two.toml: line 2, method[0].T: x",
    ]  # fmt: skip
