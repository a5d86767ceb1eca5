"""Vocabularies: uncased WordPiece and byte-level BPE, trained on the corpus or taken from a released model.

The only file that knows the ``tokenizers`` library. Its WordPiece trainer numbers the ``##`` characters in hash
order, so two runs on one text give two vocabularies; here they are numbered before it sees them. Encoding keeps
a memory of word pieces, three times as fast as the library on running text and equal to it id by id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Encoding, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from selfpretrain.config import TokenizerConfig, UserError
from selfpretrain.files import make_folder, write_text
from selfpretrain.sources import fairseq_files

# cls, sep, pad, mask, unk
SPECIAL_TOKENS = {
    "wordpiece": ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"),
    "bpe": ("<s>", "</s>", "<pad>", "<mask>", "<unk>"),
}
WORDPIECE_ORDER = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0..4
BPE_ORDER = fairseq_files.FIRST  # ids 0..3; <mask> is last [fairseq]
MIN_VOCAB_SIZE = {"wordpiece": 100, "bpe": len(BPE_ORDER) + 256 + 1}  # bpe: every byte is an entry
MIN_ORDINARY_TOKENS = 10  # fewer means that the wrong file was read
MAX_CACHED_CHARACTERS = 500_000  # of the pieces remembered: 10 MB of text fill it, and memory stays there
OFFSET_TEXTS = 500  # encoded with offsets at once: the library's objects are large
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", fairseq_files.DICTIONARY)  # of a folder, the first that is there
PIECE_BLOCK = 200_000  # characters given to the trainer at once

ASCII_PUNCTUATION = r"!-/:-@\[-`{-~"
# Unicode's White_Space, the library's \s; Python's \s also holds four control characters
SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# BERT always splits at these spaces and around each of these marks
WORDPIECE_PIECES = re.compile(rf"[^ \t\n\r{ASCII_PUNCTUATION}]+|[{ASCII_PUNCTUATION}]")
# GPT-2's pattern always splits before the spaces after a word and between an ASCII letter or digit and a mark
BPE_PIECES = re.compile(
    rf"[{SPACE}]*[^{SPACE}A-Za-z0-9]*(?:[A-Za-z0-9]+(?=[{SPACE}{ASCII_PUNCTUATION}]|\Z)|[^{SPACE}]*)"
)

Ids = npt.NDArray[np.int32]


class Tokenizer:
    """A vocabulary with its special tokens. Make one with :func:`train_tokenizer` or :meth:`load`."""

    def __init__(self, backend: Backend, origin: str):
        description = json.loads(backend.to_str())
        model = description["model"]["type"]
        self.kind = {"WordPiece": "wordpiece", "BPE": "bpe"}.get(model, "")
        if not self.kind:
            raise UserError(f"{origin}: a {model} model; allowed are WordPiece and BPE, choose another tokenizer.path")
        # released files may cut and pad by themselves, and would read "[MASK]" in a text as the special token
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self._backend = backend
        self._vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._vocabulary.values(), default=-1) + 1
        self.cls_id, self.sep_id, self.pad_id, self.mask_id, self.unk_id = self._find_special_ids(origin)
        added = {entry["id"] for entry in description["added_tokens"] if entry["special"]}
        self.special_ids = frozenset(added | {self.cls_id, self.sep_id, self.pad_id, self.mask_id, self.unk_id})
        ordinary = len(set(self._vocabulary.values()) - self.special_ids)
        if ordinary < MIN_ORDINARY_TOKENS:
            raise UserError(
                f"{origin}: {ordinary} entries besides the special tokens, at least {MIN_ORDINARY_TOKENS} are needed; "
                "choose another tokenizer.path, or more text to train on"
            )
        self.fingerprint = _compute_fingerprint(description)
        self._find_pieces = _choose_pieces(description)
        self._cache: dict[str, bytes] = {}
        self._cached_characters = 0

    def _find_special_ids(self, origin: str) -> tuple[int, ...]:
        missing: list[str] = []
        for names in SPECIAL_TOKENS.values():
            absent = [name for name in names if name not in self._vocabulary]
            if not absent:
                return tuple(self._vocabulary[name] for name in names)
            if len(absent) < len(names) or not missing:
                missing = absent
        raise UserError(f"{origin}: the vocabulary lacks {' '.join(missing)}; choose another tokenizer.path")

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of every text, int32 [num_tokens], without special tokens, also where a text spells one out."""
        if self._find_pieces is None:
            return [np.array(ids, np.int32) for ids in self._encode_with_library(list(texts))]
        pieces = [self._find_pieces(text) for text in texts]
        cache = self._cache
        missing = list(set().union(*pieces).difference(cache))
        for piece, ids in zip(missing, self._encode_with_library(missing), strict=True):
            cache[piece] = np.array(ids, np.int32).tobytes()
        self._cached_characters += sum(map(len, missing))
        if self._cached_characters > MAX_CACHED_CHARACTERS:
            self._cache, self._cached_characters = {}, 0
        get = cache.__getitem__
        return [np.frombuffer(bytearray().join(map(get, found)), np.int32) for found in pieces]

    def iter_offsets(self, texts: Sequence[str]) -> Iterator[tuple[Ids, Ids]]:
        """The ids that :meth:`encode_batch` gives, and from and to which character of the text each stands, int32
        [num_tokens, 2]. Slower.
        """
        for start in range(0, len(texts), OFFSET_TEXTS):
            for encoding in self._ask_library(self._backend.encode_batch, list(texts[start : start + OFFSET_TEXTS])):
                yield np.array(encoding.ids, np.int32), np.array(encoding.offsets, np.int32).reshape(-1, 2)

    def _encode_with_library(self, texts: list[str]) -> list[list[int]]:
        # the fast one leaves out offsets
        return [encoding.ids for encoding in self._ask_library(self._backend.encode_batch_fast, texts)]

    @staticmethod
    def _ask_library(encode: Callable[..., list[Encoding]], texts: list[str]) -> list[Encoding]:
        try:
            return encode(texts, add_special_tokens=False)
        except TypeError:
            for text in texts:
                encode_utf8(text)
            raise

    def get_tokens(self) -> list[str]:
        """The entries by id; an id that nothing uses is the empty string."""
        tokens = {number: token for token, number in self._vocabulary.items()}
        return [tokens.get(number, "") for number in range(self.vocab_size)]

    def get_merges(self) -> list[tuple[str, str]]:
        """Of byte-level BPE, in order."""
        return [(first, second) for first, second in json.loads(self._backend.to_str())["model"]["merges"]]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and, for older readers, vocab.txt or vocab.json with merges.txt."""
        make_folder(folder)
        text = self._backend.to_str(pretty=True)
        if self.kind == "wordpiece":
            write_text(folder / "vocab.txt", "".join(token + "\n" for token in self.get_tokens()))
        else:
            ordered = dict(sorted(self._vocabulary.items(), key=lambda entry: entry[1]))
            write_text(folder / "vocab.json", json.dumps(ordered, ensure_ascii=False))
            merges = [" ".join(pair) for pair in self.get_merges()]
            write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
        write_text(folder / "tokenizer.json", text)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read tokenizer.json (or the folder it is in), vocab.txt, or a folder with vocab.json and merges.txt, or with
        fairseq's dict.txt and GPT-2's files.

        Raises UserError for a path that does not exist or does not hold a usable vocabulary.
        """
        path = Path(path)
        file = path
        if path.is_dir():
            found = [path / name for name in FILES if (path / name).is_file()]
            if not found:
                raise UserError(
                    f"tokenizer.path={path} holds no tokenizer.json, no vocab.txt, no vocab.json with merges.txt and no dict.txt; "
                    "give a folder with one of them, or tokenizer.path=null to do without"
                )
            file = found[0]
        if not file.is_file():
            raise UserError(f"tokenizer.path={path} does not exist; give a folder, a tokenizer.json or a vocab.txt")
        try:
            if file.name == "vocab.json":
                return cls(_load_vocab_json(file), str(file))
            if file.name == fairseq_files.DICTIONARY:
                return cls(_build_bpe(*fairseq_files.read_bpe(file.parent)), str(file))
            if file.suffix == ".txt":
                return cls(_load_vocab_txt(file), str(file))
            return cls(Backend.from_file(str(file)), str(file))
        except UserError:
            raise
        except Exception as error:  # the library raises bare Exception, whatever is wrong with a file
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"tokenizer.path={file} cannot be read: {reason}; copy it again, or give another"
            ) from error


