"""Layers that begin as one and part later: against plain copies moved by hand, and who decides when."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from selfpretrain.config import ModelConfig, ObjectiveConfig, PretrainConfig, RuntimeConfig
from selfpretrain.pretext.batches import PretrainBatches
from selfpretrain.pretext.blocks import SpecialIds
from selfpretrain.pretext.objectives import build_objective, count_mlm_steps
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.runs.folder import open_run
from selfpretrain.stages.pretrain import MicroBatches
from selfpretrain.tracking import NullTracker
from selfpretrain.train.keeper import Keeper
from selfpretrain.train.learners import Member, StackedLearner, move
from selfpretrain.train.muon import Muon
from selfpretrain.train.optim import clip_gradients
from selfpretrain.train.sharing import Sharing, Stack, copy_first_unit, correlate, list_units, vote
from selfpretrain.train.trainer import Trainer
from tests.train.conftest import Failing

VOCAB, PAD, LAYERS, STEPS = 60, 0, 4, 20
SMALL = {"hidden_size": 16, "num_layers": LAYERS, "num_heads": 2, "intermediate_size": 32, "max_positions": 24}
PLAIN = {"dropout_prob": 0.0, "attention_dropout_prob": 0.0}
# one schedule and one decay for all parameters, so that torch's own optimizer is the reference; some steps clip
CONFIG = PretrainConfig(
    precision="fp32", peak_lr=2e-3, schedule="constant", warmup_steps=0, decay_all=True, bias_correction=True,
    clip_norm=1.2, batch_size=6, seq_len=24, total_steps=STEPS, weight_sharing="fixed", share_until=0.5,
)  # fmt: skip
CPU = torch.device("cpu")


def build(name, config, seed=0, dropout=PLAIN, mlm_fraction=0.0):
    """A small model as it begins, and its batches."""
    family = (
        {"embedding_size": 16, "family": "roberta", "type_vocab_size": 1} if name == "mlm" else {"embedding_size": 8}
    )
    model = ModelConfig(**SMALL, **family, **dropout, generator_fraction=0.5)
    objective = ObjectiveConfig(name=name, mask_prob=0.2, mlm_fraction=mlm_fraction, disc_weight=5.0)
    tokens, sizes = np.random.default_rng(7).integers(5, VOCAB, 3000).astype(np.int32), np.full(100, 30, np.int32)
    special = SpecialIds(1, 2, 3, PAD, 4, (0, 1, 2, 3, 4), VOCAB)
    blocks = BLOCK_BUILDERS["full"].build(tokens, sizes, special, ["."] + ["a"] * VOCAB, config, seed)
    batches = PretrainBatches(blocks, objective, config.batch_size, seed, count_mlm_steps(objective, STEPS))
    module = build_objective(model, objective, VOCAB, PAD, seed)
    copy_first_unit(module, config.share_unit)
    return module, MicroBatches(batches, 3)


def make(folder, config, name="mlm", seed=0, hook=None, batches=None, **options):
    module, own = build(name, config, seed, **options)
    run = open_run(folder, "pretrain", f"seed{seed}")
    run.path.mkdir(parents=True, exist_ok=True)
    runtime = RuntimeConfig(progress=False, device="cpu", log_every=1, save_every=4)
    keeper = Keeper(module, run, runtime, NullTracker())
    keeper.sharing = Sharing(config, dict(module.named_parameters()), STEPS)
    return Member(keeper, batches or own, config, STEPS, seed, hook=hook)


def read_rows(member):
    rows = [json.loads(line) for line in (member.keeper.run.path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in rows]


def list_stacks(module):
    return [module.encoder.layers, *([module.generator.layers] if hasattr(module, "generator") else [])]


def are_equal(layers):
    first = layers[0].state_dict()
    return all(torch.equal(first[name], value) for layer in layers for name, value in layer.state_dict().items())


# against copies moved by hand


def backward(module, micro_batches):
    for weight, arrays in micro_batches:
        (module(move(arrays, CPU))[0] * weight).backward()


def clip_by_hand(parameters, all_parameters):
    norm = torch.sqrt(sum(parameter.grad.double().pow(2).sum() for parameter in parameters))
    for parameter in all_parameters:
        parameter.grad = parameter.grad * min(1.0, CONFIG.clip_norm / (float(norm) + 1e-6))
    return float(norm)


def train_by_hand(name, config, take_step):
    """``take_step(step)`` moves the parameters of the module that ``take_step.module`` is given first; the norms."""
    module, batches = build(name, config)
    unit, until, norms = config.share_unit, round(config.share_until * STEPS), []
    for layers in list_stacks(module):
        for place in range(unit, LAYERS):
            layers[place].load_state_dict(layers[place % unit].state_dict())
    step_by = take_step(module)
    for step in range(STEPS):
        module.zero_grad()
        backward(module, batches[step])
        copies = set()
        for layers in list_stacks(module) if step < until else ():
            for place in range(unit):
                for same in zip(*(layer.parameters() for layer in layers[place::unit]), strict=True):
                    mean = torch.stack([parameter.grad for parameter in same]).mean(0)
                    for parameter in same:
                        parameter.grad = mean.clone()
                    copies |= set(same[1:])
        norms.append(clip_by_hand([p for p in module.parameters() if p not in copies], list(module.parameters())))
        step_by(step)
    return module, norms


def by_torch(kind, **options):
    def prepare(module):
        optimizer = kind(module.parameters(), **options)
        return lambda step: optimizer.step()

    return prepare


ADAMW = by_torch(torch.optim.AdamW, lr=CONFIG.peak_lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01)


def by_muon(module):
    optimizer = Muon(dict(module.named_parameters()), CONFIG)
    return lambda step: optimizer.step(CONFIG.peak_lr, step)


def assert_close(module, other, atol=1e-6):
    for name, value in other.named_parameters():
        torch.testing.assert_close(module.get_parameter(name), value, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize(
    ("name", "optimizer", "unit"), [("mlm", "adamw", 1), ("rtd", "adamw", 2), ("mlm", "muon", 2), ("rtd", "muon", 1)]
)
def test_tied_layers_are_copies_that_move_by_their_mean_gradient(tmp_path, name, optimizer, unit):
    config = dataclasses.replace(CONFIG, optimizer=optimizer, share_unit=unit)
    checked = []

    def look(step, named):  # at the weights before the step
        parts = [layers[i::unit] for layers in list_stacks(member.keeper.module) for i in range(unit)]
        checked.append([are_equal(layers) for layers in parts])

    member = make(tmp_path, config, name, hook=look)
    Trainer([member]).train()
    expected, norms = train_by_hand(name, config, ADAMW if optimizer == "adamw" else by_muon)
    assert_close(member.keeper.module, expected)
    rows = read_rows(member)
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-4)
    assert min(norms) < CONFIG.clip_norm < max(norms)
    assert all(map(all, checked[:11])) and not any(map(any, checked[11:]))  # 10 steps are tied, the 11th is not
    assert [row["encoder_groups"] for row in rows] == [1] * 10 + [LAYERS // unit] * 10
    stacks = ["encoder"] if name == "mlm" else ["encoder", "generator"]
    assert member.keeper.sharing.describe() == dict.fromkeys(stacks, [10] * (LAYERS // unit - 1))


def test_the_same_functions_around_plain_gradient_descent():
    config = dataclasses.replace(CONFIG, share_until=0.6)
    module, batches = build("mlm", config)
    named = dict(module.named_parameters())
    sharing, optimizer = Sharing(config, named, STEPS), torch.optim.SGD(named.values(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad()
        backward(module, batches[step])
        clip_gradients(sharing.average(step, named)[0], CONFIG.clip_norm)
        optimizer.step()
        sharing.copy_weights(named)
    expected, _ = train_by_hand("mlm", config, by_torch(torch.optim.SGD, lr=0.1, momentum=0.9))
    assert_close(module, expected)
    untied, _ = train_by_hand("mlm", dataclasses.replace(config, share_until=0.01), by_torch(torch.optim.SGD, lr=0.1))
    assert (module.encoder.layers[1].up.weight - untied.encoder.layers[1].up.weight).abs().max() > 1e-3


def test_tied_layers_are_one_layer_and_part_with_its_moments(tmp_path):
    """One layer used again and again: its gradient, a sum, divided; then copied with AdamW's moments."""
    member = make(tmp_path, CONFIG)
    Trainer([member]).train()
    module, batches = build("mlm", CONFIG)
    layers = module.encoder.layers
    module.encoder.layers = nn.ModuleList([layers[0]] * LAYERS)

    def build_adamw():
        return torch.optim.AdamW(
            module.parameters(), lr=CONFIG.peak_lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01
        )

    optimizer = build_adamw()
    for step in range(STEPS):
        if step == STEPS // 2:
            one, moments = module.encoder.layers[0], optimizer.state
            module.encoder.layers = nn.ModuleList(copy.deepcopy(one) for _ in range(LAYERS))
            before = dict(module.named_parameters())
            optimizer = build_adamw()
            for name, parameter in before.items():
                source = one.get_parameter(name.split(".", 3)[3]) if ".layers." in name else parameter
                optimizer.state[parameter] = copy.deepcopy(moments[source])
        module.zero_grad()
        backward(module, batches[step])
        if step < STEPS // 2:
            for parameter in module.encoder.layers[0].parameters():
                parameter.grad /= LAYERS
        clip_by_hand(list(module.parameters()), list(module.parameters()))
        optimizer.step()
    assert_close(member.keeper.module, module)


