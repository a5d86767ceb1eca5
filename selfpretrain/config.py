"""Every setting, once: its type, default, unit and source. No other file holds a default.

The YAML under ``conf/`` and ``corpora/`` names choices (presets, data cards); ``open_config`` is the one
door from YAML and the command line to the dataclasses below, and it refuses what it does not know.
Sources are named in brackets: [ELECTRA] google-research/electra, [RoBERTa] fairseq examples/roberta,
[TAPT] Gururangan et al. 2020, [MultiBERTs] Sellam et al. 2022, [Krishna] Krishna et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class UserError(ValueError):
    """A mistake of the user's: one line that says what was given, what is allowed and what fixes it; exit code 2."""


@dataclass
class ModelConfig:
    """One Transformer encoder; for ELECTRA the discriminator, from which the generator is derived."""

    preset: str = "custom"  # the name under conf/model/, for tables
    family: str = "electra"  # electra | roberta | bert
    hidden_size: int = 256
    embedding_size: int = 128  # width of the token embeddings; a projection follows if it differs
    num_layers: int = 12
    num_heads: int = 4
    intermediate_size: int = 1024
    max_positions: int = 512  # longest sequence the position embeddings cover
    type_vocab_size: int = 2  # segment ids; 1 for RoBERTa
    dropout_prob: float = 0.1
    attention_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12  # 1e-5 for RoBERTa
    init_std: float = 0.02
    init_scheme: str = "normal"  # normal | mimetic (Trockman & Kolter 2023, arXiv 2305.09828)
    generator_fraction: float = 0.25  # generator width / discriminator width [ELECTRA: 0.25 small, 1/3 base]


@dataclass
class ObjectiveConfig:
    """What pretraining predicts."""

    name: str = "rtd"  # rtd (ELECTRA) | mlm (RoBERTa, BERT)
    mask_prob: float = 0.15  # share of tokens chosen
    mask_token_prob: float = 0.85  # of the chosen: replaced by the mask token [ELECTRA 0.85, BERT 0.8]
    random_token_prob: float = 0.0  # of the chosen: replaced by a random token [ELECTRA 0, BERT 0.1]
    gen_weight: float = 1.0  # weight of the generator's loss [ELECTRA]
    disc_weight: float = 50.0  # weight of the discriminator's loss [ELECTRA]
    temperature: float = 1.0  # of the generator's samples [ELECTRA]


@dataclass
class OptimConfig:
    """AdamW and its schedule; shared by the two stages that train."""

    peak_lr: float = 5e-4
    warmup_steps: int | None = None  # either this or warmup_fraction
    warmup_fraction: float | None = None  # of all steps
    schedule: str = "joint"  # joint: decay * warm-up [ELECTRA] | linear: warm-up, then decay [RoBERTa] | constant
    weight_decay: float = 0.01
    decay_all: bool = False  # decay biases and LayerNorm, too [fairseq]; not in [ELECTRA]
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    bias_correction: bool = False  # Adam's; off in [ELECTRA]
    clip_norm: float = 1.0  # global gradient norm; 0 switches clipping off
    batch_size: int = 128  # sequences per optimizer step, over all devices
    micro_batch_size: int | None = None  # sequences per forward pass; None: all; in fine-tuning, as many as are fast
    seq_len: int = 128  # tokens per sequence
    precision: str = "auto"  # auto: bf16 where the GPU has it (and TF32 for what stays), else fp32 | fp32 | bf16


@dataclass
class PretrainConfig(OptimConfig):
    """Pretraining on a corpus."""

    total_steps: int = 1_000_000  # with budget=steps; every other budget replaces it
    budget: str = "steps"  # what sets the length: steps | tokens | epochs | flops | seconds (budget=<name>)
    budget_amount: float | None = (
        None  # how much: tokens (padding counts), passes over the corpus, FLOPs by formula, seconds of training
    )
    packing: str = "segments"  # segments: sentences of one document, padded [ELECTRA] | full: one run of text [RoBERTa]
    eval_every: int = 0  # steps between held-out losses; 0: at the end only
    engine: str = "native"  # who trains; any but native, the loop of this package, enters the id of a run


