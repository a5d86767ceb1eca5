from __future__ import annotations

import dataclasses
import json

import pytest

import selfpretrain.study.tasks as tasks_module
from selfpretrain.config import UserError
from selfpretrain.door import compose_settings
from selfpretrain.files import remove_folder
from selfpretrain.report.collect import collect_results
from selfpretrain.runs import identity
from selfpretrain.runs.folder import open_run, read_starts
from selfpretrain.study.cells import group_seeds
from selfpretrain.study.sweep import run_cell

TWO_STARTS = ["model.init_scheme=mimetic", "study.conditions=[none,mimetic,own]", "finetune.lr_grid=[1e-3,1e-4]"]


def list_recipes(plan, condition):
    return [recipe for group in plan.groups if group.condition == condition for recipe in group.recipes]


def test_none_may_have_either_start_and_the_others_have_their_own(make_plan):
    plan = make_plan(*TWO_STARTS)
    rates = (1e-3, 1e-4)
    assert list_recipes(plan, "none") == [(rate, scheme) for scheme in ("normal", "mimetic") for rate in rates]
    assert list_recipes(plan, "mimetic") == list_recipes(plan, "own") == [(rate, "mimetic") for rate in rates]
    usual = make_plan(*TWO_STARTS, "model.init_scheme=normal")
    assert list_recipes(usual, "none") == [(rate, "normal") for rate in rates]
    assert list_recipes(usual, "mimetic") == [(rate, "mimetic") for rate in rates]


def test_the_better_start_is_chosen_on_validation_and_then_every_seed_has_it(make_plan):
    plan = make_plan(*TWO_STARTS, "study.conditions=[none]")
    (group,) = plan.groups
    selectors = group.get_selectors()
    assert {(cell.pretrain_seed, cell.finetune_seed) for cell in selectors} == {(0, 0)}
    assert group.choose_recipe() is None
    for score, cell in zip((0.5, 0.6, 0.9, 0.7), selectors, strict=True):
        open_run(cell.settings.runtime.runs_dir, "finetune", cell.id).start("", "")
        assert group.choose_recipe() is None  # while one is still running
        cell.run.finish({"scores": {"validation": score}})
    assert group.choose_recipe() == (1e-3, "mimetic")
    chosen = group.choose_cells()
    assert len(chosen) == 2
    assert {cell.settings.model.init_scheme for cell in chosen} == {"mimetic"}
    assert [cell.key for cell in dict(plan.iter_waves())["fine-tuning"]] == [cell.key for cell in chosen]


def test_none_from_the_structured_start_is_the_control_itself(make_plan):
    plan = make_plan(*TWO_STARTS)
    none, control = ({c.id for cells in g.cells.values() for c in cells.values()} for g in plan.groups[:2])
    assert control < none


def test_runs_of_two_starts_are_not_trained_together(make_plan):
    plan = make_plan(*TWO_STARTS, "study.conditions=[none]", "finetune.lr_grid=[]")
    cells = [cell for cells in plan.groups[0].cells.values() for cell in cells.values()]
    assert [{cell.settings.model.init_scheme for cell in group} for group in group_seeds(cells, 4)] == [
        {"normal"}, {"mimetic"}
    ]  # fmt: skip


def test_none_is_scored_from_the_better_of_two_starts(make_plan):
    """The other seeds of ``none`` are trained from the start that did better on the first."""
    plan = make_plan("model.init_scheme=mimetic", "study.conditions=[none]")
    for name, cells in plan.iter_waves():
        for cell in cells:
            assert run_cell(cell, name) == "done"
    (group,) = plan.groups
    scores = {
        cell.settings.model.init_scheme: cell.run.read_result()["scores"]["validation"]
        for cell in group.get_selectors()
    }
    assert set(scores) == {"normal", "mimetic"}
    best = max(scores, key=lambda scheme: scores[scheme])
    found = collect_results(plan, []).cells
    assert [(cell.status, cell.init_scheme) for cell in found] == [("done", best)] * 2
    # weights drawn in two ways are two starts, and are on record as such
    hashes = {read_starts(cell.run.path)[0]["initial_weights"] for cell in group.get_selectors()}
    assert len(hashes) == 2


