"""The native engine on all cores: control steps alone, and chunks that end in an image, by threads."""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks.gpu.figures import Figures, Setting
from benchmarks.gpu.simulation import CHUNK, make_engine
from benchmarks.measuring import seconds_of
from ttrl_env.machine.cores import usable_cores

WITHOUT, WITH = "control steps without images", "steps of chunks with an image each"


def measure(figures: Figures, setting: Setting) -> None:
    """Two rows a thread, for one thread and for every core, chunks of 8 actions."""
    for what, cameras in ((WITHOUT, ()), (WITH, ("agentview",))):
        alone = 0.0
        for threads in (1,) if setting.dry_run else sorted({1, usable_cores()}):
            rate = _rate(setting, cameras, threads)
            alone = alone or rate
            efficiency = f"{rate / alone / threads:.0%} of one thread's rate each"
            figures.add(f"{what}, {threads} threads", rate, "steps/s", efficiency)


def _rate(setting: Setting, cameras: tuple[str, ...], threads: int) -> float:
    """Steps a second of all rows together."""
    rows = 2 * threads
    engine = make_engine(setting, rows, cameras=cameras, num_workers=threads)
    rng, seconds = np.random.default_rng(0), []
    for _ in range(setting.rounds + 1):
        actions = rng.uniform(-1, 1, (rows, CHUNK, 7))
        seconds.append(seconds_of(engine.step, range(rows), actions, [CHUNK] * rows))
    engine.close()
    return rows * CHUNK / statistics.median(seconds[1:])  # the first uploads the scene in every thread
