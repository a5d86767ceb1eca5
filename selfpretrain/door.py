"""The one door from YAML and the command line to dataclasses, and the identity of a run.

Only this file, ``__main__`` and the sweeper know Hydra and OmegaConf; everything below gets dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selfpretrain.config import (
    FinetuneConfig,
    Settings,
    Start,
    StudyConfig,
    TaskConfig,
    TextCard,
    TokenizerConfig,
    UserError,
)  # fmt: skip
from selfpretrain.engines import ENGINES
from selfpretrain.overrides import escape_interpolation
from selfpretrain.pretext.fit import TABLES, list_misfits

T = TypeVar("T")

# settings that change how a run is carried out, never what it computes; listed here and nowhere else
OPERATIONAL = ("runtime", "tracking", "study")

CHOICES: dict[str, Collection[str]] = {
    "model.family": ("electra", "roberta", "bert"),
    "model.init_scheme": ("normal", "mimetic"),
    **TABLES,
    "pretrain.optimizer": ("adamw", "muon"),
    "finetune.optimizer": ("adamw", "muon"),
    "pretrain.schedule": ("joint", "linear", "constant"),
    "finetune.schedule": ("joint", "linear", "constant"),
    "pretrain.precision": ("auto", "fp32", "bf16"),
    "finetune.precision": ("auto", "fp32", "bf16"),
    "pretrain.engine": ENGINES,
    "pretrain.budget": ("steps", "tokens", "epochs", "flops", "seconds"),
    "finetune.recipe": ("card", "preset"),
    "finetune.head": ("linear", "gelu", "tanh"),
    "finetune.pooling": ("cls", "mean"),
    "tokenizer.kind": ("wordpiece", "bpe"),
    "tokenizer.source": ("released", "general", "own"),
    "corpus.source": ("own", "own_of", "card"),
    "runtime.device": ("auto", "cpu", "cuda"),
    "runtime.compile_mode": ("default", "reduce-overhead", "max-autotune"),
    "tracking.name": ("none", "wandb"),
    "tracking.mode": ("auto", "online", "offline"),
}

WARMUP = ("warmup_steps", "warmup_fraction")  # one of the two is set

# what is allowed, and the settings it holds for (each element of a list; None is not a number)
LIMITS: list[tuple[str, Callable[[float], bool], str]] = [
    ("at least 1", lambda v: v >= 1,
     "model.hidden_size model.embedding_size model.num_layers model.num_heads model.intermediate_size "
     "model.type_vocab_size pretrain.total_steps pretrain.batch_size pretrain.micro_batch_size finetune.batch_size "
     "finetune.micro_batch_size finetune.max_steps finetune.evals_per_epoch task.max_train_examples "
     "runtime.num_threads runtime.num_workers runtime.log_every runtime.save_every runtime.keep_checkpoints "
     "study.pretrain_seeds study.finetune_seeds study.seeds_per_process"),
    ("at least 8", lambda v: v >= 8, "model.max_positions pretrain.seq_len finetune.seq_len"),
    ("at least 100", lambda v: v >= 100, "tokenizer.vocab_size"),
    ("at least 200", lambda v: v >= 200, "study.num_replicates"),
    ("at least 0", lambda v: 0 <= v < math.inf,
     "model.init_std objective.gen_weight objective.disc_weight pretrain.weight_decay pretrain.clip_norm "
     "pretrain.warmup_steps pretrain.eval_every finetune.weight_decay finetune.clip_norm finetune.warmup_steps "
     "finetune.min_steps seeds.seed seeds.init_seed seeds.data_seed seeds.mask_seed seeds.finetune_seed "
     "runtime.keep_steps"),
    ("positive", lambda v: 0 < v < math.inf,
     "model.layer_norm_eps objective.temperature pretrain.peak_lr pretrain.eps finetune.peak_lr finetune.eps "
     "finetune.lr_grid finetune.epochs tokenizer.train_mb corpus.max_mb study.general_mb pretrain.budget_amount"),
    ("between 0 and 1", lambda v: 0 <= v <= 1,
     "objective.mask_token_prob objective.random_token_prob pretrain.warmup_fraction finetune.warmup_fraction"),
    ("above 0 and below 1", lambda v: 0 < v < 1, "objective.mask_prob study.confidence study.margin"),
    ("above 0 and at most 1", lambda v: 0 < v <= 1, "model.generator_fraction finetune.layerwise_lr_decay"),
    ("at least 0 and below 1", lambda v: 0 <= v < 1,
     "model.dropout_prob model.attention_dropout_prob pretrain.momentum finetune.momentum pretrain.beta1 pretrain.beta2 finetune.beta1 finetune.beta2"),
]  # fmt: skip


def find_folder(name: str) -> Path:
    """The folder ``conf`` or ``corpora``: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside, beside = package / name, package.parent / name
    return inside if inside.is_dir() else beside


