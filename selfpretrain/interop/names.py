"""Which of our tensors is which of transformers': ELECTRA, RoBERTa and BERT, encoders and heads.

Ours are named as in a module that has an ``encoder`` and a ``head``. Theirs carry the family as their prefix, as in
every published checkpoint. Our fused projection for queries, keys and values is three of theirs, stacked.
"""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

from selfpretrain.config import ModelConfig, UserError
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import BertHead, MaskedTokenHead, Pooler, ReplacedTokenHead, SequenceHead
from selfpretrain.train.checkpoint import set_tensors

Names = dict[str, tuple[str, ...]]  # our tensor -> theirs; several are stacked along the first axis
Tensors = dict[str, Tensor]

FAMILIES = {"electra": "Electra", "roberta": "Roberta", "bert": "Bert"}
EMBEDDING_TABLES = {"word": "word_embeddings", "position": "position_embeddings", "token_type": "token_type_embeddings"}
LAYER_PARTS = {
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.out": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
    "output_norm": ("output.LayerNorm",),
}
# the tied output matrix is left out: transformers does not store it either
MASKED_TOKEN_NAMES = {
    "electra": ("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head.bias"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
}
POOLER_NAME = "pooler.dense"  # behind the family
NEXT_SENTENCE_NAME = "cls.seq_relationship"
REPLACED_TOKEN_NAMES = ("discriminator_predictions.dense", "discriminator_predictions.dense_prediction")
SEQUENCE_NAMES = {
    "electra": ("classifier.dense", "classifier.out_proj"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
    "bert": ("bert.pooler.dense", "classifier"),
}
# known and left aside: heads, and tables of whole numbers that transformers makes itself
LEFT_ASIDE = (
    "classifier.", "cls.", "discriminator_predictions.", "embeddings.position_ids", "embeddings.token_type_ids",
    "generator_lm_head.", "generator_predictions.", "lm_head.", "pooler.", "qa_outputs.", "sequence_summary.",
)  # fmt: skip
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# SequenceHead.kind of transformers' classifier; BERT's tanh has a dropout that theirs lacks, and the same outputs
SEQUENCE_KINDS = {"electra": ("gelu",), "roberta": ("tanh",), "bert": ("pooler", "tanh")}


def get_architecture(config: ModelConfig, head: nn.Module | None) -> str:
    """The class of transformers that computes the same; UserError where there is none."""
    family = FAMILIES[config.family]
    if config.positions != "learned":
        raise UserError(
            f"model.positions={config.positions} is not what {family}Model computes, it has learned positions alone; "
            "use the encoder here, by init=run:<id>"
        )
    if config.family != "electra" and config.embedding_size != config.hidden_size:
        raise UserError(
            f"model.embedding_size={config.embedding_size} is not model.hidden_size={config.hidden_size}: {family}Model"
            " has no projection between them; only model.family=electra can be exported so"
        )
    if head is None:
        return f"{family}Model"
    if isinstance(head, (Pooler, BertHead)):
        if config.family != "bert":
            raise UserError(
                f"a {type(head).__name__} is exported for model.family=bert only, not {config.family}; export the encoder alone, "
                "head=None"
            )
        return "BertModel" if isinstance(head, Pooler) else "BertForPreTraining"
    if isinstance(head, MaskedTokenHead):
        return f"{family}ForMaskedLM"
    if isinstance(head, ReplacedTokenHead):
        if config.family != "electra":
            raise UserError(
                f"transformers has a replaced-token head for model.family=electra only, not {config.family}; export the encoder "
                "alone, head=None"
            )
        return "ElectraForPreTraining"
    if not isinstance(head, SequenceHead):
        raise UserError(f"a {type(head).__name__} is not exported to transformers; export the encoder alone, head=None")
    kinds = SEQUENCE_KINDS[config.family]
    if head.kind not in kinds or head.pooling != "cls":
        raise UserError(
            f"finetune.head={head.kind} finetune.pooling={head.pooling} is not what {family}ForSequenceClassification "
            f"computes; fine-tune with finetune.head={kinds[0]} finetune.pooling=cls, or export the encoder alone"
        )
    return f"{family}ForSequenceClassification"


def name_tensors(encoder: Encoder, head: nn.Module | None = None) -> Names:
    """Every tensor of ``encoder.`` and ``head.`` with its name or names in transformers."""
    config = encoder.config
    get_architecture(config, head)
    prefix = config.family
    names: Names = {
        f"encoder.embeddings.{ours}.weight": (f"{prefix}.embeddings.{theirs}.weight",)
        for ours, theirs in EMBEDDING_TABLES.items()
    }
    names |= name_part("encoder.embeddings.norm", f"{prefix}.embeddings.LayerNorm")
    if config.embedding_size != config.hidden_size:
        names |= name_part("encoder.project", f"{prefix}.embeddings_project")
    for i in range(config.num_layers):
        for ours, theirs in LAYER_PARTS.items():
            stacked = [f"{prefix}.encoder.layer.{i}.{part}" for part in theirs]
            names |= name_part(f"encoder.layers.{i}.{ours}", *stacked)
    return names | _name_head(config.family, head)


def name_part(ours: str, *theirs: str) -> Names:
    return {f"{ours}.{kind}": tuple(f"{name}.{kind}" for name in theirs) for kind in ("weight", "bias")}


def _name_head(family: str, head: nn.Module | None) -> Names:
    if head is None:
        return {}
    if isinstance(head, MaskedTokenHead):
        return _name_token_head(family, "head")
    pooler = f"{family}.{POOLER_NAME}"
    if isinstance(head, Pooler):
        return name_part("head.dense", pooler)
    if isinstance(head, BertHead):
        others = name_part("head.pooler.dense", pooler) | name_part("head.follows", NEXT_SENTENCE_NAME)
        return _name_token_head(family, "head.tokens") | others
    dense, out = SEQUENCE_NAMES[family] if isinstance(head, SequenceHead) else REPLACED_TOKEN_NAMES
    return name_part("head.dense", dense) | name_part("head.out", out)


def _name_token_head(family: str, ours: str) -> Names:
    dense, norm, bias = MASKED_TOKEN_NAMES[family]
    return name_part(f"{ours}.dense", dense) | name_part(f"{ours}.norm", norm) | {f"{ours}.bias": (bias,)}


def split_tensors(tensors: Tensors, names: Names) -> Tensors:
    """Our tensors (weights, or gradients) under theirs; copies, each with its own memory."""
    renamed: Tensors = {}
    for ours, theirs in names.items():
        for name, part in zip(theirs, tensors[ours].detach().chunk(len(theirs)), strict=True):
            renamed[name] = part.cpu().clone().contiguous()
    return renamed


def join_tensors(tensors: Tensors, names: Names, origin: str) -> Tensors:
    """Their tensors under our names; UserError for the first one that ``origin`` lacks."""
    for name in chain.from_iterable(names.values()):
        if name not in tensors:
            raise UserError(f"{origin} has no tensor {name}: not a whole checkpoint of this family; choose another")
    return {ours: torch.cat([tensors[name] for name in theirs]) for ours, theirs in names.items()}


def check_tensors(tensors: Tensors, names: Names, family: str, origin: str) -> None:
    """Raise UserError for the first tensor without which, or read as plain numbers, the encoder would be another."""
    used = set(chain.from_iterable(names.values()))
    for name, value in tensors.items():
        if name in used and value.dtype not in FLOATS:
            kind = str(value.dtype).removeprefix("torch.")
            raise UserError(f"{origin}: {name} is {kind}, so quantised; choose the checkpoint in fp32, fp16 or bf16")
        if name not in used and not name.removeprefix(f"{family}.").startswith(LEFT_ASIDE):
            raise UserError(
                f"{origin} has a tensor {name}, which {FAMILIES[family]} as described by its config.json lacks: without "
                "it the outputs would be others; choose another checkpoint"
            )


def unify_names(tensors: Tensors, family: str) -> Tensors:
    """Published spellings brought to one: the family as prefix, and LayerNorm's gamma and beta [BERT's TensorFlow]."""
    has_prefix = any(name.startswith(f"{family}.") for name in tensors)
    unified = {}
    for name, value in tensors.items():
        if name.endswith("LayerNorm.gamma"):
            name = name.removesuffix("gamma") + "weight"
        elif name.endswith("LayerNorm.beta"):
            name = name.removesuffix("beta") + "bias"
        unified[name if has_prefix else f"{family}.{name}"] = value
    return unified


def get_huggingface_tensors(encoder: Encoder, head: nn.Module | None = None) -> Tensors:
    """The weights under transformers' names; tied output matrices are not among them."""
    parts = nn.ModuleDict({"encoder": encoder} if head is None else {"encoder": encoder, "head": head})
    return split_tensors(dict(parts.named_parameters()), name_tensors(encoder, head))


def set_huggingface_tensors(
    tensors: Tensors, encoder: Encoder, head: nn.Module | None = None, origin: str = "state dict"
) -> None:
    """Copy transformers' weights (a state dict) into our modules; heads that are not asked for are left aside.

    Raises UserError where a tensor is missing, has another shape, is quantised, or is one that we do not have.
    """
    family, names = encoder.config.family, name_tensors(encoder, head)
    unified = unify_names(tensors, family)
    if len(unified) < len(tensors):
        raise UserError(
            f"{origin} has a LayerNorm under its old and its new name (gamma, weight); choose another checkpoint"
        )
    found = join_tensors(unified, names, origin)
    check_tensors(unified, names, family, origin)
    for prefix, module in (("encoder.", encoder), ("head.", head)):
        if module is not None:
            part = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
            set_tensors(module, part, origin)
