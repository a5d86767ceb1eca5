"""A small study as a plan, and carried out."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from selfpretrain.door import compose_settings
from selfpretrain.runs import identity
from selfpretrain.sources import tasks
from selfpretrain.study import probe
from selfpretrain.study.preview import print_preview
from selfpretrain.study.sweep import build_plan, run_cell


@pytest.fixture
def make_plan(tiny, local):
    """``make_plan("budget=tokens", ...)``: the plan of a study of none and own on a small CSV, as a new process sees it."""

    def make(*overrides):
        for cache in (tasks._read, identity._corpus_ids):
            cache.clear()
        given = [*tiny, *local(), "study.pretrain_seeds=2", *overrides]
        return build_plan(compose_settings("study", given), given)

    return make


@pytest.fixture
def run_waves():
    """``run_waves(plan, "corpora", ...)``: carry these waves out."""

    def run(plan, *names):
        for name, cells in plan.iter_waves():
            if name in names:
                for cell in cells:
                    assert run_cell(cell, "test") == "done"

    return run


@pytest.fixture
def show(monkeypatch):
    """``show(plan)``: the printed plan, by lines; every step takes a second."""
    monkeypatch.setattr(probe, "time_steps", lambda *_, **__: 1.0)

    def show(plan) -> str:
        console = Console(file=io.StringIO(), width=160)
        print_preview(plan, console)
        return console.file.getvalue()

    return show
