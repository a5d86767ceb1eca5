"""The same weights, batch and optimizer here and in transformers: equal outputs, losses, gradients and new weights.

Every weight of transformers' models is random, biases and LayerNorm included, so that no exchange goes unseen.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfpretrain.config import FinetuneConfig, ModelConfig, ObjectiveConfig, OptimConfig, TaskConfig, UserError
from selfpretrain.interop.names import (
    Names,
    get_architecture,
    get_huggingface_tensors,
    join_tensors,
    name_tensors,
    set_huggingface_tensors,
    split_tensors,
    unify_names,
)
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import Pooler, ReplacedTokenHead, SequenceHead, TokenHead
from selfpretrain.model.pretraining import BertPretraining, MaskedLanguageModel, ReplacedTokenDetection
from selfpretrain.model.sizes import build_generator_config
from selfpretrain.tasks.sequence import SequenceModel
from selfpretrain.train.optim import AdamW, clip_gradients

transformers = pytest.importorskip("transformers")

VOCAB, LENGTH, STEPS = 97, 20, 2
LR = 5e-3  # with a decay of 0.5 a forgotten decay or correction moves weights by far more than the tolerance
PAD = {"electra": 0, "bert": 0, "roberta": 1}
SIZES: dict[str, Any] = {
    "num_layers": 2, "num_heads": 4, "max_positions": 24, "dropout_prob": 0.0, "attention_dropout_prob": 0.0,
}  # fmt: skip
CONFIGS = {
    "electra": ModelConfig(**SIZES, hidden_size=64, embedding_size=32, intermediate_size=96, generator_fraction=0.5),
    "electra_wide": ModelConfig(**SIZES, hidden_size=32, embedding_size=32, intermediate_size=64),
    "roberta": ModelConfig(
        **SIZES, family="roberta", hidden_size=48, embedding_size=48, intermediate_size=96, type_vocab_size=1,
        layer_norm_eps=1e-5,
    ),
    "bert": ModelConfig(**SIZES, family="bert", hidden_size=48, embedding_size=48, intermediate_size=96),
}  # fmt: skip


def build_theirs(config: ModelConfig, kind: str, **settings: Any) -> Any:
    """A model of transformers with random weights, its config written out by hand."""
    family = {"electra": "Electra", "roberta": "Roberta", "bert": "Bert"}[config.family]
    offset = 2 if config.family == "roberta" else 0
    sizes = {
        "vocab_size": VOCAB, "hidden_size": config.hidden_size, "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads, "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_positions + offset, "type_vocab_size": config.type_vocab_size,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "layer_norm_eps": config.layer_norm_eps,
        "pad_token_id": PAD[config.family],
    }  # fmt: skip
    if config.family == "electra":
        sizes["embedding_size"] = config.embedding_size
    model = getattr(transformers, family + kind)(getattr(transformers, f"{family}Config")(**sizes, **settings))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def make_padded(config: ModelConfig) -> dict[str, Tensor]:
    """Three sequences of 20, 13 and 7 tokens in two segments."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([LENGTH, 13, 7])[:, None]
    places = torch.arange(LENGTH)[None, :]
    mask = places < lengths
    ids = torch.randint(5, VOCAB, (3, LENGTH), generator=generator).where(mask, torch.tensor(PAD[config.family]))
    batch = {"input_ids": ids, "attention_mask": mask}
    if config.type_vocab_size > 1:
        batch["token_type_ids"] = ((places >= lengths // 2) & mask).long()
    return batch


def for_theirs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**batch, "attention_mask": batch["attention_mask"].long()}


def make_packed(config: ModelConfig, positions: list[list[int]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    original = torch.randint(5, VOCAB, (len(positions), LENGTH), generator=generator)
    masked_positions = torch.tensor(positions)
    batch = {
        "input_ids": original.scatter(1, masked_positions, 4),
        "original_ids": original,
        "masked_positions": masked_positions,
    }
    if config.type_vocab_size > 1:
        batch["token_type_ids"] = (torch.arange(LENGTH) >= 9).long().expand_as(original)
    return batch


class ReferenceAdamW:
    """Written out for itself: AdamWeightDecayOptimizer of google-research/electra, or Loshchilov & Hutter's AdamW."""

    def __init__(self, parameters: dict[str, nn.Parameter], config: OptimConfig):
        self.parameters, self.config, self.step_number = parameters, config, 0
        self.m = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.v = {name: torch.zeros_like(p) for name, p in parameters.items()}

    @torch.no_grad()
    def step(self) -> None:
        config, grads = self.config, {name: p.grad for name, p in self.parameters.items()}
        self.step_number += 1
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads.values() if g is not None))
        clip = min(1.0, config.clip_norm / norm) if config.clip_norm else 1.0
        for name, parameter in self.parameters.items():
            grad = grads[name]
            assert grad is not None, name
            self.m[name] = config.beta1 * self.m[name] + (1 - config.beta1) * grad * clip
            self.v[name] = config.beta2 * self.v[name] + (1 - config.beta2) * (grad * clip) ** 2
            update = self.m[name] / (self.v[name].sqrt() + config.eps)
            if not any(part in name for part in ("LayerNorm", "layer_norm", "bias")):
                update = update + config.weight_decay * parameter
            parameter -= LR * update


class TorchAdamW:
    """torch.optim.AdamW, with Adam's bias correction."""

    def __init__(self, parameters: dict[str, nn.Parameter], config: OptimConfig):
        spared = [n for n in parameters if any(part in n for part in ("LayerNorm", "layer_norm", "bias"))]
        self.parameters, self.clip_norm = parameters, config.clip_norm
        self.inner = torch.optim.AdamW(
            [
                {"params": [parameters[n] for n in parameters if n not in spared], "weight_decay": config.weight_decay},
                {"params": [parameters[n] for n in spared], "weight_decay": 0.0},
            ],
            lr=LR, betas=(config.beta1, config.beta2), eps=config.eps,
        )  # fmt: skip

    def step(self) -> None:
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.clip_norm)
        self.inner.step()


