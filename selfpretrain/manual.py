"""Every setting as a line for the reader: ``selfpretrain settings [<section> ...]``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from selfpretrain.config import Limit, Settings, UserError, iter_settings
from selfpretrain.door import get_allowed


def print_settings(sections: Sequence[str]) -> None:
    """The settings of these sections (of all, if none is named): what is set, its type, what is allowed and its meaning."""
    known = {section.name: section.default_factory for section in dataclasses.fields(Settings)}
    for name in sections:
        if name not in known:
            raise UserError(f"{name!r} is no section of the settings; allowed: {', '.join(known)}")
    for name in sections or known:
        rows = [describe(*each) for each in iter_settings(Settings()) if each[0].partition(".")[0] == name]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f"{name}: {known[name].__doc__}" if len(rows) > 1 else name)
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def describe(key: str, field: dataclasses.Field[Any], value: Any) -> tuple[str, str, str]:
    """``<key>=<default>``, its type, and what is allowed and meant."""
    allowed = get_allowed(key, field)
    words = allowed.words if isinstance(allowed, Limit) else " | ".join(name or "null" for name in allowed or ())
    written = value if isinstance(value, str) else json.dumps(value)
    meaning = "; ".join(part for part in (words, field.metadata.get("help")) if part)
    return f"{key}={written}", str(field.type).replace("None", "null"), meaning
