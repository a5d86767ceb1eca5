"""Kill -9 a small study at random moments and continue it: what it leaves must equal an undisturbed study to the last bit.

    OMP_NUM_THREADS=1 python launch/kill_study.py --kills 20

The texts are made up from a seed, so nothing is downloaded. The study runs once undisturbed; then the same study in
another folder is killed again and again, the kills spread over planning, corpora, pretraining, fine-tuning and report,
and at last let end. Exit code 1 if any file differs, or if anything half-written is left. Writes results/kill_study.md
and .json.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfpretrain.report.page import cut_differing
from selfpretrain.runs.folder import read_commit

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("planning", "corpora", "pretraining", "fine-tuning", "report")  # in the order of a study
TURNS = ("pretraining", "fine-tuning", "corpora", "report", "pretraining", "fine-tuning", "planning")
WAVES = {"choosing rates and starts": "fine-tuning"}  # waves that are named otherwise than their stage
POLL_SECONDS = 0.01
LIMIT_SECONDS = 900.0  # no study here takes that long
WORDS = {"animal": "cat dog bird fish horse mouse sheep goat", "colour": "red blue green black white grey pink brown"}

MODEL = [
    "model=roberta_tiny", "model.num_layers=1", "model.hidden_size=32", "model.embedding_size=32", "model.num_heads=2",
    "model.intermediate_size=64", "model.max_positions=32", "tokenizer.vocab_size=300", "pretrain.batch_size=8",
    "pretrain.seq_len=32", "finetune.seq_len=32", "finetune.min_steps=0", "finetune.batch_size=16", "finetune.epochs=3",
    "study.pretrain_seeds=2", "study.num_replicates=200", "study.general=bookwiki", "runtime.device=cpu",
    # checkpoints at the end of a row of metrics.jsonl, so that a continued run writes the same rows
    "runtime.save_every=10", "runtime.log_every=5", "runtime.progress=false",
]  # fmt: skip
SIZES = {
    "full": ["study.conditions=[none,own,bookwiki,bookwiki_sized]", "pretrain.total_steps=75",
             "finetune.max_steps=45", "finetune.lr_grid=[1e-3,3e-3]"],
    "small": ["study.conditions=[none,own]", "study.reference=own", "pretrain.total_steps=35", "finetune.max_steps=25",
              "finetune.lr_grid=[]"],
}  # fmt: skip

# when, where and how long
NOT_COMPARED = ("provenance.json", "config.yaml", "facts.json", "cost.csv", "origins.csv", "runs.csv")
KINDS = {
    "encoders": "encoder.safetensors", "heads": "head.safetensors", "checkpoints": "state.json",
    "predictions": ".parquet", "results": "result.json", "metrics": "metrics.jsonl", "token files": "train.bin",
    "reports": "report.md", "tables": ".csv",
}  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """One study: its texts and its settings."""

    texts: Path
    size: str = "full"

    @property
    def environment(self) -> dict[str, str]:
        """What its processes have in theirs."""
        return {
            "SELFPRETRAIN_DATA": str(self.texts), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
            "GIT_DIR": os.devnull,  # whoever works on the checkout meanwhile is not what is tried
        }  # fmt: skip

    def list_words(self, runs_dir: Path) -> list[str]:
        """The command line, after the name of the program."""
        return [
            "study", "task=local", f"task.path={self.texts / 'task.csv'}", "task.text=body", "task.label=topic", *MODEL,
            *SIZES[self.size], f"runtime.runs_dir={runs_dir}",
        ]  # fmt: skip

    def start(
        self, runs_dir: Path, program: tuple[str, ...] = ("-m", "selfpretrain"), wrapper: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """The study in a process group of its own, below the command ``wrapper``; its output goes to <runs_dir>.log."""
        command = [*wrapper, sys.executable, *program, *self.list_words(runs_dir)]
        with open(get_log(runs_dir), "wb") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **self.environment}, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """One kill -9."""

    aimed: str  # the stage it was meant for
    hit: str  # the stage the study was in
    seconds: float  # from the start of the process


@dataclass(frozen=True)
class Reference:
    """What is known of the undisturbed study."""

    runs_dir: Path
    num_finetunings: int
    seconds: dict[str, float]  # by stage


def get_log(runs_dir: Path) -> Path:
    return runs_dir.with_name(f"{runs_dir.name}.log")


def write_texts(folder: Path, seed: int, num_examples: int = 400, num_lines: int = 20_000) -> None:
    """A task of two classes told apart by their words, and a general collection; enough text for the tokenising pool."""
    chance = random.Random(seed)
    words = {label: listed.split() for label, listed in WORDS.items()}
    everything = [word for listed in words.values() for word in listed]
    (folder / "bookwiki").mkdir(parents=True, exist_ok=True)
    with open(folder / "task.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["body", "topic"])
        for number in range(num_examples):
            label = list(words)[number % 2]
            # some words of the other class, so that scores differ between runs
            text = chance.choices(words[label], k=5) + chance.choices(everything, k=5)
            rows.writerow([" ".join([*text, str(number)]), label])
    for name in ("wikipedia", "books"):
        lines = (
            " ".join(chance.choices(everything, k=20)) + ("\n\n" if i % 9 == 0 else "\n") for i in range(num_lines)
        )
        (folder / "bookwiki" / f"{name}.txt.gz").write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


# where a study is


def count_done(runs_dir: Path) -> int:
    return sum(path.read_text() == "done\n" for path in (runs_dir / "finetune").glob("*/status"))


def find_stage(runs_dir: Path, num_finetunings: int | None) -> str:
    """The stage a running study is in, from what it printed and from its run folders."""
    log = get_log(runs_dir).read_text(encoding="utf-8", errors="replace")
    if "\nmodels " not in log:
        return "planning"
    if count_done(runs_dir) == num_finetunings:
        return "report"
    stage = "planning"
    for line in log.splitlines():
        wave, separator, rest = line.partition(": ")
        if separator and rest.endswith("cells to run"):
            stage = WAVES.get(wave, wave)
    return stage


def run_undisturbed(workload: Workload, runs_dir: Path) -> Reference:
    """Run the study to its end and measure its stages."""
    started = time.time()
    process = workload.start(runs_dir)
    begins = {"planning": started}
    while process.poll() is None:
        begins.setdefault(find_stage(runs_dir, None), time.time())
        check_time(started, process)
        time.sleep(POLL_SECONDS)
    ended = time.time()
    check_exit(process, runs_dir)
    statuses = list((runs_dir / "finetune").glob("*/status"))
    begins["report"] = max(path.stat().st_mtime for path in statuses)
    ends = [*list(begins.values())[1:], ended]
    return Reference(runs_dir, len(statuses), {s: end - b for (s, b), end in zip(begins.items(), ends, strict=True)})


def check_time(started: float, process: subprocess.Popen[bytes]) -> None:
    if time.time() - started > LIMIT_SECONDS:
        kill(process)
        raise SystemExit(f"a study took more than {LIMIT_SECONDS:.0f} s")


def check_exit(process: subprocess.Popen[bytes], runs_dir: Path) -> None:
    if process.wait(LIMIT_SECONDS) != 0:
        log = get_log(runs_dir).read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"the study in {runs_dir} ended with exit code {process.returncode}:\n{log[-4000:]}")


# killing


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 the study's process group, before it is waited for, so that its number cannot belong to another."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def plan_kills(count: int) -> list[str]:
    """The stages to aim at, in the order of the study."""
    return sorted((TURNS[i % len(TURNS)] for i in range(count)), key=STAGES.index)


def kill_at_random(
    workload: Workload, runs_dir: Path, reference: Reference, stages: list[str], chance: random.Random
) -> Iterator[Kill]:
    """Start the study and kill it, once for each stage aimed at; then let it end."""
    shares = Counter(stages)
    misses = 0
    for aimed in stages:
        # finished work is kept, so the kills share the stage's time; planning and report begin anew each time
        share = 1.0 if aimed in ("planning", "report") else 1.0 / shares[aimed]
        while (done := _kill_once(workload, runs_dir, reference, aimed, chance.random() * share)) is None:
            misses += 1  # it had ended first
            if misses > 3 * len(stages):
                raise SystemExit(f"the study ended before it could be killed, {misses} times")
        yield done
    check_exit(workload.start(runs_dir), runs_dir)


def _kill_once(workload: Workload, runs_dir: Path, reference: Reference, aimed: str, share: float) -> Kill | None:
    """Kill a share of the stage's time after its begin; None if the study ended before."""
    started = time.time()
    process = workload.start(runs_dir)
    while STAGES.index(find_stage(runs_dir, reference.num_finetunings)) < STAGES.index(aimed):
        if process.poll() is not None:
            check_exit(process, runs_dir)
            return None
        check_time(started, process)
        time.sleep(POLL_SECONDS)
    time.sleep(share * reference.seconds.get(aimed, 0.0))
    if process.poll() is not None:
        check_exit(process, runs_dir)
        return None
    kill(process)
    return Kill(aimed, find_stage(runs_dir, reference.num_finetunings), round(time.time() - started, 2))


