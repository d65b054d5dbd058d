"""The grammar of every command: ``ttrl COMMAND [SUBJECT] [--cfg] [key=value ...]``, or ``--help``.

The subject is what a command is about: a suite, a checkpoint. It is short for the key that it sets:
``ttrl tasks libero_goal`` is ``ttrl tasks suite=libero_goal``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ttrl_env.agents.commands.keys import print_config, print_keys
from ttrl_env.agents.config.schema_fields import type_of, unwrap

Config = TypeVar("Config")


def read_arguments(
    arguments: Sequence[str],
    schema: type[Config],
    load: Callable[[Sequence[str]], Config] | None = None,
    *,
    usage: str,
    subject: str | None = None,
) -> Config | None:
    """The configuration that a command's arguments describe; ``None`` if it, or help, is printed instead.

    Args:
        arguments: what stands behind the command.
        schema: the keys of the command, for its help.
        load: makes the configuration of ``key=value`` arguments, by default with ``load_settings``. It
            imports Hydra, which help does without.
        usage: the first line of the help.
        subject: the key that the first argument sets if it stands alone.
    """
    if {"-h", "--help"} & set(arguments):
        print_keys(usage, schema)
        return None
    overrides = key_values(arguments, schema, subject)
    config = _load_settings(schema, overrides) if load is None else load(overrides)
    if "--cfg" in arguments:
        print_config(config)
        return None
    return config


def _load_settings(schema: type[Config], overrides: Sequence[str]) -> Config:
    from ttrl_env.agents.config.loading import load_settings

    return load_settings(schema, overrides)


def key_values(arguments: Sequence[str], schema: type[Any], subject: str | None) -> list[str]:
    """A command's arguments as ``key=value``, its subject as well."""
    overrides = [argument for argument in arguments if argument != "--cfg"]
    if subject is not None and overrides and _stands_alone(overrides[0]):
        is_list = unwrap(type_of(schema, subject)).plain is not str
        overrides[0] = f"{subject}=[{overrides[0]}]" if is_list else f"{subject}={overrides[0]}"
    return overrides


def _stands_alone(argument: str) -> bool:
    """Whether an argument is no ``key=value``; the name of a folder may hold ``=``."""
    return not argument.startswith("-") and ("=" not in argument or os.path.exists(argument))
