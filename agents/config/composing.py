"""Makes configurations from presets and overrides, with Hydra, and from saved values.

Values from files are data: neither interpolation nor Hydra's grammar applies to them.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ttrl_env.agents.config.override_values import literal_value
from ttrl_env.agents.config.schema_fields import field_types, type_of, unwrap
from ttrl_env.errors import ConfigError

Schema = TypeVar("Schema")

PRESETS = "ttrl_env.agents.config.presets"
"""The package with the preset files for Hydra."""

_PARTS_OF_JOBS = [
    f"~hydra/{part}"
    for part in ("env", "help", "hydra_help", "hydra_logging", "job_logging", "launcher", "output", "sweeper")
]
"""Hydra's settings for its own jobs. They are left out: unused here, they take half of the time."""


def compose_config(
    schema: type[Schema], settings: Sequence[tuple[str, str]], values: Mapping[str, Any] | None = None
) -> Schema:
    """Compose a schema's defaults, a preset, ``values`` and ``settings``; later ones take precedence.

    Args:
        schema: a dataclass; presets are for those that have the key ``preset``.
        settings: known keys and their values as text, in Hydra's grammar.
        values: known keys and their values as data.

    Raises:
        ConfigError: a value of the wrong type.
    """
    overrides: list[str] = []
    literal: dict[str, Any] = {}
    for key, text in settings:
        literal.pop(key, None)
        value = literal_value(key, text, type_of(schema, key))
        if value is None:
            overrides.append(f"{key}={text}")
        else:
            literal[key] = value
    given = {key for key, _ in settings}
    data = {key: value for key, value in (values or {}).items() if key not in given} | literal
    ConfigStore.instance().store(name="schema", node=_structured(schema))
    root = "train" if "preset" in field_types(schema) else "schema"
    try:
        with _hydra():
            node = compose(root, overrides=[*_PARTS_OF_JOBS, *overrides])
        for key, value in data.items():
            OmegaConf.update(node, key, _escaped(value))
        config = _typed(schema, OmegaConf.to_container(node, resolve=True, throw_on_missing=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explained(error)) from error
    return config


def to_config(schema: type[Schema], values: Any) -> Schema:
    """Make a typed configuration from a plain dictionary, such as one saved with a checkpoint.

    Raises:
        ConfigError: a key that the schema does not have, or a value of another type.
    """
    try:
        node = OmegaConf.merge(_structured(schema), _escaped(values))
        config = _typed(schema, OmegaConf.to_container(node, resolve=True, throw_on_missing=True))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(_explained(error)) from error
    return config


@contextmanager
def _hydra() -> Iterator[None]:
    """Context in which Hydra uses our presets, even inside the caller's ``@hydra.main``.

    Hydra stores one application in global variables; the caller's is restored at the end.
    """
    application, base = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    job = JobRuntime.instance().get("name")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(PRESETS, job_name=job, version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = application
        VersionBase.instance().version_base = base


def _escaped(value: Any) -> Any:
    """A value with every ``${`` escaped, so that OmegaConf does not read it as an interpolation."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, Mapping):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(each) for each in value]
    return value


def _explained(error: Exception) -> str:
    """Hydra's or OmegaConf's message on one line, with the cause and the key added."""
    text = " ".join(str(error).split())
    cause = error.__cause__ or error
    reason = str(cause).splitlines()[0]
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        reason = f"{cause.full_key}: {reason}"
    return reason if cause is error else f"{text}: {reason}"


def _structured(schema: type[Any]) -> DictConfig:
    """OmegaConf's node for a schema, with the defaults; it checks the types of values.

    It is made once and must not be changed: Hydra and ``OmegaConf.merge`` work on copies.
    """
    if schema not in _NODES:
        _NODES[schema] = OmegaConf.structured(_plain(schema))
    return _NODES[schema]


_NODES: dict[type[Any], DictConfig] = {}
"""The nodes of the schemas seen so far."""


def _plain(schema: type[Any]) -> type[Any]:
    """A copy of a schema with types that OmegaConf supports: ``Literal`` as text, groups not frozen."""
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(schema):
        type_ = unwrap(field_types(schema)[field.name])
        if type_.is_group:
            group = _plain(type_.plain)
            fields.append((field.name, group, dataclasses.field(default_factory=group)))
        else:
            plain = type_.plain
            if typing.get_origin(plain) is tuple:
                plain = types.GenericAlias(tuple, (unwrap(typing.get_args(plain)[0]).plain, ...))
            hint = plain | None if type_.optional else plain
            fields.append((field.name, hint, field.default))
    return dataclasses.make_dataclass(schema.__name__, fields, kw_only=True)


def _typed(schema: type[Schema], values: Any) -> Schema:
    """Make an instance of a schema from a dictionary of its keys."""
    given: dict[str, Any] = {}
    for name, hint in field_types(schema).items():
        value, type_ = values[name], unwrap(hint)
        if type_.is_group:
            value = _typed(type_.plain, value)
        elif isinstance(value, list):
            value = tuple(value)
        given[name] = value
    return schema(**given)
