"""The procedures a study compares: what an encoder has read before it is fine-tuned.

One table that plan, tables, plots and sentences read. A condition added to :data:`CONDITIONS` is known everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from selfpretrain.config import CorpusConfig, UserError

NONE, OWN, START = "none", "own", "mimetic"  # the usual baseline, the procedure in question, the start by itself
PRESET = "preset"  # the start (model.init_scheme) that the model's preset names


@dataclass(frozen=True)
class Condition:
    """One procedure. Colours are Okabe and Ito's, told apart with every kind of colour blindness."""

    key: str  # as in study.conditions
    words: str  # in a sentence
    colour: str  # in plots
    # what is pretrained on, source=card meaning the study's general text; None: nothing
    corpus: CorpusConfig | None = None
    text_of: str | None = None  # the other task whose own text that is
    is_released: bool = False  # starts from study.offshelf: one checkpoint, whatever the seed
    schemes: tuple[str, ...] = (PRESET,)  # the starts it may have; the better one is chosen on validation
    words_of_general: str = ""  # in a sentence, with {general} in the place of the general text's name

    @property
    def is_fresh(self) -> bool:
        """Neither pretrained nor released."""
        return self.corpus is None and not self.is_released

    @property
    def is_general(self) -> bool:
        """Pretrained on the study's general text."""
        return self.corpus is not None and self.corpus.source == "card"

    def list_schemes(self, of_preset: str) -> list[str]:
        """The starts, each once."""
        return list(dict.fromkeys(of_preset if scheme == PRESET else scheme for scheme in self.schemes))

    def choose_corpus(self, general: str, general_mb: float | None) -> CorpusConfig:
        """The corpus, the general text being ``general``, cut to so many MiB unless it has another task's size."""
        assert self.corpus is not None, self.key
        if not self.is_general:
            return self.corpus
        limit = None if self.corpus.size_as else general_mb
        return dataclasses.replace(self.corpus, card=general, max_mb=limit)

    def describe(self, general: str) -> str:
        """In words, by the name of the general text."""
        names = {"bookwiki": "BookWiki", "auto": "the general text"}
        name = names.get(general, f"the general text ({general})")
        return self.words_of_general.format(general=name) if self.words_of_general else self.words


def make_own_of(task: str) -> Condition:
    return Condition(f"own_of:{task}", f"the text of {task}", "#009E73", corpus=CorpusConfig(), text_of=task)


CONDITIONS: dict[str, Condition] = {
    condition.key: condition
    for condition in (
        # a baseline that had only the weaker of two starts would make every gain look larger than it is
        Condition(NONE, "no pretraining", "#767676", schemes=("normal", PRESET)),
        Condition(START, "the structured start", "#000000", schemes=("mimetic",)),
        Condition(OWN, "the own text", "#D55E00", corpus=CorpusConfig()),
        Condition(
            "bookwiki", "bookwiki", "#0072B2", corpus=CorpusConfig(source="card"), words_of_general="{general}"
        ),
        Condition(
            "bookwiki_sized", "bookwiki_sized", "#56B4E9", corpus=CorpusConfig(source="card", size_as="own"),
            words_of_general="equally much of {general}",
        ),
        Condition("offshelf", "the released checkpoint", "#CC79A7", is_released=True),
    )
}  # fmt: skip
FAMILIES: dict[str, Callable[[str], Condition]] = {"own_of": make_own_of}  # <family>:<name>


def find_condition(key: str) -> Condition:
    """The condition of this name; UserError where there is none."""
    family, _, name = key.partition(":")
    if key in CONDITIONS:
        return CONDITIONS[key]
    if family in FAMILIES and name:
        return FAMILIES[family](name)
    allowed = [*CONDITIONS, *(f"{family}:<task>" for family in FAMILIES)]
    raise UserError(f"{key!r} is no condition; allowed: {', '.join(allowed)}")
