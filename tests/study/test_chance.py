"""Kinds of chance as factors: which seeds the runs get, which runs are one, and what is said of it."""

from __future__ import annotations

import pytest

from selfpretrain.config import SeedConfig, StudyConfig, UserError
from selfpretrain.door import compose_settings
from selfpretrain.report.collect import collect_results
from selfpretrain.report.comparisons import list_seeds as list_run_seeds
from selfpretrain.runs.identity import get_pretrain_seeds
from selfpretrain.stats import Levels
from selfpretrain.study.chance import describe_chance, list_levels, set_levels

CROSSED = "study.seed_factors={init:2,data:3}"


def list_seeds(plan, condition):
    """The three seeds of each run of a condition, and its fine-tuning's."""
    (group,) = (group for group in plan.groups if group.condition == condition)
    seeds = [cell.settings.seeds for cell in group.choose_cells()]
    return [(*get_pretrain_seeds(each).values(), each.finetune_seed) for each in seeds]


def test_levels_are_enumerated_with_the_last_factor_first():
    levels = list_levels(StudyConfig(seed_factors={"init": 2, "data": 3}, pretrain_seeds=6))
    assert [tuple(each.values()) for each in levels] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert list_levels(StudyConfig(pretrain_seeds=2)) == [{}, {}]
    given = set_levels(SeedConfig(mask_seed=7), 4, levels[4])
    assert get_pretrain_seeds(given) == {"init": 1, "data": 1, "mask": 7}


def test_crossed_runs_have_every_combination_and_keep_the_other_seeds(make_plan):
    plan = make_plan(CROSSED, "study.pretrain_seeds=6")
    expected = [(init, data, 0, 1000 * (3 * init + data)) for init in range(2) for data in range(3)]
    assert list_seeds(plan, "own") == expected
    assert len(plan.pretrainings) == 6
    # the first is the first seed of a study that varies all together
    usual = make_plan()
    assert {*plan.pretrainings} & {*usual.pretrainings} == {next(iter(usual.pretrainings))}
    # without a pretraining the combinations of one initialisation are its fine-tunings
    cells = collect_results(plan, []).cells
    of_none = [cell for cell in cells if cell.condition == "none"]
    assert len({cell.run_id for cell in of_none}) == 6
    assert list_run_seeds(of_none) == [(init, 0) for init in range(2) for _ in range(3)]
    of_own = list_run_seeds(cell for cell in cells if cell.condition == "own")
    assert of_own == [Levels((init, data)) for init in range(2) for data in range(3)]
    assert all(isinstance(seed, Levels) for seed in of_own)


def test_a_factor_that_a_condition_has_not_leaves_its_fine_tunings(make_plan):
    plan = make_plan("study.seed_factors={data:2}", "study.pretrain_seeds=2")
    assert list_seeds(plan, "own") == [(0, 0, 0, 0), (0, 1, 0, 1000)]
    of_none = [cell for cell in collect_results(plan, []).cells if cell.condition == "none"]
    assert {seeds[0] for seeds in list_seeds(plan, "none")} == {0}
    assert list_run_seeds(of_none) == [(0, 0), (1, 0)]


def test_nothing_set_leaves_every_id(make_plan):
    plan, again = make_plan(), make_plan("study.seed_factors=null")
    assert [*plan.pretrainings] == [*again.pretrainings]
    assert list_seeds(plan, "own") == [(0, 0, 0, 0), (1, 1, 1, 1000)]
    assert not any(cell.levels for cell in collect_results(plan, []).cells)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("study.seed_factors={order:3}", "has order: 3; allowed: .*init, data, mask"),
        ("study.seed_factors={init:1}", "has init: 1; allowed: .*at least 2"),
        ("study.seed_factors={init:two}", "has init: two"),
        ("study.seed_factors=3", "is no mapping"),
        (CROSSED, "study.pretrain_seeds=2 and .*6 together. differ; leave one of them out"),
    ],
)
def test_wrong_factors(make_plan, given, message):
    with pytest.raises(UserError, match=message):
        make_plan(given)  # which types study.pretrain_seeds=2


def test_a_factor_with_a_seed_of_its_own_or_without_one(make_plan):
    with pytest.raises(UserError, match=r"seeds\.init_seed is one value, and study.seed_factors varies init"):
        make_plan("study.seed_factors={init:2}", "seeds.init_seed=3")
    with pytest.raises(
        UserError, match=r"has data, and fairseq \(condition fairseq:own\) has one seed for data order and masks"
    ):
        make_plan("study.seed_factors={data:2}", "study.conditions=[none,fairseq:own]")
    make_plan("study.seed_factors={init:2}", "study.conditions=[none,fairseq:own]")


def test_what_intervals_hold_over(tiny, local):
    def describe(*given):
        return describe_chance(compose_settings("study", [*tiny, *local(), *given]))

    rest = "fine-tuning and test examples"
    assert describe() == f"pretraining seeds (initialisation, data order and masks together), {rest}"
    kept = f"pretraining seeds (data order and masks together), {rest}; the same for all: initialisation"
    assert describe("seeds.init_seed=4") == kept
    one = describe("study.seed_factors={init:5}")
    assert one == f"initialisation, {rest}; the same for all: data order and masks"
    crossed = describe("study.seed_factors={data:3,init:2}")
    assert crossed == f"initialisation (2) crossed with data order (3), {rest}; the same for all: masks"
