"""The same policy on the GPU and on the CPU: tokens, and their log-probabilities."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.figures import Figures, Setting
from benchmarks.gpu.policies import tiny_vla, tiny_vla_inputs
from benchmarks.openvla_update import random_inputs, random_policy, tiny_config
from ttrl_env.agents.policies.protocol import TokenPolicy

ROWS = 32


def measure(figures: Figures, setting: Setting) -> None:
    """A TinyVLA of the default shape in float32, and a tiny OpenVLA with adapters in bfloat16."""
    rows = 4 if setting.dry_run else ROWS
    policy = tiny_vla()
    _compare(figures, "TinyVLA", policy, tiny_vla_inputs(policy, rows), setting)
    openvla = random_policy(tiny_config(), torch.device("cpu"))
    _compare(figures, "tiny OpenVLA, bfloat16", openvla, random_inputs(openvla, rows), setting)


def _compare(figures: Figures, name: str, on_cpu: Any, inputs: dict[str, Tensor], setting: Setting) -> None:
    """The share of tokens that are equal, and how far log-probabilities of the CPU's tokens differ."""
    on_device: TokenPolicy = copy.deepcopy(on_cpu).to(setting.device)
    rows, count = len(next(iter(inputs.values()))), on_cpu.chunk_steps * 7
    temperatures = torch.linspace(0.4, 1.6, rows)
    seeds = torch.arange(rows * count).view(rows, count)
    expected = on_cpu.sample(inputs, temperatures, seeds)
    sampled = on_device.sample(inputs, temperatures, seeds)
    equal = (sampled.tokens.cpu() == expected.tokens).double().mean()
    figures.add(f"{name}: equal tokens", 100 * float(equal), "%", f"of {rows * count}")
    with torch.no_grad():
        want = on_cpu.evaluate(inputs, expected.tokens, temperatures).logprobs
        got = on_device.evaluate(inputs, expected.tokens, temperatures).logprobs.cpu()
    difference = (got - want).abs()
    note = f"mean {float(difference.mean()):.2g}"
    figures.add(f"{name}: largest difference of a log-probability", float(difference.max()), "nats", note)
