"""What a study is made of and where that was published: models, methods, data and software, by keys of conf/references.bib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from selfpretrain.cards import load_text_card
from selfpretrain.config import Settings, TaskConfig
from selfpretrain.runs.results import Citation
from selfpretrain.study.conditions import find_condition

if TYPE_CHECKING:
    from selfpretrain.study.plan import StudyPlan

MODELS, METHODS, DATA, SOFTWARE = "Models", "Methods", "Data", "Software"

_Rule = tuple[str, str, str, Callable[[Settings], bool]]  # kind, what, key, and whether a run's settings use it
_OF_PRETRAININGS: tuple[_Rule, ...] = (
    (METHODS, "masked tokens", "devlin2019bert", lambda s: s.objective.name in ("mlm", "mlm_nsp")),
    (METHODS, "replaced tokens", "clark2020electra", lambda s: s.objective.name == "rtd"),
    (METHODS, "AdamW", "loshchilov2019adamw", lambda s: s.pretrain.optimizer == "adamw"),
    (METHODS, "Muon", "jordan2024muon", lambda s: s.pretrain.optimizer == "muon"),
    (METHODS, "sharing weights, then unsharing", "yang2021sharing", lambda s: s.pretrain.weight_sharing != "none"),
    (SOFTWARE, "fairseq", "ott2019fairseq", lambda s: s.pretrain.engine == "fairseq"),
)
_OF_ALL: tuple[_Rule, ...] = (
    (MODELS, "ELECTRA", "clark2020electra", lambda s: s.model.family == "electra"),
    (MODELS, "RoBERTa", "liu2019roberta", lambda s: s.model.family == "roberta"),
    (MODELS, "BERT", "devlin2019bert", lambda s: s.model.family == "bert"),
    (METHODS, "mimetic initialisation", "trockman2023mimetic", lambda s: s.model.init_scheme == "mimetic"),
    (METHODS, "rotary positions", "su2021roformer", lambda s: s.model.positions == "rotary"),
    (METHODS, "byte-level BPE", "sennrich2016bpe", lambda s: s.tokenizer.kind == "bpe"),
    (METHODS, "WordPiece", "schuster2012wordpiece", lambda s: s.tokenizer.kind == "wordpiece"),
    (SOFTWARE, "fairseq", "ott2019fairseq", lambda s: s.finetune.engine == "fairseq" or s.start.kind == "fairseq"),
    (SOFTWARE, "transformers", "wolf2020transformers", lambda s: s.start.kind == "hf"),
)
_ALWAYS = (
    (METHODS, "self-pretraining, and Benefit", "krishna2023downstream"),
    (METHODS, "seeds and test examples resampled together", "sellam2022multiberts"),
    (SOFTWARE, "PyTorch", "paszke2019pytorch"),
    (SOFTWARE, "Hydra", "yadan2019hydra"),
    (SOFTWARE, "NumPy", "harris2020numpy"),
    (SOFTWARE, "SciPy", "virtanen2020scipy"),
)
# by card; a card that is not here is cited by what it says of its source
_TASKS = {
    **dict.fromkeys(("agnews", "dbpedia14", "yahoo"), ("zhang2015character",)),
    "amazon_polarity": ("mcauley2013hidden", "zhang2015character"),
    "ax": ("wang2019glue",),
    "codah": ("chen2019codah",),
    "cola": ("warstadt2019cola",),
    "conll2012": ("pradhan2012conll",),
    "discovery": ("sileo2019mining",),
    "hans": ("mccoy2019right",),
    "hellaswag": ("zellers2019hellaswag",),
    **dict.fromkeys(("mnli", "mnli_mm"), ("williams2018multinli",)),
    "mrpc": ("dolan2005mrpc",),
    **dict.fromkeys(("paws", "paws_labeled"), ("zhang2019paws",)),
    "qnli": ("rajpurkar2016squad",),
    "rte": ("wang2019glue",),
    "sentiment140": ("go2009twitter",),
    "snli": ("bowman2015snli",),
    "squad": ("rajpurkar2016squad",),
    "sst2": ("socher2013recursive",),
    "stsb": ("cer2017semeval",),
    "swag": ("zellers2018swag",),
    "wnli": ("levesque2012winograd", "wang2019glue"),
}
_BENCHMARKS = {"GLUE": "wang2019glue"}
_TEXTS = {"bookwiki": ("zhu2015aligning",)}


def list_citations(plan: StudyPlan) -> list[Citation]:
    """What the runs of a study used, each once: models, methods, data, software."""
    finetunings = [cell.settings for group in plan.groups for cell in group.choose_cells()]
    pretrainings = [cell.settings for cell in plan.pretrainings.values()]
    found = [Citation(kind, what, (key,)) for kind, what, key in _ALWAYS]
    found += _follow(_OF_ALL, [*pretrainings, *finetunings])
    found += _follow(_OF_PRETRAININGS, pretrainings)
    found += _list_of_conditions(plan.conditions)
    transfers = [transfer.task for several in plan.transfers.values() for transfer in several]
    for task in [*plan.cards.values(), *transfers]:
        found += _cite_task(task)
    if any(find_condition(key).is_general for key in plan.conditions):
        card = load_text_card(plan.general)
        found.append(Citation(DATA, plan.general, _TEXTS.get(plan.general, ()), card.source))
    if any(task.loader == "hub" for task in plan.cards.values()):
        found.append(Citation(SOFTWARE, "datasets", ("lhoest2021datasets",)))
    kinds = (MODELS, METHODS, DATA, SOFTWARE)
    return sorted(dict.fromkeys(found), key=lambda citation: kinds.index(citation.kind))


def _follow(rules: Sequence[_Rule], runs: Sequence[Settings]) -> Iterator[Citation]:
    for kind, what, key, is_used in rules:
        if any(map(is_used, runs)):
            yield Citation(kind, what, (key,))


def _list_of_conditions(conditions: Sequence[str]) -> Iterator[Citation]:
    about = [find_condition(key) for key in conditions]
    if any(condition.recipe for condition in about):
        yield Citation(METHODS, "task-adaptive pretraining", ("gururangan2020dont",))
    if any(name.startswith("mask") for condition in about for name in condition.procedures):
        yield Citation(METHODS, "masking rates", ("wettig2022mask",))


def _cite_task(task: TaskConfig) -> Iterator[Citation]:
    """Nothing of the user's own file, of which nothing is known."""
    keys = list(_TASKS.get(task.name, ()))
    keys += [key for key in [_BENCHMARKS.get(task.benchmark or "")] if key and key not in keys]
    if task.loader != "local" and (keys or task.source):
        yield Citation(DATA, task.name, tuple(keys), task.source)
