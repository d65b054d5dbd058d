"""Test-time RL over any Gymnasium vector environment whose infos report success."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from ttrl_env.checks import check_bool, check_positive_int, check_reset_mask, check_seed
from ttrl_env.episodes import require_known
from ttrl_env.errors import unknown_name
from ttrl_env.rewards import RewardName, check_reward, episode_reward
from ttrl_env.temperatures import BASE_TEMPERATURE, TEMPERATURE_RANGE, group_temperatures


class TestTimeRL(VectorWrapper):
    """Groups, temperatures and efficiency rewards, as :class:`ttrl_env.vector_env.TTRLVectorEnv` has them.

    Consecutive rows form groups of ``n_samples``; row ``i`` of a group carries temperature ``T_i`` of
    the ladder. ``reset(seed=s)`` seeds all rows of group ``g`` with ``s + g``, so that they start alike.
    The wrapped environment's rewards are replaced: the step at which an episode first reports success
    earns ``1 / (1 + finish_step / max_steps)`` (or 1, see ``test_time_rl``), all others 0.

    ``infos`` gain ``success`` (latched until the episode ends), ``finish_step`` (steps so far, frozen
    at success), ``temperature`` and ``group``; with SAME_STEP autoreset the finished episode's values
    are in ``infos["final_info"]``. Terminations, truncations, observations and the autoreset mode are
    the wrapped environment's.

    Example:
        >>> import gymnasium as gym  # doctest: +SKIP
        >>> envs = gym.make_vec("FetchReach-v4", num_envs=8)
        >>> envs = TestTimeRL(envs, n_samples=4, max_steps=50, success_key="is_success")
    """

    __test__ = False  # the name begins as pytest's test classes do

    def __init__(
        self,
        env: VectorEnv,
        n_samples: int,
        *,
        base_temperature: float = BASE_TEMPERATURE,
        temperature_range: float = TEMPERATURE_RANGE,
        test_time_rl: bool = True,
        test_time_rl_reward: RewardName = "efficiency",
        max_steps: int | None = None,
        success_key: str = "success",
    ) -> None:
        """Wrap ``env``, whose ``num_envs`` must be a multiple of ``n_samples``.

        Args:
            env: a vector environment that declares its autoreset mode in ``metadata``.
            n_samples: rows of each group.
            base_temperature: temperature of a group's first row.
            temperature_range: how much hotter its last row is.
            test_time_rl: ``False`` gives ordinary RL: binary rewards, one temperature.
            test_time_rl_reward: ``"efficiency"`` or ``"env_sparse"`` (the ladder with binary rewards).
            max_steps: the horizon that ``finish_step`` is measured against; default the
                ``max_episode_steps`` of the environment's spec.
            success_key: the boolean entry of ``infos`` that says an episode has reached its goal.
        """
        super().__init__(env)
        self.n_samples = check_positive_int("n_samples", n_samples)
        self.test_time_rl = check_bool("test_time_rl", test_time_rl)
        if env.num_envs % n_samples:
            raise ValueError(
                f"n_samples: num_envs must be a multiple of it (groups are whole), got "
                f"n_samples={n_samples} with num_envs={env.num_envs}"
            )
        self.num_groups = env.num_envs // n_samples
        ladder = group_temperatures(
            n_samples, base_temperature, temperature_range, test_time_rl=self.test_time_rl
        )
        self.temperatures: NDArray[np.float32] = np.tile(ladder, self.num_groups)
        self.groups: NDArray[np.int64] = np.repeat(np.arange(self.num_groups), n_samples)
        self._reward = check_reward(test_time_rl_reward, test_time_rl=self.test_time_rl)
        self.max_steps = check_positive_int("max_steps", _horizon(env) if max_steps is None else max_steps)
        self.autoreset_mode = _autoreset_mode(env)
        self._success_key = success_key
        self._success = np.zeros(env.num_envs, dtype=np.bool_)
        self._finish_step = np.zeros(env.num_envs, dtype=np.int64)
        self._over = np.zeros(env.num_envs, dtype=np.bool_)  # ended at an earlier step and not begun since
        self._lost = np.zeros(env.num_envs, dtype=np.bool_)  # perhaps simulated further than the records say

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; an integer seed becomes one seed a group.

        A call that the wrapped environment refuses leaves the records of running episodes as they are; one
        that is interrupted leaves its rows to be reset again.
        """
        seeds = None if seed is None else self._seeds(seed)
        if not isinstance(options, Mapping | None):
            raise TypeError(f"options: expected a dictionary, got {options!r}")
        options = None if options is None else dict(options)  # Gymnasium's environments pop from it
        mask = check_reset_mask((options or {}).get("reset_mask"), self.num_envs)
        try:
            observations, infos = self.env.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        except BaseException as error:
            if not isinstance(error, Exception):
                self._lost |= mask
            raise
        self._begin(mask)
        return observations, {**infos, **self._infos()}

    def step(self, actions: Any) -> tuple[Any, NDArray, NDArray, NDArray, dict[str, Any]]:
        """Step the wrapped environment; rewards are float64 ``[num_envs]``.

        Raises:
            ResetNeeded: an earlier call raised, and nobody knows how far its rows have come.
        """
        require_known(self._lost)
        try:
            observations, _, terminations, truncations, infos = self.env.step(actions)
        except BaseException:
            self._lost[:] = True
            raise
        running = ~(self._over | self._success)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._begin(self._over.copy())  # this step reset them
        done = np.logical_or(terminations, truncations)
        self._finish_step[running] += 1
        achieved = running & self._reported_success(infos, done)
        self._success |= achieved
        rewards = np.where(
            achieved, episode_reward(self._reward, achieved, self._finish_step, self.max_steps), 0.0
        )
        infos = dict(infos)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if done.any():
                infos["final_info"] = {**infos["final_info"], **self._infos(done)}
            self._begin(done)
        else:
            self._over |= done
        infos.update(self._infos())
        return observations, rewards, terminations, truncations, infos

    def _seeds(self, seed: Any) -> list[int | None]:
        """What the wrapped environment is seeded with; how many a list has is for it to judge."""
        if isinstance(seed, (list, tuple, np.ndarray)):
            return [None if each is None else check_seed("seed", each) for each in seed]
        first = check_seed("seed", seed)
        return [first + int(group) for group in self.groups]

    def _begin(self, rows: NDArray[np.bool_]) -> None:
        self._success[rows] = False
        self._finish_step[rows] = 0
        self._over[rows] = self._lost[rows] = False

    def _reported_success(self, infos: dict[str, Any], done: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What the wrapped environment says of this step, ``[num_envs]``."""
        success = _reported(infos, self._success_key, self.num_envs)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and done.any():
            final_info = infos.get("final_info", {})
            self._require_key(final_info)
            return np.where(done, _reported(final_info, self._success_key, self.num_envs), success)
        if done.any():
            self._require_key(infos)
        return success

    def _require_key(self, infos: dict[str, Any]) -> None:
        """An episode that ends without a word on success would silently count as a failure."""
        if self._success_key not in infos:
            reported = [key for key in infos if not key.startswith("_")]
            raise unknown_name(
                "success_key", self._success_key, reported, "It must be in infos when an episode ends."
            )

    def _infos(self, rows: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        values = {
            "success": self._success.copy(),
            "finish_step": self._finish_step.copy(),
            "temperature": self.temperatures.copy(),
            "group": self.groups.copy(),
        }
        mask = np.ones(self.num_envs, dtype=np.bool_) if rows is None else rows
        return {**values, **{f"_{key}": mask.copy() for key in values}}


def _reported(infos: dict[str, Any], key: str, num_envs: int) -> NDArray[np.bool_]:
    """An info as booleans, False where Gymnasium's mask says the row did not report it."""
    if key not in infos:
        return np.zeros(num_envs, dtype=np.bool_)
    mask = np.asarray(infos.get(f"_{key}", np.ones(num_envs, dtype=np.bool_)))
    return np.asarray(infos[key]).astype(np.bool_) & mask


def _horizon(env: VectorEnv) -> int:
    horizon = env.spec.max_episode_steps if env.spec is not None else None
    if horizon is None:
        raise ValueError("max_steps: the environment's spec names no max_episode_steps, so give max_steps")
    return horizon


def _autoreset_mode(env: VectorEnv) -> AutoresetMode:
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"env: its metadata['autoreset_mode'] must be a gymnasium.vector.AutoresetMode, got {mode!r}; "
            f"without it the start of an episode cannot be told"
        )
    return mode