def encode_utf8(text: str) -> bytes:
    """The bytes of a text; UserError for half of a surrogate pair, which Python can hold and UTF-8 cannot."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the text {text[:40]!r} has a lone surrogate at {error.start}; remove it") from None


def train_tokenizer(config: TokenizerConfig, documents: Iterable[str]) -> Tokenizer:
    """Learn a vocabulary from the first ``train_mb`` MiB of ``documents``.

    The same text gives the same vocabulary on every machine, whatever its number of threads. It has fewer than
    ``vocab_size`` entries where the text is too small. Raises UserError where no vocabulary can be learnt.
    """
    if config.vocab_size < MIN_VOCAB_SIZE[config.kind]:
        raise UserError(
            f"tokenizer.vocab_size={config.vocab_size} is too small; {config.kind} needs at least "
            f"{MIN_VOCAB_SIZE[config.kind]}: tokenizer.vocab_size={MIN_VOCAB_SIZE[config.kind]}"
        )
    limited = _limit(documents, int(config.train_mb * 2**20))
    train = _train_wordpiece if config.kind == "wordpiece" else _train_bpe
    return Tokenizer(train(config, limited), "the tokenizer trained on this text")


def _limit(documents: Iterable[str], max_bytes: int) -> Iterator[str]:
    used = 0
    for document in documents:
        if used and used + len(document) > max_bytes:
            return
        used += len(encode_utf8(document))
        yield document


def _train_wordpiece(config: TokenizerConfig, documents: Iterable[str]) -> Backend:
    words = _count_words(documents)
    alphabet: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            alphabet[character] += count
    # each character may take two entries (with and without ##): at most half of the vocabulary
    ranked = sorted(alphabet, key=lambda character: (-alphabet[character], character))
    kept = sorted(ranked[: min(config.limit_alphabet, (config.vocab_size - len(WORDPIECE_ORDER)) // 4)])
    dropped = {ord(character): None for character in alphabet.keys() - set(kept)}
    reduced: Counter[str] = Counter()
    for word, count in words.items():
        reduced[word.translate(dropped)] += count
    reduced.pop("", None)
    continuing = sorted({character for word in reduced for character in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        # named here, the ## characters have their ids before the trainer meets them in hash order
        special_tokens=[*WORDPIECE_ORDER, *("##" + character for character in continuing)],
        limit_alphabet=len(kept) + 1,
        show_progress=False,
    )
    counter = Backend(models.WordPiece(unk_token="[UNK]"))
    counter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    counter.train_from_iterator(_repeat_words(reduced), trainer)
    return _build_wordpiece(counter.get_vocab(with_added_tokens=True), lowercase=True)


def _count_words(documents: Iterable[str]) -> Counter[str]:
    """The words BERT's normaliser and pre-tokeniser make of the text, each distinct piece looked at once."""
    pieces = Counter(chain.from_iterable(map(WORDPIECE_PIECES.findall, documents)))
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for piece, count in pieces.items():
        if piece.isascii() and piece.isalnum():
            words[piece.lower()] += count
        else:
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(piece)):
                words[word] += count
    return words