def test_a_run_that_goes_on_keeps_its_first_start_on_record(make_plan):
    plan = make_plan("study.conditions=[none]", "study.pretrain_seeds=1")
    for _, cells in plan.iter_waves():
        for cell in cells:
            assert run_cell(cell, "test") == "done"
    (cell,) = plan.groups[0].choose_cells()
    cell.run.set_status("running")  # as a kill would have left it
    assert run_cell(cell, "test") == "done"
    first, second = read_starts(cell.run.path)
    assert first["initial_weights"] == second["initial_weights"]
    assert (first["device"], first["precision"], first["world_size"]) == ("cpu", "fp32", 1)


# the vocabulary


@pytest.fixture
def general(monkeypatch):
    from selfpretrain.sources import documents

    real = documents.compute_fingerprint
    monkeypatch.setattr(
        documents, "compute_fingerprint",
        lambda corpus, task, runs_dir: corpus.card or real(corpus, task, runs_dir),
    )  # fmt: skip
    return ["tokenizer.source=general", "study.general=docs"]


def test_conditions_share_a_vocabulary_and_none_needs_no_corpus_for_it(make_plan, general):
    plan = make_plan(*general, "study.conditions=[none]")
    assert not plan.corpora
    plan = make_plan(*general, "study.conditions=[none,own,bookwiki]")
    assert len(plan.corpora) == 2
    assert {cell.settings.tokenizer.card for cell in plan.corpora.values()} == {"docs"}
    own = make_plan("study.conditions=[none]")  # tokenizer.source=own
    assert len(own.corpora) == 1


def test_single_commands_have_the_ids_of_the_study(make_plan, general, tiny, local):
    plan = make_plan(*general)
    finetuning = next(iter(plan.groups[0].cells.values()))[0, 0]
    alone = compose_settings("finetune", [*tiny, *local(), *general])
    assert identity.identify_vocabulary(alone) == identity.identify_vocabulary(finetuning.settings)
    name = identity.identify_finetune(alone, plan.data["local"], identity.identify_vocabulary(alone))
    assert name == finetuning.id
    pretraining = next(iter(plan.pretrainings.values()))
    alone = compose_settings("pretrain", [*tiny, *local(), *general])
    assert identity.identify_pretrain(alone, identity.identify_corpus(alone)) == pretraining.id


# cards


def test_a_task_s_card_sets_its_finetuning_below_the_command_line(make_plan, tmp_path, local):
    path = local()[1].partition("=")[2]
    task = {"name": "local", "path": path, "text": "body", "label": "topic", "finetune": {"roberta": {"epochs": 7, "batch_size": 2}}}  # fmt: skip
    tasks = "study.tasks=[" + json.dumps(task).replace('"', "") + "]"
    config = next(iter(make_plan(tasks, "finetune.recipe=card").groups[0].cells.values()))[0, 0].settings.finetune
    assert (config.epochs, config.batch_size) == (7, 4)  # the batch size is one of the test's overrides
    config = next(iter(make_plan(tasks).groups[0].cells.values()))[0, 0].settings.finetune
    assert config.epochs == 3  # the tiny preset and effort=quick keep their own


def test_no_two_fine_tunings_share_a_seed(make_plan):
    for offset in (1000, 7):
        plan = make_plan("study.conditions=[none]", "study.finetune_seeds=2", f"study.seed_offset={offset}")
        cells = [cell for cells in plan.groups[0].cells.values() for cell in cells.values()]
        assert {cell.settings.seeds.finetune_seed for cell in cells} == {0, 1, offset, offset + 1}


# numbers of labels


def list_train_ids(plan):
    return {name: data.splits["train"].ids for name, data in plan.data.items()}


