"""One row of RoboTwin: the real runtime behind :class:`.interface.Simulation`."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .instructions import instruction
from .interface import Outcome, Settings, Start, State, UnstableSeedError
from .layout import JOINT_STATE, image_key
from .played_task import played_task
from .randomness import Randomness
from .runtime import task_arguments, unstable_error

RESETS_BETWEEN_CLEARINGS = 5
"""The renderer's cache of meshes is emptied at every fifth reset, as by the runtime's own evaluation."""

SCENERY = ("ground", "wall", "table")
"""Names of what the runtime puts around the objects."""


class RoboTwinSimulation:
    """Plays the runtime's tasks, one action after another.

    Equal tasks and seeds start bitwise alike, in any process and after any number of resets: every generator
    that the runtime draws from is seeded, and rows of one process do not share their random numbers.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: Any = None
        self._randomness = Randomness(0)
        self._cameras: dict[str, Any] = {}
        self._resets = 0

    def reset(self, task: str, seed: int) -> Start:
        """Set the scene up, and play 2,500 steps of physics to see whether the objects come to rest."""
        task_class = self._task_class(task)
        arguments = task_arguments(task, self._settings)
        self.close()
        keep_renderer()
        self._task = task_class()
        self._randomness = Randomness(seed)
        try:
            with self._randomness.in_use():
                self._task.setup_demo(now_ep_num=seed, seed=seed, is_test=True, **arguments)
                text = instruction(task, self._task, seed)
        except unstable_error() as error:
            raise UnstableSeedError(str(error)) from error
        self._cameras = {name: self._add_camera(name) for name in self._settings.cameras}
        return Start(instruction=text, digest=self._digest())

    def step(self, actions: NDArray[np.float64], max_steps: int) -> Outcome:
        """Take the actions, ``[chunk, 14]``, one by one, and read the runtime's success after each.

        The runtime tests success after every physics step of an action and ends the action there.
        """
        executed = 0
        with self._randomness.in_use(), _without_progress():
            for action in actions[:max_steps]:
                if self._task.take_action_cnt >= self._task.step_lim:
                    return Outcome(executed, False, f"the runtime's limit of {self._task.step_lim} steps")
                self._task.take_action(action, action_type="qpos")
                executed += 1
                if not np.isfinite(self._robot.get_qpos()).all():
                    return Outcome(executed, False, "joint positions are not finite")
                if self._task.eval_success:
                    return Outcome(executed, True)
        return Outcome(executed, False)

    def observe(self) -> dict[str, NDArray[Any]]:
        """Draw the cameras, uint8 ``[height, width, 3]``, and read the joints' targets, float64 ``[14]``."""
        with self._randomness.in_use():
            for name, camera in self._cameras.items():
                camera.entity.set_pose(self._camera_pose(name))
            self._task._update_render()
            images = {image_key(name): _draw(camera) for name, camera in self._cameras.items()}
        robot = self._task.robot
        joints = robot.get_left_arm_jointState() + robot.get_right_arm_jointState()
        return {**images, JOINT_STATE: np.array(joints, np.float64)}

    def state(self) -> State:
        """Joints of the robot and poses of what lies on the table; a name that is taken gets a number."""
        poses: dict[str, list[float]] = {}
        for name, pose in self._poses():
            if name not in SCENERY:
                copies = sum(taken.split("#")[0] == name for taken in poses)
                poses[f"{name}#{copies + 1}" if copies else name] = pose
        return State(
            joint_names=[joint.get_name() for joint in self._robot.get_active_joints()],
            qpos=[float(value) for value in self._robot.get_qpos()],
            object_poses=poses,
        )

    def close(self) -> None:
        """Let the scene go. The renderer stays, as its shaders would be compiled again."""
        if self._task is None:
            return
        self._resets += 1
        self._cameras = {}
        self._task.close_env(clear_cache=self._resets % RESETS_BETWEEN_CLEARINGS == 0)
        self._task = None
        gc.collect()

    def _task_class(self, task: str) -> type[Any]:
        """The class of the runtime's task; tests alter it."""
        return played_task(task)

    @property
    def _robot(self) -> Any:
        """The articulation that has both arms."""
        return self._task.robot.left_entity

    def _digest(self) -> str:
        """Every bit of joint positions, joint velocities and poses."""
        digest = hashlib.sha256()
        articulations = self._task.scene.get_all_articulations()
        for values in [a.get_qpos() for a in articulations] + [a.get_qvel() for a in articulations]:
            digest.update(np.asarray(values, np.float64).tobytes())
        for name, pose in self._poses():
            digest.update(name.encode() + np.array(pose, np.float64).tobytes())
        return digest.hexdigest()

    def _poses(self) -> list[tuple[str, list[float]]]:
        """Name and pose (position, wxyz) of every body and of every articulation but the robot."""
        things = self._task.scene.get_all_actors()
        things += [a for a in self._task.scene.get_all_articulations() if a != self._robot]
        return [(thing.get_name(), _numbers(thing.get_pose())) for thing in things]

    def _add_camera(self, name: str) -> Any:
        """A camera of the settings' size beside the runtime's own of that name, with its field of view."""
        model = self._runtime_camera(name)
        return self._task.scene.add_camera(
            name=f"{name}_observed",
            width=self._settings.image_width,
            height=self._settings.image_height,
            fovy=model.fovy,
            near=model.near,
            far=model.far,
        )

    def _runtime_camera(self, name: str) -> Any:
        cameras = self._task.cameras
        if name == "head_camera":
            return cameras.static_camera_list[cameras.static_camera_name.index(name)]
        return getattr(cameras, name)

    def _camera_pose(self, name: str) -> Any:
        """Where a camera is now: those on the wrists move with their links."""
        if name == "head_camera":
            return self._runtime_camera(name).entity.get_pose()
        return getattr(self._task.robot, name).get_pose()


@cache
def keep_renderer() -> Any:
    """The process's renderer. After the last one has gone, the next compiles shaders again: 15 s on a CPU."""
    import sapien

    return sapien.render.RenderSystem()


@contextlib.contextmanager
def _without_progress() -> Any:
    """Leave out the line that the runtime prints at each action."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _draw(camera: Any) -> NDArray[np.uint8]:
    camera.take_picture()
    colours = camera.get_picture("Color")[..., :3]
    return (colours * 255).clip(0, 255).astype(np.uint8)


def _numbers(pose: Any) -> list[float]:
    return [float(value) for value in (*pose.p, *pose.q)]
