"""One LIBERO task in several rows, with the observations and methods that LeRobot's rollouts use.

The observation in full, for ``obs_type="pixels_agent_pos"``::

    pixels
      image       uint8   [num_envs, size, size, 3]  agentview, rotated by 180 degrees
      image2      uint8   [num_envs, size, size, 3]  the wrist camera, likewise
    agent_pos     float32 [num_envs, 8]  end effector: position (3, metres) and rotation vector (3, radians);
                                         finger joints (2, metres)

LeRobot's own LIBERO environment returns raw images and a ``robot_state``, from which its
``LiberoProcessorStep`` makes these same values. So policies trained on LeRobot's LIBERO datasets get the
inputs that they know, and no processor is needed.

For processors of one's own there is what LeRobot's environment returns, ``obs_type="pixels_robot_state"``::

    pixels
      image       uint8   [num_envs, size, size, 3]  agentview, bottom row first
      image2      uint8   [num_envs, size, size, 3]  the wrist camera, likewise
    robot_state
      eef
        pos       float64 [num_envs, 3]     end effector, metres, world frame
        quat      float64 [num_envs, 4]     xyzw
        mat       float64 [num_envs, 3, 3]  its rotation, when its controller last ran
      gripper
        qpos      float64 [num_envs, 2]     finger joints, metres
        qvel      float64 [num_envs, 2]     m/s
      joints
        pos       float64 [num_envs, 7]     the arm's joints, radians
        vel       float64 [num_envs, 7]     rad/s
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from ttrl_env import libero_tasks, tasks
from ttrl_env.checks import check_choice, check_positive_int
from ttrl_env.engines.interface import CONTROL_FREQ_HZ, CameraName
from ttrl_env.lerobot.observations import (
    AGENT_POS_DIM,
    CAMERA_NAMES,
    ROBOT_STATE,
    agent_pos,
    robot_state,
    rotated,
)
from ttrl_env.tasks import Split
from ttrl_env.vector_env import TTRLVectorEnv

ObsType = Literal["pixels", "pixels_agent_pos", "pixels_robot_state"]


class LeRobotVectorEnv(VectorEnv):
    """``num_envs`` episodes of one task at a time, from consecutive initial states.

    The ``k``-th episode since construction starts from the ``k``-th state of ``init_states``, as in LeRobot's
    own LIBERO environment. Seeds do not change that. Rewards are LIBERO's: 1 at success, otherwise 0.
    ``infos`` are those of :class:`~ttrl_env.vector_env.TTRLVectorEnv`, ``is_success`` among them.

    A finished row waits for the next ``reset`` and costs nothing meanwhile: ``lerobot-eval`` steps all rows
    until the last one ends.
    """

    metadata: dict[str, Any] = TTRLVectorEnv.metadata

    def __init__(
        self,
        suite: str,
        task_id: int,
        num_envs: int,
        *,
        obs_type: ObsType = "pixels_agent_pos",
        camera_names: Mapping[CameraName, str] = CAMERA_NAMES,
        init_states: Split | Sequence[int] = "all",
        **kwargs: Any,
    ) -> None:
        """Build the environment; simulations are built by the first ``reset``.

        Args:
            suite: a LIBERO or LIBERO-PRO suite, e.g. ``"libero_spatial"``.
            task_id: the task within the suite.
            num_envs: number of rows.
            obs_type: ``"pixels"``, ``"pixels_agent_pos"`` for ``agent_pos`` too, or ``"pixels_robot_state"``
                for what LeRobot's own environment returns.
            camera_names: the cameras to draw, and the name of each one's images in ``pixels``.
            init_states: as in :class:`~ttrl_env.vector_env.TTRLVectorEnv`; here ``"all"`` by default.
            **kwargs: ``max_steps``, ``image_size``, ``engine``, ``num_workers``, ``settle_steps`` and
                ``fixture_seed`` as in ``TTRLVectorEnv``.
        """
        self._obs_type = check_choice("obs_type", obs_type, get_args(ObsType))
        self.num_envs = check_positive_int("num_envs", num_envs)
        self._camera_names = dict(camera_names)
        self._rows = TTRLVectorEnv(
            suite,
            (task_id,),
            1,
            num_groups=self.num_envs,
            test_time_rl=False,
            cameras=tuple(self._camera_names),
            robot_state=obs_type == "pixels_robot_state",
            init_states=init_states,
            autoreset_mode=AutoresetMode.DISABLED,
            **kwargs,
        )
        self._task = libero_tasks.get_task(self._rows.suite.name, task_id)
        self._init_state_ids = tasks.init_state_ids(self._task.suite, task_id, init_states)
        self._episodes_begun = 0
        self.metadata = {**self._rows.metadata, "render_fps": CONTROL_FREQ_HZ}  # videos want an integer
        self.render_mode = self._rows.render_mode
        self._set_spaces()

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the next ``num_envs`` episodes.

        Args:
            seed: seeds ``np_random`` only; episodes follow the order of the initial states.
            options: ignored, since LeRobot passes options of its own.
        """
        ids = self._init_state_ids
        begun = range(self._episodes_begun, self._episodes_begun + self.num_envs)
        observations, infos = self._rows.reset(
            options={"init_state_ids": [ids[episode % len(ids)] for episode in begun]}
        )
        self._episodes_begun = begun.stop
        super().reset(seed=seed if isinstance(seed, int) else None)
        return self._translated(observations), infos

    def step(
        self, actions: ArrayLike
    ) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Execute one action in every row, ``[num_envs, 7]``; finished rows ignore theirs."""
        observations, rewards, terminations, truncations, infos = self._rows.step(actions)
        return self._translated(observations), rewards, terminations, truncations, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Upright images of the first camera, one a row."""
        return self._rows.render()

    def call(self, name: str) -> tuple[Any, ...]:
        """What each row answers to ``name``: ``render``, or an attribute as in :meth:`get_attr`."""
        if name == "render":
            return self.render() or (None,) * self.num_envs
        return self.get_attr(name)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each row: ``task``, ``task_description``, ``task_id`` or ``_max_episode_steps``."""
        values = {
            "task": self._task.name,
            "task_description": self._task.instruction,
            "task_id": self._task.task_id,
            "_max_episode_steps": self._rows.max_steps,
        }
        if name not in values:
            raise AttributeError(f"rows have no attribute {name!r}; known: {', '.join(values)}")
        return (values[name],) * self.num_envs

    def close_extras(self, **kwargs: Any) -> None:
        """Free the simulations."""
        if hasattr(self, "_rows"):
            self._rows.close()

    def _set_spaces(self) -> None:
        given = cast(spaces.Dict, self._rows.single_observation_space)
        single: dict[str, spaces.Space[Any]] = {
            "pixels": spaces.Dict(
                {name: given[f"{camera}_image"] for camera, name in self._camera_names.items()}
            )
        }
        if self._obs_type == "pixels_agent_pos":
            single["agent_pos"] = spaces.Box(-np.inf, np.inf, (AGENT_POS_DIM,), np.float32)
        if self._obs_type == "pixels_robot_state":
            single["robot_state"] = spaces.Dict(
                {
                    part: spaces.Dict(
                        {
                            name: spaces.Box(-np.inf, np.inf, given[key].shape, np.float64)
                            for name, key in keys.items()
                        }
                    )
                    for part, keys in ROBOT_STATE.items()
                }
            )
        self.single_observation_space = spaces.Dict(single)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.single_action_space, self.action_space = self._rows.single_action_space, self._rows.action_space

    def _translated(self, observations: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        images = {name: observations[f"{camera}_image"] for camera, name in self._camera_names.items()}
        if self._obs_type == "pixels_robot_state":  # in the engine's float64
            return {"pixels": images, "robot_state": robot_state(self._rows.engine.observations)}
        translated: dict[str, Any] = {"pixels": {name: rotated(array) for name, array in images.items()}}
        if self._obs_type == "pixels_agent_pos":
            translated["agent_pos"] = agent_pos(observations)
        return translated
