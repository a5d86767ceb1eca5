"""What varies from one pretraining of a study to the next: all kinds of chance together, or named ones, singly or crossed.

A pretraining seed is a number. With ``study.seed_factors`` it stands for a level of each factor, the last factor's
changing first: of {init: 3, data: 3} number 5 is init 1, data 2. A level is the seed of that kind.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from selfpretrain.config import SEED_FACTORS, SeedConfig, Settings, StudyConfig, UserError
from selfpretrain.numbers import join_words
from selfpretrain.runs.identity import get_pretrain_seeds
from selfpretrain.study.conditions import Condition

WORDS = dict(zip(SEED_FACTORS, ("initialisation", "data order", "masks"), strict=True))
OF_FRESH = ("init",)  # what there is of them without a pretraining
SEPARATED = {"fairseq": ("init",)}  # by engine, the kinds that have a seed of their own, where not all have


def list_levels(study: StudyConfig) -> list[dict[str, int]]:
    """By pretraining seed, the level of each factor; of none where all kinds of chance change together."""
    factors = study.seed_factors or {}
    levels = itertools.product(*map(range, factors.values()))
    return [dict(zip(factors, each, strict=True)) for each in levels] if factors else [{}] * study.pretrain_seeds


def choose_levels(study: StudyConfig, condition: Condition, pretrain_seed: int) -> dict[str, int]:
    """Of the factors that a run of the condition has: without a pretraining there is neither data order nor masks."""
    if condition.is_released or condition.released or not study.seed_factors:
        return {}
    levels = list_levels(study)[pretrain_seed]
    return {name: level for name, level in levels.items() if name in OF_FRESH or not condition.is_fresh}


def set_levels(seeds: SeedConfig, pretrain_seed: int, levels: dict[str, int]) -> SeedConfig:
    """The seeds of a pretraining seed; a factor that is not named keeps its own."""
    if not levels:
        return dataclasses.replace(seeds, seed=pretrain_seed)
    each = {f"{name}_seed": seed for name, seed in (get_pretrain_seeds(seeds) | levels).items()}
    return dataclasses.replace(seeds, seed=pretrain_seed, **each)


def check_engines(settings: Settings, conditions: Sequence[Condition]) -> None:
    """UserError for a factor that an engine of the study cannot vary by itself."""
    factors = settings.study.seed_factors or {}
    for condition in (each for each in conditions if each.is_pretrained):
        engine = condition.engine or settings.pretrain.engine
        separated = SEPARATED.get(engine, SEED_FACTORS)
        if joined := [name for name in factors if name not in separated]:
            raise UserError(
                f"study.seed_factors={factors} has {joined[0]}, and {engine} (condition {condition.key}) has one seed for "
                f"data order and masks; allowed with it: {', '.join(separated)}"
            )


def describe_chance(settings: Settings) -> str:
    """What the intervals of a study hold over, and what was the same for all of its pretrainings."""
    factors = settings.study.seed_factors or {}
    varied = {name: words for name, words in WORDS.items() if name in factors}
    if factors:
        kinds = next(iter(varied.values()))
        if len(factors) > 1:
            kinds = " crossed with ".join(f"{words} ({factors[name]})" for name, words in varied.items())
    else:
        varied = {name: words for name, words in WORDS.items() if getattr(settings.seeds, f"{name}_seed") is None}
        together = " together" if len(varied) > 1 else ""
        kinds = f"pretraining seeds ({join_words([*varied.values()]) or 'none of their kinds'}{together})"
    same = [words for name, words in WORDS.items() if name not in varied]
    return f"{kinds}, fine-tuning and test examples" + (f"; the same for all: {join_words(same)}" if same else "")
