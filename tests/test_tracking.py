"""Tracking mirrors metrics, and never stops, slows or fails a run. A stand-in for W&B is found first by the helper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfpretrain import tracking
from selfpretrain.config import TrackingConfig
from selfpretrain.tracking import Artifact, RunCard

FAKE = """
import json, os, time
out = open(os.environ["FAKE_WANDB_OUT"], "a", buffering=1)
def write(**row): out.write(json.dumps(row) + "\\n")
class Settings:
    model_fields = {"console": 0, "silent": 0, "disable_git": 0, "save_code": 0}
    def __init__(self, **values): self.values = values
class Run:
    def __init__(self, id): self.id, self.summary, self.dir = id, {}, "x/offline-run-9/files"
    def log(self, metrics, step=None, commit=True):
        time.sleep(float(os.environ.get("FAKE_WANDB_SLOW", "0")))
        if os.environ.get("FAKE_WANDB_FAIL") == "log": raise ConnectionError("the network is gone\\nmore")
        write(run=self.id, step=step, **metrics)
    def log_artifact(self, artifact, aliases): write(run=self.id, aliases=aliases, artifact=artifact.said)
    def finish(self, exit_code):
        time.sleep(float(os.environ.get("FAKE_WANDB_SLOW_END", "0")))
        if os.environ.get("FAKE_WANDB_FAIL") == "finish": raise ConnectionError("it did not take all")
        write(run=self.id, exit_code=exit_code, summary=self.summary)
class Artifact:
    def __init__(self, name, type): self.said = [name, type]
    def add_file(self, path, name, skip_cache, policy): self.said.append([name, policy])
    def add_dir(self, path, name, skip_cache, policy): self.said.append([name + "/", policy])
def Table(columns, data): return [columns, *data]
def init(settings, **arguments):
    print("noise on stdout")
    if os.environ.get("FAKE_WANDB_FAIL") == "init": raise ConnectionError("no server")
    time.sleep(float(os.environ.get("FAKE_WANDB_HANG", "0")))
    write(start=arguments, settings=settings.values)
    return Run(arguments["id"])
