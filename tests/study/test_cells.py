"""A cell is a file: a job reads it and carries it out, by its own data alone."""

from __future__ import annotations

import dataclasses
import json

import pytest

from selfpretrain.config import RuntimeConfig, Settings, UserError
from selfpretrain.study.cells import Cell, Job

SHORT = ["study.pretrain_seeds=1", "study.num_replicates=200", "study.conditions=[none,own]"]


def test_a_job_is_what_was_written(tmp_path):
    runtime = RuntimeConfig(runs_dir=str(tmp_path))
    settings = dataclasses.replace(Settings(init="run:abc"), runtime=runtime)
    settings.task.text, settings.task.path = ["a ${b}"], "odd 'name', really.csv"
    cells = tuple(Cell("finetune", f"id{i}", settings, "tiny", "own", "task", i) for i in range(2))
    path = Job("study", (cells,)).write()
    other = RuntimeConfig(runs_dir=str(tmp_path), device="cpu", num_threads=1)
    found = Job.read(str(path), dataclasses.replace(Settings(), runtime=other))
    assert found == Job(
        "study", (tuple(dataclasses.replace(c, settings=dataclasses.replace(settings, runtime=other)) for c in cells),)
    )


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_what_is_no_job_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"study\.cell=.*x\.json cannot be read"):
        Job.read(str(path), Settings())


def test_a_cell_is_carried_out_alone(command, local, tmp_path, tiny):
    """Without the study's own words: the file says all but how."""
    assert command("study", *local(), *tiny, *SHORT).code == 0
    folder = tmp_path / "runs"
    result = next((folder / "finetune").glob("*/result.json"))
    before = json.loads(result.read_text())
    result.unlink()
    (result.parent / "status").write_text("running")
    job = folder / "cells" / f"finetune-{result.parent.name}.json"
    outcome = command("study", f"study.cell={job}", f"runtime.runs_dir={folder}")
    assert (outcome.code, outcome.out.strip()) == (0, f"{job}: done"), outcome.err
    assert json.loads(result.read_text())["scores"] == before["scores"]


def test_a_cell_that_would_be_another_run_is_not_trained(command, local, tmp_path, tiny, examples):
    assert command("study", *local(), *tiny, *SHORT).code == 0
    folder = tmp_path / "runs"
    job = next((folder / "cells").glob("finetune-*.json"))
    run = folder / "finetune" / job.stem.removeprefix("finetune-")
    (run / "status").write_text("failed")
    local([{**row, "body": row["body"] + "!"} for row in examples])
    outcome = command("study", f"study.cell={job}", f"runtime.runs_dir={folder}")
    assert outcome.code == 1 and "and was planned as" in (run / "error.txt").read_text(), outcome
