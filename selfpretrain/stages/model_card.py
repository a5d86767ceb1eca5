"""A model card: what a reader needs to use a pretrained encoder, to judge it and to make it again [MultiBERTs]."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

from selfpretrain.config import Settings
from selfpretrain.door import compose_settings, find_folder, list_choices
from selfpretrain.hashing import hash_section
from selfpretrain.numbers import format_score
from selfpretrain.stages.lineage import Checkpoint, describe_text

WORKS = {
    "electra": "Clark, Luong, Le, Manning: ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators. ICLR 2020, arXiv 2003.10555",
    "roberta": "Liu et al.: RoBERTa: A Robustly Optimized BERT Pretraining Approach. 2019, arXiv 1907.11692",
    "bert": "Devlin, Chang, Lee, Toutanova: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding. NAACL 2019, arXiv 1810.04805",
    "seeds": "Sellam et al.: The MultiBERTs: BERT Reproductions for Robustness Analysis. ICLR 2022, arXiv 2106.16163",
    "own": "Krishna, Garg, Bigham, Lipton: Downstream Datasets Make Surprisingly Good Pretraining Corpora. ACL 2023, arXiv 2209.14389",
    "further": "Gururangan et al.: Don't Stop Pretraining: Adapt Language Models to Domains and Tasks. ACL 2020, arXiv 2004.10964",
    "sharing": "Yang, Hou, Song, Liu, Zhou: Speeding up Deep Model Training by Sharing Weights and Then Unsharing. 2021, arXiv 2110.03848",
    "mimetic": "Trockman, Kolter: Mimetic Initialization of Self-Attention Layers. ICML 2023, arXiv 2305.09828",
    "rotary": "Su et al.: RoFormer: Enhanced Transformer with Rotary Position Embedding. 2021, arXiv 2104.09864",
    "muon": "Jordan et al.: Muon: An optimizer for hidden layers in neural networks. 2024",
}  # fmt: skip
DECIDING = ("model", "objective", "pretrain", "tokenizer")  # sections of the settings that make an encoder what it is
UNTOLD = ("model.preset", "pretrain.snapshots", "pretrain.checkpoint_schedule", "pretrain.micro_batch_size")
EXAMPLE = """\
```python
from transformers import AutoModel, AutoTokenizer

name = "{name}"  # this folder
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModel.from_pretrained(name)
hidden = model(**tokenizer("Some text.", return_tensors="pt")).last_hidden_state
```

    selfpretrain finetune model={preset} task=<name> init=hf:{name}"""


def write_card(
    checkpoint: Checkpoint, name: str, num_parameters: int, architecture: str, has_pooler: bool, before: str = ""
) -> str:
    """README.md of the folder ``name``, in Markdown.

    Args:
        num_parameters: of the encoder alone. architecture: the class of transformers that the weights are of.
        has_pooler: whether pretraining trained one, which is among the weights.
        before: in words, what it was trained on from; empty: an earlier snapshot or start that is not released with it.
    """
    settings = checkpoint.settings
    sections = {
        "Model": _describe_model(settings, num_parameters, architecture, has_pooler),
        "Training data": _list_lines(_describe_data(checkpoint)),
        "Procedure": _list_lines(_describe_procedure(settings)),
        "Differences from the original": _describe_differences(settings),
        "How to use": EXAMPLE.format(name=name, preset=settings.model.preset),
        "Held-out losses": _describe_held_out(checkpoint),
        "Lineage": _list_lines(_describe_lineage(checkpoint, before)),
        "Citation": "\n".join(f"- {WORKS[work]}" for work in _choose_works(checkpoint)),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    front = ["library_name: transformers", f"tags: [{settings.model.family}, self-pretraining]"]
    return "\n".join(["---", *front, "---", "", f"# {name}", "", _introduce(checkpoint), "", body, ""])


def _introduce(checkpoint: Checkpoint) -> str:
    done = f"after {checkpoint.step:,} of {checkpoint.total_steps:,} steps"
    seeds = ", ".join(f"{kind} {seed}" for kind, seed in checkpoint.seeds.items())
    when = f"at the end of its {checkpoint.total_steps:,} steps" if checkpoint.is_last else done
    return textwrap.fill(
        f"One pretraining of an encoder of the family {checkpoint.settings.model.family}, {when}. Seeds: {seeds}. One checkpoint "
        "tells of itself; what made it is judged over several seeds [MultiBERTs].", 120,
    )  # fmt: skip


def _list_lines(facts: dict[str, Any]) -> str:
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def _describe_model(settings: Settings, num_parameters: int, architecture: str, has_pooler: bool) -> str:
    m = settings.model
    facts = {
        "preset": f"{m.preset} (family {m.family})",
        "size": f"{m.num_layers} layers of width {m.hidden_size}, {m.num_heads} heads, feed-forward {m.intermediate_size}, "
        f"embeddings {m.embedding_size}, {m.max_positions} positions; {num_parameters:,} parameters in the encoder",
        "weights": f"{architecture} of transformers",
    }
    if has_pooler:
        facts["pooler"] = "as pretraining trained it, to tell whether a second text follows"
    elif architecture in ("BertModel", "RobertaModel"):
        facts["pooler"] = (
            "the encoder has none: in its place stands the identity, so pooler_output is tanh of the first token"
        )
    return _list_lines(facts)


def _describe_data(checkpoint: Checkpoint) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for place, text in enumerate(checkpoint.list_texts(), 1):
        number = f" {place}" if len(checkpoint.list_texts()) > 1 else ""
        facts |= {f"{name}{number}": fact for name, fact in describe_text(*text).items()}
    result, settings = checkpoint.run.read_result(), checkpoint.settings
    share = checkpoint.step / checkpoint.total_steps
    facts["read by this step"] = (
        f"{result['tokens'] * share:,.0f} tokens, {result['epochs'] * share:,.4g} epochs of the corpus"
    )
    facts["vocabulary"] = f"{settings.tokenizer.kind}, {settings.tokenizer.source}"
    facts["corpus"] = result["corpus"]
    return facts


def _describe_procedure(settings: Settings) -> dict[str, Any]:
    """What decides the run's result, as far as it is not off."""
    parts = {name: hash_section(name, getattr(settings, name)) for name in ("objective", "pretrain")}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def _describe_differences(settings: Settings) -> str:
    """From the preset, setting by setting; and what the preset says of its own origin."""
    preset = settings.model.preset
    known = preset in list_choices("model")
    original = compose_settings("pretrain", [f"model={preset}"]) if known else Settings()
    what = f"the preset {preset}" if known else "the defaults of selfpretrain"
    lines = []
    for section in DECIDING:
        ours, theirs = dataclasses.asdict(getattr(settings, section)), dataclasses.asdict(getattr(original, section))
        for key, value in ours.items():
            if value != theirs[key] and f"{section}.{key}" not in UNTOLD:
                lines.append(f"- {section}.{key}: {value} (there: {theirs[key]})")
    listed = "\n".join([f"From {what}:", "", *lines]) if lines else f"None from {what}."
    return f"{listed}\n\n{_quote_preset(preset)}" if known else listed


