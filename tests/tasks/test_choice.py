"""Multiple choice: every option is a sequence of its own, and an example's are scored against one another."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch

from selfpretrain.config import FinetuneConfig, ModelConfig, TaskConfig
from selfpretrain.data.examples import EncodedSplit, iter_by_length, pack, pad
from selfpretrain.door import compose_settings
from selfpretrain.kinds import arrange, get_kind
from selfpretrain.model.flops import BACKWARD, count_sequence_flops
from selfpretrain.model.init import build_encoder
from selfpretrain.runs.predictions import load_predictions
from selfpretrain.study.cost import Costs
from selfpretrain.study.sweep import build_plan
from selfpretrain.tasks.heads import get_head
from selfpretrain.tasks.scores import score_split
from selfpretrain.tasks.sequence import SequenceModel, predict
from selfpretrain.train.learners import move

VOCAB, PAD, COUNT, OPTIONS = 80, 1, 7, 3
TASK = TaskConfig(name="x", label_kind="choice", label_names=["0", "1", "2"], metric="accuracy")
CPU = torch.device("cpu")
MODELS = {
    "electra": ModelConfig(hidden_size=16, embedding_size=16, num_layers=2, num_heads=2, intermediate_size=32,
                           max_positions=24, dropout_prob=0.0, attention_dropout_prob=0.0),
    "roberta": ModelConfig(hidden_size=16, embedding_size=16, num_layers=1, num_heads=2, intermediate_size=32,
                           max_positions=24, dropout_prob=0.0, attention_dropout_prob=0.0, family="roberta",
                           type_vocab_size=1, layer_norm_eps=1e-5),
}  # fmt: skip


def make_split(seed: int = 0) -> EncodedSplit:
    rng = np.random.default_rng(seed)
    tokens = [rng.integers(5, VOCAB, rng.integers(4, 20)).astype(np.int32) for _ in range(COUNT * OPTIONS)]
    starts = np.array([len(part) // 2 for part in tokens])
    return EncodedSplit([f"e{i}" for i in range(COUNT)], tokens, starts, np.arange(COUNT) % OPTIONS)


def make_model(family: str = "electra", pooling: str = "cls", std: float = 0.2) -> SequenceModel:
    """With weights large enough that the outputs differ."""
    config = MODELS[family]
    config.init_std = std
    return SequenceModel(build_encoder(config, VOCAB, PAD, 0), FinetuneConfig(head="gelu", pooling=pooling), TASK, 0)


def select(split: EncodedSplit, sequences: np.ndarray, rows: np.ndarray) -> EncodedSplit:
    return EncodedSplit(
        [split.ids[row] for row in rows], [split.tokens[i] for i in sequences], split.second_starts[sequences],
        split.labels[rows],
    )  # fmt: skip


def test_an_option_completes_what_stands_before_it():
    task = TaskConfig(label_kind="choice", label_names=["0", "1"])
    assert arrange(task, [("A cat.", "sits.", "runs."), ("B", "c", "d")]) == [
        ("A cat.", "sits."), ("A cat.", "runs."), ("B", "c"), ("B", "d"),
    ]  # fmt: skip
    assert arrange(task, [("A cat.", "It", "sits.", "runs.")]) == [("A cat.", "It sits."), ("A cat.", "It runs.")]
    assert arrange(task, [("A cat.", " ", "It sits.", "It runs.")]) == [("A cat.", "It sits."), ("A cat.", "It runs.")]


def test_one_output_for_each_option():
    model = make_model()
    assert model.head.out.out_features == 1
    assert get_kind("choice").count_sequences(TASK) * get_kind("choice").count_outputs(TASK) == OPTIONS
    batch = move(pad(make_split(), range(COUNT), PAD, True), CPU)
    assert model.compute_outputs(batch).shape == (COUNT, OPTIONS)


def test_the_loss_is_the_cross_entropy_over_the_options():
    outputs = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], requires_grad=True)
    loss = get_head("choice").compute_loss(outputs, torch.tensor([2, 0]))
    total = math.exp(1) + math.exp(2) + math.exp(3)
    assert loss.item() == pytest.approx((-math.log(math.exp(3) / total) + math.log(3)) / 2, rel=1e-6)
    loss.backward()  # half of: probability, less 1 at the right option
    wanted = [[math.exp(1) / total, math.exp(2) / total, math.exp(3) / total - 1], [-2 / 3, 1 / 3, 1 / 3]]
    torch.testing.assert_close(outputs.grad, torch.tensor(wanted) / 2)


def test_the_model_learns_from_every_option():
    split = make_split()
    for number, tokens in enumerate(split.tokens):
        tokens[:] = 5
        tokens[-1] = 10 + number  # a token that stands nowhere else
    model = make_model().train()
    loss, measures = model(move(pack(split, range(COUNT), True), CPU))
    loss.backward()
    assert measures["loss"] == loss.detach()
    moved = model.encoder.embeddings.word.weight.grad.abs().sum(dim=1) > 0
    assert moved[10 : 10 + COUNT * OPTIONS].all() and not moved[10 + COUNT * OPTIONS :].any()


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_an_option_is_scored_as_if_it_stood_alone(family, pooling):
    split, model = make_split(), make_model(family, pooling).eval()
    has_segments = MODELS[family].type_vocab_size > 1
    single = EncodedSplit([""] * len(split.tokens), split.tokens, split.second_starts, np.zeros(COUNT * OPTIONS))
    score = SequenceModel(
        model.encoder, FinetuneConfig(head="gelu", pooling=pooling), TaskConfig(label_kind="score"), 0
    )
    score.head.load_state_dict(model.head.state_dict())
    with torch.no_grad():
        alone = torch.cat([score.compute_outputs(move(pad(single, [i], PAD, has_segments), CPU)) for i in range(21)])
        for batch in (pad(split, range(COUNT), PAD, has_segments), pack(split, range(COUNT), has_segments)):
            outputs = model.compute_outputs(move(batch, CPU))
            torch.testing.assert_close(outputs, alone.reshape(COUNT, OPTIONS), rtol=1e-4, atol=1e-5)
    assert alone.std() > 1e-3


def test_predictions_are_in_order():
    split, model = make_split(), make_model()
    outputs = predict(model, split, TASK, CPU, None)
    assert outputs.shape == (COUNT, OPTIONS) and outputs.dtype == np.float32
    lone = np.concatenate(
        [
            predict(model, select(split, split.find_sequences([row]), np.array([row])), TASK, CPU, None)
            for row in range(COUNT)
        ]
    )
    np.testing.assert_allclose(outputs, lone, rtol=1e-4, atol=1e-5)
    assert np.unique(outputs.argmax(axis=1)).size > 1
    assert len(list(iter_by_length(split, 2, PAD, True))) == 4
    order = np.random.default_rng(1).permutation(COUNT)
    np.testing.assert_allclose(
        predict(model, select(split, split.find_sequences(order), order), TASK, CPU, None), outputs[order], rtol=1e-4, atol=1e-5
    )  # fmt: skip
    # the place of an option says nothing of it
    turned = np.arange(COUNT * OPTIONS).reshape(COUNT, OPTIONS)[:, [2, 0, 1]].ravel()
    np.testing.assert_allclose(
        predict(model, select(split, turned, np.arange(COUNT)), TASK, CPU, None), outputs[:, [2, 0, 1]], rtol=1e-4, atol=1e-5
    )  # fmt: skip
    value, _ = score_split(TASK, split.labels, outputs)
    assert value == pytest.approx(
        np.mean([row.argmax() == label for row, label in zip(outputs, split.labels, strict=True)])
    )


def test_a_choice_is_learnt():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, OPTIONS, 60)
    tokens = [np.r_[2, rng.integers(20, VOCAB, 6), 3].astype(np.int32) for _ in range(60 * OPTIONS)]
    for row, label in enumerate(labels):
        tokens[row * OPTIONS + label][3] = 10  # the right option has it, no other
    split = EncodedSplit([str(i) for i in range(60)], tokens, np.full(len(tokens), 8), labels)
    train, test = (select(split, split.find_sequences(rows), rows) for rows in (np.arange(40), np.arange(40, 60)))
    model = make_model(std=0.05).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        loss, _ = model(move(pack(train, range(40), True), CPU))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert score_split(TASK, test.labels, predict(model, test, TASK, CPU, None))[0] > 0.8  # by chance a third


@pytest.fixture
def given(tmp_path):
    """A file of 80 questions, the right answer named by its number, and the overrides that read it."""
    chance = random.Random(0)
    rows = []
    for number in range(80):
        options = [" ".join(chance.choices(["red", "blue", "green", "black"], k=3)) + f" {number}{c}" for c in "abc"]
        rows.append({"body": f"which one is it {number}", "answers": options, "right": chance.randrange(3)})
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return rows, ["task=local", f"task.path={path}", "task.text=body", "task.options=answers", "task.label=right"]


def test_the_commands(command, tiny, given, tmp_path):
    rows, arguments = given
    outcome = command("finetune", *tiny, *arguments)
    assert outcome.code == 0, outcome.err
    assert "data of local: label: 3 options, the right one in column 'right', training rows: 0: " in outcome.out
    (folder,) = (path for path in (tmp_path / "runs" / "finetune").iterdir() if path.is_dir())
    result = json.loads((folder / "result.json").read_text())
    saved = load_predictions(folder / "predictions" / "test.parquet")
    assert saved.outputs.shape == (16, 3) and set(saved.labels.tolist()) <= {0, 1, 2}
    assert result["metric"] == "accuracy" and result["steps"] == 2
    assert result["scores"]["test"] == pytest.approx((saved.outputs.argmax(axis=1) == saved.labels).mean())
    scored = command("evaluate", *tiny, *arguments, f"init=run:{folder.name}")
    assert scored.code == 0, scored.err
    (evaluated,) = (path for path in (tmp_path / "runs" / "evaluate").iterdir() if path.is_dir())
    again = load_predictions(evaluated / "predictions" / "test.parquet")
    assert len(again.ids) == len(rows)
    places = [again.ids.index(example) for example in saved.ids]
    np.testing.assert_allclose(again.outputs[places], saved.outputs, rtol=1e-4, atol=1e-5)


def test_a_study_plans_it(command, tiny, given):
    outcome = command("plan", *tiny, *given[1], "task.label_kind=choice")
    assert outcome.code == 0, outcome.err
    assert "3 options" in outcome.out and "fine-tuning" in outcome.out


def test_its_cost_is_that_of_every_option(tiny, given):
    arguments = [*tiny, *given[1], "finetune.seq_len=32"]
    plan = build_plan(compose_settings("study", arguments), arguments)
    costs, cell = Costs(plan), dict(plan.iter_waves())["fine-tuning"][0]
    data = plan.data["local"]
    sizes = [sum(len(text.encode()) for text in pair) for pair in arrange(data.task, data.splits["train"].texts)]
    assert len(sizes) == 3 * len(data.splits["train"].ids)
    length = costs.measure_length(cell)
    assert length == pytest.approx(3 + np.mean(sizes) / 4, abs=1)
    config, work = cell.settings.finetune, costs.compute_work(cell)
    parts = (cell.settings.model, config.head, config.pooling, 1)
    assert work.step_flops == (1 + BACKWARD) * count_sequence_flops(*parts, 3 * config.batch_size, length)
