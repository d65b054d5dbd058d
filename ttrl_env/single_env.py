"""One task as an ordinary Gymnasium environment: row 0 of a one-row vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray

from ttrl_env.checks import Seed, check_options, check_positive_int, check_real_array, check_seed
from ttrl_env.engines.interface import CONTROL_FREQ_HZ
from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.vector_env import TTRLVectorEnv


class ReplicaEnv(gym.Env):
    """One row of a :class:`~ttrl_env.replica_env.ReplicaVectorEnv`, without the axis of the rows."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012  Gymnasium's own declaration

    def __init__(self, rows: ReplicaVectorEnv) -> None:
        """``rows``: a vector environment of one row that never resets itself."""
        self._rows = rows
        self.metadata = {**self.metadata, "render_fps": rows.metadata["render_fps"]}
        self.observation_space = rows.single_observation_space
        self.action_space = rows.single_action_space
        self.render_mode = rows.render_mode

    @property
    def action_dim(self) -> int:
        """Numbers of one action."""
        return self._rows.action_dim

    @property
    def action_low(self) -> NDArray[np.float32]:
        """``[action_dim]`` the smallest value of each number of an action."""
        return self._rows.action_low

    @property
    def action_high(self) -> NDArray[np.float32]:
        """``[action_dim]`` the largest."""
        return self._rows.action_high

    @property
    def instruction(self) -> str:
        """The natural-language instruction of the task, or of the episode."""
        return self._rows.instructions[0]

    @property
    def max_steps(self) -> int:
        """The horizon in policy steps."""
        return self._rows.max_steps

    def reset(
        self, *, seed: Seed | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode from the split's next initial state. A call that raises changes nothing.

        Args:
            seed: restarts the order of initial states.
            options: ``"init_state_id"`` is the initial state of this episode, ``"task_id"`` the task of this
                and later episodes.
        """
        chosen = check_options("options", options, ("task_id", "init_state_id"))
        for name, value in chosen.items():
            check_positive_int(f"options[{name!r}]", value, minimum=0)
        seed = None if seed is None else check_seed("seed", seed)
        observations, infos = self._rows.reset(
            seed=seed, options={f"{name}s": [value] for name, value in chosen.items()}
        )
        super().reset(seed=seed)
        return _row(observations), _info(infos)

    def step(self, action: ArrayLike) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Execute one action ``[action_dim]``, or one open-loop chunk ``[chunk_steps, action_dim]``.

        After the end of the episode further steps do nothing until ``reset``.
        """
        chunk = check_real_array("action", action)
        if chunk.shape != self.action_space.shape:
            raise ValueError(f"action: expected shape {self.action_space.shape}, got {chunk.shape}")
        observations, rewards, terminations, truncations, infos = self._rows.step(chunk[None])
        return (
            _row(observations),
            float(rewards[0]),
            bool(terminations[0]),
            bool(truncations[0]),
            _info(infos),
        )

    def render(self) -> NDArray[np.uint8] | None:
        """The upright image of the first camera as of the last observation."""
        images = self._rows.render()
        return None if images is None else images[0]

    def close(self) -> None:
        """End the simulation; safe to call twice."""
        self._rows.close()


class LiberoEnv(ReplicaEnv):
    """A LIBERO task with the observations, rewards and infos of :class:`ttrl_env.vector_env.TTRLVectorEnv`.

    The observation dictionary is shown in :mod:`ttrl_env.vector_env`; arrays have no row axis here,
    and infos are NumPy values without axes, of the same dtypes: ``success``, ``is_success`` (the same),
    ``finish_step``, ``temperature``, ``group``, ``task_id``, ``init_state_id`` and ``episode_index``.
    A diverged episode adds ``failure``, a text.

    The horizon is ``max_steps``. ``gym.make(..., max_episode_steps=n)`` adds Gymnasium's own time limit
    around the environment, which is not told: episodes end after ``n`` calls of ``step``, or at
    ``max_steps`` if that comes first. To lengthen episodes, or to measure efficiency by another horizon, set
    ``max_steps``.

    With ``engine="native"`` the simulation runs in one thread of this process, whatever ``num_workers`` is.
    With ``engine="upstream"`` it runs in a worker process of its own. Neither its OpenGL context nor its use
    of NumPy's global random generator then touches the caller's; ``num_workers=0`` keeps it in this process.

    Example:
        >>> import gymnasium as gym, ttrl_env  # doctest: +SKIP
        >>> env = gym.make("ttrl_env/LiberoSpatial-v0", task_id=0)
        >>> observation, info = env.reset(seed=0)
        >>> env.unwrapped.instruction
        'pick up the black bowl between the plate and the ramekin and place it on the plate'
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_FREQ_HZ}  # noqa: RUF012

    def __init__(self, suite: str, task_id: int = 0, **kwargs: Any) -> None:
        """Build the environment; the simulation is built by the first ``reset``.

        Args:
            suite: a LIBERO or LIBERO-PRO suite, e.g. ``"libero_spatial"``.
            task_id: the task within the suite.
            **kwargs: keywords of :class:`ttrl_env.vector_env.TTRLVectorEnv` that make sense for a
                single row: ``base_temperature``, ``test_time_rl``, ``test_time_rl_reward``,
                ``max_steps``, ``chunk_steps``, ``image_size``, ``cameras``, ``robot_state``,
                ``init_states``, ``engine``, ``num_workers``, ``settle_steps``, ``fixture_seed``, ``seed``,
                ``render_mode``.
        """
        refuse_vector_settings(kwargs)
        super().__init__(TTRLVectorEnv(suite, (task_id,), 1, autoreset_mode=AutoresetMode.DISABLED, **kwargs))


def refuse_vector_settings(keywords: dict[str, Any]) -> None:
    """Raise ``TypeError`` for a keyword that only vector environments have."""
    for keyword in ("task_ids", "n_samples", "num_groups", "autoreset_mode"):
        if keyword in keywords:
            raise TypeError(
                f"{keyword}: a single environment has one row of one task and never resets itself; "
                f"use gym.make_vec for {keyword}={keywords[keyword]!r}"
            )


def _row(observations: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {key: array[0] for key, array in observations.items()}


def _info(infos: dict[str, Any]) -> dict[str, Any]:
    """Row 0's infos as NumPy scalars, without Gymnasium's ``_key`` masks; booleans as arrays without axes.

    TorchRL reads each value's ``dtype``. Gymnasium's vector environments keep the dtype of numbers and
    arrays, but make an array of objects from ``numpy.bool_``.
    """
    row = {key: values[0] for key, values in infos.items() if not key.startswith("_")}
    return {key: np.asarray(value) if isinstance(value, np.bool_) else value for key, value in row.items()}
