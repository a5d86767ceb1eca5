"""Cards: what the files under ``corpora`` say of a text collection or a task, and what a task's card says of fine-tuning."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TypeVar

from selfpretrain.config import FinetuneConfig, Settings, TaskConfig, TextCard, UserError
from selfpretrain.door import WARMUP, check, complete_task, find_folder, load_yaml, to_dataclass
from selfpretrain.hints import hint_at

T = TypeVar("T")


def _load_card(kind: str, name: str, schema: type[T]) -> T:
    known = list_cards(kind)
    if name not in known:
        raise UserError(f"{kind} {name!r} has no card; {hint_at(name, known)}known: {', '.join(known)}")
    return load_yaml(find_folder("corpora") / kind / f"{name}.yaml", schema)


def list_cards(kind: str) -> list[str]:
    """The names of all cards of a kind: task or text."""
    return sorted(path.stem for path in (find_folder("corpora") / kind).glob("*.yaml"))


@cache
def load_task_card(name: str) -> TaskConfig:
    """The card ``corpora/task/<name>.yaml``."""
    return complete_task(_load_card("task", name, TaskConfig))


@cache
def load_text_card(name: str) -> TextCard:
    """The card ``corpora/text/<name>.yaml``."""
    return _load_card("text", name, TextCard)


def follow_card(settings: Settings, task: TaskConfig) -> Settings:
    """The settings for ``task``, with what its card says of fine-tuning this family where ``finetune.recipe=card``.

    The one order of precedence: default < model preset < effort < card < command line. The tiny presets and the short
    efforts say ``recipe=preset``, and so do the settings returned: their section says it all.
    """
    config = settings.finetune
    changes = task.finetune.get(settings.model.family, {}) if config.recipe == "card" else {}
    fixed = set(config.given)
    if fixed & set(WARMUP):  # the two say one thing
        fixed |= set(WARMUP)
    kept = {name: value for name, value in changes.items() if name not in fixed}
    if set(kept) & set(WARMUP):
        kept = {**dict.fromkeys(WARMUP), **kept}
    finetune = to_dataclass({**dataclasses.asdict(config), **kept, "recipe": "preset"}, FinetuneConfig)
    settings = dataclasses.replace(settings, task=task, finetune=finetune)
    if kept:
        check(settings)
    return settings
