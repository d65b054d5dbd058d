"""Composing a configuration from presets and the command line, with Hydra.

Keys known from SimpleVLA-RL are taken verbatim, with or without Hydra's ``+``, as far as there is a
true counterpart: see :mod:`ttrl_env.agents.aliases`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ttrl_env.agents.alias_table import ALIASES
from ttrl_env.agents.aliases import is_foreign, translate
from ttrl_env.agents.config_checks import check_config
from ttrl_env.agents.configs import EvaluateConfig, TrainConfig
from ttrl_env.checks import check_choice
from ttrl_env.errors import ConfigError, UnknownNameError

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
    ConfigStore.instance().store(name=f"{_ROOTS[schema]}_schema", node=writable(OmegaConf.structured(schema)))
    try:
        with initialize_config_module("ttrl_env.agents.presets", version_base="1.3"):
            node = compose(_ROOTS[schema], overrides=overrides)
        config = to_config(schema, node)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explained(error)) from error
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
    node = OmegaConf.merge(writable(OmegaConf.structured(schema)), values)
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


def _split(override: str, known: dict[str, Any]) -> tuple[str, str]:
    """Key, without ``+``, and value of an override; an unknown key raises with the nearest one."""
    key, equals, value = override.partition("=")
    key = key.strip().lstrip("+")
    if not equals or key.startswith("-"):
        raise ConfigError(f"{override!r}: expected key=value without dashes, e.g. env.n_samples=8")
    if key not in known and not is_foreign(key):
        raise unknown_key(override, key, [*known, *ALIASES])
    if key == "preset":
        check_choice("preset", value, preset_names())
    if key in known and isinstance(known[key].default, tuple) and not value.startswith("["):
        raise ConfigError(
            f"{override!r}: expected a list, e.g. '{key}=[{value or 0}]' (quoted for the shell)"
        )
    return key, value


def unknown_key(override: str, key: str, names: Sequence[str]) -> UnknownNameError:
    """The error for an override whose key is none of ``names``, with the nearest of them."""
    nearest = difflib.get_close_matches(key, names, n=1) or [
        name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UnknownNameError(f"{override!r}: no such key {key!r}.{hint} --help lists them.")


def _explained(error: Exception) -> str:
    """Hydra's and OmegaConf's message on one line, with its cause where it does not name it."""
    text = " ".join(str(error).split())
    reason = str(error.__cause__ or error).splitlines()[0]
    return text if reason in text else f"{text}: {reason}"


def writable(node: DictConfig) -> DictConfig:
    """Lift the write protection that OmegaConf gives frozen dataclasses: composing writes into them."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            writable(child)
    return node
