"""What settings may not be together, each rule with the line that says what fixes it."""

from __future__ import annotations

from selfpretrain.config import SHARE_CHECKS, PretrainConfig, Settings
from selfpretrain.pretext.objectives import OBJECTIVES
from selfpretrain.pretext.packing import BLOCK_BUILDERS

# settings that some kinds of weight sharing alone read
OF_SHARING = {
    "share_until": ("fixed",),
    "share_unit": ("fixed", "adaptive", "multistep"),
    "share_threshold": ("adaptive", "multistep"),
    "share_check_every": ("adaptive", "multistep"),
}


def list_contradictions(settings: Settings) -> list[tuple[bool, str]]:
    """Whether each rule is broken, and what to say then."""
    m, o, p, f, c = settings.model, settings.objective, settings.pretrain, settings.finetune, settings.corpus
    objective, packing = OBJECTIVES[o.name], BLOCK_BUILDERS[p.packing]
    num_segments = packing.num_segments
    families, fault = " or ".join(objective.families), objective.find_fault(m)
    fitting = " or ".join(name for name, other in OBJECTIVES.items() if m.family in other.families)
    narrow = " or ".join(name for name, other in BLOCK_BUILDERS.items() if other.num_segments <= m.type_vocab_size)
    paired = " or ".join(name for name, other in BLOCK_BUILDERS.items() if other.has_next)
    single = " or ".join(name for name, other in BLOCK_BUILDERS.items() if not other.has_next)
    asking = " or ".join(name for name, other in OBJECTIVES.items() if other.has_next)
    rules = [
        (m.hidden_size % m.num_heads != 0, f"model.hidden_size={m.hidden_size} is not a multiple of model.num_heads={m.num_heads}"),
        (m.positions == "rotary" and m.hidden_size % (2 * m.num_heads) != 0,
         f"model.positions=rotary turns pairs of features: model.hidden_size={m.hidden_size} is not a multiple of twice "
         f"model.num_heads={m.num_heads}"),
        (p.seq_len > m.max_positions, f"pretrain.seq_len={p.seq_len} is longer than model.max_positions={m.max_positions}"),
        (f.seq_len > m.max_positions, f"finetune.seq_len={f.seq_len} is longer than model.max_positions={m.max_positions}"),
        (m.family not in objective.families,
         f"objective.name={o.name} needs model.family={families}, not {m.family}; set objective.name={fitting}"),
        (m.type_vocab_size < num_segments,
         f"pretrain.packing={p.packing} needs model.type_vocab_size={num_segments}; set pretrain.packing={narrow}"),
        (objective.has_next and not packing.has_next,
         f"objective.name={o.name} needs to know whether a second text follows; set pretrain.packing={paired}, not {p.packing}"),
        (packing.has_next and not objective.has_next,
         f"pretrain.packing={p.packing} is for objective.name={asking}, not {o.name}; set pretrain.packing={single}"),
        (f.head == "pooler" and f.pooling != "cls",
         f"finetune.head=pooler is of the first token, not of finetune.pooling={f.pooling}; set finetune.pooling=cls"),
        (bool(fault), fault),
        (not isinstance(settings.task.label_map, (dict, type(None))),
         f"task.label_map={settings.task.label_map} is no mapping; set task.label_map={{<class of the run>: <class>}}"),
        (o.mask_token_prob + o.random_token_prob > 1,
         f"objective.mask_token_prob={o.mask_token_prob} and objective.random_token_prob={o.random_token_prob} exceed 1 together"),
        (p.budget == "steps" and p.budget_amount is not None,
         f"pretrain.budget_amount={p.budget_amount} needs a budget: budget=tokens, epochs, flops or seconds; "
         "budget=steps is set by pretrain.total_steps"),
        (p.budget != "steps" and p.budget_amount is None,
         f"budget={p.budget} needs an amount: set pretrain.budget_amount=<{p.budget} of each pretraining>"),
        (settings.study.seeds_per_process > 1 and settings.runtime.num_processes > 1,
         f"study.seeds_per_process={settings.study.seeds_per_process} stacks small models on one GPU, "
         f"runtime.num_processes={settings.runtime.num_processes} gives a large one several; set one of the two to 1"),
        (settings.compare not in (None, settings.report.compare),
         f"compare={settings.compare} is report.compare of the command report in short, which is {settings.report.compare}; leave "
         "one of the two out"),
        (c.source == "own_of" and not c.task, "corpus.source=own_of needs corpus.task=<name>"),
        (settings.tokenizer.source == "released" and not settings.tokenizer.released,
         "tokenizer.source=released needs tokenizer.released=<repo>@<commit>; or set tokenizer.source=general"),
        (c.source == "card" and not c.card, "corpus.source=card needs corpus.card=<name>"),
        ((c.source == "fairseq") != bool(c.path),
         f"corpus.source={c.source} with corpus.path={c.path}; a folder of fairseq's is corpus=fairseq corpus.path=<folder>"),
        (c.source == "mix" and len(c.parts) < 2,
         "corpus.source=mix needs two texts: corpus.parts=[{source: own}, {source: card, card: <name>}]"),
        (c.source != "mix" and bool(c.parts), f"corpus.parts is for corpus.source=mix, not {c.source}; leave it out"),
    ]  # fmt: skip
    for section, stage in (("pretrain", p), ("finetune", f)):
        rules += [
            (stage.warmup_steps is not None and stage.warmup_fraction is not None,
             f"{section}.warmup_steps and {section}.warmup_fraction are both set; set one to null"),
            (stage.batch_size % (stage.micro_batch_size or 1) != 0,
             f"{section}.batch_size={stage.batch_size} is not a multiple of {section}.micro_batch_size={stage.micro_batch_size}"),
        ]  # fmt: skip
    return rules + _list_sharing_contradictions(settings)


def find_few_checks(config: PretrainConfig) -> str:
    """What to say where layers are to part by their gradients, and its steps are too few for the checks; empty where not."""
    number, every = config.total_steps, config.share_check_every
    if config.weight_sharing not in OF_SHARING["share_check_every"] or SHARE_CHECKS * every < number:
        return ""
    return (
        f"pretrain.share_check_every={every} has not {SHARE_CHECKS} checks, after which layers may part, in the {number} "
        f"steps of a pretraining; set it below {number / SHARE_CHECKS:g}"
    )


def _list_sharing_contradictions(settings: Settings) -> list[tuple[bool, str]]:
    config, num_layers = settings.pretrain, settings.model.num_layers
    kind, unit, few_checks = config.weight_sharing, config.share_unit, find_few_checks(config)
    rules = [
        (kind != "none" and config.engine != "native",
         f"pretrain.weight_sharing={kind} needs pretrain.engine=native, not {config.engine}"),
        (kind != "none" and (num_layers % unit != 0 or num_layers == unit),
         f"pretrain.weight_sharing={kind}: model.num_layers={num_layers} is no multiple (2 or more) of "
         f"pretrain.share_unit={unit}; set one of the two"),
        (config.budget == "steps" and bool(few_checks), few_checks),
    ]  # fmt: skip
    for name, kinds in OF_SHARING.items():
        value = getattr(config, name)
        broken = kind not in kinds and value != getattr(PretrainConfig, name)
        needed = f"pretrain.weight_sharing={' or '.join(kinds)}, not {kind}"
        rules.append((broken, f"pretrain.{name}={value} is for {needed}; leave it out"))
    return rules