def login(prompt, verify): return os.environ.get("FAKE_WANDB_KEY") == "1"
"""


def close_helper(wait_seconds: float) -> bool:
    """Let the helper finish what it has; True if it did in time. The next tracker starts a new one."""
    helper, tracking._helper = tracking._helper, None
    return helper is None or helper.close(wait_seconds)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The path that the stand-in writes its calls to."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "wandb.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("FAKE_WANDB_OUT", str(tmp_path / "calls.jsonl"))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "RANK"):
        monkeypatch.delenv(name, raising=False)
    close_helper(0)
    yield tmp_path / "calls.jsonl"
    close_helper(20)


def build(folder, run_id="abc", name="wandb", **config):
    run = Path(folder) / "pretrain" / run_id
    card = RunCard(run_id, "pretrain", "study", "cell", {"condition": "own"}, run, run / "metrics.jsonl")
    return tracking.build_tracker(TrackingConfig(name=name, **config), card)


def read(calls):
    return [json.loads(line) for line in calls.read_text().splitlines()]


def test_none_and_other_ranks_track_nothing(monkeypatch, fake, tmp_path):
    tracker = build(tmp_path, name="none")
    tracker.log({"loss": 1.0}, step=1)
    tracker.finish(0)
    monkeypatch.setenv("RANK", "1")
    assert isinstance(build(tmp_path), tracking.NullTracker)
    assert tracking._helper is None


def test_rows_arrive_under_a_stable_id(fake, tmp_path):
    tracker = build(tmp_path)
    tracker.log({"loss": 2.5}, step=20)
    tracker.log({"loss": float("inf")}, step=40)
    tracker.finish(3)
    tracker.finish(0)  # a second call changes nothing
    assert close_helper(20)
    start, *rows, end = read(fake)
    expected = {"id": "abc", "group": "study", "job_type": "pretrain", "name": "cell", "config": {"condition": "own"},
                "resume": None, "mode": "offline", "dir": str(tmp_path.resolve() / "pretrain" / "abc")}  # fmt: skip
    assert expected.items() <= start["start"].items()
    assert start["settings"] == {"console": "off", "silent": True, "disable_git": True, "save_code": False}
    assert [row["step"] for row in rows] == [20, 40]
    assert rows[0]["loss"] == 2.5
    assert end == {"run": "abc", "exit_code": 3, "summary": {}}


def test_two_runs_of_one_process_stay_apart(fake, tmp_path):
    first, second = build(tmp_path, "one"), build(tmp_path, "two")
    first.log({"loss": 1.0}, step=1)
    second.log({"loss": 2.0}, step=1)
    first.finish()
    second.finish()
    assert close_helper(20)
    assert {row["run"]: row["loss"] for row in read(fake) if "loss" in row} == {"one": 1.0, "two": 2.0}


@pytest.mark.parametrize(
    ("environment", "config", "mode"),
    [
        ({"FAKE_WANDB_KEY": "1"}, "auto", "online"),
        ({"WANDB_API_KEY": "key"}, "auto", "online"),
        ({"WANDB_API_KEY": "key", "WANDB_MODE": "offline"}, "auto", "offline"),
        ({}, "online", "online"),
        ({"WANDB_API_KEY": "key"}, "offline", "offline"),
    ],
)
def test_mode(fake, tmp_path, monkeypatch, environment, config, mode):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    build(tmp_path, mode=config).finish()
    assert close_helper(20)
    start = read(fake)[0]["start"]
    assert (start["mode"], start["resume"]) == (mode, "allow" if mode == "online" else None)


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_a_failure_is_one_warning_and_no_more(fake, tmp_path, monkeypatch, capsys, where):
    monkeypatch.setenv("FAKE_WANDB_FAIL", where)
    tracker = build(tmp_path)
    tracker.log({"loss": 1.0}, step=1)
    build(tmp_path, "ended").finish()
    deadline = time.monotonic() + 20 * (where != "finish")  # that of a run's end is seen at the next message
    while not tracker.helper.is_off and time.monotonic() < deadline:
        time.sleep(0.02)
    tracker.log({"loss": 1.0}, step=2)
    build(tmp_path, "later").finish()
    tracker.finish(0)
    close_helper(20)
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert "W&B is off" in printed[0] and "ConnectionError" in printed[0]


def test_a_missing_library_is_one_warning(fake, tmp_path, capsys):
    (tmp_path / "modules" / "wandb.py").write_text("raise ImportError('no wandb here')")
    tracker = build(tmp_path)
    tracker.finish()
    close_helper(20)
    assert "ImportError: no wandb here" in capsys.readouterr().err


def end_abruptly(helper):
    """Kill the helper process: the next message finds it gone, and the pipe to it is closed."""
    helper.process.kill()
    helper.process.wait(20)
    helper.put({"do": "log", "run": "abc", "step": 9999, "metrics": {}}, wait_seconds=20)
    helper.sender.join(20)
    assert not helper.sender.is_alive() and helper.process.stdin.closed


def test_slow_tracking_drops_rows_and_says_so_once(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_WANDB_SLOW", "0.2")
    monkeypatch.setattr(tracking, "QUEUE_SIZE", 10)
    tracker = build(tmp_path)
    row = {f"measure_{index}": 0.5 for index in range(200)}  # the pipe holds only a few of these
    started = time.monotonic()
    for step in range(2000):
        tracker.log(row, step=step)
    tracker.finish()
    assert time.monotonic() - started < 20  # of 400, if it waited for them
    assert tracker.num_dropped > 1000
    assert capsys.readouterr().err.count("slower than the training") == 1
    end_abruptly(tracker.helper)


def test_hanging_tracking_does_not_hold_the_process_up(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_WANDB_HANG", "60")
    monkeypatch.setattr(tracking, "EXIT_SECONDS", (0.2, 0.2))
    tracker = build(tmp_path)
    started = time.monotonic()
    tracker.log({"loss": 1.0}, step=1)
    tracker.finish()
    assert time.monotonic() - started < 10  # of 60
    helper = tracker.helper
    assert not helper.close()
    assert time.monotonic() - started < 20
    helper.process.kill()


def test_a_killed_training_still_ends_its_run(fake, tmp_path):
    """The helper sees the pipe end and closes the run as failed."""
    code = f"""
