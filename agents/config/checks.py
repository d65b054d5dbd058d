"""Checks of a configuration before anything is built or loaded.

Every error names the key, what was expected and what came. :mod:`ttrl_env.agents.config.bounds` checks single
fields; this module checks conditions between fields.
"""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import Any, get_args

from ttrl_env import tasks
from ttrl_env.agents.config.bounds import check_fields
from ttrl_env.agents.config.choices import TINY_VLA, GroupEstimator
from ttrl_env.agents.config.estimates import check_evaluation, check_training
from ttrl_env.agents.config.schema import (
    EnvConfig,
    EvaluateConfig,
    OpenVLATrainConfig,
    PolicyConfig,
    PPOConfig,
    RolloutConfig,
    TrainConfig,
)
from ttrl_env.agents.config.worlds import check_settings_of_world, check_sizes_of_new_policy, plays_robotwin
from ttrl_env.errors import ConfigError, SettingsWarning
from ttrl_env.temperatures import group_temperatures


def check_config(config: TrainConfig | EvaluateConfig) -> None:
    """Raise before any work is done if a value cannot work."""
    check_fields(config)
    _check_env(config.env)
    if isinstance(config, EvaluateConfig):
        _check_output(config.output)
        check_evaluation(config)
    else:
        check_training(config)
        _check_train(config)


def options_of_openvla(options: OpenVLATrainConfig) -> dict[str, Any]:
    """Options that differ from their defaults and are for an OpenVLA only; float32 suits a TinyVLA too."""
    usual = OpenVLATrainConfig()
    asked = {field.name: getattr(options, field.name) for field in fields(usual)}
    return {
        name: value
        for name, value in asked.items()
        if value != getattr(usual, name) and (name, value) != ("dtype", "float32")
    }


def warn_of_half_drgrpo(ppo: PPOConfig) -> None:
    """Give a :class:`SettingsWarning` for Dr.GRPO's advantage without its loss reduction."""
    if ppo.advantage != "drgrpo" or ppo.loss_reduction == "token-sum-norm":
        return
    depends_on = {
        "trajectory-mean": "the length of its episode",
        "token-mean": "the number of tokens in its minibatch",
    }
    warnings.warn(
        f"ppo.advantage=drgrpo is half of Dr.GRPO: with ppo.loss_reduction={ppo.loss_reduction} the weight "
        f"of a token depends on {depends_on[ppo.loss_reduction]}. Take ppo.loss_reduction=token-sum-norm, "
        f"which divides by a constant",
        SettingsWarning,
        stacklevel=3,
    )


def _check_train(config: TrainConfig) -> None:
    _check_policy(config.policy, config.env)
    group_temperatures(
        config.env.n_samples,
        config.base_temperature,
        config.temperature_range,
        test_time_rl=config.test_time_rl,
    )
    clip, highest = config.ppo.clip_ratio_c, 1 + config.ppo.clip_high
    if clip is not None and not clip > highest:
        raise ConfigError(f"ppo.clip_ratio_c: expected a number above {highest:g}, got {clip}")
    if config.ppo.critic.privileged_state and plays_robotwin(config.env):
        raise ConfigError(
            "ppo.critic.privileged_state: what a simulator knows is read of LIBERO's alone, got true with "
            "env.suite=robotwin; leave it out"
        )
    _check_filter(config.rollout)
    _check_ladder_shift(config)
    _check_groups(config)
    _check_processes(config)


def _check_policy(policy: PolicyConfig, env: EnvConfig) -> None:
    """Check the options of a new TinyVLA; a policy's loader checks those of one that is loaded."""
    if policy.path is not None:
        return
    if policy.kind not in ("auto", TINY_VLA):
        raise ConfigError(
            f"policy.path: policy.kind={policy.kind} needs a checkpoint to start from, a folder or a hub "
            f"repository, e.g. policy.path=Haozhan72/Openvla-oft-SFT-libero10-traj1"
        )
    for name, value in options_of_openvla(policy.openvla).items():
        raise ConfigError(
            f"policy.openvla.{name}: a new TinyVLA has no such option, got {value}; set policy.path to the "
            f"OpenVLA checkpoint it is meant for"
        )
    check_sizes_of_new_policy(policy, env)


