"""The pretraining of a condition as settings: what it reads, in which vocabulary, by which recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfpretrain.config import (
    CorpusConfig,
    PretrainConfig,
    Settings,
    Start,
    StudyConfig,
    TaskConfig,
    TokenizerConfig,
    UserError,
)
from selfpretrain.contradictions import OF_SHARING
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import WARMUP, check, to_dataclass
from selfpretrain.hashing import to_plain
from selfpretrain.runs import budget, identity
from selfpretrain.sources import hub
from selfpretrain.sources.fairseq_files import find_dictionary
from selfpretrain.sources.tasks import read_task
from selfpretrain.study.conditions import Condition
from selfpretrain.study.snapshots import keep_snapshots

FindTask = Callable[[str], TaskConfig]  # another task, by its name


def prepare_pretraining(
    settings: Settings, condition: Condition, read: Condition, study: StudyConfig, general: str, find_task: FindTask
) -> Settings:
    """The settings of a pretraining that starts from ``settings.init``, but for its length where stages share one.

    ``read`` is the condition whose text it reads: of a staged one a stage, else itself. UserError for a recipe or a
    checkpoint that cannot be. Weights are shared from nothing on: what goes on from an encoder shares none.
    """
    corpus = choose_corpus(read, general, study.general_mb, find_task)
    settings = dataclasses.replace(settings, corpus=corpus)
    settings = keep_snapshots(settings, condition, condition.engine or settings.pretrain.engine)
    if not settings.start.is_fresh:
        untied = {name: getattr(PretrainConfig, name) for name in ("weight_sharing", *OF_SHARING)}
        settings = dataclasses.replace(settings, pretrain=dataclasses.replace(settings.pretrain, **untied))
    if read.text_of is not None:
        # the other task's own pretraining, so that the two studies of it are one run
        settings = dataclasses.replace(settings, task=find_task(read.text_of))
    if condition.recipe is not None:
        settings = follow_recipe(settings, condition, study.tapt or {})
    if condition.from_released:
        settings = dataclasses.replace(settings, tokenizer=find_released_tokenizer(str(study.offshelf)))
    return budget.take_share(settings)


def name_text(condition: Condition, task: str) -> str:
    """What a corpus or a pretraining is called by."""
    if condition.from_released or condition.mixed or condition.engine or condition.procedures:
        return f"{condition.key} of {task}" if condition.is_of_task else condition.key
    return condition.key if condition.is_general else f"own of {task}"


def name_stage(condition: Condition, task: str, part: int) -> str:
    """What a stage of a staged pretraining is called by; its first may be the same for all tasks."""
    is_of_task = any(stage.is_of_task for stage in condition.staged[: part + 1])
    return f"{condition.key}{f' of {task}' if is_of_task else ''} ({part + 1} of {len(condition.staged)})"


def choose_corpus(condition: Condition, general: str, general_mb: float | None, find_task: FindTask) -> CorpusConfig:
    """What a condition's encoder reads; in a mix, another task whose text that is stands with all its settings."""
    if not condition.mixed:
        return condition.choose_corpus(general, general_mb)
    parts = []
    for text in condition.mixed:
        part = to_plain(text.choose_corpus(general, general_mb))
        owner = {} if text.text_of is None else {"source": "own_of", "task": to_plain(find_task(text.text_of))}
        parts.append(part | owner)
    return CorpusConfig(source="mix", parts=parts)


def follow_recipe(settings: Settings, condition: Condition, given: Any) -> Settings:
    """The settings with a condition's recipe of pretraining, and what is given in its place (a mapping); checked."""
    assert condition.recipe is not None
    if not isinstance(given, dict):
        raise UserError(
            f"study.tapt={given} is no mapping; allowed: study.tapt={{<setting of pretrain>: <value>, ...}}"
        )
    whole = read_task(dataclasses.replace(settings.task, max_train_examples=None), settings.runtime.runs_dir)
    recipe = condition.recipe(len(whole.splits["train"].ids))
    if {*WARMUP} & {*given}:  # the two say one thing
        recipe |= dict.fromkeys(WARMUP)
    if "total_steps" in given:
        recipe |= {"budget": "steps", "budget_amount": None}
    try:
        pretrain = to_dataclass({**dataclasses.asdict(settings.pretrain), **recipe, **given}, PretrainConfig)
        settings = dataclasses.replace(settings, pretrain=pretrain)
        check(settings)
    except UserError as error:
        raise UserError(f"condition {condition.key}, study.tapt={given}: {error}") from None
    return settings


def find_released_tokenizer(offshelf: str) -> TokenizerConfig:
    """That of the released checkpoint, in which the texts are that it is pretrained further on."""
    start = Start.parse(offshelf)
    if not start.is_released:
        allowed = "hf:<repo>@<revision>, hf:<folder>, fairseq:<folder or file>"
        raise UserError(f"study.offshelf={start} is no released checkpoint; allowed: {allowed}")
    identity.identify_start(start)  # refuses what is neither a folder nor a repository at a revision
    if start.kind == "fairseq":
        path = str(find_dictionary(start.name))
    else:
        path = start.name if Path(start.name).is_dir() else str(hub.fetch_tokenizer(start.name))
    found = Tokenizer.load(path)
    return TokenizerConfig(kind=found.kind, vocab_size=found.vocab_size, path=path)
