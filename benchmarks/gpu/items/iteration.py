"""One iteration of test-time RL with OpenVLA-OFT 7B (random weights, LoRA) on a LIBERO task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from benchmarks.gpu.figures import Figures, Setting
from benchmarks.gpu.simulation import make_environment
from benchmarks.openvla_update import published_config, random_policy, tiny_config
from ttrl_env import tasks
from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.ppo import PPOAgent

SAMPLES = 8
MICRO_BATCH = 8


def measure(figures: Figures, setting: Setting) -> None:
    """Roll a group out to the horizon and update on it, as ``ttrl train`` does; seconds of each part.

    Random weights never succeed, and a group without spread teaches nothing: every second trajectory is
    therefore rewarded, after the rollout.
    """
    horizon = 8 if setting.dry_run else tasks.get_suite(setting.suite).horizon
    rows = 2 if setting.dry_run else SAMPLES
    env = make_environment(setting, rows, ("agentview",), horizon)
    config = tiny_config() if setting.dry_run else published_config()
    policy = random_policy(config, torch.device(setting.device))
    policy.model.enable_gradient_checkpointing()
    agent = PPOAgent(policy, PPOConfig(learning_rate=1e-5, micro_batch_chunks=MICRO_BATCH))
    rollout = collect_rollout(env, policy, seed=0)
    note = f"{rows} rows of {horizon} steps"
    figures.add("simulation", rollout.simulation_seconds, "s", note)
    figures.add("policy", rollout.policy_seconds, "s", note)
    report = agent.update(every_second_rewarded(rollout), seed=0)
    chunks = len(rollout.tokens)
    figures.add(
        "update", report.seconds, "s", f"{chunks} chunks, {MICRO_BATCH} at once, activations recomputed"
    )
    total = rollout.simulation_seconds + rollout.policy_seconds + report.seconds
    figures.add("whole iteration", total, "s", note)
    if torch.cuda.is_available():
        figures.add("peak memory", torch.cuda.max_memory_allocated() / 1e9, "GB")
    env.close()
    if not report.steps:
        raise SystemExit("the update took no step")


def every_second_rewarded(rollout: Rollout) -> Rollout:
    """The rollout with rewards of 1 and 0 in turn."""
    return replace(rollout, rewards=(np.arange(rollout.num_trajectories) % 2).astype(np.float64))
