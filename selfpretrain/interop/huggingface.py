"""Checkpoints of transformers: ELECTRA, RoBERTa and BERT, read and written without importing transformers.

Weights are read as safetensors, or else from a pickle that holds nothing but weights.
"""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfpretrain.config import ModelConfig, UserError
from selfpretrain.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from selfpretrain.files import new_folder, read_json, write_json
from selfpretrain.interop.names import (
    FAMILIES,
    POOLER_NAME,
    get_architecture,
    get_huggingface_tensors,
    set_huggingface_tensors,
    unify_names,
)
from selfpretrain.interop.weights import PICKLED_FILES, SAFE_FILES, WEIGHTS, has_safetensors, load_weights
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import Pooler, SequenceHead
from selfpretrain.sources import hub
from selfpretrain.train.checkpoint import save_tensors, set_tensors

FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt"]
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "model_type": tuple(FAMILIES),
    "hidden_act": ("gelu", "gelu_python"),  # both the exact one, not the tanh approximation
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "quantization_config": (None,),
    "pruned_heads": (None, {}),
    "auto_map": (None, {}),  # code of its own, so another model than its type says
}
# our setting: theirs in config.json, of the same meaning but for max_positions, which leaves out RoBERTa's unused rows
SETTINGS = {
    "hidden_size": "hidden_size", "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size", "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size", "dropout_prob": "hidden_dropout_prob",
    "attention_dropout_prob": "attention_probs_dropout_prob", "layer_norm_eps": "layer_norm_eps",
    "init_std": "initializer_range",
}  # fmt: skip
# what transformers assumes where config.json is silent
DEFAULTS: dict[str, Any] = {
    "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
    "is_encoder_decoder": False,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "layer_norm_eps": 1e-12, "initializer_range": 0.02,
    "type_vocab_size": 2,
}  # fmt: skip
PROBLEM_TYPES = {
    "class": "single_label_classification",
    "multilabel": "multi_label_classification",
    "score": "regression",
}
SPECIAL_ROLES = ("cls_token", "sep_token", "pad_token", "mask_token", "unk_token")  # as in SPECIAL_TOKENS


def fetch_snapshot(name: str) -> Path:
    """The folder of a checkpoint: ``name`` itself where it is one, else ``<repo>@<revision>`` from the hub.

    Downloads into the hub's cache, and uses what is there when there is no network. The revision (a commit, tag or
    branch) is required: without one the weights may change from one day to the next. Raises UserError.
    """
    if Path(name).is_dir():
        return Path(name)
    repo, _, revision = name.partition("@")
    if not repo or not revision:
        raise UserError(f"init=hf:{name} is no folder and names no revision; allowed: hf:<folder>, hf:<repo>@<commit>")
    import huggingface_hub

    def download(weights: list[str]) -> Path:
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=[*FILES, *weights]))

    with hub.explain_download_errors(f"init=hf:{name}", "use a copy, init=hf:<folder>"):
        folder = download(SAFE_FILES)
        folder = folder if has_safetensors(folder) else download(PICKLED_FILES)
    hub.commits[name] = folder.name  # what a branch or tag stood for goes into the run's provenance
    return folder


def load_huggingface(name: str) -> tuple[Encoder, Tokenizer]:
    """The encoder and tokenizer of a published checkpoint: a local folder, or ``<repo>@<revision>`` of the hub.

    ELECTRA (discriminator or generator), RoBERTa and BERT; heads are left aside. Raises UserError, in one line, for
    anything else: another architecture, quantised or damaged weights, a pickle that holds more than weights, a tensor
    that our encoder lacks, a vocabulary that is not the weights'.
    """
    folder = fetch_snapshot(name)
    settings = _read_settings(folder / "config.json")
    tokenizer = Tokenizer.load(folder)
    pad_id = _get(settings, "pad_token_id", int, folder, default=1 if settings["model_type"] == "roberta" else 0)
    vocab_size = _get(settings, "vocab_size", int, folder)
    config = _build_config(settings, pad_id, folder)
    if config.family == "roberta" and pad_id != tokenizer.pad_id:  # positions are counted from it
        raise UserError(
            f"{folder}: pad_token_id={pad_id} in config.json, {tokenizer.pad_id} in the tokenizer; mend one"
        )
    if tokenizer.vocab_size > vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, config.json says vocab_size={vocab_size}; "
            "put the checkpoint's own tokenizer beside it"
        )
    tensors, origin = load_weights(folder, name)
    encoder = Encoder(config, vocab_size, tokenizer.pad_id)
    set_huggingface_tensors(tensors, encoder, origin=str(origin))
    return encoder, tokenizer


