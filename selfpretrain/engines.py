"""Who trains a pretraining, by the name that ``pretrain.engine`` has for it.

An engine is imported when it is asked for: what it is built on need not be installed otherwise.
"""

from __future__ import annotations

import pkgutil
from typing import Any

# <module>:<object>, the object being a selfpretrain.train.engine.Engine
ENGINES = {"native": "selfpretrain.train.engine:NATIVE"}


def load_engine(name: str) -> Any:
    """The engine of that name."""
    return pkgutil.resolve_name(ENGINES[name])
