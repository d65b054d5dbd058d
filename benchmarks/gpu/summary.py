"""The table of one card's results, and of all cards side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.gpu.catalogue import ITEMS
from benchmarks.worlds.tables import table

OWED = "owed"
"""What has not been measured on any card."""

Entries = Mapping[str, dict[str, Any]]


def show(entries: Entries, console: Console) -> None:
    """Print every figure, then the end of the output of what failed."""
    grid = Table("item", "figure", "result", "note")
    for row in _rows(entries):
        grid.add_row(*map(Text, row))
    console.print(grid)
    for name, entry in entries.items():
        if entry.get("tail"):
            console.print(Text(f"\n{name}: {entry['reason']}"))
            console.print(Text("\n".join(entry["tail"])))


def markdown(card: str, entries: Entries) -> str:
    """One card's results as a page."""
    failed = "".join(
        f"\n## {name}: {entry['status']}\n```\n" + "\n".join(entry["tail"]) + "\n```\n"
        for name, entry in entries.items()
        if entry.get("tail")
    )
    return f"# {card}\n" + table(("item", "figure", "result", "note"), _rows(entries)) + failed


def by_card(cards: Sequence[dict[str, Any]]) -> str:
    """A row a figure and a column a card; what no card has given is owed."""
    if not cards:
        owed = [(item.title, OWED) for item in ITEMS]
        return "**Nothing has been run on a GPU yet**: all of it is owed.\n\n" + table(
            ("what", "result"), owed
        )
    rows = []
    for item in ITEMS:
        columns = [_cells(card["items"].get(item.name)) for card in cards]
        names = list(dict.fromkeys(name for cells in columns for name in cells))
        rows += [(f"{item.title}: {name}", *(cells.get(name, "") for cells in columns)) for name in names]
        if not names:
            rows.append((item.title, *(_absence(card["items"].get(item.name)) for card in cards)))
    return table(("what", *(card["card"] for card in cards)), rows)


def _rows(entries: Entries) -> list[tuple[str, str, str, str]]:
    rows = []
    for item in ITEMS:
        entry = entries.get(item.name)
        if entry is None:
            rows.append((item.name, "", "not run", ""))
            continue
        if entry["status"] != "done" or not entry["figures"]:
            rows.append((item.name, "", entry["status"], entry.get("reason", "")))
        rows += [
            (item.name, figure["name"], f"{figure['value']:.4g} {figure['unit']}", figure["note"])
            for figure in entry["figures"]
        ]
    return rows


def _cells(entry: dict[str, Any] | None) -> dict[str, str]:
    """What a card's column shows, by figure."""
    return {
        figure["name"]: f"{figure['value']:.4g} {figure['unit']}"
        + (f" ({note})" if (note := figure["note"]) else "")
        for figure in (entry or {}).get("figures", [])
    }


def _absence(entry: dict[str, Any] | None) -> str:
    """What a card's column shows for an item without figures."""
    if entry is None:
        return OWED
    return f"{entry['status']}: {entry['reason']}" if entry.get("reason") else entry["status"]
