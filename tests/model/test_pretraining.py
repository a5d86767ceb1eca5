"""What pretraining optimises: losses by hand, sampling, corruption, ties, gradients."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from sklearn.metrics import roc_auc_score
from torch import nn

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.model.pretraining import (
    BertPretraining,
    MaskedLanguageModel,
    ReplacedTokenDetection,
    compute_cross_entropy,
    rate_detector,
    sample_tokens,
)
from selfpretrain.pretext.objectives import build_objective

TINY = ModelConfig(
    hidden_size=16,
    embedding_size=8,
    num_layers=2,
    num_heads=2,
    intermediate_size=32,
    max_positions=16,
    dropout_prob=0.0,
    attention_dropout_prob=0.0,
    generator_fraction=0.5,
    init_std=0.5,
)
VOCAB = 12
# a batch of 2 x 4: [CLS] x y [SEP]; both ordinary positions are chosen in row 0, one of them twice in row 1
BATCH = {
    "original_ids": torch.tensor([[2, 6, 7, 3], [2, 8, 9, 3]]),
    "input_ids": torch.tensor([[2, 4, 7, 3], [2, 4, 9, 3]]),
    "masked_positions": torch.tensor([[1, 2], [1, 1]]),
    "sample_uniforms": torch.tensor([[0.95, 0.05], [0.5, 0.5]]),
    "token_type_ids": torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]]),
    "next_labels": torch.tensor([0, 1]),
}


class Fixed(nn.Module):
    """Stands in for a head: gives the same logits whatever it is given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits
        self.seen = []

    def forward(self, *arguments):
        self.seen.append(arguments)
        return self.logits


def build(name="rtd", **objective):
    return build_objective(TINY, ObjectiveConfig(name=name, **objective), VOCAB, 0, 3)


def log_softmax(row):
    total = math.log(sum(math.exp(x) for x in row))
    return [x - total for x in row]


def test_mlm_loss_by_hand():
    rows = [
        [0.1 * v for v in range(VOCAB)],
        [0.0] * VOCAB,
        [2.0 if v == 8 else 0.0 for v in range(VOCAB)],
        [-0.2 * v for v in range(VOCAB)],
    ]
    module = build("mlm")
    module.head = Fixed(torch.tensor(rows))
    loss, measures = module(BATCH)
    expected = -sum(log_softmax(row)[token] for row, token in zip(rows, (6, 7, 8, 8), strict=True)) / 4
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert measures["loss"].item() == loss.item()
    # the highest logits are 11, 0, 8, 0: one of four is right
    assert measures["mlm_accuracy"].item() == pytest.approx(0.25)
    hidden, words = module.head.seen[0]
    assert hidden.shape == (4, 16)
    assert words is module.encoder.embeddings.word.weight


@torch.no_grad()
def test_mlm_logits_are_those_of_the_chosen_positions():
    module = build("mlm").eval()
    everywhere = module.head(
        module.encoder(BATCH["input_ids"], BATCH["token_type_ids"]), module.encoder.embeddings.word.weight
    )
    expected = torch.stack([everywhere[0, 1], everywhere[0, 2], everywhere[1, 1], everywhere[1, 1]])
    torch.testing.assert_close(module.compute_logits(BATCH, module.encoder, module.head), expected, rtol=0, atol=1e-5)


def test_rtd_losses_by_hand():
    # the uniform numbers of BATCH pick tokens 10, 7, 8, 8
    logits = torch.full((4, VOCAB), -30.0)
    logits[0, 6], logits[0, 10] = 1.0, 2.0  # u = .95 falls on 10: replaced
    logits[1, 7], logits[1, 11] = 0.5, 0.0  # u = .05 falls on 7: a correct guess
    logits[2, 5], logits[2, 8] = -1.0, 1.0  # u = .5 falls on 8: a correct guess
    logits[3] = logits[2]
    disc = [[0.3, 1.5, -0.4, -2.0], [0.0, -1.0, 0.7, -0.1]]
    module = build(gen_weight=2.0, disc_weight=10.0)
    module.generator_head, module.head = Fixed(logits), Fixed(torch.tensor(disc))
    loss, measures = module(BATCH)

    gen = -sum(log_softmax(row)[token] for row, token in zip(logits.tolist(), (6, 7, 8, 8), strict=True)) / 4
    replaced = [[0, 1, 0, 0], [0, 0, 0, 0]]
    chance = [[1 / (1 + math.exp(-x)) for x in row] for row in disc]
    terms = [
        -math.log(p if r else 1 - p)
        for ps, rs in zip(chance, replaced, strict=True)
        for p, r in zip(ps, rs, strict=True)
    ]
    assert measures["gen_loss"].item() == pytest.approx(gen, abs=1e-5)
    assert measures["disc_loss"].item() == pytest.approx(sum(terms) / 8, abs=1e-6)  # over all tokens, specials too
    assert loss.item() == pytest.approx(2 * gen + 10 * sum(terms) / 8, abs=1e-4)
    assert measures["disc_accuracy"].item() == pytest.approx(6 / 8)  # wrong at 0.3 and 0.7
    assert measures["disc_recall"].item() == 1.0
    assert not any(value.requires_grad for value in measures.values())


