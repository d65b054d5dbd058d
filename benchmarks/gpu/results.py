"""The results of one card: ``gpu-CARD.json``, an entry an item."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ttrl_env.machine.whole_files import write_whole

DRY_RUN = "dry run"
"""The card of a run without one."""


class Results:
    """What a card has given so far, by item; the file is written whole after each."""

    def __init__(self, folder: Path, card: str, machine: dict[str, Any]) -> None:
        """Continue the file of that card, if there is one.

        Raises:
            ValueError: the file is not one of these.
        """
        self.file = folder / f"gpu-{slug(card)}.json"
        self.card = card
        before = read(self.file) if self.file.is_file() else {}
        self.items: dict[str, dict[str, Any]] = before.get("items", {})
        self._machine = machine

    def is_done(self, name: str) -> bool:
        """Whether an item need not run again."""
        return self.items.get(name, {}).get("status") == "done"

    def keep(self, name: str, entry: dict[str, Any]) -> None:
        """Add an item's entry, in place of an earlier one, and write the file."""
        self.items[name] = entry
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {"card": self.card, "machine": self._machine, "items": self.items}
        write_whole(self.file, json.dumps(content, indent=1) + "\n")


def read(file: Path) -> dict[str, Any]:
    """The results in a file; raises ``ValueError`` if it holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: expected the results of a card, got no JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("items"), dict):
        raise ValueError(f"{file}: expected the results of a card, an object with 'items'; delete the file")
    return content


def read_all(folder: Path) -> list[dict[str, Any]]:
    """The results of every card in a folder, by name; dry runs are left out."""
    found = [read(file) for file in sorted(folder.glob("gpu-*.json"))]
    return [each for each in found if each["card"] != DRY_RUN]


def slug(card: str) -> str:
    """A card's name as a part of a file's.

    >>> slug("NVIDIA H100 80GB HBM3")
    'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
