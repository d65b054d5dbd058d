"""Time of TinyVLA: sampling a chunk a row, and a training step on a micro-batch."""

from __future__ import annotations

import statistics

import torch

from benchmarks.gpu.figures import Figures, Setting
from benchmarks.gpu.policies import tiny_vla, tiny_vla_inputs
from benchmarks.torch_timing import timed


def measure(figures: Figures, setting: Setting) -> None:
    """The default TinyVLA at several numbers of rows."""
    policy = tiny_vla(setting.device, small=setting.dry_run)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4)
    for rows in (2,) if setting.dry_run else (8, 64, 256):
        inputs, temperatures = tiny_vla_inputs(policy, rows), torch.linspace(0.4, 1.6, rows)
        seeds = torch.arange(rows * policy.chunk_steps * 7).view(rows, -1)
        tokens = torch.randint(256, seeds.shape)

        def sample() -> None:
            policy.sample(inputs, temperatures, seeds)  # noqa: B023  called before the next round

        def update() -> None:
            policy.evaluate(inputs, tokens, temperatures).logprobs.mean().backward()  # noqa: B023
            optimizer.step()
            optimizer.zero_grad()

        for name, call in (("sample", sample), ("training step", update)):
            seconds, peak = timed(call, setting.rounds)
            spread = f"{1e3 * min(seconds):.3g} to {1e3 * max(seconds):.3g} ms, {peak / 1e9:.2f} GB"
            figures.add(f"{name}, {rows} chunks", 1e3 * statistics.median(seconds), "ms", spread)
