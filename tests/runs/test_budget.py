"""Budgets: the steps they become, what is refused, and that they never rename a run."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from selfpretrain.config import ModelConfig, PretrainConfig, Settings, UserError
from selfpretrain.door import check, compose_settings
from selfpretrain.pretext.objectives import count_step_flops
from selfpretrain.runs import budget
from selfpretrain.runs.folder import open_run
from selfpretrain.runs.identity import identify_pretrain

TINY = ModelConfig(hidden_size=16, embedding_size=16, num_layers=1, num_heads=2, intermediate_size=32)
VOCAB = 300
SIZES = np.full(50, 100, np.int32)  # documents of 99 tokens and a separator: 4 sequences of 29 tokens each
SEQUENCES = 200
STEP_TOKENS = 4 * 32


def make(name="tokens", amount=None, **pretrain) -> Settings:
    config = PretrainConfig(batch_size=4, seq_len=32, budget=name, budget_amount=amount, **pretrain)
    return dataclasses.replace(Settings(), model=TINY, pretrain=config)


STEP_FLOPS = count_step_flops(TINY, Settings().objective, VOCAB, 4, 32)


@pytest.mark.parametrize(
    ("name", "amount", "steps"),
    [
        ("tokens", 10 * STEP_TOKENS, 10),
        ("tokens", 10.4 * STEP_TOKENS, 10),
        ("tokens", 10.6 * STEP_TOKENS, 11),
        ("tokens", 1, 1),
        ("epochs", 1, SEQUENCES // 4),
        ("epochs", 2.5, round(2.5 * SEQUENCES / 4)),
        ("epochs", 1e-6, 1),
        ("flops", 7.0 * STEP_FLOPS, 7),
        ("flops", 1.0, 1),
        ("flops", 1e15, round(1e15 / STEP_FLOPS)),
    ],
)
def test_the_nearest_number_of_steps(name, amount, steps):
    settings = make(name, amount)
    assert budget.compute_total_steps(settings, SEQUENCES, VOCAB) == steps
    resolved = budget.resolve(settings, SIZES, VOCAB).pretrain
    assert (resolved.total_steps, resolved.budget, resolved.budget_amount) == (steps, "steps", None)


def test_steps_and_seconds_are_left_alone():
    for settings in (make("steps"), make("seconds", 60.0)):
        assert budget.resolve(settings, SIZES, VOCAB) is settings
        assert not budget.is_unresolved(settings.pretrain)
    assert budget.compute_total_steps(make("steps", total_steps=123), SEQUENCES, VOCAB) == 123


def test_an_equal_budget_costs_equal_flops():
    """ELECTRA and RoBERTa at the same FLOPs: different steps, the same cost within half a step."""
    amount, spent = 3e12, []
    for preset in ("electra_tiny", "roberta_tiny"):
        settings = compose_settings("pretrain", [f"model={preset}", "budget=flops", f"pretrain.budget_amount={amount}"])
        config = settings.pretrain
        step = count_step_flops(settings.model, settings.objective, 2000, config.batch_size, config.seq_len)
        spent.append(budget.compute_total_steps(settings, SEQUENCES, 2000) * step)
        assert abs(spent[-1] - amount) <= step / 2
    assert math.isclose(*spent, rel_tol=0.01)


def test_a_pass_over_documents_is_longer_where_each_is_padded():
    full = budget.resolve(make("epochs", 1, packing="full"), SIZES, VOCAB).pretrain
    assert (full.total_steps, budget.resolve(make("epochs", 1), SIZES, VOCAB).pretrain.total_steps) == (39, 50)


# names of runs


def test_a_run_has_one_name_however_its_length_was_said():
    by_steps = make("steps", total_steps=20)
    name = identify_pretrain(by_steps, "c")
    for how, amount in (
        ("tokens", 20 * STEP_TOKENS),
        ("epochs", 20 * 4 / SEQUENCES),
        ("flops", 20.0 * STEP_FLOPS),
    ):
        assert identify_pretrain(budget.resolve(make(how, amount), SIZES, VOCAB), "c") == name
    assert identify_pretrain(make("steps", total_steps=21), "c") != name


def test_seconds_name_a_run_and_its_preset_s_steps_do_not():
    name = identify_pretrain(make("seconds", 60.0), "c")
    assert identify_pretrain(make("seconds", 60.0, total_steps=7), "c") == name
    assert identify_pretrain(make("seconds", 61.0), "c") != name
    assert identify_pretrain(make("steps"), "c") != name
    # a budget that waits for its corpus has a name of its own, too
    assert identify_pretrain(make("epochs", 60.0), "c") != name


def test_steps_said_and_unsaid_name_one_run():
    said, unsaid = (compose_settings("pretrain", ["model=roberta_tiny", *more]) for more in (["budget=steps"], []))
    assert identify_pretrain(said, "c") == identify_pretrain(unsaid, "c")


# warm-up


def test_a_fixed_warmup_that_does_not_fit_is_refused():
    settings = make("tokens", 100 * STEP_TOKENS, warmup_steps=100, total_steps=10_000)
    with pytest.raises(UserError, match=r"warmup_steps=100 does not fit into the 100 steps of budget=tokens") as error:
        budget.resolve(settings, SIZES, VOCAB)
    assert "pretrain.warmup_steps=null pretrain.warmup_fraction=0.01" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["adaptive", "multistep"])
def test_a_length_without_the_checks_after_which_layers_part_is_refused(kind):
    """Wherever steps come to be what they are: of a budget, by a share, by halves. Three checks are needed."""
    tied = {"weight_sharing": kind, "share_check_every": 10}
    few = r"share_check_every=10 has not 3 checks, .* in the 30 steps of a pretraining; set it below 10$"
    for change, settings in (
        (lambda given: budget.resolve(given, SIZES, VOCAB), make("tokens", 30 * STEP_TOKENS, **tied)),
        (lambda given: budget.fix_steps(given, 30), make("seconds", 60.0, **tied)),
        (budget.take_share, make("steps", total_steps=60, length_share=0.5, **tied)),
        (lambda given: budget.halve(given, is_second=False), make("steps", total_steps=60, **tied)),
    ):
        with pytest.raises(UserError, match=few):
            change(settings)
    assert budget.resolve(make("tokens", 31 * STEP_TOKENS, **tied), SIZES, VOCAB).pretrain.total_steps == 31
    assert budget.take_share(make("seconds", 60.0, length_share=0.5, **tied)).pretrain.budget_amount == 30


def test_a_warmup_that_fits_and_one_as_a_fraction_stay():
    fits = budget.resolve(make("tokens", 101 * STEP_TOKENS, warmup_steps=100), SIZES, VOCAB)
    assert fits.pretrain.warmup_steps == 100
    share = budget.resolve(make("tokens", 2 * STEP_TOKENS, warmup_fraction=0.06), SIZES, VOCAB)
    assert (share.pretrain.warmup_steps, share.pretrain.warmup_fraction) == (None, 0.06)


# the door


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["budget=tokens"], "budget=tokens needs an amount: set pretrain.budget_amount=<tokens"),
        (["budget=seconds", "pretrain.budget_amount=null"], "budget=seconds needs an amount"),
        (["pretrain.budget_amount=1e9"], "pretrain.budget_amount=1000000000.0 needs a budget: budget=tokens"),
        (["budget=flops", "pretrain.budget_amount=-1"], "pretrain.budget_amount=-1.0 is out of range"),
        (["budget=epochs", "pretrain.budget_amount=0"], "set pretrain.budget_amount=<number> positive"),
        (["budget=epochs", "pretrain.budget_amount=nan"], "out of range"),
        (["pretrain.budget=words", "pretrain.budget_amount=1"], "pretrain.budget=words is not known; allowed: steps"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(overrides, said):
    with pytest.raises(UserError, match=said) as error:
        compose_settings("pretrain", overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", ["pretrain", "study", "report", "plan"])
@pytest.mark.parametrize("name", ["tokens", "epochs", "flops", "seconds"])
def test_every_budget_composes(command, name):
    settings = compose_settings(command, ["task=agnews", f"budget={name}", "pretrain.budget_amount=1e15"])
    assert (settings.pretrain.budget, settings.pretrain.budget_amount) == (name, 1e15)
    check(settings)


# what a run with seconds remembers


def test_steps_are_written_once_and_read_again(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    run.path.mkdir(parents=True)
    assert budget.read_steps(run) is None
    budget.write_steps(run, 321, 0.25)
    assert budget.read_steps(run) == 321
    (run.path / budget.FILE).write_text('{"total_st')
    with pytest.raises(UserError, match="is damaged; delete"):
        budget.read_steps(run)


@pytest.mark.parametrize(
    ("name", "amount", "said"),
    [("steps", None, ""), ("tokens", 1_280_000.0, "tokens, 1,280,000 for each pretraining"),
     ("epochs", 2.5, "epochs, 2.5 for each pretraining"), ("flops", 1e15, "flops, 1e+15 for each pretraining")],
)  # fmt: skip
def test_a_budget_in_words(name, amount, said):
    assert budget.describe(make(name, amount).pretrain) == said


def test_a_share_of_the_length_is_spelled_out_before_a_run_is_named():
    half = budget.take_share(make("steps", total_steps=101, warmup_steps=11, length_share=0.5)).pretrain
    assert (half.total_steps, half.warmup_steps, half.length_share) == (50, 6, 1)
    tokens = budget.take_share(make("tokens", 1000.0, length_share=0.25, warmup_fraction=0.1)).pretrain
    assert (tokens.budget_amount, tokens.warmup_steps, tokens.warmup_fraction) == (250, None, 0.1)
    assert budget.take_share(make("steps", total_steps=3, length_share=0.01)).pretrain.total_steps == 1
    whole = make("steps", total_steps=50, warmup_steps=6)
    assert budget.take_share(whole) == whole
    assert identify_pretrain(whole, "c") == identify_pretrain(
        budget.take_share(make("steps", total_steps=100, warmup_steps=12, length_share=0.5)), "c"
    )
