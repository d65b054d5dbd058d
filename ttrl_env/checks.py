"""Small argument checks whose errors name the argument, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttrl_env.errors import EnvironmentClosedError, unknown_name

Choice = TypeVar("Choice", bound=str)

Seed: TypeAlias = int | np.integer[Any]
"""An integer of at least 0, Python's or NumPy's."""


def check_bool(argument: str, value: Any) -> bool:
    """Return ``value`` as a ``bool`` if it is one, else raise, also for numbers and strings."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{argument}: expected True or False, got {value!r}")
    return bool(value)


def check_positive_int(argument: str, value: Any, minimum: int = 1, maximum: int | None = 2**63 - 1) -> int:
    """Return ``value`` as an ``int`` of ``minimum`` to ``maximum``, else raise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{argument}: expected an integer of at least {minimum}, got {value!r}")
    if value < minimum:
        raise ValueError(f"{argument}: expected an integer of at least {minimum}, got {value}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{argument}: expected an integer of at most {maximum}, got {value}")
    return int(value)


def check_finite(argument: str, value: Any) -> float:
    """Return ``value`` as a ``float`` if it is a finite real number, else raise."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not _fits_float(value):
        raise ValueError(f"{argument}: expected a finite number, got {value!r}")
    return float(value)


def _fits_float(value: Any) -> bool:
    """Whether ``value`` is finite as a float; False for an integer that is too large to convert."""
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def check_choice(argument: str, value: Any, choices: Sequence[Choice]) -> Choice:
    """Return ``value`` if it is one of ``choices``, else raise an error that names the nearest choice."""
    if not isinstance(value, str) or value not in choices:
        raise unknown_name(argument, value, choices)
    return choices[choices.index(value)]


def check_sequence(argument: str, value: Any, of: str, minimum: int = 1) -> list[Any]:
    """Return a sequence or one-dimensional array as a list, else raise, also for fewer than ``minimum``."""
    if not is_sequence(value) or len(value) < minimum:
        raise ValueError(f"{argument}: expected a non-empty sequence of {of}, got {value!r}")
    return list(value)


def check_cameras(cameras: Any, known: Sequence[Choice]) -> tuple[Choice, ...]:
    """Return a sequence of ``known`` names, at least one and each once, as a tuple, else raise."""
    names = check_sequence("cameras", cameras, "camera names")
    chosen = tuple(check_choice("cameras", camera, known) for camera in names)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"cameras: expected each camera once, got {cameras!r}")
    return chosen


def check_seed(argument: str, seed: Any) -> int:
    """Return ``seed`` as an ``int`` if it is an integer of at least 0, of any size, else raise."""
    return check_positive_int(argument, seed, minimum=0, maximum=None)


def check_seeds(argument: str, seed: Any) -> list[int]:
    """Return one seed, or a sequence of seeds, as a list of integers, else raise."""
    if not is_sequence(seed):
        return [check_seed(argument, seed)]
    return [check_seed(f"{argument}[{k}]", each) for k, each in enumerate(seed)]


def check_real_array(argument: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return ``values`` as a float64 array if they are integers or floating-point numbers, else raise."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{argument}: expected an array of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{argument}: expected real numbers, got an array of dtype {array.dtype}")
    return array.astype(np.float64)


def check_open(call: str, closed: bool) -> None:
    """Raise :class:`gymnasium.error.ClosedEnvironmentError` if the environment of a ``call`` is closed."""
    if closed:
        raise EnvironmentClosedError(f"{call}: the environment is closed; make a new one")


def check_reset_mask(mask: Any, num_envs: int) -> NDArray[np.bool_]:
    """Return a copy of ``options["reset_mask"]``, else raise; ``None`` means all rows."""
    if mask is None:
        return np.ones(num_envs, dtype=np.bool_)
    mask = np.array(mask)
    if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(
            f"options['reset_mask']: expected a bool array of shape ({num_envs},) with at least "
            f"one True, got dtype {mask.dtype}, shape {mask.shape}, {np.count_nonzero(mask)} set"
        )
    return mask


def check_options(argument: str, options: Mapping[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """Return a copy of ``options`` if all keys are known, else raise an error that names the nearest key."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(f"{argument}: expected a dictionary, got {options!r}")
    for key in options:
        check_choice(f"{argument}[{key!r}]", key, known)
    return dict(options)


def is_sequence(value: Any) -> bool:
    """Whether ``value`` is a sequence other than text, or a one-dimensional array."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