def test_copies_are_equal_to_the_bit_also_where_an_optimizer_rounds_by_place(tmp_path):
    config = dataclasses.replace(CONFIG, share_until=1.0, optimizer="muon")
    member = make(tmp_path, config, "rtd")
    trainer = Trainer([member])
    take = trainer.learner.optimizer.step

    def step_unevenly(lr, step):
        take(lr, step)
        member.keeper.module.encoder.layers[2].up.weight.data.mul_(1 + 1e-6)

    trainer.learner.optimizer.step = step_unevenly
    trainer.train()
    state = trainer.learner.optimizer.get_state()
    assert all(are_equal(layers) for layers in list_stacks(member.keeper.module))
    for name in ("m.generator.layers.{}.up.bias", "v.encoder.layers.{}.attention_norm.weight",
                 "momentum.encoder.layers.{}.down.weight"):  # fmt: skip
        assert all(torch.equal(state[name.format(0)], state[name.format(i)]) for i in range(1, LAYERS)), name
    assert member.keeper.sharing.describe() == dict.fromkeys(["encoder", "generator"], [None] * 3)


def test_a_hook_sees_each_copys_own_gradient(tmp_path):
    seen, norms = [], []

    def halve(step, named):
        first, second = (named[f"encoder.layers.{i}.up.weight"].grad for i in (0, 1))
        seen.append(torch.equal(first, second))
        for parameter in named.values():
            parameter.grad.mul_(0.5)
        norms.append(parameter.grad.norm())

    members = [make(tmp_path / str(i), CONFIG, hook=hook) for i, hook in enumerate([None, halve])]
    for member in members:
        Trainer([member]).train()
    assert seen == [False] * STEPS
    plain, halved = (read_rows(member)[0]["grad_norm"] for member in members)
    assert halved == pytest.approx(plain / 2, rel=1e-6)


