"""Examples in the page: static HTML, a ``<details>`` each, that needs no script. All text of a data set is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape

from selfpretrain.numbers import format_counted, format_score
from selfpretrain.report.blocks import Examples
from selfpretrain.report.disagreements import Example, ExampleList, View

NONE = "-"
Mark = Callable[[dict[str, str]], str]
_PREVIEW = 90  # characters of the first text that are seen before an example is opened


def format_examples(block: Examples, mark: Mark) -> str:
    """What stands in the page's section of them: a part for each list under a heading of the third level.

    ``mark`` gives the attributes by which the page's filters go, of the models, tasks and conditions that a part or row is of.
    """
    intro = (
        "<p>Test examples on which two procedures are furthest apart. Open one for its text and for what every condition "
        f"says of it; the notes say how they were chosen. All of them: <code>{escape(block.name)}.csv</code>.</p>"
    )
    parts = (_format_list(each, number, mark) for number, each in enumerate(block.lists, start=1))
    return "\n".join([intro, *parts])


def _format_list(found: ExampleList, number: int, mark: Mark) -> str:
    first, second = found.pair
    apart = ""
    if found.num_apart is not None:
        apart = f" The two choose differently on {found.num_apart:,} of {found.num_examples:,} test examples."
    details = "\n".join(
        _format_example(example, place, found, mark) for place, example in enumerate(found.examples, start=1)
    )
    return (
        f'<div class="examples"{mark({"model": found.model, "task": found.task, "condition": ", ".join(found.pair)})}>\n'
        f"<h3>{_isolate(found.task)} ({escape(found.metric)}), {_isolate(found.model)}: {_isolate(first)} and "
        f"{_isolate(second)}</h3>\n<p>Furthest apart by {escape(found.distance)}.{apart}</p>\n{details}\n</div>"
    )


def _format_example(example: Example, place: int, found: ExampleList, mark: Mark) -> str:
    said = "; ".join(_say(view, found) for view in example.views if view.condition in found.pair)
    preview = example.texts[0] if example.texts else ""
    preview = preview if len(preview) <= _PREVIEW else f"{preview[:_PREVIEW].rstrip()}…"
    texts = "\n".join(f'<blockquote dir="auto">{escape(text)}</blockquote>' for text in example.texts)
    rows = "\n".join(_format_row(view, mark) for view in example.views)
    names = ("condition", "it says", "probability of that", found.of_label, "runs that are right")
    name = f"What each condition says of example {example.id}"
    header = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return (
        f'<details class="detail">\n<summary>{place}. {_isolate(preview)} <small>true: {_isolate(example.label)}; {said}; '
        f"distance {format_score(example.distance)}</small></summary>\n{texts}\n"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table>\n<caption>{_isolate(name)}</caption>\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>\n</details>"
    )


def _say(view: View, found: ExampleList) -> str:
    """own: Sports .83; of what has no probability, own: 3.2 (absolute error of the mean .41)"""
    numbers = f"({escape(found.of_label)} {format_score(view.of_label)})"
    if view.of_chosen is not None:
        numbers = format_score(view.of_chosen)
    return f"{_isolate(view.condition)}: {_isolate(view.chosen)} {numbers}"


def _format_row(view: View, mark: Mark) -> str:
    right = NONE if view.num_right is None else f"{view.num_right} of {format_counted(view.num_runs, 'run')}"
    of_chosen = NONE if view.of_chosen is None else format_score(view.of_chosen)
    cells = _join_cells([of_chosen, format_score(view.of_label), right])
    return (
        f'<tr{mark({"condition": view.condition})}><th scope="row">{_isolate(view.condition)}</th>'
        f"<td>{_isolate(view.chosen)}</td>{cells}</tr>"
    )


def _join_cells(numbers: Iterable[str]) -> str:
    return "".join(f'<td class="n">{escape(number)}</td>' for number in numbers)


def _isolate(text: str) -> str:
    """Text of a data set, or a name: whatever its direction of writing, what stands around it keeps its own."""
    return f"<bdi>{escape(text)}</bdi>"
