"""What a setting is made of: its field, what it may be, and the error for what it may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class UserError(ValueError):
    """A mistake of the user's: one line that says what was given, what is allowed and what fixes it; exit code 2."""


class MissingData(UserError):
    """Data that are not here and cannot be got now: no network, a download by hand, a mirror without them.

    A study shows their task as missing, with ``why`` in a few words, and goes on with its others.
    """

    def __init__(self, message: str, why: str = "cannot be got"):
        super().__init__(message)
        self.why = why


@dataclass(frozen=True)
class Limit:
    """What a number may be, in words and as a test; of a list each element, and None is no number."""

    words: str
    holds: Callable[[float], bool]


def at_least(least: int) -> Limit:
    return Limit(f"at least {least}", lambda value: least <= value < math.inf)


POSITIVE = Limit("positive", lambda value: 0 < value < math.inf)
FROM_0_TO_1 = Limit("between 0 and 1", lambda value: 0 <= value <= 1)
FROM_0_BELOW_1 = Limit("at least 0 and below 1", lambda value: 0 <= value < 1)
ABOVE_0_TO_1 = Limit("above 0 and at most 1", lambda value: 0 < value <= 1)
ABOVE_0_BELOW_1 = Limit("above 0 and below 1", lambda value: 0 < value < 1)


def setting(default: Any, allowed: Limit | tuple[str | None, ...] | None = None, help: str = "") -> Any:
    """The field of a setting: what is allowed (a limit, or names; of a list for each element) and what it means.

    The door and the listing read both.
    """
    metadata = {"allowed": allowed, "help": help}
    if isinstance(default, type):  # list or dict: an empty one for each object
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
