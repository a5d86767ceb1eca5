"""Tags of words, from sentences to scores: loss, layout, reading, and the commands on a file that a word's form gives away."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from selfpretrain.config import FinetuneConfig, ModelConfig, TaskConfig, TokenizerConfig
from selfpretrain.data.examples import IGNORED, EncodedSplit, FinetuneBatches, pack, pad
from selfpretrain.data.tokenizer import train_tokenizer
from selfpretrain.model.init import build_encoder
from selfpretrain.runs.predictions import load_predictions
from selfpretrain.sources.labelled import Split
from selfpretrain.stats import METRICS
from selfpretrain.stats.entities import count_sums
from selfpretrain.tasks.heads import get_head
from selfpretrain.tasks.sequence import SequenceModel, predict_split
from selfpretrain.tasks.tagging import TagReader
from selfpretrain.train.learners import move

VOCAB, PAD, COUNT = 80, 1, 11
NAMES = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
TASK = TaskConfig(name="x", label_kind="token", label_names=NAMES, tag_scheme="iob", metric="entity_f1")
CPU = torch.device("cpu")
SMALL = {"hidden_size": 16, "embedding_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32,
         "max_positions": 24, "dropout_prob": 0.0, "attention_dropout_prob": 0.0, "init_std": 0.2}  # fmt: skip
MODELS = {
    "electra": ModelConfig(**SMALL),
    "roberta": ModelConfig(**SMALL, family="roberta", type_vocab_size=1, layer_norm_eps=1e-5),
}


def make_split() -> EncodedSplit:
    """Windows of different lengths, about half of their tokens labelled."""
    rng = np.random.default_rng(0)
    tokens = [rng.integers(5, VOCAB, length).astype(np.int32) for length in rng.integers(4, 20, COUNT)]
    labels = [np.where(rng.random(len(ids)) < 0.5, rng.integers(0, 5, len(ids)), IGNORED) for ids in tokens]
    for each in labels:
        each[1] = 2
    lengths = np.array(list(map(len, tokens)))
    return EncodedSplit([""] * COUNT, tokens, lengths, np.fromiter(labels, object, COUNT))


def make_model(family: str = "electra") -> SequenceModel:
    return SequenceModel(build_encoder(MODELS[family], VOCAB, PAD, 0), FinetuneConfig(), TASK, 0).train()


def compute_gradients(model: SequenceModel, batches: list) -> list[torch.Tensor]:
    total = sum(weight * model(move(arrays, CPU))[0] for weight, arrays in batches)
    return [total.detach(), *torch.autograd.grad(total, list(model.parameters()), allow_unused=True)]


def test_the_loss_is_the_mean_over_labelled_tokens():
    outputs = torch.randn(2, 3, 4)
    labels = torch.tensor([[IGNORED, 2, IGNORED], [1, 0, IGNORED]])
    log_p = outputs.log_softmax(-1)
    wanted = -(log_p[0, 1, 2] + log_p[1, 0, 1] + log_p[1, 1, 0]) / 3
    torch.testing.assert_close(get_head("token").compute_loss(outputs, labels), wanted)


@pytest.mark.parametrize("family", MODELS)
def test_packed_and_padded_batches_train_alike(family):
    split, model, has_segments = make_split(), make_model(family), MODELS[family].type_vocab_size > 1
    assert model.head.out.out_features == 5
    padded, packed = pad(split, range(COUNT), PAD, has_segments), pack(split, range(COUNT), has_segments)
    assert padded["labels"].shape == padded["input_ids"].shape and packed["labels"].shape == packed["input_ids"].shape
    for one, other in zip(*(compute_gradients(model, [(1.0, batch)]) for batch in (padded, packed)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_micro_batches_are_the_whole_batch(packed):
    split, model = make_split(), make_model()
    whole, parts = (FinetuneBatches(split, COUNT, micro, 0, PAD, True, packed)[0] for micro in (COUNT, 3))
    assert len(whole) == 1 and whole[0][1]["loss_scale"] == 1 and len(parts) == 4
    labelled = [np.count_nonzero(arrays["labels"] != IGNORED) for _, arrays in parts]
    assert np.ptp(np.array(labelled) / [arrays["input_ids"].shape[0] for _, arrays in parts]) > 1
    for one, other in zip(compute_gradients(model, whole), compute_gradients(model, parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerConfig(kind="wordpiece", vocab_size=100), iter(["ada met bob in oslo " * 5] * 20))


def test_a_words_tag_is_that_of_its_first_token(tokenizer):
    split = Split(
        ["a", "b"], [("Ada met \x07 Bobadabob",), ("Oslo",)], np.array(["B-PER O B-LOC B-PER", "B-LOC"], object)
    )
    encoded = TagReader.encode(TASK, split, tokenizer, FinetuneConfig(seq_len=8))
    assert encoded.examples.tolist() == [0, 0, 1]  # the last word does not fit
    outputs = []
    for words in encoded.words:
        logits = np.zeros((len(words), 5), np.float32)
        logits[:, 2] = 9.0  # no tag of a token that begins no word is read
        for token, word in enumerate(words.tolist()):
            if word >= 0:
                logits[token, [1, 4, 0, 3][word]] = 10.0
        outputs.append(logits)
    predicted = TagReader.read(TASK, split, encoded, outputs)
    assert predicted.answers == ["B-PER O O I-PER", "B-PER"]
    assert predicted.labels.tolist() == [[3, 3, 3, 4, 2, 4], [1, 1, 1, 1, 0, 1]]
    assert (
        predicted.outputs.tolist() == [[2, 2, 3, 2, 2, 4], [0, 1, 1, 0, 0, 1]] and predicted.outputs.dtype == np.float32
    )


def test_predictions_do_not_depend_on_the_batch(tokenizer):
    chance = random.Random(0)
    texts = [
        (" ".join(chance.choices(["ada", "met", "bob", "in", "oslo"], k=chance.randint(1, 9))),) for _ in range(30)
    ]
    labels = np.array([" ".join(["O"] * len(text.split())) for (text,) in texts], object)
    model = SequenceModel(build_encoder(MODELS["electra"], 200, PAD, 0), FinetuneConfig(), TASK, 0)

    def predict(rows: list[int]) -> list[str]:
        split = Split([str(row) for row in rows], [texts[row] for row in rows], labels[rows])
        encoded = TagReader.encode(TASK, split, tokenizer, FinetuneConfig(seq_len=24))
        return predict_split(model, split, encoded, TASK, CPU, None).answers

    together = predict(list(range(30)))
    assert len(set(" ".join(together).split())) > 1
    assert [predict([row])[0] for row in range(30)] == together
    assert predict(list(range(30))[::-1]) == together[::-1]


# the commands


def make_rows(count: int = 240) -> list[dict[str, list[str]]]:
    """Persons begin with x, places with z, and go on with the same letter; nothing else does."""
    chance = random.Random(0)
    rows = []
    for number in range(count):
        words, tags = [f"{number}"], ["O"]
        for _ in range(chance.randint(1, 4)):
            letter, kind = chance.choice([("x", "PER"), ("z", "LOC")])
            length = chance.randint(1, 2)
            words += [chance.choice("abcd") * 2, *(letter + chance.choice("efgh") for _ in range(length))]
            tags += ["O", f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
        rows.append({"tokens": words, "ner_tags": tags})
    return rows


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, make_rows())), encoding="utf-8")
    return ["task=local", f"task.path={path}", "task.text=tokens", "task.label=ner_tags"]


def test_it_is_learnt_and_scored_on_another_file(command, tiny, given, tmp_path):
    longer = [*tiny, "finetune.max_steps=60", "finetune.epochs=20", "finetune.batch_size=32", "finetune.peak_lr=1e-2"]
    outcome = command("finetune", *longer, *given)
    assert outcome.code == 0, outcome.err
    assert "label: 5 tags (iob), column 'ner_tags', 154 training rows with " in outcome.out
    (folder,) = (path for path in (tmp_path / "runs" / "finetune").iterdir() if path.is_dir())
    result = json.loads((folder / "result.json").read_text())
    assert result["metric"] == "entity_f1" and result["scores"]["test"] > 0.5 and result["train_examples"] == 154
    saved = load_predictions(folder / "predictions" / "test.parquet")
    assert METRICS["entity_f1"].compute(saved.labels, saved.outputs) == result["scores"]["test"]
    texts = {" ".join(row["tokens"]): " ".join(row["ner_tags"]) for row in make_rows()}
    answers = pq.read_table(folder / "predictions" / "test.parquet").column("answer").to_pylist()
    assert {len(answer.split()) for answer in answers} <= {len(tags.split()) for tags in texts.values()}
    other = tmp_path / "y.conll"
    lines = ["\n".join(f"{w} _ {t}" for w, t in zip(*row.values(), strict=True)) for row in make_rows()[:60]]
    other.write_text("-DOCSTART- -X- O\n\n" + "\n\n".join(lines), encoding="utf-8")
    scored = command("evaluate", *tiny, given[0], f"task.path={other}", *given[2:], f"init=run:{folder.name}")
    assert scored.code == 0, scored.err
    (evaluated,) = (path for path in (tmp_path / "runs" / "evaluate").iterdir() if path.is_dir())
    table = pq.read_table(evaluated / "predictions" / "test.parquet").to_pydict()
    assert len(table["answer"]) == 60
    assert "60 rows read from" in scored.out and "CoNLL, a sentence a row" in scored.out
    sums = np.array(table["outputs"])
    assert np.array_equal(sums[:, 5], [len(answer.split()) for answer in table["answer"]])
    assert json.loads((evaluated / "result.json").read_text())["scores"]["test"] > 0.5
    refused = command("evaluate", *tiny, *given, f"init=run:{folder.name}", "task.label_map={O: O}")
    assert refused.code == 2 and "task.label_map is of classes, not of label_kind=token" in refused.err


def test_a_study_plans_and_reports_it(command, tiny, given, tmp_path):
    study = ["study.pretrain_seeds=2", "study.num_replicates=200", "study.seeds_per_process=2", "finetune.max_steps=20"]
    outcome = command("study", *tiny, *given, *study, "finetune.peak_lr=1e-2", "finetune.batch_size=32")
    assert outcome.code == 0, outcome.err
    assert "5 tags (iob)" in outcome.out and "read in several windows" in outcome.out
    (panel,) = json.loads(next((tmp_path / "runs" / "reports").glob("*/summary.json")).read_text())["panels"]
    assert (panel["metric"], panel["blind_rule"], panel["num_examples"]) == ("entity_f1", "tagging nothing", 48)
    runs = [load_predictions(path) for path in (tmp_path / "runs" / "finetune").glob("*/predictions/test.parquet")]
    assert len(runs) == 4 and {run.outputs.shape for run in runs} == {(48, 6)}
    scores = [METRICS["entity_f1"].compute(run.labels, run.outputs) for run in runs]
    points = [entry["score"]["point"] for entry in panel["entries"]]
    assert sum(points) / 2 == pytest.approx(np.mean(scores)) and max(scores) > 0


def test_other_ways_to_give_the_same_task_are_the_same_run(command, tiny, given, tmp_path):
    import pandas as pd

    rows = make_rows()
    frame = pd.DataFrame(rows)
    frame.to_parquet(tmp_path / "x.parquet")
    pd.DataFrame({name: frame[name].map(json.dumps) for name in frame}).to_csv(tmp_path / "x.csv", index=False)
    pd.DataFrame({name: frame[name].map(" ".join) for name in frame}).to_csv(tmp_path / "plain.csv", index=False)
    numbers = [{**row, "ner_tags": list(map(NAMES.index, row["ner_tags"]))} for row in rows]
    (tmp_path / "numbers.jsonl").write_text("\n".join(map(json.dumps, numbers)), encoding="utf-8")
    assert command("finetune", *tiny, *given).code == 0
    for name, more in (("x.parquet", []), ("x.csv", ["task.label_kind=token"]), ("plain.csv", ["task.label_kind=token"]),
                       ("numbers.jsonl", [f"task.label_names=[{','.join(NAMES)}]"])):  # fmt: skip
        outcome = command("finetune", *tiny, given[0], f"task.path={tmp_path / name}", *given[2:], *more)
        assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "runs" / "finetune").glob("*/result.json"))) == 1


def test_sums_of_a_split_are_the_corpus_metric():
    rng = np.random.default_rng(0)
    gold = [" ".join(rng.choice(NAMES, rng.integers(1, 9))) for _ in range(50)]
    said = [" ".join(t if rng.random() < 0.6 else rng.choice(NAMES) for t in tags.split()) for tags in gold]
    each = [count_sums([one], [other], "iob")[0] for one, other in zip(gold, said, strict=True)]
    joined = count_sums([" O ".join(gold)], [" O ".join(said)], "iob")
    assert np.array_equal(np.sum(each, axis=0)[:3], joined[0, :3])
