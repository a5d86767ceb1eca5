"""A report on disk and in the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from rich.console import Console
from rich.text import Text

from selfpretrain.files import explain_write_errors, make_folder, replace_files, write_json
from selfpretrain.report.blocks import Block, Examples, Figure, Table, build_blocks
from selfpretrain.report.collect import choose_folder, collect_results
from selfpretrain.report.examples import add_examples
from selfpretrain.report.findings import Summary
from selfpretrain.report.latex import format_document, format_latex
from selfpretrain.report.latex_tables import format_tabulars
from selfpretrain.report.markdown import format_markdown
from selfpretrain.report.mirror import mirror_report
from selfpretrain.report.page import format_page
from selfpretrain.report.records import collect_records
from selfpretrain.report.references import format_references
from selfpretrain.report.summary import summarize
from selfpretrain.report.terminal import print_report

if TYPE_CHECKING:
    from selfpretrain.study.plan import StudyPlan

# the files that hold the whole report; one more is one row more
OUTPUTS: dict[str, Callable[[Sequence[Block]], str]] = {
    "report.md": format_markdown,
    "report.tex": format_latex,
    "report_document.tex": format_document,
    "references.bib": format_references,
    "report.html": format_page,
}


def write_report(plan: StudyPlan, console: Console, overrides: Sequence[str]) -> Summary:
    """Read a study's run folders, save its report in ``choose_folder``'s and print it."""
    results = collect_results(plan, overrides)
    summary = summarize(results)
    add_examples(summary, results, plan.data, plan.settings.report.examples)
    blocks = build_blocks(summary, collect_records(plan))
    folder = choose_folder(plan)
    files = save_report(summary, blocks, folder)
    print_report(blocks, console)
    console.print(Text(f"written to {folder}: {', '.join(path.name for path in files)}"), soft_wrap=True)
    if line := mirror_report(plan, summary, blocks, files, OUTPUTS):
        console.print(Text(line))
    return summary


def save_report(summary: Summary, blocks: Sequence[Block], folder: Path) -> list[Path]:
    """Write the OUTPUTS, a CSV and LaTeX per table, plots in all of their forms, facts.json and summary.json.

    Equal summaries give equal bytes. What differs between equal studies (times, and of runs machines) is in facts.json, in the CSV files
    of tables that say so, and in marked parts of report.html (:func:`selfpretrain.report.page.cut_differing`).
    """
    content = format_files(blocks)
    make_folder(folder)
    with explain_write_errors(folder), FileLock(f"{folder}.lock"):  # two processes may end the same study at once
        replace_files(folder, content)  # nothing stays of what failed and is done now, or is not to be shown any more
        write_json(folder / "facts.json", summary.facts)
        write_json(folder / "summary.json", summary.to_json())  # last: where it is, the rest is
    return [folder / name for name in (*content, "facts.json", "summary.json")]


def format_files(blocks: Sequence[Block]) -> dict[str, bytes]:
    """By name the OUTPUTS, a CSV and LaTeX per table, a CSV of examples, and plots in all of their forms."""
    content = {name: format_blocks(blocks).encode() for name, format_blocks in OUTPUTS.items()}
    for block in blocks:
        if isinstance(block, Table | Examples):
            content[f"{block.name}.csv"] = format_csv(block).encode()
        if isinstance(block, Table) and not block.is_detail:
            content |= {f"{name}.tex": text.encode() for name, text in format_tabulars(block).items()}
        elif isinstance(block, Figure) and block.draw:
            content |= {f"{block.name}.{form}": data for form, data in block.draw().items()}
    return content


def format_csv(table: Table | Examples) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([table.csv_header, *table.csv_rows])
    return buffer.getvalue()
