"""Seeds trained together: each is its separate run, in every file it leaves."""

from __future__ import annotations

import functools
import json
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from selfpretrain.config import (
    FinetuneConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    PretrainConfig,
    RuntimeConfig,
    TaskConfig,
)
from selfpretrain.data.examples import IGNORED, EncodedSplit, FinetuneBatches
from selfpretrain.model.dropout import Dropout
from selfpretrain.model.init import build_encoder
from selfpretrain.pretext.batches import PretrainBatches
from selfpretrain.pretext.blocks import SpecialIds
from selfpretrain.pretext.objectives import build_objective, count_mlm_steps
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.runs.folder import open_run
from selfpretrain.seeds import derive_seed, make_generator
from selfpretrain.stages.pretrain import MicroBatches
from selfpretrain.tasks.sequence import SequenceModel
from selfpretrain.tracking import NullTracker
from selfpretrain.train import checkpoint
from selfpretrain.train.keeper import Diverged, Evaluation, Keeper
from selfpretrain.train.learners import Member, StackedLearner, move, stack_arrays
from selfpretrain.train.optim import compute_depth_multiplier
from selfpretrain.train.trainer import Interrupted, Trainer
from tests.train.conftest import Failing

VOCAB, PAD = 60, 0
STEPS = 50
FINETUNINGS = (
    "finetune", "finetune padded", "finetune by the first token", "finetune padded spans", "finetune tags",
    "finetune padded tags",
)  # fmt: skip
SMALL = {"hidden_size": 16, "embedding_size": 8, "num_layers": 2, "num_heads": 2, "intermediate_size": 32, "max_positions": 24}  # fmt: skip
MODELS = {
    "mlm": ModelConfig(**(SMALL | {"embedding_size": 16}), family="roberta", type_vocab_size=1, layer_norm_eps=1e-5),
    "rtd": ModelConfig(**SMALL, generator_fraction=0.5),
}
MODELS["nsp"] = ModelConfig(**(SMALL | {"embedding_size": 16}), family="bert")
MODELS["mlm without dropout"] = ModelConfig(**{**vars(MODELS["mlm"]), "dropout_prob": 0, "attention_dropout_prob": 0})
MODELS["mlm muon"] = MODELS["mlm"]
MODELS["mlm rotary"] = ModelConfig(**{**vars(MODELS["mlm"]), "positions": "rotary"})
MODELS["rtd muon"] = MODELS["rtd after mlm"] = MODELS["rtd after mlm, muon"] = MODELS["rtd"]
OPTIM = {"precision": "fp32", "peak_lr": 2e-3, "warmup_steps": 5, "clip_norm": 0.5, "batch_size": 6}


def make(folder, module, batches, config, seed, total_steps=STEPS, multiplier=lambda _: 1.0, **runtime):
    run = open_run(folder, "pretrain", f"seed{seed}")
    run.path.mkdir(parents=True, exist_ok=True)
    options = {"progress": False, "device": "cpu", "log_every": 1, "save_every": 20, **runtime}
    keeper = Keeper(module, run, RuntimeConfig(**options), NullTracker())
    return Member(keeper, batches, config, total_steps, seed, multiplier)


def make_pretraining(folder, kind, seed, **options):
    model = MODELS[kind]
    name = "mlm_nsp" if kind == "nsp" else kind[:3]
    objective = ObjectiveConfig(name=name, mask_prob=0.2, mlm_fraction=0.4 if "after" in kind else 0.0)
    tokens = np.random.default_rng(7).integers(5, VOCAB, 3000).astype(np.int32)
    special = SpecialIds(1, 2, 3, PAD, 4, (0, 1, 2, 3, 4), VOCAB)
    optimizer = "muon" if "muon" in kind else "adamw"
    config = PretrainConfig(
        **OPTIM, optimizer=optimizer, seq_len=24, packing={"mlm": "full", "mlm_nsp": "pairs"}.get(name, "segments")
    )
    entries, sizes = ["."] + ["a"] * VOCAB, np.full(100, 30, np.int32)
    blocks = BLOCK_BUILDERS[config.packing].build(tokens, sizes, special, entries, config, seed)
    mlm_steps = count_mlm_steps(objective, STEPS)
    batches = PretrainBatches(blocks, objective, config.batch_size, seed, mlm_steps)
    module = build_objective(model, objective, VOCAB, PAD, derive_seed(seed, "init"))
    member = make(folder, module, MicroBatches(batches, 3, trims=True), config, seed, **options)

    @torch.no_grad()
    def evaluate(_):
        torch.manual_seed(99)  # an evaluation may disturb torch's random state
        member.keeper.module.eval()
        return {"score": -float(member.keeper.module(move(batches.get_held_out(), torch.device("cpu")))[0])}

    member.keeper.evaluation = Evaluation(evaluate, {15, 30, options.get("total_steps", STEPS)}, best_of="score")
    return member


