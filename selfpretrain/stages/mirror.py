"""What a run's tracker is told: what it is called and grouped by, what it came to, and its files. Never a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfpretrain.config import Settings
from selfpretrain.hashing import to_plain
from selfpretrain.runs.folder import RunFolder, read_starts
from selfpretrain.runs.identity import get_pretrain_seeds
from selfpretrain.tracking import Artifact, RunCard, Tracker, build_tracker

# the sections of the settings that decide what a stage gives
SECTIONS = {
    "pretrain": ("init", "model", "objective", "pretrain", "tokenizer", "corpus", "seeds"),
    "finetune": ("init", "model", "finetune", "tokenizer", "task", "seeds"),
    "evaluate": ("init", "task"),
}
OF_A_FILE = ("name", "loader", "label_kind", "metric", "max_train_examples")  # what is told of a user's own


@dataclass(frozen=True)
class Caption:
    """A run's place in a study; empty outside of one."""

    study: str = ""
    name: str = ""  # for people
    columns: Mapping[str, Any] = field(default_factory=dict)  # what the study varies: condition, task, seeds by number


def open_tracker(run: RunFolder, settings: Settings, caption: Caption, columns: Mapping[str, Any]) -> Tracker:
    """The tracker of a run that has just been marked as running; ``columns``: what else its stage knows of it."""
    stage = run.path.parent.name
    # of an evaluation by itself, the settings are not those that its run was fine-tuned with
    known = choose_columns(settings) if stage != "evaluate" or caption.study else {}
    starts = read_starts(run.path)
    commit = starts[-1].get("commit") if starts else None
    config = {**known, **columns, **caption.columns, "stage": stage, "study": caption.study, "commit": commit}
    config = {name: value for name, value in config.items() if value not in (None, "")}
    config["settings"] = describe_settings(settings, stage)
    history = run.metrics if stage != "evaluate" else None
    card = RunCard(run.id, stage, caption.study, caption.name or run.id, config, run.path, history)
    return build_tracker(settings.tracking, card)


def choose_columns(settings: Settings) -> dict[str, Any]:
    """Flat values that runs are told apart and grouped by."""
    seeds = {f"{name}_seed": seed for name, seed in get_pretrain_seeds(settings.seeds).items()}
    return {
        "model": settings.model.preset,
        "init": name_start(settings.init),
        "pretrain_seed": settings.seeds.seed,
        **seeds,
    }


def describe_settings(settings: Settings, stage: str) -> dict[str, Any]:
    """The sections that decide a stage's result; of a user's own file not where it lies, nor its columns and classes."""
    sections = {name: to_plain(getattr(settings, name)) for name in SECTIONS[stage]}
    sections["init"] = name_start(settings.init)
    if "task" in sections:
        sections["task"] = describe_task(sections["task"])
    if "corpus" in sections:
        parts = sections["corpus"].get("parts") or []
        sections["corpus"]["parts"] = [
            {**part, "task": describe_task(part["task"])} if isinstance(part.get("task"), dict) else part
            for part in parts
        ]
    for name in ("corpus", "tokenizer"):
        if sections.get(name, {}).get("path"):
            sections[name]["path"] = Path(sections[name]["path"]).name
    return sections


def describe_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task's settings, those of a user's own file without what is the user's."""
    return {name: value for name, value in task.items() if task.get("loader") != "local" or name in OF_A_FILE}


def name_start(init: str) -> str:
    """Of a folder its name alone."""
    kind, _, place = init.partition(":")
    return f"{kind}:{Path(place).name}" if place and Path(place).exists() else init


def name_scores(metric: str | None, scores: Mapping[str, float | None]) -> dict[str, float]:
    """Final scores by split and metric, those that there are."""
    return {f"{split}_{metric}": value for split, value in scores.items() if value is not None}


def share_seconds(run: RunFolder, num_seeds: int) -> dict[str, float]:
    """The seconds of a run that is done, since its last start, by the runs that shared them; none if they are not known."""
    seconds = run.seconds
    return {} if seconds is None else {"seconds": seconds / num_seeds}


def store_weights(tracker: Tracker, settings: Settings, name: str, folders: Mapping[str, Path]) -> None:
    """Folders of weights as versions of one artifact, by alias, the last of them the latest; where that is asked for."""
    for alias, folder in folders.items() if settings.tracking.checkpoints else ():
        files = {path.name: path for path in sorted(folder.iterdir())}
        tracker.add_files(Artifact(name, "model", files, (alias,), is_lasting=True))
