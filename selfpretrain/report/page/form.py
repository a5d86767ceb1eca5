"""From blocks to a page: everything in one file.

Tables and verdicts are plain HTML, so that the page reads and prints without its script; charts are data for the script.
What differs between equal studies (times, machines, the commit) stands between marks, and all other bytes are equal.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from markupsafe import Markup

from selfpretrain.report.blocks import Block, Figure, Title, walk
from selfpretrain.report.charts import list_colours, list_names
from selfpretrain.report.page.colours import write_colours
from selfpretrain.report.page.parts import BEGIN, END, FILTERS, Part, Writer, open_templates
from selfpretrain.report.page.sections import SECTIONS
from selfpretrain.report.page.vendor import LIBRARIES, read_library

SCRIPTS = ("charts.js", "page.js")  # the second starts what the first draws
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Section:
    """Of the page, with what stands in it."""

    name: str
    title: str
    parts: list[Markup]


def format_page(blocks: Sequence[Block]) -> str:
    """The whole file. Equal blocks give equal bytes, and so do equal studies but for what :func:`cut_differing` cuts."""
    blocks = [_hold(block) for block in blocks]
    charts = {block.name: block.data() for block in blocks if isinstance(block, Figure) and block.data}
    names = _list_names(charts.values())
    drawn = {name: data for name, data in charts.items() if data["kind"] != "matrix"}
    data = {"charts": drawn, "names": names, "titles": {b.name: b.title for b in blocks if isinstance(b, Figure)}}
    style = _read("page.css") + write_colours(list_colours(names["condition"]))
    scripts = [*(read_library(library) for library in LIBRARIES), *map(_read, SCRIPTS)]
    text = open_templates().get_template("page.html").render(
        title=next((block.text for block in blocks if isinstance(block, Title)), "Study"),
        policy=_write_policy(style, scripts),
        style=Markup(style),
        scripts=list(map(Markup, scripts)),
        data=Markup(_write_data(data)),
        filters=[(key, title, names[key]) for key, title in FILTERS.items() if len(names[key]) > 1],
        sections=_group(walk(blocks, Writer(names).functions)),
        libraries=" and ".join(f"{each.name} {each.version}" for each in LIBRARIES),
    )  # fmt: skip
    return text + "\n"


def cut_differing(page: str) -> str:
    """The page without what differs between equal studies."""
    return re.sub(f"{BEGIN}.*?{END}", "", page, flags=re.DOTALL)


def _hold(block: Block) -> Block:
    """A figure with its data worked out once."""
    if not isinstance(block, Figure) or block.data is None:
        return block
    data = block.data()
    return dataclasses.replace(block, data=lambda: data)


def _group(parts: Iterable[Part]) -> list[Section]:
    by_section: dict[str, list[Markup]] = {name: [] for name in SECTIONS}
    for part in sorted(parts, key=lambda part: part.rank):
        if part.html:
            by_section[part.section].append(Markup(part.html))
    return [Section(name, SECTIONS[name], found) for name, found in by_section.items() if found]


def _list_names(charts: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """What there is to choose among: models, tasks and conditions, in the order of the charts."""
    found: dict[str, dict[str, None]] = {key: {} for key in FILTERS}
    for data in charts:
        for key, names in zip(FILTERS, list_names(data), strict=True):
            found[key] |= dict.fromkeys(names)
    found["task"] = dict.fromkeys(name.partition("@")[0] for name in found["task"])
    return {key: list(names) for key, names in found.items()}


def _write_data(data: dict[str, Any]) -> str:
    """JSON that no parser of HTML takes for a tag, and none of scripts for a line's end."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def _write_policy(style: str, scripts: Sequence[str]) -> str:
    """Only what the page holds itself may run, and nothing may be loaded."""
    hashes = " ".join(map(_hash, scripts))
    rules = f"script-src {hashes}; style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; {rules}"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (resources.files("selfpretrain.report.page") / name).read_text(encoding="utf-8")
