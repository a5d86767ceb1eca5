"""Whatever is wrong with the input: exit code 2, one line that says what, and nothing half-written."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch

from selfpretrain import files
from selfpretrain.interop.huggingface import export_huggingface
from selfpretrain.train.checkpoint import load_encoder


@pytest.fixture
def refused(command, tiny, tmp_path):
    """``refused(arguments, *parts)``: the command refuses them in one line that holds every part."""
    runs = tmp_path / "runs"

    def check(arguments, *parts, with_tiny=True):
        before = list_files(runs)
        name, *overrides = arguments
        outcome = command(name, *(tiny if with_tiny else []), *overrides)
        assert outcome.code == 2, outcome
        assert outcome.err.startswith("selfpretrain: "), outcome.err
        assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome.err
        for part in parts:
            assert part in outcome.err
        half_written = [file for file in list_files(runs) - before if not is_allowed(runs / file)]
        assert not half_written
        return outcome.err

    return check


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.is_dir() else set()


def is_allowed(path: Path) -> bool:
    """After a refusal: folders of stages, empty locks, a task that was read, and a corpus that was finished before."""
    runs = next(parent for parent in path.parents if parent.name == "runs")
    parts = path.relative_to(runs).parts
    if any(part.startswith(".") for part in parts):
        return False
    if len(parts) == 1 and path.is_dir():
        return True
    if path.suffix == ".lock":
        return path.stat().st_size == 0
    if parts[0] in ("tasks", "fingerprints"):  # what was read, for the next time
        return True
    return parts[0] == "corpora" and (runs / "corpora" / parts[1] / "manifest.json").is_file()


def edit(rows, row, **cells):
    return [{**given, **cells} if number == row else given for number, given in enumerate(rows)]


# data

COMMANDS = ("corpus", "pretrain", "finetune", "study")


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_column(refused, local, name):
    key = "task.label" if name == "study" else "task.text"
    refused([name, *local(), f"{key}=absent"], "x.csv", "'absent'", "'body', 'title', 'topic'", f"{key}=<column>")


@pytest.mark.parametrize(
    ("name", "content"), [("study", b""), ("pretrain", b""), ("corpus", b"\n \n"), ("study", b"body,topic\n")]
)
def test_empty_file(refused, tmp_path, name, content):
    (tmp_path / "x.csv").write_bytes(content)
    given = ["task=local", f"task.path={tmp_path / 'x.csv'}", "task.text=body", "task.label=topic"]
    refused([name, *given], "task.path=", "x.csv", "at least 50 rows")


def test_too_few_rows(refused, local, examples):
    refused(["study", *local(examples[:10])], "x.csv has 10 rows", "at least 50", "task.path=<file>")


def test_missing_file_and_setting(refused, local, tmp_path):
    refused(["study", *local(), f"task.path={tmp_path / 'y.csv'}"], "y.csv does not exist", "task.path=")
    refused(["study", "task=local"], "task.path=<file>")
    refused(["study", "task=local", local()[1]], "task.text=<column>", "'body', 'title', 'topic'")


@pytest.mark.parametrize("text", ["", "  \t "], ids=["empty", "whitespace"])
def test_empty_text(refused, local, examples, text):
    for name in ("corpus", "study"):
        refused(
            [name, *local(edit(examples, 6, body=text))], "x.csv, row 7", "'body'", "remove these rows", "task.text"
        )


def test_not_utf8(refused, local, tmp_path, examples):
    given = local()
    path = tmp_path / "x.csv"
    path.write_bytes(path.read_bytes().replace(b"title 3,", "текст".encode("cp1251") + b" 3,"))
    refused(["study", *given], "x.csv is not UTF-8", "line 5", "0xf2", "task.encoding=<one of")


def test_what_no_run_could_be_scored_by_is_found_before_training(refused, local, tmp_path, examples):
    local([{**row, "body": f"held out {row['body']}"} for row in examples if row["topic"] == "a"], "valid.csv")
    given = [*local(), f"task.validation_path={tmp_path / 'valid.csv'}", "task.metric=mcc"]
    for name in ("plan", "study", "finetune"):
        refused(
            [name, *given], "valid.csv (validation split): no run could be scored by task.metric=mcc", "task.metric="
        )
    assert not list(tmp_path.rglob("train.bin"))


@pytest.mark.parametrize("label", ["", "NaN"])
def test_nan_label(refused, local, examples, label):
    refused(["finetune", *local(edit(examples, 9, topic=label))], "x.csv, row 10", "'topic'", "task.label")


def test_nan_score(refused, local, examples):
    rows = [{**row, "topic": f"{number / 7:.3f}"} for number, row in enumerate(examples)]
    refused(["study", *local(edit(rows, 3, topic="inf"))], "x.csv, row 4", "'inf'", "task.label_kind=class")


@pytest.mark.parametrize("split", ["test", "validation"])
def test_label_never_seen_in_training(refused, local, examples, split):
    given = local()
    held_out = local(edit(examples[:60], 4, topic="c"), "held_out.csv")[1].replace("task.path", f"task.{split}_path")
    refused(["study", *given, held_out], "held_out.csv, row 5", "'c'", "known: a, b", "remove the row")


def test_one_class_only(refused, local, examples):
    refused(["study", *local([{**row, "topic": "a"} for row in examples])], "x.csv", "one class only", "task.label")


def test_duplicate_ids(refused, local, examples):
    refused(["study", *local(edit(examples, 8, id="3")), "task.id=id"], "x.csv, row 9", "'3'", "row 4", "task.id=null")


def test_pair_with_one_column(refused, local):
    refused(["study", *local(), "task.unordered_pair=true"], "task.unordered_pair=true", "task.text=[first,second]")
    refused(["study", *local(), "task.text=[body,body]"], "task.text=", "two different ones", "[first,second]")
    refused(["study", *local(), "task.text=[body,absent]"], "x.csv", "'absent'", "task.text=<column>")
    refused(["study", *local(), "task.text=[]"], "task.text=<column>")


def test_label_in_the_text(refused, local):
    refused(["study", *local(), "task.text=topic"], "'topic'", "task.text", "task.label")


# settings


@pytest.mark.parametrize("prefix", ["", "+", "++"])
@pytest.mark.parametrize(("name", "key", "parts"), [
    ("pretrain", "pretrain.total_stepz", ("setting pretrain.total_stepz", "did you mean 'total_steps'?", "allowed: optimizer, momentum, peak_lr, ")),
    ("pretrain", "totl", ("setting totl", "allowed: init, model, ")),
    ("study", "efort", ("setting efort", "did you mean 'effort'?")),
    ("study", "runs_dir", ("setting runs_dir", "did you mean 'runtime.runs_dir'?")),
    ("study", "pretrain.epochs", ("setting pretrain.epochs", "did you mean 'finetune.epochs'?")),
    ("study", "study.pretrain_seed", ("setting study.pretrain_seed", "did you mean 'pretrain_seeds'?")),
])  # fmt: skip
def test_unknown_key(refused, local, name, prefix, key, parts):
    message = refused([name, *local(), f"{prefix}{key}=3"], *parts)
    assert "use +" not in message


@pytest.mark.parametrize("value", ["pretrain.total_steps=abc", "pretrain.total_steps=1.5", "runtime.compile=perhaps",
                                   "finetune.lr_grid=[a]", "study.conditions=own", "pretrain.total_steps=null",
                                   "pretrain=3", "model.hidden_size=[1]"])  # fmt: skip
def test_wrong_type(refused, local, value):
    key = value.split("=")[0]
    refused(["study", *local(), value], f"setting {key}: ", f"give {key}")


@pytest.mark.parametrize("value", [
    "pretrain.total_steps=0", "pretrain.peak_lr=nan", "finetune.lr_grid=[1e-3,-1]", "tokenizer.vocab_size=5",
    "study.pretrain_seeds=0", "study.confidence=95", "runtime.num_workers=0", "task.max_train_examples=1",
])  # fmt: skip
def test_out_of_range(refused, local, value):
    """All ranges are tried in test_door; the last of these is the data's."""
    key = value.split("=")[0]
    refused(["study", *local(), value], value.split("=")[0], f"set {key}=")


