"""Procedures: the files, conditions that follow them, and what a study plans for these."""

from __future__ import annotations

import dataclasses

import pytest
from omegaconf import OmegaConf

from selfpretrain.config import ModelConfig, UserError
from selfpretrain.door import compose_settings, find_folder
from selfpretrain.runs.budget import take_share
from selfpretrain.study import procedures
from selfpretrain.study.conditions import FAMILIES, NONE, find_condition, list_texts
from selfpretrain.study.cost import count_pretrain_flops
from selfpretrain.study.procedures import Procedure, follow_procedures, list_procedures, load_procedure

COMMANDS = ("corpus", "corpus_audit", "evaluate", "export", "finetune", "plan", "pretrain", "report", "study", "submit")


def get_settings(plan, condition):
    """Of the condition's first pretraining and of its first fine-tuning."""
    group = next(group for group in plan.groups if group.condition == condition)
    cell = group.choose_cells()[0]
    return plan.pretrainings[cell.settings.start.run_id].settings, cell.settings


# the files


@pytest.mark.parametrize("name", list_procedures())
def test_a_file_is_a_choice_and_its_settings_are_known(name):
    length = "pretrain.total_steps=10000"  # of three checks of gradients, at least
    settings = compose_settings("pretrain", ["model=roberta_tiny_deep", "task=agnews", length, f"procedure={name}"])
    for key, value in load_procedure(name).changes.items():
        section, _, setting = key.partition(".")
        assert getattr(getattr(settings, section), setting) == value
    assert name not in FAMILIES and name != NONE


def test_plain_changes_nothing_and_is_what_every_command_has():
    given = ["model=roberta_tiny", "task=agnews"]
    assert compose_settings("study", given) == compose_settings("study", [*given, "procedure=plain"])
    assert not load_procedure("plain").sections and "plain" not in list_procedures()
    for command in COMMANDS:
        defaults = [*OmegaConf.load(find_folder("conf") / f"{command}.yaml").defaults]
        order = [next(iter(each)) for each in defaults if not isinstance(each, str)]
        assert {"procedure": "plain"} in defaults
        assert order.index("procedure") > max(
            order.index(name) for name in ("model", "effort", "budget") if name in order
        )


def test_on_a_command_line_it_goes_over_effort_and_budget_and_settings_over_it():
    given = ["model=roberta_tiny", "effort=quick", "procedure=muon"]
    assert compose_settings("study", given).pretrain.optimizer == "muon"
    assert compose_settings("study", [*given, "pretrain.optimizer=adamw"]).pretrain.optimizer == "adamw"
    half = compose_settings("study", [*given[:2], "procedure=half", "budget=tokens", "pretrain.budget_amount=100"])
    assert take_share(half).pretrain.budget_amount == 50


# conditions


def test_what_a_condition_is():
    both = find_condition("swe+half:bookwiki")
    assert (both.procedures, both.plain, both.is_general, both.is_from_nothing) == (
        ("swe", "half"),
        "bookwiki",
        True,
        True,
    )
    assert both.describe("bookwiki") == "BookWiki (swe+half)"
    assert both.note.startswith(
        "pretrain.weight_sharing=fixed, pretrain.share_until=0.1, pretrain.length_share=0.5, in place"
    )
    mixed = find_condition("muon:mix:own+bookwiki")
    assert mixed.is_of_task and [text.key for text in mixed.texts] == ["own", "bookwiki"]
    bare = find_condition("rotary:none")
    assert bare.is_fresh and bare.schemes == find_condition(NONE).schemes
    assert find_condition("normal:none").schemes == ("preset",)
    assert find_condition("fairseq:own").engine == "fairseq" and not find_condition("fairseq:own").procedures


def test_procedures_of_one_text_are_told_apart():
    for text in list_texts():
        colours = [find_condition(key).colour for key in (*list_texts(), *(f"{p}:{text}" for p in list_procedures()))]
        assert len(set(colours)) == len(colours)


@pytest.mark.parametrize(("condition", "said"), [
    ("faster:own", r"'faster:own' is no condition; allowed: none, .*<procedure>:<text>.* with procedures of adamw, half, "),
    ("muon+faster:own", r"'muon\+faster:own' is no condition"),
    ("muon:", "'muon:' is no condition"),
    ("muon:gone", "'gone' is no condition"),
    ("muon:none", "muon:none: muon changes pretraining alone; allowed: muon:own, muon:bookwiki, "),
    ("muon:offshelf", "muon:offshelf: 'offshelf' is no text by itself; allowed: muon:own"),
    ("rotary:tapt", "rotary:tapt: 'tapt' is no text by itself; allowed: rotary:none, rotary:own"),
    ("muon:own_of:qqp", "'own_of:qqp' is no text by itself"),
    ("muon:own_then_bookwiki", "'own_then_bookwiki' is no text by itself"),
    ("muon:fairseq:own", "'fairseq:own' is no text by itself"),
    ("muon:half:own", "'half:own' is no text by itself"),
    ("muon+adamw:own", r"muon\+adamw sets pretrain\.optimizer twice"),
    ("muon+muon:own", r"muon\+muon sets pretrain\.optimizer twice"),
])  # fmt: skip
def test_what_is_no_condition_is_one_line(condition, said):
    with pytest.raises(UserError, match=said) as refusal:
        find_condition(condition)
    assert "\n" not in str(refusal.value)


# plans


