"""Fingerprints that are worked out once: what they are of is known by its settings and its files' paths, sizes and times.

    <runs_dir>/fingerprints/<key>    the value as text

The key also holds the code of this package, so that a rule that was changed is never answered from memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from selfpretrain.files import make_folder, write_text
from selfpretrain.hashing import to_plain


def remember(runs_dir: str, parts: Sequence[Any], paths: Sequence[Path] | None, compute: Callable[[], str]) -> str:
    """What ``compute`` gives, from memory where it was asked for before.

    Args:
        parts: all settings it hangs on, as dataclasses, containers or text.
        paths: the files it reads; None where they are not known, which is never remembered.
    """
    key = compute_key(parts, paths)
    if key is None:
        return compute()
    file = Path(runs_dir) / "fingerprints" / key
    if not file.is_file():
        value = compute()
        make_folder(file.parent)
        write_text(file, value)
    return file.read_text(encoding="utf-8")


def compute_key(parts: Sequence[Any], paths: Sequence[Path] | None) -> str | None:
    """By which something is known that hangs on these settings and files; None where the files are not known."""
    if paths is None or not all(path.is_file() for path in paths):
        return None
    states = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    key = json.dumps([_hash_code(), [to_plain(part) for part in parts], states], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:24]


@cache
def _hash_code() -> str:
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
