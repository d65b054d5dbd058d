"""What ``python -m benchmarks.gpu`` has measured, in place of assumptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.scaling.parts import Part

_SAMPLE = re.compile(r"sample, (\d+) chunks")
_UPDATE = re.compile(r"update, (\d+) chunks, activations recomputed")


def measured_parts(card: Mapping[str, Any]) -> dict[str, Part]:
    """The parts that a card's results hold: of the policy, where OpenVLA was timed at two numbers of rows."""
    entry = card["items"].get("openvla", {})
    milliseconds = {figure["name"]: figure["value"] for figure in entry.get("figures", [])}
    source = f"benchmarks.gpu on {card['card']}"
    return {
        **_line(_points(milliseconds, _SAMPLE), "sample_pass", "sample_row", source),
        **_line(_points(milliseconds, _UPDATE), "update_step", "update_chunk", source),
    }


def _points(milliseconds: Mapping[str, float], pattern: re.Pattern[str]) -> dict[int, float]:
    """Seconds by the number of chunks."""
    found = ((pattern.fullmatch(name), value) for name, value in milliseconds.items())
    return {int(match[1]): value / 1e3 for match, value in found if match is not None}


def _line(points: Mapping[int, float], fixed: str, each: str, source: str) -> dict[str, Part]:
    """Seconds as ``fixed + each x chunks``, by least squares; nothing from fewer than two points."""
    if len(points) < 2:
        return {}
    slope, intercept = np.polyfit(list(points), list(points.values()), 1)
    values = {fixed: max(float(intercept), 0.0), each: float(slope)}
    return {name: Part(value=value, unit="s", source=source, measured=True) for name, value in values.items()}
