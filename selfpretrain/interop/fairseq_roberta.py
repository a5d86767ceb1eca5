"""Checkpoints of fairseq's RoBERTa, read and written without fairseq.

    model.pt                              weights and settings
    dict.txt, encoder.json, vocab.bpe     the vocabulary (:mod:`selfpretrain.sources.fairseq_files`)

[fairseq 0.12.2, models/roberta/model.py, checkpoint_utils.py]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfpretrain.config import ModelConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.files import new_folder
from selfpretrain.interop.names import Names, Tensors, join_tensors, name_part, split_tensors
from selfpretrain.interop.pickled import load_fairseq, save_pickled
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import MaskedTokenHead
from selfpretrain.sources.fairseq_files import (
    CHECKPOINTS,
    DICTIONARY,
    MERGES,
    PIECES,
    check_order,
    find_checkpoint,
    find_dictionary,
    write_bpe,
)
from selfpretrain.train.checkpoint import set_tensors

ARCHITECTURES = ("roberta", "roberta_base", "roberta_large")
# our setting: theirs; what a checkpoint leaves out is as in the architecture roberta
SETTINGS = {
    "num_layers": "encoder_layers", "hidden_size": "encoder_embed_dim", "intermediate_size": "encoder_ffn_embed_dim",
    "num_heads": "encoder_attention_heads", "max_positions": "max_positions", "dropout_prob": "dropout",
    "attention_dropout_prob": "attention_dropout",
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072, "encoder_attention_heads": 12,
    "max_positions": 512, "dropout": 0.1, "attention_dropout": 0.1,
}  # fmt: skip
LARGE = {"encoder_layers": 24, "encoder_embed_dim": 1024, "encoder_ffn_embed_dim": 4096, "encoder_attention_heads": 16}
SUPPORTED: dict[str, Any] = {
    "activation_fn": "gelu", "untie_weights_roberta": False, "encoder_learned_pos": True,
    "no_token_positional_embeddings": False, "encoder_layers_to_keep": None,
}  # fmt: skip
BODY, HEAD = "encoder.sentence_encoder", "encoder.lm_head"
CLASSIFIER_NAME = "sentence_classification_head"
CLASSIFIER = f"classification_heads.{CLASSIFIER_NAME}"
LAYER_PARTS = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.out_proj",),
    "attention_norm": ("self_attn_layer_norm",),
    "up": ("fc1",),
    "down": ("fc2",),
    "output_norm": ("final_layer_norm",),
}
TOKEN_TYPE = "encoder.embeddings.token_type.weight"
POSITION, THEIR_POSITION = "encoder.embeddings.position.weight", f"{BODY}.embed_positions.weight"
LEFT_ASIDE = (f"{BODY}.version", f"{HEAD}.", "classification_heads.")  # known, and no part of an encoder
# copies of a layer's own weights for torch's fused kernel, made anew whenever fairseq loads [modules/transformer_layer.py]
COPIES = re.compile(r".*\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)")
FOLDED = "selfpretrain"  # in extra_state: our tables of which theirs is the sum
LAYER_NORM_EPS = 1e-5  # torch's default, which fairseq takes


def load_roberta(path: str) -> tuple[Encoder, Tokenizer, MaskedTokenHead]:
    """Encoder, tokenizer and masked-token head of a checkpoint that lies with its vocabulary's files.

    What fairseq counts as two parts, the position table and the row of the only segment, which it has not, is as
    :func:`export_roberta` was given it; of other checkpoints that row is zero.

    Raises UserError, in one line, for another architecture, damaged or missing weights, a pickle that holds more than
    weights and settings, and a dictionary that is not the weights'.
    """
    file = find_checkpoint(path)
    content = load_fairseq(file)
    config = _build_config(_read_settings(content, file), file)
    tokenizer = Tokenizer.load(find_dictionary(path))
    tensors = _unify_names(content["model"])
    _check_vocabulary(tensors, tokenizer, file)
    encoder = Encoder(config, tokenizer.vocab_size, tokenizer.pad_id)
    head = MaskedTokenHead(config, encoder.embeddings)
    _set_weights(tensors, content.get("extra_state"), encoder, head, file)
    return encoder, tokenizer, head


def load_weights(file: Path, encoder: Encoder, head: MaskedTokenHead) -> None:
    """Copy a checkpoint's weights into modules of its shape; UserError where they do not fit."""
    content = load_fairseq(file)
    _set_weights(_unify_names(content["model"]), content.get("extra_state"), encoder, head, file)


