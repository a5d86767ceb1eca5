"""Fine-tuning's own choices."""

from __future__ import annotations

import pytest
import torch

from selfpretrain.config import FinetuneConfig, RuntimeConfig
from selfpretrain.stages.finetune import choose_evaluation_steps, choose_layout


@pytest.mark.parametrize(
    ("device", "compiles", "seq_len", "packed", "micro_batch_size"),
    [("cpu", False, 128, True, 32), ("cpu", False, 512, True, 8), ("cpu", False, 10_000, True, 1),
     ("cpu", True, 128, False, 8), ("cuda", False, 128, False, 8)],
)  # fmt: skip
def test_texts_are_packed_where_shapes_need_not_recur(device, compiles, seq_len, packed, micro_batch_size):
    config, runtime = FinetuneConfig(seq_len=seq_len), RuntimeConfig(compile=compiles)
    assert choose_layout(config, runtime, torch.device(device)) == (packed, micro_batch_size)
    config.micro_batch_size = 4
    assert choose_layout(config, runtime, torch.device(device)) == (packed, 4)


def test_validation_passes_are_spread_evenly_and_bounded():
    config = FinetuneConfig(batch_size=10)
    assert choose_evaluation_steps(config, 60, 200) == {20, 40, 60}
    assert choose_evaluation_steps(config, 400, 200) == set(range(40, 401, 40))  # 20 epochs, 10 passes
    assert choose_evaluation_steps(FinetuneConfig(batch_size=10, max_evals=2), 400, 200) == {200, 400}
