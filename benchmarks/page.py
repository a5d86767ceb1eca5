"""Seconds to report a study of many cells, and how large its page is.

    python -m benchmarks page [sizes=100,2000] [keep=<folder>]

None of the runs is real: each cell's folder holds what a report reads of it: predictions that are right about as often as its
seed and condition say, lines of training, a result, and with what it was made. keep= leaves the study there, to look at its
page (launch/check_page.py).
"""

from __future__ import annotations

import json
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.cells import make_plan, report
from benchmarks.harness import Row
from benchmarks.work import TOY_MODEL, write_toy_task
from selfpretrain.config import UserError
from selfpretrain.files import write_json
from selfpretrain.report.collect import choose_folder
from selfpretrain.runs.folder import collect_provenance
from selfpretrain.runs.predictions import write_predictions
from selfpretrain.study.cells import Cell
from selfpretrain.study.plan import StudyPlan

NUM_TASKS, NUM_SEEDS = 10, 5
MODELS = ("roberta_tiny", "electra_tiny", "bert_tiny")
GAINS = {"none": 0.0, "own": 0.12, "bookwiki": 0.15}  # others' texts in between
BROKEN = {
    "failed": "CUDA out of memory: set finetune.micro_batch_size=8",
    "diverged": "the loss was not finite at step 40",
}
NUM_LINES = 60
NOTE = "All cells' results read, every number computed, all files of the report written."


@dataclass
class Options(harness.Options):
    sizes: str = "100,2000"
    keep: str | None = None  # a folder for the studies; none: a temporary one


def run(options: Options) -> Iterator[Row]:
    """Two rows a size, without a peer."""
    if options.device != "cpu":
        raise UserError(f"device={options.device} takes no part in this; device=cpu")
    for size in map(int, options.sizes.split(",")):
        kept = (
            nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_")
        )
        with kept as folder:
            place = Path(str(folder)) / str(size)
            place.mkdir(parents=True, exist_ok=True)
            overrides = list_overrides(place, size)
            plan = make_plan(overrides)
            cells = [cell for _, wave in plan.iter_waves() for cell in wave if cell.stage != "corpus"]
            start = {**collect_provenance(), "device": "cpu", "precision": "fp32", "world_size": 1, "seeds_together": 1}
            for number, cell in enumerate(cells):
                pretend(cell, plan, start, "done" if number % 97 else [*BROKEN][number % len(BROKEN)])
            seconds = [time_report(overrides) for _ in range(options.repeats)]
            page = choose_folder(plan) / "report.html"
            yield Row(f"report of {len(cells):,} cells", "", "s", seconds, lower_is_better=True, note=NOTE)
            yield Row(
                f"page of {len(cells):,} cells",
                "",
                "MB",
                [page.stat().st_size / 1e6],
                lower_is_better=True,
                note=str(page) if options.keep else "",
            )


def time_report(overrides: list[str]) -> float:
    plan, start = make_plan(overrides), time.perf_counter()
    report(plan, overrides)
    return time.perf_counter() - start


def list_overrides(folder: Path, size: int) -> list[str]:
    """A study of about ``size`` cells: tasks of made text, every text for every task, five seeds, up to three models."""
    tasks = []
    for number in range(NUM_TASKS):
        own = folder / f"task_{number}"
        own.mkdir(exist_ok=True)
        path = write_toy_task(own)
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text(
            "\n".join(
                [lines[0], *(line.replace("cat", f"cat{number}").replace("red", f"red{number}") for line in lines[1:])]
            )
            + "\n",
            encoding="utf-8",
        )
        tasks.append(f"{{name: task_{number}, path: '{path}', text: text, label: label}}")
    of_a_model = (NUM_TASKS * (NUM_TASKS + 2) + NUM_TASKS + 1) * NUM_SEEDS
    models = MODELS[: max(1, round(size / of_a_model))]
    num_tasks = NUM_TASKS if size >= of_a_model / 2 else max(2, round((size / NUM_SEEDS) ** 0.5) - 2)
    return [
        f"model={MODELS[0]}", *TOY_MODEL, "model.init_scheme=normal", f"study.tasks=[{', '.join(tasks[:num_tasks])}]",
        f"study.models=[{','.join(models)}]", "study.conditions=[none,own,bookwiki]", "study.cross=true", "study.general=docs",
        f"study.pretrain_seeds={NUM_SEEDS}", "finetune.lr_grid=[]", "study.name=made_up", f"runtime.runs_dir={folder / 'runs'}",
    ]  # fmt: skip


def pretend(cell: Cell, plan: StudyPlan, start: dict[str, Any], status: str) -> None:
    """What a report reads of a run that was started so and ended so."""
    run = cell.run
    run.path.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(zlib.crc32(cell.name.encode()))
    write_json(run.path / "provenance.json", [start])
    with open(run.path / "metrics.jsonl", "w", encoding="utf-8") as file:
        for step in range(10, 10 * NUM_LINES + 1, 10):
            loss = 0.7 + 5 * np.exp(-step / 150) + 0.05 * chance.normal()
            file.write(json.dumps({"step": step, "loss": loss, "lr": 1e-4, "tokens_per_second": 1e4}) + "\n")
            if step % 100 == 0:
                measure = {"eval_score": 1 - loss / 7} if cell.stage == "finetune" else {"eval_loss": loss + 0.1}
                file.write(json.dumps({"step": step, **measure}) + "\n")
    run.set_status(status, BROKEN.get(status, ""))
    if status != "done":
        return
    if cell.stage == "finetune":
        share = 0.7 + GAINS.get(cell.condition, 0.06) + 0.02 * chance.normal()
        for name in ("validation", "test"):
            split = plan.data[cell.task].splits[name]
            labels = np.asarray(split.labels).astype(np.int64)
            right = chance.random(len(labels)) < share
            outputs = np.where(right[:, None], np.eye(2)[labels], np.eye(2)[1 - labels]) * 2
            write_predictions(run.predictions(name), list(split.ids), labels, outputs.astype(np.float32))
    write_json(
        run.path / "result.json",
        {"metric": "accuracy", "scores": {"validation": 0.8, "test": 0.8}, "held_out": {"loss": 1.0}},
    )