def list_ids(group):
    return [cell.id for cells in group.cells.values() for cell in cells.values()]


def test_label_counts_are_nested_and_share_their_pretrainings(make_plan):
    plan = make_plan("study.label_counts=[8,all,4]")
    assert list(plan.data) == ["local@4", "local@8", "local"]
    few, more, every = (set(ids) for ids in list_train_ids(plan).values())
    assert (len(few), len(more)) == (4, 8) and few < more < every
    usual = make_plan()
    assert plan.pretrainings.keys() == usual.pretrainings.keys()
    assert {(g.task, g.condition) for g in plan.groups} == {(t, c) for t in plan.data for c in ("none", "own")}
    ids = {group.task: list_ids(group) for group in plan.groups if group.condition == "own"}
    assert ids["local"] == list_ids(usual.groups[-1])
    assert ids["local@4"] == list_ids(make_plan("task.max_train_examples=4").groups[-1])


def test_a_count_beyond_the_examples_is_all_of_them(make_plan):
    plan = make_plan("study.label_counts=[4,100000,200000]")
    assert list(plan.data) == ["local@4", "local"]
    assert plan.tasks["local"].max_train_examples is None


@pytest.mark.parametrize("wrong", ["0", "-5", "half", "1.5", "true"])
def test_wrong_label_counts(make_plan, wrong):
    with pytest.raises(UserError, match="allowed: numbers above 0, and all"):
        make_plan(f"study.label_counts=[4,{wrong}]")


def test_a_class_that_gets_fewer_of_more_labels_is_refused(make_plan, monkeypatch):
    """Largest remainders can take a label from a class when there are more to give."""
    whole = tasks_module.read_task

    def read(task, runs_dir):
        data = whole(task, runs_dir)
        ids = data.splits["train"].ids
        kept = ids[:5] if task.max_train_examples == 4 else ids[1:]
        return dataclasses.replace(
            data, splits={**data.splits, "train": dataclasses.replace(data.splits["train"], ids=kept)}
        )

    monkeypatch.setattr(tasks_module, "read_task", read)
    with pytest.raises(UserError, match="local@4 is not within local@8; change one of them by 1"):
        make_plan("study.label_counts=[4,8]")


# the curve


def test_the_curve_is_of_the_first_seed_and_of_what_was_kept(make_plan, run_waves):
    plan = make_plan("study.curve=[.5,.25]", "pretrain.total_steps=8", "study.conditions=[none,own]")
    (own,) = (group for group in plan.groups if group.condition == "own")
    assert {cell.settings.pretrain.snapshots == [] for cell in plan.pretrainings.values()} == {True, False}
    assert [list(plan.list_curve(group)) for group in plan.groups] == [[], [2, 4]]
    assert len(dict(plan.iter_waves())["curve"]) == 2
    run_waves(plan, "corpora", "pretraining", "fine-tuning", "curve")
    assert [cell.status for cell in plan.list_curve(own).values()] == ["done"] * 2
    per_step = plan.settings.pretrain.batch_size * plan.settings.pretrain.seq_len
    tokens = [(cell.condition, amount / per_step) for amount, cell in collect_results(plan, []).curve]
    assert tokens == [("none", 0), ("own", 2), ("own", 4), ("own", 8)]
    # a run that kept nothing stays as it is, and has no curve
    usual = make_plan("pretrain.total_steps=8", "study.pretrain_seeds=1", "seeds.seed=0")
    assert {*usual.pretrainings} < {*plan.pretrainings}
    remove_folder(plan.pretrainings[own.choose_cells()[0].settings.start.run_id].run.encoder(2))
    assert list(plan.list_curve(own)) == [4]


def test_without_steps_there_is_no_curve(make_plan):
    plan = make_plan("study.curve=[.5]", "budget=seconds", "pretrain.budget_amount=2")
    assert dict(plan.iter_waves())["curve"] == []
