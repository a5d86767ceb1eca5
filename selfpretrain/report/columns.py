"""What the tables of a report are made of: columns, and how they are filled as text and as bare numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from itertools import chain

from selfpretrain.numbers import choose_digits, format_p
from selfpretrain.report.comparisons import UNITS, Difference, Interval
from selfpretrain.report.findings import (
    PARTIAL,
    Calibration,
    CrossCell,
    Ensemble,
    Entry,
    PairedDifference,
    Panel,
    PublishedScore,
    Summary,
)

NOT_APPLICABLE = "-"
NA = "NA"  # likewise in CSV


@dataclass(frozen=True)
class Number:
    """What a cell shows, for an output that chooses the digits by itself."""

    value: float
    interval: Interval | None  # shown behind it
    unit: str  # of comparisons.UNITS
    digits: int  # that its interval and test set deserve
    mark: str = ""  # behind all


class Measured(str):
    """A number as text, as every output may take it, that knows what it is made of."""

    number: Number

    def __new__(cls, text: str, number: Number) -> Measured:
        made = super().__new__(cls, text)
        made.number = number
        return made

    def __reduce__(self) -> tuple[type[Measured], tuple[str, Number]]:  # for copies
        return Measured, (str(self), self.number)


def measure(interval: Interval, unit: str = "score", num_examples: int | None = None, mark: str = "") -> Measured:
    """A number with its interval in brackets, of so many test examples."""
    digits = choose_digits((interval.high - interval.low) / 2, num_examples)
    return Measured(interval.format(unit) + mark, Number(interval.point, interval, unit, digits, mark))


def measure_alone(
    value: float, interval: Interval | None, unit: str = "score", num_examples: int | None = None
) -> Measured:
    """A number without brackets, whose digits are by an interval that stands elsewhere."""
    width = interval.high - interval.low if interval else 0.0
    return Measured(UNITS[unit](value), Number(value, None, unit, choose_digits(width / 2, num_examples)))


@dataclass(frozen=True)
class Table:
    """Formatted cells, and the same rows as bare numbers for CSV."""

    name: str  # stem of the files
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int  # from the left: text; the others are right-aligned
    num_group_columns: int  # from the left: equal cells here make one group in the terminal
    csv_header: tuple[str, ...]
    csv_rows: tuple[tuple[str, ...], ...]
    remark: str = ""  # of the title's end, what parts of the table that stand by themselves have to say, too
    is_detail: bool = False  # for the page and a CSV file alone
    differs: bool = False  # between equal studies: it tells of times and machines
    notes: tuple[str, ...] = ()  # how to read a detail table; for others that stands among the report's notes


# one column's text, then its values in the columns of the CSV file that it is made of
Cell = tuple[str, ...]


def build_table(
    name: str, title: str, columns: dict[str, Cell], rows: list[list[Cell]], num_columns: tuple[int, int]
) -> Table:
    """A table of columns, each given with its columns in the CSV file; how many hold text, and how many make a group."""
    texts = tuple(tuple(cell[0] for cell in row) for row in rows)
    values = tuple(tuple(chain.from_iterable(cell[1:] for cell in row)) for row in rows)
    return Table(name, title, tuple(columns), texts, *num_columns, tuple(chain.from_iterable(columns.values())), values)


def count_examples(summary: Summary) -> dict[tuple[str, str], int]:
    """Test examples by model and task."""
    return {(panel.model, panel.task): panel.num_examples for panel in summary.panels}


def name_interval(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


PANEL = {"model": ("model",), "task": ("task", "metric")}
CONDITION = {"condition": ("condition", "state")}
P_VALUE = {"p": ("p", "p_holm", "scope")}
BENEFIT = {"Benefit %": ("benefit_percent", "benefit_low", "benefit_high")}


def fill_panel(panel: Panel | Ensemble | Calibration | PublishedScore | PairedDifference) -> tuple[Cell, Cell]:
    return (panel.model, panel.model), (f"{panel.task} ({panel.metric})", panel.task, panel.metric)


def fill_score(entry: Entry, num_examples: int) -> Cell:
    if entry.score is None:
        return entry.state_text, entry.state_text, NA, NA
    return fill_number(entry.score, num_examples)


def fill_number(interval: Interval, num_examples: int | None = None, unit: str = "score") -> Cell:
    return measure(interval, unit, num_examples), *list_interval(interval)


def fill_point(entry: Entry, num_examples: int) -> Cell:
    if entry.score is None:
        return entry.state_text, entry.state_text
    return measure_alone(entry.score.point, entry.score, "score", num_examples), repr(entry.score.point)


def fill_point_gain(entry: Entry, num_examples: int) -> Cell:
    if entry.gain is None:
        return NOT_APPLICABLE if entry.score else entry.state_text, NA
    delta = entry.gain.delta
    return measure_alone(delta.point, delta, "gain", num_examples), repr(delta.point)


def fill_difference(difference: Difference | None, num_examples: int | None = None) -> tuple[Cell, Cell]:
    """It, and its p."""
    if difference is None:
        return (NOT_APPLICABLE, NA, NA, NA), (NOT_APPLICABLE, NA, NA, NA)
    scope = "conditional on a checkpoint" if difference.is_conditional else "procedures"
    if difference.is_of_checkpoints:
        scope = "checkpoints"
    p = "these checkpoints only" if difference.p_holm is None else format_p(difference.p_holm)
    return fill_number(difference.delta, num_examples, "gain"), (
        p,
        write_number(difference.p),
        write_number(difference.p_holm),
        scope,
    )


def fill_benefit(entry: Entry, summary: Summary) -> Cell:
    text = "undefined" if entry.benefit_undefined else NOT_APPLICABLE
    if entry.condition == summary.reference and entry.gain:
        text = "100" if entry.gain.delta.low > 0 else "undefined"
    elif entry.benefit:
        text = measure(entry.benefit, "benefit")
    return text, *list_interval(entry.benefit)


def fill_seeds(entry: Entry) -> Cell:
    """3; 2 of 3 where some are missing; 3 x 2 with two runs of each; 1 x 5 of one released checkpoint."""
    text = str(entry.num_seeds)
    if entry.num_seeds != entry.num_seeds_planned or entry.state == PARTIAL:
        text = f"{entry.num_seeds} of {entry.num_seeds_planned}"
    if entry.about.is_released:
        text = f"1 x {text}"
    elif entry.num_runs > entry.num_seeds:
        text += f" x {_count_each(entry)}"
    counts = (entry.num_seeds, entry.num_seeds_planned, entry.num_runs, entry.num_runs_planned)
    return text, *map(str, counts)


def _count_each(entry: Entry) -> str:
    """Runs per seed: 2, or 1-2 where some are missing."""
    counts = Counter(entry.seeds).values()
    return "-".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else str(entry.num_runs)


def fill_counted(counted: tuple[int, int] | None) -> Cell:
    """4 of 7"""
    return (NOT_APPLICABLE, NA, NA) if counted is None else (f"{counted[0]} of {counted[1]}", *map(str, counted))


def fill_cross(cell: CrossCell, unit: str, num_examples: int | None) -> Cell:
    if cell.value is None:
        return cell.text or "100", cell.text or "100", NA, NA, write_number(cell.p_holm)
    return *fill_number(cell.value, num_examples, unit), write_number(cell.p_holm)


def list_interval(interval: Interval | None) -> tuple[str, ...]:
    return (NA, NA, NA) if interval is None else tuple(map(repr, dataclasses.astuple(interval)))


def write_number(number: float | None) -> str:
    return NA if number is None else repr(number)
