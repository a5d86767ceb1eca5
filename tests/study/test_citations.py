"""What a study is said to be made of: by the settings of its runs, its conditions and its cards."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from selfpretrain.cards import list_cards, load_task_card
from selfpretrain.config import ModelConfig, ObjectiveConfig, PretrainConfig, Settings, TaskConfig, TokenizerConfig
from selfpretrain.report.references import load_references
from selfpretrain.study import citations
from selfpretrain.study.citations import list_citations

ROBERTA = Settings(
    model=ModelConfig(family="roberta", init_scheme="mimetic"), objective=ObjectiveConfig(name="mlm"),
    pretrain=PretrainConfig(optimizer="muon"), tokenizer=TokenizerConfig(kind="bpe"),
)  # fmt: skip


def make_plan(pretraining=ROBERTA, finetuning=ROBERTA, conditions=("none", "own"), cards=(), transfers=()):
    cells = [SimpleNamespace(settings=finetuning)]
    return SimpleNamespace(
        pretrainings={"a": SimpleNamespace(settings=pretraining)} if pretraining else {}, general="bookwiki",
        groups=[SimpleNamespace(choose_cells=lambda: cells)], conditions=list(conditions),
        cards={card.name: card for card in cards},
        transfers={"x": [SimpleNamespace(task=card) for card in transfers]},
    )  # fmt: skip


def list_keys(plan):
    return {key for citation in list_citations(plan) for key in citation.keys}


def test_by_settings():
    found = list_keys(make_plan())
    assert {"liu2019roberta", "devlin2019bert", "jordan2024muon", "trockman2023mimetic", "sennrich2016bpe"} <= found
    assert (
        not {"clark2020electra", "loshchilov2019adamw", "yang2021sharing", "ott2019fairseq", "zhu2015aligning"} & found
    )
    electra = dataclasses.replace(Settings(), pretrain=PretrainConfig(weight_sharing="fixed", engine="fairseq"))
    found = list_keys(make_plan(electra, electra))
    assert {"clark2020electra", "loshchilov2019adamw", "yang2021sharing", "ott2019fairseq"} <= found
    assert not {"liu2019roberta", "devlin2019bert", "jordan2024muon"} & found


def test_without_pretraining_no_objective_is_cited():
    assert not {"devlin2019bert", "jordan2024muon"} & list_keys(make_plan(pretraining=None))


@pytest.mark.parametrize(
    ("condition", "key"),
    [("tapt", "gururangan2020dont"), ("mask40:own", "wettig2022mask"), ("bookwiki", "zhu2015aligning"),
     ("mix:own+bookwiki_sized", "zhu2015aligning")],
)  # fmt: skip
def test_by_conditions(condition, key):
    assert key in list_keys(make_plan(conditions=[condition]))
    assert key not in list_keys(make_plan(conditions=["own"]))


def test_by_cards():
    own = TaskConfig(name="reviews", loader="local", source="mine")
    cards = [load_task_card("sst2"), load_task_card("jigsaw"), own]
    found = {each.what: each for each in list_citations(make_plan(cards=cards, transfers=[load_task_card("hans")]))}
    assert found["sst2"].keys == ("socher2013recursive", "wang2019glue")
    assert found["jigsaw"].keys == () and "kaggle.com" in found["jigsaw"].source
    assert found["hans"].keys == ("mccoy2019right",)
    assert "reviews" not in found and "datasets" in found
    assert [*dict.fromkeys(each.kind for each in found.values())] == ["Models", "Methods", "Data", "Software"]


def test_all_keys_are_entries_and_all_entries_are_used():
    from selfpretrain.report.references import PHRASES

    rules = [rule[2] for rule in (*citations._OF_PRETRAININGS, *citations._OF_ALL, *citations._ALWAYS)]
    tables = [key for table in (citations._TASKS, citations._TEXTS) for keys in table.values() for key in keys]
    known = {*rules, *tables, *citations._BENCHMARKS.values(), *(key for keys in PHRASES.values() for key in keys)}
    known |= {"gururangan2020dont", "wettig2022mask", "lhoest2021datasets"}
    assert known == {*load_references()}
    assert {*citations._TASKS} <= {*list_cards("task")}
