"""Seeds of a study trained together: the same cells, the same files, and every way to go on."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from selfpretrain.config import FinetuneConfig, PretrainConfig, Settings, UserError
from selfpretrain.report import plots
from selfpretrain.runs.predictions import load_predictions
from selfpretrain.stages import finetune
from selfpretrain.study.cells import Cell, group_seeds
from selfpretrain.train.keeper import Keeper
from selfpretrain.train.trainer import Trainer

SHORT = ["pretrain.total_steps=12", "finetune.max_steps=12", "finetune.epochs=5", "runtime.save_every=5", "runtime.log_every=5",
         "study.num_replicates=200", "study.pretrain_seeds=3"]  # fmt: skip


def make_cell(stage, run_id, condition="own", rate=1e-3, **seeds):
    settings = dataclasses.replace(Settings(), finetune=FinetuneConfig(peak_lr=rate))
    return Cell(stage, run_id, settings, "tiny", condition, "task" if stage == "finetune" else "", **seeds)


def test_cells_that_differ_in_their_seeds_alone_are_grouped():
    def name(cells):
        return f"{cells[0].stage}:{'+'.join(cell.id for cell in cells)}"

    own = [make_cell("finetune", f"o{i}", pretrain_seed=i) for i in range(5)]
    none = [make_cell("finetune", "n0", "none"), make_cell("finetune", "n1", "none", finetune_seed=1)]
    other = make_cell("finetune", "x0", rate=2e-3)
    mixed = [own[0], none[0], own[1], other, *own[2:], none[1]]
    keys = [name(group) for group in group_seeds(mixed, 3)]
    assert keys == ["finetune:o0+o1+o2", "finetune:o3+o4", "finetune:n0+n1", "finetune:x0"]
    assert [name(group) for group in group_seeds(own[:2], 1)] == ["finetune:o0", "finetune:o1"]
    timed = dataclasses.replace(Settings(), pretrain=PretrainConfig(budget="seconds", budget_amount=60.0))
    pretrainings = [Cell("pretrain", f"p{i}", timed, "tiny", "own", "", i) for i in range(2)]
    assert [name(group) for group in group_seeds(pretrainings, 3)] == ["pretrain:p0", "pretrain:p1"]
    tied = {kind: PretrainConfig(weight_sharing=kind) for kind in ("fixed", "adaptive", "multistep")}
    for kind, config in tied.items():
        settings = dataclasses.replace(Settings(), pretrain=config)
        cells = [Cell("pretrain", f"p{i}", settings, "tiny", "own", "", i) for i in range(2)]
        assert len(group_seeds(cells, 3)) == (1 if kind == "fixed" else 2)
        finetunings = [dataclasses.replace(cell, stage="finetune") for cell in cells]
        assert len(group_seeds(finetunings, 3)) == 1
    corpora = [make_cell("corpus", "c0"), make_cell("corpus", "c1")]
    assert [name(group) for group in group_seeds(corpora, 3)] == ["corpus:c0", "corpus:c1"]


@pytest.fixture
def run_study(command, local, tmp_path, tiny, monkeypatch):
    """``run_study(folder, ...)``: a study of three seeds with its runs in that folder."""
    monkeypatch.setattr(plots, "draw_scores", lambda _: {})

    def run(folder, *more):
        settings = [setting for setting in tiny if not setting.startswith("runtime.runs_dir")]
        return command("study", *settings, *local(), *SHORT, f"runtime.runs_dir={tmp_path / folder}", *more)

    return run


def assert_alike(folder, other):
    """The same runs with the same files, their predictions and metrics but for rounding."""
    for stage, splits in (("pretrain", []), ("finetune", ["validation", "test"])):
        runs = {file.parent.name: file.parent for file in other.glob(f"{stage}/*/status")}
        assert {file.parent.name for file in folder.glob(f"{stage}/*/status")} == runs.keys()
        for name, wanted in runs.items():
            run = folder / stage / name
            files, wanted_files = (sorted(p.relative_to(r) for p in r.rglob("*") if p.is_file()) for r in (run, wanted))
            assert files == wanted_files
            rows, wanted_rows = (
                [json.loads(line) for line in (r / "metrics.jsonl").read_text().splitlines()] for r in (run, wanted)
            )
            for row, wanted_row in zip(rows, wanted_rows, strict=True):
                assert row.pop("tokens_per_second", 1) > 0 and wanted_row.pop("tokens_per_second", 1) > 0
                assert row == pytest.approx(wanted_row, rel=1e-4, abs=1e-5)
            for split in splits:
                got, expected = (load_predictions(r / "predictions" / f"{split}.parquet") for r in (run, wanted))
                assert got.ids == expected.ids
                np.testing.assert_allclose(got.outputs, expected.outputs, rtol=0, atol=1e-5)


def count_together(folder):
    return sorted(json.loads(file.read_text())[-1]["seeds_together"] for file in folder.glob("*/*/provenance.json"))


def test_three_seeds_together_are_the_same_study(run_study, tmp_path, monkeypatch):
    alone = run_study("alone")
    assert (alone.code, alone.err) == (0, ""), alone
    stacked = []
    whole = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda self: stacked.append(len(self.members)) or whole(self))
    together = run_study("together", "study.seeds_per_process=3")
    assert (together.code, together.err) == (0, ""), together
    assert stacked == [3, 3, 3]  # pretraining, and fine-tuning from nothing and from the own text
    assert count_together(tmp_path / "alone") == [1] * 9 and count_together(tmp_path / "together") == [3] * 9
    assert_alike(tmp_path / "together", tmp_path / "alone")
    again = run_study("together")  # with another value it is the same study, and done
    assert again.code == 0 and "cells to run" not in again.out


class Killed(BaseException):
    """The process is gone."""


def test_a_study_goes_on_with_another_number_of_seeds(run_study, tmp_path, monkeypatch):
    assert run_study("alone", "study.conditions=[none]").code == 0

    saved = []

    def die(self, done, *more, save=Keeper.save):
        if done == 10 and saved.count(10) == 1:  # the second of two: the first has its checkpoint
            raise Killed
        saved.append(done)
        save(self, done, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "save", die)
        with pytest.raises(Killed):
            run_study("runs", "study.conditions=[none]", "study.seeds_per_process=2")
    numbers = [len(list(file.parent.glob("checkpoints/step_*"))) for file in tmp_path.glob("runs/finetune/*/status")]
    assert sorted(numbers) == [1, 2]
    outcome = run_study("runs", "study.conditions=[none]", "study.seeds_per_process=3")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert count_together(tmp_path / "runs") == [1, 2, 2]  # two from step 5, the third from the start
    assert_alike(tmp_path / "runs", tmp_path / "alone")


def test_what_fails_together_is_done_one_by_one(run_study, tmp_path, monkeypatch):
    def fail(self, whole=Trainer.train):
        if len(self.members) > 1:
            raise ZeroDivisionError("on purpose")
        whole(self)

    monkeypatch.setattr(Trainer, "train", fail)
    outcome = run_study("runs", "study.seeds_per_process=3", "study.conditions=[none]", "pretrain.total_steps=2", "finetune.max_steps=2")  # fmt: skip
    assert outcome.code == 0
    assert outcome.err.count("\n") == 1
    assert "failed together, now one by one: ZeroDivisionError: on purpose" in outcome.err
    assert count_together(tmp_path / "runs") == [1, 1, 1]


def test_wrong_input_of_one_start_fails_that_cell_alone(run_study, tmp_path, monkeypatch):
    build_start = finetune.build_start

    def refuse(settings):
        if settings.seeds.seed == 1:
            raise UserError("this start does not fit; choose another")
        return build_start(settings)

    monkeypatch.setattr(finetune, "build_start", refuse)
    outcome = run_study("runs", "study.seeds_per_process=3", "study.conditions=[none]", "finetune.max_steps=2")
    assert outcome.code == 1
    assert "failed together, now one by one: UserError: this start does not fit" in outcome.err
    assert "-p1-f0 failed: this start does not fit; choose another" in outcome.err
    statuses = sorted(file.read_text().split()[0] for file in (tmp_path / "runs").glob("finetune/*/status"))
    assert statuses == ["done", "done", "failed"]


def test_seeds_that_diverge_together_are_each_shown(run_study, tmp_path):
    outcome = run_study("runs", "study.seeds_per_process=2", "pretrain.peak_lr=1e30", "pretrain.total_steps=20",
                        "pretrain.clip_norm=0", "study.conditions=[none,own]", "finetune.max_steps=2")  # fmt: skip
    assert outcome.code == 0
    statuses = sorted(file.read_text().strip() for file in (tmp_path / "runs").glob("pretrain/*/status"))
    assert statuses == ["diverged"] * 3
    lines = outcome.err.splitlines()
    assert len(lines) == 3 and all("diverged: " in line and "not finite at step" in line for line in lines)


@pytest.mark.parametrize("name", ["basic", "elsewhere"])
def test_jobs_of_other_processes_draw_no_bars(command, monkeypatch, name):
    asked = []

    class Launcher:
        def launch(self, jobs, initial_job_idx):
            asked.extend(jobs)
            return [SimpleNamespace(return_value="done")]

    def run_study(config, overrides, crew):
        crew.launch("finetune", ["cells/a.json"])
        raise UserError("asked")

    ConfigStore.instance().store(group="hydra/launcher", name="elsewhere", node={"_target_": "elsewhere.Launcher"})
    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda *_, **__: Launcher())
    monkeypatch.setattr("selfpretrain.study.sweep.run_study", run_study)
    assert command("study", f"hydra/launcher={name}").code == 2
    bars = [] if name == "basic" else ["runtime.progress=false"]
    assert asked == [[*bars, "study.cell='cells/a.json'"]]
