"""What a training benchmark trains on: settings, text and tokens, the same for us and for the peer."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks import harness
from selfpretrain.config import Settings, UserError
from selfpretrain.devices import resolve_precision
from selfpretrain.door import compose_settings
from selfpretrain.files import make_folder
from selfpretrain.sources.hub import find_mirror
from selfpretrain.stages.corpus import build_corpus

MODELS = ("electra_small", "roberta_base")
TEXTS = {"agnews": "AG News", "docs_topic": "docstrings", "local": "made text"}
TOY_MODEL = [
    "model.num_layers=1", "model.hidden_size=32", "model.embedding_size=32", "model.num_heads=4",
    "model.intermediate_size=64", "model.max_positions=32", "pretrain.seq_len=32", "finetune.seq_len=32",
    "tokenizer.vocab_size=300", "tokenizer.source=own", "runtime.num_workers=1",
]  # fmt: skip
TOY_EXAMPLES = 400
TOY_WORDS = {"a": "cat dog bird fish horse mouse", "b": "red blue green black white grey"}


@dataclass
class Options(harness.Options):
    """What the two training benchmarks share."""

    compile: bool = False  # torch.compile, on both sides
    peer_compile_mode: str = "default"  # torch.compile's for the peer; ours is the engine's own
    seconds: float = 5.0  # of one measurement, about
    runs_dir: str = "runs"  # where the text's token files are, or are put


@dataclass(frozen=True)
class Work:
    """A model, its settings and the text, ready to be sent to another process."""

    settings: Settings
    corpus: Path  # token files and tokenizer
    seconds: float
    peer_compile_mode: str
    peer_keeps_memory: bool = False  # with the engine's setting of the C library's allocator
    peer_is_tuned: bool = False  # memory kept, and all that a careful user of the same library would write

    @property
    def text(self) -> str:
        return TEXTS[self.settings.task.name]

    @property
    def marks(self) -> list[str]:
        """What a row's name has to say besides: compiled, toy."""
        return ["compiled"] * self.settings.runtime.compile + ["toy"] * (self.settings.task.name == "local")

    @property
    def vocab_size(self) -> int:
        """The preset's, also where the text gave a smaller vocabulary: the shapes decide the speed."""
        return self.settings.tokenizer.vocab_size


def prepare_work(command: str, model: str, batch_size: int, options: Options, corpus: str = "own") -> Work:
    """Settings of ``command`` (pretrain, finetune) for a preset, and the corpus as token files.

    The task is AG News where $SELFPRETRAIN_DATA has it, else one made of the installed packages' docstrings.
    """
    if model not in MODELS:
        raise UserError(f"model={model} is not benchmarked; allowed: {', '.join(MODELS)}")
    overrides = [
        f"model={model}", f"corpus={corpus}", f"{command}.batch_size={batch_size}", f"{command}.clip_norm=1.0",
        f"runtime.device={options.device}", f"runtime.compile={str(options.compile).lower()}",
        f"runtime.num_threads={'null' if options.threads is None else options.threads}",
        f"runtime.runs_dir={options.runs_dir}", "runtime.progress=false", "runtime.save_every=1000000000",
        "tokenizer.source=own",  # nothing is downloaded; the shapes are the preset's all the same
        *choose_text(options), *(TOY_MODEL if options.toy else []),
    ]  # fmt: skip
    settings = compose_settings(command, overrides)
    training = resolve_precision(getattr(settings, command), settings)
    settings = dataclasses.replace(settings, **{command: training})
    folder = build_corpus(settings)
    return Work(settings, folder, options.seconds, options.peer_compile_mode)


def choose_text(options: Options) -> list[str]:
    """Overrides that name the task whose text is used."""
    if options.toy:
        path = write_toy_task(Path(options.runs_dir))
        return ["task=local", f"task.path={path}", "task.text=text", "task.label=label", "task.name=local"]
    mirror = find_mirror()
    return ["task=agnews" if mirror and (mirror / "ag_news").is_dir() else "task=docs_topic"]


def write_toy_task(folder: Path) -> Path:
    """A CSV of made-up texts of two classes and different lengths."""
    path = make_folder(folder) / "benchmark_toy.csv"
    chance = Random(0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(TOY_EXAMPLES):
            label = "ab"[number % 2]
            words = chance.choices(TOY_WORDS[label].split(), k=chance.randint(3, 24))
            writer.writerow([f"{' '.join(words)} {number}", label])
    return path