@dataclass
class FinetuneConfig(OptimConfig):
    """Fine-tuning one encoder on one labelled task."""

    epochs: float = 3.0
    min_steps: int = 0  # never fewer optimizer steps than this, however small the task
    max_steps: int | None = None  # never more
    lr_grid: list[float] = field(default_factory=list)  # studies choose by validation score; empty: peak_lr only
    # card: what the task's card says of fine-tuning this family holds over the preset and the effort | preset: not
    recipe: str = "card"
    given: list[str] = field(default_factory=list)  # named on the command line, which holds over all; set by the door
    layerwise_lr_decay: float = 1.0  # 0.8 [ELECTRA small/base]
    head: str = "linear"  # linear [ELECTRA code] | gelu (transformers' ELECTRA) | tanh [RoBERTa]
    pooling: str = "cls"  # cls | mean
    evals_per_epoch: int = 1  # validation passes; the best checkpoint is kept
    swap_pairs: bool = False  # train on both orders of an unordered pair (double_unordered) [ELECTRA: MRPC, STS-B]


@dataclass
class TokenizerConfig:
    """The vocabulary; an encoder carries its tokenizer with it."""

    kind: str = "wordpiece"  # wordpiece (uncased) | bpe (byte-level)
    vocab_size: int = 30522
    source: str = "own"  # released | general: trained once, shared by all corpora | own: trained on each corpus
    released: str | None = None  # for source=released: <repo>@<commit> on the hub
    card: str | None = None  # for source=general: a text collection; None: the study's (study.general)
    path: str | None = None  # one at hand in place of all sources: a folder or tokenizer.json
    train_mb: float = 200.0  # at most this much text (MiB) is read to train it


@dataclass
class CorpusConfig:
    """Which text an encoder is pretrained on."""

    source: str = "own"  # own | own_of (another task's own text) | card (a text collection under corpora/text/)
    card: str | None = None  # name of the text collection, for source=card
    task: str | None = None  # name of the other task, for source=own_of
    size_as: str | None = None  # cut to the byte size of this corpus: "own"
    max_mb: float | None = None  # cut to this many MiB of text


@dataclass
class TextCard:
    """A collection of plain text (a file under corpora/text/)."""

    name: str = ""
    version: int = 1  # raised whenever the text could change
    loader: str = "hub"  # hub | docs
    parts: list[Any] = field(default_factory=list)  # hub: {hub_id, hub_config, revision, split, column}
    mirror: list[str] = field(default_factory=list)  # files under $SELFPRETRAIN_DATA
    licence: str = ""
    source: str = ""
    note: str = ""


@dataclass
class TaskConfig:
    """A labelled data set (a file under corpora/task/), or the user's own file."""

    name: str = ""
    version: int = 1  # raised whenever scores could change
    loader: str = "hub"  # hub (or its mirror) | docs | local
    hub_id: str | None = None  # owner/name
    hub_config: str | None = None
    revision: str | None = None
    mirror: str | None = None  # folder under $SELFPRETRAIN_DATA
    path: str | None = None  # local: training file (CSV, TSV, JSONL, Parquet)
    delimiter: str | None = None  # local: comma, semicolon, tab, pipe or a character; None: seen from the content
    encoding: str | None = None  # local: cp1252, utf-16, ...; None: seen from the content
    validation_path: str | None = None  # local: else cut from the training file
    test_path: str | None = None  # local: else cut from the training file
    id: str | None = None  # local: column with example ids; else made from the text
    splits: dict[str, str] = field(default_factory=dict)  # train/validation/test -> the hub's split
    num_rows: dict[str, int] = field(default_factory=dict)  # official rows per split, checked on the hub
    text: Any = None  # one column or two (a pair)
    label: Any = None  # one column, or several 0/1 columns (multi-label)
    label_kind: str | None = None  # class | multilabel | score (kinds.KINDS); None: seen from the labels (local)
    label_names: list[str] = field(default_factory=list)  # in the order of the integer labels
    label_values: list[Any] = field(default_factory=list)  # raw values in that order, where they are not 0..n-1
    score_range: list[float] = field(default_factory=list)  # lowest and highest score
    metric: str | None = None  # None: accuracy, micro_auc or pearson, the first that the kind allows
    unordered_pair: bool = False  # the two texts may be swapped
    corpus_columns: list[str] = field(default_factory=list)  # text for pretraining; empty: the text columns
    finetune: dict[str, Any] = field(default_factory=dict)  # by model.family: {setting: value}; see finetune.recipe
    max_train_examples: int | None = None  # labelled examples used; the corpus keeps all the text
    licence: str = ""
    source: str = ""
    note: str = ""


