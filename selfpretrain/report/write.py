"""A report on disk and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from selfpretrain.files import explain_write_errors, make_folder, remove_leftovers, write_bytes, write_json
from selfpretrain.report.findings import VOLATILE_FACTS, Summary
from selfpretrain.report.render import build_rich_tables, format_csv, format_latex, format_markdown
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables, list_explanations

if TYPE_CHECKING:
    from selfpretrain.study.plan import StudyPlan


def write_report(plan: StudyPlan, console: Console, overrides: Sequence[str]) -> Summary:
    """Read a study's run folders, save its report and print it.

    Files: <runs_dir>/reports/<study>-<id>/, the id from the study's runs, so that two studies never share a folder.
    """
    from selfpretrain.report.collect import choose_folder, collect_results

    summary = summarize(collect_results(plan, overrides))
    folder = choose_folder(plan)
    files = save_report(summary, folder)
    print_report(summary, console)
    console.print(Text(f"written to {folder}: {', '.join(path.name for path in files)}"), soft_wrap=True)
    return summary


def save_report(summary: Summary, folder: Path) -> list[Path]:
    """Write summary.json, report.md, report.tex, a CSV per table, plots as PNG and SVG, and facts.json.

    Equal summaries give equal bytes; what differs between equal studies (the time) is in facts.json only.
    """
    # Matplotlib takes a second to import, which a study that only prints should not wait for
    from selfpretrain.report.plots import draw_cross, draw_scores

    tables = build_tables(summary)
    content: dict[str, bytes] = {"report.md": format_report(summary).encode()}
    content["report.tex"] = ("% needs \\usepackage{booktabs}\n" + "\n".join(map(format_latex, tables))).encode()
    content |= {f"{_to_stem(table.name)}.csv": format_csv(table).encode() for table in tables}
    content |= {f"scores.{form}": data for form, data in draw_scores(summary).items()}
    for cross in summary.crosses:
        stem = _to_stem(f"cross_{cross.model}")
        content |= {f"{stem}.{form}": data for form, data in draw_cross(cross, summary).items()}
    make_folder(folder)
    with explain_write_errors(folder), FileLock(f"{folder}.lock"):  # two processes may end the same study at once
        remove_leftovers(folder)
        for name, data in content.items():
            write_bytes(folder / name, data)
        write_json(folder / "facts.json", summary.facts)
        write_json(folder / "summary.json", summary.to_json())  # last: where it is, the rest is
    return [folder / name for name in (*content, "facts.json", "summary.json")]


def _to_stem(name: str) -> str:
    return "".join(character if character.isalnum() or character in "._-" else "_" for character in name)


def format_report(summary: Summary) -> str:
    """The report as Markdown."""
    lines = [f"# Study {summary.name}", ""]
    for panel in summary.panels:
        lines += [f"**{_quote(panel.verdict)}**", "", *[f"- {_quote(line)}" for line in panel.evidence], ""]
    for table in build_tables(summary):
        lines += [f"## {table.title}", "", format_markdown(table)]
    lines += ["![scores with intervals](scores.png)", ""]
    for cross in summary.crosses:
        lines += [f"![cross-task matrix]({_to_stem(f'cross_{cross.model}')}.png)", ""]
    lines += ["## Notes", ""]
    lines += [f"- {_quote(note)}" for note in (*list_explanations(summary), *summary.warnings)]
    facts = {key: value for key, value in summary.facts.items() if key not in VOLATILE_FACTS}
    if facts:
        lines += ["", "## How this was made", "", *[f"- {key}: {_quote(value)}" for key, value in facts.items()]]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    return text.replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")


def print_report(summary: Summary, console: Console) -> None:
    """Print the answers, the tables, how to read them, and the facts."""
    console.print()
    for panel in summary.panels:
        console.print(Text(panel.verdict, style="bold"))
        for line in panel.evidence:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
    console.print()
    for table in build_tables(summary):
        for rich in build_rich_tables(table, console.width):
            console.print(rich)
    for line in list_explanations(summary):
        console.print(Text(line, style="dim"))
    for line in summary.warnings:
        console.print(Text(f"note: {line}", style="yellow"))
    if summary.facts:
        console.print(Text("; ".join(f"{key}: {value}" for key, value in summary.facts.items()), style="dim"))
