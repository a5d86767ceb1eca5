"""The strict door: what it refuses, what it says, and which settings name a run."""

from __future__ import annotations

import dataclasses

import pytest
from omegaconf import OmegaConf

from selfpretrain.config import (
    ModelConfig,
    RuntimeConfig,
    SeedConfig,
    Settings,
    StudyConfig,
    TaskConfig,
    TrackingConfig,
    UserError,
)
from selfpretrain.door import (
    OPERATIONAL,
    check,
    compose_settings,
    compute_identity,
    follow_card,
    list_choices,
    load_task_card,
    load_text_card,
    open_config,
    to_dataclass,
    to_plain,
    to_yaml,
)
from selfpretrain.runs.identity import identify_finetune, identify_pretrain
from selfpretrain.sources.labelled import TaskData


def open_plain(**sections):
    return open_config(OmegaConf.create(sections))


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"pretrain": {"stpes": 3}}, "pretrain.stpes"),
        ({"pretrain": {"peak_rl": 1e-3}}, "did you mean 'peak_lr'"),
        ({"modle": {"hidden_size": 8}}, "did you mean 'model'"),
        ({"model": {"hidden_size": "wide"}}, "model.hidden_size"),
        ({"pretrain": {"batch_size": 1.5}}, "pretrain.batch_size"),
        ({"finetune": {"lr_grid": ["a"]}}, "finetune.lr_grid"),
    ],
)
def test_unknown_keys_and_wrong_types(sections, said):
    with pytest.raises(UserError, match=said) as error:
        open_plain(**sections)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override", ["+pretrain.stpes=3", "+pretrian.total_steps=3", "++model.hiden_size=8", "+study.extra.deep=1"]
)
def test_keys_added_with_a_plus_are_refused(override):
    key = override.strip("+").split("=")[0]
    with pytest.raises(UserError) as error:
        compose_settings("pretrain", [override])
    assert key.split(".")[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_the_hint_names_the_setting_that_was_meant():
    with pytest.raises(UserError, match="did you mean 'hidden_size'"):
        compose_settings("pretrain", ["+model.hiden_size=8"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.family", "gpt"),
        ("model.init_scheme", "zeros"),
        ("objective.name", "clm"),
        ("pretrain.schedule", "cosine"),
        ("finetune.schedule", "cosine"),
        ("pretrain.precision", "fp16"),
        ("finetune.precision", "fp16"),
        ("pretrain.packing", "none"),
        ("pretrain.engine", "other"),
        ("finetune.head", "mlp"),
        ("finetune.pooling", "max"),
        ("tokenizer.kind", "unigram"),
        ("corpus.source", "web"),
        ("runtime.device", "tpu"),
        ("tracking.name", "mlflow"),
        ("tracking.mode", "off"),
    ],
)
def test_choices_list_what_is_allowed(key, value):
    section, name = key.split(".")
    with pytest.raises(UserError, match=f"{key}={value} is not known; allowed: ") as error:
        open_plain(**{section: {name: value}})
    default = getattr(getattr(Settings(), section), name)
    assert default in str(error.value)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"model": {"num_heads": 3}}, "num_heads=3"),
        ({"model": {"num_heads": 0}}, "num_heads=0"),
        ({"model": {"max_positions": 64}, "finetune": {"seq_len": 64}}, "pretrain.seq_len=128 is longer"),
        ({"model": {"max_positions": 64}, "pretrain": {"seq_len": 64}}, "finetune.seq_len=128 is longer"),
        ({"model": {"family": "roberta"}}, "rtd needs model.family=electra"),
        ({"objective": {"name": "mlm"}}, "mlm needs model.family=roberta"),
        ({"model": {"type_vocab_size": 1}}, "packing=segments needs"),
        ({"model": {"dropout_prob": 1.0}}, "dropout_prob"),
        ({"model": {"attention_dropout_prob": -0.1}}, "attention_dropout_prob"),
        ({"model": {"num_heads": 8, "generator_fraction": 0.3}}, "generator_fraction=0.3"),
        ({"objective": {"mask_prob": 0.0}}, "mask_prob=0.0"),
        ({"objective": {"mask_prob": 1.0}}, "mask_prob=1.0"),
        ({"objective": {"mask_token_prob": 0.9, "random_token_prob": 0.2}}, "exceed 1"),
        ({"corpus": {"source": "own_of"}}, "corpus.task=<name>"),
        ({"corpus": {"source": "card"}}, "corpus.card=<name>"),
        ({"seeds": {"mask_seed": -1}}, "seeds.mask_seed=-1"),
        (
            {"pretrain": {"warmup_steps": 5, "warmup_fraction": 0.1}},
            "pretrain.warmup_steps and pretrain.warmup_fraction",
        ),
        (
            {"finetune": {"warmup_steps": 5, "warmup_fraction": 0.1}},
            "finetune.warmup_steps and finetune.warmup_fraction",
        ),
        ({"pretrain": {"batch_size": 0}}, "pretrain.batch_size"),
        ({"pretrain": {"seq_len": 4}}, "pretrain.seq_len"),
        ({"pretrain": {"micro_batch_size": 3}}, "not a multiple of pretrain.micro_batch_size=3"),
        ({"finetune": {"micro_batch_size": 0}}, "finetune.micro_batch_size=0"),
        ({"finetune": {"micro_batch_size": -8}}, "finetune.micro_batch_size=-8"),
        ({"pretrain": {"peak_lr": 0.0}}, "pretrain.peak_lr"),
        ({"finetune": {"peak_lr": -1.0}}, "finetune.peak_lr"),
        ({"pretrain": {"total_steps": 0}}, "total_steps=0"),
        ({"runtime": {"save_every": 0}}, "save_every"),
    ],
)
def test_contradictions_are_refused_in_one_line(sections, said):
    with pytest.raises(UserError, match=said) as error:
        open_plain(**sections)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        "pretrain.total_steps=0", "pretrain.batch_size=0", "finetune.batch_size=-1", "pretrain.seq_len=0",
        "pretrain.peak_lr=0", "pretrain.peak_lr=nan", "finetune.peak_lr=-1e-3", "finetune.lr_grid=[1e-3,-1]",
        "model.num_layers=0", "model.num_layers=-1", "model.hidden_size=0", "model.num_heads=0",
        "model.intermediate_size=0", "model.embedding_size=0", "model.max_positions=0", "model.type_vocab_size=0",
        "model.dropout_prob=1", "model.layer_norm_eps=-1", "model.init_std=-1", "objective.mask_prob=0",
        "objective.mask_prob=1.5", "objective.mask_token_prob=-0.1", "objective.random_token_prob=2",
        "tokenizer.vocab_size=0", "tokenizer.vocab_size=5", "tokenizer.train_mb=0", "pretrain.warmup_fraction=2",
        "pretrain.warmup_fraction=-1", "finetune.warmup_fraction=1.01", "pretrain.beta1=1", "pretrain.beta2=-0.1",
        "pretrain.eps=-1", "pretrain.weight_decay=-1", "pretrain.clip_norm=-1", "pretrain.eval_every=-1",
        "finetune.epochs=-1", "finetune.max_steps=0", "finetune.min_steps=-1", "finetune.evals_per_epoch=0",
        "finetune.layerwise_lr_decay=0", "finetune.layerwise_lr_decay=1.5", "seeds.seed=-1", "runtime.num_threads=0",
        "runtime.num_workers=0", "runtime.log_every=0", "runtime.save_every=0", "runtime.keep_checkpoints=0",
        "study.pretrain_seeds=0", "study.finetune_seeds=0", "study.num_replicates=199", "study.confidence=1",
        "study.confidence=95", "corpus.max_mb=0", "study.general_mb=-1",
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(value):
    key, _, text = value.partition("=")
    section, name = key.split(".")
    with pytest.raises(UserError, match=f"{key}=.* is out of range; set {key}=") as error:
        open_plain(**{section: OmegaConf.to_container(OmegaConf.create(f"{name}: {text}"))})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["pretrain.warmup_fraction=1", "objective.mask_token_prob=0", "finetune.min_steps=0",
                                   "finetune.layerwise_lr_decay=1", "pretrain.clip_norm=0", "model.dropout_prob=0",
                                   "pretrain.seq_len=8", "runtime.num_workers=1", "finetune.max_steps=1"])  # fmt: skip
