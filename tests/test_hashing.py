"""What enters an id, and how."""

from __future__ import annotations

import dataclasses

from omegaconf import OmegaConf

from selfpretrain.config import ModelConfig, Settings, iter_settings
from selfpretrain.door import to_dataclass
from selfpretrain.hashing import ADDED, compute_id, hash_section


def test_numbers_written_differently_are_one_run():
    ids = set()
    for text in ("peak_lr: 5e-4", "peak_lr: 0.0005", "peak_lr: 5.0e-04"):
        stage = to_dataclass({"pretrain": OmegaConf.to_container(OmegaConf.create(text))}, Settings)
        ids.add(compute_id({"pretrain": stage.pretrain}))
    for value in (1, 1.0):
        ids.add(compute_id({"pretrain": to_dataclass({"pretrain": {"peak_lr": value}}, Settings).pretrain}))
    assert len(ids) == 2
    assert all(len(run_id) == 12 for run_id in ids)


def test_none_is_left_out_of_the_identity():
    @dataclasses.dataclass
    class Later(ModelConfig):
        new_setting: int | None = None

    old = compute_id({"model": ModelConfig()})
    assert compute_id({"model": Later()}) == old
    assert compute_id({"model": Later(new_setting=0)}) != old


def test_stage_and_every_setting_name_the_run():
    ids = {compute_id({"stage": stage, "model": ModelConfig()}) for stage in ("pretrain", "finetune")}
    for change in ({"hidden_size": 128}, {"dropout_prob": 0.0}, {"init_scheme": "mimetic"}):
        ids.add(compute_id({"stage": "pretrain", "model": ModelConfig(**change)}))
    assert len(ids) == 5


def test_order_of_keys_does_not_name_the_run():
    assert compute_id({"a": 1, "b": {"c": 2, "d": 3}}) == compute_id({"b": {"d": 3, "c": 2}, "a": 1})


def test_settings_that_were_constants_stay_out_at_the_value_they_had():
    values = {key: value for key, _, value in iter_settings(Settings())}
    for key, value in ADDED.items():
        section, name = key.split(".")
        assert values[key] == value, key  # another default would be another run of the same settings
        config = getattr(Settings(), section)
        other = dataclasses.replace(config, **{name: "other" if isinstance(value, str) else value + 1})
        assert name not in hash_section(section, config) and name in hash_section(section, other)
