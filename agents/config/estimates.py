"""Estimates of a configuration's memory and time, checked before any work begins.

The estimates are low. A refused configuration cannot fit on this machine, or takes over a year on a fast one.
"""

from __future__ import annotations

import os

from ttrl_env import tasks
from ttrl_env.agents.config.choices import CHUNK_STEPS, ROBOTWIN_CHUNK_STEPS
from ttrl_env.agents.config.schema import EnvConfig, EvalConfig, EvaluateConfig, TrainConfig
from ttrl_env.agents.config.worlds import plays_robotwin
from ttrl_env.errors import ConfigError
from ttrl_env.machine.memory import require_memory

BYTES_PER_ROW = {"native": 4e6, "upstream": 5e8, "ray": 0.0}
"""Least memory of an additional simulation of LIBERO on this machine (docs/engine.md)."""

BYTES_PER_ROBOTWIN_ROW = 1.5e7
"""The same of RoboTwin (docs/robotwin.md)."""

STEPS_PER_SECOND = 10_000
"""Rate of policy steps, with rendering and a policy: more than 100 cores achieve."""

PAIRS_PER_SECOND = 1_000_000
"""Rate of behaviour cloning, in pairs of an image and a chunk: more than a GPU achieves."""

HELD_OUT_STATES, YEAR = 10, 365 * 24 * 3600.0


def check_training(config: TrainConfig) -> None:
    """Raise :class:`ConfigError` with the estimate if a training run cannot fit or takes over a year."""
    rows = config.env.num_groups * config.env.n_samples
    horizon = _horizon(config.env)
    if not _runs_elsewhere(config):
        _check_training_memory(config, rows * horizon)
    require_time(
        config.iterations * rows * horizon / STEPS_PER_SECOND,
        f"iterations: {config.iterations:,} of {rows:,} episodes of {horizon:,} steps",
        "lower iterations, env.num_groups or env.max_steps",
    )
    evaluations = 2 + (config.iterations // config.eval.every if config.eval.every else 0)
    _check_evaluations(config.env, config.eval, evaluations)


def _check_training_memory(config: TrainConfig, steps: int) -> None:
    rows = config.env.num_groups * config.env.n_samples
    require_memory(
        _simulations(config.env, rows) + steps * bytes_per_step(config),
        f"env.num_groups, env.n_samples: a rollout of {rows:,} simulations",
        "lower them, or divide them over several machines (docs/scaling.md)",
    )
    if config.policy.path is None:
        require_memory(
            training_bytes(config.policy.hidden_size), "policy.hidden_size: a new TinyVLA", "lower it"
        )


def _runs_elsewhere(config: TrainConfig) -> bool:
    """Whether this process only starts a run on a cluster, whose nodes check their own memory."""
    return config.launcher == "ray" and config.ray.address is not None and "WORLD_SIZE" not in os.environ


def check_evaluation(config: EvaluateConfig) -> None:
    """Raise :class:`ConfigError` with the estimate if an evaluation cannot fit in memory."""
    require_memory(
        _simulations(config.env, config.num_envs),
        f"num_envs: playing {config.num_envs:,} simulations at once",
        "lower it",
    )


def bytes_per_step(config: TrainConfig) -> int:
    """Least memory of a policy step in a rollout: its share of the image at the chunk's beginning."""
    usual = ROBOTWIN_CHUNK_STEPS if plays_robotwin(config.env) else CHUNK_STEPS
    return 3 * config.policy.image_size**2 // (config.policy.chunk_steps or usual)


def parameters(hidden_size: int, num_layers: int = 2) -> int:
    """Approximate number of a TinyVLA's weights: decoder layers, encoder and word embeddings."""
    return hidden_size * (hidden_size * (16 * num_layers + 21) + 1024)


def training_bytes(hidden_size: int, num_layers: int = 2) -> int:
    """Memory of a TinyVLA's weights, gradients and both of AdamW's moments in float32, bytes."""
    return 16 * parameters(hidden_size, num_layers)


def pair_bytes(image_size: int, hidden_size: int, chunk_steps: int) -> int:
    """Memory of a pass over one pair, bytes: image, first convolution's output and logits in float32."""
    return 4 * (image_size**2 * (3 + hidden_size // 16) + chunk_steps * 7 * 256)


def require_time(seconds: float, what: str, advice: str) -> None:
    """Raise :class:`ConfigError` if ``seconds`` are more than a year."""
    if seconds > YEAR:
        raise ConfigError(
            f"{what} would take at least {seconds / YEAR:,.1f} years on a fast machine; {advice}"
        )


def _check_evaluations(env: EnvConfig, evaluation: EvalConfig, count: int) -> None:
    repeats = evaluation.repeats if evaluation.temperature > 0 else 1
    states = min(evaluation.episodes_per_task or HELD_OUT_STATES, HELD_OUT_STATES)
    episodes = len(env.task_ids) * states * repeats
    require_time(
        count * episodes * _horizon(env) / STEPS_PER_SECOND,
        f"eval.repeats, eval.every: {count:,} evaluations of {episodes:,} episodes",
        "lower eval.repeats or raise eval.every",
    )


def _simulations(env: EnvConfig, rows: int) -> int:
    """Memory of ``rows`` simulations and their images, as far as they run on this machine, bytes."""
    processes, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return int(rows * _bytes_per_row(env) * here / processes)


def _bytes_per_row(env: EnvConfig) -> float:
    if plays_robotwin(env):
        return BYTES_PER_ROBOTWIN_ROW + 3 * env.robotwin.image_height * env.robotwin.image_width
    return BYTES_PER_ROW[env.engine] + 3 * env.image_size**2


def _horizon(env: EnvConfig) -> int:
    return env.max_steps or tasks.horizon(env.suite, env.task_ids)
