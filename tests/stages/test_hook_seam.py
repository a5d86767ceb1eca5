"""A hook from outside: one attribute of a training, which sees its summed gradients before they are clipped."""

from __future__ import annotations

import pytest
import torch

from selfpretrain.door import compose_settings
from selfpretrain.stages.finetune import Finetuning
from selfpretrain.stages.pretrain import Pretraining
from selfpretrain.train.checkpoint import load_encoder
from selfpretrain.train.engine import carry_out


@pytest.mark.parametrize(("stage", "kind", "folder"), [("pretrain", Pretraining, "encoder"), ("finetune", Finetuning, "model")])  # fmt: skip
def test_layers_that_share_their_gradients_stay_one(stage, kind, folder, tiny, local):
    steps = []

    def share(step, named):
        steps.append(step)
        for name, first in named.items():
            if ".layers.0." in name:
                second = named[name.replace(".layers.0.", ".layers.1.")]
                second.copy_(first)
                first.grad.add_(second.grad).div_(2)
                second.grad.copy_(first.grad)

    arguments = [*tiny, *local(), "model.num_layers=2", "finetune.layerwise_lr_decay=1"]
    training = kind(compose_settings(stage, arguments))
    training.hook = share
    run = carry_out(training, wait=True)
    assert run.status == "done" and steps == [0, 1]
    below, above = load_encoder(run.path / folder)[0].layers
    for name, value in below.named_parameters():
        assert torch.equal(value, above.get_parameter(name)), name
