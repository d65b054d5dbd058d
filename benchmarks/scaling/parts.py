"""The parts of an iteration, and where each number comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Part:
    """One number with its source."""

    value: float
    unit: str
    source: str
    """Where it was measured, or the arithmetic that gives it."""
    measured: bool
    """Whether a clock gave it; otherwise it is an assumption."""


Parts = Mapping[str, Part]
"""The parts by name; :data:`NAMES` says what they are."""

NAMES = {
    "control_step": "one policy step of one row (25 substeps) on one core",
    "image": "the images of one observation on one core, by software OpenGL",
    "prepare": "one image made the policy's input, on one core",
    "sample_pass": "one forward pass of the policy, whatever its rows",
    "sample_row": "one row of a forward pass",
    "update_chunk": "one chunk of an update: forward and backward pass",
    "update_step": "one step of the optimiser, and what an update takes whatever its chunks",
    "message_bytes": "an observation on its way to the policy",
    "network": "between the machines that simulate and one GPU",
    "latency": "one message and its answer",
    "gradient_bytes": "the gradients that GPUs average in a step",
    "interconnect": "between GPUs",
}


def require(parts: Parts) -> Parts:
    """The same parts; raises ``ValueError`` unless they are those of :data:`NAMES`, in positive numbers."""
    if missing := sorted(set(NAMES) - set(parts)):
        raise ValueError(f"parts: expected all of {', '.join(NAMES)}; {', '.join(missing)} are missing")
    if wrong := sorted(name for name, part in parts.items() if not part.value >= 0):
        raise ValueError(f"parts: expected numbers from 0, got {', '.join(wrong)}")
    return parts


def from_json(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Part]:
    """Parts of a file of results."""
    return {name: Part(**fields) for name, fields in content.items()}
