"""Rules of checkpoints against lists by hand, and what is refused."""

from __future__ import annotations

import pytest

from selfpretrain.config import UserError
from selfpretrain.door import compose_settings
from selfpretrain.pretext.schedules import (
    MULTIBERTS,
    choose_checkpoint_shares,
    choose_steps,
    find_fewest_steps,
    list_shares,
    round_shares,
)


def test_the_published_schedule_at_its_published_length():
    published = [*range(20_000, 200_001, 20_000), *range(300_000, 2_000_001, 100_000)]
    assert [*choose_steps(list_shares("multiberts"), 2_000_000, ""), 2_000_000] == published
    assert len(published) == 28


def test_rules_by_hand():
    assert list_shares(None) == ()
    assert list_shares("log:4") == (0.001, 0.01, 0.1)
    assert list_shares("log:2") == (0.001,)
    assert list_shares("every:.3") == list_shares("every:0.3") == (0.3, 0.6, 0.9)
    assert list_shares("every:.25") == (0.25, 0.5, 0.75)  # the last step is kept anyway
    assert choose_steps(list_shares("log:4"), 5000, "") == [5, 50, 500]
    assert choose_steps(list_shares("every:.3"), 10, "") == [3, 6, 9]
    assert choose_checkpoint_shares([0.5, "schedule", 0.25], "every:.25") == (0.25, 0.5, 0.75)


def test_snapshots_by_shares_may_fall_together_and_a_schedule_may_not():
    assert round_shares([0.5, 0.49, 0.999, 0.001], 8) == [1, 4]
    with pytest.raises(UserError, match=r"x=y has 3 checkpoints, and 8 steps .* needs at least \d+ "):
        choose_steps([0.5, 0.49], 8, "x=y")


@pytest.mark.parametrize("shares", [MULTIBERTS, (0.5,), (0.3, 0.6, 0.9), (0.001, 0.01, 0.1), (0.1, 0.11)])
def test_the_fewest_steps_are_enough_and_one_less_is_not(shares):
    fewest = find_fewest_steps(shares)
    for steps in range(fewest, 3 * fewest):
        assert len(choose_steps(shares, steps, "")) == len(shares)
    with pytest.raises(UserError, match=f"at least {fewest} "):
        choose_steps(shares, fewest - 1, "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["pretrain.checkpoint_schedule=weekly"], "weekly is no schedule; allowed: multiberts, log:<number"),
        (["pretrain.checkpoint_schedule=log:1"], "log:1 is no schedule"),
        (["pretrain.checkpoint_schedule=log:1.5"], "log:1.5 is no schedule"),
        (["pretrain.checkpoint_schedule=every:1"], "every:1 is no schedule"),
        (["pretrain.checkpoint_schedule=every:0"], "every:0 is no schedule"),
        (["pretrain.checkpoint_schedule=every:.0000001"], "every:.0000001 is no schedule"),
        (["pretrain.checkpoint_schedule=multiberts"], "28 checkpoints, and 2 steps .* at least 95 .pretrain.total_steps"),
        (["study.checkpoints=[.5,.6]"], "has 3 checkpoints, and 2 steps"),
        (["study.checkpoints=[1.5]"], "has 1.5; allowed: numbers above 0 and below 1, and schedule"),
        (["study.checkpoints=[true]"], "has True; allowed"),
        (["study.checkpoints=[schedule]"], "needs pretrain.checkpoint_schedule=<rule>"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(tiny, local, given, message):
    with pytest.raises(UserError, match=message) as caught:
        compose_settings("study", [*tiny, *local(), *given])
    assert "\n" not in str(caught.value)
