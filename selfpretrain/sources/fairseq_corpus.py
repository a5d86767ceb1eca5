"""Text that fairseq-preprocess made into token files, as text again: ``corpus=fairseq corpus.path=<folder>``.

A folder has train.bin, train.idx, dict.txt and GPT-2's encoder.json and vocab.bpe; of a corpus in several folders the path
has all, with colons between, as fairseq is given them, and the vocabulary's files lie in the first. A sequence is a
paragraph, an empty one ends a document. Byte-level BPE loses nothing: what comes out is the text that went in, but for
tokens that the dictionary lacked (U+FFFD) and white space at the ends of a paragraph.

[fairseq 0.12.2, fairseq_cli/preprocess.py, data/indexed_dataset.py, data/encoders/gpt2_bpe_utils.py]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.files import compute_checksum
from selfpretrain.sources.cache import remember
from selfpretrain.sources.fairseq_files import DICTIONARY, FIRST, MASK, PIECES, read_pieces
from selfpretrain.sources.indexed import read_index
from selfpretrain.sources.paragraphs import RULE_VERSION, join_paragraphs

TOKENS, INDEX = "train.bin", "train.idx"
UNKNOWN = "\ufffd".encode()
SEQUENCES_AT_ONCE = 10_000


def iter_fairseq_text(path: str) -> Iterator[str]:
    """The documents of all folders, in order; UserError, in one line, for files that are missing, cut or another's."""
    folders = list_folders(path)
    pieces = decode_pieces(read_pieces(folders[0]))
    for folder in folders:
        yield from join_paragraphs(_iter_lines(folder, pieces))


def compute_fairseq_fingerprint(path: str, runs_dir: str) -> str:
    """SHA-256 (hex) of the files."""
    folders = list_folders(path)
    files = [
        folders[0] / DICTIONARY,
        folders[0] / PIECES,
        *(folder / name for folder in folders for name in (TOKENS, INDEX)),
    ]
    sums = [remember(runs_dir, ["file"], [file], partial(compute_checksum, file, "sha256")) for file in files]
    return hashlib.sha256(json.dumps(["fairseq", RULE_VERSION, sums]).encode()).hexdigest()


def list_folders(path: str) -> list[Path]:
    """The folders of a path, each with its token files, the first with the vocabulary's."""
    folders = [Path(part) for part in path.split(":")]
    for folder in folders:
        for name in (TOKENS, INDEX, *((DICTIONARY, PIECES) if folder == folders[0] else ())):
            if not (folder / name).is_file():
                raise UserError(
                    f"corpus.path={path}: {folder} has no {name}; give folders of fairseq-preprocess, <folder>:<folder>"
                )
    return folders


def decode_pieces(pieces: list[str]) -> list[bytes]:
    """The bytes of each id: none of special ones, U+FFFD of the unknown one."""
    table = {symbol: byte for byte, symbol in _list_symbols().items()}
    special = dict.fromkeys((*FIRST, MASK), b"") | {"<unk>": UNKNOWN}
    return [
        special[piece] if piece in special else bytes(table[symbol] for symbol in piece if symbol in table)
        for piece in pieces
    ]


def _list_symbols() -> dict[int, str]:
    """Byte -> the character that GPT-2 writes it as: itself where it is printed, else one from 256 on, in order."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: chr(byte) for byte in printed} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def _iter_lines(folder: Path, pieces: list[bytes]) -> Iterator[str]:
    """A folder's sequences as text."""
    try:
        sizes, dtype = read_index(folder / INDEX)
    except ValueError as error:
        raise UserError(f"{folder / INDEX} is damaged ({error}); run fairseq-preprocess again") from None
    total, width = int(sizes.sum(dtype=np.int64)), np.dtype(dtype).itemsize
    if (folder / TOKENS).stat().st_size != total * width:
        raise UserError(f"{folder / TOKENS} is damaged (its length differs from {INDEX}); run fairseq-preprocess again")
    tokens, start = np.memmap(folder / TOKENS, dtype=dtype, mode="r", shape=(total,)), 0
    for first in range(0, len(sizes), SEQUENCES_AT_ONCE):
        some = sizes[first : first + SEQUENCES_AT_ONCE]
        ids = tokens[start : start + int(some.sum(dtype=np.int64))].tolist()
        start += len(ids)
        if ids and max(ids) >= len(pieces):
            raise UserError(
                f"{folder / TOKENS} has the token {max(ids)}, its {DICTIONARY} makes {len(pieces)}; give the dictionary it was "
                "made with"
            )
        place = 0
        for size in some.tolist():
            yield b"".join(map(pieces.__getitem__, ids[place : place + size])).decode(errors="replace")
            place += size
