"""Tests are small: one thread each, so that several can share a machine, and no network."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TINY = [
    "model=roberta_tiny",
    "model.init_scheme=normal",
    "model.num_layers=1",
    "model.hidden_size=32",
    "model.embedding_size=32",
    "model.num_heads=2",
    "model.intermediate_size=64",
    "model.max_positions=32",
    "tokenizer.vocab_size=300",
    "tokenizer.source=own",
    "pretrain.total_steps=2",
    "pretrain.batch_size=2",
    "pretrain.seq_len=32",
    "finetune.seq_len=32",
    "finetune.min_steps=0",
    "finetune.max_steps=2",
    "finetune.batch_size=4",
    "finetune.lr_grid=[]",
    "runtime.num_workers=1",
    "runtime.save_every=1",
    "study.conditions=[none,own]",
]
WORDS = {"a": "cat dog bird fish horse mouse", "b": "red blue green black white grey"}


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Outcome]]:
    """``command("study", "task=local", ...)``: the real entry point in this process, its output and exit code."""
    from selfpretrain.__main__ import main
    from selfpretrain.runs import identity
    from selfpretrain.sources import tasks

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # main() sets it; restored with the test

    def run(*arguments: object) -> Outcome:
        for cache in (tasks._read, identity._corpus_ids):
            cache.clear()  # a process of its own would begin without them
        monkeypatch.setattr(sys, "argv", ["selfpretrain", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Overrides that shrink roberta_tiny to a second and keep its runs under the test's folder."""
    return [*TINY, f"runtime.runs_dir={tmp_path / 'runs'}"]


@pytest.fixture
def examples() -> list[dict[str, str]]:
    return make_rows()


def make_rows() -> list[dict[str, str]]:
    """80 rows of two classes, told apart by their words; all texts differ."""
    chance = random.Random(0)
    rows = []
    for number in range(80):
        label = "ab"[number % 2]
        text = " ".join(chance.choices(WORDS[label].split(), k=7))
        rows.append({"id": str(number), "body": f"{text} {number}", "title": f"title {number}", "topic": label})
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def local(tmp_path: Path, examples: list[dict[str, str]]) -> Callable[..., list[str]]:
    """``local(rows)``: the overrides of task=local for a CSV of these rows."""

    def give(rows: list[dict[str, str]] | None = None, name: str = "x.csv") -> list[str]:
        path = write_csv(tmp_path / name, examples if rows is None else rows)
        return ["task=local", f"task.path={path}", "task.text=body", "task.label=topic"]

    return give


@pytest.fixture
def mnli_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror of MNLI of 90 rows, which has HANS and SNLI with 30 of their texts, too."""
    folder = tmp_path / "mirror"
    rows = [{"premise": f"a man {n}", "hypothesis": f"it is {n * n}", "label": n % 3} for n in range(90)]
    for name, split, given in (
        ("glue/mnli", "train", rows),
        ("glue/mnli", "validation_matched", rows[:30]),
        ("snli", "test", rows[30:60]),
        ("hans", "validation", [{**row, "label": min(row["label"], 1)} for row in rows[30:60]]),
    ):
        path = folder / name / f"{split}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, given)).encode()))
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(folder))
    return folder


def start_ray(num_cpus: int) -> Any:
    """Ray with a small store, for ``ray.shutdown()`` to end; on a busy machine it may miss its own half a minute."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    size = {"num_cpus": num_cpus, "object_store_memory": 80 * 2**20}
    for tries in range(3):
        try:
            ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", **size)
            break
        except Exception:
            ray.shutdown()
            if tries == 2:
                raise
    return ray
