"""What each kind of block becomes: HTML by templates that escape, and the section in which it stands."""

from __future__ import annotations

import functools
import shlex
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from selfpretrain.report.blocks import Examples, Facts, Figure, Functions, Notes, Sentence, Table, Title
from selfpretrain.report.page.examples import format_examples
from selfpretrain.report.page.sections import ANSWERS, EXAMPLES, MADE, NOTES, find_section
from selfpretrain.report.record_tables import SETTINGS

BEGIN, END = "<!--differs-->", "<!--/differs-->"  # around what differs between equal studies
OF_A_RUN = ("commit", "machine", "mixed")  # facts that equal studies need not share, as VOLATILE_FACTS
MOST_ON_PAPER = 60  # rows of a folded table; longer ones are not printed
OPEN = ("gaps", "leakage", "cost")  # folded tables that are shown at once while they are short enough for paper
NUM_STEPS = 9  # of colour in a matrix
FILTERS = {"model": "Models", "task": "Tasks", "condition": "Conditions"}  # columns of CSV files


class Part(NamedTuple):
    """What a block becomes, and where it stands."""

    section: str
    html: str
    rank: int = 0  # within the section: charts, tables, then what is folded up


@functools.cache
def open_templates() -> Environment:
    """The page's own; a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("selfpretrain.report.page", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    environment.globals |= {"step": _name_step, "is_folded": _is_folded, "most_on_paper": MOST_ON_PAPER, "opened": OPEN}
    return environment


def _render(macro: str, *arguments: Any) -> Markup:
    return Markup(getattr(open_templates().get_template("blocks.html").module, macro)(*arguments))


def _is_folded(table: Table) -> bool:
    """Its numbers stand in the matrix above it."""
    return table.name.startswith("cross_")


def _name_step(cell: dict[str, Any], is_diverging: bool) -> str:
    """The class of a cell's colour."""
    if "place" not in cell:
        return "none"
    return f"{'d' if is_diverging else 's'}{min(NUM_STEPS - 1, int(cell['place'] * NUM_STEPS))}"


@dataclass(frozen=True)
class Writer:
    """Writes the blocks of one page, of whose models, tasks and conditions a reader chooses some."""

    names: dict[str, list[str]]  # by the keys of FILTERS

    @property
    def functions(self) -> Functions[Part]:
        return {
            Title: lambda title: Part(ANSWERS, ""),  # stands at the head of the page
            Sentence: lambda sentence: Part(ANSWERS, _render("sentence", sentence, self.list_places)),
            Table: self.write_table,
            Figure: self.write_figure,
            Examples: lambda examples: Part(EXAMPLES, format_examples(examples, self.list_places)),
            Notes: lambda notes: Part(NOTES, _render("notes", notes)),
            Facts: self.write_facts,
        }

    def list_places(self, names: dict[str, str]) -> Markup:
        """Attributes data-m, data-t, data-c: the places, among all, of the models, tasks and conditions that an element is of
        (joined by commas); none where it is of all, or of another that no filter knows.
        """
        attributes = []
        for key, text in names.items():
            known = {name: place for place, name in enumerate(self.names[key])}
            given = {name.partition("@")[0] if key == "task" else name for name in text.split(", ")}
            if given <= known.keys() and len(given) < len(known):
                attributes.append(f' data-{key[0]}="{" ".join(str(known[name]) for name in sorted(given))}"')
        return Markup("".join(attributes))

    def write_figure(self, figure: Figure) -> Part:
        section = find_section(figure.name)
        if figure.data is None:
            return Part(section, "")
        data = figure.data()
        if data["kind"] == "matrix":
            return Part(section, _render("matrix", figure, data, self.list_places))
        heading = figure.title[:1].upper() + figure.title[1:]
        return Part(section, _render("chart", figure, heading, data["note"]) if data["panels"] else "")

    def write_table(self, table: Table) -> Part:
        if table.name == SETTINGS:  # to be copied
            lines = "\n".join(shlex.quote("=".join(row)) for row in table.rows)
            return Part(
                MADE, _render("folded", table, _render("copyable", table.name, "as a command has them", lines)), 2
            )
        found: list[dict[str, str]] = [{} for _ in table.rows]
        if len(table.rows) == len(table.csv_rows):
            columns = {key: table.csv_header.index(key) for key in FILTERS if key in table.csv_header}
            found = [{key: row[column] for key, column in columns.items()} for row in table.csv_rows]
        names = {"model": table.csv_rows[0][0]} if _is_folded(table) else {}
        html = _render("table", table, list(zip(table.rows, found, strict=True)), names, self.list_places)
        rank = 1 + (table.is_detail or _is_folded(table))
        return Part(find_section(table.name), f"{BEGIN}{html}{END}" if table.differs else html, rank)

    def write_facts(self, facts: Facts) -> Part:
        command = facts.lasting.get("command")
        others = [(name, fact) for name, fact in facts.facts.items() if name != "command"]
        is_lasting = [name in facts.lasting and name not in OF_A_RUN for name, _ in others]
        lasting = [pair for pair, lasts in zip(others, is_lasting, strict=True) if lasts]
        differing = [pair for pair, lasts in zip(others, is_lasting, strict=True) if not lasts]
        html = _render("copyable", "command", "the command", command) if command else ""
        html += _render("facts", lasting) if lasting else ""
        used = [f"{each.kind}: {each.what}" + f" ({each.source})" * bool(each.source) for each in facts.citations]
        html += _render("used", used) if used else ""
        return Part(MADE, str(html) + (f"{BEGIN}{_render('facts', differing)}{END}" if differing else ""))