def make_finetuning(folder, kind, seed, **options):
    rng = np.random.default_rng(3)
    label_kind, sequences = ("choice", 3) if "choice" in kind else ("class", 1)
    lengths = rng.integers(3, 24, 40 * sequences)
    tokens = [rng.integers(5, VOCAB, length).astype(np.int32) for length in lengths]
    labels = rng.integers(0, 3, (40, 2) if "spans" in kind else 40)  # of spans the first and the last token
    label_kind = "span" if "spans" in kind else label_kind
    if "tags" in kind:  # a third of the tokens is labelled, and always the second
        label_kind = "token"
        marked = [np.where(rng.random(n) < 0.3, rng.integers(0, 3, n), IGNORED) for n in lengths]
        labels = np.fromiter((np.r_[row[:1], 1, row[2:]] for row in marked), object, 40)
    split = EncodedSplit([str(i) for i in range(40)], tokens, lengths // 2, labels)
    model, pooling = MODELS["rtd"], "cls" if "first" in kind else "mean"
    config = FinetuneConfig(**OPTIM, layerwise_lr_decay=0.8, pooling=pooling, head="gelu")
    encoder = build_encoder(model, VOCAB, PAD, seed)
    task = TaskConfig(label_kind=label_kind, label_names=["a", "b", "c"])
    module = SequenceModel(encoder, config, task, derive_seed(seed, "head"))
    multiplier = functools.partial(compute_depth_multiplier, num_layers=model.num_layers, decay=0.8)
    packed = "padded" not in kind
    batches = FinetuneBatches(split, config.batch_size, 3 if packed else 2, seed, PAD, True, packed)
    return make(folder, module, batches, config, seed, multiplier=multiplier, **options)


def read_rows(member):
    """metrics.jsonl without the one number that is a time."""
    rows = [json.loads(line) for line in (member.keeper.run.path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]


def load(member, name):
    """All tensors of a checkpoint, and what was written beside them."""
    folder = member.keeper.run.checkpoints / name
    state = checkpoint.load_json(folder / "state.json")
    del state["checksums"]
    parts = [checkpoint.load_tensors(folder / f"{part}.safetensors") for part in ("model", "optimizer")]
    return parts[0] | parts[1], state


def assert_same(members, others, exactly=False):
    """The same files, to the bit or to 1e-5."""
    tolerance = 0 if exactly else 1e-5
    for member, other in zip(members, others, strict=True):
        names = sorted(path.name for path in other.keeper.run.checkpoints.iterdir())
        assert sorted(path.name for path in member.keeper.run.checkpoints.iterdir()) == names
        for name in names:
            (tensors, state), (wanted, wanted_state) = load(member, name), load(other, name)
            assert tensors.keys() == wanted.keys()
            for key in wanted:
                torch.testing.assert_close(tensors[key], wanted[key], rtol=0, atol=tolerance, msg=f"{name} {key}")
            same = state.keys() == wanted_state.keys() and state["step"] == wanted_state["step"]
            assert state == wanted_state if exactly else same
        for row, wanted_row in zip(read_rows(member), read_rows(other), strict=True):
            assert row == (wanted_row if exactly else pytest.approx(wanted_row, abs=1e-5, rel=3e-5))


@pytest.mark.parametrize(
    "kind", ["mlm", "mlm without dropout", "mlm muon", "mlm rotary", "nsp", "rtd", "rtd after mlm", *FINETUNINGS]
)
def test_each_seed_is_its_separate_run(tmp_path, kind):
    make_one = make_finetuning if kind in FINETUNINGS else make_pretraining
    alone = [make_one(tmp_path / "alone", kind, seed, save_every=25) for seed in (3, 4)]
    for member in alone:
        Trainer([member]).train()
    members = [make_one(tmp_path / "together", kind, seed, save_every=25) for seed in (3, 4)]
    Trainer(members).train()
    assert_same(members, alone)
    for member, other in zip(members, alone, strict=True):
        for name, value in other.keeper.module.named_parameters():
            torch.testing.assert_close(member.keeper.module.get_parameter(name), value, rtol=0, atol=1e-5, msg=name)
    rows = [read_rows(member) for member in members]
    assert {row["step"] for row in rows[0]} == {*range(1, STEPS + 1)}
    norms = np.array([[row["grad_norm"] for row in each if "grad_norm" in row] for each in rows])
    assert (norms > OPTIM["clip_norm"]).mean() > 0.3 and np.ptp(norms, axis=0).min() > 5e-5  # each clipped by its own
    first, second = (members[i].keeper.module.get_parameter("encoder.layers.0.up.weight") for i in (0, 1))
    assert (first - second).abs().max() > 0.01


def test_examples_of_several_sequences_are_stacked(tmp_path):
    alone, together = (
        [make_finetuning(tmp_path / name, "finetune a choice", seed) for seed in (3, 4)] for name in ("a", "b")
    )
    for member in alone:
        Trainer([member]).train()
    Trainer(together).train()
    for member, other in zip(together, alone, strict=True):
        for name, value in other.keeper.module.named_parameters():
            # added to every option alike, it has no gradient but what rounding leaves, which Adam scales up
            if name != "head.out.bias":
                torch.testing.assert_close(member.keeper.module.get_parameter(name), value, rtol=0, atol=1e-5, msg=name)


def test_filled_up_sequences_are_hidden_and_remembered():
    short = {"input_ids": np.array([[5, 6]]), "labels": np.array([1]), "num_tokens": np.asarray(2)}
    long = {"input_ids": np.array([[7, 8, 9]]), "labels": np.array([2]), "num_tokens": np.asarray(2),
            "attention_mask": np.array([[True, True, False]])}  # fmt: skip
    stacked = stack_arrays([short, long])
    assert stacked["input_ids"].tolist() == [[[5, 6, 0]], [[7, 8, 9]]]
    assert stacked["attention_mask"].tolist() == [[[True, True, False]], [[True, True, False]]]
    assert stacked["labels"].tolist() == [[1], [2]] and stacked["num_tokens"].tolist() == [2, 2]
    assert stacked["own_lengths"].tolist() == [2, 3]
    assert "attention_mask" not in stack_arrays([short, short])
    packed = [{"input_ids": np.ones((1, n)), "lengths": np.array([n - 3, 3])} for n in (5, 7)]
    stacked = stack_arrays(packed)
    assert stacked.keys() == {"own_lengths", "input_ids", "lengths"}
    assert stacked["lengths"].tolist() == [[2, 3], [4, 3]] and stacked["input_ids"].shape == (2, 1, 7)


@pytest.mark.parametrize("kind", FINETUNINGS)
def test_the_fine_tunings_above_were_of_different_lengths(tmp_path, kind):
    members = [make_finetuning(tmp_path, kind, seed) for seed in (3, 4, 5)]
    lengths = [
        arrays["own_lengths"]
        for step in range(STEPS)
        for _, arrays in StackedLearner.join([member.batches[step] for member in members])
    ]
    assert np.mean([len(set(own.tolist())) > 1 for own in lengths]) > 0.8


# stopping and going on


def train_stacked(folder, kind, spoil=lambda members: None, **options):
    make_one = make_finetuning if kind in FINETUNINGS else make_pretraining
    members = [make_one(folder, kind, seed, total_steps=24, save_every=10, **options) for seed in (3, 4)]
    spoil(members)
    Trainer(members).train()
    return members


@pytest.mark.parametrize(
    "kind",
    [
        "nsp",
        "rtd",
        "rtd muon",
        "rtd after mlm",
        "rtd after mlm, muon",
        "finetune",
        "finetune padded",
        "finetune padded spans",
        "finetune tags",
    ],
)
def test_killed_and_continued_is_the_same_to_the_bit(tmp_path, kind):
    straight = train_stacked(tmp_path / "a", kind)

    def kill(members):
        members[1].batches = Failing(members[1].batches, 17)

    with pytest.raises(RuntimeError, match="killed"):
        train_stacked(tmp_path / "b", kind, kill)
    assert_same(train_stacked(tmp_path / "b", kind), straight, exactly=True)


def test_stopped_by_a_signal_all_are_saved(tmp_path):
    options = {"keep_checkpoints": 1, "log_every": 4}  # 15: in the midst of a line
    straight = train_stacked(tmp_path / "a", "mlm", **options)

    def stop(members):
        evaluate = members[0].keeper.evaluation.function
        members[0].keeper.evaluation.function = lambda _: os.kill(os.getpid(), signal.SIGTERM) or evaluate(0)

    with pytest.raises(Interrupted) as stopped:
        train_stacked(tmp_path / "b", "mlm", stop, **options)
    assert stopped.value.code == 75 and "step 15 of run seed3+seed4" in stopped.value.message
    for seed in (3, 4):
        checkpoints = open_run(tmp_path / "b", "pretrain", f"seed{seed}").checkpoints
        assert checkpoint.list_steps(checkpoints) == [15]
    assert_same(train_stacked(tmp_path / "b", "mlm", **options), straight, exactly=True)


def test_a_run_begun_together_goes_on_alone_and_the_other_way_round(tmp_path):
    straight = train_stacked(tmp_path / "a", "mlm")

    def kill(members):
        members[0].batches = Failing(members[0].batches, 12)

    with pytest.raises(RuntimeError, match="killed"):
        train_stacked(tmp_path / "b", "mlm", kill)
    alone = [make_pretraining(tmp_path / "b", "mlm", seed, total_steps=24, save_every=10) for seed in (3, 4)]
    for member in alone:
        Trainer([member]).train()
    assert_same(alone, straight)

    for seed in (3, 4):
        member = make_pretraining(tmp_path / "c", "mlm", seed, total_steps=24, save_every=10)
        member.batches = Failing(member.batches, 12)
        with pytest.raises(RuntimeError, match="killed"):
            Trainer([member]).train()
    assert_same(train_stacked(tmp_path / "c", "mlm"), straight)


# divergence


class Toy(nn.Module):
    """Two layers with dropout between them; loss: squared error."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.dropout, self.second = nn.Linear(4, 16), Dropout(0.3), nn.Linear(16, 1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3

    def forward(self, batch):
        out = self.second(self.dropout(torch.tanh(self.first(batch["input_ids"]))))
        loss = (out.squeeze(-1) - batch["labels"]).pow(2).mean()
        return loss, {"loss": loss.detach()}


class Rows:
    """Four examples a step; at ``bad_step`` (counted from 1) the label is not finite."""

    def __init__(self, seed, bad_step):
        self.seed, self.bad_step = seed, bad_step

    def __getitem__(self, step):
        x = make_generator(self.seed, "order", step).standard_normal((4, 4)).astype(np.float32)
        labels = x.sum(1) + np.float32("inf" if step + 1 == self.bad_step else 0)
        return [(0.5, {"input_ids": x[i : i + 2], "labels": labels[i : i + 2]}) for i in (0, 2)]


def make_toys(folder, bad_steps, seeds=(3, 4, 5), **options):
    options = {"total_steps": 20, "save_every": 3, "log_every": 1, **options}
    members = []
    for seed in seeds:
        module, batches = Toy(seed), Rows(seed, bad_steps.get(seed))
        member = make(
            folder, module, batches, OptimConfig(precision="fp32", peak_lr=0.05, warmup_steps=3), seed, **options
        )
        member.keeper.evaluation = Evaluation(lambda _, m=module: {"score": float(m.first.weight.detach().sum())}, {8, 16}, best_of="score")  # fmt: skip
        members.append(member)
    return members


@pytest.mark.parametrize("log_every", [1, 5, 100])
def test_a_seed_that_diverges_leaves_and_the_others_go_on(tmp_path, log_every):
    alone = make_toys(tmp_path / "a", {}, (3, 5), log_every=log_every)
    for member in alone:
        Trainer([member]).train()
    members = make_toys(tmp_path / "b", {4: 8}, log_every=log_every)
    Trainer(members).train()
    assert_same([members[0], members[2]], alone)
    assert members[0].keeper.run.status == "missing"  # the trainer marks divergence alone
    run = members[1].keeper.run
    assert run.status == "diverged" and "not finite at step 8;" in run.note
    assert str(run.checkpoints / "step_000000006") in run.note
    assert checkpoint.list_steps(run.checkpoints) == [3, 6]
    metrics = run.path / "metrics.jsonl"
    assert not metrics.exists() or "NaN" not in metrics.read_text()


def test_several_diverge_one_after_the_other(tmp_path):
    [alone] = make_toys(tmp_path / "a", {}, (4,))
    Trainer([alone]).train()
    members = make_toys(tmp_path / "b", {3: 12, 5: 2})
    Trainer(members).train()
    assert [member.keeper.run.status for member in members] == ["diverged", "missing", "diverged"]
    assert_same([members[1]], [alone])


def test_where_all_diverge_it_says_so(tmp_path):
    members = make_toys(tmp_path, {3: 4, 4: 4, 5: 9})
    with pytest.raises(Diverged, match="not finite at step 9"):
        Trainer(members).train()
    assert [member.keeper.run.status for member in members] == ["diverged"] * 3


def test_an_evaluation_that_is_not_finite_is_divergence(tmp_path):
    members = make_toys(tmp_path, {})
    members[0].keeper.evaluation.function = lambda _: {"score": float("nan")}
    Trainer(members).train()
    assert [member.keeper.run.status for member in members] == ["diverged", "missing", "missing"]
    assert "at step 8" in members[0].keeper.run.note
