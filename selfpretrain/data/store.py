"""Token files: a corpus as one flat array on disk, in fairseq's memory-mapped indexed format.

    train.bin       the token ids of all documents, each document followed by the separator
    train.idx       where they are (:mod:`selfpretrain.sources.indexed`)
    dict.txt        entry and count per line, for fairseq; byte-level BPE only, see write_dictionary
    tokenizer/      what made the ids
    manifest.json   source, counts, notes, and the size and BLAKE2b checksum of every file

[fairseq 0.12.2, data/indexed_dataset.py, MMapIndexedDataset]
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from selfpretrain.config import UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.files import compute_checksum, read_json, write_json
from selfpretrain.sources.fairseq_files import DICTIONARY, FIRST, check_order
from selfpretrain.sources.indexed import read_index, write_index

FORMAT_VERSION = 1  # of the whole folder; raised when the same text would give other files
MAX_UINT16_VOCAB = 65_500  # fairseq's limit for two-byte ids


def choose_dtype(vocab_size: int) -> npt.DTypeLike:
    """Two bytes per token where the ids fit [fairseq, best_fitting_int_dtype]."""
    return np.uint16 if vocab_size < MAX_UINT16_VOCAB else np.int32


class TokenWriter:
    """Appends documents to train.bin and, at the end of the block, writes train.idx; in memory are sizes alone."""

    def __init__(self, folder: Path, dtype: npt.DTypeLike):
        self.folder, self.dtype = folder, np.dtype(dtype)
        self.num_documents = self.num_tokens = 0
        self._sizes = [np.empty(0, np.int32)]

    def __enter__(self) -> TokenWriter:
        self._data: IO[bytes] = open(self.folder / "train.bin", "wb")
        return self

    def append(self, sizes: npt.NDArray[np.int32], tokens: npt.NDArray[Any]) -> None:
        """``sizes`` [N] tokens per document with its separator, ``tokens`` [sum of sizes] of the writer's dtype."""
        assert tokens.dtype == self.dtype and len(tokens) == sizes.sum(dtype=np.int64)
        self._data.write(tokens.tobytes())
        self._sizes.append(sizes)
        self.num_documents += len(sizes)
        self.num_tokens += len(tokens)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._data.close()
        if kind is not None:
            return
        write_index(self.folder / "train.idx", np.concatenate(self._sizes), self.dtype)


@dataclass(frozen=True)
class TokenFile:
    """An open corpus. ``tokens`` [total_tokens] is mapped, not read; ``sizes`` [num_docs] count the separator too."""

    folder: Path
    tokens: npt.NDArray[Any]
    sizes: npt.NDArray[np.int32]
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path, verify: bool = True) -> TokenFile:
        """Map a corpus folder; ``verify`` reads every file once and compares checksums.

        Raises UserError, naming the file, for anything missing, cut short, changed or of another format.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for name, expected in manifest["files"].items():
            _check_file(folder, name, expected, verify)
        sizes, dtype = _read_index(folder)
        if int(sizes.sum(dtype=np.int64)) != manifest["tokens"] or len(sizes) != manifest["documents"]:
            raise _damaged(folder, "train.idx", "the counts differ from manifest.json")
        if manifest["tokens"] * np.dtype(dtype).itemsize != (folder / "train.bin").stat().st_size:
            raise _damaged(folder, "train.bin", "the length differs from train.idx")
        tokens = np.memmap(folder / "train.bin", dtype=dtype, mode="r")
        return cls(folder, tokens, sizes, manifest)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a corpus folder, its files compared with their checksums."""
    for name, expected in read_manifest(folder)["files"].items():
        if name.startswith("tokenizer/"):
            _check_file(folder, name, expected, verify=True)
    return Tokenizer.load(folder / "tokenizer")


def _damaged(folder: Path, name: str, reason: str) -> UserError:
    return UserError(f"{folder / name} is damaged ({reason}); delete the folder {folder} and run again")


def has_manifest(folder: Path) -> bool:
    """Whether a folder was written to its end."""
    return (folder / "manifest.json").is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """A corpus's manifest, its own checksum compared; UserError where it is missing, damaged or of another format."""
    file = folder / "manifest.json"
    if not has_manifest(folder):
        raise UserError(f"{folder} is not a corpus: it holds no manifest.json; delete the folder and run again")
    try:
        manifest = read_json(file)
        intact = manifest["checksum"] == compute_manifest_checksum(manifest)
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise _damaged(folder, file.name, "its content does not match its checksum")
    if manifest["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{folder} has format {manifest['format_version']}, this version reads {FORMAT_VERSION}; "
            "delete the folder and run again"
        )
    return manifest


def _check_file(folder: Path, name: str, expected: dict[str, Any], verify: bool) -> None:
    file = folder / name
    if not file.is_file():
        reason = "missing"
    elif file.stat().st_size != expected["bytes"]:
        reason = f"{file.stat().st_size} bytes, not {expected['bytes']}"
    elif verify and compute_checksum(file) != expected["blake2b"]:
        reason = "its content does not match its checksum"
    else:
        return
    raise _damaged(folder, name, reason)


def _read_index(folder: Path) -> tuple[npt.NDArray[np.int32], type[np.uint16] | type[np.int32]]:
    try:
        return read_index(folder / "train.idx")
    except ValueError as error:
        raise _damaged(folder, "train.idx", str(error)) from None


def compute_manifest_checksum(manifest: dict[str, Any]) -> str:
    """BLAKE2b (hex) of a manifest without its own ``checksum``."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=32).hexdigest()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json, with size and checksum of every file in the folder; it has to be the last one written."""
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "blake2b": compute_checksum(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    # through JSON once, so that the checksum is of what a reader will see
    complete = json.loads(json.dumps({**manifest, "format_version": FORMAT_VERSION, "files": files}, allow_nan=False))
    write_json(folder / "manifest.json", {**complete, "checksum": compute_manifest_checksum(complete)})


def write_dictionary(folder: Path, tokenizer: Tokenizer, counts: npt.NDArray[np.int64]) -> str:
    """Write dict.txt so that fairseq's ids equal ours; returns why there is none, or an empty string.

    fairseq's Dictionary puts <s> <pad> </s> <unk> before the lines of the file, and its masked_lm task adds <mask>
    after them. WordPiece puts [PAD] [UNK] [CLS] [SEP] [MASK] first, so no file can give the same ids; the token
    files themselves are in the same format. ``counts`` [vocab_size] are the occurrences in the corpus.
    """
    tokens, ordinary = tokenizer.get_tokens(), slice(len(FIRST), -1)
    try:
        check_order(tokens)
    except UserError as error:
        return f"no dict.txt: {error}"
    rows = zip(tokens[ordinary], counts[ordinary].tolist(), strict=True)
    (folder / DICTIONARY).write_text("".join(f"{token} {count}\n" for token, count in rows), encoding="utf-8")
    return ""
