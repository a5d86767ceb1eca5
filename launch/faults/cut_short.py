"""Files cut short, as a power failure or a copy that broke off leaves them: each is made anew, or refused with what to delete.

    OMP_NUM_THREADS=1 python -m launch.faults.cut_short

Each file is cut to half, to nothing, and by its last two bytes, in a study that still has to read it: what was made from it is
taken away. Refused, the study has to name the file; what it says to delete is deleted, and the same command has to
end with the files of the undisturbed study.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.faults.trial import Case, Trial, check_end, main, remove, reopen

FAULT = "a file cut short"
CUTS: dict[str, Callable[[bytes], bytes]] = {
    "to half": lambda data: data[: len(data) // 2],
    "to nothing": lambda data: b"",
    "by two bytes": lambda data: data[:-2],  # the last one of a text is a line break, and nothing without it is lost
}
# a log and a history: no run makes them anew, and what shows them shows less
LOST = {
    "metrics.jsonl": r"metrics\.jsonl: differs|reports/.*/(courses\.csv|report\.html): differs",
    "provenance.json": r"provenance\.json: missing",
}
DELETE = re.compile(r"delete (?:the folder )?(/\S+?)[,;.]?(?: |$)")


@dataclass(frozen=True)
class Cut:
    """The first file of a finished study that fits, and what is taken away so that it is read."""

    file: str  # a pattern below runs_dir
    prepare: Callable[[Path], None] = lambda runs_dir: None
    find: Callable[[Path], Path] = lambda runs_dir: runs_dir  # below which folder the file is


def first(runs_dir: Path, pattern: str) -> Path:
    return min(runs_dir.glob(pattern))


def find_own(runs_dir: Path) -> Path:
    """A fine-tuning of a pretrained encoder: by its score nothing is chosen that others hang on."""
    return min(path.parent for path in runs_dir.glob("finetune/*/config.yaml") if "init: run:" in path.read_text())


def lose_pretraining(runs_dir: Path) -> None:
    remove(first(runs_dir, "pretrain/*/"))


def lose_pretrainings_end(runs_dir: Path) -> None:
    reopen(first(runs_dir, "pretrain/*/"), "encoder", "result.json")


def lose_finetunings(runs_dir: Path) -> None:
    for run in runs_dir.glob("finetune/*/"):
        remove(run)


def lose_finetunings_end(runs_dir: Path) -> None:
    reopen(find_own(runs_dir), "model", "predictions", "result.json")


def lose_corpus(runs_dir: Path) -> None:
    remove(first(runs_dir, "corpora/*/"))
    lose_pretraining(runs_dir)


LIST = (
    *(Cut(f"corpora/*/{name}", lose_pretraining) for name in ("train.bin", "train.idx", "manifest.json")),
    *(Cut(f"corpora/*/{name}", lose_pretraining) for name in ("dict.txt", "tokenizer/tokenizer.json")),
    Cut("vocabularies/*/tokenizer.json", lose_corpus),
    *(Cut(f"pretrain/*/checkpoints/step_*30/{name}", lose_pretrainings_end)
      for name in ("model.safetensors", "optimizer.safetensors", "state.json")),
    *(Cut(f"pretrain/*/{name}", lose_pretrainings_end) for name in ("provenance.json", "config.yaml", "metrics.jsonl")),
    *(Cut(f"pretrain/*/{name}") for name in ("status", "provenance.json")),
    *(Cut(f"pretrain/*/encoder/{name}", lose_finetunings)
      for name in ("encoder.safetensors", "encoder.json", "tokenizer/tokenizer.json")),
    *(Cut(f"checkpoints/step_*20/{name}", lose_finetunings_end, find_own) for name in ("model.safetensors", "state.json")),
    *(Cut(f"checkpoints/best_*24/{name}", lose_finetunings_end, find_own) for name in ("model.safetensors", "state.json")),
    *(Cut(f"finetune/*/{name}") for name in ("status", "result.json", "provenance.json", "predictions/test.parquet")),
    *(Cut(f"tasks/*/{name}", lose_finetunings) for name in
      ("task.json", "train-0.utf8", "train-0.npy", "train-labels.npy", "test-ids.utf8", "test-ids.npy")),
    *(Cut(f"tasks/*/{name}", lose_corpus) for name in ("own.utf8", "own.npy")),
    Cut("fingerprints/*", lose_corpus),
    Cut("audits/*.json", lose_corpus),
    Cut("cells/pretrain-*.json", lose_pretraining),
    *(Cut(f"reports/*/{name}") for name in ("report.md", "summary.json")),
)  # fmt: skip


def iter_cases(trial: Trial) -> Iterator[Case]:
    for cut in LIST:
        for how, shorten in CUTS.items():
            yield _try(trial, cut, how, shorten)


def _try(trial: Trial, cut: Cut, how: str, shorten: Callable[[bytes], bytes]) -> Case:
    runs_dir = trial.copy()
    cut.prepare(runs_dir)
    file = first(cut.find(runs_dir), cut.file)
    name = f"{file.relative_to(runs_dir)} {how}"
    file.write_bytes(shorten(file.read_bytes()))
    outcome, seen = trial.run(runs_dir), "went on"
    if not outcome.is_orderly:
        return Case(name, False, f"exit {outcome.code}: {outcome.output.strip().splitlines()[-1:]}")
    if " anew" in outcome.complaint:
        seen = "one line, made anew"
    elif named := DELETE.search(outcome.complaint):
        seen = "refused in one line; went on when what it names was deleted"
        remove(Path(named[1]))
        outcome = trial.run(runs_dir)
    wrong = check_end(trial, runs_dir, outcome)
    if wrong and all(re.search(LOST.get(file.name, "^$"), line) for line in wrong):
        wrong, seen = [], f"{seen}, with one line; what was cut off is lost"
    return Case(name, not wrong, "; ".join(wrong[:3]) or seen)


if __name__ == "__main__":
    main(iter_cases)