def test_detector_is_rated_by_rank():
    logits, replaced = torch.tensor([3.0, 2.0, 2.0, 0.5, -1.0, -1.0]), torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    measures = rate_detector(logits, replaced, torch.tensor(0.5))
    assert measures["disc_auc"].item() == pytest.approx(roc_auc_score(replaced, logits))
    assert measures["disc_recall_at_base"].item() == pytest.approx(2 / 3)  # among 3, 2 and 2, in this order
    assert measures["disc_loss_over_base"].item() == pytest.approx(0.5 - math.log(2))
    for alike in (torch.zeros(6), torch.ones(6)):
        assert rate_detector(logits, alike, torch.tensor(0.5)) == {}


@torch.no_grad()
def test_detector_is_rated_on_held_out_text_at_real_tokens_alone():
    module = build()
    disc = torch.tensor([[0.3, 1.5, -0.4, 9.0], [0.0, -1.0, 0.7, 9.0]])  # the last of each row is padding
    module.head, module.generator_head = Fixed(disc), Fixed(torch.eye(4, VOCAB) * 50)  # tokens 0 to 3: all replaced
    weights = torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 2)
    padded = {**BATCH, "token_weights": weights, "attention_mask": weights.bool()}
    assert "disc_auc" not in module(padded)[1]  # nor in training, whose steps it would slow down
    measures = module.eval()(padded)[1]
    replaced = [0, 1, 1, 0, 1, 0]
    assert measures["disc_auc"].item() == pytest.approx(roc_auc_score(replaced, [0.3, 1.5, -0.4, 0.0, -1.0, 0.7]))
    assert measures["disc_recall_at_base"].item() == pytest.approx(1 / 3)


def test_corrupted_text_starts_from_the_originals():
    torch.manual_seed(0)
    module = build()
    size = (64, 12)
    original = torch.randint(5, VOCAB, size)
    positions = torch.stack([torch.randperm(12)[:5].sort().values for _ in range(64)])
    batch = {"original_ids": original, "masked_positions": positions, "sample_uniforms": torch.rand(64, 5)}
    corrupted, replaced = module.corrupt(batch, torch.randn(64 * 5, VOCAB))
    chosen = torch.zeros(size).scatter(1, positions, 1.0).bool()
    assert torch.equal(corrupted[~chosen], original[~chosen])
    assert torch.equal(replaced, (corrupted != original).float())
    assert 0 < (chosen & (replaced == 0)).sum() < chosen.sum()  # some guesses are right, and are labelled as originals
    assert torch.equal(original, batch["original_ids"])


def test_what_the_two_networks_read():
    module = build(disc_weight=1.0)
    read = {}
    for name in ("generator", "encoder"):
        getattr(module, name).register_forward_hook(lambda _m, inputs, _o, name=name: read.update({name: inputs}))
    certain = torch.full((4, VOCAB), -50.0)
    certain[:, 5] = 50.0
    module.generator_head = Fixed(certain)
    module(BATCH)
    assert torch.equal(read["generator"][0], BATCH["input_ids"])
    assert torch.equal(read["encoder"][0], torch.tensor([[2, 5, 5, 3], [2, 5, 9, 3]]))  # no mask token survives
    assert all(torch.equal(read[name][1], BATCH["token_type_ids"]) for name in read)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_samples_follow_the_softmax(temperature):
    generator = torch.Generator().manual_seed(0)
    logits, count = torch.randn(9, generator=generator) * 2, 40_000
    probs = torch.softmax(logits, dim=-1).expand(count, -1)
    samples = sample_tokens(probs, torch.rand(count, generator=generator), temperature)
    shares = np.exp(logits.double().numpy() / temperature)
    expected = count * shares / shares.sum()
    assert expected.min() > 5
    assert chisquare(np.bincount(samples, minlength=9), expected).pvalue > 1e-3
    wrong = np.exp(logits.double().numpy() / (temperature * 1.1))
    assert chisquare(np.bincount(samples, minlength=9), count * wrong / wrong.sum()).pvalue < 1e-3  # the test can fail


