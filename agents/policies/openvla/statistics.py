"""Statistics of the datasets that a checkpoint was trained on: they normalise actions and the robot's state.

OpenVLA-OFT normalises by quantiles for one arm and by extremes for two (its ``constants.py``: ``bounds_q99``
for LIBERO, ``bounds`` for ALOHA, whose conventions RoboTwin's checkpoints have).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttrl_env.agents.policies.cameras import World
from ttrl_env.agents.policies.openvla.json_files import JsonFile

ACTION_WORLDS: Mapping[int, World] = {7: "LIBERO", 14: "RoboTwin"}
"""The world that actions of so many numbers are for: one arm's or two arms'."""

STATE_DIMS: Mapping[World, int] = {"LIBERO": 8, "RoboTwin": 14}
"""Numbers of a robot's state, as OpenVLA-OFT takes it."""

_BOUNDS: Mapping[World, tuple[str, str]] = {"LIBERO": ("q01", "q99"), "RoboTwin": ("min", "max")}
"""Statistics that are normalised to -1 and to 1."""

_EPSILON = 1e-8
"""OpenVLA-OFT adds this to the range."""


@dataclass(frozen=True, kw_only=True)
class StateStatistics:
    """The normalisation of the robot's state. Arrays are ``[state_dim]``."""

    low: NDArray[np.float64]
    """What is normalised to -1: 1 % quantiles (LIBERO), or the smallest values."""
    high: NDArray[np.float64]
    """What is normalised to 1: 99 % quantiles (LIBERO), or the largest values."""
    mask: NDArray[np.bool_]
    """False for entries that are not normalised."""

    def normalised(self, states: ArrayLike) -> NDArray[np.float32]:
        """States ``[rows, state_dim]`` normalised and cut to [-1, 1], as in training."""
        states = np.asarray(states, dtype=np.float64)
        scaled = 2 * (states - self.low) / (self.high - self.low + _EPSILON) - 1
        return np.clip(np.where(self.mask, scaled, states), -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ActionStatistics:
    """The normalisation of one dataset's actions. Arrays are ``[action_dim]``."""

    low: NDArray[np.float64]
    """What is normalised to -1: the 1 % quantile (``q01``) for one arm, ``min`` for two."""
    high: NDArray[np.float64]
    """What is normalised to +1: the 99 % quantile (``q99``) for one arm, ``max`` for two."""
    mask: NDArray[np.bool_]
    """False for entries that are not normalised: in LIBERO, the gripper."""
    minimum: NDArray[np.float64] | None
    """Smallest action (``min``); ``None`` if the file has none."""
    maximum: NDArray[np.float64] | None
    """Largest action (``max``); ``None`` if the file has none."""

    @property
    def world(self) -> World:
        """The world that the actions are for."""
        return ACTION_WORLDS[len(self.low)]


def read_statistics(folder: Path) -> dict[str, ActionStatistics]:
    """Statistics from ``dataset_statistics.json`` if there, else from ``config.json``'s ``norm_stats``.

    Raises:
        CheckpointError: there are none, or some that cannot be.
    """
    source, datasets = _datasets(folder)
    return {key: _actions(source, key, value) for key, value in datasets.items()}


def read_state_statistics(folder: Path, key: str, world: World) -> StateStatistics:
    """Statistics of the robot's state in the dataset ``key`` (``proprio``), from the same place.

    Raises:
        CheckpointError: there are none of a state as ``world`` has it.
    """
    source, datasets = _datasets(folder)
    arrays = _arrays(source, f"{key}.proprio", datasets[key].get("proprio"), world, STATE_DIMS[world])
    return StateStatistics(low=arrays["low"], high=arrays["high"], mask=arrays["mask"])


def _datasets(folder: Path) -> tuple[JsonFile, dict[str, Any]]:
    config = JsonFile(folder, "config.json")
    source, datasets = config, config.content.get("norm_stats")
    if (folder / "dataset_statistics.json").exists():
        source = JsonFile(folder, "dataset_statistics.json")
        datasets = source.content
    if not isinstance(datasets, dict) or not datasets:
        raise config.error(
            "norm_stats", "action statistics here or in dataset_statistics.json beside it", datasets
        )
    return source, datasets


def _actions(source: JsonFile, key: str, dataset: Any) -> ActionStatistics:
    dims = _action_dim(source, key, dataset)
    arrays = _arrays(source, f"{key}.action", dataset["action"], ACTION_WORLDS[dims], dims)
    return ActionStatistics(
        low=arrays["low"],
        high=arrays["high"],
        mask=arrays["mask"],
        minimum=arrays.get("min"),
        maximum=arrays.get("max"),
    )


def _action_dim(source: JsonFile, key: str, dataset: Any) -> int:
    """Numbers of the dataset's actions, 7 or 14."""
    try:
        dims = len(dataset["action"]["q01"])
    except (TypeError, KeyError, AttributeError) as error:
        raise source.error(f"{key}.action", "q01, q99 and mask, lists of numbers", dataset) from error
    if dims not in ACTION_WORLDS:
        raise source.error(
            f"{key}.action.q01", "7 numbers for one arm, or 14 for two", dataset["action"]["q01"]
        )
    return dims


def _arrays(source: JsonFile, key: str, given: Any, world: World, dims: int) -> dict[str, NDArray[Any]]:
    """``low``, ``high`` and ``mask`` of one quantity, and ``min`` and ``max`` if they are there."""
    low, high = _BOUNDS[world]
    try:
        names = {low, high, *({"min", "max"} & given.keys())}
        arrays = {name: np.asarray(given[name], dtype=np.float64) for name in names}
        mask = np.asarray(given.get("mask", [True] * dims), dtype=np.bool_)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise source.error(key, f"{low}, {high} and mask, lists of numbers", given) from error
    for name, array in {**arrays, "mask": mask}.items():
        if array.shape != (dims,) or not np.isfinite(array).all():
            raise source.error(f"{key}.{name}", f"{dims} numbers", array.tolist())
    if (arrays[low] > arrays[high])[mask].any():
        raise source.error(key, f"{low} of at most {high}", given)
    return {**arrays, "low": arrays[low], "high": arrays[high], "mask": mask}
