"""Processes side by side: order, failure, and a clean stop."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from redistill.launch.jobs import Pool, Task, threads_each


def task(folder: Path, name: str, code: str, *needs: str) -> Task:
    return Task(name, [sys.executable, "-S", "-c", code], folder / f"{name}.log", frozenset(needs))


def test_what_is_needed_comes_first_and_jobs_run_side_by_side(tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'order')!r}, 'a').write"
    tasks = [
        task(tmp_path, "last", f"{note}('c')", "a", "b"),
        task(tmp_path, "a", f"{note}('a'); import time; time.sleep(0.3)"),
        task(tmp_path, "b", f"{note}('b'); import time; time.sleep(0.3)"),
    ]
    most = 0
    pool = Pool(tasks, 2)
    for _ in pool:
        most = max(most, len(pool.running()))
    assert most == 2 and sorted((tmp_path / "order").read_text()[:2]) == ["a", "b"]
    assert (tmp_path / "order").read_text()[2:] == "c"
    assert [t.state for t in tasks] == ["done"] * 3 and not list(tmp_path.glob("*.log"))


def test_a_dead_worker_loses_only_what_needs_it(tmp_path: Path) -> None:
    tasks = [
        task(tmp_path, "dies", "import os; os.kill(os.getpid(), 9)"),
        task(tmp_path, "refuses", "import sys; print('line'); sys.exit('no such thing')"),
        task(tmp_path, "after", "pass", "dies"),
        task(tmp_path, "later", "pass", "after"),
        task(tmp_path, "fine", "pass"),
    ]
    for _ in Pool(tasks, 1):
        pass
    assert [t.state for t in tasks] == ["failed", "failed", "failed", "failed", "done"]
    assert tasks[0].why.startswith("ended by SIGKILL") and tasks[1].why == "no such thing"
    assert tasks[2].why == "needs dies, which failed" and tasks[3].why == "needs after, which failed"


def test_stopping_asks_all_and_starts_nothing_more(tmp_path: Path) -> None:
    wait = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *a: sys.exit(75)); print('up', flush=True); time.sleep(30)"
    tasks = [task(tmp_path, "one", wait), task(tmp_path, "two", wait)]
    tasks += [task(tmp_path, "three", "pass"), task(tmp_path, "four", "pass", "one")]
    pool = Pool(tasks, 2)
    asked = False
    for _ in pool:
        if not asked and all(t.last_line() == "up" for t in tasks[:2]):
            asked = True
            pool.stop(signal.SIGUSR1)
    assert [t.state for t in tasks] == ["stopped", "stopped", "waits", "stopped"]
    assert tasks[3].why == "needs one, which was stopped"


def test_threads_are_shared_out() -> None:
    assert threads_each(10_000) == 1 and threads_each(1) >= threads_each(2) >= 1


def test_what_processes_tell_a_person_is_handed_on_and_their_progress_is_not(tmp_path: Path) -> None:
    says = "print('1 of 2 steps'); print('note: is {n}', flush=True); import time; time.sleep(0.3); print('note: ended'); "
    says += "print('note: cut', end='')"
    tasks = [task(tmp_path, name, says.format(n=name)) for name in ("a", "b")]
    (tmp_path / "a.log").write_text("note: of another process\n")
    heard: list[str] = []
    at_once = False
    pool = Pool(tasks, 2, note=heard.append)
    for _ in pool:
        at_once = at_once or bool(heard and pool.running())
    assert sorted(heard) == ["ended", "ended", "is a", "is b"] and at_once