def test_samples_stay_in_the_vocabulary_and_without_gradient():
    probs = torch.softmax(torch.randn(200, 30_522) * 3, dim=-1).requires_grad_()
    for uniform in (0.0, 1 - 2**-24):
        samples = sample_tokens(probs, torch.full((200,), uniform), 1.0)
        assert samples.min() >= 0 and samples.max() < 30_522
        assert not samples.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_is_the_librarys(dtype):
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(6, 11, generator=generator) * 30).to(dtype).requires_grad_()  # some probabilities underflow
    targets = torch.tensor([0, 10, 3, 3, 7, 1])
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 1.5])
    expected = (F.cross_entropy(logits.float(), targets, reduction="none") * weights).mean()
    (expected_grad,) = torch.autograd.grad(2 * expected, logits)
    loss, probs = compute_cross_entropy(logits, targets, weights)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(probs, torch.softmax(logits.detach().float(), dim=-1), rtol=1e-6, atol=1e-6)
    assert not probs.requires_grad
    (grad,) = torch.autograd.grad(2 * loss, logits)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, expected_grad, rtol=1e-6, atol=1e-6)


def test_cross_entropy_is_walked_back_once():
    logits = torch.randn(2, 5, requires_grad=True)
    loss, _ = compute_cross_entropy(logits, torch.tensor([1, 2]), torch.ones(2))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):  # never a wrong gradient
        loss.backward()


