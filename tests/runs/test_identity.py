from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from selfpretrain import devices
from selfpretrain.config import (
    ModelConfig,
    RuntimeConfig,
    SeedConfig,
    Settings,
    StudyConfig,
    TaskConfig,
    TrackingConfig,
)
from selfpretrain.hashing import LEFT_OUT
from selfpretrain.runs.identity import identify_finetune, identify_pretrain, name_corpus
from selfpretrain.sources.labelled import TaskData

FP32 = {name: dataclasses.replace(getattr(Settings(), name), precision="fp32") for name in ("pretrain", "finetune")}
SETTINGS = dataclasses.replace(Settings(), runtime=RuntimeConfig(device="cpu"), **FP32)
PRETRAIN = ("model", "objective", "pretrain")
FINETUNE = ("model", "finetune", "task")  # of a fresh encoder


def change(value: Any, kind: str) -> Any:
    """Another value of the setting's type."""
    if "bool" in kind:
        return not value
    if "int" in kind or "float" in kind:
        return (value or 0) + 1 if not isinstance(value, (list, dict)) else [1.0]
    if "dict" in kind:
        return {"electra": {"epochs": 1}}
    return ["x"] if "list" in kind else "bf16" if value == "fp32" else "x"


def list_settings(*sections):
    return [
        (section, field.name, str(field.type))
        for section in sections
        for field in dataclasses.fields(getattr(SETTINGS, section))
    ]


def name_finetune(settings):
    return identify_finetune(settings, TaskData(settings.task, {}, "examples", []), "vocabulary")


def name_pretrain(settings):
    return identify_pretrain(settings, "corpus")


def is_renamed(name_run, section, setting, kind):
    config = getattr(SETTINGS, section)
    other = dataclasses.replace(config, **{setting: change(getattr(config, setting), kind)})
    return name_run(dataclasses.replace(SETTINGS, **{section: other})) != name_run(SETTINGS)


@pytest.mark.parametrize(("section", "setting", "kind"), list_settings(*FINETUNE))
def test_every_setting_of_a_finetuning_names_it_unless_left_out(section, setting, kind):
    assert is_renamed(name_finetune, section, setting, kind) != (f"{section}.{setting}" in LEFT_OUT)


@pytest.mark.parametrize(("section", "setting", "kind"), list_settings(*PRETRAIN))
def test_every_setting_of_a_pretraining_names_it_unless_left_out(section, setting, kind):
    left_out = f"{section}.{setting}" in LEFT_OUT
    assert is_renamed(name_pretrain, section, setting, kind) != left_out


def test_the_names_of_before_stay():
    assert (name_pretrain(SETTINGS), name_finetune(SETTINGS)) == ("6c6066e75bb0", "2ed2eef765dd")
    assert name_corpus("text", SETTINGS.tokenizer, SETTINGS.runtime) == "41ee602592c6"
    for setting in ("min_frequency", "limit_alphabet", "train_mb"):
        other = dataclasses.replace(SETTINGS.tokenizer, **{setting: 3})
        assert name_corpus("text", other, SETTINGS.runtime) != "41ee602592c6"


def test_what_is_left_out_is_a_setting_and_has_a_reason():
    known = {f"{section}.{name}" for section, name, _ in list_settings(*PRETRAIN, *FINETUNE)}
    assert set(LEFT_OUT) <= known
    assert all(LEFT_OUT.values())


def test_the_range_of_a_score_names_its_finetuning():
    """Scores are scaled by it; it once came back with the result of another range."""
    names = {
        name_finetune(dataclasses.replace(SETTINGS, task=TaskConfig(score_range=[0.0, high]))) for high in (1.0, 5.0)
    }
    assert len(names) == 2


# sections


def test_how_a_run_is_carried_out_does_not_name_it():
    settings = Settings()
    other = {
        "runtime": RuntimeConfig(runs_dir="elsewhere", device="cpu", num_threads=3, log_every=1, save_every=7),
        "tracking": TrackingConfig(name="wandb", project="p"),
        "study": StudyConfig(name="s"),
    }
    moved = dataclasses.replace(settings, **other)
    assert identify_pretrain(moved, "c") == identify_pretrain(settings, "c")
    data = TaskData(TaskConfig(), {}, "d", [])
    assert identify_finetune(moved, data, "c") == identify_finetune(settings, data, "c")


def test_the_preset_s_name_does_not_name_the_run_but_seeds_and_corpus_do():
    settings = Settings()
    renamed = dataclasses.replace(settings, model=ModelConfig(preset="mine"))
    assert identify_pretrain(renamed, "c") == identify_pretrain(settings, "c")
    seeds = [
        SeedConfig(),
        SeedConfig(seed=1),
        SeedConfig(init_seed=1),
        SeedConfig(data_seed=1),
        SeedConfig(mask_seed=1),
    ]
    ids = {identify_pretrain(dataclasses.replace(settings, seeds=s), corpus) for s in seeds for corpus in ("c", "d")}
    assert len(ids) == 10
    # a seed spelled out is the seed it would have been anyway
    spelled = dataclasses.replace(settings, seeds=SeedConfig(init_seed=0, data_seed=0, mask_seed=0))
    assert identify_pretrain(spelled, "c") == identify_pretrain(settings, "c")


# precision


def test_auto_is_what_the_machine_makes_of_it(monkeypatch):
    def name(precision):
        config = dataclasses.replace(SETTINGS.finetune, precision=precision)
        return name_finetune(dataclasses.replace(SETTINGS, finetune=config))

    monkeypatch.setattr(devices, "has_bf16", lambda device, width: False)
    assert name("auto") == name("fp32") != name("bf16")
    monkeypatch.setattr(devices, "has_bf16", lambda device, width: True)
    assert name("auto") == name("bf16") != name("fp32")


def test_a_name_needs_no_torch():
    code = (
        "import sys; from selfpretrain.config import Settings, RuntimeConfig; "
        "from selfpretrain.runs.identity import identify_pretrain; "
        "identify_pretrain(Settings(runtime=RuntimeConfig(device='cpu')), 'c'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
