"""Conditions put together of others (mixes, stages) and the released checkpoint pretrained further: planned, carried out."""

from __future__ import annotations

import gzip
import io
import itertools
import json

import pytest
from rich.console import Console

from selfpretrain.config import ModelConfig, TextCard, TokenizerConfig, UserError
from selfpretrain.data.store import read_manifest
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.interop.huggingface import export_huggingface, load_huggingface
from selfpretrain.model.encoder import Encoder
from selfpretrain.report.collect import collect_results
from selfpretrain.runs.folder import read_starts
from selfpretrain.sources import documents
from selfpretrain.sources.documents import iter_documents
from selfpretrain.sources.tasks import load_task
from selfpretrain.stages import pretrain
from selfpretrain.study import probe
from selfpretrain.study.cells import Job
from selfpretrain.study.conditions import CONDITIONS, OWN, find_condition, recommend_further
from selfpretrain.study.cost import Costs, list_once
from selfpretrain.study.preview import list_remarks, print_preview
from selfpretrain.study.sweep import run_job
from selfpretrain.train.checkpoint import load_encoder
from selfpretrain.train.keeper import hash_weights
from selfpretrain.train.trainer import Trainer

STAGED = ["own_then_bookwiki", "bookwiki_then_own"]


@pytest.fixture
def general(tmp_path, monkeypatch, examples):
    """Overrides for a small general text and one vocabulary for all texts."""
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    monkeypatch.setattr(documents, "load_text_card", lambda name: TextCard(name="toy", mirror=["toy.txt.gz"]))
    articles = [f"article {n} says little about cats and dogs, {n * n} words of it" for n in range(120)]
    (tmp_path / "toy.txt.gz").write_bytes(gzip.compress("\n\n".join(articles).encode()))
    return ["tokenizer.source=general", "study.general=docs"]


def list_mine(plan, condition):
    return [cell for cell in plan.pretrainings.values() if cell.condition.startswith(condition)]


# the table


def test_words_and_colours():
    words = {key: find_condition(key).describe("bookwiki") for key in (*STAGED, "mix:own+bookwiki_sized", "tapt")}
    assert words == {
        "own_then_bookwiki": "the own text followed by BookWiki",
        "bookwiki_then_own": "BookWiki followed by the own text",
        "mix:own+bookwiki_sized": "the own text with equally much of BookWiki",
        "tapt": "the adapted checkpoint",
    }
    assert find_condition("mix:own+own_of:qqp").describe("docs") == "the own text with the text of qqp"
    assert find_condition("fairseq:bookwiki_sized").describe("bookwiki") == "equally much of BookWiki by fairseq"
    families = map(find_condition, ("own_of:a", "mix:own+bookwiki", "fairseq:own"))
    colours = [row.colour for row in (*CONDITIONS.values(), *families)]
    assert len(set(colours)) == len(colours)


def test_what_each_is():
    assert find_condition("mix:bookwiki+own_of:qqp").other_tasks == ("qqp",)
    assert [find_condition(key).is_of_task for key in ("mix:bookwiki+own_of:qqp", "mix:own+bookwiki")] == [False, True]
    kinds = {
        key: [
            name
            for name in ("is_fresh", "is_released", "is_from_nothing", "is_general")
            if getattr(find_condition(key), name)
        ]
        for key in ("none", "own", "offshelf", "tapt", "mix:own+bookwiki", "own_then_bookwiki")
    }
    assert kinds == {
        "none": ["is_fresh"], "own": ["is_from_nothing"], "offshelf": ["is_released"], "tapt": [],
        "mix:own+bookwiki": ["is_from_nothing", "is_general"], "own_then_bookwiki": ["is_from_nothing", "is_general"],
    }  # fmt: skip


def test_the_published_recipe_goes_by_the_number_of_examples():
    few, many = recommend_further(4999), recommend_further(5000)
    assert (few["batch_size"], few["peak_lr"], many["batch_size"], many["peak_lr"]) == (256, 1e-4, 2048, 5e-4)
    assert few["budget_amount"] == many["budget_amount"] == 100


