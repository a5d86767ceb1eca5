"""Seconds to plan a study of many cells, to go on with one of which all cells are done, and to write its report.

    python -m benchmarks cells [sizes=10,100,1000,10000]

None of the runs is real: of the finished study each cell's folder holds what is read of it, a status, a result and predictions.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import harness
from benchmarks.harness import Row, interleave
from benchmarks.work import TOY_MODEL, write_toy_task
from selfpretrain.config import UserError
from selfpretrain.door import compose_settings
from selfpretrain.report.write import write_report
from selfpretrain.runs.predictions import write_predictions
from selfpretrain.study.cells import Cell
from selfpretrain.study.flow import Flow
from selfpretrain.study.plan import StudyPlan
from selfpretrain.study.sweep import build_plan

FINETUNINGS = 8  # of each pretraining, and as many without: 17 cells to a seed, about
NOTE = "In one process that has imported everything. Planning reads the task and gives every cell its id; going on reads every status."
RESULT = json.dumps({"metric": "accuracy", "scores": {"validation": 0.5, "test": 0.5}, "held_out": {"loss": 1.0}})


@dataclass
class Options(harness.Options):
    sizes: str = "10,100,1000,10000"


def run(options: Options) -> Iterator[Row]:
    """Two rows a size, without a peer."""
    if options.device != "cpu":
        raise UserError(f"device={options.device} takes no part in this; device=cpu")
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_") as folder:
            overrides = list_overrides(Path(folder), size)
            plan = make_plan(overrides)
            cells = sum(len(cells) for _, cells in plan.iter_waves())
            yield measure(f"{cells:,} cells planned", lambda: make_plan(overrides), options)  # noqa: B023 - called here
            for _, group in make_plan(overrides).iter_waves():
                for cell in group:
                    pretend(cell, plan)
            yield measure(f"{cells:,} cells, all done, gone on with", lambda: go_on(overrides), options)  # noqa: B023
            yield measure(f"{cells:,} cells, all done: the report alone", lambda: report(plan, overrides), options)  # noqa: B023


def measure(title: str, call: Callable[[], object], options: Options) -> Row:
    def time_call() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    values = interleave({"ours": time_call}, options.repeats)
    return Row(title, "", "s", values["ours"], lower_is_better=True, note=NOTE)


def list_overrides(folder: Path, size: int) -> list[str]:
    """A study of about ``size`` cells on made text."""
    seeds, finetunings = max(1, round(size / (2 * FINETUNINGS + 1))), FINETUNINGS if size > FINETUNINGS else size // 2
    return [
        "task=local", f"task.path={write_toy_task(folder)}", "task.text=text", "task.label=label", "model=roberta_tiny", *TOY_MODEL,
        "model.init_scheme=normal", "study.conditions=[none,own]", f"study.pretrain_seeds={seeds}",
        f"study.finetune_seeds={finetunings}", "finetune.lr_grid=[]", f"runtime.runs_dir={folder / 'runs'}",
    ]  # fmt: skip


def make_plan(overrides: list[str]) -> StudyPlan:
    return build_plan(compose_settings("study", overrides), overrides)


def go_on(overrides: list[str]) -> None:
    flow = Flow.of_runs(make_plan(overrides))
    assert not flow.ready, "a cell is not done"


def report(plan: StudyPlan, overrides: list[str]) -> None:
    write_report(plan, Console(file=io.StringIO(), width=120), overrides)


def pretend(cell: Cell, plan: StudyPlan) -> None:
    """What a study and its report read of a finished cell."""
    if cell.stage == "corpus":
        return
    cell.run.path.mkdir(parents=True, exist_ok=True)
    if cell.stage == "finetune":
        chance = np.random.default_rng(int(cell.id, 16))
        for name in ("validation", "test"):
            split = plan.data[cell.task].splits[name]
            outputs = chance.normal(size=(len(split.ids), 2)).astype(np.float32)
            outputs[np.arange(len(split.ids)), split.labels] += 1
            write_predictions(cell.run.path / "predictions" / f"{name}.parquet", list(split.ids), split.labels, outputs)
    (cell.run.path / "result.json").write_text(RESULT)
    (cell.run.path / "status").write_text("done\n")
