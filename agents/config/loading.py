"""Composing a configuration from presets and the command line, with Hydra.

SimpleVLA-RL's keys are accepted, with or without Hydra's ``+``, if they have an exact counterpart: see
:mod:`ttrl_env.agents.config.aliases`.
"""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ttrl_env.agents.config.alias_table import ALIASES
from ttrl_env.agents.config.aliases import is_alias, translate
from ttrl_env.agents.config.bounds import as_config_error, check_fields
from ttrl_env.agents.config.checks import check_config
from ttrl_env.agents.config.composing import PRESETS, compose_config, to_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.config.schema_fields import walk_fields
from ttrl_env.agents.config.task_names import with_task_ids
from ttrl_env.checks import check_choice
from ttrl_env.errors import ConfigError, UnknownNameError

__all__ = ["load_config", "load_settings", "preset_names", "read_settings", "to_config", "walk_fields"]

Config = TypeVar("Config", bound=TrainConfig | EvaluateConfig)

Schema = TypeVar("Schema")


def load_config(
    schema: type[Config], overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> Config:
    """Compose a configuration from ``key=value`` overrides (Hydra's grammar) and check its values.

    With ``resume`` the values are those of the resumed run, except for keys in ``overrides``.

    Args:
        schema: :class:`TrainConfig` or :class:`EvaluateConfig`.
        overrides: as on the command line.
        values: keys and their values as data, not in Hydra's grammar, for keys that ``overrides`` leaves out.

    Raises:
        UnknownNameError: a key or preset that does not exist, with the nearest one.
        ConfigError: a value of the wrong type or out of range.
        CheckpointError: ``resume`` names no checkpoint, or one whose configuration cannot be read.
    """
    settings, values = read_settings(schema, overrides), dict(values or {})
    config = compose_config(schema, settings, values)
    if isinstance(config, TrainConfig) and (resumed := values_of_run(config)):
        values = {**resumed, **values}
        config = compose_config(schema, settings, values)
    with as_config_error():
        check_config(config)
    return config


def values_of_run(config: TrainConfig) -> dict[str, Any]:
    """The values, by key, of the run that ``config.resume`` continues; empty if it begins one."""
    if config.resume is None:
        return {}
    from ttrl_env.agents.config.resuming import values_to_resume  # waits for PyTorch

    return values_to_resume(config)


def load_settings(schema: type[Schema], overrides: Sequence[str]) -> Schema:
    """Compose the configuration of a command that neither trains nor evaluates, its fields checked.

    Raises:
        UnknownNameError: a key that does not exist, with the nearest one.
        ConfigError: a value of the wrong type or out of range.
    """
    config = compose_config(schema, read_settings(schema, overrides))
    check_fields(config)
    return config


def read_settings(schema: type[Any], overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Split ``key=value`` overrides into keys and values as text; translate SimpleVLA-RL's keys, and names of
    tasks.

    Raises:
        UnknownNameError: a key that does not exist, with the nearest one.
        ConfigError: an override is not ``key=value``, or a key of SimpleVLA-RL's has no counterpart.
    """
    known = dict(walk_fields(schema))
    settings = translate([_split(override, known) for override in overrides], known.__contains__)
    return with_task_ids(settings)


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = importlib.resources.files(PRESETS) / "preset"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def _split(override: str, known: dict[str, Any]) -> tuple[str, str]:
    """Key, without ``+``, and value of an override; an unknown key raises with the nearest one."""
    key, equals, value = override.partition("=")
    key = key.strip().lstrip("+")
    if not equals or key.startswith("-"):
        raise _no_setting(override, known)
    if key not in known and not is_alias(key):
        raise _unknown_key(override, key, [*known, *ALIASES])
    if key == "preset":
        check_choice("preset", value, preset_names())
    if key in known and isinstance(known[key].default, tuple) and not value.startswith("["):
        raise ConfigError(
            f"{override!r}: expected a list, e.g. '{key}=[{value or 0}]' (quoted for the shell)"
        )
    return key, value


def _no_setting(argument: str, known: dict[str, Any]) -> ConfigError:
    """The error for an argument that is not ``key=value``, with the key whose name is nearest."""
    name = argument.lstrip("-").partition("=")[0].replace("-", "_")
    nearest = difflib.get_close_matches(name, known, n=1) or list(known)
    return ConfigError(
        f"{argument!r}: expected key=value without dashes, e.g. {nearest[0]}=...; --help lists the keys"
    )


def _unknown_key(override: str, key: str, names: Sequence[str]) -> UnknownNameError:
    """The error for an override whose key is none of ``names``, with the nearest of them."""
    nearest = difflib.get_close_matches(key, names, n=1) or [
        name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UnknownNameError(f"{override!r}: no such key {key!r}.{hint} --help lists them.")