@pytest.mark.parametrize(("given", "words"), [
    (["study.conditions=[mix:own+nothing]"], "study.conditions: mix:own+nothing has 'nothing', which is no text to mix; allowed: own, "),
    (["study.conditions=[mix:own+tapt]"], "mix:own+tapt has 'tapt', which is no text"),
    (["study.conditions=[mix:own+own_then_bookwiki]"], "'own_then_bookwiki', which is no text"),
    (["study.conditions=[mix:own+mix:own]"], "'mix:own', which is no text"),
    (["study.conditions=[mix:own]"], "mix:own does not name two texts"),
    (["study.conditions=[mix:own+own]"], "mix:own+own does not name two texts"),
    (["study.conditions=[fairseq:own_of:qqp]"], "fairseq:own_of:qqp names no text"),
    (["study.conditions=[fairseq:tapt]"], "fairseq:tapt names no text; allowed: fairseq:own, fairseq:bookwiki"),
    (["study.conditions=[mix:]"], "'mix:' is no condition; allowed: none, "),
    (["study.conditions=[mix:own+own_of:agnew]"], "did you mean 'agnews'?"),
    (["study.reference=mix:own+nothing"], "study.reference: mix:own+nothing has 'nothing'"),
    (["study.conditions=[tapt]"], "study.conditions has tapt, but no checkpoint: set study.offshelf=hf:"),
    (["study.conditions=[tapt]", "study.offshelf=run:abc"], "study.offshelf=run:abc is no released checkpoint"),
    (["study.conditions=[tapt]", "study.offshelf=hf:gone"], "init=hf:gone is neither a folder nor a repository"),
    (["study.conditions=[own_then_bookwiki]"], "needs one vocabulary for its two texts"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(make_plan, given, words):
    with pytest.raises(UserError) as refusal:
        make_plan(*given)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


# engines


def test_both_engines_pretrain_from_one_corpus(make_plan):
    plan = make_plan("study.conditions=[own,fairseq:own]", "study.pretrain_seeds=1", "study.curve=[.5]")
    native, other = (list_mine(plan, key)[0].settings for key in ("own", "fairseq:own"))
    assert (native.pretrain.engine, other.pretrain.engine) == ("native", "fairseq")
    assert native.pretrain.snapshots == [0.5] and other.pretrain.snapshots == []
    assert len(plan.corpora) == 1 and len(plan.pretrainings) == 2
    estimate = probe.estimate_seconds(plan, Costs(plan), limit_seconds=0)
    assert estimate.caveat == "1 run of another engine at the native one's speed"
    assert f"hours: {estimate.caveat}" in list_remarks(plan, list_once(dict(plan.iter_waves())), estimate)


# stages


def test_stages_share_the_steps_and_follow_each_other(make_plan, general, monkeypatch):
    given = [
        *general,
        "pretrain.total_steps=5",
        "pretrain.warmup_steps=2",
        "pretrain.warmup_fraction=null",
        "study.curve=[.5]",
    ]
    plan = make_plan(*given, f"study.conditions=[own,{','.join(STAGED)}]")
    waves = dict(plan.iter_waves())
    assert [(name, len(waves[name])) for name in list(waves)[:3]] == [
        ("corpora", 2),
        ("pretraining", 6),
        ("second stages", 4),
    ]
    for cell in waves["second stages"]:
        first = plan.pretrainings[cell.settings.start.run_id]
        assert first in waves["pretraining"] and first.settings.start.is_fresh
        assert first.pretrain_seed == cell.pretrain_seed and first.condition != cell.condition
        assert [c.settings.pretrain.total_steps for c in (first, cell)] == [2, 3]
        assert {c.settings.pretrain.warmup_steps for c in (first, cell)} == {1}
        assert [c.settings.corpus.source for c in (first, cell)] in (["own", "card"], ["card", "own"])
        assert Costs(plan).compute_work(cell).steps == 3
    # seeds that differ in nothing else have one name, and no two kinds of run share one
    names = {cell.condition for cell in plan.pretrainings.values()}
    assert names == {
        "own of local", "own_then_bookwiki of local (1 of 2)", "own_then_bookwiki of local (2 of 2)",
        "bookwiki_then_own (1 of 2)", "bookwiki_then_own of local (2 of 2)",
    }  # fmt: skip
    groups = {group.condition: group for group in plan.groups}
    for key in STAGED:
        second = {cell.id for cell in list_mine(plan, f"{key} of local (2")}
        assert {cell.settings.start.run_id for cell in groups[key].choose_cells()} == second
        assert {len(cell.stands_on) for cell in groups[key].choose_cells()} == {2}
        assert plan.list_curve(groups[key]) == {}  # its steps are not all that it has read
    assert plan.list_curve(groups[OWN])
    # what was there has the ids it had
    alone = make_plan(*given, "study.conditions=[own]")
    assert {*alone.pretrainings} < {*plan.pretrainings} and {*alone.corpora} < {*plan.corpora}
    assert "second stages" not in dict(alone.iter_waves())
    monkeypatch.setattr(probe, "time_steps", lambda *_, **__: 1.0)
    print_preview(plan, console := Console(file=io.StringIO(), width=200))
    (row,) = (line for line in console.file.getvalue().splitlines() if "second stages" in line)
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["4", "0"]
    assert "condition own_then_bookwiki: each text for half of the steps" in console.file.getvalue()


def test_a_budget_is_shared_too(make_plan, general):
    given = [*general, "study.conditions=[own_then_bookwiki]", "study.pretrain_seeds=1"]
    tokens = make_plan(*given, "budget=tokens", "pretrain.budget_amount=320")  # five steps of 2 x 32
    assert [cell.settings.pretrain.total_steps for cell in tokens.pretrainings.values()] == [2, 3]
    assert {*tokens.pretrainings} == {*make_plan(*given, "pretrain.total_steps=5").pretrainings}
    seconds = make_plan(*given, "budget=seconds", "pretrain.budget_amount=60")
    assert [cell.settings.pretrain.budget_amount for cell in seconds.pretrainings.values()] == [30, 30]
    epochs = make_plan(*given, "budget=epochs", "pretrain.budget_amount=4")
    assert epochs.is_provisional
    assert [cell.settings.pretrain.budget_amount for cell in epochs.pretrainings.values()] == [2, 2]
    with pytest.raises(UserError, match=r"pretrain\.total_steps=1 cannot be shared by two stages"):
        make_plan(*given, "pretrain.total_steps=1")


def test_the_second_stage_starts_from_the_weights_of_the_first(make_plan, general, run_waves):
    plan = make_plan(*general, "study.conditions=[own_then_bookwiki]", "pretrain.total_steps=4")
    run_waves(plan, "corpora")
    for wave in ("pretraining", "second stages"):  # both seeds together
        assert run_job(Job("test", (tuple(dict(plan.iter_waves())[wave]),))) == "done+done"
    run_waves(plan, "fine-tuning")
    assert len(list(next(iter(plan.corpora.values())).folder.parent.glob("*/manifest.json"))) == 2
    for second, finetuning in zip(dict(plan.iter_waves())["second stages"], plan.groups[0].choose_cells(), strict=True):
        handed_on, tokenizer = load_encoder(plan.pretrainings[second.settings.start.run_id].run.encoder())
        start = pretrain.build_model(second.settings, tokenizer)
        assert hash_weights(start.encoder) == hash_weights(handed_on)
        (made,) = read_starts(second.run.path)
        assert (made["initial_weights"], made["seeds_together"]) == (hash_weights(start), 2)
        end, _ = load_encoder(second.run.encoder())
        assert hash_weights(end) != hash_weights(handed_on)
        assert finetuning.settings.start.run_id == second.id and finetuning.status == "done"


def test_what_stands_on_a_failed_stage_is_blocked_and_said(command, general, local, tiny, tmp_path, monkeypatch):
    def fail(self, whole=Trainer.train):
        if self.members[0].keeper.run.path.parent.name == "pretrain":
            raise ZeroDivisionError("on purpose")
        whole(self)

    monkeypatch.setattr(Trainer, "train", fail)
    given = ["study.conditions=[none,own_then_bookwiki]", "study.pretrain_seeds=1", "study.num_replicates=200"]
    outcome = command("study", *tiny, *local(), *general, *given)
    assert outcome.code == 1 and "1 cells are not done" in outcome.err  # what it blocks waits for it
    assert [file.read_text().strip() for file in tmp_path.glob("runs/pretrain/*/status")] == ["failed"]
    (report,) = tmp_path.glob("runs/reports/*/summary.json")
    entries = {entry["condition"]: entry for entry in json.loads(report.read_text())["panels"][0]["entries"]}
    assert (entries["none"]["state"], entries["own_then_bookwiki"]["state"]) == ("done", "failed")
    reason = "its pretraining own_then_bookwiki of local (1 of 2) failed: ZeroDivisionError: on purpose"
    assert entries["own_then_bookwiki"]["notes"] == [f"1 of 1 runs failed (seeds 0.0): {reason}"]
    monkeypatch.undo()


# mixes


def test_a_mix_is_of_the_study_s_own_tasks(make_plan, run_waves, local, examples, general):
    other = [{**row, "body": row["body"] + " there"} for row in examples]
    paths = [local()[1], local(other, "y.csv")[1]]
    tasks = [
        {"name": name, "path": path.partition("=")[2], "text": "body", "label": "topic"}
        for name, path in zip(("local", "other"), paths, strict=True)
    ]
    given = [*general, "study.tasks=" + json.dumps(tasks).replace('"', ""), "study.pretrain_seeds=1"]
    plan = make_plan(*given, "study.conditions=[mix:own+own_of:other,mix:own+bookwiki_sized]")
    wanted = [
        ("local", "mix:own+own_of:other"),
        ("local", "mix:own+bookwiki_sized"),
        ("other", "mix:own+bookwiki_sized"),
    ]
    assert [(group.task, group.condition) for group in plan.groups] == wanted  # a text is not mixed with itself
    run_waves(plan, "corpora")
    runs_dir = plan.settings.runtime.runs_dir
    cell = next(cell for cell in plan.corpora.values() if cell.condition == "mix:own+own_of:other of local")
    data = [load_task(task, runs_dir) for task in plan.tasks.values()]
    found = list(iter_documents(cell.settings.corpus, cell.settings.task, runs_dir))
    assert sorted(found) == sorted(text for task in data for (text,) in task.splits["train"].texts)
    assert not {text for task in data for s in ("validation", "test") for (text,) in task.splits[s].texts} & set(found)
    manifest = read_manifest(cell.folder)
    parts = manifest["source"]["parts"]
    assert [part["task"]["name"] for part in parts] == ["local", "other"]
    assert sum(part["documents"] for part in parts) == manifest["documents"] == len(found)
    assert sum(part["text_bytes"] for part in parts) == manifest["text_bytes"]
    assert [list(part["audit"]) for part in parts] == [["test", "validation"]] * 2
    assert {part["corpus"]["source"] for part in parts} == {"own"} and manifest["audit"] is None
    facts = collect_results(plan, []).facts
    assert facts["text of mix:own+own_of:other of local"].startswith("own of local 0.00")
    assert facts["general text"].startswith("docs")


def test_a_mix_may_have_a_vocabulary_of_its_own(make_plan, run_waves, general):
    plan = make_plan(general[1], "study.conditions=[mix:own+bookwiki]", "study.pretrain_seeds=1")
    run_waves(plan, "corpora")
    (cell,) = plan.corpora.values()
    assert cell.condition == "mix:own+bookwiki of local"
    assert read_manifest(cell.folder)["tokenizer"]["origin"] == "trained on this corpus"


# the released checkpoint pretrained further


@pytest.fixture
def release(tmp_path, examples):
    """``release()``: a checkpoint of the shape of the tests' models, as others publish them."""

    def make(family="roberta"):
        folder = tmp_path / f"released_{family}"
        if folder.exists():
            return folder
        sizes = {"hidden_size": 32, "embedding_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64}
        types = {"type_vocab_size": 1, "layer_norm_eps": 1e-5} if family == "roberta" else {}
        config = ModelConfig(family=family, max_positions=32, **sizes, **types)
        settings = {"kind": "bpe" if family == "roberta" else "wordpiece", "vocab_size": 320}
        tokenizer = train_tokenizer(TokenizerConfig(**settings), [row["body"] for row in examples])
        export_huggingface(folder, Encoder(config, tokenizer.vocab_size, tokenizer.pad_id), tokenizer)
        return folder

    return make


def test_a_released_checkpoint_is_pretrained_further(make_plan, run_waves, release, general):
    given = [
        *general,
        f"study.offshelf=hf:{release()}",
        "study.conditions=[own,offshelf,tapt]",
        "study.pretrain_seeds=1",
    ]
    short = "{total_steps:2,batch_size:2,micro_batch_size:null}"
    plan = make_plan(*given, f"study.tapt={short}")
    (cell,) = list_mine(plan, "tapt of local")
    assert not cell.stands_on and cell in dict(plan.iter_waves())["pretraining"]
    assert len(plan.corpora) == 2  # the own text once more, in the checkpoint's vocabulary
    run_waves(plan, "corpora", "pretraining", "fine-tuning")
    released, tokenizer = load_huggingface(str(release()))
    built = next(c for c in plan.corpora.values() if c.condition == "tapt of local")
    assert read_manifest(built.folder)["tokenizer"]["fingerprint"] == tokenizer.fingerprint
    assert Costs(plan).get_vocab_size(cell) == tokenizer.vocab_size
    assert hash_weights(pretrain.build_model(cell.settings, tokenizer).encoder) == hash_weights(released)
    end, kept = load_encoder(cell.run.encoder())
    assert hash_weights(end) != hash_weights(released) and kept.fingerprint == tokenizer.fingerprint
    results = collect_results(plan, [])
    assert [(c.condition, c.status, c.init_scheme) for c in results.cells] == [
        ("own", "done", "normal"), ("offshelf", "done", ""), ("tapt", "done", ""),
    ]  # fmt: skip
    assert results.facts["condition tapt"].endswith("'batch_size': 2, 'micro_batch_size': None}")
    assert {*make_plan(*given[:-2], "study.conditions=[own]").pretrainings} > {
        plan.groups[0].choose_cells()[0].settings.start.run_id
    }


def test_its_epochs_become_steps_once_the_corpus_is_there(make_plan, run_waves, release, general):
    given = [
        *general,
        f"study.offshelf=hf:{release()}",
        "study.conditions=[tapt]",
        "study.pretrain_seeds=1",
        "study.curve=[.5]",
    ]
    plan = make_plan(*given)
    (cell,) = plan.pretrainings.values()
    config = cell.settings.pretrain
    assert (config.budget, config.budget_amount, config.batch_size, config.peak_lr) == ("epochs", 100, 256, 1e-4)
    assert (config.schedule, config.warmup_fraction, config.beta2, config.eps) == ("linear", 0.06, 0.98, 1e-6)
    assert plan.is_provisional and Costs(plan).compute_work(cell).steps
    run_waves(plan, "corpora")
    plan = make_plan(*given)
    (cell,) = plan.pretrainings.values()
    corpus = read_manifest(next(iter(plan.corpora.values())).folder)
    assert not plan.is_provisional
    assert cell.settings.pretrain.total_steps == round(100 * corpus["tokens"] / 32 / 256)
    assert plan.list_curve(plan.groups[0]) == {} and cell.settings.pretrain.snapshots == []


@pytest.mark.parametrize(("tapt", "words"), [
    ("{batch_sise:2}", "condition tapt, study.tapt={'batch_sise': 2}: setting batch_sise"),
    ("{batch_size:24}", "pretrain.batch_size=24 is not a multiple of pretrain.micro_batch_size=16"),
    ("{peak_lr:-1}", "pretrain.peak_lr=-1"),
    ("3", "study.tapt=3 is no mapping"),
])  # fmt: skip
def test_a_wrong_setting_of_its_recipe_is_one_line(make_plan, release, tapt, words):
    with pytest.raises(UserError) as refusal:
        make_plan("study.conditions=[tapt]", f"study.offshelf=hf:{release()}", f"study.tapt={tapt}")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_warm_up_in_steps_takes_the_place_of_the_share(make_plan, release):
    plan = make_plan(
        "study.conditions=[tapt]", f"study.offshelf=hf:{release()}", "study.tapt={warmup_steps:3,total_steps:9}"
    )
    config = next(iter(plan.pretrainings.values())).settings.pretrain
    assert (config.warmup_steps, config.warmup_fraction, config.budget, config.total_steps) == (3, None, "steps", 9)


def test_a_detector_gets_a_generator_that_begins_anew(make_plan, release):
    folder = release("electra")
    given = [
        "study.models=[electra_tiny]",
        "study.conditions=[tapt]",
        f"study.offshelf=hf:{folder}",
        "study.tapt={total_steps:2}",
    ]
    plan = make_plan(*given)
    models = []
    for cell in itertools.islice(plan.pretrainings.values(), 2):  # two seeds
        released, tokenizer = load_huggingface(str(folder))
        models.append(pretrain.build_model(cell.settings, tokenizer))
        assert hash_weights(models[-1].encoder) == hash_weights(released)
    assert hash_weights(models[0].generator) != hash_weights(models[1].generator)


def test_a_checkpoint_of_another_model_is_refused(make_plan, release):
    plan = make_plan(
        "study.conditions=[tapt]", f"study.offshelf=hf:{release()}", "study.tapt={total_steps:2}", "model.num_heads=4"
    )
    cell, tokenizer = next(iter(plan.pretrainings.values())), Tokenizer.load(release())
    with pytest.raises(UserError, match=r"has model\.num_heads=2, not 4: it belongs to another model"):
        pretrain.build_model(cell.settings, tokenizer)