def _quote_preset(preset: str) -> str:
    """The head of a preset's file, which names its sources and what differs from them."""
    lines = (find_folder("conf") / "model" / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("# ") for line in lines if line.startswith("# ") and not line.startswith(("# @", "#   "))]
    return "\n".join(["The preset says of itself:", "", *(f"> {line}" for line in head)])


def _describe_held_out(checkpoint: Checkpoint) -> str:
    measures = checkpoint.read_held_out()
    if not measures:
        return "None were taken at this step."
    rows = [f"| {name} | {format_score(value)} |" for name, value in measures.items()]
    return "\n".join(["| measure | on held-out text |", "|---|---|", *rows])


def _describe_lineage(checkpoint: Checkpoint, before: str) -> dict[str, Any]:
    facts = {
        "run": checkpoint.run.id,
        "start": checkpoint.settings.init,
        "weights before the first step": f"SHA-256 {checkpoint.initial_weights}",
        "before this one": before or "nothing that is released with it",
        "selfpretrain": ", ".join(checkpoint.list_versions("selfpretrain")),
        "commit": ", ".join(checkpoint.list_versions("commit")),
        "machine": ", ".join(checkpoint.list_versions("machine")),
        "precision": ", ".join(checkpoint.list_versions("precision")),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _choose_works(checkpoint: Checkpoint) -> list[str]:
    """Those that what was done comes from."""
    settings = checkpoint.settings
    model, pretrain = settings.model, settings.pretrain
    applies = {
        model.family: True,
        "seeds": True,
        "own": any(corpus.source in ("own", "own_of") for corpus, _ in checkpoint.list_texts()),
        "further": settings.start.is_released,
        "sharing": pretrain.weight_sharing != "none",
        "mimetic": model.init_scheme == "mimetic",
        "rotary": model.positions == "rotary",
        "muon": pretrain.optimizer == "muon",
    }
    return [work for work, is_true in applies.items() if is_true]