@pytest.mark.parametrize("settings", [
    "model.hidden_size=33", "pretrain.seq_len=64", "pretrain.packing=segments", "objective.name=rtd",
    "pretrain.warmup_steps=1 pretrain.warmup_fraction=0.1", "pretrain.micro_batch_size=3",
    "study.baseline=own study.reference=own",
    "study.conditions=[own,own]", "study.models=[roberta_tiny,roberta_tiny]", "study.baseline=gone",
])  # fmt: skip
def test_contradictory_settings(refused, local, settings):
    refused(["study", *local(), *settings.split()], settings.split()[0].split("=")[0])


@pytest.mark.parametrize(("name", "setting"), [("finetune", "model=foo"), ("study", "model=foo"), ("study", "task=foo"),
                                               ("pretrain", "corpus=foo"), ("study", "tracking=foo")])  # fmt: skip
def test_unknown_choice_lists_the_choices(refused, name, setting):
    allowed = {"model": "roberta_tiny", "task": "agnews", "corpus": "bookwiki", "tracking": "wandb"}
    message = refused([name, setting], f"{setting} is not known", allowed[setting.split("=")[0]], with_tiny=False)
    assert "did you mean" not in message


@pytest.mark.parametrize("setting", ["study=foo", "effort=foo"])
def test_unknown_study_choice(refused, setting):
    allowed = {"study": "quickstart", "effort": "standard"}
    refused(["study", setting], allowed[setting.split("=")[0]], with_tiny=False)