def test_the_ends_of_ranges_are_allowed(value):
    key, _, number = value.partition("=")
    section, name = key.split(".")
    open_plain(**{section: {name: float(number) if "." in number else int(number)}})


def test_the_defaults_are_no_contradiction():
    check(Settings())


def test_a_command_line_becomes_settings():
    settings = compose_settings(
        "pretrain", ["model=electra_tiny", "pretrain.peak_lr=1e-3", "seeds.seed=4", "task=sst2"]
    )
    assert settings.pretrain.peak_lr == 1e-3
    assert settings.seeds.seed == 4
    assert (settings.model.preset, settings.task.name) == ("electra_tiny", "sst2")
    assert settings.task.text == ["sentence"]  # one column is a list of one


def test_cards_are_read_strictly(monkeypatch, tmp_path):
    assert load_task_card("mrpc").unordered_pair
    with pytest.raises(UserError, match="did you mean mrpc"):
        load_task_card("mrcp")
    with pytest.raises(UserError, match=r"no card; .*known: bookwiki"):
        load_text_card("nothing_like_it")
    (tmp_path / "corpora" / "task").mkdir(parents=True)
    (tmp_path / "corpora" / "task" / "mine.yaml").write_text("name: mine\nmetrics: f1\n")
    monkeypatch.setattr("selfpretrain.door.find_folder", lambda name: tmp_path / name)
    with pytest.raises(UserError, match="did you mean 'metric'"):
        load_task_card("mine")


