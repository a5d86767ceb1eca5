"""Every setting, once: its type, default, what is allowed, and its meaning with unit and source.

No other file holds a default. ``selfpretrain settings`` prints them.

The YAML under ``conf/`` and ``corpora/`` names choices (presets, data cards); ``open_config`` is the one
door from YAML and the command line to the dataclasses below, and it refuses what it does not know.
Sources are named in brackets: [ELECTRA] google-research/electra, [RoBERTa] fairseq examples/roberta, [BERT]
google-research/bert, [TAPT] Gururangan et al. 2020, [MultiBERTs] Sellam et al. 2022, [Krishna] Krishna et al. 2023.
"""

# ruff: noqa: RUF009 - setting() makes a field
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

from selfpretrain.fields import (
    ABOVE_0_BELOW_1,
    ABOVE_0_TO_1,
    FROM_0_BELOW_1,
    FROM_0_TO_1,
    POSITIVE,
    at_least,
    setting,
)
from selfpretrain.fields import Limit as Limit
from selfpretrain.fields import MissingData as MissingData  # where all look for them
from selfpretrain.fields import UserError as UserError
from selfpretrain.starts import Start

FAMILIES = ("electra", "roberta", "bert")
ANALYSES = ("ensembles", "calibration")
SHARE_CHECKS = 3  # of gradients, in a row, after which layers part [Yang et al. 2021, arXiv 2110.03848]
SEED_FACTORS = ("init", "data", "mask")  # pretraining's kinds of chance, as seeds.<name>_seed

# a setting is one line
# fmt: off


@dataclass
class ModelConfig:
    """One Transformer encoder; for ELECTRA the discriminator, from which the generator is derived."""

    preset: str = setting("custom", help="the name under conf/model/, for tables")
    family: str = setting("electra", FAMILIES)
    hidden_size: int = setting(256, at_least(1))
    embedding_size: int = setting(128, at_least(1), "width of the token embeddings; a projection follows if it differs")
    num_layers: int = setting(12, at_least(1))
    num_heads: int = setting(4, at_least(1))
    intermediate_size: int = setting(1024, at_least(1))
    max_positions: int = setting(512, at_least(8), "longest sequence the position embeddings cover")
    type_vocab_size: int = setting(2, at_least(1), "segment ids; 1 for RoBERTa")
    dropout_prob: float = setting(0.1, FROM_0_BELOW_1)
    attention_dropout_prob: float = setting(0.1, FROM_0_BELOW_1)
    layer_norm_eps: float = setting(1e-12, POSITIVE, "1e-5 for RoBERTa")
    init_std: float = setting(0.02, at_least(0))
    init_scheme: str = setting("normal", ("normal", "mimetic"), "mimetic: Trockman & Kolter 2023, arXiv 2305.09828")
    positions: str = setting("learned", ("learned", "rotary"), "rotary: queries and keys turned by their place, no learned embedding of it [Su et al. 2021, arXiv 2104.09864]")
    generator_fraction: float = setting(0.25, ABOVE_0_TO_1, "generator width / discriminator width [ELECTRA: 0.25 small, 1/3 base]")


@dataclass
class ObjectiveConfig:
    """What pretraining predicts."""

    name: str = setting("rtd", help="rtd: ELECTRA's | mlm: RoBERTa's | mlm_nsp: BERT's, with the next-sentence task")
    mask_prob: float = setting(0.15, ABOVE_0_BELOW_1, "share of tokens chosen")
    mask_token_prob: float = setting(0.85, FROM_0_TO_1, "of the chosen: replaced by the mask token [ELECTRA 0.85, BERT 0.8]")
    random_token_prob: float = setting(0.0, FROM_0_TO_1, "of the chosen: replaced by a random token [ELECTRA 0, BERT 0.1]")
    gen_weight: float = setting(1.0, at_least(0), "weight of the generator's loss [ELECTRA]")
    disc_weight: float = setting(50.0, at_least(0), "weight of the discriminator's loss [ELECTRA]")
    temperature: float = setting(1.0, POSITIVE, "of the generator's samples [ELECTRA]")
    mlm_fraction: float = setting(0.0, FROM_0_BELOW_1, "of rtd: share of the steps in which the encoder itself learns masked tokens, before it becomes the detector")