# comparing


def list_files(runs_dir: Path) -> dict[str, Path]:
    """Every file but the locks, which stay by design, by its name within the folder."""
    return {str(p.relative_to(runs_dir)): p for p in sorted(runs_dir.rglob("*")) if p.is_file() and p.suffix != ".lock"}


def read_comparable(path: Path) -> Any:
    """What must be equal of a file: all of it but times and the commit (which a busy checkout may change meanwhile)."""
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]
    if path.name == "report.md":
        return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("- commit: ")]
    if path.name == "report.html":
        return cut_differing(path.read_text(encoding="utf-8"))
    if path.name == "summary.json":
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["facts"].pop("commit", None)  # absent outside a checkout
        return summary
    return path.read_bytes()


def find_differences(expected: Path, found: Path) -> list[str]:
    """One line for every file that differs, is missing or should not be there."""
    ours, theirs = list_files(expected), list_files(found)
    lines = [f"{name}: missing" for name in ours if name not in theirs]
    lines += [f"{name}: left over" for name in theirs if name not in ours]
    lines += [f"{p.relative_to(found)}: left over" for p in found.rglob("*.new")]
    for name in ours:
        if name not in theirs or ours[name].name in NOT_COMPARED:
            continue
        if read_comparable(ours[name]) != read_comparable(theirs[name]):
            lines.append(f"{name}: differs")
    return lines


