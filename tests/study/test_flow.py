"""What can be carried out when: each cell waits for its own start, and nothing else."""

from __future__ import annotations

import pytest

from selfpretrain.study.flow import Flow
from selfpretrain.study.plan import FINETUNING, PRETRAINING, SELECTION


def end(flow, cell, status="done", score=0.5):
    cell.run.start("", "")
    if status == "done":
        cell.run.finish({"scores": {"validation": score, "test": score}, "held_out": {"loss": 1.0}})
    else:
        cell.run.set_status(status, "on purpose")
    flow.decide(cell)


def take(flow):
    ready, flow.ready = flow.ready, []
    return [(wave, cell.condition, cell.pretrain_seed) for wave, cell in ready], [cell for _, cell in ready]


@pytest.fixture
def plan(make_plan, run_waves):
    plan = make_plan("finetune.lr_grid=[1e-3,3e-3]", "study.pretrain_seeds=2", "model.init_scheme=normal")
    run_waves(plan, "corpora")
    return plan


def test_a_slow_pretraining_holds_up_its_own_fine_tunings_alone(plan):
    flow = Flow.of_runs(plan)
    names, cells = take(flow)
    assert names == [(PRETRAINING, "own of local", 0), (PRETRAINING, "own of local", 1)] + [(SELECTION, "none", 0)] * 2
    first, second, *selectors = cells
    for cell, score in zip(selectors, (0.4, 0.6), strict=True):
        end(flow, cell, score=score)
    names, (other,) = take(flow)
    assert names == [(FINETUNING, "none", 1)]
    assert other.settings.finetune.peak_lr == selectors[1].settings.finetune.peak_lr  # the recipe that was better
    end(flow, second)
    assert not flow.ready  # the choice is the first seed's
    end(flow, first)
    names, selectors = take(flow)
    assert names == [(SELECTION, "own", 0)] * 2
    for cell in selectors:
        end(flow, cell)
    assert take(flow)[0] == [(FINETUNING, "own", 1)]


def test_a_pretraining_that_fails_leaves_the_choice_to_the_next(plan):
    flow = Flow.of_runs(plan)
    first, second, *_ = take(flow)[1]
    end(flow, first, "failed")
    assert {cell.pretrain_seed for cell in flow.blocked} == {0} and not flow.ready
    end(flow, second)
    names, selectors = take(flow)
    assert names == [(SELECTION, "own", 1)] * 2
    for cell in selectors:
        end(flow, cell)
    assert not flow.ready and {cell.pretrain_seed for cell in flow.blocked} == {0}


def test_what_is_decided_already_is_passed_over(plan):
    flow = Flow.of_runs(plan)
    while cells := take(flow)[1]:
        for cell in cells:
            end(flow, cell)
    again = Flow.of_runs(plan)
    assert not again.ready and not again.blocked


def test_a_choice_without_a_result_ends_a_group(plan):
    flow = Flow.of_runs(plan)
    selectors = take(flow)[1][2:]
    end(flow, selectors[0])
    flow.decide(selectors[1])  # nothing is on disk
    assert not flow.ready