@dataclass
class OptimConfig:
    """The optimizer and its schedule; shared by the two stages that train."""

    optimizer: str = setting("adamw", ("adamw", "muon"), "muon: the layers' matrices by their orthogonalised momentum [Jordan et al. 2024]")
    momentum: float = setting(0.95, FROM_0_BELOW_1, "muon's [torch.optim.Muon]")
    peak_lr: float = setting(5e-4, POSITIVE)
    warmup_steps: int | None = setting(None, at_least(0), "either this or warmup_fraction")
    warmup_fraction: float | None = setting(None, FROM_0_TO_1, "of all steps")
    schedule: str = setting("joint", ("joint", "linear", "constant", "polynomial"), "joint: decay * warm-up [ELECTRA]; linear: warm-up, then decay [RoBERTa]; polynomial: linear, its steps counted from 0 [fairseq]")
    weight_decay: float = setting(0.01, at_least(0))
    decay_all: bool = setting(False, help="decay biases and LayerNorm, too [fairseq]; not in [ELECTRA]")
    beta1: float = setting(0.9, FROM_0_BELOW_1)
    beta2: float = setting(0.999, FROM_0_BELOW_1)
    eps: float = setting(1e-6, POSITIVE)
    bias_correction: bool = setting(False, help="Adam's; off in [ELECTRA]")
    eps_uncorrected: bool = setting(False, help="eps is added to the root of the second moment before its bias correction [fairseq]")
    clip_norm: float = setting(1.0, at_least(0), "global gradient norm; 0 switches clipping off")
    batch_size: int = setting(128, at_least(1), "sequences (in fine-tuning, examples) per optimizer step, over all devices")
    micro_batch_size: int | None = setting(None, at_least(1), "sequences per forward pass; null: all; in fine-tuning, as many as are fast")
    seq_len: int = setting(128, at_least(8), "tokens per sequence")
    precision: str = setting("auto", ("auto", "fp32", "bf16"), "auto: bf16 on a GPU that has it (and TF32 for what stays) and, from width 256 on, on a processor that multiplies it; else fp32")
    engine: str = setting("native", help="who trains; native is the loop of this package, any other enters the id of a run")

@dataclass
class PretrainConfig(OptimConfig):
    """Pretraining on a corpus."""

    total_steps: int = setting(1_000_000, at_least(1), "with budget=steps; every other budget replaces it")
    budget: str = setting("steps", ("steps", "tokens", "epochs", "flops", "seconds"), "what sets the length (budget=<name>)")
    budget_amount: float | None = setting(None, POSITIVE, "tokens (padding counts), passes over the corpus, FLOPs by formula, or seconds of training")
    length_share: float = setting(1.0, ABOVE_0_TO_1, "of the steps or the budget, and of a warm-up in steps, that is carried out (procedure=half)")
    packing: str = setting("segments", help="segments: sentences of one document, padded [ELECTRA] | full: one run of text [RoBERTa] | pairs: two texts, the second half of the time of another document [BERT]")
    single_segment_prob: float = setting(0.1, FROM_0_TO_1, "share of segments' examples without a B [ELECTRA]")
    short_seq_prob: float = setting(0.05, FROM_0_TO_1, "share of segments' examples of random length [ELECTRA; BERT 0.1]")
    held_out_fraction: float = setting(0.02, FROM_0_BELOW_1, "of the sequences, never trained on; at least one is")
    max_held_out: int = setting(256, at_least(1), "sequences held out at most")
    eval_every: int = setting(0, at_least(0), "steps between held-out losses; 0: at the end only")
    snapshots: list[float] = setting(list, ABOVE_0_BELOW_1, "shares of the steps after which the encoder is kept, too: init=run:<id>@<step>")
    checkpoint_schedule: str | None = setting(None, help="more of them, by a rule: multiberts (28 with the last, close at the beginning) [MultiBERTs], log:<number> (with the last, from a thousandth on), every:<share>")
    weight_sharing: str = setting("none", ("none", "fixed", "adaptive", "multistep"), "the layers begin as one and part later [Yang et al. 2021, arXiv 2110.03848]: at a step | when gradients differ | group by group")
    share_until: float = setting(0.1, ABOVE_0_TO_1, "of fixed: share of the steps with tied layers [arXiv 2110.03848: 50k of 500k]")
    share_unit: int = setting(1, at_least(1), "consecutive layers that are repeated as one; divides model.num_layers")
    share_threshold: float = setting(0.5, FROM_0_TO_1, "of adaptive and multistep: correlation of neighbours' gradients below which they part [arXiv 2110.03848]")
    share_check_every: int = setting(1000, at_least(1), "of adaptive and multistep: steps between looks at it [arXiv 2110.03848]")