def load_pooler(name: str) -> Pooler | None:
    """The pooler of a published BERT, as :func:`load_huggingface`; None of other families and where none was trained.

    transformers gives RoBERTa one, too, which its pretraining does not train; and the identity is what
    :func:`export_huggingface` puts in the place of one that the encoder lacks.
    """
    folder = fetch_snapshot(name)
    settings = _read_settings(folder / "config.json")
    if settings["model_type"] != "bert":
        return None
    tensors, origin = load_weights(folder, name)
    prefix = f"bert.{POOLER_NAME}."
    found = {
        key.removeprefix(prefix): value for key, value in unify_names(tensors, "bert").items() if key.startswith(prefix)
    }
    if not found:
        return None
    pooler = Pooler(_build_config(settings, 0, folder))
    set_tensors(pooler.dense, found, origin)
    weight, bias = pooler.dense.weight, pooler.dense.bias
    return None if torch.equal(weight, torch.eye(len(weight))) and not bias.any() else pooler


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = read_json(path)
    except (OSError, ValueError):
        raise UserError(f"{path} is missing or damaged; fetch the checkpoint again") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path} is damaged; fetch the checkpoint again")
    for key, allowed in SUPPORTED.items():
        value = settings.get(key, DEFAULTS.get(key))
        if value not in allowed:
            given = textwrap.shorten(str(value), 80)
            raise UserError(f"{path}: {key}={given} is not supported; allowed: {', '.join(map(str, allowed))}")
    return settings


def _get(settings: dict[str, Any], key: str, kind: type, folder: Path, default: Any = None) -> Any:
    value = settings.get(key)
    if value is None:
        value = DEFAULTS.get(key, default)
    allowed = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value) or value < 0:
        wanted = "a number" if kind is float else "a whole number"
        raise UserError(f"{folder}/config.json: {key}={value} is not {wanted}, 0 or more; fetch the checkpoint again")
    return kind(value)


def _list_settings(family: str) -> dict[str, str]:
    return SETTINGS | ({"embedding_size": "embedding_size"} if family == "electra" else {})


def _build_config(settings: dict[str, Any], pad_id: int, folder: Path) -> ModelConfig:
    family = settings["model_type"]
    values: dict[str, Any] = {"family": family}
    for ours, theirs in _list_settings(family).items():
        kind = type(getattr(ModelConfig, ours))
        values[ours] = _get(settings, theirs, kind, folder)
        if kind is int and values[ours] == 0:
            raise UserError(f"{folder}/config.json: {theirs}=0 is no model; fetch the checkpoint again")
    values.setdefault("embedding_size", values["hidden_size"])
    config = ModelConfig(**values)
    max_positions = config.max_positions - (pad_id + 1 if family == "roberta" else 0)
    if config.hidden_size % config.num_heads or max_positions < 1:
        raise UserError(
            f"{folder}/config.json: hidden_size={config.hidden_size}, num_attention_heads={config.num_heads} and "
            f"{max_positions} positions make no model; fetch the checkpoint again"
        )
    return dataclasses.replace(config, max_positions=max_positions)


