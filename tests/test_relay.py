"""What W&B's real client writes offline, read from its files: records of Protocol Buffers in a log of blocks."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from selfpretrain import tracking
from selfpretrain.config import TrackingConfig
from selfpretrain.tracking import Artifact, RunCard, build_tracker

pytest.importorskip("wandb")

BLOCK, HEADER = 32768, 7  # bytes of a block, and of the heads of the file and of each record in it


@dataclass
class Told:
    """A run as ``wandb sync`` would send it from one folder."""

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Path]] = field(default_factory=dict)  # "<type>/<name>:<aliases>" -> manifest
    exit_code: int | None = None


def iter_records(path):
    """The records of a .wandb file; whole ones (1), or a first part (2), middle ones (3) and a last (4)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:  # no head fits in: padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        parts = (b"" if kind in (1, 2) else parts) + data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):
            yield Record.FromString(parts)


def read_items(items):
    """Keys, nested ones by their path, and values from JSON."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def read_folder(folder):
    (path,) = folder.glob("run-*.wandb")
    told = Told(folder)
    for record in iter_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            told.run = record.run
            told.config |= read_items(record.run.config.update)
        elif kind == "config":
            told.config |= read_items(record.config.update)
        elif kind == "history":
            told.history.append(read_items(record.history.item))
        elif kind == "summary":
            told.summary |= read_items(record.summary.update)
        elif kind == "artifact":
            name = f"{record.artifact.type}/{record.artifact.name}:{','.join(sorted(record.artifact.aliases))}"
            told.artifacts[name] = {e.path: Path(e.local_path) for e in record.artifact.manifest.contents}
        elif kind == "exit":
            told.exit_code = record.exit.exit_code
    return told


def read_runs(place):
    """Every offline folder below ``place``, by run id; there is one of each."""
    found = [read_folder(folder) for folder in sorted(place.rglob("offline-run-*")) if folder.is_dir()]
    runs = {told.run.run_id: told for told in found}
    assert len(runs) == len(found)
    return runs


def end_helper():
    helper, tracking._helper = tracking._helper, None
    assert helper is None or helper.close(300)  # it gives way to all else on a busy machine


@pytest.fixture(autouse=True)
def helper(monkeypatch):
    """A helper of the test's own, with none of the machine's W&B settings."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "RANK"]:
        monkeypatch.delenv(name)
    end_helper()
    yield
    end_helper()


def start(folder, run_id="abc", mode="offline"):
    run = folder / "pretrain" / run_id
    run.mkdir(parents=True, exist_ok=True)
    config = {"condition": "own", "settings": {"pretrain": {"peak_lr": 1e-3}}}
    card = RunCard(run_id, "pretrain", "study", f"cell {run_id}", config, run, run / "metrics.jsonl")
    return build_tracker(TrackingConfig(name="wandb", mode=mode), card)


KILLED = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_relay import start
folder = Path({folder!r})
tracker = start(folder)
for step in range(2, 14, 2):
    tracker.log({{"loss": 1 / step}}, step)
    with open(folder / "pretrain/abc/metrics.jsonl", "a") as file:
        file.write(json.dumps({{"step": step, "loss": 1 / step}}) + "\\n")
while tracker.helper.process is None or tracker.helper.messages.qsize(): time.sleep(0.01)
print(tracker.helper.process.pid)
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


def test_a_killed_run_goes_on_in_one_folder_without_rows_twice(tmp_path):
    """Killed after step 12, it goes on from its checkpoint of step 8."""
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -9
    wait_for_end(int(killed.stdout))
    before = read_runs(tmp_path)["abc"]
    assert [row["_step"] for row in before.history] == [2, 4, 6, 8, 10, 12] and before.exit_code == 1
    history = tmp_path / "pretrain" / "abc" / "metrics.jsonl"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:4]))
    tracker = start(tmp_path)
    for step in (10, 12, 14):
        tracker.log({"loss": 1 / step}, step)
    tracker.log({"eval_loss": 3.0}, 14)
    tracker.summarize({"held_out_loss": 3.0})
    tracker.finish()
    end_helper()
    told = read_runs(tmp_path)["abc"]
    assert not before.folder.exists()
    assert [(row["_step"], row["loss"]) for row in told.history] == [(step, 1 / step) for step in range(2, 16, 2)]
    assert told.history[-1]["eval_loss"] == 3.0
    assert (told.run.run_group, told.run.job_type, told.run.display_name) == ("study", "pretrain", "cell abc")
    assert told.config["condition"] == "own" and told.config["settings"] == {"pretrain": {"peak_lr": 1e-3}}
    assert (told.summary["held_out_loss"], told.exit_code) == (3.0, 0)
    assert not told.run.resume  # or wandb sync would append


