"""What a configuration must satisfy, checked before anything is built or loaded.

Every error names the key, what was expected and what came.
"""

from __future__ import annotations

import math
from typing import get_args

from ttrl_env import tasks
from ttrl_env.agents.choices import AdvantageName, GroupEstimator, RatioLevel, Reduction
from ttrl_env.agents.configs import (
    EnvConfig,
    EpisodesConfig,
    EvalConfig,
    EvaluateConfig,
    PolicyConfig,
    PPOConfig,
    RolloutConfig,
    TrainConfig,
)
from ttrl_env.checks import check_choice, check_positive_int
from ttrl_env.errors import ConfigError
from ttrl_env.rewards import RewardName
from ttrl_env.simulation import EngineName
from ttrl_env.tasks import Split
from ttrl_env.temperatures import temperature_ladder


def check_config(config: TrainConfig | EvaluateConfig) -> None:
    """Raise before any work is done if a value cannot work."""
    check_positive_int("seed", config.seed, minimum=0)
    _check_env(config.env)
    _check_episodes(config.eval)
    if isinstance(config, EvaluateConfig):
        _check_report(config)
    else:
        _check_eval(config.eval)
        _check_train(config)


def _check_train(config: TrainConfig) -> None:
    _check_policy(config.policy, config.env.image_size)
    check_choice("test_time_rl_reward", config.test_time_rl_reward, get_args(RewardName))
    temperature_ladder(
        config.env.n_samples,
        config.base_temperature,
        config.temperature_range if config.test_time_rl else 0.0,
    )
    for name in ("iterations", "checkpoint_every", "keep_checkpoints"):
        check_positive_int(name, getattr(config, name))
    _check_ppo(config.ppo)
    _check_rollout(config.rollout)
    _check_groups(config)


def _check_policy(policy: PolicyConfig, env_image_size: int) -> None:
    """A new TinyVLA in full; what is loaded is checked by its loader."""
    if policy.chunk_steps is not None:
        check_positive_int("policy.chunk_steps", policy.chunk_steps)
    check_choice("policy.kind", policy.kind, ("auto", "tiny_vla", "openvla"))
    if policy.path is not None:
        return
    if policy.kind == "openvla":
        raise ConfigError(
            "policy.path: policy.kind=openvla needs a checkpoint to start from, a folder or a hub "
            "repository, e.g. policy.path=Haozhan72/Openvla-oft-SFT-libero10-traj1"
        )
    for name in ("decoding", "unnorm_key", "lora_rank", "gradient_checkpointing", "autocast"):
        if getattr(policy, name) != getattr(PolicyConfig(), name):
            raise ConfigError(
                f"policy.{name}: a new TinyVLA has no such option, got {getattr(policy, name)}; set "
                f"policy.path to the OpenVLA checkpoint it is meant for"
            )
    if env_image_size % policy.image_size or policy.image_size % 16:
        raise ConfigError(
            f"policy.image_size: expected a multiple of 16 that divides env.image_size={env_image_size}, "
            f"got {policy.image_size}"
        )


def _check_env(env: EnvConfig) -> None:
    tasks.get_suite(env.suite)
    if not env.task_ids:
        raise ConfigError("env.task_ids: expected at least one task id, e.g. env.task_ids=[0]")
    for task_id in env.task_ids:
        tasks.check_task_id(env.suite, task_id, "env.task_ids")
    check_choice("env.engine", env.engine, get_args(EngineName))
    if len(set(env.task_ids)) < len(env.task_ids):
        raise ConfigError(f"env.task_ids: expected each task once, got {list(env.task_ids)}")
    check_positive_int("env.image_size", env.image_size)
    check_positive_int("env.fixture_seed", env.fixture_seed, minimum=0)
    if env.num_workers is not None:
        check_positive_int("env.num_workers", env.num_workers, minimum=0)
    if env.max_steps is not None:
        check_positive_int("env.max_steps", env.max_steps)


def _check_episodes(evaluation: EpisodesConfig) -> None:
    check_choice("eval.init_states", evaluation.init_states, get_args(Split))
    check_positive_int("eval.episodes_per_task", evaluation.episodes_per_task, minimum=0)
    check_positive_int("eval.repeats", evaluation.repeats)


def _check_eval(evaluation: EvalConfig) -> None:
    check_positive_int("eval.every", evaluation.every, minimum=0)
    if not 0 <= evaluation.temperature < math.inf:
        raise ConfigError(f"eval.temperature: expected 0 (greedy) or more, got {evaluation.temperature}")


