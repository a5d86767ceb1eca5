"""The procedures a study compares: what an encoder has read before it is fine-tuned.

One table that plan, tables, plots and sentences read. A condition added to :data:`CONDITIONS` is known everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selfpretrain.config import CorpusConfig, UserError
from selfpretrain.study.procedures import list_changes, list_procedures

NONE, OWN, START = "none", "own", "mimetic"  # the usual baseline, the procedure in question, the start by itself
PRESET = "preset"  # the start (model.init_scheme) that the model's preset names
MANY_EXAMPLES = 5000  # from which on the published recipe of pretraining further has its larger batches [TAPT]

_COLOURS_OF_OTHERS = ("#117733", "#AA4499", "#999933", "#44AA99")  # by the name's letters: two names may share one

HANDED_ON = (
    "the encoder alone is taken over: learning rate, optimizer and heads begin as in any pretraining, and so does the "
    "generator of replaced-token detection"
)


@dataclass(frozen=True)
class Condition:
    """One procedure. Colours are Okabe and Ito's, and Tol's where those end, told apart with every kind of colour blindness."""

    key: str  # as in study.conditions
    words: str  # in a sentence
    colour: str  # in plots
    # what is pretrained on, source=card meaning the study's general text; None: nothing
    corpus: CorpusConfig | None = None
    text_of: str | None = None  # the other task whose own text that is
    mixed: tuple[Condition, ...] = ()  # in place of a corpus: the texts of these together
    staged: tuple[Condition, ...] = ()  # in place of a corpus: the texts of two in turn, for half of the steps each
    from_released: bool = False  # starts from study.offshelf, and not from nothing
    released: str = ""  # the entry of study.released, whose starts are those of its seeds
    engine: str | None = None  # who pretrains, where it is not whom the study names
    procedures: tuple[str, ...] = ()  # whose settings stand in place of the study's
    plain: str = ""  # with procedures: the condition without them
    # settings of pretrain in place of the study's, by the number of training examples
    recipe: Callable[[int], dict[str, Any]] | None = None
    schemes: tuple[str, ...] = (PRESET,)  # the starts it may have; the better one is chosen on validation
    words_of_general: str = ""  # in a sentence, with {general} in the place of the general text's name
    note: str = ""  # how it is made, where its name does not say that

    @property
    def texts(self) -> tuple[Condition, ...]:
        """Those whose texts it reads; itself, if it is put together of none."""
        return tuple(text for part in (*self.mixed, *self.staged) for text in part.texts) or (self,)

    @property
    def is_pretrained(self) -> bool:
        """By the study, from whatever start."""
        return any(text.corpus is not None for text in self.texts)

    @property
    def is_fresh(self) -> bool:
        """Neither pretrained nor released."""
        return not self.is_pretrained and not self.is_of_others

    @property
    def is_of_others(self) -> bool:
        """Started from what others released: one checkpoint, or pretrainings of several seeds."""
        return self.from_released or bool(self.released)

    @property
    def is_released(self) -> bool:
        """The released checkpoint as it is: one, whatever the seed."""
        return self.from_released and not self.is_pretrained

    @property
    def is_from_nothing(self) -> bool:
        """Pretrained by the study, from fresh weights."""
        return self.is_pretrained and not self.from_released

    @property
    def is_general(self) -> bool:
        """Pretrained on the study's general text, on it alone or on another, too."""
        return any(text.corpus is not None and text.corpus.source == "card" for text in self.texts)

    @property
    def is_of_task(self) -> bool:
        """Whether what it reads differs from task to task."""
        corpora = [text.corpus for text in self.texts if text.corpus is not None and text.text_of is None]
        return any("own" in (corpus.source, corpus.size_as) for corpus in corpora)

    @property
    def other_tasks(self) -> tuple[str, ...]:
        """Those whose own texts it reads."""
        return tuple(text.text_of for text in self.texts if text.text_of is not None)

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


def join_words(parts: tuple[Condition, ...], joint: str) -> tuple[str, str]:
    """``words`` and ``words_of_general`` of a condition put together of others."""
    general = joint.join(part.words_of_general or part.words for part in parts)
    return joint.join(part.words for part in parts), general if any(part.words_of_general for part in parts) else ""