def list_choices(group: str) -> list[str]:
    """The options of a Hydra group: presets under ``conf``, cards under ``corpora``."""
    return sorted(path.stem for name in ("conf", "corpora") for path in (find_folder(name) / group).glob("*.yaml"))


def explain_setting(error: Exception, schema: type) -> str:
    """OmegaConf's complaint about one setting as one line, with the settings there are."""
    text = str(error).splitlines()[0].rstrip(".")
    key = str(getattr(error, "full_key", "") or getattr(error, "key", "") or "").partition("[")[0]
    path = key.split(".")
    last, owner = path[-1], getattr(error, "object_type", None)
    if path[0] != "hydra" or not dataclasses.is_dataclass(owner):
        owner = _find_section(schema, path[:-1])
    names = [f.name for f in dataclasses.fields(owner)]  # type: ignore[arg-type]
    if last in names:
        wanted = next(str(f.type) for f in dataclasses.fields(owner) if f.name == last)  # type: ignore[arg-type]
        fix = f"{key}.<setting>=<value>" if wanted.endswith("Config") else f"{key}=<{wanted}>"
        return f"setting {key}: {text}; give {fix}"
    near = difflib.get_close_matches(last, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"setting {key or '?'}: {text}; {hint}allowed: {', '.join(names)}"


def _find_section(schema: type, path: list[str]) -> type:
    """The dataclass that holds the setting at the end of ``path``, as far as there is one."""
    for name in path:
        factory = {f.name: f.default_factory for f in dataclasses.fields(schema)}.get(name)
        if not (isinstance(factory, type) and dataclasses.is_dataclass(factory)):
            break
        schema = factory
    return schema


def to_dataclass(raw: dict[str, Any], schema: type[T]) -> T:
    """A plain container as an instance of ``schema``; unknown keys and wrong types are refused (UserError)."""
    try:
        # merged onto the schema as a plain container: to_object alone would drop keys added with "+"
        merged = OmegaConf.merge(OmegaConf.structured(schema), _escape(raw))
        result = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(explain_setting(error, schema)) from None
    assert isinstance(result, schema)
    return result


def _escape(value: Any) -> Any:
    """A resolved container for OmegaConf: a name that holds ``${`` is no interpolation."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return escape_interpolation(value) if isinstance(value, str) else value


def _listed(value: Any) -> list[str] | None:
    if value is None:
        return None
    names = value if isinstance(value, list) else [value]
    # columns may be called 0 or true: YAML has made a number of one and a truth of the other
    return [str(name).lower() if isinstance(name, bool) else str(name) for name in names]


def _complete_task(task: TaskConfig) -> TaskConfig:
    _check_card(task)
    paths = {name: _expand_home(getattr(task, name)) for name in ("path", "validation_path", "test_path")}
    return dataclasses.replace(task, text=_listed(task.text), label=_listed(task.label), **paths)


def _expand_home(path: T) -> T:
    """A path (a start ``hf:<path>``, too) with ``~`` or ``~user`` as the shell would have it, unless there is such a file."""
    if not isinstance(path, str):
        return path
    kind, name = ("hf:", path[3:]) if path.startswith("hf:") else ("", path)
    return path if Path(name).exists() else kind + os.path.expanduser(name)  # type: ignore[return-value]


def choose_general(study: StudyConfig) -> str:
    """The text collection behind ``bookwiki``: as set, or (auto) BookWiki where the mirror has it, else docs."""
    if study.general != "auto":
        return study.general
    mirror = os.environ.get("SELFPRETRAIN_DATA")
    return "bookwiki" if mirror and (Path(mirror) / "bookwiki").is_dir() else "docs"


def _complete_tokenizer(tokenizer: TokenizerConfig, study: StudyConfig) -> TokenizerConfig:
    """With the text a general vocabulary is learnt from: the same for a single command as within a study."""
    tokenizer = dataclasses.replace(tokenizer, path=_expand_home(tokenizer.path))
    if tokenizer.source != "general" or tokenizer.card is not None:
        return tokenizer
    return dataclasses.replace(tokenizer, card=choose_general(study))


def _check_card(task: TaskConfig) -> None:
    """Refuse families and settings of ``task.finetune`` that there are not."""
    allowed = [f.name for f in dataclasses.fields(FinetuneConfig) if f.name not in ("recipe", "given", "lr_grid")]
    for family, changes in task.finetune.items():
        if family not in CHOICES["model.family"] or not isinstance(changes, dict):
            raise UserError(
                f"task.finetune has {family}: {changes}; allowed: {{<family>: {{<setting>: <value>}}}} with a family of "
                f"{', '.join(CHOICES['model.family'])}"
            )
        for name in changes:
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UserError(f"task.finetune.{family} has {name!r}; {hint}allowed: {', '.join(allowed)}")


def follow_card(settings: Settings, task: TaskConfig) -> Settings:
    """The settings for ``task``, with what its card says of fine-tuning this family where ``finetune.recipe=card``.

    The one order of precedence: default < model preset < effort < card < command line. The tiny presets and the short
    efforts say ``recipe=preset``, and so do the settings returned: their section says it all.
    """
    config = settings.finetune
    changes = dict(task.finetune.get(settings.model.family, {})) if config.recipe == "card" else {}
    fixed = set(config.given)
    if fixed & set(WARMUP):  # the two say one thing
        fixed |= set(WARMUP)
    kept = {name: value for name, value in changes.items() if name not in fixed}
    if set(kept) & set(WARMUP):
        kept = {**dict.fromkeys(WARMUP), **kept}
    plain = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    finetune = to_dataclass({**plain, **kept, "recipe": "preset"}, FinetuneConfig)
    settings = dataclasses.replace(settings, task=task, finetune=finetune)
    if kept:
        check(settings)
    return settings


def _list_given(overrides: Sequence[str]) -> list[str]:
    """The settings of fine-tuning that a command line names, by themselves or as ``finetune={...}``."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    names: set[str] = set()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        section, _, name = override.key_or_group.partition(".")
        if section == "finetune":
            value = override.value()
            names |= {name} if name else set(value) if isinstance(value, dict) else set()
    return sorted(names)


def _note_given(config: FinetuneConfig, overrides: Sequence[str]) -> FinetuneConfig:
    """A rate on the command line is the only one, unless a grid stands beside it."""
    given = _list_given(overrides)
    grid = [] if "peak_lr" in given and "lr_grid" not in given else config.lr_grid
    return dataclasses.replace(config, given=given, lr_grid=grid)


def open_config(config: DictConfig, overrides: Sequence[str] = ()) -> Settings:
    """The composed configuration as checked :class:`Settings`; ``overrides`` are those of the command line.

    Raises :class:`UserError` for unknown keys, wrong types and contradictory values.
    """
    raw = OmegaConf.to_container(config, resolve=True)
    assert isinstance(raw, dict)
    raw.pop("hydra", None)
    settings = to_dataclass({str(k): v for k, v in raw.items()}, Settings)
    settings = dataclasses.replace(
        settings,
        init=_expand_home(settings.init),
        runtime=dataclasses.replace(settings.runtime, runs_dir=_expand_home(settings.runtime.runs_dir)),
        task=_complete_task(settings.task),
        finetune=_note_given(settings.finetune, overrides),
        tokenizer=_complete_tokenizer(settings.tokenizer, settings.study),
    )
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Refuse values that are not allowed or contradict one another."""
    for key, allowed in CHOICES.items():
        value = _get(settings, key)
        if value not in allowed:
            raise UserError(f"{key}={value} is not known; allowed: {', '.join(allowed)}")
    for limit, is_allowed, keys in LIMITS:
        for key in keys.split():
            value = _get(settings, key)
            numbers, form = (value, "[<number>,...], each") if isinstance(value, list) else ([value], "<number>")
            if not all(is_allowed(number) for number in numbers if number is not None):
                raise UserError(f"{key}={value} is out of range; set {key}={form} {limit}")
    Start.parse(settings.init)
    for broken, message in _list_contradictions(settings):
        if broken:
            raise UserError(message)


def _get(settings: Settings, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(settings, section), name)


def _list_contradictions(settings: Settings) -> list[tuple[bool, str]]:
    """Whether each rule is broken, and what to say then."""
    m, o, p, f, c = settings.model, settings.objective, settings.pretrain, settings.finetune, settings.corpus
    rules = [
        (m.hidden_size % m.num_heads != 0, f"model.hidden_size={m.hidden_size} is not a multiple of model.num_heads={m.num_heads}"),
        (p.seq_len > m.max_positions, f"pretrain.seq_len={p.seq_len} is longer than model.max_positions={m.max_positions}"),
        (f.seq_len > m.max_positions, f"finetune.seq_len={f.seq_len} is longer than model.max_positions={m.max_positions}"),
        *list_misfits(m, o.name, p.packing),
        (o.mask_token_prob + o.random_token_prob > 1,
         f"objective.mask_token_prob={o.mask_token_prob} and objective.random_token_prob={o.random_token_prob} exceed 1 together"),
        (p.budget == "steps" and p.budget_amount is not None,
         f"pretrain.budget_amount={p.budget_amount} needs a budget: budget=tokens, epochs, flops or seconds; "
         "budget=steps is set by pretrain.total_steps"),
        (p.budget != "steps" and p.budget_amount is None,
         f"budget={p.budget} needs an amount: set pretrain.budget_amount=<{p.budget} of each pretraining>"),
        (c.source == "own_of" and not c.task, "corpus.source=own_of needs corpus.task=<name>"),
        (settings.tokenizer.source == "released" and not settings.tokenizer.released,
         "tokenizer.source=released needs tokenizer.released=<repo>@<commit>; or set tokenizer.source=general"),
        (c.source == "card" and not c.card, "corpus.source=card needs corpus.card=<name>"),
    ]  # fmt: skip
    for section, stage in (("pretrain", p), ("finetune", f)):
        rules += [
            (stage.warmup_steps is not None and stage.warmup_fraction is not None,
             f"{section}.warmup_steps and {section}.warmup_fraction are both set; set one to null"),
            (stage.batch_size % (stage.micro_batch_size or 1) != 0,
             f"{section}.batch_size={stage.batch_size} is not a multiple of {section}.micro_batch_size={stage.micro_batch_size}"),
        ]  # fmt: skip
    return rules


def _load_card(kind: str, name: str, schema: type[T]) -> T:
    folder = find_folder("corpora") / kind
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{kind} {name!r} has no card; {hint}known: {', '.join(known)}")
    raw = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"), resolve=True)
    assert isinstance(raw, dict)
    return to_dataclass({str(k): v for k, v in raw.items()}, schema)


@cache
def load_task_card(name: str) -> TaskConfig:
    """The card ``corpora/task/<name>.yaml``."""
    return _complete_task(_load_card("task", name, TaskConfig))


@cache
def load_text_card(name: str) -> TextCard:
    """The card ``corpora/text/<name>.yaml``."""
    return _load_card("text", name, TextCard)


def register_schema() -> None:
    """Make :class:`Settings` known to Hydra under the name ``settings``, and ``${choices:...}`` to the help texts."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="settings", node=Settings)
    OmegaConf.register_new_resolver("choices", _describe_choices, replace=True)


def _describe_choices(*groups: str) -> str:
    """A line per group; Hydra's own list has those of the other commands, too."""
    return "\n".join(f"{group}: {', '.join(list_choices(group))}" for group in groups)


def compose_settings(command: str, overrides: Sequence[str] = ()) -> Settings:
    """The settings a command line would give; for studies, tests and notebooks.

    Works inside and outside a running Hydra application.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_schema()
    if GlobalHydra.instance().is_initialized():
        return open_config(compose(command, overrides=list(overrides)), overrides)
    with initialize_config_dir(str(find_folder("conf")), version_base="1.3"):
        return open_config(compose(command, overrides=list(overrides)), overrides)


def to_plain(value: Any) -> Any:
    """A dataclass (or container) as plain dicts with every None left out and sorted keys."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): to_plain(value[k]) for k in sorted(value) if value[k] is not None}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value


def compute_identity(stage: str, parts: dict[str, Any]) -> str:
    """The id of a run: 12 hex digits of the SHA-256 of what determines its result.

    ``parts`` are the settings the stage reads and the ids of what it starts from. None is left out, so a new
    optional setting does not rename old runs; floats are written by repr, so 5e-4 and 0.0005 are one id.
    """
    text = json.dumps({"stage": stage, **to_plain(parts)}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def to_yaml(settings: Any) -> str:
    """A dataclass as YAML, for the run folder's config.yaml."""
    return OmegaConf.to_yaml(OmegaConf.create(to_plain(settings)))
