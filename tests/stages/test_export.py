"""What a run learnt, as another library has it: the encoder, with the head where the library has that, too."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from selfpretrain.config import CorpusConfig
from selfpretrain.interop.fairseq_roberta import load_roberta
from selfpretrain.interop.huggingface import load_huggingface
from selfpretrain.stages.lineage import describe_text
from selfpretrain.train.checkpoint import load_encoder


@pytest.fixture
def run(command, tiny, local, tmp_path):
    """``run(stage, *overrides)``: its id and folder."""

    def start(stage, *overrides):
        outcome = command(stage, *tiny, *local(), *overrides)
        assert outcome.code == 0, outcome.err
        (folder,) = [path for path in (tmp_path / "runs" / stage).iterdir() if path.is_dir()]
        return folder.name, folder

    return start


def test_a_pretraining_goes_to_fairseq_with_its_head_and_comes_back(command, tiny, run, tmp_path):
    name, folder = run("pretrain")
    out = tmp_path / "fairseq"
    outcome = command("export", *tiny, f"init=run:{name}", "format=fairseq", f"runtime.export_dir={out}")
    assert (outcome.code, outcome.out) == (0, f"{out}\n"), outcome.err
    encoder, tokenizer, head = load_roberta(str(out))
    own, its_tokenizer = load_encoder(folder / "encoder")
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), own.parameters(), strict=True))
    assert tokenizer.fingerprint == its_tokenizer.fingerprint
    newest = load_file(sorted((folder / "checkpoints").iterdir())[-1] / "model.safetensors")
    assert all(torch.equal(value, newest[f"head.{part}"]) for part, value in head.named_parameters())
    outcome = command("finetune", *tiny, "task=local", f"task.path={tmp_path / 'x.csv'}", "task.text=body", "task.label=topic",
                      f"init=fairseq:{out}")  # fmt: skip
    assert outcome.code == 0, outcome.err


def test_a_bert_goes_to_transformers_and_back_with_its_pooler(command, tiny, run, tmp_path):
    transformers = pytest.importorskip("transformers")
    overrides = ["model=bert_tiny", *(word for word in tiny if word != "model=roberta_tiny")]
    overrides += ["finetune.head=pooler", "finetune.pooling=cls"]
    name, folder = run("pretrain", *overrides, "pretrain.snapshots=[.5]")
    pooler = load_file(folder / "encoder" / "pooler.safetensors")
    out = tmp_path / "whole"
    for start, place, architecture in (("", out, "BertForPreTraining"), ("@1", tmp_path / "early", "BertModel")):
        assert command("export", *overrides, f"init=run:{name}{start}", f"runtime.export_dir={place}").code == 0
        card = (place / "README.md").read_text()
        assert f"weights: {architecture} of" in card and "pooler: as pretraining trained it" in card
        assert "identity" not in card
    _, info = transformers.BertForPreTraining.from_pretrained(out, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    for start, other in ((f"run:{name}", "tuned"), (f"hf:{out}", "tuned again")):
        ended = command("finetune", *overrides, "task=local", f"task.path={tmp_path / 'x.csv'}", "task.text=body", "task.label=topic",
                        f"init={start}", "finetune.peak_lr=1e-9")  # fmt: skip
        assert ended.code == 0, ended.err
        tuned = next(line for line in ended.out.splitlines() if line.endswith(": done")).split("/")[-1].split(":")[0]
        head = load_file(tmp_path / "runs" / "finetune" / tuned / "model" / "head.safetensors")
        torch.testing.assert_close(head["dense.weight"], pooler["dense.weight"], rtol=0, atol=1e-6)
        assert command("export", *overrides, f"init=run:{tuned}", f"runtime.export_dir={tmp_path / other}").code == 0
        _, info = transformers.BertForSequenceClassification.from_pretrained(tmp_path / other, output_loading_info=True)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    again = [*overrides, f"init=run:{name}", "seeds.seed=1", "pretrain.peak_lr=1e-9"]
    assert (
        command(
            "pretrain", *again, "task=local", f"task.path={tmp_path / 'x.csv'}", "task.text=body", "task.label=topic"
        ).code
        == 0
    )
    (second,) = [path for path in (tmp_path / "runs" / "pretrain").iterdir() if path.is_dir() and path.name != name]
    further = load_file(second / "encoder" / "pooler.safetensors")
    torch.testing.assert_close(further["dense.weight"], pooler["dense.weight"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", ["roberta_tiny", "electra_tiny"])
def test_a_pretraining_goes_to_transformers_with_its_head(command, tiny, run, tmp_path, model):
    overrides = [f"model={model}", *(word for word in tiny if word != "model=roberta_tiny")]
    name, folder = run("pretrain", *overrides)
    outcome = command("export", *overrides, f"init=run:{name}", f"runtime.export_dir={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    expected = {"roberta_tiny": "RobertaForMaskedLM", "electra_tiny": "ElectraForPreTraining"}[model]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [expected]
    encoder, _ = load_huggingface(str(tmp_path / "out"))
    own, _ = load_encoder(folder / "encoder")
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), own.parameters(), strict=True))


def test_a_fine_tuning_goes_to_transformers_with_its_classes(command, tiny, run, tmp_path):
    name, _ = run("finetune", "finetune.head=tanh", "finetune.pooling=cls")
    out = tmp_path / "out"
    outcome = command("export", *tiny, f"init=run:{name}", f"runtime.export_dir={out}")
    assert outcome.code == 0, outcome.err
    settings = json.loads((out / "config.json").read_text())
    assert settings["architectures"] == ["RobertaForSequenceClassification"]
    assert settings["id2label"] == {"0": "a", "1": "b"}
    outcome = command("export", *tiny, f"init=run:{name}", "format=fairseq", f"runtime.export_dir={tmp_path / 'other'}")
    assert outcome.code == 2
    assert "a SequenceHead is not exported to fairseq" in outcome.err


def test_what_cannot_be_exported_is_one_line(command, tiny, tmp_path):
    for overrides, said in (
        ([], "init=none: there is nothing to export; init=run:<id>"),
        (["init=run:gone"], "run:gone does not exist"),
        (["init=none", "format=onnx"], "format=onnx is not known; allowed: huggingface, fairseq"),
        ([f"init=fairseq:{tmp_path}"], "holds no checkpoint"),
    ):
        outcome = command("export", *tiny, *overrides)
        assert outcome.code == 2
        assert said in outcome.err
        assert outcome.err.count("\n") == 1


def test_a_card_has_the_steps_that_the_seconds_became(command, tiny, run, tmp_path):
    more = ["budget=seconds", "pretrain.budget_amount=.1", "pretrain.total_steps=2500"]
    name, folder = run("pretrain", *more)
    taken = json.loads((folder / "budget.json").read_text())["total_steps"]
    assert command("export", *tiny, f"init=run:{name}", f"runtime.export_dir={tmp_path / 'out'}").code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"at the end of its {taken:,} steps" in " ".join(card.split())
    assert f"- pretrain.total_steps: {taken} (there: " in card and "2500" not in card.partition("The preset says")[0]


def test_a_text_whose_card_is_gone_goes_by_its_name():
    assert describe_text(CorpusConfig(source="card", card="gone"), None) == {"text": "gone"}
    assert describe_text(CorpusConfig(source="own_of", task="gone"), None) == {"text": "gone"}
