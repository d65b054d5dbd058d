"""Help on configuration keys, taken from the schemas' own docstrings."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from dataclasses import asdict
from functools import cache
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

from ttrl_env.agents.config.alias_table import ALIASES
from ttrl_env.agents.config.alias_treatments import Renamed
from ttrl_env.agents.config.schema_fields import walk_fields


def print_keys(usage: str, schema: type[Any]) -> None:
    """Print usage, what the schema says of itself, and a table of every key, its default and its meaning."""
    console = Console(highlight=False)
    console.print(f"usage: {usage}\n\n{schema.__doc__}\n", markup=False)
    table = Table("key", "default", "meaning", box=None, pad_edge=False)
    for key, default, meaning in described_keys(schema):
        table.add_row(key, default, meaning)
    console.print(table, markup=False)
    known = {key for key, _ in walk_fields(schema)}
    names = ", ".join(
        f"{theirs} = {treatment.ours}"
        for theirs, treatment in ALIASES.items()
        if isinstance(treatment, Renamed) and treatment.ours in known
    )
    if "env.suite" not in known:
        return
    console.print(
        f"\nSimpleVLA-RL's names work too, with or without + (docs/migration.md): {names}",
        markup=False,
        soft_wrap=True,
    )


def print_config(config: Any) -> None:
    """Print a resolved configuration as YAML."""
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(OmegaConf.create(asdict(config))), end="")


def described_keys(schema: type[Any]) -> list[tuple[str, str, str]]:
    """Key, default and docstring of every field of a schema."""
    rows = []
    for key, field in walk_fields(schema):
        default = field.default if not isinstance(field.default, tuple) else list(field.default)
        rows.append((key, "null" if default is None else str(default), _meaning(schema, key)))
    return rows


def _meaning(schema: type[Any], key: str) -> str:
    """The docstring of a dotted key, from the class that holds it or one it inherits from."""
    *groups, name = key.split(".")
    for group in groups:
        schema = type(schema.__dataclass_fields__[group].default_factory())
    modules = ((sys.modules[each.__module__], (each.__name__, name)) for each in schema.__mro__[:-1])
    return next(
        docstrings[own] for module, own in modules if own in (docstrings := _field_docstrings(module))
    )


@cache
def _field_docstrings(module: ModuleType) -> dict[tuple[str, str], str]:
    """The string literal below each field of each schema of a module, by class and field name."""
    found = {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(module)))
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, docstring in zip(node.body[:-1], node.body[1:], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(docstring, ast.Expr):
                assert isinstance(field.target, ast.Name)
                found[node.name, field.target.id] = " ".join(ast.literal_eval(docstring.value).split())
    return found
