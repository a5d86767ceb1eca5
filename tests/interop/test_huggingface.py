"""Folders of transformers: what we write loads there, what it or others wrote loads here, or is refused by name."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from selfpretrain.config import FinetuneConfig, ModelConfig, TaskConfig, TokenizerConfig, UserError
from selfpretrain.data.examples import join
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.files import read_json, write_json
from selfpretrain.interop.huggingface import export_huggingface, fetch_snapshot, load_huggingface, load_pooler
from selfpretrain.interop.names import SEQUENCE_KINDS, get_architecture
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import BertHead, MaskedTokenHead, Pooler, ReplacedTokenHead, SequenceHead
from selfpretrain.runs.identity import identify_start
from selfpretrain.starts import Start
from selfpretrain.tasks.sequence import SequenceModel

SIZES: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "intermediate_size": 48, "max_positions": 20}
CONFIGS = {
    "electra": ModelConfig(**SIZES, hidden_size=32, embedding_size=16, attention_dropout_prob=0.2),
    "roberta": ModelConfig(
        **SIZES, family="roberta", hidden_size=32, embedding_size=32, type_vocab_size=1, layer_norm_eps=1e-5,
        dropout_prob=0.3,
    ),
    "bert": ModelConfig(**SIZES, family="bert", hidden_size=32, embedding_size=32, init_std=0.05),
}  # fmt: skip
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.",
    "Encoders read texts; decoders write them. An ENCODER reads Café menus!",
    "Masked words are guessed from the words around them 12 times out of 100.",
]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    wordpiece = train_tokenizer(TokenizerConfig(kind="wordpiece", vocab_size=140), iter(TEXTS * 3))
    bpe = train_tokenizer(TokenizerConfig(kind="bpe", vocab_size=300), iter(TEXTS * 3))
    return {"electra": wordpiece, "bert": wordpiece, "roberta": bpe}


def build_encoder(family: str, tokenizer: Tokenizer) -> Encoder:
    return randomise(Encoder(CONFIGS[family], tokenizer.vocab_size, tokenizer.pad_id)).eval()  # type: ignore[return-value]


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module


def build_head(kind: str, encoder: Encoder) -> nn.Module | None:
    config = encoder.config
    heads = {
        "none": lambda: None,
        "mlm": lambda: MaskedTokenHead(config, encoder.embeddings),
        "rtd": lambda: ReplacedTokenHead(config),
        "sequence": lambda: SequenceHead(config, SEQUENCE_KINDS[config.family][0], "cls", 3),
        "bert": lambda: BertHead(config, encoder.embeddings),
        "pooler": lambda: Pooler(config),
    }
    head = heads[kind]()
    return None if head is None else randomise(head).eval()


def get_refusal(name: Path | str) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(UserError) as caught:
        load_huggingface(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def exported(tmp_path: Path, tokenizers: dict[str, Tokenizer]) -> Path:
    """A good checkpoint, for the tests to spoil."""
    export_huggingface(tmp_path / "good", build_encoder("bert", tokenizers["bert"]), tokenizers["bert"])
    return tmp_path / "good"


@pytest.mark.parametrize("family", CONFIGS)
def test_our_own_export_returns_equal(family: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    encoder = build_encoder(family, tokenizers[family])
    export_huggingface(tmp_path / "out", encoder, tokenizers[family])
    loaded, tokenizer = load_huggingface(str(tmp_path / "out"))
    assert loaded.config == encoder.config
    assert (loaded.vocab_size, loaded.pad_id) == (encoder.vocab_size, encoder.pad_id)
    assert tokenizer.fingerprint == tokenizers[family].fingerprint
    weights = loaded.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *itertools.product(CONFIGS, ["none", "mlm", "sequence"]),
        ("electra", "rtd"),
        ("bert", "bert"),
        ("bert", "pooler"),
    ],
)
def test_transformers_loads_an_export(family: str, kind: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = tokenizers[family]
    encoder = build_encoder(family, tokenizer)
    head = build_head(kind, encoder)
    export_huggingface(tmp_path / "out", encoder, tokenizer, head, label_names=["no", "yes", "maybe"])
    name = get_architecture(encoder.config, head)
    kinds = {
        "none": "AutoModel",
        "pooler": "AutoModel",
        "bert": "AutoModelForPreTraining",
        "sequence": "AutoModelForSequenceClassification",
    }
    for loader in (getattr(transformers, name), getattr(transformers, kinds.get(kind, name))):
        model, info = loader.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert type(model).__name__ == name
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    ids, _ = join(tokenizer, tokenizer.encode_batch(TEXTS[:2]), 20)
    batch = torch.from_numpy(ids.astype(np.int64))[None]
    for module in filter(None, (encoder, head, model.eval())):
        module.double()  # weights this large round fp32 by more than a wrong detail would show
    with torch.no_grad():
        hidden = encoder(batch)
        output = model(batch)
        if isinstance(head, MaskedTokenHead):
            expected, found = head(hidden, encoder.embeddings.word.weight), output.logits
        elif isinstance(head, SequenceHead):
            expected, found = head(hidden, None), output.logits
            assert model.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
        elif isinstance(head, BertHead):
            tokens, expected = head(hidden[:, 0], hidden[0], encoder.embeddings.word.weight)
            found = output.seq_relationship_logits
            torch.testing.assert_close(output.prediction_logits[0], tokens, rtol=0, atol=1e-9)
        elif isinstance(head, Pooler):
            expected, found = head(hidden[:, 0]), output.pooler_output
        elif head is not None:
            expected, found = head(hidden), output.logits
        else:
            expected, found = hidden, output.last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert model.config.pad_token_id == tokenizer.pad_id
    assert model.config.hidden_dropout_prob == encoder.config.dropout_prob


@pytest.mark.parametrize("family", CONFIGS)
def test_transformers_reads_the_same_tokens(family: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    own = tokenizers[family]
    export_huggingface(tmp_path / "out", build_encoder(family, own), own)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(theirs) == own.vocab_size
    assert theirs.model_max_length == 20
    roles = ("cls_token_id", "sep_token_id", "pad_token_id", "mask_token_id", "unk_token_id")
    assert [getattr(theirs, role) for role in roles] == [own.cls_id, own.sep_id, own.pad_id, own.mask_id, own.unk_id]
    texts = [*TEXTS, "  Zürich's\tBÄREN 東京 don't\n\nsleep... ", "", "a🙂b"]
    for text, ids in zip(texts, own.encode_batch(texts), strict=True):
        assert theirs(text)["input_ids"] == [own.cls_id, *ids.tolist(), own.sep_id], text
    pair = own.encode_batch(TEXTS[:2])
    assert theirs(*TEXTS[:2])["input_ids"] == join(own, pair, 1000)[0].tolist()
    assert theirs(f"fox {theirs.mask_token} dog")["input_ids"].count(own.mask_id) == 1


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("kind", ["Model", "ForMaskedLM", "ForSequenceClassification"])
def test_a_checkpoint_of_transformers_loads(
    family: str, kind: str, tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    prefix = {"electra": "Electra", "roberta": "Roberta", "bert": "Bert"}[family]
    theirs = build_theirs(transformers, prefix, kind, tokenizers[family], tmp_path)
    theirs.save_pretrained(tmp_path)
    assert_loads_equal(theirs, tmp_path)
    encoder, _ = load_huggingface(str(tmp_path))
    assert encoder.config.max_positions == (20 if family == "roberta" else 22)
    assert encoder.vocab_size == tokenizers[family].vocab_size + 3  # rows that pad the table stay


PICKLED = [
    *itertools.product(CONFIGS, ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"]),
    ("electra", "ForPreTraining"),
    ("bert", "ForPreTraining"),
]


@pytest.mark.parametrize(("family", "kind"), PICKLED)
def test_a_pickled_checkpoint_loads(family: str, kind: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """As published ones are: all tensors of the class, tied ones twice, with the tables transformers makes itself."""
    transformers = pytest.importorskip("transformers")
    prefix = {"electra": "Electra", "roberta": "Roberta", "bert": "Bert"}[family]
    theirs = build_theirs(transformers, prefix, kind, tokenizers[family], tmp_path)
    base = "" if kind == "Model" else f"{family}."
    tables = {f"{base}embeddings.position_ids": torch.arange(22)[None]}
    settings = {"_use_new_zipfile_serialization": kind != "ForMaskedLM"}  # one of them in the old format
    torch.save(theirs.state_dict() | tables, tmp_path / "pytorch_model.bin", **settings)
    assert_loads_equal(theirs, tmp_path)


@pytest.mark.parametrize("pickled", [True, False])
@pytest.mark.parametrize("kind", ["Model", "ForPreTraining", "ForSequenceClassification"])
def test_a_pooler_is_kept_for_fine_tuning(
    kind: str, pickled: bool, tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = build_theirs(transformers, "Bert", kind, tokenizers["bert"], tmp_path)
    if pickled:
        torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    else:
        theirs.save_pretrained(tmp_path)
    pooler = load_pooler(str(tmp_path))
    assert pooler is not None
    dense = theirs.get_submodule("pooler.dense" if kind == "Model" else "bert.pooler.dense")
    assert torch.equal(pooler.dense.weight, dense.weight) and torch.equal(pooler.dense.bias, dense.bias)
    task = TaskConfig(label_kind="class", label_names=["a", "b"])
    encoder, _ = load_huggingface(str(tmp_path))
    model = SequenceModel(encoder, FinetuneConfig(head="pooler"), task, 0, pooler).eval()
    ids = torch.randint(5, 100, (2, 20), generator=torch.Generator().manual_seed(0))
    expected = theirs(ids).pooler_output if kind == "Model" else theirs.bert(ids).pooler_output
    torch.testing.assert_close(model.compute_outputs({"input_ids": ids}), model.head.out(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("family", "kind"), [("bert", "ForMaskedLM"), ("roberta", "Model"), ("electra", "Model")])
def test_where_no_pooler_was_trained_there_is_none(
    family: str, kind: str, tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    prefix = {"electra": "Electra", "roberta": "Roberta", "bert": "Bert"}[family]
    build_theirs(transformers, prefix, kind, tokenizers[family], tmp_path).save_pretrained(tmp_path)
    assert load_pooler(str(tmp_path)) is None


def test_our_own_export_has_the_pooler_of_the_run(
    exported: Path, tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    """None after masked tokens alone: what stands in its place is not taken for what pretraining learnt."""
    assert load_pooler(str(exported)) is None
    encoder = build_encoder("bert", tokenizers["bert"])
    for kind in ("pooler", "bert"):
        head = build_head(kind, encoder)
        export_huggingface(tmp_path / kind, encoder, tokenizers["bert"], head)
        own, found = head if isinstance(head, Pooler) else head.pooler, load_pooler(str(tmp_path / kind))
        assert all(torch.equal(value, found.state_dict()[name]) for name, value in own.state_dict().items())


def build_theirs(transformers: Any, prefix: str, kind: str, tokenizer: Tokenizer, folder: Path) -> Any:
    """A random model of transformers; its config.json and the tokenizer in ``folder``, the weights not."""
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size + 3, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": 22, "pad_token_id": tokenizer.pad_id,
    }  # fmt: skip
    sizes |= {"embedding_size": 16} if prefix == "Electra" else {}
    theirs = getattr(transformers, prefix + kind)(getattr(transformers, f"{prefix}Config")(**sizes)).eval()
    randomise(theirs)
    theirs.config.save_pretrained(folder)
    tokenizer.save(folder)
    return theirs


def assert_loads_equal(theirs: Any, folder: Path) -> None:
    encoder, tokenizer = load_huggingface(str(folder))
    ids = torch.randint(5, tokenizer.vocab_size, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.double()(ids, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(encoder.eval().double()(ids), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_half_precision_is_read_as_single(suffix: str, exported: Path) -> None:
    full = load_file(exported / "model.safetensors")
    halves = {name: value.bfloat16() for name, value in full.items()}
    if suffix == "safetensors":
        save_file(halves, exported / "model.safetensors")
    else:
        (exported / "model.safetensors").unlink()
        torch.save(halves, exported / "pytorch_model.bin")
    table = load_huggingface(str(exported))[0].embeddings.word.weight
    assert table.dtype == torch.float32
    assert torch.equal(table, halves["bert.embeddings.word_embeddings.weight"].float())


def test_fp16_weights_give_the_outputs_of_the_numbers_they_hold(
    tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = build_theirs(transformers, "Electra", "ForPreTraining", tokenizers["electra"], tmp_path).half()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    assert_loads_equal(theirs, tmp_path)


def test_pickled_weights_are_part_of_what_names_a_start(exported: Path) -> None:
    weights = load_file(exported / "model.safetensors")
    (exported / "model.safetensors").unlink()
    names = []
    for scale in (1.0, 2.0):
        torch.save({name: value * scale for name, value in weights.items()}, exported / "pytorch_model.bin")
        names.append(identify_start(Start.parse(f"hf:{exported}")))
    (exported / "training_args.bin").write_bytes(b"no weights")
    assert names[0] != names[1] == identify_start(Start.parse(f"hf:{exported}"))


def test_old_names_of_bert_load_equal(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """Conversions from TensorFlow call LayerNorm's numbers gamma and beta, and bring the next-sentence head."""
    transformers = pytest.importorskip("transformers")
    theirs = build_theirs(transformers, "Bert", "ForPreTraining", tokenizers["bert"], tmp_path)
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in theirs.state_dict().items()
    }
    assert any(name.startswith("cls.seq_relationship") for name in renamed)
    torch.save(renamed, tmp_path / "pytorch_model.bin")
    assert_loads_equal(theirs, tmp_path)


