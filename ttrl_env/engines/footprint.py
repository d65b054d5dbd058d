"""What an environment takes at least, so that one that cannot fit is refused before it is begun."""

from __future__ import annotations

from ttrl_env.engines.interface import ACTION_DIM, EngineConfig
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.engines.observations import num_bytes
from ttrl_env.machine.memory import require_memory

LARGEST_IMAGE = 16384
"""Pixels on a side: what OpenGL renders at most, but for some drivers."""

_ROW_BYTES = {"native": 900_000, "upstream": 1_000_000_000}
"""What simulating a row takes besides its observations, measured; the task itself comes on top."""

_OBSERVATION_COPIES = 4
"""The engine's arrays, the two bounds of the observation space, and what ``reset`` and ``step`` return."""

_ACTION_BYTES = 16
"""A number's two bounds in the action space, and itself in double precision."""

_PIXEL_BYTES = 40
"""OpenGL's buffers: colour and depth, four samples each, and the image made of them."""


def require_room(config: EngineConfig, chunk_steps: int, engine: EngineChoice) -> None:
    """Raise :class:`~ttrl_env.errors.ConfigError` with the figure unless an environment fits into memory."""
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
