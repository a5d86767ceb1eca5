"""Seconds of one small study by each launcher, against in-process, and what a further cell costs.

    python -m benchmarks launchers [launchers=local_cores,slurm,ray] [sizes=6,26] [cells_per_job=1] [repeats=3]

Every measurement is a whole command into an empty folder: planning, two pretrainings of two steps, the fine-tunings, the report. The
rows of a further cell are differences between the sizes, so starting (imports, Ray's cluster, the first wave) is left out.
Slurm: where sbatch is, on machines without GPUs as with them, 1 CPU and 2 GB a job.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Row, interleave
from benchmarks.work import TOY_MODEL, write_toy_task
from selfpretrain.config import UserError

WORDS = {
    "basic": [],
    "local_cores": ["hydra/launcher=local_cores"],
    "slurm": ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1",
              "hydra.launcher.mem_gb=2", "hydra.sweeper.resources.corpus.mem_gb=2"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.task.num_gpus=0"],
}  # fmt: skip
SEEDS = 2  # of none and own; the rest of a size are further fine-tunings
NOTE = "{} cells beside the corpora: whole commands, the report with them."
FURTHER = "({} cells - {} cells) / their number."


@dataclass
class Options(harness.Options):
    launchers: str = "local_cores,slurm,ray"
    sizes: str = "6,26"  # cells: 2 pretrainings and a multiple of 4 fine-tunings
    cells_per_job: int = 1
    repeats: int = 3


def run(options: Options) -> Iterator[Row]:
    """A row for each launcher and size, and one for what a cell more takes."""
    names = options.launchers.split(",")
    if unknown := sorted({*names} - {*WORDS} - {"basic"}):
        raise UserError(f"launchers={','.join(unknown)} is not measured; allowed: {', '.join(WORDS)}")
    small, large = sorted(map(int, options.sizes.split(",")))
    for size in (small, large):
        if size < SEEDS + 2 * SEEDS or (size - SEEDS) % (2 * SEEDS):
            raise UserError(
                f"sizes={options.sizes}: no study has {size} cells; write {SEEDS} and a multiple of {2 * SEEDS}"
            )
    with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_") as folder:
        task = write_toy_task(Path(folder))
        times = {size: measure(["basic", *names], size, task, options) for size in (small, large)}
    packed = f", {options.cells_per_job} to a job" if options.cells_per_job > 1 else ""
    for name in names:
        for size, values in times.items():
            yield make_row(f"{size} cells by {name}{packed}", values[name], values["basic"], NOTE.format(size))
        further = {
            side: [(more - less) / (large - small) for more, less in zip(times[large][side], times[small][side], strict=True)]
            for side in (name, "basic")
        }  # fmt: skip
        yield make_row(
            f"a further cell by {name}{packed}", further[name], further["basic"], FURTHER.format(large, small)
        )


def make_row(title: str, ours: list[float], in_process: list[float], note: str) -> Row:
    return Row(title, "in one process", "s", ours, in_process, lower_is_better=True, note=note)


def measure(names: list[str], size: int, task: Path, options: Options) -> dict[str, list[float]]:
    sides: dict[str, Callable[[], float]] = {name: partial(time_study, name, size, task, options) for name in names}
    return interleave(sides, options.repeats)


def time_study(launcher: str, size: int, task: Path, options: Options) -> float:
    """Seconds of the command, which must end well."""
    with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_", dir=task.parent) as folder:
        words = [
            "task=local", f"task.path={task}", "task.text=text", "task.label=label", "model=roberta_tiny", *TOY_MODEL,
            "model.init_scheme=normal", "study.conditions=[none,own]", f"study.pretrain_seeds={SEEDS}",
            f"study.finetune_seeds={(size - SEEDS) // (2 * SEEDS)}", f"study.cells_per_job={options.cells_per_job}",
            "study.num_replicates=200", "pretrain.total_steps=2", "finetune.max_steps=2", "finetune.min_steps=0",
            "finetune.lr_grid=[]", "runtime.num_threads=1", "runtime.device=cpu", "runtime.progress=false",
            f"runtime.runs_dir={folder}/runs", *WORDS[launcher],
        ]  # fmt: skip
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-P", "-m", "selfpretrain", "study", *words], capture_output=True, text=True, check=False)  # fmt: skip
        seconds = time.perf_counter() - start
    if done.returncode:
        raise UserError(f"the study by {launcher} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return seconds
