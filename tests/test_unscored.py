"""A run that cannot be scored is one marked cell: its predictions are kept, and the study goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.stages import finetune
from selfpretrain.tasks import sequence


def read_run(outcome) -> tuple[Path, dict]:
    """The run folder that a command's last lines name, and its result."""
    assert outcome.code == 0, outcome
    line = next(line for line in outcome.out.splitlines() if line.endswith(": done"))
    run = Path(line.removesuffix(": done"))
    return run, json.loads((run / "result.json").read_text())


@pytest.fixture
def scored(local, examples):
    """Scores that the length of a text gives away."""
    rows = [{**row, "score": f"{number % 7 / 2 + 0.25}"} for number, row in enumerate(examples)]
    return [*local(rows), "task.label=score", "task.label_kind=score"]


@pytest.fixture
def collapsed(monkeypatch):
    """Every model says the same of every example."""
    predict = sequence.predict
    monkeypatch.setattr(sequence, "predict", lambda *args: np.full_like(predict(*args), 0.5))


def test_a_run_without_a_score_is_done_and_says_why(command, tiny, scored, collapsed):
    run, result = read_run(command("finetune", *tiny, *scored))
    assert result["scores"] == {"validation": None, "test": None}
    assert "all predictions equal 0.5: pearson needs" in result["undefined"]["test"]
    assert (run / "predictions" / "test.parquet").is_file()
    assert result["best_step"] > 0  # the first weights are kept, so that there are some
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


def test_a_study_of_collapsed_runs_ends_with_its_report(command, tiny, scored, collapsed):
    study = [
        "study",
        *tiny,
        *scored,
        "study.pretrain_seeds=2",
        "study.num_replicates=200",
        "finetune.lr_grid=[1e-3,3e-3]",
    ]
    outcome = command(*study)
    assert outcome.code == 0, outcome.err
    assert "2 of 2 runs predict one value only: counted as a correlation of 0" in outcome.out.replace("\n", " ")


def test_what_is_wrong_with_one_cell_is_its_own(command, tiny, local, monkeypatch):
    """A start that does not fit is one failed condition; the others have their numbers."""
    build_start = finetune.build_start

    def refuse(settings):
        if settings.init == "none":
            raise UserError("this start does not fit; choose another")
        return build_start(settings)

    monkeypatch.setattr(finetune, "build_start", refuse)
    outcome = command("study", *tiny, *local(), "study.pretrain_seeds=1", "study.num_replicates=200")
    assert outcome.code == 1
    assert "failed: this start does not fit; choose another" in outcome.err
    assert "Traceback" not in outcome.err
    assert "failed (1 of 1)" in outcome.out.replace("\n", " ") or "failed" in outcome.out
    assert "own" in outcome.out and "written to" in outcome.out