def make_optim(bias_correction: bool) -> OptimConfig:
    return OptimConfig(
        peak_lr=LR, weight_decay=0.5, beta2=0.98, eps=1e-6, bias_correction=bias_correction, clip_norm=1.0
    )


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Any], tolerance: float) -> None:
    for name, value in ours.items():
        difference = float((value - theirs[name].detach()).abs().max())
        assert difference <= tolerance, f"{name}: {difference}"


class Pairs:
    """Our module and their models: names of the one by names of the others, and all of their parameters once."""

    def __init__(self, module: nn.Module, parts: list[tuple[str, Names, Any]]):
        self.module, self.parts = module, parts
        self.parameters: dict[str, nn.Parameter] = {}
        covered = set()
        for label, names, model in parts:
            known = dict(model.named_parameters(remove_duplicate=False))
            covered |= {id(known[name]) for theirs in names.values() for name in theirs}
            for name, parameter in known.items():
                if not any(parameter is other for other in self.parameters.values()):
                    self.parameters[f"{label}:{name}"] = parameter
        assert covered == {id(p) for p in self.parameters.values()}, "a parameter of theirs has no name here"

    def compare(self, kind: str, tolerance: float) -> None:
        """``kind``: data or grad."""
        own = dict(self.module.named_parameters(remove_duplicate=False))
        for _, names, model in self.parts:
            tensors = {ours: getattr(own[ours], kind) for ours in names}
            known = dict(model.named_parameters(remove_duplicate=False))
            theirs = {name: getattr(known[name], kind) for parts in names.values() for name in parts}
            assert_equal(split_tensors(tensors, names), theirs, tolerance)


def check_training(pairs: Pairs, optim: OptimConfig, batch: dict[str, Tensor], compute_theirs: Any) -> None:
    """Losses, gradients and weights of two optimizer steps."""
    optimizer = AdamW(dict(pairs.module.named_parameters()), optim)
    reference = (TorchAdamW if optim.bias_correction else ReferenceAdamW)(pairs.parameters, optim)
    start = {name: parameter.detach().clone() for name, parameter in pairs.parameters.items()}
    for step in range(STEPS):
        loss, _ = pairs.module(batch)
        their_loss = compute_theirs()
        assert abs(loss.item() - their_loss.item()) <= 1e-5 * max(1.0, abs(their_loss.item()))
        for parameter in (*optimizer.parameters, *pairs.parameters.values()):
            parameter.grad = None
        loss.backward()
        their_loss.backward()
        pairs.compare("grad", 1e-4)
        clip_gradients(optimizer.parameters, optim.clip_norm)
        optimizer.step(LR, step)
        reference.step()
        pairs.compare("data", 1e-4)
    moved = {name: float((start[name] - p.detach()).abs().max()) for name, p in pairs.parameters.items()}
    # a key's bias cancels in the softmax: its gradient is rounding
    assert not [name for name, most in moved.items() if most < 1e-3 and not name.endswith("key.bias")]


