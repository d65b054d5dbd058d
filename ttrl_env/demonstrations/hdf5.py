"""Demonstrations on disk, in the layout of LIBERO's published HDF5 files.

One file a task::

    data                         attributes: problem_info, env_args, bddl_file_name, num_demos, total, ...
      demo_0                     attributes: num_samples, init_state
        actions                  float32 [T, 7]   the expert's actions, without the noise
        states                   float64 [T, 1 + nq + nv]  time, qpos, qvel
        robot_states             float64 [T, 9]   finger joints, end effector position, xyzw quaternion
        rewards, dones           uint8 [T]        1 on the last step
        obs/agentview_rgb        uint8 [T, H, W, 3]  bottom row first (macros_image_convention: opengl)
        obs/eye_in_hand_rgb      uint8 [T, H, W, 3]
        obs/ee_states            float64 [T, 6]   position, axis times angle; also as ee_pos and ee_ori
        obs/gripper_states       float64 [T, 2]
        obs/joint_states         float64 [T, 7]

Added to the published layout:

- ``executed_actions`` of an episode: its actions with the noise;
- the attributes ``attempt`` and ``init_state_id`` of an episode;
- the attribute ``recording`` of ``data``: the settings and MuJoCo's version as JSON;
- the attribute ``observations`` of ``data``: ``"before_action"``.

Left out: ``model_file``, the scene's XML, which only a playback in LIBERO itself needs.

Published files pair an action with the observation *after* it: LIBERO's ``create_dataset.py`` stores the
observation that ``env.step(action)`` returned. Here the observation is the one *before* the action, from
which the expert chose it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ttrl_env.demonstrations import foreign_files
from ttrl_env.demonstrations.layout import BEFORE_ACTION, IMAGE_KEYS
from ttrl_env.demonstrations.playing import Trajectory
from ttrl_env.engines.interface import CONTROL_FREQ_HZ
from ttrl_env.errors import ConfigError
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.machine.whole_files import write_bytes_whole
from ttrl_env.rotations import axis_angle


def write_episode(path: Path, trajectory: Trajectory, attributes: dict[str, Any]) -> None:
    """Write one episode as the group ``demo`` of a file of its own, atomically."""
    with _replacing(path) as file:
        group = file.create_group("demo")
        group.attrs.update(attributes)
        group.attrs["num_samples"] = len(trajectory)
        last = np.zeros(len(trajectory), dtype=np.uint8)
        last[-1] = 1
        gripper, pos, quat = (
            np.stack(each) for each in (trajectory.gripper_qpos, trajectory.eef_pos, trajectory.eef_quat)
        )
        orientation = axis_angle(quat)
        arrays = {
            "actions": np.stack(trajectory.actions),
            "executed_actions": np.stack(trajectory.executed_actions),
            "states": np.stack(trajectory.states),
            "robot_states": np.concatenate([gripper, pos, quat], axis=1),
            "rewards": last,
            "dones": last,
            "obs/ee_pos": pos,
            "obs/ee_ori": orientation,
            "obs/ee_states": np.concatenate([pos, orientation], axis=1),
            "obs/gripper_states": gripper,
            "obs/joint_states": np.stack(trajectory.joint_pos),
        }
        for name, array in arrays.items():
            group.create_dataset(name, data=array, compression="gzip")
        for camera, images in trajectory.images.items():
            frames = np.stack(images)
            chunk = (min(len(frames), 8), *frames.shape[1:])
            group.create_dataset(f"obs/{IMAGE_KEYS[camera]}", data=frames, compression="gzip", chunks=chunk)


def assemble(path: Path, task: LiberoTask, settings: dict[str, Any], episodes: Iterable[Path]) -> None:
    """Join episodes, each in a file of its own, to one task's file, atomically."""
    with _replacing(path) as file:
        data = file.create_group("data")
        total = number = 0
        for number, episode in enumerate(episodes, start=1):
            with foreign_files.opened(episode) as part:
                part.copy("demo", data, name=f"demo_{number - 1}")
                total += int(part["demo"].attrs["num_samples"])
        data.attrs.update(_task_attributes(task, settings))
        data.attrs["num_demos"] = number
        data.attrs["total"] = total


