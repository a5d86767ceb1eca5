"""RoBERTas of fairseq: what we write loads there and computes the same, what it wrote loads here, or is refused by name."""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import selfpretrain.interop
from selfpretrain.config import ModelConfig, Settings, TokenizerConfig, UserError
from selfpretrain.data.store import TokenWriter, write_dictionary
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.interop.fairseq_roberta import export_roberta, load_roberta
from selfpretrain.interop.huggingface import export_huggingface, load_huggingface
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import MaskedTokenHead, ReplacedTokenHead
from selfpretrain.runs.identity import identify_start
from selfpretrain.stages.start import choose_tokenizer, load_start
from selfpretrain.starts import Start

CONFIG = ModelConfig(
    family="roberta", num_layers=2, num_heads=2, hidden_size=32, embedding_size=32, intermediate_size=48, max_positions=60,
    type_vocab_size=1, layer_norm_eps=1e-5, dropout_prob=0.3, attention_dropout_prob=0.2,
)  # fmt: skip
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Café menus 🙂 are read, 12 of 100; 東京 naïve dogs sleep.",
] * 5
BODY = "encoder.sentence_encoder"
SHIM = Path(selfpretrain.interop.__file__).with_name("fairseq_shim.py")
PYTHON = Path(__file__).parents[2] / ".fairseq" / "bin" / "python"
needs_fairseq = pytest.mark.skipif(
    not (PYTHON.parents[1] / "installed").is_file(), reason="no fairseq in .fairseq; launch/fairseq_env.sh builds it"
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TokenizerConfig(kind="bpe", vocab_size=340), iter(TEXTS))


@pytest.fixture
def encoder(tokenizer) -> Encoder:
    encoder = Encoder(CONFIG, tokenizer.vocab_size, tokenizer.pad_id).eval()
    return randomise(encoder)


def randomise(module):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module


def build_head(encoder: Encoder) -> MaskedTokenHead:
    return randomise(MaskedTokenHead(encoder.config, encoder.embeddings))


def get_weights(module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters())


def assert_same(one, other):
    one, other = get_weights(one), get_weights(other)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def encode(tokenizer, text) -> list[int]:
    return [tokenizer.cls_id, *tokenizer.encode_batch([text])[0].tolist()[:58], tokenizer.sep_id]


def test_there_and_back_is_the_same_to_the_bit(encoder, tokenizer, tmp_path):
    head = build_head(encoder)
    export_roberta(tmp_path / "out", encoder, tokenizer, head)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dict.txt",
        "encoder.json",
        "model.pt",
        "vocab.bpe",
    ]
    loaded, its_tokenizer, its_head = load_roberta(str(tmp_path / "out"))
    assert_same(loaded, encoder)
    assert_same(its_head, head)
    assert its_tokenizer.fingerprint == tokenizer.fingerprint
    assert loaded.config == dataclasses.replace(CONFIG, preset=loaded.config.preset)


def test_the_segment_row_is_in_the_positions_and_features_are_equal(encoder, tokenizer, tmp_path):
    export_roberta(tmp_path / "out", encoder, tokenizer)
    content = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    table = encoder.embeddings.position.weight + encoder.embeddings.token_type.weight
    assert torch.equal(content["model"][f"{BODY}.embed_positions.weight"], table)
    content["model"][f"{BODY}.embed_positions.weight"][7] += 0.5  # trained on, by fairseq
    torch.save(content, tmp_path / "out" / "model.pt")
    loaded = load_roberta(str(tmp_path / "out"))[0].eval()
    assert not loaded.embeddings.token_type.weight.any()
    assert torch.equal(loaded.embeddings.position.weight, content["model"][f"{BODY}.embed_positions.weight"])


