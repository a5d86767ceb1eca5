"""Seconds until a command that has nothing to compute is through: the list of commands, and a study that is done.

    python -m benchmarks startup [study="study=agnews_cpu runtime.runs_dir=..."]

The study is a small one on made text, run to its end first; ``study`` names another, finished one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Row, interleave
from benchmarks.record import ROOT
from benchmarks.work import TOY_MODEL, write_toy_task
from selfpretrain.config import UserError

TOY_STUDY = [
    "model=roberta_tiny", *TOY_MODEL, "study.conditions=[none,own]", "study.pretrain_seeds=2", "pretrain.total_steps=4",
    "pretrain.batch_size=4", "finetune.max_steps=4", "finetune.min_steps=0", "finetune.batch_size=8",
    "finetune.lr_grid=[]", "runtime.num_threads=1", "runtime.device=cpu",
]  # fmt: skip
NOTE = "Wall time of the whole command, Python's start included; the study writes its report again."


@dataclass
class Options(harness.Options):
    study: str | None = None  # overrides of a finished study, separated by spaces; none: a small one made here


def run(options: Options) -> Iterator[Row]:
    """Two rows, without a peer."""
    if options.device != "cpu":
        raise UserError(f"device={options.device} takes no part in this; device=cpu")
    yield measure("selfpretrain, its help", [], options)
    with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_") as folder:
        overrides = options.study.split() if options.study else prepare_study(Path(folder))
        title = (
            f"selfpretrain study {overrides[0]}, all done" if options.study else "selfpretrain study, small, all done"
        )
        yield measure(title, ["study", *overrides], options)


def measure(title: str, arguments: Sequence[str], options: Options) -> Row:
    values = interleave({"ours": lambda: time_command(arguments)}, options.repeats)
    return Row(title, "", "s", values["ours"], lower_is_better=True, note=NOTE)


def prepare_study(folder: Path) -> list[str]:
    """A finished study; its overrides."""
    task = write_toy_task(folder)
    overrides = ["task=local", f"task.path={task}", "task.text=text", "task.label=label", *TOY_STUDY,
                 f"runtime.runs_dir={folder / 'runs'}"]  # fmt: skip
    time_command(["study", *overrides])
    return overrides


def time_command(arguments: Sequence[str]) -> float:
    """Seconds of one ``selfpretrain`` command; UserError with what it said if it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    start = time.perf_counter()
    found = subprocess.run(
        [sys.executable, "-m", "selfpretrain", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if found.returncode:
        raise UserError(f"selfpretrain {' '.join(arguments)} ended with {found.returncode}: {found.stderr[-500:]}")
    return seconds