# who decides


def test_units_are_consecutive_layers_of_each_network():
    names = [f"{network}.layers.{i}.{part}" for network in ("encoder", "generator") for i in range(4) for part in "ab"]
    units = list_units(["encoder.embeddings.word.weight", *names, "head.norm.bias"], 2)
    assert list(units) == ["encoder", "generator"]
    assert units["encoder"] == [
        [f"encoder.layers.{i}.{part}" for i in pair for part in "ab"] for pair in ((0, 1), (2, 3))
    ]


def test_groups_are_what_has_not_parted():
    stack = Stack([["a"]] * 5, [None, 7, None, 3], [0] * 4)
    assert [stack.list_groups(step) for step in (2, 3, 6, 7)] == [
        [[0, 1, 2, 3, 4]], [[0, 1, 2, 3], [4]], [[0, 1, 2, 3], [4]], [[0, 1], [2, 3], [4]],
    ]  # fmt: skip


def test_votes():
    assert vote([0.4, 0.6, 0.4], 0.5, together=True) == [True] * 3
    assert vote([0.4, 0.6], 0.5, together=True) == [False] * 2  # half are not more than half
    assert vote([0.4, 0.5, 0.6], 0.5, together=False) == [True, False, False]


def test_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    parts = [[rng.normal(size=shape) + 3 for shape in ((4, 5), (7,))] for _ in range(2)]
    flat = [np.concatenate([part.ravel() for part in each]) for each in parts]
    found = correlate(*([torch.from_numpy(part) for part in each] for each in parts))
    assert float(found) == pytest.approx(np.corrcoef(*flat)[0, 1], abs=1e-12)


def run_checks(kind, agreeing, until, every=5):
    """Five one-layer units; ``agreeing(step)`` are the neighbours whose gradients correlate. The sharing after ``until`` steps."""
    config = dataclasses.replace(CONFIG, weight_sharing=kind, share_until=0.1, share_check_every=every)
    named = {f"encoder.layers.{i}.weight": nn.Parameter(torch.zeros(6)) for i in range(5)}
    sharing, groups = Sharing(config, named, 1000), []
    patterns = [torch.tensor([1.0, -1, 0, 0, 0, 0]), torch.tensor([0.0, 0, 1, -1, 0, 0])]  # no correlation
    for step in range(until):
        turn = 0
        for place, parameter in enumerate(named.values()):
            turn += place > 0 and place - 1 not in agreeing(step)
            parameter.grad = patterns[turn % 2].clone()
        _, measures = sharing.average(step, named)
        assert ("encoder_correlation" in measures) == (step > 0 and step % every == 0 and groups[-1] < 5)
        groups.append(int(measures["encoder_groups"]))
    return sharing, groups


