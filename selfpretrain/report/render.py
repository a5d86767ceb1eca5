"""A table as Markdown, CSV, LaTeX and for the terminal, all from the same rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from rich.table import Table as RichTable
from rich.text import Text

from selfpretrain.report.tables import Table

WIDE_ENOUGH = 96  # columns that the one-line form of the widest usual table needs

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
}


def format_markdown(table: Table) -> str:
    rules = ["---" if index < table.num_text_columns else "---:" for index in range(len(table.header))]
    lines = [_join_markdown(table.header), "|" + "|".join(rules) + "|", *[_join_markdown(row) for row in table.rows]]
    return "\n".join(lines) + "\n"


def _join_markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def format_csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.csv_header)
    writer.writerows(table.csv_rows)
    return buffer.getvalue()


def format_latex(table: Table) -> str:
    """A table environment for the package booktabs."""
    columns = "l" * table.num_text_columns + "r" * (len(table.header) - table.num_text_columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _join_latex(table.header),
        r"\midrule",
    ]
    previous: tuple[str, ...] | None = None
    for row in table.rows:
        group = row[: table.num_group_columns]
        if previous is not None and table.num_group_columns > 1 and group != previous:
            lines.append(r"\midrule")
        lines.append(_join_latex(row))
        previous = group
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _join_latex(cells: Sequence[str]) -> str:
    # a leading [ would be read as the optional argument of the \\ before it
    return " & ".join(("{}" if cell.startswith("[") else "") + escape_latex(cell) for cell in cells) + r" \\"


def escape_latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w.-])([-+])(?=[.\d])", r"$\1$", escaped)


def build_rich_tables(table: Table, width: int) -> list[RichTable]:
    """The table for a terminal: one per group, intervals on a second line where the terminal is narrow."""
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in table.rows:
        groups.setdefault(row[: table.num_group_columns], []).append(row[table.num_group_columns :])
    narrow = width < WIDE_ENOUGH
    built = []
    for index, (group, rows) in enumerate(groups.items()):
        title = table.title if not group else ", ".join(reversed(group)) if table.num_group_columns > 1 else None
        if table.num_group_columns == 1:
            title = f"{table.title}: {group[0]}" if index == 0 else group[0]
        built.append(
            _build_rich(
                title,
                table.header[table.num_group_columns :],
                rows,
                narrow,
                table.num_text_columns - table.num_group_columns,
            )
        )
    return built


def _build_rich(
    title: str | None, header: Sequence[str], rows: Sequence[Sequence[str]], narrow: bool, num_text_columns: int
) -> RichTable:
    rich = RichTable(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 0 if narrow else 1),
    )
    for index, name in enumerate(header):
        rich.add_column(Text(name), justify="left" if index < num_text_columns else "right", overflow="fold")
    for row in rows:
        rich.add_row(*[Text(re.sub(r" (?=[\[(])", "\n", cell) if narrow else cell) for cell in row])
    return rich