def load_classifier(file: Path, encoder: Encoder, head: nn.Module) -> None:
    """The same of fairseq's ``sentence_prediction``; ``head`` has a hidden layer."""
    load_weights(file, encoder, MaskedTokenHead(encoder.config, encoder.embeddings))
    found = load_fairseq(file)["model"]
    own = dict(head.named_parameters())
    set_tensors(head, {name: found[f"{CLASSIFIER}.{theirs}"] for name, theirs in _name_classifier(own).items()}, file)


def save_classifier(file: Path, encoder: Encoder, head: nn.Module) -> None:
    """A checkpoint from which ``sentence_prediction`` starts: the encoder, and the head as its own."""
    own = dict(head.named_parameters())
    weights = {f"{CLASSIFIER}.{theirs}": own[name].detach().cpu() for name, theirs in _name_classifier(own).items()}
    save_weights(file, encoder, _build_identity(encoder), weights)


def _name_classifier(own: Mapping[str, Any]) -> dict[str, str]:
    return {name: name.replace("out.", "out_proj.") for name in own}


def save_weights(file: Path, encoder: Encoder, head: MaskedTokenHead, more: Tensors | None = None) -> None:
    """Write a checkpoint that fairseq can start from."""
    parts = nn.ModuleDict({"encoder": encoder, "head": head})
    ours = {name: value.detach().cpu() for name, value in parts.named_parameters()}
    weights, extra = _fold(ours, split_tensors(ours, name_tensors(encoder, head)))
    weights |= {f"{HEAD}.weight": weights[f"{BODY}.embed_tokens.weight"], f"{BODY}.version": torch.tensor([3.0])}
    save_pickled(file, build_content(*_describe(encoder.config), weights | (more or {}), extra))


def export_roberta(folder: Path, encoder: Encoder, tokenizer: Tokenizer, head: nn.Module | None = None) -> None:
    """Write a folder that ``fairseq.models.roberta.RobertaModel.from_pretrained`` loads, with the vocabulary's files.

    Without ``head``, which fairseq's model has in any case, its dense layer is the identity and its biases are zero:
    features are right, predictions of masked tokens mean nothing.

    Raises UserError for another family, a vocabulary whose ids fairseq cannot give, another head than that for masked
    tokens, and for a folder that holds something already.
    """
    config = encoder.config
    if config.positions != "learned":
        raise UserError(
            f"model.positions={config.positions} is no RoBERTa of fairseq's, which has learned positions alone; "
            "use the encoder here, by init=run:<id>"
        )
    if config.family != "roberta" or config.embedding_size != config.hidden_size or config.type_vocab_size != 1:
        raise UserError(
            f"model.family={config.family} with embedding_size={config.embedding_size} and type_vocab_size="
            f"{config.type_vocab_size} is no RoBERTa of fairseq's; export it with format=huggingface"
        )
    if head is not None and not isinstance(head, MaskedTokenHead):
        raise UserError(f"a {type(head).__name__} is not exported to fairseq; export the encoder, or a pretraining")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty; export to a new folder")
    if config.layer_norm_eps != LAYER_NORM_EPS:
        raise UserError(
            f"model.layer_norm_eps={config.layer_norm_eps}: fairseq has {LAYER_NORM_EPS} alone; export it with format=huggingface"
        )
    if tokenizer.kind != "bpe":
        raise UserError(
            "fairseq's RoBERTa has byte-level BPE, this vocabulary is WordPiece; export it with format=huggingface"
        )
    check_order(tokenizer.get_tokens())
    with new_folder(folder) as new:
        write_bpe(new, tokenizer.get_tokens(), tokenizer.get_merges())
        save_weights(new / CHECKPOINTS[0], encoder, head or _build_identity(encoder))