def make_mix(names: str) -> Condition:
    """Pretrained on several texts together, each named by the condition that reads it alone: ``own+bookwiki``.

    Each is as large as it is there, so that a mix is what those conditions read, and nothing is read twice or left out;
    equal shares are mix:own+bookwiki_sized.
    """
    keys = names.split("+")
    parts = tuple(_find_text(key, names) for key in keys)
    if len(set(keys)) < len(keys) or len(keys) < 2:
        raise UserError(
            f"mix:{names} does not name two texts, each once; allowed: mix:<text>+<text>, as mix:own+bookwiki"
        )
    words, words_of_general = join_words(parts, " with ")
    note = "each text as large as it is by itself, their documents interleaved: any stretch holds each by its share"
    return Condition(f"mix:{names}", words, "#F0E442", mixed=parts, words_of_general=words_of_general, note=note)


def list_texts() -> list[str]:
    """The conditions that read one text, from nothing."""
    return [name for name, row in CONDITIONS.items() if row.corpus is not None and not row.from_released]


def make_by_fairseq(key: str) -> Condition:
    """What reads one text, trained by fairseq: beside that of the same text it shows how far a result hangs on the engine."""
    if key not in list_texts():
        raise UserError(
            f"fairseq:{key} names no text; allowed: {', '.join(f'fairseq:{name}' for name in list_texts())}"
        )
    text = CONDITIONS[key]
    words_of_general = f"{text.words_of_general} by fairseq" if text.words_of_general else ""
    note = "trained by fairseq 0.12.2 from the same weights and token files, by its own batches and masks"
    return dataclasses.replace(
        text, key=f"fairseq:{key}", words=f"{text.words} by fairseq", words_of_general=words_of_general, colour="#882255",
        engine="fairseq", note=note,
    )  # fmt: skip


# Tol's colours that no other condition has; as many as a prime, so that no two procedures of one text share one
_COLOURS = (
    "#88CCEE", "#CC6677", "#117733", "#DDCC77", "#AA4499", "#44AA99", "#EE6677", "#4477AA", "#999933", "#AA3377",
    "#228833", "#CCBB44", "#BBBBBB",
)  # fmt: skip


def make_by_procedures(names: tuple[str, ...], plain: str) -> Condition:
    """The condition ``plain`` by other procedures: what differs from it are their settings alone.

    It is the pretraining on one text, or on a mix; or none, by procedures that change the model.
    """
    text, by, changes = find_condition(plain), "+".join(names), list_changes(names)
    is_one_text = text.is_from_nothing and not (text.staged or text.engine or text.procedures or text.text_of)
    changes_model = any(key.startswith("model.") for key in changes)
    if not is_one_text and not (changes_model and plain == NONE):
        texts = [*([NONE] if changes_model else []), *list_texts(), "mix:<text>+<text>"]
        reason = f"{by} changes pretraining alone" if plain == NONE else f"{plain!r} is no text by itself"
        raise UserError(f"{by}:{plain}: {reason}; allowed: {', '.join(f'{by}:{name}' for name in texts)}")
    among, texts = list_procedures(), [*list_texts(), NONE]
    place = len(texts) * sum(map(among.index, names)) + (texts.index(plain) if plain in texts else len(texts))
    listed = ", ".join(f"{key}={value}" for key, value in changes.items())
    return dataclasses.replace(
        text, key=f"{by}:{plain}", words=f"{text.words} ({by})", colour=_COLOURS[place % len(_COLOURS)],
        words_of_general=text.words_of_general and f"{text.words_of_general} ({by})", procedures=names, plain=plain,
        schemes=(PRESET,) if "model.init_scheme" in changes else text.schemes,
        note=f"{listed}, in place of what preset, effort and command line say; else as {plain}",
    )  # fmt: skip


def make_released(name: str) -> Condition:
    """Pretrainings of several seeds that others released, an entry of ``study.released``: seeds of a procedure as ours are."""
    colour = _COLOURS_OF_OTHERS[sum(name.encode()) % len(_COLOURS_OF_OTHERS)]
    return Condition(f"released:{name}", f"the released pretrainings {name}", colour, released=name)


