"""One RoboTwin task as an ordinary Gymnasium environment: row 0 of a one-row vector environment."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode

from ttrl_env.robotwin.vector_env import CONTROL_FREQ_HZ, RoboTwinVectorEnv, refuse_liberos_settings
from ttrl_env.single_env import ReplicaEnv, refuse_vector_settings


class RoboTwinEnv(ReplicaEnv):
    """A RoboTwin task with the observations, rewards and infos of
    :class:`ttrl_env.robotwin.vector_env.RoboTwinVectorEnv`, without the axis of the rows.

    Example:
        >>> import gymnasium as gym, ttrl_env  # doctest: +SKIP
        >>> env = gym.make("ttrl_env/RoboTwin-stack_blocks_two-v0")
        >>> observation, info = env.reset(seed=0)
        >>> observation["joint_state"].shape
        (14,)
    """

    metadata: dict[str, Any] = {**ReplicaEnv.metadata, "render_fps": CONTROL_FREQ_HZ}  # noqa: RUF012

    def __init__(self, task_id: int | str = 0, **kwargs: Any) -> None:
        """Build the environment.

        Args:
            task_id: the task by id or by RoboTwin's name.
            **kwargs: keywords of :class:`ttrl_env.robotwin.vector_env.RoboTwinVectorEnv`, except
                ``task_ids``, ``n_samples``, ``num_groups`` and ``autoreset_mode``.
        """
        refuse_vector_settings(kwargs)
        refuse_liberos_settings(kwargs)
        super().__init__(RoboTwinVectorEnv((task_id,), 1, autoreset_mode=AutoresetMode.DISABLED, **kwargs))
