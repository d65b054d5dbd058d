"""What can be done with a configuration key of another system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ttrl_env.errors import ConfigError


@dataclass(frozen=True)
class Renamed:
    """A key that means what one of ours does."""

    ours: str
    """Our key."""
    convert: Callable[[str], str] | None = None
    """Their value in our units; raises ``ValueError`` with the reason where there is none."""
    note: str = ""
    """What the documentation adds."""
    implies: Callable[[str], dict[str, str]] | None = None
    """What our keys must be for the same meaning, unless the command sets them itself."""

    def converted(self, key: str, value: str) -> str:
        """Their value in ours."""
        if self.convert is None:
            return value
        try:
            return self.convert(value)
        except ValueError as error:
            raise ConfigError(f"{key}={value}: {error}") from error


@dataclass(frozen=True)
class Stated:
    """A key whose value says what is always so here."""

    values: tuple[Any, ...]
    """Values that agree with what is done here."""
    because: str
    """What is done here, or which key of ours changes it."""

    def holds(self, value: Any) -> bool:
        """Whether ``value`` agrees."""
        return any(
            value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values
        )


@dataclass(frozen=True)
class Refused:
    """A key that asks for something that does not exist here."""

    because: str
    """Why, and what to do instead."""


Treatment = Renamed | Stated | Refused
"""One of the three."""


def one_of(names: dict[str, str], otherwise: str) -> Callable[[str], str]:
    """A conversion by name; other names raise ``ValueError(otherwise)``."""

    def convert(value: str) -> str:
        name = value.strip("'\"").lower()
        if name not in names:
            raise ValueError(otherwise)
        return names[name]

    return convert


def at_least_one(otherwise: str) -> Callable[[str], str]:
    """A count that is taken as it stands if it is 1 or more, else ``ValueError(otherwise)``."""

    def convert(value: str) -> str:
        try:
            count = int(value)
        except ValueError as error:
            raise ValueError("expected an integer") from error
        if count < 1:
            raise ValueError(otherwise)
        return value

    return convert
