"""Cards are read strictly, and a task's says how it is fine-tuned."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from selfpretrain.cards import follow_card, list_cards, load_task_card, load_text_card
from selfpretrain.config import Settings, TaskConfig, UserError
from selfpretrain.door import compose_settings, list_choices, open_config
from selfpretrain.hashing import hash_section


def test_cards_are_read_strictly(monkeypatch, tmp_path):
    assert load_task_card("mrpc").unordered_pair
    with pytest.raises(UserError, match="did you mean 'mrpc'"):
        load_task_card("mrcp")
    with pytest.raises(UserError, match=r"no card; .*known: bookwiki"):
        load_text_card("nothing_like_it")
    (tmp_path / "corpora" / "task").mkdir(parents=True)
    (tmp_path / "corpora" / "task" / "mine.yaml").write_text("name: mine\nmetrics: f1\n")
    monkeypatch.setattr("selfpretrain.cards.find_folder", lambda name: tmp_path / name)
    with pytest.raises(UserError, match="did you mean 'metric'"):
        load_task_card("mine")


def test_the_tasks_of_the_published_average_of_glue():
    """Eight, as google-research/electra's README and fairseq's roberta have them: without WNLI, MNLI by its matched set."""
    cards = [load_task_card(name) for name in list_cards("task")]
    counted = {card.name for card in cards if card.benchmark == "GLUE"}
    assert counted == {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"}
    assert {card.benchmark for card in cards} == {None, "GLUE"}
    assert "benchmark" not in hash_section("task", load_task_card("cola"))  # the runs of before keep their ids


PUBLISHED = {"electra_small": "electra", "electra_base": "electra", "roberta_base": "roberta"}


def follow(model, task, *overrides):
    settings = compose_settings("finetune", [f"model={model}", f"task={task}", *overrides])
    return follow_card(settings, settings.task).finetune


def test_published_presets_fine_tune_as_the_reference_codes_do():
    # google-research/electra configure_finetuning.py: epochs, both orders
    electra = {"rte": (10, False), "stsb": (10, True), "mrpc": (3, True), "qqp": (3, False), "paws": (3, False), "mnli": (3, False)}  # fmt: skip
    for task, wanted in electra.items():
        config = follow("electra_small", task)
        assert (config.epochs, config.swap_pairs) == wanted, task
    # fairseq examples/roberta config/finetuning/*.yaml: rate, batch size, warm-up
    roberta = {"rte": (2e-5, 16, 0.06), "stsb": (2e-5, 16, 0.06), "mrpc": (1e-5, 16, 0.06), "cola": (1e-5, 16, 0.06),
               "qqp": (1e-5, 32, 0.25), "mnli": (1e-5, 32, 0.06), "sst2": (1e-5, 32, 0.06)}  # fmt: skip
    for task, wanted_rates in roberta.items():
        config = follow("roberta_base", task)
        assert (config.peak_lr, config.batch_size, config.warmup_fraction) == wanted_rates, task
        assert (config.epochs, config.swap_pairs) == (10, False)


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_study_tries_the_rates_of_every_card_and_some_for_fresh_encoders(model):
    rates = {follow(model, task).peak_lr for task in list_choices("task") if task not in ("none", "local")}
    for effort in ("standard", "paper"):
        grid = compose_settings("study", [f"model={model}", f"effort={effort}"]).finetune.lr_grid
        assert rates <= set(grid)
        assert max(grid) >= 5e-4


def test_order_of_precedence():
    assert follow("roberta_base", "stsb").batch_size == 16  # card over preset
    assert follow("roberta_base", "stsb", "finetune.batch_size=8").batch_size == 8  # command line over card
    assert follow("roberta_base", "stsb", "finetune.batch_size=32").batch_size == 32  # and if it names the preset's
    assert follow("roberta_base", "stsb", "finetune={batch_size: 4}").batch_size == 4
    config = follow("roberta_base", "qqp", "finetune.warmup_fraction=null", "finetune.warmup_steps=7")
    assert (config.warmup_steps, config.warmup_fraction) == (7, None)  # the two are one
    assert follow("roberta_tiny", "stsb").batch_size == 32  # finetune.recipe=preset
    short = compose_settings("study", ["model=electra_small", "effort=quick"])
    assert follow_card(short, load_task_card("rte")).finetune.epochs == 3
    long = compose_settings("study", ["model=electra_small", "effort=standard"])
    followed = follow_card(long, load_task_card("rte"))
    assert followed.finetune.epochs == 10
    assert follow_card(followed, load_task_card("rte")) == followed


def test_a_rate_on_the_command_line_is_the_only_one():
    assert compose_settings("study", ["model=roberta_tiny", "finetune.peak_lr=2e-3"]).finetune.lr_grid == []
    both = ["finetune.peak_lr=2e-3", "finetune.lr_grid=[1e-3]"]
    assert compose_settings("study", ["model=roberta_tiny", *both]).finetune.lr_grid == [1e-3]


@pytest.mark.parametrize(
    ("finetune", "message"),
    [
        ({"electra": {"epcohs": 3}}, r"task\.finetune\.electra has 'epcohs'; did you mean 'epochs'"),
        ({"gpt": {"epochs": 3}}, "electra, roberta, bert"),
        ({"electra": 3}, "<family>"),
    ],
)
def test_a_card_with_unknown_settings_is_refused(finetune, message):
    with pytest.raises(UserError, match=message):
        open_config(OmegaConf.create({"task": {"finetune": finetune}}))


def test_a_card_with_a_value_out_of_range_is_refused():
    task = TaskConfig(name="x", finetune={"electra": {"epochs": -1}})
    with pytest.raises(UserError, match=r"finetune\.epochs=-1"):
        follow_card(Settings(), task)