def test_by_way_of_transformers_it_is_the_same_to_the_bit(encoder, tokenizer, tmp_path):
    export_roberta(tmp_path / "first", encoder, tokenizer, build_head(encoder))
    content = torch.load(tmp_path / "first" / "model.pt", weights_only=True)
    content["extra_state"].pop("selfpretrain")  # as fairseq would have written it
    torch.save(content, tmp_path / "first" / "model.pt")
    first, its_tokenizer, head = load_roberta(str(tmp_path / "first"))
    export_huggingface(tmp_path / "between", first, its_tokenizer)
    between, its_tokenizer = load_huggingface(str(tmp_path / "between"))
    export_roberta(tmp_path / "second", between, its_tokenizer, head)
    again = torch.load(tmp_path / "second" / "model.pt", weights_only=True)
    assert again["model"].keys() == content["model"].keys()
    assert all(torch.equal(again["model"][name], value) for name, value in content["model"].items())
    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def to_old(content: dict[str, Any]) -> dict[str, Any]:
    """As the released files spell it: args, decoder, emb_layer_norm, one fused projection."""
    weights = {}
    for name, value in content["model"].items():
        name = name.replace("encoder.sentence_encoder", "decoder.sentence_encoder").replace(
            "encoder.lm_head", "decoder.lm_head"
        )
        weights[name.replace("layernorm_embedding", "emb_layer_norm")] = value
    for name in [name for name in weights if ".q_proj." in name]:
        parts = [weights.pop(name.replace(".q_proj.", f".{letter}_proj.")) for letter in "qkv"]
        weights[name.replace(".q_proj.", ".in_proj_").replace("in_proj_.", "in_proj_")] = torch.cat(parts)
    weights["classification_heads.mnli.dense.weight"] = torch.zeros(3, 3)
    model = {key: value for key, value in content["cfg"]["model"].items() if key != "_name"}
    return {
        "args": argparse.Namespace(arch="roberta_base", **model),
        "model": weights,
        "extra_state": content["extra_state"],
    }


def test_old_spellings_are_read(encoder, tokenizer, tmp_path):
    export_roberta(tmp_path / "out", encoder, tokenizer)
    file = tmp_path / "out" / "model.pt"
    old = to_old(torch.load(file, weights_only=True))
    assert "decoder.sentence_encoder.layers.0.self_attn.in_proj_weight" in old["model"]
    torch.save(old, file)
    assert_same(load_roberta(str(file))[0], encoder)


def change(file: Path, work) -> None:
    content = torch.load(file, weights_only=True)
    work(content)
    torch.save(content, file)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda c: c["cfg"]["model"].update(_name="transformer_lm"), r"is a checkpoint of transformer_lm; allowed: roberta,"),
        (lambda c: c.update(cfg=None), "is a checkpoint of no architecture; allowed"),
        (lambda c: c["cfg"]["model"].update(activation_fn="gelu_fast"), "activation_fn=gelu_fast is not supported"),
        (lambda c: c["cfg"]["model"].update(untie_weights_roberta=True), "untie_weights_roberta=True is not supported"),
        (lambda c: c["cfg"]["model"].update(encoder_layers=0), "encoder_layers=0 makes no model"),
        (lambda c: c["cfg"]["model"].update(encoder_attention_heads=5), "5 heads do not divide a width of 32"),
        (lambda c: c["cfg"]["model"].update(encoder_layers=3), r"has no tensor .*layers\.2\."),
        (lambda c: c["cfg"]["model"].update(encoder_layers=1), r"has a tensor .*layers\.1\..*, which roberta"),
        (lambda c: c["cfg"]["model"].update(max_positions=40), "position.weight has shape"),
        (lambda c: c["model"].pop(f"{BODY}.layers.0.fc1.bias"), r"has no tensor encoder\.sentence_encoder\.layers\.0\.fc1\.bias"),
        (lambda c: c["model"].update({f"{BODY}.layers.0.fc1.bias": torch.zeros(48, dtype=torch.int8)}), "is torch.int8"),
        (lambda c: c["model"].update({f"{BODY}.layer_norm.weight": torch.ones(32)}), r"has a tensor .*layer_norm\.weight, which"),
        (lambda c: c.pop("model"), "has no weights under 'model'"),
        (lambda c: c["model"].update(note="x"), "note is str, not a tensor"),
    ],
)  # fmt: skip
def test_other_checkpoints_are_refused(encoder, tokenizer, tmp_path, work, said):
    export_roberta(tmp_path / "out", encoder, tokenizer)
    change(tmp_path / "out" / "model.pt", work)
    with pytest.raises(UserError, match=said) as error:
        load_roberta(str(tmp_path / "out"))
    assert "\n" not in str(error.value)


