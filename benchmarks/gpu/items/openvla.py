"""Time and memory of OpenVLA-OFT 7B with random weights: forward passes and LoRA updates."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import openvla_update
from benchmarks.gpu.figures import Figures, Setting

ROWS = (8, 32, 64)
ROUNDS = 5


def measure(figures: Figures, setting: Setting) -> None:
    """Run ``benchmarks.openvla_update``; what does not fit into memory is a note and no error."""
    arguments = argparse.Namespace(
        rows=[2] if setting.dry_run else list(ROWS),
        rounds=1 if setting.dry_run else ROUNDS,
        tiny=setting.dry_run,
    )
    too_large: list[str] = []

    def report(figure: dict[str, Any]) -> None:
        recompute, compiled = figure.get("recompute", False), figure.get("compiled", False)
        name = figure_name(figure["what"], figure["rows"], recompute=recompute, compiled=compiled)
        if figure.get("out_of_memory"):
            too_large.append(name)
            figures.detail("out of memory", too_large)
            return
        peak = "" if figure["peak_gb"] is None else f", {figure['peak_gb']:.1f} GB"
        spread = f"{1e3 * figure['min_s']:.4g} to {1e3 * figure['max_s']:.4g} ms{peak}"
        figures.add(name, 1e3 * figure["median_s"], "ms", spread)

    openvla_update.measure(arguments, report)


def figure_name(what: str, rows: int, *, recompute: bool = False, compiled: bool = False) -> str:
    """What a figure is called: ``what`` is "prepare", "sample" or "update"."""
    how = (", activations recomputed" if recompute else "") + (", compiled" if compiled else "")
    return f"{what}, {rows} chunks{how}"
