"""The settings of a condition's pretraining."""

from __future__ import annotations

import dataclasses

import pytest

from selfpretrain.config import ModelConfig, PretrainConfig, Settings
from selfpretrain.door import check
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.pretraining import prepare_pretraining

TIED = [
    {"weight_sharing": "fixed", "share_unit": 2, "share_until": 0.5},
    {"weight_sharing": "multistep", "share_threshold": 0.2, "share_check_every": 10},
]


@pytest.mark.parametrize("tied", TIED)
def test_layers_are_tied_where_they_begin_and_not_in_a_later_stage(tied):
    def prepare(init, **pretrain):
        settings = Settings(init=init, model=ModelConfig(num_layers=4), pretrain=PretrainConfig(**pretrain))
        own = find_condition("own")
        return prepare_pretraining(settings, own, own, settings.study, "docs", lambda name: settings.task)

    first, later = (prepare(init, **tied) for init in ("none", "run:abc"))
    assert first.pretrain == dataclasses.replace(PretrainConfig(), **tied)
    assert later.pretrain == prepare("run:abc").pretrain == PretrainConfig()
    check(later)
