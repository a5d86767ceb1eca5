"""What is said of a task's data before anything is trained."""

from __future__ import annotations

import dataclasses

from selfpretrain.door import compose_settings
from selfpretrain.study.facts import describe_task


def test_the_length_is_the_one_that_a_card_sets(tiny, local):
    given = [setting for setting in tiny if not setting.startswith(("finetune.seq_len", "model.max_positions"))]
    settings = compose_settings("finetune", [*given, *local(), "finetune.recipe=card"])
    task = dataclasses.replace(settings.task, finetune={"roberta": {"seq_len": 16}})
    assert "finetune.seq_len=16 " in describe_task(dataclasses.replace(settings, task=task))[-1]