@dataclass
class FinetuneConfig(OptimConfig):
    """Fine-tuning one encoder on one labelled task."""

    epochs: float = setting(3.0, POSITIVE)
    min_steps: int = setting(0, at_least(0), "never fewer optimizer steps than this, however small the task")
    max_steps: int | None = setting(None, at_least(1), "never more")
    lr_grid: list[float] = setting(list, POSITIVE, "studies choose by validation score; empty: peak_lr only")
    recipe: str = setting("card", ("card", "preset"), "whether the task's card holds over the preset and the effort for this family")
    given: list[str] = setting(list, help="named on the command line, which holds over all; set by the door")
    layerwise_lr_decay: float = setting(1.0, ABOVE_0_TO_1, "0.8 [ELECTRA small/base]")
    head: str = setting("linear", ("linear", "gelu", "tanh", "pooler"), "linear [ELECTRA code], gelu (transformers' ELECTRA), tanh [RoBERTa], pooler: the pretraining's own [BERT]")
    pooling: str = setting("cls", ("cls", "mean"))
    evals_per_epoch: int = setting(1, at_least(1), "validation passes; the best checkpoint is kept")
    max_evals: int = setting(10, at_least(1), "validation passes in all, however many epochs")
    doc_stride: int = setting(128, at_least(1), "of span: tokens from one window of a context to the next, at most half of what a window holds of it [BERT run_squad.py]")
    swap_pairs: bool = setting(False, help="train on both orders of an unordered pair (double_unordered) [ELECTRA: MRPC, STS-B]")


@dataclass
class TokenizerConfig:
    """The vocabulary; an encoder carries its tokenizer with it."""

    kind: str = setting("wordpiece", ("wordpiece", "bpe"), "wordpiece is uncased [BERT], bpe byte-level [RoBERTa]")
    vocab_size: int = setting(30522, at_least(100))
    source: str = setting("own", ("released", "general", "own"), "general: trained once, shared by all corpora; own: trained on each corpus")
    released: str | None = setting(None, help="for source=released: <repo>@<commit> on the hub")
    card: str | None = setting(None, help="for source=general: a text collection; null: the study's (study.general)")
    path: str | None = setting(None, help="one at hand in place of all sources: a folder or tokenizer.json")
    train_mb: float = setting(200.0, POSITIVE, "at most this much text (MiB) is read to train it")
    min_frequency: int = setting(2, at_least(1), "occurrences that a pair needs to be merged [the recipes of tokenizers]")
    limit_alphabet: int = setting(1000, at_least(1), "characters of a wordpiece alphabet at most, and a quarter of the vocabulary [tokenizers]")


