"""``python -m benchmarks <name> [key=value ...]``; a benchmark is imported once it is chosen."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks import harness, record
from selfpretrain.config import UserError

BENCHMARKS = {
    "pretrain": "pretraining against transformers and fairseq",
    "finetune": "fine-tuning against transformers",
    "corpus": "tokenising and packing against datasets",
    "parts": "the engine against itself without one of its parts",
    "bootstrap": "the Multi-Bootstrap against the procedure as a loop",
    "coverage": "how often intervals, p-values and decisions are right, in simulation",
    "sustained": "some minutes of a real pretraining run",
    "seeds": "several seeds in one process against the same in turn",
    "ranks": "a step of two ranks against half of the work and the sum of gradients alone",
    "reading": "a task of many rows: the first time, again, and its text",
    "startup": "how long commands take to start",
    "launchers": "one small study by each launcher: the whole, and a further cell",
    "cells": "studies of many cells: planned, and gone on with when all is done",
    "page": "the report of a study of many cells: seconds, and the size of its page",
    "engines": "the native engine and fairseq as engines of one pretraining: speed and held-out losses",
    "tokens": "tokens needed to reach a loss, by kind of start",
    "time_to_loss": "seconds to the loss at which transformers' run_mlm.py ends",
}


def main(arguments: list[str]) -> int:
    """Run one benchmark; 0, or 2 for a mistake on the command line, said in one line."""
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print_benchmarks()
        else:
            run_benchmark(arguments[0], arguments[1:])
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def print_benchmarks() -> None:
    print("python -m benchmarks <name> [key=value ...]\n")
    for name, purpose in BENCHMARKS.items():
        print(f"  {name:<12} {purpose}")


def run_benchmark(name: str, arguments: list[str]) -> None:
    """Every row is printed and recorded as soon as it is measured."""
    if name not in BENCHMARKS:
        raise UserError(f"{name!r} is no benchmark; allowed: {', '.join(BENCHMARKS)}")
    module = importlib.import_module(f"benchmarks.{name}")
    options = harness.parse_options(module.Options, arguments)
    surroundings = record.describe_surroundings(options, " ".join(["python -m benchmarks", name, *arguments]))
    folder = Path(options.results_dir) if options.results_dir else None if options.toy else record.RESULTS
    if name == "coverage":  # not a measurement of speed: it has tables of its own
        module.write_results(options, surroundings, folder)
        return
    entries = []
    for row in module.run(options):
        entries.append(record.build_entry(name, row, surroundings))
        print(f"{row.work}, {row.peer or 'alone'}: {describe(entries[-1])}", file=sys.stderr, flush=True)
        if folder is not None:
            record.write_entry(folder, options.device, entries[-1])
    print(f"{surroundings['machine']}\n")
    print(record.render_table(entries), end="")


def describe(entry: dict) -> str:
    if entry["skipped"]:
        return f"not measured: {entry['skipped']}"
    ratio = f", {record.render_spread(entry['ratio_spread'], suffix='×')} of the peer" if entry["ratio"] else ""
    return f"{record.render_spread(entry['ours_spread'])} {entry['unit']}{ratio}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
