"""The test-time-RL environment: LIBERO tasks times replicas as one Gymnasium vector environment.

The observation of every row, in full::

    agentview_image             uint8   [num_envs, image_size, image_size, 3]  RGB, upside down (see below)
    robot0_eye_in_hand_image    uint8   [num_envs, image_size, image_size, 3]  if that camera is asked for
    robot0_eef_pos              float32 [num_envs, 3]  end effector, metres, world frame
    robot0_eef_quat             float32 [num_envs, 4]  end effector, xyzw
    robot0_gripper_qpos         float32 [num_envs, 2]  finger joints, metres

and with ``robot_state=True``::

    robot0_eef_mat              float32 [num_envs, 3, 3]  its rotation, when its controller last ran
    robot0_gripper_qvel         float32 [num_envs, 2]  velocities of the finger joints, m/s
    robot0_joint_pos            float32 [num_envs, 7]  the arm's joints, radians
    robot0_joint_vel            float32 [num_envs, 7]  their velocities, rad/s

Names and image orientation are LIBERO's: the first image row is the bottom of the scene, as in OpenGL.
``render()`` returns upright images. A policy trained on LIBERO data pre-processes these raw arrays itself
(OpenVLA rotates them by 180 degrees).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.checks import (
    Seed,
    check_bool,
    check_cameras,
    check_open,
    check_positive_int,
)
from ttrl_env.engines.footprint import require_room
from ttrl_env.engines.interface import (
    ACTION_DIM,
    CONTROL_FREQ_HZ,
    CameraName,
    EngineConfig,
    RestartsSimulations,
    SimulationEngine,
)
from ttrl_env.engines.make_engine import EngineChoice, make_engine
from ttrl_env.engines.observations import layout
from ttrl_env.engines.ray_options import RayOptions
from ttrl_env.privileged_state import privileged_state
from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.rewards import RewardName
from ttrl_env.suites import get_libero_suite
from ttrl_env.tasks import Split
from ttrl_env.temperatures import BASE_TEMPERATURE, TEMPERATURE_RANGE


class TTRLVectorEnv(ReplicaVectorEnv):
    """LIBERO tasks, each replicated ``n_samples`` times from one initial state.

    Groups, temperatures, rewards, ``infos`` and autoreset are those of
    :class:`~ttrl_env.replica_env.ReplicaVectorEnv`.

    An action is LIBERO's, 7 numbers: end-effector position and rotation deltas and the gripper (-1 opens,
    1 closes). Values beyond [-1, 1] are clipped by LIBERO's controller. With
    ``test_time_rl_reward="env_sparse"`` rewards are LIBERO's own.

    With ``engine="ray"`` ``infos`` has ``restarts`` (int64) besides: how often a row's simulation died with
    its actor during the episode, and was brought back.

    Example:
        >>> import gymnasium as gym, ttrl_env  # doctest: +SKIP
        >>> envs = gym.make_vec("ttrl_env/LiberoSpatial-v0", num_envs=8, task_ids=(0, 1), n_samples=4)
        >>> observations, infos = envs.reset(seed=0)
        >>> envs.temperatures[:4]
        array([0.6, 0.7, 0.8, 0.9], dtype=float32)
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own declaration
        **ReplicaVectorEnv.metadata,
        "render_fps": CONTROL_FREQ_HZ,
    }

    engine: SimulationEngine

    def __init__(
        self,
        suite: str,
        task_ids: Sequence[int] = (0,),
        n_samples: int = 4,
        *,
        num_groups: int | None = None,
        base_temperature: float = BASE_TEMPERATURE,
        temperature_range: float = TEMPERATURE_RANGE,
        test_time_rl: bool = True,
        test_time_rl_reward: RewardName = "efficiency",
        max_steps: int | None = None,
        chunk_steps: int = 1,
        image_size: int = 256,
        cameras: Sequence[CameraName] = ("agentview",),
        robot_state: bool = False,
        init_states: Split | Sequence[int] = "train",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        engine: EngineChoice = "native",
        num_workers: int | None = None,
        ray: RayOptions | None = None,
        settle_steps: int = 10,
        fixture_seed: int = 0,
        seed: Seed | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Build the environment; simulations are built by the first ``reset``.

        Args:
            suite: a LIBERO or LIBERO-PRO suite, e.g. ``"libero_spatial"``.
            task_ids: tasks within the suite; groups take them in turn.
            n_samples: replicas of each group (``N``), 4 to 8 in test-time RL.
            num_groups: number of groups, a multiple of ``len(task_ids)``; default one for each task.
            base_temperature: temperature of a group's first row.
            temperature_range: temperature difference between a group's last row and its first.
            test_time_rl: ``False`` gives ordinary RL: binary rewards, one temperature.
            test_time_rl_reward: ``"efficiency"`` or ``"env_sparse"`` (the ladder with binary rewards).
            max_steps: horizon in policy steps (20 Hz); default the suite's.
            chunk_steps: actions executed open loop by each ``step``.
            image_size: height and width of images in pixels.
            cameras: ``"agentview"`` and/or ``"robot0_eye_in_hand"``.
            robot_state: return the arm's joints, velocities and the end effector's rotation matrix too.
            init_states: ``"train"`` (the first 40), ``"held_out"`` (the last 10), ``"all"`` (the
                published 50-state protocol) or explicit ids.
            autoreset_mode: what happens to a finished row; see :class:`gymnasium.vector.AutoresetMode`.
            engine: ``"native"`` (compiled replicas in threads; equal to LIBERO bit for bit),
                ``"upstream"`` (unmodified LIBERO environments in processes, the reference), ``"ray"``
                (native engines in Ray actors, on any node of a cluster), or a callable that makes a
                :class:`~ttrl_env.engines.interface.SimulationEngine`.
            num_workers: threads (native), worker processes (upstream) or actors (ray); default one a core
                (ray: one for each free CPU of the cluster, at most one a group).
            ray: settings of ``engine="ray"``.
            settle_steps: steps without motion before the first observation; no step count includes them.
            fixture_seed: seed that places the fixtures; 0 is the published protocol.
            seed: seed of the order of initial states, as in ``reset(seed=...)``.
            render_mode: ``"rgb_array"`` or ``None``.
        """
        super().__init__(
            get_libero_suite(suite),
            task_ids,
            n_samples,
            control_freq_hz=CONTROL_FREQ_HZ,
            num_groups=num_groups,
            base_temperature=base_temperature,
            temperature_range=temperature_range,
            test_time_rl=test_time_rl,
            test_time_rl_reward=test_time_rl_reward,
            max_steps=max_steps,
            chunk_steps=chunk_steps,
            init_states=init_states,
            autoreset_mode=autoreset_mode,
            seed=seed,
            render_mode=render_mode,
        )
        config = EngineConfig(
            suite=self.suite.name,
            num_rows=self.num_envs,
            cameras=check_cameras(cameras, get_args(CameraName)),
            image_size=check_positive_int("image_size", image_size),
            robot_state=check_bool("robot_state", robot_state),
            settle_steps=check_positive_int("settle_steps", settle_steps, minimum=0),
            fixture_seed=check_positive_int("fixture_seed", fixture_seed, minimum=0, maximum=2**32 - 1),
            num_workers=None
            if num_workers is None
            else check_positive_int("num_workers", num_workers, minimum=0),
            group_size=self.n_samples,
            ray=_ray_options(ray, engine),
        )
        require_room(config, self.chunk_steps, engine)
        bounds = -np.ones(ACTION_DIM), np.ones(ACTION_DIM)
        self._set_up(lambda: make_engine(engine, config), layout(config), *bounds)

    @property
    def privileged_state(self) -> NDArray[np.float32]:
        """``[num_envs, 56]`` float32 for a critic in training: what the simulator knows of each row's goal.

        The values are in :mod:`ttrl_env.privileged_state`, as of the last reset or step.
        """
        check_open("privileged_state", self.closed)
        seen = self.engine.observations
        return np.stack(
            [
                privileged_state(
                    libero_tasks.get_task(self.suite.name, int(task)),
                    self.engine.state(row),
                    seen["robot0_eef_pos"][row],
                    seen["robot0_gripper_qpos"][row],
                )
                for row, task in enumerate(self.task_ids)
            ]
        )

    def _upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image[::-1]

    def _engine_infos(self) -> dict[str, NDArray[Any]]:
        if isinstance(self.engine, RestartsSimulations):
            return {"restarts": self.engine.restarts.copy()}
        return {}


def _ray_options(ray: RayOptions | None, engine: EngineChoice) -> RayOptions:
    if ray is None:
        return RayOptions()
    if not isinstance(ray, RayOptions):
        raise TypeError(f"ray: expected a ttrl_env.engines.ray_options.RayOptions, got {ray!r}")
    if isinstance(engine, str) and engine != "ray":
        raise ValueError(f"ray: settings of engine='ray' have no effect on engine={engine!r}; leave one out")
    return ray
