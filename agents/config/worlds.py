"""Settings of one benchmark's simulations that would have no effect on another's are refused by name."""

from __future__ import annotations

from ttrl_env import tasks
from ttrl_env.agents.config.schema import EnvConfig, PolicyConfig, RayActorsConfig, RoboTwinEnvConfig
from ttrl_env.checks import check_choice
from ttrl_env.errors import ConfigError
from ttrl_env.robotwin.catalogue import TASK_CONFIGS, TASKS
from ttrl_env.suites import ROBOTWIN, get_suite

_OF_LIBERO = {
    "image_size": "RoboTwin's images are env.robotwin.image_height x env.robotwin.image_width",
    "engine": "RoboTwin has one, whose worker processes are env.num_workers",
    "fixture_seed": "RoboTwin's scenes follow from an episode's seed",
    "ray": "RoboTwin plays on this machine",
}
"""Keys of ``env`` that only LIBERO's simulations have, and what RoboTwin has instead."""


def check_settings_of_world(env: EnvConfig) -> None:
    """Raise for a setting that differs from its default and is for another benchmark than ``env.suite``'s.

    Raises:
        ConfigError: names the key.
    """
    if plays_robotwin(env):
        _refuse_liberos(env)
    elif env.robotwin != (usual := RoboTwinEnvConfig()):
        changed = next(name for name, value in vars(env.robotwin).items() if value != getattr(usual, name))
        raise ConfigError(
            f"env.robotwin.{changed}: these settings are for env.suite=robotwin, got env.suite={env.suite}"
        )
    elif env.engine != "ray" and env.ray != RayActorsConfig():
        raise ConfigError(f"env.ray: these settings are for env.engine=ray, got env.engine={env.engine}")


def check_sizes_of_new_policy(policy: PolicyConfig, env: EnvConfig) -> None:
    """Raise unless a new TinyVLA can average the images of ``env`` down to its input."""
    if not plays_robotwin(env):
        if env.image_size % policy.image_size:
            raise ConfigError(
                f"policy.image_size: expected a multiple of 16 that divides env.image_size={env.image_size}, "
                f"got {policy.image_size}"
            )
        return
    smaller = min(env.robotwin.image_height, env.robotwin.image_width)
    if policy.image_size > smaller:
        raise ConfigError(
            f"policy.image_size: expected at most {smaller}, the smaller of env.robotwin.image_height and "
            f"env.robotwin.image_width, got {policy.image_size}"
        )


def plays_robotwin(env: EnvConfig) -> bool:
    """Whether RoboTwin's simulations play, else LIBERO's."""
    return get_suite(env.suite, "env.suite") == ROBOTWIN


def engine_name(env: EnvConfig) -> str:
    """What simulates, in words."""
    return "RoboTwin" if plays_robotwin(env) else env.engine


def _refuse_liberos(env: EnvConfig) -> None:
    usual = EnvConfig()
    for name, instead in _OF_LIBERO.items():
        if (value := getattr(env, name)) != getattr(usual, name):
            got = "" if name == "ray" else f", got {value}"
            raise ConfigError(
                f"env.{name}: is for LIBERO's simulations and has no effect with env.suite=robotwin{got}; "
                f"leave it out: {instead}"
            )
    check_choice("env.robotwin.task_config", env.robotwin.task_config, TASK_CONFIGS)
    if env.num_workers == 0:
        raise ConfigError(
            "env.num_workers: RoboTwin plays in processes of another Python, expected at least 1, got 0; "
            "leave it out for one a core"
        )
    _check_horizon(env)


def _check_horizon(env: EnvConfig) -> None:
    """Raise if the runtime would end an episode before ``env.max_steps``."""
    horizon = env.max_steps or tasks.horizon(env.suite, env.task_ids)
    shortest = min((TASKS[task_id] for task_id in env.task_ids), key=lambda task: task.step_limit)
    if horizon > shortest.step_limit:
        longest = "" if env.max_steps else ", the longest default of env.task_ids"
        raise ConfigError(
            f"env.max_steps: RoboTwin's runtime ends {shortest.name} after {shortest.step_limit} steps, got "
            f"{horizon}{longest}; set it to {shortest.step_limit} or less"
        )
