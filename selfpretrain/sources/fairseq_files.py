"""fairseq's files: which one is the checkpoint, and the vocabulary beside it.

    model.pt       weights and settings; of a training checkpoint_best.pt or checkpoint_last.pt
    dict.txt       an entry and its count per line; <s> <pad> </s> <unk> stand before the first, <mask> after the last
    encoder.json   GPT-2's number of each piece; where an entry of dict.txt is a number, it is one of these
    vocab.bpe      the merges in order, below a line with the version

[fairseq 0.12.2, data/dictionary.py, data/encoders/gpt2_bpe_utils.py, tasks/masked_lm.py]
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from selfpretrain.config import UserError
from selfpretrain.files import read_json, write_text

DICTIONARY, PIECES, MERGES = "dict.txt", "encoder.json", "vocab.bpe"
FIRST = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0..3
MASK = "<mask>"
LAST = "checkpoint_last.pt"  # what a training goes on from
CHECKPOINTS = ("model.pt", "checkpoint_best.pt", LAST)  # of a folder, the first that is there
COPY = f"copy GPT-2's {PIECES} and {MERGES}, as fairseq was given them, there"
UNUSED = "madeupword"  # beginning of the entries that fill a dictionary up
OVERWRITE = "#fairseq:overwrite"  # of a line that may repeat one of the first four


def find_checkpoint(path: str) -> Path:
    """The file of ``init=fairseq:<path>``: itself, or that of a folder; UserError where there is none."""
    given = Path(path)
    found = [given / name for name in CHECKPOINTS if (given / name).is_file()] if given.is_dir() else [given]
    if not found or not found[0].is_file():
        raise UserError(
            f"init=fairseq:{path} holds no checkpoint; give a file, or a folder with {' or '.join(CHECKPOINTS)}"
        )
    return found[0]


def find_dictionary(path: str) -> Path:
    """The dictionary beside the checkpoint that ``init=fairseq:<path>`` names."""
    return find_checkpoint(path).parent / DICTIONARY


def read_dictionary(file: Path) -> list[str]:
    """The entries by id, the four first ones and ``<mask>`` among them; UserError for what fairseq would not read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{file} is missing or no text; put the dictionary of the checkpoint or corpus there") from None
    entries = list(FIRST)
    for number, line in enumerate(lines, 1):
        entry, _, count = line.removesuffix(f" {OVERWRITE}").rpartition(" ")
        if not entry or not count.lstrip("-").isdigit():
            raise UserError(f"{file}, line {number}: {line[:40]!r} is not an entry and its count; copy the file again")
        entries.append(entry)
    repeated = [entry for entry, times in Counter(entries).items() if times > 1]
    if repeated:
        raise UserError(f"{file}: the entry {repeated[0]!r} stands there twice; copy the file again")
    return entries if MASK in entries else [*entries, MASK]


def read_pieces(folder: Path) -> list[str]:
    """The pieces by id, of a folder with dict.txt and encoder.json; UserError where one is missing or damaged."""
    entries = read_dictionary(folder / DICTIONARY)
    if not (folder / PIECES).is_file():
        raise UserError(f"{folder} holds {DICTIONARY} without {PIECES}; {COPY}")
    try:
        pieces = {str(number): str(piece) for piece, number in dict(read_json(folder / PIECES)).items()}
    except (ValueError, TypeError, OSError):
        raise UserError(f"{folder / PIECES} is damaged; {COPY}") from None
    ordinary = [entry for entry in entries if entry not in (*FIRST, MASK) and not entry.startswith(UNUSED)]
    if all(entry in pieces for entry in ordinary):  # else they are the pieces themselves, digits among them
        entries = [pieces.get(entry, entry) for entry in entries]
    if len(set(entries)) < len(entries):
        raise UserError(f"{folder / DICTIONARY}: two entries are one piece of {PIECES}; {COPY}")
    return entries


def read_bpe(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The pieces with their ids, and the merges, of a folder with the three files.

    Raises UserError where a file is missing or damaged, or the dictionary lacks pieces that the merges make: a text
    would then be cut otherwise than fairseq cuts it.
    """
    vocabulary = {piece: number for number, piece in enumerate(read_pieces(folder))}
    if not (folder / MERGES).is_file():
        raise UserError(f"{folder} holds {DICTIONARY} without {MERGES}; {COPY}")
    try:
        version, *lines = (folder / MERGES).read_text(encoding="utf-8").split("\n")
        merges = [(first, second) for first, second in (line.split(" ") for line in lines if line)]
        if not version.startswith("#version"):
            raise ValueError(version)
    except ValueError:
        raise UserError(f"{folder / MERGES} is damaged; {COPY}") from None
    wanted = dict.fromkeys(part for pair in merges for part in (*pair, "".join(pair)))
    lacking = [piece for piece in wanted if piece not in vocabulary]
    if lacking:
        raise UserError(
            f"{folder / DICTIONARY} lacks {len(lacking)} pieces of {MERGES}, {lacking[0]!r} among them: what fairseq reads as "
            "<unk> cannot be told apart; take the dictionary that belongs to these files"
        )
    return vocabulary, merges


def write_bpe(folder: Path, tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
    """The three files for ``tokens`` by id, as :func:`check_order` wants them; pieces are numbered by their ids."""
    ordinary = range(len(FIRST), len(tokens) - 1)
    write_text(folder / DICTIONARY, "".join(f"{number} 1\n" for number in ordinary))
    pieces = {tokens[number]: number for number in ordinary}
    write_text(folder / PIECES, json.dumps(pieces, ensure_ascii=False))
    write_text(folder / MERGES, "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")


def check_order(tokens: Sequence[str]) -> None:
    """UserError, saying why, where no dict.txt can give these entries their ids."""
    if tuple(tokens[: len(FIRST)]) != FIRST or tokens[-1] != MASK:
        raise UserError(
            "fairseq's special ids come first and <mask> last, which this vocabulary's do not; learn one: tokenizer.source=own"
        )
    if any(not token or any(character.isspace() for character in token) for token in tokens):
        raise UserError(
            "entries with white space, or unused ids, cannot stand in a dict.txt; learn a vocabulary: tokenizer.source=own"
        )
