"""Text collections as a stream of documents: from the mirror, from the hub, or the docs suite.

A document is never longer than about ``MAX_DOCUMENT_BYTES``: books and long articles are cut between
paragraphs, so that a slice of a collection can be spread over all of it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from selfpretrain.config import TextCard, UserError
from selfpretrain.files import compute_checksum
from selfpretrain.sources import hub
from selfpretrain.sources.cache import remember
from selfpretrain.sources.paragraphs import MAX_DOCUMENT_BYTES, RULE_VERSION, cut_document, join_paragraphs


def iter_text(card: TextCard, runs_dir: str) -> Iterator[str]:
    """The documents of a collection in a fixed order; paragraphs are joined by a newline."""
    if card.loader == "docs":
        from selfpretrain.sources.docs import iter_docs_text

        yield from iter_docs_text(runs_dir)
    elif paths := _find_mirror_files(card):
        for path in paths:
            yield from join_paragraphs(_iter_lines(path))
    else:
        for part in card.parts:
            yield from _iter_hub_part(part)


def compute_text_fingerprint(card: TextCard, runs_dir: str) -> str:
    """SHA-256 (hex) of the files of the mirror, or of the hub's ids and the commits they resolve to."""
    if card.loader == "docs":
        from selfpretrain.sources.docs import compute_docs_fingerprint

        return compute_docs_fingerprint()
    files = _find_mirror_files(card)
    sources = [remember(runs_dir, ["file"], [path], partial(compute_checksum, path, "sha256")) for path in files]
    sources = sources or [_resolve_part(part) for part in card.parts]
    return hashlib.sha256(json.dumps([card.name, card.version, RULE_VERSION, sources]).encode()).hexdigest()


def _find_mirror_files(card: TextCard) -> list[Path]:
    """The mirror's files; none where there is no mirror or it has none of them, UserError where some are missing."""
    mirror = hub.find_mirror()
    if mirror is None:
        return []
    paths = [mirror / name for name in card.mirror]
    missing = [path for path in paths if not path.is_file()]
    if 0 < len(missing) < len(paths):
        raise UserError(
            f"text collection {card.name}: {missing[0]} is missing beside its other files; "
            f"add it, or unset SELFPRETRAIN_DATA to read the hub"
        )
    return [] if missing else paths


def _iter_lines(path: Path) -> Iterator[str]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                number += 1
                yield line
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 after line {number}: {error.reason}; save the file as UTF-8") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path} is damaged after line {number}: {error}; copy the file again") from error


def _iter_hub_part(part: dict[str, Any]) -> Iterator[str]:
    """One part of a card: ``rows: documents`` (an article each) or ``rows: lines`` (a sentence each, no book ids)."""
    paths = hub.fetch_files(part["hub_id"], part.get("hub_config"), part.get("revision"), part["split"])
    rows = chain.from_iterable(hub.iter_column(path, part["column"]) for path in paths)
    if part.get("rows", "documents") == "lines":
        yield from join_paragraphs(rows, blank_ends=False)
    else:
        for text in rows:
            yield from cut_document(text, MAX_DOCUMENT_BYTES)


def _resolve_part(part: dict[str, Any]) -> str:
    commit = hub.resolve_files(part["hub_id"], part.get("hub_config"), part.get("revision"), part["split"])
    return json.dumps({**part, "revision": commit}, sort_keys=True)
