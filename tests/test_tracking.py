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
from selfpretrain.config import Settings, TrackingConfig

FAKE = """
import json, os, time
out = open(os.environ["FAKE_WANDB_OUT"], "a", buffering=1)
def write(**row): out.write(json.dumps(row) + "\\n")
class Settings:
    model_fields = {"console": 0, "silent": 0, "disable_git": 0, "save_code": 0}
    def __init__(self, **values): self.values = values
class Run:
    def __init__(self, id): self.id, self.summary = id, {}
    def log(self, metrics, step):
        time.sleep(float(os.environ.get("FAKE_WANDB_SLOW", "0")))
        if os.environ.get("FAKE_WANDB_FAIL") == "log": raise ConnectionError("the network is gone\\nmore")
        write(run=self.id, step=step, **metrics)
    def finish(self, exit_code): write(run=self.id, exit_code=exit_code, summary=self.summary)
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
    settings = Settings(tracking=TrackingConfig(name=name, **config))
    return tracking.build_tracker(settings, Path(folder) / "pretrain" / run_id, "study", "cell")


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
    expected = {"id": "abc", "group": "study", "job_type": "pretrain", "name": "cell", "resume": "allow",
                "mode": "offline", "dir": str(tmp_path.resolve() / "pretrain" / "abc")}  # fmt: skip
    assert expected.items() <= start["start"].items()
    assert start["start"]["config"]["pretrain"]["peak_lr"] == 5e-4
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
    assert read(fake)[0]["start"]["mode"] == mode


@pytest.mark.parametrize("where", ["init", "log"])
def test_a_failure_is_one_warning_and_no_more(fake, tmp_path, monkeypatch, capsys, where):
    monkeypatch.setenv("FAKE_WANDB_FAIL", where)
    tracker = build(tmp_path)
    tracker.log({"loss": 1.0}, step=1)
    deadline = time.monotonic() + 20
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
    assert time.monotonic() - started < 2.0
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
    assert time.monotonic() - started < 0.5
    helper = tracker.helper
    assert not helper.close()
    assert time.monotonic() - started < 2.0
    helper.process.kill()


def test_a_killed_training_still_ends_its_run(fake, tmp_path):
    """The helper sees the pipe end and closes the run as failed."""
    code = f"""
import os, sys, time
from pathlib import Path
from selfpretrain import tracking
from selfpretrain.config import Settings, TrackingConfig
settings = Settings(tracking=TrackingConfig(name="wandb"))
tracker = tracking.build_tracker(settings, Path({str(tmp_path)!r}) / "x" / "abc", "", "n")
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


def test_the_real_library_writes_an_offline_folder(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("RANK", raising=False)
    close_helper(0)
    tracker = build(tmp_path, mode="offline")
    for step in range(5):
        tracker.log({"loss": 1.0 / (step + 1)}, step=step + 1)
    tracker.finish()
    assert close_helper(60)
    files = list(tmp_path.glob("pretrain/abc/wandb/offline-run-*/run-abc.wandb"))
    assert len(files) == 1
    assert b"loss" in files[0].read_bytes()
    assert "WANDB_SERVICE" not in os.environ
