"""The forms in which people publish checkpoints, each made by transformers itself: read with equal outputs, or refused; and
vocabularies that read odd texts as theirs do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from selfpretrain.config import ModelConfig, TokenizerConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.interop.huggingface import export_huggingface, load_huggingface
from selfpretrain.model.encoder import Encoder

transformers = pytest.importorskip("transformers")

TEXTS = [
    "The quick brown fox jumps over the lazy dog; the dog sleeps.",
    "Encoders read Café menus, decoders write 12 of 100 words!",
]
ODD = [
    "", " ", "\n", "\t\t x \t", "a", "A", "...", "?!?!", "don't can't won't", "it's 3.14, i.e. 1,000.00 %", "ALL CAPS HERE", "CamelCaseWord",
    "under_score-and-dash", "http://example.org/a?b=c&d=e#f", "name@example.org", "C:\\path\\file", "<b>bold</b> &amp; more", "{'a': [1, 2]}",
    "café naïve Zürich Ångström", "cafe\u0301 decomposed", "ÀÉÎÕÜ ßẞ ﬁ ﬂ ﬀ", "İstanbul ıI", "ΑΒΓ αβγ ς", "Привет, мир!", "日本語のテキスト", "中文没有空格。",
    "한국어 텍스트", "عربي من اليمين", "שלום עולם", "हिन्दी पाठ", "ภาษาไทย", "a\u200bzero\u200bwidth", "a\u00a0no\u00a0break", "soft\u00adhyphen",
    "bell\x07 and \x00 null \x7f", "line\u2028sep\u2029par", "\ufeffbom", "\ufffd replaced", "🙂🙃 a🙂b", "👩‍👩‍👧‍👦 family", "🇩🇪 flags", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛",
    "Z̸̢͝a̵l̶g̷o", "x" * 120, "x" * 5 + "é" * 130, "supercalifragilisticexpialidocious", "12345678901234567890", "½ ² ³ € £ ¥ © ™", "“quotes” ‘single’ – — …",
    "a  b   c    d", " leading and trailing ", "tab\tand\r\nnewlines\n\n", "mixed日本and한국text", "[ CLS ] [unused1] [X]", "< s > <unk > ##ing ## #",
]  # fmt: skip
# what spells a special token out is text for us, and for transformers with split_special_tokens
SPELT = ["a [MASK] b", "[CLS] [SEP] [PAD] [UNK]", "x[SEP]y", "<s> </s> <mask> <pad> <unk>", "a<mask>b", " <mask> "]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    wordpiece = train_tokenizer(TokenizerConfig(kind="wordpiece", vocab_size=160), iter(TEXTS * 3))
    bpe = train_tokenizer(TokenizerConfig(kind="bpe", vocab_size=320), iter(TEXTS * 3))
    return {"electra": wordpiece, "bert": wordpiece, "roberta": bpe}


def publish(family: str, kind: str, tokenizer: Tokenizer, folder: Path) -> Any:
    """A random model of transformers, its config.json, and the older files of the vocabulary, in ``folder``."""
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "max_position_embeddings": 42, "pad_token_id": tokenizer.pad_id,
    }  # fmt: skip
    sizes |= {"embedding_size": 16} if family == "electra" else {}
    name = family.capitalize()
    torch.manual_seed(3)
    model = getattr(transformers, name + kind)(getattr(transformers, f"{name}Config")(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.config.save_pretrained(folder)
    tokenizer.save(folder)
    (folder / "tokenizer.json").unlink()  # older repositories have vocab.txt, or vocab.json and merges.txt, alone
    return model


def rename_norms(weights: dict[str, Any]) -> dict[str, Any]:
    """LayerNorm's numbers as TensorFlow's BERT calls them."""
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {
        next((n.replace(new, name) for new, name in old.items() if n.endswith(new)), n): v for n, v in weights.items()
    }


def add_tables(weights: dict[str, Any]) -> dict[str, Any]:
    """With the tables of whole numbers that older versions stored."""
    (word,) = [name for name in weights if name.endswith("embeddings.word_embeddings.weight") and "head" not in name]
    stem = word.removesuffix("word_embeddings.weight")
    return weights | {
        f"{stem}position_ids": torch.arange(42)[None],
        f"{stem}token_type_ids": torch.zeros(1, 42, dtype=torch.long),
    }


def drop_pooler(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in weights.items() if "pooler" not in name}


def drop_prefix(weights: dict[str, Any]) -> dict[str, Any]:
    """As AutoModel stores the encoder alone."""
    return {
        name.partition(".")[2] if name.startswith(("bert.", "roberta.", "electra.")) else name: value
        for name, value in weights.items()
    }


FORMS = {
    "google/multiberts-seed_*": ("bert", "ForPreTraining", lambda weights: weights),
    "bert-base-uncased (gamma, beta, no pooler)": ("bert", "ForPreTraining", lambda w: drop_pooler(rename_norms(w))),
    "BertForMaskedLM with tables": ("bert", "ForMaskedLM", add_tables),
    "BertModel": ("bert", "Model", lambda weights: weights),
    "BertForSequenceClassification": ("bert", "ForSequenceClassification", add_tables),
    "google/electra-*-discriminator": ("electra", "ForPreTraining", add_tables),
    "google/electra-*-generator": ("electra", "ForMaskedLM", add_tables),
    "kundank/dspt-electra-* (ElectraModel)": ("electra", "Model", lambda weights: weights),
    "kundank/dspt-roberta-* (RobertaModel)": ("roberta", "Model", add_tables),
    "roberta-base (roberta. and lm_head)": ("roberta", "ForMaskedLM", add_tables),
    "RobertaForMaskedLM, old norms": ("roberta", "ForMaskedLM", rename_norms),
    "RobertaModel without pooler": ("roberta", "Model", drop_pooler),
    "ElectraForPreTraining's encoder alone": ("electra", "ForPreTraining", lambda w: drop_prefix({n: v for n, v in w.items() if n.startswith("electra.")})),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_is_published_gives_the_same_outputs(form: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    family, kind, change = FORMS[form]
    model = publish(family, kind, tokenizers[family], tmp_path)
    weights = change(model.state_dict())
    torch.save(weights, tmp_path / "pytorch_model.bin")
    encoder, tokenizer = load_huggingface(str(tmp_path))
    assert tokenizer.fingerprint == tokenizers[family].fingerprint
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, tokenizer.vocab_size, (3, 24), generator=generator)
    mask = torch.arange(24)[None] < torch.tensor([[24], [11], [3]])
    ids = ids.where(mask, tokenizer.pad_id)
    with torch.no_grad():
        expected = model(ids, mask.long(), output_hidden_states=True).hidden_states[-1]
        found = encoder.eval()(ids, None, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-5)


class Poison:
    """Unpickled, it would create a folder."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("as_parts", [False, True])