def _check_env(env: EnvConfig) -> None:
    tasks.get_suite(env.suite, "env.suite")
    if not env.task_ids:
        raise ConfigError("env.task_ids: expected at least one task id, e.g. 'env.task_ids=[0]'")
    for task_id in env.task_ids:
        tasks.check_task_id(env.suite, task_id, "env.task_ids")
    if len(set(env.task_ids)) < len(env.task_ids):
        raise ConfigError(f"env.task_ids: expected each task once, got {list(env.task_ids)}")
    check_settings_of_world(env)


def _check_output(output: str | None) -> None:
    if output is not None and output.endswith((".json", ".md")):
        raise ConfigError(f"output: expected a folder for report.json and report.md, got {output}")


def _check_filter(rollout: RolloutConfig) -> None:
    low, high = rollout.accuracy_lower_bound, rollout.accuracy_upper_bound
    if low > high:
        raise ConfigError(
            f"rollout.accuracy_lower_bound, rollout.accuracy_upper_bound: expected 0 <= lower <= upper <= 1, "
            f"got {low} and {high}"
        )


def _check_ladder_shift(config: TrainConfig) -> None:
    """Raise unless there are a ladder and estimates that shift it, and every temperature stays above 0."""
    shift = config.rollout.ladder_shift
    if not shift:
        return
    if not config.test_time_rl or config.rollout.states != "mixed_outcomes":
        raise ConfigError(
            f"rollout.ladder_shift: shifts the ladder of test_time_rl=true by the success that "
            f"rollout.states=mixed_outcomes estimates, got {shift} without both; set them, or leave it at 0"
        )
    lowest = min(config.base_temperature, config.base_temperature + config.temperature_range)
    if not shift < lowest:
        raise ConfigError(
            f"rollout.ladder_shift: expected a number below the ladder's lowest temperature, {lowest:g}, got "
            f"{shift}"
        )


def _check_groups(config: TrainConfig) -> None:
    """Raise unless groups, advantage, filter and minibatches are compatible."""
    n_samples, num_groups = config.env.n_samples, config.env.num_groups
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
    if config.ppo.target_kl is not None and config.ppo.epochs == 1 and size in (0, total):
        raise ConfigError(
            f"ppo.target_kl: with ppo.epochs=1 and all trajectories in one minibatch an update has a single "
            f"step, before which the divergence is 0; raise ppo.epochs, set ppo.minibatch_trajectories, or "
            f"leave it out, got {config.ppo.target_kl}"
        )


def _check_processes(config: TrainConfig) -> None:
    """Raise unless the processes that Ray is to start can divide the groups and have the device asked for."""
    if config.launcher != "ray":
        return
    if config.env.num_groups % config.ray.num_workers:
        raise ConfigError(
            f"ray.num_workers: every process plays equally many groups; expected a divisor of "
            f"env.num_groups={config.env.num_groups}, got {config.ray.num_workers}; the nearest are "
            f"{_nearest_divisors(config.env.num_groups, config.ray.num_workers)}"
        )
    if config.ray.gpus_per_worker == 0 and config.policy.device.startswith("cuda"):
        raise ConfigError(
            f"ray.gpus_per_worker: policy.device={config.policy.device} needs a GPU for every process, got 0"
        )


def _nearest_divisors(total: int, value: int) -> str:
    divisors = [each for each in range(1, total + 1) if total % each == 0]
    below = [each for each in divisors if each < value][-1:]
    above = [each for each in divisors if each > value][:1]
    return " and ".join(str(each) for each in below + above)
