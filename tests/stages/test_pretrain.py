"""Pretraining's own choices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfpretrain.config import ModelConfig, ObjectiveConfig, PretrainConfig
from selfpretrain.pretext.batches import PretrainBatches
from selfpretrain.pretext.blocks import SpecialIds
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.pretext.pairs import PairBlocks
from selfpretrain.pretext.segments import Marks, SegmentBlocks
from selfpretrain.stages.pretrain import MicroBatches

SMALL = ModelConfig(
    hidden_size=16, embedding_size=8, num_layers=2, num_heads=2, intermediate_size=32, max_positions=32,
    dropout_prob=0.0, attention_dropout_prob=0.0, generator_fraction=0.5, init_std=0.3,
)  # fmt: skip


@pytest.mark.parametrize("name", ["rtd", "mlm", "mlm_nsp"])
def test_rows_cut_to_what_is_needed_give_the_same_step(name):
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 40, 60).astype(np.int32)
    special, marks = SpecialIds(2, 3, 4, 0, 1, (0, 1, 2, 3, 4), 50), Marks(np.zeros(50, bool), np.zeros(50, bool))
    kind = PairBlocks if name == "mlm_nsp" else SegmentBlocks
    blocks = kind(
        rng.integers(5, 50, sizes.sum()).astype(np.int32), sizes, special, marks, PretrainConfig(seq_len=32), 0
    )
    objective = ObjectiveConfig(name=name)
    batches = PretrainBatches(blocks, objective, 12, 0)
    gradients, positions = [], []
    for micro_batches in (
        MicroBatches(batches, None),
        MicroBatches(batches, 5),
        MicroBatches(batches, None, trims=True),
    ):
        module = build_objective(SMALL, objective, 50, 0, 1)
        for weight, arrays in micro_batches[0]:
            loss, _ = module({key: torch.from_numpy(value) for key, value in arrays.items()})
            (loss * weight).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
        positions.append(sum(arrays["input_ids"].size for _, arrays in micro_batches[0]))
    assert positions[0] == positions[1] == 12 * 32 and positions[2] < 0.9 * positions[0]
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-5)
