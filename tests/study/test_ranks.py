"""A study's training by two ranks: the same run, started, told to stop and ended by the process that carries it out."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from selfpretrain import devices
from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.door import compose_settings
from selfpretrain.endings import Stopped
from selfpretrain.runs.folder import read_starts
from selfpretrain.study import ranks
from selfpretrain.study.cells import Job
from selfpretrain.study.sweep import run_cell, run_job

TWO = ["pretrain.micro_batch_size=1", "runtime.num_processes=2", "runtime.device=cpu"]


def find_cell(plan, stage):
    return next(cell for name, cells in plan.iter_waves() for cell in cells if cell.stage == stage)


def find_processes(word):
    """The command lines of running processes that have a word (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_text()
        except OSError:  # it has ended meanwhile
            continue
        found += [text] if word in text else []
    return found


def test_a_cell_by_two_ranks_is_the_same_run_and_stops_when_told(make_plan, run_waves, capfd):
    plan = make_plan(*TWO, "pretrain.total_steps=3")
    cell = find_cell(plan, "pretrain")
    assert cell.id == find_cell(make_plan(TWO[0], "pretrain.total_steps=3"), "pretrain").id
    run_waves(plan, "corpora")
    assert run_job(Job("test", ((cell,),))) == "done"
    (start,) = read_starts(cell.run.path)
    assert start["world_size"] == 2 and start["seeds_together"] == 1
    assert capfd.readouterr().err == ""  # nor a word of torchrun's

    long = find_cell(make_plan(*TWO, "pretrain.total_steps=1000000"), "pretrain")

    def tell():
        while not list(long.run.checkpoints.glob("step_*/state.json")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell, daemon=True).start()
    with pytest.raises(Stopped) as stop:
        run_cell(long, "test")
    assert stop.value.code == 75 and long.status == "running"
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and f"of run {long.id}, checkpoint written; the same command continues it" in said
    assert find_processes(long.id) == []


def test_the_overrides_of_a_job_are_all_that_its_file_lacks():
    words = ["runtime.runs_dir=a b", "runtime.keep_steps=[1,2]", "runtime.num_processes=2", "tracking.project=${x}"]
    settings = compose_settings("study", [*map(ranks.quote_override, words), "pretrain.batch_size=64"])
    given = [ranks.quote_override(word) for word in ranks.list_overrides(settings)]
    again = compose_settings("study", given)
    assert (again.runtime, again.tracking) == (settings.runtime, settings.tracking)
    assert again.pretrain.batch_size == compose_settings("study", []).pretrain.batch_size != 64


def test_a_rank_starts_no_ranks(monkeypatch):
    assert ranks.are_wanted(RuntimeConfig(num_processes=2)) and not ranks.are_wanted(RuntimeConfig())
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not ranks.are_wanted(RuntimeConfig(num_processes=2))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(devices, "may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices.check_processes(2)
    devices.check_processes(3, "cpu")
    with pytest.raises(UserError, match=r"3 processes, but 2 GPUs here.*runtime.num_processes=2"):
        ranks.launch("pretrain", [], RuntimeConfig(num_processes=3))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    devices.check_processes(3)


def test_stacked_seeds_and_several_ranks_are_refused(command, tiny, local):
    outcome = command("study", *tiny, *local(), "study.seeds_per_process=2", "runtime.num_processes=2")
    assert outcome.code == 2 and "stacks small models on one GPU" in outcome.err and outcome.err.count("\n") == 1


def test_a_whole_study_under_torchrun_is_refused(command, tiny, local, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = command("study", *tiny, *local())
    assert outcome.code == 2 and "selfpretrain study runtime.num_processes=<N>" in outcome.err