@pytest.mark.parametrize("name", CONFIGS)
def test_hidden_states_are_equal(name: str) -> None:
    config = CONFIGS[name]
    theirs = build_theirs(config, "Model").eval()
    encoder = Encoder(config, VOCAB, PAD[config.family]).eval()
    set_huggingface_tensors(theirs.state_dict(), encoder)
    batch = make_padded(config)
    with torch.no_grad():
        expected = theirs(**for_theirs(batch)).last_hidden_state
        hidden = encoder(batch["input_ids"], batch.get("token_type_ids"), batch["attention_mask"])
        unpadded = encoder(batch["input_ids"][:1], None)
    real = batch["attention_mask"]
    assert expected[real].std() > 0.3
    torch.testing.assert_close(hidden[real], expected[real], rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(unpadded, theirs(batch["input_ids"][:1]).last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_return_as_they_came(name: str) -> None:
    config = CONFIGS[name]
    theirs = build_theirs(config, "ForMaskedLM").state_dict()
    module = MaskedLanguageModel(config, ObjectiveConfig(name="mlm"), VOCAB, PAD[config.family], seed=0)
    set_huggingface_tensors(theirs, module.encoder, module.head)
    back = get_huggingface_tensors(module.encoder, module.head)
    tied = {n for n in theirs if n.endswith(("lm_head.weight", "decoder.weight", "decoder.bias"))}
    assert set(back) == set(theirs) - tied
    assert all(torch.equal(value, theirs[n]) for n, value in back.items())


@pytest.mark.parametrize("name", ["roberta", "bert", "electra"])
@pytest.mark.parametrize("bias_correction", [True, False])
def test_masked_language_model_trains_equally(name: str, bias_correction: bool) -> None:
    config = CONFIGS[name]
    theirs = build_theirs(config, "ForMaskedLM")
    ours = MaskedLanguageModel(config, ObjectiveConfig(name="mlm"), VOCAB, PAD[config.family], seed=0)
    set_huggingface_tensors(theirs.state_dict(), ours.encoder, ours.head)
    batch = make_packed(config, [[1, 5, 18], [2, 3, 9]])
    labels = torch.full_like(batch["original_ids"], -100)
    labels.scatter_(1, batch["masked_positions"], batch["original_ids"].gather(1, batch["masked_positions"]))
    inputs = {key: batch[key] for key in ("input_ids", "token_type_ids") if key in batch}
    chosen = theirs(**inputs).logits.gather(1, batch["masked_positions"][..., None].expand(-1, -1, VOCAB))
    torch.testing.assert_close(
        ours.compute_logits(batch, ours.encoder, ours.head), chosen.flatten(0, 1), rtol=0, atol=1e-5
    )
    pairs = Pairs(ours, [("", name_tensors(ours.encoder, ours.head), theirs)])
    check_training(pairs, make_optim(bias_correction), batch, lambda: theirs(**inputs, labels=labels).loss)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_bert_s_pretraining_trains_equally(bias_correction: bool) -> None:
    config = CONFIGS["bert"]
    theirs = build_theirs(config, "ForPreTraining")
    ours = BertPretraining(config, ObjectiveConfig(name="mlm_nsp"), VOCAB, PAD["bert"], seed=0)
    set_huggingface_tensors(theirs.state_dict(), ours.encoder, ours.head)
    padded, positions = make_padded(config), torch.tensor([[1, 5, 18], [2, 3, 9], [1, 3, 5]])
    original, mask = padded["input_ids"], padded["attention_mask"]
    batch = {
        **padded, "original_ids": original, "input_ids": original.scatter(1, positions, 4),
        "masked_positions": positions, "next_labels": torch.tensor([0, 1, 1]),
    }  # fmt: skip
    labels = torch.full_like(original, -100).scatter(1, positions, original.gather(1, positions))
    inputs = {"input_ids": batch["input_ids"], "token_type_ids": batch["token_type_ids"], "attention_mask": mask.long()}
    _, measures = ours(batch)
    output = theirs(**inputs)
    expected = F.cross_entropy(output.seq_relationship_logits, batch["next_labels"])
    assert abs(measures["nsp_loss"].item() - expected.item()) <= 1e-5
    pairs = Pairs(ours, [("", name_tensors(ours.encoder, ours.head), theirs)])
    named = {"labels": labels, "next_sentence_label": batch["next_labels"]}
    check_training(pairs, make_optim(bias_correction), batch, lambda: theirs(**inputs, **named).loss)


class GoogleElectra:
    """The joint loss of google-research/electra's run_pretraining.py, over transformers' two halves."""

    def __init__(self, config: ModelConfig, batch: dict[str, Tensor]):
        self.batch = batch
        self.num_replaced: list[int] = []
        self.discriminator = build_theirs(config, "ForPreTraining")
        self.generator = build_theirs(build_generator_config(config), "ForMaskedLM")
        # variable scope "electra/embeddings": tables and LayerNorm are one and the same
        own, shared = self.generator.electra.embeddings, self.discriminator.electra.embeddings
        for table in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            getattr(own, table).weight = getattr(shared, table).weight
        own.LayerNorm.weight, own.LayerNorm.bias = shared.LayerNorm.weight, shared.LayerNorm.bias
        self.generator.generator_lm_head.weight = shared.word_embeddings.weight
        # the generator may sample [PAD], whose row transformers would not train as an input; Google's code does
        own.word_embeddings.padding_idx = shared.word_embeddings.padding_idx = None

    def compute_loss(self) -> Tensor:
        batch, types = self.batch, self.batch["token_type_ids"]
        positions, original = batch["masked_positions"], batch["original_ids"]
        logits = self.generator(batch["input_ids"], token_type_ids=types).logits
        logits = logits.gather(1, positions[..., None].expand(-1, -1, VOCAB))
        log_probs = -torch.log_softmax(logits, -1).gather(2, original.gather(1, positions)[..., None])[..., 0]
        weights = torch.ones_like(log_probs)
        mlm_loss = (weights * log_probs).sum() / (weights.sum() + 1e-6)
        # one draw by inversion in place of the Gumbel noise, so that both sides draw the same
        reached = logits.detach().softmax(-1).cumsum(-1) < batch["sample_uniforms"][..., None]
        corrupted = original.scatter(1, positions, reached.sum(-1))
        replaced = (corrupted != original).float()
        self.num_replaced.append(int(replaced.sum()))
        output = self.discriminator(corrupted, token_type_ids=types, labels=replaced)
        losses = F.binary_cross_entropy_with_logits(output.logits, replaced, reduction="none")
        disc_loss = losses.sum() / (1e-6 + losses.numel())
        assert abs(disc_loss.item() - output.loss.item()) < 1e-5
        return 1.0 * mlm_loss + 50.0 * disc_loss


@pytest.mark.parametrize("name", ["electra", "electra_wide"])
@pytest.mark.parametrize("bias_correction", [False, True])
def test_replaced_token_detection_trains_equally(name: str, bias_correction: bool) -> None:
    config = CONFIGS[name]
    # ELECTRA draws with replacement: a position drawn twice counts twice and gets one sample
    batch = make_packed(config, [[1, 5, 5, 12, 17], [2, 3, 9, 9, 15], [4, 6, 7, 11, 13]])
    uniforms = torch.rand((3, 5), generator=torch.Generator().manual_seed(3))
    uniforms[0, 2], uniforms[1, 3] = uniforms[0, 1], uniforms[1, 2]
    original = batch["original_ids"]
    ours = ReplacedTokenDetection(config, ObjectiveConfig(), VOCAB, PAD["electra"], seed=0)
    theirs = GoogleElectra(config, {**batch, "sample_uniforms": uniforms})
    # one correct guess: such a token counts as original
    logits = theirs.generator(batch["input_ids"], token_type_ids=batch["token_type_ids"]).logits[2, 4]
    cumulative = logits.detach().softmax(-1).cumsum(-1)
    wanted = int(original[2, 4])
    uniforms[2, 0] = (cumulative[wanted] + cumulative[wanted - 1]) / 2
    batch["sample_uniforms"] = uniforms
    halves = [("gen", ours.generator, ours.generator_head, theirs.generator),
              ("disc", ours.encoder, ours.head, theirs.discriminator)]  # fmt: skip
    parts = []
    for label, encoder, head, model in halves:
        set_huggingface_tensors(model.state_dict(), encoder, head)
        prefixes = ("generator.", "generator_head.") if label == "gen" else ("encoder.", "head.")
        names = name_tensors(encoder, head).items()
        swap = {"encoder.": prefixes[0], "head.": prefixes[1]}
        renamed = {swap[n.split(".")[0] + "."] + n.split(".", 1)[1]: other for n, other in names}
        parts.append((label, renamed, model))
    check_training(Pairs(ours, parts), make_optim(bias_correction), batch, theirs.compute_loss)
    assert 3 < theirs.num_replaced[0] < 13  # of 13 different positions at least one was guessed right


@pytest.mark.parametrize(
    ("name", "head"), [("electra", "gelu"), ("roberta", "tanh"), ("bert", "tanh"), ("bert", "pooler")]
)
@pytest.mark.parametrize("bias_correction", [True, False])
def test_classifier_trains_equally(name: str, head: str, bias_correction: bool) -> None:
    config = CONFIGS[name]
    theirs = build_theirs(config, "ForSequenceClassification", num_labels=3)
    task = TaskConfig(label_kind="class", label_names=["a", "b", "c"])
    ours = SequenceModel(Encoder(config, VOCAB, PAD[config.family]), FinetuneConfig(head=head), task, seed=0)
    set_huggingface_tensors(theirs.state_dict(), ours.encoder, ours.head)
    batch = {**make_padded(config), "labels": torch.tensor([2, 0, 1])}
    inputs = for_theirs(batch)
    torch.testing.assert_close(ours.compute_outputs(batch), theirs(**inputs).logits, rtol=0, atol=1e-5)
    pairs = Pairs(ours, [("", name_tensors(ours.encoder, ours.head), theirs)])
    check_training(pairs, make_optim(bias_correction), batch, lambda: theirs(**inputs).loss)


@pytest.mark.parametrize(
    ("kind", "problem", "labels", "names"),
    [
        ("score", "regression", torch.tensor([0.2, 0.9, 0.5]), []),
        ("multilabel", "multi_label_classification", torch.tensor([[1.0, 0], [0, 0], [1, 1]]), ["a", "b"]),
    ],
)
def test_other_losses_are_equal(kind: str, problem: str, labels: Tensor, names: list[str]) -> None:
    config = CONFIGS["electra"]
    theirs = build_theirs(config, "ForSequenceClassification", num_labels=max(1, len(names)), problem_type=problem)
    task = TaskConfig(label_kind=kind, label_names=names)
    ours = SequenceModel(Encoder(config, VOCAB, 0), FinetuneConfig(head="gelu"), task, seed=0)
    set_huggingface_tensors(theirs.state_dict(), ours.encoder, ours.head)
    batch = {**make_padded(config), "labels": labels}
    assert abs(ours(batch)[0].item() - theirs(**for_theirs(batch)).loss.item()) <= 1e-5


def test_old_spellings_are_read() -> None:
    tensors = {"embeddings.LayerNorm.gamma": torch.ones(1), "embeddings.LayerNorm.beta": torch.zeros(1)}
    assert set(unify_names(tensors, "bert")) == {"bert.embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.bias"}
    assert set(unify_names({"bert.pooler.bias": torch.ones(1), "cls.bias": torch.ones(1)}, "bert")) == {
        "bert.pooler.bias", "cls.bias",
    }  # fmt: skip


def test_a_missing_tensor_is_named() -> None:
    encoder = Encoder(CONFIGS["bert"], VOCAB, 0)
    tensors = get_huggingface_tensors(encoder)
    del tensors["bert.encoder.layer.1.attention.self.key.bias"]
    with pytest.raises(UserError, match=r"somewhere has no tensor bert\.encoder\.layer\.1\.attention\.self\.key\.bias"):
        join_tensors(tensors, name_tensors(encoder), "somewhere")


@pytest.mark.parametrize(
    ("config", "head", "message"),
    [
        (CONFIGS["electra"], SequenceHead(CONFIGS["electra"], "linear", "cls", 2), "finetune.head=gelu"),
        (CONFIGS["electra"], SequenceHead(CONFIGS["electra"], "gelu", "mean", 2), "finetune.pooling=cls"),
        (CONFIGS["roberta"], SequenceHead(CONFIGS["roberta"], "gelu", "cls", 2), "finetune.head=tanh"),
        (CONFIGS["electra"], TokenHead(CONFIGS["electra"], 3), "a TokenHead is not exported"),
        (
            CONFIGS["bert"],
            SequenceHead(CONFIGS["bert"], "linear", "cls", 2),
            "finetune.head=pooler finetune.pooling=cls",
        ),
        (
            CONFIGS["roberta"],
            Pooler(CONFIGS["roberta"]),
            "a Pooler is exported for model.family=bert only, not roberta",
        ),
        (CONFIGS["bert"], ReplacedTokenHead(CONFIGS["bert"]), "model.family=electra only, not bert"),
        (ModelConfig(family="bert", positions="rotary"), None, "model.positions=rotary is not what BertModel computes"),
        (ModelConfig(family="bert"), None, "model.embedding_size=128 is not model.hidden_size=256"),
    ],
)
def test_what_transformers_lacks_is_refused(config: ModelConfig, head: nn.Module | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        get_architecture(config, head)
    assert "\n" not in str(caught.value)
