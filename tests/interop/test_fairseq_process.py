"""fairseq's process: what it says becomes rows, once each, and its failures one line."""

from __future__ import annotations

import json
import sys
import time

import pytest
import torch

from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.interop.fairseq_process import read_rows, run_command
from selfpretrain.runs.folder import RunFolder
from selfpretrain.sources.fairseq_files import LAST
from selfpretrain.train.keeper import Diverged
from selfpretrain.train.trainer import Interrupted


def test_losses_are_in_nats():
    logged = {
        "num_updates": "20",
        "loss": "2.0",
        "ppl": "4",
        "wps": "1000.5",
        "gnorm": "1.5",
        "lr": "0.001",
        "wall": "3",
    }
    (row,) = read_rows(["Start iterating", f"2026-01-01 | INFO | train_inner | {json.dumps(logged)}"])
    assert row == {
        "step": 20, "loss": pytest.approx(1.386294), "grad_norm": 1.5, "lr": 0.001, "tokens_per_second": 1000.5
    }  # fmt: skip


LINE = '2026-01-01 | INFO | train_inner | {"num_updates": "%d", "loss": "1.0", "lr": "0.1", "gnorm": "1", "wps": "9"}'


RUNTIME, TOTAL = RuntimeConfig(progress=False), 10


def run_script(script: str, run: RunFolder, ends: bool = True, **given: bool) -> list[dict[str, float]]:
    """Its rows; a script that ``ends`` leaves the last step's checkpoint."""
    if ends:
        save_step(run, TOTAL, "new.pt")
        script += f"; import os; os.replace({str(run.checkpoints / 'new.pt')!r}, {str(run.checkpoints / LAST)!r})"
    return list(run_command([sys.executable, "-c", script], run.path / "train.log", run, RUNTIME, TOTAL, **given))


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    (tmp_path / "pretrain" / "abc").mkdir(parents=True)
    return RunFolder(tmp_path / "pretrain" / "abc")


def save_step(folder: RunFolder, step: int, name: str = LAST) -> None:
    folder.checkpoints.mkdir(exist_ok=True)
    torch.save({"model": {}, "optimizer_history": [{"num_updates": step}]}, folder.checkpoints / name)


def test_numbers_of_a_million_and_torn_lines(folder):
    torn = LINE % 1_000_000
    rows = read_rows([torn.replace("1000000", "1e+06"), torn[: len(torn) // 2 + 20], LINE % 3])
    assert [row["step"] for row in rows] == [1_000_000, 3]
    (folder.path / "train.log").write_text(torn[:60])  # without an end of line
    save_step(folder, TOTAL - 1)
    folder.append_metrics({"step": TOTAL - 1})
    assert [row["step"] for row in run_script(f"print({LINE % TOTAL!r})", folder)] == [TOTAL]


def test_what_ends_before_its_last_step_was_stopped(folder):
    with pytest.raises(Interrupted) as stop:
        run_script(f"print({LINE % 4!r})", folder, ends=False)  # and exits with 0, as when it alone was told to end
    assert stop.value.code == 75 and "the same command continues it" in stop.value.message


def test_what_it_says_becomes_rows_and_its_failure_one_line(folder):
    script = f"print('hello'); print({LINE % 1!r}); print({LINE % 2!r})"
    assert [row["step"] for row in run_script(script, folder)] == [1, 2]
    assert "hello" in (folder.path / "train.log").read_text()
    save_step(folder, 2)
    with pytest.raises(
        UserError,
        match=r"fairseq-train ended with exit code 1: ValueError: no such thing; all it said is in .*train\.log",
    ):
        run_script("raise ValueError('no such thing')", folder)
    with pytest.raises(Diverged, match="the loss or its gradient was not finite; lower the peak_lr"):
        run_script("raise FloatingPointError('gradients are Nan/Inf')", folder)
    assert folder.status == "diverged"


def test_rows_that_a_killed_parent_did_not_read_are_read_from_its_log(folder):
    (folder.path / "train.log").write_text("".join(LINE % step + "\n" for step in (1, 2, 3, 4)))
    folder.append_metrics({"step": 1, "loss": 1.0})
    folder.append_metrics({"step": 4, "loss": 1.0})
    save_step(folder, 3)
    assert [row["step"] for row in run_script(f"print({LINE % 4!r})", folder)] == [2, 3, 4]
    assert (folder.path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'
    save_step(folder, 3)
    assert [row["step"] for row in run_script(f"print({LINE % 4!r})", folder, replay=True)] == [1, 2, 3, 4]


def test_what_has_taken_all_its_steps_takes_none_more(folder):
    (folder.path / "train.log").write_text(LINE % TOTAL + "\n")
    folder.append_metrics({"step": TOTAL, "eval_loss": 1.0})  # was looked at, but not stored
    save_step(folder, TOTAL)
    assert [row["step"] for row in run_script("raise ValueError('called')", folder)] == [TOTAL]
    assert (folder.path / "metrics.jsonl").read_text() == ""


def test_it_ends_with_its_parent(folder):
    script = f"import os, time; print({LINE % 1!r}); print('pid', os.getpid(), flush=True); time.sleep(60)"
    rows = run_command([sys.executable, "-u", "-c", script], folder.path / "train.log", folder, RUNTIME, TOTAL)
    assert next(rows)["step"] == 1
    started = time.monotonic()
    rows.close()  # what an interruption does
    assert time.monotonic() - started < 30
