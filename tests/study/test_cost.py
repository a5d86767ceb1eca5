"""Costs ahead of a study against what its runs then are: steps, FLOPs, bytes."""

from __future__ import annotations

import pytest

from selfpretrain.model.flops import count_sequence_flops
from selfpretrain.pretext.objectives import OBJECTIVES
from selfpretrain.stages.work import KEPT_BYTES
from selfpretrain.study.cost import Costs, compare_pretraining, list_once, measure_bytes

WAVES = ("corpora", "pretraining", "choosing rates and starts", "fine-tuning")
SHAPE = ("pretrain.total_steps=5", "runtime.save_every=2", "finetune.max_steps=3", "finetune.epochs=1")


def test_work_is_what_the_runs_do(make_plan, run_waves):
    plan = make_plan(*SHAPE)
    ahead = {cell.key: Costs(plan).compute_work(cell) for cell in plan.pretrainings.values()}
    assert all(work.steps == 5 for work in ahead.values())  # by the vocabulary asked for, before the corpus is there
    run_waves(plan, *WAVES)
    plan = make_plan(*SHAPE)
    costs = Costs(plan)
    for cell in plan.pretrainings.values():
        work, result = costs.compute_work(cell), cell.run.read_result()
        assert result["flops"] == work.steps * work.step_flops > 0
        assert result["tokens"] == 5 * 2 * 32
    for cell in dict(plan.iter_waves())["fine-tuning"]:
        assert costs.compute_work(cell).steps == cell.run.read_result()["steps"] == 3


def test_evaluation_is_part_of_finetuning(make_plan):
    plan = make_plan(*SHAPE)
    costs, cell = Costs(plan), dict(plan.iter_waves())["fine-tuning"][0]
    sizes = {split: len(part.ids) for split, part in plan.data["local"].splits.items()}
    evaluated = 2 * sizes["validation"] + sizes["test"]  # once while training, and both at the end
    length = costs.measure_length(cell)
    config = cell.settings.finetune
    expected = count_sequence_flops(cell.settings.model, config.head, config.pooling, 2, evaluated, length)
    assert costs.compute_work(cell).evaluation_flops == expected


def test_lengths_are_guessed_then_read_from_the_corpus(make_plan, run_waves):
    plan = make_plan("finetune.seq_len=32")
    cell = dict(plan.iter_waves())["fine-tuning"][0]
    texts = plan.data["local"].splits["train"].texts
    mean = sum(len(text.encode()) for (text,) in texts) / len(texts)
    assert Costs(plan).measure_length(cell) == pytest.approx(2 + mean / 4, abs=1)
    run_waves(plan, "corpora")
    manifest = Costs(plan).find_manifest(cell)
    tokens = (manifest["tokens"] - manifest["documents"]) / manifest["documents"]
    assert Costs(plan).measure_length(cell) == pytest.approx(2 + tokens, abs=1)
    assert Costs(plan).get_vocab_size(cell) == manifest["tokenizer"]["vocab_size"]


def test_bytes_ahead_are_the_bytes_there(make_plan, run_waves):
    plan = make_plan(*SHAPE)
    run_waves(plan, "corpora")
    costs = Costs(plan)
    ahead = {cell.key: costs.compute_work(cell).disk for _, cells in plan.iter_waves() for cell in cells}
    run_waves(plan, *WAVES[1:])
    for cells in list_once(dict(plan.iter_waves())).values():
        for cell in cells:
            if cell.stage == "corpus":
                continue
            there = measure_bytes(cell)
            assert set(there) == set(ahead[cell.key])
            for kind in ("checkpoints", "encoders"):  # besides weights: a tokenizer, headers, JSON
                assert 0 <= there[kind] - ahead[cell.key][kind] < 40_000


def test_two_checkpoints_are_kept(make_plan):
    plan = make_plan(*SHAPE, "model.hidden_size=64", "model.embedding_size=64")
    cell = next(iter(plan.pretrainings.values()))
    two = Costs(plan).compute_work(cell).disk["checkpoints"]
    plan = make_plan(*SHAPE, "model.hidden_size=64", "model.embedding_size=64", "runtime.keep_steps=[1,99]")
    assert Costs(plan).compute_work(next(iter(plan.pretrainings.values()))).disk["checkpoints"] == 1.5 * two
    assert two % (2 * KEPT_BYTES) == 0