def name_tensors(encoder: Encoder, head: MaskedTokenHead) -> Names:
    """Every tensor of ``encoder.`` and ``head.`` but the segments' with its name or names in fairseq."""
    names: Names = {"encoder.embeddings.word.weight": (f"{BODY}.embed_tokens.weight",), POSITION: (THEIR_POSITION,)}
    names |= name_part("encoder.embeddings.norm", f"{BODY}.layernorm_embedding")
    for i in range(encoder.config.num_layers):
        for ours, theirs in LAYER_PARTS.items():
            names |= name_part(f"encoder.layers.{i}.{ours}", *(f"{BODY}.layers.{i}.{part}" for part in theirs))
    names |= name_part("head.dense", f"{HEAD}.dense") | name_part("head.norm", f"{HEAD}.layer_norm")
    return names | {"head.bias": (f"{HEAD}.bias",)}


# reading


def _read_settings(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The model's settings, from ``args`` (a Namespace) or ``cfg`` (nested mappings)."""
    cfg = content.get("cfg")
    found = content.get("args") or (cfg.get("model") if isinstance(cfg, Mapping) else None)
    settings = dict(found) if isinstance(found, Mapping) else dict(vars(found)) if hasattr(found, "__dict__") else {}
    name = settings.get("arch") or settings.get("_name")
    if name not in ARCHITECTURES:
        raise UserError(f"{file} is a checkpoint of {name or 'no architecture'}; allowed: {', '.join(ARCHITECTURES)}")
    for key, allowed in SUPPORTED.items():
        if settings.get(key, allowed) != allowed:
            raise UserError(f"{file}: {key}={settings[key]} is not supported; allowed: {allowed}")
    return DEFAULTS | (LARGE if name == "roberta_large" else {}) | settings


def _build_config(settings: Mapping[str, Any], file: Path) -> ModelConfig:
    values: dict[str, Any] = {}
    for ours, theirs in SETTINGS.items():
        value, is_rate = settings[theirs], ours.endswith("_prob")
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float) if is_rate else int)
            or not (is_rate or value > 0)
        ):
            raise UserError(f"{file}: {theirs}={value} makes no model; fetch the checkpoint again")
        values[ours] = value
    if values["hidden_size"] % values["num_heads"]:
        raise UserError(
            f"{file}: {values['num_heads']} heads do not divide a width of {values['hidden_size']}; fetch the checkpoint again"
        )
    width = values["hidden_size"]
    return ModelConfig(
        family="roberta", embedding_size=width, type_vocab_size=1, layer_norm_eps=LAYER_NORM_EPS, **values
    )


def _unify_names(tensors: Tensors) -> Tensors:
    """Older spellings brought to that of 0.12.2, a fused projection cut in three [their upgrade_state_dict_named]."""
    unified: Tensors = {}
    for name, value in tensors.items():
        name = re.sub(r"^decoder\b", "encoder", name).replace(".emb_layer_norm.", ".layernorm_embedding.")
        if fused := re.fullmatch(r"(.*\.self_attn\.)in_proj_(weight|bias)", name):
            parts = zip("qkv", value.chunk(3), strict=True)
            unified |= {f"{fused[1]}{letter}_proj.{fused[2]}": part for letter, part in parts}
        else:
            unified[name] = value
    return unified


def _set_weights(tensors: Tensors, extra: Any, encoder: Encoder, head: MaskedTokenHead, file: Path) -> None:
    names = name_tensors(encoder, head)
    _check_tensors(tensors, names, file)
    found = join_tensors(tensors, names, str(file)) | _unfold(extra, tensors, encoder.config)
    for prefix, module in (("encoder.", encoder), ("head.", head)):
        part = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        set_tensors(module, part, file)


