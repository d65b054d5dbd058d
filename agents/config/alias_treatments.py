"""The three treatments of another system's configuration key: renamed, stated or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ttrl_env.errors import ConfigError


@dataclass(frozen=True)
class Renamed:
    """A key with the same meaning as one of ours."""

    ours: str
    """Our key."""
    convert: Callable[[str], str] | None = None
    """Converts the value to our units; raises ``ValueError`` with the reason if that is impossible."""
    note: str = ""
    """Note for the documentation."""
    implies: Callable[[str], dict[str, str]] | None = None
    """For a value as it was given: other keys of ours, and the values that the same meaning requires unless
    the command sets them."""

    def converted(self, key: str, value: str) -> str:
        """The value in our units."""
        if self.convert is None:
            return value
        try:
            return self.convert(value)
        except ValueError as error:
            raise ConfigError(f"{key}={value}: {error}") from error


@dataclass(frozen=True)
class Stated:
    """A key for behaviour that is fixed here; other values are errors."""

    values: tuple[Any, ...]
    """Values that agree with the behaviour here."""
    because: str
    """The behaviour here, or the key of ours that changes it."""

    def holds(self, value: Any) -> bool:
        """Whether ``value`` agrees."""
        return any(
            value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values
        )


@dataclass(frozen=True)
class Refused:
    """A key for a feature that does not exist here."""

    because: str
    """The reason, and what to do instead."""


Treatment = Renamed | Stated | Refused
"""Any of the three treatments."""


def one_of(names: dict[str, str], otherwise: str) -> Callable[[str], str]:
    """A conversion that looks a value up in ``names``; others raise ``ValueError(otherwise)``."""

    def convert(value: str) -> str:
        name = value.strip("'\"").lower()
        if name not in names:
            raise ValueError(otherwise)
        return names[name]

    return convert


def at_least_one(otherwise: str) -> Callable[[str], str]:
    """A conversion that returns a count of 1 or more unchanged; others raise ``ValueError(otherwise)``."""

    def convert(value: str) -> str:
        try:
            count = int(value)
        except ValueError as error:
            raise ValueError("expected an integer") from error
        if count < 1:
            raise ValueError(otherwise)
        return value

    return convert
