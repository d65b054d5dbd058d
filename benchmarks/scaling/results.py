"""The measured parts and the runs to check with: ``benchmarks/results/scaling.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.results import read_all
from benchmarks.report import RESULTS
from benchmarks.scaling.assumptions import OPENVLA_LORA
from benchmarks.scaling.check import ratios
from benchmarks.scaling.gpu_results import measured_parts
from benchmarks.scaling.parts import Part, from_json
from ttrl_env.machine.whole_files import write_whole

FILE = RESULTS / "scaling.json"


def save(tiny: Mapping[str, Part], vla: Mapping[str, Part], runs: Sequence[dict[str, Any]]) -> None:
    """Write the parts of a run on one core, those of OpenVLA's rollouts, and the runs."""
    parts = {
        name: {key: asdict(part) for key, part in each.items()}
        for name, each in {"tiny": tiny, "vla": vla}.items()
    }
    write_whole(FILE, json.dumps({**parts, "runs": list(runs)}, indent=1) + "\n")


def tiny_parts() -> dict[str, Part]:
    """The parts of runs that train a TinyVLA on one core."""
    return from_json(_content()["tiny"])


def vla_parts() -> dict[str, Part]:
    """The parts of OpenVLA's rollouts that run on cores."""
    return from_json(_content()["vla"])


def openvla_parts(cards: Path = RESULTS) -> dict[str, Part]:
    """The parts of OpenVLA-OFT with LoRA: measured on cores, assumed for GPUs until a card is measured.

    Of several cards the last by name counts.
    """
    on_cards: dict[str, Part] = {}
    for card in read_all(cards):
        on_cards |= measured_parts(card)
    return {**OPENVLA_LORA, **vla_parts(), **on_cards}


def runs() -> list[dict[str, Any]]:
    """The runs that the model is checked with, from :func:`benchmarks.scaling.check.summarise`."""
    return list(_content().get("runs", []))


def checks() -> list[tuple[str, dict[str, float]]]:
    """Each run's name, and measured over predicted seconds."""
    parts = tiny_parts()
    return [(run["name"], ratios(parts, run)) for run in runs()]


def _content() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8"))) if FILE.is_file() else {}