import os, sys, time
from pathlib import Path
from selfpretrain import tracking
from selfpretrain.config import TrackingConfig
card = tracking.RunCard("abc", "x", "", "n", {{}}, Path({str(tmp_path)!r}))
tracker = tracking.build_tracker(TrackingConfig(name="wandb"), card)
tracker.log({{"loss": 1.0}}, step=1)
while tracker.helper.process is None or tracker.helper.messages.qsize(): time.sleep(0.01)
time.sleep(0.1)
os.kill(os.getpid(), 9)
"""
    root = str(Path(tracking.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], root])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (fake.exists() and "exit_code" in fake.read_text()):
        time.sleep(0.05)
    assert read(fake)[-1]["exit_code"] == 1


def test_a_start_tells_the_history_first(fake, tmp_path):
    """What metrics.jsonl holds when the first row comes, and no half of a line; then what is new."""
    folder = tmp_path / "pretrain" / "abc"
    tracker = build(tmp_path)
    folder.mkdir(parents=True)
    history = folder / "metrics.jsonl"
    history.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"step": 3, "lo')
    tracker.log({"loss": 1.0}, step=3)
    with open(history, "a") as file:  # as the training does after it
        file.write('{"step": 4, "loss": 0.5}\n')
    tracker.finish()
    assert close_helper(20)
    assert [(row["step"], row["loss"]) for row in read(fake) if "loss" in row] == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_a_run_that_is_at_its_end_has_its_history(fake, tmp_path):
    (tmp_path / "pretrain" / "abc").mkdir(parents=True)
    (tmp_path / "pretrain" / "abc" / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n')
    build(tmp_path).finish()
    assert close_helper(20)
    assert [row["step"] for row in read(fake) if "loss" in row] == [1]


def test_folders_of_earlier_starts_make_way_unless_they_were_sent(fake, tmp_path):
    old = tmp_path / "pretrain" / "abc" / "wandb"
    for name, mark in (("offline-run-1-abc", ""), ("offline-run-2-abc", ".synced"), ("offline-run-3-other", "")):
        (old / name).mkdir(parents=True)
        (old / name / f"run-abc.wandb{mark}").touch()
    build(tmp_path).finish()
    assert close_helper(20)
    assert {path.name for path in old.iterdir()} == {"offline-run-2-abc", "offline-run-3-other"}


def test_summary_table_and_files(fake, tmp_path, monkeypatch):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "report.md").touch()
    tracker = build(tmp_path)
    tracker.add_table("scores", ["condition", "score"], [["own", 0.5], ["none", None]])
    tracker.add_files(Artifact("weights", "model", {"encoder": tmp_path / "encoder"}, ("step-4",), is_lasting=True))
    tracker.add_files(Artifact("report", "report", {"report.md": tmp_path / "report.md"}))
    tracker.summarize({"test_accuracy": 0.75})
    tracker.finish()
    assert close_helper(20)
    _, table, weights, report, end = read(fake)
    assert table["scores"] == [["condition", "score"], ["own", 0.5], ["none", None]]
    assert (weights["artifact"], weights["aliases"]) == (
        ["weights", "model", ["encoder/", "immutable"]],
        ["latest", "step-4"],
    )
    assert report["artifact"] == ["report", "report", ["report.md", "mutable"]]
    assert end["summary"] == {"test_accuracy": 0.75}


def test_a_slow_end_does_not_hold_up_the_next_run(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_WANDB_SLOW_END", "1")
    for run_id in ("one", "two", "three"):
        build(tmp_path, run_id).finish()
    assert close_helper(20)
    calls = ["start" if "start" in row else "end" for row in read(fake)]
    assert calls == ["start"] * 3 + ["end"] * 3
