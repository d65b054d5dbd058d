"""Small argument checks whose errors name the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttrl_env.errors import unknown_name


def check_positive_int(argument: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as an ``int`` of at least ``minimum``, else raise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{argument}: expected an integer of at least {minimum}, got {value!r}")
    if value < minimum:
        raise ValueError(f"{argument}: expected an integer of at least {minimum}, got {value}")
    return int(value)


def check_choice(argument: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise with the nearest."""
    if value not in choices:
        raise unknown_name(argument, value, choices)
    return str(value)


def check_options(argument: str, options: Mapping[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """Return a copy of ``options`` if it has only known keys, else raise with the nearest."""
    options = dict(options or {})
    for key in options:
        check_choice(f"{argument}[{key!r}]", key, known)
    return options
