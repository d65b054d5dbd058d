"""The parts that this machine's cores give: seconds of CPU time, in one thread.

CPU time depends less on what else runs on the machine than wall time does. On shared cores it is still too
long: caches, and the cores' other threads, are shared too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.report import machine
from benchmarks.scaling.parts import Part
from ttrl_env import libero_tasks
from ttrl_env.agents.policies import load_policy
from ttrl_env.agents.policies.openvla.pixels import camera_shape, prepare_images
from ttrl_env.agents.policies.tiny_vla import TinyVLA

CHUNK = 8
ROUNDS = 7
ROWS = (4, 32)
"""Rows of the forward passes through which the line of ``sample_pass`` and ``sample_row`` goes."""
UPDATE_CHUNKS = 32
OPENVLA_INPUT = 224
"""Height and width of OpenVLA's input, pixels."""


def measure_tiny(suite: str, task_id: int, policy: TinyVLA) -> dict[str, Part]:
    """All parts of a run that trains a TinyVLA on one core. Nothing is sent anywhere."""
    torch.set_num_threads(1)
    where = _where(f"{suite} {task_id}, 128 x 128")
    nothing = {
        name: Part(value=0.0, unit=unit, source="one process", measured=True)
        for name, unit in (("message_bytes", "bytes"), ("latency", "s"), ("gradient_bytes", "bytes"))
    }
    unused = {
        name: Part(value=1.0, unit="bytes/s", source="unused in one process", measured=True)
        for name in ("network", "interconnect")
    }
    return {
        **_simulation(suite, task_id, 128, policy.cameras, where),
        **_tiny_policy(policy, where),
        **nothing,
        **unused,
    }


def measure_vla(suite: str, task_id: int) -> dict[str, Part]:
    """The parts of OpenVLA's rollouts that run on cores: control steps, images and their preparation."""
    size, _ = camera_shape("LIBERO", OPENVLA_INPUT)
    where = _where(f"{suite} {task_id}, {size} x {size}")
    image = _smooth(1, size)
    seconds = _cpu_seconds(lambda: prepare_images(image, OPENVLA_INPUT))
    return {**_simulation(suite, task_id, size, ("agentview",), where), "prepare": _part(seconds, where)}


def shipped_policy(name: str) -> TinyVLA:
    """A policy that ships with the package."""
    policy = load_policy(name)
    assert isinstance(policy, TinyVLA)
    return policy


def _simulation(suite: str, task_id: int, size: int, cameras: Sequence[str], where: str) -> dict[str, Part]:
    with ThreadPoolExecutor(1) as pool:  # OpenGL's context must not be the main thread's
        step, image = pool.submit(_simulate, suite, task_id, size, cameras).result()
    return {"control_step": _part(step, where), "image": _part(image, where)}


def _simulate(suite: str, task_id: int, size: int, cameras: Sequence[str]) -> tuple[float, float]:
    """Median CPU seconds of a control step, and of an image by each camera, alternately."""
    from ttrl_env.engines.native.renderer import Renderer
    from ttrl_env.engines.native.replica import Replica
    from ttrl_env.engines.native.task.cache import load_bundle

    bundle = load_bundle(libero_tasks.get_task(suite, task_id))
    replica, renderer = Replica(bundle), Renderer(size)
    replica.reset(libero_tasks.init_states(suite, task_id)[0], 10)
    rng, out = np.random.default_rng(0), np.empty((size, size, 3), np.uint8)

    def draw() -> None:
        for camera in cameras:
            renderer.render(bundle, replica.sample, camera, out)

    draw()  # uploads the scene
    steps, images = [], []
    for _ in range(ROUNDS):
        actions = rng.uniform(-1, 1, (CHUNK, 7))
        steps.append(_once(partial(replica.step, actions)) / CHUNK)
        images.append(_once(draw))
    renderer.close()
    return statistics.median(steps), statistics.median(images)


def _tiny_policy(policy: TinyVLA, where: str) -> dict[str, Part]:
    """Preparation, forward passes and the update of a TinyVLA."""
    observations, words = _observations(policy, ROWS[-1]), ["pick up the milk"] * ROWS[-1]
    prepare = _cpu_seconds(lambda: policy.prepare(observations, words)) / ROWS[-1]
    inputs = policy.prepare(observations, words)
    passes = [_cpu_seconds(partial(_sample, policy, inputs, rows)) for rows in ROWS]
    row = (passes[1] - passes[0]) / (ROWS[1] - ROWS[0])
    tokens = torch.randint(256, (UPDATE_CHUNKS, policy.chunk_steps * 7))
    part = {name: each[:UPDATE_CHUNKS] for name, each in inputs.items()}
    temperatures = torch.full((UPDATE_CHUNKS,), 0.5)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6)

    def gradients() -> None:
        policy.evaluate(part, tokens, temperatures).logprobs.mean().backward()

    chunk = _cpu_seconds(gradients, rounds=3) / UPDATE_CHUNKS
    values = {
        "prepare": prepare,
        "sample_pass": max(passes[0] - ROWS[0] * row, 0.0),
        "sample_row": row,
        "update_chunk": chunk,
        "update_step": _cpu_seconds(optimizer.step, rounds=3),
    }
    return {name: _part(value, where) for name, value in values.items()}


def _sample(policy: TinyVLA, inputs: dict[str, Any], rows: int) -> None:
    seeds = torch.arange(rows * policy.chunk_steps * 7).view(rows, -1)
    policy.sample({name: each[:rows] for name, each in inputs.items()}, torch.full((rows,), 0.5), seeds)


def _observations(policy: TinyVLA, rows: int) -> dict[str, np.ndarray]:
    """Observations as an engine returns them: every camera's images, and the arm's pose."""
    shapes = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
    pose = {name: np.full((rows, size), 0.1) for name, size in shapes.items()}
    return {**{f"{camera}_image": _smooth(rows, 128) for camera in policy.cameras}, **pose}


def _smooth(rows: int, size: int) -> np.ndarray:
    """Images of coloured squares: noise would compress unlike a camera's."""
    coarse = np.random.default_rng(0).integers(0, 256, (rows, size // 8, size // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def _cpu_seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median CPU seconds of a call after a first one."""
    call()
    return statistics.median(_once(call) for _ in range(rounds))


def _once(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _part(seconds: float, source: str) -> Part:
    return Part(value=seconds, unit="s", source=source, measured=True)


def _where(setting: str) -> str:
    found = machine()
    load = f"load average {found['load_average']} on {found['cores']} cores"
    where = f"CPU time on {found['processor']}, one core, software OpenGL, MuJoCo {found['mujoco']}"
    return f"{where}, {setting}; {load}"