def count_kinds(runs_dir: Path) -> dict[str, int]:
    names = list(list_files(runs_dir))
    return {kind: sum(name.endswith(end) for name in names) for kind, end in KINDS.items()}


# the record


def write_record(folder: Path, record: dict[str, Any]) -> None:
    kills, seconds = Counter(kill["hit"] for kill in record["kills"]), record["seconds_undisturbed"]
    lines = [
        "# Killed at random moments", "",
        f"{len(record['kills'])} times kill -9, then continued: {record['verdict']}.", "",
        "| stage | seconds undisturbed | kills |", "|---|---:|---:|",
        *[f"| {stage} | {seconds.get(stage, 0.0):.1f} | {kills[stage]} |" for stage in STAGES], "",
        "Compared, byte by byte: " + ", ".join(f"{count} {kind}" for kind, count in record["compared"].items())
        + ", and every other file. Left out: locks, times, speeds, paths and the commit.", "",
        *[f"- {line}" for line in record["differences"]],
        *[f"- {key}: {record[key]}" for key in ("command", "commit", "machine", "python", "torch", "seconds")],
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "kill_study.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "kill_study.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/kill_study"), help="its two studies are made anew")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the texts")
    arguments = parser.parse_args()
    started = time.time()
    folder: Path = arguments.runs_dir.resolve()
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    for path in (undisturbed, killed):
        shutil.rmtree(path, ignore_errors=True)
    write_texts(folder / "texts", arguments.seed)
    workload = Workload(folder / "texts")
    reference = run_undisturbed(workload, undisturbed)
    print("undisturbed: " + ", ".join(f"{stage} {reference.seconds[stage]:.1f} s" for stage in reference.seconds))
    kills, stages = [], plan_kills(arguments.kills)
    for done in kill_at_random(workload, killed, reference, stages, random.Random(arguments.seed)):
        kills.append(done)
        print(f"kill {len(kills)} of {len(stages)}: {done.hit}, {done.seconds:.1f} s after the start", flush=True)
    differences = find_differences(undisturbed, killed)
    verdict = f"{len(differences)} files differ" if differences else "bit-identical to the undisturbed study"
    write_record(ROOT / "results", {
        "verdict": verdict, "kills": [asdict(done) for done in kills], "differences": differences,
        "seconds_undisturbed": {stage: round(spent, 2) for stage, spent in reference.seconds.items()},
        "compared": count_kinds(undisturbed),
        "command": f"python launch/kill_study.py --kills {arguments.kills} --seed {arguments.seed}",
        "commit": read_commit(), "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(), "torch": version("torch"), "seconds": round(time.time() - started),
    })  # fmt: skip
    hits = Counter(done.hit for done in kills)
    print(f"{', '.join(f'{stage} {hits[stage]}' for stage in STAGES)}: {verdict}")
    print("\n".join(differences))
    raise SystemExit(1 if differences else 0)


if __name__ == "__main__":
    main()
