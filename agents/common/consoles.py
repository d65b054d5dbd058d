"""Where commands print: on a terminal within its width, into a pipe or a file without cutting tables."""

from __future__ import annotations

import os
from typing import IO, Any

from rich.console import Console

_UNLIMITED = 10_000
"""Width, in columns, where no terminal sets one; tables take what they need of it."""


def make_console(file: IO[str] | None = None, **options: Any) -> Console:
    """A console without highlighting; ``COLUMNS`` sets the width, as usual. ``options`` are Rich's."""
    console = Console(file=file, highlight=False, **options)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNLIMITED
    return console
