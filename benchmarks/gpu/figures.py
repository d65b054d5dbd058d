"""What an item is given and what it gives back: its setting, its figures, and why it is not possible."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ttrl_env.machine.whole_files import write_whole

DeviceType: TypeAlias = Literal["cuda", "cpu"]


class NotPossibleError(Exception):
    """This machine lacks what the item needs; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the command line decides for every item."""

    results: Path
    """The folder for files that an item writes beside its figures."""
    dry_run: bool = False
    """Tiny sizes on a CPU: tries the code, and its figures mean nothing."""
    egl_minutes: float = 10.0
    """How long CUDA and EGL share a process."""
    suite: str = "libero_spatial"
    task_id: int = 0

    @property
    def device(self) -> DeviceType:
        """Where policies compute."""
        return "cpu" if self.dry_run else "cuda"

    @property
    def rounds(self) -> int:
        """Timings of each call."""
        return 1 if self.dry_run else 20


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of one item."""

    name: str
    value: float
    unit: str
    note: str = ""
    """What belongs to it: ratios, spread, share of a bound."""


class Figures:
    """An item's figures. The file is written whole after each, so that an item that is ended keeps them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._figures: dict[str, Figure] = {}
        self._details: dict[str, Any] = {}
        self._reason = ""

    def add(self, name: str, value: float, unit: str, note: str = "") -> None:
        """Keep a figure; one of the same name is replaced."""
        self._figures[name] = Figure(name=name, value=float(value), unit=unit, note=note)
        print(f"{name}: {value:.4g} {unit}  {note}", flush=True)
        self._write()

    def detail(self, name: str, value: Any) -> None:
        """Keep what no table shows, as JSON."""
        self._details[name] = value
        self._write()

    def not_possible(self, reason: str) -> None:
        """Keep why this machine cannot do the item."""
        self._reason = reason
        self._write()

    def _write(self) -> None:
        figures = [asdict(figure) for figure in self._figures.values()]
        content = {"figures": figures, "details": self._details, "not_possible": self._reason}
        write_whole(self._file, json.dumps(content))
