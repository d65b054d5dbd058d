"""Types and bounds of configuration fields, and the check of values against them.

A field declares both in its annotation, such as ``Annotated[float, above(0)]`` or
``Literal["token", "chunk"]``. :func:`check_fields` checks every value. This module does not import PyTorch.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, get_args

from ttrl_env.agents.config.schema_fields import field_types, unwrap
from ttrl_env.checks import check_choice
from ttrl_env.errors import ConfigError

LARGEST_INT = 2**31 - 1
"""Largest count or size: libraries store them as 32-bit integers."""

LARGEST_SEED = 2**63 - 1
"""Largest seed: PyTorch stores them as signed 64-bit integers."""

LARGEST_FLOAT = 1e30
"""Largest number: libraries compute in float32, whose maximum is 3.4e38."""


@contextmanager
def as_config_error() -> Iterator[None]:
    """Context in which a value that is refused is a :class:`ConfigError`, whoever refuses it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error)) from error


def check_fields(config: Any, prefix: str = "") -> None:
    """Raise for the first field of a configuration, or of a nested one, that is out of its bounds.

    Raises:
        ConfigError: names the key, what was expected and what came.
    """
    for name, hint in field_types(type(config)).items():
        value, key = getattr(config, name), f"{prefix}{name}"
        type_ = unwrap(hint)
        if not type_.is_group:
            check_value(key, value, hint)
        elif isinstance(value, type_.plain):
            check_fields(value, f"{key}.")
        else:
            raise ConfigError(f"{key}: expected a {type_.plain.__name__}, got {value!r:.80}")


def check_value(key: str, value: Any, hint: Any) -> None:
    """Raise :class:`ConfigError`, which names ``key``, unless a value is what its annotation says."""
    field = unwrap(hint)
    wanted = field.plain
    if value is None and field.optional:
        return
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, (tuple, list)):
            raise ConfigError(f"{key}: expected a list, got {value!r}")
        for each in value:
            check_value(key, each, get_args(wanted)[0])
    elif not _is_a(value, wanted):
        raise ConfigError(f"{key}: expected {_TYPE_NAMES[wanted]}, got {value!r}")
    if field.choices:
        check_choice(key, value, field.choices)
    for bound in field.bounds:
        bound.check(key, value)


class Bound(Protocol):
    """A condition on a value besides its type."""

    def check(self, key: str, value: Any) -> None:
        """Raise :class:`ConfigError`, or a ``ValueError``, which names ``key``, if ``value`` is outside."""


@dataclass(frozen=True)
class Between:
    """Numbers from ``low`` to ``high``."""

    low: float
    high: float
    excluded: bool = False
    """Whether ``low`` itself is excluded."""
    zero: str | None = None
    """Meaning of 0, if it is allowed in addition to the range."""

    def check(self, key: str, value: float) -> None:
        """See :class:`Bound`."""
        if self.zero is not None and value == 0:
            return
        if not self.low <= value <= self.high or (self.excluded and value == self.low):
            raise ConfigError(f"{key}: expected {self._expected(value)}, got {value}")

    def _expected(self, value: float) -> str:
        """Text for the bound that ``value`` violates."""
        number = "an integer" if isinstance(self.high, int) else "a number"
        if self.high == 1 and not self.excluded:
            return f"{number} from {self.low:g} to {self.high:g}"
        if value > self.high:
            return f"{number} of at most {self.high if isinstance(self.high, int) else f'{self.high:g}'}"
        if self.zero is not None:
            return (
                f"0 ({self.zero}) or more" if value <= 0 or self.low == 0 else f"0 or at least {self.low:g}"
            )
        return f"{number} {'above' if self.excluded else 'of at least'} {self.low:g}"


@dataclass(frozen=True)
class MultipleOf:
    """Multiples of ``step``, from ``step`` to ``high``."""

    step: int
    high: int
    because: str

    def check(self, key: str, value: int) -> None:
        """See :class:`Bound`."""
        if value % self.step or not self.step <= value <= self.high:
            raise ConfigError(
                f"{key}: expected a multiple of {self.step} from {self.step} to {self.high} "
                f"({self.because}), got {value}"
            )


@dataclass(frozen=True)
class Text:
    """Text that is not empty and has no control characters."""

    def check(self, key: str, value: str) -> None:
        """See :class:`Bound`."""
        if not value.strip() or not value.isprintable():
            raise ConfigError(
                f"{key}: expected text that is not empty, without control characters, got {value!r}"
            )


@dataclass(frozen=True)
class DeviceName:
    """A device that PyTorch computes on."""

    def check(self, key: str, value: str) -> None:
        """See :class:`Bound`."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
            raise ConfigError(f"{key}: expected auto, cpu, cuda or cuda:1, got {value!r}")


@dataclass(frozen=True)
class Temperatures:
    """One or more sampling temperatures, all different."""

    def check(self, key: str, value: tuple[float, ...]) -> None:
        """See :class:`Bound`."""
        usable = all(each == 0 or SMALLEST_TEMPERATURE <= each <= LARGEST_TEMPERATURE for each in value)
        if not value or not usable or len(set(value)) < len(value):
            raise ConfigError(
                f"{key}: expected different numbers of 0 (greedy) or more, e.g. [0,0.6], got {list(value)}"
            )


@dataclass(frozen=True)
class Distinct:
    """A list whose elements are all different."""

    element: str

    def check(self, key: str, value: tuple[Any, ...]) -> None:
        """See :class:`Bound`."""
        if len(set(value)) < len(value):
            raise ConfigError(f"{key}: expected each {self.element} once, got {list(value)}")


def at_least(low: int, high: int = LARGEST_INT) -> Between:
    """Integers of ``low`` or more."""
    return Between(low, high)


def above(low: float, high: float = LARGEST_FLOAT) -> Between:
    """Numbers that are larger than ``low``."""
    return Between(float(low), float(high), excluded=True)


Seed = Annotated[int, Between(0, LARGEST_SEED)]
"""A seed of random numbers."""

Weight = Annotated[float, Between(0.0, LARGEST_FLOAT, zero="off")]
"""The weight of a term; 0 leaves it out."""

Share = Annotated[float, Between(0.0, 1.0)]
"""A number from 0 to 1."""

SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE = 1e-6, 1e6
"""Temperatures from this to the largest keep scaled logits finite and distinct in float32."""

Temperature = Annotated[float, Between(SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE, zero="greedy")]
"""A sampling temperature; 0 is greedy."""


def _is_a(value: Any, wanted: type[Any]) -> bool:
    """Whether a value is of a type; an integer counts as a float, a bool does not count as a number."""
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)


_TYPE_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