@pytest.mark.parametrize(("setting", "parts"), [
    ("study.tasks=[agnew]", ("agnew", "did you mean 'agnews'")),
    ("study.tasks=[{name:agnews,txt:body}]", ("txt", "text")),
    ("study.tasks=[{text:body}]", ("study.tasks", "name")),
    ("study.tasks=[3]", ("'3'", "known: agnews")),
    ("study.tasks=[agnews,agnews]", ("study.tasks", "agnews", "once")),
    ("study.tasks=[reviews]", ("reviews", "a file of your own is {name: <name>, path: <file>")),
    ("study.tasks=[{name:agnews,max_train_examples:0}]", ("study.tasks, agnews", "task.max_train_examples=0")),
    ("study.conditions=[owl]", ("'owl'", "allowed: none, mimetic, own")),
    ("study.conditions=[own_of:agnew]", ("agnew", "did you mean 'agnews'")),
    ("study.conditions=[offshelf]", ("study.offshelf=hf:",)),
    ("study.models=[roberta_tyni]", ("roberta_tyni", "roberta_tiny")),
    ("+study.models_of.agnew=[roberta_tiny]", ("study.models_of", "'agnew'", "allowed: agnews")),
    ("+study.models_of.agnews=[roberta_tyni]", ("study.models_of", "'roberta_tyni'", "roberta_tiny")),
    ("study.general=foo study.conditions=[bookwiki]", ("foo", "bookwiki")),
    ("study.cell=pretrain:123", ("study.cell",)),
    ("study.offshelf=hf:gone study.conditions=[offshelf]", ("hf:gone", "hf:<repo>@<revision>")),
])  # fmt: skip
def test_unknown_name_in_a_study(refused, local, setting, parts):
    refused(["study", *local(), *setting.split()], *parts)


@pytest.mark.parametrize(("entries", "parts"), [
    ("{name:a,path:'X',text:body,label:topic},{name:a,path:'X',text:title,label:topic}", ("names a task twice",)),
    ("{name:a,path:'X',text:body,label:topic},{name:b,path:'X',text:body,label:topic}", ("a and b are the same file",)),
    ("{name:agnews,path:'X',text:body,label:topic}", ("agnews is the name of a card", "{name: <name>, path: <file>")),
    ("{name:'a+b',path:'X',text:body,label:topic}", ("'a+b'", "letters, digits, _ . and -")),
    ("{path:'X',text:body,label:topic}", ("without a name", "{name: <name>, path: <file>")),
    ("{name:a,path:'X',texts:body,label:topic}", ("study.tasks, a: setting texts", "did you mean 'text'")),
    ("{name:a,path:'X',text:body,label:topic,test_fraction:2}", ("study.tasks, a: task.test_fraction=2",)),
    ("{name:a,path:'X',text:absent,label:topic}", ("study.tasks, a: ", "no column 'absent'", "<setting> there")),
    ("agnews,{name:a,path:'Y',text:body,label:topic}", ("study.tasks, a: task.path=", "y.csv does not exist")),
])  # fmt: skip
def test_a_file_of_one_s_own_in_a_study(refused, local, tmp_path, monkeypatch, entries, parts):
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)  # agnews is missing, too: that hides no mistake
    path = Path(local()[1].partition("=")[2])
    given = entries.replace("X", str(path)).replace("Y", str(path.with_name("y.csv")))
    refused(["study", f"study.tasks=[{given}]"], *parts)


