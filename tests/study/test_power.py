"""``selfpretrain plan power=.8``: what a study can find as planned, and the cheapest design for a wished difference."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from selfpretrain.config import StudyConfig, TaskConfig, UserError
from selfpretrain.runs.predictions import write_predictions
from selfpretrain.stats import METRICS
from selfpretrain.stats.power import Chance, Contrast, Design, compute_detectable, compute_power, expect_variance
from selfpretrain.study.power import count_claims, find_known, list_explanations, look_ahead, price, read_components
from selfpretrain.study.preview import print_preview

GIVEN = "components={seeds: .01, finetuning: .005, examples: .4}"
CONTRAST = Contrast(Chance(0.01, 0.005), Chance(0.01, 0.005), 0.4)


def read_row(text, name) -> list[str]:
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines() if line[:1] in "│┃"]
    return next(row for row in rows if row[0] == name)[1:]


def test_components_as_given(make_plan, show):
    plan = make_plan("power=.8", "detect=.2", GIVEN, "study.pretrain_seeds=3")
    number = len(plan.data["local"].splits["test"].ids)
    text = show(plan)
    assert "to find a difference of .200 with a chance of 80%" in text
    examples, planned, detectable, alone, cheapest, hours = read_row(text, "local, roberta_tiny")
    expected = expect_variance(CONTRAST, Design(3, 1, number))
    assert (examples, planned) == (str(number), "3 x 1")
    assert float(detectable) == pytest.approx(compute_detectable(expected, num_claims=1), abs=6e-4)
    assert detectable == alone  # own against none is the one claim of this study
    assert "found clear, corrected by Holm's rule over 1 claim at its strictest, with a chance of 80%" in text
    assert (
        "components of local, roberta_tiny: {seeds: .0100, finetuning: .0050, examples: .4000}, from components" in text
    )
    assert (cheapest, hours) == ("-", "-")  # 20 examples are too few, whatever the seeds
    needed = int(re.search(r"up to 100 seeds; from about ([\d,]+) on", text)[1].replace(",", ""))
    most = expect_variance(CONTRAST, Design(100, 10, needed))
    assert compute_power(most, 0.2) >= 0.8


def test_the_cheapest_design_has_its_hours(make_plan, show):
    text = show(make_plan("power=.8", "detect=.6", GIVEN, "finetune.lr_grid=[1e-3,1e-4]"))
    *_, cheapest, hours = read_row(text, "local, roberta_tiny")
    seeds, finetunings = map(int, cheapest.split(" x "))
    plan = make_plan()
    number = len(plan.data["local"].splits["test"].ids)
    assert compute_power(expect_variance(CONTRAST, Design(seeds, finetunings, number)), 0.6) >= 0.8
    assert float(hours) > 0


def test_hours_are_those_of_the_plans_own_estimate(make_plan):
    plan = make_plan("finetune.lr_grid=[1e-3,1e-4]")
    cells = {cell.name: cell for cell in plan.pretrainings.values()}
    seconds = {("pretrain", name): 100.0 for name in cells}
    for group in plan.groups:
        seconds |= {("finetune", cell.name): 7.0 for cell in group.choose_cells()}
    prices, once = price(plan.groups, plan, seconds)
    assert (prices.pretraining, prices.finetuning) == (100.0, 14.0)  # own alone is pretrained
    assert once == 14.0  # of each condition the second rate
    assert price(plan.groups, plan, {}) == (None, 0.0)


def test_a_pilot_is_learnt_from(make_plan, run_waves, show, monkeypatch):
    plan = make_plan("power=.8", "detect=.3", "study.finetune_seeds=2")
    with pytest.raises(
        UserError, match=r"set components='\{seeds: .01, finetuning: .005, examples: .4\}', or run a pilot"
    ):
        print_preview(plan, Console(file=io.StringIO()))
    run_waves(plan, "corpora", "pretraining", "choosing rates and starts", "fine-tuning")
    known = find_known(plan)["roberta_tiny", "local"]
    assert known.splits and known.source == "8 finished runs of none, own"
    assert known.contrast.base == known.contrast.expt and known.contrast.examples >= 0
    text = show(plan)
    assert "from 8 finished runs of none, own" in text and read_row(text, "local, roberta_tiny")[1] == "2 x 2"
    single = find_known(make_plan("power=.8", "study.finetune_seeds=1"))["roberta_tiny", "local"]
    assert not single.splits and single.contrast.expt.finetuning == 0
    (row,) = look_ahead(plan, {("roberta_tiny", "local"): single}, {})
    assert row.planned.finetunings == 1 and (row.cheapest is None or row.cheapest.finetunings == 1)
    told = list_explanations(plan, {("roberta_tiny", "local"): single}, [row])
    assert "one fine-tuning of each seed, so that its part is in that of the seeds" in told[1]


def test_several_tasks_are_one_study(make_plan, local, tmp_path, examples):
    local([{**row, "body": row["body"] + "!"} for row in examples], "y.csv")
    tasks = ", ".join(
        f"{{name: {name}, path: {tmp_path / f'{name}.csv'}, text: body, label: topic}}" for name in ("x", "y")
    )
    plan = make_plan(f"study.tasks=[{tasks}]", "power=.8", "detect=.6", GIVEN)
    assert count_claims(plan) == 2
    seconds = {("pretrain", cell.name): 10.0 for cell in plan.pretrainings.values()}
    for group in plan.groups:
        seconds |= {("finetune", cell.name): 1.0 for cell in group.choose_cells()}
    first, second, together = look_ahead(plan, find_known(plan), seconds)
    assert together.name == ("all", "") and together.cheapest.seeds == max(first.cheapest.seeds, second.cheapest.seeds)
    design = together.cheapest
    assert together.seconds == design.seeds * (20 + 4 * design.finetunings)
    assert first.alone < first.detectable


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (".4", "is no mapping"),
        ({"seed": 0.1}, "components has 'seed'; allowed: seeds, finetuning, examples"),
        ({"seeds": -0.1, "finetuning": 0, "examples": 1}, "components has seeds: -0.1; allowed"),
        ({"seeds": "x", "finetuning": 0, "examples": 1}, "a standard deviation of at least 0"),
        ({"seeds": 0.1}, "components lacks finetuning, examples; set all of"),
    ],
)
def test_components_that_are_none(given, message):
    with pytest.raises(UserError) as caught:
        read_components(given)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_interactions_may_be_given():
    found = read_components({"seeds": 0, "finetuning": 0, "examples": 0.1, "finetuning_x_examples": 0.3})
    assert found.base == Chance(0.0, 0.0, 0.0, 0.3) and found.examples == 0.1


def test_wrong_numbers_are_one_line(command, tiny, local):
    for word, message in {
        "power=1.2": "power=1.2 is out of range; set power=<number> above 0 and below 1",
        "detect=0": "detect=0.0 is out of range",
        GIVEN: "set power=.8, too",
        "power=.8 components=.4": "components=0.4 is no mapping",
        "power=.8": "set components=",
    }.items():
        outcome = command("plan", *tiny, *local(), *word.split(" ", 1 if word.startswith("power=.8 ") else 0))
        assert outcome.code == 2 and message in outcome.err and outcome.err.count("\n") == 1


def test_the_command(command, tiny, local):
    outcome = command("plan", *tiny, *local(), "power=.8", "detect=.5", GIVEN)
    assert (outcome.code, outcome.err) == (0, "")
    assert "to find a difference of .500 with a chance of 80%" in outcome.out and "disk" in outcome.out


def test_a_condition_without_a_score_teaches_nothing(tmp_path, monkeypatch):
    """By a metric of one's own that a run leaves undefined; the others are learnt from."""
    (tmp_path / "my_power.py").write_text(
        "def score(labels, predictions):\n"
        "    constant = predictions.min() == predictions.max()\n"
        "    return float('nan') if constant else float((labels == predictions).mean())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rng, labels, groups = np.random.default_rng(0), np.arange(60) % 2, []
    for condition in ("none", "own", "bookwiki"):
        cells = []
        for seed in range(3):
            found = (
                np.where(rng.random(60) < 0.8, labels, 1 - labels) if (condition, seed) != ("own", 1) else 0 * labels
            )
            path = tmp_path / f"{condition}{seed}"
            write_predictions(
                path / "predictions" / "test.parquet",
                [*map(str, range(60))],
                labels,
                np.eye(2, dtype=np.float32)[found],
            )
            cells.append(
                SimpleNamespace(
                    status="done", pretrain_seed=seed, finetune_seed=0, id=path.name, run=SimpleNamespace(path=path)
                )
            )
        groups.append(SimpleNamespace(model="m", condition=condition, task="t", choose_cells=lambda cells=cells: cells))
    data = SimpleNamespace(
        task=TaskConfig(name="t", label_kind="class", metric="my_power:score"),
        splits={"test": SimpleNamespace(groups=None)},
    )
    settings = SimpleNamespace(components=None, power=0.8)
    plan = SimpleNamespace(data={"t": data}, study=StudyConfig(num_replicates=200), settings=settings, groups=groups)
    try:
        assert find_known(plan)["m", "t"].source == "6 finished runs of none, bookwiki"
        plan.groups = groups[:2]
        with pytest.raises(UserError, match="of no task are two conditions with two pretraining seeds finished"):
            find_known(plan)
    finally:
        METRICS.pop("my_power:score", None)
        sys.modules.pop("my_power", None)
