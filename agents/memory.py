"""Whether something fits into memory, asked before it is begun."""

from __future__ import annotations

import psutil

from ttrl_env.errors import ConfigError


def require_memory(num_bytes: int, what: str, advice: str) -> None:
    """Raise :class:`ConfigError` with the figure unless so much memory is free.

    Args:
        num_bytes: an estimate, bytes.
        what: names the argument and what needs it, as the beginning of a sentence.
        advice: what to do instead.
    """
    free = psutil.virtual_memory().available
    if num_bytes > free:
        raise ConfigError(
            f"{what} needs about {num_bytes / 1e9:,.3g} GB of memory, and {free / 1e9:,.3g} GB are free; "
            f"{advice}"
        )
