"""Rows of facts as commands list them: a table for readers, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from ttrl_env.agents.common.consoles import make_console


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, nothing: str = "") -> None:
    """Print rows of the same keys, at least one; the table shows ``nothing`` for an empty list."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(*(key.replace("_", " ") for key in rows[0]), box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            *(", ".join(cell) or nothing if isinstance(cell, list) else str(cell) for cell in row.values())
        )
    make_console().print(table, markup=False)
