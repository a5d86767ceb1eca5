"""``fairseq-train`` of fairseq 0.12.2 on Python 3.11 and later; run by the Python of its own environment.

fairseq's configurations have dataclass instances as defaults. Python accepts such a default only if its class can be
hashed, so every dataclass of fairseq is made with ``unsafe_hash``; nothing else is changed.
"""

import dataclasses
import sys
from typing import Any

make_dataclass = dataclasses.dataclass


def dataclass(cls: Any = None, /, **settings: Any) -> Any:
    """``dataclasses.dataclass``, with ``unsafe_hash`` for the classes of fairseq."""

    def make(cls: Any) -> Any:
        if cls.__module__.startswith("fairseq"):
            settings.setdefault("unsafe_hash", True)
        return make_dataclass(cls, **settings)

    return make if cls is None else make(cls)


if __name__ == "__main__":
    dataclasses.dataclass = dataclass
    from fairseq_cli.train import cli_main  # type: ignore[import-not-found]

    sys.exit(cli_main())