@dataclass
class CorpusConfig:
    """Which text an encoder is pretrained on."""

    source: str = setting("own", ("own", "own_of", "card", "mix", "fairseq"), "own_of: another task's own text; card: a text collection under corpora/text/; mix: several texts together; fairseq: token files of fairseq-preprocess")
    card: str | None = setting(None, help="name of the text collection, for source=card")
    task: str | None = setting(None, help="name of the other task, for source=own_of")
    path: str | None = setting(None, help="folder with train.bin, train.idx, dict.txt and encoder.json, for source=fairseq; several with : between")
    parts: list[Any] = setting(list, help="for source=mix: {source: ..., <what differs>} of each text; as large as it is, unless size_as or max_mb there cuts it")
    size_as: str | None = setting(None, ("own", None), "cut to the byte size of this corpus")
    max_mb: float | None = setting(None, POSITIVE, "cut to this many MiB of text")


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
    version: int = setting(1, help="raised whenever scores could change")
    loader: str = setting("hub", help="hub (or its mirror) | docs | local")
    hub_id: str | None = setting(None, help="owner/name")
    hub_config: str | None = None
    revision: str | None = None
    mirror: str | None = setting(None, help="folder under $SELFPRETRAIN_DATA")
    path: str | None = setting(None, help="local: training file (CSV, TSV, JSONL, Parquet, CoNLL)")
    delimiter: str | None = setting(None, help="local: comma, semicolon, tab, pipe or a character; null: seen from the content")
    encoding: str | None = setting(None, help="local: cp1252, utf-16, ...; null: seen from the content")
    validation_path: str | None = setting(None, help="local: else cut from the training file")
    test_path: str | None = setting(None, help="local: else cut from the training file")
    validation_fraction: float | None = setting(None, ABOVE_0_BELOW_1, "of the training rows, where it is cut from them; null: .1, but 50 to 2,000 rows and never above .2")
    test_fraction: float | None = setting(None, ABOVE_0_BELOW_1, "the same, cut first; null: .2 up to 2,000 rows, then 400 rows, then .1")
    id: str | None = setting(None, help="local: column with example ids; else made from the text")
    splits: dict[str, str] = setting(dict, help="train/validation/test -> the hub's split")
    num_rows: dict[str, int] = setting(dict, help="official rows per split, checked on the hub")
    allow_partial: bool = setting(False, help="hub: read it although its rows are others than the official ones, and say so")
    text: Any = setting(None, help="one column or two (a pair); with join_text any number; of token one of lists of words")
    join_text: bool = setting(False, help="the columns are one text, a line each")
    label: Any = setting(None, help="one column, or several 0/1 columns (multi-label); of token one of lists of tags")
    options: Any = setting(None, help="of a choice: a column for each option, or one of lists; a second text begins each of them")
    label_kind: str | None = setting(None, help="class | multilabel | score | choice | span | token (kinds.KINDS); null: seen from the labels (local)")
    label_names: list[str] = setting(list, help="in the order of the integer labels")
    label_map: Any = setting(None, help="evaluate: {<class of the fine-tuned run>: <the class here that it counts as>}")
    label_values: list[Any] = setting(list, help="raw values in that order, where they are not 0..n-1")
    tag_scheme: str | None = setting(None, ("iob", "iobes", "bilou", "plain", None), "of token: how tags write entities (stats.entities); iob: IOB1 and IOB2; null: seen from the training tags")
    score_range: list[float] = setting(list, help="lowest and highest score")
    metric: str | None = setting(None, help="null: accuracy, micro_auc or pearson, the first that the kind allows; one of your own is <module>:<function>, whose source is in no id")
    group: str | None = setting(None, help="column whose equal values belong together (the passage of several questions): intervals then take test examples group by group")
    server_files: dict[str, str] = setting(dict, help="submit: file for the benchmark's server -> the unlabelled split it is of, or <card>/<split>")
    server_names: bool = setting(False, help="submit: the server wants names of classes, not their numbers")
    benchmark: str | None = setting(None, help="the collection in whose published average over tasks it counts: GLUE")
    unordered_pair: bool = setting(False, help="the two texts may be swapped")
    corpus_columns: list[str] = setting(list, help="text for pretraining; empty: the text columns")
    finetune: dict[str, Any] = setting(dict, help="by model.family: {setting: value}; see finetune.recipe")
    max_train_examples: int | None = setting(None, at_least(1), "labelled examples used; the corpus keeps all the text")
    licence: str = ""
    source: str = ""
    note: str = ""


@dataclass
class SeedConfig:
    """One seed for everything, or each kind of chance by itself."""

    seed: int = setting(0, at_least(0))
    init_seed: int | None = setting(None, at_least(0), "weights at the start")
    data_seed: int | None = setting(None, at_least(0), "order of the text")
    mask_seed: int | None = setting(None, at_least(0), "masked positions and generator samples")
    finetune_seed: int = setting(0, at_least(0), "head weights, order and dropout of fine-tuning")


