"""In what two studies were made differently."""

from __future__ import annotations

import dataclasses

from selfpretrain.config import FinetuneConfig, ModelConfig, PretrainConfig, Settings
from selfpretrain.door import to_yaml
from selfpretrain.report.compare.changes import compare
from selfpretrain.report.compare.made import list_made
from selfpretrain.report.compare.stored import read_reports


def list_pair(pair):
    found, notes = list_made(compare(read_reports(pair.given, "nowhere"), "nowhere"), "nowhere")
    return {each.name: (each.before, each.after, each.where) for each in found}, notes


def test_sizes_facts_and_the_study_itself(pair):
    pair["A"].add("none", [0.5, 0.5]).add("own", [0.6, 0.6])
    pair["B"].add("none", [0.5, 0.5, 0.5]).add("own", [0.6, 0.6])
    pair.report("A")
    pair.report("B", baseline="own", reference="none")
    made, _ = list_pair(pair)
    assert made["baseline"] == ("none", "own", "")
    assert made["pretraining seeds"] == ("2", "3", "topics, tiny, none")
    assert made["runs"][2] == "topics, tiny, none" and "tasks" not in made
    assert made["command"] == ("study.name=A", "study.name=B", "")
    assert "machine" not in made and "data of topics" not in made


def write_settings(pair, name, steps, rate, cells=None):
    """As runs store them: a fine-tuning and the pretraining it starts from."""
    for cell in cells or pair[name].cells:
        start = f"run:{name}-before" if cell.condition == "own" else "none"
        settings = Settings(
            init=start, finetune=FinetuneConfig(peak_lr=rate, given=[name]), model=ModelConfig(preset="tiny")
        )
        (cell.folder / "config.yaml").write_text(to_yaml(settings))
    folder = pair[name].folder / "pretrain" / f"{name}-before"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        to_yaml(dataclasses.replace(Settings(), pretrain=PretrainConfig(total_steps=steps)))
    )


def test_settings_stored_with_the_runs(pair):
    for name, steps, rate in (("A", 100, 1e-3), ("B", 200, 2e-3)):
        pair[name].add("none", [0.5, 0.5]).add("own", [0.6, 0.6])
        pair.report(name)
        write_settings(pair, name, steps, rate)
    made, notes = list_pair(pair)
    assert made["finetune.peak_lr"] == ("0.001", "0.002", "all")
    assert made["pretrain.total_steps"] == ("100", "200", "topics, tiny, own")
    assert "init" not in made and "finetune.given" not in made and notes == []


def test_what_some_cells_differ_in_is_not_said_of_all(pair):
    """none is the same runs on both sides, of whose settings nothing is read."""
    for name, rate in (("A", 1e-3), ("B", 2e-3)):
        pair[name].add("none", [0.5, 0.5]).add("own", [0.6, 0.6])
        pair.report(name, shared=("none",))
        write_settings(pair, name, 100, rate)
    made, _ = list_pair(pair)
    assert made["finetune.peak_lr"] == ("0.001", "0.002", "topics, tiny, own")


def test_settings_that_are_not_there_are_noted(pair):
    for name in "AB":
        pair[name].add("none", [0.5, 0.5]).add("own", [0.6, 0.6])
        pair.report(name)
        write_settings(pair, name, 1, 1e-3, pair[name].cells[:1])
    (pair["B"].cells[0].folder / "config.yaml").write_text("model: {unheard_of: 1}")
    made, (note,) = list_pair(pair)
    assert "the stored settings of 2 cells are not here or cannot be read by this version" in note
    assert not any(name.startswith("finetune") for name in made)