def test_a_poisoned_one_of_each_has_not_run(
    form: str, as_parts: bool, tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    family, kind, change = FORMS[form]
    weights = change(publish(family, kind, tokenizers[family], tmp_path).state_dict())
    file = tmp_path / ("pytorch_model-00001-of-00001.bin" if as_parts else "pytorch_model.bin")
    torch.save({**weights, "more": Poison(tmp_path / "harm")}, file)
    if as_parts:
        index = ", ".join(f'"{name}": "{file.name}"' for name in weights)
        (tmp_path / "pytorch_model.bin.index.json").write_text(f'{{"weight_map": {{{index}}}}}')
    with pytest.raises(UserError, match=r"needs more than weights to be read \(posix.mkdir\)") as caught:
        load_huggingface(str(tmp_path))
    assert "\n" not in str(caught.value) and not (tmp_path / "harm").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "harm").exists()  # the poison does work


@pytest.mark.parametrize(("family", "other", "said"), [
    ("bert", "roberta", r"the tokenizer has 3\d\d tokens, config.json says vocab_size=1\d\d; put the checkpoint's own tokenizer beside it"),
    ("roberta", "bert", r"pad_token_id=1 in config.json, 0 in the tokenizer; mend one"),
    ("electra", "roberta", r"config.json says vocab_size=1\d\d; put the checkpoint's own tokenizer"),
])  # fmt: skip
def test_another_checkpoints_tokenizer_is_refused(
    family: str, other: str, said: str, tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    model = publish(family, "ForMaskedLM", tokenizers[family], tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    for name in ("vocab.txt", "vocab.json", "merges.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    tokenizers[other].save(tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        load_huggingface(str(tmp_path))
    assert "\n" not in str(caught.value)


def build_exported(family: str, tokenizer: Tokenizer, folder: Path) -> Encoder:
    config = ModelConfig(
        family=family, hidden_size=32, embedding_size=16 if family == "electra" else 32, num_layers=2, num_heads=2,
        intermediate_size=48, max_positions=200, type_vocab_size=1 if family == "roberta" else 2,
    )  # fmt: skip
    torch.manual_seed(1)
    encoder = Encoder(config, tokenizer.vocab_size, tokenizer.pad_id).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(0, 0.1)
    export_huggingface(folder, encoder, tokenizer)
    return encoder


@pytest.mark.parametrize("family", ["electra", "roberta", "bert"])
def test_an_export_reads_odd_texts_as_we_do(family: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    own = tokenizers[family]
    encoder = build_exported(family, own, tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    assert len(theirs) == own.vocab_size > 100 and len(ODD) >= 50
    for text, ids in zip(ODD, own.encode_batch(ODD), strict=True):
        assert theirs(text)["input_ids"] == [own.cls_id, *ids.tolist(), own.sep_id], text
    for text, ids in zip(SPELT, own.encode_batch(SPELT), strict=True):
        assert theirs(text, split_special_tokens=True)["input_ids"] == [own.cls_id, *ids.tolist(), own.sep_id], text
    batch = theirs(ODD, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
        found = encoder(batch["input_ids"], None, batch["attention_mask"].bool())
    mask = batch["attention_mask"].bool()
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-5)
