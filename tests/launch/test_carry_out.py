"""The launcher outside the command line, machines as they are, and files that are whole."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.experiments import HERE
from redistill import cli, files
from redistill.errors import RedistillError, plain, sentence
from redistill.experiment.value import Experiment
from redistill.launch import local
from redistill.launch.carry_out import Resources, Silent, carry_out
from redistill.launch.jobs import Pool, Task, threads_each
from redistill.launch.local import environment, shared_out, tasks_of
from redistill.launch.queue import Queue, plan
from redistill.launch.stop import Stop
from redistill.launch.threads import using, wanted
from redistill.report.progress import Terminal
from redistill.runs.compare import differences
from redistill.runs.store import Store
from redistill.sealed import PENDING, RECORD
from redistill.user_code import locate

SOURCE = str(Path(__file__).parents[2] / "src")


def small(seed: int = 0, **more: Any) -> Experiment:
    settings = {"student": {"model": "mlp", "args": {"inputs": 64}}, "method": [{"use": "CE"}], "source": {"data": "digits"}}
    return Experiment.of({**settings, "recipe": {"steps": 3}, "evaluate": {}, **more}, seed=seed, device="cpu")


# -- the launcher ---------------------------------------------------------------------------------------------------------
def test_it_prints_nothing_and_says_what_came_of_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store, one, bad = Store(tmp_path), small(), small(recipe={"steps": 3, "lr": 1e30}, name="bad")
    first = carry_out([one, bad, one], store)
    assert [run.id for run in first.runs] == [one.id, bad.id] and first.found == frozenset() and first.status == 1
    assert len(first.problems) == 1 and "bad (seed 0) diverged" in first.problems[0]
    assert first.known == frozenset() and first.news() == first
    again = carry_out([one], store, Resources(device="cpu"))
    assert again.found == {one.id} and again.status == 0 and again.problems == []
    again = carry_out([one, bad], store)  # whoever wants its network still has none
    assert again.status == 1 and again.problems == first.problems and (again.news().status, again.news().problems) == (0, [])
    assert capfd.readouterr() == ("", "")
    late = carry_out([small(recipe={"steps": 4})], store, Resources(budget=0.0))
    again = carry_out([small(recipe={"steps": 4}), small()], store, Resources(budget=0.0))
    assert again.status == 75 and again.found == {run.id for run in again.runs} == {small().id}  # nothing was written
    assert late.status == 75 and late.runs == [] and "the time budget is used up" in late.problems[0]
    assert "1 run is left" in again.problems[0]  # the other was there
    assert carry_out([small()], store, Resources(budget=0.0)).status == 0


def test_one_damaged_record_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    store, one = Store(tmp_path), small()
    outcome = carry_out([one], store)
    (outcome.runs[0].folder / RECORD).write_text("{")
    outcome = carry_out([one], store)
    assert outcome.status == 1 and len(outcome.problems) == 1 and "damaged" in outcome.problems[0]
    queue = Queue(plan([one]), store)
    assert queue.missing(one) and "damaged" in queue.blocked[one.id]


def test_workers_get_folders_a_path_and_nothing_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = Store(tmp_path), small()
    queue = Queue(plan([one]), store, device="cpu")
    [(task, group)] = tasks_of(queue, 1).values()
    folder = store.folder(one)
    assert str(folder) in task.command and not any(str(word).endswith(".json") for word in task.command)
    assert "-P" in task.command and group == (one,) and "--trust-code" not in task.command
    assert json.loads((folder / PENDING).read_bytes())["id"] == one.id
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    path = environment(3)["PYTHONPATH"].split(os.pathsep)
    assert "" not in path and SOURCE in path and environment(3)["OMP_NUM_THREADS"] == "3"
    own = Experiment.load(HERE / "teacher.toml", device="cpu")
    [(task, _)] = tasks_of(Queue(plan([own]), store, device="cpu"), 1).values()
    assert "--trust-code" in task.command  # its file, which the user gave, says so


@pytest.mark.parametrize(("threads", "set_to", "expected"), [(None, None, None), (None, "5", "5"), (3, None, "3"), (3, "5", "3")])
def test_workers_choose_their_threads_unless_somebody_says_how_many(
    threads: int | None, set_to: str | None, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_to is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    seen: list[tuple[list[Task], dict[str, str]]] = []

    class Nothing(Pool):
        def __init__(self, tasks: Any, jobs: int, around: Any, *more: Any):
            super().__init__(tasks, jobs, around, *more)
            seen.append((self.tasks, self.environment))

        def __iter__(self) -> Any:
            return iter(())

    monkeypatch.setattr(local, "Pool", Nothing)
    local.side_by_side(Queue(plan([small()]), Store(tmp_path), device="cpu"), 2, threads, Silent().tasks)
    [([task], around)] = seen
    if expected is None:
        assert "--threads" not in task.command and around["OMP_NUM_THREADS"] == str(threads_each(2))
        monkeypatch.setattr(os, "environ", around)
        with using(2):
            assert wanted([torch.nn.Linear(1, 1)], (1,), 1, torch.device("cpu")) == 1  # its share is no word that it must take
    else:
        assert task.command[task.command.index("--threads") + 1] == around["OMP_NUM_THREADS"] == expected


def test_workers_may_run_the_code_of_a_teacher_that_is_there_where_somebody_said_so(tmp_path: Path, teacher_file: Path, make: Any) -> None:
    shutil.copytree(teacher_file, tmp_path / "runs")
    store, one = Store(tmp_path / "runs"), make(student={"model": "mlp", "args": {"inputs": 64}})
    [(task, group)] = tasks_of(Queue(plan([one]), store, device="cpu"), 1).values()
    assert group == (one,) and "--trust-code" in task.command  # nets.py is named by a file of the user's
    (tmp_path / "other.py").write_text((HERE / "nets.py").read_text() + "\n# somebody else's\n")
    code = locate("./other.py:Small", tmp_path).code
    [maker] = one.needs()
    net = maker.student.model_copy(update={"file": str(tmp_path / "other.py"), "code": code})
    maker = maker.model_copy(update={"student": net})
    assert one.teacher is not None
    stranger = one.model_copy(update={"teacher": one.teacher.model_copy(update={"run": maker})})
    commands = [task.command for task, group in tasks_of(Queue(plan([stranger]), store, device="cpu"), 1).values()]
    assert commands and not any("--trust-code" in command for command in commands)  # a record may name it, and nobody has said so


def test_no_process_stands_idle_beside_the_last_cohort() -> None:
    plan_of_18 = [tuple(small(seed=seed, recipe={"steps": steps}) for steps in range(1, 7)) for seed in range(3)]
    one, two, three = plan_of_18
    assert shared_out(plan_of_18, 1) == shared_out(plan_of_18, 3) == plan_of_18
    assert shared_out(plan_of_18, 2) == [one, two, three[0::2], three[1::2]]  # a wall time of 1.5 cohorts and not 2
    assert shared_out([one], 4) == [one[0::4], one[1::4], one[2::4], one[3::4]] and shared_out([one], 9) == [(each,) for each in one]
    on_device = tuple(each.model_copy(update={"arithmetic": each.arithmetic.model_copy(update={"device": "cuda"})}) for each in one)
    assert shared_out([on_device], 2) == [on_device]


def test_what_must_come_first_is_shared_out_by_itself(make: Any) -> None:
    a, b, c = make(), make(recipe={"epochs": 4}), make(method=[{"use": "CE"}])
    groups = plan([a, b, c])
    assert groups == [tuple(a.needs()), (a, c), (b,)]  # one teacher; beside it nothing can begin
    assert shared_out(groups, 2) == groups and shared_out(groups[:2], 2) == [groups[0], (a,), (c,)]


def test_students_of_a_cohort_that_is_cut_have_the_bits_of_the_whole_and_tell_no_more(
    tmp_path: Path, teacher_file: Path, make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [{"use": "CE"}, {"use": "KD"}]
    wanted = [make(evaluate={}, method=both), make(evaluate={}, method=both, student={"model": "mlp", "args": {"inputs": 64}})]
    for name, jobs in (("whole", 1), ("cut", 2)):
        shutil.copytree(teacher_file, tmp_path / name)
        assert carry_out(wanted, Store(tmp_path / name), Resources(jobs=jobs, threads=1, trust_code=True), Terminal()).problems == []
        told = [line for line in capsys.readouterr().err.splitlines() if "share of the loss" in line]
        assert len(told) == 1 and told[0].startswith("note: CE() + KD(): ")  # of both students, and of both processes
    for one in wanted:
        whole, cut = (Store(tmp_path / name).find(one) for name in ("whole", "cut"))
        assert whole is not None and cut is not None
        assert whole.record["cohort"] == [each.id for each in wanted] and cut.record["cohort"] == [one.id]
        assert [d for d in differences(whole, cut) if d.matters] == []


def test_a_run_that_is_not_there_is_a_problem_whatever_its_process_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redistill.launch.carry_out.side_by_side", lambda *given: [])
    outcome = carry_out([small()], Store(tmp_path), Resources(jobs=2))
    assert outcome.status == 1 and "(seed 0) has no run in" in outcome.problems[0]


def test_a_pending_experiment_is_not_put_beside_a_record(tmp_path: Path) -> None:
    store, one = Store(tmp_path), small()
    [run] = carry_out([one], store).runs
    assert store.begin(one) == run.folder and not (run.folder / PENDING).exists()


# -- processes --------------------------------------------------------------------------------------------------------------
def test_what_somebody_else_made_is_no_failure(tmp_path: Path) -> None:
    tasks = [
        Task("lost", [sys.executable, "-S", "-c", "import sys; sys.exit('gone')"], tmp_path / "a.log"),
        Task("after", [sys.executable, "-S", "-c", "pass"], tmp_path / "b.log", frozenset({"lost"})),
    ]
    for _ in Pool(tasks, 1, there=lambda task: task.name == "lost"):
        pass
    assert [task.state for task in tasks] == ["done", "done"]


def test_workers_stopped_early_count_as_stopped(tmp_path: Path) -> None:
    wait = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print('up', flush=True); time.sleep(60)"
    task = Task("early", [sys.executable, "-S", "-c", wait], tmp_path / "log")
    pool = Pool([task], 1)
    for _ in pool:
        if task.last_line() == "up" and not pool._stopping:
            pool.stop(signal.SIGINT)
    assert task.state == "stopped"


def test_a_log_of_another_process_is_not_cut(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("an orphan's line\n")
    task = Task("fails", [sys.executable, "-S", "-c", "import sys; sys.exit('no such thing')"], log)
    for _ in Pool([task], 1):
        pass
    assert log.read_text() == "an orphan's line\nno such thing\n" and task.why == "no such thing"
    silent = Task("silent", [sys.executable, "-S", "-c", "import sys; sys.exit(3)"], log)
    for _ in Pool([silent], 1):
        pass
    assert silent.why == "ended with status 3"


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    worker = f"""
import os, signal, sys, time
from redistill.launch.jobs import end_with_parent
signal.signal(signal.SIGTERM, lambda *a: (open({str(tmp_path / 'ended')!r}, 'w').close(), os._exit(0)))
end_with_parent()
open({str(tmp_path / 'up')!r}, 'w').close()
time.sleep(60)
"""
    parent = f"""