def test_another_dictionary_is_refused(encoder, tokenizer, tmp_path):
    export_roberta(tmp_path / "out", encoder, tokenizer)
    with open(tmp_path / "out" / "dict.txt", "a") as file:
        file.write("madeupword0000 0\n")
    with pytest.raises(UserError, match="its dictionary has no <mask>, so it was not trained by masked_lm"):
        load_roberta(str(tmp_path / "out"))
    with open(tmp_path / "out" / "dict.txt", "a") as file:
        file.write("madeupword0001 0\n")
    with pytest.raises(
        UserError, match=rf"has {tokenizer.vocab_size} token embeddings, .* makes {tokenizer.vocab_size + 2}; put"
    ):
        load_roberta(str(tmp_path / "out"))


class Poison:
    def __reduce__(self):
        return (Path.touch, (Path("poisoned"),))


def test_a_poisoned_checkpoint_runs_nothing(encoder, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_roberta(tmp_path / "out", encoder, tokenizer)
    for content in ({"model": {}, "args": Poison()}, argparse.Namespace(x=Poison())):
        torch.save(content, tmp_path / "out" / "model.pt")
        with pytest.raises(
            UserError, match=r"needs more than weights to be read .*, which can run code, so it was not"
        ):
            load_roberta(str(tmp_path / "out"))
    (tmp_path / "out" / "model.pt").write_bytes(pickle.dumps({"model": {}}))
    with pytest.raises(UserError, match=r"is not a readable file of weights|is a checkpoint of no architecture"):
        load_roberta(str(tmp_path / "out"))
    assert not (tmp_path / "poisoned").exists()


def test_what_fairseq_has_not_is_not_exported(encoder, tokenizer, tmp_path):
    electra = ModelConfig(**{**dataclasses.asdict(CONFIG), "family": "electra", "layer_norm_eps": 1e-12})
    others = [
        (Encoder(electra, tokenizer.vocab_size, 1), tokenizer, None, "is no RoBERTa of fairseq's; export it with format=huggingface"),
        (Encoder(dataclasses.replace(CONFIG, positions="rotary"), tokenizer.vocab_size, 1), tokenizer, None, "model.positions=rotary"),
        (encoder, tokenizer, ReplacedTokenHead(CONFIG), "a ReplacedTokenHead is not exported to fairseq"),
        (Encoder(dataclasses.replace(CONFIG, layer_norm_eps=1e-12), tokenizer.vocab_size, 1), tokenizer, None, "layer_norm_eps=1e-12"),
        (encoder, train_tokenizer(TokenizerConfig(kind="wordpiece", vocab_size=120), iter(TEXTS)), None, "this vocabulary is WordPiece"),
    ]  # fmt: skip
    for one, its_tokenizer, head, said in others:
        with pytest.raises(UserError, match=said):
            export_roberta(tmp_path / "out", one, its_tokenizer, head)
        assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match="is not empty; export to a new folder"):
        export_roberta(tmp_path / "out", encoder, tokenizer)


def test_it_is_a_start_of_ours(encoder, tokenizer, tmp_path):
    export_roberta(tmp_path / "out", encoder, tokenizer)
    start = Start.parse(f"fairseq:{tmp_path / 'out'}")
    loaded, its_tokenizer = load_start(start, "runs")
    assert_same(loaded, encoder)
    named = choose_tokenizer(Settings(init=str(start)))
    assert Tokenizer.load(named.path).fingerprint == its_tokenizer.fingerprint
    first = identify_start(start)
    assert first == identify_start(Start.parse(f"fairseq:{tmp_path / 'out' / 'model.pt'}"))  # by what it holds
    change(tmp_path / "out" / "model.pt", lambda content: content["model"][f"{BODY}.embed_tokens.weight"].mul_(2))
    assert identify_start(start) != first


# with fairseq itself


