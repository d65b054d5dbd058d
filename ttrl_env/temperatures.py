"""The temperature ladder: one sampling temperature for each replica of a group."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ttrl_env.checks import check_positive_int

BASE_TEMPERATURE = 0.6
TEMPERATURE_RANGE = 0.3


def temperature_ladder(
    n_samples: int,
    base_temperature: float = BASE_TEMPERATURE,
    temperature_range: float = TEMPERATURE_RANGE,
) -> NDArray[np.float32]:
    """Temperatures of the rows of a group, ``[n_samples]`` float32.

    ``T_i = base_temperature + temperature_range * i / (n_samples - 1)``; a single row samples at
    ``base_temperature``. Every rung must be positive: greedy decoding is asked for as such, not
    by a temperature of zero.
    """
    check_positive_int("n_samples", n_samples)
    for name, value in (("base_temperature", base_temperature), ("temperature_range", temperature_range)):
        if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
            raise ValueError(f"{name}: expected a finite number, got {value!r}")
    steps = np.arange(n_samples, dtype=np.float64) / max(n_samples - 1, 1)
    ladder = base_temperature + temperature_range * steps
    if ladder.min() <= 0:
        raise ValueError(
            f"base_temperature, temperature_range: every temperature must be above 0, got a ladder from "
            f"{ladder[0]:g} to {ladder[-1]:g} (base_temperature={base_temperature}, "
            f"temperature_range={temperature_range}, n_samples={n_samples})"
        )
    return ladder.astype(np.float32)
