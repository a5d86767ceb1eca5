"""Studies made of small prediction files, with known scores."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfpretrain.config import StudyConfig, TaskConfig
from selfpretrain.report.summary import summarize
from selfpretrain.runs.predictions import write_predictions
from selfpretrain.runs.results import CellResult, StudyResults
from selfpretrain.study.chance import choose_levels
from selfpretrain.study.conditions import find_condition

NUM_EXAMPLES = 400
METRICS = {"class": "accuracy", "score": "pearson", "multilabel": "micro_auc"}


class FakeStudy:
    """Builds run folders whose runs answer about a given share of examples rightly."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tasks: dict[str, TaskConfig] = {}
        self.cells: list[CellResult] = []
        self.num_labels: dict[str, int] = {}
        self.curve: list[tuple[float, CellResult]] = []
        self.checkpoints: list[tuple[int, CellResult]] = []

    def add_task(self, name="topics", label_kind="class", metric=None):
        metric = metric or METRICS[label_kind]
        self.tasks[name] = TaskConfig(name=name, label_kind=label_kind, metric=metric)

    def add(
        self,
        condition,
        scores,
        task="topics",
        model="tiny",
        status="done",
        note="",
        finetunings=1,
        outputs=None,
        first=0,
        start="normal",
    ):
        """One pretraining seed per score, ``finetunings`` runs each."""
        if task not in self.tasks:
            self.add_task(task)
        for seed, score in enumerate(scores, start=first):
            for finetune_seed in range(finetunings):
                run_id = f"{model}-{condition}-{task}-{seed}-{finetune_seed}".replace(":", "_")
                folder = self.folder / "finetune" / run_id
                cell = CellResult(
                    model, condition, task, seed, finetune_seed, status, run_id, note, folder, init_scheme=start
                )
                self.cells.append(cell)
                if status == "done":
                    self.write(cell, score, outputs)
        return self

    def add_counts(self, name="topics", counts=(100, 500)):
        """The same task at several numbers of labels; scores are added by name@count."""
        for count in counts:
            self.tasks[f"{name}@{count}"] = TaskConfig(name=name, label_kind="class", metric="accuracy")
            self.num_labels[f"{name}@{count}"] = count
        return self

    def add_curve(self, condition, scores, task="topics", model="tiny"):
        """A run on validation for each number of tokens."""
        for tokens, score in scores.items():
            run_id = f"{model}-{condition}-{task}-{tokens}"
            cell = CellResult(model, condition, task, 0, 0, "done", run_id, "", self.folder / "finetune" / run_id)
            self.curve.append((tokens, cell))
            self.write(cell, score, split="validation")
        return self

    def add_checkpoints(self, condition, scores, task="topics", model="tiny", status="done", note=""):
        """Runs by steps of pretraining, one for each seed."""
        for step, seeds in scores.items():
            for seed, score in enumerate(seeds):
                run_id = f"{model}-{condition}-{task}-{seed}-at-{step}"
                folder = self.folder / "finetune" / run_id
                cell = CellResult(model, condition, task, seed, 0, status, run_id, note, folder)
                self.checkpoints.append((step, cell))
                if status == "done":
                    self.write(cell, score)
        return self

    def write(self, cell, score, outputs=None, split="test"):
        task = self.tasks[cell.task]
        ids = [f"row{index}" for index in range(NUM_EXAMPLES)]
        labels = make_labels(cell.task, task.label_kind)
        if outputs is None:
            outputs = make_outputs(labels, task.label_kind, score, cell.run_id)
        write_predictions(
            cell.folder / "predictions" / f"{split}.parquet", ids, labels, np.asarray(outputs, np.float32)
        )

    def finish(self, name="demo", facts=None, init_scheme="normal", overlaps=None, held=None, is_log=False, **study):
        conditions = list(dict.fromkeys(cell.condition for cell in self.cells))
        config = StudyConfig(
            name=name, conditions=conditions, **{"general": "bookwiki", "num_replicates": 400, **study}
        )
        self.cells = [give_levels(cell, config) for cell in self.cells]
        facts = facts or {"command": "selfpretrain study study=demo"}
        schemes = {cell.model: init_scheme for cell in self.cells}
        more = {"overlaps": overlaps or {}, "num_labels": self.num_labels, "curve": self.curve, "held": held or {}}
        more |= {"checkpoints": self.checkpoints, "schedule_is_log": is_log}
        return StudyResults(config, self.tasks, self.cells, facts, schemes, **more)


def give_levels(cell, study):
    """As the study's seeds have them, where it has factors."""
    levels = choose_levels(study, find_condition(cell.condition), cell.pretrain_seed)
    return replace(cell, levels=levels) if levels else cell


def make_labels(task, label_kind):
    generator = np.random.default_rng(int(hashlib.sha256(task.encode()).hexdigest()[:8], 16))
    if label_kind == "class":
        return generator.permutation(np.arange(NUM_EXAMPLES) % 4).astype(np.int64)
    if label_kind == "score":
        return generator.normal(size=NUM_EXAMPLES)
    return (generator.random((NUM_EXAMPLES, 3)) < [0.1, 0.3, 0.5]).astype(float)


def make_outputs(labels, label_kind, score, salt):
    """Outputs that are right for exactly that share of the examples (class), or correlate about so."""
    generator = np.random.default_rng(int(hashlib.sha256(salt.encode()).hexdigest()[:8], 16))
    if label_kind == "class":
        right = generator.permutation(NUM_EXAMPLES) < round(score * NUM_EXAMPLES)
        return np.eye(4)[np.where(right, labels, (labels + 1) % 4)] * 3
    noise = generator.normal(size=labels.shape)
    mixed = score * labels + (1 - score) * noise
    return mixed[:, None] if label_kind == "score" else mixed


@pytest.fixture
def fake_study(tmp_path):
    return FakeStudy(tmp_path)


@pytest.fixture
def summary(fake_study):
    """Two models, a failed condition, a half-finished one, a released checkpoint, and a matrix."""
    for model in ("electra_small_long_name", "roberta_tiny"):
        fake_study.add("none", [0.6, 0.62, 0.58], model=model, finetunings=2).add("own", [0.7, 0.72, 0.74], model=model)
        fake_study.add("bookwiki", [0.8, 0.8], model=model).add("bookwiki", [0], model=model, first=2, status="failed")
        fake_study.add("bookwiki_sized", [0.8], model=model).add(
            "bookwiki_sized", [0], model=model, first=1, status="missing"
        )
        fake_study.add("offshelf", [0.9, 0.92], model=model).add("own_of:else", [0.65, 0.6], model=model)
    return summarize(fake_study.finish(num_replicates=1000))
