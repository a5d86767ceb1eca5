"""The report in a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import chain, groupby

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from selfpretrain.report.blocks import Block, Examples, Facts, Figure, Functions, Notes, Sentence, Table, Title, walk

WIDE_ENOUGH = 96  # columns that the one-line form of the widest usual table needs


def print_report(blocks: Sequence[Block], console: Console) -> None:
    """Print the answers, the tables, how to read them, and the facts."""
    functions: Functions[list[RenderableType]] = {
        Title: lambda title: [""],
        Sentence: lambda sentence: [
            Text(sentence.verdict, style="bold"),
            *(Padding(Text(line), (0, 0, 0, 2)) for line in sentence.evidence),
        ],
        Table: partial(_show_table, width=console.width),
        Figure: lambda figure: [],
        Examples: lambda examples: [Text(examples.place, style="dim")],
        Notes: lambda notes: [
            *(Text(line, style="dim") for line in notes.explanations),
            *(Text(f"note: {line}", style="yellow") for line in notes.warnings),
        ],
        Facts: lambda facts: [Text("; ".join(map(": ".join, facts.facts.items())), style="dim")],
    }
    for kind, group in groupby(blocks, key=type):
        for renderable in chain.from_iterable(walk(group, functions)):
            console.print(renderable)
        if kind is Sentence:
            console.print()


def _show_table(table: Table, width: int) -> list[RenderableType]:
    """One per group; intervals stand on a second line where the terminal is narrow."""
    if table.is_detail:
        return []
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in table.rows:
        groups.setdefault(row[: table.num_group_columns], []).append(row[table.num_group_columns :])
    titles = [", ".join(filter(None, [*reversed(group), table.remark])) for group in groups]
    if table.num_group_columns < 2:  # one table in parts: its title stands over the first
        titles = [": ".join([table.title, *group] if place == 0 else group) for place, group in enumerate(groups)]
    parts = zip(titles, groups.values(), strict=True)
    return [_build_part(table, title, rows, width < WIDE_ENOUGH) for title, rows in parts]


def _build_part(table: Table, title: str, rows: Sequence[Sequence[str]], is_narrow: bool) -> RichTable:
    part = RichTable(
        title=Text(title), title_justify="left", title_style="bold", pad_edge=False, padding=(0, 0 if is_narrow else 1)
    )
    for index, name in enumerate(table.header[table.num_group_columns :], start=table.num_group_columns):
        part.add_column(Text(name), justify="left" if index < table.num_text_columns else "right", overflow="fold")
    for row in rows:
        part.add_row(*[Text(re.sub(r" (?=[\[(])", "\n", cell) if is_narrow else cell) for cell in row])
    return part