def _find_text(key: str, names: str) -> Condition:
    family, _, task = key.partition(":")
    if key in list_texts():
        return CONDITIONS[key]
    if family == "own_of" and task:
        return make_own_of(task)
    allowed = ", ".join([*list_texts(), "own_of:<task>"])
    raise UserError(f"mix:{names} has {key!r}, which is no text to mix; allowed: {allowed}")


def make_stages(key: str, colour: str, first: Condition, second: Condition) -> Condition:
    """Pretrained on the text of the one, then on that of the other, at the cost of one pretraining."""
    words, words_of_general = join_words((first, second), " followed by ")
    note = f"each text for half of the steps, and of the warm-up; {HANDED_ON}"
    return Condition(key, words, colour, staged=(first, second), words_of_general=words_of_general, note=note)


def recommend_further(num_examples: int) -> dict[str, Any]:
    """How a released checkpoint is pretrained further on the text of so many training examples, as published [TAPT].

    Published with one example to a sequence; here the text is cut as ``pretrain.packing`` says.
    """
    if num_examples < MANY_EXAMPLES:
        size: dict[str, Any] = {"batch_size": 256, "peak_lr": 1e-4}
    else:
        size = {"batch_size": 2048, "peak_lr": 5e-4}
    length = {"budget": "epochs", "budget_amount": 100.0}
    adam = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.98, "eps": 1e-6, "weight_decay": 0.01}
    schedule = {"schedule": "linear", "warmup_steps": None, "warmup_fraction": 0.06}
    return {**size, "micro_batch_size": 16, **length, **adam, **schedule}


_OWN = Condition(OWN, "the own text", "#D55E00", corpus=CorpusConfig())
_BOOKWIKI = Condition(
    "bookwiki", "bookwiki", "#0072B2", corpus=CorpusConfig(source="card"), words_of_general="{general}"
)
CONDITIONS: dict[str, Condition] = {
    condition.key: condition
    for condition in (
        # a baseline that had only the weaker of two starts would make every gain look larger than it is
        Condition(NONE, "no pretraining", "#767676", schemes=("normal", PRESET)),
        Condition(START, "the structured start", "#000000", schemes=("mimetic",)),
        _OWN,
        _BOOKWIKI,
        Condition(
            "bookwiki_sized", "bookwiki_sized", "#56B4E9", corpus=CorpusConfig(source="card", size_as="own"),
            words_of_general="equally much of {general}",
        ),
        make_stages("own_then_bookwiki", "#661100", _OWN, _BOOKWIKI),
        make_stages("bookwiki_then_own", "#332288", _BOOKWIKI, _OWN),
        Condition("offshelf", "the released checkpoint", "#CC79A7", from_released=True),
        Condition(
            "tapt", "the adapted checkpoint", "#E69F00", corpus=CorpusConfig(), from_released=True,
            recipe=recommend_further,
            note=f"the released checkpoint pretrained further on the own text by the published recipe; {HANDED_ON}, which "
            "is released as a checkpoint of its own",
        ),
    )
}  # fmt: skip
FAMILIES: dict[str, tuple[str, Callable[[str], Condition]]] = {  # <family>:<name>, and what the name is
    "own_of": ("<task>", make_own_of),
    "mix": ("<text>+<text>", make_mix),
    "fairseq": ("<text>", make_by_fairseq),
    "released": ("<name>", make_released),
}


def find_condition(key: str) -> Condition:
    """The condition of this name; UserError where there is none."""
    family, _, name = key.partition(":")
    if key in CONDITIONS:
        return CONDITIONS[key]
    if family in FAMILIES and name:
        return FAMILIES[family][1](name)
    names = tuple(family.split("+"))
    if name and {*names} <= {*list_procedures()}:
        return make_by_procedures(names, name)
    allowed = [*CONDITIONS, *(f"{family}:{form}" for family, (form, _) in FAMILIES.items())]
    procedures = f"<procedure>:<text>, <procedure>+<procedure>:<text> with procedures of {', '.join(list_procedures())}"
    raise UserError(f"{key!r} is no condition; allowed: {', '.join(allowed)}, {procedures}")
