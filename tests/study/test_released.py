"""Pretrainings of several seeds that others released, fine-tuned as a study's own: planned, carried out, refused; and a release
of ours read back gives the same.
"""

from __future__ import annotations

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch

from selfpretrain.config import TokenizerConfig, UserError
from selfpretrain.data.tokenizer import train_tokenizer
from selfpretrain.report.collect import collect_results, describe_vocabularies
from selfpretrain.report.comparisons import get_seeds
from selfpretrain.runs.predictions import load_predictions
from selfpretrain.runs.results import read_runs
from selfpretrain.sources import hub
from selfpretrain.study.power import price
from selfpretrain.study.release import release
from selfpretrain.study.sweep import describe_choices
from tests.conftest import WORDS

BERT = ["model.family=bert", "objective.name=mlm", "study.conditions=[released:1m,released:2m]"]
SIDES = [
    "study.baseline=released:1m",
    "study.reference=released:2m",
    "study.finetune_seeds=2",
    "study.num_replicates=200",
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Three seeds of a tiny BERT after one and two million steps, as published: pickles and vocab.txt."""
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("checkpoints")
    texts = [" ".join(words.split()) for words in WORDS.values()] * 9
    tokenizer = train_tokenizer(TokenizerConfig(kind="wordpiece", vocab_size=120), iter(texts))
    config = transformers.BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=40, pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    for seed in range(3):
        for step in ("", "-step_1000k"):
            torch.manual_seed(100 * seed + len(step))
            folder = root / f"multiberts-seed_{seed}{step}"
            config.save_pretrained(folder)
            torch.save(transformers.BertForPreTraining(config).state_dict(), folder / "pytorch_model.bin")
            (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokenizer.get_tokens()))
    return root


@pytest.fixture
def given(checkpoints):
    """Overrides of a study of all three seeds at the end and of two in between."""
    start = f"{checkpoints}/multiberts-seed_{{seed}}"
    entries = f"{{2m: {{start: 'hf:{start}', seeds: 3}}, 1m: {{start: 'hf:{start}-step_1000k', seeds: [0, 2]}}}}"
    return [*BERT, *SIDES, f"study.released={entries}"]


def test_the_plan_has_every_seed_from_its_own_start(make_plan, given, checkpoints):
    plan = make_plan(*given)
    assert not plan.pretrainings and not plan.corpora and not plan.gaps
    first, second = (
        {seeds: cell for cell in group.choose_cells() for seeds in [(cell.pretrain_seed, cell.finetune_seed)]}
        for group in plan.groups
    )
    assert list(second) == [(seed, each) for seed in (0, 1, 2) for each in (0, 1)]
    assert list(first) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    for cells, step in ((first, "-step_1000k"), (second, "")):
        assert all(c.settings.init == f"hf:{checkpoints}/multiberts-seed_{s}{step}" for (s, _), c in cells.items())
    seeds = [cell.settings.seeds.finetune_seed for cell in second.values()]
    assert (
        seeds == [0, 1, 1000, 1001, 2000, 2001] and len({cell.id for cell in (*first.values(), *second.values())}) == 10
    )
    assert "; 2 of released:1m, 3 of released:2m pretraining x 2 fine-tuning seeds;" in describe_choices(plan)
    assert describe_vocabularies(plan) == "roberta_tiny: each released start its own"


def test_a_study_over_released_seeds(command, tiny, local, given, tmp_path):
    outcome = command("study", *tiny, *local(), *given)
    assert outcome.code == 0, outcome.err
    (report,) = (path for path in (tmp_path / "runs" / "reports").iterdir() if path.is_dir())
    panel = json.loads((report / "summary.json").read_text())["panels"][0]
    entries = {entry["condition"]: entry for entry in panel["entries"]}
    counts = {
        key: (entry["num_seeds"], entry["num_seeds_planned"], entry["num_runs"]) for key, entry in entries.items()
    }
    assert counts == {"released:1m": (2, 2, 4), "released:2m": (3, 3, 6)}
    gain = entries["released:2m"]["gain"]
    assert gain["num_seeds"] == [3, 2] and gain["p"] is not None and not gain["is_conditional"]  # of procedures
    text = (report / "report.md").read_text()
    assert (
        "3 x 2" in text
        and "2 x 2" in text
        and "seeds 0 to 2, released by others" in text
        and "this checkpoint" not in text
    )
    again = command("plan", *tiny, *local(), *given)
    assert again.code == 0 and "2 of released:1m" in again.out


def test_their_seeds_are_seeds_of_a_procedure(make_plan, run_waves, given):
    plan = make_plan(*given, "study.conditions=[released:2m]", "study.finetune_seeds=1")
    run_waves(plan, "fine-tuning")
    results = collect_results(plan, [])
    runs, problems = read_runs(results.cells, next(iter(plan.data.values())).task)
    assert not problems and get_seeds(runs) == [(0, 0), (1, 0), (2, 0)]
    assert {cell.init_scheme for cell in results.cells} == {""}


@pytest.mark.parametrize(("released", "said"), [
    ("{2m: {start: 'hf:x{seed}', seeds: 2}}", "study.conditions has released:1m, and study.released has 2m; set study.released={<name>"),
    ("{1m: 'hf:x{seed}', 2m: {}}", "study.released.1m=hf:x{seed} is not two settings; allowed: {<name>"),
    ("{1m: {start: 'hf:x', seeds: 2}, 2m: {}}", "study.released.1m.start=hf:x names no released checkpoint for each {seed}"),
    ("{1m: {start: 'run:x{seed}', seeds: 2}, 2m: {}}", "study.released.1m.start=run:x{seed} names no released checkpoint"),
    ("{1m: {start: 'hf:x{seed}', seeds: 0}, 2m: {}}", "study.released.1m.seeds=0 is no number above 0 and no list of seeds"),
    ("{1m: {start: 'hf:x{seed}', seeds: [1, 1]}, 2m: {}}", "study.released.1m.seeds=[1, 1] is no number above 0"),
    ("{1m: {start: 'hf:gone/{seed}', seeds: 2}, 2m: {}}", "study.released.1m, seed 0: init=hf:gone/0 is neither a folder nor"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(make_plan, released, said):
    with pytest.raises(UserError) as refusal:
        make_plan(*BERT, *SIDES, f"study.released={released}")
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_model_of_another_family_is_refused(make_plan, given):
    with pytest.raises(
        UserError, match=r"released:1m: init=hf:.*seed_0-step_1000k is of the family bert, the study's model of roberta"
    ):
        make_plan(*given, "model.family=roberta")


@pytest.mark.parametrize("content", ["{", "[1]", "3", '"bert"'])
def test_a_damaged_start_is_one_line(make_plan, given, checkpoints, tmp_path, content):
    shutil.copytree(checkpoints, tmp_path / "copy")
    config = tmp_path / "copy" / "multiberts-seed_2" / "config.json"
    config.write_text(content)
    with pytest.raises(UserError) as refusal:
        make_plan(*(word.replace(str(checkpoints), str(tmp_path / "copy")) for word in given))
    assert str(refusal.value) == f"{config} is damaged; fetch the checkpoint again"


def test_power_is_planned_for_whatever_seeds_were_released(make_plan, given):
    plan = make_plan(*(word.replace("seeds: 3", "seeds: [1]") for word in given))
    assert price(plan.groups, plan, {}) == (None, 0.0)
    seconds = {(cell.stage, cell.name): 2.0 for group in plan.groups for cell in group.choose_cells()}
    prices, once = price(plan.groups, plan, seconds)
    assert (prices.pretraining, prices.finetuning, once) == (0, 4.0, 0)


def test_starts_of_the_hub_stand_at_a_commit_and_those_that_are_not_here_are_a_gap(
    make_plan, command, tiny, local, given, checkpoints, monkeypatch
):
    here = f"2m: {{start: 'hf:{checkpoints}/multiberts-seed_{{seed}}', seeds: 2}}"
    far = f"study.released={{{here}, 1m: {{start: 'hf:google/multiberts-seed_{{seed}}@main', seeds: 2}}}}"
    plan = make_plan(*given, far)  # the tests run with HF_HUB_OFFLINE=1
    assert [(gap.condition, gap.why) for gap in plan.gaps] == [("released:1m", "cannot be downloaded")]
    assert "init=hf:google/multiberts-seed_0@main cannot be downloaded" in str(plan.missing["released:1m"])
    outcome = command("study", *tiny, *local(), *given, far)
    assert outcome.code == 1 and "missing: cannot be downloaded" in outcome.out, outcome.err
    assert "missing: the data of released:1m; the same command goes on" in outcome.err
    # in the cache it is there, at the commit that main stood for
    commits = {f"google/multiberts-seed_{seed}": str(seed) * 40 for seed in (0, 1)}
    monkeypatch.setattr(hub, "commits", {})
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repo, file, revision: f"cache/{commits[repo]}/{file}"
    )
    plan = make_plan(*given, far)
    assert not plan.gaps and {cell.settings.init for cell in plan.groups[0].choose_cells()} == {
        f"hf:{repo}@{commit}" for repo, commit in commits.items()
    }
    assert hub.commits == {f"{repo}@main": commit for repo, commit in commits.items()}


def test_a_release_of_ours_read_back_gives_the_same(make_plan, run_waves, tmp_path):
    model = ["study.finetune_seeds=2", f"runtime.release_dir={tmp_path / 'released'}"]
    plan = make_plan(*model, "study.conditions=[own]", "study.reference=own")
    run_waves(plan, "corpora", "pretraining", "fine-tuning")
    release(plan)
    start = tmp_path / "released" / "selfpretrain-seed_{seed}"
    entry = f"study.released={{ours: {{start: 'hf:{start}', seeds: 2}}}}"
    back = make_plan(*model, entry, "study.conditions=[released:ours]", "study.reference=released:ours")
    run_waves(back, "fine-tuning")
    ours, theirs = plan.groups[0].choose_cells(), back.groups[0].choose_cells()
    assert len(ours) == len(theirs) == 4
    for own, other in zip(ours, theirs, strict=True):
        assert own.id != other.id and (own.pretrain_seed, own.finetune_seed) == (
            other.pretrain_seed,
            other.finetune_seed,
        )
        first, second = (load_predictions(cell.run.predictions("test")) for cell in (own, other))
        assert first.ids == second.ids and np.array_equal(first.outputs, second.outputs)
    # what a release says of itself decides nothing; its weights do
    for name in ("release.json", "README.md"):
        (tmp_path / "released" / "selfpretrain-seed_0" / name).write_text("{}")
    again = make_plan(*model, entry, "study.conditions=[released:ours]", "study.reference=released:ours")
    assert [cell.id for cell in again.groups[0].choose_cells()] == [cell.id for cell in theirs]
    shutil.copy(
        tmp_path / "released" / "selfpretrain-seed_1" / "model.safetensors",
        tmp_path / "released" / "selfpretrain-seed_0",
    )
    again = make_plan(*model, entry, "study.conditions=[released:ours]", "study.reference=released:ours")
    assert [cell.id != other.id for cell, other in zip(again.groups[0].choose_cells(), theirs, strict=True)] == [
        True
    ] * 2 + [False] * 2