class Poison:
    """Unpickled, it would create a folder."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_poisoned_pickle_has_not_run(exported: Path) -> None:
    target = exported.parent / "harm"
    weights = load_file(exported / "model.safetensors")
    (exported / "model.safetensors").unlink()
    torch.save({**weights, "more": Poison(target)}, exported / "pytorch_model.bin")
    assert "pytorch_model.bin needs more than weights to be read" in get_refusal(exported)
    assert not target.exists()


def test_a_pickle_called_safetensors_has_not_run(exported: Path) -> None:
    target = exported.parent / "harm"
    (exported / "model.safetensors").write_bytes(pickle.dumps(Poison(target)))
    assert "not a readable safetensors file" in get_refusal(exported)
    assert not target.exists()
    pickle.loads((exported / "model.safetensors").read_bytes())
    assert target.exists()  # the poison does work


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bert.encoder.layer.0.output.dense.weight", torch.ones((32, 48), dtype=torch.int8), "is int8, so quantised"),
        ("bert.encoder.layer.0.output.dense.SCB", torch.ones(32), "has a tensor bert.encoder.layer.0.output.dense.SCB"),
        ("bert.encoder.layer.2.output.dense.bias", torch.ones(32), "as described by its config.json lacks"),
        ("bert.embeddings_project.weight", torch.ones(32, 32), "has a tensor bert.embeddings_project.weight"),
        ("bert.encoder.layer.1.attention.self.distance_embedding.weight", torch.ones(3, 16), "distance_embedding"),
        ("encoder2.weight", torch.ones(1), "has a tensor encoder2.weight"),
        ("bert.embeddings.LayerNorm.gamma", torch.ones(32), "has a LayerNorm under its old and its new name"),
    ],
)
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_a_tensor_we_do_not_have_is_refused(
    name: str, value: torch.Tensor, message: str, suffix: str, exported: Path
) -> None:
    weights = load_file(exported / "model.safetensors") | {name: value}
    if suffix == "safetensors":
        save_file(weights, exported / "model.safetensors")
    else:
        (exported / "model.safetensors").unlink()
        torch.save(weights, exported / "pytorch_model.bin")
    assert message in get_refusal(exported)


def test_a_layer_that_the_description_leaves_out_is_refused(exported: Path) -> None:
    write_json(exported / "config.json", read_json(exported / "config.json") | {"num_hidden_layers": 1})
    assert "has a tensor bert.encoder.layer.1." in get_refusal(exported)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_cut_weights_are_refused(exported: Path, share: float) -> None:
    weights = exported / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * share)])
    assert "model.safetensors is not a readable safetensors file" in get_refusal(exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "xlm-roberta"}, "model_type=xlm-roberta is not supported; allowed: electra, roberta, bert"),
        ({"hidden_act": "gelu_new"}, "hidden_act=gelu_new is not supported; allowed: gelu"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type=relative_key is not supported"),
        ({"is_decoder": True}, "is_decoder=True is not supported"),
        (
            {"quantization_config": {"load_in_8bit": True}},
            "quantization_config={'load_in_8bit': True} is not supported",
        ),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads={'0': [1]} is not supported"),
        ({"auto_map": {"AutoModel": "x.Model"}}, "auto_map={'AutoModel': 'x.Model'} is not supported"),
        ({"hidden_size": None}, "hidden_size=None is not a whole number"),
        ({"hidden_size": "32"}, "hidden_size=32 is not a whole number"),
        ({"hidden_dropout_prob": -1}, "hidden_dropout_prob=-1 is not a number, 0 or more"),
        ({"num_attention_heads": 0}, "num_attention_heads=0 is no model"),
        ({"num_attention_heads": 5}, "hidden_size=32, num_attention_heads=5"),
        ({"num_hidden_layers": 3}, "has no tensor bert.encoder.layer.2.attention.self.query.weight"),
        ({"intermediate_size": 50}, "has shape"),
        ({"vocab_size": 100}, "config.json says vocab_size=100"),
        ({"model_type": "roberta"}, "pad_token_id=5 in config.json, 0 in the tokenizer"),
    ],
)
def test_another_model_is_refused(exported: Path, change: dict[str, Any], message: str) -> None:
    settings = read_json(exported / "config.json") | change
    if change == {"model_type": "roberta"}:
        settings["pad_token_id"] = 5
    write_json(exported / "config.json", settings)
    assert message in get_refusal(exported)


@pytest.mark.parametrize("text", [None, "", "[]", "{", "\xff"])
def test_a_damaged_config_is_refused(exported: Path, text: str | None) -> None:
    (exported / "config.json").unlink()
    if text is not None:
        (exported / "config.json").write_bytes(text.encode("latin-1"))
    assert "config.json is" in get_refusal(exported)


def test_a_name_needs_a_revision() -> None:
    assert "names no revision; allowed: hf:<folder>, hf:<repo>@<commit>" in get_refusal(
        "google/electra-small-discriminator"
    )
    assert "names no revision" in get_refusal("google/electra-small-discriminator@")


def test_without_a_network_one_line_says_so() -> None:
    refusal = get_refusal("nobody/nothing@0123456")  # the tests run with HF_HUB_OFFLINE=1
    assert "init=hf:nobody/nothing@0123456 cannot be downloaded" in refusal
    assert "init=hf:<folder>" in refusal
    assert "cannot be downloaded" in get_refusal("not a//repo@main")


def test_the_hub_is_asked_for_pickles_only_where_there_is_nothing_else(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def download(repo: str, **settings: Any) -> str:
        asked.append({**settings, "repo": repo})
        return str(exported)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch_snapshot("owner/name@refs/pr/3") == exported
    assert [(call["repo"], call["revision"]) for call in asked] == [("owner/name", "refs/pr/3")]
    assert {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt"} <= set(asked[0]["allow_patterns"])
    assert not [name for name in asked[0]["allow_patterns"] if name.endswith((".bin", ".pt", ".h5", ".py", "*"))]
    assert load_huggingface("owner/name@main")[0].config.family == "bert"
    torch.save(load_file(exported / "model.safetensors"), exported / "pytorch_model.bin")
    (exported / "model.safetensors").unlink()
    asked.clear()
    assert load_huggingface("owner/name@main")[0].config.family == "bert"
    assert len(asked) == 2
    assert "pytorch_model.bin" in asked[1]["allow_patterns"]
    assert not [name for name in asked[1]["allow_patterns"] if name.endswith((".pt", ".h5", ".py", "*"))]


def test_an_export_never_replaces_anything(exported: Path, tokenizers: dict[str, Tokenizer]) -> None:
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    with pytest.raises(UserError, match="is not empty; export to a new folder"):
        export_huggingface(exported, build_encoder("electra", tokenizers["electra"]), tokenizers["electra"])
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before


def test_a_head_or_kind_that_transformers_lacks_leaves_no_folder(
    tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    encoder = build_encoder("electra", tokenizers["electra"])
    with pytest.raises(UserError, match=r"finetune\.head=gelu finetune\.pooling=cls"):
        export_huggingface(
            tmp_path / "out", encoder, tokenizers["electra"], SequenceHead(encoder.config, "linear", "cls", 2)
        )
    head = SequenceHead(encoder.config, "gelu", "cls", 2)
    with pytest.raises(UserError, match="label_kind=ordinal cannot be exported to transformers; allowed: class"):
        export_huggingface(tmp_path / "out", encoder, tokenizers["electra"], head, label_kind="ordinal")
    assert not list(tmp_path.iterdir())


def test_sizes_of_the_description_are_the_weights(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """RoBERTa counts positions from pad_id + 1, so the table has two rows more than there are positions."""
    encoder = build_encoder("roberta", tokenizers["roberta"])
    export_huggingface(tmp_path / "out", encoder, tokenizers["roberta"])
    settings = read_json(tmp_path / "out" / "config.json")
    assert settings["max_position_embeddings"] == CONFIGS["roberta"].max_positions + 2
    assert settings["bos_token_id"] == 0 and settings["eos_token_id"] == 2
    assert read_json(tmp_path / "out" / "tokenizer_config.json")["tokenizer_class"] == "RobertaTokenizer"
    assert dataclasses.asdict(load_huggingface(str(tmp_path / "out"))[0].config)["max_positions"] == 20
