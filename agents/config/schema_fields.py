"""The keys of a configuration's schema, and their types."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args


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


@dataclass(frozen=True)
class FieldType:
    """A field's annotation, taken apart."""

    plain: Any
    """The type: ``str`` for names of a ``Literal``."""
    optional: bool
    """Whether it may be ``None``."""
    choices: tuple[str, ...]
    """The names of a ``Literal``; empty for other types."""
    bounds: tuple[Any, ...]
    """The metadata of ``Annotated``, such as bounds."""

    @property
    def is_group(self) -> bool:
        """Whether the field is a group of keys."""
        return dataclasses.is_dataclass(self.plain)


def unwrap(hint: Any) -> FieldType:
    """Take a field's annotation apart."""
    bounds: tuple[Any, ...] = ()
    optional = False
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            hint, *more = get_args(hint)
            bounds += tuple(more)
        elif origin in (typing.Union, types.UnionType):
            (hint,) = (each for each in get_args(hint) if each is not types.NoneType)
            optional = True
        elif origin is Literal:
            return FieldType(str, optional, get_args(hint), bounds)
        else:
            return FieldType(hint, optional, (), bounds)