def split(path: Path, place: Callable[[int], Path]) -> None:
    """The inverse of :func:`assemble`: write each episode to the file ``place(attempt)``."""
    with foreign_files.opened(path) as file:
        data = foreign_files.group(file, "data")
        for name in foreign_files.names(data):
            group = foreign_files.group(data, name)
            attempt = foreign_files.whole_number(group, "attempt")
            if attempt is None:
                raise foreign_files.refuse(
                    group, "it has no attribute 'attempt'; choose another folder (output_dir)"
                )
            with _replacing(place(attempt)) as part:
                file.copy(group, part, name="demo")


def is_whole(path: Path) -> bool:
    """Whether an episode's own file is complete and readable."""
    try:
        with foreign_files.opened(path) as file:
            demo = foreign_files.group(file, "demo")
            foreign_files.read_all(demo)
            return foreign_files.whole_number(demo, "num_samples") is not None
    except ConfigError:
        return False


def write_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write a file without episodes that only contains the recording settings."""
    with _replacing(path) as file:
        file.create_group("data").attrs["recording"] = json.dumps(settings, sort_keys=True)


def read_num_episodes(path: Path) -> int:
    """Number of episodes in a file."""
    with foreign_files.opened(path) as file:
        return len(foreign_files.names(foreign_files.group(file, "data")))


def read_settings(path: Path) -> dict[str, Any] | None:
    """Recording settings of a file that ``ttrl record`` wrote; ``None`` for any other file."""
    with foreign_files.opened(path) as file:
        data = foreign_files.group(file, "data")
        written = foreign_files.text(data, "recording")
        try:
            settings = None if written is None else json.loads(written)
        except (ValueError, RecursionError):
            settings = ()
        if not isinstance(settings, dict | None):
            raise foreign_files.refuse_attribute(
                data, "recording", "expected settings as JSON", repr(written)
            )
    return settings


def _task_attributes(task: LiberoTask, settings: dict[str, Any]) -> dict[str, Any]:
    """The attributes that LIBERO's and robomimic's tools read."""
    bddl = task.bddl_file.read_text(encoding="utf-8")
    problem = bddl.partition("(problem")[2].partition(")")[0].strip()
    relative = f"{task.suite}/{task.bddl_file.name}"
    env_kwargs = {
        "robots": ["Panda"],
        "bddl_file_name": relative,
        "camera_names": list(settings["cameras"]),
        "camera_heights": settings["image_size"],
        "camera_widths": settings["image_size"],
        "control_freq": CONTROL_FREQ_HZ,
        "ignore_done": True,
        "use_camera_obs": True,
        "has_renderer": False,
        "has_offscreen_renderer": True,
    }
    env_args = {
        "type": 1,  # robomimic's type number for robosuite environments
        "env_name": problem,
        "problem_name": problem.lower(),
        "bddl_file": relative,
        "env_kwargs": env_kwargs,
    }
    problem_info = {
        "problem_name": problem.lower(),
        "domain_name": "robosuite",
        "language_instruction": task.instruction,
    }
    return {
        "env_name": problem,
        "env_args": json.dumps(env_args),
        "problem_info": json.dumps(problem_info),
        "bddl_file_name": relative,
        "bddl_file_content": bddl,
        "macros_image_convention": "opengl",
        "observations": BEFORE_ACTION,
        "recording": json.dumps(settings, sort_keys=True),
    }


@contextmanager
def _replacing(path: Path) -> Iterator[h5py.File]:
    """Make a new HDF5 file that appears under its name once it is complete.

    It is built in memory and written by Python, because the HDF5 library crashes on a full disk.
    """
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        yield file
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_whole(path, image.getbuffer())