@dataclass
class SeedConfig:
    """One seed for everything, or each kind of chance by itself."""

    seed: int = 0
    init_seed: int | None = None  # weights at the start
    data_seed: int | None = None  # order of the text
    mask_seed: int | None = None  # masked positions and generator samples
    finetune_seed: int = 0  # head weights, order and dropout of fine-tuning


@dataclass
class RuntimeConfig:
    """How a run is carried out; never part of its identity."""

    runs_dir: str = "runs"
    device: str = "auto"  # auto | cpu | cuda
    compile: bool = False  # torch.compile
    compile_mode: str = "default"  # default | reduce-overhead (CUDA graphs) | max-autotune
    num_threads: int | None = None  # CPU threads of torch; None: torch's choice
    num_workers: int = 2  # processes that tokenise a corpus
    log_every: int = 20  # steps between lines of metrics.jsonl
    save_every: int = 500  # steps between checkpoints
    keep_checkpoints: int = 2  # newest kept
    keep_steps: list[int] = field(default_factory=list)  # and these
    progress: bool = True  # bars on a terminal; the lines of a study stay without them


@dataclass
class TrackingConfig:
    """Where metrics are mirrored; the run folder always has them."""

    name: str = "none"  # none | wandb
    project: str = "selfpretrain"
    entity: str | None = None
    mode: str = "auto"  # auto: online when logged in, else offline | online | offline


@dataclass
class StudyConfig:
    """Procedures x tasks x seeds."""

    name: str = "custom"
    models: list[str] = field(default_factory=list)  # presets under conf/model/
    tasks: list[Any] = field(
        default_factory=list
    )  # names of cards, or {name: ..., <what differs>}; empty: the task set by task=
    conditions: list[str] = field(
        default_factory=list
    )  # none mimetic own bookwiki bookwiki_sized own_of:<task> offshelf
    general: str = (
        "auto"  # text collection behind the conditions bookwiki*; auto: bookwiki if the mirror has it, else docs
    )
    general_mb: float | None = None  # cut that collection to this many MiB
    offshelf: str | None = None  # the start of condition offshelf: hf:<repo>@<revision> or hf:<folder>
    baseline: str = "none"  # the condition that Benefit and p-values are measured against
    reference: str = "bookwiki"  # the condition whose gain is 100 % Benefit
    cross: bool = False  # every task's own encoder fine-tuned on every task, as a matrix
    models_of: dict[str, list[str]] = field(default_factory=dict)  # task -> its models, where not all of them
    pretrain_seeds: int = 3
    finetune_seeds: int = 1
    # runs that differ in their seeds alone, trained together by one process: for a GPU; a CPU gains nothing (0.90x)
    seeds_per_process: int = 1
    num_replicates: int = 1000  # resamples of the test examples, behind every interval [MultiBERTs]
    # own may be worse than the reference by this much of the metric and still be enough (of 1: .01 is one point);
    # None: a tenth of the reference's gain where that is clear, else .01
    margin: float | None = None
    confidence: float = 0.95
    effort: str = "custom"  # quick | standard | paper, from conf/effort/
    cell: str | None = None  # the file of the cells to carry out, as a study wrote it


@dataclass(frozen=True)
class Start:
    """What an encoder begins as."""

    kind: str  # none: fresh weights | run: a pretraining of ours (for evaluate: a fine-tuning) | hf: a released checkpoint
    name: str = ""  # a run's id; <repo>@<revision> or a folder

    @classmethod
    def parse(cls, init: str) -> Start:
        """From the setting ``init``; UserError where it names no start."""
        kind, _, name = init.partition(":")
        if init == "none" or (kind in ("run", "hf") and name):
            return cls(kind, name)
        allowed = "none, run:<id>, hf:<repo>@<revision>, hf:<folder>"
        raise UserError(f"init={init} is not a start; allowed: {allowed}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def is_fresh(self) -> bool:
        return self.kind == "none"

    @property
    def run_id(self) -> str | None:
        return self.name if self.kind == "run" else None


@dataclass
class Settings:
    """What every command composes. Each command's identity uses the sections it reads."""

    init: str = "none"  # none | run:<id> | hf:<repo>@<revision> | hf:<folder>
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    study: StudyConfig = field(default_factory=StudyConfig)

    @property
    def start(self) -> Start:
        """``init``, read; the door has refused what is none."""
        return Start.parse(self.init)