# identity


def test_numbers_written_differently_are_one_run():
    ids = set()
    for text in ("peak_lr: 5e-4", "peak_lr: 0.0005", "peak_lr: 5.0e-04"):
        stage = to_dataclass({"pretrain": OmegaConf.to_container(OmegaConf.create(text))}, Settings)
        ids.add(compute_identity("pretrain", {"pretrain": stage.pretrain}))
    for value in (1, 1.0):
        ids.add(
            compute_identity(
                "pretrain", {"pretrain": to_dataclass({"pretrain": {"peak_lr": value}}, Settings).pretrain}
            )
        )
    assert len(ids) == 2
    assert all(len(run_id) == 12 for run_id in ids)


def test_none_is_left_out_of_the_identity():
    @dataclasses.dataclass
    class Later(ModelConfig):
        new_setting: int | None = None

    old = compute_identity("pretrain", {"model": ModelConfig()})
    assert compute_identity("pretrain", {"model": Later()}) == old
    assert compute_identity("pretrain", {"model": Later(new_setting=0)}) != old


def test_stage_and_every_setting_name_the_run():
    parts = {"model": ModelConfig()}
    ids = {compute_identity("pretrain", parts), compute_identity("finetune", parts)}
    for change in ({"hidden_size": 128}, {"dropout_prob": 0.0}, {"init_scheme": "mimetic"}):
        ids.add(compute_identity("pretrain", {"model": ModelConfig(**change)}))
    assert len(ids) == 5


def test_order_of_keys_does_not_name_the_run():
    assert compute_identity("x", {"a": 1, "b": {"c": 2, "d": 3}}) == compute_identity(
        "x", {"b": {"d": 3, "c": 2}, "a": 1}
    )


def test_how_a_run_is_carried_out_does_not_name_it():
    settings = Settings()
    other = {
        "runtime": RuntimeConfig(runs_dir="elsewhere", device="cpu", num_threads=3, log_every=1, save_every=7),
        "tracking": TrackingConfig(name="wandb", project="p"),
        "study": StudyConfig(name="s"),
    }
    assert set(other) == set(OPERATIONAL)
    moved = dataclasses.replace(settings, **other)
    assert identify_pretrain(moved, "c") == identify_pretrain(settings, "c")
    data = TaskData(TaskConfig(), {}, "d", [])
    assert identify_finetune(moved, data, "c") == identify_finetune(settings, data, "c")


def test_the_preset_s_name_does_not_name_the_run_but_seeds_and_corpus_do():
    settings = Settings()
    renamed = dataclasses.replace(settings, model=ModelConfig(preset="mine"))
    assert identify_pretrain(renamed, "c") == identify_pretrain(settings, "c")
    seeds = [
        SeedConfig(),
        SeedConfig(seed=1),
        SeedConfig(init_seed=1),
        SeedConfig(data_seed=1),
        SeedConfig(mask_seed=1),
    ]
    ids = {identify_pretrain(dataclasses.replace(settings, seeds=s), corpus) for s in seeds for corpus in ("c", "d")}
    assert len(ids) == 10
    # a seed spelled out is the seed it would have been anyway
    spelled = dataclasses.replace(settings, seeds=SeedConfig(init_seed=0, data_seed=0, mask_seed=0))
    assert identify_pretrain(spelled, "c") == identify_pretrain(settings, "c")


def test_plain_and_yaml_hold_what_was_set():
    plain = to_plain(Settings())
    assert plain["model"]["hidden_size"] == 256
    assert "warmup_steps" not in plain["pretrain"]
    again = to_dataclass(OmegaConf.to_container(OmegaConf.create(to_yaml(Settings()))), Settings)
    assert again == Settings()


# fine-tuning by card

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
    for effort in ("standard", "paper"):
        grid = compose_settings("study", [f"model={model}", f"effort={effort}"]).finetune.lr_grid
        rates = {follow(model, task).peak_lr for task in list_choices("task") if task not in ("none", "local")}
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


# the vocabulary


def test_presets_say_which_vocabulary_they_use():
    released = {"electra_small": "google/electra-small-discriminator@", "electra_base": "google/electra-small-discriminator@",
                "roberta_base": "FacebookAI/roberta-base@"}  # fmt: skip
    for model, name in released.items():
        tokenizer = compose_settings("pretrain", [f"model={model}"]).tokenizer
        assert tokenizer.source == "released" and str(tokenizer.released).startswith(name)
    for model in ("electra_tiny", "roberta_tiny"):
        for command in ("pretrain", "finetune", "study"):
            tokenizer = compose_settings(command, [f"model={model}", "study.general=docs"]).tokenizer
            assert (tokenizer.source, tokenizer.card) == ("general", "docs")


def test_a_released_vocabulary_must_be_named():
    with pytest.raises(UserError, match=r"tokenizer\.released=<repo>@<commit>"):
        compose_settings("pretrain", ["model=electra_tiny", "tokenizer.source=released"])