def export_huggingface(
    folder: Path,
    encoder: Encoder,
    tokenizer: Tokenizer,
    head: nn.Module | None = None,
    label_kind: str = "class",
    label_names: Sequence[str] = (),
    complete: Callable[[Path], None] = lambda new: None,
) -> None:
    """Write a folder that transformers' ``from_pretrained`` loads with no missing weights.

    ``head``: None (AutoModel) or BERT's Pooler, a MaskedTokenHead, a BertHead, a ReplacedTokenHead, or a SequenceHead
    that transformers has: gelu for ELECTRA, tanh for RoBERTa, pooler (or tanh) for BERT, pooling cls. ``label_kind`` (class, multilabel, score) and
    ``label_names``, in the order of the outputs, describe a SequenceHead; a score comes out scaled to 0..1.
    ``complete`` adds files of its own before the folder has its name. Raises UserError for a head that transformers lacks, for another kind and for a folder that holds something already.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty; export to a new folder")
    settings = _describe_model(encoder, tokenizer, get_architecture(encoder.config, head))
    if isinstance(head, SequenceHead):
        settings |= _describe_labels(label_kind, label_names, head.out.out_features)
    tensors = get_huggingface_tensors(encoder, head)
    if head is None and encoder.config.family != "electra":
        # RobertaModel and BertModel end in a pooler, which our encoder lacks: the identity, so tanh(first token)
        width, pooler = encoder.config.hidden_size, f"{encoder.config.family}.{POOLER_NAME}"
        tensors |= {f"{pooler}.weight": torch.eye(width), f"{pooler}.bias": torch.zeros(width)}
    with new_folder(folder) as new:
        save_tensors(tensors, new / WEIGHTS, metadata={"format": "pt"})  # older transformers want pt
        write_json(new / "config.json", settings)
        tokenizer.save(new)
        description = json.loads((new / "tokenizer.json").read_text(encoding="utf-8"))
        special = _name_special_tokens(tokenizer)
        write_json(new / "special_tokens_map.json", special)
        write_json(new / "tokenizer_config.json", special | _describe_tokenizer(encoder.config, tokenizer, description))
        complete(new)


def _describe_model(encoder: Encoder, tokenizer: Tokenizer, architecture: str) -> dict[str, Any]:
    config = encoder.config
    settings = {theirs: getattr(config, ours) for ours, theirs in _list_settings(config.family).items()} | {
        "architectures": [architecture],
        "model_type": config.family,
        "vocab_size": encoder.vocab_size,
        "hidden_act": "gelu",
        "max_position_embeddings": config.max_positions + encoder.embeddings.position_offset,
        "pad_token_id": encoder.pad_id,
        "tie_word_embeddings": True,
    }
    if config.family == "roberta":  # transformers' defaults are those of roberta-base
        settings |= {"bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id}
    return settings


def _describe_labels(label_kind: str, label_names: Sequence[str], num_outputs: int) -> dict[str, Any]:
    if label_kind not in PROBLEM_TYPES:
        raise UserError(
            f"label_kind={label_kind} cannot be exported to transformers; allowed: {', '.join(PROBLEM_TYPES)}"
        )
    names = list(label_names) or [f"LABEL_{i}" for i in range(num_outputs)]
    assert len(names) == num_outputs, (names, num_outputs)
    return {
        "problem_type": PROBLEM_TYPES[label_kind],
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


def _name_special_tokens(tokenizer: Tokenizer) -> dict[str, Any]:
    names = dict(zip(SPECIAL_ROLES, SPECIAL_TOKENS[tokenizer.kind], strict=True))
    if tokenizer.kind == "wordpiece":
        return names
    # the space before <mask> belongs to it [RoBERTa]
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False,
            "single_word": False, "special": True}  # fmt: skip
    return {**names, "mask_token": mask, "bos_token": names["cls_token"], "eos_token": names["sep_token"]}


def _describe_tokenizer(config: ModelConfig, tokenizer: Tokenizer, description: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json: the class, and what that class would otherwise assume about the text."""
    normalizer, splitter = description["normalizer"] or {}, description["pre_tokenizer"] or {}
    usual = {"wordpiece": ("BertNormalizer", "BertPreTokenizer"), "bpe": (None, "ByteLevel")}[tokenizer.kind]
    settings: dict[str, Any] = {"model_max_length": config.max_positions}
    if (normalizer.get("type"), splitter.get("type")) != usual:
        return {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
    if tokenizer.kind == "bpe":
        return {**settings, "tokenizer_class": "RobertaTokenizer", "add_prefix_space": splitter["add_prefix_space"]}
    return {
        **settings,
        "tokenizer_class": "ElectraTokenizer" if config.family == "electra" else "BertTokenizer",
        "do_lower_case": normalizer["lowercase"],
        "strip_accents": normalizer["strip_accents"],
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
    }