def _check_vocabulary(tensors: Tensors, tokenizer: Tokenizer, file: Path) -> None:
    table = tensors.get(f"{BODY}.embed_tokens.weight")
    if table is None or len(table) == tokenizer.vocab_size:
        return
    if len(table) == tokenizer.vocab_size - 1:
        raise UserError(
            f"{file}: its dictionary has no <mask>, so it was not trained by masked_lm; choose another checkpoint"
        )
    raise UserError(
        f"{file} has {len(table)} token embeddings, {file.parent / DICTIONARY} makes {tokenizer.vocab_size}; put the "
        "checkpoint's own dictionary beside it"
    )


def _check_tensors(tensors: Tensors, names: Names, file: Path) -> None:
    """Raise UserError for a tensor without which the encoder would be another."""
    used = {name for several in names.values() for name in several}
    for name, value in tensors.items():
        if name in used and not value.is_floating_point():
            raise UserError(f"{file}: {name} is {value.dtype}, no floating-point numbers; choose another checkpoint")
        if name not in used and not name.startswith(LEFT_ASIDE) and not COPIES.fullmatch(name):
            raise UserError(
                f"{file} has a tensor {name}, which roberta as described by its settings lacks; choose another checkpoint"
            )


def _unfold(extra: Any, tensors: Tensors, config: ModelConfig) -> Tensors:
    """The segment row, and both of our tables where theirs is still the sum of the two that were exported."""
    kept = extra.get(FOLDED) if isinstance(extra, Mapping) else None
    if isinstance(kept, Mapping) and kept.keys() == {POSITION, TOKEN_TYPE}:
        position, row = kept[POSITION], kept[TOKEN_TYPE]
        are_ours = isinstance(position, Tensor) and isinstance(row, Tensor) and row.shape == (1, config.hidden_size)
        if are_ours and torch.equal(position + row, tensors[THEIR_POSITION]):
            return {POSITION: position, TOKEN_TYPE: row}
    return {TOKEN_TYPE: torch.zeros(1, config.hidden_size)}


# writing


def _build_identity(encoder: Encoder) -> MaskedTokenHead:
    head = MaskedTokenHead(encoder.config, encoder.embeddings)
    with torch.no_grad():
        nn.init.eye_(head.dense.weight)
        nn.init.zeros_(head.dense.bias)
    return head


def _fold(ours: Tensors, weights: Tensors) -> tuple[Tensors, dict[str, Any]]:
    """fairseq adds no segment row: every position has it instead. What was summed is kept beside the weights."""
    row = ours[TOKEN_TYPE]
    if not row.any():
        return weights, {}
    kept = {POSITION: ours[POSITION].clone(), TOKEN_TYPE: row.clone()}
    return weights | {THEIR_POSITION: ours[POSITION] + row}, {FOLDED: kept}


def _describe(config: ModelConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of fairseq's model and task."""
    model = {theirs: getattr(config, ours) for ours, theirs in SETTINGS.items()} | {"_name": "roberta_base"}
    return model, {"_name": "masked_lm", "data": ".", "tokens_per_sample": config.max_positions}


def build_content(
    model: dict[str, Any], task: dict[str, Any], weights: Tensors, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What fairseq finds in a checkpoint; settings as plain values, so that nothing is executed to read them."""
    bpe = {"_name": "gpt2", "gpt2_encoder_json": PIECES, "gpt2_vocab_bpe": MERGES}
    history = {
        "criterion_name": "MaskedLmLoss", "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 0,
    }  # fmt: skip
    return {
        "args": None,
        "cfg": {"_name": None, "model": model, "task": task, "criterion": {"_name": "masked_lm"}, "bpe": bpe},
        "model": weights,
        "optimizer_history": [history],
        "last_optimizer_state": None,
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, **(extra or {})},
    }
