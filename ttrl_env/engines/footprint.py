"""Low estimates of an environment's memory, to refuse one that cannot fit before it is built."""

from __future__ import annotations

from ttrl_env.engines.interface import ACTION_DIM, EngineConfig
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.engines.observations import num_bytes
from ttrl_env.machine.memory import require_memory

LARGEST_IMAGE = 16384
"""Largest image size in pixels that most OpenGL drivers render."""

_ROW_BYTES = {"native": 900_000, "upstream": 1_000_000_000}
"""Measured memory of a row's simulation in bytes, without its observations and without the shared task."""

_OBSERVATION_COPIES = 4
"""Copies: the engine's arrays, the observation space's two bounds, and the result of a reset or step."""

_ACTION_BYTES = 16
"""Bytes for each number of an action: float64, and its two bounds in the action space as float32."""

_PIXEL_BYTES = 40
"""Bytes for each pixel in OpenGL: colour and depth with four samples each, and the resolved image."""


def require_room(config: EngineConfig, chunk_steps: int, engine: EngineChoice) -> None:
    """Raise :class:`~ttrl_env.errors.ConfigError` with the estimate unless the environment fits in memory."""
    simulated = _ROW_BYTES.get(engine, 0) if isinstance(engine, str) else 0
    rendered = _PIXEL_BYTES * config.image_size**2 if simulated and config.cameras else 0
    rows = config.num_rows * (simulated + chunk_steps * ACTION_DIM * _ACTION_BYTES)
    require_memory(
        _OBSERVATION_COPIES * num_bytes(config) + rows + rendered,
        f"num_envs={config.num_rows} (num_groups x n_samples), image_size={config.image_size}, "
        f"{len(config.cameras)} cameras, chunk_steps={chunk_steps}: the environment",
        "make one of them smaller",
    )
    if config.image_size > LARGEST_IMAGE:
        raise ValueError(
            f"image_size: expected at most {LARGEST_IMAGE} pixels, which is what OpenGL renders, "
            f"got {config.image_size}"
        )
