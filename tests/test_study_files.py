"""A study in a file of the user's own: ``study=<file>.yaml``, composed as a preset is."""

from __future__ import annotations

import pytest

from selfpretrain.door import compose_settings

STUDY = "defaults:\n  - override /effort: demo\nstudy: {name: mine, conditions: [none, own], pretrain_seeds: 2}\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_composed_as_a_preset(here):
    (here / "mine.yaml").write_text(STUDY)
    (here / "deep").mkdir()
    (here / "deep" / "other.yaml").write_text("# @package _global_\n" + STUDY.replace("mine", "other"))
    settings = compose_settings("study", ["study=mine.yaml", "task=agnews", "study.finetune_seeds=4"])
    study = settings.study
    assert (study.name, study.effort, study.pretrain_seeds, study.finetune_seeds) == ("mine", "demo", 2, 4)
    assert (
        settings.pretrain.total_steps == compose_settings("study", ["effort=demo", "task=agnews"]).pretrain.total_steps
    )
    for command in ("plan", "report", "release", "corpus_audit"):
        assert compose_settings(command, ["study=mine.yaml", "task=agnews"]).study.name == "mine"
    assert compose_settings("study", ["study=deep/other.yaml", "task=agnews"]).study.name == "other"
    assert compose_settings("study", [f"study={here / 'mine.yaml'}", "task=agnews"]).study.name == "mine"


def test_a_name_without_an_ending_is_a_preset(here):
    (here / "quickstart.yaml").write_text(STUDY)
    assert compose_settings("study", ["study=quickstart"]).study.name == "quickstart"
    assert compose_settings("study", ["study=quickstart.yaml"]).study.name == "mine"


@pytest.mark.parametrize(("text", "parts"), [
    ("study: {name: [\n", ["mine.yaml, line 2: ", "correct it"]),
    ("- a\n", ["mine.yaml holds no settings"]),
    ("defaults: 3\nstudy: {name: a}\n", ["mine.yaml: defaults is no list"]),
    ("stduy: {name: a}\n", ["mine.yaml: setting stduy: ", "did you mean 'study'?"]),
    ("study: {nmae: a}\n", ["mine.yaml: setting study.nmae: ", "did you mean 'name'?"]),
    (None, ["study=mine.yaml is no file here", "quickstart", "selfpretrain init writes"]),
])  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_line(command, here, text, parts):
    if text is not None:
        (here / "mine.yaml").write_text(text)
    outcome = command("plan", "study=mine.yaml")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    assert all(part in outcome.err for part in parts), outcome.err


@pytest.mark.parametrize("given", ["task.label=other", "task=agnews"])
def test_a_setting_that_no_task_of_the_study_has_is_refused(command, here, given):
    (here / "mine.yaml").write_text("study: {name: mine, tasks: [sst2]}\n")
    outcome = command("plan", "study=mine.yaml", given)
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.startswith(
        f"selfpretrain: {given} would change nothing: "
    )


def test_detect_without_power_is_refused(command, here):
    outcome = command("plan", "study=quickstart", "detect=.1")
    assert (outcome.code, outcome.out) == (2, "") and "set power=.8, too" in outcome.err
