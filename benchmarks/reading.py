"""Seconds and memory to read a task of many rows: the first time, again, and to go through its text.

    python -m benchmarks reading [rows=3600000] [text_bytes=400] repeats=1

The rows are made, in the layout the hub has Amazon Polarity in (title, content, label; Parquet files), which has 3.6 M
for training. Each reading is a process of its own, started anew; what it holds is counted by memory.py, so that mapped
files, which the system can drop, do not count.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from benchmarks import harness
from benchmarks.harness import Row
from benchmarks.memory import TreePeak
from benchmarks.record import ROOT
from selfpretrain.cards import load_task_card
from selfpretrain.config import UserError
from selfpretrain.sources.tasks import iter_own_text, read_task

CARD = "amazon_polarity"
NUM_TEST, TOY_ROWS = 10_000, 2_000
ROWS_PER_FILE = 900_000
NOTE = "Made rows in the hub's layout; seconds of reading without Python's start; peak: what the system cannot drop."
MODES = {"first": "the first time", "again": "again", "text": "its own text, once through"}


@dataclass
class Options(harness.Options):
    rows: int = 3_600_000  # of the training split
    text_bytes: int = 400  # of title and content together


def run(options: Options) -> Iterator[Row]:
    """A row for each way of reading, without a peer."""
    if options.device != "cpu":
        raise UserError(f"device={options.device} takes no part in this; device=cpu")
    num_rows = TOY_ROWS if options.toy else options.rows
    with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_") as folder:
        hub, runs = Path(folder) / "hub", Path(folder) / "runs"
        write_rows(hub, {"train": num_rows, "test": min(NUM_TEST, num_rows)}, options.text_bytes)
        for mode, words in MODES.items():
            seconds, peak = [], TreePeak()
            for _ in range(options.repeats):
                if mode == "first":
                    for kept in (runs, hub.parent / "hub_cache"):
                        shutil.rmtree(kept, ignore_errors=True)
                seconds.append(time_reading(mode, hub, runs, peak))
            title = f"reading {num_rows:,} rows of {options.text_bytes} bytes, {words}"
            yield Row(title, "", "s", seconds, ours_peak_mb=peak.mb, lower_is_better=True, note=NOTE)


def write_rows(folder: Path, splits: dict[str, int], text_bytes: int) -> None:
    """Parquet files of numbers as text, some for a split."""
    (folder / "data").mkdir(parents=True)
    chance = np.random.default_rng(0)
    for split, num_rows in splits.items():
        starts = range(0, num_rows, ROWS_PER_FILE)
        for file, start in enumerate(starts):
            path = folder / "data" / f"{split}-{file:05d}-of-{len(starts):05d}.parquet"
            write_file(path, min(ROWS_PER_FILE, num_rows - start), text_bytes, chance)


def write_file(path: Path, num_rows: int, text_bytes: int, chance: np.random.Generator) -> None:
    """One of them, some rows at a time."""
    schema = pyarrow.schema([("label", pyarrow.int64()), ("title", pyarrow.string()), ("content", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, num_rows, 10_000):
            labels = list(range(start, min(start + 10_000, num_rows)))
            texts = [chance.bytes(text_bytes // 2).hex(" ", 4) for _ in labels]
            columns = [[label % 2 for label in labels], [text[:40] for text in texts], [text[40:] for text in texts]]
            writer.write_table(pyarrow.table(columns, schema=schema))


def time_reading(mode: str, hub: Path, runs: Path, peak: TreePeak) -> float:
    """Seconds that another process took for it; UserError with what it said if it fails."""
    command = [sys.executable, "-m", "benchmarks.reading", mode, str(hub), str(runs)]
    # the made rows in place of a mirror's, and what the hub's library keeps of them goes with them
    environment = {name: value for name, value in os.environ.items() if name != "SELFPRETRAIN_DATA"}
    environment |= {"HF_HOME": str(hub.parent / "hub_cache"), "HF_DATASETS_CACHE": str(hub.parent / "hub_cache")}
    with peak:
        found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if found.returncode:
        raise UserError(f"{' '.join(command)} ended with {found.returncode}: {found.stderr[-500:]}")
    return float(found.stdout.split()[-1])


def read(mode: str, hub: str, runs: str) -> None:
    """What the other process does: read, and print the seconds."""
    task = dataclasses.replace(load_task_card(CARD), hub_id=hub, num_rows={})
    start = time.perf_counter()
    if mode == "text":
        sum(map(len, iter_own_text(task, runs)))
    else:
        read_task(task, runs)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    read(*sys.argv[1:])
