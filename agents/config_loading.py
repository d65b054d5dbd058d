"""Composing a configuration from presets and the command line, with Hydra, and checking it.

Keys known from SimpleVLA-RL are taken verbatim, with or without Hydra's ``+``, as far as there is a
true counterpart: see :mod:`ttrl_env.agents.aliases`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_args

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ttrl_env import tasks
from ttrl_env.agents.advantages import AdvantageScale
from ttrl_env.agents.alias_table import ALIASES
from ttrl_env.agents.aliases import is_foreign, translate
from ttrl_env.agents.configs import (
    EnvConfig,
    EpisodesConfig,
    EvalConfig,
    EvaluateConfig,
    PPOConfig,
    TrainConfig,
)
from ttrl_env.checks import check_choice, check_positive_int
from ttrl_env.errors import ConfigError, UnknownNameError
from ttrl_env.rewards import RewardName
from ttrl_env.simulation import EngineName
from ttrl_env.tasks import Split
from ttrl_env.temperatures import temperature_ladder

Config = TypeVar("Config", TrainConfig, EvaluateConfig)

_PRESETS = "ttrl_env.agents.presets"

_ROOTS = {TrainConfig: "train", EvaluateConfig: "evaluate"}


def load_config(schema: type[Config], overrides: Sequence[str] = ()) -> Config:
    """Compose a configuration of ``key=value`` overrides (Hydra's grammar) and check its values.

    Raises:
        UnknownNameError: a key or preset that does not exist, with the nearest one.
        ConfigError: a value of the wrong type or out of range.
    """
    known = dict(walk_fields(schema))
    given = [_split(override, known) for override in overrides]
    overrides = [f"{key}={value}" for key, value in translate(given, known.__contains__)]
    ConfigStore.instance().store(
        name=f"{_ROOTS[schema]}_schema", node=_writable(OmegaConf.structured(schema))
    )
    try:
        with initialize_config_module("ttrl_env.agents.presets", version_base="1.3"):
            node = compose(_ROOTS[schema], overrides=overrides)
        config = to_config(schema, node)
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"{' '.join(str(error).split())}: {reason}") from error
    try:
        check_config(config)
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error)) from error
    return config


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = importlib.resources.files(_PRESETS) / "preset"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def to_config(schema: type[Config], values: Any) -> Config:
    """The typed configuration of a composed node or of a plain dictionary saved with a checkpoint."""
    node = OmegaConf.merge(_writable(OmegaConf.structured(schema)), values)
    config = OmegaConf.to_object(node)
    assert isinstance(config, schema)
    return config


def walk_fields(schema: type[Any], prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every key of a schema in dotted form, with its field."""
    for field in dataclasses.fields(schema):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else None
        if dataclasses.is_dataclass(default):
            yield from walk_fields(type(default), f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def check_config(config: TrainConfig | EvaluateConfig) -> None:
    """Raise before any work is done if a value cannot work."""
    _check_env(config.env)
    _check_episodes(config.eval)
    if isinstance(config, EvaluateConfig):
        _check_report(config)
    else:
        _check_eval(config.eval)
        _check_train(config)


def _check_train(config: TrainConfig) -> None:
    check_positive_int("policy.chunk_steps", config.policy.chunk_steps)
    if config.env.image_size % config.policy.image_size or config.policy.image_size % 16:
        raise ConfigError(
            f"policy.image_size: expected a multiple of 16 that divides env.image_size="
            f"{config.env.image_size}, got {config.policy.image_size}"
        )
    check_choice("test_time_rl_reward", config.test_time_rl_reward, get_args(RewardName))
    temperature_ladder(
        config.env.n_samples,
        config.base_temperature,
        config.temperature_range if config.test_time_rl else 0.0,
    )
    for name in ("iterations", "checkpoint_every", "keep_checkpoints"):
        check_positive_int(name, getattr(config, name))
    check_positive_int("env.n_samples", config.env.n_samples, minimum=2)  # a group of one has no advantage
    check_positive_int("env.num_groups", config.env.num_groups)
    _check_ppo(config.ppo)


def _check_env(env: EnvConfig) -> None:
    tasks.get_suite(env.suite)
    if not env.task_ids:
        raise ConfigError("env.task_ids: expected at least one task id, e.g. env.task_ids=[0]")
    for task_id in env.task_ids:
        tasks.check_task_id(env.suite, task_id, "env.task_ids")
    check_choice("env.engine", env.engine, get_args(EngineName))
    check_positive_int("env.image_size", env.image_size)
    if env.max_steps is not None:
        check_positive_int("env.max_steps", env.max_steps)


def _check_episodes(evaluation: EpisodesConfig) -> None:
    check_choice("eval.init_states", evaluation.init_states, get_args(Split))
    check_positive_int("eval.episodes_per_task", evaluation.episodes_per_task, minimum=0)
    check_positive_int("eval.repeats", evaluation.repeats)


def _check_eval(evaluation: EvalConfig) -> None:
    check_positive_int("eval.every", evaluation.every, minimum=0)
    if evaluation.temperature < 0:
        raise ConfigError(f"eval.temperature: expected 0 (greedy) or more, got {evaluation.temperature}")


def _check_report(config: EvaluateConfig) -> None:
    check_positive_int("num_envs", config.num_envs)
    check_positive_int("videos", config.videos, minimum=0)
    temperatures = config.eval.temperatures
    if not temperatures or min(temperatures) < 0 or len(set(temperatures)) < len(temperatures):
        raise ConfigError(
            f"eval.temperatures: expected different numbers of 0 (greedy) or more, e.g. [0,0.6], "
            f"got {list(temperatures)}"
        )
    if config.output is not None and config.output.endswith((".json", ".md")):
        raise ConfigError(f"output: expected a folder for report.json and report.md, got {config.output}")


def _check_ppo(ppo: PPOConfig) -> None:
    check_choice("ppo.advantage_scale", ppo.advantage_scale, get_args(AdvantageScale))
    for name in ("epochs", "micro_batch_chunks"):
        check_positive_int(f"ppo.{name}", getattr(ppo, name))
    check_positive_int("ppo.warmup_steps", ppo.warmup_steps, minimum=0)
    check_positive_int("ppo.minibatch_trajectories", ppo.minibatch_trajectories, minimum=0)
    for name in ("learning_rate", "clip_low", "clip_high", "max_grad_norm"):
        if not getattr(ppo, name) > 0:
            raise ConfigError(f"ppo.{name}: expected a number above 0, got {getattr(ppo, name)}")


def _split(override: str, known: dict[str, Any]) -> tuple[str, str]:
    """Key, without ``+``, and value of an override; an unknown key raises with the nearest one."""
    key, equals, value = override.partition("=")
    key = key.strip().lstrip("+")
    if not equals:
        raise ConfigError(f"{override!r}: expected key=value, e.g. env.n_samples=8")
    if key not in known and not is_foreign(key):
        names = [*known, *ALIASES]
        nearest = difflib.get_close_matches(key, names, n=1) or [
            name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]
        ]
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownNameError(f"{override!r}: no such key {key!r}.{hint} --help lists them.")
    if key == "preset":
        check_choice("preset", value, preset_names())
    return key, value


def _writable(node: DictConfig) -> DictConfig:
    """Lift the write protection that OmegaConf gives frozen dataclasses: composing writes into them."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _writable(child)
    return node