def run(*words: Any, cwd: Path) -> str:
    found = subprocess.run([PYTHON, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout


PROBE = """
import sys; sys.path.insert(0, sys.argv[1])
import fairseq_shim; fairseq_shim.apply(); del sys.path[0]
import torch
from fairseq.models.roberta import RobertaModel
model = RobertaModel.from_pretrained("out", gpt2_encoder_json="out/encoder.json", gpt2_vocab_bpe="out/vocab.bpe").eval()
found = []
with torch.no_grad():
    for text in torch.load("texts.pt"):
        ids = model.encode(text)[:59]
        ids[-1] = 2
        found.append((ids, model.extract_features(ids[None]), model.model(ids[None])[0]))
torch.save(found, "found.pt")
"""
ODD = [
    "",
    " ",
    "🙂🙃 👩‍👩‍👧",
    "x" * 300,
    "東京 タワー",
    "  two  spaces ",
    "tab\tand\nline",
    "<mask> spelled out",
    "naïve CAFÉ!?",
    "a" * 40,
]


@needs_fairseq
def test_fairseq_computes_the_same(encoder, tokenizer, tmp_path):
    head = build_head(encoder)
    export_roberta(tmp_path / "out", encoder, tokenizer, head)
    texts = [text for text in ODD if "<mask>" not in text] + [
        f"{text} {i} 12.{i}" for i in range(6) for text in TEXTS[:2] * 4
    ]
    torch.save(texts, tmp_path / "texts.pt")
    run("-c", PROBE, SHIM.parent, cwd=tmp_path)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert len(found) == len(texts) >= 50
    for text, (ids, features, logits) in zip(texts, found, strict=True):
        assert ids.tolist() == [*encode(tokenizer, text)[:58], tokenizer.sep_id][: len(ids)]
        with torch.no_grad():
            ours = encoder(ids[None])
        torch.testing.assert_close(features, ours, atol=1e-5, rtol=0)
        torch.testing.assert_close(logits[0], head(ours[0], encoder.embeddings.word.weight), atol=1e-5, rtol=1e-5)


@needs_fairseq
def test_a_training_of_fairseq_s_loads_here(tokenizer, tmp_path):
    ids = [torch.tensor([*tokenizer.encode_batch([text])[0], tokenizer.sep_id]).numpy() for text in TEXTS * 8]
    (tmp_path / "data").mkdir()
    with TokenWriter(tmp_path / "data", "uint16") as writer:
        for document in ids:
            writer.append(torch.tensor([len(document)], dtype=torch.int32).numpy(), document.astype("uint16"))
    for kind in ("bin", "idx"):
        (tmp_path / "data" / f"valid.{kind}").symlink_to(tmp_path / "data" / f"train.{kind}")
    counts = torch.ones(tokenizer.vocab_size, dtype=torch.int64).numpy()
    assert write_dictionary(tmp_path / "data", tokenizer, counts) == ""
    options = "--task masked_lm --criterion masked_lm --arch roberta_base --encoder-layers 2 --encoder-embed-dim 32 " \
        "--encoder-ffn-embed-dim 48 --encoder-attention-heads 2 --max-positions 60 --tokens-per-sample 60 --batch-size 4 " \
        "--optimizer adam --lr 1e-3 --max-update 3 --cpu --no-epoch-checkpoints --save-dir out"  # fmt: skip
    run(SHIM, "train", tmp_path / "data", *options.split(), cwd=tmp_path)
    out = tmp_path / "out"
    export_roberta(tmp_path / "files", Encoder(CONFIG, tokenizer.vocab_size, 1), tokenizer)
    for name in ("encoder.json", "vocab.bpe"):
        (out / name).write_bytes((tmp_path / "files" / name).read_bytes())
    (out / "dict.txt").write_bytes((tmp_path / "data" / "dict.txt").read_bytes())
    encoder, its_tokenizer, _ = load_roberta(str(out))
    assert its_tokenizer.fingerprint == tokenizer.fingerprint
    assert encoder.config.dropout_prob == 0.1
    with pytest.raises(Exception, match=r"argparse\.Namespace"):  # so that the allowance is needed
        torch.load(out / "checkpoint_best.pt", weights_only=True)
