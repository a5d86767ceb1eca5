"""Examples in the page: static HTML, a ``<details>`` each, that needs no script. All text of a data set is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from selfpretrain.numbers import format_counted, format_score
from selfpretrain.report.blocks import Examples
from selfpretrain.report.disagreements import Example, ExampleList, View

NONE = "-"
_PREVIEW = 90  # characters of the first text that are seen before an example is opened


def format_examples(block: Examples) -> str:
    """A section with a part for each list; parts carry data-model, data-task and data-conditions for filters."""
    parts = "\n".join(_format_list(each, number) for number, each in enumerate(block.lists, start=1))
    return (
        '<section class="examples" aria-labelledby="examples">\n<h2 id="examples">Examples</h2>\n'
        f"<p>Test examples on which two procedures are furthest apart. Open one for its text and for what every condition "
        f"says of it; the notes say how they were chosen. All of them: <code>{escape(block.name)}.csv</code>.</p>\n{parts}\n"
        "</section>"
    )


def _format_list(found: ExampleList, number: int) -> str:
    first, second = found.pair
    conditions = dict.fromkeys(view.condition for example in found.examples for view in example.views)
    apart = ""
    if found.num_apart is not None:
        apart = f" The two choose differently on {found.num_apart:,} of {found.num_examples:,} test examples."
    details = "\n".join(_format_example(example, place, found) for place, example in enumerate(found.examples, start=1))
    return (
        f'<section class="example-list" data-model="{escape(found.model)}" data-task="{escape(found.task)}" '
        f'data-conditions="{escape(" ".join(conditions))}" aria-labelledby="examples-{number}">\n'
        f'<h3 id="examples-{number}">{escape(found.task)} ({escape(found.metric)}), {escape(found.model)}: {escape(first)} and '
        f"{escape(second)}</h3>\n<p>Furthest apart by {escape(found.distance)}.{apart}</p>\n{details}\n</section>"
    )


def _format_example(example: Example, place: int, found: ExampleList) -> str:
    said = "; ".join(_say(view, found) for view in example.views if view.condition in found.pair)
    preview = example.texts[0] if example.texts else ""
    preview = preview if len(preview) <= _PREVIEW else f"{preview[:_PREVIEW].rstrip()}…"
    texts = "\n".join(f'<blockquote dir="auto">{escape(text)}</blockquote>' for text in example.texts)
    rows = "\n".join(_format_row(view, view.condition in found.pair) for view in example.views)
    return (
        f'<details class="example">\n<summary>{place}. <bdi>{escape(preview)}</bdi> <span class="said">true: '
        f"<bdi>{escape(example.label)}</bdi>; {said}; apart {format_score(example.distance)}</span></summary>\n{texts}\n"
        f"<table>\n<caption>true: <bdi>{escape(example.label)}</bdi> (example <bdi>{escape(example.id)}</bdi>)</caption>\n"
        f"<thead><tr>{_format_header(found)}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</details>"
    )


def _format_header(found: ExampleList) -> str:
    names: Sequence[str] = ("condition", found.of_label, "says", "probability of that", "runs right")
    return "".join(f'<th scope="col">{escape(name)}</th>' for name in names)


def _say(view: View, found: ExampleList) -> str:
    """own: Sports .83; of what has no probability, own: 3.2 (absolute error of the mean .41)"""
    numbers = f"({escape(found.of_label)} {format_score(view.of_label)})"
    if view.of_chosen is not None:
        numbers = format_score(view.of_chosen)
    return f"{escape(view.condition)}: <bdi>{escape(view.chosen)}</bdi> {numbers}"


def _format_row(view: View, is_of_pair: bool) -> str:
    right = NONE if view.num_right is None else f"{view.num_right} of {format_counted(view.num_runs, 'run')}"
    of_chosen = NONE if view.of_chosen is None else format_score(view.of_chosen)
    marked = ' class="of-pair"' if is_of_pair else ""
    return (
        f'<tr{marked} data-condition="{escape(view.condition)}"><th scope="row">{escape(view.condition)}</th>'
        f"<td>{format_score(view.of_label)}</td><td><bdi>{escape(view.chosen)}</bdi></td><td>{of_chosen}</td><td>{right}</td></tr>"
    )
