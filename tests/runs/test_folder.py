"""The run folder: its status, its lock, its metrics, and what is said of a run that is not there."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from selfpretrain.config import UserError
from selfpretrain.runs import folder
from selfpretrain.runs.folder import Busy, find_run, open_run

HOLD = """
import sys, time
from selfpretrain.runs.folder import open_run
with open_run(sys.argv[1], "pretrain", "abc").lock(False):
    print("held", flush=True)
    time.sleep(60)
"""


def test_statuses_from_missing_to_done(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    assert (run.id, run.status, run.note) == ("abc", "missing", "")
    run.start("a: 1\n", "selfpretrain pretrain")
    assert run.status == "running"
    assert (run.path / "config.yaml").read_text() == "a: 1\n"
    run.set_status("diverged", "the loss was not finite at step 8")
    assert (run.status, run.note) == ("diverged", "the loss was not finite at step 8")
    run.start("a: 1\n", "selfpretrain pretrain")  # tried again: the old reason is gone
    assert (run.status, run.note) == ("running", "")
    run.finish({"loss": 1.5})
    assert run.status == "done"
    assert open_run(tmp_path, "pretrain", "abc").read_result() == {"loss": 1.5}


def test_a_run_is_done_only_when_its_result_is_written(tmp_path, monkeypatch):
    run = open_run(tmp_path, "pretrain", "abc")
    run.start("", "")
    with pytest.raises(ValueError, match="JSON"):
        run.finish({"loss": float("nan")})
    assert run.status == "running"

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        run.finish({"loss": 1.0})
    assert run.status == "running"


def test_provenance_says_with_what_and_where_but_not_on_whose_machine(tmp_path):
    run = open_run(tmp_path, "finetune", "abc")
    run.start("", "selfpretrain finetune (task x)")
    (written,) = folder.read_starts(run.path)
    assert written["command"] == "selfpretrain finetune (task x)"
    assert set(written["versions"]) == set(folder.PACKAGES)
    assert written["python"].count(".") == 2
    assert os.uname().nodename not in json.dumps({k: v for k, v in written.items() if k != "argv"})


def test_where_things_lie(tmp_path):
    run = open_run(tmp_path, "finetune", "abc")
    assert run.path == tmp_path / "finetune" / "abc"
    assert run.predictions("test") == run.path / "predictions" / "test.parquet"
    with pytest.raises(AssertionError):
        open_run(tmp_path, "fine-tune", "abc")


# the lock


def test_a_second_holder_is_told_that_the_run_is_busy(tmp_path):
    first, second = (open_run(tmp_path, "pretrain", "abc") for _ in range(2))
    with first.lock():
        with pytest.raises(Busy, match="abc"), second.lock(wait=False):
            raise AssertionError("two hold the lock")
        with open_run(tmp_path, "pretrain", "other").lock(wait=False):  # another run is free
            pass
    with second.lock(wait=False):
        pass


def test_the_lock_is_freed_by_an_error(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    with pytest.raises(RuntimeError, match="stop"), run.lock():
        raise RuntimeError("stop")
    with run.lock(wait=False):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy), run.lock(wait=False):
            raise AssertionError("two hold the lock")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with run.lock(wait=False):
        assert run.status == "missing"


def _wait_for_the_lock(folder, queue):
    with open_run(folder, "pretrain", "abc").lock(wait=True):
        queue.put(time.monotonic())


def test_waiting_ends_when_the_lock_is_free(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    waiting = context.Process(target=_wait_for_the_lock, args=(tmp_path, queue))
    with open_run(tmp_path, "pretrain", "abc").lock():
        waiting.start()
        time.sleep(0.2)
        assert queue.empty()
        freed = time.monotonic()
    assert queue.get(timeout=10) >= freed
    waiting.join()
    queue.close()


def test_a_closed_disk_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(folder.FileLock, "acquire", refuse)
    with (
        pytest.raises(UserError, match=r"read-only; set runtime\.runs_dir"),
        open_run(tmp_path, "pretrain", "a").lock(),
    ):
        raise AssertionError("held")


# metrics


def test_metrics_are_cut_after_a_step_and_at_a_broken_line(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    run.start("", "")
    run.cut_metrics(0)  # nothing there yet
    for step in (1, 2, 2, 3, 4):
        run.append_metrics({"step": step, "loss": step / 2})
    file = run.path / "metrics.jsonl"
    run.cut_metrics(3)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 2, 3]
    with open(file, "a") as out:
        out.write('{"step": 3, "lo')
    run.cut_metrics(3)
    run.append_metrics({"step": 4})
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 2, 3, 4]
    run.cut_metrics(0)
    assert file.read_text() == ""


# finding a run


def test_only_a_finished_run_is_found(tmp_path):
    with pytest.raises(UserError, match=r"run:abc does not exist under .*; it is empty"):
        find_run(tmp_path, "pretrain", "abc")
    run = open_run(tmp_path, "pretrain", "abd")
    run.start("", "")
    with pytest.raises(UserError, match=r"run:abc does not exist .*; there: abd \(runtime\.runs_dir"):
        find_run(tmp_path, "pretrain", "abc")
    for status in ("running", "failed", "diverged"):
        run.set_status(status)
        with pytest.raises(UserError, match=f"is {status}, not done; finish it") as error:
            find_run(tmp_path, "pretrain", "abd")
        assert "\n" not in str(error.value)
    run.finish({})
    assert find_run(tmp_path, "pretrain", "abd").path == run.path
    with pytest.raises(UserError, match="does not exist"):
        find_run(tmp_path, "finetune", "abd")


def test_the_commit_is_empty_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert folder.read_commit() == ""


# damage


@pytest.mark.parametrize("word", ["runni", "don", "d", "\x00\x00\x00"])
def test_a_status_that_was_cut_short_is_that_of_a_killed_run(tmp_path, word):
    run = open_run(tmp_path, "pretrain", "abc")
    run.start("", "")
    run.finish({"loss": 1.0})
    (run.path / "status").write_text(word)
    assert run.status == "running"


def test_a_result_that_was_cut_short_is_refused_with_what_to_delete(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    run.start("", "")
    run.finish({"loss": 1.0})
    file = run.path / "result.json"
    whole = file.read_bytes()
    for size in range(len(whole) - 1):  # without its last newline it is whole
        file.write_bytes(whole[:size])
        with pytest.raises(
            UserError, match=r"result\.json is damaged .* delete \S+/abc/status and run the command again"
        ):
            run.read_result()
    file.unlink()
    with pytest.raises(UserError, match=r"result\.json is damaged \(it is missing\); delete \S+/abc/status"):
        run.read_result()


def test_a_provenance_that_was_cut_short_is_refused_with_what_to_delete(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    run.start("", "")
    file = run.path / "provenance.json"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match=rf"delete {file} and run"):
        run.start("", "")
    file.unlink()
    run.start("", "")


def test_a_clock_set_back_gives_no_time_below_zero(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    run.start("", "")
    run.finish({})
    assert run.seconds is not None and run.seconds >= 0
    os.utime(run.path / "provenance.json", (2e9, 2e9))
    assert run.seconds is None


def test_a_lock_file_that_a_dead_host_left_does_not_block(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    run.path.parent.mkdir()
    (run.path.parent / "abc.lock").write_text("4711 another-host")
    with run.lock(wait=False):
        pass