def test_adaptive_parts_all_after_three_checks_in_a_row():
    sharing, groups = run_checks("adaptive", lambda step: [3], 20)
    assert sharing.describe() == {"encoder": [15] * 4} and groups == [1] * 15 + [5] * 5
    assert run_checks("adaptive", lambda step: [0, 3], 40)[0].describe() == {"encoder": [None] * 4}  # half are not more
    # the check at step 10 begins anew
    broken, _ = run_checks("adaptive", lambda step: [0, 1, 2] if step == 10 else [], 40)
    assert broken.describe() == {"encoder": [25] * 4}
    between, _ = run_checks("adaptive", lambda step: [] if step % 5 else [0, 1, 2, 3], 40)  # where nobody looks
    assert between.describe() == {"encoder": [None] * 4}


def test_multistep_splits_where_neighbours_differ():
    sharing, groups = run_checks("multistep", lambda step: [0, 2, 3], 30)
    assert sharing.describe() == {"encoder": [None, 15, None, None]} and groups == [1] * 15 + [2] * 15
    later, groups = run_checks("multistep", lambda step: [0, 2, 3] if step < 20 else [2], 50)
    assert later.describe() == {"encoder": [30, 15, None, 30]} and groups == [1] * 15 + [2] * 15 + [4] * 20


def test_what_has_no_correlation_decides_nothing():
    config = dataclasses.replace(CONFIG, weight_sharing="adaptive", share_check_every=1)
    for gradient in (None, torch.zeros(3), torch.full((3,), torch.nan)):
        named = {f"encoder.layers.{i}.weight": nn.Parameter(torch.zeros(3)) for i in range(2)}
        sharing = Sharing(config, named, 10)
        for step in range(8):
            for parameter in named.values():
                parameter.grad = None if gradient is None else gradient.clone()
            assert sharing.average(step, named)[1].keys() == {"encoder_groups"}
        assert sharing.describe() == {"encoder": [None]}


# several seeds, and stopping


def test_seeds_that_are_stacked_are_their_separate_runs(tmp_path):
    config = dataclasses.replace(CONFIG, optimizer="muon", share_unit=2, share_until=0.6)
    options = {"name": "rtd", "mlm_fraction": 0.3, "dropout": {}}  # so that the generator has no gradients at first
    alone, together = ([make(tmp_path / where, config, seed=seed, **options) for seed in (3, 4)] for where in "ab")
    for member in alone:
        Trainer([member]).train()
    trainer = Trainer(together)
    trainer.train()
    assert isinstance(trainer.learner, StackedLearner)
    for member, other in zip(together, alone, strict=True):
        assert_close(member.keeper.module, other.keeper.module, atol=1e-5)
        for row, expected in zip(read_rows(member), read_rows(other), strict=True):
            assert row == pytest.approx(expected, abs=1e-5, rel=3e-5)
        assert member.keeper.sharing.describe() == other.keeper.sharing.describe()


def test_seeds_that_part_by_their_gradients_are_not_stacked(tmp_path):
    config = dataclasses.replace(CONFIG, weight_sharing="adaptive", share_check_every=2)
    with pytest.raises(AssertionError, match="trained alone"):
        Trainer([make(tmp_path, config, seed=seed) for seed in (3, 4)])


@pytest.mark.parametrize("kind", ["fixed", "adaptive", "multistep"])
def test_continued_at_any_step_it_is_the_same_run_bit_for_bit(tmp_path, kind):
    looks = {} if kind == "fixed" else {"share_until": 0.1, "share_threshold": 0.999, "share_check_every": 3}
    config = dataclasses.replace(CONFIG, weight_sharing=kind, **looks)
    straight = make(tmp_path / "straight", config, "rtd", dropout={})
    trainer = Trainer([straight])
    trainer.train()
    expected = trainer.learner.optimizer.get_state()
    parted = straight.keeper.sharing.describe()
    assert parted == dict.fromkeys(["encoder", "generator"], [10 if kind == "fixed" else 9] * 3)
    _, batches = build("rtd", config)
    for killed_at in (6, 10, 11, 13):  # checks before steps 3, 6 and 9; checkpoints after 4, 8 and 12 steps
        with pytest.raises(RuntimeError, match="killed"):
            member = make(tmp_path / "killed", config, "rtd", dropout={}, batches=Failing(batches, killed_at))
            Trainer([member]).train()
    resumed = make(tmp_path / "killed", config, "rtd", dropout={})
    trainer = Trainer([resumed])
    trainer.train()
    state = trainer.learner.optimizer.get_state()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    for name, value in straight.keeper.module.named_parameters():
        assert torch.equal(resumed.keeper.module.get_parameter(name), value), name
    assert read_rows(resumed) == read_rows(straight)
    assert resumed.keeper.sharing.get_state() == straight.keeper.sharing.get_state()
