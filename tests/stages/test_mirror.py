"""What trackers are told of a run: flat columns to group by, and nothing of a user's own file but its name."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from selfpretrain.config import CorpusConfig, RuntimeConfig, SeedConfig, Settings, TaskConfig, TrackingConfig
from selfpretrain.hashing import to_plain
from selfpretrain.runs.folder import open_run
from selfpretrain.stages import mirror
from selfpretrain.stages.mirror import (
    Caption,
    choose_columns,
    describe_settings,
    describe_task,
    name_scores,
    open_tracker,
    share_seconds,
    store_weights,
)


@pytest.fixture
def cards(monkeypatch):
    """The cards that trackers are built with."""
    given = []
    monkeypatch.setattr(mirror, "build_tracker", lambda config, card: given.append(card))
    return given


def start(tmp_path, stage="finetune"):
    run = open_run(tmp_path, stage, "abc")
    run.start("", "")
    return run


def test_columns_are_flat_and_those_of_the_study_count(tmp_path, cards):
    settings = Settings(seeds=SeedConfig(seed=3, mask_seed=7), runtime=RuntimeConfig(runs_dir=str(tmp_path)))
    caption = Caption("demo", "cell", {"condition": "own", "pretrain_seed": 1, "finetune_seed": 0})
    open_tracker(start(tmp_path), settings, caption, {"finetune_seed": 1000, "learning_rate": 1e-3, "label_count": 80})
    (card,) = cards
    expected = {
        "stage": "finetune", "study": "demo", "condition": "own", "model": "custom", "pretrain_seed": 1,
        "finetune_seed": 0, "init_seed": 3, "data_seed": 3, "mask_seed": 7, "learning_rate": 1e-3, "label_count": 80,
    }  # fmt: skip
    assert expected.items() <= card.config.items()
    assert not any(isinstance(value, dict) for name, value in card.config.items() if name != "settings")
    assert (card.id, card.job_type, card.group, card.name) == ("abc", "finetune", "demo", "cell")
    assert card.history == tmp_path / "finetune" / "abc" / "metrics.jsonl"


def test_what_is_not_known_is_no_column(tmp_path, cards):
    open_tracker(start(tmp_path, "pretrain"), Settings(), Caption(), {"task": None, "learning_rate": 1e-3})
    (card,) = cards
    assert not {"task", "study", "condition"} & set(card.config) and card.name == "abc"


def test_an_evaluation_by_itself_has_no_settings_of_a_training(tmp_path, cards):
    open_tracker(start(tmp_path, "evaluate"), Settings(), Caption(), {"run": "xyz", "test_set": "hans"})
    (card,) = cards
    assert not {"model", "init_seed"} & set(card.config) and card.history is None
    assert card.config["test_set"] == "hans"


def test_a_users_file_is_not_described(tmp_path, cards):
    task = TaskConfig(
        name="mine", loader="local", path="/home/me/secret.csv", text="letter", label="verdict",
        label_names=["guilty", "not"], label_kind="class", metric="accuracy",
    )  # fmt: skip
    settings = Settings(task=task)
    open_tracker(start(tmp_path), settings, Caption(), {})
    open_tracker(start(tmp_path, "pretrain"), settings, Caption(), {})
    for card in cards:
        told = json.dumps(card.config)
        assert not any(word in told for word in ("secret", "letter", "verdict", "guilty"))
    kept = {"name": "mine", "loader": "local", "label_kind": "class", "metric": "accuracy"}
    assert cards[0].config["settings"]["task"] == kept
    assert describe_task(to_plain(TaskConfig(name="agnews", label_names=["world"])))["label_names"] == ["world"]


def test_nor_is_one_in_a_mix_or_a_folder_that_a_run_starts_from(tmp_path):
    task = TaskConfig(name="mine", loader="local", path="/home/me/secret.csv", label="verdict", label_names=["guilty"])
    start = tmp_path / "private" / "encoder"
    start.mkdir(parents=True)
    settings = Settings(
        init=f"hf:{start}", corpus=CorpusConfig(source="mix", parts=[{"source": "own"}, {"task": to_plain(task)}])
    )
    settings.tokenizer.path = settings.corpus.path = str(start)
    told = json.dumps(describe_settings(settings, "pretrain")) + json.dumps(choose_columns(settings))
    assert not any(word in told for word in ("secret", "verdict", "guilty", "private"))
    assert '"hf:encoder"' in told and '"mine"' in told and '"source": "own"' in told
    assert choose_columns(Settings(init="run:abc@20"))["init"] == "run:abc@20"


def test_scores_seconds_and_weights(tmp_path):
    assert name_scores("accuracy", {"test": 0.5, "validation": None}) == {"test_accuracy": 0.5}
    assert share_seconds(SimpleNamespace(seconds=6.0), 3) == {"seconds": 2.0}
    assert share_seconds(SimpleNamespace(seconds=None), 3) == {}
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").touch()
    stored = []
    tracker = SimpleNamespace(add_files=stored.append)
    for checkpoints in (False, True):
        settings = Settings(tracking=TrackingConfig(checkpoints=checkpoints))
        store_weights(tracker, settings, "encoder-abc", {"step-4": tmp_path / "encoder"})
    (artifact,) = stored
    assert (artifact.name, artifact.type, artifact.aliases, artifact.is_lasting) == (
        "encoder-abc",
        "model",
        ("step-4",),
        True,
    )
    assert artifact.files == {"model.safetensors": tmp_path / "encoder" / "model.safetensors"}
