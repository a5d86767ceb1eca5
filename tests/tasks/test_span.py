"""Spans: the loss is over a window's tokens, what is learnt is where an answer stands, and the commands say what it is."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from selfpretrain.config import FinetuneConfig, ModelConfig, TaskConfig, TokenizerConfig
from selfpretrain.data.examples import EncodedSplit, pad
from selfpretrain.data.tokenizer import train_tokenizer
from selfpretrain.data.windows import iter_windows
from selfpretrain.door import compose_settings
from selfpretrain.kinds import KINDS
from selfpretrain.model.flops import BACKWARD, count_token_flops
from selfpretrain.model.init import build_encoder
from selfpretrain.runs.predictions import load_predictions
from selfpretrain.sources.labelled import Split
from selfpretrain.stats.answers import score_answer
from selfpretrain.study.cost import Costs
from selfpretrain.study.sweep import build_plan
from selfpretrain.tasks.heads import get_head
from selfpretrain.tasks.scores import score_split
from selfpretrain.tasks.sequence import SequenceModel, predict_split
from selfpretrain.tasks.span import SpanReader
from selfpretrain.train.learners import move

TASK = TaskConfig(name="x", label_kind="span", metric="exact_match")
CPU = torch.device("cpu")
MODEL = ModelConfig(hidden_size=32, embedding_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=48,
                    dropout_prob=0.0, attention_dropout_prob=0.0)  # fmt: skip
PLACES, YEARS = ["rome", "paris", "berlin", "prague", "oslo", "bern"], ["1066", "1492", "1789", "1984"]


def make_rows(count, seed=0):
    """Two questions about each context, whose answer is the one year that stands there."""
    chance, rows = random.Random(seed), []
    for number in range(count):
        if number % 2 == 0:
            words = chance.choices(PLACES, k=chance.randint(4, 12))
            year = chance.choice(YEARS)
            words.insert(chance.randrange(len(words)), year)
            context = " ".join(words)
        answers = {"text": [year], "answer_start": [context.index(year)]}
        rows.append({"question": f"which year, {chance.choice(PLACES)}?", "context": context, "answers": answers})
    return rows


def make_split(rows):
    labels = [json.dumps([[row["answers"]["text"][0], row["answers"]["answer_start"][0]]]) for row in rows]
    texts = [(row["question"], row["context"]) for row in rows]
    return Split([str(number) for number in range(len(rows))], texts, np.array(labels, dtype=object))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerConfig(vocab_size=300), [" ".join(row["context"] for row in make_rows(200))])


def test_the_loss_is_the_mean_of_two_cross_entropies():
    rng = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(3, 7, 2, generator=rng), torch.tensor([[1, 4], [0, 0], [6, 6]])
    loss = get_head("span").compute_loss(outputs, labels)
    by_hand = [-outputs[row, :, side].log_softmax(0)[labels[row, side]].item() for row in range(3) for side in range(2)]
    assert loss.item() == pytest.approx(np.mean(by_hand), rel=1e-6)


def test_padding_takes_no_part(tokenizer):
    split, model = make_split(make_rows(6)), make_model(tokenizer)
    encoded = SpanReader.encode(TASK, split, tokenizer, FinetuneConfig(seq_len=48))
    assert len(set(encoded.lengths.tolist())) > 1
    losses = [model(move(pad(encoded, [row], tokenizer.pad_id, True), CPU))[0].item() for row in range(len(encoded))]
    together = model(move(pad(encoded, range(len(encoded)), tokenizer.pad_id, True), CPU))[0].item()
    assert together == pytest.approx(np.mean(losses), rel=1e-5)
    outputs = model.compute_outputs(move(pad(encoded, range(len(encoded)), tokenizer.pad_id, True), CPU))
    assert outputs.shape == (len(encoded), encoded.lengths.max(), 2)
    over_tokens = F.softmax(outputs[0, :, 0], 0)[: encoded.lengths[0]].sum()
    assert over_tokens.item() == pytest.approx(1, abs=1e-6)


def make_model(tokenizer, seed=0):
    return SequenceModel(build_encoder(MODEL, tokenizer.vocab_size, tokenizer.pad_id, seed), FinetuneConfig(), TASK, 0)


def test_where_an_answer_stands_is_learnt(tokenizer):
    train, test = make_split(make_rows(300)), make_split(make_rows(60, seed=1))
    config = FinetuneConfig(seq_len=48)
    encoded, model = SpanReader.encode(TASK, train, tokenizer, config), make_model(tokenizer).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows = rng.choice(len(encoded), 32, replace=False)
        loss, _ = model(move(pad(encoded, rows, tokenizer.pad_id, True), CPU))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = predict_split(model, test, SpanReader.encode(TASK, test, tokenizer, config), TASK, CPU, None)
    assert score_split(TASK, predicted.labels, predicted.outputs)[0] > 0.9  # a word by chance: a ninth


def test_an_answer_longer_than_any_span_is_wrong(tokenizer):
    context = " ".join(PLACES * 8)
    rows = [{"question": "all", "context": context, "answers": {"text": [context], "answer_start": [0]}}]
    split = make_split(rows)
    encoded = SpanReader.encode(TASK, split, tokenizer, FinetuneConfig(seq_len=48))
    assert not encoded.labels.any()
    outputs = [np.ones((length, 2), np.float32) for length in encoded.lengths]
    labels, sums, answers = SpanReader.read(TASK, split, encoded, outputs)
    assert labels.tolist() == [[1, 1]] and sums[0, 0] == 0 and 0 < sums[0, 1] < 1 and answers[0] in context


def test_every_accepted_answer_counts_and_the_first_is_trained_on(tokenizer):
    split = Split(["0"], [("where", "rome paris bern")], np.array([json.dumps([["paris", 5], ["rome", 0]])], object))
    encoded = SpanReader.encode(TASK, split, tokenizer, FinetuneConfig(seq_len=48))
    begin, _ = encoded.get_context(0)
    (first, last) = encoded.labels[0]
    logits = np.zeros((encoded.lengths[0], 2), np.float32)
    logits[begin, 0] = 9  # the answer begins where the context does
    logits[first - 1, 1] = 9  # and ends before the one that is trained on
    predicted = SpanReader.read(TASK, split, encoded, [logits])
    assert predicted.answers == ["rome"] and predicted.outputs.tolist() == [[1, 1]]
    logits[[begin, first - 1]], logits[first, 0], logits[last, 1] = 0, 9, 9
    assert SpanReader.read(TASK, split, encoded, [logits]).answers == ["paris"]


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, make_rows(80))), encoding="utf-8")
    return [
        "task=local",
        f"task.path={path}",
        "task.text=[question,context]",
        "task.label=answers",
        "task.label_kind=span",
    ]


def test_the_commands(command, tiny, given, tmp_path):
    outcome = command("finetune", *tiny, *given)
    assert outcome.code == 0, outcome.err
    assert "data of local: label: span, column 'answers'" in outcome.out
    assert "are longer than finetune.seq_len=32" in outcome.out and "read in several windows" in outcome.out
    (folder,) = (path for path in (tmp_path / "runs" / "finetune").iterdir() if path.is_dir())
    result = json.loads((folder / "result.json").read_text())
    file = folder / "predictions" / "test.parquet"
    saved, answers = load_predictions(file), pq.read_table(file).column("answer").to_pylist()
    assert saved.outputs.shape == (16, 2) and (saved.labels == 1).all() and result["steps"] == 2
    assert result["metric"] == "exact_match" and result["train_examples"] == 52
    assert result["scores"]["test"] == saved.outputs[:, 0].mean()
    scored = command("evaluate", *tiny, *given, f"init=run:{folder.name}")
    assert scored.code == 0, scored.err
    (evaluated,) = (path for path in (tmp_path / "runs" / "evaluate").iterdir() if path.is_dir())
    again = pq.read_table(evaluated / "predictions" / "test.parquet").to_pylist()
    by_id = {row["example_id"]: row for row in again}
    assert len(by_id) == 80
    assert [by_id[example]["answer"] for example in saved.ids] == answers
    assert [by_id[example]["outputs"] for example in saved.ids] == saved.outputs.tolist()
    by_f1 = command("evaluate", *tiny, *given, f"init=run:{folder.name}", "task.metric=answer_f1")
    assert by_f1.code == 0 and '"metric": "answer_f1"' in by_f1.out


@pytest.mark.parametrize(("seq_len", "doc_stride"), [(128, 128), (128, 32), (384, 128)])
def test_a_plan_counts_about_as_many_windows_as_are_read(seq_len, doc_stride):
    config, question = FinetuneConfig(seq_len=seq_len, doc_stride=doc_stride), 12
    for num_tokens in range(20, 3000, 61):
        windows = len(list(iter_windows(num_tokens - question - 3, seq_len - question - 3, doc_stride)))
        assert KINDS["span"].count_windows(config, num_tokens) == pytest.approx(windows, rel=0.2, abs=1)


def test_a_study(command, tiny, given, tmp_path):
    study = ["study.pretrain_seeds=2", "study.num_replicates=200", "study.seeds_per_process=2"]
    planned = command("plan", *tiny, *given, *study)
    assert planned.code == 0 and "read in several windows" in planned.out, planned.err
    outcome = command("study", *tiny, *given, *study)
    assert outcome.code == 0, outcome.err
    (panel,) = json.loads(next((tmp_path / "runs" / "reports").glob("*/summary.json")).read_text())["panels"]
    assert (panel["metric"], panel["blind_score"], panel["blind_rule"]) == ("exact_match", 0.0, "an empty answer")
    runs = [load_predictions(path) for path in (tmp_path / "runs" / "finetune").glob("*/predictions/test.parquet")]
    points = [entry["score"]["point"] for entry in panel["entries"]]
    assert len(runs) == 4 and np.mean(points) == pytest.approx(np.mean([run.outputs[:, 0].mean() for run in runs]))


def test_its_cost_is_that_of_every_token(tiny, given):
    arguments = [*tiny, *given]
    plan = build_plan(compose_settings("study", arguments), arguments)
    costs, cell = Costs(plan), dict(plan.iter_waves())["fine-tuning"][0]
    work, settings = costs.compute_work(cell), cell.settings
    step = count_token_flops(settings.model, 2, settings.finetune.batch_size, costs.measure_length(cell))
    assert work.step_flops == (1 + BACKWARD) * step and work.disk["predictions"] > 0


def test_labels_to_time_a_step_with(tokenizer):
    ids = np.full((3, 20), 7, np.int32)
    split = EncodedSplit([""] * 3, list(ids), np.full(3, 20), SpanReader.make_up(3, 20))
    assert torch.isfinite(make_model(tokenizer)(move(pad(split, range(3), tokenizer.pad_id, True), CPU))[0])


def test_scores_of_stored_answers_are_the_official_ones(tokenizer):
    rows = make_rows(20)
    split, rng = make_split(rows), np.random.default_rng(0)
    encoded = SpanReader.encode(TASK, split, tokenizer, FinetuneConfig(seq_len=32))
    outputs = [rng.normal(size=(length, 2)).astype(np.float32) for length in encoded.lengths]
    predicted = SpanReader.read(TASK, split, encoded, outputs)
    official = [
        score_answer(answer, row["answers"]["text"]) for answer, row in zip(predicted.answers, rows, strict=True)
    ]
    np.testing.assert_array_equal(predicted.outputs, np.array(official, np.float32))
    assert all(answer in row["context"] for answer, row in zip(predicted.answers, rows, strict=True))
