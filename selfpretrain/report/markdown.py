"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from selfpretrain.report.blocks import Block, Examples, Facts, Figure, Functions, Notes, Sentence, Table, Title, walk


def format_markdown(blocks: Sequence[Block]) -> str:
    """Plots are the PNG files beside it; what is for the page alone and facts that differ between equal studies are left out."""
    return "\n\n".join("\n".join(lines) for lines in walk(blocks, FUNCTIONS) if lines) + "\n"


def _format_table(table: Table) -> list[str]:
    if table.is_detail:
        return []
    rules = ["---" if index < table.num_text_columns else "---:" for index in range(len(table.header))]
    return [f"## {table.title}", "", _join(table.header), f"|{'|'.join(rules)}|", *map(_join, table.rows)]


def _join(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _list(lines: Iterable[str]) -> list[str]:
    return [f"- {_quote(line)}" for line in lines]


def _quote(text: str) -> str:
    return text.replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")


FUNCTIONS: Functions[list[str]] = {
    Title: lambda title: [f"# {title.text}"],
    Sentence: lambda sentence: [f"**{_quote(sentence.verdict)}**", "", *_list(sentence.evidence)],
    Table: _format_table,
    Figure: lambda figure: [f"![{figure.title}]({figure.name}.png)"] if figure.draw else [],
    Examples: lambda examples: ["## Examples", "", _quote(examples.place)],
    Notes: lambda notes: ["## Notes", "", *_list([*notes.explanations, *notes.warnings])],
    Facts: lambda facts: ["## How this was made", "", *(f"- {k}: {_quote(v)}" for k, v in facts.lasting.items())],
}
