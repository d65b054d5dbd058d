"""The temperature ladder: one sampling temperature for each replica of a group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttrl_env.checks import check_finite, check_positive_int

BASE_TEMPERATURE = 0.6
TEMPERATURE_RANGE = 0.3

_FLOAT32 = np.finfo(np.float32)


def temperature_ladder(
    n_samples: int,
    base_temperature: float = BASE_TEMPERATURE,
    temperature_range: float = TEMPERATURE_RANGE,
) -> NDArray[np.float32]:
    """Temperatures of the rows of a group, ``[n_samples]`` float32.

    ``T_i = base_temperature + temperature_range * i / (n_samples - 1)``; a single row samples at
    ``base_temperature``. Every temperature must be positive: greedy decoding has an option of its own.
    """
    check_positive_int("n_samples", n_samples)
    base = check_finite("base_temperature", base_temperature)
    range_ = check_finite("temperature_range", temperature_range)
    steps = np.arange(n_samples, dtype=np.float64) / max(n_samples - 1, 1)
    ladder = base + range_ * steps
    if ladder.min() < _FLOAT32.tiny or ladder.max() > _FLOAT32.max:
        raise ValueError(
            f"base_temperature, temperature_range: every temperature must be above 0 and a float32 "
            f"({_FLOAT32.tiny:.0e} to {_FLOAT32.max:.0e}), got a ladder from {ladder[0]:g} to {ladder[-1]:g} "
            f"(base_temperature={base_temperature}, temperature_range={temperature_range}, "
            f"n_samples={n_samples})"
        )
    return ladder.astype(np.float32)


def group_temperatures(
    n_samples: int, base_temperature: float, temperature_range: float, *, test_time_rl: bool
) -> NDArray[np.float32]:
    """Temperatures of a group's rows: the ladder, or ``base_temperature`` for all without test-time RL."""
    range_ = check_finite("temperature_range", temperature_range)
    return temperature_ladder(n_samples, base_temperature, range_ if test_time_rl else 0.0)
