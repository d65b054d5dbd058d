"""The keys of a configuration's schema, and their types."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, get_args


def walk_fields(schema: type[Any], prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every key of a schema in dotted form, with its field."""
    for field in dataclasses.fields(schema):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else None
        if dataclasses.is_dataclass(default):
            yield from walk_fields(type(default), f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def walk_values(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a configuration in dotted form, with its value."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from walk_values(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def field_types(schema: type[Any]) -> dict[str, Any]:
    """The annotations of a schema's own fields, bounds included."""
    return typing.get_type_hints(schema, include_extras=True)


def type_of(schema: type[Any], key: str) -> Any:
    """The annotation, bounds included, of a key in dotted form."""
    group, _, rest = key.partition(".")
    hint = field_types(schema)[group]
    return type_of(hint, rest) if rest else hint


def unwrap(hint: Any) -> tuple[Any, bool, tuple[Any, ...]]:
    """A type without its annotations, whether it may be ``None``, and its annotations: the bounds."""
    bounds: tuple[Any, ...] = ()
    optional = False
    while True:
        if typing.get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            bounds += tuple(more)
        elif typing.get_origin(hint) in (typing.Union, types.UnionType):
            (hint,) = (each for each in get_args(hint) if each is not types.NoneType)
            optional = True
        else:
            return hint, optional, bounds