def test_bert_adds_the_loss_of_the_next_sentence():
    module = build("mlm_nsp")
    assert isinstance(module, BertPretraining) and module.hand_over()["pooler"] is module.head.pooler
    rows, pairs = torch.linspace(-1, 1, 4 * VOCAB).view(4, VOCAB), [[0.5, -0.5], [2.0, 1.0]]
    module.head = Fixed((rows, torch.tensor(pairs)))
    loss, measures = module(BATCH)
    mlm = -sum(log_softmax(row)[token] for row, token in zip(rows.tolist(), (6, 7, 8, 8), strict=True)) / 4
    nsp = -(log_softmax(pairs[0])[0] + log_softmax(pairs[1])[1]) / 2
    assert measures["mlm_loss"].item() == pytest.approx(mlm, abs=1e-5)
    assert measures["nsp_loss"].item() == pytest.approx(nsp, abs=1e-6)
    assert loss.item() == pytest.approx(mlm + nsp, abs=1e-5) == measures["loss"].item()
    assert measures["nsp_accuracy"].item() == 0.5
    first, chosen, _ = module.head.seen[0]
    hidden = module.encoder(BATCH["input_ids"], BATCH["token_type_ids"])
    torch.testing.assert_close(first, hidden[:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        chosen, torch.stack([hidden[0, 1], hidden[0, 2], hidden[1, 1], hidden[1, 1]]), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", ["rtd", "mlm", "mlm_nsp"])
def test_padding_and_unused_slots_change_nothing(name):
    module = build(name)
    short = {
        key: value[:, :3] if key.endswith("ids") else value[:, :1] for key, value in BATCH.items() if value.ndim == 2
    }
    short["next_labels"] = BATCH["next_labels"]
    padding, slots = torch.tensor([[True] * 3 + [False]] * 2), torch.tensor([[1.0, 0.0]] * 2)
    padded = {
        **BATCH,
        "input_ids": BATCH["input_ids"].where(padding, 0),
        "original_ids": BATCH["original_ids"].where(padding, 0),
        "masked_positions": torch.tensor([[1, 1], [1, 1]]),  # the second slot has no use
        "sample_uniforms": BATCH["sample_uniforms"][:, :1].expand(-1, 2),
        "attention_mask": padding,
        "token_weights": padding / 3,
        "slot_weights": slots / 0.5,
    }
    (loss, measures), (alone, known) = module(padded), module(short)
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-6)
    for measure in measures:
        torch.testing.assert_close(measures[measure], known[measure], rtol=1e-5, atol=1e-6)
    grads = [torch.autograd.grad(value, list(module.parameters()), allow_unused=True) for value in (loss, alone)]
    for padded_grad, grad in zip(*grads, strict=True):
        if grad is not None:
            width = grad.shape[0]  # the position behind the short rows gets no gradient
            torch.testing.assert_close(padded_grad[:width], grad, rtol=1e-4, atol=1e-5)


def gradients(module):
    loss, _ = module(BATCH)
    loss.backward()
    return {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in module.named_parameters()}


def test_the_discriminator_s_loss_never_reaches_the_generator():
    found = gradients(build(gen_weight=0.0, disc_weight=50.0))
    generator = {name: g for name, g in found.items() if name.startswith("generator")}
    assert len(generator) > 20 and not any(generator.values())
    assert all(
        g > 0 for name, g in found.items() if name.startswith(("encoder.layers", "head")) and "qkv.bias" not in name
    )


def test_the_generator_s_loss_never_reaches_the_discriminator():
    found = gradients(build(gen_weight=1.0, disc_weight=0.0))
    assert not any(g for name, g in found.items() if name.startswith(("encoder.layers", "encoder.project", "head")))
    assert all(g > 0 for name, g in found.items() if name.startswith("generator") and "qkv.bias" not in name)


def test_a_detector_to_be_learns_masked_tokens_by_itself_first():
    module, plain = build(mlm_fraction=0.4), build()
    assert isinstance(module, ReplacedTokenDetection) and isinstance(plain, ReplacedTokenDetection)
    assert module.first_head is not None and plain.first_head is None
    batch = {name: value for name, value in BATCH.items() if name != "sample_uniforms"}
    loss, measures = module(batch)
    logits = module.first_head(
        module.encoder(batch["input_ids"], batch["token_type_ids"], None, batch["masked_positions"]).flatten(0, 1),
        module.encoder.embeddings.word.weight,
    )
    assert loss.item() == pytest.approx(F.cross_entropy(logits, torch.tensor([6, 7, 8, 8])).item(), rel=1e-5)
    assert measures.keys() == {"loss", "mlm_loss"}
    loss.backward()
    trained = {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}
    assert trained == {"encoder", "first_head"}
    assert module(BATCH)[1].keys() == plain(BATCH)[1].keys()  # then it detects


def test_embeddings_are_one_parameter_for_both_networks_and_the_output():
    module = build()
    assert isinstance(module, ReplacedTokenDetection)
    assert module.generator.embeddings is module.encoder.embeddings  # with positions, segments and LayerNorm
    shapes = [tuple(p.shape) for _, p in module.named_parameters()]
    assert shapes.count((VOCAB, TINY.embedding_size)) == 1
    assert module.encoder.project.weight.shape == (16, 8)  # each network's projection is its own
    assert isinstance(module.generator.project, nn.Identity)
    # token 11 is never read; only the tied output matrix can give its row a gradient
    loss, _ = module(BATCH)
    loss.backward()
    assert module.encoder.embeddings.word.weight.grad[11].abs().max() > 0


def test_the_mlm_s_output_matrix_is_its_embedding():
    module = build("mlm")
    assert isinstance(module, MaskedLanguageModel)
    assert [tuple(p.shape) for p in module.parameters()].count((VOCAB, TINY.embedding_size)) == 1
    loss, _ = module(BATCH)
    loss.backward()
    assert module.encoder.embeddings.word.weight.grad[11].abs().max() > 0


@pytest.mark.parametrize("name", ["mlm", "mlm_nsp", "rtd"])
def test_a_few_steps_lower_the_loss(name):
    module = build(name, disc_weight=1.0)
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss, measures = module(BATCH)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(measures["gen_loss" if name == "rtd" else "loss"].item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    ("name", "positions"), [("mlm", "learned"), ("mlm_nsp", "learned"), ("rtd", "learned"), ("rtd", "rotary")]
)
def test_the_step_is_traced_in_one_piece(name, positions):
    model = dataclasses.replace(TINY, positions=positions)
    module = build_objective(model, ObjectiveConfig(name=name), VOCAB, 0, seed=0)
    loss, _ = module(BATCH)
    loss.backward()
    grads = {key: p.grad.clone() for key, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    torch.compiler.reset()
    traced, _ = torch.compile(module, backend="aot_eager", fullgraph=True)(BATCH)
    traced.backward()
    torch.testing.assert_close(traced, loss, rtol=1e-5, atol=1e-5)
    for key, p in module.named_parameters():
        if key in grads:
            torch.testing.assert_close(p.grad, grads[key], rtol=1e-3, atol=1e-4, msg=key)
