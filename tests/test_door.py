"""The strict door: what it refuses, and what it says."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from selfpretrain.config import Settings, UserError
from selfpretrain.door import check, compose_settings, find_folder, open_config, to_dataclass, to_yaml
from selfpretrain.hashing import to_plain


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
        ("corpus.size_as", "other"),
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
    assert (default or "own, null") in str(error.value)


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
        ({"objective": {"name": "mlm_nsp"}}, "mlm_nsp needs model.family=bert, not electra"),
        (
            {"model": {"family": "bert"}, "objective": {"name": "mlm_nsp"}},
            "objective.name=mlm_nsp needs to know whether a second text follows; set pretrain.packing=pairs, not segments",
        ),
        (
            {"pretrain": {"packing": "pairs"}},
            "packing=pairs is for objective.name=mlm_nsp, not rtd; set pretrain.packing=segments or full",
        ),
        ({"finetune": {"head": "pooler", "pooling": "mean"}}, "set finetune.pooling=cls"),
        ({"model": {"dropout_prob": 1.0}}, "dropout_prob"),
        ({"model": {"attention_dropout_prob": -0.1}}, "attention_dropout_prob"),
        ({"model": {"num_heads": 8, "generator_fraction": 0.3}}, "generator_fraction=0.3"),
        ({"model": {"positions": "rotary", "hidden_size": 12}}, "model.positions=rotary turns pairs of features"),
        (
            {"model": {"positions": "rotary", "hidden_size": 40, "generator_fraction": 0.225}},
            "generator whose width is not a multiple of twice its heads",
        ),
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
        (
            {"pretrain": {"weight_sharing": "fixed", "engine": "fairseq"}},
            "pretrain.weight_sharing=fixed needs pretrain.engine=native, not fairseq",
        ),
        (
            {"pretrain": {"weight_sharing": "fixed", "share_unit": 5}},
            "model.num_layers=12 is no multiple .* of pretrain.share_unit=5",
        ),
        (
            {"pretrain": {"weight_sharing": "multistep", "share_unit": 12}},
            "model.num_layers=12 is no multiple .2 or more. of pretrain.share_unit=12",
        ),
        ({"pretrain": {"weight_sharing": "fixed"}, "model": {"num_layers": 1}}, "model.num_layers=1 is no multiple"),
        (
            {"pretrain": {"weight_sharing": "adaptive", "total_steps": 3000}},
            "share_check_every=1000 has not 3 checks, .* in the 3000 steps of a pretraining; set it below 1000$",
        ),
        (
            {"pretrain": {"share_until": 0.2}},
            "share_until=0.2 is for pretrain.weight_sharing=fixed, not none; leave it out",
        ),
        ({"pretrain": {"share_unit": 2}}, "share_unit=2 is for pretrain.weight_sharing=fixed or adaptive or multistep"),
        (
            {"pretrain": {"weight_sharing": "fixed", "share_threshold": 0.4}},
            "share_threshold=0.4 is for pretrain.weight_sharing=adaptive or multistep, not fixed",
        ),
        (
            {"pretrain": {"weight_sharing": "fixed", "share_check_every": 5}},
            "share_check_every=5 is for .*, not fixed",
        ),
        ({"pretrain": {"weight_sharing": "fixed", "share_until": 0.0}}, "share_until=0.0 is out of range"),
    ],
)
def test_contradictions_are_refused_in_one_line(sections, said):
    with pytest.raises(UserError, match=said) as error:
        open_plain(**sections)
    assert "\n" not in str(error.value)


def test_an_unknown_name_in_a_list_is_refused():
    message = r"study.analyses=\['ensembles', 'calibrations'\] is not known; allowed: ensembles, calibration$"
    with pytest.raises(UserError, match=message):
        open_plain(study={"analyses": ["ensembles", "calibrations"]})
    assert open_plain(study={"analyses": ["calibration"]}).study.analyses == ["calibration"]
    assert open_plain().study.analyses == []


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
        "study.confidence=95", "corpus.max_mb=0", "pretrain.short_seq_prob=2", "pretrain.max_held_out=0",
        "task.test_fraction=1", "tokenizer.min_frequency=0", "study.general_mb=-1",
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


@pytest.mark.parametrize(
    ("name", "kind"), [("swe", "fixed"), ("swe_adaptive", "adaptive"), ("swe_multistep", "multistep")]
)
def test_the_published_ways_of_sharing_weights(name, kind):
    path = find_folder("conf") / "procedure" / f"{name}.yaml"
    assert path.read_text().startswith("# @package _global_\n")
    (section, values), *rest = OmegaConf.load(path).items()
    assert section == "pretrain" and not rest
    overrides = [f"pretrain.{key}={value}" for key, value in values.items()]
    for model in ("electra_base", "roberta_base"):
        config = compose_settings("pretrain", [f"model={model}", *overrides]).pretrain
        assert config.weight_sharing == kind
        assert (config.share_until, config.share_unit) == (0.1, 1)
        assert (config.share_threshold, config.share_check_every) == (0.5, 1000)


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


def test_plain_and_yaml_hold_what_was_set():
    plain = to_plain(Settings())
    assert plain["model"]["hidden_size"] == 256
    assert "warmup_steps" not in plain["pretrain"]
    again = to_dataclass(OmegaConf.to_container(OmegaConf.create(to_yaml(Settings()))), Settings)
    assert again == Settings()


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
