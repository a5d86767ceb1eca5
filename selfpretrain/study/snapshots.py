"""Fine-tunings from the encoders that a study's pretrainings keep on the way (``study.curve``, ``study.checkpoints``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from selfpretrain.config import Settings, UserError
from selfpretrain.pretext.schedules import (
    CHECKPOINTS,
    OF_RULE,
    RULE,
    choose_checkpoint_shares,
    choose_steps,
    round_shares,
)
from selfpretrain.runs import budget, identity
from selfpretrain.sources.labelled import TaskData
from selfpretrain.study.cells import Cell
from selfpretrain.study.conditions import Condition

NATIVE = "native"  # the engine that keeps encoders on the way


def check_snapshots(settings: Settings) -> None:
    """UserError where the checkpoints of a study cannot be: another engine, or steps that differ from seed to seed."""
    study, config = settings.study, settings.pretrain
    key = CHECKPOINTS if study.checkpoints else RULE
    if (study.checkpoints or config.checkpoint_schedule) and config.engine != NATIVE:
        raise UserError(
            f"{key} needs pretrain.engine={NATIVE}, which keeps encoders on the way; {config.engine} keeps the last"
        )
    if study.checkpoints and config.budget == "seconds":
        raise UserError(
            f"{key} needs steps that are the same for all seeds, which budget=seconds has not; set budget=steps"
        )


def keeps_snapshots(condition: Condition, engine: str) -> bool:
    """Whether the steps of its pretraining are all that its encoder has learnt by."""
    return condition.is_from_nothing and not condition.staged and engine == NATIVE


def keep_snapshots(settings: Settings, condition: Condition, engine: str) -> Settings:
    """With what the study asks for in place of ``pretrain.snapshots``; ``seeds.seed`` is the number of the pretraining seed."""
    study, rule = settings.study, settings.pretrain.checkpoint_schedule
    shares: list[float] = []
    if keeps_snapshots(condition, engine):
        # a curve is of what one run has read
        shares = [*(study.curve if settings.seeds.seed == 0 else []), *(e for e in study.checkpoints if e != OF_RULE)]
    else:
        rule = None
    pretrain = dataclasses.replace(settings.pretrain, snapshots=shares, checkpoint_schedule=rule, engine=engine)
    return dataclasses.replace(settings, pretrain=pretrain)


def list_curve_steps(pretraining: Cell, shares: Sequence[float]) -> list[int]:
    """Of ``study.curve``; none where pretraining went on from something, or for a budget that is not in steps yet."""
    config = pretraining.settings.pretrain
    return round_shares(shares, config.total_steps) if _is_whole(pretraining) and config.budget == "steps" else []


def list_checkpoint_steps(pretraining: Cell) -> list[int]:
    """Of ``study.checkpoints``, the last step left out; none where pretraining went on from something.

    While a budget waits for its corpus they are numbers alone: so many there will be.
    """
    study, config = pretraining.settings.study, pretraining.settings.pretrain
    shares = choose_checkpoint_shares(study.checkpoints, config.checkpoint_schedule) if _is_whole(pretraining) else ()
    if budget.is_unresolved(config):
        return list(range(1, len(shares) + 1))
    return choose_steps(shares, config.total_steps, f"{CHECKPOINTS}={list(study.checkpoints)}")


def _is_whole(pretraining: Cell) -> bool:
    return pretraining.settings.start.is_fresh and pretraining.settings.pretrain.engine == NATIVE


def start_from(cell: Cell, step: int, data: TaskData) -> Cell:
    """The same fine-tuning from its pretraining's encoder after so many steps."""
    settings = dataclasses.replace(cell.settings, init=f"run:{cell.settings.start.run_id}@{step}")
    return dataclasses.replace(cell, id=identity.identify_finetune(settings, data, None), settings=settings)
