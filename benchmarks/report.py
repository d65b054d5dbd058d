"""Output of the benchmarks: a Markdown table, and JSON files with the machine and versions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


class Table:
    """A table of native results, the results they are compared with, and their ratios; printed row by row."""

    def __init__(self) -> None:
        """Print the header."""
        self.rows: list[dict[str, Any]] = []
        print("| what | native | compared with | ratio |\n|---|---|---|---|", flush=True)

    def add(self, what: str, native: str, other: str = "", ratio: float | None = None) -> None:
        """Print a row and store it."""
        self.rows.append({"what": what, "native": native, "compared_with": other, "ratio": ratio})
        print(f"| {what} | {native} | {other} | {'' if ratio is None else f'{ratio:.2f}'} |", flush=True)


def save(name: str, content: dict[str, Any]) -> Path:
    """Write ``benchmarks/results/<name>.json``, which starts with the machine and versions."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    return path


def machine() -> dict[str, Any]:
    """Description of the machine. Results are unreliable if its load average exceeds the number of cores."""
    packages = ("mujoco", "robosuite", "numpy", "scipy", "numba", "gymnasium")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "MUJOCO_GL": os.environ.get("MUJOCO_GL"),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
