"""CUDA and EGL in one process for some minutes: others have seen such processes abort."""

from __future__ import annotations

import time

import torch

from benchmarks.gpu.figures import Figures, Setting
from benchmarks.gpu.policies import tiny_vla
from benchmarks.gpu.simulation import make_environment
from ttrl_env.agents.rollout.collect import collect_rollout

HORIZON = 80
"""Policy steps of an episode: resets and finished rows come often."""


def measure(figures: Figures, setting: Setting) -> None:
    """Play episodes with a policy on the GPU and images by EGL, as training does, until the time is over.

    A process that aborts leaves the minutes that it lasted.
    """
    policy = tiny_vla(setting.device, small=setting.dry_run)
    env = make_environment(
        setting, 2 if setting.dry_run else 16, policy.cameras, 8 if setting.dry_run else HORIZON
    )
    started, episodes = time.monotonic(), 0
    while True:
        rollout = collect_rollout(env, policy, seed=episodes)
        episodes += rollout.num_trajectories
        if not torch.isfinite(rollout.logprobs).all():
            raise SystemExit(f"log-probabilities are not finite after {episodes} episodes")
        minutes = (time.monotonic() - started) / 60
        figures.add("without a fault", minutes, "minutes", f"{episodes} episodes")
        if minutes >= setting.egl_minutes:
            break
    env.close()
