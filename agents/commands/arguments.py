"""The grammar of every command: ``ttrl COMMAND [SUBJECT] [--cfg] [key=value ...]``, or ``--help``.

``--json`` is short for ``json=true`` where a command has that key.

The subject is what a command is about: a suite, a checkpoint. It is short for the key that it sets:
``ttrl tasks libero_goal`` is ``ttrl tasks suite=libero_goal``. A command may have two, as ``ttrl push`` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ttrl_env.agents.commands.keys import print_config, print_keys
from ttrl_env.agents.commands.table import COMMANDS, usage
from ttrl_env.agents.common.interrupts import ending_at_once
from ttrl_env.agents.config.schema_fields import type_of, unwrap, walk_fields

Config = TypeVar("Config")


def read_arguments(
    command: str,
    arguments: Sequence[str],
    schema: type[Config],
    load: Callable[[Sequence[str]], Config] | None = None,
) -> Config | None:
    """The configuration that a command's arguments describe; ``None`` if it, or help, is printed instead.

    Args:
        command: its name.
        arguments: what stands behind it.
        schema: the keys of the command, for its help.
        load: makes the configuration of ``key=value`` arguments, by default with ``load_settings``. It
            imports Hydra, which help does without.
    """
    if {"-h", "--help"} & set(arguments):
        print_keys(usage(command), schema)
        return None
    overrides = key_values(command, arguments, schema)
    with ending_at_once():
        config = _load_settings(schema, overrides) if load is None else load(overrides)
    if "--cfg" in arguments:
        print_config(config)
        return None
    return config


def _load_settings(schema: type[Config], overrides: Sequence[str]) -> Config:
    from ttrl_env.agents.config.loading import load_settings

    return load_settings(schema, overrides)


def key_values(command: str, arguments: Sequence[str], schema: type[Any]) -> list[str]:
    """A command's arguments as ``key=value``, its subjects as well."""
    has_json = any(key == "json" for key, _ in walk_fields(schema))
    overrides = [
        "json=true" if has_json and argument == "--json" else argument
        for argument in arguments
        if argument != "--cfg"
    ]
    for place, (key, argument) in enumerate(zip(COMMANDS[command].subjects, overrides, strict=False)):
        if not _stands_alone(argument):
            break
        is_list = unwrap(type_of(schema, key)).plain is not str
        overrides[place] = f"{key}=[{argument}]" if is_list else f"{key}={argument}"
    return overrides


def _stands_alone(argument: str) -> bool:
    """Whether an argument is no ``key=value``; the name of a folder may hold ``=``."""
    return not argument.startswith("-") and ("=" not in argument or os.path.exists(argument))