def test_text_of_a_corpus_to_come(make_plan):
    plan = make_plan("study.conditions=[own,bookwiki,bookwiki_sized]", "study.general=docs", "study.general_mb=3")
    sizes = {cell.condition: Costs(plan).estimate_text_bytes(cell) for cell in plan.corpora.values()}
    own = sum(len(text.encode()) + 1 for (text,) in plan.data["local"].splits["train"].texts)
    assert sizes == {"own of local": own, "bookwiki": 3 * 2**20, "bookwiki_sized": own}
    plan = make_plan("study.conditions=[own,bookwiki]", "study.general=docs", "study.general_mb=null")
    unlimited = next(cell for cell in plan.corpora.values() if cell.condition == "bookwiki")
    assert Costs(plan).estimate_text_bytes(unlimited) is None
    assert not Costs(plan).compute_work(unlimited).disk


@pytest.mark.parametrize(("name", "amount"), [("epochs", 2), ("flops", 1e9)])
def test_a_budget_that_needs_its_corpus(make_plan, run_waves, name, amount):
    given = (f"budget={name}", f"pretrain.budget_amount={amount}")
    plan = make_plan(*given)
    assert plan.is_provisional
    cells = list(plan.pretrainings.values())
    assert [cell.status for cell in cells] == ["missing"] * 2
    assert compare_pretraining(plan) == "roberta_tiny: unknown on every text"
    ahead = Costs(plan).compute_work(cells[0])
    text = Costs(plan).estimate_text_bytes(next(iter(plan.corpora.values())))
    if name == "epochs":
        assert ahead.steps == round(2 * round(text / 4) / (2 * 32))
    run_waves(plan, "corpora")
    plan = make_plan(*given)
    assert not plan.is_provisional
    work = Costs(plan).compute_work(next(iter(plan.pretrainings.values())))
    assert work.steps == pytest.approx(ahead.steps, rel=0.5)  # the text's own tokens, the vocabulary it came to
    if name == "flops":
        assert work.steps * work.step_flops == pytest.approx(1e9, abs=work.step_flops / 2)


def test_steps_that_nothing_tells_yet(make_plan):
    for given in (
        ["budget=seconds", "pretrain.budget_amount=60"],
        ["budget=epochs", "pretrain.budget_amount=1", "study.conditions=[bookwiki]", "study.general=docs", "study.general_mb=null"],
    ):  # fmt: skip
        plan = make_plan(*given)
        cell = next(iter(plan.pretrainings.values()))
        assert Costs(plan).compute_work(cell).flops is None
        parameters = Costs(plan).compute_work(cell).disk["checkpoints"] / KEPT_BYTES
        count_parameters = OBJECTIVES[cell.settings.objective.name].count_parameters
        assert parameters == 2 * count_parameters(cell.settings.model, 300, 1)


def test_tokens_need_no_corpus_and_name_the_run_of_those_steps(make_plan):
    plan = make_plan("budget=tokens", f"pretrain.budget_amount={2 * 2 * 32}")
    assert not plan.is_provisional
    assert set(plan.pretrainings) == set(make_plan("pretrain.total_steps=2").pretrainings)


def test_models_and_texts_are_compared(make_plan, run_waves):
    both = ("study.models=[roberta_tiny,electra_tiny]", "pretrain.batch_size=2")
    plan = make_plan(*both)
    run_waves(plan, "corpora")
    assert compare_pretraining(plan).count("on every text") == 2
    models = [part.partition(":") for part in compare_pretraining(plan).split("; ")]
    assert [model for model, _, _ in models] == ["roberta_tiny", "electra_tiny"]
    assert models[0][2] != models[1][2]  # equal steps are not equal cost
    equal = make_plan(*both, "budget=flops", "pretrain.budget_amount=1e10")
    shares = [float(part.partition(":")[2].split()[0]) for part in compare_pretraining(equal).split("; ")]
    assert shares == pytest.approx([1e10] * 2, rel=0.01)


def test_a_run_stands_in_its_first_wave_only(make_plan):
    plan = make_plan("finetune.lr_grid=[1e-3,1e-4]")
    waves = dict(plan.iter_waves())
    once = list_once(waves)
    keys = [cell.key for cells in once.values() for cell in cells]
    assert len(set(keys)) == len(keys) < sum(map(len, waves.values()))