def test_a_study_plans_them_beside_the_plain_one(make_plan):
    keys = ["own", "muon:own", "mask40:own", "half:own", "rotary:own", "mimetic:own", "swe+half:own"]
    given = [
        "pretrain.total_steps=40",
        "pretrain.warmup_steps=10",
        "pretrain.warmup_fraction=null",
        "model.num_layers=4",
    ]
    plan = make_plan(f"study.conditions=[{','.join(keys)}]", *given)
    assert len(plan.corpora) == 1 and len(plan.pretrainings) == 2 * len(keys)  # a text and a vocabulary for all of them
    assert len({cell.condition for cell in plan.pretrainings.values()}) == len(
        keys
    )  # seeds of one are trained together
    plain, tuned = get_settings(plan, "own")
    differing = {}
    for key in keys[1:]:
        own, its_tuned = get_settings(plan, key)
        differing[key] = {
            f"{section}.{name}": value
            for section in ("model", "objective", "pretrain", "seeds", "corpus", "tokenizer", "task")
            for name, value in vars(getattr(own, section)).items()
            if value != getattr(getattr(plain, section), name)
        }
        assert its_tuned.model == own.model  # what is fine-tuned is what was pretrained
        assert dataclasses.replace(its_tuned, model=tuned.model, init="", objective=tuned.objective, pretrain=tuned.pretrain) == (
            dataclasses.replace(tuned, init="")
        )  # fmt: skip
    assert differing == {
        "muon:own": {"pretrain.optimizer": "muon"},
        "mask40:own": {"objective.mask_prob": 0.4},
        "half:own": {"pretrain.total_steps": 20, "pretrain.warmup_steps": 5},
        "rotary:own": {"model.positions": "rotary"},
        "mimetic:own": {"model.init_scheme": "mimetic"},
        "swe+half:own": {
            "pretrain.weight_sharing": "fixed", "pretrain.total_steps": 20, "pretrain.warmup_steps": 5,
        },
    }  # fmt: skip
    alone = make_plan("study.conditions=[own]", *given)
    assert {*alone.pretrainings} < {*plan.pretrainings}  # what was there has the ids it had
    flops = {condition: value for (_, _, condition), value in count_pretrain_flops(plan).items()}
    assert flops["half:own"] == flops["own"] / 2 == flops["swe+half:own"] and flops["muon:own"] == flops["own"]
    assert flops["mask40:own"] > flops["own"]


def test_half_of_a_run_is_the_run_of_half_of_its_steps(make_plan):
    half = make_plan("study.conditions=[half:own]", "pretrain.total_steps=40")
    assert {*half.pretrainings} == {*make_plan("study.conditions=[own]", "pretrain.total_steps=20").pretrainings}


def test_its_setting_stands_whatever_the_command_line_says(make_plan):
    plan = make_plan("study.conditions=[own,mask40:own]", "objective.mask_prob=0.2")
    assert [get_settings(plan, key)[0].objective.mask_prob for key in plan.conditions] == [0.2, 0.4]


def test_no_pretraining_at_another_start_and_with_other_positions(make_plan):
    plan = make_plan("study.conditions=[none,rotary:none,mimetic:none]", "study.pretrain_seeds=1")
    starts = {
        group.condition: [
            (cell.settings.model.init_scheme, cell.settings.model.positions) for cell in group.choose_cells()
        ]
        for group in plan.groups
    }
    wanted = {
        "none": ("normal", "learned"),
        "rotary:none": ("normal", "rotary"),
        "mimetic:none": ("mimetic", "learned"),
    }
    assert starts == {key: [value] for key, value in wanted.items()}
    assert len({group.choose_cells()[0].id for group in plan.groups}) == 3


@pytest.mark.parametrize(("given", "said"), [
    (["study.conditions=[own,adamw:own]"], "procedure adamw changes nothing for model=roberta_tiny, which has "
     r"pretrain\.optimizer=adamw already; leave it out of study\.conditions"),
    (["study.conditions=[mask40+normal:own]"], "procedure normal changes nothing"),
    (["study.conditions=[half:own]", "pretrain.length_share=0.5"], "procedure half changes nothing"),
    (["study.conditions=[rotary:own]", "model.num_heads=32"], "procedure rotary with model=roberta_tiny: model.positions=rotary turns"),
    (["study.conditions=[muom:own]"], "study.conditions: 'muom:own' is no condition"),
    (["study.conditions=[own]", "study.pairs=[[muon:own,own]]"], r"study\.pairs has 'muon:own', which is not among"),
])  # fmt: skip
def test_what_cannot_be_planned_is_one_line(make_plan, given, said):
    with pytest.raises(UserError, match=said) as refusal:
        make_plan(*given)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("changes", "said"), [
    ({"pretrain": {"optimiser": "muon"}}, "procedure mine with model=custom: setting optimiser: .*did you mean 'optimizer'"),
    ({"objective": {"mask_prob": "much"}}, "setting mask_prob"),
    ({"objective": {"mask_prob": 2.0}}, r"objective\.mask_prob=2\.0 is out of range"),
])  # fmt: skip
def test_a_file_of_wrong_settings_is_one_line(monkeypatch, changes, said):
    monkeypatch.setattr(procedures, "load_procedure", lambda name: Procedure(**changes))
    settings = compose_settings("study", ["model=roberta_tiny", "task=agnews"])
    settings = dataclasses.replace(settings, model=ModelConfig(family="roberta"))
    with pytest.raises(UserError, match=said) as refusal:
        follow_procedures(settings, ("mine",))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("study", ["swe_vs_plain", "procedures"])
def test_the_studies_of_procedures_fit_their_models(study):
    settings = compose_settings("study", [f"study={study}"])
    (model,) = settings.study.models
    base = compose_settings("study", [f"study={study}", f"model={model}"])
    for key in settings.study.conditions:
        assert follow_procedures(base, find_condition(key).procedures).model.preset == model
