"""How the native engine's cost grows: ``python -m benchmarks.env_throughput --growth``; takes minutes.

One property of an environment is varied at a time. Each variant is timed in turns with the standard one
(four rows, ``agentview`` at 256x256, chunks of eight). Their ratio is meaningful on a busy machine too.
Milliseconds are these ratios times the standard's overall median. Memory is measured in separate processes.
Writes ``benchmarks/results/env_growth.json`` and plots it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import save
from ttrl_env.published_scenes import CAMERAS
from ttrl_env.vector_env import TTRLVectorEnv

FIGURE = Path(__file__).parents[1] / "docs" / "images" / "engine-growth.png"

STANDARD: dict[str, Any] = {"rows": 4, "image_size": 256, "cameras": 1, "chunk_steps": 8, "tasks": 1}

VARIED: dict[str, tuple[int, ...]] = {
    "rows": (1, 2, 4, 8, 16),
    "image_size": (64, 128, 256, 512),
    "cameras": (1, 2),
    "chunk_steps": (1, 2, 4, 8, 16),
    "tasks": (1, 2, 4),
}

LABELS = {
    "rows": "replicas",
    "image_size": "image size (pixels)",
    "cameras": "cameras",
    "chunk_steps": "control steps a chunk",
    "tasks": "tasks, four rows each",
}

MEMORY = {"rows": (1, 4, 16), "tasks": (1, 2, 4)}


def main(suite: str, task_id: int, rounds: int) -> None:
    """Measure every variant, save the results and plot them."""
    standard = _make(suite, task_id, STANDARD)
    every_standard: list[float] = []
    ratios: dict[str, dict[int, float]] = {name: {} for name in VARIED}
    for name, values in VARIED.items():
        for value in values:
            setting = {**STANDARD, name: value}
            variant, reference = _in_turns(suite, task_id, setting, standard, rounds)
            every_standard += reference
            ratios[name][value] = statistics.median(variant) / statistics.median(reference)
            print(f"{name} {value}: {ratios[name][value]:.2f} of the standard's time a step", flush=True)
    standard.close()
    milliseconds = 1e3 * statistics.median(every_standard)
    memory = {
        name: {value: _memory(suite, task_id, {**STANDARD, name: value}) for value in values}
        for name, values in MEMORY.items()
    }
    content = {
        "suite": suite,
        "task_id": task_id,
        "standard": {**STANDARD, "milliseconds_per_step": milliseconds},
        "step_time_ratio": ratios,
        "resident_gigabytes": memory,
    }
    print(save("env_growth", content))
    plot(content)
    print(FIGURE)


def env_steps(setting: dict[str, Any]) -> int:
    """Number of control steps, over all rows, in one step of an environment."""
    return int(setting["rows"] * setting["chunk_steps"] * setting["tasks"])


def plot(content: dict[str, Any]) -> None:
    """Plot milliseconds of one control step of one row against each property, and memory."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10.5, 6), constrained_layout=True)
    base = content["standard"]["milliseconds_per_step"]
    for axis, (name, ratios) in zip(axes.flat, content["step_time_ratio"].items(), strict=False):
        values = [int(value) for value in ratios]
        costs = [
            base * ratio / env_steps({**STANDARD, name: value})
            for value, ratio in zip(values, ratios.values(), strict=True)
        ]
        axis.plot(values, costs, "o-", color="#1f5f8b")
        axis.set(xlabel=LABELS[name], ylabel="ms an env-step", ylim=(0, 1.1 * max(costs)), xticks=values)
        if len(values) > 3:
            axis.set_xscale("log", base=2)
            axis.set_xticks(values, labels=[str(value) for value in values])
            axis.minorticks_off()
    axis = axes.flat[-1]
    for (name, gigabytes), marker in zip(content["resident_gigabytes"].items(), "os", strict=True):
        axis.plot(
            [int(value) for value in gigabytes], list(gigabytes.values()), f"{marker}-", label=LABELS[name]
        )
    axis.set(xlabel="number", ylabel="resident memory, GB", ylim=(0, 1.1 * axis.dataLim.ymax))
    axis.legend(frameon=False)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=110)
    plt.close(figure)


def _in_turns(
    suite: str, task_id: int, setting: dict[str, Any], standard: TTRLVectorEnv, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of each step of a variant and of the standard, timed in turns for ``rounds`` rounds."""
    envs = _make(suite, task_id, setting)
    times: tuple[list[float], list[float]] = ([], [])
    rng = np.random.default_rng(0)
    for one in (envs, standard):
        one.reset(seed=0)
    for _ in range(rounds):
        for one, seconds in zip((envs, standard), times, strict=True):
            actions = rng.uniform(-1, 1, one.action_space.shape).astype(np.float32)
            start = time.perf_counter()
            one.step(actions)
            seconds.append(time.perf_counter() - start)
    envs.close()
    return times


def _make(suite: str, task_id: int, setting: dict[str, Any]) -> TTRLVectorEnv:
    """Make an environment and step it once, so that every thread has uploaded its scene."""
    envs = TTRLVectorEnv(
        suite,
        tuple(range(task_id, task_id + setting["tasks"])),
        n_samples=setting["rows"],
        chunk_steps=setting["chunk_steps"],
        image_size=setting["image_size"],
        cameras=CAMERAS[: setting["cameras"]],
        max_steps=10_000,
        autoreset_mode="disabled",
    )
    envs.reset(seed=0)
    envs.step(np.zeros(envs.action_space.shape, np.float32))
    return envs


def _memory(suite: str, task_id: int, setting: dict[str, Any]) -> float:
    """Resident memory in gigabytes of a new process with an environment of this setting."""
    script = (
        "import psutil; from benchmarks import env_growth;"
        f"envs = env_growth._make({suite!r}, {task_id}, {setting!r});"
        "print(psutil.Process().memory_full_info().pss / 1e9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    return float(done.stdout)