def _repeat_words(words: Counter[str]) -> Iterator[str]:
    """A text with these word counts: the trainer takes no counts."""
    for word, count in sorted(words.items()):
        step = max(1, PIECE_BLOCK // (len(word) + 1))
        for start in range(0, count, step):
            yield (word + " ") * min(step, count - start)


def _train_bpe(config: TokenizerConfig, documents: Iterable[str]) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - 1,  # <mask> follows
        min_frequency=config.min_frequency,
        special_tokens=list(BPE_ORDER),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(documents, trainer)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    assert "<mask>" not in vocabulary  # < and > never share a piece with letters
    merges = [(first, second) for first, second in json.loads(backend.to_str())["model"]["merges"]]
    return _build_bpe({**vocabulary, "<mask>": len(vocabulary)}, merges)


def _build_wordpiece(vocabulary: dict[str, int], lowercase: bool) -> Backend:
    backend = Backend(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    if "[SEP]" in vocabulary and "[CLS]" in vocabulary:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
        )
    backend.add_special_tokens([AddedToken(name, special=True) for name in WORDPIECE_ORDER if name in vocabulary])
    return backend


def _build_bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Backend:
    backend = Backend(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if "<s>" in vocabulary and "</s>" in vocabulary:
        backend.post_processor = processors.RobertaProcessing(
            ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]), trim_offsets=True, add_prefix_space=False
        )
    # the space before <mask> belongs to it [RoBERTa]
    names = [name for name in (*BPE_ORDER, "<mask>") if name in vocabulary]
    backend.add_special_tokens([AddedToken(name, special=True, lstrip=name == "<mask>") for name in names])
    return backend