@dataclass
class RuntimeConfig:
    """How a run is carried out; never part of its identity."""

    runs_dir: str = "runs"
    device: str = setting("auto", ("auto", "cpu", "cuda"))
    compile: bool = setting(False, help="torch.compile")
    compile_mode: str = setting("default", ("default", "reduce-overhead", "max-autotune"), "reduce-overhead: CUDA graphs")
    num_threads: int | None = setting(None, at_least(1), "CPU threads of torch; null: torch's choice")
    num_processes: int = setting(1, at_least(1), "ranks of a pretraining or fine-tuning, by torchrun: one to a GPU, or cores shared by gloo")
    rank_timeout: float = setting(60.0, POSITIVE, "seconds; a rank that is silent for longer is gone, and the others end")
    num_workers: int = setting(2, at_least(1), "processes that tokenise a corpus")
    corpus_engine: str = setting("local", ("local", "ray"), "who tokenises a corpus: processes of this machine, or every CPU of a Ray cluster; the files are the same")
    ray_address: str | None = setting(None, help="<host>:<port> of a running Ray cluster, or auto; null: RAY_ADDRESS, else one is started here")
    log_every: int = setting(20, at_least(1), "steps between lines of metrics.jsonl")
    save_every: int = setting(500, at_least(1), "steps between checkpoints")
    keep_checkpoints: int = setting(2, at_least(1), "newest kept")
    keep_steps: list[int] = setting(list, at_least(0), "and these")
    submission_dir: str = setting("submission", help="submit: where the files for a benchmark's server are written")
    export_dir: str = setting("exported", help="export: the folder that is made")
    release_dir: str = setting("released", help="release: the folder whose folders are made")
    release_prefix: str = setting("selfpretrain", help="release: its folders are called <prefix>-seed_<seed>-step_<steps>")
    fairseq_env: str = setting(".fairseq", help="pretrain.engine=fairseq: the environment that launch/fairseq_env.sh made")
    progress: bool = setting(True, help="bars on a terminal; the lines of a study stay without them")


@dataclass
class TrackingConfig:
    """Where metrics are mirrored; the run folder always has them."""

    name: str = setting("none", ("none", "wandb"))
    project: str = "selfpretrain"
    entity: str | None = None
    mode: str = setting("auto", ("auto", "online", "offline"), "auto: online when logged in, else offline")
    checkpoints: bool = setting(False, help="finished encoders and fine-tuned models, with their vocabularies, as artifacts, too")


