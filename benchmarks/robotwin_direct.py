"""RoboTwin's runtime called directly, in its own interpreter and without ttrl_env.

``PYTHON robotwin_direct.py ASSETS TASK TASK_CONFIG SEED`` sets one scene up as the runtime's evaluation does.
Then it reads chunks of actions from its input and answers each with a line. All lines are JSON::

    [[14 numbers], ...]                               in: joint targets
    {"seconds", "qpos", "poses", "joints", "image"}   out: the state, also at the start

``seconds`` is the time of the chunk and of one image of the head camera, ``image`` a SHA-256 of that.
Only the shader is not the runtime's own, with which an image takes minutes on a CPU.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import os
import random
import sys
import time
import types
from typing import Any


def main(assets: str, task_name: str, task_config: str, seed: int) -> None:
    """Serve chunks until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stdout = sys.stderr  # the runtime prints a line an action
    task = _set_up(assets, task_name, task_config, seed)
    for line in itertools.chain([json.dumps([])], sys.stdin):  # each is answered before the next one is read
        start = time.perf_counter()
        for action in json.loads(line):
            task.take_action(action)
        seen = task.get_obs()
        answers.write(json.dumps({"seconds": time.perf_counter() - start, **_told(task, seen)}) + "\n")


def _set_up(assets: str, task_name: str, task_config: str, seed: int) -> Any:
    os.environ["ASSETS_PATH"] = os.environ["ROBOTWIN_ASSETS_ROOT"] = assets
    try:
        importlib.import_module("open3d")
    except ImportError:
        sys.modules["open3d"] = types.ModuleType("open3d")
    task_class = getattr(importlib.import_module(f"robotwin.envs.{task_name}"), task_name)
    import sapien
    import yaml
    from robotwin.config import load_task_config

    class Task(task_class):  # type: ignore[misc, valid-type]
        def setup_scene(self, **kwargs: Any) -> None:
            super().setup_scene(**kwargs)
            sapien.render.set_camera_shader_dir("default")

    arguments = load_task_config(task_config)
    arguments["camera"]["collect_wrist_camera"] = False
    robot = os.path.join(
        assets, load_task_config("_embodiment_config")[arguments["embodiment"][0]]["file_path"]
    )
    with open(os.path.join(robot, "config.yml"), encoding="utf-8") as file:
        description = yaml.safe_load(file)
    random.seed(seed)
    task = Task()
    task.setup_demo(
        now_ep_num=seed,
        seed=seed,
        is_test=True,
        **{
            **arguments,
            "task_name": task_name,
            "dual_arm_embodied": True,
            "left_robot_file": robot,
            "right_robot_file": robot,
            "left_embodiment_config": description,
            "right_embodiment_config": description,
            "planner_backend": "mplib",
            "eval_mode": True,
            "render_freq": 0,
        },
    )
    return task


def _told(task: Any, seen: dict[str, Any]) -> dict[str, Any]:
    poses = [actor.get_pose() for actor in task.scene.get_all_actors()]
    image = seen["observation"]["head_camera"]["rgb"]
    return {
        "qpos": task.robot.left_entity.get_qpos().tolist(),
        "poses": [[*pose.p.tolist(), *pose.q.tolist()] for pose in poses],
        "joints": seen["joint_action"]["vector"].tolist(),
        "image": hashlib.sha256(image.tobytes()).hexdigest(),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