def _check_report(config: EvaluateConfig) -> None:
    check_positive_int("num_envs", config.num_envs)
    check_positive_int("videos", config.videos, minimum=0)
    temperatures = config.eval.temperatures
    usable = all(0 <= temperature < math.inf for temperature in temperatures)
    if not temperatures or not usable or len(set(temperatures)) < len(temperatures):
        raise ConfigError(
            f"eval.temperatures: expected different numbers of 0 (greedy) or more, e.g. [0,0.6], "
            f"got {list(temperatures)}"
        )
    if config.output is not None and config.output.endswith((".json", ".md")):
        raise ConfigError(f"output: expected a folder for report.json and report.md, got {config.output}")


def _check_rollout(rollout: RolloutConfig) -> None:
    low, high = rollout.accuracy_lower_bound, rollout.accuracy_upper_bound
    if not 0 <= low <= high <= 1:
        raise ConfigError(
            f"rollout.accuracy_lower_bound, rollout.accuracy_upper_bound: expected 0 <= lower <= upper <= 1, "
            f"got {low} and {high}"
        )
    check_positive_int("rollout.max_draws", rollout.max_draws)
    check_positive_int("rollout.rows_at_once", rollout.rows_at_once, minimum=0)


def _check_ppo(ppo: PPOConfig) -> None:
    check_choice("ppo.advantage", ppo.advantage, get_args(AdvantageName))
    check_choice("ppo.loss_reduction", ppo.loss_reduction, get_args(Reduction))
    check_choice("ppo.ratio_level", ppo.ratio_level, get_args(RatioLevel))
    for name in ("epochs", "micro_batch_chunks", "max_skipped_steps", "value_hidden_size"):
        check_positive_int(f"ppo.{name}", getattr(ppo, name))
    for name in ("warmup_steps", "minibatch_trajectories"):
        check_positive_int(f"ppo.{name}", getattr(ppo, name), minimum=0)
    for name in ("learning_rate", "clip_low", "clip_high", "max_grad_norm", "value_learning_rate"):
        _check_above("ppo." + name, getattr(ppo, name), 0)
    for name in ("memory_gigabytes", "value_clip"):
        if getattr(ppo, name) is not None:
            _check_above("ppo." + name, getattr(ppo, name), 0)
    for name in ("gamma", "gae_lambda"):
        if not 0 <= getattr(ppo, name) <= 1:
            raise ConfigError(f"ppo.{name}: expected a number from 0 to 1, got {getattr(ppo, name)}")
    for name in ("entropy_coef", "kl_coef", "value_coef", "weight_decay"):
        if not getattr(ppo, name) >= 0:
            raise ConfigError(f"ppo.{name}: expected 0 (off) or more, got {getattr(ppo, name)}")
    if ppo.clip_ratio_c is not None:
        _check_above("ppo.clip_ratio_c", ppo.clip_ratio_c, 1 + ppo.clip_high)


def _check_groups(config: TrainConfig) -> None:
    """Whether groups, advantage, filter and minibatches go together."""
    n_samples = check_positive_int("env.n_samples", config.env.n_samples)
    num_groups = check_positive_int("env.num_groups", config.env.num_groups)
    if n_samples == 1 and config.ppo.advantage in get_args(GroupEstimator):
        raise ConfigError(
            f"env.n_samples: ppo.advantage={config.ppo.advantage} compares a group's trajectories and needs "
            f"at least 2 of them, got 1; raise it, or set ppo.advantage=gae"
        )
    if n_samples == 1 and config.rollout.filter_accuracy:
        raise ConfigError(
            "rollout.filter_accuracy: the success rate of a group of one is 0 or 1, so that no group "
            "would be kept; set env.n_samples to at least 2"
        )
    size, total = config.ppo.minibatch_trajectories, num_groups * n_samples
    if size and total % size:
        raise ConfigError(
            f"ppo.minibatch_trajectories: expected a divisor of the rollout's {total} trajectories "
            f"(env.num_groups={num_groups} * env.n_samples={n_samples}), got {size}; the nearest are "
            f"{_nearest_divisors(total, size)}"
        )


def _nearest_divisors(total: int, value: int) -> str:
    divisors = [each for each in range(1, total + 1) if total % each == 0]
    below = [each for each in divisors if each < value][-1:]
    above = [each for each in divisors if each > value][:1]
    return " and ".join(str(each) for each in below + above)


def _check_above(name: str, value: float, bound: float) -> None:
    if not value > bound:
        raise ConfigError(f"{name}: expected a number above {bound:g}, got {value}")