@pytest.mark.parametrize("name", ["study", "plan", "report"])
def test_a_study_whose_data_are_all_missing(refused, monkeypatch, name):
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    refused([name, "study.tasks=[jigsaw]"], "task=jigsaw has to be downloaded by hand", "SELFPRETRAIN_DATA=")
    given = "study.tasks=[jigsaw,agnews,sst2]"
    refused([name, given], "no task of the study has data here", "by hand", "missing, too: agnews, sst2")


@pytest.mark.parametrize(
    "setting", ["study.conditions=[]", "study.tasks=[]", "study.pretrain_seeds=0", "study.finetune_seeds=0"]
)
def test_study_without_cells(refused, setting):
    refused(["study", setting], "study")


@pytest.mark.parametrize("arguments", [["foo"], ["studdy", "task=agnews"], ["--foo"], ["Pretrain"]])
def test_unknown_command(command, arguments):
    """A near one is suggested."""
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert (
        repr(arguments[0]) in outcome.err
        and ("did you mean 'study'?" in outcome.err) == (arguments[0] == "studdy")
        and "corpus, corpus audit, pretrain, finetune, evaluate, submit, export, release, release check, plan, study, report"
        in outcome.err
    )


@pytest.mark.parametrize(("argument", "parts"), [
    ("--foo", ("--foo", "--help")), ("--cfg=foo", ("--cfg", "'foo'", "'job'")), ("--config-name=foo", ("foo",)),
    ("task", ("task",)), ("=3", ("'=3'", "<setting>=<value>")), ("task=[", ("'['",)), ("a.b.c=1", ("setting a:", "allowed: init")),
    ("pretrain.total_steps=1,2", ("pretrain.total_steps=1,2", "--multirun")), ("model=3", ("model=3", "roberta_tiny")),
    ("task=null", ("task=null", "agnews", "study.tasks=")), ("task=[agnews,sst2]", ("[agnews,sst2]", "study.tasks=")),
    ("+model=electra_tiny", ("model", "more than once")), ("--multrun", ("--multrun", "did you mean '--multirun'?")),
    ("model=roberta_tyni", ("model=roberta_tyni", "did you mean 'roberta_tiny'?")), ("~taks", ("'taks'", "did you mean 'task'?")),
])  # fmt: skip
def test_unreadable_command_line(refused, local, argument, parts):
    message = refused(["pretrain", *local(), argument], *parts)
    assert "provider=" not in message


