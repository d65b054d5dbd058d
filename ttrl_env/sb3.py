"""Stable-Baselines3 on LIBERO: a ``VecEnv`` over :class:`ttrl_env.vector_env.TTRLVectorEnv`.

>>> from stable_baselines3 import PPO  # doctest: +SKIP
>>> from ttrl_env.sb3 import make_sb3_env
>>> env = make_sb3_env("libero_spatial", task_ids=(0,), n_samples=4, image_size=128)
>>> PPO("MultiInputPolicy", env, n_steps=64).learn(4096)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ttrl_env.errors import MissingDependencyError
from ttrl_env.vector_env import TTRLVectorEnv

try:
    from stable_baselines3.common.vec_env import VecEnv, VecMonitor
except ImportError as error:
    raise MissingDependencyError(
        "ttrl_env.sb3 needs Stable-Baselines3. Install it with: pip install 'ttrl-env[sb3]'"
    ) from error


def make_sb3_env(
    suite: str,
    task_ids: Sequence[int] = (0,),
    n_samples: int = 4,
    *,
    monitor_file: str | None = None,
    **kwargs: Any,
) -> VecMonitor:
    """Make an environment for Stable-Baselines3's algorithms, with episode statistics.

    Rows reset themselves as soon as they end (SB3's convention). Each step's info holds the values named in
    :class:`~ttrl_env.vector_env.TTRLVectorEnv`. An episode's last info also has ``terminal_observation``,
    ``TimeLimit.truncated`` and ``episode`` (return, length in steps of the algorithm, time). SB3 logs
    ``rollout/success_rate`` from ``is_success``.

    Args:
        suite: as in ``TTRLVectorEnv``, like all arguments not named here.
        task_ids: see ``suite``.
        n_samples: see ``suite``.
        monitor_file: path of SB3's ``monitor.csv``; by default none is written.
        **kwargs: keywords of ``TTRLVectorEnv`` except ``autoreset_mode``.
    """
    if "autoreset_mode" in kwargs:
        raise TypeError("autoreset_mode: Stable-Baselines3 always resets at the step that ends an episode")
    envs = TTRLVectorEnv(suite, task_ids, n_samples, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
    return VecMonitor(TTRLVecEnv(envs), monitor_file)


class TTRLVecEnv(VecEnv):
    """Translates a ``TTRLVectorEnv`` with SAME_STEP autoreset into SB3's ``VecEnv`` conventions."""

    def __init__(self, envs: TTRLVectorEnv) -> None:
        """Wrap ``envs``, which this object then owns and closes."""
        if envs.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"envs: expected autoreset_mode SAME_STEP (SB3's convention), got {envs.autoreset_mode.name}"
            )
        self.envs = envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self.metadata = envs.metadata  # SB3's video recorder reads the frames per second from it

    def reset(self) -> dict[str, NDArray[Any]]:
        """First observations; the seed given to :meth:`seed` and the options of :meth:`set_options` apply."""
        observations, infos = self.envs.reset(seed=self._seeds[0], options=_one_for_all(self._options))
        self.reset_infos = _rows(infos)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Store the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Observations, rewards, dones, and one info dictionary a row."""
        observations, rewards, terminations, truncations, infos = self.envs.step(self._actions)
        dones = terminations | truncations
        rows = _rows({key: value for key, value in infos.items() if not key.startswith("final_")})
        if dones.any():
            final_infos = _rows(infos["final_info"])
        for row, info in enumerate(rows):
            if dones[row]:
                self.reset_infos[row] = info
                rows[row] = {
                    **final_infos[row],
                    "terminal_observation": infos["final_obs"][row],
                }
            rows[row]["TimeLimit.truncated"] = bool(truncations[row] and not terminations[row])
        return observations, rewards.astype(np.float32), dones, rows

    def close(self) -> None:
        """End the simulations."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Upright images, one a row."""
        images = self.envs.render()
        return [None] * self.num_envs if images is None else list(images)

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute of the vector environment, repeated for each requested row."""
        value = getattr(self.envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set an attribute of the vector environment, which all rows share."""
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"indices: the rows share {attr_name!r}, so it cannot be set for some of them")
        setattr(self.envs, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Not available: rows are not environments of their own. Call methods on ``.envs``."""
        raise NotImplementedError(
            f"env_method({method_name!r}): the rows are one vector environment; call it on .envs instead"
        )

    def env_is_wrapped(self, wrapper_class: type, indices: int | Iterable[int] | None = None) -> list[bool]:
        """False for every row: there are no wrappers around single rows."""
        return [False for _ in self._get_indices(indices)]


def _rows(infos: dict[str, Any]) -> list[dict[str, Any]]:
    """Arrays of infos as one dictionary of plain values a row, those that Gymnasium's masks say it has."""
    arrays = {key: (values, infos[f"_{key}"]) for key, values in infos.items() if not key.startswith("_")}
    num_envs = len(infos["success"])
    return [
        {key: _plain(values[row]) for key, (values, rows) in arrays.items() if rows[row]}
        for row in range(num_envs)
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _one_for_all(options: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The options for the vector environment, which takes one set; SB3 stores a set for each row."""
    if any(each != options[0] for each in options):
        raise ValueError("options: give one dictionary for all rows, e.g. {'init_state_ids': [0, 3]}")
    return options[0] or None
