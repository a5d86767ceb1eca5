"""The rules by which stages work, and by which it is said ahead what they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfpretrain.config import FinetuneConfig, PretrainConfig, RuntimeConfig, Settings, TaskConfig
from selfpretrain.sources.labelled import Split, TaskData
from selfpretrain.stages.work import (
    choose_evaluation_steps,
    choose_held_out_steps,
    choose_layout,
    count_checkpoints,
    count_steps,
    describe_corpus,
    describe_finetuning,
    describe_pretraining,
    may_trim,
    may_vary_shapes,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_shapes_recur_where_a_compiler_or_a_gpu_needs_them():
    assert may_vary_shapes(RuntimeConfig(), CPU)
    assert may_trim("fp32", RuntimeConfig(), CPU) and not may_trim("bf16", RuntimeConfig(), CPU)
    assert not may_trim("fp32", RuntimeConfig(), GPU)
    assert not may_vary_shapes(RuntimeConfig(compile=True), CPU) and not may_vary_shapes(RuntimeConfig(), GPU)


@pytest.mark.parametrize(
    ("device", "compiles", "seq_len", "packed", "micro_batch_size"),
    [(CPU, False, 128, True, 32), (CPU, False, 512, True, 8), (CPU, False, 10_000, True, 1),
     (CPU, True, 128, False, 8), (GPU, False, 128, False, 8)],
)  # fmt: skip
def test_texts_are_packed_where_shapes_need_not_recur(device, compiles, seq_len, packed, micro_batch_size):
    config, runtime = FinetuneConfig(seq_len=seq_len), RuntimeConfig(compile=compiles)
    assert choose_layout(config, runtime, device) == (packed, micro_batch_size)
    assert choose_layout(config, runtime, device, 4) == (packed, max(1, micro_batch_size // 4))  # four texts an example
    config.micro_batch_size = 4
    assert choose_layout(config, runtime, device) == (packed, 4)


@pytest.mark.parametrize(
    ("limits", "num_examples", "steps", "evaluations"),
    [({}, 100, 12, {4, 8, 12}), ({}, 5, 3, {1, 2, 3}), ({"min_steps": 20}, 100, 20, {4, 8, 12, 16, 20}),
     ({"max_steps": 2}, 100, 2, {2}), ({"epochs": 0.01}, 100, 1, {1}), ({"evals_per_epoch": 0}, 100, 12, {12}),
     ({"epochs": 40.0}, 32, 40, set(range(4, 41, 4)))],
)  # fmt: skip
def test_steps_and_evaluations_of_finetuning(limits, num_examples, steps, evaluations):
    config = FinetuneConfig(batch_size=32, **limits)
    assert count_steps(config, num_examples) == steps
    assert choose_evaluation_steps(config, steps, num_examples) == evaluations


def test_held_out_text_is_seen_now_and_then_and_at_the_end():
    assert choose_held_out_steps(PretrainConfig(), 10) == {10}
    assert choose_held_out_steps(PretrainConfig(eval_every=4), 10) == {4, 8, 10}
    assert choose_held_out_steps(PretrainConfig(eval_every=99), 10) == {10}


def test_checkpoints_that_are_kept():
    runtime = RuntimeConfig(save_every=10, keep_checkpoints=2, keep_steps=[5, 50])
    assert [count_checkpoints(runtime, steps) for steps in (4, 19, 49, 50, None)] == [0, 2, 3, 4, 4]


def test_both_orders_of_a_pair_are_trained_on_and_one_is_scored():
    task = TaskConfig(label_kind="class", label_names=["a", "b"], unordered_pair=True)
    splits = {
        name: Split([name] * 64, [("a", "b")] * 64, np.zeros(64, int)) for name in ("train", "validation", "test")
    }
    once, twice = (
        describe_finetuning(
            Settings(finetune=FinetuneConfig(batch_size=32, swap_pairs=swaps)), TaskData(task, splits, "", []), 300, 9
        )
        for swaps in (False, True)
    )
    assert (once.steps, twice.steps) == (6, 12)
    assert once.evaluation_flops == twice.evaluation_flops and once.disk["predictions"] == twice.disk["predictions"]


def test_every_option_of_a_choice_is_read():
    splits = {
        name: Split([name] * 64, [("a", "b", "c")] * 64, np.zeros(64, int)) for name in ("train", "validation", "test")
    }
    kinds = {"choice": ["0", "1"], "score": []}  # of each sequence one output, as a score has
    choice, score = (
        describe_finetuning(
            Settings(), TaskData(TaskConfig(label_kind=kind, label_names=names), splits, "", []), 300, 9
        )
        for kind, names in kinds.items()
    )
    assert choice.steps == score.steps and choice.step_flops == 2 * score.step_flops
    assert choice.evaluation_flops == 2 * score.evaluation_flops
    assert choice.disk["predictions"] - score.disk["predictions"] == 4 * 128
    assert choice.disk["encoders"] == score.disk["encoders"]


def test_work_of_unknown_size():
    assert describe_corpus(300, None).disk == {} and describe_corpus(300, 4000).disk == {"corpora": 2000}
    assert describe_corpus(100_000, 4000).disk == {"corpora": 4000}  # four bytes a token
    work = describe_pretraining(Settings(), 300, None)
    assert work.flops is work.training_flops is None and work.step_flops > 0 and work.disk["encoders"] > 0


def test_validation_passes_are_spread_evenly_and_bounded():
    config = FinetuneConfig(batch_size=10)
    assert choose_evaluation_steps(config, 60, 200) == {20, 40, 60}
    assert choose_evaluation_steps(config, 400, 200) == set(range(40, 401, 40))  # 20 epochs, 10 passes
    assert choose_evaluation_steps(FinetuneConfig(batch_size=10, max_evals=2), 400, 200) == {200, 400}