def _load_vocab_txt(file: Path) -> Backend:
    # not splitlines(): an entry may be a character that Python takes for a line break
    lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    tokens = [line.rstrip("\r") for line in lines]
    repeated = [token for token, count in Counter(tokens).items() if count > 1]
    if repeated:
        raise UserError(f"{file}: the entry {repeated[0]!r} stands on two lines; choose another tokenizer.path")
    settings = file.with_name("tokenizer_config.json")
    lowercase = not settings.is_file() or json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case", True)
    return _build_wordpiece({token: number for number, token in enumerate(tokens)}, bool(lowercase))


def _load_vocab_json(file: Path) -> Backend:
    merges_file = file.with_name("merges.txt")
    if not merges_file.is_file():
        raise UserError(f"tokenizer.path={file.parent} holds vocab.json without merges.txt; add it")
    lines = merges_file.read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    if not all(len(pair) == 2 for pair in merges):
        raise UserError(
            f"{merges_file}: each line must be two tokens with a space between; choose another tokenizer.path"
        )
    return _build_bpe(json.loads(file.read_text(encoding="utf-8")), [(pair[0], pair[1]) for pair in merges])


def _compute_fingerprint(description: dict[str, Any]) -> str:
    """SHA-256 (hex) of what decides the ids; fields that are off are left out, so that newer libraries agree."""
    parts = {key: description[key] for key in ("model", "normalizer", "pre_tokenizer", "added_tokens")}
    kept = json.loads(json.dumps(parts), object_pairs_hook=_drop_unset)
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _drop_unset(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None and value is not False}


def _choose_pieces(description: dict[str, Any]) -> Callable[[str], list[str]] | None:
    """A way to cut texts into pieces whose ids do not depend on their neighbours; None where there is none."""
    model, normalizer, splitter = description["model"], description["normalizer"], description["pre_tokenizer"]
    if not all(entry["special"] for entry in description["added_tokens"]):
        return None  # such a token may span what would be two pieces
    kinds = [(part or {}).get("type") for part in (normalizer, splitter)]
    if model["type"] == "WordPiece" and kinds == ["BertNormalizer", "BertPreTokenizer"]:
        return WORDPIECE_PIECES.findall if normalizer.get("clean_text") else None
    plain = splitter and not splitter.get("add_prefix_space") and splitter.get("use_regex", True)
    if model["type"] == "BPE" and kinds == [None, "ByteLevel"] and plain and not model.get("dropout"):
        return BPE_PIECES.findall
    return None