def test_cuda_where_there_is_none(refused, local, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("pretrain", "finetune", "study"):
        refused([name, *local(), "runtime.device=cuda"], "runtime.device=cuda", "runtime.device=cpu")


# files of ours, damaged or missing


@pytest.fixture
def pretrained(command, tiny, local):
    """A finished pretraining: its folder."""
    outcome = command("pretrain", *tiny, *local())
    assert outcome.code == 0, outcome
    return Path(outcome.out.split(": done")[0].splitlines()[-1])


def flip_byte(path: Path, position: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["train.bin", "train.idx", "manifest.json", "tokenizer/tokenizer.json"])
def test_damaged_token_file(refused, command, tiny, local, tmp_path, name):
    assert command("corpus", *tiny, *local()).code == 0
    folder = next(path for path in (tmp_path / "runs" / "corpora").iterdir() if path.is_dir())
    flip_byte(folder / name)
    refused(["pretrain", *local()], str(folder / name), "damaged", f"delete the folder {folder}")
    if name.startswith("tokenizer"):
        refused(["finetune", *local()], str(folder / name), "damaged", "delete")


def test_damaged_encoder(refused, local, pretrained):
    weights = pretrained / "encoder" / "encoder.safetensors"
    arguments = ["finetune", *local(), f"init=run:{pretrained.name}"]
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused(arguments, str(weights), "damaged", f"delete {pretrained}")
    weights.write_bytes(whole)
    flip_byte(pretrained / "encoder" / "tokenizer" / "tokenizer.json")
    refused(arguments, str(pretrained / "encoder" / "tokenizer"), "damaged", f"delete {pretrained}")
    flip_byte(pretrained / "encoder" / "encoder.json")
    refused(arguments, str(pretrained / "encoder" / "encoder.json"), "damaged", f"delete {pretrained}")


@pytest.mark.parametrize(("name", "damage"), [("model.safetensors", "truncate"), ("model.safetensors", "remove"),
                                              ("optimizer.safetensors", "flip"), ("state.json", "truncate")])  # fmt: skip
def test_damaged_checkpoint(refused, local, pretrained, name, damage):
    checkpoint = sorted((pretrained / "checkpoints").glob("step_*"))[-1]
    (pretrained / "status").write_text("running\n")  # as if killed after the last checkpoint
    file = checkpoint / name
    if damage == "truncate":
        os.truncate(file, file.stat().st_size // 2)
    elif damage == "flip":
        flip_byte(file)
    else:
        file.unlink()
    refused(["pretrain", *local()], str(file), f"delete {checkpoint}")
    assert (pretrained / "status").read_text() == "running\n"


def test_checkpoint_of_another_model(refused, local, pretrained, tmp_path, command, tiny):
    other = command("pretrain", *tiny, *local(), "model.hidden_size=64", "model.embedding_size=64")
    assert other.code == 0
    theirs = Path(other.out.split(": done")[0].splitlines()[-1])
    (pretrained / "status").write_text("running\n")
    shutil.rmtree(pretrained / "checkpoints")
    shutil.copytree(theirs / "checkpoints", pretrained / "checkpoints")
    refused(["pretrain", *local()], "another model", str(pretrained / "checkpoints"))
    (pretrained / "status").write_text("done\n")
    shutil.rmtree(pretrained / "encoder")
    shutil.copytree(theirs / "encoder", pretrained / "encoder")
    refused(["pretrain", *local(), f"init=run:{pretrained.name}"], "another model", f"init=run:{pretrained.name}")


def test_vocabulary_larger_than_the_model(refused, command, tiny, local, pretrained):
    """Another vocabulary, put where the encoder's own was, is caught by its fingerprint, and by its size."""
    larger = command("corpus", *tiny, *local(), "tokenizer.vocab_size=310")
    folder = Path(larger.out.split(": ")[0])
    description = pretrained / "encoder" / "encoder.json"
    shutil.rmtree(pretrained / "encoder" / "tokenizer")
    shutil.copytree(folder / "tokenizer", pretrained / "encoder" / "tokenizer")
    refused(["finetune", *local(), f"init=run:{pretrained.name}"], "tokenizer", str(pretrained))
    from selfpretrain.data.tokenizer import Tokenizer
    from selfpretrain.train.checkpoint import load_json, save_json

    fingerprint = Tokenizer.load(folder / "tokenizer").fingerprint
    save_json(description, {**load_json(description), "tokenizer": fingerprint})
    refused(["finetune", *local(), f"init=run:{pretrained.name}"], "310", "300", "tokenizer")


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
@pytest.mark.parametrize(("init", "parts"), [
    ("run:000000000000", ("run:000000000000", "does not exist", "runtime.runs_dir")),
    ("run:", ("init=run:", "allowed: none, run:<id>")),
    ("hf:no/such/folder", ("hf:no/such/folder", "hf:<repo>@<")),
    ("hf:", ("init=hf:", "allowed")),
    ("''", ("init=", "allowed: none, run:<id>")),
])  # fmt: skip
def test_start_that_does_not_exist(refused, local, name, init, parts):
    refused([name, *local(), f"init={init}"], *parts)


def test_start_that_is_not_on_the_hub(refused, local, monkeypatch):
    import huggingface_hub

    def fail(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    refused(["finetune", *local(), "init=hf:owner/name@main"], "hf:owner/name@main", "no network", "init=hf:<folder>")


@pytest.mark.parametrize("init", ["none", "run:000000000000", "hf:x"])
def test_evaluate_needs_a_finetuned_run(refused, local, init):
    refused(["evaluate", *local(), f"init={init}"], f"{init}", "run")


def test_evaluate_with_other_labels(refused, command, tiny, local, examples):
    trained = command("finetune", *tiny, *local())
    run_id = Path(trained.out.split(": done")[0].splitlines()[-1]).name
    rows = [{**row, "topic": row["topic"].replace("b", "c")} for row in examples]
    refused(
        ["evaluate", *local(rows, "y.csv"), f"init=run:{run_id}"],
        "y.csv, row 2",
        "'c' never occurs in training",
        "a, b",
    )


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("where", ["encoder", "checkpoint", "head", "hf"])
def test_poisoned_pickle_is_refused_and_not_run(refused, command, tiny, local, pretrained, tmp_path, where):
    target = tmp_path / "executed"
    stream = io.BytesIO()
    torch.save({"weights": Bomb(target)}, stream)
    if where == "hf":
        folder = tmp_path / "released"
        export_huggingface(folder, *load_encoder(pretrained / "encoder"))
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(stream.getvalue())
        (folder / "training_args.bin").write_bytes(pickle.dumps(Bomb(target)))
        refused(["finetune", *local(), f"init=hf:{folder}"], "pytorch_model.bin", "more than weights", "mkdir")
        (folder / "model.safetensors").write_bytes(stream.getvalue())
        refused(["finetune", *local(), f"init=hf:{folder}"], "model.safetensors")
    elif where == "encoder":
        (pretrained / "encoder" / "encoder.safetensors").write_bytes(stream.getvalue())
        refused(["finetune", *local(), f"init=run:{pretrained.name}"], "encoder.safetensors", "delete")
    elif where == "checkpoint":
        checkpoint = sorted((pretrained / "checkpoints").glob("step_*"))[-1]
        (checkpoint / "optimizer.safetensors").write_bytes(stream.getvalue())
        (pretrained / "status").write_text("running\n")
        refused(["pretrain", *local()], "optimizer.safetensors", "delete")
    else:
        trained = command("finetune", *tiny, *local(), f"init=run:{pretrained.name}")
        run = Path(trained.out.split(": done")[0].splitlines()[-1])
        (run / "model" / "head.safetensors").write_bytes(stream.getvalue())
        refused(["evaluate", *local(), f"init=run:{run.name}"], "head.safetensors", "delete")
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))  # the bomb itself works
    assert target.exists()


# the output folder


@pytest.mark.parametrize(("name", "place"), [("corpus", "file"), ("pretrain", "below a file"), ("finetune", "file"),
                                             ("study", "below a file")])  # fmt: skip
def test_output_folder_is_a_file(refused, local, tmp_path, name, place):
    (tmp_path / "taken").write_text("")
    runs = tmp_path / "taken" if place == "file" else tmp_path / "taken" / "runs"
    refused([name, *local(), f"runtime.runs_dir={runs}"], f"{tmp_path / 'taken'}", "runtime.runs_dir")
    assert (tmp_path / "taken").read_text() == ""


@pytest.mark.parametrize(("name", "number", "reason"), [
    ("corpus", errno.EROFS, "read-only"), ("pretrain", errno.EACCES, "denied"), ("finetune", errno.ENOSPC, "full"),
    ("study", errno.EROFS, "read-only"), ("study", errno.ENOSPC, "full"),
])  # fmt: skip
def test_output_folder_cannot_be_made(refused, local, tmp_path, monkeypatch, name, number, reason):
    make = os.mkdir

    def refuse(path, *arguments, **keywords):
        if str(path).startswith(str(tmp_path / "runs")):
            raise OSError(number, os.strerror(number), str(path))
        return make(path, *arguments, **keywords)

    monkeypatch.setattr(os, "mkdir", refuse)
    refused([name, *local()], str(tmp_path / "runs"), reason, "runtime.runs_dir")


@pytest.mark.parametrize(("name", "after"), [("pretrain", 0), ("pretrain", 12), ("pretrain", 20), ("finetune", 16)])
def test_disk_fills_up(command, tiny, local, tmp_path, monkeypatch, name, after):
    """The disk fills up at the n-th flush; what is there then is whole, and the same command continues."""
    flush, calls = os.fsync, 0

    def fill(descriptor):
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(files.os, "fsync", fill)
    outcome = command(name, *tiny, *local())
    assert outcome.code == 2, outcome
    assert re.fullmatch(r"selfpretrain: cannot write .*: the disk is full; .* runtime.runs_dir .*\n", outcome.err)
    assert not [file for file in list_files(tmp_path / "runs") if Path(file).name.startswith(".")]
    assert not list((tmp_path / "runs").glob("*/*/result.json"))
    monkeypatch.setattr(files.os, "fsync", flush)
    assert command(name, *tiny, *local()).code == 0