def wait_for_end(process_id):
    deadline = time.monotonic() + 60
    while Path(f"/proc/{process_id}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_what_was_sent_stays(tmp_path):
    start(tmp_path).finish()
    end_helper()
    (sent,) = read_runs(tmp_path).values()
    (sent.folder / "run-abc.wandb.synced").touch()
    time.sleep(1)  # folders are named by the second
    start(tmp_path).finish()
    end_helper()
    assert len([*tmp_path.rglob("run-abc.wandb")]) == 2 and sent.folder.exists()


def test_what_was_not_sent_stays_where_nothing_takes_its_place(tmp_path, monkeypatch):
    start(tmp_path).finish()
    end_helper()
    (unsent,) = read_runs(tmp_path).values()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    start(tmp_path, mode="auto").finish()
    end_helper()
    assert unsent.folder.exists()


def test_a_table_and_files(tmp_path):
    (tmp_path / "report.md").write_text("# Study")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"weights")
    tracker = start(tmp_path)
    tracker.add_table("scores", ["condition", "score"], [["own", 0.5], ["none", None]])
    tracker.add_files(Artifact("weights", "model", {"encoder": tmp_path / "encoder"}, ("step-4",), is_lasting=True))
    tracker.add_files(Artifact("demo", "report", {"report.md": tmp_path / "report.md"}))
    tracker.finish()
    end_helper()
    (tmp_path / "report.md").write_text("# Study, anew")  # before it is sent
    (told,) = read_runs(tmp_path).values()
    tables = {name: files for name, files in told.artifacts.items() if name.startswith("run_table/")}
    ((table,),) = [files.values() for files in tables.values()]
    assert json.loads(table.read_text())["data"] == [["own", 0.5], ["none", None]]
    weights = told.artifacts["model/weights:latest,step-4"]
    assert weights == {"encoder/model.safetensors": tmp_path / "encoder" / "model.safetensors"}  # not copied
    (copy,) = told.artifacts["report/demo:latest"].values()
    assert copy.read_text() == "# Study" and told.folder in copy.parents


def test_a_study(command, tiny, local, tmp_path):
    """Every run by its own id, to be grouped by what the study varies; the report is a run, too, and has no text of the data,
    nor the columns, classes and place of a user's own file.
    """
    secret = "cat horse mouse 4242"
    rows = [{"id": str(n), "body": f"{secret} {n}", "topic": ("class_of_mine", "other")[n % 2]} for n in range(60)]
    more = ["study.name=demo", "study.pretrain_seeds=2", "tracking=wandb", "tracking.mode=offline"]
    asked = ["tracking.checkpoints=true", "runtime.log_every=1", "study.num_replicates=200"]
    outcome = command("study", *local(rows), *tiny, *more, *asked)
    assert outcome.code == 0, outcome.err
    end_helper()
    runs = read_runs(tmp_path / "runs")
    folders = {path.parent.name: path.parent.parent.name for path in (tmp_path / "runs").glob("*/*/result.json")}
    (report,) = [run_id for run_id in runs if run_id.startswith("report-")]
    assert {run_id: told.run.job_type for run_id, told in runs.items()} == {**folders, report: "report"}
    assert {told.run.run_group for told in runs.values()} == {"demo"}
    assert all(told.exit_code == 0 for told in runs.values())
    check_cells([told for told in runs.values() if told.run.job_type == "finetune"])
    for told in (told for told in runs.values() if told.run.job_type == "pretrain"):
        assert told.summary["held_out_loss"] > 0 and told.summary["flops"] > 0 and told.summary["seconds"] > 0
        kept = [name.rpartition(":")[2] for name in told.artifacts if name.startswith("model/encoder-")]
        assert kept == ["latest,step-2"]
        assert "encoder.safetensors" in told.artifacts[f"model/encoder-{told.run.run_id}:latest,step-2"]
        assert [row["_step"] for row in told.history] == [1, 2]
    check_report(runs[report])
    for told in runs.values():
        for file in (path for path in told.folder.rglob("*") if path.is_file()):
            content = file.read_bytes()
            assert secret.encode() not in content, file
            if told.run.run_id == report or "model" not in str(file):  # models have the task that they are of
                assert not any(word in content for word in (b"class_of_mine", b"topic", b"x.csv")), file


def check_cells(cells):
    seen = {(c["condition"], c["pretrain_seed"], c["finetune_seed"]) for c in (told.config for told in cells)}
    assert seen == {(condition, seed, 0) for condition in ("none", "own") for seed in (0, 1)}
    for told in cells:
        config = told.config
        assert config["model"] == "roberta_tiny" and config["task"] == "local" and config["label_count"] < 60
        assert config["learning_rate"] > 0 and config["init_seed"] == config["pretrain_seed"] and "commit" in config
        assert set(config["settings"]["task"]) <= {"name", "loader", "label_kind", "metric"}
        for name in ("test_accuracy", "validation_accuracy"):
            assert 0 <= told.summary[name] <= 1
        assert told.summary["flops"] > 0 and told.summary["seconds"] > 0
        assert "head.safetensors" in told.artifacts[f"model/finetuned-{told.run.run_id}:latest,step-2"]


def check_report(told):
    (files,) = [files for name, files in told.artifacts.items() if name.startswith("report/demo-")]
    assert {"report.md", "scores.csv", "scores.png"} <= set(files) and "summary.json" not in files
    ((table,),) = [files.values() for name, files in told.artifacts.items() if name.endswith("-scores:latest")]
    content = json.loads(table.read_text())
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    assert [row["condition"] for row in rows] == ["none", "own"]
    assert all(isinstance(row["score"], float) for row in rows)
    assert told.config["conditions"] == "none, own" and told.summary["runs_done"] == 4
