"""Who trains, by the name that ``pretrain.engine`` and ``finetune.engine`` have for it.

An engine is imported when it is asked for: what it is built on need not be installed otherwise.
"""

from __future__ import annotations

# <module>:<object>, the object being a selfpretrain.train.engine.Engine
ENGINES = {
    "native": "selfpretrain.train.engine:NATIVE",
    "fairseq": "selfpretrain.interop.fairseq_engine:PRETRAINING",
}
FINETUNE_ENGINES = {
    "native": "selfpretrain.train.engine:NATIVE",
    "fairseq": "selfpretrain.interop.fairseq_finetuning:FINETUNING",
}
