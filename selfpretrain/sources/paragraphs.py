"""Paragraphs joined to documents, and documents cut between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAX_DOCUMENT_BYTES = 20_000
RULE_VERSION = 1  # raised whenever the same source would give other documents


def cut_document(document: str, max_bytes: int) -> Iterator[str]:
    """Pieces of whole paragraphs (lines), each under ``max_bytes`` unless a single paragraph is longer."""
    yield from join_paragraphs(document.split("\n"), max_bytes, blank_ends=False)


def join_paragraphs(
    lines: Iterable[str], max_bytes: int = MAX_DOCUMENT_BYTES, blank_ends: bool = True
) -> Iterator[str]:
    """Runs of paragraphs, one per line, as documents of at most ``max_bytes`` (or one longer paragraph).

    An empty line ends a document if ``blank_ends``, and is left out either way.
    """
    paragraphs: list[str] = []
    size = 0
    for line in lines:
        paragraph = line.strip()
        length = len(paragraph.encode()) + 1
        ends = blank_ends if not paragraph else size + length > max_bytes
        if ends and paragraphs:
            yield "\n".join(paragraphs)
            paragraphs, size = [], 0
        if paragraph:
            paragraphs.append(paragraph)
            size += length
    if paragraphs:
        yield "\n".join(paragraphs)
