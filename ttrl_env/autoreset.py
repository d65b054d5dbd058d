"""Gymnasium's autoreset modes: looking one up, and a wrapper that implements DISABLED."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from ttrl_env.checks import check_choice, check_reset_mask


def named_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """The mode for an argument ``autoreset_mode``, which is a member, its name or its value."""
    if isinstance(mode, AutoresetMode):
        return mode
    names = {str(member.value).lower(): member for member in AutoresetMode}
    names.update({member.name.lower(): member for member in AutoresetMode})
    check_choice("autoreset_mode", str(mode).lower(), tuple(names))
    return names[str(mode).lower()]


def declared_mode(env: VectorEnv) -> AutoresetMode:
    """The mode that an environment declares in its ``metadata``; raises if there is none."""
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"env: its metadata['autoreset_mode'] must be a gymnasium.vector.AutoresetMode, got {mode!r}; "
            f"without it nothing tells when an episode starts"
        )
    return mode


class DisabledAutoreset(VectorWrapper):
    """Makes finished rows wait until they are reset: their flags and observations stay, their rewards are 0.

    Gymnasium steps all rows of a vector environment or none. So a waiting row still runs in the wrapped
    environment; those steps show in ``infos`` only. If all rows wait, ``step`` does nothing.
    """

    def __init__(self, env: VectorEnv) -> None:
        """Wrap ``env``, whose autoreset mode must be NEXT_STEP or DISABLED."""
        super().__init__(env)
        self._mode = declared_mode(env)
        if self._mode is AutoresetMode.SAME_STEP:
            raise ValueError(
                "autoreset_mode: expected an environment of mode NEXT_STEP or DISABLED, got SAME_STEP, "
                "which returns the next episode's first observation in place of an episode's last one"
            )
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        self._terminations = np.zeros(env.num_envs, dtype=np.bool_)
        self._truncations = np.zeros(env.num_envs, dtype=np.bool_)
        self._ended = np.zeros(env.num_envs, dtype=np.bool_)  # in the wrapped environment
        self._last: Any = None  # observations of the last call

    def reset(
        self, *, seed: Any = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes, in the rows of ``options["reset_mask"]`` if it is given, else in all."""
        options = None if options is None else dict(options)  # Gymnasium's environments remove keys from it
        mask = check_reset_mask((options or {}).get("reset_mask"), self.num_envs)
        observations, infos = self.env.reset(seed=seed, options=options)
        for flags in (self._terminations, self._truncations, self._ended):
            flags[mask] = False
        return self._observe(observations, self._terminations | self._truncations), infos

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step the rows that are not finished; actions of the others are ignored."""
        waiting = self._terminations | self._truncations
        if waiting.all():
            return self._last, np.zeros(self.num_envs), *self._flags(), {}
        if self._mode is AutoresetMode.DISABLED and self._ended.any():
            self.env.reset(options={"reset_mask": self._ended.copy()})
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        self._ended = np.logical_or(terminations, truncations)
        self._terminations |= terminations & ~waiting
        self._truncations |= truncations & ~waiting
        return self._observe(observations, waiting), np.where(waiting, 0.0, rewards), *self._flags(), infos

    def end(
        self, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """End episodes that still run in the wrapped environment; returns the flags of all rows."""
        self._terminations |= terminated
        self._truncations = (self._truncations | truncated) & ~terminated
        return self._flags()

    def _flags(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return self._terminations.copy(), self._truncations.copy()

    def _observe(self, observations: Any, waiting: NDArray[np.bool_]) -> Any:
        """New observations, but those of ``waiting`` rows unchanged."""
        if waiting.any():
            observations = _keep_rows(self.single_observation_space, waiting, self._last, observations)
        self._last = observations
        return observations


def _keep_rows(space: spaces.Space[Any], rows: NDArray[np.bool_], old: Any, new: Any) -> Any:
    """A copy of ``new`` in which ``rows`` come from ``old``; ``space`` is that of one row."""
    if isinstance(space, spaces.Dict):
        return {key: _keep_rows(part, rows, old[key], new[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        parts = zip(space.spaces, old, new, strict=True)
        return tuple(_keep_rows(part, rows, kept, changed) for part, kept, changed in parts)
    if isinstance(new, np.ndarray):
        return np.where(rows.reshape(-1, *[1] * (new.ndim - 1)), old, new)
    return tuple(kept if row else changed for row, kept, changed in zip(rows, old, new, strict=True))