@dataclass
class StudyConfig:
    """Procedures x tasks x seeds."""

    name: str = "custom"
    models: list[str] = setting(list, help="presets under conf/model/")
    tasks: list[Any] = setting(list, help="names of cards, {name: <card>, <what differs>}, or files of one's own: {name: ..., path: ..., text: ..., label: ...}; empty: the task set by task=")
    label_counts: list[Any] = setting(list, help="labelled examples to fine-tune on, nested: [100,500,all]; the own text stays whole. Empty: as each task has them")
    conditions: list[str] = setting(list, help="none mimetic own bookwiki bookwiki_sized own_of:<task> mix:<text>+<text> fairseq:<text> own_then_bookwiki bookwiki_then_own offshelf tapt released:<name> <procedure>:<text> <procedure>+<procedure>:<text>")
    general: str = setting("auto", help="text collection behind the conditions bookwiki*; auto: bookwiki if the mirror has it, else docs")
    general_mb: float | None = setting(None, POSITIVE, "cut that collection to this many MiB")
    offshelf: str | None = setting(None, help="the start of conditions offshelf and tapt: hf:<repo>@<revision> or hf:<folder>")
    tapt: Any = setting(None, help="settings of pretrain that condition tapt has in place of the published ones, e.g. {batch_size: 64, micro_batch_size: 8}")
    released: Any = setting(None, help="pretrainings of several seeds that others released, conditions released:<name>: {2m: {start: 'hf:<folder>/seed_{seed}', seeds: 25}}")
    pairs: list[Any] = setting(list, help="[[<condition>, <condition>], ...]: more differences, first - second, seed by seed; that of <procedure>:<text> and <text> is one by itself")
    baseline: str = setting("none", help="the condition that Benefit and p-values are measured against")
    reference: str = setting("bookwiki", help="the condition whose gain is 100 % Benefit")
    curve: list[float] = setting(list, ABOVE_0_BELOW_1, "shares of a pretraining after which its encoder is fine-tuned, too, with the first seed: whether longer pays, on validation")
    checkpoints: list[Any] = setting(list, help="shares of a pretraining after which its encoders are fine-tuned, too, as cells of all seeds; [schedule]: those of pretrain.checkpoint_schedule")
    cross: bool = setting(False, help="every task's own encoder fine-tuned on every task, as a matrix")
    transfer: Any = setting(None, help="task -> other test sets that its runs are scored on: {mnli: [hans, snli]}; cards, or {name: ..., label_map: {<class of the task>: <class there>}}")
    models_of: dict[str, list[str]] = setting(dict, help="task -> its models, where not all of them")
    pretrain_seeds: int = setting(3, at_least(1))
    seed_factors: Any = setting(None, help="{init: 3, data: 3}: kinds of pretraining's chance (init, data, mask) and how many seeds of each, crossed, the others kept at one; null: all three change together, pretrain_seeds times")
    finetune_seeds: int = setting(1, at_least(1))
    seed_offset: int = setting(1000, at_least(1), "between the fine-tuning seeds of one pretraining and of the next")
    seeds_per_process: int = setting(1, at_least(1), "runs that differ in their seeds alone, trained together by one process: for a GPU; a CPU gains nothing (0.90x)")
    cells_per_job: int = setting(1, at_least(1), "fine-tunings and evaluations that one job carries out, one after the other: short ones are not worth a job each on Slurm")
    num_replicates: int = setting(1000, at_least(200), "resamples of the test examples, behind every interval [MultiBERTs]")
    margin: float | None = setting(None, ABOVE_0_BELOW_1, "own may be worse than the reference by this much of the metric and still be enough; null: a tenth of the reference's gain where clear, else .01")
    confidence: float = setting(0.95, ABOVE_0_BELOW_1)
    analyses: list[str] = setting(list, ANALYSES, "what the report adds, of stored predictions of classes: what two runs give together; how right their probabilities are")
    exclude_overlap: bool = setting(False, help="every table of the report a second time, without the test examples that the training split or a text of the study holds, word for word or nearly")
    effort: str = setting("custom", help="quick | standard | paper, from conf/effort/")
    cell: str | None = setting(None, help="the file of the cells to carry out, as a study wrote it")


@dataclass
class ReportConfig:
    """What is written of a study, besides what is always."""

    examples: int | None = setting(None, at_least(0), "test examples shown where two procedures disagree most, of each task, with their text; null: 5, but 0 of the user's own files")
    compare: str | None = setting(None, help="report: <study>,<study>: what differs between two reports, by name or by folder, instead of a report")
    watts: float | None = setting(None, POSITIVE, "mean power of the device that a run has for itself, measured by whoever sets it: the page then tells the energy of the study, watts x seconds of its runs; null: it tells none")


# fmt: on
@dataclass
class Settings:
    """What every command composes. Each command's identity uses the sections it reads."""

    init: str = setting("none", help="none | run:<id>[@<step>] | hf:<repo>@<revision> | hf:<folder> | fairseq:<path>")
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
    report: ReportConfig = field(default_factory=ReportConfig)
    compare: str | None = setting(None, help="report: report.compare in short")
    format: str = setting("huggingface", ("huggingface", "fairseq"), "export: whose files are written")
    power: float | None = setting(
        None,
        ABOVE_0_BELOW_1,
        "plan: the chance that is wished of finding a difference of detect; says what it would take",
    )
    detect: float = setting(
        0.01, ABOVE_0_BELOW_1, "plan: the difference that should be found, in the metric's own unit"
    )
    components: Any = setting(
        None,
        help="plan: standard deviations in place of those of the study's own runs: {seeds: .01, finetuning: .005, examples: .4}, examples of one example's difference between two procedures",
    )

    @property
    def start(self) -> Start:
        """``init``, read; the door has refused what is none."""
        return Start.parse(self.init)


def iter_settings(settings: Settings) -> Iterator[tuple[str, Field[Any], Any]]:
    """Every setting: its key on the command line, its field and its value."""
    for section in fields(settings):
        value = getattr(settings, section.name)
        if is_dataclass(value):
            yield from ((f"{section.name}.{field.name}", field, getattr(value, field.name)) for field in fields(value))
        else:
            yield section.name, section, value
