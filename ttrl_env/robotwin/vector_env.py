"""The test-time-RL environment of RoboTwin: tasks for two arms times replicas, as one vector environment.

The observation of every row, in full::

    head_camera_image     uint8   [num_envs, image_height, image_width, 3]  RGB, upright
    left_camera_image     uint8   the same, from the left wrist, if that camera is asked for
    right_camera_image    uint8   the same, from the right wrist, if that camera is asked for
    joint_state           float32 [num_envs, 14]  left arm (6), left gripper, right arm (6), right gripper

An action is 14 numbers in the same order: joint targets in radians; a gripper is 0 (closed) to 1 (open).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, get_args

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ttrl_env.checks import (
    Seed,
    check_cameras,
    check_choice,
    check_positive_int,
    check_sequence,
)
from ttrl_env.engines.interface import ReplicaEngine
from ttrl_env.errors import ConfigError
from ttrl_env.machine.memory import require_memory
from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.rewards import RewardName
from ttrl_env.robotwin.assets import find_assets
from ttrl_env.robotwin.catalogue import TASK_CONFIGS, TASKS, RoboTwinTask, task_id_of
from ttrl_env.robotwin.checkup import check_objects, check_randomized
from ttrl_env.robotwin.config import RoboTwinCamera, RoboTwinConfig
from ttrl_env.robotwin.engine import RoboTwinEngine
from ttrl_env.robotwin.joint_limits import joint_limits
from ttrl_env.suites import ROBOTWIN
from ttrl_env.tasks import Split
from ttrl_env.temperatures import BASE_TEMPERATURE, TEMPERATURE_RANGE

CONTROL_FREQ_HZ = 250 / 15
"""Policy steps in a simulated second: the runtime's demonstrations keep every fifteenth of 250 physics steps.
A single action takes as long as its joints need to get there."""

LIBEROS_SETTINGS = ("fixture_seed", "settle_steps", "image_size", "robot_state", "ray", "suite")
"""Keywords of :class:`ttrl_env.vector_env.TTRLVectorEnv` that have no meaning here."""

_LARGEST_IMAGE = 16_384
_ROW_BYTES = 17_000_000
"""Measured memory of a further row before anything is drawn, bytes."""
_OBSERVATION_COPIES = 4
"""Copies: the engine's arrays, the observation space's two bounds, and the result of a reset or step."""


class RoboTwinReplicas(ReplicaEngine, Protocol):
    """What the environment asks of its engine besides :class:`~ttrl_env.engines.interface.ReplicaEngine`."""

    config: RoboTwinConfig
    """Its settings."""
    instructions: list[str]
    """What each row is told in its episode; empty before the first reset."""
    seeds: NDArray[np.int64]
    """``[num_rows]`` the runtime's seed of each row's episode."""


class RoboTwinVectorEnv(ReplicaVectorEnv):
    """RoboTwin tasks, each replicated ``n_samples`` times from one initial state.

    Groups, temperatures, rewards, ``infos`` and autoreset are those of
    :class:`~ttrl_env.replica_env.ReplicaVectorEnv`. ``infos`` also has ``seed`` (int64): the runtime's seed,
    which is the first stable one of the initial state.

    Each episode has its own instruction: ``instructions`` are those of the running episodes, equal within a
    group. A policy step is one action of the runtime, whose own limit on steps ends an episode as a failure.

    Example:
        >>> import gymnasium as gym, ttrl_env  # doctest: +SKIP
        >>> envs = gym.make_vec("ttrl_env/RoboTwin-stack_blocks_two-v0", num_envs=8, n_samples=8)
        >>> observations, infos = envs.reset(seed=0)
        >>> observations["head_camera_image"].shape
        (8, 240, 320, 3)
    """

    metadata: dict[str, Any] = {**ReplicaVectorEnv.metadata, "render_fps": CONTROL_FREQ_HZ}  # noqa: RUF012

    engine: RoboTwinReplicas

    def __init__(
        self,
        task_ids: Sequence[int | str] = (0,),
        n_samples: int = 4,
        *,
        num_groups: int | None = None,
        base_temperature: float = BASE_TEMPERATURE,
        temperature_range: float = TEMPERATURE_RANGE,
        test_time_rl: bool = True,
        test_time_rl_reward: RewardName = "efficiency",
        max_steps: int | None = None,
        chunk_steps: int = 1,
        task_config: str = "demo_randomized",
        cameras: Sequence[RoboTwinCamera] = ("head_camera",),
        image_height: int = 240,
        image_width: int = 320,
        init_states: Split | Sequence[int] = "train",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        engine: Callable[[RoboTwinConfig], RoboTwinReplicas] = RoboTwinEngine,
        num_workers: int | None = None,
        python: str | None = None,
        assets: str | None = None,
        reset_timeout_seconds: float = RoboTwinConfig.reset_timeout_seconds,
        step_timeout_seconds: float = RoboTwinConfig.step_timeout_seconds,
        seed: Seed | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Check the arguments and the assets, then start the workers; the first ``reset`` builds the scenes.

        Args:
            task_ids: tasks by id or by RoboTwin's name; groups take them in turn.
            n_samples: replicas of each group (``N``), 4 to 8 in test-time RL.
            num_groups: number of groups, a multiple of ``len(task_ids)``; default one for each task.
            base_temperature: temperature of a group's first row.
            temperature_range: temperature difference between a group's last row and its first.
            test_time_rl: ``False`` gives ordinary RL: binary rewards, one temperature.
            test_time_rl_reward: ``"efficiency"`` or ``"env_sparse"`` (the ladder with binary rewards).
            max_steps: horizon in policy steps; default the longest that SimpleVLA-RL gives the tasks.
            chunk_steps: actions executed open loop by each ``step``; 25 in SimpleVLA-RL's recipe.
            task_config: the runtime's task configuration, which says what is randomised.
            cameras: ``"head_camera"``, ``"left_camera"`` and ``"right_camera"``, one or more.
            image_height: height of images in pixels.
            image_width: their width.
            init_states: ``"train"`` (the first 80), ``"held_out"`` (the last 20), ``"all"`` or explicit ids.
            autoreset_mode: what happens to a finished row; see :class:`gymnasium.vector.AutoresetMode`.
            engine: makes the engine.
            num_workers: worker processes; default one a core, at most one a row.
            python: interpreter that has the runtime; default what ``TTRL_ROBOTWIN_PYTHON`` names, or the
                one that ``ttrl robotwin setup`` has made.
            assets: folder of RoboTwin's assets; default what ``TTRL_ROBOTWIN_ASSETS`` names.
            reset_timeout_seconds: time that the reset of one row may take.
            step_timeout_seconds: time that one row's chunk of actions and its images may take.
            seed: seed of the order of initial states, as in ``reset(seed=...)``.
            render_mode: ``"rgb_array"`` or ``None``.

        Raises:
            UnknownNameError: no such task or camera; the message has the nearest name.
            MissingDependencyError: no interpreter, no runtime, or no assets for these tasks.
        """
        super().__init__(
            ROBOTWIN,
            _ids(task_ids),
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
        played = [TASKS[task_id] for task_id in self._tasks_in_turn]
        _check_limits(self.max_steps, played)
        height = check_positive_int("image_height", image_height, maximum=_LARGEST_IMAGE)
        width = check_positive_int("image_width", image_width, maximum=_LARGEST_IMAGE)
        chosen = check_cameras(cameras, get_args(RoboTwinCamera))
        _check_engine(engine)
        _require_room(self.num_envs, len(chosen) * height * width * 3)
        check_choice("task_config", task_config, TASK_CONFIGS)
        folder = find_assets(assets, python)
        check_objects(folder, python, [task.name for task in played])
        if task_config == "demo_randomized":
            check_randomized(folder, python)
        config = RoboTwinConfig(
            num_rows=self.num_envs,
            group_size=self.n_samples,
            task_config=task_config,
            cameras=chosen,
            image_height=height,
            image_width=width,
            num_workers=None if num_workers is None else check_positive_int("num_workers", num_workers),
            python=python,
            assets=str(folder),
            reset_timeout_seconds=_check_seconds("reset_timeout_seconds", reset_timeout_seconds),
            step_timeout_seconds=_check_seconds("step_timeout_seconds", step_timeout_seconds),
        )
        self._set_up(lambda: engine(config), config.layout(), *joint_limits(folder))

    @property
    def instructions(self) -> list[str]:
        """What each row is told in its episode; before the first reset, what its task is about."""
        return [own or task for own, task in zip(self.engine.instructions, super().instructions, strict=True)]

    def _engine_infos(self) -> dict[str, NDArray[Any]]:
        return {"seed": self.engine.seeds.copy()}


def refuse_liberos_settings(keywords: dict[str, Any]) -> None:
    """Raise ``TypeError`` for a keyword that only LIBERO's environments have."""
    for name in LIBEROS_SETTINGS:
        if name in keywords:
            raise TypeError(
                f"{name}: a setting of LIBERO's environments, which RoboTwin's have not, got "
                f"{name}={keywords[name]!r}; leave it out"
            )


def _ids(task_ids: Sequence[int | str]) -> list[int]:
    members = check_sequence("task_ids", task_ids, "task ids or names")
    return [task_id_of(each, "task_ids") if isinstance(each, str) else each for each in members]


def _check_limits(max_steps: int, played: Sequence[RoboTwinTask]) -> None:
    shortest = min(played, key=lambda task: task.step_limit)
    if max_steps > shortest.step_limit:
        raise ConfigError(
            f"max_steps: RoboTwin's runtime ends {shortest.name} after {shortest.step_limit} steps, got "
            f"{max_steps}; lower it"
        )


def _check_engine(engine: object) -> None:
    if not callable(engine):
        raise TypeError(
            f"engine: expected a callable that takes a RoboTwinConfig, got {engine!r} (LIBERO's engines do "
            f"not play RoboTwin); leave it out for RoboTwin's runtime"
        )


def _check_seconds(argument: str, seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < np.inf:
        raise ValueError(f"{argument}: expected a positive number of seconds, got {seconds!r}")
    return float(seconds)


def _require_room(num_rows: int, image_bytes: int) -> None:
    require_memory(
        num_rows * (_ROW_BYTES + _OBSERVATION_COPIES * image_bytes),
        f"num_envs={num_rows} (num_groups x n_samples), {image_bytes} bytes of images a row: the environment",
        "make one of them smaller",
    )
