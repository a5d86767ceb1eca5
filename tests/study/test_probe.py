"""The time estimate: its arithmetic, its limit, and that it is of the size of what then happens."""

from __future__ import annotations

import time

import pytest

from selfpretrain.study import probe
from selfpretrain.study.cost import Costs
from selfpretrain.study.probe import OVERHEAD_SECONDS, build_clock, estimate_seconds, fit_line, measure_pretraining
from selfpretrain.study.sweep import run_cell

WAVES = ("corpora", "pretraining", "choosing rates and starts", "fine-tuning")


@pytest.mark.parametrize(
    ("small", "large", "line"),
    [
        ((10, 3.0), (30, 5.0), (2.0, 0.1)),
        ((10, 1.0), (30, 3.0), (0.0, 0.1)),  # nothing fixed
        ((10, 0.5), (30, 3.0), (0.0, 0.1)),  # a negative fixed part is noise
        ((10, 4.0), (30, 3.0), (0.0, 0.1)),  # more work in less time is noise
        ((30, 3.0), (30, 3.0), (0.0, 0.1)),  # one size only
    ],
)
def test_the_line_through_two_sizes(small, large, line):
    assert fit_line(small, large) == pytest.approx(line)


def test_a_slow_step_is_timed_at_the_size_that_fits_and_scaled(make_plan, monkeypatch):
    """Half a second per sequence and 0.3 for the optimizer: the limit allows a part of the batch of 16."""
    timed = []

    def take(module, batches, *_):
        rows = sum(len(arrays["input_ids"]) for _, arrays in batches[0])
        timed.append(rows)
        return 0.3 + 0.5 * rows

    monkeypatch.setattr(probe, "time_steps", take)
    plan = make_plan("pretrain.batch_size=16", "pretrain.total_steps=10")
    costs, cells = Costs(plan), list(plan.pretrainings.values())
    speed = measure_pretraining(costs, cells, 13.0)
    assert timed == [1, 4]  # four steps of one sequence take 3.2 s of the 13 s
    assert speed.fixed + speed.per_flop * costs.compute_work(cells[0]).step_flops == pytest.approx(0.3 + 0.5 * 16)
    timed.clear()
    measure_pretraining(costs, cells, 1e9)
    assert timed == [1, 16]  # never more than the batch
    timed.clear()
    measure_pretraining(costs, cells, 0.0)
    assert timed == [1]


def test_all_kinds_of_runs_have_a_time_and_nothing_is_written(make_plan, tmp_path):
    plan = make_plan(
        "study.models=[roberta_tiny,electra_tiny]", "model.type_vocab_size=2", "finetune.lr_grid=[1e-3,1e-2]"
    )
    before = sorted(tmp_path.rglob("*"))
    estimate = estimate_seconds(plan, Costs(plan), limit_seconds=1.0)
    assert sorted(tmp_path.rglob("*")) == before
    assert not any(estimate.unknown.values())
    assert [name for name, seconds in estimate.seconds.items() if seconds > 0] == list(WAVES)
    assert estimate.total == sum(estimate.seconds.values())


def test_what_is_done_takes_no_time(make_plan, run_waves):
    plan = make_plan()
    run_waves(plan, "corpora", "pretraining")
    estimate = estimate_seconds(plan, Costs(plan), limit_seconds=1.0)
    assert (estimate.seconds["corpora"], estimate.seconds["pretraining"]) == (0, 0)
    assert estimate.seconds["fine-tuning"] > 0


def test_what_waits_for_its_corpus_is_left_out(make_plan):
    unlimited = ("study.conditions=[own,bookwiki]", "study.general=docs", "study.general_mb=null")
    plan = make_plan("budget=epochs", "pretrain.budget_amount=2", *unlimited)
    estimate = estimate_seconds(plan, Costs(plan), limit_seconds=1.0)
    assert estimate.unknown == {"corpora": 1, "pretraining": 2, "choosing rates and starts": 0, "fine-tuning": 0}
    assert estimate.seconds["pretraining"] > 0  # of the own text


def test_a_budget_in_seconds_takes_those_seconds(make_plan):
    plan = make_plan("budget=seconds", "pretrain.budget_amount=100")
    estimate = estimate_seconds(plan, Costs(plan), limit_seconds=1.0)
    assert estimate.seconds["pretraining"] == 2 * (100 + OVERHEAD_SECONDS)


def test_the_estimate_is_of_the_size_of_what_happens(make_plan, run_waves):
    plan = make_plan(
        "model.hidden_size=128", "model.embedding_size=128", "model.num_layers=2", "runtime.save_every=1000",
        "pretrain.total_steps=120", "pretrain.batch_size=16", "finetune.max_steps=60", "finetune.min_steps=60",
    )  # fmt: skip
    run_waves(plan, "corpora")
    costs = Costs(plan)
    for cells in (list(plan.pretrainings.values()), dict(plan.iter_waves())["fine-tuning"]):
        expected = build_clock(costs, cells, 2.0)(cells[0])
        begun = time.perf_counter()
        assert run_cell(cells[0], "test") == "done"
        assert 0.05 < expected / (time.perf_counter() - begun) < 20  # a busy machine slows either