import sys
from pathlib import Path
from redistill.launch.jobs import Pool, Task
for _ in Pool([Task("one", [sys.executable, "-c", {worker!r}], Path({str(tmp_path / 'log')!r}))], 1): pass
"""
    process = subprocess.Popen([sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": SOURCE})
    _until(lambda: (tmp_path / "up").exists())
    process.kill()
    process.wait()
    _until(lambda: (tmp_path / "ended").exists())


def _until(found: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("when", ["imports", "command"])
def test_ctrl_c_before_anything_has_begun_is_a_sentence(when: str, tmp_path: Path) -> None:
    """In the middle of an import, whose own code would swallow the exception; and in a command that has not begun to train."""
    marks = f"open({str(tmp_path / 'up')!r}, 'w').close()\n    import time; time.sleep(60)"
    slow = {"imports": "typer.py", "command": "pydantic.py"}[when]
    (tmp_path / slow).write_text(f"try:\n    {marks}\nexcept BaseException:\n    pass\nraise ImportError('half a library')\n")
    code = "from redistill.__main__ import main; main()"
    words = [sys.executable, "-c", code, "run", str(HERE / "teacher.toml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), SOURCE])}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    _until(lambda: (tmp_path / "up").exists())
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (130, "", "redistill: stopped\n")


def test_a_closed_terminal_saves_unless_below_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run below nohup themselves
    try:
        with Stop(listen=True) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.why == "SIGHUP" and stop.status == 129
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Stop(listen=True) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.why is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_python_m_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    for name in ("typer.py", "torch.py", "random.py", "click.py"):
        (tmp_path / name).write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\nraise SystemExit('taken')\n")
    words = [sys.executable, "-m", "redistill", "--version"]
    done = subprocess.run(words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("redistill 0.") and not (tmp_path / "ran").exists(), done.stderr


# -- files ------------------------------------------------------------------------------------------------------------------
def test_files_follow_the_umask(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            files.write(tmp_path / "a", b"x")
        finally:
            os.umask(before)
        assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_partial_files_of_two_machines_differ(tmp_path: Path) -> None:
    one, two = files.partial_of(tmp_path / "a"), files.partial_of(tmp_path / "a")
    assert one != two and socket.gethostname()[:4] in one.name and str(os.getpid()) in one.name
    files.write(tmp_path / ("n" * 250), b"x")  # as long as a name may be, though its partial name is longer
    assert (tmp_path / ("n" * 250)).read_bytes() == b"x"
    with pytest.raises(RedistillError, match="the name is too long"):
        files.write(tmp_path / ("n" * 300), b"x")


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", none)
    files.write(tmp_path / "a", b"one")
    files.write(tmp_path / "a", b"two", keep=tmp_path / "b")
    files.write_first(tmp_path / "c", b"three")
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"two", b"one", b"three"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    class Noting(Silent):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    monkeypatch.setattr(fcntl, "flock", none)
    shown = Noting()
    outcome = carry_out([small()], Store(tmp_path), display=shown)
    assert not files.held(outcome.runs[0].folder / "lock"), "nobody is said to be at it"
    assert outcome.status == 0 and len(outcome.runs) == 1
    assert len(shown.notes) == 1 and "has no locks" in shown.notes[0] and str(tmp_path) in shown.notes[0]


def test_a_folder_called_like_a_partial_file_and_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / ".x.partial").mkdir()
    (tmp_path / ".y.partial").touch()
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".x.partial"]
    shutil.rmtree(tmp_path / ".x.partial")
    with pytest.raises(RedistillError, match=r"the folder .*deleted is gone \(deleted or moved away meanwhile\)"):
        files.write(tmp_path / "deleted" / "checkpoint", b"")


@pytest.mark.parametrize("kind", ["svg", "png", "gif"])
def test_a_figure_is_whole_or_not_there(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from PIL import Image

    from redistill.report.figures import curve_figure
    from redistill.report.plane import animation
    from redistill.report.zero_shot import grid

    draw = {
        "svg": lambda path: curve_figure(path, {"a": [(0, 1.0), (1, 2.0)]}, title="t", ylabel="y"),
        "png": lambda path: grid(path, [torch.zeros(2, 1, 8, 8)], "none", titles=["t"]),
        "gif": lambda path: animation(path, [Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "red")]),
    }[kind]
    path = tmp_path / f"figure.{kind}"
    draw(path)
    whole = path.read_bytes()
    assert whole[:4] == {"svg": b"<?xm", "png": b"\x89PNG", "gif": b"GIF8"}[kind]
    sync = os.fsync

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RedistillError, match="the disk is full; the file that was there before is untouched"):
        draw(path)
    monkeypatch.setattr(os, "fsync", sync)
    assert path.read_bytes() == whole and len(list(tmp_path.iterdir())) == 1


def test_nothing_writes_a_file_in_place() -> None:
    """Only ``files.write``, ``tensor_files.save`` and a table of answers, which begins whole and empty, open a file for writing."""
    import re

    allowed = {"files.py", "launch/jobs.py", "data/fetch.py", "tensor_files.py", "answers/table.py"}
    drawn = (r"savefig\((?!drawn)", r"(?<!tensor_files)\.save\((?!drawn)[^)]*path", r"save_file\(")
    places = ("write_text", "write_bytes", *drawn, r"""open\([^)]*["'][wax]b?\+?["']""")
    writes = re.compile("|".join(places))
    root = Path(SOURCE) / "redistill"
    found = {str(p.relative_to(root)) for p in root.rglob("*.py") if writes.search(p.read_text(encoding="utf-8"))}
    assert found <= allowed


def test_a_rate_that_cannot_be_kept_is_used_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from redistill.launch import rates

    (tmp_path / "file").touch()
    monkeypatch.setenv("REDISTILL_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(rates, "measured", lambda device, precision: 5.0)
    assert rates.rate("cpu") == 5.0
    for name in ("REDISTILL_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(*args: Any) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert rates.rates_file() is None and rates.rate("cpu") == 5.0


# -- the terminal -------------------------------------------------------------------------------------------------------------
def test_control_characters_never_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain("a\x1b[2J\r\b\x9b\u202eb\n\tc ± é") == "a\\x1b[2J\\x0d\\x08\\x9b\\u202eb\n\tc ± é"
    raw = io.BytesIO()
    out = cli._safe(io.TextIOWrapper(raw, encoding="ascii"), encoding_only=False)
    print("a\x1b[31m ± \udc80", file=out)
    out.flush()
    assert raw.getvalue() == b"a\\x1b[31m \\xb1 \\udc80\n"
    captured = io.StringIO()
    monkeypatch.setattr(sys, "stderr", captured)
    cli.tell(RedistillError("a\x1b[2J"))
    assert captured.getvalue() == "redistill: a\\x1b[2J\n"


def test_errors_are_sentences_of_a_readable_length() -> None:
    assert sentence(PermissionError(errno.EACCES, "Permission denied", "/a/b")) == "/a/b: Permission denied"
    assert sentence(KeyError("time")) == "KeyError: 'time'"
    assert len(sentence(RedistillError("x" * 200_000))) < 9_000


def test_json_for_an_output_that_is_not_utf8_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    from redistill.cli.options import show_json

    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    show_json({"name": "± \u4e2d"})
    out.flush()
    assert json.loads(raw.getvalue().decode("ascii")) == {"name": "± \u4e2d"}
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(RedistillError, match="standard output is closed"):
        show_json({})


def test_every_command_has_its_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Summaries fit 80 columns; --threads wherever something is computed, --runs for what is read, --to for what is written."""
    from typer.main import get_command

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["redistill", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().out
    assert "..." not in shown.replace("COMMAND [ARGS]...", "")
    commands: Any = get_command(cli.app)
    words = {name: {word for param in one.params for word in param.opts} for name, one in commands.commands.items()}
    for name in ("run", "train", "evaluate", "reproduce", "explain", "report", "belief", "verify"):
        assert "--threads" in words[name], name
    for name in ("run", "train", "runs", "show", "compare", "diff", "evaluate", "reproduce", "explain", "report", "belief", "samples"):
        assert {"--runs", "--out"} <= words[name], name
    for name in ("report", "belief", "samples", "toy"):
        assert "--to" in words[name], name
    for name in ("run", "evaluate", "reproduce", "belief", "explain", "campaign", "report"):
        assert "--trust-code" in words[name], name
    for name in ("papers", "plan"):
        assert "--trust-code" not in words[name], name
